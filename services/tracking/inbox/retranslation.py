"""What a mapping makes of deliveries that were translated before it: tried, and after it is saved carried out.

Carrying it out is work that stands in Postgres and is done in short transactions, so that it goes on after a crash. It
compares what each delivery says under the mapping with what is held of its deals, so it does not matter which mapping,
or which of several that were saved in between, has really been applied to it.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from services.tracking.activities import service as activities_service
from services.tracking.crm import service as crm
from services.tracking.crm.canonical import CanonicalActivity, CanonicalDeal, activity_event_of, event_of
from services.tracking.crm.domain import Connection, QuarantineReason, SourceMapping, Untranslatable
from services.tracking.crm.sources import ADAPTERS
from services.tracking.deals import service as deals_service
from services.tracking.inbox import record_store, retranslation_store, store
from services.tracking.inbox.retranslation_store import RETRANSLATION_CHANNEL, Retranslation, RetranslationState
from services.tracking.inbox.store import Kept
from services.tracking.inbox.translation import records_named, said, translated
from shared.contracts.activities import Activity
from shared.contracts.deals import Deal
from shared.db.database import Database, Scope, Transaction
from shared.kernel.errors import Unavailable
from shared.telemetry.logs import get_logger

CURABLE: Final = frozenset(
    {QuarantineReason.STAGE_UNMAPPED, QuarantineReason.MISSING_FIELD, QuarantineReason.INVALID_FIELD}
)
"""Why a delivery may be in quarantine that another mapping could translate."""

_CHUNK_DELIVERIES: Final = 100
_CHUNK_BYTES: Final = 4 * 1024 * 1024
_CURABLE_CHUNK: Final = 1000
_SETTLED_AFTER: Final = timedelta(seconds=15)
"""A batch that was being translated while the mapping was saved has been committed by then."""
_UNDER_WAY: Final = timedelta(minutes=10)
"""What was translated so long before and has not been recorded waits in the outbox."""
_POLL_SECONDS: Final = 5.0
_FAILURE_SECONDS: Final = 1.0
_log = get_logger(__name__)

Event = Deal | Activity
_VERSIONED: Final = frozenset({"modified_at", "sequence", "delivery_id", "received_at"})
_CONTENT: Final[Mapping[type[Event], tuple[str, ...]]] = {
    kind: tuple(name for name in kind.model_fields if name not in _VERSIONED) for kind in (Deal, Activity)
}


@dataclass(frozen=True, slots=True)
class Tried:
    """What a delivery comes to under a mapping: deals and activities, or why it cannot be translated."""

    delivery: Kept
    deals: Sequence[CanonicalDeal] = ()
    activities: Sequence[CanonicalActivity] = ()
    error: Untranslatable | None = None


async def tried(
    tx: Transaction, connection: Connection, deliveries: Iterable[Kept], mapping: SourceMapping
) -> list[Tried]:
    """What deliveries of a connection come to under a mapping. Changes nothing."""
    outcomes = []
    for delivery in deliveries:
        try:
            statements = said(connection, delivery.origin, delivery.body, mapping)
            records = await record_store.find(tx, set(records_named(connection, statements)))
            translation = translated(connection, statements, records, mapping, delivery.received_at)
            outcomes.append(Tried(delivery, translation.deals, translation.activities))
        except Untranslatable as error:
            outcomes.append(Tried(delivery, error=error))
        # Large bodies take their time: others have theirs in between.
        await asyncio.sleep(0)
    return outcomes


def content(event: Event) -> dict[str, object]:
    """What a deal or an activity says, without which version it is."""
    return {name: _plain(getattr(event, name)) for name in _CONTENT[type(event)]}


@dataclass(frozen=True, slots=True)
class Held:
    """The newest versions that are held, by id, and which of their deliveries are copies of which."""

    newest: Mapping[UUID, Event]
    originals: Mapping[UUID, UUID] = field(default_factory=dict)

    def original_of(self, delivery_id: UUID) -> UUID:
        """The delivery that this one is a copy of; itself where it is none."""
        return self.originals.get(delivery_id, delivery_id)


def says_something_else(events: Sequence[Event], original: UUID, held: Held, *, merges_records: bool) -> bool:
    """Whether a delivery, that of the events or a copy of `original`, has to be translated once more.

    A record that a later version has overtaken is left to the delivery of that. One whose version is not held yet was
    translated, by whichever mapping, and is on its way: it is said once more, as the later one then counts. Where
    records are merged each delivery speaks for all before it, so only what is said matters.
    """
    return any(_differs(event, original, held, merges_records=merges_records) for event in events)


def _differs(event: Event, original: UUID, held: Held, *, merges_records: bool) -> bool:
    newest = held.newest.get(event.id)
    if newest is None:
        return True
    if merges_records:
        return content(newest) != content(event)
    # Versions of the same time are in the order of the deliveries that first said them, whatever copies were made of
    # these since: a copy may have come to count before a delivery that is on its way.
    told, held_told = _version(event, original), _version(newest, held.original_of(newest.delivery_id))
    if held_told != told:
        return held_told < told
    if newest.delivery_id == event.delivery_id:
        return content(newest) != content(event)
    return newest.delivery_id < event.delivery_id


def _version(event: Event, delivery_id: UUID) -> tuple[datetime, int, UUID]:
    return (event.modified_at, event.sequence, delivery_id)


async def begin(tx: Transaction, connection: Connection) -> None:
    """Have the connection's mapping applied to what was translated before; called whenever one is saved."""
    await retranslation_store.save(tx, connection.tenant_id, connection.id, version=connection.version)


async def find(tx: Transaction, tenant_id: UUID, connection_id: UUID) -> Retranslation | None:
    """What the mapping of a connection that was saved last has come to; None when none was saved after the first."""
    return await retranslation_store.find(tx, tenant_id, connection_id)


async def count_curable(tx: Transaction, tenant_id: UUID, connection_id: UUID) -> int:
    """How many deliveries in quarantine are translated again when a mapping is saved."""
    return await retranslation_store.count_curable(tx, tenant_id, connection_id, reasons=CURABLE)


async def step(tx: Transaction) -> Retranslation | None:
    """Do one piece of the work that has waited longest, in one transaction; how far it is, None when nothing is due.

    A mapping that is saved meanwhile starts the work of its connection anew.
    """
    work = await retranslation_store.claim(tx)
    if work is None:
        return None
    connection = await crm.get(tx, work.tenant_id, work.connection_id)
    match work.state:
        case RetranslationState.WAITING:
            work = replace(
                work,
                state=RetranslationState.RUNNING,
                started_at=tx.now,
                total=await retranslation_store.queue_newest(tx, work),
            )
            work = await _received_again(tx, work)
        case RetranslationState.SETTLING:
            queued = await retranslation_store.queue_under_way(tx, work, margin=_UNDER_WAY)
            work = replace(work, state=RetranslationState.FINISHING, total=work.total + queued)
        case _:
            work = await _walked(tx, connection, work)
    work = replace(work, due_at=max(work.due_at, tx.now))
    await retranslation_store.update(tx, work)
    return work


async def _received_again(tx: Transaction, work: Retranslation) -> Retranslation:
    """With a chunk of what is in quarantine on its way to be translated again."""
    count = await retranslation_store.receive_curable(
        tx, work, reasons=CURABLE, before=work.started_at or tx.now, count_max=_CURABLE_CHUNK
    )
    if count:
        await tx.notify(store.INBOX_CHANNEL)
    return replace(work, received_again=work.received_again + count)


async def _walked(tx: Transaction, connection: Connection, work: Retranslation) -> Retranslation:
    """A chunk further, or at the end of the walk."""
    before = work.received_again
    work = await _received_again(tx, work)
    delivery_ids = await retranslation_store.next_queued(tx, work, count_max=_CHUNK_DELIVERIES, bytes_max=_CHUNK_BYTES)
    if not delivery_ids and work.received_again == before:
        if work.state is RetranslationState.RUNNING:
            settled_at = (work.started_at or tx.now) + _SETTLED_AFTER
            return replace(work, state=RetranslationState.SETTLING, due_at=settled_at)
        return replace(work, state=RetranslationState.DONE, finished_at=tx.now)
    kept = await store.kept(tx, work.tenant_id, delivery_ids)
    outcomes = await tried(tx, connection, kept, connection.mapping)
    changed = await _changed(tx, connection, outcomes)
    await store.copies(tx, work.tenant_id, changed)
    await retranslation_store.forget(tx, work, delivery_ids)
    return replace(
        work,
        done=work.done + len(delivery_ids),
        changed=work.changed + len(changed),
        untranslatable=work.untranslatable + sum(each.error is not None for each in outcomes),
        dropped=work.dropped + len(delivery_ids) - len(kept),
    )


async def _changed(tx: Transaction, connection: Connection, outcomes: Sequence[Tried]) -> list[UUID]:
    """Those of the deliveries that say something else than is held."""
    events = {each.delivery.id: _events(connection, each) for each in outcomes}
    deal_ids = {event.id for said_by in events.values() for event in said_by if isinstance(event, Deal)}
    activity_ids = {event.id for said_by in events.values() for event in said_by if isinstance(event, Activity)}
    newest: dict[UUID, Event] = {
        **await deals_service.newest(tx, connection.tenant_id, deal_ids),
        **await activities_service.newest(tx, connection.tenant_id, activity_ids),
    }
    copies = await store.originals(tx, connection.tenant_id, {event.delivery_id for event in newest.values()})
    held, merges_records = Held(newest, copies), ADAPTERS[connection.source].merges_records
    return [
        each.delivery.id
        for each in outcomes
        if says_something_else(events[each.delivery.id], each.delivery.original, held, merges_records=merges_records)
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


class Retranslator:
    """Carries out what saved mappings change; a worker component. Any number may run."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Work until `stop`, woken whenever a mapping is saved. Waits out a database that is away."""
        async with self._database.listen(RETRANSLATION_CHANNEL) as notifications:
            while not self._stopping.is_set():
                try:
                    more = await self.step_once()
                except Unavailable as error:
                    _log.warning("retranslation_interrupted", reason=error.detail)
                    await self._rest(_FAILURE_SECONDS)
                    continue
                if not more and not self._stopping.is_set():
                    await notifications.wait(_POLL_SECONDS)

    async def stop(self) -> None:
        """Finish the chunk under way; `run` returns within the time of a poll."""
        self._stopping.set()

    async def step_once(self) -> bool:
        """Do one piece of work; whether to come again at once. Raises Unavailable."""
        return await self._database.run(Scope.every(), step) is not None

    async def _rest(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            return
