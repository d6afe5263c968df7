from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from shared.kernel.ids import uuid7
from shared.kernel.org import united
from shared.kernel.periods import CalendarChange, DatedRange, FiscalCalendar, Period, PeriodKind
from shared.kernel.years import PLAIN_WEEKS, Weekday, Weeks, YearEnd, YearPattern

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
patterns = st.sampled_from(YearPattern)
weeks = st.just(PLAIN_WEEKS) | st.builds(Weeks, st.sampled_from(Weekday), patterns, st.sampled_from(YearEnd))
retail = st.builds(
    Weeks,
    st.sampled_from(Weekday),
    st.sampled_from(sorted(set(YearPattern) - {YearPattern.MONTHS})),
    st.sampled_from(YearEnd),
)
drawn_changes = st.builds(CalendarChange, changes_at, months, zones, weeks)


def possible(change: CalendarChange, before: FiscalCalendar | CalendarChange) -> CalendarChange:
    """The change, on the first day of a month of its own where it cuts years in another way."""
    if change.start.day % 2 and before.weeks.pattern is YearPattern.MONTHS:
        # In another zone or from another weekday on alone, from any day on.
        same = replace(before.weeks, start=change.weeks.start)
        return replace(change, start_month=before.start_month, weeks=same)
    alone = FiscalCalendar(change.start_month, weeks=change.weeks)
    return replace(change, start=alone.period_of(change.start, PeriodKind.MONTH).start)


@st.composite
def calendars(draw: st.DrawFn) -> FiscalCalendar:
    calendar = FiscalCalendar(draw(months), draw(zones), weeks=draw(weeks))
    for drawn in draw(st.lists(drawn_changes, max_size=3)):
        calendar = before_and_after(calendar, drawn)[1]
    return calendar


def before_and_after(calendar: FiscalCalendar, drawn: CalendarChange) -> tuple[FiscalCalendar, FiscalCalendar]:
    """The calendar as far as it was said for days before the change, and with it."""
    before: FiscalCalendar | CalendarChange = calendar
    for known in calendar.changes:
        before = known if known.start < drawn.start else before
    change = possible(drawn, before)
    kept = tuple(known for known in calendar.changes if known.start < change.start)
    if kept and kept[-1] is not before:
        change = possible(change, kept[-1])
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


@given(days, calendars(), drawn_changes, st.sampled_from(PeriodKind))
def test_a_change_of_the_calendar_moves_no_day_before_it_to_another_period(
    day: date, calendar: FiscalCalendar, drawn: CalendarChange, kind: PeriodKind
) -> None:
    before, after = before_and_after(calendar, drawn)
    change = after.changes[-1]
    was, now = before.period_of(day, kind), after.period_of(day, kind)
    if day < change.start:
        assert now in (was, Period(was.start, min(was.end, change.start)))
    else:
        assert now.start >= change.start or now == was


@given(days, months, st.sampled_from(sorted(set(PeriodKind) - {PeriodKind.WEEK})))
def test_fiscal_periods_are_whole_months_and_years_start_in_their_month(
    day: date, start_month: int, kind: PeriodKind
) -> None:
    period = FiscalCalendar(start_month).period_of(day, kind)
    length = {"month": 1, "quarter": 3, "half": 6, "year": 12}[kind.value]
    assert (period.start.day, period.end.day) == (1, 1)
    assert (period.end.year - period.start.year) * 12 + period.end.month - period.start.month == length
    assert (period.start.month - start_month) % length == 0


def last_day_of_week(start: Weekday) -> int:
    return (list(Weekday).index(start) + 6) % 7


def end_of_year(year: int, start_month: int, rule: Weeks) -> date:
    """The last day of the year of weeks that ends with the month before `start_month` of a calendar year."""
    end_of_month = date(year, start_month, 1) - timedelta(1)
    around = [end_of_month + timedelta(offset) for offset in range(-10, 11)]
    ends = [day for day in around if day.weekday() == last_day_of_week(rule.start)]
    if rule.year_end is YearEnd.LAST:
        return max(day for day in ends if day <= end_of_month)
    return min(ends, key=lambda day: abs((day - end_of_month).days))


@given(days, months, retail)
def test_a_year_of_weeks_is_cut_as_its_pattern_says(day: date, start_month: int, rule: Weeks) -> None:
    year = max(year for year in range(day.year - 2, day.year + 3) if end_of_year(year, start_month, rule) < day)
    start, last = (end_of_year(number, start_month, rule) for number in (year, year + 1))
    all_weeks = [start + timedelta(1 + 7 * number) for number in range((last - start).days // 7)]
    assert len(all_weeks) in (52, 53)
    lengths = [int(digit) for digit in rule.pattern.replace("-", "")] * 4
    lengths[-1] += len(all_weeks) - 52
    first_days = [all_weeks[sum(lengths[:number])] for number in range(12)]
    calendar = FiscalCalendar(start_month, weeks=rule)
    expected = {
        PeriodKind.WEEK: all_weeks,
        PeriodKind.MONTH: first_days,
        PeriodKind.QUARTER: first_days[::3],
        PeriodKind.HALF: first_days[::6],
        PeriodKind.YEAR: first_days[:1],
    }
    whole = Period(first_days[0], last + timedelta(1))
    for kind, starts in expected.items():
        assert calendar.periods_in(whole, kind) == [
            Period(first, after) for first, after in pairwise([*starts, whole.end])
        ]
        assert day in calendar.period_of(day, kind)


@given(days, calendars())
def test_the_months_of_a_year_are_its_days_and_its_weeks_split_by_day_are_too(
    day: date, calendar: FiscalCalendar
) -> None:
    year = calendar.period_of(day, PeriodKind.YEAR)
    days_of_year = [year.start + timedelta(number) for number in range((year.end - year.start).days)]
    for kind in PeriodKind:
        periods = calendar.periods_in(year, kind)
        assert [(period.start <= year.start, period.end >= year.end) for period in (periods[0], periods[-1])] == [
            (True, len(periods) == 1),
            (len(periods) == 1, True),
        ]
        assert all(before.end == after.start for before, after in pairwise(periods))
        split = [part for part in (DatedRange(year.start, year.end).within(period) for period in periods) if part]
        assert [each for part in split for each in sorted(days_of(part))] == days_of_year


@given(instants, calendars(), drawn_changes)
def test_a_change_of_zone_moves_no_instant_before_its_first_day(
    instant: datetime, calendar: FiscalCalendar, drawn: CalendarChange
) -> None:
    before, after = before_and_after(calendar, drawn)
    change = after.changes[-1]
    was, now = before.business_date(instant), after.business_date(instant)
    assert was == now or (was >= change.start and now >= change.start)


@given(st.lists(instants, min_size=2, max_size=2), calendars())
def test_a_later_instant_never_lies_on_an_earlier_day(two: list[datetime], calendar: FiscalCalendar) -> None:
    earlier, later = sorted(two)
    assert calendar.business_date(earlier) <= calendar.business_date(later)


@given(calendars(), days)
def test_a_day_begins_with_the_first_instant_that_lies_in_it(calendar: FiscalCalendar, day: date) -> None:
    first = calendar.days.first_instant(day)
    assert calendar.business_date(first) >= day > calendar.business_date(first - timedelta(microseconds=1))


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
