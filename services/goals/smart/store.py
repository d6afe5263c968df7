"""Every statement on acknowledgements."""

from collections.abc import Collection, Sequence
from uuid import UUID

from sqlalchemy import insert, select, true

from services.goals.smart.domain.checks import Acknowledgement, Letter
from services.goals.smart.tables import smart_acknowledgements
from shared.db.conditions import among
from shared.db.database import Transaction
from shared.kernel.approvals import Actor, ActorKind


async def add_acknowledgements(tx: Transaction, tenant_id: UUID, added: Sequence[Acknowledgement]) -> None:
    """Store what was acknowledged, for good."""
    rows = [
        {
            "tenant_id": tenant_id,
            "id": each.id,
            "goal_id": each.goal_id,
            "goal_version": each.goal_version,
            "checks": sorted(each.checks),
            "reason": each.reason,
            "actor_kind": each.actor.kind.value,
            "actor_id": each.actor.person_id,
            "acknowledged_at": each.acknowledged_at,
        }
        for each in added
    ]
    if rows:
        await tx.execute(insert(smart_acknowledgements), rows)


async def acknowledgements(
    tx: Transaction,
    tenant_id: UUID,
    goal_ids: Collection[UUID],
    *,
    after: UUID | None = None,
    limit: int | None = None,
) -> list[Acknowledgement]:
    """Those of these goals, the oldest first."""
    columns = smart_acknowledgements.c
    statement = (
        select(smart_acknowledgements)
        .where(
            columns.tenant_id == tenant_id,
            among(columns.goal_id, frozenset(goal_ids)),
            true() if after is None else columns.id > after,
        )
        .order_by(columns.id)
        .limit(limit)
    )
    return [
        Acknowledgement(
            row["id"],
            row["goal_id"],
            row["goal_version"],
            frozenset(map(Letter, row["checks"])),
            row["reason"],
            Actor(ActorKind(row["actor_kind"]), row["actor_id"]),
            row["acknowledged_at"],
        )
        for row in await tx.rows(statement)
    ]
