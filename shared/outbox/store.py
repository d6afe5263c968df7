"""What the relay reads of the outbox and deletes from it."""

from collections.abc import Collection, Sequence
from typing import Final

from sqlalchemy import text

from shared.db.database import Statements
from shared.db.tables import TransportTables
from shared.outbox.domain import Lane
from shared.outbox.message import PATIENT_POSITIONS, Appended, Mark, OutboxMessage
from shared.outbox.outbox import decode_headers

_UNBLOCKED: Final = """
NOT EXISTS (
    SELECT FROM unnest(CAST(:blocked_topics AS text[]), CAST(:blocked_keys AS text[])) AS blocked(topic, key)
    WHERE blocked.topic = o.topic AND blocked.key = {key}
)
"""

# Of the outbox what is there is what is unsent: a number taken earlier may become visible later, so a cursor would lose
# rows. What the statement itself deletes it still sees. A mark that a running transaction is changing is not deleted:
# it will have to be published again anyway, and not before somebody wakes the relay.
_LOOK: Final = """
WITH deleted AS (DELETE FROM {outbox} WHERE id = ANY(CAST(:ids AS bigint[]))),
deleted_marks AS ({delete_marks}),
first_rows AS (
    SELECT *, clock_timestamp() - created_at AS age, sum(coalesce(octet_length(value), 0)) OVER (ORDER BY id) AS bytes
    FROM (
        SELECT * FROM {outbox} AS o
        WHERE {rows_unblocked}
            AND NOT EXISTS (SELECT FROM unnest(CAST(:ids AS bigint[])) AS published(id) WHERE published.id = o.id)
        ORDER BY id LIMIT :rows_max
    ) AS unsent
),
first_marks AS (
    SELECT * FROM {outbox_marks} AS o
    WHERE position < {patient} AND {marks_unsent} ORDER BY position LIMIT :marks_max
)
SELECT id AS number, tenant_id, topic, key, headers, value, CAST(NULL AS bigint) AS token,
    CAST(extract(epoch FROM age) AS double precision) AS age_seconds
FROM first_rows WHERE bytes - coalesce(octet_length(value), 0) < :bytes_max
UNION ALL
SELECT position, tenant_id, topic, subject, NULL, NULL, token, NULL FROM first_marks
"""

_LOOK_PATIENT: Final = """
WITH deleted_marks AS ({delete_marks})
SELECT topic, tenant_id, subject, position, token FROM {outbox_marks} AS o
WHERE position >= {patient} AND {marks_unsent} ORDER BY position LIMIT :marks_max
"""

_DELETE_MARKS: Final = """
DELETE FROM {outbox_marks} WHERE ctid = ANY(ARRAY(
    SELECT m.ctid
    FROM {outbox_marks} AS m
    JOIN unnest(CAST(:positions AS bigint[]), CAST(:tokens AS bigint[])) AS seen(position, token)
        USING (position, token)
    FOR UPDATE OF m SKIP LOCKED
))
"""

_MARKS_UNSENT: Final = """
topic = ANY(CAST(:topics AS text[])) AND {unblocked} AND NOT EXISTS (
    SELECT FROM unnest(CAST(:positions AS bigint[]), CAST(:tokens AS bigint[])) AS published(position, token)
    WHERE published.position = o.position AND published.token = o.token
)
"""

_WAITING: Final = """
SELECT (SELECT count(*) FROM (SELECT FROM {outbox} LIMIT :rows_max) AS a) AS messages,
    (SELECT count(*) FROM (SELECT FROM {outbox_marks} LIMIT :rows_max) AS m) AS marks
"""


class RelayStore:
    """The SQL of the relay, on statements that see every tenant."""

    def __init__(self, tables: TransportTables) -> None:
        names = {"outbox": tables.outbox.fullname, "outbox_marks": tables.outbox_marks.fullname}
        looked_at = {**names, "patient": PATIENT_POSITIONS, "delete_marks": _DELETE_MARKS.format(**names)}
        unsent = _MARKS_UNSENT.format(unblocked="true")
        unblocked = _MARKS_UNSENT.format(unblocked=_UNBLOCKED.format(key="o.tenant_id::text || '/' || o.subject"))
        self._look = text(_LOOK.format(**looked_at, rows_unblocked="true", marks_unsent=unsent))
        self._look_unblocked = text(
            _LOOK.format(**looked_at, rows_unblocked=_UNBLOCKED.format(key="o.key"), marks_unsent=unblocked)
        )
        self._look_patient = text(_LOOK_PATIENT.format(**looked_at, marks_unsent=unsent))
        self._look_patient_unblocked = text(_LOOK_PATIENT.format(**looked_at, marks_unsent=unblocked))
        self._waiting = text(_WAITING.format(**names))

    async def look(
        self,
        statements: Statements,
        *,
        published: Collection[int],
        published_marks: Sequence[Mark],
        topics: Collection[str],
        blocked: Collection[Lane],
        rows_max: int,
        marks_max: int,
        bytes_max: int,
    ) -> tuple[list[Appended], list[Mark]]:
        """Delete what was published, and read what is unsent outside the blocked lanes; all in one round trip.

        The first messages in order, one at least however large it is, and the marks of `topics` that have waited
        longest and are not patient. A mark is deleted only if nobody marked its subject again since it was read.
        """
        parameters: dict[str, object] = {
            **_marks_wanted(published_marks, topics, blocked, marks_max),
            "ids": sorted(published),
            "rows_max": rows_max,
            "bytes_max": bytes_max,
        }
        statement = self._look_unblocked if blocked else self._look
        found = await statements.rows(statement, parameters)
        rows = [
            Appended(
                row["number"],
                OutboxMessage(row["tenant_id"], row["topic"], row["key"], decode_headers(row["headers"]), row["value"]),
                row["age_seconds"],
            )
            for row in found
            if row["token"] is None
        ]
        marks = [
            Mark(row["topic"], row["tenant_id"], row["key"], row["number"], row["token"])
            for row in found
            if row["token"] is not None
        ]
        return sorted(rows, key=lambda row: row.id), marks

    async def look_patient(
        self,
        statements: Statements,
        *,
        published_marks: Sequence[Mark],
        topics: Collection[str],
        blocked: Collection[Lane],
        marks_max: int,
    ) -> list[Mark]:
        """The same for patient marks alone."""
        statement = self._look_patient_unblocked if blocked else self._look_patient
        found = await statements.rows(statement, _marks_wanted(published_marks, topics, blocked, marks_max))
        return [Mark(**row) for row in found]

    async def waiting(self, statements: Statements, *, rows_max: int) -> tuple[int, int]:
        """How many messages and marks wait, counted up to a limit."""
        [row] = await statements.rows(self._waiting, {"rows_max": rows_max})
        return row["messages"], row["marks"]


def _marks_wanted(
    published: Sequence[Mark], topics: Collection[str], blocked: Collection[Lane], marks_max: int
) -> dict[str, object]:
    wanted: dict[str, object] = {
        "positions": [mark.position for mark in published],
        "tokens": [mark.token for mark in published],
        "topics": list(topics),
        "marks_max": marks_max,
    }
    if blocked:
        wanted |= {
            "blocked_topics": [lane.topic for lane in blocked],
            "blocked_keys": [lane.key for lane in blocked],
        }
    return wanted
