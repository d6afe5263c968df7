"""Manual adjustments: pay that no rule works out, with a reason, proposed by one person and approved by another."""

from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Final
from uuid import UUID

from services.incentives.ledger.domain import PAYABLE, Account, Cause, Entry, Posting, Subject
from shared.kernel.approvals import Actor, Decision, Proposal, check_no_own_interest
from shared.kernel.errors import Conflict, Forbidden, InvalidInput, NotFound
from shared.kernel.money import format_amount, round_to_minor_unit
from shared.kernel.periods import Period

ADJUSTMENT: Final = "adjustment"
"""The kind of subject, and of cause, of what an adjustment posts."""
_ADJUSTED: Final = "adjusted"
_EXPENSE: Final = "expense"


class AdjustmentNotFound(NotFound):
    """There is no such adjustment, or the caller may not see it."""

    code = "adjustment_not_found"
    title = "Adjustment not found"


class AdjustmentDecided(Conflict):
    """The adjustment was approved, rejected or withdrawn already."""

    code = "adjustment_decided"
    title = "Adjustment is decided"


class NotTheProposer(Forbidden):
    """Only who proposed an adjustment withdraws it; others reject it."""

    code = "not_the_proposer"
    title = "Not the proposer"


class AdjustmentStatus(StrEnum):
    """Where an adjustment is. Only an approved one is posted."""

    PROPOSED = "proposed"
    APPROVED = "approved"
    REJECTED = "rejected"
    WITHDRAWN = "withdrawn"


@dataclass(frozen=True, slots=True)
class Adjustment:
    """An amount more (below 0: less) for a person on a plan, in whole minor units of the plan's currency."""

    id: UUID
    version: int
    person_id: UUID
    plan_id: UUID
    currency: str
    amount: Decimal
    reason: str
    author: Actor
    proposed_at: datetime
    status: AdjustmentStatus = AdjustmentStatus.PROPOSED
    decision: Decision | None = None

    def __post_init__(self) -> None:
        if not self.amount:
            raise InvalidInput.field("/amount", "is 0", "an amount above or below 0")
        if self.amount != round_to_minor_unit(self.amount, self.currency):
            raise InvalidInput.field(
                "/amount",
                f"{format_amount(self.amount)} has more decimals than {self.currency}",
                format_amount(round_to_minor_unit(self.amount, self.currency)),
            )


def approved(adjustment: Adjustment, decision: Decision) -> Adjustment:
    """It is posted. Raises AdjustmentDecided; ApprovalNotIndependent for who proposed it or is paid by it."""
    subject = f"an adjustment of {format_amount(adjustment.amount)} {adjustment.currency}"
    ended = _ended(adjustment, AdjustmentStatus.APPROVED, decision)
    proposal = Proposal(subject, [adjustment.author], [adjustment.person_id], "an admin or somebody of finance")
    proposal.check(decision.actor)
    return ended


def rejected(adjustment: Adjustment, decision: Decision) -> Adjustment:
    """Nothing is posted. Raises AdjustmentDecided; OwnInterest for whose pay it is."""
    check_no_own_interest(decision.actor, [adjustment.person_id], "an adjustment")
    return _ended(adjustment, AdjustmentStatus.REJECTED, decision)


def withdrawn(adjustment: Adjustment, decision: Decision) -> Adjustment:
    """Raises AdjustmentDecided; NotTheProposer for anybody else."""
    if decision.actor != adjustment.author:
        raise NotTheProposer("Only who proposed an adjustment withdraws it; an admin or finance rejects it.")
    return _ended(adjustment, AdjustmentStatus.WITHDRAWN, decision)


def posting_of(adjustment: Adjustment, period: Period) -> Posting:
    """What it posts, in the pay period in which it is approved: the company's expense, and what it owes the person."""
    return Posting(
        _ADJUSTED,
        (
            Entry(Account(_EXPENSE, f"adjustment:{adjustment.plan_id}"), adjustment.amount, adjustment.currency),
            Entry(Account(PAYABLE, str(adjustment.person_id)), -adjustment.amount, adjustment.currency),
        ),
        Subject(ADJUSTMENT, adjustment.id, adjustment.person_id, adjustment.plan_id),
        period,
        Cause(ADJUSTMENT, changes=(f"adjustment/{adjustment.id} v{adjustment.version}",)),
        period,
    )


def _ended(adjustment: Adjustment, status: AdjustmentStatus, decision: Decision) -> Adjustment:
    if adjustment.status is not AdjustmentStatus.PROPOSED:
        raise AdjustmentDecided(f"The adjustment is {adjustment.status} already.")
    return replace(adjustment, version=adjustment.version + 1, status=status, decision=decision)
