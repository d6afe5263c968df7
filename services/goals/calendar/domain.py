"""The fiscal calendar, what is in force from a day on, and which changes are refused."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from enum import StrEnum
from functools import cached_property
from operator import itemgetter
from typing import TypeVar

from shared.kernel.errors import NotFound
from shared.kernel.money import parse_currency
from shared.kernel.periods import CalendarChange, FiscalCalendar
from shared.kernel.working_days import BY_THE_WEEK, NationalDays, Region, WorkingDays, WorkRule
from shared.kernel.years import PLAIN_WEEKS, Weeks, YearRule

T = TypeVar("T")


class CalendarNotSet(NotFound):
    """Nobody has set the fiscal calendar of this tenant yet."""

    code = "calendar_not_set"
    title = "Calendar not set"


class FirstDay(StrEnum):
    """From when a change is in force, where no day is named."""

    BEGINNING = "beginning"
    """From the beginning of time: what was stated first was wrong."""
    TODAY = "today"
    """From the tenant's day of the request on. Where years are cut in another way, from the next first day of a month
    on, or of what stands for one in a year of weeks."""


@dataclass(frozen=True, slots=True)
class CalendarTerms:
    """How a tenant cuts its years, counts and works its days from some day on, and the currency it thinks in."""

    start_month: int
    time_zone: str
    currency: str
    weeks: Weeks = PLAIN_WEEKS
    work: WorkRule = BY_THE_WEEK

    def __post_init__(self) -> None:
        FiscalCalendar(self.start_month, self.time_zone, weeks=self.weeks)
        parse_currency(self.currency)

    @property
    def years(self) -> YearRule:
        """How years are cut."""
        return YearRule(self.start_month, self.weeks)


@dataclass(frozen=True)
class Calendar:
    """What is in force from the beginning of time, and every change with its first day, in order."""

    version: int
    always: CalendarTerms
    changes: tuple[tuple[date, CalendarTerms], ...] = ()
    national: Mapping[Region, NationalDays] = field(default_factory=dict)
    """What was known of the public holidays of each region when this version was made, of every region of a state."""

    @cached_property
    def fiscal(self) -> FiscalCalendar:
        """What cuts the years and days. InvalidInput where a start month changes within a month."""
        return _fiscal(self.always, self.changes)

    @cached_property
    def working_days(self) -> WorkingDays:
        """Which days are worked."""
        states = [(date.min, self.always), *self.changes]
        return WorkingDays(tuple((start, terms.work) for start, terms in states), self.national)

    @property
    def regions(self) -> frozenset[Region]:
        """Every region whose public holidays are or were kept, or will be."""
        states = [self.always, *(terms for _, terms in self.changes)]
        return frozenset(terms.work.region for terms in states if terms.work.region is not None)

    def on(self, day: date) -> CalendarTerms:
        """What is in force on a day."""
        return in_force(self.always, self.changes, day)

    def with_national(self, known: Mapping[Region, NationalDays]) -> "Calendar":
        """The same version by what is known of public holidays now.

        What was known of days further back, and of a region of which nothing is known any more, stays.
        """
        stored = self.national
        return replace(
            self,
            national={
                region: stored[region]
                if region not in known
                else known[region].after(stored[region])
                if region in stored
                else known[region]
                for region in sorted(self.regions, key=str)
            },
        )

    def with_terms(self, start: date | FirstDay, terms: CalendarTerms, now: datetime) -> "Calendar":
        """The next version: these terms from `start` on, up to the next change. Raises InvalidInput."""
        if start is FirstDay.TODAY:
            start = self.fiscal.business_date(now)
            if not terms.years.same_years(self.on(start).years):
                first, after = terms.years.months(start, 1)
                start = start if start == first else after
        always, changes = restated(self.always, self.changes, start, terms)
        _fiscal(always, changes)
        return replace(self, version=self.version + 1, always=always, changes=changes)


def _fiscal(always: CalendarTerms, changes: Sequence[tuple[date, CalendarTerms]]) -> FiscalCalendar:
    dated = (CalendarChange(start, terms.start_month, terms.time_zone, terms.weeks) for start, terms in changes)
    return FiscalCalendar(always.start_month, always.time_zone, tuple(dated), always.weeks)


def in_force(always: T, changes: Sequence[tuple[date, T]], day: date) -> T:
    """What is in force on a day: the change with the latest first day up to it."""
    return next((state for start, state in reversed(changes) if start <= day), always)


def restated(
    always: T, changes: Sequence[tuple[date, T]], start: date | FirstDay, state: T
) -> tuple[T, tuple[tuple[date, T], ...]]:
    """With `state` from a day or the beginning on, up to the next change; one with the same first day is replaced.

    A change to what is in force anyway is none: so a change is taken back.
    """
    if isinstance(start, FirstDay):
        return state, tuple(changes)
    others = [change for change in changes if change[0] != start]
    before = in_force(always, [change for change in others if change[0] < start], start)
    return always, tuple(others if state == before else sorted([*others, (start, state)], key=itemgetter(0)))
