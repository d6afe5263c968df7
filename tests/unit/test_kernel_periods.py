from datetime import UTC, date, datetime, timedelta

import pytest

from shared.kernel.errors import InvalidInput
from shared.kernel.periods import DatedRange, FiscalCalendar, Period, PeriodKind, day_before


def test_a_period_holds_its_first_day_and_not_its_end() -> None:
    january = Period(date(2026, 1, 1), date(2026, 2, 1))
    assert date(2026, 1, 1) in january
    assert date(2026, 1, 31) in january
    assert date(2026, 2, 1) not in january
    assert january.days == 31


def test_an_empty_or_reversed_period_is_refused() -> None:
    for end in (date(2026, 1, 1), date(2025, 12, 31)):
        with pytest.raises(ValueError, match="must end after it starts"):
            Period(date(2026, 1, 1), end)


def test_periods_that_only_touch_share_no_day() -> None:
    january, february = Period(date(2026, 1, 1), date(2026, 2, 1)), Period(date(2026, 2, 1), date(2026, 3, 1))
    assert january.intersection(february) is None
    assert january.intersection(Period(date(2026, 1, 20), date(2026, 3, 1))) == Period(
        date(2026, 1, 20), date(2026, 2, 1)
    )


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


def test_a_day_starts_at_midnight_of_the_zone_also_when_clocks_change() -> None:
    berlin = FiscalCalendar(time_zone="Europe/Berlin")
    before, after = berlin.day_starts_at(date(2026, 3, 29)), berlin.day_starts_at(date(2026, 3, 30))
    assert before == datetime(2026, 3, 28, 23, 0, tzinfo=UTC)
    assert after - before == timedelta(hours=23)


@pytest.mark.parametrize(("month", "zone", "pointer"), [(0, "UTC", "/start_month"), (13, "UTC", "/start_month")])
def test_a_month_that_is_none_is_refused_by_name(month: int, zone: str, pointer: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        FiscalCalendar(month, zone)
    assert refused.value.fields[0].pointer == pointer


@pytest.mark.parametrize("zone", ["Mars/Olympus", "", "../etc/passwd", "/etc/localtime", "Europe", "a\0b"])
def test_a_zone_that_is_none_is_refused_by_name(zone: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        FiscalCalendar(1, zone)
    assert refused.value.fields[0].pointer == "/time_zone"


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


def test_the_day_before_new_year_is_new_years_eve() -> None:
    assert day_before(date(2026, 1, 1)) == date(2025, 12, 31)
