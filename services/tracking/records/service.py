"""Deals and activities: every version is stored for ever, the newest at hand; and what nobody is credited with."""

from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from datetime import date
from typing import Final, Generic
from uuid import UUID

from services.tracking.records.changes import changed
from services.tracking.records.domain import snapshots
from services.tracking.records.domain.records import ActivityNotFound, DealNotFound
from services.tracking.records.domain.snapshots import Recorded
from services.tracking.records.domain.uncredited import GapCount, GapKey
from services.tracking.records.store import uncredited as uncredited_store
from services.tracking.records.store.activities import ActivityStore
from services.tracking.records.store.deals import DealStore, UnmappedOwner
from services.tracking.records.store.records import (
    EventT,
    FactsT,
    FilterT,
    RecordedVersion,
    RecordKey,
    RecordStore,
    StoredRows,
    VersionKey,
)
from services.tracking.records.store.uncredited import Uncredited
from shared.contracts.activities import Activity
from shared.contracts.deals import Deal
from shared.contracts.envelope import to_record_message
from shared.db.database import Transaction
from shared.kernel.deals import DealFacts, RecordVersion
from shared.kernel.errors import NotFound
from shared.kernel.org import CrmUser
from shared.kernel.sight import Sight
from shared.outbox.outbox import Outbox


class Records(Generic[EventT, FactsT, FilterT]):
    """What can be done with the records of one kind. A key is a tenant and a record."""

    def __init__(
        self,
        store: RecordStore[EventT, FactsT, FilterT],
        facts_of: Callable[[EventT], FactsT],
        not_found: Callable[[UUID], NotFound],
    ) -> None:
        self._store = store
        self._facts_of = facts_of
        self._not_found = not_found

    def recording(
        self, events: Sequence[EventT], *, published_beside: bool = False
    ) -> "Recording[EventT, FactsT, FilterT]":
        """What stores these versions of records, which are in any order, repeated or not.

        `published_beside`: what was stored before may have been published before these versions or behind them.
        """
        return Recording(self._store, self._facts_of, events, published_beside=published_beside)

    async def record(self, tx: Transaction, events: Sequence[EventT]) -> Recorded[FactsT]:
        """Store these versions by themselves; what that changed, as `Recording` has it."""
        recording = self.recording(events)
        await recording.run(tx)
        return recording.recorded()

    async def publish_again(self, tx: Transaction, outbox: Outbox, keys: Collection[RecordKey]) -> None:
        """Publish the newest versions of these once more, as they are; who knows them is unmoved."""
        await self._publish(tx, outbox, await self._store.find_all(tx, keys))

    async def publish_next(self, tx: Transaction, outbox: Outbox, after: RecordKey, limit: int) -> list[RecordKey]:
        """Publish the next records of every tenant in scope once more, by tenant and record; which those were."""
        events = await self._store.after(tx, after, limit=limit)
        await self._publish(tx, outbox, events)
        return [(event.tenant_id, event.id) for event in events]

    async def page(
        self, tx: Transaction, tenant_id: UUID, sight: Sight, wanted: FilterT, *, after: UUID | None, limit: int
    ) -> Sequence[EventT]:
        """The newest versions of the records of people in sight, by id."""
        return await self._store.page(tx, tenant_id, sight.users, wanted, after=after, limit=limit)

    async def get(self, tx: Transaction, tenant_id: UUID, sight: Sight, record_id: UUID) -> EventT:
        """The newest version of a record.

        Raises DealNotFound or ActivityNotFound, also for one that is out of sight.
        """
        event = await self._store.find(tx, tenant_id, record_id)
        if event is None or not sight.sees_record(self._facts_of(event)):
            raise self._not_found(record_id)
        return event

    async def newest(self, tx: Transaction, tenant_id: UUID, record_ids: Collection[UUID]) -> dict[UUID, EventT]:
        """The newest versions of those of these records of the tenant that are known."""
        found = await self._store.find_all(tx, {(tenant_id, each) for each in record_ids})
        return {event.id: event for event in found}

    async def facts(self, tx: Transaction, tenant_id: UUID, record_ids: Collection[UUID]) -> dict[UUID, FactsT]:
        """What the rules see of those of these records of the tenant that are known."""
        found = await self.newest(tx, tenant_id, record_ids)
        return {record_id: self._facts_of(event) for record_id, event in found.items()}

    async def newest_versions(self, tx: Transaction, keys: Collection[RecordKey]) -> Mapping[RecordKey, RecordVersion]:
        """Which version of those of these records that are known is the newest."""
        return await self._store.find_versions(tx, keys) if keys else {}

    async def unrecorded(self, tx: Transaction, versions: Sequence[tuple[RecordKey, RecordVersion]]) -> Sequence[int]:
        """The positions of those of these versions that were never recorded."""
        return await self._store.unrecorded(tx, versions) if versions else ()

    async def brought_by(
        self, tx: Transaction, tenant_id: UUID, sight: Sight, record_id: UUID, delivery_id: UUID
    ) -> EventT | None:
        """The newest version of a record that the delivery brought a version of; None where it did not.

        Raises DealNotFound or ActivityNotFound, also for one that is out of sight.
        """
        found = await self.get(tx, tenant_id, sight, record_id)
        return found if await self._store.is_brought_by(tx, tenant_id, record_id, delivery_id) else None

    async def versions(
        self,
        tx: Transaction,
        tenant_id: UUID,
        sight: Sight,
        record_id: UUID,
        *,
        before: VersionKey | None,
        limit: int,
    ) -> Sequence[RecordedVersion[EventT]]:
        """Every version of a record, newest first.

        Raises DealNotFound or ActivityNotFound, also when its newest may not be seen.
        """
        await self.get(tx, tenant_id, sight, record_id)
        return await self._store.versions(tx, tenant_id, record_id, before=before, limit=limit)

    async def _publish(self, tx: Transaction, outbox: Outbox, events: Sequence[EventT]) -> None:
        await outbox.append(
            tx, [to_record_message(event, event_id=tx.new_id(), time=event.received_at) for event in events]
        )


class Recording(Generic[EventT, FactsT, FilterT]):
    """Stores versions of records. Only `run` needs the connection: what comes before and after does not keep it.

    Of two transactions that record versions of one record at once the second waits for the first, and then `recorded`
    raises RecordedTogether: it is to be done again.
    """

    def __init__(
        self,
        store: RecordStore[EventT, FactsT, FilterT],
        facts_of: Callable[[EventT], FactsT],
        events: Sequence[EventT],
        *,
        published_beside: bool,
    ) -> None:
        self._store = store
        self._facts_of = facts_of
        self._events = events
        self._published_beside = published_beside
        self._versions = snapshots.distinct(events)
        self._newest = snapshots.newest_of_each(self._versions) if events else []
        self._arrays = store.arrays(self._versions, self._newest) if events else {}
        self._rows: StoredRows = ()

    async def run(self, tx: Transaction) -> None:
        """Store them."""
        if self._events:
            self._rows = await self._store.record(tx, self._versions, self._arrays)

    def recorded(self) -> Recorded[FactsT]:
        """The records whose newest version is another one now, after `run`.

        The changes are in the order of tenant and record, one for a record. A change goes from what was stored before
        to the newest, so versions between them leave no change. Raises RecordedTogether.
        """
        if not self._events:
            return Recorded((), frozenset())
        newest = self._store.with_stored(self._versions, self._newest, self._rows)
        return snapshots.recorded(self._events, newest, self._facts_of, reported_beside=self._published_beside)


_PAGE_DEALS: Final = 2000

_deals: Final = DealStore()
DEALS: Final = Records(_deals, Deal.facts, lambda deal_id: DealNotFound(f"There is no deal {deal_id}."))
ACTIVITIES: Final = Records(
    ActivityStore(), Activity.facts, lambda activity_id: ActivityNotFound(f"There is no activity {activity_id}.")
)


async def tenants(tx: Transaction) -> set[UUID]:
    """The tenants in scope that have deals, or something counted of them."""
    return await uncredited_store.tenants(tx)


async def deal_versions(
    tx: Transaction, tenant_id: UUID, *, after: UUID, until: UUID | None, limit: int
) -> list[tuple[UUID, RecordVersion]]:
    """The newest version of the tenant's next deals by id, up to and with `until`."""
    return await _deals.newest_versions(tx, tenant_id, after=after, until=until, limit=limit)


async def won_or_open_deals(
    tx: Transaction, tenant_id: UUID, users: Collection[CrmUser], *, since: date
) -> AsyncIterator[Sequence[DealFacts]]:
    """The won and open deals that one of the users owns or has a share of, page by page.

    Of won ones those that were closed on the day `since` or later, and maybe some of the day before it.
    """
    after, is_more = UUID(int=0), bool(users)
    while is_more:
        page = await _deals.won_or_open(tx, tenant_id, users, since=since, after=after, limit=_PAGE_DEALS)
        if page:
            yield page
            after = page[-1].deal_id
        is_more = len(page) == _PAGE_DEALS


async def unmapped_owners(
    tx: Transaction, tenant_id: UUID, connection_id: UUID, *, known: Collection[str], limit: int
) -> tuple[list[UnmappedOwner], int]:
    """Owners of a connection's deals that are not `known`, those of most deals first; how many there are in all."""
    return await _deals.unmapped_owners(tx, tenant_id, connection_id, known=known, limit=limit)


async def deals_without_owner(tx: Transaction, tenant_id: UUID, connection_id: UUID) -> int:
    """How many of a connection's deals the source gives to nobody."""
    return await _deals.count_without_owner(tx, tenant_id, connection_id)


async def move_uncredited(tx: Transaction, moved: Mapping[GapKey, GapCount], *, stripe: int) -> None:
    """Count what changed deals change. `stripe` is one that no other consumer writes at the same time."""
    if moved:
        await uncredited_store.move(tx, moved, stripe=stripe)
        await changed(tx, {(key.tenant_id, key.connection_id) for key in moved})


async def recount_users(
    tx: Transaction, tenant_id: UUID, *, gained: Collection[CrmUser], lost: Collection[CrmUser]
) -> None:
    """Have what nobody is credited with follow identities: users who are somebody from now on, or nobody any more.

    The caller holds the tenant's lock alone, so that no deal changes meanwhile.
    """
    if gained:
        connection_ids = await uncredited_store.forget_users(tx, tenant_id, gained)
        await changed(tx, [(tenant_id, connection_id) for connection_id in connection_ids])
    if lost:
        await move_uncredited(tx, await uncredited_store.recount_users(tx, tenant_id, lost), stripe=0)


async def uncredited(tx: Transaction, tenant_id: UUID, connection_id: UUID | None = None) -> Sequence[Uncredited]:
    """What nobody is credited with, of a connection or connection by connection of all of a tenant."""
    return await uncredited_store.sums(tx, tenant_id, connection_id)


async def uncredited_counts(
    tx: Transaction, tenant_id: UUID, known: Collection[CrmUser]
) -> tuple[Mapping[GapKey, GapCount], Mapping[GapKey, GapCount]]:
    """What is counted, and what the deals as they are come to: the same, as long as nobody changes them meanwhile."""
    counted = await uncredited_store.counted(tx, tenant_id)
    return counted, await uncredited_store.recount(tx, tenant_id, known)
