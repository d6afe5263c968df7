"""The fiscal calendar, what is in force from a day on, and which changes are refused."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from functools import cached_property
from operator import itemgetter
from typing import TypeVar

from shared.kernel.errors import NotFound
from shared.kernel.money import parse_currency
from shared.kernel.periods import CalendarChange, FiscalCalendar

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
    """From the tenant's day of the request on. For another start month, from the first day of a month that follows."""


@dataclass(frozen=True, slots=True)
class CalendarTerms:
    """How a tenant counts its days from some day on, and the currency it thinks in."""

    start_month: int
    time_zone: str
    currency: str

    def __post_init__(self) -> None:
        FiscalCalendar(self.start_month, self.time_zone)
        parse_currency(self.currency)


@dataclass(frozen=True)
class Calendar:
    """What is in force from the beginning of time, and every change with its first day, in order."""

    version: int
    always: CalendarTerms
    changes: tuple[tuple[date, CalendarTerms], ...] = ()

    @cached_property
    def fiscal(self) -> FiscalCalendar:
        """What cuts the years and days. InvalidInput where a start month changes within a month."""
        return _fiscal(self.always, self.changes)

    def on(self, day: date) -> CalendarTerms:
        """What is in force on a day."""
        return in_force(self.always, self.changes, day)

    def with_terms(self, start: date | FirstDay, terms: CalendarTerms, now: datetime) -> "Calendar":
        """The next version: these terms from `start` on, up to the next change. Raises InvalidInput."""
        if start is FirstDay.TODAY:
            start = self.fiscal.business_date(now)
            if terms.start_month != self.on(start).start_month and start.day != 1:
                start = date(start.year + start.month // 12, start.month % 12 + 1, 1)
        always, changes = restated(self.always, self.changes, start, terms)
        _fiscal(always, changes)
        return Calendar(self.version + 1, always, changes)


def _fiscal(always: CalendarTerms, changes: Sequence[tuple[date, CalendarTerms]]) -> FiscalCalendar:
    dated = (CalendarChange(start, terms.start_month, terms.time_zone) for start, terms in changes)
    return FiscalCalendar(always.start_month, always.time_zone, tuple(dated))


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
