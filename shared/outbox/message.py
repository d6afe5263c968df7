"""What a service hands to the outbox and the relay hands to Kafka."""

from typing import NamedTuple
from uuid import UUID


class OutboxMessage(NamedTuple):
    """One Kafka record to be: `value` None is a tombstone. Messages of one topic and key are published in order."""

    tenant_id: UUID
    topic: str
    key: str
    headers: tuple[tuple[str, bytes], ...]
    value: bytes | None
