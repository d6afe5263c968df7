"""Working days against an oracle that decides each day from the top of the list down."""

from dataclasses import replace
from datetime import date, timedelta

from hypothesis import given
from hypothesis import strategies as st

from shared.kernel.periods import Period
from shared.kernel.working_days import NationalDays, Region, WorkingDays, WorkRule
from shared.kernel.years import Weekday

FIRST = date(2026, 1, 1)
END = FIRST + timedelta(61)
REGIONS: list[Region | None] = [None, ("CN", None), ("DE", "BY")]
days = st.integers(0, 60).map(lambda number: FIRST + timedelta(number))
some_days = st.frozensets(days, max_size=12)


@st.composite
def national(draw: st.DrawFn) -> NationalDays:
    weekend = draw(st.frozensets(st.sampled_from(Weekday), max_size=3))
    published = draw(days)
    worked, off = draw(some_days), draw(some_days)
    return NationalDays(FIRST, END, published, weekend, off - worked, worked)


@st.composite
def rules(draw: st.DrawFn) -> WorkRule:
    country, subdivision = draw(st.sampled_from(REGIONS)) or (None, None)
    off = draw(some_days)
    return WorkRule(country, subdivision, off, draw(some_days) - off)


@st.composite
def working_days(draw: st.DrawFn) -> WorkingDays:
    starts = draw(st.lists(days, max_size=3, unique=True).map(sorted))
    known = {region: draw(national()) for region in REGIONS if region is not None}
    return WorkingDays(tuple((start, draw(rules())) for start in [date.min, *starts]), known)


def is_worked(working: WorkingDays, day: date) -> bool:
    started = [rule for start, rule in working.rules if start <= day]
    rule = started[-1]
    if day in rule.extra_working_days or day in rule.days_off:
        return day in rule.extra_working_days
    weekday = day.strftime("%A").lower()
    if rule.country is None:
        return weekday not in ("saturday", "sunday")
    known = working.national[rule.country, rule.subdivision]
    return day in known.worked or (day not in known.off and weekday not in set(known.weekend))


@given(working_days(), days, st.integers(1, 40), st.integers(0, 40))
def test_working_days_are_those_of_the_rule_in_force_and_add_up(
    working: WorkingDays, first: date, length: int, at: int
) -> None:
    period = Period(first, first + timedelta(length))
    each = [first + timedelta(number) for number in range(length)]
    assert [working.on(day).is_worked for day in each] == [is_worked(working, day) for day in each]
    assert working.count(period) == sum(is_worked(working, day) for day in each)
    middle = first + timedelta(at)
    if middle in period and middle > first:
        halves = [Period(first, middle), Period(middle, period.end)]
        assert sum(working.count(half) for half in halves) == working.count(period)


@given(national(), national(), st.integers(1, 60))
def test_what_is_known_later_goes_on_from_what_was_known_of_days_further_back(
    earlier: NationalDays, later: NationalDays, first: int
) -> None:
    start = FIRST + timedelta(first)
    later = replace(
        later,
        start=start,
        off=frozenset(day for day in later.off if day >= start),
        worked=frozenset(day for day in later.worked if day >= start),
    )
    both = later.after(earlier)
    worked = [WorkingDays(((date.min, WorkRule("CN")),), {("CN", None): known}) for known in (both, earlier, later)]
    assert (both.start, both.end, both.published_until) == (FIRST, END, later.published_until)
    for day in (FIRST + timedelta(number) for number in range(61)):
        assert is_worked(worked[0], day) == is_worked(worked[1 if day < start else 2], day)
    assert both.after(earlier) == both
