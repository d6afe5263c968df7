"""Won deals that nobody is credited with: counted with every change of a deal or of who is who, never by looking."""

from collections.abc import Collection, Mapping, Sequence
from uuid import UUID

from services.tracking.records import uncredited_store as store
from services.tracking.records.domain.deals import GapCount, GapKey
from services.tracking.records.uncredited_store import Uncredited
from shared.db.database import Transaction
from shared.kernel.org import CrmUser


async def move(tx: Transaction, moved: Mapping[GapKey, GapCount], *, stripe: int) -> None:
    """Count what changed deals change. `stripe` is one that no other consumer writes at the same time."""
    if moved:
        await store.move(tx, moved, stripe=stripe)


async def identified(tx: Transaction, tenant_id: UUID, gained: Collection[CrmUser], lost: Collection[CrmUser]) -> None:
    """Follow what identities name: users who are somebody from now on, and users who are nobody any more.

    The caller holds the tenant's lock alone, so that no deal changes meanwhile.
    """
    if gained:
        await store.forget_users(tx, tenant_id, gained)
    if lost:
        await move(tx, await store.recount_users(tx, tenant_id, lost), stripe=0)


async def of_connection(tx: Transaction, tenant_id: UUID, connection_id: UUID) -> Sequence[Uncredited]:
    """What of a connection nobody is credited with."""
    return await store.sums(tx, tenant_id, connection_id)


async def of_tenant(tx: Transaction, tenant_id: UUID) -> Sequence[Uncredited]:
    """What of all connections of a tenant nobody is credited with, connection by connection."""
    return await store.sums(tx, tenant_id, None)


async def tenants(tx: Transaction) -> set[UUID]:
    """The tenants in scope whose deals may be of nobody."""
    return await store.tenants(tx)


async def counts(
    tx: Transaction, tenant_id: UUID, known: Collection[CrmUser]
) -> tuple[Mapping[GapKey, GapCount], Mapping[GapKey, GapCount]]:
    """What is counted, and what the deals as they are come to: the same, as long as nobody changes them meanwhile."""
    return await store.counted(tx, tenant_id), await store.recount(tx, tenant_id, known)
