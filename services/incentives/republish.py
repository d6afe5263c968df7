"""Publish everything this service has published before, from Postgres."""

from uuid import UUID

from services.incentives.earnings import store
from services.incentives.publishing import OUTBOX
from shared.contracts.earnings import TOPIC
from shared.db.database import Database, Scope, Transaction

_CHUNK = 1000


async def republish(database: Database, topic: str) -> int:
    """Mark every earning to be published once more by the relay; how many those are.

    ValueError for a topic that is not this service's.
    """
    if topic != TOPIC:
        raise ValueError(f"{topic} is not published by incentives; expected {TOPIC}")
    count = 0
    after: tuple[UUID, UUID] | None = None
    while page := await _mark_after(database, after):
        count += len(page)
        after = page[-1]
    return count


async def _mark_after(database: Database, after: tuple[UUID, UUID] | None) -> list[tuple[UUID, UUID]]:
    async def mark(tx: Transaction) -> list[tuple[UUID, UUID]]:
        page = await store.ids_after(tx, after, _CHUNK)
        await OUTBOX.mark(tx, TOPIC, [(tenant_id, f"earning/{cell_id}") for tenant_id, cell_id in page])
        return page

    return await database.run(Scope.every(), mark)
