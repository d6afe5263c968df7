"""The rules of a plan between what was earned and what is paid: what may be said, and what is refused where."""

from collections.abc import Callable
from decimal import Decimal

import pytest

from services.incentives.plans.domain.rules import (
    DEDUCTIONS,
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
    check_rules,
)
from shared.kernel.errors import InvalidInput

RECOVERABLE = DrawKind.RECOVERABLE
FORGIVEN = DrawKind.RECOVERABLE_THEN_FORGIVEN
GIVEN = DrawKind.NON_RECOVERABLE
AMOUNT = Decimal(2000)


def test_rules_that_say_nothing_pay_what_was_earned_and_take_back_all_that_is_not_earned_any_more() -> None:
    rules = PeriodRules()
    assert (rules.draw, rules.guarantee, rules.holdback, rules.cap, rules.rounding) == (None,) * 5
    assert rules.clawback == Clawback(ClawbackPolicy.FULL)
    assert rules.negative_balance is NegativeBalance.CARRY
    assert rules.deductions == tuple(Deduction)


def test_recovery_leaves_the_draw_or_a_minimum_above_it() -> None:
    assert Draw(RECOVERABLE, AMOUNT).recovery_floor == 2000
    assert Draw(RECOVERABLE, AMOUNT, minimum=Decimal(2500)).recovery_floor == 2500
    assert Draw(RECOVERABLE, AMOUNT, minimum=AMOUNT).recovery_floor == 2000


@pytest.mark.parametrize(
    ("wrong", "pointer"),
    [
        (lambda: Draw(RECOVERABLE, Decimal(0)), "/amount"),
        (lambda: Draw(RECOVERABLE, AMOUNT, minimum=Decimal("1999.99")), "/minimum"),
        (lambda: Draw(RECOVERABLE, AMOUNT, recovery_delay=-1), "/recovery_delay"),
        (lambda: Draw(RECOVERABLE, AMOUNT, recovery_share=Decimal(0)), "/recovery_share"),
        (lambda: Draw(RECOVERABLE, AMOUNT, recovery_share=Decimal("100.01")), "/recovery_share"),
        (lambda: Draw(RECOVERABLE, AMOUNT, forgiven_after=3), "/forgiven_after"),
        (lambda: Draw(RECOVERABLE, AMOUNT, periods=0), "/periods"),
        (lambda: Draw(FORGIVEN, AMOUNT), "/forgiven_after"),
        (lambda: Draw(FORGIVEN, AMOUNT, recovery_delay=3, forgiven_after=3), "/forgiven_after"),
        (lambda: Draw(GIVEN, AMOUNT, minimum=AMOUNT), "/minimum"),
        (lambda: Draw(GIVEN, AMOUNT, recovery_delay=1), "/recovery_delay"),
        (lambda: Draw(GIVEN, AMOUNT, recovery_share=Decimal(50)), "/recovery_share"),
        (lambda: Draw(GIVEN, AMOUNT, forgiven_after=3), "/forgiven_after"),
        (lambda: Guarantee(Decimal(-1)), "/amount"),
        (lambda: Guarantee(AMOUNT, periods=121), "/periods"),
        (lambda: Holdback(Decimal(0), Release.DEAL_PAID), "/percent"),
        (lambda: Holdback(Decimal(101), Release.DEAL_PAID), "/percent"),
        (lambda: Holdback(Decimal(30), Release.DEAL_PAID, periods=1), "/periods"),
        (lambda: Holdback(Decimal(30), Release.AFTER_PERIODS), "/periods"),
        (lambda: PersonCap(), ""),
        (lambda: PersonCap(period=Decimal(0)), "/period"),
        (lambda: PersonCap(period=AMOUNT, year=Decimal(1999)), "/year"),
        (lambda: Clawback(ClawbackPolicy.PART), "/percent"),
        (lambda: Clawback(ClawbackPolicy.FULL, percent=Decimal(50)), "/percent"),
        (lambda: Clawback(ClawbackPolicy.PRO_RATA), "/months"),
        (lambda: Clawback(ClawbackPolicy.PRO_RATA, months=12, term_field="custom.term_months"), "/months"),
        (lambda: Clawback(ClawbackPolicy.FULL, months=12), "/months"),
        (lambda: Clawback(ClawbackPolicy.PRO_RATA, months=0), "/months"),
        (lambda: Clawback(ClawbackPolicy.PRO_RATA, term_field="term"), "/term_field"),
        (lambda: Clawback(ClawbackPolicy.PRO_RATA, term_field="stage"), "/term_field"),
        (lambda: Clawback(ClawbackPolicy.NONE, within_months=3), "/within_months"),
        (lambda: Rounding(Decimal(0)), "/to"),
        (lambda: PeriodRules(deductions=DEDUCTIONS[1:]), "/deductions"),
        (lambda: PeriodRules(deductions=(*DEDUCTIONS[1:], DEDUCTIONS[1])), "/deductions"),
        (lambda: PeriodRules(draw=Draw(GIVEN, AMOUNT), cap=PersonCap(period=Decimal(1999))), "/draw/amount"),
        (lambda: PeriodRules(guarantee=Guarantee(AMOUNT), cap=PersonCap(period=Decimal(1999))), "/guarantee/amount"),
    ],
)
def test_a_rule_that_contradicts_itself_is_refused_where_it_does(wrong: Callable[[], object], pointer: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        wrong()
    assert [(field.pointer, bool(field.accepted)) for field in refused.value.fields] == [(pointer, True)]


def test_rules_on_their_bounds_are_taken() -> None:
    Draw(FORGIVEN, AMOUNT, recovery_delay=3, forgiven_after=4, recovery_share=Decimal(100), periods=120)
    Clawback(ClawbackPolicy.PRO_RATA, term_field="custom.term_months", within_months=120)
    PersonCap(period=AMOUNT, year=AMOUNT)
    PeriodRules(draw=Draw(GIVEN, AMOUNT), cap=PersonCap(period=AMOUNT), deductions=tuple(reversed(DEDUCTIONS)))


def test_a_holdback_names_components_that_there_are_and_rounding_whole_coins() -> None:
    held = PeriodRules(holdback=Holdback(Decimal(30), Release.DEAL_PAID, components=("bookings", "spif")))
    check_rules(held, {"bookings", "spif"}, "USD")
    with pytest.raises(InvalidInput, match="'spif' is no component") as refused:
        check_rules(held, {"bookings"}, "USD")
    assert refused.value.fields[0].pointer == "/rules/holdback/components/1"
    cents = PeriodRules(rounding=Rounding(Decimal("0.05")))
    check_rules(cents, {"bookings"}, "USD")
    with pytest.raises(InvalidInput, match="smallest amount of JPY") as refused:
        check_rules(cents, {"bookings"}, "JPY")
    assert refused.value.fields[0].pointer == "/rules/rounding/to"
