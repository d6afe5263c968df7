"""Writing to the outbox, in the caller's transaction and never committing it."""

import json
from collections.abc import Collection, Sequence
from typing import Final, Protocol
from uuid import UUID

from sqlalchemy import text

from shared.contracts.base import Event
from shared.contracts.envelope import to_message
from shared.db.arrays import array_text
from shared.db.database import Transaction
from shared.db.tables import TransportTables
from shared.outbox.handover import HandOver
from shared.outbox.message import PATIENT_POSITIONS, Appended, Mark, OutboxMessage
from shared.outbox.trail import Trail
from shared.telemetry.tracing import current_traceparent

_WAITING_MAX: Final = 1000
"""In an outbox with more rows nobody looks for what is ahead: the relay has to look at it anyway."""

_APPEND: Final = """
WITH appended AS (
    INSERT INTO {outbox} (tenant_id, topic, key, headers, value)
    SELECT tenant_id, topic, key, headers, value
    FROM unnest(
        CAST(CAST(:tenant_ids AS text) AS uuid[]), CAST(CAST(:topics AS text) AS text[]),
        CAST(CAST(:keys AS text) AS text[]), CAST(CAST(:headers AS text) AS text[]), CAST(:values AS bytea[])
    ) WITH ORDINALITY AS m(tenant_id, topic, key, headers, value, n)
    ORDER BY n
    RETURNING id
)
"""
_NOTIFY: Final = "SELECT pg_notify(:channel, :sender)"

# What others have committed is seen, also by who had to wait for their lock; the rows appended here are not.
_AHEAD: Final = """
, waiting AS MATERIALIZED (SELECT id, topic, key FROM {outbox} ORDER BY id LIMIT :waiting_max)
SELECT ARRAY(SELECT id FROM appended ORDER BY id) AS ids, (SELECT count(*) FROM waiting) AS waiting,
    ARRAY(
        SELECT id FROM waiting
        WHERE (topic, key) IN (
            SELECT * FROM unnest(CAST(CAST(:topics AS text) AS text[]), CAST(CAST(:keys AS text) AS text[]))
        )
    ) AS ahead
"""

# Sorted by the primary key, so that two who mark the same subjects never wait for each other in a circle. The position
# in the queue stays: what is marked again and again still gets its turn. What was patient and no longer is moves up.
_MARK: Final = """
INSERT INTO {outbox_marks} AS m (topic, tenant_id, subject, stripe, position)
SELECT :topic, tenant_id, subject, :stripe, nextval('{tokens}') + CAST(:first_position AS bigint)
FROM unnest(CAST(CAST(:tenant_ids AS text) AS uuid[]), CAST(CAST(:subjects AS text) AS text[])) AS s(tenant_id, subject)
ORDER BY tenant_id, subject
ON CONFLICT (topic, tenant_id, subject, stripe) DO UPDATE
SET token = excluded.token, position = least(m.position, excluded.position)
"""


class LocalRelay(Protocol):
    """A relay of the same process."""

    @property
    def name(self) -> str:
        """What no other relay is called. It does not heed what is notified in this name."""

    @property
    def handover(self) -> HandOver | None:
        """Where it takes over what this process commits, while it is the active one. Nobody else need be notified."""

    def wake(self) -> None:
        """Publish what it has taken over, and look at the outbox."""

    def wake_patient(self) -> None:
        """Look for patient marks."""


class Outbox:
    """What is written here is published after the transaction commits, at least once, and not at all if it does not."""

    def __init__(self, tables: TransportTables, *, relay: LocalRelay | None = None, trail: Trail | None = None) -> None:
        """A relay of the same process is woken by the commit itself, not by its NOTIFY.

        While it is the active one it is also handed what was committed, and publishes that without reading it. Every
        event that `publish` is given goes on the `trail`.
        """
        self.trail = trail
        self._service = tables.service
        self._channel = tables.outbox_channel
        self._relay = relay
        append = _APPEND.format(outbox=tables.outbox.fullname)
        tokens = f"{tables.service}.{tables.mark_tokens.name}"
        mark = _MARK.format(outbox_marks=tables.outbox_marks.fullname, tokens=tokens)
        self._append = text(append + _NOTIFY)
        self._append_to_hand_over = text(append + _AHEAD.format(outbox=tables.outbox.fullname))
        self._mark = text(f"WITH marked AS ({mark}) {_NOTIFY}")
        self._mark_to_hand_over = text(f"{mark} RETURNING topic, tenant_id, subject, position, token")

    async def publish(self, tx: Transaction, events: Sequence[Event]) -> None:
        """Publish every one of these events of this transaction's moment, as `append` does."""
        traceparent = current_traceparent()
        messages = [
            to_message(event, event_id=tx.new_id(), source=self._service, time=tx.now, traceparent=traceparent)
            for event in events
        ]
        await self.append(tx, messages)
        if self.trail is not None:
            await self.trail.record(tx, events, [message.value or b"" for message in messages])

    async def append(self, tx: Transaction, messages: Sequence[OutboxMessage]) -> None:
        """Publish every one of these messages, in this order within a topic and key.

        Order across transactions is that of their inserts: two that write messages of the same key at once must agree
        on an order by a lock of theirs, or the messages must carry versions.
        """
        if not messages:
            return
        parameters: dict[str, object] = {
            "tenant_ids": array_text([message.tenant_id for message in messages]),
            "topics": array_text([message.topic for message in messages]),
            "keys": array_text([message.key for message in messages]),
            "headers": array_text([encode_headers(message.headers) for message in messages]),
            "values": [message.value for message in messages],
        }
        relay = self._relay
        if relay is None or (handover := relay.handover) is None:
            await tx.execute(self._append, {**parameters, **self._waking(tx)})
            return
        [written] = await tx.rows(self._append_to_hand_over, {**parameters, "waiting_max": _WAITING_MAX})
        if written["waiting"] < _WAITING_MAX:
            ids, ahead = written["ids"], written["ahead"]
            rows = [Appended(row_id, message, 0.0) for row_id, message in zip(ids, messages, strict=True)]
            tx.after_commit(lambda: handover.offer(rows, ahead))
        tx.after_commit(relay.wake)

    async def mark(
        self,
        tx: Transaction,
        topic: str,
        subjects: Collection[tuple[UUID, str]],
        *,
        stripe: int = 0,
        patient: bool = False,
    ) -> None:
        """Publish the newest state of these subjects, once, however often they are marked until then.

        The relay's renderer for the topic reads the state. Markers with stripes of their own never wait for each other.
        What is `patient` may come by the thousand: the relay publishes it beside everything else, which does not wait.
        """
        marked = list(dict.fromkeys(subjects))
        if not marked:
            return
        parameters: dict[str, object] = {
            "topic": topic,
            "stripe": stripe,
            "first_position": PATIENT_POSITIONS if patient else 0,
            "tenant_ids": array_text([tenant_id for tenant_id, _ in marked]),
            "subjects": array_text([subject for _, subject in marked]),
        }
        relay = self._relay
        if patient or relay is None or (handover := relay.handover) is None:
            await tx.execute(self._mark, {**parameters, **self._waking(tx, patient=patient)})
            return
        marks = [Mark(**row) for row in await tx.rows(self._mark_to_hand_over, parameters)]
        tx.after_commit(lambda: handover.offer_marks(marks))
        tx.after_commit(relay.wake)

    def _waking(self, tx: Transaction, *, patient: bool = False) -> dict[str, str]:
        """What the statement notifies with, once the relay of this process is sure to hear of the commit."""
        if self._relay is None:
            return {"channel": self._channel, "sender": ""}
        tx.after_commit(self._relay.wake_patient if patient else self._relay.wake)
        return {"channel": self._channel, "sender": self._relay.name}


def encode_headers(headers: Sequence[tuple[str, bytes]]) -> str:
    """Kafka headers as JSON text; any bytes survive."""
    return json.dumps([(name, value.decode("latin-1")) for name, value in headers], separators=(",", ":"))


def decode_headers(text_form: str) -> tuple[tuple[str, bytes], ...]:
    """What `encode_headers` was given."""
    return tuple((name, value.encode("latin-1")) for name, value in json.loads(text_form))
