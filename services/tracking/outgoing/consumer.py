"""The Kafka edge of outgoing webhooks: what the product publishes in, recorded for those who subscribed."""

from collections.abc import Collection, Sequence
from typing import Final
from uuid import UUID

from services.tracking.outgoing import service
from services.tracking.outgoing.domain import EventType, Recording
from services.tracking.outgoing.events import KINDS, TOPICS, Published
from shared.contracts.envelope import MalformedEvent, tenant_of
from shared.db.database import Transaction
from shared.kafka.domain import Batch, Poison, Record
from shared.telemetry import metrics

OUTGOING_GROUP: Final = "attain.tracking.outgoing"
OUTGOING_TOPICS: Final[Sequence[str]] = TOPICS
_MALFORMED: Final = "malformed"


class OutgoingHandler:
    """Batches of the topics that can be subscribed to: recorded as deliveries, in the transaction of the batch."""

    def tenants(self, batch: Batch) -> Collection[UUID]:
        """The tenants in the records' headers. Raises Poison."""
        return {_tenant(record) for record in batch}

    async def apply(self, tx: Transaction, batch: Batch) -> None:
        """Record what is subscribed to; what is not is not even read. Raises Poison."""
        subscriptions = await service.recording(tx, self.tenants(batch))
        wanted = {(each.tenant_id, kind) for each in subscriptions for kind in each.events}
        published: list[Published] = []
        for record in batch:
            event_type = _event_type(record)
            if event_type is not None and (_tenant(record), event_type) in wanted:
                try:
                    published.append(KINDS[event_type].read(record.headers, record.value))
                except MalformedEvent as error:
                    raise Poison(record, "the event does not fit its type", reason=_MALFORMED) from error
        if published:
            planned = await service.record(tx, published, subscriptions)
            tx.after_commit(lambda: _count(planned))


def _tenant(record: Record) -> UUID:
    try:
        return tenant_of(record.headers)
    except MalformedEvent as error:
        raise Poison(record, str(error), reason=_MALFORMED) from error


def _event_type(record: Record) -> EventType | None:
    """The record's type, if it can be subscribed to; None for a tombstone too."""
    name = record.headers.get("ce_type", b"").decode("latin-1")
    return None if record.value is None or name not in KINDS else EventType(name)


def _count(planned: Recording) -> None:
    metrics.OUTGOING_RECORDED.labels("added").inc(len(planned.added))
    metrics.OUTGOING_RECORDED.labels("renewed").inc(len(planned.renewed))
    metrics.OUTGOING_RECORDED.labels("superseded").inc(len(planned.superseded))
