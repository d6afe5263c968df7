"""Daily exchange rates: what may be stated."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from uuid import UUID, uuid5

from shared.kernel.errors import Conflict, InvalidInput, NotFound
from shared.kernel.money import known_currency


class HomeCurrencyNotSet(Conflict):
    """A rate is stated in units of the home currency, and no calendar names that yet."""

    code = "home_currency_not_set"
    title = "Home currency not set"


class ExchangeRateNotFound(NotFound):
    """No rate of the currency was stated for that day."""

    code = "exchange_rate_not_found"
    title = "Exchange rate not found"


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
