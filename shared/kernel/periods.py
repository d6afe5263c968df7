"""Half-open date ranges and the fiscal calendar they come from."""

from dataclasses import dataclass
from datetime import MINYEAR, UTC, date, datetime, time, timedelta
from enum import StrEnum
from functools import cached_property
from itertools import pairwise
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

from shared.kernel.errors import InvalidInput
from shared.kernel.years import PLAIN_WEEKS, Weeks, YearRule
from shared.kernel.zones import offset_spans, time_zone

DAY_MAX = date.max


@dataclass(frozen=True, slots=True, order=True)
class Period:
    """The days from `start` up to, not including, `end`. Empty and reversed periods are refused (ValueError)."""

    start: date
    end: date

    def __post_init__(self) -> None:
        if self.start >= self.end:
            raise ValueError(f"a period must end after it starts, got [{self.start}, {self.end})")

    def __contains__(self, day: date) -> bool:
        return self.start <= day < self.end


class PeriodKind(StrEnum):
    """The lengths a fiscal calendar knows."""

    WEEK = "week"
    MONTH = "month"
    """In a year of weeks, the four or five of them that stand for a month."""
    QUARTER = "quarter"
    HALF = "half"
    YEAR = "year"


_MONTHS: Final = {PeriodKind.MONTH: 1, PeriodKind.QUARTER: 3, PeriodKind.HALF: 6, PeriodKind.YEAR: 12}


class DatedZone(NamedTuple):
    """From the day `start` on, days are counted in this zone."""

    start: date
    time_zone: str


class DaySpan(NamedTuple):
    """From the instant `start` on, a day is the date `offset` ahead of UTC, or `earliest` where that is later."""

    start: datetime
    offset: timedelta
    earliest: date


class _Regime(NamedTuple):
    start: datetime
    zone: ZoneInfo
    earliest: date


@dataclass(frozen=True)
class BusinessDays:
    """Which day each instant lies in: one for every instant, by the zone that was in force.

    The first zone is in force from the beginning of time. A later one begins with the instant at which the zone before
    it begins the day `start`: no instant of an earlier day moves, and each instant from there on lies in `start` or
    later. So where the later zone is behind, `start` is the longer for it, and where it is ahead the shorter.
    """

    zones: tuple[DatedZone, ...] = (DatedZone(date.min, "UTC"),)

    def __post_init__(self) -> None:
        for zone in self.zones:
            time_zone(zone.time_zone)

    def of(self, instant: datetime) -> date:
        """The day of an aware instant; the first or last day there is for one beyond it."""
        for regime in self._latest_first:
            if instant >= regime.start:
                return max(_local_date(instant, regime.zone), regime.earliest)
        return _local_date(instant, time_zone(self.zones[0].time_zone))

    def first_instant(self, day: date) -> datetime:
        """The first instant that lies in `day` or a later one."""
        for regime in self._latest_first:
            if day >= regime.earliest:
                return max(regime.start, _midnight(day, regime.zone))
        return _midnight(day, time_zone(self.zones[0].time_zone))

    def spans(self, period: Period) -> list[DaySpan]:
        """How to take the day of an instant without a time zone: for each that lies in `period` just as `of` does.

        In order; the first one starts where time does. Other instants get a day outside the period.
        """
        regimes = [*self._latest_first, _Regime(_BEGINNING, time_zone(self.zones[0].time_zone), date.min)][::-1]
        found: list[DaySpan] = []
        for number, regime in enumerate(regimes):
            ends = regimes[number + 1].start if number + 1 < len(regimes) else None
            spans = offset_spans(regime.zone.key, period.start.year - 1, period.end.year + 1)
            for place, span in enumerate(spans):
                start = max(span.start, regime.start) if place else regime.start
                is_over = place + 1 < len(spans) and spans[place + 1].start <= start
                if not is_over and (ends is None or start < ends):
                    found.append(DaySpan(start, span.offset, regime.earliest))
        return found

    @cached_property
    def _latest_first(self) -> tuple[_Regime, ...]:
        """All but the first."""
        found: list[_Regime] = []
        for before, later in pairwise(self.zones):
            midnight = _midnight(later.start, time_zone(before.time_zone))
            start = max(midnight, found[-1].start) if found else midnight
            found.append(_Regime(start, time_zone(later.time_zone), later.start))
        return tuple(reversed(found))


@dataclass(frozen=True, slots=True)
class CalendarChange:
    """From the day `start` on, years are cut in another way or days are counted in another zone."""

    start: date
    start_month: int
    time_zone: str
    weeks: Weeks = PLAIN_WEEKS

    @property
    def years(self) -> YearRule:
        """How years are cut from then on."""
        return YearRule(self.start_month, self.weeks)


@dataclass(frozen=True)
class FiscalCalendar:
    """A tenant's year: how it is cut and the zone its days are counted in, both as of a day.

    The first state is in force from the beginning of time, each of `changes` from its first day on: a change moves no
    instant before it to another day and no day before it to another period.
    """

    start_month: int = 1
    time_zone: str = "UTC"
    changes: tuple[CalendarChange, ...] = ()
    """In the order of their days, one a day."""
    weeks: Weeks = PLAIN_WEEKS

    def __post_init__(self) -> None:
        years = YearRule(self.start_month, self.weeks)
        if any(before.start >= later.start for before, later in pairwise(self.changes)):
            raise InvalidInput.field("/history", "is not in the order of its days", "each day once, in order")
        time_zone(self.time_zone)
        for change in self.changes:
            time_zone(change.time_zone)
            start, end = change.years.months(change.start, 1)
            if change.start != start and not years.same_years(change.years):
                raise InvalidInput.field(
                    "/start",
                    f"years are cut in another way from {change.start} on, in the middle of a month",
                    f"the first day of a month, or of what stands for one in a year of weeks: {start} or {end}",
                )
            years = change.years

    @cached_property
    def days(self) -> BusinessDays:
        """What decides the day of an instant."""
        zones = [DatedZone(date.min, self.time_zone)]
        for change in self.changes:
            if change.time_zone != zones[-1].time_zone:
                zones.append(DatedZone(change.start, change.time_zone))
        return BusinessDays(tuple(zones))

    def business_date(self, instant: datetime) -> date:
        """The tenant's calendar day at an aware instant; the first or last day there is for one beyond it."""
        return self.days.of(instant)

    def period_of(self, day: date, kind: PeriodKind) -> Period:
        """The week or the fiscal month, quarter, half or year that contains `day`.

        A change of how years are cut ends the period it falls into, and the next one starts on its first day. Where
        both ways give the same periods of this kind, nothing is cut.
        """
        since, years, until = self._rule(day, kind)
        length = _MONTHS.get(kind)
        start, end = years.weeks.of(day) if length is None else years.months(day, length)
        return Period(max(start, since), min(end, until))

    def periods_in(self, period: Period, kind: PeriodKind) -> list[Period]:
        """Every period of the kind with a day in `period`, in order: whole ones, also those that reach beyond it."""
        found = [self.period_of(period.start, kind)]
        while found[-1].end < period.end:
            found.append(self.period_of(found[-1].end, kind))
        return found

    def _rule(self, day: date, kind: PeriodKind) -> tuple[date, YearRule, date]:
        """From and up to when, around `day`, periods of the kind are cut like this."""
        since, years = date.min, YearRule(self.start_month, self.weeks)
        for change in self.changes:
            if not _cut_alike(years, change.years, kind):
                if day < change.start:
                    return since, years, change.start
                since, years = change.start, change.years
        return since, years, DAY_MAX


def _cut_alike(one: YearRule, other: YearRule, kind: PeriodKind) -> bool:
    length = _MONTHS.get(kind)
    return one.weeks.start is other.weeks.start if length is None else one.cuts_like(other, length)


_BEGINNING: Final = datetime.min.replace(tzinfo=UTC)


def _local_date(instant: datetime, zone: ZoneInfo) -> date:
    try:
        return instant.astimezone(zone).date()
    except OverflowError:
        return date.min if instant.year == MINYEAR else date.max


def _midnight(day: date, zone: ZoneInfo) -> datetime:
    """The first instant whose day in the zone is `day` or later."""
    return datetime.combine(day, time.min, tzinfo=zone).astimezone(UTC)


@dataclass(frozen=True, slots=True)
class DatedRange:
    """When an effective-dated fact is in force: from `start` on, up to `end`, or for good when `end` is None."""

    start: date
    end: date | None = None

    def __post_init__(self) -> None:
        if self.end is not None and self.end <= self.start:
            raise InvalidInput.field("/end", f"{self.end} is not after the start {self.start}", "a later date, or null")

    def __contains__(self, day: date) -> bool:
        return self.start <= day and (self.end is None or day < self.end)

    def overlaps(self, other: "DatedRange") -> bool:
        """Whether some day lies in both."""
        return (self.end is None or other.start < self.end) and (other.end is None or self.start < other.end)

    def covers(self, other: "DatedRange") -> bool:
        """Whether every day of the other lies in this."""
        return self.start <= other.start and (self.end is None or (other.end is not None and other.end <= self.end))

    def intersection(self, other: "DatedRange") -> "DatedRange | None":
        """When both are in force, or None."""
        start = max(self.start, other.start)
        ends = [end for end in (self.end, other.end) if end is not None]
        end = min(ends) if ends else None
        return None if end is not None and end <= start else DatedRange(start, end)

    def within(self, period: Period) -> Period | None:
        """The part of `period` in which this is in force."""
        start, end = max(self.start, period.start), min(self.end or DAY_MAX, period.end)
        return Period(start, end) if start < end else None
