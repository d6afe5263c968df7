"""What a mapping makes of deliveries that were translated before it: tried, and after it is saved carried out.

Carrying it out is work that is stored in Postgres and done in short transactions, so that it goes on after a crash. It
compares what each delivery states under the mapping with what is stored of its deals, so it does not matter which
mapping, or which of several that were saved in between, has really been applied to it.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from services.tracking.intake.connections import service as crm
from services.tracking.intake.connections.domain import Connection
from services.tracking.intake.inbox import record_store, retranslation_store, service, store
from services.tracking.intake.inbox.events import activity_event_of, event_of
from services.tracking.intake.inbox.publishing import Publisher
from services.tracking.intake.inbox.retranslation_store import Retranslation, RetranslationState
from services.tracking.intake.inbox.store import StoredDelivery
from services.tracking.intake.inbox.translation import records_named, statements_in, translated
from services.tracking.intake.sources.canonical import CanonicalActivity, CanonicalDeal
from services.tracking.intake.sources.domain import QuarantineReason, SourceMapping, Untranslatable
from services.tracking.intake.sources.registry import ADAPTERS
from services.tracking.intake.sources.remapping import touched
from services.tracking.records.service import ACTIVITIES, DEALS
from shared.contracts.activities import Activity
from shared.contracts.deals import Deal
from shared.db.database import Transaction

CURABLE: Final = frozenset(
    {QuarantineReason.STAGE_UNMAPPED, QuarantineReason.MISSING_FIELD, QuarantineReason.INVALID_FIELD}
)
"""Why a delivery may be in quarantine that another mapping could translate."""

_CHUNK_DELIVERIES: Final = 100
_CHUNK_BYTES: Final = 4 * 1024 * 1024
_CURABLE_CHUNK: Final = 500
_SETTLED_AFTER: Final = timedelta(seconds=15)
"""A batch that was being translated while the mapping was saved has been committed by then."""
_UNDER_WAY: Final = timedelta(minutes=10)
"""What was translated so long before and has not been recorded waits in the outbox."""

Event = Deal | Activity
_VERSIONED: Final = frozenset({"modified_at", "sequence", "delivery_id", "received_at"})
_CONTENT: Final[Mapping[type[Event], tuple[str, ...]]] = {
    kind: tuple(name for name in kind.model_fields if name not in _VERSIONED) for kind in (Deal, Activity)
}


@dataclass(frozen=True, slots=True)
class Tried:
    """What a delivery comes to under a mapping, and why a record of it cannot be translated: the first that cannot."""

    delivery: StoredDelivery
    deals: Sequence[CanonicalDeal] = ()
    activities: Sequence[CanonicalActivity] = ()
    error: Untranslatable | None = None


async def tried(
    tx: Transaction, connection: Connection, deliveries: Iterable[StoredDelivery], mapping: SourceMapping
) -> list[Tried]:
    """What deliveries of a connection come to under a mapping. Changes nothing."""
    outcomes = []
    for delivery in deliveries:
        statements = statements_in(connection, delivery.origin, delivery.body, mapping)
        records = await record_store.find(tx, set(records_named(connection, statements)))
        translation = translated(connection, statements, records, mapping, delivery.first_received_at)
        service.log_unforeseen(connection, translation)
        error = next(iter(translation.problems), None)
        outcomes.append(Tried(delivery, translation.deals, translation.activities, error))
        # Large bodies take their time: others have theirs in between.
        await asyncio.sleep(0)
    return outcomes


def content(event: Event) -> dict[str, object]:
    """What a deal or an activity states, without which version it is."""
    return {name: _plain(getattr(event, name)) for name in _CONTENT[type(event)]}


@dataclass(frozen=True, slots=True)
class StoredVersions:
    """The newest versions that are stored, by id, and which of their deliveries are copies of which."""

    newest: Mapping[UUID, Event]
    originals: Mapping[UUID, UUID] = field(default_factory=dict)

    def original_of(self, delivery_id: UUID) -> UUID:
        """The delivery that this one is a copy of; itself where it is none."""
        return self.originals.get(delivery_id, delivery_id)


def differs_from_stored(
    events: Sequence[Event], original: UUID, stored: StoredVersions, *, merges_records: bool
) -> bool:
    """Whether a delivery, that of the events or a copy of `original`, has to be translated once more.

    A record that a later version has superseded is left to the delivery of that. One whose version is not stored yet
    was translated, by whichever mapping, and is on its way: it is stated once more, as the later one then counts. Where
    records are merged each delivery includes all before it, so only the content matters.
    """
    return any(_differs(event, original, stored, merges_records=merges_records) for event in events)


def _differs(event: Event, original: UUID, stored: StoredVersions, *, merges_records: bool) -> bool:
    newest = stored.newest.get(event.id)
    if newest is None:
        return True
    if merges_records:
        return content(newest) != content(event)
    # Versions of the same time are in the order of the deliveries that first stated them, whatever copies were made of
    # these since: a copy may have come to count before a delivery that is on its way.
    version, newest_version = _version(event, original), _version(newest, stored.original_of(newest.delivery_id))
    if newest_version != version:
        return newest_version < version
    if newest.delivery_id == event.delivery_id:
        return content(newest) != content(event)
    return newest.delivery_id < event.delivery_id


def _version(event: Event, delivery_id: UUID) -> tuple[datetime, int, UUID]:
    return (event.modified_at, event.sequence, delivery_id)


async def begin(tx: Transaction, connection: Connection, before: SourceMapping) -> None:
    """Have the connection's mapping applied to what was translated before; called whenever one is saved.

    First to what it translates otherwise than the mapping `before`, and the mappings before that are not applied yet.
    """
    is_about = touched(before, connection.mapping)
    under_way = await retranslation_store.find(tx, connection.tenant_id, connection.id, is_locked=True)
    if under_way is not None and under_way.finished_at is None:
        is_about |= under_way.touched
    await retranslation_store.save(
        tx, connection.tenant_id, connection.id, version=connection.version, touched=is_about
    )


async def find(tx: Transaction, tenant_id: UUID, connection_id: UUID) -> Retranslation | None:
    """What the mapping of a connection that was saved last has come to; None when none was saved after the first."""
    return await retranslation_store.find(tx, tenant_id, connection_id)


async def count_curable(tx: Transaction, tenant_id: UUID, connection_id: UUID) -> int:
    """How many deliveries in quarantine are translated again when a mapping is saved."""
    return await retranslation_store.count_curable(tx, tenant_id, connection_id, reasons=CURABLE)


async def step(tx: Transaction, publisher: Publisher) -> Retranslation | None:
    """Do one piece of the work that has waited longest, in one transaction; how far it is, None when nothing is due.

    What a mapping is about comes before what it is not about, of whichever connection. What is translated otherwise now
    is translated in the same transaction: it does not wait behind what the connection is being sent. A mapping that is
    saved meanwhile starts the work of its connection anew.
    """
    work = await retranslation_store.claim(tx)
    if work is None:
        return None
    connection = await crm.get(tx, work.tenant_id, work.connection_id)
    match work.state:
        case RetranslationState.WAITING:
            queued = await retranslation_store.queue_touched(tx, work, source=connection.identity_source)
            work = replace(work, state=RetranslationState.TOUCHED, started_at=tx.now, total=queued)
            work = await _walked(tx, publisher, connection, work)
        case RetranslationState.SETTLING:
            queued = await retranslation_store.queue_under_way(tx, work, margin=_UNDER_WAY)
            work = replace(work, state=RetranslationState.FINISHING, total=work.total + queued)
        case _:
            work = await _walked(tx, publisher, connection, work)
    work = replace(work, due_at=max(work.due_at, tx.now))
    await retranslation_store.update(tx, work)
    return work


async def next_due_at(tx: Transaction) -> datetime | None:
    """When the next piece of work is due, of the tenants in scope; None when none is left."""
    return await retranslation_store.next_due_at(tx)


async def _received_again(tx: Transaction, publisher: Publisher, work: Retranslation) -> Retranslation:
    """With a chunk of what is in quarantine translated again."""
    waiting = await store.claim_quarantined(
        tx,
        work.tenant_id,
        work.connection_id,
        reasons=CURABLE,
        before=work.started_at or tx.now,
        count_max=_CURABLE_CHUNK,
        bytes_max=_CHUNK_BYTES,
    )
    await service.translate(tx, publisher, waiting)
    return replace(work, received_again=work.received_again + len(waiting))


async def _walked(tx: Transaction, publisher: Publisher, connection: Connection, work: Retranslation) -> Retranslation:
    """A chunk further, or at the end of the walk."""
    before = work.received_again
    work = await _received_again(tx, publisher, work)
    delivery_ids = await retranslation_store.next_queued(tx, work, count_max=_CHUNK_DELIVERIES, bytes_max=_CHUNK_BYTES)
    if not delivery_ids and work.received_again == before:
        return await _walked_to_the_end(tx, work)
    deliveries = await store.with_bodies(tx, work.tenant_id, delivery_ids)
    outcomes = await tried(tx, connection, deliveries, connection.mapping)
    changed = await _changed(tx, connection, outcomes)
    copies = await store.copies(tx, work.tenant_id, changed)
    await service.translate(
        tx, publisher, await store.claim_copies(tx, work.tenant_id, copies, bytes_max=2 * _CHUNK_BYTES)
    )
    if work.state is RetranslationState.TOUCHED:
        await retranslation_store.set_aside(tx, work, delivery_ids)
    else:
        await retranslation_store.forget(tx, work, delivery_ids)
    return replace(
        work,
        done=work.done + len(delivery_ids),
        changed=work.changed + len(changed),
        untranslatable=work.untranslatable + sum(each.error is not None for each in outcomes),
        dropped=work.dropped + len(delivery_ids) - len(deliveries),
    )


async def _walked_to_the_end(tx: Transaction, work: Retranslation) -> Retranslation:
    """What follows when nothing is left to look at."""
    match work.state:
        case RetranslationState.TOUCHED:
            queued = await retranslation_store.queue_newest(tx, work)
            return replace(work, state=RetranslationState.RUNNING, total=work.total + queued)
        case RetranslationState.RUNNING:
            await retranslation_store.forget_all(tx, work)
            settled_at = (work.started_at or tx.now) + _SETTLED_AFTER
            return replace(work, state=RetranslationState.SETTLING, due_at=settled_at)
        case _:
            return replace(work, state=RetranslationState.DONE, finished_at=tx.now)


async def _changed(tx: Transaction, connection: Connection, outcomes: Sequence[Tried]) -> list[UUID]:
    """Those of the deliveries that state something else than is stored."""
    events = {each.delivery.id: _events(connection, each) for each in outcomes}
    deal_ids = {event.id for of_delivery in events.values() for event in of_delivery if isinstance(event, Deal)}
    activity_ids = {event.id for of_delivery in events.values() for event in of_delivery if isinstance(event, Activity)}
    newest: dict[UUID, Event] = {
        **await DEALS.newest(tx, connection.tenant_id, deal_ids),
        **await ACTIVITIES.newest(tx, connection.tenant_id, activity_ids),
    }
    brought_by = {(connection.tenant_id, event.delivery_id) for event in newest.values()}
    originals = {
        delivery_id: original for (_, delivery_id), original in (await store.originals(tx, brought_by)).items()
    }
    stored, merges_records = StoredVersions(newest, originals), ADAPTERS[connection.source].merges_records
    return [
        each.delivery.id
        for each in outcomes
        if differs_from_stored(events[each.delivery.id], each.delivery.original, stored, merges_records=merges_records)
    ]


def _events(connection: Connection, outcome: Tried) -> list[Event]:
    delivery_id, received_at = outcome.delivery.id, outcome.delivery.received_at
    return [
        *(event_of(deal, connection, delivery_id=delivery_id, received_at=received_at) for deal in outcome.deals),
        *(
            activity_event_of(activity, connection, delivery_id=delivery_id, received_at=received_at)
            for activity in outcome.activities
        ),
    ]


def _plain(value: object) -> object:
    return tuple(vars(each) for each in value) if isinstance(value, tuple) else value
