"""Amounts, days and moments as a CRM shows them to a user: read where they can be read in one way only.

A wrong number pays people wrongly, so whatever has two readings raises `Unreadable`, which names what would help.
"""

import re
import unicodedata
from collections.abc import Sequence
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from typing import Final
from zoneinfo import ZoneInfo

from shared.kernel.reading import is_instant

_CHARACTERS_MAX: Final = 60
_SPACES: Final = dict.fromkeys(map(ord, "\t\u00a0\u2007\u2009\u202f"), " ")
_NUMBER: Final = re.compile(r"[0-9](?:[0-9.,' \u2019]*[0-9])?")
_SEPARATORS: Final = re.compile(r"[.,' \u2019]")
_CURRENCY_CODES: Final = (
    "AED ARS AUD BDT BGN BHD BRL CAD CHF CLP CNY COP CZK DKK EGP EUR GBP HKD HUF IDR ILS INR ISK JOD JPY KES KRW KWD "
    "KZT LKR MAD MXN MYR NGN NOK NPR NZD OMR PEN PHP PKR PLN QAR RMB RON RSD RUB SAR SEK SGD THB TND TRY TWD UAH USD "
    "UYU VND ZAR"
)
_CURRENCY_WORDS: Final = (
    "A$ C$ CA$ CN¥ Fr Fr. Ft HK$ JP¥ Kč NT$ NZ$ R R$ RM Rp Rs Rs. S$ US$ kr kr. zł лв лв. د.إ 元 円"
)
_CURRENCIES: Final = frozenset([*_CURRENCY_CODES.split(), *_CURRENCY_WORDS.split()])
_YEAR_FIRST: Final = re.compile(r"([0-9]{4})([-/.])([0-9]{1,2})\2([0-9]{1,2})")
_YEAR_LAST: Final = re.compile(r"([0-9]{1,2})([-/. ])([0-9]{1,2})\2([0-9]{4})")
_DAY_MONTH: Final = re.compile(r"([0-9]{1,2})[- ]([A-Za-z]{3,9})[- ,]+([0-9]{4})")
_MONTH_DAY: Final = re.compile(r"([A-Za-z]{3,9})[- ]([0-9]{1,2})[- ,]+([0-9]{4})")
_MONTHS: Final = "january february march april may june july august september october november december"
_CLOCK: Final = re.compile(r"(.*?)[ ,T]+([0-9]{1,2}):([0-9]{2})(?::([0-9]{2}))?(?: ?([AaPp])\.?[Mm]\.?)?")
_OFFSET: Final = re.compile(r"([+-])([0-9]{2}):?([0-9]{2})")

DAY_FIRST: Final = "dd/MM/yyyy"
MONTH_FIRST: Final = "MM/dd/yyyy"


class Unreadable(ValueError):
    """The text has no reading, or more than one."""


def amount_of(text: str, *, decimal_separator: str | None = None) -> Decimal:
    """An amount such as `$ 60,000.00`, `60.000,00 €` or `₹12,34,567.00`. Raises Unreadable.

    Without a `decimal_separator`, `.` or `,`, the text has to show by itself which one it is.
    """
    plain = text.translate(_SPACES).strip()
    if len(plain) > _CHARACTERS_MAX:
        raise Unreadable("is too long for an amount")
    is_negative = plain.startswith("(") and plain.endswith(")")
    if is_negative:
        plain = plain[1:-1].strip()
    found = _NUMBER.search(plain)
    if found is None:
        raise Unreadable("has no digits")
    before, after = plain[: found.start()], plain[found.end() :]
    signs = [character for character in before if character in "+-\u2212"]
    if len(signs) > 1 or (signs and is_negative):
        raise Unreadable("has more than one sign")
    if signs and before.lstrip()[0] not in "+-\u2212" and before.rstrip()[-1] not in "+-\u2212":
        raise Unreadable("has a sign in the middle")
    prefix = before.replace(signs[0], "") if signs else before
    if before.endswith((".", ",", "'")):
        raise Unreadable("may begin with a decimal separator or not")
    if not (_is_currency(prefix.strip()) and _is_currency(after.strip())):
        raise Unreadable("has something other than a currency beside the number")
    value = _number(found.group().replace("\u2019", "'"), decimal_separator)
    return -value if is_negative or (signs and signs[0] != "+") else value


def day_of(text: str, *, date_format: str | None = None) -> date:
    """A day such as `2026-03-31`, `31/03/2026` or `Mar 31, 2026`. Raises Unreadable.

    `date_format` is `dd/MM/yyyy` or `MM/dd/yyyy`, whatever is between the parts.
    """
    plain = text.translate(_SPACES).strip()
    if len(plain) > _CHARACTERS_MAX:
        raise Unreadable("is too long for a day")
    try:
        if found := _YEAR_FIRST.fullmatch(plain):
            return date(int(found[1]), int(found[3]), int(found[4]))
        if found := _YEAR_LAST.fullmatch(plain):
            return _year_last(int(found[1]), int(found[3]), int(found[4]), date_format)
        if found := _DAY_MONTH.fullmatch(plain):
            return date(int(found[3]), _month(found[2]), int(found[1]))
        if found := _MONTH_DAY.fullmatch(plain):
            return date(int(found[3]), _month(found[1]), int(found[2]))
    except Unreadable:
        raise
    except ValueError:
        raise Unreadable("is not a day there is") from None
    raise Unreadable("is not a day such as 2026-03-31")


def moment_of(text: str, *, date_format: str | None = None, time_zone: str | None = None) -> datetime:
    """A moment, with an offset or in a `time_zone` (`Asia/Kolkata` or `+05:30`). Raises Unreadable."""
    plain = text.translate(_SPACES).strip()
    if len(plain) > _CHARACTERS_MAX:
        raise Unreadable("is too long for a time")
    try:
        moment = datetime.fromisoformat(plain) if ":" in plain else None
    except ValueError:
        moment = None
    if moment is None:
        moment = _local(plain, date_format)
    if moment.tzinfo is not None:
        if not is_instant(moment):
            raise Unreadable("is not a time there is")
        return moment
    if time_zone is None:
        raise Unreadable("has no offset from UTC and the delivery names no time_zone")
    zone = _zone(time_zone)
    try:
        first, second = (moment.replace(tzinfo=zone, fold=fold) for fold in (0, 1))
        is_plain = first.utcoffset() == second.utcoffset()
    except (OverflowError, ValueError):
        raise Unreadable("is not a time there is") from None
    if not is_plain:
        raise Unreadable(f"is a time that {time_zone} has twice or not at all")
    return first


def _number(core: str, decimal_separator: str | None) -> Decimal:
    """The value of digits with separators."""
    separators = _SEPARATORS.findall(core)
    if decimal_separator is None:
        decimal_separator = _decimal_separator(core, separators)
    if separators.count(decimal_separator) > 1:
        raise Unreadable(f"has more than one decimal separator {decimal_separator}")
    whole, _, fraction = core.partition(decimal_separator)
    if _SEPARATORS.search(fraction):
        raise Unreadable("has a separator after the decimal separator")
    return Decimal(f"{_ungrouped(whole)}.{fraction}" if fraction else _ungrouped(whole))


def _decimal_separator(core: str, separators: Sequence[str]) -> str:
    """Which separator is the decimal one, or one that does not occur when there is none. Raises Unreadable."""
    kinds = list(dict.fromkeys(separators))
    last = separators[-1] if separators else ""
    if last not in (".", ",") or separators.count(last) > 1:
        # All of them group, and what groups is the same everywhere.
        return "." if last != "." else ","
    if len(kinds) > 1:
        return last
    whole, _, fraction = core.partition(last)
    if len(fraction) == 3 and len(whole) <= 3 and not whole.startswith("0"):
        raise Unreadable(
            f"may have {last} as its decimal separator or between thousands: add decimal_separator to the delivery"
        )
    return last


def _ungrouped(whole: str) -> str:
    """Digits without what separates their groups: of three, or in India of two but for the last. Raises Unreadable."""
    kinds = set(_SEPARATORS.findall(whole))
    if not kinds:
        return whole
    if len(kinds) > 1:
        raise Unreadable("has different separators between thousands")
    first, *middle, last = whole.split(kinds.pop())
    if first.startswith("0"):
        raise Unreadable("has thousands that begin with a zero")
    sizes = {len(group) for group in middle}
    if len(last) == 3 and ((1 <= len(first) <= 3 and sizes <= {3}) or (1 <= len(first) <= 2 and sizes <= {2})):
        return "".join((first, *middle, last))
    raise Unreadable("has groups of digits that are no thousands")


def _is_currency(text: str) -> bool:
    """Whether it is a currency, or nothing, and no word that multiplies such as K, Mio or 万."""
    return all(part in _CURRENCIES or _is_symbol(part) for part in text.split(" ") if part)


def _is_symbol(text: str) -> bool:
    return len(text) == 1 and unicodedata.category(text) == "Sc"


def _year_last(first: int, second: int, year: int, date_format: str | None) -> date:
    if date_format == DAY_FIRST or (date_format is None and first > 12) or first == second:
        return date(year, second, first)
    if date_format == MONTH_FIRST or (date_format is None and second > 12):
        return date(year, first, second)
    raise Unreadable("may have the day or the month first: add date_format to the delivery")


def _month(name: str) -> int:
    """1 to 12. Raises ValueError."""
    matching = [number for number, month in enumerate(_MONTHS.split(), 1) if month.startswith(name.lower())]
    if len(matching) != 1:
        raise Unreadable("has a month of another language")
    return matching[0]


def _local(text: str, date_format: str | None) -> datetime:
    found = _CLOCK.fullmatch(text)
    if found is None:
        raise Unreadable("is not a time such as 2026-03-31T18:40:02+05:30")
    day = day_of(found[1], date_format=date_format)
    hour, minute, second = int(found[2]), int(found[3]), int(found[4] or 0)
    if half := found[5]:
        if not 1 <= hour <= 12:
            raise Unreadable("is not a time there is")
        hour = hour % 12 + (12 if half in "Pp" else 0)
    try:
        return datetime.combine(day, time(hour, minute, second))
    except ValueError:
        raise Unreadable("is not a time there is") from None


def _zone(name: str) -> tzinfo:
    found = _OFFSET.fullmatch(name)
    if found is not None:
        length = timedelta(hours=int(found[2]), minutes=int(found[3]))
        if length < timedelta(hours=15):
            return timezone(-length if found[1] == "-" else length)
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise Unreadable("is in a time_zone that is not known; one is Asia/Kolkata, or +05:30") from None
