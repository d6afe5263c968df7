"""Pay periods: the fiscal months in which what is earned is paid, and the states each goes through.

A pay period is open until somebody begins to work out what it pays; from then on its days stay as they are, whatever
the calendar becomes. It takes postings until it is approved, which is its cut-off: what changes later is posted in the
first one that still takes postings. Pay periods are cut off, and closed, in their order.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Final
from uuid import UUID, uuid5

from shared.kernel.approvals import Actor, Proposal
from shared.kernel.errors import Conflict, Forbidden, NotFound
from shared.kernel.periods import FiscalCalendar, Period, PeriodKind


class PayPeriodNotFound(NotFound):
    """There is no such pay period up to today's."""

    code = "pay_period_not_found"
    title = "Pay period not found"


class PayPeriodCannotMove(Conflict):
    """The pay period is in a state from which it does not come to that one."""

    code = "pay_period_cannot_move"
    title = "Pay period cannot move"


class PayPeriodOutOfTurn(Conflict):
    """Another pay period comes first, or this one is not over yet."""

    code = "pay_period_out_of_turn"
    title = "Pay period is out of turn"


class MoverNotAllowed(Forbidden):
    """The caller's roles do not let it bring a pay period to that state."""

    code = "mover_not_allowed"
    title = "Not allowed to move the pay period"


class PayState(StrEnum):
    """How far a pay period has come."""

    OPEN = "open"
    CALCULATING = "calculating"
    IN_REVIEW = "in_review"
    APPROVED = "approved"
    EXPORTED = "exported"
    PAID = "paid"
    CLOSED = "closed"


class Office(StrEnum):
    """In what function somebody moves a pay period."""

    FINANCE = "finance"
    REVOPS = "revops"
    ADMIN = "admin"
    SERVICE = "service"


_PREPARE: Final = frozenset(Office)
_APPROVE: Final = frozenset({Office.FINANCE, Office.ADMIN})
_PAY: Final = frozenset({Office.FINANCE, Office.ADMIN, Office.SERVICE})
STEPS: Final[Mapping[tuple[PayState, PayState], frozenset[Office]]] = {
    (PayState.OPEN, PayState.CALCULATING): _PREPARE,
    (PayState.CALCULATING, PayState.IN_REVIEW): _PREPARE,
    (PayState.CALCULATING, PayState.OPEN): _PREPARE,
    (PayState.IN_REVIEW, PayState.CALCULATING): _PREPARE,
    (PayState.IN_REVIEW, PayState.OPEN): _PREPARE,
    (PayState.IN_REVIEW, PayState.APPROVED): _APPROVE,
    (PayState.APPROVED, PayState.EXPORTED): _PAY,
    (PayState.EXPORTED, PayState.PAID): _PAY,
    (PayState.PAID, PayState.CLOSED): _APPROVE,
}
"""Every step there is, and who may take it. Nothing leads back from the cut-off."""
BY_RUN: Final[Mapping[PayState, str]] = {PayState.EXPORTED: "exported", PayState.PAID: "marked paid"}
"""The states to which nothing but a payout run brings a pay period, and what is done with the run."""
_TAKES_POSTINGS: Final = (PayState.OPEN, PayState.CALCULATING, PayState.IN_REVIEW)


@dataclass(frozen=True, slots=True)
class CutOff:
    """When a pay period took its last posting.

    `sequence` is the last ledger transaction before it, of any pay period. `as_paid` is what had been posted in it by
    then of what people earned, by currency.
    """

    at: datetime
    sequence: int
    as_paid: Mapping[str, Decimal]


@dataclass(frozen=True, slots=True)
class PayPeriod:
    """A pay period. In version 0 it is one that the calendar makes and that nobody has moved yet."""

    id: UUID
    period: Period
    state: PayState = PayState.OPEN
    cut_off: CutOff | None = None
    version: int = 0

    @property
    def takes_postings(self) -> bool:
        return self.state in _TAKES_POSTINGS


@dataclass(frozen=True, slots=True)
class Mover:
    """Who moves a pay period, and in which functions."""

    actor: Actor
    offices: frozenset[Office]


@dataclass(frozen=True, slots=True)
class Move:
    """One step of a pay period, as it is recorded for good."""

    version: int
    before: PayState
    after: PayState
    actor: Actor
    at: datetime
    reason: str


@dataclass(frozen=True)
class PayCalendar:
    """A tenant's pay periods: those that somebody moved, in order and without a gap, and those the calendar makes.

    `first_posted` is a day of the first in which anything was posted, of a tenant of which none was moved.
    """

    tenant_id: UUID
    fiscal: FiscalCalendar
    stored: tuple[PayPeriod, ...] = ()
    first_posted: date | None = None

    def containing(self, day: date) -> PayPeriod:
        """The pay period with that day. The first that was ever moved reaches back to the beginning of time."""
        for each in self.stored:
            if day < each.period.end:
                return each
        month = self.fiscal.period_of(day, PeriodKind.MONTH)
        begins = max(month.start, self.stored[-1].period.end) if self.stored else month.start
        return PayPeriod(uuid5(self.tenant_id, f"pay-period/{begins}"), Period(begins, month.end))

    def named(self, pay_period_id: UUID, today: date) -> PayPeriod:
        """The pay period of that id, up to today's. Raises PayPeriodNotFound."""
        for each in self.until(today):
            if each.id == pay_period_id:
                return each
        raise PayPeriodNotFound(f"There is no pay period {pay_period_id}.")

    def span(self, of: PayPeriod) -> Period:
        """The days whose postings the pay period pays: its own, and those before it where it is the first."""
        is_first = of.version > 0 and of.period.start == self.stored[0].period.start
        return Period(date.min, of.period.end) if is_first else of.period

    def until(self, day: date) -> list[PayPeriod]:
        """Every pay period up to the one with a day: from the first that was moved, or where none was, from the start
        of the fiscal year or the first in which anything was posted.
        """
        if self.stored:
            first = self.stored[0].period.start
        else:
            first = min(self.fiscal.period_of(day, PeriodKind.YEAR).start, self.first_posted or date.max)
        found = [self.containing(first)]
        while found[-1].period.end <= day:
            found.append(self.containing(found[-1].period.end))
        return found

    def check_turn(self, moving: PayPeriod, to: PayState, today: date) -> None:
        """Raises PayPeriodOutOfTurn where an earlier one has to come to that state first, or this one is not over."""
        earlier = [each for each in self.stored if each.period.start < moving.period.start]
        pending = next((each for each in earlier if each.takes_postings), None)
        if pending is not None:
            raise PayPeriodOutOfTurn(f"Approve the pay period from {pending.period.start} first.")
        if moving.version == 0 and self.stored and moving.period.start != self.stored[-1].period.end:
            raise PayPeriodOutOfTurn(f"The pay period from {self.stored[-1].period.end} comes first.")
        if to is PayState.APPROVED and today < moving.period.end:
            raise PayPeriodOutOfTurn(f"It is approved once it is over: from {moving.period.end} on.")
        unclosed = next((each for each in earlier if each.state is not PayState.CLOSED), None)
        if to is PayState.CLOSED and unclosed is not None:
            raise PayPeriodOutOfTurn(f"Close the pay period from {unclosed.period.start} first.")


def moved(
    moving: PayPeriod,
    to: PayState,
    mover: Mover,
    *,
    preparers: Collection[Actor],
    paid: Collection[UUID],
    by_run: bool = False,
) -> PayPeriod:
    """The pay period in that state, one version further; its cut-off is the caller's to add.

    `preparers` are those who worked it out since it was open, `paid` the people it pays: neither approve it. `by_run`
    is a step of the payout run that pays for it. Raises PayPeriodCannotMove, MoverNotAllowed; ApprovalNotIndependent.
    """
    offices = STEPS.get((moving.state, to))
    if offices is None:
        reachable = ", ".join(after for before, after in STEPS if before is moving.state) or "no other state"
        raise PayPeriodCannotMove(f"The pay period is {moving.state} and comes to {reachable}, not to {to}.")
    if to in BY_RUN and not by_run:
        raise PayPeriodCannotMove(
            f"The pay period comes to {to} when a payout run that pays for it is {BY_RUN[to]}, and in no other way: "
            "where there is nothing to pay, calculate a run all the same; it pays nothing."
        )
    if offices.isdisjoint(mover.offices):
        raise MoverNotAllowed(f"A pay period is brought to {to} by {', '.join(sorted(offices))}.")
    if to is PayState.APPROVED:
        subject = f"the pay period from {moving.period.start}"
        Proposal(subject, preparers, paid, "an admin or somebody of finance").check(mover.actor)
    return replace(moving, state=to, version=moving.version + 1)
