"""Requests and answers of the calendar."""

from datetime import date, datetime
from typing import Annotated, Final, Literal, Self

from pydantic import BaseModel, Field, JsonValue
from typing_extensions import TypedDict

from services.goals.calendar.domain import Calendar, CalendarTerms, FirstDay
from shared.contracts.base import Currency, Day
from shared.http.schemas import body_example
from shared.kernel.periods import FiscalCalendar, Period, PeriodKind
from shared.kernel.working_days import DayReason, WorkingDays, WorkRule, days_of
from shared.kernel.years import Weekday, Weeks, YearEnd, YearPattern

_CALENDAR: dict[str, JsonValue] = {"start_month": 4, "time_zone": "Asia/Shanghai", "currency": "CNY"}


def _stretch(start: str, end: str, days: int, working_days: int) -> dict[str, JsonValue]:
    return {"start": start, "end": end, "days": days, "working_days": working_days}


_YEAR = _stretch("2026-01-01", "2027-01-01", 365, 248)
_FIRST_HALF = _stretch("2026-01-01", "2026-07-01", 181, 120)
_FIRST_QUARTER = _stretch("2026-01-01", "2026-04-01", 90, 59)
_JUNE = _stretch("2026-06-01", "2026-07-01", 30, 21)
_WEEK = _stretch("2026-06-29", "2026-07-06", 7, 5)
_WEEK_IN_JUNE = _stretch("2026-06-29", "2026-07-01", 2, 2)
_WEEK_IN_JULY = _stretch("2026-07-01", "2026-07-06", 5, 3)
Version = Annotated[int, Field(ge=1, description="Grows with every change; its ETag goes into If-Match.")]


class _CalendarMembers(TypedDict):
    start_month: int
    time_zone: str
    currency: str
    pattern: YearPattern
    week_start: Weekday
    year_end: YearEnd
    country: str | None
    subdivision: str | None
    days_off: list[date]
    extra_working_days: list[date]


FirstDayOf = Day | Literal["beginning"]
FIRST_DAY: Final = (
    "The first day it is in force; what lies before stays as it is. `beginning`: from the beginning of time, for what"
    " was stated wrongly. A change with the same first day is replaced; stating what was in force before takes it back."
)


def first_day(start: FirstDayOf | None) -> date | FirstDay:
    """From when on; from the tenant's today on where none is named."""
    if start is None:
        return FirstDay.TODAY
    return start if isinstance(start, date) else FirstDay(start)


class CalendarFields(BaseModel):
    """The fiscal year, the zone days are counted in, the days that are worked and the home currency."""

    start_month: int = Field(ge=1, le=12, description="The month the fiscal year starts in.")
    time_zone: str = Field(max_length=64, description="IANA name of a place, such as Asia/Shanghai, or UTC.")
    currency: Currency
    pattern: YearPattern = Field(
        YearPattern.MONTHS,
        description="What a year is made of: calendar months, or for each quarter three runs of so many weeks, and"
        " where a 53rd week falls into the year, one more in its last.",
    )
    week_start: Weekday = Field(Weekday.MONDAY, description="The day weeks start on.")
    year_end: YearEnd = Field(
        YearEnd.NEAREST,
        description="Where a year of weeks ends: on the last day of a week that is `nearest` to the end of the month"
        " before `start_month`, or on the `last` one in that month.",
    )
    country: str | None = Field(
        None, pattern="^[A-Z]{2}$", description="ISO 3166-1 code of the country whose public holidays are kept."
    )
    subdivision: str | None = Field(
        None,
        max_length=20,
        description="Of the country, such as CA of US or BY of DE, where it has holidays of its own.",
    )
    days_off: list[Day] = Field([], max_length=1_000, description="Days that are not worked, whatever day they are.")
    extra_working_days: list[Day] = Field(
        [], max_length=1_000, description="Days that are worked, whatever day they are."
    )


class CalendarBody(CalendarFields):
    """What is in force from a day on, up to the next change."""

    model_config = body_example(**_CALENDAR, start="2026-07-01")

    start: FirstDayOf | None = Field(
        None,
        description=f"{FIRST_DAY} Left out: the tenant's today, or where years are cut in another way the next first"
        " day of a month, or of what stands for one in a year of weeks. The first calendar of a tenant is in force from"
        " the beginning, whatever day is named.",
    )

    def terms(self) -> CalendarTerms:
        """Raises InvalidInput naming the field that is wrong."""
        weeks = Weeks(self.week_start, self.pattern, self.year_end)
        work = WorkRule(self.country, self.subdivision, frozenset(self.days_off), frozenset(self.extra_working_days))
        return CalendarTerms(self.start_month, self.time_zone, self.currency, weeks, work)


class DatedCalendar(CalendarFields):
    """What is or was in force from a day on, up to the next."""

    start: date | None = Field(description="First day; null for the beginning of time.")


class CalendarAnswer(CalendarFields):
    """The tenant's calendar as in force today, and as it was and will be."""

    model_config = body_example(**_CALENDAR, version=1, history=[{"start": None, **_CALENDAR}])

    version: Version
    history: list[DatedCalendar] = Field(description="In order, without a gap.")

    @classmethod
    def of(cls, calendar: Calendar, now: datetime) -> Self:
        return cls(
            version=calendar.version,
            **_fields(calendar.on(calendar.fiscal.business_date(now))),
            history=[
                DatedCalendar(start=None, **_fields(calendar.always)),
                *(DatedCalendar(start=start, **_fields(terms)) for start, terms in calendar.changes),
            ],
        )


def _fields(terms: CalendarTerms) -> _CalendarMembers:
    return {
        "start_month": terms.start_month,
        "time_zone": terms.time_zone,
        "currency": terms.currency,
        "pattern": terms.weeks.pattern,
        "week_start": terms.weeks.start,
        "year_end": terms.weeks.year_end,
        "country": terms.work.country,
        "subdivision": terms.work.subdivision,
        "days_off": sorted(terms.work.days_off),
        "extra_working_days": sorted(terms.work.extra_working_days),
    }


class CalendarPeriod(BaseModel):
    """A week, month, quarter, half or year, from `start` up to, not including, `end`."""

    start: date
    end: date
    days: int
    working_days: int


class CalendarWeek(CalendarPeriod):
    """A week, and how many of its days lie in which month: it belongs to months day by day."""

    months: list[CalendarPeriod] = Field(description="The part of the week in each month it has days in.")


class CalendarDay(BaseModel):
    """A day on which is worked otherwise than by its week."""

    day: date
    is_worked: bool
    reason: DayReason = Field(
        description="The company's `extra` or `day_off`; a public `holiday`, or a `make_up` for one on a weekend."
    )
    is_guess: bool = Field(description="It has not been published yet, or depends on the moon.")


class CalendarYearAnswer(CalendarPeriod):
    """A fiscal year and what it is made of."""

    model_config = body_example(
        **_YEAR,
        guessed_from=None,
        halves=[_FIRST_HALF],
        quarters=[_FIRST_QUARTER],
        months=[_JUNE],
        weeks=[{**_WEEK, "months": [_WEEK_IN_JUNE, _WEEK_IN_JULY]}],
        exceptions=[{"day": "2026-02-14", "is_worked": True, "reason": "make_up", "is_guess": False}],
    )

    guessed_from: date | None = Field(
        description="From this day of the year on, public holidays and make-up days have not been published as far as"
        " is known: working days are a guess. Null: they have, for all of the year."
    )
    halves: list[CalendarPeriod]
    quarters: list[CalendarPeriod]
    months: list[CalendarPeriod] = Field(description="In a year of weeks, the runs of weeks that stand for them.")
    weeks: list[CalendarWeek] = Field(description="Every week with a day in the year, each one whole.")
    exceptions: list[CalendarDay]

    @classmethod
    def of(cls, fiscal: FiscalCalendar, working: WorkingDays, containing: date) -> Self:
        """The year that contains a day."""

        def part(period: Period) -> CalendarPeriod:
            days = (period.end - period.start).days
            return CalendarPeriod(start=period.start, end=period.end, days=days, working_days=working.count(period))

        def week(whole: Period) -> CalendarWeek:
            months = [
                part(Period(max(month.start, whole.start), min(month.end, whole.end)))
                for month in fiscal.periods_in(whole, PeriodKind.MONTH)
            ]
            return CalendarWeek(**part(whole).model_dump(), months=months)

        year = fiscal.period_of(containing, PeriodKind.YEAR)
        states = [(day, working.on(day)) for day in days_of(year)]
        return cls(
            **part(year).model_dump(),
            guessed_from=next((day for day in days_of(year) if not working.is_published(day)), None),
            halves=[part(half) for half in fiscal.periods_in(year, PeriodKind.HALF)],
            quarters=[part(quarter) for quarter in fiscal.periods_in(year, PeriodKind.QUARTER)],
            months=[part(month) for month in fiscal.periods_in(year, PeriodKind.MONTH)],
            weeks=[week(whole) for whole in fiscal.periods_in(year, PeriodKind.WEEK)],
            exceptions=[
                CalendarDay(day=day, is_worked=state.is_worked, reason=state.reason, is_guess=state.is_guess)
                for day, state in states
                if state.reason not in (DayReason.WORKDAY, DayReason.WEEKEND)
            ],
        )
