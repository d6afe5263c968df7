"""What the relay reads of the outbox and deletes from it."""

from collections.abc import Collection, Sequence
from typing import Final, NamedTuple
from uuid import UUID

from sqlalchemy import text

from shared.db.database import Transaction
from shared.db.tables import TransportTables
from shared.outbox.domain import Lane
from shared.outbox.message import OutboxMessage
from shared.outbox.outbox import decode_headers


class Appended(NamedTuple):
    """A message that was appended."""

    id: int
    message: OutboxMessage
    age_seconds: float


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


_NOT_HELD: Final = """
NOT EXISTS (
    SELECT FROM unnest(CAST(:held_topics AS text[]), CAST(:held_keys AS text[])) AS held(topic, key)
    WHERE held.topic = o.topic AND held.key = {key}
)
"""

# What is there is what is unsent: a number taken earlier may become visible later, so a cursor would lose rows.
_APPENDED: Final = """
SELECT id, tenant_id, topic, key, headers, value, CAST(extract(epoch FROM age) AS double precision) AS age_seconds
FROM (
    SELECT *, clock_timestamp() - created_at AS age, sum(coalesce(octet_length(value), 0)) OVER (ORDER BY id) AS bytes
    FROM (SELECT * FROM {outbox} AS o WHERE {not_held} ORDER BY id LIMIT :rows_max) AS first_rows
) AS summed
WHERE bytes - coalesce(octet_length(value), 0) < :bytes_max
ORDER BY id
"""

_MARKS: Final = """
SELECT topic, tenant_id, subject, position, token
FROM {outbox_marks} AS o
WHERE topic = ANY(CAST(:topics AS text[])) AND {not_held}
ORDER BY position
LIMIT :rows_max
"""

# A mark that a running transaction is changing is left: it will have to be published again anyway.
_DELETE_MARKS: Final = """
DELETE FROM {outbox_marks} WHERE ctid = ANY(ARRAY(
    SELECT m.ctid
    FROM {outbox_marks} AS m
    JOIN unnest(CAST(:positions AS bigint[]), CAST(:tokens AS bigint[])) AS seen(position, token)
        USING (position, token)
    FOR UPDATE OF m SKIP LOCKED
))
"""

_WAITING: Final = """
SELECT (SELECT count(*) FROM (SELECT FROM {outbox} LIMIT :rows_max) AS a) AS messages,
    (SELECT count(*) FROM (SELECT FROM {outbox_marks} LIMIT :rows_max) AS m) AS marks
"""


class RelayStore:
    """The SQL of the relay. The scope of its transactions is every tenant."""

    def __init__(self, tables: TransportTables) -> None:
        names = {"outbox": tables.outbox.fullname, "outbox_marks": tables.outbox_marks.fullname}
        self._appended = text(_APPENDED.format(**names, not_held="true"))
        self._appended_not_held = text(_APPENDED.format(**names, not_held=_NOT_HELD.format(key="o.key")))
        self._marks = text(_MARKS.format(**names, not_held="true"))
        mark_key = "o.tenant_id::text || '/' || o.subject"
        self._marks_not_held = text(_MARKS.format(**names, not_held=_NOT_HELD.format(key=mark_key)))
        self._delete_appended = text(f"DELETE FROM {tables.outbox.fullname} WHERE id = ANY(CAST(:ids AS bigint[]))")
        self._delete_marks = text(_DELETE_MARKS.format(**names))
        self._waiting = text(_WAITING.format(**names))

    async def appended(
        self, tx: Transaction, held: Collection[Lane], *, rows_max: int, bytes_max: int
    ) -> Sequence[Appended]:
        """The first unsent messages outside the held lanes, in order; one at least however large it is."""
        parameters: dict[str, object] = {"rows_max": rows_max, "bytes_max": bytes_max}
        statement = self._appended
        if held:
            statement = self._appended_not_held
            parameters |= _held_parameters(held)
        return [
            Appended(
                row["id"],
                OutboxMessage(row["tenant_id"], row["topic"], row["key"], decode_headers(row["headers"]), row["value"]),
                row["age_seconds"],
            )
            for row in await tx.rows(statement, parameters)
        ]

    async def marks(
        self, tx: Transaction, topics: Collection[str], held: Collection[Lane], *, rows_max: int
    ) -> Sequence[Mark]:
        """The marks of these topics that have waited longest, outside the held lanes."""
        parameters: dict[str, object] = {"topics": list(topics), "rows_max": rows_max}
        statement = self._marks
        if held:
            statement = self._marks_not_held
            parameters |= _held_parameters(held)
        return [Mark(**row) for row in await tx.rows(statement, parameters)]

    async def delete(self, tx: Transaction, ids: Collection[int], marks: Collection[Mark]) -> None:
        """Delete what was published; a mark only if nobody marked its subject again since it was read."""
        if ids:
            await tx.execute(self._delete_appended, {"ids": sorted(ids)})
        if marks:
            await tx.execute(
                self._delete_marks,
                {"positions": [mark.position for mark in marks], "tokens": [mark.token for mark in marks]},
            )

    async def waiting(self, tx: Transaction, *, rows_max: int) -> tuple[int, int]:
        """How many messages and marks wait, counted up to a limit."""
        [row] = await tx.rows(self._waiting, {"rows_max": rows_max})
        return row["messages"], row["marks"]


def _held_parameters(held: Collection[Lane]) -> dict[str, object]:
    return {"held_topics": [lane.topic for lane in held], "held_keys": [lane.key for lane in held]}
