"""Bodies of deliveries by month on real Postgres: what is dropped, what stays, and who may do what."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import asyncpg
import pytest
from alembic import command
from sqlalchemy import text

from services.tracking.intake.connections.domain import Sender
from services.tracking.intake.inbox import service
from services.tracking.intake.inbox import store as inbox
from services.tracking.intake.inbox.domain.deliveries import Arrival
from services.tracking.intake.inbox.publishing import Publisher
from services.tracking.intake.inbox.work import Retention
from services.tracking.intake.sources.domain import Source
from shared.db.database import Database, Scope
from shared.db.migration import _configuration, upgrade
from shared.http.auth import Role
from shared.kernel.errors import Unavailable
from tests.stories.connections import OUTBOX, Answered, Caller, Tracking, deal, running_tracking, send, translate

KEEP_DAYS = 10
STORED_BY_THE_RELEASE_BEFORE = """
    INSERT INTO tracking.deliveries
        (tenant_id, id, connection_id, dedupe_key, received_at, headers, body, traceparent, origin, state)
    SELECT t, i, c, d, now(), CAST(h AS jsonb), b, p, 'webhook', 'received'
    FROM unnest(
        CAST($1 AS uuid[]), CAST($2 AS uuid[]), CAST($3 AS uuid[]), CAST($4 AS text[]), CAST($5 AS text[]),
        CAST($6 AS bytea[]), CAST($7 AS text[])
    ) AS new(t, i, c, d, h, b, p)
    ON CONFLICT (connection_id, dedupe_key) DO NOTHING
    RETURNING connection_id, id
"""


@pytest.fixture
async def tracking(fresh_database: str) -> AsyncIterator[Tracking]:
    async with running_tracking(fresh_database) as tracking:
        yield tracking


@pytest.fixture
async def owner(fresh_database: str) -> "AsyncIterator[asyncpg.Connection[asyncpg.Record]]":
    connection = await asyncpg.connect(fresh_database)
    await connection.execute("SET timezone = 'UTC'")
    yield connection
    await connection.close()


def months_after(at: datetime, months: int) -> datetime:
    """The first moment of the month that comes so many after that of a moment, in UTC."""
    month = at.astimezone(UTC).month - 1 + months
    return datetime(at.astimezone(UTC).year + month // 12, month % 12 + 1, 1, tzinfo=UTC)


@asynccontextmanager
async def at(url: str, moment: datetime) -> AsyncIterator[Database]:
    """The database of a process whose clock stands at a moment."""
    database = Database(url, service="tracking", clock=lambda: moment)
    yield database
    await database.close()


async def retain(url: str, moment: datetime) -> int:
    """Let a worker's round come at a moment, again where others are at it; how many bodies it dropped from rows."""
    async with at(url, moment) as database:
        while True:
            with suppress(Unavailable):
                return await Retention(database, retention_days=KEEP_DAYS).drop_due()


async def store(url: str, moment: datetime, tenant: UUID, connection: Answered, body: str) -> None:
    """Store a delivery as received at a moment."""
    sender = Sender(tenant, UUID(connection.id), Source.STANDARD_WEBHOOKS, ())
    async with at(url, moment) as database:
        arrivals = [Arrival(sender, uuid4().hex, "{}", body.encode())]
        await database.run(
            Scope.every(), lambda tx: service.receive(tx, Publisher(OUTBOX), arrivals, is_translating=False)
        )


async def bodies(admin: Caller) -> dict[str, object]:
    """The bodies of the tenant's deliveries as the API answers them, by id, oldest first."""
    ids = sorted(str(item["id"]) for item in await admin.deliveries())
    return {each: (await admin.client.get(f"/v1/deliveries/{each}")).json()["body"] for each in ids}


async def partitions(owner: "asyncpg.Connection[asyncpg.Record]", table: str = "delivery_bodies") -> list[str]:
    rows = await owner.fetch(
        "SELECT inhrelid::regclass::text AS name FROM pg_inherits WHERE inhparent = $1::text::regclass ORDER BY 1",
        f"tracking.{table}",
    )
    return [row["name"].removeprefix(f"tracking.{table}_") for row in rows]


async def received_at(admin: Caller) -> datetime:
    return max(datetime.fromisoformat(str(item["received_at"])) for item in await admin.deliveries())


async def test_bodies_are_dropped_when_their_month_is_over_for_as_long_as_they_are_kept_and_not_before(
    fresh_database: str, admin: Caller
) -> None:
    connection = await admin.connect()
    await send(admin, connection, deal("old"))
    await translate(admin.tracking)
    due_at = months_after(await received_at(admin), 1) + timedelta(days=KEEP_DAYS)
    await store(fresh_database, months_after(due_at, 0), admin.tenant, connection, deal("new"))
    await translate(admin.tracking)

    await retain(fresh_database, due_at - timedelta(microseconds=1))
    assert all((await bodies(admin)).values())

    await asyncio.gather(*(retain(fresh_database, due_at) for _ in range(3)))
    (old, old_body), (_, new_body) = (await bodies(admin)).items()
    assert (old_body, new_body is None) == (None, False)
    refused = await admin.client.post(f"/v1/deliveries/{old}/replay")
    assert (refused.status_code, refused.json()["code"]) == (409, "body_dropped")


async def test_dropping_a_month_writes_no_row(fresh_database: str, admin: Caller) -> None:
    connection = await admin.connect()
    for number in range(20):
        await send(admin, connection, deal(f"A{number}"))
    await translate(admin.tracking)
    later = months_after(await received_at(admin), 2)
    # On a connection of its own, which has written nothing before.
    async with at(fresh_database, later) as database, database.transaction(Scope.every()) as tx:
        await service.keep_months(tx, before=later)
        await service.drop_bodies_in_rows(tx, before=later, count_max=100)
        written = await tx.rows(
            text(
                "SELECT relname, n_tup_ins, n_tup_upd, n_tup_del FROM pg_stat_xact_user_tables"
                " WHERE schemaname = 'tracking' AND n_tup_ins + n_tup_upd + n_tup_del > 0"
            )
        )
    assert written == []
    assert set((await bodies(admin)).values()) == {None}


async def test_what_is_in_quarantine_or_waits_keeps_its_body_until_it_is_settled(
    fresh_database: str, admin: Caller
) -> None:
    connection = await admin.connect()
    for body in ("not json", deal("translated"), "junk"):
        await send(admin, connection, body)
    await translate(admin.tracking)
    await store(
        fresh_database, await received_at(admin) + timedelta(milliseconds=1), admin.tenant, connection, deal("waits")
    )
    later = months_after(await received_at(admin), 2)
    assert await retain(fresh_database, later) == 0
    broken, translated, junk, waiting = ((each, body) for each, body in (await bodies(admin)).items())
    assert [body is None for _, body in (broken, translated, junk, waiting)] == [False, True, False, False]
    assert (await admin.client.get(f"/v1/deliveries/{broken[0]}")).json()["headers"]["webhook-id"]

    discarded = await admin.client.post(f"/v1/deliveries/{junk[0]}/discard", json={"reason": "junk"})
    assert discarded.status_code == 200, discarded.text
    assert (await admin.client.post(f"/v1/deliveries/{broken[0]}/replay")).status_code == 202
    await translate(admin.tracking)
    assert [event.external_id for event in await admin.published()] == ["translated", "waits"]
    assert await retain(fresh_database, later) == 2
    assert [body is None for body in (await bodies(admin)).values()] == [False, True, True, True]


async def test_a_delivery_of_a_month_without_a_table_is_stored_read_replayed_and_dropped_in_time(
    fresh_database: str, owner: "asyncpg.Connection[asyncpg.Record]", admin: Caller
) -> None:
    for month in await partitions(owner):
        if month != "default":
            await owner.execute(f"DROP TABLE tracking.delivery_bodies_{month}")
    connection = await admin.connect()
    assert await send(admin, connection, deal("A1")) == 202
    await translate(admin.tracking)
    assert await owner.fetchval("SELECT count(*) FROM tracking.delivery_bodies_default") == 1
    received = await received_at(admin)

    # The month stays where it is; those after it get tables.
    await retain(fresh_database, received)
    assert await partitions(owner) == [
        *(f"{months_after(received, ahead):%Y_%m}" for ahead in range(1, 4)),
        "default",
    ]
    ((delivery_id, body),) = (await bodies(admin)).items()
    assert body is not None
    assert (await admin.client.post(f"/v1/deliveries/{delivery_id}/replay")).status_code == 202
    await translate(admin.tracking)
    assert len(await admin.published()) == 2
    await retain(fresh_database, months_after(received, 2))
    assert set((await bodies(admin)).values()) == {None}
    assert await owner.fetchval("SELECT count(*) FROM tracking.delivery_bodies_default") == 0


async def test_looking_for_a_body_looks_into_its_month_alone(
    fresh_database: str, owner: "asyncpg.Connection[asyncpg.Record]", admin: Caller
) -> None:
    connection = await admin.connect()
    await store(fresh_database, datetime.now(UTC), admin.tenant, connection, deal())
    ((delivery_id, _),) = (await bodies(admin)).items()
    month = f"delivery_bodies_{await received_at(admin):%Y_%m}"
    for back in range(1, 30):
        first, end = (months_after(datetime.now(UTC), -back + after) for after in (0, 1))
        await owner.execute(
            f"""
            DO $$ BEGIN EXECUTE format('CREATE TABLE tracking.delivery_bodies_{first:%Y_%m} PARTITION OF
                tracking.delivery_bodies FOR VALUES FROM (%L) TO (%L)',
                tracking.first_id('{first}'), tracking.first_id('{end}')); END $$
            """
        )
    for statement, parameters in (
        (inbox._CLAIM_RECEIVED, {"after": UUID(int=0), "count_max": 500, "bytes_max": 1 << 20}),
        (inbox._WITH_BODIES, {"tenant_id": admin.tenant, "ids": [UUID(delivery_id)]}),
        (inbox._COPY, {"tenant_id": admin.tenant, "ids": [UUID(delivery_id)], "copy_ids": [uuid4()]}),
    ):
        async with admin.tracking.database.transaction(Scope.every()) as tx:
            explained = text(f"EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, BUFFERS OFF) {statement.text}")
            lines = [str(row["QUERY PLAN"]) for row in await tx.rows(explained, parameters | {"received_at": tx.now})]
        looked_into = [line for line in lines if " on delivery_bodies" in line and "never executed" not in line]
        assert looked_into, lines
        assert all(f"using {month}_pkey on {month}" in line or "Insert" in line for line in looked_into), lines


async def test_the_months_to_come_have_tables_whoever_asks_and_however_often(
    fresh_database: str, owner: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    now: datetime = await owner.fetchval("SELECT now()")
    ahead = [f"{months_after(now, month):%Y_%m}" for month in range(4)]
    assert await partitions(owner) == [*ahead, "default"]
    for month in ahead[2:]:
        await owner.execute(f"DROP TABLE tracking.delivery_bodies_{month}")
    await asyncio.gather(*(retain(fresh_database, now) for _ in range(4)))
    assert await partitions(owner) == [*ahead, "default"]


async def test_no_partition_shows_a_row_of_another_tenant(
    fresh_database: str, owner: "asyncpg.Connection[asyncpg.Record]", admin: Caller
) -> None:
    connection = await admin.connect()
    await send(admin, connection, deal())
    await retain(fresh_database, await received_at(admin))
    seen: dict[UUID, int] = {}
    for tenant in (admin.tenant, uuid4()):
        async with admin.tracking.database.transaction(Scope.of(tenant)) as tx:
            counts = [
                (await tx.rows(text(f"SELECT count(*) AS bodies FROM tracking.delivery_bodies_{month}")))[0]["bodies"]
                for month in await partitions(owner)
            ]
            seen[tenant] = sum(counts)
            with pytest.raises(Exception, match="row-level security"):
                async with tx.connection.begin_nested():
                    await tx.execute(
                        text("INSERT INTO tracking.delivery_bodies_default VALUES (:other, :other, '{}', '')"),
                        {"other": uuid4()},
                    )
    assert list(seen.values()) == [1, 0]


@pytest.mark.parametrize(
    "statement",
    [
        "DROP TABLE tracking.delivery_bodies_default",
        "CREATE TABLE tracking.more (tenant_id uuid)",
        "ALTER TABLE tracking.delivery_bodies DETACH PARTITION tracking.delivery_bodies_default",
    ],
)
async def test_the_role_of_the_service_makes_and_drops_no_table_itself(tracking: Tracking, statement: str) -> None:
    with pytest.raises(Exception, match=r"must be owner|permission denied"):
        async with tracking.database.transaction(Scope.every()) as tx:
            await tx.execute(text(statement))


async def test_nobody_else_may_have_a_month_dropped(owner: "asyncpg.Connection[asyncpg.Record]") -> None:
    granted: Sequence[asyncpg.Record] = await owner.fetch(
        """
        SELECT proname, pg_get_userbyid(entry.grantee) AS grantee, proconfig
        FROM pg_proc, aclexplode(proacl) AS entry
        WHERE pronamespace = 'tracking'::regnamespace AND prosecdef AND entry.grantee <> proowner
        """
    )
    assert {(row["proname"], row["grantee"]) for row in granted} == {
        ("make_partitions", "tracking_app"),
        ("drop_delivery_bodies", "tracking_app"),
    }
    assert all("search_path=pg_catalog, pg_temp" in row["proconfig"] for row in granted)


async def test_what_a_release_before_stored_is_read_replayed_and_dropped_in_time(empty_database: str) -> None:
    """Before the migration and after it, as that release still runs then; and what this one stored stays with it."""
    await asyncio.to_thread(upgrade, "tracking", empty_database)
    key = "3v8Yw2xk0m0pJ0m6Qh6S5qV9n1xT5cQk4v7bZ8yU2sE="
    async with running_tracking(empty_database, secrets_key=key) as tracking:
        admin = Caller(tracking, Role.ADMIN)
        connection = await admin.connect()
        await send(admin, connection, deal("first"), webhook_id="m1")
    before = await asyncpg.connect(empty_database, server_settings={"role": "tracking_app", "app.tenants": "*"})

    async def stored_before(name: str) -> None:
        delivery_id = await before.fetchval("SELECT tracking.first_id(now())") if name == "third" else UUID(int=7)
        row = (admin.tenant, delivery_id, UUID(connection.id), name, '{"a": "b"}', deal(name).encode(), None)
        assert await before.fetch(STORED_BY_THE_RELEASE_BEFORE, *([value] for value in row))
        assert not await before.fetch(STORED_BY_THE_RELEASE_BEFORE, *([value] for value in row))

    try:
        await asyncio.to_thread(command.downgrade, _configuration("tracking", empty_database), "0021")
        assert await before.fetchval("SELECT body FROM tracking.deliveries") == deal("first").encode()
        await stored_before("second")
        await asyncio.to_thread(upgrade, "tracking", empty_database)
        await stored_before("third")
    finally:
        await before.close()
    async with running_tracking(empty_database, secrets_key=key) as tracking:
        admin = Caller(tracking, Role.ADMIN, tenant=admin.tenant)
        assert len(await bodies(admin)) == 3
        assert await send(admin, connection, deal("fourth")) == 202
        await translate(tracking)
        assert {event.external_id for event in await admin.published()} == {"first", "second", "third", "fourth"}
        assert all((await bodies(admin)).values())
        (second, *_) = await bodies(admin)
        replayed = await admin.client.post(f"/v1/deliveries/{second}/replay")
        assert replayed.status_code == 202
        copied = (await admin.client.get(f"/v1/deliveries/{replayed.json()['id']}")).json()
        assert (copied["headers"], copied["replay_of"]) == ({"a": "b"}, second)
        await translate(tracking)
        received = await received_at(admin)
        assert await retain(empty_database, received + timedelta(days=KEEP_DAYS, minutes=5)) == 3
        assert len([body for body in (await bodies(admin)).values() if body is not None]) == 2
        await retain(empty_database, months_after(received, 1) + timedelta(days=KEEP_DAYS))
        assert set((await bodies(admin)).values()) == {None}
