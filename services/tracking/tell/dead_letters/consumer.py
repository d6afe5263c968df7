"""The Kafka edge of the dead letters: what any service refused is stored until it is replayed."""

from datetime import UTC, datetime
from typing import Final

from services.tracking.tell.dead_letters import store
from services.tracking.tell.dead_letters.store import DeadLetter
from shared.contracts.topics import TOPICS
from shared.db.database import Scope, Transaction
from shared.kafka.domain import Batch, Record
from shared.kafka.events import tenant_or_nobody
from shared.telemetry.logs import get_logger

DEAD_LETTERS_GROUP: Final = "attain.tracking.dead_letters"
DEAD_LETTERS_TOPICS: Final = tuple(spec.dead_letters for spec in TOPICS.values())
_CHARACTERS_MAX: Final = 500
_log = get_logger(__name__)


class DeadLettersHandler:
    """Batches of dead letters. Nothing in one may be a reason to refuse it: there is no place where it could go."""

    def scope(self, batch: Batch) -> Scope:
        """Whose letters these are; those of nobody known are under the UUID of zeros."""
        return Scope.of(*(tenant_or_nobody(record) for record in batch))

    async def apply(self, tx: Transaction, batch: Batch) -> None:
        """Store a batch of letters."""
        letters = [letter for record in batch if (letter := _letter(record)) is not None]
        if letters:
            await store.put(tx, letters)


def _letter(record: Record) -> DeadLetter | None:
    """The letter; None for a record that the consumer runtime did not write."""
    try:
        return DeadLetter(
            tenant_id=tenant_or_nobody(record),
            topic=_text(record, "dlq_source_topic"),
            partition=int(record.headers["dlq_source_partition"]),
            record_offset=int(record.headers["dlq_source_offset"]),
            group=_text(record, "dlq_group"),
            key=record.key.replace("\x00", "�")[:_CHARACTERS_MAX],
            reason=_text(record, "dlq_reason"),
            detail=_text(record, "dlq_detail"),
            refusals=1,
            refused_at=datetime.fromtimestamp(record.timestamp_ms / 1000, UTC),
        )
    except (KeyError, ValueError, OverflowError):
        _log.warning("dead_letter_passed_over", topic=record.topic, partition=record.partition, offset=record.offset)
        return None


def _text(record: Record, header: str) -> str:
    return record.headers[header].decode("utf-8", "replace").replace("\x00", "�")[:_CHARACTERS_MAX]
