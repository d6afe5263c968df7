"""Writing to the outbox, in the caller's transaction and never committing it."""

import json
from collections.abc import Collection, Sequence
from typing import Final
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
SELECT pg_notify(:channel, '')
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
SELECT pg_notify(:channel, '')
"""


class Outbox:
    """What is written here is published after the transaction commits, at least once, and not at all if it does not."""

    def __init__(self, tables: TransportTables) -> None:
        self._channel = tables.outbox_channel
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
                "channel": self._channel,
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
                "channel": self._channel,
                "topic": topic,
                "stripe": stripe,
                "tenant_ids": [tenant_id for tenant_id, _ in marked],
                "subjects": [subject for _, subject in marked],
            },
        )


def encode_headers(headers: Sequence[tuple[str, bytes]]) -> str:
    """Kafka headers as JSON text; any bytes survive."""
    return json.dumps([(name, value.decode("latin-1")) for name, value in headers], separators=(",", ":"))


def decode_headers(text_form: str) -> tuple[tuple[str, bytes], ...]:
    """What `encode_headers` was given."""
    return tuple((name, value.encode("latin-1")) for name, value in json.loads(text_form))
