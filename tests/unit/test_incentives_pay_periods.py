"""Pay periods: which step follows which, who takes it, whose turn it is, and where a posting goes."""

from datetime import date
from decimal import Decimal
from itertools import product
from uuid import UUID

import pytest

from services.incentives.ledger.domain import Account, Cause, Entry, Posting, Subject, placed
from services.incentives.periods.domain import (
    Mover,
    MoverNotAllowed,
    Office,
    PayCalendar,
    PayPeriod,
    PayPeriodCannotMove,
    PayPeriodNotFound,
    PayPeriodOutOfTurn,
    PayState,
    moved,
)
from shared.kernel.approvals import SERVICE, Actor, ApprovalNotIndependent
from shared.kernel.periods import FiscalCalendar, Period
from shared.kernel.years import Weekday, Weeks, YearPattern

TENANT, PREPARER, APPROVER, REP = (UUID(int=number) for number in (1, 2, 3, 4))
MARCH, APRIL, MAY = (Period(date(2026, month, 1), date(2026, month + 1, 1)) for month in (3, 4, 5))
LATER = date(2026, 7, 1)
ALLOWED = {
    "open calculating": "finance revops admin service",
    "calculating in_review": "finance revops admin service",
    "calculating open": "finance revops admin service",
    "in_review calculating": "finance revops admin service",
    "in_review open": "finance revops admin service",
    "in_review approved": "finance admin",
    "approved exported": "finance admin service",
    "exported paid": "finance admin service",
    "paid closed": "finance admin",
}


def pay_period(state: str, days: Period = MARCH, version: int = 1) -> PayPeriod:
    return PayPeriod(UUID(int=days.start.month), days, PayState(state), None, version)


def by(office: str, person: UUID | None = APPROVER) -> Mover:
    return Mover(Actor.of(person), frozenset({Office(office)}))


@pytest.mark.parametrize(("before", "after"), [*product(PayState, PayState)])
def test_every_step_is_taken_by_those_offices_and_no_other_step_by_anybody(before: PayState, after: PayState) -> None:
    offices = ALLOWED.get(f"{before} {after}", "")
    for office in Office:
        if office in offices.split():
            found = moved(pay_period(before), after, by(office), preparers=[], paid=[], by_run=True)
            assert (found.state, found.version) == (after, 2)
        else:
            with pytest.raises(MoverNotAllowed if offices else PayPeriodCannotMove):
                moved(pay_period(before), after, by(office), preparers=[], paid=[], by_run=True)


@pytest.mark.parametrize(
    ("before", "after", "what"), [("approved", "exported", "exported"), ("exported", "paid", "marked paid")]
)
def test_nothing_but_a_run_exports_and_pays_a_pay_period(before: str, after: str, what: str) -> None:
    for office in Office:
        with pytest.raises(PayPeriodCannotMove, match=f"when a payout run that pays for it is {what}"):
            moved(pay_period(before), PayState(after), by(office), preparers=[], paid=[])


@pytest.mark.parametrize(
    ("person", "preparers", "paid"),
    [
        (PREPARER, [Actor.of(APPROVER), Actor.of(PREPARER)], []),
        (REP, [Actor.of(PREPARER)], [REP]),
        (None, [Actor.of(PREPARER)], []),
    ],
)
def test_who_prepared_it_or_is_paid_by_it_and_a_service_approve_nothing(
    person: UUID | None, preparers: list[Actor], paid: list[UUID]
) -> None:
    mover = Mover(Actor.of(person), frozenset(Office))
    with pytest.raises(ApprovalNotIndependent):
        moved(pay_period("in_review"), PayState.APPROVED, mover, preparers=preparers, paid=paid)
    moved(pay_period("in_review"), PayState.APPROVED, by("finance"), preparers=[Actor.of(PREPARER), SERVICE], paid=paid)


def test_pay_periods_are_cut_off_and_closed_in_their_order_and_approved_once_they_are_over() -> None:
    def calendar(*stored: PayPeriod) -> PayCalendar:
        return PayCalendar(TENANT, FiscalCalendar(), stored)

    calendar().check_turn(pay_period("open", version=0), PayState.CALCULATING, LATER)
    march = pay_period("in_review")
    with pytest.raises(PayPeriodOutOfTurn, match="Approve the pay period from 2026-03-01 first"):
        calendar(march).check_turn(pay_period("open", APRIL, 0), PayState.CALCULATING, LATER)
    with pytest.raises(PayPeriodOutOfTurn, match="2026-04-01 comes first"):
        calendar(pay_period("paid")).check_turn(pay_period("open", MAY, 0), PayState.CALCULATING, LATER)
    with pytest.raises(PayPeriodOutOfTurn, match="from 2026-04-01 on"):
        calendar(march).check_turn(march, PayState.APPROVED, date(2026, 3, 31))
    calendar(march).check_turn(march, PayState.APPROVED, date(2026, 4, 1))
    april = pay_period("paid", APRIL)
    with pytest.raises(PayPeriodOutOfTurn, match="Close the pay period from 2026-03-01 first"):
        calendar(pay_period("paid"), april).check_turn(april, PayState.CLOSED, LATER)
    calendar(pay_period("closed"), april).check_turn(april, PayState.CLOSED, LATER)


def test_a_calendar_that_changes_later_moves_no_day_of_a_pay_period_that_somebody_has_moved() -> None:
    of_weeks = FiscalCalendar(2, weeks=Weeks(Weekday.SUNDAY, YearPattern.WEEKS_4_5_4))
    calendar = PayCalendar(TENANT, of_weeks, (pay_period("closed"), pay_period("in_review", APRIL)))
    assert calendar.named(UUID(int=3), LATER).period == MARCH
    assert calendar.containing(date(2020, 1, 1)).period == MARCH
    assert calendar.containing(date(2026, 4, 30)).period == APRIL
    assert calendar.span(calendar.stored[0]) == Period(date.min, date(2026, 4, 1))
    assert calendar.span(calendar.stored[1]) == APRIL
    # In the retail calendar it is the month from the 3rd of May; what the closed ones left of April belongs to it.
    assert calendar.containing(date(2026, 5, 1)).period == Period(date(2026, 5, 1), date(2026, 5, 3))
    assert calendar.containing(date(2026, 5, 3)).period == Period(date(2026, 5, 3), date(2026, 5, 31))
    may = calendar.containing(date(2026, 5, 1))
    assert calendar.named(may.id, date(2026, 5, 1)) == may
    with pytest.raises(PayPeriodNotFound):
        calendar.named(may.id, date(2026, 4, 30))


@pytest.mark.parametrize(
    ("due", "opens", "expected"),
    [
        (MARCH, None, MARCH),
        (MARCH, MARCH, MARCH),
        (APRIL, MARCH, APRIL),
        (MARCH, APRIL, APRIL),
        (MARCH, MAY, MAY),
        (Period(date(2026, 3, 29), date(2026, 4, 26)), APRIL, Period(date(2026, 4, 1), date(2026, 4, 26))),
    ],
)
def test_a_posting_goes_where_it_is_due_or_into_the_first_that_still_takes_postings(
    due: Period, opens: Period | None, expected: Period
) -> None:
    entries = (Entry(Account("a", "x"), Decimal(5), "USD"), Entry(Account("b", "x"), Decimal(-5), "USD"))
    posting = Posting("draw", entries, Subject("draw", REP, REP), Period(date(2026, 1, 1), due.end), Cause("run"), due)
    found = placed(posting, opens)
    assert found.posted_in == expected
    assert found.period == posting.period
