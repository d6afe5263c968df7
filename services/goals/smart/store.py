"""Every statement on acknowledgements."""

from collections.abc import Collection, Sequence
from typing import Final
from uuid import UUID

from sqlalchemy import select, text, true

from services.goals.smart.domain.checks import Acknowledgement, Letter
from services.goals.smart.tables import smart_acknowledgements
from shared.db.arrays import array_text
from shared.db.conditions import among
from shared.db.database import Transaction
from shared.kernel.approvals import Actor, ActorKind

_ADD: Final = text(
    f"""
    INSERT INTO {smart_acknowledgements.fullname}
        (tenant_id, id, goal_id, goal_version, checks, reason, actor_kind, actor_id, acknowledged_at)
    SELECT :tenant_id, id, goal_id, goal_version, string_to_array(checks, ','), reason, actor_kind, actor_id,
        acknowledged_at
    FROM unnest(
        CAST(CAST(:ids AS text) AS uuid[]), CAST(CAST(:goal_ids AS text) AS uuid[]),
        CAST(CAST(:goal_versions AS text) AS bigint[]), CAST(CAST(:checks AS text) AS text[]),
        CAST(CAST(:reasons AS text) AS text[]), CAST(CAST(:actor_kinds AS text) AS text[]),
        CAST(CAST(:actor_ids AS text) AS uuid[]), CAST(CAST(:acknowledged_at AS text) AS timestamptz[])
    ) AS t(id, goal_id, goal_version, checks, reason, actor_kind, actor_id, acknowledged_at)
    """
)


async def add_acknowledgements(tx: Transaction, tenant_id: UUID, added: Sequence[Acknowledgement]) -> None:
    """Store what was acknowledged, for good."""
    if not added:
        return
    parameters = {
        "tenant_id": tenant_id,
        "ids": array_text([each.id for each in added]),
        "goal_ids": array_text([each.goal_id for each in added]),
        "goal_versions": array_text([each.goal_version for each in added]),
        "checks": array_text([",".join(sorted(each.checks)) for each in added]),
        "reasons": array_text([each.reason for each in added]),
        "actor_kinds": array_text([each.actor.kind.value for each in added]),
        "actor_ids": array_text([each.actor.person_id for each in added]),
        "acknowledged_at": array_text([each.acknowledged_at for each in added]),
    }
    await tx.execute(_ADD, parameters)


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
