"""The worked numbers of draws, guarantees, caps, holdback and clawback, each on its bound and beside it."""

from collections.abc import Sequence
from decimal import Decimal
from uuid import UUID

import pytest

from services.incentives.payouts.domain.pay import (
    EarnedAmount,
    LineKind,
    PayInput,
    PayState,
    PersonPay,
    pay_of,
)
from services.incentives.plans.domain.rules import (
    Clawback,
    ClawbackPolicy,
    Deduction,
    Draw,
    DrawKind,
    Guarantee,
    Holdback,
    NegativeBalance,
    PeriodRules,
    PersonCap,
    Release,
    Rounding,
    RoundingMode,
)

DEAL, OTHER = UUID(int=1), UUID(int=2)


def earned(amount: str, deal: UUID | None = None, **more: object) -> EarnedAmount:
    return EarnedAmount(Decimal(amount), "bookings", deal, **more)  # type: ignore[arg-type]


def paid_over(rules: PeriodRules, amounts: Sequence[str]) -> list[PersonPay]:
    """The pays of pay periods one after the other, the first of a fiscal year's."""
    state, found = PayState(), []
    for number, amount in enumerate(amounts, start=1):
        pay = pay_of(rules, "USD", state, PayInput(number, [earned(amount)]))
        state = pay.state
        found.append(pay)
    return found


def recoverable(**more: object) -> PeriodRules:
    return PeriodRules(draw=Draw(DrawKind.RECOVERABLE, Decimal(2000), **more))  # type: ignore[arg-type]


def numbers(found: Sequence[Decimal]) -> list[int]:
    return [int(each) for each in found]


def test_a_recoverable_draw_is_recovered_above_the_draw() -> None:
    found = paid_over(recoverable(), ["2750", "3000", "1500", "2375", "3000", "2750"])
    assert numbers([pay.paid for pay in found]) == [2750, 3000, 2000, 2000, 2875, 2750]
    assert numbers([pay.state.owed for pay in found]) == [0, 0, 500, 125, 0, 0]


@pytest.mark.parametrize(("amount", "paid", "owed"), [("4500", 4500, 0), ("2000", 3000, 1000), ("3000", 3000, 0)])
def test_a_recoverable_draw_of_one_month(amount: str, paid: int, owed: int) -> None:
    rules = PeriodRules(draw=Draw(DrawKind.RECOVERABLE, Decimal(3000)))
    [pay] = paid_over(rules, [amount])
    assert numbers([pay.paid, pay.state.owed]) == [paid, owed]


def test_a_draw_that_nobody_recovers_owes_nothing() -> None:
    [pay] = paid_over(PeriodRules(draw=Draw(DrawKind.NON_RECOVERABLE, Decimal(2500))), ["1800"])
    assert numbers([pay.paid, pay.state.owed, pay.line(LineKind.GUARANTEED)]) == [2500, 0, 700]


def test_recovery_waits_for_its_delay_and_takes_its_share_and_leaves_the_minimum() -> None:
    delayed = paid_over(recoverable(recovery_delay=1), ["1500", "3000", "3000"])
    assert numbers([pay.paid for pay in delayed]) == [2000, 3000, 2500]
    shared = paid_over(recoverable(recovery_share=Decimal(50)), ["1500", "2600", "3000"])
    assert numbers([pay.paid for pay in shared]) == [2000, 2300, 2800]
    floored = paid_over(recoverable(minimum=Decimal(2800)), ["1500", "2800", "3000", "4000"])
    assert numbers([pay.paid for pay in floored]) == [2000, 2800, 2800, 3700]


def test_an_advance_is_forgiven_when_its_time_is_over() -> None:
    draw = Draw(DrawKind.RECOVERABLE_THEN_FORGIVEN, Decimal(2000), forgiven_after=2)
    found = paid_over(PeriodRules(draw=draw), ["1500", "2200", "2000", "9000"])
    assert numbers([pay.state.owed for pay in found]) == [500, 300, 0, 0]
    assert numbers([pay.paid for pay in found]) == [2000, 2000, 2000, 9000]


def test_a_draw_ends_and_what_is_owed_is_still_recovered() -> None:
    found = paid_over(recoverable(periods=1), ["1500", "1000", "2300"])
    assert numbers([pay.paid for pay in found]) == [2000, 1000, 2000]
    assert numbers([pay.state.owed for pay in found]) == [500, 500, 200]


def test_a_guarantee_of_the_first_months_is_given() -> None:
    found = paid_over(PeriodRules(guarantee=Guarantee(Decimal(3000), 2)), ["0", "2999", "2999"])
    assert numbers([pay.paid for pay in found]) == [3000, 3000, 2999]
    assert [pay.state for pay in found[:2]] == [
        PayState(paid_in_year=Decimal(3000)),
        PayState(paid_in_year=Decimal(6000)),
    ]


def test_what_a_cap_left_is_paid_when_there_is_room() -> None:
    rules = PeriodRules(cap=PersonCap(period=Decimal(10000), carry_excess=True))
    found = paid_over(rules, ["12000", "7000", "10000", "9000"])
    assert numbers([pay.paid for pay in found]) == [10000, 9000, 10000, 9000]
    assert numbers([pay.state.excess for pay in found]) == [2000, 0, 0, 0]
    lost = paid_over(PeriodRules(cap=PersonCap(period=Decimal(10000))), ["12000", "7000"])
    assert numbers([pay.paid for pay in lost]) == [10000, 7000]


def test_a_cap_of_the_year_counts_what_was_paid_in_it() -> None:
    rules = PeriodRules(cap=PersonCap(year=Decimal(15000), carry_excess=True))
    first, second = paid_over(rules, ["9000", "9000"])
    assert numbers([first.paid, second.paid, second.state.excess]) == [9000, 6000, 3000]
    next_year = pay_of(rules, "USD", second.state, PayInput(3, [], starts_year=True))
    assert numbers([next_year.paid, next_year.state.paid_in_year]) == [3000, 3000]


def held_until_paid() -> PeriodRules:
    return PeriodRules(holdback=Holdback(Decimal(30), Release.DEAL_PAID))


def test_what_is_held_back_is_released_when_its_deal_is_paid() -> None:
    first = pay_of(held_until_paid(), "USD", PayState(), PayInput(1, [earned("1000", DEAL)]))
    assert numbers([first.paid, first.state.held_back]) == [700, 300]
    waiting = pay_of(held_until_paid(), "USD", first.state, PayInput(2, [], paid_deals=[OTHER]))
    assert numbers([waiting.paid, waiting.state.held_back]) == [0, 300]
    later = pay_of(held_until_paid(), "USD", waiting.state, PayInput(3, [], paid_deals=[DEAL]))
    assert numbers([later.paid, later.state.held_back]) == [300, 0]


@pytest.mark.parametrize("is_of_closed", [False, True])
def test_nothing_is_released_of_a_deal_that_is_deleted_before(is_of_closed: bool) -> None:
    first = pay_of(held_until_paid(), "USD", PayState(), PayInput(1, [earned("1000", DEAL)]))
    gone = PayInput(2, [earned("-1000", DEAL, is_of_closed=is_of_closed)])
    second = pay_of(held_until_paid(), "USD", first.state, gone)
    assert numbers([second.paid, second.state.held_back, second.state.negative]) == [0, 0, 700]
    assert sum(line.amount for line in second.lines if line.kind is not LineKind.CARRIED) == -700
    third = pay_of(held_until_paid(), "USD", second.state, PayInput(3, [earned("1000", OTHER)], paid_deals=[DEAL]))
    assert numbers([third.paid, third.state.negative]) == [0, 0]


def test_what_is_held_back_for_a_time_is_released_after_it() -> None:
    rules = PeriodRules(holdback=Holdback(Decimal(10), Release.AFTER_PERIODS, periods=2))
    found = paid_over(rules, ["100", "0", "200"])
    assert numbers([pay.paid for pay in found]) == [90, 0, 190]


@pytest.mark.parametrize(
    ("clawback", "kept"),
    [
        (Clawback(), 0),
        (Clawback(ClawbackPolicy.NONE), 10000),
        (Clawback(ClawbackPolicy.PART, percent=Decimal(50)), 5000),
    ],
)
def test_a_clawback_takes_what_its_policy_says(clawback: Clawback, kept: int) -> None:
    taken = PayInput(2, [earned("-10000", DEAL, is_of_closed=True), earned("20000", OTHER)])
    pay = pay_of(PeriodRules(clawback=clawback), "USD", PayState(), taken)
    assert pay.paid == 10000 + kept
    # What is not of a closed period was never paid: it is no clawback.
    open_still = PayInput(2, [earned("-10000", DEAL), earned("20000", OTHER)])
    assert pay_of(PeriodRules(clawback=clawback), "USD", PayState(), open_still).paid == 10000


@pytest.mark.parametrize(("served", "taken"), [(5, 700), (0, 1200), (12, 0), (13, 0), (11, 100)])
def test_a_clawback_by_time_takes_the_months_that_were_not_served(served: int, taken: int) -> None:
    rules = PeriodRules(clawback=Clawback(ClawbackPolicy.PRO_RATA, months=12))
    back = earned("-1200", DEAL, is_of_closed=True, term_months=12, months_served=served)
    pay = pay_of(rules, "USD", PayState(), PayInput(2, [back]))
    assert numbers([pay.paid, pay.state.negative]) == [0, taken]


def test_nothing_is_clawed_back_when_it_is_too_late() -> None:
    rules = PeriodRules(clawback=Clawback(within_months=6))
    for served, negative in ((6, 1200), (7, 0)):
        back = earned("-1200", DEAL, is_of_closed=True, months_served=served)
        assert pay_of(rules, "USD", PayState(), PayInput(2, [back])).state.negative == negative


def test_a_negative_balance_is_carried_or_forgiven() -> None:
    found = paid_over(PeriodRules(), ["-300", "100", "500"])
    assert numbers([pay.paid for pay in found]) == [0, 0, 300]
    assert numbers([pay.state.negative for pay in found]) == [300, 200, 0]
    forgiven = paid_over(PeriodRules(negative_balance=NegativeBalance.FORGIVE), ["-300", "100"])
    assert numbers([pay.paid for pay in forgiven]) == [0, 100]


def test_what_rounding_leaves_is_carried() -> None:
    down = PeriodRules(rounding=Rounding(Decimal(100), RoundingMode.DOWN))
    found = paid_over(down, ["150", "150", "99"])
    assert numbers([pay.paid for pay in found]) == [100, 200, 0]
    up = paid_over(PeriodRules(rounding=Rounding(Decimal(100), RoundingMode.UP)), ["150", "150", "0"])
    assert numbers([pay.paid for pay in up]) == [200, 100, 0]
    assert numbers([pay.state.rounding for pay in up]) == [-50, 0, 0]


def test_the_order_of_deductions_is_that_of_the_terms() -> None:
    """A negative balance taken before the cap leaves room under it; taken after it, it lowers what the cap left."""
    cap = PersonCap(period=Decimal(1000))
    for order, paid in (
        ((Deduction.BALANCE, Deduction.CAP), 1000),
        ((Deduction.CAP, Deduction.BALANCE), 500),
    ):
        rest = tuple(each for each in Deduction if each not in order)
        rules = PeriodRules(cap=cap, deductions=(*order, *rest))
        pay = pay_of(rules, "USD", PayState(negative=Decimal(500)), PayInput(2, [earned("1500")]))
        assert pay.paid == paid
