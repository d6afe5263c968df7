"""What comes from outside as text, read by one guarded reader a type.

Each returns None for what it cannot read, and never raises, however long, strange or far off it is. What it returns can
be stored, compared and converted to UTC. Who calls it knows where the value stood, and says so.
"""

import re
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from email.utils import parsedate_to_datetime
from typing import Final

INTEGER_MAX: Final = 2**63 - 1
"""The largest number that a column can store."""
FIRST_INSTANT: Final = datetime.min.replace(tzinfo=UTC)
LAST_INSTANT: Final = datetime.max.replace(tzinfo=UTC)
"""What lies beyond them in UTC is no time there, though another zone may still write it as one."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECONDS_MAX: Final = (LAST_INSTANT - _EPOCH) // timedelta(milliseconds=1)
_PLACES_MAX: Final = 1000
_INSTANT_CHARACTERS_MAX: Final = 64
_DECIMAL: Final = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,9})?")
_DAY: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


def read_whole_number(value: object, *, maximum: int = INTEGER_MAX) -> int | None:
    """A whole number from 0 to `maximum`, or the decimal digits of one."""
    if isinstance(value, str):
        if not value.isascii() or not value.isdigit() or len(value) > len(str(maximum)):
            return None
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if 0 <= value <= maximum else None


def read_decimal(value: object) -> Decimal | None:
    """A finite number, or the ASCII digits of one: no separators between them, no digits of other scripts.

    None too for one with more than a thousand places, which nobody means and which could not be written out.
    """
    if isinstance(value, str):
        value = value.strip()
        if len(value) > _PLACES_MAX or not _DECIMAL.fullmatch(value):
            return None
    if isinstance(value, bool) or not isinstance(value, str | int | Decimal):
        return None
    number = Decimal(value)
    return number if number.is_finite() and abs(number.adjusted()) < _PLACES_MAX else None


def read_day(text: str) -> date | None:
    """A day as YYYY-MM-DD."""
    if not _DAY.fullmatch(text):
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


def read_instant(text: str, *, assume_utc: bool = False) -> datetime | None:
    """A moment of ISO 8601, with the offset it was written with; without one only where that is to mean UTC."""
    if len(text) > _INSTANT_CHARACTERS_MAX:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        return moment.replace(tzinfo=UTC) if assume_utc else None
    return moment if is_instant(moment) else None


def is_instant(moment: datetime) -> bool:
    """Whether a moment has an offset and is one in UTC as well: 1 January of year 1 at +14:00 is none."""
    return moment.utcoffset() is not None and FIRST_INSTANT <= moment <= LAST_INSTANT


def read_unix_seconds(value: object) -> datetime | None:
    """The moment of so many seconds since 1970, a whole number or the digits of one."""
    seconds = read_whole_number(value, maximum=_MILLISECONDS_MAX // 1000)
    return None if seconds is None else _EPOCH + timedelta(seconds=seconds)


def read_unix_milliseconds(value: object) -> datetime | None:
    """The moment of so many milliseconds since 1970, a whole number or the digits of one."""
    milliseconds = read_whole_number(value, maximum=_MILLISECONDS_MAX)
    return None if milliseconds is None else _EPOCH + timedelta(milliseconds=milliseconds)


def read_http_date(text: str) -> datetime | None:
    """The moment of a Date or Retry-After header (RFC 9110), in UTC."""
    if len(text) > _INSTANT_CHARACTERS_MAX:
        return None
    try:
        moment = parsedate_to_datetime(text)
        # A date without an offset, which RFC 5322 allows, is one in UTC.
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError, TypeError, IndexError):
        return None


def read_retry_after(text: str, *, now: datetime | None, maximum: timedelta) -> timedelta | None:
    """The wait in a Retry-After header (RFC 9110), `maximum` at most: seconds, or a date where `now` is known."""
    text = text.strip()
    if text.isascii() and text.isdigit():
        seconds = read_whole_number(text, maximum=maximum // timedelta(seconds=1))
        return maximum if seconds is None else timedelta(seconds=seconds)
    at = read_http_date(text)
    return None if at is None or now is None else min(maximum, max(timedelta(0), at - now))


def is_text(raw: str) -> bool:
    """Whether it is made of characters that can be stored: no NUL, no half of a surrogate pair."""
    return not any(char == "\0" or "\ud800" <= char <= "\udfff" for char in raw)
