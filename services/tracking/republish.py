"""Filling a lost topic again from what Postgres holds."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Final
from uuid import UUID

from services.tracking.measure.progress import store as progress
from services.tracking.metadata import transport
from services.tracking.records.service import ACTIVITIES as STORED_ACTIVITIES
from services.tracking.records.service import DEALS as STORED_DEALS
from services.tracking.tell.alerts import service as alerts_service
from shared.contracts.activities import TOPIC as ACTIVITIES
from shared.contracts.alerts import TOPIC as ALERTS
from shared.contracts.deals import TOPIC as DEALS
from shared.contracts.progress import TOPIC as PROGRESS
from shared.db.database import Database, Scope, Transaction
from shared.outbox.outbox import Outbox

_CHUNK: Final = 500
_FIRST: Final = (UUID(int=0), UUID(int=0))
_OUTBOX: Final = Outbox(transport)

Key = tuple[UUID, UUID]
"""A tenant, and a deal, an activity, an alert or a goal."""

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
    return await STORED_DEALS.publish_next_again(tx, _OUTBOX, after, limit=_CHUNK)


async def _publish_activities(tx: Transaction, after: Key) -> list[Key]:
    return await STORED_ACTIVITIES.publish_next_again(tx, _OUTBOX, after, limit=_CHUNK)


async def _publish_alerts(tx: Transaction, after: Key) -> list[Key]:
    return await alerts_service.tell_next_again(tx, _OUTBOX, after, limit=_CHUNK)


async def _publish_progress(tx: Transaction, after: Key) -> list[Key]:
    goals = await progress.goals_after(tx, after, limit=_CHUNK)
    await _OUTBOX.mark(tx, PROGRESS, [(tenant_id, f"goal/{goal_id}") for tenant_id, goal_id in goals])
    return goals


_PUBLISHERS: Final[Mapping[str, PublishChunk]] = {
    DEALS: _publish_deals,
    ACTIVITIES: _publish_activities,
    ALERTS: _publish_alerts,
    PROGRESS: _publish_progress,
}
