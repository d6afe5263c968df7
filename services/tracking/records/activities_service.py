"""Keeping activities: every version for ever, the newest at hand."""

from collections.abc import Collection, Sequence
from datetime import datetime
from uuid import UUID

from services.tracking.records import activities_store as store
from services.tracking.records.activities_store import RecordedVersion
from services.tracking.records.domain import snapshots
from services.tracking.records.domain.activities import ActivityFilter, ActivityNotFound, RecordedActivities
from shared.contracts.activities import Activity
from shared.contracts.envelope import to_message
from shared.db.database import Transaction
from shared.kernel.sight import Sight
from shared.outbox.outbox import Outbox


async def record(tx: Transaction, activities: Sequence[Activity]) -> RecordedActivities:
    """Keep versions of activities in any order, repeated or not; those whose newest version is another one now.

    All that is said of recording deals holds here, also that versions of one activity may not be recorded by two
    transactions at once.
    """
    versions = snapshots.distinct(activities)
    if not versions:
        return RecordedActivities((), frozenset())
    return snapshots.recorded(activities, await store.record(tx, versions, snapshots.newest_of_each(versions)))


async def tell_again(tx: Transaction, outbox: Outbox, keys: Collection[tuple[UUID, UUID]]) -> None:
    """Publish the newest versions of these activities (tenant, activity) once more, as they are."""
    await _tell(tx, outbox, await store.find_all(tx, keys))


async def tell_next_again(
    tx: Transaction, outbox: Outbox, after: tuple[UUID, UUID], *, limit: int
) -> list[tuple[UUID, UUID]]:
    """Publish the next activities of every tenant in scope once more, by tenant and activity; which those were."""
    activities = await store.after(tx, after, limit=limit)
    await _tell(tx, outbox, activities)
    return [(activity.tenant_id, activity.id) for activity in activities]


async def page(
    tx: Transaction, tenant_id: UUID, sight: Sight, wanted: ActivityFilter, *, after: UUID | None, limit: int
) -> Sequence[Activity]:
    """The newest versions of the activities of people in sight, by id."""
    return await store.page(tx, tenant_id, sight.users, wanted, after=after, limit=limit)


async def get(tx: Transaction, tenant_id: UUID, sight: Sight, activity_id: UUID) -> Activity:
    """The newest version of an activity. Raises ActivityNotFound, also for one that is out of sight."""
    activity = await store.find(tx, tenant_id, activity_id)
    if activity is None or not sight.sees_record(activity.facts()):
        raise ActivityNotFound(f"There is no activity {activity_id}.")
    return activity


async def newest(tx: Transaction, tenant_id: UUID, activity_ids: Collection[UUID]) -> dict[UUID, Activity]:
    """The newest versions of those of these activities of the tenant that are known."""
    found = await store.find_all(tx, {(tenant_id, each) for each in activity_ids})
    return {activity.id: activity for activity in found}


async def brought_by(
    tx: Transaction, tenant_id: UUID, sight: Sight, activity_id: UUID, delivery_id: UUID
) -> Activity | None:
    """The newest version of an activity that the delivery brought a version of; None where it did not.

    Raises ActivityNotFound, also for one that is out of sight.
    """
    found = await get(tx, tenant_id, sight, activity_id)
    return found if await store.is_brought_by(tx, tenant_id, activity_id, delivery_id) else None


async def versions(
    tx: Transaction,
    tenant_id: UUID,
    sight: Sight,
    activity_id: UUID,
    *,
    before: tuple[datetime, int, UUID] | None,
    limit: int,
) -> Sequence[RecordedVersion]:
    """Every version of an activity, newest first. Raises ActivityNotFound, also when its newest may not be seen."""
    await get(tx, tenant_id, sight, activity_id)
    return await store.versions(tx, tenant_id, activity_id, before=before, limit=limit)


async def _tell(tx: Transaction, outbox: Outbox, activities: Sequence[Activity]) -> None:
    await outbox.append(
        tx,
        [
            to_message(activity, event_id=tx.new_id(), source="tracking", time=activity.received_at)
            for activity in activities
        ],
    )
