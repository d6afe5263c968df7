"""An amount that becomes another one within a period: both parts are paid by what is expected for them."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from decimal import Decimal
from uuid import UUID

from services.incentives.credits.domain.credit import CellKey, Credit
from services.incentives.credits.domain.definitions import Definitions
from services.incentives.earnings.domain.cells import Cell
from services.incentives.earnings.domain.settlement import Settlement
from services.incentives.ledger.domain import PAYABLE, Cause
from services.incentives.plans.domain.assignments import Assignment, PerTime, Quota, QuotaState, TargetVariable
from services.incentives.plans.domain.components import Component
from services.incentives.plans.domain.kinds.bonus import Bonus, Curve, CurvePoint, EachDeal, Milestone, Times
from services.incentives.plans.domain.kinds.commission import Basis, Commission, Gate
from services.incentives.plans.domain.kinds.matrix import SECOND, Axis, Matrix, MatrixPays
from services.incentives.plans.domain.kinds.objective import Objective, Objectives
from services.incentives.plans.domain.kinds.pool import FixedPot, Pool
from services.incentives.plans.domain.parameters import ComponentMeasure
from services.incentives.plans.domain.rates import FlatRate, Tier, TieredRate, TierMode, TierScale
from services.incentives.plans.domain.rewards import Bound, Reward
from services.incentives.plans.domain.versions import Plan, PlanVersion, VersionStatus
from shared.kernel.deals import DateField
from shared.kernel.measures import Aggregate, Measure
from shared.kernel.org import CrmUser, OrgChart
from shared.kernel.periods import DatedRange, Period, PeriodKind
from tests.oracles.incentives import DealVersion
from tests.stories.incentives import SOURCE, deal_event

TENANT, ANN, BEN, PLAN, HERS, HIS = (UUID(int=number) for number in range(1, 7))
MONEY = Measure(Aggregate.SUM, "amount", DateField.CLOSED, currency="USD")
NUMBER = Measure(Aggregate.COUNT, None, DateField.CLOSED)
FIFTEENTH = date(2026, 2, 15)
"""The first of the last 45 days of the 90 of a quarter."""
CAUSE = Cause.of_definitions(["test"])
TIERS = (Tier(Decimal(0), Decimal("0.05")), Tier(Decimal(1), Decimal("0.1")))
RATE = TieredRate(TierMode.MARGINAL, TierScale.ATTAINMENT, TIERS)
COMMISSION = Commission("pay", "Pay", MONEY, RATE)


def changing(amount: int, *later: tuple[date, int]) -> Quota:
    return Quota(Decimal(amount), changes=tuple((start, QuotaState(Decimal(other))) for start, other in later))


def known(
    component: Component, quotas: dict[str, Quota], kind: PeriodKind = PeriodKind.QUARTER, **terms: object
) -> Definitions:
    """One person on a plan of one component."""
    hers = Assignment(HERS, ANN, PLAN, DatedRange(date(2026, 1, 1)), quotas)
    version = PlanVersion(PLAN, 1, VersionStatus.ACTIVE, date(2025, 1, 1), (component,), None, None)
    return Definitions(
        OrgChart(identities={CrmUser(SOURCE, "0"): ANN}),
        plans={PLAN: Plan(PLAN, "Reps", "USD", kind)},
        versions={PLAN: [version]},
        assignments={HERS: replace(hers, **terms)},  # type: ignore[arg-type]
        today=date(2026, 3, 1),
    )


def credits(definitions: Definitions, *deals: tuple[date, int]) -> list[Credit]:
    """Of deals of these days and dollars."""
    facts = [
        deal_event(TENANT, DealVersion(number, 1, 0, (), dollars * 100, True, day, "USD", False)).facts()
        for number, (day, dollars) in enumerate(deals)
    ]
    return [credit for deal in facts for credit in definitions.credits(deal)]


def settled(definitions: Definitions, found: Sequence[Credit], stored: Sequence[Cell] = ()) -> Settlement:
    settlement = Settlement(definitions, {cell.key: cell for cell in stored})
    settlement.rebuild(dict.fromkeys(definitions.assignments, CAUSE), [cell.key for cell in stored], found)
    return settlement


def paid(definitions: Definitions, *deals: tuple[date, int]) -> list[tuple[date, object, object]]:
    """First day, quota and pay of each part, in order."""
    cells = settled(definitions, credits(definitions, *deals)).changed_cells()
    found = [(cell.key.period.start, cell.quota, cell.earned) for cell in cells]
    return sorted(found, key=lambda each: each[0])


def test_both_parts_are_paid_by_their_own_quota_and_the_total_goes_on_over_the_day() -> None:
    definitions = known(COMMISSION, {"pay": changing(1000, (FIFTEENTH, 2000))})
    # 800 at 5 %; then 700 at 5 % up to the 1,500 that 45 days at 1,000 and 45 at 2,000 come to, and 300 at 10 %.
    assert paid(definitions, (date(2026, 2, 14), 800), (FIFTEENTH, 1000)) == [
        (date(2026, 1, 1), 1000, 40),
        (FIFTEENTH, 1500, 65),
    ]
    # What was above the quota before the day stays above it.
    assert [pay for _, _, pay in paid(definitions, (date(2026, 1, 5), 1200), (date(2026, 3, 31), 100))] == [70, 5]


def test_both_parts_explain_themselves_by_the_amounts_and_their_days() -> None:
    definitions = known(COMMISSION, {"pay": changing(1000, (FIFTEENTH, 2000))})
    expected: list[object] = []
    for days in (Period(date(2026, 1, 1), FIFTEENTH), Period(FIFTEENTH, date(2026, 4, 1))):
        key = CellKey(HERS, "pay", days)
        terms = definitions.terms(key)
        assert terms is not None
        quota = definitions.expected(key, terms).quota
        assert quota is not None
        expected.append([(part.amount, part.active_days) for part in quota.stretches])
    assert expected == [[(1000, 0)], [(1000, 45), (2000, 45)]]


def test_a_deal_of_the_other_part_is_said_to_count_there() -> None:
    definitions = known(COMMISSION, {"pay": changing(1000, (FIFTEENTH, 2000))})
    deal = deal_event(TENANT, DealVersion(0, 1, 0, (), 100, True, FIFTEENTH, "USD", False)).facts()
    first, second = Period(date(2026, 1, 1), FIFTEENTH), Period(FIFTEENTH, date(2026, 4, 1))
    elsewhere = definitions.why(deal, definitions.assignments[HERS], "pay", first)
    assert elsewhere.refusal is not None
    assert (elsewhere.refusal.reason, elsewhere.refusal.period) == ("outside_period", second)
    assert definitions.why(deal, definitions.assignments[HERS], "pay", second).refusal is None


def test_another_amount_cuts_a_paid_period_and_its_end_joins_it_again_without_paying_anew() -> None:
    before = known(COMMISSION, {"pay": changing(1000)})
    deals = (date(2026, 1, 5), 1200), (date(2026, 2, 14), 300)
    [whole] = settled(before, credits(before, *deals)).changed_cells()
    cut = known(COMMISSION, {"pay": changing(1000, (FIFTEENTH, 2000))})
    there = settled(cut, credits(cut, *deals), [whole])
    moved = {
        posting.period: -sum(entry.amount for entry in posting.entries if entry.account.kind == PAYABLE)
        for posting in there.postings
    }
    first = Period(date(2026, 1, 1), FIFTEENTH)
    assert moved == {whole.key.period: -whole.earned, first: whole.earned}
    later = settled(cut, credits(cut, *deals, (FIFTEENTH, 1000)), there.changed_cells())
    cells = {cell.key.period.start: cell for cell in [*there.changed_cells(), *later.changed_cells()]}
    assert {start: cell.earned for start, cell in cells.items()} == {first.start: 100, FIFTEENTH: 100}
    joined = settled(before, credits(before, *deals, (FIFTEENTH, 1000)), list(cells.values()))
    left: dict[Period, object] = {cell.key.period: (cell.earned, cell.credits) for cell in joined.changed_cells()}
    assert left == {whole.key.period: (200, 3), Period(FIFTEENTH, date(2026, 4, 1)): (0, 0)}


def test_a_month_paid_by_its_year_is_cut_where_the_quota_of_the_year_changes() -> None:
    yearly = replace(COMMISSION, basis=Basis.YEAR_TO_DATE)
    definitions = known(yearly, {"pay": changing(3650, (date(2026, 3, 11), 7300))}, PeriodKind.MONTH)
    found = paid(definitions, (date(2026, 2, 1), 3650), (date(2026, 3, 10), 100), (date(2026, 3, 11), 2960))
    # 69 days at 3,650 and 296 at 7,300, of 365, are 6,610: of 3,750 + 2,960 the last 100 are above it.
    assert found == [
        (date(2026, 2, 1), 3650, Decimal("182.50")),
        (date(2026, 3, 1), 3650, 10),
        (date(2026, 3, 11), 6610, 2860 * Decimal("0.05") + 10),
    ]


def test_what_is_paid_from_the_target_variable_is_paid_at_the_one_of_its_day() -> None:
    target = TargetVariable(Decimal(10_000), PerTime.PERIOD, ((FIFTEENTH, Decimal(20_000)),))
    line = Curve(TierScale.ATTAINMENT, (CurvePoint(Decimal(0), Decimal(0)), CurvePoint(Decimal(1), Decimal(100))))
    bonus = Bonus("pay", "Pay", MONEY, line, Reward(target_percent=Decimal(100)))
    definitions = known(bonus, {"pay": changing(1000)}, target_variable=target)
    halves = paid(definitions, (date(2026, 1, 5), 500), (date(2026, 3, 5), 500))
    assert halves == [(date(2026, 1, 1), 1000, 5000), (FIFTEENTH, 1000, 10_000)]
    # Whoever is away half of the quarter has half of either at target, whenever that was.
    away = known(
        bonus, {"pay": changing(1000)}, target_variable=target, leave=(DatedRange(date(2026, 1, 1), FIFTEENTH),)
    )
    halves = paid(away, (date(2026, 1, 5), 250), (date(2026, 3, 5), 250))
    assert halves == [(date(2026, 1, 1), 500, 2500), (FIFTEENTH, 500, 5000)]


def test_an_amount_that_decides_nothing_of_the_pay_cuts_nothing() -> None:
    target = TargetVariable(Decimal(10_000), PerTime.PERIOD, ((FIFTEENTH, Decimal(20_000)),))
    by_quota = known(COMMISSION, {"pay": changing(1000)}, target_variable=target)
    assert len(paid(by_quota, (date(2026, 1, 5), 500), (date(2026, 3, 5), 500))) == 1
    flat = Commission("pay", "Pay", MONEY, FlatRate(Decimal("0.1")))
    shown = known(flat, {"pay": changing(1000, (FIFTEENTH, 2000))})
    assert paid(shown, (date(2026, 1, 5), 500), (date(2026, 3, 5), 500)) == [(date(2026, 1, 1), 1500, 100)]


def test_another_quota_cuts_the_periods_of_one_person_alone() -> None:
    definitions = known(COMMISSION, {"pay": changing(1000)})
    his = Assignment(HIS, BEN, PLAN, DatedRange(date(2026, 1, 1)), {"pay": changing(1000, (FIFTEENTH, 2000))})
    both = replace(definitions, assignments={**definitions.assignments, HIS: his})
    year = Period(date(2026, 1, 1), date(2027, 1, 1))
    assert [both.linked_year(CellKey(each, "pay", year)) is None for each in (HERS, HIS)] == [True, False]
    assert [len(both.cells_within(both.assignments[each], "pay", year)) for each in (HERS, HIS)] == [4, 5]


def test_a_milestone_is_measured_by_the_quota_of_the_part_that_reaches_it() -> None:
    bonus = Bonus("pay", "Pay", MONEY, Milestone(Bound(Decimal(1)), TierScale.ATTAINMENT), Reward(Decimal(500)))
    definitions = known(bonus, {"pay": changing(1000, (FIFTEENTH, 2000))})
    assert paid(definitions, (date(2026, 1, 5), 999), (date(2026, 3, 5), 501)) == [
        (date(2026, 1, 1), 1000, 0),
        (FIFTEENTH, 1500, 500),
    ]
    assert paid(definitions, (date(2026, 1, 5), 1000)) == [(date(2026, 1, 1), 1000, 500)]


def test_what_is_paid_once_a_period_is_paid_by_one_of_its_parts() -> None:
    reward = Reward(target_percent=Decimal(10))
    reached = Bonus("pay", "Pay", MONEY, Milestone(Bound(Decimal(1)), TierScale.ATTAINMENT), reward)
    big = Bonus("pay", "Pay", MONEY, EachDeal(Bound(Decimal(500)), Times.ONCE), reward)
    target = TargetVariable(Decimal(5000), PerTime.PERIOD, ((FIFTEENTH, Decimal(6000)),))
    for component in (reached, big):
        definitions = known(component, {"pay": changing(1000, (FIFTEENTH, 2000))}, target_variable=target)
        both = paid(definitions, (date(2026, 1, 5), 1000), (date(2026, 3, 5), 600))
        assert [pay for _, _, pay in both] == [500, 0]
        late = paid(definitions, (date(2026, 1, 5), 400), (date(2026, 3, 5), 1200))
        assert [pay for _, _, pay in late] == [0, 600]


def test_the_quota_of_a_gate_and_of_a_second_measure_cut_the_period_too() -> None:
    gate = Gate(ComponentMeasure("gate", NUMBER), at_least_attainment=Decimal(1))
    gated = Commission("pay", "Pay", MONEY, FlatRate(Decimal("0.1")), gate=gate)
    quotas = {"pay.gate": changing(2, (FIFTEENTH, 4))}
    # Two deals meet the gate of 2 before the day, and not the one of 3 from then on.
    assert [
        (start, pay) for start, _, pay in paid(known(gated, quotas), (date(2026, 1, 5), 100), (FIFTEENTH, 100))
    ] == [
        (date(2026, 1, 1), 10),
        (FIFTEENTH, 0),
    ]
    rows = Axis(MONEY, TierScale.AMOUNT, (Bound(Decimal(0)),))
    columns = Axis(NUMBER, TierScale.ATTAINMENT, (Bound(Decimal(0)), Bound(Decimal(1))))
    matrix = Matrix("pay", "Pay", rows, columns, MatrixPays.AMOUNT, ((Decimal(0), Decimal(70)),))
    found = paid(known(matrix, {f"pay.{SECOND}": changing(1, (FIFTEENTH, 3))}), (date(2026, 1, 5), 1), (FIFTEENTH, 1))
    assert [(start, pay) for start, _, pay in found] == [(date(2026, 1, 1), 70), (FIFTEENTH, 70)]


def test_objectives_are_scored_once_and_paid_by_the_days_of_each_target_variable() -> None:
    target = TargetVariable(Decimal(10_000), PerTime.PERIOD, ((FIFTEENTH, Decimal(20_000)),))
    scored = Objectives("pay", "Pay", Reward(target_percent=Decimal(100)), (Objective("all", "All", Decimal(100)),))
    definitions = known(scored, {}, target_variable=target)
    definitions = replace(definitions, scores={HERS: {("pay", date(2026, 1, 1)): {"all": Decimal(50)}}})
    assert paid(definitions) == [(date(2026, 1, 1), None, 7500)]
    # Terms from 1 February on cut the quarter: 14 of the 59 days from there on are at 10,000, and 45 at 20,000.
    other = replace(definitions.versions[PLAN][0], number=2, effective_from=date(2026, 2, 1))
    scores = {("pay", start): {"all": Decimal(100)} for start in (date(2026, 1, 1), date(2026, 2, 1))}
    both = replace(definitions, versions={PLAN: [*definitions.versions[PLAN], other]}, scores={HERS: scores})
    assert sum(cell.earned for cell in settled(both, ()).changed_cells()) == 15_000


def test_a_weight_in_a_pool_counts_for_its_own_days() -> None:
    definitions = known(Pool("pay", "Pay", FixedPot(Decimal(300))), {"pay.weight": changing(1, (FIFTEENTH, 3))})
    his = Assignment(HIS, BEN, PLAN, DatedRange(date(2026, 1, 1)))
    shared = replace(definitions, assignments={**definitions.assignments, HIS: his})
    # 45 days at 1 and 45 at 3 are 180 parts, beside 90.
    assert [pay for _, _, pay in paid(shared)] == [200, 100]
