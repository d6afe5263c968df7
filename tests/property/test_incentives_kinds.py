"""Bonuses, objectives, pools and matrices against whole numbers: any deals, in any order, whatever the parameters."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Final

from hypothesis import given
from hypothesis import strategies as st

from services.incentives.earnings.domain.inputs import DealTotal, PayInputs, PoolShare, exact_sum
from services.incentives.earnings.domain.payout import pay, steps_of
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
from services.incentives.plans.domain.kinds.pool import Pool, SharePot
from services.incentives.plans.domain.parameters import MAIN
from services.incentives.plans.domain.rates import TierScale
from services.incentives.plans.domain.rewards import Bound, Reward
from shared.kernel.money import round_to_minor_unit
from tests.unit.test_incentives_kinds import BOOKINGS, UNITS
from tests.unit.test_incentives_worked_numbers import DAY, named

QUOTA: Final = 1_000
"""In cents, as every number of the oracle is."""
REWARD: Final = 700
TARGET: Final = 100_000
DEALS = st.lists(st.integers(-3_000, 5_000), max_size=6)
BOUNDS = st.integers(1, 4_000)


def amount(cents: int) -> Decimal:
    return Decimal(cents).scaleb(-2)


def inputs(deals: Sequence[int], second: int = 0) -> PayInputs:
    values = [DealTotal(named(f"deal {n}"), DAY, amount(value)) for n, value in enumerate(deals)]
    return PayInputs(
        quotas={MAIN: amount(QUOTA), SECOND: amount(QUOTA)},
        totals={MAIN: exact_sum(deal.value for deal in values), SECOND: amount(second)},
        deals=values,
        currency="USD",
        target_variable=amount(TARGET),
    )


def cents(component: Component, found: PayInputs) -> int:
    """What it pays, and that its steps add up to it."""
    paid, steps = pay(component, found).amount, steps_of(component, found)
    assert not isinstance(steps, QuotaGap)
    assert exact_sum(step.amount for step in steps) == paid
    return int(round_to_minor_unit(paid, "USD") * 100)


def bonus(condition: Condition) -> Bonus:
    return Bonus("b", "B", UNITS, condition, Reward(amount(REWARD)))


def rounded(numerator: int, denominator: int) -> int:
    """A quotient by more than 0, half away from zero."""
    size = (2 * abs(numerator) + denominator) // (2 * denominator)
    return size if numerator >= 0 else -size


def is_there(value: int, bound: int, is_exclusive: bool) -> bool:
    return value > bound if is_exclusive else value >= bound


@given(DEALS.flatmap(lambda deals: st.tuples(st.just(deals), st.permutations(deals))), BOUNDS, st.booleans())
def test_a_milestone_pays_when_the_total_is_there_in_any_order(
    orders: tuple[list[int], list[int]], bound: int, is_exclusive: bool
) -> None:
    component = bonus(Milestone(Bound(amount(bound), is_exclusive), TierScale.AMOUNT))
    expected = REWARD if is_there(sum(orders[0]), bound, is_exclusive) else 0
    assert {cents(component, inputs(deals)) for deals in orders} == {expected}


@given(DEALS, BOUNDS, st.booleans(), st.sampled_from(Times))
def test_a_spif_counts_deals_that_are_large_enough_and_gives_back_those_that_are_as_much_below_zero(
    deals: list[int], bound: int, is_exclusive: bool, times: Times
) -> None:
    large = sum(1 for deal in deals if is_there(deal, bound, is_exclusive))
    number = large - sum(1 for deal in deals if is_there(-deal, bound, is_exclusive))
    expected = number if times is Times.EVERY else int(number > 0)
    assert cents(bonus(EachDeal(Bound(amount(bound), is_exclusive), times)), inputs(deals)) == expected * REWARD


@given(DEALS, BOUNDS)
def test_whole_units_are_paid_and_a_total_and_its_opposite_pay_opposites(deals: list[int], unit: int) -> None:
    total = sum(deals)
    expected = total // unit if total >= 0 else -(-total // unit)
    component = bonus(PerUnit(amount(unit)))
    assert cents(component, inputs(deals)) == expected * REWARD
    assert cents(component, inputs([-deal for deal in deals])) == -expected * REWARD


@st.composite
def curves(draw: st.DrawFn) -> tuple[list[tuple[int, int]], bool]:
    """Points in hundredths of the quota and percents; and whether the last line goes on, where it rises."""
    starts = sorted(draw(st.sets(st.integers(0, 300), min_size=1, max_size=4)))
    points = [(at, draw(st.integers(0, 400))) for at in starts]
    may_go_on = len(points) > 1 and points[-1][1] >= points[-2][1]
    return points, may_go_on and draw(st.booleans())


@given(st.integers(-1_000, 5_000), curves())
def test_a_curve_is_a_line_between_its_points(total: int, drawn: tuple[list[tuple[int, int]], bool]) -> None:
    points, goes_on = drawn
    curve = Curve(TierScale.ATTAINMENT, tuple(CurvePoint(amount(at), Decimal(share)) for at, share in points), goes_on)
    reached = total * 100  # in points × QUOTA
    at_and_share = [(at * QUOTA, share) for at, share in points]
    if reached < at_and_share[0][0]:
        expected = 0
    elif reached >= at_and_share[-1][0] and not goes_on:
        expected = rounded(REWARD * points[-1][1], 100)
    else:
        index = max(i for i, (at, _) in enumerate(at_and_share) if reached >= at)
        index = min(index, len(points) - 2)
        (low, from_share), (high, to_share) = at_and_share[index], at_and_share[index + 1]
        drawn_line = from_share * (high - low) + (reached - low) * (to_share - from_share)
        expected = rounded(REWARD * drawn_line, 100 * (high - low))
    assert cents(bonus(curve), inputs([total])) == expected


@given(
    st.integers(-200_000, 200_000),
    st.integers(1, 10_000),
    st.lists(st.integers(0, 500), min_size=1, max_size=6),
)
def test_a_pool_is_shared_to_the_last_coin_and_nobody_is_a_coin_away_from_an_equal(
    result: int, basis_points: int, weights: list[int]
) -> None:
    component = Pool("p", "P", SharePot(amount(basis_points), BOOKINGS))
    pots = tuple(amount(weight) for weight in weights)
    found = inputs([result])
    shares = [
        cents(component, PayInputs(found.quotas, found.totals, found.deals, "USD", pool=PoolShare(pots, place)))
        for place in range(len(weights))
    ]
    pot, whole = rounded(result * basis_points, 10_000), sum(weights)
    assert sum(shares) == (pot if whole else 0)
    for share, weight in zip(shares, weights, strict=True):
        assert not whole or abs(share * whole - pot * weight) < whole


@st.composite
def axes(draw: st.DrawFn) -> list[tuple[int, bool]]:
    starts = sorted(draw(st.sets(st.integers(1, 300), max_size=3)))
    return [(0, False), *((start, draw(st.booleans())) for start in starts)]


@given(st.integers(-500, 3_500), st.integers(-500, 3_500), axes(), axes(), st.data())
def test_a_matrix_pays_the_cell_of_the_last_bounds_that_are_reached(
    first: int, second: int, rows: list[tuple[int, bool]], columns: list[tuple[int, bool]], data: st.DataObject
) -> None:
    cells = data.draw(
        st.lists(
            st.lists(st.integers(0, 300), min_size=len(columns), max_size=len(columns)),
            min_size=len(rows),
            max_size=len(rows),
        )
    )

    def axis(bounds: list[tuple[int, bool]]) -> Axis:
        return Axis(UNITS, TierScale.ATTAINMENT, tuple(Bound(amount(start), above) for start, above in bounds))

    def part(total: int, bounds: list[tuple[int, bool]]) -> int:
        passed = [i for i, (start, above) in enumerate(bounds) if is_there(100 * total, start * QUOTA, above)]
        return passed[-1] if passed else 0

    table = tuple(tuple(Decimal(cell) for cell in row) for row in cells)
    component = Matrix("m", "M", axis(rows), axis(columns), MatrixPays.TARGET_PERCENT, table)
    expected = TARGET // 100 * cells[part(first, rows)][part(second, columns)]
    assert cents(component, inputs([first], second)) == expected


@given(st.lists(st.tuples(st.integers(1, 40), st.one_of(st.none(), st.integers(0, 10_000))), min_size=1, max_size=5))
def test_objectives_pay_the_sum_of_weight_times_score_of_the_target(scored: list[tuple[int, int | None]]) -> None:
    rest = 100 * 100 - sum(weight * 25 for weight, _ in scored)
    weights = [(weight * 25, score) for weight, score in scored] + [(rest, None)]
    component = Objectives(
        "o",
        "O",
        Reward(target_percent=Decimal(100)),
        tuple(Objective(f"o{n}", f"O{n}", amount(weight)) for n, (weight, _) in enumerate(weights)),
    )
    scores = {f"o{n}": amount(score) for n, (_, score) in enumerate(weights) if score is not None}
    found = inputs([])
    paying = PayInputs({}, {}, (), "USD", target_variable=found.target_variable, scores=scores)
    expected = rounded(TARGET * sum(weight * score for weight, score in weights if score is not None), 10_000 * 10_000)
    assert cents(component, paying) == expected
