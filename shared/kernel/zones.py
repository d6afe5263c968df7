"""Time zones: which names are accepted, and how far each is ahead of UTC at any instant, as `zoneinfo` decides it.

The day of an instant is decided by `zoneinfo` alone. Whoever needs it elsewhere, such as a query, is given the offsets
that `zoneinfo` decided. It reads the zones of the `tzdata` package, in every process that has imported this: what a day
is does not depend on what a machine has installed.
"""

from collections.abc import Iterator
from datetime import MAXYEAR, MINYEAR, UTC, datetime, timedelta
from functools import lru_cache
from importlib.resources import files
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, reset_tzpath

from shared.kernel.errors import InvalidInput

# Until then the history of a zone may have any two changes four days apart; its rule for later has two a year.
_RULED_FROM_YEAR: Final = 2100
_STEP: Final = timedelta(days=1)
_STEP_RULED: Final = timedelta(days=28)
_SECOND: Final = timedelta(seconds=1)
_NO_PLACE: Final = "Factory"
_OTHER_TREES: Final = ("posix/", "right/")
_FALLBACK: Final = "UTC"

reset_tzpath(())
ZoneInfo.clear_cache()


class OffsetSpan(NamedTuple):
    """From an instant on, a zone is `offset` ahead of UTC."""

    start: datetime
    offset: timedelta


@lru_cache(maxsize=1024)
def time_zone(name: str) -> ZoneInfo:
    """The zone of a name in the IANA database, old names such as Asia/Calcutta among them.

    Raises InvalidInput naming /time_zone. Names of what a machine happens to have beside the database, such as
    `localtime`, are none.
    """
    if name in _names():
        try:
            return ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            pass
    raise InvalidInput.field(
        "/time_zone",
        f"{name!r} is not a time zone of a place",
        "a name of the IANA database, such as Asia/Shanghai, Europe/Berlin or UTC",
    )


def stored_zone(name: str) -> str:
    """The accepted name for one stored before: itself, the place in another tree's name, or UTC.

    Earlier releases accepted whatever the machine could read, so what is stored may be any of these.
    """
    for prefix in _OTHER_TREES:
        name = name.removeprefix(prefix)
    try:
        time_zone(name)
    except InvalidInput:
        return _FALLBACK
    return name


def offset_spans(name: str, first_year: int, last_year: int) -> list[OffsetSpan]:
    """The offsets of an accepted zone at every instant of the years in UTC, in order; years outside time have none.

    The first span is in force before the years too and the last one behind them.
    """
    spans: list[OffsetSpan] = []
    for year in range(max(first_year, MINYEAR), min(last_year, MAXYEAR) + 1):
        for span in _spans_of_year(name, year):
            if not spans or spans[-1].offset != span.offset:
                spans.append(span)
    return spans


@lru_cache(maxsize=1)
def _names() -> frozenset[str]:
    listed = files("tzdata").joinpath("zones").read_text(encoding="utf-8").split()
    return frozenset(listed) - {_NO_PLACE}


@lru_cache(maxsize=4096)
def _spans_of_year(name: str, year: int) -> tuple[OffsetSpan, ...]:
    return tuple(_changes(time_zone(name), year))


def _changes(zone: ZoneInfo, year: int) -> Iterator[OffsetSpan]:
    """The offset at the start of the year, and each change in it to the second."""
    step = _STEP if year < _RULED_FROM_YEAR else _STEP_RULED
    start = datetime(year, 1, 1, tzinfo=UTC)
    last = datetime(year, 12, 31, 23, 59, 59, tzinfo=UTC)
    offset = _offset(zone, start)
    yield OffsetSpan(start, offset)
    while start < last:
        end = min(start + step, last) if last - start > step else last
        after = _offset(zone, end)
        if after != offset:
            yield OffsetSpan(_first_with(zone, start, end, after), after)
            offset = after
        start = end


def _first_with(zone: ZoneInfo, before: datetime, end: datetime, offset: timedelta) -> datetime:
    """The first second after `before`, up to `end`, that has this offset and not the one of `before`."""
    while end - before > _SECOND:
        middle = before + (end - before) // 2
        middle = middle.replace(microsecond=0)
        if _offset(zone, middle) == offset:
            end = middle
        else:
            before = middle
    return end


def _offset(zone: ZoneInfo, instant: datetime) -> timedelta:
    """How far the zone is ahead; at the ends of time, where the local time is in no year, what it is a day inside."""
    try:
        local = instant.astimezone(zone)
    except OverflowError:
        inside = instant + _STEP if instant.year == MINYEAR else instant - _STEP
        local = inside.astimezone(zone)
    offset = local.utcoffset()
    if offset is None:
        raise ValueError(f"{zone} has no offset at {instant}")
    return offset
