"""Requests and answers of manual adjustments."""

from typing import Annotated, Final, Self
from uuid import UUID

from pydantic import BaseModel, Field, JsonValue, StringConstraints

from services.incentives.payouts.domain.adjustments import Adjustment, AdjustmentStatus
from shared.contracts.base import Amount, Currency, Instant, Posted
from shared.contracts.texts import Prose
from shared.http.audit import ActorAnswer
from shared.http.schemas import body_example, example
from shared.kernel.approvals import Decision
from shared.kernel.money import round_to_minor_unit

_PERSON: Final = "01935a00-0000-7000-8000-000000000011"
_PLAN: Final = "01935a00-0000-7000-8000-000000000063"
_AUTHOR: Final[JsonValue] = {"kind": "person", "person_id": "01935a00-0000-7000-8000-000000000014"}
_APPROVER: Final[JsonValue] = {"kind": "person", "person_id": "01935a00-0000-7000-8000-000000000015"}

AdjustmentReason = Annotated[Prose, StringConstraints(max_length=1000)]


class AdjustmentBody(BaseModel):
    """Who is to be paid more or less, by which plan, and why."""

    model_config = body_example(person_id=_PERSON, plan_id=_PLAN, amount="250", reason="Referral of the Acme deal")

    person_id: UUID
    plan_id: UUID
    amount: Amount = Field(description="In the plan's currency; below 0 to take back.")
    reason: AdjustmentReason


class AdjustmentDecisionBody(BaseModel):
    """Why, if there is more to say."""

    model_config = body_example(reason="Agreed with the manager")

    reason: AdjustmentReason | None = None


class AdjustmentDecisionAnswer(BaseModel):
    """Who decided, when and why."""

    actor: ActorAnswer
    at: Instant
    reason: str | None

    @classmethod
    def of(cls, decision: Decision) -> Self:
        return cls(actor=ActorAnswer.of(decision.actor), at=decision.at, reason=decision.reason)


class AdjustmentAnswer(BaseModel):
    """Pay that no rule works out."""

    model_config = example(
        id="01935a00-0000-7000-8000-000000000094",
        version=2,
        person_id=_PERSON,
        plan_id=_PLAN,
        currency="USD",
        amount="250.00",
        reason="Referral of the Acme deal",
        author=_AUTHOR,
        proposed_at="2026-04-02T09:30:00Z",
        status="approved",
        decision={"actor": _APPROVER, "at": "2026-04-02T11:00:00Z", "reason": None},
    )

    id: UUID
    version: int = Field(ge=1, description="Grows with every step; its ETag goes into If-Match.")
    person_id: UUID
    plan_id: UUID
    currency: Currency
    amount: Posted
    reason: str
    author: ActorAnswer
    proposed_at: Instant
    status: AdjustmentStatus
    decision: AdjustmentDecisionAnswer | None = Field(description="Null while nobody has decided.")

    @classmethod
    def of(cls, adjustment: Adjustment) -> Self:
        decision = adjustment.decision
        return cls(
            id=adjustment.id,
            version=adjustment.version,
            person_id=adjustment.person_id,
            plan_id=adjustment.plan_id,
            currency=adjustment.currency,
            amount=round_to_minor_unit(adjustment.amount, adjustment.currency),
            reason=adjustment.reason,
            author=ActorAnswer.of(adjustment.author),
            proposed_at=adjustment.proposed_at,
            status=adjustment.status,
            decision=None if decision is None else AdjustmentDecisionAnswer.of(decision),
        )
