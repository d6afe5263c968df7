"""Working deliveries off: translated into deal events, or put in quarantine; listed, replayed, dropped in time."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

from services.tracking.crm import service as crm
from services.tracking.crm.canonical import CanonicalDeal, event_of
from services.tracking.crm.domain import Connection, QuarantineReason, SourceMapping, Untranslatable
from services.tracking.crm.sources import ADAPTERS
from services.tracking.inbox import store
from services.tracking.inbox.domain import BodyDropped, Delivery, DeliveryNotFound, DeliveryState, DeliveryWaiting
from services.tracking.inbox.store import Outcome, Waiting
from shared.contracts.envelope import to_message
from shared.db.database import Transaction
from shared.outbox.message import OutboxMessage
from shared.outbox.outbox import Outbox
from shared.telemetry.logs import get_logger
from shared.telemetry.metrics import WEBHOOK_QUARANTINED

BATCH_DELIVERIES_MAX: Final = 500
BATCH_BYTES_MAX: Final = 4 * 1024 * 1024
FIRST_ID: Final = UUID(int=0)
_DETAIL_CHARACTERS_MAX: Final = 500
_log = get_logger(__name__)


async def translate_waiting(tx: Transaction, outbox: Outbox, *, after: UUID) -> list[Outcome]:
    """Turn a batch of waiting deliveries into events in the outbox, or put them in quarantine, in one transaction.

    Oldest first among those later than `after`; what they became, in that order. A delivery that cannot be translated
    does not hold up its neighbours.
    """
    waiting = await store.claim(tx, after=after, count_max=BATCH_DELIVERIES_MAX, bytes_max=BATCH_BYTES_MAX)
    if not waiting:
        return []
    connections = await crm.by_id(tx, {each.connection_id for each in waiting})
    messages: list[OutboxMessage] = []
    outcomes = []
    for each in waiting:
        connection = connections[each.connection_id]
        try:
            translated = _messages(tx, each, connection)
        except Untranslatable as error:
            WEBHOOK_QUARANTINED.labels(connection.source.value, error.reason.value).inc()
            outcomes.append(_quarantined(each, error))
        else:
            messages.extend(translated)
            outcomes.append(Outcome(each.tenant_id, each.id, DeliveryState.TRANSLATED, deals=len(translated)))
    await outbox.append(tx, messages)
    await store.settle(tx, outcomes)
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
    DeliveryNotFound, DeliveryWaiting and BodyDropped.
    """
    delivery = await get(tx, tenant_id, delivery_id)
    if delivery.state is DeliveryState.RECEIVED:
        raise DeliveryWaiting("The delivery waits to be translated already.")
    if delivery.body is None:
        raise BodyDropped("The body of this delivery is past its time of retention.")
    if delivery.state is DeliveryState.QUARANTINED:
        await store.receive_again(tx, tenant_id, [delivery_id])
        return await get(tx, tenant_id, delivery_id)
    return await get(tx, tenant_id, await store.copy(tx, tenant_id, delivery_id))


async def replay_quarantined(tx: Transaction, tenant_id: UUID, connection_id: UUID) -> int:
    """Have every quarantined delivery of a connection translated again; how many. Raises ConnectionNotFound."""
    await crm.get(tx, tenant_id, connection_id)
    return await store.receive_quarantined_again(tx, tenant_id, connection_id)


async def preview(
    tx: Transaction, tenant_id: UUID, delivery_id: UUID, mapping: SourceMapping | None
) -> Sequence[CanonicalDeal]:
    """What a stored delivery translates to, with a mapping that is not saved or with the connection's; stores nothing.

    Raises DeliveryNotFound, BodyDropped and Untranslatable.
    """
    delivery = await get(tx, tenant_id, delivery_id)
    if delivery.body is None:
        raise BodyDropped("The body of this delivery is past its time of retention.")
    connection = await crm.get(tx, tenant_id, delivery.connection_id)
    return ADAPTERS[connection.source].translate(delivery.body, mapping or connection.mapping)


async def drop_bodies(tx: Transaction, *, before: datetime, count_max: int) -> int:
    """Drop bodies and headers of translated deliveries received before a moment; how many."""
    return await store.drop_bodies(tx, before=before, count_max=count_max)


def _messages(tx: Transaction, delivery: Waiting, connection: Connection) -> list[OutboxMessage]:
    """The events of a delivery. Raises Untranslatable, also for what no adapter foresaw."""
    try:
        return [
            to_message(
                event_of(deal, connection, delivery_id=delivery.id, received_at=delivery.received_at),
                event_id=tx.new_id(),
                source="tracking",
                time=tx.now,
                traceparent=delivery.traceparent,
            )
            for deal in ADAPTERS[connection.source].translate(delivery.body, connection.mapping)
        ]
    except Untranslatable:
        raise
    except Exception as error:
        _log.exception("adapter_failed", delivery_id=str(delivery.id), source=connection.source.value)
        raise Untranslatable(QuarantineReason.ADAPTER_FAILED, "", type(error).__name__) from error


def _quarantined(delivery: Waiting, error: Untranslatable) -> Outcome:
    printable = error.detail.encode("utf-8", "replace").decode().replace("\x00", "")
    return Outcome(
        delivery.tenant_id,
        delivery.id,
        DeliveryState.QUARANTINED,
        error.reason.value,
        error.pointer.encode("utf-8", "replace").decode().replace("\x00", "")[:_DETAIL_CHARACTERS_MAX],
        printable[:_DETAIL_CHARACTERS_MAX],
    )
