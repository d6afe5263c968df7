"""Every statement on proposals and comments."""

from typing import Final
from uuid import UUID

from sqlalchemy import RowMapping, insert, select, true

from services.goals.agreements.domain import Comment, GoalProposal, ProposalNotFound, ProposalState
from services.goals.agreements.tables import goal_comments, goal_proposals
from shared.db.conditions import among, equal
from shared.db.database import Transaction
from shared.db.decisions import decision_in, decision_values
from shared.db.versioned import VersionedTable
from shared.kernel.approvals import Actor, ActorKind
from shared.kernel.sight import Sight


async def list_proposals(
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
    columns = goal_proposals.c
    return await PROPOSALS.page(
        tx,
        tenant_id,
        after,
        limit,
        among(columns.owner_id, sight.owners),
        equal(columns.goal_id, goal_id),
        equal(columns.state, state),
    )


async def add_comment(tx: Transaction, tenant_id: UUID, comment: Comment) -> Comment:
    await tx.execute(
        insert(goal_comments).values(
            tenant_id=tenant_id,
            id=comment.id,
            goal_id=comment.goal_id,
            author_kind=comment.author.kind.value,
            author_id=comment.author.person_id,
            text=comment.text,
            written_at=comment.written_at,
        )
    )
    return comment


async def list_comments(
    tx: Transaction, tenant_id: UUID, goal_id: UUID, *, after: UUID | None, limit: int
) -> list[Comment]:
    """The oldest first."""
    columns = goal_comments.c
    statement = (
        select(goal_comments)
        .where(
            columns.tenant_id == tenant_id, columns.goal_id == goal_id, true() if after is None else columns.id > after
        )
        .order_by(columns.id)
        .limit(limit)
    )
    return [
        Comment(
            row["id"],
            row["goal_id"],
            Actor(ActorKind(row["author_kind"]), row["author_id"]),
            row["text"],
            row["written_at"],
        )
        for row in await tx.rows(statement)
    ]


def _proposal(row: RowMapping) -> GoalProposal:
    return GoalProposal(
        id=row["id"],
        version=row["version"],
        goal_id=row["goal_id"],
        goal_version=row["goal_version"],
        owner_id=row["owner_id"],
        changes=row["changes"],
        reason=row["reason"],
        author=Actor(ActorKind(row["author_kind"]), row["author_id"]),
        proposed_at=row["proposed_at"],
        state=ProposalState(row["state"]),
        decision=decision_in(row),
    )


def _values(proposal: GoalProposal) -> dict[str, object]:
    return {
        "id": proposal.id,
        "version": proposal.version,
        "goal_id": proposal.goal_id,
        "goal_version": proposal.goal_version,
        "owner_id": proposal.owner_id,
        "changes": proposal.changes,
        "reason": proposal.reason,
        "author_kind": proposal.author.kind.value,
        "author_id": proposal.author.person_id,
        "proposed_at": proposal.proposed_at,
        "state": proposal.state.value,
        **decision_values(proposal.decision),
    }


PROPOSALS: Final = VersionedTable("proposal", goal_proposals, _proposal, _values, ProposalNotFound)
