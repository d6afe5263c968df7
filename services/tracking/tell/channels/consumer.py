"""The Kafka edge of outgoing webhooks: what the product publishes in, recorded for those who subscribed."""

from collections.abc import Sequence
from typing import Final

from services.tracking.tell.channels import service
from services.tracking.tell.channels.domain.deliveries import EventType, Recording
from services.tracking.tell.channels.events import KINDS, TOPICS, Published
from services.tracking.tell.channels.people import People
from shared.db.database import Scope, Transaction
from shared.kafka.domain import Batch, Record
from shared.kafka.events import event_of, tenant_of, tenants_of, time_of
from shared.telemetry import metrics

OUTGOING_GROUP: Final = "attain.tracking.outgoing"
OUTGOING_TOPICS: Final[Sequence[str]] = TOPICS


class OutgoingHandler:
    """Batches of the topics that can be subscribed to: recorded as deliveries, in the transaction of the batch."""

    def __init__(self, people: People) -> None:
        self._people = people

    def scope(self, batch: Batch) -> Scope:
        """The tenants in the records' headers. Raises Poison."""
        return Scope.of(*tenants_of(batch))

    async def apply(self, tx: Transaction, batch: Batch) -> None:
        """Record what is subscribed to; what is not is not even read. Raises Poison."""
        subscriptions = await service.recording(tx, tenants_of(batch))
        wanted = {(each.tenant_id, kind) for each in subscriptions for kind in each.events}
        published: list[Published] = []
        for record in batch:
            event_type = _event_type(record)
            if event_type is None or (tenant_of(record), event_type) not in wanted:
                continue
            event = event_of(record)
            if event is not None:
                published.append(KINDS[event_type].published(event, time_of(record)))
        if published:
            planned = await service.record(tx, published, subscriptions, self._people)
            tx.after_commit(lambda: _count(planned))


def _event_type(record: Record) -> EventType | None:
    """The record's type, if it can be subscribed to; None for a tombstone too."""
    name = record.headers.get("ce_type", b"").decode("latin-1")
    return None if record.value is None or name not in KINDS else EventType(name)


def _count(planned: Recording) -> None:
    metrics.OUTGOING_RECORDED.labels("added").inc(len(planned.added))
    metrics.OUTGOING_RECORDED.labels("renewed").inc(len(planned.renewed))
    metrics.OUTGOING_RECORDED.labels("superseded").inc(len(planned.superseded))
