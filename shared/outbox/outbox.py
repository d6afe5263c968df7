"""Writing to the outbox, in the caller's transaction and never committing it."""

import json
from collections.abc import Collection, Sequence
from typing import Final, Protocol
from uuid import UUID

from sqlalchemy import text

from shared.db.database import Transaction
from shared.db.tables import TransportTables
from shared.outbox.message import OutboxMessage

_APPEND: Final = """
WITH appended AS (
    INSERT INTO {outbox} (tenant_id, topic, key, headers, value)
    SELECT tenant_id, topic, key, headers, value
    FROM unnest(
        CAST(:tenant_ids AS uuid[]), CAST(:topics AS text[]), CAST(:keys AS text[]),
        CAST(:headers AS text[]), CAST(:values AS bytea[])
    ) WITH ORDINALITY AS m(tenant_id, topic, key, headers, value, n)
    ORDER BY n
)
SELECT pg_notify(:channel, :sender)
"""

# Sorted by the primary key, so that two who mark the same subjects never wait for each other in a circle. The position
# in the queue stays: what is marked again and again still gets its turn.
_MARK: Final = """
WITH marked AS (
    INSERT INTO {outbox_marks} AS m (topic, tenant_id, subject, stripe)
    SELECT :topic, tenant_id, subject, :stripe
    FROM unnest(CAST(:tenant_ids AS uuid[]), CAST(:subjects AS text[])) AS s(tenant_id, subject)
    ORDER BY tenant_id, subject
    ON CONFLICT (topic, tenant_id, subject, stripe) DO UPDATE SET token = excluded.token
)
SELECT pg_notify(:channel, :sender)
"""


class LocalRelay(Protocol):
    """A relay of the same process."""

    @property
    def name(self) -> str:
        """What no other relay is called. It does not heed what is notified in this name."""

    def wake(self) -> None:
        """Look at the outbox now."""


class Outbox:
    """What is written here is published after the transaction commits, at least once, and not at all if it does not."""

    def __init__(self, tables: TransportTables, *, relay: LocalRelay | None = None) -> None:
        """With a relay of the same process that relay is woken by the commit itself, not by its NOTIFY."""
        self._channel = tables.outbox_channel
        self._relay = relay
        self._append = text(_APPEND.format(outbox=tables.outbox.fullname))
        self._mark = text(_MARK.format(outbox_marks=tables.outbox_marks.fullname))

    async def append(self, tx: Transaction, messages: Sequence[OutboxMessage]) -> None:
        """Publish every one of these messages, in this order within a topic and key.

        Order across transactions is that of their inserts: two that write messages of the same key at once must agree
        on an order by a lock of theirs, or the messages must carry versions.
        """
        if not messages:
            return
        await tx.execute(
            self._append,
            {
                **self._waking(tx),
                "tenant_ids": [message.tenant_id for message in messages],
                "topics": [message.topic for message in messages],
                "keys": [message.key for message in messages],
                "headers": [encode_headers(message.headers) for message in messages],
                "values": [message.value for message in messages],
            },
        )

    async def mark(
        self, tx: Transaction, topic: str, subjects: Collection[tuple[UUID, str]], *, stripe: int = 0
    ) -> None:
        """Publish the newest state of these subjects, once, however often they are marked until then.

        The relay's renderer for the topic reads the state. Markers with stripes of their own never wait for each other.
        """
        marked = list(dict.fromkeys(subjects))
        if not marked:
            return
        await tx.execute(
            self._mark,
            {
                **self._waking(tx),
                "topic": topic,
                "stripe": stripe,
                "tenant_ids": [tenant_id for tenant_id, _ in marked],
                "subjects": [subject for _, subject in marked],
            },
        )

    def _waking(self, tx: Transaction) -> dict[str, str]:
        """What the statement notifies with, once the relay of this process is sure to hear of the commit."""
        if self._relay is None:
            return {"channel": self._channel, "sender": ""}
        tx.after_commit(self._relay.wake)
        return {"channel": self._channel, "sender": self._relay.name}


def encode_headers(headers: Sequence[tuple[str, bytes]]) -> str:
    """Kafka headers as JSON text; any bytes survive."""
    return json.dumps([(name, value.decode("latin-1")) for name, value in headers], separators=(",", ":"))


def decode_headers(text_form: str) -> tuple[tuple[str, bytes], ...]:
    """What `encode_headers` was given."""
    return tuple((name, value.encode("latin-1")) for name, value in json.loads(text_form))
