from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest

from services.goals.calendar.domain import Calendar, CalendarTerms, FirstDay
from services.goals.calendar.national import Governments
from shared.kernel.errors import InvalidInput
from shared.kernel.periods import FiscalCalendar, Period, PeriodKind
from shared.kernel.working_days import DayReason, DayState, NationalDays, Region, WorkingDays, WorkRule
from shared.kernel.years import Weekday, Weeks, YearEnd, YearPattern

JULY = date(2026, 7, 1)
NOON = datetime(2026, 3, 31, 12, tzinfo=UTC)
CHINA = CalendarTerms(1, "Asia/Shanghai", "CNY")
RETAIL = Weeks(Weekday.SUNDAY, YearPattern.WEEKS_4_5_4, YearEnd.NEAREST)
TODAY = date(2026, 11, 30)
GOVERNMENTS = Governments()


def test_a_calendar_changes_from_today_in_its_own_zone_unless_a_day_is_named() -> None:
    calendar = Calendar(1, CHINA)
    in_europe = replace(CHINA, time_zone="Europe/Berlin")
    late = datetime(2026, 3, 31, 16, tzinfo=UTC)
    assert calendar.with_terms(FirstDay.TODAY, in_europe, late).changes == ((date(2026, 4, 1), in_europe),)
    assert calendar.with_terms(JULY, in_europe, late).changes == ((JULY, in_europe),)
    assert calendar.with_terms(FirstDay.BEGINNING, in_europe, late) == Calendar(2, in_europe)


def test_years_start_in_another_month_from_the_first_day_of_one_on() -> None:
    calendar, april = Calendar(1, CHINA), replace(CHINA, start_month=4)
    assert calendar.with_terms(FirstDay.TODAY, april, NOON).changes == ((date(2026, 4, 1), april),)
    december = datetime(2026, 12, 5, tzinfo=UTC)
    assert calendar.with_terms(FirstDay.TODAY, april, december).changes == ((date(2027, 1, 1), april),)
    with pytest.raises(InvalidInput) as refused:
        calendar.with_terms(date(2026, 7, 2), april, NOON)
    assert [field.pointer for field in refused.value.fields] == ["/start"]


def test_a_calendar_needs_a_currency_that_is_one() -> None:
    with pytest.raises(InvalidInput):
        CalendarTerms(1, "UTC", "yuan")


def test_a_year_of_weeks_begins_with_the_next_of_its_months_unless_a_day_is_named() -> None:
    calendar, retail = Calendar(1, CHINA), replace(CHINA, start_month=2, weeks=RETAIL)
    assert calendar.with_terms(FirstDay.TODAY, retail, NOON).changes == ((date(2026, 4, 5), retail),)
    february = date(2026, 2, 1)
    assert calendar.with_terms(february, retail, NOON).changes == ((february, retail),)
    with pytest.raises(InvalidInput) as refused:
        calendar.with_terms(JULY, retail, NOON)
    assert refused.value.fields[0].accepted is not None
    assert "2026-05-31 or 2026-07-05" in refused.value.fields[0].accepted


def test_another_day_that_weeks_start_on_counts_from_today() -> None:
    sunday = replace(CHINA, weeks=Weeks(Weekday.SUNDAY))
    assert Calendar(1, CHINA).with_terms(FirstDay.TODAY, sunday, NOON).changes == ((NOON.date(), sunday),)


# Notices of the State Council's General Office on the holidays of 2024, 2025 and 2026: each stretch off, and the days
# of weekends worked for it.
OFF_IN_CHINA = [
    *[("2024-01-01", 1), ("2024-02-10", 8), ("2024-04-04", 3), ("2024-05-01", 5), ("2024-06-10", 1)],
    *[("2024-09-15", 3), ("2024-10-01", 7), ("2025-01-01", 1), ("2025-01-28", 8), ("2025-04-04", 3)],
    *[("2025-05-01", 5), ("2025-05-31", 3), ("2025-10-01", 8), ("2026-01-01", 3), ("2026-02-15", 9)],
    *[("2026-04-04", 3), ("2026-05-01", 5), ("2026-06-19", 3), ("2026-09-25", 3), ("2026-10-01", 7)],
]
MADE_UP_IN_CHINA = [
    *["2024-02-04", "2024-02-18", "2024-04-07", "2024-04-28", "2024-05-11", "2024-09-14", "2024-09-29", "2024-10-12"],
    *["2025-01-26", "2025-02-08", "2025-04-27", "2025-09-28", "2025-10-11"],
    *["2026-01-04", "2026-02-14", "2026-02-28", "2026-05-09", "2026-09-20", "2026-10-10"],
]


def days_from(first: date, count: int) -> Iterator[date]:
    return (first + timedelta(number) for number in range(count))


def worked_in(region: Region, today: date = TODAY) -> WorkingDays:
    return WorkingDays(((date.min, WorkRule(*region)),), {region: GOVERNMENTS.days(region, today)})


def test_china_works_on_the_days_that_its_government_has_published() -> None:
    off = {day for first, count in OFF_IN_CHINA for day in days_from(date.fromisoformat(first), count)}
    made_up = set(map(date.fromisoformat, MADE_UP_IN_CHINA))
    working = worked_in(("CN", None))
    for day in days_from(date(2024, 1, 1), 366 + 365 + 365):
        state = working.on(day)
        assert state.is_worked is (day in made_up or (day.weekday() < 5 and day not in off)), day
        assert (state.reason is DayReason.MAKE_UP) is (day in made_up)
        assert not state.is_guess


def test_february_2026_has_sixteen_working_days_in_china_with_two_saturdays() -> None:
    working, february = worked_in(("CN", None)), Period(date(2026, 2, 1), date(2026, 3, 1))
    assert working.count(february) == 16
    assert [day.day for day in days_from(february.start, 28) if working.on(day).is_worked and day.weekday() > 4] == [
        *(14, 28)
    ]


def test_a_year_that_china_has_not_published_is_a_guess() -> None:
    working = worked_in(("CN", None))
    assert working.is_published(date(2026, 12, 31))
    assert not working.is_published(date(2027, 1, 1))
    assert working.on(date(2027, 10, 1)) == DayState(False, DayReason.HOLIDAY, True)
    assert working.on(date(2027, 3, 3)) == DayState(True, DayReason.WORKDAY, True)
    # What is beyond the years that were worked out is one as well.
    assert working.on(date(2099, 10, 1)) == DayState(True, DayReason.WORKDAY, True)


def test_holidays_that_follow_from_the_law_or_the_moon_are_told_apart() -> None:
    american, bavarian, saudi = (worked_in(region) for region in (("US", "CA"), ("DE", "BY"), ("SA", None)))
    assert american.on(date(2026, 7, 3)) == DayState(False, DayReason.HOLIDAY, False)
    assert american.on(date(2030, 7, 4)) == DayState(False, DayReason.HOLIDAY, False)
    assert bavarian.on(date(2026, 6, 4)).reason is DayReason.HOLIDAY
    assert worked_in(("DE", None)).on(date(2026, 6, 4)).is_worked
    assert saudi.on(date(2026, 7, 3)).reason is DayReason.WEEKEND
    assert saudi.on(date(2030, 2, 4)) == DayState(False, DayReason.HOLIDAY, True)
    assert saudi.is_published(date(2030, 2, 4))


@pytest.mark.parametrize(("region", "pointer"), [(("XX", None), "/country"), (("CN", "BJ"), "/subdivision")])
def test_a_region_of_which_nothing_is_known_is_refused_by_name(region: Region, pointer: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        GOVERNMENTS.days(region, TODAY)
    assert [field.pointer for field in refused.value.fields] == [pointer]


def test_what_a_company_says_goes_before_its_country() -> None:
    new_year, monday, saturday = date(2026, 1, 1), date(2026, 6, 1), date(2026, 6, 6)
    rule = WorkRule("CN", None, frozenset({monday}), frozenset({new_year, saturday}))
    working = WorkingDays(((date.min, rule),), {("CN", None): GOVERNMENTS.days(("CN", None), TODAY)})
    assert working.on(monday) == DayState(False, DayReason.DAY_OFF, False)
    assert working.on(new_year) == working.on(saturday) == DayState(True, DayReason.EXTRA, False)
    with pytest.raises(InvalidInput):
        WorkRule(days_off=frozenset({monday}), extra_working_days=frozenset({monday}))
    with pytest.raises(InvalidInput):
        WorkRule(subdivision="BY")


def test_a_company_that_moves_keeps_the_holidays_of_where_it_was() -> None:
    terms = replace(CHINA, work=WorkRule("CN"))
    moved = Calendar(1, terms).with_terms(JULY, replace(terms, work=WorkRule("US")), NOON)
    assert moved.regions == {("CN", None), ("US", None)}
    known = {region: GOVERNMENTS.days(region, TODAY) for region in moved.regions}
    working = replace(moved, national=known).working_days
    assert not working.on(date(2026, 5, 4)).is_worked
    assert working.on(date(2026, 10, 1)).is_worked
    assert not working.on(date(2026, 7, 3)).is_worked


def test_without_a_country_work_is_from_monday_to_friday() -> None:
    working = WorkingDays()
    year = FiscalCalendar().period_of(date(2026, 1, 1), PeriodKind.YEAR)
    assert working.count(year) == 261
    assert working.is_published(date(2999, 1, 1))


def test_days_of_a_weekend_of_its_own_are_not_worked() -> None:
    known = NationalDays(date(2026, 1, 1), date(2027, 1, 1), date(2027, 1, 1), frozenset({Weekday.FRIDAY}))
    working = WorkingDays(((date.min, WorkRule("SA")),), {("SA", None): known})
    assert [working.on(day).is_worked for day in days_from(date(2026, 6, 4), 4)] == [True, False, True, True]
