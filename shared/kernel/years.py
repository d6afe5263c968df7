"""How fiscal years are cut: into calendar months, or into the whole weeks of a retail year."""

from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum
from typing import Final

from shared.kernel.errors import InvalidInput

_WEEK: Final = timedelta(days=7)


class Weekday(StrEnum):
    """A day of the week."""

    MONDAY = "monday"
    TUESDAY = "tuesday"
    WEDNESDAY = "wednesday"
    THURSDAY = "thursday"
    FRIDAY = "friday"
    SATURDAY = "saturday"
    SUNDAY = "sunday"

    @classmethod
    def of(cls, day: date) -> "Weekday":
        """The weekday of a day."""
        return _WEEKDAYS[day.weekday()]


_WEEKDAYS: Final = tuple(Weekday)


class YearPattern(StrEnum):
    """What a year is made of: twelve calendar months, or for each quarter three runs of so many weeks."""

    MONTHS = "months"
    WEEKS_4_4_5 = "4-4-5"
    WEEKS_4_5_4 = "4-5-4"
    WEEKS_5_4_4 = "5-4-4"


class YearEnd(StrEnum):
    """Where a year of whole weeks ends: on the last day of a week that is nearest to the end of the month before
    `start_month`, or on the last such day in that month.

    Both are the 52-53-week tax years of IRS Publication 538; NRF's retail year is `nearest` to the end of January.
    """

    NEAREST = "nearest"
    LAST = "last"


@dataclass(frozen=True, slots=True)
class Weeks:
    """The weekday weeks start on, and whether and how a year is made of weeks."""

    start: Weekday = Weekday.MONDAY
    pattern: YearPattern = YearPattern.MONTHS
    year_end: YearEnd = YearEnd.NEAREST
    """Counts only where the pattern is one of weeks."""

    def of(self, day: date) -> tuple[date, date]:
        """The week that contains the day: its first day and the first day after."""
        start = day - timedelta(days=(day.weekday() - _WEEKDAYS.index(self.start)) % 7)
        return start, start + _WEEK


PLAIN_WEEKS: Final = Weeks()
"""Weeks from Monday, and years of calendar months."""


@dataclass(frozen=True, slots=True)
class YearRule:
    """How every year is cut. A year of weeks has 52 of them or 53; the 53rd is in its last month."""

    start_month: int = 1
    weeks: Weeks = PLAIN_WEEKS

    def __post_init__(self) -> None:
        if not 1 <= self.start_month <= 12:
            raise InvalidInput.field("/start_month", f"{self.start_month} is not a month", "1 to 12")

    def months(self, day: date, length: int) -> tuple[date, date]:
        """The run of `length` months of the year that contains `day`: its first day and the first day after.

        `length` is 1, 3, 6 or 12; a month is what stands for one in a year of weeks.
        """
        if self.weeks.pattern is YearPattern.MONTHS:
            start = _add_months(day.replace(day=1), -((day.month - self.start_month) % length))
            return start, _add_months(start, length)
        year = next(year for year in (day.year + 1, day.year, day.year - 1) if self._start_of(year) <= day)
        start, end = self._start_of(year), self._start_of(year + 1)
        weeks = [int(text) for text in self.weeks.pattern.split("-")] * 4
        lengths = [sum(weeks[first : first + length]) for first in range(0, 12, length)]
        for length_in_weeks in lengths[:-1]:
            after = start + length_in_weeks * _WEEK
            if day < after:
                return start, after
            start = after
        return start, end

    def cuts_like(self, other: "YearRule", length: int) -> bool:
        """Whether runs of `length` months are the same by both rules, whatever the day."""
        if self.weeks.pattern is YearPattern.MONTHS or other.weeks.pattern is YearPattern.MONTHS:
            same = (self.start_month - other.start_month) % length == 0
            return self.weeks.pattern is other.weeks.pattern and same
        if length == 1 and self.weeks.pattern is not other.weeks.pattern:
            return False
        mine, theirs = ((rule.start_month, rule.weeks.start, rule.weeks.year_end) for rule in (self, other))
        return mine == theirs

    def same_years(self, other: "YearRule") -> bool:
        """Whether months, quarters, halves and years are the same by both rules."""
        return all(self.cuts_like(other, length) for length in (1, 3, 6, 12))

    def _start_of(self, year: int) -> date:
        """The first day of the year of weeks that belongs to the first of the start month of a calendar year."""
        first = date(year, self.start_month, 1)
        before, after = self.weeks.of(first)
        is_last = self.weeks.year_end is YearEnd.LAST
        return before if is_last or first - before < after - first else after


def _add_months(day: date, months: int) -> date:
    index = day.year * 12 + day.month - 1 + months
    return date(index // 12, index % 12 + 1, 1)
