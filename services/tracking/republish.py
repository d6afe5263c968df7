"""Filling a lost topic again from what Postgres holds."""

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Final
from uuid import UUID

from sqlalchemy import RowMapping, text

from services.tracking.deals.store import columns_of
from services.tracking.metadata import transport
from services.tracking.progress import store as progress
from shared.contracts.deals import TOPIC as DEALS
from shared.contracts.deals import Deal
from shared.contracts.envelope import to_message
from shared.contracts.progress import TOPIC as PROGRESS
from shared.db.database import Database, Scope, Transaction
from shared.outbox.outbox import Outbox

_CHUNK: Final = 500
_FIRST: Final = (UUID(int=0), UUID(int=0))
_DEALS: Final = text(
    f"""
    SELECT {columns_of("deal")} FROM tracking.deals AS deal
    WHERE (deal.tenant_id, deal.deal_id) > (CAST(:after_tenant_id AS uuid), CAST(:after_deal_id AS uuid))
    ORDER BY deal.tenant_id, deal.deal_id LIMIT :limit
    """
)
_OUTBOX: Final = Outbox(transport)

Key = tuple[UUID, UUID]
"""A tenant, and a deal or a goal."""

PublishChunk = Callable[[Transaction, Key], Awaitable[list[Key]]]
"""Publishes some things after a key again, and says which."""


async def republish(database: Database, topic: str) -> int:
    """Publish the newest snapshot of every subject of the topic again, of all tenants; how many there were.

    Versions stay as they are, so readers that have them take no notice. ValueError for a topic that is not this
    service's.
    """
    if topic not in _PUBLISHERS:
        raise ValueError(f"{topic} is not published by tracking; expected one of {', '.join(sorted(_PUBLISHERS))}")
    publish = _PUBLISHERS[topic]
    count = 0
    after = _FIRST
    while published := await database.run(Scope.every(), _publishing(publish, after)):
        count += len(published)
        after = published[-1]
    return count


def _publishing(publish: PublishChunk, after: Key) -> Callable[[Transaction], Awaitable[list[Key]]]:
    async def publish_chunk(tx: Transaction) -> list[Key]:
        return await publish(tx, after)

    return publish_chunk


async def _publish_deals(tx: Transaction, after: Key) -> list[Key]:
    parameters = {"after_tenant_id": after[0], "after_deal_id": after[1], "limit": _CHUNK}
    deals = [_deal_of(row) for row in await tx.rows(_DEALS, parameters)]
    messages = [to_message(deal, event_id=tx.new_id(), source="tracking", time=deal.received_at) for deal in deals]
    await _OUTBOX.append(tx, messages)
    return [(deal.tenant_id, deal.id) for deal in deals]


async def _publish_progress(tx: Transaction, after: Key) -> list[Key]:
    goals = await progress.goals_after(tx, after, limit=_CHUNK)
    await _OUTBOX.mark(tx, PROGRESS, [(tenant_id, f"goal/{goal_id}") for tenant_id, goal_id in goals])
    return goals


def _deal_of(row: RowMapping) -> Deal:
    parts = {
        "splits": json.loads(row["splits"] or "[]"),
        "products": json.loads(row["products"] or "[]"),
        "custom": json.loads(row["custom"] or "{}"),
    }
    return Deal.model_validate({**row, "id": row["deal_id"], **parts})


_PUBLISHERS: Final[Mapping[str, PublishChunk]] = {DEALS: _publish_deals, PROGRESS: _publish_progress}
