"""Keeping deals: every version for ever, the newest at hand."""

from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise
from uuid import UUID

from services.tracking.deals import store
from services.tracking.deals.domain import DealChange, DealFilter, DealNotFound, Viewer
from services.tracking.deals.store import RecordedVersion
from shared.contracts.deals import Deal
from shared.db.database import Transaction


async def record(tx: Transaction, deals: Sequence[Deal]) -> list[DealChange]:
    """Keep versions of deals in any order, repeated or not; the deals whose newest version is another one now.

    The changes are in the order of tenant and deal, one for a deal. A change goes from what was held before the call to
    the newest, so versions between them leave no change. Versions of one deal may not be recorded by two transactions
    at once: the caller's stored position in a partition, or an exclusive tenant lock, sees to that.
    """
    versions = _distinct(deals)
    if not versions:
        return []
    newest = [deal.id != after.id or deal.tenant_id != after.tenant_id for deal, after in pairwise(versions)] + [True]
    return [
        DealChange(deal.tenant_id, before, deal.facts(), deal.received_at)
        for deal, before in await store.record(tx, versions, newest)
    ]


async def page(
    tx: Transaction, tenant_id: UUID, viewer: Viewer, wanted: DealFilter, *, after: UUID | None, limit: int
) -> Sequence[Deal]:
    """The newest versions of the deals the viewer sees, by id."""
    return await store.page(tx, tenant_id, viewer, wanted, after=after, limit=limit)


async def get(tx: Transaction, tenant_id: UUID, viewer: Viewer, deal_id: UUID) -> Deal:
    """The newest version of a deal. Raises DealNotFound, also for one the viewer may not see."""
    deal = await store.find(tx, tenant_id, deal_id)
    if deal is None or not viewer.sees(deal.source, deal.owner_external_id):
        raise DealNotFound(f"There is no deal {deal_id}.")
    return deal


async def versions(
    tx: Transaction,
    tenant_id: UUID,
    viewer: Viewer,
    deal_id: UUID,
    *,
    before: tuple[datetime, int, UUID] | None,
    limit: int,
) -> Sequence[RecordedVersion]:
    """Every version of a deal, newest first. Raises DealNotFound, also when its newest may not be seen."""
    await get(tx, tenant_id, viewer, deal_id)
    return await store.versions(tx, tenant_id, deal_id, before=before, limit=limit)


def _distinct(deals: Sequence[Deal]) -> list[Deal]:
    """Each version once, in the order of tenant, deal and version."""
    versions = {
        (deal.tenant_id.int, deal.id.int, deal.modified_at, deal.sequence, deal.delivery_id.int): deal for deal in deals
    }
    return [versions[key] for key in sorted(versions)]
