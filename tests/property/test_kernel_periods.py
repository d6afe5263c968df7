from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from shared.kernel.ids import uuid7
from shared.kernel.org import united
from shared.kernel.periods import CalendarChange, DatedRange, FiscalCalendar, Period, PeriodKind

days = st.dates(min_value=date(1990, 1, 1), max_value=date(2100, 1, 1))
months = st.integers(1, 12)
zones = st.sampled_from(
    [
        *("UTC", "CET", "EET", "Asia/Shanghai", "Asia/Calcutta", "Asia/Kathmandu", "Asia/Gaza", "America/New_York"),
        *("Africa/Casablanca", "Africa/Monrovia", "Europe/Dublin", "America/Havana", "Australia/Lord_Howe"),
        *("Pacific/Apia", "Pacific/Kiritimati", "Pacific/Pago_Pago", "Etc/GMT+12"),
    ]
)
changes_at = st.dates(date(2011, 12, 1), date(2012, 1, 31)) | days.map(lambda day: day.replace(day=1)) | days
calendar_changes = st.builds(CalendarChange, changes_at, months, zones)


@st.composite
def calendars(draw: st.DrawFn) -> FiscalCalendar:
    later = draw(st.lists(calendar_changes, max_size=3, unique_by=lambda change: change.start))
    changes: list[CalendarChange] = []
    month = draw(months)
    for change in sorted(later, key=lambda change: change.start):
        # Years may start in another month only from the first day of one on.
        before = changes[-1].start_month if changes else month
        changes.append(change if change.start.day == 1 else replace(change, start_month=before))
    return FiscalCalendar(month, draw(zones), tuple(changes))


def before_and_after(calendar: FiscalCalendar, change: CalendarChange) -> tuple[FiscalCalendar, FiscalCalendar]:
    """The calendar as far as it was said for days before the change, and with it."""
    kept = tuple(known for known in calendar.changes if known.start < change.start)
    if change.start.day != 1:
        change = replace(change, start_month=kept[-1].start_month if kept else calendar.start_month)
    return replace(calendar, changes=kept), replace(calendar, changes=(*kept, change))


BEGINNING = datetime(1900, 1, 2, tzinfo=UTC)
seconds = st.integers(0, 1_098 * 365 * 86_400) | st.integers(110 * 365 * 86_400, 113 * 365 * 86_400)
instants = seconds.map(lambda number: BEGINNING + timedelta(seconds=number))
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
    if period is None:
        return set()
    return {period.start + timedelta(offset) for offset in range((period.end - period.start).days)}


@given(days, calendars(), st.sampled_from(PeriodKind))
def test_fiscal_periods_tile_the_calendar(day: date, calendar: FiscalCalendar, kind: PeriodKind) -> None:
    period = calendar.period_of(day, kind)
    assert day in period
    assert calendar.period_of(period.start, kind) == period
    assert calendar.period_of(period.end - timedelta(1), kind) == period
    assert calendar.period_of(period.end, kind).start == period.end


@given(days, calendars(), calendar_changes, st.sampled_from(PeriodKind))
def test_a_change_of_the_calendar_moves_no_day_before_it_to_another_period(
    day: date, calendar: FiscalCalendar, change: CalendarChange, kind: PeriodKind
) -> None:
    before, after = before_and_after(calendar, change)
    was, now = before.period_of(day, kind), after.period_of(day, kind)
    if day < change.start:
        assert now in (was, Period(was.start, min(was.end, change.start)))
    else:
        assert now.start >= change.start or now == was


@given(days, months, st.sampled_from(PeriodKind))
def test_fiscal_periods_are_whole_months_and_years_start_in_their_month(
    day: date, start_month: int, kind: PeriodKind
) -> None:
    period = FiscalCalendar(start_month).period_of(day, kind)
    length = {"month": 1, "quarter": 3, "half": 6, "year": 12}[kind.value]
    assert (period.start.day, period.end.day) == (1, 1)
    assert (period.end.year - period.start.year) * 12 + period.end.month - period.start.month == length
    assert (period.start.month - start_month) % length == 0


@given(instants, calendars(), calendar_changes)
def test_a_change_of_zone_moves_no_instant_before_its_first_day(
    instant: datetime, calendar: FiscalCalendar, change: CalendarChange
) -> None:
    was, now = (each.business_date(instant) for each in before_and_after(calendar, change))
    assert was == now or (was >= change.start and now >= change.start)


@given(st.lists(instants, min_size=2, max_size=2), calendars())
def test_a_later_instant_never_lies_on_an_earlier_day(two: list[datetime], calendar: FiscalCalendar) -> None:
    earlier, later = sorted(two)
    assert calendar.business_date(earlier) <= calendar.business_date(later)


@given(instants, calendars(), days, st.integers(1, 800))
def test_the_spans_of_a_period_tell_the_same_days(
    instant: datetime, calendar: FiscalCalendar, first: date, length: int
) -> None:
    period = Period(first, first + timedelta(length))
    spans = calendar.days.spans(period)
    assert [span.start for span in spans] == sorted({span.start for span in spans})
    span = next(span for span in reversed(spans) if span.start <= instant)
    day = max((instant + span.offset).date(), span.earliest)
    expected = calendar.business_date(instant)
    assert day == expected if expected in period else day not in period


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
    assert made.int >> 80 == milliseconds
    flipped = uuid7(milliseconds, bytes(byte ^ 0xFF for byte in entropy))
    assert bin(made.int ^ flipped.int).count("1") == 74
    assert isinstance(made, UUID)
