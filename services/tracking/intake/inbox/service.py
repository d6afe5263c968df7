"""Working deliveries off: translated into deal events, or put in quarantine; listed, replayed, dropped in time."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

from pydantic import JsonValue

from services.tracking.intake.connections import service as crm
from services.tracking.intake.connections import users
from services.tracking.intake.connections.domain import Connection
from services.tracking.intake.inbox import fetching, record_store, state_store, store
from services.tracking.intake.inbox.disclosure import members_of
from services.tracking.intake.inbox.domain.backlog import Backlog
from services.tracking.intake.inbox.domain.deliveries import (
    NOT_COUNTED,
    Arrival,
    BodyDropped,
    Delivery,
    DeliveryDiscarded,
    DeliveryNotDiscarded,
    DeliveryNotFound,
    DeliveryNotQuarantined,
    DeliveryState,
    DeliveryWaiting,
    Problem,
    printable,
)
from services.tracking.intake.inbox.events import activity_event_of, event_of
from services.tracking.intake.inbox.fetch_store import Ask
from services.tracking.intake.inbox.publishing import Publisher, Stated
from services.tracking.intake.inbox.state_store import QuarantinedFor, RemarkedOf
from services.tracking.intake.inbox.store import Chosen, Outcome, StoredDelivery, Waiting
from services.tracking.intake.inbox.translation import Records, Translation, records_named, statements_in, translated
from services.tracking.intake.sources.adapter import SeenUser
from services.tracking.intake.sources.canonical import CanonicalActivity, CanonicalDeal
from services.tracking.intake.sources.domain import QuarantineReason, Remark, Source, SourceMapping
from services.tracking.intake.sources.registry import ADAPTERS
from services.tracking.records.changes import changed
from services.tracking.records.service import ACTIVITIES, DEALS
from shared.contracts.activities import Activity
from shared.contracts.deals import Deal
from shared.db.database import Transaction
from shared.kernel.deals import RecordVersion
from shared.kernel.ids import activity_id, deal_id
from shared.kernel.sight import Sight
from shared.telemetry.logs import get_logger
from shared.telemetry.metrics import WEBHOOK_QUARANTINED

_log = get_logger(__name__)

DISCARDED_MAX: Final = 10_000
"""By one call."""
BATCH_DELIVERIES_MAX: Final = 500
BATCH_BYTES_MAX: Final = 4 * 1024 * 1024
TRANSLATED_AT_ONCE_MAX: Final = 4
TRANSLATED_BYTES_MAX: Final = 64 * 1024
"""Of a group that is translated as it is stored: it must not hold up the next one."""
FIRST_ID: Final = UUID(int=0)
REMARKS_MAX: Final = 50
PROBLEMS_MAX: Final = 100


class Discarded(NamedTuple):
    """What a call discarded, by which id that can be undone, and how many are left that it was meant for."""

    discard_id: UUID
    deliveries: int
    left: int


@dataclass(frozen=True, slots=True)
class RecordDelivery:
    """What of a delivery is shown to who sees one record in it.

    `members` is None where the body is past its time of retention, and where they cannot be told apart from others.
    """

    delivery: Delivery
    source: Source
    is_body_kept: bool
    members: JsonValue


async def receive(
    tx: Transaction, publisher: Publisher, arrivals: Sequence[Arrival], *, is_translating: bool = True
) -> dict[UUID, int]:
    """Store deliveries, in the order given; how many were not stored already, by connection.

    `is_translating`: few and small ones are translated in the same transaction, unless what is stored of their records
    is needed for it. All others wait to be.
    """
    ids = [tx.new_id() for _ in arrivals]
    batch: list[_Translating] = []
    is_small = sum(len(each.body) for each in arrivals) <= TRANSLATED_BYTES_MAX
    if is_translating and is_small and len(arrivals) <= TRANSLATED_AT_ONCE_MAX:
        connections = await crm.by_id(tx, {each.sender.connection_id for each in arrivals})
        batch = [
            _Translating(Waiting.arrived(each, delivery_id, tx.now), connections[each.sender.connection_id])
            for each, delivery_id in zip(arrivals, ids, strict=True)
        ]
        if any(True for each in batch for _ in records_named(each.connection, each.statements)):
            batch = []
    stored = await store.add(tx, arrivals, ids, is_left_waiting=not batch)
    new = {delivery_id for found in stored.values() for delivery_id in found}
    translated_now = [each for each in batch if each.delivery.id in new]
    for each in translated_now:
        each.finish({})
    if translated_now:
        await _settle(tx, publisher, translated_now)
    return {connection_id: len(found) for connection_id, found in stored.items()}


async def translate_waiting(tx: Transaction, publisher: Publisher, *, after: UUID) -> list[Outcome]:
    """Turn a batch of waiting deliveries into events in the outbox, or put them in quarantine, in one transaction.

    Oldest first among those later than `after`; what they became, in that order. A delivery that cannot be translated
    does not hold up its neighbours.
    """
    waiting = await store.claim(tx, after=after, count_max=BATCH_DELIVERIES_MAX, bytes_max=BATCH_BYTES_MAX)
    return await translate(tx, publisher, waiting)


async def translate(tx: Transaction, publisher: Publisher, waiting: Sequence[Waiting]) -> list[Outcome]:
    """The same for deliveries that were claimed in this transaction, in the order given."""
    if not waiting:
        return []
    connections = await crm.by_id(tx, {each.connection_id for each in waiting})
    batch = [_Translating(each, connections[each.connection_id]) for each in waiting]
    records = await record_store.lock(
        tx, {key for each in batch for key in records_named(each.connection, each.statements)}
    )
    for each in batch:
        each.finish(records)
    if any(each.delivery.replay_of is not None for each in batch):
        await _leave_out_superseded(tx, batch)
    await record_store.save(tx, records)
    return await _settle(tx, publisher, batch)


async def _settle(tx: Transaction, publisher: Publisher, batch: Sequence["_Translating"]) -> list[Outcome]:
    """Publish what deliveries say, have asked for what they only name, and record what became of each."""
    await publisher.publish(tx, [stated for each in batch for stated in each.stated()])
    await fetching.ask(tx, [ask for each in batch for ask in each.asks()])
    await users.seen(tx, _users(batch))
    outcomes = [each.outcome() for each in batch]
    await store.settle(tx, outcomes)
    # One that was translated changes nothing that is looked at.
    await changed(
        tx,
        [
            (outcome.tenant_id, each.connection.id)
            for each, outcome in zip(batch, outcomes, strict=True)
            if outcome.state is DeliveryState.QUARANTINED or outcome.remarks
        ],
    )
    return outcomes


async def page(
    tx: Transaction,
    tenant_id: UUID,
    *,
    state: DeliveryState | None,
    connection_id: UUID | None,
    before: UUID | None,
    limit: int,
) -> Sequence[Delivery]:
    """Deliveries of the tenant, newest first, without their bodies."""
    return await store.page(tx, tenant_id, state=state, connection_id=connection_id, before=before, limit=limit)


async def newest_stored(
    tx: Transaction,
    tenant_id: UUID,
    connection_id: UUID,
    *,
    reason: str | None = None,
    count_max: int,
    bytes_max: int,
) -> Sequence[StoredDelivery]:
    """The newest deliveries of a connection whose bodies are still there, oldest first, of all or of one reason."""
    return await store.newest_stored(
        tx, tenant_id, connection_id, reason=reason, count_max=count_max, bytes_max=bytes_max
    )


async def get(tx: Transaction, tenant_id: UUID, delivery_id: UUID) -> Delivery:
    """A delivery with its headers and body. Raises DeliveryNotFound."""
    delivery = await store.find(tx, tenant_id, delivery_id)
    if delivery is None:
        raise DeliveryNotFound(f"There is no delivery {delivery_id}.")
    return delivery


async def replay(tx: Transaction, tenant_id: UUID, delivery_id: UUID) -> Delivery:
    """Have a delivery translated again, with the mapping as it is then; the delivery that waits for it.

    A quarantined one waits again itself. One that was translated already gets a copy: deals keep the newest version,
    and the copy's later id is what makes its version newer than the one that was translated before. Raises
    DeliveryNotFound, DeliveryWaiting, DeliveryDiscarded and BodyDropped.
    """
    delivery = await get(tx, tenant_id, delivery_id)
    if delivery.state is DeliveryState.RECEIVED:
        raise DeliveryWaiting("The delivery waits to be translated already.")
    if delivery.state is DeliveryState.DISCARDED:
        raise DeliveryDiscarded("The delivery was discarded; restore it first.")
    if delivery.body is None:
        raise BodyDropped("The body of this delivery is past its time of retention.")
    await changed(tx, [(tenant_id, delivery.connection_id)])
    if delivery.state is DeliveryState.QUARANTINED:
        await store.receive_again(tx, tenant_id, [delivery_id])
        return await get(tx, tenant_id, delivery_id)
    (copy_id,) = await store.copies(tx, tenant_id, [delivery_id])
    await store.wake(tx)
    return await get(tx, tenant_id, copy_id)


async def replay_quarantined(tx: Transaction, tenant_id: UUID, connection_id: UUID) -> int:
    """Have every quarantined delivery of a connection translated again; how many. Raises ConnectionNotFound."""
    await crm.get(tx, tenant_id, connection_id)
    await changed(tx, [(tenant_id, connection_id)])
    return await store.receive_quarantined_again(tx, tenant_id, connection_id)


async def receive_again(
    tx: Transaction, tenant_id: UUID, connection_id: UUID, reasons: Collection[QuarantineReason]
) -> int:
    """Have a connection's deliveries translated again that are in quarantine for one of these reasons; how many."""
    await changed(tx, [(tenant_id, connection_id)])
    return await store.receive_quarantined_again(tx, tenant_id, connection_id, reasons=reasons)


async def discard(tx: Transaction, tenant_id: UUID, delivery_id: UUID, *, reason: str, by: UUID | None) -> Delivery:
    """Take a delivery out of quarantine that will never be of use; kept with its body, as any, and not replayed.

    `by`: the person; None for a service. Raises DeliveryNotFound and DeliveryNotQuarantined.
    """
    delivery = await get(tx, tenant_id, delivery_id)
    chosen = Chosen(delivery.connection_id, delivery_ids=(delivery_id,))
    if not await store.discard(tx, tenant_id, tx.new_id(), chosen, reason=reason, by=by, count_max=1):
        raise DeliveryNotQuarantined(f"The delivery is {delivery.state.value}; one in quarantine can be discarded.")
    await changed(tx, [(tenant_id, delivery.connection_id)])
    return await get(tx, tenant_id, delivery_id)


async def discard_chosen(
    tx: Transaction, tenant_id: UUID, chosen: Chosen, *, reason: str, by: UUID | None
) -> Discarded:
    """Discard a connection's quarantined deliveries, the oldest first, DISCARDED_MAX at most.

    Raises ConnectionNotFound.
    """
    await crm.get(tx, tenant_id, chosen.connection_id)
    discard_id = tx.new_id()
    count = await store.discard(tx, tenant_id, discard_id, chosen, reason=reason, by=by, count_max=DISCARDED_MAX)
    await changed(tx, [(tenant_id, chosen.connection_id)])
    return Discarded(discard_id, count, await store.count_chosen(tx, tenant_id, chosen))


async def restore(tx: Transaction, tenant_id: UUID, delivery_id: UUID, *, by: UUID | None) -> Delivery:
    """Put a discarded delivery back in quarantine. Raises DeliveryNotFound and DeliveryNotDiscarded."""
    delivery = await get(tx, tenant_id, delivery_id)
    if not await _restored(tx, tenant_id, delivery_id=delivery_id, by=by):
        raise DeliveryNotDiscarded(f"The delivery is {delivery.state.value}; only a discarded one can be restored.")
    return await get(tx, tenant_id, delivery_id)


async def restore_discard(tx: Transaction, tenant_id: UUID, discard_id: UUID, *, by: UUID | None) -> int:
    """Put back in quarantine what one call discarded and nobody has restored since; how many."""
    return await _restored(tx, tenant_id, discard_id=discard_id, by=by)


async def _restored(
    tx: Transaction,
    tenant_id: UUID,
    *,
    delivery_id: UUID | None = None,
    discard_id: UUID | None = None,
    by: UUID | None,
) -> int:
    connection_ids = await store.restore(tx, tenant_id, delivery_id=delivery_id, discard_id=discard_id, by=by)
    await changed(tx, [(tenant_id, connection_id) for connection_id in connection_ids])
    return len(connection_ids)


async def preview(tx: Transaction, tenant_id: UUID, delivery_id: UUID, mapping: SourceMapping | None) -> Translation:
    """What a stored delivery translates to, with a mapping that is not saved or with the connection's; stores nothing.

    Raises DeliveryNotFound and BodyDropped.
    """
    (delivery,) = await store.with_bodies(tx, tenant_id, [delivery_id]) or (None,)
    if delivery is None:
        await get(tx, tenant_id, delivery_id)
        raise BodyDropped("The body of this delivery is past its time of retention.")
    connection = await crm.get(tx, tenant_id, delivery.connection_id)
    tried = mapping or connection.mapping
    statements = statements_in(connection, delivery.origin, delivery.body, tried)
    records = await record_store.find(tx, set(records_named(connection, statements)))
    translation = translated(connection, statements, records, tried, delivery.first_received_at)
    log_unforeseen(connection, translation)
    return translation


def log_unforeseen(connection: Connection, translation: Translation) -> None:
    """Log where an adapter failed in a way that it did not foresee: a fault of ours, not of the source."""
    for problem in translation.problems:
        if problem.reason is QuarantineReason.ADAPTER_FAILED:
            _log.error("adapter_failed", source=connection.source.value, exc_info=problem.__cause__)


async def of_deal(tx: Transaction, tenant_id: UUID, sight: Sight, deal_id: UUID, delivery_id: UUID) -> RecordDelivery:
    """A delivery that brought a version of a deal, with what is the deal's in it.

    Raises DealNotFound, also for one that is out of sight, and DeliveryNotFound for one that brought no version of it.
    """
    return await _of_record(
        tx, await DEALS.brought_by(tx, tenant_id, sight, deal_id, delivery_id), tenant_id, delivery_id
    )


async def of_activity(
    tx: Transaction, tenant_id: UUID, sight: Sight, activity_id: UUID, delivery_id: UUID
) -> RecordDelivery:
    """A delivery that brought a version of an activity, with what is the activity's in it.

    Raises ActivityNotFound, also for one that is out of sight, and DeliveryNotFound for one that brought none of it.
    """
    return await _of_record(
        tx, await ACTIVITIES.brought_by(tx, tenant_id, sight, activity_id, delivery_id), tenant_id, delivery_id
    )


async def _of_record(
    tx: Transaction, record: Deal | Activity | None, tenant_id: UUID, delivery_id: UUID
) -> RecordDelivery:
    if record is None:
        raise DeliveryNotFound(f"No delivery {delivery_id} brought a version of it.")
    delivery = await get(tx, tenant_id, delivery_id)
    connection = await crm.get(tx, tenant_id, delivery.connection_id)
    (stored,) = await store.with_bodies(tx, tenant_id, [delivery_id]) or (None,)
    members = None if stored is None else members_of(connection, stored.origin, stored.body, record.external_id)
    return RecordDelivery(delivery, connection.source, stored is not None, members)


async def quarantine(tx: Transaction, tenant_id: UUID, connection_id: UUID) -> Sequence[QuarantinedFor]:
    """Why deliveries of a connection are in quarantine, the most frequent reason first."""
    return await state_store.quarantine(tx, tenant_id, connection_id)


async def quarantined(tx: Transaction, tenant_id: UUID, connection_id: UUID) -> int:
    """How many deliveries of a connection are in quarantine."""
    return await state_store.quarantined(tx, tenant_id, connection_id)


async def backlog(tx: Transaction, tenant_id: UUID, connection_id: UUID) -> Backlog:
    """What of a connection is not translated yet."""
    return await state_store.backlog(tx, tenant_id, connection_id)


async def remarks(
    tx: Transaction, tenant_id: UUID, connection_id: UUID, *, since: datetime, limit: int
) -> Sequence[RemarkedOf]:
    """What there is to remark on a connection's newest deliveries since a moment, of each kind."""
    return await state_store.remarks(tx, tenant_id, connection_id, since=since, limit=limit)


async def keep_months(tx: Transaction, *, before: datetime) -> None:
    """Drop the bodies and headers of the months that ended before the one of a moment; see to the months to come.

    Not those in quarantine and those that wait: see `drop_bodies_in_rows`.
    """
    await store.keep_months(tx, before=before)


async def drop_bodies_in_rows(tx: Transaction, *, before: datetime, count_max: int) -> int:
    """Drop what of translated and discarded deliveries received before a moment stands in their rows; how many.

    That is what a release before stored, and what was in quarantine when its month was dropped.
    """
    return await store.drop_bodies_in_rows(tx, before=before, count_max=count_max)


class _Translating:
    """One delivery of a batch on its way."""

    def __init__(self, delivery: Waiting, connection: Connection) -> None:
        self.delivery = delivery
        self.connection = connection
        self.statements = statements_in(connection, delivery.origin, delivery.body, connection.mapping)
        self.translation = Translation()

    def finish(self, records: Records) -> None:
        """Merge what it changes, and translate."""
        self.translation = translated(
            self.connection, self.statements, records, self.connection.mapping, self.delivery.first_received_at
        )
        log_unforeseen(self.connection, self.translation)

    def stated(self) -> list[Stated]:
        """The versions of records that it states."""
        delivery_id, received_at = self.delivery.id, self.delivery.received_at
        events: list[Deal | Activity] = [
            *(
                event_of(deal, self.connection, delivery_id=delivery_id, received_at=received_at)
                for deal in self.translation.deals
            ),
            *(
                activity_event_of(activity, self.connection, delivery_id=delivery_id, received_at=received_at)
                for activity in self.translation.activities
            ),
        ]
        return [Stated(event, self.delivery.traceparent) for event in events]

    def key_of(self, record: CanonicalDeal | CanonicalActivity) -> tuple[UUID, UUID]:
        """The tenant and the id of a deal or an activity that it states."""
        of_kind = deal_id if isinstance(record, CanonicalDeal) else activity_id
        return self.delivery.tenant_id, of_kind(self.connection.id, record.external_id)

    def is_superseded(
        self, record: CanonicalDeal | CanonicalActivity, newest: Mapping[tuple[UUID, UUID], RecordVersion]
    ) -> bool:
        """Whether something newer is stored of a record than what its delivery, or the original of that, states."""
        version = RecordVersion(record.modified_at, record.sequence, self.delivery.replay_of or self.delivery.id)
        stored = newest.get(self.key_of(record))
        return stored is not None and version < stored

    def asks(self) -> list[Ask]:
        """What is to be asked for because of it."""
        return [
            Ask(
                self.delivery.tenant_id,
                self.connection.id,
                fetch.object_name,
                fetch.external_id,
                fetch.floor,
                self.delivery.id,
            )
            for fetch in self.translation.fetches
        ]

    def outcome(self) -> Outcome:
        """What became of it. One of several records that cannot be translated puts it in quarantine for that one."""
        translation = self.translation
        problems = [Problem.of(each) for each in translation.problems]
        remarks = [_printable_remark(each) for each in translation.remarks[:REMARKS_MAX]]
        outcome = Outcome(
            self.delivery.tenant_id,
            self.delivery.id,
            DeliveryState.TRANSLATED,
            deals=len(translation.deals),
            remarks=remarks,
        )
        if problems:
            first = problems[0]
            WEBHOOK_QUARANTINED.labels(self.connection.source.value, first.reason).inc()
            is_alone = len(problems) == 1 and not (translation.deals or translation.activities)
            several = () if is_alone else problems[:PROBLEMS_MAX]
            return outcome._replace(
                state=DeliveryState.QUARANTINED,
                reason=first.reason,
                pointer=first.pointer,
                detail=first.detail,
                problems=several,
            )
        if translation.passed_over and not (translation.deals or translation.activities or translation.fetches):
            about = printable(", ".join(translation.passed_over))
            return outcome._replace(reason=NOT_COUNTED, detail=about)
        return outcome


def _users(batch: Sequence[_Translating]) -> Mapping[tuple[UUID, UUID], Sequence[SeenUser]]:
    """What the batch tells of users, by tenant and connection."""
    seen: dict[tuple[UUID, UUID], list[SeenUser]] = {}
    for each in batch:
        if each.translation.users:
            seen.setdefault((each.delivery.tenant_id, each.connection.id), []).extend(each.translation.users)
    return seen


async def _leave_out_superseded(tx: Transaction, batch: Sequence[_Translating]) -> None:
    """Let a copy state only the records of which nothing newer is stored than what its original stated.

    Its version would be the newer one of two of the same time, so it would bring back what another delivery changed.
    """
    copies = [
        each
        for each in batch
        if each.delivery.replay_of is not None and not ADAPTERS[each.connection.source].merges_records
    ]
    newest = {
        **await DEALS.newest_versions(tx, {each.key_of(deal) for each in copies for deal in each.translation.deals}),
        **await ACTIVITIES.newest_versions(
            tx, {each.key_of(activity) for each in copies for activity in each.translation.activities}
        ),
    }
    if not newest:
        return
    # A copy is as new as its original.
    brought_by = {key: (key[0], version.delivery_id) for key, version in newest.items()}
    originals = await store.originals(tx, set(brought_by.values()))
    for key, delivery in brought_by.items():
        newest[key] = newest[key]._replace(delivery_id=originals.get(delivery, delivery[1]))
    for each in copies:
        translation = each.translation
        translation.deals = [deal for deal in translation.deals if not each.is_superseded(deal, newest)]
        translation.activities = [
            activity for activity in translation.activities if not each.is_superseded(activity, newest)
        ]


def _printable_remark(remark: Remark) -> Remark:
    return replace(remark, pointer=printable(remark.pointer), detail=printable(remark.detail))
