"""An approval: who wrote something, whom it concerns, and who may say yes to it.

What moves money or a promise is proposed by one and approved by another. Nobody approves what they wrote a part of, and
nobody approves what pays or measures them. No role is an exception, and a service, which is nobody, approves nothing.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from shared.kernel.errors import Forbidden


class ApprovalNotIndependent(Forbidden):
    """Who approves wrote a part of it, is paid or measured by it, or is no person; another person can."""

    code = "approval_not_independent"
    title = "Approval is not independent"


class OwnInterest(Forbidden):
    """The caller would change what pays or measures the caller; another person can."""

    code = "own_interest"
    title = "In one's own interest"


class ActorKind(StrEnum):
    """What is known of whoever did something."""

    PERSON = "person"
    SERVICE = "service"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Actor:
    """Whoever did something: a person, whatever token spoke for it; a service; or somebody who was not recorded."""

    kind: ActorKind
    person_id: UUID | None = None

    def __post_init__(self) -> None:
        if (self.kind is ActorKind.PERSON) != (self.person_id is not None):
            raise ValueError("a person, and nobody else, has a person's id")

    @classmethod
    def of(cls, person_id: UUID | None) -> "Actor":
        """The person of a token, or the service that a token without a person speaks for."""
        return SERVICE if person_id is None else cls(ActorKind.PERSON, person_id)


SERVICE = Actor(ActorKind.SERVICE)
UNKNOWN = Actor(ActorKind.UNKNOWN)


@dataclass(frozen=True, slots=True)
class Decision:
    """Who decided on what somebody proposed, when and why."""

    actor: Actor
    at: datetime
    reason: str | None


@dataclass(frozen=True, slots=True)
class Proposal:
    """Something to be approved.

    `subject` is how sentences name it, `authors` everybody who wrote a part of it, `concerned` the people it pays or
    measures, and `approvers` names those who may approve at all.
    """

    subject: str
    authors: Collection[Actor]
    concerned: Collection[UUID]
    approvers: str

    def check(self, approver: Actor) -> None:
        """Raises ApprovalNotIndependent, saying why and who could, unless this approver may say yes."""
        objection = self._objection(approver)
        if objection is not None:
            raise ApprovalNotIndependent(objection)

    def _objection(self, approver: Actor) -> str | None:
        subject = self.subject
        if UNKNOWN in self.authors:
            return (
                f"{subject} was edited before edits were recorded, so nobody can be known not to have written it."
                " Propose the same anew; then another person can approve it."
            )
        if approver.person_id is None:
            return f"{subject} is approved by a person, not by a service: {self._who_could}."
        if approver in self.authors:
            return f"Who wrote a part of {subject} cannot approve it: {self._who_could}."
        if approver.person_id in self.concerned:
            return f"Who is paid or measured by {subject} cannot approve it: {self._who_could}."
        return None

    @property
    def _who_could(self) -> str:
        return f"ask {self.approvers} who wrote no part of it and is not paid or measured by it"


def check_no_own_interest(actor: Actor, concerned: Collection[UUID], subject: str) -> None:
    """Raises OwnInterest when the actor would change, under the name `subject`, what pays or measures the actor."""
    if actor.person_id is not None and actor.person_id in concerned:
        raise OwnInterest(f"Nobody changes {subject} of their own; another person who may change it can.")
