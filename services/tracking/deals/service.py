"""Keeping deals: every version for ever, the newest at hand."""

from collections.abc import Sequence
from uuid import UUID

from services.tracking.deals import store
from services.tracking.deals.domain import DealChange
from shared.contracts.deals import Deal
from shared.db.database import Transaction
from shared.kernel.deals import DealVersion


async def record(tx: Transaction, deals: Sequence[Deal]) -> list[DealChange]:
    """Keep versions of deals in any order, repeated or not; the deals whose newest version is another one now.

    The changes are in the order of tenant and deal, one for a deal. A change goes from what was held before the call to
    the newest, so versions between them leave no change. Versions of one deal may not be recorded by two transactions
    at once: the caller's stored position in a partition, or an exclusive tenant lock, sees to that.
    """
    versions = {((deal.tenant_id, deal.id), deal.version): deal for deal in deals}
    if not versions:
        return []
    newest: dict[tuple[UUID, UUID], DealVersion] = {}
    ordered = sorted(versions)
    for key, version in ordered:
        newest[key] = version
    replaced = await store.record(tx, [versions[version] for version in ordered], set(newest.items()))
    changes = []
    for key in sorted(replaced):
        deal = versions[key, newest[key]]
        changes.append(DealChange(deal.tenant_id, replaced[key], deal.facts(), deal.received_at))
    return changes
