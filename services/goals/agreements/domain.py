"""How people come to agree on a goal in force: one proposes other terms, another one decides, everybody comments."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from shared.kernel.approvals import Actor, Decision
from shared.kernel.errors import Conflict, Forbidden, NotFound


class ProposalNotFound(NotFound):
    """There is no such proposal, or the caller may not see its goal."""

    code = "proposal_not_found"
    title = "Proposal not found"


class ProposalDecided(Conflict):
    """The proposal was approved, rejected or withdrawn already."""

    code = "proposal_decided"
    title = "Proposal is decided"


class ProposalOutdated(Conflict):
    """The goal has changed since this was proposed."""

    code = "proposal_outdated"
    title = "Proposal is outdated"


class NotTheAuthor(Forbidden):
    """Only who made a proposal withdraws it; others reject it."""

    code = "not_the_author"
    title = "Not the author"


class ProposalState(StrEnum):
    """Where a proposal is."""

    PENDING = "pending"
    APPROVED = "approved"
    REJECTED = "rejected"
    WITHDRAWN = "withdrawn"


@dataclass(frozen=True, slots=True)
class GoalProposal:
    """Other terms for a goal in force: `changes` of its terms as they were in `goal_version`, with the reason.

    `owner_id` is whose goal it was then.
    """

    id: UUID
    version: int
    goal_id: UUID
    goal_version: int
    owner_id: UUID
    changes: Mapping[str, object]
    reason: str
    author: Actor
    proposed_at: datetime
    state: ProposalState = ProposalState.PENDING
    decision: Decision | None = None


@dataclass(frozen=True, slots=True)
class Comment:
    """What somebody wrote about a goal."""

    id: UUID
    goal_id: UUID
    author: Actor
    text: str
    written_at: datetime


def approved(proposal: GoalProposal, goal_version: int, decision: Decision) -> GoalProposal:
    """Raises ProposalDecided; ProposalOutdated unless the goal is as it was when this was proposed."""
    ended = _ended(proposal, ProposalState.APPROVED, decision)
    if goal_version != proposal.goal_version:
        raise ProposalOutdated(
            f"The goal is in version {goal_version} now, and this was proposed of version {proposal.goal_version}:"
            " propose it anew."
        )
    return ended


def rejected(proposal: GoalProposal, decision: Decision) -> GoalProposal:
    """Raises ProposalDecided."""
    return _ended(proposal, ProposalState.REJECTED, decision)


def withdrawn(proposal: GoalProposal, decision: Decision) -> GoalProposal:
    """Raises ProposalDecided; NotTheAuthor for anybody else."""
    if decision.actor != proposal.author:
        raise NotTheAuthor("Only who proposed this withdraws it; whoever decides on the goal may reject it.")
    return _ended(proposal, ProposalState.WITHDRAWN, decision)


def _ended(proposal: GoalProposal, state: ProposalState, decision: Decision) -> GoalProposal:
    if proposal.state is not ProposalState.PENDING:
        raise ProposalDecided(f"This proposal is {proposal.state} already.")
    return replace(proposal, version=proposal.version + 1, state=state, decision=decision)
