"""Every statement on what is sent to subscriptions, and on how their endpoints take it.

Order of locks: a delivery before its subscription's health, health before the subscription. Whoever claims waits for
nobody.
"""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple
from uuid import UUID

from pydantic import TypeAdapter
from sqlalchemy import RowMapping, delete, select, text, update

from services.tracking.tell.channels.domain.deliveries import (
    ATTEMPTS_STORED_MAX,
    FAILURES_BEFORE_REST,
    Attempt,
    Channel,
    Delivery,
    Health,
    LastRecorded,
    Occurrence,
    Recording,
    SubjectKey,
    SubscriptionDeliveryState,
    SubscriptionKey,
    Verdict,
)
from services.tracking.tell.channels.tables import outgoing_deliveries, subscription_health, subscriptions
from shared.db.database import Transaction

OUTGOING_CHANNEL: Final = "tracking_outgoing"
"""Notified when something became due to be sent."""

_ATTEMPTS: Final = TypeAdapter(tuple[Attempt, ...])
_DELIVERY: Final = TypeAdapter(Delivery)
_LOGGED: Final = tuple(column for column in outgoing_deliveries.c if column.name not in ("body", "in_flight_until"))

# A delivery that waits is locked until the end of the transaction, so that nobody sends what is about to be renewed.
_LAST: Final = text(
    """
    SELECT k.t AS tenant_id, k.s AS subscription_id, k.e AS event_type, k.u AS subject, l.version, l.delivery_id,
        w.attempted
    FROM unnest(
        CAST(:tenant_ids AS uuid[]), CAST(:subscription_ids AS uuid[]), CAST(:event_types AS text[]),
        CAST(:subjects AS text[])
    ) AS k(t, s, e, u)
    CROSS JOIN LATERAL (
        SELECT x.version, x.delivery_id FROM tracking.subscription_subjects AS x
        WHERE x.tenant_id = k.t AND x.subscription_id = k.s AND x.event_type = k.e AND x.subject = k.u LIMIT 1
    ) AS l
    LEFT JOIN LATERAL (
        SELECT d.attempts <> '[]' OR d.in_flight_until IS NOT NULL AS attempted
        FROM tracking.outgoing_deliveries AS d
        WHERE d.tenant_id = k.t AND d.id = l.delivery_id AND d.state = 'waiting' LIMIT 1 FOR UPDATE
    ) AS w ON true
    """
)
_ADD: Final = text(
    """
    INSERT INTO tracking.outgoing_deliveries
        (tenant_id, id, subscription_id, event_type, subject, event_version, occurred_at, body, state, tries, due_at,
         attempts, created_at)
    SELECT t, i, s, e, u, v, o, b, 'waiting', 0, :now, '[]', :now
    FROM unnest(
        CAST(:tenant_ids AS uuid[]), CAST(:ids AS uuid[]), CAST(:subscription_ids AS uuid[]),
        CAST(:event_types AS text[]), CAST(:subjects AS text[]), CAST(:versions AS bigint[]),
        CAST(:occurred AS timestamptz[]), CAST(:bodies AS bytea[])
    ) AS new(t, i, s, e, u, v, o, b)
    """
)
_RENEW: Final = text(
    """
    UPDATE tracking.outgoing_deliveries AS d SET event_version = n.v, occurred_at = n.o, body = n.b
    FROM unnest(
        CAST(:tenant_ids AS uuid[]), CAST(:ids AS uuid[]), CAST(:versions AS bigint[]),
        CAST(:occurred AS timestamptz[]), CAST(:bodies AS bytea[])
    ) AS n(t, i, v, o, b)
    WHERE d.tenant_id = n.t AND d.id = n.i
    """
)
_SUPERSEDE: Final = text(
    """
    UPDATE tracking.outgoing_deliveries AS d SET state = 'superseded', ended_at = :now
    FROM unnest(CAST(:tenant_ids AS uuid[]), CAST(:ids AS uuid[])) AS n(t, i)
    WHERE d.tenant_id = n.t AND d.id = n.i AND d.state = 'waiting'
    """
)
_REMEMBER: Final = text(
    """
    INSERT INTO tracking.subscription_subjects (tenant_id, subscription_id, event_type, subject, version, delivery_id)
    SELECT * FROM unnest(
        CAST(:tenant_ids AS uuid[]), CAST(:subscription_ids AS uuid[]), CAST(:event_types AS text[]),
        CAST(:subjects AS text[]), CAST(:versions AS bigint[]), CAST(:ids AS uuid[])
    )
    ON CONFLICT (tenant_id, subscription_id, event_type, subject)
    DO UPDATE SET version = excluded.version, delivery_id = excluded.delivery_id
    """
)
# Those whose turn was longest ago come first. Who is being served by another worker is left to it. A robot gets one
# message at a time, and rests in between.
_SERVE: Final = text(
    """
    WITH waiting AS MATERIALIZED (
        SELECT h.tenant_id, h.subscription_id,
            CASE WHEN h.failures >= :failures_before_rest OR s.channel <> 'webhook' THEN 1 ELSE :each_max END AS room,
            CAST(CAST(:spacings AS jsonb) ->> s.channel AS interval) AS spacing
        FROM tracking.subscription_health AS h
        JOIN tracking.subscriptions AS s ON s.tenant_id = h.tenant_id AND s.id = h.subscription_id
        WHERE s.status = 'active' AND s.deleted_at IS NULL AND h.rest_until <= :now
            AND EXISTS (
                SELECT FROM tracking.outgoing_deliveries AS d
                WHERE d.subscription_id = h.subscription_id AND d.state = 'waiting' AND d.due_at <= :now
            )
            AND :each_max > (
                SELECT count(*) FROM tracking.outgoing_deliveries AS f
                WHERE f.subscription_id = h.subscription_id AND f.in_flight_until > :now
            )
        ORDER BY h.served_at, h.subscription_id
        LIMIT :count_max
        FOR UPDATE OF h SKIP LOCKED
    )
    UPDATE tracking.subscription_health AS h
    SET served_at = :now, rest_until = coalesce(greatest(h.rest_until, :now + w.spacing), h.rest_until)
    FROM waiting AS w WHERE h.tenant_id = w.tenant_id AND h.subscription_id = w.subscription_id
    RETURNING w.tenant_id, w.subscription_id, w.room
    """
)
_NEXT_DUE_AT: Final = text(
    """
    SELECT min(greatest(h.rest_until, first.due_at)) AS at
    FROM tracking.subscription_health AS h
    JOIN tracking.subscriptions AS s ON s.tenant_id = h.tenant_id AND s.id = h.subscription_id
    CROSS JOIN LATERAL (
        SELECT d.due_at FROM tracking.outgoing_deliveries AS d
        WHERE d.subscription_id = h.subscription_id AND d.state = 'waiting' ORDER BY d.due_at LIMIT 1
    ) AS first
    WHERE s.status = 'active' AND s.deleted_at IS NULL
    """
)
# One of a subject at a time: none while one is under way, and of those that are due only the first. How many are under
# way is counted here, under the lock of the statement before.
_CLAIM: Final = text(
    """
    WITH due AS MATERIALIZED (
        SELECT w.t AS tenant_id, w.s AS subscription_id, w.room - u.under_way AS free,
            d.id, d.event_type, d.subject, d.event_version, d.due_at
        FROM unnest(CAST(:tenant_ids AS uuid[]), CAST(:subscription_ids AS uuid[]), CAST(:rooms AS integer[]))
            AS w(t, s, room)
        CROSS JOIN LATERAL (
            SELECT count(*) AS under_way FROM tracking.outgoing_deliveries AS f
            WHERE f.subscription_id = w.s AND f.in_flight_until > :now
        ) AS u
        CROSS JOIN LATERAL (
            SELECT x.id, x.event_type, x.subject, x.event_version, x.due_at FROM tracking.outgoing_deliveries AS x
            WHERE x.subscription_id = w.s AND x.state = 'waiting' AND x.due_at <= :now
                AND NOT EXISTS (
                    SELECT FROM tracking.outgoing_deliveries AS f
                    WHERE f.subscription_id = w.s AND f.subject = x.subject AND f.in_flight_until > :now
                )
            ORDER BY x.due_at, x.id LIMIT :looked_at
            FOR UPDATE SKIP LOCKED
        ) AS d
    ), firsts AS (
        SELECT DISTINCT ON (subscription_id, event_type, subject) * FROM due
        ORDER BY subscription_id, event_type, subject, event_version
    ), placed AS (
        SELECT *, row_number() OVER (PARTITION BY subscription_id ORDER BY due_at, id) AS place FROM firsts
    ), taken AS (
        SELECT tenant_id, id FROM placed WHERE place <= free ORDER BY place, due_at, id LIMIT :count_max
    )
    UPDATE tracking.outgoing_deliveries AS d SET due_at = :until, in_flight_until = :until
    FROM taken AS n WHERE d.tenant_id = n.tenant_id AND d.id = n.id
    RETURNING d.tenant_id, d.id, d.subscription_id, d.event_type, d.body, d.occurred_at, d.tries,
        d.attempts -> -1 ->> 'result' AS last_result, d.attempts -> -1 -> 'left' AS left
    """
)
_UNDER_WAY: Final = text(
    """
    SELECT h.id, h.state, h.tries, h.attempts
    FROM unnest(CAST(:tenant_ids AS uuid[]), CAST(:ids AS uuid[]), CAST(:untils AS timestamptz[])) AS k(t, i, u)
    CROSS JOIN LATERAL (
        SELECT d.id, d.state, d.tries, d.attempts FROM tracking.outgoing_deliveries AS d
        WHERE d.tenant_id = k.t AND d.id = k.i AND d.in_flight_until = k.u LIMIT 1 FOR UPDATE
    ) AS h
    """
)
_SETTLE: Final = text(
    """
    UPDATE tracking.outgoing_deliveries AS d
    SET state = n.s, tries = n.r, due_at = coalesce(n.u, d.due_at), in_flight_until = NULL,
        attempts = CAST(n.a AS jsonb), ended_at = CASE WHEN n.s <> 'waiting' THEN CAST(:now AS timestamptz) END
    FROM unnest(
        CAST(:tenant_ids AS uuid[]), CAST(:ids AS uuid[]), CAST(:states AS text[]), CAST(:tries AS integer[]),
        CAST(:due AS timestamptz[]), CAST(:attempts AS text[])
    ) AS n(t, i, s, r, u, a)
    WHERE d.tenant_id = n.t AND d.id = n.i
    """
)
# An endpoint that was well and still is has nothing to store, and is not locked.
_HEALTH: Final = text(
    """
    SELECT k.t AS tenant_id, k.s AS subscription_id, h.failures, h.failing_since, h.rest_until
    FROM unnest(CAST(:tenant_ids AS uuid[]), CAST(:subscription_ids AS uuid[]), CAST(:failed AS boolean[]))
        AS k(t, s, failed)
    CROSS JOIN LATERAL (
        SELECT * FROM tracking.subscription_health AS x
        WHERE x.tenant_id = k.t AND x.subscription_id = k.s AND (k.failed OR x.failures > 0) LIMIT 1 FOR UPDATE
    ) AS h
    """
)
_DROP_OLD: Final = text(
    """
    DELETE FROM tracking.outgoing_deliveries WHERE (tenant_id, id) IN (
        SELECT tenant_id, id FROM tracking.outgoing_deliveries
        WHERE created_at < :before LIMIT :count_max FOR UPDATE SKIP LOCKED
    )
    """
)
_DROP_LOG: Final = text(
    """
    DELETE FROM tracking.outgoing_deliveries WHERE (tenant_id, id) IN (
        SELECT tenant_id, id FROM tracking.outgoing_deliveries
        WHERE subscription_id = :id LIMIT :count_max FOR UPDATE SKIP LOCKED
    )
    """
)
_DROP_SUBJECTS: Final = text(
    """
    DELETE FROM tracking.subscription_subjects WHERE (tenant_id, subscription_id, event_type, subject) IN (
        SELECT tenant_id, subscription_id, event_type, subject FROM tracking.subscription_subjects
        WHERE tenant_id = :tenant_id AND subscription_id = :id LIMIT :count_max
    )
    """
)
_REPLAY_FAILED: Final = text(
    """
    UPDATE tracking.outgoing_deliveries SET state = 'waiting', tries = 0, due_at = :now, ended_at = NULL
    WHERE (tenant_id, id) IN (
        SELECT tenant_id, id FROM tracking.outgoing_deliveries
        WHERE tenant_id = :tenant_id AND subscription_id = :subscription_id AND state = 'failed'
            AND ended_at >= :since
        ORDER BY id LIMIT :count_max FOR UPDATE
    )
    """
)


class Claimed(NamedTuple):
    """A delivery that is this worker's to attempt until `until`."""

    tenant_id: UUID
    id: UUID
    subscription_id: UUID
    event_type: str
    body: bytes
    occurred_at: datetime
    tries: int
    last_result: str | None
    """What the last attempt came to, where a robot is asked."""
    left: Sequence[str] | None
    """The addresses that the last attempt left, of a letter."""
    until: datetime


class UnderWay(NamedTuple):
    """A delivery at the end of an attempt."""

    state: SubscriptionDeliveryState
    tries: int
    attempts: tuple[Attempt, ...]


class Settled(NamedTuple):
    """A delivery after an attempt."""

    tenant_id: UUID
    id: UUID
    verdict: Verdict
    tries: int
    attempts: tuple[Attempt, ...]


async def healths(
    tx: Transaction, subscriptions_failed: Mapping[SubscriptionKey, bool]
) -> dict[SubscriptionKey, Health]:
    """How endpoints are doing, locked until the end of the transaction: those that failed just now or before."""
    keys = sorted(subscriptions_failed)
    rows = await tx.rows(
        _HEALTH,
        {
            "tenant_ids": [key.tenant_id for key in keys],
            "subscription_ids": [key.subscription_id for key in keys],
            "failed": [subscriptions_failed[key] for key in keys],
        },
    )
    return {
        SubscriptionKey(row["tenant_id"], row["subscription_id"]): Health(
            row["failures"], row["failing_since"], row["rest_until"]
        )
        for row in rows
    }


async def set_health(tx: Transaction, tenant_id: UUID, subscription_id: UUID, state: Health) -> None:
    """Store how an endpoint is doing."""
    await tx.execute(
        update(subscription_health)
        .where(subscription_health.c.tenant_id == tenant_id, subscription_health.c.subscription_id == subscription_id)
        .values(failures=state.failures, failing_since=state.failing_since, rest_until=state.rest_until)
    )


async def end_rest(tx: Transaction, tenant_id: UUID, subscription_id: UUID) -> None:
    """Let an endpoint be tried at once."""
    await tx.execute(
        update(subscription_health)
        .where(subscription_health.c.tenant_id == tenant_id, subscription_health.c.subscription_id == subscription_id)
        .values(rest_until=tx.now)
    )


async def last_recorded(tx: Transaction, keys: Collection[SubjectKey]) -> dict[SubjectKey, LastRecorded]:
    """The newest recorded version of each subject that has one; its delivery is locked if it waits."""
    return {
        SubjectKey(row["tenant_id"], row["subscription_id"], row["event_type"], row["subject"]): LastRecorded(
            row["version"],
            row["delivery_id"],
            is_waiting=row["attempted"] is not None,
            is_untouched=row["attempted"] is False,
        )
        for row in await tx.rows(_LAST, _keys(sorted(keys)))
    }


async def record(tx: Transaction, planned: Recording) -> list[UUID]:
    """Store what was planned, due now, and wake whoever delivers; the ids of the new deliveries, in their order."""
    # Sorted, as those of one moment are in no order by themselves.
    ids = sorted(tx.new_id() for _ in planned.added)
    newest: dict[SubjectKey, tuple[int, UUID]] = {}
    for delivery_id, each in [*zip(ids, planned.added, strict=True), *planned.renewed]:
        newest[each.key] = (each.version, delivery_id)
    if planned.added:
        await tx.execute(
            _ADD,
            {
                "now": tx.now,
                **_keys([each.key for each in planned.added]),
                "ids": ids,
                **_contents(planned.added),
            },
        )
    if planned.renewed:
        await tx.execute(
            _RENEW,
            {
                "tenant_ids": [each.tenant_id for _, each in planned.renewed],
                "ids": [delivery_id for delivery_id, _ in planned.renewed],
                **_contents([each for _, each in planned.renewed]),
            },
        )
    if planned.superseded:
        await tx.execute(
            _SUPERSEDE,
            {
                "now": tx.now,
                "tenant_ids": [key.tenant_id for key, _ in planned.superseded],
                "ids": [delivery_id for _, delivery_id in planned.superseded],
            },
        )
    if newest:
        in_order = sorted(newest)
        await tx.execute(
            _REMEMBER,
            {
                **_keys(in_order),
                "versions": [newest[key][0] for key in in_order],
                "ids": [newest[key][1] for key in in_order],
            },
        )
        await tx.notify(OUTGOING_CHANNEL)
    return ids


async def claim(
    tx: Transaction, *, count_max: int, each_max: int, lease: timedelta, spacings: Mapping[Channel, timedelta]
) -> list[Claimed]:
    """Take due deliveries: of each endpoint as many as it may have at a time, of each subject one.

    Of a channel with a spacing an endpoint gets one, and then rests for so long.
    """
    served = await tx.rows(
        _SERVE,
        {
            "now": tx.now,
            "count_max": count_max,
            "each_max": each_max,
            "failures_before_rest": FAILURES_BEFORE_REST,
            "spacings": json.dumps({channel: f"{each.total_seconds()} seconds" for channel, each in spacings.items()}),
        },
    )
    if not served:
        return []
    until = tx.now + lease
    rows = await tx.rows(
        _CLAIM,
        {
            "now": tx.now,
            "until": until,
            "count_max": count_max,
            "looked_at": 4 * each_max,
            "tenant_ids": [row["tenant_id"] for row in served],
            "subscription_ids": [row["subscription_id"] for row in served],
            "rooms": [row["room"] for row in served],
        },
    )
    return [Claimed(**row, until=until) for row in rows]


async def next_due_at(tx: Transaction) -> datetime | None:
    """When the first delivery of any endpoint is due that may be called; None while none waits.

    One that is under way counts as due at the end of its lease.
    """
    at: datetime | None = (await tx.rows(_NEXT_DUE_AT))[0]["at"]
    return at


async def under_way(tx: Transaction, claimed: Sequence[Claimed]) -> dict[UUID, UnderWay]:
    """Claimed deliveries by id, locked until the end of the transaction; not those that are another worker's by now."""
    in_order = sorted(claimed, key=lambda each: (each.tenant_id, each.id))
    rows = await tx.rows(
        _UNDER_WAY,
        {
            "tenant_ids": [each.tenant_id for each in in_order],
            "ids": [each.id for each in in_order],
            "untils": [each.until for each in in_order],
        },
    )
    return {
        row["id"]: UnderWay(
            SubscriptionDeliveryState(row["state"]), row["tries"], _ATTEMPTS.validate_python(row["attempts"])
        )
        for row in rows
    }


async def settle(tx: Transaction, settled: Sequence[Settled]) -> None:
    """Store how attempts ended and end the claim on their deliveries. Of many attempts the last are stored."""
    in_order = sorted(settled, key=lambda each: (each.tenant_id, each.id))
    await tx.execute(
        _SETTLE,
        {
            "now": tx.now,
            "tenant_ids": [each.tenant_id for each in in_order],
            "ids": [each.id for each in in_order],
            "states": [each.verdict.state.value for each in in_order],
            "tries": [each.tries for each in in_order],
            "due": [each.verdict.due_at for each in in_order],
            "attempts": [_ATTEMPTS.dump_json(each.attempts[-ATTEMPTS_STORED_MAX:]).decode() for each in in_order],
        },
    )


async def log(
    tx: Transaction,
    tenant_id: UUID,
    subscription_id: UUID,
    *,
    state: SubscriptionDeliveryState | None,
    before: UUID | None,
    limit: int,
) -> list[Delivery]:
    """Deliveries of a subscription, newest first, without their bodies."""
    statement = select(*_LOGGED).where(
        outgoing_deliveries.c.tenant_id == tenant_id, outgoing_deliveries.c.subscription_id == subscription_id
    )
    if state is not None:
        # As text, so that the planner sees which partial index it is about.
        statement = statement.where(text(f"state = '{state.value}'"))
    if before is not None:
        statement = statement.where(outgoing_deliveries.c.id < before)
    rows = await tx.rows(statement.order_by(outgoing_deliveries.c.id.desc()).limit(limit))
    return [_delivery(row) for row in rows]


async def find_delivery(tx: Transaction, tenant_id: UUID, subscription_id: UUID, delivery_id: UUID) -> Delivery | None:
    """A delivery of a subscription, with its body."""
    row = await tx.one_or_none(
        select(*_LOGGED, outgoing_deliveries.c.body).where(
            outgoing_deliveries.c.tenant_id == tenant_id,
            outgoing_deliveries.c.id == delivery_id,
            outgoing_deliveries.c.subscription_id == subscription_id,
        )
    )
    return None if row is None else _delivery(row)


async def replay(tx: Transaction, delivery: Delivery) -> None:
    """Let a delivery be sent again, from the start of the schedule, and wake whoever delivers."""
    await tx.execute(
        update(outgoing_deliveries)
        .where(outgoing_deliveries.c.tenant_id == delivery.tenant_id, outgoing_deliveries.c.id == delivery.id)
        .values(state=SubscriptionDeliveryState.WAITING.value, tries=0, due_at=tx.now, ended_at=None)
    )
    await tx.notify(OUTGOING_CHANNEL)


async def replay_failed(
    tx: Transaction, tenant_id: UUID, subscription_id: UUID, *, since: datetime, count_max: int
) -> int:
    """Let what failed since a moment be sent again, oldest first, and wake whoever delivers; how many."""
    result = await tx.execute(
        _REPLAY_FAILED,
        {
            "now": tx.now,
            "tenant_id": tenant_id,
            "subscription_id": subscription_id,
            "since": since,
            "count_max": count_max,
        },
    )
    await tx.notify(OUTGOING_CHANNEL)
    return result.rowcount


async def wake(tx: Transaction) -> None:
    """Wake whoever delivers."""
    await tx.notify(OUTGOING_CHANNEL)


async def drop_old(tx: Transaction, *, before: datetime, count_max: int) -> int:
    """Drop deliveries recorded before a moment, whatever became of them; how many."""
    return (await tx.execute(_DROP_OLD, {"before": before, "count_max": count_max})).rowcount


async def drop_deleted(tx: Transaction, *, count_max: int) -> int:
    """Drop what is left of one deleted subscription, and itself with the last of it; how many rows."""
    row = await tx.one_or_none(
        select(subscriptions.c.tenant_id, subscriptions.c.id)
        .where(subscriptions.c.deleted_at.is_not(None))
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    if row is None:
        return 0
    parameters = {"tenant_id": row["tenant_id"], "id": row["id"], "count_max": count_max}
    dropped = sum([(await tx.execute(each, parameters)).rowcount for each in (_DROP_LOG, _DROP_SUBJECTS)])
    if dropped:
        return dropped
    for table, column in (
        (subscription_health, subscription_health.c.subscription_id),
        (subscriptions, subscriptions.c.id),
    ):
        await tx.execute(delete(table).where(table.c.tenant_id == row["tenant_id"], column == row["id"]))
    return 1


def _keys(keys: Sequence[SubjectKey]) -> dict[str, object]:
    return {
        "tenant_ids": [key.tenant_id for key in keys],
        "subscription_ids": [key.subscription_id for key in keys],
        "event_types": [key.event_type for key in keys],
        "subjects": [key.subject for key in keys],
    }


def _contents(occurrences: Iterable[Occurrence]) -> dict[str, object]:
    each = list(occurrences)
    return {
        "versions": [one.version for one in each],
        "occurred": [one.occurred_at for one in each],
        "bodies": [one.body for one in each],
    }


def _delivery(row: RowMapping) -> Delivery:
    return _DELIVERY.validate_python(dict(row))
