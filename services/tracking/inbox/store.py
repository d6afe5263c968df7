"""Every statement on deliveries."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

from pydantic import TypeAdapter
from sqlalchemy import RowMapping, TextClause, Update, select, text, update

from services.tracking.inbox.domain import Arrival, Delivery, DeliveryState, Origin
from services.tracking.inbox.tables import deliveries
from shared.db.database import Transaction

INBOX_CHANNEL: Final = "tracking_inbox"
RecordKey = tuple[UUID, UUID, UUID]
"""A tenant, a deal or an activity, and the delivery that speaks of it, or that the one which does is a copy of."""

_DELIVERY: Final = TypeAdapter(Delivery)
_ORIGINS: Final = {origin.value: origin for origin in Origin}

_STORE: Final = text(
    """
    WITH stored AS (
        INSERT INTO tracking.deliveries
            (tenant_id, id, connection_id, dedupe_key, received_at, headers, body, traceparent, origin, state)
        SELECT t, i, c, d, :received_at, CAST(h AS jsonb), b, p, 'webhook', 'received'
        FROM unnest(
            CAST(:tenant_ids AS uuid[]), CAST(:ids AS uuid[]), CAST(:connection_ids AS uuid[]),
            CAST(:dedupe_keys AS text[]), CAST(:headers AS text[]), CAST(:bodies AS bytea[]),
            CAST(:traceparents AS text[])
        ) AS new(t, i, c, d, h, b, p)
        ON CONFLICT (connection_id, dedupe_key) DO NOTHING
        RETURNING connection_id
    ), told AS (SELECT pg_notify(:channel, ''))
    SELECT connection_id, count(*) AS deliveries FROM stored, told GROUP BY connection_id
    """
)
_COPY: Final = text(
    """
    INSERT INTO tracking.deliveries
        (tenant_id, id, connection_id, dedupe_key, received_at, headers, body, traceparent, origin, caused_by,
        replay_of, state)
    SELECT held.tenant_id, asked.copy_id, held.connection_id, 'replay:' || asked.copy_id, :received_at, held.headers,
        held.body, held.traceparent, held.origin, held.caused_by, coalesce(held.replay_of, held.id), 'received'
    FROM unnest(CAST(:ids AS uuid[]), CAST(:copy_ids AS uuid[])) AS asked(id, copy_id)
    CROSS JOIN LATERAL (
        SELECT * FROM tracking.deliveries AS d WHERE d.tenant_id = :tenant_id AND d.id = asked.id LIMIT 1
    ) AS held
    """
)
_ADD_ASKED: Final = text(
    """
    INSERT INTO tracking.deliveries
        (tenant_id, id, connection_id, dedupe_key, received_at, headers, body, origin, caused_by, state)
    VALUES (:tenant_id, :id, :connection_id, :dedupe_key, :received_at, '{}', :body, :origin, :caused_by, 'received')
    """
)
# Claims in the order they came until their bodies together are too much for one transaction's memory.
_CLAIM: Final = text(
    """
    WITH waiting AS (
        SELECT tenant_id, id, octet_length(body) AS bytes FROM tracking.deliveries
        WHERE state = 'received' AND id > :after ORDER BY id LIMIT :count_max FOR UPDATE SKIP LOCKED
    ), sized AS (
        SELECT tenant_id, id, sum(bytes) OVER (ORDER BY id) - bytes AS bytes_before FROM waiting
    )
    SELECT held.tenant_id, held.id, held.connection_id, held.received_at, held.body, held.traceparent, held.origin,
        held.replay_of
    FROM sized CROSS JOIN LATERAL (
        SELECT * FROM tracking.deliveries AS d WHERE d.tenant_id = sized.tenant_id AND d.id = sized.id LIMIT 1
    ) AS held
    WHERE bytes_before < :bytes_max
    ORDER BY held.id
    """
)
_SETTLE: Final = text(
    """
    UPDATE tracking.deliveries AS d
    SET state = o.s, reason = o.r, pointer = o.p, detail = o.e, deals = o.n, processed_at = :processed_at
    FROM unnest(
        CAST(:tenant_ids AS uuid[]), CAST(:ids AS uuid[]), CAST(:states AS text[]), CAST(:reasons AS text[]),
        CAST(:pointers AS text[]), CAST(:details AS text[]), CAST(:deals AS integer[])
    ) AS o(t, i, s, r, p, e, n)
    WHERE d.tenant_id = o.t AND d.id = o.i
    """
)
_OVERTAKEN: Final = """
    SELECT asked.tenant_id, asked.id, asked.original
    FROM unnest(
        CAST(:tenant_ids AS uuid[]), CAST(:ids AS uuid[]), CAST(:originals AS uuid[]),
        CAST(:modified AS timestamptz[]), CAST(:sequences AS bigint[])
    ) AS asked(tenant_id, id, original, modified_at, sequence)
    CROSS JOIN LATERAL (
        SELECT modified_at, sequence, delivery_id FROM tracking.{records} AS r
        WHERE r.tenant_id = asked.tenant_id AND r.{id} = asked.id LIMIT 1
    ) AS newest
    LEFT JOIN LATERAL (
        SELECT replay_of FROM tracking.deliveries AS d
        WHERE d.tenant_id = asked.tenant_id AND d.id = newest.delivery_id LIMIT 1
    ) AS told_by ON true
    WHERE (newest.modified_at, newest.sequence, coalesce(told_by.replay_of, newest.delivery_id))
        > (asked.modified_at, asked.sequence, asked.original)
"""
_OVERTAKEN_DEALS: Final = text(_OVERTAKEN.format(records="deals", id="deal_id"))
_OVERTAKEN_ACTIVITIES: Final = text(_OVERTAKEN.format(records="activities", id="activity_id"))
_KEPT: Final = text(
    """
    SELECT held.id, held.received_at, held.body, held.origin, held.replay_of
    FROM unnest(CAST(:ids AS uuid[])) AS asked(id)
    CROSS JOIN LATERAL (
        SELECT id, received_at, body, origin, replay_of FROM tracking.deliveries AS d
        WHERE d.tenant_id = :tenant_id AND d.id = asked.id LIMIT 1
    ) AS held
    WHERE held.body IS NOT NULL
    ORDER BY held.id
    """
)
_ORIGINALS: Final = text(
    """
    SELECT asked.id, held.replay_of
    FROM unnest(CAST(:ids AS uuid[])) AS asked(id)
    CROSS JOIN LATERAL (
        SELECT replay_of FROM tracking.deliveries AS d WHERE d.tenant_id = :tenant_id AND d.id = asked.id LIMIT 1
    ) AS held
    WHERE held.replay_of IS NOT NULL
    """
)
_NEWEST_KEPT: Final = """
    WITH newest AS (
        SELECT id, octet_length(body) AS bytes FROM tracking.deliveries
        WHERE tenant_id = :tenant_id AND connection_id = :connection_id AND body IS NOT NULL {conditions}
        ORDER BY id DESC LIMIT :count_max
    ), sized AS (
        SELECT id, sum(bytes) OVER (ORDER BY id DESC) - bytes AS bytes_before FROM newest
    )
    SELECT held.id, held.received_at, held.body, held.origin, held.replay_of
    FROM sized CROSS JOIN LATERAL (
        SELECT id, received_at, body, origin, replay_of FROM tracking.deliveries AS d
        WHERE d.tenant_id = :tenant_id AND d.id = sized.id LIMIT 1
    ) AS held
    WHERE bytes_before < :bytes_max
    ORDER BY held.id
"""
_DROP_BODIES: Final = text(
    """
    UPDATE tracking.deliveries SET body = NULL, headers = '{}'
    WHERE (tenant_id, id) IN (
        SELECT tenant_id, id FROM tracking.deliveries
        WHERE received_at < :before AND state = 'translated' AND body IS NOT NULL
        LIMIT :count_max FOR UPDATE SKIP LOCKED
    )
    """
)


class Waiting(NamedTuple):
    """A delivery that is to be translated."""

    tenant_id: UUID
    id: UUID
    connection_id: UUID
    received_at: datetime
    body: bytes
    traceparent: str | None
    origin: Origin
    replay_of: UUID | None


class Kept(NamedTuple):
    """A delivery whose body is there to be translated again."""

    id: UUID
    received_at: datetime
    body: bytes
    origin: Origin
    replay_of: UUID | None

    @property
    def original(self) -> UUID:
        """The delivery that it is a copy of; itself where it is none."""
        return self.replay_of or self.id


class Spoken(NamedTuple):
    """A version of a deal or an activity that a copy speaks of, and the delivery it is a copy of."""

    tenant_id: UUID
    id: UUID
    original: UUID
    modified_at: datetime
    sequence: int


class Outcome(NamedTuple):
    """What became of a delivery."""

    tenant_id: UUID
    id: UUID
    state: DeliveryState
    reason: str | None = None
    pointer: str | None = None
    detail: str | None = None
    deals: int | None = None


async def add(tx: Transaction, arrivals: Sequence[Arrival]) -> dict[UUID, int]:
    """Store deliveries, all received now, and wake the processor; how many were not held already, by connection.

    Whoever stores several does so in the order of connection and dedupe key.
    """
    rows = await tx.rows(
        _STORE,
        {
            "channel": INBOX_CHANNEL,
            "received_at": tx.now,
            "tenant_ids": [each.sender.tenant_id for each in arrivals],
            "ids": [tx.new_id() for _ in arrivals],
            "connection_ids": [each.sender.connection_id for each in arrivals],
            "dedupe_keys": [each.dedupe_key for each in arrivals],
            "headers": [each.headers for each in arrivals],
            "bodies": [each.body for each in arrivals],
            "traceparents": [each.traceparent for each in arrivals],
        },
    )
    return {row["connection_id"]: row["deliveries"] for row in rows}


async def copies(tx: Transaction, tenant_id: UUID, delivery_ids: Sequence[UUID]) -> list[UUID]:
    """Make waiting deliveries out of translated ones, in their order, and wake the processor; the copies' ids."""
    # Ids of one moment are in no order of their own.
    copy_ids = sorted(tx.new_id() for _ in delivery_ids)
    if copy_ids:
        parameters = {"tenant_id": tenant_id, "ids": delivery_ids, "copy_ids": copy_ids, "received_at": tx.now}
        await tx.execute(_COPY, parameters)
        await tx.notify(INBOX_CHANNEL)
    return copy_ids


async def add_asked(
    tx: Transaction,
    tenant_id: UUID,
    connection_id: UUID,
    delivery_id: UUID,
    *,
    origin: Origin,
    caused_by: UUID | None,
    body: bytes,
) -> None:
    """Store what was asked for, and wake the processor."""
    await tx.execute(
        _ADD_ASKED,
        {
            "tenant_id": tenant_id,
            "id": delivery_id,
            "connection_id": connection_id,
            "dedupe_key": f"{origin.value}:{delivery_id}",
            "received_at": tx.now,
            "body": body,
            "origin": origin.value,
            "caused_by": caused_by,
        },
    )
    await tx.notify(INBOX_CHANNEL)


async def claim(tx: Transaction, *, after: UUID, count_max: int, bytes_max: int) -> list[Waiting]:
    """Deliveries nobody else is at, oldest first, later than `after`; held until the end of the transaction."""
    rows = await tx.rows(_CLAIM, {"after": after, "count_max": count_max, "bytes_max": bytes_max})
    return [Waiting(**{**row, "origin": _ORIGINS[row["origin"]]}) for row in rows]


async def settle(tx: Transaction, outcomes: Sequence[Outcome]) -> None:
    """Record what became of claimed deliveries."""
    tenant_ids, ids, states, reasons, pointers, details, deals = zip(*outcomes, strict=True)
    await tx.execute(
        _SETTLE,
        {
            "processed_at": tx.now,
            "tenant_ids": tenant_ids,
            "ids": ids,
            "states": states,
            "reasons": reasons,
            "pointers": pointers,
            "details": details,
            "deals": deals,
        },
    )


async def overtaken_deals(tx: Transaction, spoken: Collection[Spoken]) -> set[RecordKey]:
    """Those of the deals of which something newer is held than what the original said; a copy is as new as its own."""
    return await _overtaken(tx, _OVERTAKEN_DEALS, spoken)


async def overtaken_activities(tx: Transaction, spoken: Collection[Spoken]) -> set[RecordKey]:
    """The same of activities."""
    return await _overtaken(tx, _OVERTAKEN_ACTIVITIES, spoken)


async def _overtaken(tx: Transaction, statement: TextClause, spoken: Collection[Spoken]) -> set[RecordKey]:
    if not spoken:
        return set()
    ordered = sorted(spoken)
    parameters = {
        "tenant_ids": [each.tenant_id for each in ordered],
        "ids": [each.id for each in ordered],
        "originals": [each.original for each in ordered],
        "modified": [each.modified_at for each in ordered],
        "sequences": [each.sequence for each in ordered],
    }
    return {(row["tenant_id"], row["id"], row["original"]) for row in await tx.rows(statement, parameters)}


async def kept(tx: Transaction, tenant_id: UUID, delivery_ids: Collection[UUID]) -> list[Kept]:
    """Those of these deliveries whose bodies are still there, in their order."""
    return [_kept(row) for row in await tx.rows(_KEPT, {"tenant_id": tenant_id, "ids": list(delivery_ids)})]


async def originals(tx: Transaction, tenant_id: UUID, delivery_ids: Collection[UUID]) -> dict[UUID, UUID]:
    """What each of these deliveries is a copy of; those that are none are left out."""
    rows = await tx.rows(_ORIGINALS, {"tenant_id": tenant_id, "ids": list(delivery_ids)})
    return {row["id"]: row["replay_of"] for row in rows}


async def newest_kept(
    tx: Transaction,
    tenant_id: UUID,
    connection_id: UUID,
    *,
    reason: str | None = None,
    count_max: int,
    bytes_max: int,
) -> list[Kept]:
    """The newest deliveries of a connection whose bodies are still there, oldest first.

    Only those in quarantine for a reason, if one is given.
    """
    parameters: dict[str, object] = {
        "tenant_id": tenant_id,
        "connection_id": connection_id,
        "count_max": count_max,
        "bytes_max": bytes_max,
    }
    conditions = ""
    if reason is not None:
        conditions = "AND state = 'quarantined' AND reason = :reason"
        parameters["reason"] = reason
    return [_kept(row) for row in await tx.rows(text(_NEWEST_KEPT.format(conditions=conditions)), parameters)]


async def find(tx: Transaction, tenant_id: UUID, delivery_id: UUID) -> Delivery | None:
    """A delivery of the tenant."""
    row = await tx.one_or_none(
        select(deliveries).where(deliveries.c.tenant_id == tenant_id, deliveries.c.id == delivery_id)
    )
    return None if row is None else _delivery(row)


async def page(
    tx: Transaction,
    tenant_id: UUID,
    *,
    state: DeliveryState | None,
    connection_id: UUID | None,
    before: UUID | None,
    limit: int,
) -> list[Delivery]:
    """Deliveries of the tenant, newest first, without their bodies."""
    shown = [column for column in deliveries.c if column.name not in ("body", "headers")]
    statement = select(*shown).where(deliveries.c.tenant_id == tenant_id)
    if state is not None:
        # As text, so that the planner sees which partial index it is about.
        statement = statement.where(text(f"state = '{state.value}'"))
    if connection_id is not None:
        statement = statement.where(deliveries.c.connection_id == connection_id)
    if before is not None:
        statement = statement.where(deliveries.c.id < before)
    rows = await tx.rows(statement.order_by(deliveries.c.id.desc()).limit(limit))
    return [_delivery({**row, "body": None, "headers": {}}) for row in rows]


async def receive_again(tx: Transaction, tenant_id: UUID, ids: Collection[UUID]) -> None:
    """Let quarantined deliveries be translated again."""
    await tx.execute(_received_again().where(deliveries.c.tenant_id == tenant_id, deliveries.c.id.in_(ids)))
    await tx.notify(INBOX_CHANNEL)


async def receive_quarantined_again(tx: Transaction, tenant_id: UUID, connection_id: UUID) -> int:
    """Let every quarantined delivery of a connection be translated again; how many."""
    result = await tx.execute(
        _received_again().where(deliveries.c.tenant_id == tenant_id, deliveries.c.connection_id == connection_id)
    )
    await tx.notify(INBOX_CHANNEL)
    return result.rowcount


async def drop_bodies(tx: Transaction, *, before: datetime, count_max: int) -> int:
    """Drop bodies and headers of translated deliveries received before a moment; how many."""
    return (await tx.execute(_DROP_BODIES, {"before": before, "count_max": count_max})).rowcount


def _received_again() -> Update:
    return (
        update(deliveries)
        .where(text("state = 'quarantined'"))
        .values(
            state=DeliveryState.RECEIVED.value, reason=None, pointer=None, detail=None, deals=None, processed_at=None
        )
    )


def _kept(row: RowMapping) -> Kept:
    return Kept(row["id"], row["received_at"], row["body"], _ORIGINS[row["origin"]], row["replay_of"])


def _delivery(row: Mapping[str, object] | RowMapping) -> Delivery:
    return _DELIVERY.validate_python(dict(row))
