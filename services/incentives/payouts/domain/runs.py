"""Payout runs: what everybody is paid for a pay period, calculated, approved by another, exported once, marked paid.

A run pays what was posted since the run before, up to the end of its pay period. What is approved is never changed: a
run is undone by another that posts the exact opposite.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import ROUND_HALF_UP, Decimal
from enum import StrEnum
from statistics import median
from typing import Final
from uuid import UUID

from services.incentives.ledger.domain import PAYABLE, Account, Cause, Entry, Posting, Subject
from services.incentives.payouts.domain.pay import LineKind, PayLine, PayState, PersonPay
from shared.kernel.approvals import Actor, Proposal
from shared.kernel.errors import Conflict, NotFound
from shared.kernel.periods import Period

PAYOUT: Final = "payout"
"""The kind of subject of what a run posts."""
RUN: Final = "payout_run"
"""The kind of cause of what a run posts."""
JUMP: Final = Decimal(3)
"""A pay that is more than so many times the person's median, or less than the median divided by it, is looked at."""
TO_NOBODY: Final = Decimal("0.05")
"""Where more than this share of what was won is credited to nobody, the run is looked at."""
HISTORY_MIN: Final = 3
"""How many earlier pays a median is taken of at least."""
_ZERO: Final = Decimal(0)
_SHARE_UNIT: Final = Decimal("0.0001")
_EXPENSE: Final = "expense"
_HELD: Final = "held"
_ADVANCE: Final = "advance"
_PAID: Final = "paid"


class PayoutRunNotFound(NotFound):
    """There is no such payout run."""

    code = "payout_run_not_found"
    title = "Payout run not found"


class PayoutRunOutOfTurn(Conflict):
    """Another run comes first, or is still under way, or the pay period is not cut off yet."""

    code = "payout_run_out_of_turn"
    title = "Payout run is out of turn"


class PayoutRunCannotMove(Conflict):
    """The run is in a state from which it does not come to that one."""

    code = "payout_run_cannot_move"
    title = "Payout run cannot move"


class PayoutRunOutdated(Conflict):
    """What it pays is not what it would pay if it were calculated now."""

    code = "payout_run_outdated"
    title = "Payout run is outdated"


class RunStatus(StrEnum):
    """How far a run has come."""

    CALCULATED = "calculated"
    CANCELLED = "cancelled"
    """Before it was approved: it never paid anything."""
    APPROVED = "approved"
    EXPORTED = "exported"
    PAID = "paid"
    REVERSED = "reversed"
    """Another run posted the opposite."""


STEPS: Final[Mapping[RunStatus, Collection[RunStatus]]] = {
    RunStatus.CALCULATED: (RunStatus.APPROVED, RunStatus.CANCELLED),
    RunStatus.APPROVED: (RunStatus.EXPORTED, RunStatus.REVERSED),
    RunStatus.EXPORTED: (RunStatus.PAID, RunStatus.REVERSED),
    RunStatus.PAID: (RunStatus.REVERSED,),
    RunStatus.CANCELLED: (),
    RunStatus.REVERSED: (),
}
IN_FORCE: Final = (RunStatus.APPROVED, RunStatus.EXPORTED, RunStatus.PAID)
"""The states of a run whose postings count."""


class Anomaly(StrEnum):
    """What somebody should look at before a payout is approved."""

    JUMP = "jump"
    """Much more, or much less, than the person's median."""
    CAP_HIT = "cap_hit"
    ZERO_EARNER = "zero_earner"
    """Nothing was earned, by somebody who usually earns."""
    NEW_PAYEE = "new_payee"
    """Never paid before by this plan."""
    NEGATIVE = "negative"
    """More was taken back than earned."""


@dataclass(frozen=True, slots=True)
class ToNobody:
    """What was won in the pay periods of a run, counts for a plan in a currency, and is credited to nobody.

    `credited` is what is credited to people of the same.
    """

    currency: str
    amount: Decimal
    deals: int
    credited: Decimal

    @property
    def share(self) -> Decimal | None:
        """Of all that was won and counts, rounded to four decimals; None where that is not above 0."""
        whole = self.amount + self.credited
        return (self.amount / whole).quantize(_SHARE_UNIT, rounding=ROUND_HALF_UP) if whole > 0 else None

    @property
    def is_anomaly(self) -> bool:
        """Whether somebody should look at it before the run is approved."""
        return self.amount > TO_NOBODY * (self.amount + self.credited)


@dataclass(frozen=True, slots=True)
class UncreditedDeal:
    """A deal, or a share of one, that was credited to nobody when a run was calculated, and what the CRM calls it."""

    deal_id: UUID
    plan_id: UUID
    source: str
    external_id: str
    name: str | None
    day: date
    amount: Decimal
    currency: str
    reason: str


@dataclass(frozen=True, slots=True)
class PayoutRun:
    """A run for a pay period; `reverses` is the run whose opposite it is. `totals` is what it pays, by currency.

    `to_nobody` is None where a release calculated it that did not look.
    """

    id: UUID
    version: int
    number: int
    pay_period_id: UUID
    period: Period
    status: RunStatus
    totals: Mapping[str, Decimal]
    payouts: int
    author: Actor
    calculated_at: datetime
    reverses: UUID | None = None
    to_nobody: tuple[ToNobody, ...] | None = ()


@dataclass(frozen=True, slots=True)
class RunChange:
    """One step of a run, as it is recorded for good."""

    version: int
    status: RunStatus
    actor: Actor
    at: datetime
    reason: str | None


@dataclass(frozen=True, slots=True)
class Payout:
    """What a run pays a person by a plan. `state` is what it leaves to the next run, `owed_before` what a draw was."""

    id: UUID
    run_id: UUID
    person_id: UUID
    plan_id: UUID
    currency: str
    paid: Decimal
    earned: Decimal
    lines: tuple[PayLine, ...]
    state: PayState
    owed_before: Decimal
    anomalies: tuple[Anomaly, ...] = ()

    def line(self, kind: LineKind) -> Decimal:
        """What the lines of a kind come to."""
        return sum((line.amount for line in self.lines if line.kind is kind), _ZERO)

    @property
    def forgiven(self) -> Decimal:
        """What was owed of a draw and is not any more, without having been recovered."""
        moved = self.line(LineKind.ADVANCED) + self.line(LineKind.RECOVERED)
        return self.owed_before + moved - self.state.owed


@dataclass(frozen=True, slots=True)
class PaidOut:
    """A payout of an approved run, with the run's number, state and pay period, and when payroll had paid it.

    `reverses` is the number of the run whose opposite it is.
    """

    payout: Payout
    run_number: int
    status: RunStatus
    period: Period
    paid_at: datetime | None
    reverses: int | None


def moved(run: PayoutRun, to: RunStatus) -> PayoutRun:
    """The run in that state. Raises PayoutRunCannotMove."""
    if to not in STEPS[run.status]:
        reachable = ", ".join(STEPS[run.status]) or "no other state"
        raise PayoutRunCannotMove(f"The run is {run.status} and comes to {reachable}, not to {to}.")
    return replace(run, status=to, version=run.version + 1)


def proposal_of(run: PayoutRun, authors: Collection[Actor], paid: Collection[UUID]) -> Proposal:
    """The run as something to approve: `authors` calculated it, `paid` are paid by it."""
    return Proposal(f"payout run {run.number}", authors, paid, "an admin or somebody of finance")


def anomalies_of(pay: PersonPay, earlier: Sequence[Decimal]) -> tuple[Anomaly, ...]:
    """What is to be looked at in a pay, by what the person was paid before, the newest first."""
    found = []
    earned = pay.line(LineKind.EARNED)
    if not earlier:
        found.append(Anomaly.NEW_PAYEE)
    usual = median(earlier) if len(earlier) >= HISTORY_MIN else None
    if usual is not None and usual > 0:
        if pay.paid > usual * JUMP or pay.paid * JUMP < usual:
            found.append(Anomaly.JUMP)
        if not earned:
            found.append(Anomaly.ZERO_EARNER)
    if pay.line(LineKind.CAPPED) or pay.line(LineKind.FORFEITED):
        found.append(Anomaly.CAP_HIT)
    if pay.line(LineKind.CARRIED) or pay.line(LineKind.FORGIVEN):
        found.append(Anomaly.NEGATIVE)
    return tuple(found)


def postings_of(payout: Payout, period: Period, *, is_reversal: bool = False) -> list[Posting]:
    """What a payout posts: a transaction for each kind of line that moves something between accounts.

    What was earned is payable already, and so is what a cap or a negative balance leaves for later: these post nothing.
    Of a reversal every entry is the opposite.
    """
    name = f"commission:{payout.plan_id}"
    expense, payable = Account(_EXPENSE, name), Account(PAYABLE, str(payout.person_id))
    held, advance = Account(_HELD, str(payout.person_id)), Account(_ADVANCE, str(payout.person_id))
    paid = Account(_PAID, str(payout.person_id))
    moves = (
        ("waived", payout.line(LineKind.WAIVED), expense, payable),
        ("forgiven", payout.line(LineKind.FORGIVEN), expense, payable),
        ("guaranteed", payout.line(LineKind.GUARANTEED), expense, payable),
        ("forfeited", payout.line(LineKind.FORFEITED), expense, payable),
        ("held_back", payout.line(LineKind.HELD_BACK), held, payable),
        ("released", payout.line(LineKind.RELEASED), held, payable),
        ("advanced", payout.line(LineKind.ADVANCED), advance, payable),
        ("recovered", payout.line(LineKind.RECOVERED), advance, payable),
        ("draw_forgiven", payout.forgiven, expense, advance),
        ("paid", payout.paid, payable, paid),
    )
    sign = -1 if is_reversal else 1
    cause = Cause(RUN, changes=(f"payout-run/{payout.run_id}",))
    subject = Subject(PAYOUT, payout.id, payout.person_id, payout.plan_id)
    return [
        Posting(
            kind,
            (
                Entry(debit, sign * amount, payout.currency),
                Entry(credit, -sign * amount, payout.currency),
            ),
            subject,
            period,
            cause,
            period,
        )
        for kind, amount, debit, credit in moves
        if amount
    ]
