"""Keeping deals: every version for ever, the newest at hand."""

from collections.abc import Collection, Sequence
from datetime import datetime
from uuid import UUID

from services.tracking.records import deals_store as store
from services.tracking.records.deals_store import RecordedVersion
from services.tracking.records.domain import snapshots
from services.tracking.records.domain.deals import DealFilter, DealNotFound, RecordedDeals
from shared.contracts.deals import Deal
from shared.contracts.envelope import to_message
from shared.db.database import Transaction
from shared.kernel.records import RecordFacts
from shared.kernel.sight import Sight
from shared.outbox.outbox import Outbox


async def record(tx: Transaction, deals: Sequence[Deal]) -> RecordedDeals:
    """Keep versions of deals in any order, repeated or not; the deals whose newest version is another one now.

    The changes are in the order of tenant and deal, one for a deal. A change goes from what was held before the call to
    the newest, so versions between them leave no change. Versions of one deal may not be recorded by two transactions
    at once: the caller's stored position in a partition, or an exclusive tenant lock, sees to that.
    """
    versions = snapshots.distinct(deals)
    if not versions:
        return RecordedDeals((), frozenset())
    return snapshots.recorded(deals, await store.record(tx, versions, snapshots.newest_of_each(versions)))


async def tell_again(tx: Transaction, outbox: Outbox, keys: Collection[tuple[UUID, UUID]]) -> None:
    """Publish the newest versions of these deals (tenant, deal) once more, as they are; who knows them is unmoved."""
    await _tell(tx, outbox, await store.find_all(tx, keys))


async def tell_next_again(
    tx: Transaction, outbox: Outbox, after: tuple[UUID, UUID], *, limit: int
) -> list[tuple[UUID, UUID]]:
    """Publish the next deals of every tenant in scope once more, by tenant and deal; which those were."""
    deals = await store.after(tx, after, limit=limit)
    await _tell(tx, outbox, deals)
    return [(deal.tenant_id, deal.id) for deal in deals]


async def page(
    tx: Transaction, tenant_id: UUID, sight: Sight, wanted: DealFilter, *, after: UUID | None, limit: int
) -> Sequence[Deal]:
    """The newest versions of the deals of people in sight, by id."""
    return await store.page(tx, tenant_id, sight.users, wanted, after=after, limit=limit)


async def get(tx: Transaction, tenant_id: UUID, sight: Sight, deal_id: UUID) -> Deal:
    """The newest version of a deal. Raises DealNotFound, also for one that is out of sight."""
    deal = await store.find(tx, tenant_id, deal_id)
    if deal is None or not sight.sees_record(deal.facts()):
        raise DealNotFound(f"There is no deal {deal_id}.")
    return deal


async def newest(tx: Transaction, tenant_id: UUID, deal_ids: Collection[UUID]) -> dict[UUID, Deal]:
    """The newest versions of those of these deals of the tenant that are known."""
    return {deal.id: deal for deal in await store.find_all(tx, {(tenant_id, each) for each in deal_ids})}


async def facts(tx: Transaction, tenant_id: UUID, deal_ids: Collection[UUID]) -> dict[UUID, RecordFacts]:
    """What the rules see of those of these deals of the tenant that are known."""
    return {deal_id: deal.facts() for deal_id, deal in (await newest(tx, tenant_id, deal_ids)).items()}


async def brought_by(tx: Transaction, tenant_id: UUID, sight: Sight, deal_id: UUID, delivery_id: UUID) -> Deal | None:
    """The newest version of a deal that the delivery brought a version of; None where it did not.

    Raises DealNotFound, also for one that is out of sight.
    """
    found = await get(tx, tenant_id, sight, deal_id)
    return found if await store.is_brought_by(tx, tenant_id, deal_id, delivery_id) else None


async def versions(
    tx: Transaction,
    tenant_id: UUID,
    sight: Sight,
    deal_id: UUID,
    *,
    before: tuple[datetime, int, UUID] | None,
    limit: int,
) -> Sequence[RecordedVersion]:
    """Every version of a deal, newest first. Raises DealNotFound, also when its newest may not be seen."""
    await get(tx, tenant_id, sight, deal_id)
    return await store.versions(tx, tenant_id, deal_id, before=before, limit=limit)


async def _tell(tx: Transaction, outbox: Outbox, deals: Sequence[Deal]) -> None:
    await outbox.append(
        tx, [to_message(deal, event_id=tx.new_id(), source="tracking", time=deal.received_at) for deal in deals]
    )
