"""Daily exchange rates: what may be stated, and how a file of them is read."""

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Final
from uuid import UUID, uuid5

from shared.kernel.errors import Conflict, FieldError, InvalidInput, NotFound
from shared.kernel.money import known_currency, parse_currency
from shared.kernel.rates import parse_rate
from shared.kernel.reading import read_day

COLUMNS: Final = ("date", "currency", "rate")
LINES_MAX: Final = 20_000
FIRST_DAY: Final = date(1900, 1, 1)
LAST_DAY: Final = date(3000, 1, 1)
_ERRORS_MAX: Final = 50
_DAY: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


class HomeCurrencyNotSet(Conflict):
    """A rate is stated in units of the home currency, and no calendar names that yet."""

    code = "home_currency_not_set"
    title = "Home currency not set"


class ExchangeRateNotFound(NotFound):
    """No rate of the currency was stated for that day."""

    code = "exchange_rate_not_found"
    title = "Exchange rate not found"


class InvalidRatesFile(InvalidInput):
    """Lines of a CSV file that cannot be read; nothing of it was stored."""

    code = "invalid_rates_file"
    title = "Invalid file of exchange rates"


@dataclass(frozen=True, slots=True)
class StatedRate:
    """From `day` on, up to the next one stated, a unit of `currency` is `rate` units of the home currency."""

    currency: str
    day: date
    rate: Decimal


@dataclass(frozen=True, slots=True)
class StoredRate:
    """A rate as it is stored, with the home currency it was stated in."""

    base_currency: str
    stated: StatedRate
    changed_at: datetime


@dataclass(frozen=True, slots=True)
class Month:
    """Every rate of a currency stated for the days of a month. `version` grows when one of them changes."""

    base_currency: str
    currency: str
    first_day: date
    version: int
    rates: tuple[tuple[date, Decimal], ...]

    @property
    def name(self) -> str:
        return month_name(self.first_day)


@dataclass(frozen=True, slots=True)
class Statement:
    """What became of stated rates: how many there were, and how many were new or different."""

    base_currency: str
    stated: int
    changed: int


def month_name(day: date) -> str:
    """The month of a day: 2026-03."""
    return day.isoformat()[:7]


def month_id(tenant_id: UUID, base_currency: str, currency: str, first_day: date) -> UUID:
    """The identity of a month of rates: the same month is the same thing for ever."""
    return uuid5(tenant_id, f"{base_currency}/{currency}/{month_name(first_day)}")


def check_statement(rates: Sequence[StatedRate], home_currency: str, *, pointers: Sequence[str]) -> None:
    """Raises InvalidInput for what is no currency, for rates of the home currency itself, and for two different ones of
    one currency and day.

    `pointers` are to each rate in the request.
    """
    first: dict[tuple[str, date], StatedRate] = {}
    for stated, pointer in zip(rates, pointers, strict=True):
        known_currency(stated.currency, pointer=f"{pointer}/currency")
        if stated.currency == home_currency:
            raise InvalidInput.field(
                f"{pointer}/currency", f"{home_currency} is the home currency", "another one: its own rate is always 1"
            )
        other = first.setdefault((stated.currency, stated.day), stated)
        if other.rate != stated.rate:
            raise InvalidInput.field(
                pointer, f"{stated.currency} has another rate on {stated.day} further up", "one rate a currency and day"
            )


def rates_of_csv(body: bytes) -> tuple[list[StatedRate], list[str]]:
    """The rates of a CSV file, and a pointer to each: `/line/<number>`.

    UTF-8, with or without a byte order mark; the first line names the columns `date`, `currency` and `rate`, in any
    order; a comma separates them. Empty lines are passed over. Raises InvalidRatesFile naming line and column.
    """
    try:
        lines = body.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise InvalidRatesFile("The file is not UTF-8 text.") from None
    rows = _rows(lines)
    header = [name.strip().lower() for name in next(rows, (1, []))[1]]
    if sorted(header) != sorted(COLUMNS):
        raise InvalidRatesFile.field(
            "/line/1", f"has the columns {', '.join(header) or 'of nothing'}", ",".join(COLUMNS)
        )
    found: list[StatedRate] = []
    pointers: list[str] = []
    errors: list[FieldError] = []
    for number, cells in rows:
        pointer = f"/line/{number}"
        if len(found) >= LINES_MAX:
            raise InvalidRatesFile.field(pointer, "is one rate too many", f"at most {LINES_MAX} rates in a file")
        try:
            found.append(_stated(dict(zip(header, cells, strict=False)), len(cells), pointer))
        except InvalidInput as error:
            errors.extend(error.fields)
            if len(errors) >= _ERRORS_MAX:
                break
        pointers.append(pointer)
    if errors:
        first = errors[0]
        raise InvalidRatesFile(f"{_described(first)}; nothing was stored.", fields=errors)
    return found, pointers


def _rows(lines: Iterable[str]) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(lines, strict=True)
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                yield reader.line_num, cells
    except csv.Error as error:
        pointer = f"/line/{reader.line_num}"
        raise InvalidRatesFile.field(
            pointer, f"is not CSV: {error}", "three values with a comma between them"
        ) from None


def _stated(cells: dict[str, str], count: int, pointer: str) -> StatedRate:
    if count != len(COLUMNS):
        raise InvalidInput.field(pointer, f"has {count} values", f"{len(COLUMNS)}: {', '.join(COLUMNS)}")
    texts = {name: cells[name].strip() for name in COLUMNS}
    currency = parse_currency(texts["currency"], pointer=f"{pointer}/currency")
    return StatedRate(
        currency, _day(texts["date"], f"{pointer}/date"), parse_rate(texts["rate"], pointer=f"{pointer}/rate")
    )


def _day(text: str, pointer: str) -> date:
    day = read_day(text)
    if day is None:
        raise InvalidInput.field(pointer, f"{text!r} is not a day", "a day of the calendar as YYYY-MM-DD")
    if not FIRST_DAY <= day <= LAST_DAY:
        raise InvalidInput.field(pointer, f"{text} is out of range", f"{FIRST_DAY} to {LAST_DAY}")
    return day


def _described(error: FieldError) -> str:
    _, _, line, *column = error.pointer.split("/")
    where = f"line {line}, column {column[0]}" if column else f"line {line}"
    accepted = "" if error.accepted is None else f", accepted is {error.accepted}"
    return f"{where}: {error.message}{accepted}"
