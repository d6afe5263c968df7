"""The use cases of agreeing on goals in force: propose, decide, comment."""

from collections.abc import Callable, Mapping
from uuid import UUID

from services.goals.agreements import store
from services.goals.agreements.domain import (
    Comment,
    GoalProposal,
    ProposalNotFound,
    ProposalState,
    approved,
    rejected,
    withdrawn,
)
from services.goals.targets.domain import Goal
from services.goals.targets.service import ChangeOf, Goals
from shared.db.database import Transaction
from shared.kernel.approvals import Actor, Decision
from shared.kernel.sight import Sight

ReadChanges = Callable[[Mapping[str, object]], ChangeOf]
"""What the stored changes of a proposal make of terms."""


class Agreements:
    """The proposals and comments of every tenant."""

    def __init__(self, goals: Goals) -> None:
        self._goals = goals

    async def propose(
        self,
        tx: Transaction,
        tenant_id: UUID,
        goal_id: UUID,
        changes: Mapping[str, object],
        change_of: ChangeOf,
        *,
        reason: str,
        actor: Actor,
        sight: Sight,
    ) -> GoalProposal:
        """Other terms for an active goal, which wait for somebody else's decision. Raises what `check_change` does."""
        goal = await self._goals.check_change(tx, tenant_id, goal_id, change_of, sight)
        proposal = GoalProposal(
            tx.new_id(), 1, goal_id, goal.version, goal.terms.owner.id, changes, reason, actor, tx.now
        )
        return await store.PROPOSALS.add(tx, tenant_id, proposal)

    async def list_proposals(
        self,
        tx: Transaction,
        tenant_id: UUID,
        sight: Sight,
        *,
        goal_id: UUID | None,
        state: ProposalState | None,
        after: UUID | None,
        limit: int,
    ) -> list[GoalProposal]:
        """Those of goals in sight, the oldest first."""
        return await store.list_proposals(tx, tenant_id, sight, goal_id=goal_id, state=state, after=after, limit=limit)

    async def approve(
        self,
        tx: Transaction,
        tenant_id: UUID,
        goal_id: UUID,
        proposal_id: UUID,
        expected_version: int,
        read: ReadChanges,
        *,
        reason: str | None,
        actor: Actor,
        sight: Sight,
    ) -> GoalProposal:
        """Give the goal the terms that were proposed, by its next revision.

        Raises ProposalNotFound, ProposalDecided, ProposalOutdated, VersionMismatch, and what `Goals.revise_goal` does.
        """
        await tx.lock_tenants_exclusive([tenant_id])
        goal, proposal = await self._both(tx, tenant_id, goal_id, proposal_id, expected_version, sight)
        ended = approved(proposal, goal.version, Decision(actor, tx.now, reason))
        await self._goals.revise_goal(
            tx,
            tenant_id,
            goal_id,
            goal.version,
            read(proposal.changes),
            reason=proposal.reason,
            authors=(proposal.author,),
            actor=actor,
            sight=sight,
        )
        return await store.PROPOSALS.save(tx, tenant_id, ended)

    async def reject(
        self,
        tx: Transaction,
        tenant_id: UUID,
        goal_id: UUID,
        proposal_id: UUID,
        expected_version: int,
        *,
        reason: str,
        actor: Actor,
        sight: Sight,
    ) -> GoalProposal:
        """Raises ProposalNotFound, ProposalDecided, VersionMismatch, GoalOutOfReach, OwnInterest."""
        goal, proposal = await self._both(tx, tenant_id, goal_id, proposal_id, expected_version, sight)
        ended = rejected(proposal, Decision(actor, tx.now, reason))
        await self._goals.check_decides(tx, tenant_id, goal, actor, sight)
        return await store.PROPOSALS.save(tx, tenant_id, ended)

    async def withdraw(
        self,
        tx: Transaction,
        tenant_id: UUID,
        goal_id: UUID,
        proposal_id: UUID,
        expected_version: int,
        *,
        actor: Actor,
        sight: Sight,
    ) -> GoalProposal:
        """Raises ProposalNotFound, ProposalDecided, VersionMismatch, NotTheAuthor."""
        _, proposal = await self._both(tx, tenant_id, goal_id, proposal_id, expected_version, sight)
        return await store.PROPOSALS.save(tx, tenant_id, withdrawn(proposal, Decision(actor, tx.now, None)))

    async def comment(
        self, tx: Transaction, tenant_id: UUID, goal_id: UUID, text: str, *, actor: Actor, sight: Sight
    ) -> Comment:
        """Raises GoalNotFound."""
        await self._goals.get_goal(tx, tenant_id, goal_id, sight)
        return await store.add_comment(tx, tenant_id, Comment(tx.new_id(), goal_id, actor, text, tx.now))

    async def list_comments(
        self, tx: Transaction, tenant_id: UUID, goal_id: UUID, sight: Sight, *, after: UUID | None, limit: int
    ) -> list[Comment]:
        """The oldest first. Raises GoalNotFound."""
        await self._goals.get_goal(tx, tenant_id, goal_id, sight)
        return await store.list_comments(tx, tenant_id, goal_id, after=after, limit=limit)

    async def _both(
        self,
        tx: Transaction,
        tenant_id: UUID,
        goal_id: UUID,
        proposal_id: UUID,
        expected_version: int,
        sight: Sight,
    ) -> tuple[Goal, GoalProposal]:
        goal = await self._goals.get_goal(tx, tenant_id, goal_id, sight)
        proposal = await store.PROPOSALS.for_change(tx, tenant_id, proposal_id, expected_version)
        if proposal.goal_id != goal_id:
            raise ProposalNotFound(f"The goal has no proposal {proposal_id}.")
        return goal, proposal
