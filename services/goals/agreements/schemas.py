"""Requests and answers of proposals and comments."""

from collections.abc import Mapping
from typing import Annotated, Final, Self
from uuid import UUID

from pydantic import BaseModel, Field, JsonValue, StringConstraints, TypeAdapter

from services.goals.agreements.domain import Comment, GoalProposal, ProposalState
from services.goals.targets.schemas import GoalChanges, Reason, RevisionBody
from shared.contracts.base import Instant
from shared.contracts.texts import Prose
from shared.http.audit import ActorAnswer
from shared.http.schemas import body_example, example
from shared.kernel.approvals import Decision

_PERSON: Final[JsonValue] = {"kind": "person", "person_id": "01935a00-0000-7000-8000-000000000011"}
_MANAGER: Final[JsonValue] = {"kind": "person", "person_id": "01935a00-0000-7000-8000-000000000012"}
_CHANGES: Final = TypeAdapter(GoalChanges)
_REVISION: Final = TypeAdapter(RevisionBody)


def stored_changes(body: RevisionBody) -> Mapping[str, object]:
    """What a proposal would change, as it is stored."""
    written: dict[str, object] = _REVISION.dump_python(body, mode="json")
    del written["reason"]
    return written


def read_changes(stored: Mapping[str, object]) -> GoalChanges:
    """What `stored_changes` was given."""
    return _CHANGES.validate_python(stored)


class ApprovalBody(BaseModel):
    """Why it is approved, if there is more to say."""

    model_config = body_example(reason="The pipeline carries it")

    reason: Reason | None = None


class RejectionBody(BaseModel):
    """Why it is not."""

    model_config = body_example(reason="The second territory starts in April")

    reason: Reason


class CommentBody(BaseModel):
    """What there is to say about a goal."""

    model_config = body_example(text="Half of the accounts moved to Berlin in May")

    text: Annotated[Prose, StringConstraints(max_length=4000)]


class DecisionAnswer(BaseModel):
    """Who decided, when and why."""

    actor: ActorAnswer
    decided_at: Instant
    reason: str | None

    @classmethod
    def of(cls, decision: Decision) -> Self:
        return cls(actor=ActorAnswer.of(decision.actor), decided_at=decision.at, reason=decision.reason)


class GoalProposalAnswer(BaseModel):
    """Other terms that are proposed for a goal in force."""

    model_config = example(
        id="01935a00-0000-7000-8000-000000000041",
        version=2,
        goal_id="01935a00-0000-7000-8000-000000000031",
        goal_version=3,
        changes={"target": "275000"},
        reason="Took over the northern accounts",
        author=_PERSON,
        proposed_at="2026-02-02T09:30:00Z",
        state="approved",
        decision={"actor": _MANAGER, "decided_at": "2026-02-03T08:00:00Z", "reason": None},
    )

    id: UUID
    version: int = Field(ge=1, description="Grows with every change; its ETag goes into If-Match.")
    goal_id: UUID
    goal_version: int = Field(description="The version of the goal that was to be changed.")
    changes: dict[str, JsonValue] = Field(description="The terms that would be others.")
    reason: str
    author: ActorAnswer
    proposed_at: Instant
    state: ProposalState
    decision: DecisionAnswer | None = Field(description="Null while nobody has decided.")

    @classmethod
    def of(cls, proposal: GoalProposal) -> Self:
        decision = proposal.decision
        return cls.model_validate(
            {
                "id": proposal.id,
                "version": proposal.version,
                "goal_id": proposal.goal_id,
                "goal_version": proposal.goal_version,
                "changes": proposal.changes,
                "reason": proposal.reason,
                "author": ActorAnswer.of(proposal.author),
                "proposed_at": proposal.proposed_at,
                "state": proposal.state,
                "decision": None if decision is None else DecisionAnswer.of(decision),
            }
        )


class CommentAnswer(BaseModel):
    """What somebody wrote about a goal."""

    model_config = example(
        id="01935a00-0000-7000-8000-000000000051",
        goal_id="01935a00-0000-7000-8000-000000000031",
        author=_PERSON,
        text="Half of the accounts moved to Berlin in May",
        written_at="2026-06-02T09:30:00Z",
    )

    id: UUID
    goal_id: UUID
    author: ActorAnswer
    text: str
    written_at: Instant

    @classmethod
    def of(cls, comment: Comment) -> Self:
        return cls(
            id=comment.id,
            goal_id=comment.goal_id,
            author=ActorAnswer.of(comment.author),
            text=comment.text,
            written_at=comment.written_at,
        )
