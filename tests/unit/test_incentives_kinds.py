"""The worked numbers of bonuses, objectives, pools and matrices, and what lies around each."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from decimal import Decimal
from itertools import permutations

import pytest

from services.incentives.earnings.domain.inputs import DealTotal, PayInputs, PoolShare, exact_sum
from services.incentives.earnings.domain.kinds import pool
from services.incentives.earnings.domain.payout import pay, steps_of
from services.incentives.earnings.domain.steps import Step
from services.incentives.plans.domain.assignments import QuotaGap
from services.incentives.plans.domain.components import Component
from services.incentives.plans.domain.kinds.bonus import (
    Bonus,
    Condition,
    Curve,
    CurvePoint,
    EachDeal,
    Milestone,
    PerUnit,
    Times,
)
from services.incentives.plans.domain.kinds.matrix import SECOND, Axis, Matrix, MatrixPays
from services.incentives.plans.domain.kinds.objective import Objective, Objectives
from services.incentives.plans.domain.kinds.override import Override
from services.incentives.plans.domain.kinds.pool import FixedPot, Pool, SharePot
from services.incentives.plans.domain.parameters import MAIN
from services.incentives.plans.domain.rates import FlatRate, Tier, TieredRate, TierMode, TierScale
from services.incentives.plans.domain.rewards import Bound, Reward
from shared.kernel.deals import DateField
from shared.kernel.errors import InvalidInput
from shared.kernel.measures import Aggregate, Crediting, Measure
from tests.unit.test_incentives_worked_numbers import DAY, named

BOOKINGS = Measure(Aggregate.SUM, "amount", DateField.CLOSED, currency="USD")
UNITS = Measure(Aggregate.SUM, "quantity", DateField.CLOSED)
ATTAINMENT, AMOUNT = TierScale.ATTAINMENT, TierScale.AMOUNT
HALF_OF_TARGET = Reward(target_percent=Decimal(50))


def inputs(*values: str, **more: object) -> PayInputs:
    """Deals of these values in order, with a quota of 100 and a target variable of 10,000 unless said otherwise."""
    deals = [DealTotal(named(f"deal {n}"), DAY, Decimal(value)) for n, value in enumerate(values)]
    found = PayInputs(
        quotas={MAIN: Decimal(100)},
        totals={MAIN: exact_sum(deal.value for deal in deals)},
        deals=deals,
        currency="USD",
        target_variable=Decimal(10000),
    )
    return replace(found, **more)  # type: ignore[arg-type]


def paying(condition: Condition, pays: Reward | None = None) -> Bonus:
    return Bonus("bonus", "Bonus", UNITS, condition, pays or Reward(Decimal(250)))


def paid(component: Component, found: PayInputs) -> Decimal:
    """What it pays, with steps that add up to it."""
    steps = steps_of(component, found)
    amount = pay(component, found).amount
    if isinstance(steps, QuotaGap):
        assert amount == 0
    else:
        assert exact_sum(step.amount for step in steps) == amount
        assert all(step.rate is None or step.value * step.rate == step.amount for step in steps)
        assert all(step.words.en and step.words.zh for step in steps)
    return amount


def only(steps: Sequence[Step] | QuotaGap) -> Step:
    assert not isinstance(steps, QuotaGap)
    (step,) = steps
    return step


TEN = EachDeal(Bound(Decimal(10)))


def test_a_spif_pays_every_deal_that_is_large_enough() -> None:
    assert [paid(paying(TEN), inputs(quantity)) for quantity in ("9", "10", "25")] == [0, 250, 250]
    assert paid(paying(TEN), inputs("9", "10", "25")) == 500


def test_a_spif_that_is_paid_once_pays_the_first_such_deal_alone_and_on_an_exclusive_bound_none() -> None:
    assert paid(paying(replace(TEN, times=Times.ONCE)), inputs("9", "10", "25")) == 250
    assert paid(paying(replace(TEN, times=Times.ONCE)), inputs("9")) == 0
    above = EachDeal(Bound(Decimal(10), is_exclusive=True))
    assert [paid(paying(above), inputs(quantity)) for quantity in ("10", "10.000001")] == [0, 250]


def test_a_credit_note_takes_back_what_its_deal_was_rewarded_with() -> None:
    assert paid(paying(TEN), inputs("25", "-25")) == 0
    assert paid(paying(TEN), inputs("-25")) == -250
    assert paid(paying(TEN), inputs("25", "-9")) == 250
    assert paid(paying(replace(TEN, times=Times.ONCE)), inputs("25", "12", "-25")) == 250
    assert paid(paying(replace(TEN, times=Times.ONCE)), inputs("-25")) == 0


MILESTONE = Milestone(Bound(Decimal("0.8")), ATTAINMENT)


@pytest.mark.parametrize(("total", "pays"), [("79.999999", 0), ("80", 5000), ("500", 5000), ("-80", 0)])
def test_a_milestone_pays_once_when_it_is_reached(total: str, pays: int) -> None:
    assert paid(paying(MILESTONE, HALF_OF_TARGET), inputs(total)) == pays


def test_a_milestone_is_taken_back_when_the_total_falls_below_in_any_order() -> None:
    orders = permutations(["80", "-1", "0.5"])
    assert {paid(paying(MILESTONE, HALF_OF_TARGET), inputs(*order)) for order in orders} == {0}
    assert paid(paying(MILESTONE, HALF_OF_TARGET), inputs("80", "-1", "1")) == 5000


def test_a_contract_that_says_more_than_makes_the_bound_exclusive() -> None:
    above = Milestone(Bound(Decimal(80), is_exclusive=True), AMOUNT)
    assert [paid(paying(above), inputs(total)) for total in ("80", "80.01")] == [0, 250]


def test_a_bonus_per_unit_pays_whole_units_and_takes_as_many_back() -> None:
    assert [paid(paying(PerUnit()), inputs(total)) for total in ("0.9", "1", "3.99", "-3.99")] == [0, 250, 750, -750]
    tens = paying(PerUnit(Decimal(10)))
    assert [paid(tens, inputs(*totals)) for totals in (["9"], ["9", "1"], ["25"], ["25", "-6"])] == [0, 250, 500, 250]


CURVE = Curve(
    ATTAINMENT, tuple(CurvePoint(Decimal(at), Decimal(p)) for at, p in (("0.8", "50"), ("1", "100"), ("1.2", "150")))
)
TARGET = Reward(target_percent=Decimal(100))


@pytest.mark.parametrize(
    ("attained", "pays"),
    [
        ("70", 0),
        ("79.999999", 0),
        ("80", 5000),
        ("90", 7500),
        ("110", 12500),
        ("120", 15000),
        ("130", 15000),
        ("-90", 0),
    ],
)
def test_attainment_between_points_pays_on_the_line_between_them(attained: str, pays: int) -> None:
    assert paid(paying(CURVE, TARGET), inputs(attained)) == pays


def test_a_slope_that_is_told_to_go_on_does() -> None:
    on = paying(replace(CURVE, extrapolate=True), TARGET)
    assert [paid(on, inputs(attained)) for attained in ("79", "120", "130", "200")] == [0, 15000, 17500, 35000]


def test_a_line_that_does_not_come_out_even_is_cut_far_behind_the_coin() -> None:
    thirds = replace(CURVE, points=(CurvePoint(Decimal(0), Decimal(0)), CurvePoint(Decimal(3), Decimal(100))))
    amount = pay(paying(thirds, TARGET), inputs("100")).amount
    assert str(amount) == "3333." + "3" * 20


def test_a_bonus_without_what_it_is_measured_on_pays_nothing_and_says_why() -> None:
    missing = {MAIN: QuotaGap.MISSING}
    assert steps_of(paying(MILESTONE, HALF_OF_TARGET), inputs("90", quotas=missing)) is QuotaGap.MISSING
    assert steps_of(paying(CURVE), inputs("90", quotas={MAIN: Decimal(0)})) is QuotaGap.NOT_POSITIVE
    found = inputs("90", target_variable=QuotaGap.TARGET_VARIABLE_MISSING)
    assert steps_of(paying(MILESTONE, HALF_OF_TARGET), found) is QuotaGap.TARGET_VARIABLE_MISSING
    assert paid(paying(MILESTONE), found) == 250
    assert paid(paying(TEN), inputs("10", quotas=missing)) == 250


def test_a_pool_is_shared_by_weight_and_adds_up_to_the_last_coin() -> None:
    two_percent = Pool("pool", "Pool", SharePot(Decimal(2), BOOKINGS))
    shared = [
        paid(two_percent, inputs("400000", "600000", pool=PoolShare(tuple(map(Decimal, (3, 2, 1))), place)))
        for place in range(3)
    ]
    assert shared == [10000, Decimal("6666.67"), Decimal("3333.33")]
    assert sum(shared) == 20000


@pytest.mark.parametrize(
    ("pot", "currency", "weights", "shares"),
    [
        ("0.02", "USD", ("1", "1", "1"), ("0.01", "0.01", "0")),
        ("100", "JPY", ("1", "1", "1"), ("34", "33", "33")),
        ("10", "USD", ("0", "5"), ("0", "10")),
        ("10", "USD", ("0", "0"), ("0", "0")),
        ("-10", "USD", ("1", "2"), ("-3.33", "-6.67")),
        ("10.005", "USD", ("0.5", "0.5"), ("5.01", "5")),
        ("7", "USD", ("62", "30"), ("4.72", "2.28")),
    ],
)
def test_shares_of_a_pot_are_whole_coins_of_it(
    pot: str, currency: str, weights: Sequence[str], shares: Sequence[str]
) -> None:
    assert pool.shares(Decimal(pot), [Decimal(weight) for weight in weights], currency) == [
        Decimal(share) for share in shares
    ]


def test_a_fixed_pot_is_shared_whatever_was_sold() -> None:
    fixed = Pool("pool", "Pool", FixedPot(Decimal(900)))
    share = PoolShare((Decimal(2), Decimal(1)), 0)
    assert paid(fixed, inputs(pool=share, totals={}, quotas={})) == 600


MATRIX = Matrix(
    "matrix",
    "Matrix",
    Axis(BOOKINGS, ATTAINMENT, (Bound(Decimal(0)), Bound(Decimal("0.8")), Bound(Decimal(1)))),
    Axis(UNITS, ATTAINMENT, (Bound(Decimal(0)), Bound(Decimal("0.9")))),
    MatrixPays.TARGET_PERCENT,
    tuple(tuple(map(Decimal, row)) for row in ((0, 20), (50, 80), (90, 120))),
)


def two(first: str, second: str, **more: object) -> PayInputs:
    quotas = {MAIN: Decimal(100), SECOND: Decimal(100)}
    return inputs(first, totals={MAIN: Decimal(first), SECOND: Decimal(second)}, **{"quotas": quotas, **more})


@pytest.mark.parametrize(
    ("first", "second", "pays"),
    [
        ("95", "92", 8000),
        ("79.99", "89.99", 0),
        ("79.99", "90", 2000),
        ("80", "89.99", 5000),
        ("99.99", "90", 8000),
        ("100", "0", 9000),
        ("100", "90", 12000),
        ("-5", "-5", 0),
    ],
)
def test_a_matrix_pays_the_cell_that_both_measures_have_reached(first: str, second: str, pays: int) -> None:
    assert paid(MATRIX, two(first, second)) == pays


def test_a_matrix_pays_amounts_or_a_rate_on_the_first_measure_too() -> None:
    assert paid(replace(MATRIX, pays=MatrixPays.AMOUNT), two("95", "92")) == 80
    tenths = tuple(tuple(cell / 1000 for cell in row) for row in MATRIX.cells)
    assert paid(replace(MATRIX, pays=MatrixPays.RATE, cells=tenths), two("95", "92")) == Decimal("7.6")


def test_an_exclusive_bound_of_a_matrix_leaves_its_value_to_the_part_below() -> None:
    rows = replace(MATRIX.rows, bounds=(*MATRIX.rows.bounds[:2], Bound(Decimal(1), is_exclusive=True)))
    assert [paid(replace(MATRIX, rows=rows), two(first, "92")) for first in ("100", "100.01")] == [8000, 12000]


def test_a_matrix_without_one_of_its_quotas_pays_nothing_and_says_why() -> None:
    quotas = {MAIN: Decimal(100), SECOND: QuotaGap.MISSING}
    assert steps_of(MATRIX, two("95", "92", quotas=quotas)) is QuotaGap.MISSING
    assert paid(MATRIX, two("95", "92", quotas=quotas)) == 0


OBJECTIVES = Objectives(
    "mbo",
    "Objectives",
    Reward(Decimal(5000)),
    (Objective("pipeline", "Pipeline", Decimal(60)), Objective("hiring", "Hiring", Decimal(40))),
)


def scored(**scores: str) -> PayInputs:
    return inputs(totals={}, quotas={}, scores={key: Decimal(score) for key, score in scores.items()})


def test_objectives_pay_weight_times_target_times_score() -> None:
    assert paid(OBJECTIVES, scored(pipeline="100", hiring="50")) == 4000
    assert paid(OBJECTIVES, scored(hiring="50")) == 1000
    assert paid(OBJECTIVES, scored(pipeline="0")) == 0
    assert paid(OBJECTIVES, scored()) == 0
    assert paid(
        replace(OBJECTIVES, target=Reward(target_percent=Decimal(50))), scored(pipeline="33.333333")
    ) == Decimal("999.99999")


def test_a_score_is_a_percent_up_to_the_most_there_is() -> None:
    OBJECTIVES.check_score(Decimal(100), "/score")
    replace(OBJECTIVES, score_max=Decimal(150)).check_score(Decimal(150), "/score")
    for score in ("100.000001", "-1"):
        with pytest.raises(InvalidInput) as refused:
            OBJECTIVES.check_score(Decimal(score), "/score")
        assert refused.value.fields[0].accepted == "0 to 100 percent"


TEAM = replace(BOOKINGS, crediting=Crediting.ROLLUP)
BY_QUOTA = TieredRate(
    TierMode.MARGINAL, ATTAINMENT, (Tier(Decimal(0), Decimal("0.01")), Tier(Decimal(1), Decimal("0.02")))
)


def test_an_override_pays_a_rate_or_tiers_on_what_the_subtree_brings_in() -> None:
    flat = Override("override", "Override", TEAM, FlatRate(Decimal("0.01")))
    assert pay(flat, inputs("530000")).amount == 5300
    tiered = replace(flat, rate=BY_QUOTA)
    assert pay(tiered, inputs("530000", quotas={MAIN: Decimal(500000)})).amount == 5600
    assert pay(tiered, inputs("530000", "-530000", quotas={MAIN: Decimal(500000)})).amount == 0


def _axis(*starts: str) -> Axis:
    return Axis(UNITS, ATTAINMENT, tuple(Bound(Decimal(start)) for start in starts))


@pytest.mark.parametrize(
    ("wrong", "pointer"),
    [
        (lambda: Reward(), ""),
        (lambda: Reward(Decimal(1), Decimal(1)), ""),
        (lambda: Reward(Decimal(0)), "/amount"),
        (lambda: Reward(target_percent=Decimal(1001)), "/target_percent"),
        (lambda: Milestone(Bound(Decimal(0)), AMOUNT), "/from"),
        (lambda: Milestone(Bound(Decimal(80)), ATTAINMENT), "/from"),
        (lambda: Milestone(Bound(Decimal(-1)), AMOUNT), "/from"),
        (lambda: EachDeal(Bound(Decimal(0))), "/from"),
        (lambda: PerUnit(Decimal(0)), "/unit"),
        (lambda: Curve(ATTAINMENT, ()), "/points"),
        (lambda: replace(CURVE, points=CURVE.points[::-1]), "/points/1/at"),
        (lambda: replace(CURVE, points=(CurvePoint(Decimal(80), Decimal(50)),)), "/points/0/at"),
        (lambda: replace(CURVE, points=(CurvePoint(Decimal(1), Decimal(-50)),)), "/points/0/percent"),
        (lambda: replace(CURVE, points=CURVE.points[:1], extrapolate=True), "/extrapolate"),
        (lambda: replace(paying(TEN), key="Bonus"), "/key"),
        (lambda: replace(paying(TEN), allocation_percent=Decimal(0)), "/allocation_percent"),
        (lambda: replace(OBJECTIVES, objectives=OBJECTIVES.objectives[:1]), "/objectives"),
        (lambda: replace(OBJECTIVES, objectives=()), "/objectives"),
        (lambda: replace(OBJECTIVES, objectives=(Objective("a", "A", Decimal(50)),) * 2), "/objectives/1/key"),
        (lambda: replace(OBJECTIVES, score_max=Decimal(99)), "/score_max"),
        (lambda: Objective("a", "A", Decimal(0)), "/weight"),
        (lambda: Override("o", "O", BOOKINGS, FlatRate(Decimal("0.1"))), "/crediting"),
        (lambda: Override("o", "O", TEAM, FlatRate(Decimal("0.1")), depth=0), "/depth"),
        (lambda: Override("o", "O", TEAM, FlatRate(Decimal("1.1"))), "/rate/rate"),
        (lambda: FixedPot(Decimal(0)), "/amount"),
        (lambda: SharePot(Decimal(101), BOOKINGS), "/percent"),
        (lambda: SharePot(Decimal(1), UNITS), "/measure"),
        (lambda: _axis("0.5"), "/bounds/0/from"),
        (lambda: _axis("0", "0.5", "0.5"), "/bounds/2/from"),
        (lambda: _axis("0", "80"), "/bounds/1/from"),
        (lambda: replace(MATRIX, cells=MATRIX.cells[:2]), "/cells"),
        (lambda: replace(MATRIX, cells=(*MATRIX.cells[:2], MATRIX.cells[2][:1])), "/cells/2"),
        (lambda: replace(MATRIX, cells=(*MATRIX.cells[:2], (Decimal(1), Decimal(-1)))), "/cells/2/1"),
        (lambda: replace(MATRIX, pays=MatrixPays.RATE), "/cells/0/1"),
    ],
)
def test_parameters_that_cannot_be_meant_are_refused_where_they_are(wrong: Callable[[], object], pointer: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        wrong()
    assert [(field.pointer, bool(field.accepted)) for field in refused.value.fields] == [(pointer, True)]
