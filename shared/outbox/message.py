"""What a service hands to the outbox and the relay hands to Kafka, and what is stored in the outbox between."""

from typing import Final, NamedTuple
from uuid import UUID

from shared.outbox.domain import Lane


class OutboxMessage(NamedTuple):
    """One Kafka record to be: `value` None is a tombstone. Messages of one topic and key are published in order."""

    tenant_id: UUID
    topic: str
    key: str
    headers: tuple[tuple[str, bytes], ...]
    value: bytes | None

    @property
    def lane(self) -> Lane:
        """Its order is guaranteed among the messages of one lane."""
        return Lane(self.topic, self.key)


class Appended(NamedTuple):
    """A message that was appended. Of two in one lane the one with the lower id comes first."""

    id: int
    message: OutboxMessage
    age_seconds: float


PATIENT_POSITIONS: Final = 2**62
"""Positions of marks from here on are of what comes by the thousand, and is not to hold up what comes alone."""


class Mark(NamedTuple):
    """A subject whose newest state is to be published; `token` changes whenever it is marked again."""

    topic: str
    tenant_id: UUID
    subject: str
    position: int
    token: int

    @property
    def lane(self) -> Lane:
        """Where the subject's messages go: state is keyed by tenant and subject."""
        return Lane(self.topic, f"{self.tenant_id}/{self.subject}")
