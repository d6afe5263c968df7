"""Every statement on what is still to be fetched."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

from sqlalchemy import text

from services.tracking.intake.inbox.domain.backlog import Backlog
from shared.db.database import Transaction


class Ask(NamedTuple):
    """A record that a delivery names."""

    tenant_id: UUID
    connection_id: UUID
    object_name: str
    external_id: str
    floor: datetime | None
    delivery_id: UUID


class DueConnection(NamedTuple):
    """A connection that something is due of."""

    tenant_id: UUID
    connection_id: UUID


class Claimed(NamedTuple):
    """A record to fetch. `asked`: how often it had been named when it was claimed."""

    tenant_id: UUID
    connection_id: UUID
    object_name: str
    external_id: str
    floor: datetime | None
    delivery_id: UUID
    asked: int
    attempts: int


class Queued(NamedTuple):
    """A record that is still to be fetched, and how that went so far."""

    object_name: str
    external_id: str
    delivery_id: UUID
    asked_at: datetime
    due_at: datetime
    attempts: int
    error: str | None


_ADD: Final = text(
    """
    INSERT INTO tracking.fetches AS stored
        (tenant_id, connection_id, object_name, external_id, floor, delivery_id, asked_at, asked, attempts, due_at)
    SELECT t, c, o, e, f, d, :now, 1, 0, :now
    FROM unnest(
        CAST(:tenant_ids AS uuid[]), CAST(:connection_ids AS uuid[]), CAST(:objects AS text[]),
        CAST(:external_ids AS text[]), CAST(:floors AS timestamptz[]), CAST(:delivery_ids AS uuid[])
    ) AS new(t, c, o, e, f, d)
    ON CONFLICT (tenant_id, connection_id, object_name, external_id) DO UPDATE SET
        floor = greatest(stored.floor, excluded.floor), delivery_id = excluded.delivery_id, asked = stored.asked + 1
    """
)
_WAITING_CONNECTIONS: Final = text(
    """
    SELECT tenant_id, connection_id, min(due_at) AS due_at FROM tracking.fetches
    GROUP BY tenant_id, connection_id ORDER BY min(due_at) LIMIT :limit
    """
)
_CLAIM: Final = text(
    """
    WITH first AS (
        SELECT object_name FROM tracking.fetches
        WHERE connection_id = :connection_id AND tenant_id = :tenant_id AND due_at <= :now
        ORDER BY due_at LIMIT 1
    ), due AS (
        SELECT tenant_id, connection_id, object_name, external_id FROM tracking.fetches
        WHERE connection_id = :connection_id AND tenant_id = :tenant_id AND due_at <= :now
            AND object_name = (SELECT object_name FROM first)
        ORDER BY due_at LIMIT :count_max FOR UPDATE SKIP LOCKED
    )
    UPDATE tracking.fetches AS f SET due_at = :until
    FROM due
    WHERE f.tenant_id = due.tenant_id AND f.connection_id = due.connection_id AND f.object_name = due.object_name
        AND f.external_id = due.external_id
    RETURNING f.tenant_id, f.connection_id, f.object_name, f.external_id, f.floor, f.delivery_id, f.asked, f.attempts
    """
)
_CLAIMED: Final = """unnest(
    CAST(:tenant_ids AS uuid[]), CAST(:connection_ids AS uuid[]), CAST(:objects AS text[]),
    CAST(:external_ids AS text[]), CAST(:asked AS bigint[])
) AS done(tenant_id, connection_id, object_name, external_id, asked)"""
_OF_CLAIMED: Final = """
    f.tenant_id = done.tenant_id AND f.connection_id = done.connection_id AND f.object_name = done.object_name
    AND f.external_id = done.external_id
"""
_SETTLE: Final = text(
    f"DELETE FROM tracking.fetches AS f USING {_CLAIMED} WHERE {_OF_CLAIMED} AND f.asked = done.asked"
)
_DUE_AGAIN: Final = text(
    f"UPDATE tracking.fetches AS f SET due_at = :now, attempts = 0, error = NULL FROM {_CLAIMED} WHERE {_OF_CLAIMED}"
)
_POSTPONE: Final = text(
    f"""
    UPDATE tracking.fetches AS f
    SET due_at = :until, error = coalesce(CAST(:error AS text), f.error),
        attempts = f.attempts + CASE WHEN CAST(:error AS text) IS NULL THEN 0 ELSE 1 END
    FROM {_CLAIMED} WHERE {_OF_CLAIMED}
    """
)
_DUE_AT_ONCE: Final = text(
    "UPDATE tracking.fetches SET due_at = :now WHERE connection_id = :connection_id AND tenant_id = :tenant_id"
)
_BACKLOG: Final = text(
    """
    SELECT count(*) AS count, min(asked_at) AS oldest_at FROM tracking.fetches
    WHERE connection_id = :connection_id AND tenant_id = :tenant_id
    """
)

_QUEUED: Final = text(
    """
    SELECT object_name, external_id, delivery_id, asked_at, due_at, attempts, error FROM tracking.fetches
    WHERE tenant_id = :tenant_id AND connection_id = :connection_id
        AND (object_name, external_id) > (:after_object, :after_id)
    ORDER BY object_name, external_id LIMIT :limit
    """
)


async def add(tx: Transaction, asks: Sequence[Ask]) -> None:
    """Queue these, each record once; the later naming counts."""
    newest = {(ask.tenant_id, ask.connection_id, ask.object_name, ask.external_id): ask for ask in asks}
    floors = _floors(asks)
    ordered = sorted(newest)
    await tx.execute(
        _ADD,
        {
            "now": tx.now,
            "tenant_ids": [key[0] for key in ordered],
            "connection_ids": [key[1] for key in ordered],
            "objects": [key[2] for key in ordered],
            "external_ids": [key[3] for key in ordered],
            "floors": [floors.get(key) for key in ordered],
            "delivery_ids": [newest[key].delivery_id for key in ordered],
        },
    )


async def waiting_connections(tx: Transaction, *, limit: int) -> list[tuple[DueConnection, datetime]]:
    """Connections that something is to be fetched of, and from when on; what is due first comes first."""
    rows = await tx.rows(_WAITING_CONNECTIONS, {"limit": limit})
    return [(DueConnection(row["tenant_id"], row["connection_id"]), row["due_at"]) for row in rows]


async def claim(
    tx: Transaction, tenant_id: UUID, connection_id: UUID, *, count_max: int, until: datetime
) -> list[Claimed]:
    """What is due of one object of a connection, not due again before `until`."""
    parameters = {
        "tenant_id": tenant_id,
        "connection_id": connection_id,
        "now": tx.now,
        "count_max": count_max,
        "until": until,
    }
    return [Claimed(**row) for row in await tx.rows(_CLAIM, parameters)]


async def settle(tx: Transaction, claimed: Collection[Claimed]) -> None:
    """Take these out of the queue, but for those that were named again since they were claimed."""
    parameters = _parameters(claimed)
    await tx.execute(_SETTLE, parameters)
    await tx.execute(_DUE_AGAIN, {**parameters, "now": tx.now})


async def postpone(tx: Transaction, claimed: Collection[Claimed], *, until: datetime, error: str | None) -> None:
    """Let these be due at a moment."""
    await tx.execute(_POSTPONE, {**_parameters(claimed), "until": until, "error": error})


async def due_at_once(tx: Transaction, tenant_id: UUID, connection_id: UUID) -> None:
    """Let all of a connection be due now."""
    await tx.execute(_DUE_AT_ONCE, {"tenant_id": tenant_id, "connection_id": connection_id, "now": tx.now})


async def backlog(tx: Transaction, tenant_id: UUID, connection_id: UUID) -> Backlog:
    """How many of a connection are queued, and since when the oldest is."""
    return Backlog(**(await tx.rows(_BACKLOG, {"tenant_id": tenant_id, "connection_id": connection_id}))[0])


async def queued(
    tx: Transaction, tenant_id: UUID, connection_id: UUID, *, after: tuple[str, str], limit: int
) -> list[Queued]:
    """What of a connection is still to be fetched, by object and id."""
    parameters = {
        "tenant_id": tenant_id,
        "connection_id": connection_id,
        "after_object": after[0],
        "after_id": after[1],
        "limit": limit,
    }
    return [Queued(**row) for row in await tx.rows(_QUEUED, parameters)]


def _floors(asks: Sequence[Ask]) -> dict[tuple[UUID, UUID, str, str], datetime]:
    floors: dict[tuple[UUID, UUID, str, str], datetime] = {}
    for ask in asks:
        if ask.floor is not None:
            key = (ask.tenant_id, ask.connection_id, ask.object_name, ask.external_id)
            floors[key] = max(ask.floor, floors.get(key, ask.floor))
    return floors


def _parameters(claimed: Collection[Claimed]) -> dict[str, object]:
    ordered = sorted(claimed, key=lambda each: each[:4])
    return {
        "tenant_ids": [each.tenant_id for each in ordered],
        "connection_ids": [each.connection_id for each in ordered],
        "objects": [each.object_name for each in ordered],
        "external_ids": [each.external_id for each in ordered],
        "asked": [each.asked for each in ordered],
    }
