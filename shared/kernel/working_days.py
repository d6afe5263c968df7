"""Which days are worked: by the week, by a country's public holidays and make-up days, and by a company's own days."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from enum import StrEnum
from typing import Final, NamedTuple

from shared.kernel.errors import InvalidInput
from shared.kernel.periods import Period
from shared.kernel.years import Weekday

_WEEKEND: Final = frozenset({Weekday.SATURDAY, Weekday.SUNDAY})

Region = tuple[str, str | None]
"""A country (ISO 3166-1 alpha-2) and a subdivision of it, or None for the country at large."""


class DayReason(StrEnum):
    """Why a day is worked or not, the first that applies from the top down."""

    EXTRA = "extra"
    """Worked: the company says so."""
    DAY_OFF = "day_off"
    """Not worked: the company says so."""
    MAKE_UP = "make_up"
    """Worked, on a weekend: the government moved a day off elsewhere."""
    HOLIDAY = "holiday"
    """Not worked: a public holiday, or a day off for one."""
    WEEKEND = "weekend"
    WORKDAY = "workday"


_WORKED: Final = frozenset({DayReason.EXTRA, DayReason.MAKE_UP, DayReason.WORKDAY})


class DayState(NamedTuple):
    """Whether a day is worked and why; a guess where its public holidays have not been published."""

    is_worked: bool
    reason: DayReason
    is_guess: bool


@dataclass(frozen=True, slots=True)
class NationalDays:
    """The days of a region that differ from its week, known from `start` up to, not including, `end`.

    From `published_until` on, and where `estimated`, they are guesses: the government has not stated them yet, or the
    moon decides.
    """

    start: date
    end: date
    published_until: date
    weekend: frozenset[Weekday] = _WEEKEND
    off: frozenset[date] = frozenset()
    worked: frozenset[date] = frozenset()
    estimated: frozenset[date] = frozenset()

    def is_published(self, day: date) -> bool:
        """Whether the government has stated the holidays of the day's year."""
        return self.start <= day < self.published_until

    def after(self, earlier: "NationalDays") -> "NationalDays":
        """These days, and before them those that were known earlier and are further back than what is known now."""
        if not earlier.start < self.start <= earlier.end:
            return self
        past = days_of(Period(earlier.start, self.start))
        worked = {day for day in past if earlier._is_worked(day)}
        by_the_week = {day for day in past if Weekday.of(day) not in self.weekend}
        return replace(
            self,
            start=earlier.start,
            off=self.off | (by_the_week - worked),
            worked=self.worked | (worked - by_the_week),
            estimated=self.estimated | {day for day in earlier.estimated if day < self.start},
        )

    def _is_worked(self, day: date) -> bool:
        return day in self.worked or (day not in self.off and Weekday.of(day) not in self.weekend)


@dataclass(frozen=True, slots=True)
class WorkRule:
    """Where a company works, its own days off and its extra working days. Without a country no day is a holiday.

    A subdivision without a country, and a day that is off and worked, are refused (InvalidInput).
    """

    country: str | None = None
    subdivision: str | None = None
    days_off: frozenset[date] = frozenset()
    extra_working_days: frozenset[date] = frozenset()

    def __post_init__(self) -> None:
        if self.subdivision is not None and self.country is None:
            raise InvalidInput.field("/subdivision", "is of no country", "a country beside it, or null")
        if both := sorted(self.days_off & self.extra_working_days):
            raise InvalidInput.field(
                "/extra_working_days", f"{both[0]} is in `days_off` as well", "each day in one of them"
            )

    @property
    def region(self) -> Region | None:
        """Whose public holidays are kept."""
        return None if self.country is None else (self.country, self.subdivision)


BY_THE_WEEK: Final = WorkRule()
"""Every day from Monday to Friday."""


@dataclass(frozen=True)
class WorkingDays:
    """Which days a tenant works: by the rule that is in force on the day."""

    rules: tuple[tuple[date, WorkRule], ...] = ((date.min, BY_THE_WEEK),)
    """Each with its first day, in order; the first from the beginning of time."""
    national: Mapping[Region, NationalDays] = field(default_factory=dict)
    """Of the region of every rule."""

    def on(self, day: date) -> DayState:
        """Whether the day is worked."""
        rule, national = self._in_force(day)
        if day in rule.extra_working_days:
            return DayState(True, DayReason.EXTRA, False)
        if day in rule.days_off:
            return DayState(False, DayReason.DAY_OFF, False)
        if national is None:
            reason = DayReason.WEEKEND if Weekday.of(day) in _WEEKEND else DayReason.WORKDAY
            return DayState(reason in _WORKED, reason, False)
        if day in national.worked:
            reason = DayReason.MAKE_UP
        elif day in national.off:
            reason = DayReason.HOLIDAY
        else:
            reason = DayReason.WEEKEND if Weekday.of(day) in national.weekend else DayReason.WORKDAY
        return DayState(reason in _WORKED, reason, day in national.estimated or not national.is_published(day))

    def is_published(self, day: date) -> bool:
        """Whether the public holidays and make-up days around the day are known, not guessed."""
        _, national = self._in_force(day)
        return national is None or national.is_published(day)

    def count(self, period: Period) -> int:
        """How many days of the period are worked."""
        return sum(self.on(day).is_worked for day in days_of(period))

    def _in_force(self, day: date) -> tuple[WorkRule, NationalDays | None]:
        rule = next(rule for start, rule in reversed(self.rules) if start <= day)
        return rule, None if rule.region is None else self.national[rule.region]


def days_of(period: Period) -> list[date]:
    """Every day of the period, in order."""
    return [period.start + timedelta(number) for number in range((period.end - period.start).days)]
