"""Which pay is unusual, where a run comes to, and what a draw that is given up posts."""

from datetime import UTC, date, datetime
from decimal import Decimal
from uuid import UUID

import pytest

from services.incentives.payouts.domain.pay import LineKind, PayLine, PayState, PersonPay
from services.incentives.payouts.domain.runs import (
    Anomaly,
    Payout,
    PayoutRun,
    PayoutRunCannotMove,
    RunStatus,
    anomalies_of,
    moved,
    postings_of,
)
from shared.kernel.approvals import SERVICE
from shared.kernel.periods import Period

JUNE = Period(date(2026, 6, 1), date(2026, 7, 1))
ONE, ANN, PLAN = (UUID(int=number) for number in (1, 2, 3))


def found(paid: int, *earlier: int) -> tuple[Anomaly, ...]:
    pay = PersonPay(Decimal(paid), (PayLine(LineKind.EARNED, Decimal(paid)),), PayState())
    return anomalies_of(pay, [Decimal(each) for each in earlier])


def test_a_pay_jumps_above_three_times_the_median_or_below_a_third_of_it() -> None:
    assert [found(paid, 100, 300, 90_000) for paid in (900, 901, 100, 99)] == [(), (Anomaly.JUMP,), (), (Anomaly.JUMP,)]


def test_two_earlier_pays_are_no_median_and_none_is_a_new_payee() -> None:
    assert (found(1000, 100, 100), found(1000)) == ((), (Anomaly.NEW_PAYEE,))


@pytest.mark.parametrize("ended", [RunStatus.CANCELLED, RunStatus.REVERSED])
def test_a_run_that_was_cancelled_or_undone_comes_to_nothing_more(ended: RunStatus) -> None:
    run = PayoutRun(ONE, 1, 1, ONE, JUNE, ended, {}, 0, SERVICE, datetime(2026, 7, 1, tzinfo=UTC))
    for to in RunStatus:
        with pytest.raises(PayoutRunCannotMove):
            moved(run, to)


def test_what_is_owed_of_a_draw_and_given_up_becomes_an_expense_and_its_opposite_when_the_run_is_undone() -> None:
    payout = Payout(ONE, ONE, ANN, PLAN, "USD", Decimal(0), Decimal(0), (), PayState(), Decimal(100))
    for is_reversal, sign in ((False, 1), (True, -1)):
        [posting] = postings_of(payout, JUNE, is_reversal=is_reversal)
        assert posting.kind == "draw_forgiven"
        assert [(entry.account.kind, entry.amount) for entry in posting.entries] == [
            ("expense", Decimal(100 * sign)),
            ("advance", Decimal(-100 * sign)),
        ]
