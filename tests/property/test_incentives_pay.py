"""Pay over any pay periods by any rules: nothing is paid twice, lost, or owed by nobody."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from services.incentives.payouts.domain.pay import (
    EarnedAmount,
    LineKind,
    PayInput,
    PayState,
    PersonPay,
    pay_of,
)
from services.incentives.payouts.domain.runs import Payout, postings_of
from services.incentives.plans.domain.rules import (
    DEDUCTIONS,
    Clawback,
    ClawbackPolicy,
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
from shared.kernel.periods import Period

DEALS = [UUID(int=number) for number in range(4)]
cents = st.integers(-500_000, 500_000).map(lambda number: Decimal(number) / 100)
above_zero = st.integers(1, 400_000).map(lambda number: Decimal(number) / 100)
percents = st.integers(1, 100).map(Decimal)

draws = st.one_of(
    st.builds(Draw, st.just(DrawKind.NON_RECOVERABLE), above_zero, periods=st.none() | st.integers(1, 4)),
    st.builds(
        Draw,
        st.just(DrawKind.RECOVERABLE),
        above_zero,
        recovery_delay=st.integers(0, 2),
        recovery_share=percents,
        periods=st.none() | st.integers(1, 4),
    ),
    st.builds(
        Draw,
        st.just(DrawKind.RECOVERABLE_THEN_FORGIVEN),
        above_zero,
        recovery_delay=st.just(0),
        recovery_share=percents,
        forgiven_after=st.integers(1, 3),
    ),
)
holdbacks = st.one_of(
    st.builds(Holdback, percents, st.just(Release.DEAL_PAID)),
    st.builds(Holdback, percents, st.just(Release.AFTER_PERIODS), periods=st.integers(1, 3)),
)
clawbacks = st.one_of(
    st.just(Clawback()),
    st.just(Clawback(ClawbackPolicy.NONE)),
    st.builds(Clawback, st.just(ClawbackPolicy.PART), percent=percents),
    st.just(Clawback(ClawbackPolicy.PRO_RATA, months=12, within_months=9)),
)
rules_drawn = st.builds(
    PeriodRules,
    draw=st.none() | draws,
    guarantee=st.none() | st.builds(Guarantee, above_zero, st.none() | st.integers(1, 3)),
    holdback=st.none() | holdbacks,
    cap=st.none()
    | st.builds(
        PersonCap,
        period=st.integers(4000, 9000).map(Decimal),
        year=st.none() | st.just(Decimal(9000)),
        carry_excess=st.booleans(),
    ),
    clawback=clawbacks,
    negative_balance=st.sampled_from(NegativeBalance),
    rounding=st.none() | st.builds(Rounding, st.sampled_from([Decimal(1), Decimal(50)]), st.sampled_from(RoundingMode)),
    deductions=st.permutations(DEDUCTIONS).map(tuple),
)
amounts = st.builds(
    EarnedAmount,
    cents,
    st.just("bookings"),
    st.none() | st.sampled_from(DEALS),
    st.booleans(),
    st.just(12),
    st.integers(0, 14),
)
periods = st.lists(
    st.tuples(st.lists(amounts, max_size=4), st.lists(st.sampled_from(DEALS), max_size=2), cents | st.just(Decimal(0))),
    min_size=1,
    max_size=8,
)
Periods = Sequence[tuple[list[EarnedAmount], list[UUID], Decimal]]
GIVEN = (LineKind.WAIVED, LineKind.FORGIVEN, LineKind.GUARANTEED)


def paid_over(rules: PeriodRules, drawn: Periods) -> list[PersonPay]:
    state, found = PayState(), []
    for number, (earned, paid, adjusted) in enumerate(drawn, start=1):
        period = PayInput(number, earned, adjusted, paid, starts_year=number % 4 == 1)
        pay = pay_of(rules, "USD", state, period)
        state = pay.state
        found.append(pay)
    return found


@given(rules_drawn, periods)
def test_what_is_paid_and_carried_is_what_was_earned_and_given(rules: PeriodRules, drawn: Periods) -> None:
    paid = earned = given_ = forfeited = forgiven = Decimal(0)
    owed_before = Decimal(0)
    for (amounts_, _, adjusted), pay in zip(drawn, paid_over(rules, drawn), strict=True):
        paid += pay.paid
        earned += adjusted + sum((each.amount for each in amounts_), Decimal(0))
        given_ += sum((pay.line(kind) for kind in GIVEN), Decimal(0))
        forfeited -= pay.line(LineKind.FORFEITED)
        # What is owed and neither advanced nor recovered any more was forgiven.
        forgiven += owed_before + pay.line(LineKind.ADVANCED) + pay.line(LineKind.RECOVERED) - pay.state.owed
        owed_before = pay.state.owed
        assert paid + pay.state.carried == earned + given_ + forgiven - forfeited
        assert pay.paid == sum((line.amount for line in pay.lines), Decimal(0))
        assert forgiven == 0 or (rules.draw is not None and rules.draw.forgiven_after is not None)


@given(rules_drawn, periods)
def test_what_is_posted_leaves_on_every_account_what_is_carried(rules: PeriodRules, drawn: Periods) -> None:
    accounts: defaultdict[str, Decimal] = defaultdict(Decimal)
    month = Period(date(2026, 1, 1), date(2026, 2, 1))
    owed, paid = Decimal(0), Decimal(0)
    for (amounts_, _, _), pay in zip(drawn, paid_over(rules, [(a, b, Decimal(0)) for a, b, _ in drawn]), strict=True):
        accounts["payable"] -= sum((each.amount for each in amounts_), Decimal(0))
        earned = pay.line(LineKind.EARNED)
        payout = Payout(DEALS[0], DEALS[1], DEALS[2], DEALS[3], "USD", pay.paid, earned, pay.lines, pay.state, owed)
        for posting in postings_of(payout, month):
            assert sum(entry.amount for entry in posting.entries) == 0
            for entry in posting.entries:
                accounts[entry.account.kind] += entry.amount
        state = pay.state
        owed, paid = state.owed, paid + pay.paid
        assert accounts["payable"] == -(state.excess + state.rounding - state.negative)
        assert (accounts["held"], accounts["advance"], accounts["paid"]) == (-state.held_back, owed, -paid)
        both = [*postings_of(payout, month), *postings_of(payout, month, is_reversal=True)]
        assert sum(entry.amount * (index + 1) for each in both for index, entry in enumerate(each.entries)) == 0


@given(rules_drawn, periods)
def test_nobody_pays_back_and_nothing_carried_is_below_zero(rules: PeriodRules, drawn: Periods) -> None:
    for pay in paid_over(rules, drawn):
        state = pay.state
        assert min(pay.paid, state.excess, state.negative, state.owed, state.held_back) >= 0
        assert all(each.amount > 0 for each in state.advances) and all(each.amount > 0 for each in state.held)


@given(rules_drawn, periods)
def test_a_draw_never_pays_below_it_and_never_recovers_above_what_is_owed(rules: PeriodRules, drawn: Periods) -> None:
    owed = Decimal(0)
    for number, pay in enumerate(paid_over(rules, drawn), start=1):
        draw = rules.draw
        if draw is not None and (draw.periods is None or number <= draw.periods) and rules.rounding is None:
            assert pay.paid >= draw.amount
        assert 0 <= -pay.line(LineKind.RECOVERED) <= owed
        owed = pay.state.owed


@given(st.lists(st.integers(0, 6000), min_size=1, max_size=12), st.integers(1, 4000))
def test_a_recoverable_draw_alone_is_the_definition_worked_out_in_integers(earned: list[int], draw: int) -> None:
    rules = PeriodRules(draw=Draw(DrawKind.RECOVERABLE, Decimal(draw)))
    owed = 0
    drawn: Periods = [([EarnedAmount(Decimal(each), "bookings", None)], [], Decimal(0)) for each in earned]
    for each, pay in zip(earned, paid_over(rules, drawn), strict=True):
        recovered = min(owed, max(0, each - draw))
        expected = max(each - recovered, draw)
        owed += max(0, draw - each) - recovered
        assert [int(pay.paid), int(pay.state.owed)] == [expected, owed]
