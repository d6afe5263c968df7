"""What is expected of a person in a period: ramp, leave, proration, amounts with a first day; and who approves it."""

from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.incentives.earnings.domain.schedule import Schedule, schedule_of
from services.incentives.plans.domain.active_days import DayCount, RampStep, StatedAmount, prorated
from services.incentives.plans.domain.assignments import (
    Assignment,
    AssignmentNotProposed,
    AssignmentOverlaps,
    AssignmentStatus,
    PerTime,
    Quota,
    QuotaState,
    TargetVariable,
    approved_assignment,
    check_no_overlap,
    proposal_for,
    proposed,
    quota_of,
    stated_quota,
    taken_back,
    target_variable_of,
    withdrawn,
)
from services.incentives.plans.domain.kinds.commission import Commission
from services.incentives.plans.domain.rates import Tier, TieredRate, TierMode, TierScale
from shared.contracts.org import Calendar, NationalDays
from shared.kernel.approvals import SERVICE, Actor, ApprovalNotIndependent
from shared.kernel.deals import DateField
from shared.kernel.measures import Aggregate, Measure, Unit
from shared.kernel.periods import DatedRange, Period, PeriodKind
from shared.kernel.working_days import WorkingDays, WorkRule
from shared.kernel.years import Weekday

DOLLARS = Unit("money", "USD")
QUARTER = Period(date(2026, 1, 1), date(2026, 4, 1))
SECOND = Period(date(2026, 4, 1), date(2026, 7, 1))
WEEKDAYS = WorkingDays()
PERSON, ANOTHER, THIRD = UUID(int=1), Actor.of(UUID(int=2)), Actor.of(UUID(int=3))


def assignment(quota: Quota, **terms: object) -> Assignment:
    made = Assignment(UUID(int=9), PERSON, UUID(int=8), DatedRange(date(2026, 1, 1)), {"bookings": quota})
    return replace(made, **terms)  # type: ignore[arg-type]


def quota(of: Assignment, period: Period = QUARTER, work: WorkingDays | None = WEEKDAYS) -> object:
    return quota_of(of, "bookings", DOLLARS, period, {}, work)


def test_a_ramp_of_75_percent_expects_75_000_of_100_000() -> None:
    ramped = assignment(Quota(Decimal(100_000)), ramp=(RampStep(date(2026, 1, 1), Decimal("0.75")),))
    assert quota(ramped) == 75_000


def test_twenty_of_sixty_working_days_on_leave_leave_two_thirds_of_the_quota() -> None:
    """The quarter has 64 days from Monday to Friday, of which the company takes four off."""
    off = frozenset({date(2026, 1, 1), date(2026, 1, 2), date(2026, 3, 30), date(2026, 3, 31)})
    work = WorkingDays(((date.min, WorkRule(days_off=off)),))
    away = assignment(Quota(Decimal(90_000)), leave=(DatedRange(date(2026, 2, 2), date(2026, 3, 2)),))
    found = stated_quota(away, "bookings", DOLLARS, QUARTER, {}, work)
    assert not isinstance(found, str)
    assert (found.value, found.counted, found.days) == (Decimal(60_000), DayCount.WORKING, 60)
    [stretch] = found.stretches
    assert (stretch.amount, stretch.share, stretch.active_days) == (Decimal(90_000), Decimal(1), 40)


def test_a_quota_with_a_first_day_pays_what_lies_before_it_by_the_one_before() -> None:
    measure = Measure(Aggregate.SUM, "amount", DateField.CLOSED, currency="USD")
    tiers = (Tier(Decimal(0), Decimal("0.05")), Tier(Decimal(1), Decimal("0.1")))
    component = Commission("bookings", "Bookings", measure, TieredRate(TierMode.MARGINAL, TierScale.ATTAINMENT, tiers))
    changing = assignment(Quota(Decimal(1000), changes=((date(2026, 10, 1), QuotaState(Decimal(2000))),)))
    pays = []
    for period in (Period(date(2026, 7, 1), date(2026, 10, 1)), Period(date(2026, 10, 1), date(2027, 1, 1))):
        found = schedule_of(component, quota_of(changing, "bookings", DOLLARS, period, {}))
        assert isinstance(found, Schedule)
        pays.append(found.total(Decimal(1500)))
    assert pays == [100, 75]


def test_a_month_paid_by_its_year_keeps_its_quota_when_a_later_month_gets_another() -> None:
    year = Period(date(2026, 1, 1), date(2027, 1, 1))
    changing = assignment(Quota(Decimal(1200), changes=((date(2026, 7, 1), QuotaState(Decimal(1565))),)))
    expected = [
        stated_quota(changing, "bookings", DOLLARS, year, {}, known_before=month_end)
        for month_end in (date(2026, 2, 1), date(2026, 7, 1), date(2026, 8, 1), date(2027, 1, 1))
    ]
    # From July on 181 days count 1,200 and 184 days 1,565, of 365.
    assert [found.value for found in expected if not isinstance(found, str)] == [1200, 1200, 1384, 1384]


def test_whoever_comes_within_a_period_is_expected_only_its_days_where_that_is_said() -> None:
    late = {"range": DatedRange(date(2026, 3, 1), date(2026, 5, 1))}
    plain = assignment(Quota(Decimal(64_000)), **late)
    assert quota(plain) == 64_000
    assert quota(replace(plain, prorated=True)) == 22_000
    assert quota(replace(plain, prorated=True), Period(date(2026, 7, 1), date(2026, 10, 1))) == 0


def test_calendar_days_are_counted_where_working_days_are_not_published() -> None:
    half = assignment(Quota(Decimal(90_000)), leave=(DatedRange(date(2026, 1, 1), date(2026, 1, 31)),))
    assert quota(half, work=None) == 60_000
    calendar = Calendar(tenant_id=UUID(int=1), version=1, start_month=1, time_zone="UTC", currency="CNY")
    published = NationalDays(
        country="CN",
        subdivision=None,
        start=date(2020, 1, 1),
        end=date(2030, 1, 1),
        published_until=date(2027, 1, 1),
        weekend=(Weekday.SATURDAY, Weekday.SUNDAY),
        off=(date(2026, 2, 16),),
        worked=(date(2026, 2, 14),),
        estimated=(),
    )
    chinese = calendar.model_copy(update={"country": "CN", "national_days": (published,)})
    found = stated_quota(half, "bookings", DOLLARS, QUARTER, {}, chinese.working_days())
    assert not isinstance(found, str)
    assert (found.counted, found.days, found.stretches[0].active_days) == (DayCount.WORKING, 64, 42)
    unpublished = published.model_copy(update={"published_until": date(2026, 3, 31)})
    guessed = chinese.model_copy(update={"national_days": (unpublished,)})
    assert quota(half, work=guessed.working_days()) == 60_000
    assert chinese.model_copy(update={"national_days": ()}).working_days() is None


def test_a_target_variable_for_a_year_is_shared_by_its_periods_and_reduced_by_leave_but_not_by_a_ramp() -> None:
    target = TargetVariable(Decimal(40_000), PerTime.YEAR, ((date(2026, 4, 1), Decimal(48_000)),))
    paid = assignment(Quota(Decimal(1)), target_variable=target, ramp=(RampStep(date(2026, 1, 1), Decimal("0.5")),))

    def of(each: Assignment, period: Period, kind: PeriodKind = PeriodKind.QUARTER) -> Decimal:
        found = target_variable_of(each, kind, period, WEEKDAYS)
        assert found is not None
        return found.value

    assert (of(paid, QUARTER), of(paid, SECOND)) == (Decimal(10_000), Decimal(12_000))
    assert of(paid, Period(date(2026, 1, 1), date(2026, 2, 1)), PeriodKind.MONTH) == Decimal("3333.333333")
    away = replace(paid, leave=(DatedRange(date(2026, 1, 1), date(2026, 2, 1)),))
    assert of(away, QUARTER) == Decimal(10_000) * 42 / 64
    assert of(replace(paid, target_variable=replace(target, per=PerTime.PERIOD)), QUARTER) == 40_000
    assert target_variable_of(assignment(Quota(Decimal(1))), PeriodKind.QUARTER, QUARTER) is None


DAYS = st.integers(-40, 130).map(lambda number: date(2026, 1, 1) + timedelta(number))
SHARES = st.integers(1, 100)


@given(
    amounts=st.dictionaries(DAYS, st.integers(0, 10**9), max_size=3),
    ramp=st.dictionaries(DAYS, SHARES, max_size=4),
    bounds=st.tuples(DAYS, DAYS),
    away=st.tuples(DAYS, DAYS),
    off=st.frozensets(DAYS, max_size=30),
    counts_all=st.booleans(),
)
def test_an_amount_by_days_is_the_sum_over_each_day_of_the_period(
    amounts: dict[date, int],
    ramp: dict[date, int],
    bounds: tuple[date, date],
    away: tuple[date, date],
    off: frozenset[date],
    counts_all: bool,
) -> None:
    bounds, away = (min(bounds), max(bounds) + timedelta(1)), (min(away), max(away) + timedelta(1))
    first = 5_000_000
    found = prorated(
        QUARTER,
        [StatedAmount(date.min, Decimal(first)), *(StatedAmount(d, Decimal(a)) for d, a in sorted(amounts.items()))],
        ramp=[RampStep(day, Decimal(share).scaleb(-2)) for day, share in sorted(ramp.items())],
        present=DatedRange(*bounds),
        leave=[DatedRange(*away)],
        work=None if counts_all else WorkingDays(((date.min, WorkRule(days_off=off)),)),
    )
    days = [date(2026, 1, 1) + timedelta(number) for number in range(90)]
    worked = days if counts_all else [day for day in days if day.weekday() < 5 and day not in off]
    total = Fraction(0)
    for day in worked:
        if bounds[0] <= day < bounds[1] and not away[0] <= day < away[1]:
            amount = [first, *(amounts[d] for d in sorted(amounts) if d <= day)][-1]
            share = [100, *(ramp[d] for d in sorted(ramp) if d <= day)][-1]
            total += Fraction(amount * share, 100)
    exact = total / len(worked)
    assert Fraction(found.value) == Fraction((2 * exact * 10**6 + 1) // 2, 10**6)
    if found.counted is not None:
        parts = sum(Fraction(s.amount) * Fraction(s.share) * s.active_days for s in found.stretches)
        assert (found.days, parts) == (len(worked), total)


def test_what_is_proposed_waits_beside_what_is_in_force_until_another_person_approves_it() -> None:
    stored = assignment(Quota(Decimal(1)))
    changed = proposed(stored, replace(stored, prorated=True))
    assert (changed.prorated, changed.wanted.prorated, changed.version, changed.status) == (
        False,
        True,
        2,
        AssignmentStatus.APPROVED,
    )
    for approver, authors in ((ANOTHER, [ANOTHER]), (Actor.of(PERSON), [ANOTHER]), (SERVICE, [ANOTHER])):
        with pytest.raises(ApprovalNotIndependent):
            approved_assignment(changed, approver, proposal_for(changed, authors))
    approved = approved_assignment(changed, THIRD, proposal_for(changed, [ANOTHER, SERVICE]))
    assert (approved.prorated, approved.change, approved.version) == (True, None, 3)
    assert withdrawn(changed) == replace(stored, version=3)
    with pytest.raises(AssignmentNotProposed):
        approved_assignment(stored, THIRD, proposal_for(stored, [ANOTHER]))
    with pytest.raises(AssignmentNotProposed):
        withdrawn(stored)
    new = replace(stored, status=AssignmentStatus.PROPOSED)
    assert (taken_back(new).deleted, taken_back(stored).deleted, taken_back(stored).wanted.deleted) == (
        True,
        False,
        True,
    )


def test_what_is_proposed_for_other_days_overlaps_too() -> None:
    early = assignment(Quota(Decimal(1)), range=DatedRange(date(2026, 1, 1), date(2026, 4, 1)))
    longer = proposed(early, replace(early, range=DatedRange(date(2026, 1, 1), date(2026, 8, 1))))
    later = replace(early, id=UUID(int=10), range=DatedRange(date(2026, 7, 1)))
    check_no_overlap(later, [early])
    with pytest.raises(AssignmentOverlaps, match="2026-08-01"):
        check_no_overlap(later, [longer])
    check_no_overlap(later, [replace(early, change=replace(early, deleted=True))])
