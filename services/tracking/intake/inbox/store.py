"""Every statement on deliveries."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

from pydantic import TypeAdapter
from sqlalchemy import RowMapping, Update, func, select, text, update

from services.tracking.intake.inbox.domain.deliveries import Arrival, Delivery, DeliveryState, Discard, Origin, Problem
from services.tracking.intake.inbox.tables import deliveries
from services.tracking.intake.inbox.tables import delivery_bodies as bodies
from services.tracking.intake.inbox.tables import delivery_discards as discards
from services.tracking.intake.sources.domain import Remark
from shared.db.arrays import array_text
from shared.db.database import Transaction

INBOX_CHANNEL: Final = "tracking_inbox"
_DELIVERY: Final = TypeAdapter(Delivery)
_PROBLEMS: Final = TypeAdapter(Sequence[Problem])
_REMARKS: Final = TypeAdapter(Sequence[Remark])
_ORIGINS: Final = {origin.value: origin for origin in Origin}

BODY: Final = """coalesce(d.body, (
        SELECT b.body FROM tracking.delivery_bodies AS b WHERE b.tenant_id = d.tenant_id AND b.id = d.id
    ))"""
"""Of the delivery `d`: NULL once its time of retention is over."""

_STORE: Final = text(
    """
    WITH incoming AS (
        SELECT * FROM unnest(
            CAST(CAST(:tenant_ids AS text) AS uuid[]), CAST(CAST(:ids AS text) AS uuid[]),
            CAST(CAST(:connection_ids AS text) AS uuid[]), CAST(CAST(:dedupe_keys AS text) AS text[]),
            CAST(CAST(:headers AS text) AS text[]), CAST(:bodies AS bytea[]),
            CAST(CAST(:traceparents AS text) AS text[])
        ) AS new(t, i, c, d, h, b, p)
    ), stored AS (
        INSERT INTO tracking.deliveries
            (tenant_id, id, connection_id, dedupe_key, received_at, headers, traceparent, origin, state)
        SELECT t, i, c, d, :received_at, '{}', p, 'webhook', 'received' FROM incoming
        ON CONFLICT (connection_id, dedupe_key) DO NOTHING
        RETURNING connection_id, id
    ), with_bodies AS (
        INSERT INTO tracking.delivery_bodies (tenant_id, id, headers, body)
        SELECT t, i, CAST(h AS jsonb), b FROM incoming WHERE i IN (SELECT id FROM stored)
    ), notified AS (SELECT CASE WHEN :is_left_waiting THEN pg_notify(:channel, '') END)
    SELECT connection_id, array_agg(id) AS ids FROM stored, notified GROUP BY connection_id
    """
)
_COPY: Final = text(
    f"""
    WITH stored AS MATERIALIZED (
        SELECT wanted.copy_id, d.*, {BODY} AS stored_body, coalesce(b.headers, d.headers) AS stored_headers
        FROM unnest(CAST(:ids AS uuid[]), CAST(:copy_ids AS uuid[])) AS wanted(id, copy_id)
        CROSS JOIN LATERAL (
            SELECT * FROM tracking.deliveries AS d WHERE d.tenant_id = :tenant_id AND d.id = wanted.id LIMIT 1
        ) AS d
        LEFT JOIN LATERAL (
            SELECT headers FROM tracking.delivery_bodies AS b
            WHERE b.tenant_id = d.tenant_id AND b.id = d.id LIMIT 1
        ) AS b ON true
    ), with_bodies AS (
        INSERT INTO tracking.delivery_bodies (tenant_id, id, headers, body)
        SELECT tenant_id, copy_id, stored_headers, stored_body FROM stored
    )
    INSERT INTO tracking.deliveries
        (tenant_id, id, connection_id, dedupe_key, received_at, headers, traceparent, origin, caused_by, replay_of,
        state)
    SELECT tenant_id, copy_id, connection_id, 'replay:' || copy_id, :received_at, '{{}}', traceparent, origin,
        caused_by, coalesce(replay_of, id), 'received'
    FROM stored
    """
)
_ADD_FETCHED: Final = text(
    """
    WITH with_body AS (
        INSERT INTO tracking.delivery_bodies (tenant_id, id, headers, body) VALUES (:tenant_id, :id, '{}', :body)
    )
    INSERT INTO tracking.deliveries
        (tenant_id, id, connection_id, dedupe_key, received_at, headers, origin, caused_by, state)
    VALUES (:tenant_id, :id, :connection_id, :dedupe_key, :received_at, '{}', :origin, :caused_by, 'received')
    """
)
# Of a copy that of its original: nothing becomes newer by being translated once more.
_FIRST_RECEIVED_AT: Final = """
    CASE WHEN d.replay_of IS NULL THEN d.received_at ELSE coalesce(
        (
            SELECT original.received_at FROM tracking.deliveries AS original
            WHERE original.tenant_id = d.tenant_id AND original.id = d.replay_of
        ),
        d.received_at
    ) END AS first_received_at
"""
# Claims in the order they came until their bodies together are too much for one transaction's memory: of those left out
# no more is read than how large they are.
_CLAIM: Final = f"""
    WITH waiting AS (
        SELECT tenant_id, id FROM tracking.deliveries
        WHERE {{condition}} ORDER BY id LIMIT :count_max FOR UPDATE SKIP LOCKED
    ), sized AS (
        SELECT stored.*, sum(octet_length(body)) OVER (ORDER BY stored.id) - octet_length(body) AS bytes_before
        FROM waiting CROSS JOIN LATERAL (
            SELECT d.tenant_id, d.id, d.connection_id, d.received_at, {_FIRST_RECEIVED_AT}, {BODY} AS body,
                d.traceparent, d.origin, d.replay_of
            FROM tracking.deliveries AS d WHERE d.tenant_id = waiting.tenant_id AND d.id = waiting.id LIMIT 1
        ) AS stored
    )
    SELECT tenant_id, id, connection_id, received_at, first_received_at, body, traceparent, origin, replay_of
    FROM sized WHERE bytes_before < :bytes_max ORDER BY id
"""
_CLAIM_RECEIVED: Final = text(_CLAIM.format(condition="state = 'received' AND id > :after"))
_CLAIM_QUARANTINED: Final = text(
    _CLAIM.format(
        condition="tenant_id = :tenant_id AND state = 'quarantined' AND connection_id = :connection_id"
        " AND reason = ANY(:reasons) AND processed_at < :before"
    )
)
_CLAIM_COPIES: Final = text(_CLAIM.format(condition="tenant_id = :tenant_id AND id = ANY(:ids)"))
_SETTLE: Final = text(
    """
    UPDATE tracking.deliveries AS d
    SET state = o.s, reason = o.r, pointer = o.p, detail = o.e, deals = o.n, problems = CAST(o.b AS jsonb),
        remarks = CAST(o.m AS jsonb), processed_at = :processed_at
    FROM unnest(
        CAST(CAST(:tenant_ids AS text) AS uuid[]), CAST(CAST(:ids AS text) AS uuid[]),
        CAST(CAST(:states AS text) AS text[]), CAST(CAST(:reasons AS text) AS text[]),
        CAST(CAST(:pointers AS text) AS text[]), CAST(CAST(:details AS text) AS text[]),
        CAST(CAST(:deals AS text) AS integer[]), CAST(CAST(:problems AS text) AS text[]),
        CAST(CAST(:remarks AS text) AS text[])
    ) AS o(t, i, s, r, p, e, n, b, m)
    WHERE d.tenant_id = o.t AND d.id = o.i
    """
)
_STORED_COLUMNS: Final = (
    f"d.id, d.connection_id, d.received_at, {_FIRST_RECEIVED_AT}, {BODY} AS body, d.origin, d.replay_of"
)
_WITH_BODIES: Final = text(
    f"""
    SELECT stored.* FROM unnest(CAST(:ids AS uuid[])) AS wanted(id)
    CROSS JOIN LATERAL (
        SELECT {_STORED_COLUMNS} FROM tracking.deliveries AS d
        WHERE d.tenant_id = :tenant_id AND d.id = wanted.id LIMIT 1
    ) AS stored
    WHERE stored.body IS NOT NULL
    ORDER BY stored.id
    """
)
_ORIGINALS: Final = text(
    """
    SELECT named.tenant_id, named.id, stored.replay_of
    FROM unnest(CAST(:tenant_ids AS uuid[]), CAST(:ids AS uuid[])) AS named(tenant_id, id)
    CROSS JOIN LATERAL (
        SELECT replay_of FROM tracking.deliveries AS d WHERE d.tenant_id = named.tenant_id AND d.id = named.id LIMIT 1
    ) AS stored
    WHERE stored.replay_of IS NOT NULL
    """
)
_NEWEST_WITH_BODIES: Final = f"""
    WITH newest AS (
        SELECT d.id, octet_length({BODY}) AS bytes FROM tracking.deliveries AS d
        WHERE tenant_id = :tenant_id AND connection_id = :connection_id AND {BODY} IS NOT NULL {{conditions}}
        ORDER BY id DESC LIMIT :count_max
    ), sized AS (
        SELECT id, sum(bytes) OVER (ORDER BY id DESC) - bytes AS bytes_before FROM newest
    )
    SELECT stored.* FROM sized CROSS JOIN LATERAL (
        SELECT {_STORED_COLUMNS} FROM tracking.deliveries AS d
        WHERE d.tenant_id = :tenant_id AND d.id = sized.id LIMIT 1
    ) AS stored
    WHERE bytes_before < :bytes_max
    ORDER BY stored.id
"""
# The first lets no other worker at the tables until the end of the transaction.
_KEEP_MONTHS: Final = text("SELECT tracking.make_partitions(), tracking.drop_delivery_bodies(:before)")
# What was stored by a release before, or was in quarantine when its month was dropped.
_DROP_BODIES_IN_ROWS: Final = text(
    """
    UPDATE tracking.deliveries SET body = NULL, headers = '{}'
    WHERE (tenant_id, id) IN (
        SELECT tenant_id, id FROM tracking.deliveries
        WHERE received_at < :before AND state IN ('translated', 'discarded') AND body IS NOT NULL
        LIMIT :count_max FOR UPDATE SKIP LOCKED
    )
    """
)


_CHOSEN: Final = """
    FROM tracking.deliveries
    WHERE tenant_id = :tenant_id AND state = 'quarantined' AND connection_id = :connection_id
        AND (CAST(:reasons AS text[]) IS NULL OR reason = ANY(CAST(:reasons AS text[])))
        AND (CAST(:ids AS uuid[]) IS NULL OR id = ANY(CAST(:ids AS uuid[])))
"""
_COUNT_CHOSEN: Final = text(f"SELECT count(*) AS deliveries {_CHOSEN}")
_DISCARD: Final = text(
    f"""
    WITH chosen AS (SELECT tenant_id, id, connection_id {_CHOSEN} ORDER BY id LIMIT :count_max FOR UPDATE),
    discarded AS (
        UPDATE tracking.deliveries AS d SET state = 'discarded' FROM chosen
        WHERE d.tenant_id = chosen.tenant_id AND d.id = chosen.id
    )
    INSERT INTO tracking.delivery_discards
        (tenant_id, delivery_id, id, connection_id, reason, discarded_at, discarded_by)
    SELECT tenant_id, id, :discard_id, connection_id, :reason, :now, :by FROM chosen
    """
)
_RESTORE: Final = """
    WITH restored AS (
        UPDATE tracking.delivery_discards SET restored_at = :now, restored_by = :by
        WHERE tenant_id = :tenant_id AND restored_at IS NULL AND {column} = :chosen
        RETURNING tenant_id, delivery_id
    )
    UPDATE tracking.deliveries AS d SET state = 'quarantined' FROM restored
    WHERE d.tenant_id = restored.tenant_id AND d.id = restored.delivery_id
    RETURNING d.connection_id
"""
_RESTORE_ONE: Final = text(_RESTORE.format(column="delivery_id"))
_RESTORE_ALL: Final = text(_RESTORE.format(column="id"))
_DISCARDS: Final = text(
    """
    SELECT DISTINCT ON (delivery_id) delivery_id, id, reason, discarded_at, discarded_by, restored_at, restored_by
    FROM tracking.delivery_discards WHERE tenant_id = :tenant_id AND delivery_id = ANY(CAST(:ids AS uuid[]))
    ORDER BY delivery_id, discarded_at DESC
    """
)


class Chosen(NamedTuple):
    """Quarantined deliveries of a connection: all, those in quarantine for certain reasons, or those of certain ids."""

    connection_id: UUID
    reasons: Collection[str] | None = None
    delivery_ids: Collection[UUID] | None = None


class Waiting(NamedTuple):
    """A delivery that is to be translated."""

    tenant_id: UUID
    id: UUID
    connection_id: UUID
    received_at: datetime
    first_received_at: datetime
    """When its original was, for a copy."""
    body: bytes
    traceparent: str | None
    origin: Origin
    replay_of: UUID | None

    @classmethod
    def arrived(cls, arrival: Arrival, delivery_id: UUID, received_at: datetime) -> "Waiting":
        """One that a source has just sent."""
        sender = arrival.sender
        return cls(
            sender.tenant_id,
            delivery_id,
            sender.connection_id,
            received_at,
            received_at,
            arrival.body,
            arrival.traceparent,
            Origin.WEBHOOK,
            None,
        )


class StoredDelivery(NamedTuple):
    """A delivery whose body is there to be translated again."""

    id: UUID
    connection_id: UUID
    received_at: datetime
    first_received_at: datetime
    """When its original was, for a copy."""
    body: bytes
    origin: Origin
    replay_of: UUID | None

    @property
    def original(self) -> UUID:
        """The delivery that it is a copy of; itself where it is none."""
        return self.replay_of or self.id


class Outcome(NamedTuple):
    """What became of a delivery."""

    tenant_id: UUID
    id: UUID
    state: DeliveryState
    reason: str | None = None
    pointer: str | None = None
    detail: str | None = None
    deals: int | None = None
    problems: Sequence[Problem] = ()
    remarks: Sequence[Remark] = ()


async def add(
    tx: Transaction, arrivals: Sequence[Arrival], ids: Sequence[UUID], *, is_left_waiting: bool
) -> dict[UUID, list[UUID]]:
    """Store deliveries, all received now; the ids of those that were not stored already, by connection.

    The processor is woken if they are left waiting for it. Whoever stores several does so in the order of connection
    and dedupe key.
    """
    rows = await tx.rows(
        _STORE,
        {
            "channel": INBOX_CHANNEL,
            "is_left_waiting": is_left_waiting,
            "received_at": tx.now,
            "tenant_ids": array_text([each.sender.tenant_id for each in arrivals]),
            "ids": array_text(ids),
            "connection_ids": array_text([each.sender.connection_id for each in arrivals]),
            "dedupe_keys": array_text([each.dedupe_key for each in arrivals]),
            "headers": array_text([each.headers for each in arrivals]),
            "bodies": [each.body for each in arrivals],
            "traceparents": array_text([each.traceparent for each in arrivals]),
        },
    )
    return {row["connection_id"]: row["ids"] for row in rows}


async def wake(tx: Transaction) -> None:
    """Have the processor come for what waits, once the transaction is committed."""
    await tx.notify(INBOX_CHANNEL)


async def copies(tx: Transaction, tenant_id: UUID, delivery_ids: Sequence[UUID]) -> list[UUID]:
    """Make waiting deliveries out of translated ones, in their order; the copies' ids."""
    # Ids of one moment are in no order of their own.
    copy_ids = sorted(tx.new_id() for _ in delivery_ids)
    if copy_ids:
        parameters = {"tenant_id": tenant_id, "ids": delivery_ids, "copy_ids": copy_ids, "received_at": tx.now}
        await tx.execute(_COPY, parameters)
    return copy_ids


async def add_fetched(
    tx: Transaction,
    tenant_id: UUID,
    connection_id: UUID,
    delivery_id: UUID,
    *,
    origin: Origin,
    caused_by: UUID | None,
    body: bytes,
) -> None:
    """Store what was fetched, and wake the processor."""
    await tx.execute(
        _ADD_FETCHED,
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
    """Deliveries nobody else is at, oldest first, later than `after`; locked until the end of the transaction."""
    rows = await tx.rows(_CLAIM_RECEIVED, {"after": after, "count_max": count_max, "bytes_max": bytes_max})
    return [_waiting(row) for row in rows]


async def claim_quarantined(
    tx: Transaction,
    tenant_id: UUID,
    connection_id: UUID,
    *,
    reasons: Collection[str],
    before: datetime,
    count_max: int,
    bytes_max: int,
) -> list[Waiting]:
    """The same of those of a connection that were put in quarantine for one of these reasons before a moment."""
    parameters = {
        "tenant_id": tenant_id,
        "connection_id": connection_id,
        "reasons": list(reasons),
        "before": before,
        "count_max": count_max,
        "bytes_max": bytes_max,
    }
    return [_waiting(row) for row in await tx.rows(_CLAIM_QUARANTINED, parameters)]


async def claim_copies(
    tx: Transaction, tenant_id: UUID, copy_ids: Collection[UUID], *, bytes_max: int
) -> list[Waiting]:
    """The same of copies just made."""
    parameters = {"tenant_id": tenant_id, "ids": copy_ids, "count_max": len(copy_ids), "bytes_max": bytes_max}
    return [_waiting(row) for row in await tx.rows(_CLAIM_COPIES, parameters)]


async def settle(tx: Transaction, outcomes: Sequence[Outcome]) -> None:
    """Record what became of claimed deliveries."""
    tenant_ids, ids, states, reasons, pointers, details, deals, problems, remarks = zip(*outcomes, strict=True)
    await tx.execute(
        _SETTLE,
        {
            "processed_at": tx.now,
            "tenant_ids": array_text(tenant_ids),
            "ids": array_text(ids),
            "states": array_text(states),
            "reasons": array_text(reasons),
            "pointers": array_text(pointers),
            "details": array_text(details),
            "deals": array_text(deals),
            "problems": array_text([_PROBLEMS.dump_json(each).decode() if each else None for each in problems]),
            "remarks": array_text([_REMARKS.dump_json(each).decode() if each else None for each in remarks]),
        },
    )


async def with_bodies(tx: Transaction, tenant_id: UUID, delivery_ids: Collection[UUID]) -> list[StoredDelivery]:
    """Those of these deliveries whose bodies are still there, in their order."""
    return [
        _stored_delivery(row)
        for row in await tx.rows(_WITH_BODIES, {"tenant_id": tenant_id, "ids": list(delivery_ids)})
    ]


async def originals(tx: Transaction, keys: Collection[tuple[UUID, UUID]]) -> dict[tuple[UUID, UUID], UUID]:
    """What each of these deliveries (tenant, delivery) is a copy of; those that are none are left out."""
    parameters = {"tenant_ids": [tenant_id for tenant_id, _ in keys], "ids": [delivery_id for _, delivery_id in keys]}
    rows = await tx.rows(_ORIGINALS, parameters)
    return {(row["tenant_id"], row["id"]): row["replay_of"] for row in rows}


async def newest_stored(
    tx: Transaction,
    tenant_id: UUID,
    connection_id: UUID,
    *,
    reason: str | None = None,
    count_max: int,
    bytes_max: int,
) -> list[StoredDelivery]:
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
    return [
        _stored_delivery(row)
        for row in await tx.rows(text(_NEWEST_WITH_BODIES.format(conditions=conditions)), parameters)
    ]


async def find(tx: Transaction, tenant_id: UUID, delivery_id: UUID) -> Delivery | None:
    """A delivery of the tenant."""
    stored_apart = ("headers", "body")
    row = await tx.one_or_none(
        select(
            *(column for column in deliveries.c if column.name not in stored_apart),
            *(func.coalesce(bodies.c[name], deliveries.c[name]).label(name) for name in stored_apart),
        )
        .outerjoin(bodies, (bodies.c.tenant_id == deliveries.c.tenant_id) & (bodies.c.id == deliveries.c.id))
        .where(deliveries.c.tenant_id == tenant_id, deliveries.c.id == delivery_id)
    )
    if row is None:
        return None
    return replace(_delivery(row), discard=(await _discards(tx, tenant_id, [delivery_id])).get(delivery_id))


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
    if state is DeliveryState.DISCARDED:
        # Those are in a table of their own, which the whole of the deliveries need not be searched for.
        discarded = select(discards.c.delivery_id).where(discards.c.tenant_id == tenant_id, text("restored_at IS NULL"))
        if connection_id is not None:
            discarded = discarded.where(discards.c.connection_id == connection_id)
        if before is not None:
            discarded = discarded.where(discards.c.delivery_id < before)
        statement = statement.where(deliveries.c.id.in_(discarded.order_by(discards.c.delivery_id.desc()).limit(limit)))
    elif state is not None:
        # As text, so that the planner sees which partial index it is about.
        statement = statement.where(text(f"state = '{state.value}'"))
    if connection_id is not None:
        statement = statement.where(deliveries.c.connection_id == connection_id)
    if before is not None:
        statement = statement.where(deliveries.c.id < before)
    rows = await tx.rows(statement.order_by(deliveries.c.id.desc()).limit(limit))
    known = await _discards(tx, tenant_id, [row["id"] for row in rows])
    return [replace(_delivery({**row, "body": None, "headers": {}}), discard=known.get(row["id"])) for row in rows]


async def discard(
    tx: Transaction, tenant_id: UUID, discard_id: UUID, chosen: Chosen, *, reason: str, by: UUID | None, count_max: int
) -> int:
    """Discard quarantined deliveries, the oldest first; how many."""
    parameters = {
        **_chosen(tenant_id, chosen),
        "discard_id": discard_id,
        "reason": reason,
        "by": by,
        "now": tx.now,
        "count_max": count_max,
    }
    return (await tx.execute(_DISCARD, parameters)).rowcount


async def count_chosen(tx: Transaction, tenant_id: UUID, chosen: Chosen) -> int:
    """How many there are."""
    count: int = (await tx.rows(_COUNT_CHOSEN, _chosen(tenant_id, chosen)))[0]["deliveries"]
    return count


async def restore(
    tx: Transaction,
    tenant_id: UUID,
    *,
    delivery_id: UUID | None = None,
    discard_id: UUID | None = None,
    by: UUID | None,
) -> list[UUID]:
    """Put a discarded delivery, or all that one call discarded, back in quarantine; the connection of each."""
    statement = _RESTORE_ALL if delivery_id is None else _RESTORE_ONE
    parameters = {"tenant_id": tenant_id, "chosen": delivery_id or discard_id, "by": by, "now": tx.now}
    return [row["connection_id"] for row in await tx.rows(statement, parameters)]


async def receive_again(tx: Transaction, tenant_id: UUID, ids: Collection[UUID]) -> None:
    """Let quarantined deliveries be translated again."""
    await tx.execute(_received_again().where(deliveries.c.tenant_id == tenant_id, deliveries.c.id.in_(ids)))
    await tx.notify(INBOX_CHANNEL)


async def receive_quarantined_again(
    tx: Transaction, tenant_id: UUID, connection_id: UUID, *, reasons: Collection[str] | None = None
) -> int:
    """Let a connection's quarantined deliveries, all or those of some reasons, be translated again; how many."""
    statement = _received_again().where(
        deliveries.c.tenant_id == tenant_id, deliveries.c.connection_id == connection_id
    )
    if reasons is not None:
        statement = statement.where(deliveries.c.reason.in_(reasons))
    result = await tx.execute(statement)
    await tx.notify(INBOX_CHANNEL)
    return result.rowcount


async def keep_months(tx: Transaction, *, before: datetime) -> None:
    """Drop the bodies and headers of the months that ended before the one of a moment; see to the months to come.

    Not those in quarantine and those that wait: these get theirs into their rows.
    """
    await tx.execute(_KEEP_MONTHS, {"before": before})


async def drop_bodies_in_rows(tx: Transaction, *, before: datetime, count_max: int) -> int:
    """Drop bodies and headers that stand in rows of translated and discarded deliveries received before a moment."""
    return (await tx.execute(_DROP_BODIES_IN_ROWS, {"before": before, "count_max": count_max})).rowcount


def _received_again() -> Update:
    return (
        update(deliveries)
        .where(text("state = 'quarantined'"))
        .values(
            state=DeliveryState.RECEIVED.value,
            reason=None,
            pointer=None,
            detail=None,
            deals=None,
            problems=None,
            remarks=None,
            processed_at=None,
        )
    )


def _chosen(tenant_id: UUID, chosen: Chosen) -> dict[str, object]:
    return {
        "tenant_id": tenant_id,
        "connection_id": chosen.connection_id,
        "reasons": None if chosen.reasons is None else list(chosen.reasons),
        "ids": None if chosen.delivery_ids is None else list(chosen.delivery_ids),
    }


async def _discards(tx: Transaction, tenant_id: UUID, ids: Collection[UUID]) -> dict[UUID, Discard]:
    """The last discard of each of these deliveries that was ever discarded."""
    rows = await tx.rows(_DISCARDS, {"tenant_id": tenant_id, "ids": list(ids)})
    return {
        row["delivery_id"]: Discard(**{name: value for name, value in row.items() if name != "delivery_id"})
        for row in rows
    }


def _waiting(row: RowMapping) -> Waiting:
    return Waiting(**{**row, "origin": _ORIGINS[row["origin"]]})


def _stored_delivery(row: RowMapping) -> StoredDelivery:
    return StoredDelivery(**{**row, "origin": _ORIGINS[row["origin"]]})


def _delivery(row: Mapping[str, object] | RowMapping) -> Delivery:
    return _DELIVERY.validate_python(dict(row))
