import os
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from importlib.resources import files
from itertools import pairwise
from pathlib import Path

import pytest

from shared.kernel.errors import InvalidInput
from shared.kernel.periods import CalendarChange, DatedRange, FiscalCalendar, Period, PeriodKind
from shared.kernel.years import Weekday, Weeks, YearEnd, YearPattern
from shared.kernel.zones import stored_zone


def test_a_period_holds_its_first_day_and_not_its_end() -> None:
    january = Period(date(2026, 1, 1), date(2026, 2, 1))
    assert date(2026, 1, 1) in january
    assert date(2026, 1, 31) in january
    assert date(2026, 2, 1) not in january


def test_an_empty_or_reversed_period_is_refused() -> None:
    for end in (date(2026, 1, 1), date(2025, 12, 31)):
        with pytest.raises(ValueError, match="must end after it starts"):
            Period(date(2026, 1, 1), end)


@pytest.mark.parametrize(
    ("start_month", "kind", "day", "start", "end"),
    [
        (1, PeriodKind.QUARTER, date(2026, 2, 14), date(2026, 1, 1), date(2026, 4, 1)),
        (4, PeriodKind.YEAR, date(2026, 3, 31), date(2025, 4, 1), date(2026, 4, 1)),
        (4, PeriodKind.YEAR, date(2026, 4, 1), date(2026, 4, 1), date(2027, 4, 1)),
        (2, PeriodKind.QUARTER, date(2026, 1, 31), date(2025, 11, 1), date(2026, 2, 1)),
        (11, PeriodKind.HALF, date(2026, 1, 15), date(2025, 11, 1), date(2026, 5, 1)),
        (7, PeriodKind.MONTH, date(2024, 2, 29), date(2024, 2, 1), date(2024, 3, 1)),
    ],
)
def test_a_fiscal_period_follows_the_start_month(
    start_month: int, kind: PeriodKind, day: date, start: date, end: date
) -> None:
    assert FiscalCalendar(start_month).period_of(day, kind) == Period(start, end)


def test_the_business_date_is_the_day_in_the_tenants_zone() -> None:
    late_evening = datetime(2026, 3, 31, 18, 40, tzinfo=UTC)
    assert FiscalCalendar(time_zone="Asia/Shanghai").business_date(late_evening) == date(2026, 4, 1)
    assert FiscalCalendar(time_zone="America/New_York").business_date(late_evening) == date(2026, 3, 31)


@pytest.mark.parametrize(
    ("zone", "first"),
    [
        ("Europe/Berlin", datetime(2026, 3, 29, 22, 0, tzinfo=UTC)),
        ("Asia/Calcutta", datetime(2026, 3, 29, 18, 30, tzinfo=UTC)),
        ("Asia/Kathmandu", datetime(2026, 3, 29, 18, 15, tzinfo=UTC)),
        ("US/Eastern", datetime(2026, 3, 30, 4, 0, tzinfo=UTC)),
        ("CET", datetime(2026, 3, 29, 22, 0, tzinfo=UTC)),
    ],
)
def test_a_day_starts_at_midnight_of_the_zone(zone: str, first: datetime) -> None:
    calendar = FiscalCalendar(time_zone=zone)
    assert calendar.business_date(first) == date(2026, 3, 30)
    assert calendar.business_date(first - timedelta(microseconds=1)) == date(2026, 3, 29)


@pytest.mark.parametrize(("month", "zone", "pointer"), [(0, "UTC", "/start_month"), (13, "UTC", "/start_month")])
def test_a_month_that_is_none_is_refused_by_name(month: int, zone: str, pointer: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        FiscalCalendar(month, zone)
    assert refused.value.fields[0].pointer == pointer


@pytest.mark.parametrize(
    "zone",
    [
        *("Mars/Olympus", "", "../etc/passwd", "/etc/localtime", "Europe", "a\0b", "asia/shanghai"),
        *(
            "localtime",
            "posixrules",
            "Factory",
            "posix/Europe/Berlin",
            "right/Europe/Berlin",
            "leapseconds",
            "tzdata.zi",
        ),
    ],
)
def test_only_zones_that_name_a_place_are_accepted(zone: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        FiscalCalendar(1, zone)
    assert refused.value.fields[0].pointer == "/time_zone"
    assert "Asia/Shanghai" in (refused.value.fields[0].accepted or "")


@pytest.mark.parametrize(
    ("stored", "read"),
    [
        *(("Asia/Calcutta", "Asia/Calcutta"), ("CET", "CET"), ("UTC", "UTC")),
        *(("posix/Asia/Tokyo", "Asia/Tokyo"), ("right/Asia/Tokyo", "Asia/Tokyo")),
        *(("localtime", "UTC"), ("posixrules", "UTC"), ("Factory", "UTC"), ("Mars/Olympus", "UTC"), ("", "UTC")),
    ],
)
def test_a_zone_that_was_accepted_before_is_read_as_a_place(stored: str, read: str) -> None:
    assert stored_zone(stored) == read


def test_what_a_day_is_does_not_depend_on_the_zones_that_a_machine_has(tmp_path: Path) -> None:
    (tmp_path / "Asia").mkdir()
    (tmp_path / "Asia" / "Shanghai").write_bytes(files("tzdata.zoneinfo.America").joinpath("New_York").read_bytes())
    program = """
from datetime import UTC, datetime
from zoneinfo import ZoneInfo
evening = datetime(2026, 3, 31, 17, tzinfo=UTC)
print(evening.astimezone(ZoneInfo("Asia/Shanghai")).date())
from shared.kernel.periods import FiscalCalendar
print(FiscalCalendar(time_zone="Asia/Shanghai").business_date(evening))
"""
    told = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONTZPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout.split() == ["2026-03-31", "2026-04-01"]


def test_a_change_of_zone_moves_nothing_before_its_first_day() -> None:
    east_to_west = FiscalCalendar(1, "Asia/Shanghai", (CalendarChange(date(2026, 7, 1), 1, "America/New_York"),))
    assert east_to_west.business_date(datetime(2026, 6, 30, 15, 59, tzinfo=UTC)) == date(2026, 6, 30)
    # From midnight in Shanghai up to midnight in New York it is the first day, 12 hours longer than others.
    assert east_to_west.business_date(datetime(2026, 6, 30, 16, 0, tzinfo=UTC)) == date(2026, 7, 1)
    assert east_to_west.business_date(datetime(2026, 7, 2, 3, 59, tzinfo=UTC)) == date(2026, 7, 1)
    assert east_to_west.business_date(datetime(2026, 7, 2, 4, 0, tzinfo=UTC)) == date(2026, 7, 2)
    west_to_east = FiscalCalendar(1, "America/New_York", (CalendarChange(date(2026, 7, 1), 1, "Asia/Shanghai"),))
    assert west_to_east.business_date(datetime(2026, 7, 1, 3, 59, tzinfo=UTC)) == date(2026, 6, 30)
    assert west_to_east.business_date(datetime(2026, 7, 1, 4, 0, tzinfo=UTC)) == date(2026, 7, 1)
    assert west_to_east.business_date(datetime(2026, 7, 1, 16, 0, tzinfo=UTC)) == date(2026, 7, 2)


def test_a_change_of_the_start_month_cuts_the_period_it_falls_into() -> None:
    calendar = FiscalCalendar(1, "UTC", (CalendarChange(date(2026, 7, 1), 3, "UTC"),))
    assert calendar.period_of(date(2026, 6, 30), PeriodKind.YEAR) == Period(date(2026, 1, 1), date(2026, 7, 1))
    assert calendar.period_of(date(2026, 7, 1), PeriodKind.YEAR) == Period(date(2026, 7, 1), date(2027, 3, 1))
    assert calendar.period_of(date(2026, 7, 1), PeriodKind.QUARTER) == Period(date(2026, 7, 1), date(2026, 9, 1))
    assert calendar.period_of(date(2026, 7, 1), PeriodKind.MONTH) == Period(date(2026, 7, 1), date(2026, 8, 1))
    assert calendar.period_of(date(2025, 12, 31), PeriodKind.HALF) == Period(date(2025, 7, 1), date(2026, 1, 1))


def test_a_start_month_that_gives_the_same_quarters_cuts_none() -> None:
    calendar = FiscalCalendar(1, "UTC", (CalendarChange(date(2026, 6, 1), 4, "UTC"),))
    assert calendar.period_of(date(2026, 6, 1), PeriodKind.QUARTER) == Period(date(2026, 4, 1), date(2026, 7, 1))
    assert calendar.period_of(date(2026, 6, 1), PeriodKind.YEAR) == Period(date(2026, 6, 1), date(2027, 4, 1))


def test_an_open_range_is_in_force_for_good() -> None:
    open_range = DatedRange(date(2026, 1, 1))
    assert date.max in open_range
    assert open_range.within(Period(date(2025, 12, 1), date(2026, 2, 1))) == Period(date(2026, 1, 1), date(2026, 2, 1))


def test_ranges_that_touch_do_not_overlap() -> None:
    first, second = DatedRange(date(2026, 1, 1), date(2026, 2, 1)), DatedRange(date(2026, 2, 1))
    assert not first.overlaps(second)
    assert not second.overlaps(first)
    assert second.overlaps(DatedRange(date(2030, 1, 1)))


def test_a_range_that_ends_before_it_starts_is_refused_by_name() -> None:
    with pytest.raises(InvalidInput) as refused:
        DatedRange(date(2026, 1, 1), date(2026, 1, 1))
    assert refused.value.fields[0].pointer == "/end"


NRF = FiscalCalendar(2, weeks=Weeks(Weekday.SUNDAY, YearPattern.WEEKS_4_5_4, YearEnd.NEAREST))


@pytest.mark.parametrize(
    ("start", "weeks"),
    [
        ("2006-01-29", 53),
        ("2012-01-29", 53),
        ("2017-01-29", 53),
        ("2018-02-04", 52),
        ("2019-02-03", 52),
        ("2020-02-02", 52),
        ("2021-01-31", 52),
        ("2022-01-30", 52),
        ("2023-01-29", 53),
        ("2024-02-04", 52),
        ("2025-02-02", 52),
        ("2026-02-01", 52),
    ],
)
def test_retail_years_are_those_that_nrf_has_published(start: str, weeks: int) -> None:
    first = date.fromisoformat(start)
    year = Period(first, first + timedelta(weeks=weeks))
    assert NRF.period_of(first, PeriodKind.YEAR) == year
    assert NRF.period_of(year.end - timedelta(1), PeriodKind.YEAR) == year


def test_the_retail_months_of_2023_are_those_that_nrf_has_published() -> None:
    year = NRF.period_of(date(2023, 6, 1), PeriodKind.YEAR)
    assert (year.end - year.start).days == 371
    assert [f"{month.start:%m-%d}" for month in NRF.periods_in(year, PeriodKind.MONTH)] == [
        *("01-29", "02-26", "04-02", "04-30", "05-28", "07-02", "07-30", "08-27", "10-01", "10-29", "11-26", "12-31")
    ]
    assert NRF.period_of(date(2024, 2, 3), PeriodKind.MONTH) == Period(date(2023, 12, 31), date(2024, 2, 4))
    assert NRF.period_of(date(2024, 2, 3), PeriodKind.QUARTER) == Period(date(2023, 10, 29), date(2024, 2, 4))


def test_a_year_ends_on_the_last_saturday_of_september_as_apple_has_published() -> None:
    weeks = Weeks(Weekday.SUNDAY, YearPattern.WEEKS_4_4_5, YearEnd.LAST)
    calendar = FiscalCalendar(10, weeks=weeks)
    starts = [date(2021, 9, 26), date(2022, 9, 25), date(2023, 10, 1), date(2024, 9, 29)]
    assert [calendar.period_of(start, PeriodKind.YEAR) for start in starts[:-1]] == [
        Period(start, end) for start, end in pairwise(starts)
    ]


def test_a_year_of_weeks_takes_over_on_the_first_day_of_one_of_its_months() -> None:
    calendar = FiscalCalendar(1, "UTC", (CalendarChange(date(2026, 2, 1), 2, "UTC", NRF.weeks),))
    assert calendar.period_of(date(2026, 1, 31), PeriodKind.YEAR) == Period(date(2026, 1, 1), date(2026, 2, 1))
    assert calendar.period_of(date(2026, 2, 1), PeriodKind.YEAR) == Period(date(2026, 2, 1), date(2027, 1, 31))
    with pytest.raises(InvalidInput) as refused:
        FiscalCalendar(1, "UTC", (CalendarChange(date(2026, 3, 2), 2, "UTC", NRF.weeks),))
    assert refused.value.fields[0].pointer == "/start"
    assert "2026-03-01 or 2026-04-05" in (refused.value.fields[0].accepted or "")


def test_another_run_of_weeks_cuts_months_but_no_quarter() -> None:
    weeks = Weeks(Weekday.SUNDAY, YearPattern.WEEKS_4_4_5, YearEnd.NEAREST)
    calendar = FiscalCalendar(2, weeks=NRF.weeks, changes=(CalendarChange(date(2026, 3, 29), 2, "UTC", weeks),))
    assert calendar.period_of(date(2026, 3, 29), PeriodKind.QUARTER) == Period(date(2026, 2, 1), date(2026, 5, 3))
    assert calendar.period_of(date(2026, 3, 29), PeriodKind.MONTH) == Period(date(2026, 3, 29), date(2026, 5, 3))


def test_weeks_from_another_weekday_on_cut_the_week_they_begin_in() -> None:
    sunday = Weeks(Weekday.SUNDAY)
    calendar = FiscalCalendar(1, "UTC", (CalendarChange(date(2026, 7, 1), 1, "UTC", sunday),))
    assert calendar.period_of(date(2026, 6, 30), PeriodKind.WEEK) == Period(date(2026, 6, 29), date(2026, 7, 1))
    assert calendar.period_of(date(2026, 7, 1), PeriodKind.WEEK) == Period(date(2026, 7, 1), date(2026, 7, 5))
    assert calendar.period_of(date(2026, 7, 1), PeriodKind.MONTH) == Period(date(2026, 7, 1), date(2026, 8, 1))


def test_a_week_across_months_has_so_many_days_in_each() -> None:
    calendar = FiscalCalendar()
    week = calendar.period_of(date(2026, 6, 29), PeriodKind.WEEK)
    june, july = calendar.periods_in(week, PeriodKind.MONTH)
    parts = [DatedRange(month.start, month.end).within(week) for month in (june, july)]
    assert [part and (part.end - part.start).days for part in parts] == [2, 5]
