"""Every statement on what a new mapping is still to change."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final
from uuid import UUID

from pydantic import TypeAdapter
from sqlalchemy import RowMapping, text

from services.tracking.intake.inbox.store import BODY
from services.tracking.intake.sources.remapping import Touched
from services.tracking.records.changes import changed
from services.tracking.records.queries import NEWEST_DELIVERIES, TOUCHED_DELIVERIES
from shared.db.database import Transaction

RETRANSLATION_CHANNEL: Final = "tracking_retranslations"
_WAITED_MAX: Final = timedelta(days=1)
"""No delivery is taken to have waited longer for its translation."""


class RetranslationState(StrEnum):
    """How far a new mapping has got with what was translated before it was saved."""

    WAITING = "waiting"
    TOUCHED = "touched"
    """Through those that the newest versions of deals come from which the mapping is about."""
    RUNNING = "running"
    """Through the deliveries that the newest versions of deals come from."""
    SETTLING = "settling"
    """Waiting for what was being translated while the mapping was saved."""
    FINISHING = "finishing"
    """Through what was being translated while the mapping was saved."""
    DONE = "done"


@dataclass(frozen=True, slots=True)
class Retranslation:
    """The work that the mapping of a connection saved last has made. Counts are of deliveries."""

    tenant_id: UUID
    connection_id: UUID
    version: int
    """Of the connection when the mapping was saved."""
    state: RetranslationState
    saved_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    due_at: datetime
    total: int
    done: int
    changed: int
    """Those that say something else now and are translated once more."""
    untranslatable: int
    """Those that the new mapping cannot translate: their deals stay as they are."""
    dropped: int
    """Those whose bodies are past their time of retention: their deals stay as they are."""
    received_again: int
    """Those that came out of quarantine to be translated again."""
    touched: Touched
    """What the stored deals state that the mapping is about."""


_TOUCHED: Final = TypeAdapter(Touched)
_COLUMNS: Final = ", ".join(
    "CAST(touched AS text) AS touched" if name == "touched" else name for name in Retranslation.__slots__
)
_SAVE: Final = text(
    """
    INSERT INTO tracking.retranslations
        (tenant_id, connection_id, version, state, saved_at, due_at, total, done, changed, untranslatable, dropped,
        received_again, touched)
    VALUES (
        :tenant_id, :connection_id, :version, 'waiting', :now, :now, 0, 0, 0, 0, 0, 0, CAST(:touched AS jsonb)
    )
    ON CONFLICT (tenant_id, connection_id) DO UPDATE SET
        version = excluded.version, state = excluded.state, saved_at = excluded.saved_at, started_at = NULL,
        finished_at = NULL, due_at = excluded.due_at, total = 0, done = 0, changed = 0, untranslatable = 0,
        dropped = 0, received_again = 0, touched = excluded.touched
    """
)
_FIND: Final = (
    f"SELECT {_COLUMNS} FROM tracking.retranslations WHERE tenant_id = :tenant_id AND connection_id = :connection_id"
)
_CLAIM: Final = text(
    f"""
    SELECT {_COLUMNS} FROM tracking.retranslations WHERE finished_at IS NULL AND due_at <= :now
    ORDER BY state NOT IN ('waiting', 'touched'), due_at LIMIT 1 FOR UPDATE SKIP LOCKED
    """
)
_NEXT_DUE_AT: Final = text("SELECT min(due_at) AS due_at FROM tracking.retranslations WHERE finished_at IS NULL")
_UPDATE: Final = text(
    """
    UPDATE tracking.retranslations SET state = :state, started_at = :started_at, finished_at = :finished_at,
        due_at = :due_at, total = :total, done = :done, changed = :changed, untranslatable = :untranslatable,
        dropped = :dropped, received_again = :received_again, touched = CAST(:touched AS jsonb)
    WHERE tenant_id = :tenant_id AND connection_id = :connection_id
    """
)
_FIRST, _AFTER_THOSE, _DONE = 0, 1, 2
_OF_CONNECTION: Final = "tenant_id = :tenant_id AND connection_id = :connection_id"
_FORGET_ALL: Final = text(f"DELETE FROM tracking.retranslation_deliveries WHERE {_OF_CONNECTION}")
_QUEUE_TOUCHED: Final = text(
    f"""
    INSERT INTO tracking.retranslation_deliveries (tenant_id, connection_id, delivery_id, turn)
    SELECT :tenant_id, :connection_id, delivery_id, {_FIRST} FROM ({TOUCHED_DELIVERIES}) AS touched
    ON CONFLICT DO NOTHING
    """
)
_QUEUE_NEWEST: Final = text(
    f"""
    INSERT INTO tracking.retranslation_deliveries (tenant_id, connection_id, delivery_id, turn)
    SELECT :tenant_id, :connection_id, delivery_id, CASE WHEN is_named THEN {_FIRST} ELSE {_AFTER_THOSE} END
    FROM ({NEWEST_DELIVERIES}) AS newest
    ON CONFLICT DO NOTHING
    """
)
_OLDEST_UNPUBLISHED: Final = text("SELECT min(created_at) AS at FROM tracking.outbox WHERE tenant_id = :tenant_id")
# The time of receipt, which has an index, only narrows the search.
_QUEUE_UNDER_WAY: Final = text(
    f"""
    INSERT INTO tracking.retranslation_deliveries (tenant_id, connection_id, delivery_id)
    SELECT tenant_id, connection_id, id FROM tracking.deliveries AS d
    WHERE {_OF_CONNECTION} AND state = 'translated' AND {BODY} IS NOT NULL
        AND processed_at >= :since AND received_at >= :received_since
    ON CONFLICT DO NOTHING
    """
)
# In their order, until their bodies together are too much for one transaction's memory.
_NEXT: Final = text(
    f"""
    WITH next AS (
        SELECT q.turn, q.delivery_id, coalesce(d.bytes, 0) AS bytes
        FROM (
            SELECT tenant_id, turn, delivery_id FROM tracking.retranslation_deliveries
            WHERE {_OF_CONNECTION} AND turn < {_DONE}
            ORDER BY turn, delivery_id LIMIT :count_max
        ) AS q
        CROSS JOIN LATERAL (
            SELECT octet_length({BODY}) AS bytes FROM tracking.deliveries AS d
            WHERE d.tenant_id = q.tenant_id AND d.id = q.delivery_id LIMIT 1
        ) AS d
    ), sized AS (
        SELECT turn, delivery_id, sum(bytes) OVER (ORDER BY turn, delivery_id) - bytes AS bytes_before FROM next
    )
    SELECT delivery_id FROM sized WHERE bytes_before < :bytes_max ORDER BY turn, delivery_id
    """
)
_FORGET: Final = text(
    f"DELETE FROM tracking.retranslation_deliveries WHERE {_OF_CONNECTION} AND delivery_id = ANY(:ids)"
)
_SET_ASIDE: Final = text(
    f"""
    UPDATE tracking.retranslation_deliveries SET turn = {_DONE}
    WHERE {_OF_CONNECTION} AND delivery_id = ANY(:ids)
    """
)
_COUNT_CURABLE: Final = text(
    """
    SELECT count(*) AS deliveries FROM tracking.deliveries
    WHERE tenant_id = :tenant_id AND state = 'quarantined' AND connection_id = :connection_id AND reason = ANY(:reasons)
    """
)


async def save(tx: Transaction, tenant_id: UUID, connection_id: UUID, *, version: int, touched: Touched) -> None:
    """Have the mapping of a connection applied to what was translated before; wake who does."""
    parameters = {
        "tenant_id": tenant_id,
        "connection_id": connection_id,
        "version": version,
        "now": tx.now,
        "touched": _touched_text(touched),
    }
    await tx.execute(_SAVE, parameters)
    await tx.notify(RETRANSLATION_CHANNEL)
    await changed(tx, [(tenant_id, connection_id)])


async def find(
    tx: Transaction, tenant_id: UUID, connection_id: UUID, *, is_locked: bool = False
) -> Retranslation | None:
    """What the mapping of a connection that was saved last has come to; nobody else's meanwhile if it is locked."""
    statement = text(f"{_FIND} FOR UPDATE" if is_locked else _FIND)
    row = await tx.one_or_none(statement, {"tenant_id": tenant_id, "connection_id": connection_id})
    return None if row is None else _retranslation(row)


async def claim(tx: Transaction) -> Retranslation | None:
    """The one that has waited longest for its next step, nobody else's until the end of the transaction."""
    row = await tx.one_or_none(_CLAIM, {"now": tx.now})
    return None if row is None else _retranslation(row)


async def next_due_at(tx: Transaction) -> datetime | None:
    """When the next step is due of any that has not come to its end."""
    due_at: datetime | None = (await tx.rows(_NEXT_DUE_AT))[0]["due_at"]
    return due_at


async def update(tx: Transaction, work: Retranslation) -> None:
    """Store how far one is."""
    values = {name: getattr(work, name) for name in Retranslation.__slots__}
    await tx.execute(_UPDATE, {**values, "touched": _touched_text(work.touched)})
    await changed(tx, [(work.tenant_id, work.connection_id)])


async def queue_touched(tx: Transaction, work: Retranslation, *, source: str) -> int:
    """Queue, in place of whatever is queued, the deliveries of what the mapping is about, by index; how many.

    `source`: what the connection's deals carry as theirs. Stages and pipelines have no index: see `queue_newest`.
    """
    parameters = _of_connection(work)
    await tx.execute(_FORGET_ALL, parameters)
    touched = {"source": source, "users": list(work.touched.users), "incomplete": work.touched.incomplete}
    return (await tx.execute(_QUEUE_TOUCHED, {**parameters, **touched})).rowcount


async def queue_newest(tx: Transaction, work: Retranslation) -> int:
    """Queue the deliveries that the newest versions of deals come from and that were not queued yet; how many.

    First those of the stages and pipelines that the mapping is about.
    """
    touched = {"stages": list(work.touched.stages), "pipelines": list(work.touched.pipelines)}
    return (await tx.execute(_QUEUE_NEWEST, {**_of_connection(work), **touched})).rowcount


async def queue_under_way(tx: Transaction, work: Retranslation, *, margin: timedelta) -> int:
    """Queue the deliveries that were translated while the mapping was saved and may not have been recorded; how many.

    From `margin` before it was saved, or before what waits in the outbox since longer.
    """
    unpublished_at: datetime | None = (await tx.rows(_OLDEST_UNPUBLISHED, {"tenant_id": work.tenant_id}))[0]["at"]
    since = min(work.saved_at, unpublished_at or work.saved_at) - margin
    parameters = {**_of_connection(work), "since": since, "received_since": since - _WAITED_MAX}
    return (await tx.execute(_QUEUE_UNDER_WAY, parameters)).rowcount


async def next_queued(tx: Transaction, work: Retranslation, *, count_max: int, bytes_max: int) -> list[UUID]:
    """The first deliveries that are queued, in their order."""
    rows = await tx.rows(_NEXT, {**_of_connection(work), "count_max": count_max, "bytes_max": bytes_max})
    return [row["delivery_id"] for row in rows]


async def forget(tx: Transaction, work: Retranslation, delivery_ids: Collection[UUID]) -> None:
    """Take these out of the queue."""
    await tx.execute(_FORGET, {**_of_connection(work), "ids": list(delivery_ids)})


async def set_aside(tx: Transaction, work: Retranslation, delivery_ids: Collection[UUID]) -> None:
    """Leave these in the queue as looked at, so that they are not queued once more."""
    await tx.execute(_SET_ASIDE, {**_of_connection(work), "ids": list(delivery_ids)})


async def forget_all(tx: Transaction, work: Retranslation) -> None:
    """Empty the queue."""
    await tx.execute(_FORGET_ALL, _of_connection(work))


async def count_curable(tx: Transaction, tenant_id: UUID, connection_id: UUID, *, reasons: Collection[str]) -> int:
    """How many of a connection's deliveries are in quarantine for one of these reasons."""
    parameters = {"tenant_id": tenant_id, "connection_id": connection_id, "reasons": list(reasons)}
    count: int = (await tx.rows(_COUNT_CURABLE, parameters))[0]["deliveries"]
    return count


def _of_connection(work: Retranslation) -> dict[str, object]:
    return {"tenant_id": work.tenant_id, "connection_id": work.connection_id}


def _retranslation(row: RowMapping) -> Retranslation:
    touched = _TOUCHED.validate_json(row["touched"])
    return Retranslation(**{**row, "state": RetranslationState(row["state"]), "touched": touched})


def _touched_text(touched: Touched) -> str:
    return _TOUCHED.dump_json(touched).decode()
