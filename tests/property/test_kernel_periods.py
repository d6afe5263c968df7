from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from shared.kernel.ids import uuid7, uuid7_unix_milliseconds
from shared.kernel.org import united
from shared.kernel.periods import DatedRange, FiscalCalendar, Period, PeriodKind

days = st.dates(min_value=date(1990, 1, 1), max_value=date(2100, 1, 1))
months = st.integers(1, 12)
zones = st.sampled_from(["UTC", "Asia/Shanghai", "America/New_York", "Pacific/Kiritimati", "Asia/Kolkata"])
small_days = st.integers(0, 40)
FIRST = date(2026, 1, 1)


@st.composite
def small_periods(draw: st.DrawFn) -> Period:
    start = draw(small_days)
    return Period(FIRST + timedelta(start), FIRST + timedelta(start + draw(st.integers(1, 20))))


@st.composite
def small_ranges(draw: st.DrawFn) -> DatedRange:
    start = draw(small_days)
    length = draw(st.none() | st.integers(1, 20))
    return DatedRange(FIRST + timedelta(start), None if length is None else FIRST + timedelta(start + length))


def days_of(period: Period | None) -> set[date]:
    return set() if period is None else {period.start + timedelta(offset) for offset in range(period.days)}


@given(days, months, st.sampled_from(PeriodKind))
def test_fiscal_periods_tile_the_calendar(day: date, start_month: int, kind: PeriodKind) -> None:
    calendar = FiscalCalendar(start_month)
    period = calendar.period_of(day, kind)
    assert day in period
    assert calendar.period_of(period.start, kind) == period
    assert calendar.period_of(period.end - timedelta(1), kind) == period
    assert calendar.period_of(period.end, kind).start == period.end


@given(days, months, st.sampled_from(PeriodKind))
def test_fiscal_periods_are_whole_months_and_years_start_in_their_month(
    day: date, start_month: int, kind: PeriodKind
) -> None:
    period = FiscalCalendar(start_month).period_of(day, kind)
    length = {"month": 1, "quarter": 3, "half": 6, "year": 12}[kind.value]
    assert (period.start.day, period.end.day) == (1, 1)
    assert (period.end.year - period.start.year) * 12 + period.end.month - period.start.month == length
    assert (period.start.month - start_month) % length == 0


@given(st.integers(0, 130 * 365 * 86_400), zones)
def test_an_instant_lies_in_its_business_day(unix_seconds: int, zone: str) -> None:
    instant = datetime.fromtimestamp(unix_seconds, UTC)
    calendar = FiscalCalendar(time_zone=zone)
    day = calendar.business_date(instant)
    assert calendar.day_starts_at(day) <= instant < calendar.day_starts_at(day + timedelta(1))


@given(small_periods(), small_periods())
def test_an_intersection_is_the_days_in_both(one: Period, other: Period) -> None:
    assert days_of(one.intersection(other)) == days_of(one) & days_of(other)


@given(small_ranges(), small_ranges())
def test_ranges_overlap_exactly_when_they_share_a_day(one: DatedRange, other: DatedRange) -> None:
    shared_days = [
        FIRST + timedelta(n) for n in range(80) if FIRST + timedelta(n) in one and FIRST + timedelta(n) in other
    ]
    assert one.overlaps(other) == other.overlaps(one) == bool(shared_days)


@given(small_ranges(), small_periods())
def test_what_is_within_a_period_are_its_days_in_force(dated: DatedRange, period: Period) -> None:
    assert days_of(dated.within(period)) == {day for day in days_of(period) if day in dated}


@given(st.lists(small_periods(), max_size=8))
def test_united_periods_are_the_same_days_apart_and_in_order(periods: list[Period]) -> None:
    joined = united(periods)
    assert set().union(*(days_of(period) for period in joined)) == set().union(*(days_of(p) for p in periods))
    assert all(earlier.end < later.start for earlier, later in pairwise(joined))


@given(st.integers(0, (1 << 48) - 1), st.binary(min_size=10, max_size=10))
def test_a_uuid7_carries_its_time_and_74_bits_of_its_entropy(milliseconds: int, entropy: bytes) -> None:
    made = uuid7(milliseconds, entropy)
    assert (made.version, made.variant) == (7, "specified in RFC 4122")
    assert uuid7_unix_milliseconds(made) == milliseconds
    flipped = uuid7(milliseconds, bytes(byte ^ 0xFF for byte in entropy))
    assert bin(made.int ^ flipped.int).count("1") == 74
    assert isinstance(made, UUID)
