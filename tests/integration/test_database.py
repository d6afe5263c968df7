"""The unit of work against a real Postgres."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, date, datetime
from decimal import Decimal
from time import monotonic
from uuid import UUID, uuid4

import anyio
import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from deploy.local.ports import free_ports
from deploy.local.postgres import PostgresServer
from shared.db.arrays import Element, array_text
from shared.db.database import Database, Scope, Statements, TenantLock, Transaction
from shared.db.failures import DatabaseUnavailable
from tests.servers.infrastructure import eventually

_INSERT = text("INSERT INTO goals.idempotency_keys (tenant_id, key, fingerprint) VALUES (:tenant, :key, ''::bytea)")
_KEYS = text("SELECT tenant_id, key FROM goals.idempotency_keys ORDER BY key")
_BACKEND = text("SELECT pg_backend_pid() AS pid")


@asynccontextmanager
async def connected(url: str, *, pool_size: int = 5, lock_seconds_max: int = 10) -> AsyncIterator[Database]:
    database = Database(url, service="goals", pool_size=pool_size, lock_seconds_max=lock_seconds_max)
    try:
        yield database
    finally:
        await database.close()


@pytest.fixture
async def database(fresh_database: str) -> AsyncIterator[Database]:
    async with connected(fresh_database) as opened:
        yield opened


@pytest.fixture
async def administrator(fresh_database: str) -> "AsyncIterator[asyncpg.Connection[asyncpg.Record]]":
    connection = await asyncpg.connect(fresh_database)
    try:
        yield connection
    finally:
        await connection.close()


async def insert(tx: Statements, tenant: UUID, key: str) -> None:
    await tx.execute(_INSERT, {"tenant": tenant, "key": key})


async def keys(tx: Statements) -> list[str]:
    return [row["key"] for row in await tx.rows(_KEYS)]


async def test_a_transaction_sees_only_the_tenants_of_its_scope(database: Database) -> None:
    ours, theirs, third = uuid4(), uuid4(), uuid4()
    async with database.transaction(Scope.of(ours, theirs, third)) as tx:
        for tenant, key in ((ours, "a"), (theirs, "b"), (third, "c")):
            await insert(tx, tenant, key)
    seen = {}
    for name, scope in {
        "one": Scope.of(ours),
        "two": Scope.of(ours, third),
        "none": Scope.of(),
        "stranger": Scope.of(uuid4()),
        "every": Scope.every(),
    }.items():
        async with database.transaction(scope) as tx:
            seen[name] = await keys(tx)
    assert seen == {"one": ["a"], "two": ["a", "c"], "none": [], "stranger": [], "every": ["a", "b", "c"]}


async def test_a_row_of_a_tenant_outside_the_scope_cannot_be_written(database: Database) -> None:
    with pytest.raises(Exception, match="row-level security"):
        async with database.transaction(Scope.of(uuid4())) as tx:
            await insert(tx, uuid4(), "a")


async def test_rows_of_a_tenant_outside_the_scope_are_neither_changed_nor_deleted(database: Database) -> None:
    tenant = uuid4()
    async with database.transaction(Scope.of(tenant)) as tx:
        await insert(tx, tenant, "a")
    async with database.transaction(Scope.of(uuid4())) as tx:
        updated = await tx.execute(text("UPDATE goals.idempotency_keys SET key = 'b'"))
        deleted = await tx.execute(text("DELETE FROM goals.idempotency_keys"))
        assert (updated.rowcount, deleted.rowcount) == (0, 0)


async def test_a_connection_without_a_scope_sees_nothing(database: Database) -> None:
    tenant = uuid4()
    async with database.transaction(Scope.of(tenant)) as tx:
        await insert(tx, tenant, "a")
    connection = await database.connect()
    try:
        assert await connection.fetch("SELECT * FROM goals.idempotency_keys") == []
    finally:
        await connection.close()


async def test_the_scope_ends_with_its_transaction(fresh_database: str) -> None:
    tenant = uuid4()
    async with connected(fresh_database, pool_size=1) as database:
        async with database.transaction(Scope.every()) as tx:
            await insert(tx, tenant, "a")
        async with database.transaction(Scope.of()) as tx:
            assert await keys(tx) == []


async def test_the_policy_reads_its_setting_once_a_statement_and_leaves_the_index_usable(database: Database) -> None:
    tenants = [uuid4() for _ in range(20)]
    async with database.transaction(Scope.every()) as tx:
        await tx.execute(
            text(
                "INSERT INTO goals.idempotency_keys (tenant_id, key, fingerprint)"
                " SELECT t, n::text, '' FROM unnest(CAST(:tenants AS uuid[])) AS t, generate_series(1, 500) AS n"
            ),
            {"tenants": tenants},
        )
        # The service's role may not analyze, so the planner goes by the table's size.
    async with database.transaction(Scope.of(tenants[0])) as tx:
        rows = await tx.rows(
            text("EXPLAIN SELECT * FROM goals.idempotency_keys WHERE tenant_id = CAST(:tenant AS uuid) AND key = '7'"),
            {"tenant": tenants[0]},
        )
    plan = "\n".join(row["QUERY PLAN"] for row in rows)
    assert "pk_idempotency_keys" in plan
    assert "Index Cond: ((tenant_id = " in plan
    filter_line = next(line for line in plan.splitlines() if "Filter:" in line)
    assert "current_setting" not in filter_line
    assert "InitPlan" in plan


async def test_each_statement_of_a_session_commits_by_itself_and_sees_the_tenants_of_its_scope(
    database: Database, administrator: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    ours, theirs = uuid4(), uuid4()
    async with database.transaction(Scope.of(theirs)) as tx:
        await insert(tx, theirs, "b")
    async with database.session(Scope.of(ours)) as session:
        await insert(session.statements(), ours, "a")
        assert await administrator.fetchval("SELECT count(*) FROM goals.idempotency_keys") == 2
        with pytest.raises(IntegrityError):
            await insert(session.statements(), ours, "a")
        assert await keys(session.statements()) == ["a"]
    async with database.session(Scope.every()) as session:
        assert await keys(session.statements()) == ["a", "b"]
    async with database.transaction(Scope.of(ours)) as tx:
        assert await keys(tx) == ["a"]


async def test_a_session_that_is_lost_is_unavailable_and_one_that_ends_leaves_no_connection(
    database: Database, administrator: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    with pytest.raises(DatabaseUnavailable):
        async with database.session(Scope.every()) as session:
            [row] = await session.statements().rows(_BACKEND)
            await administrator.execute("SELECT pg_terminate_backend($1)", row["pid"])
            await session.statements().rows(_BACKEND)
    async with database.session(Scope.every()) as session:
        [row] = await session.statements().rows(_BACKEND)

    async def is_gone() -> bool:
        return not await administrator.fetchval("SELECT count(*) FROM pg_stat_activity WHERE pid = $1", row["pid"])

    await eventually(is_gone)


async def test_what_was_done_is_committed_when_the_block_is_left(
    database: Database, administrator: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    tenant = uuid4()
    async with database.transaction(Scope.of(tenant)) as tx:
        await insert(tx, tenant, "a")
        assert await administrator.fetchval("SELECT count(*) FROM goals.idempotency_keys") == 0
    assert await administrator.fetchval("SELECT count(*) FROM goals.idempotency_keys") == 1


async def test_an_error_in_the_block_undoes_it_and_is_raised(database: Database) -> None:
    tenant = uuid4()
    with pytest.raises(LookupError):
        async with database.transaction(Scope.of(tenant)) as tx:
            await insert(tx, tenant, "a")
            raise LookupError
    async with database.transaction(Scope.of(tenant)) as tx:
        assert await keys(tx) == []


async def test_an_error_of_the_statement_is_the_callers(database: Database) -> None:
    tenant = uuid4()
    with pytest.raises(IntegrityError):
        async with database.transaction(Scope.of(tenant)) as tx:
            await insert(tx, tenant, "a")
            await insert(tx, tenant, "a")


async def test_a_swallowed_statement_error_cannot_pass_for_a_commit(database: Database) -> None:
    tenant = uuid4()
    with pytest.raises(RuntimeError, match="aborted"):
        async with database.transaction(Scope.of(tenant)) as tx:
            await insert(tx, tenant, "a")
            with suppress(IntegrityError):
                await insert(tx, tenant, "a")


async def test_after_commit_runs_after_the_commit_and_not_after_a_rollback(database: Database) -> None:
    called: list[str] = []
    async with database.transaction(Scope.of()) as tx:
        tx.after_commit(lambda: called.append("committed"))
        assert called == []
    with pytest.raises(LookupError):
        async with database.transaction(Scope.of()) as tx:
            tx.after_commit(lambda: called.append("rolled back"))
            raise LookupError
    assert called == ["committed"]


async def test_a_cancelled_caller_does_not_stop_a_commit_under_way(
    database: Database, administrator: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    tenant = uuid4()
    await administrator.execute(
        """
        CREATE FUNCTION goals.slowly() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN PERFORM pg_sleep(0.4); RETURN NULL; END $$;
        CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON goals.idempotency_keys
            DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION goals.slowly();
        """
    )
    committing = asyncio.Event()

    async def write() -> None:
        async with database.transaction(Scope.of(tenant)) as tx:
            await insert(tx, tenant, "a")
            committing.set()

    task = asyncio.create_task(write())
    await committing.wait()
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await administrator.fetchval("SELECT count(*) FROM goals.idempotency_keys") == 1

    with anyio.move_on_after(0.1) as scope:
        async with database.transaction(Scope.of(tenant)) as tx:
            await insert(tx, tenant, "b")
    assert scope.cancel_called
    assert await administrator.fetchval("SELECT count(*) FROM goals.idempotency_keys") == 2


async def test_a_caller_cancelled_in_the_block_gives_back_a_clean_connection(fresh_database: str) -> None:
    async with connected(fresh_database, pool_size=1) as database:
        tenant = uuid4()
        with anyio.move_on_after(0.1):
            async with database.transaction(Scope.of(tenant)) as tx:
                await insert(tx, tenant, "a")
                await tx.execute(text("SELECT pg_sleep(30)"))
        async with database.transaction(Scope.of(tenant)) as tx:
            assert await keys(tx) == []


async def test_run_retries_a_deadlock(database: Database) -> None:
    tenant = uuid4()
    async with database.transaction(Scope.of(tenant)) as tx:
        await insert(tx, tenant, "a")
        await insert(tx, tenant, "b")
    both_hold_one = asyncio.Barrier(2)
    attempts = 0

    async def touch(tx: Transaction, first: str, second: str) -> None:
        nonlocal attempts
        attempts += 1
        touch_one = text("UPDATE goals.idempotency_keys SET response_status = 1 WHERE key = :key")
        await tx.execute(touch_one, {"key": first})
        if attempts <= 2:
            await both_hold_one.wait()
        await tx.execute(touch_one, {"key": second})

    async with asyncio.timeout(20):
        await asyncio.gather(
            database.run(Scope.of(tenant), lambda tx: touch(tx, "a", "b")),
            database.run(Scope.of(tenant), lambda tx: touch(tx, "b", "a")),
        )
    assert attempts >= 3


async def test_run_retries_a_serialization_failure(
    database: Database, administrator: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    name = await administrator.fetchval("SELECT current_database()")
    await administrator.execute(f"ALTER DATABASE {name} SET default_transaction_isolation = 'repeatable read'")
    tenant = uuid4()
    async with database.transaction(Scope.of(tenant)) as tx:
        await insert(tx, tenant, "a")
    attempts = 0

    async def change(tx: Transaction) -> None:
        nonlocal attempts
        attempts += 1
        await keys(tx)
        if attempts == 1:
            async with database.transaction(Scope.of(tenant)) as other:
                await other.execute(text("UPDATE goals.idempotency_keys SET response_status = 1"))
        await tx.execute(text("UPDATE goals.idempotency_keys SET response_status = 2"))

    await database.run(Scope.of(tenant), change)
    assert attempts == 2


async def test_run_retries_after_a_lost_connection_and_does_the_work_once(
    database: Database, administrator: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    tenant = uuid4()
    attempts = 0

    async def work(tx: Transaction) -> None:
        nonlocal attempts
        attempts += 1
        await insert(tx, tenant, "a")
        if attempts == 1:
            [row] = await tx.rows(_BACKEND)
            await administrator.execute("SELECT pg_terminate_backend($1)", row["pid"])
        await insert(tx, tenant, "b")

    await database.run(Scope.of(tenant), work)
    async with database.transaction(Scope.of(tenant)) as tx:
        assert await keys(tx) == ["a", "b"]
    assert attempts == 2


async def test_run_does_not_repeat_the_callers_own_errors(database: Database) -> None:
    attempts = 0

    async def work(tx: Transaction) -> None:
        nonlocal attempts
        attempts += 1
        raise LookupError

    with pytest.raises(LookupError):
        await database.run(Scope.of(), work)
    assert attempts == 1


async def test_run_gives_up_after_its_attempts(database: Database) -> None:
    attempts = 0

    async def work(tx: Transaction) -> None:
        nonlocal attempts
        attempts += 1
        await tx.execute(text("DO $$ BEGIN RAISE EXCEPTION 'again' USING ERRCODE = '40001'; END $$"))

    with pytest.raises(DatabaseUnavailable) as raised:
        await database.run(Scope.of(), work, attempts=3)
    assert attempts == 3
    assert raised.value.retry_after_seconds >= 1


async def test_idle_connections_that_died_are_replaced_without_an_error(
    database: Database, administrator: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    async def hold() -> None:
        async with database.transaction(Scope.of()) as tx:
            await tx.execute(text("SELECT pg_sleep(0.05)"))

    await asyncio.gather(*(hold() for _ in range(5)))
    await administrator.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    await asyncio.gather(*(hold() for _ in range(5)))


async def test_a_connection_that_is_refused_is_replaced_a_second_after_it_was_made(fresh_database: str) -> None:
    """So that a new one finds who took the place of a standby, and a flood of refusals does not make as many."""

    async def refused_by() -> int:
        backend = 0
        with pytest.raises(DatabaseUnavailable):
            async with database.transaction(Scope.of(tenant)) as tx:
                backend = (await tx.rows(_BACKEND))[0]["pid"]
                await tx.execute(text("SET TRANSACTION READ ONLY"))
                await insert(tx, tenant, "a")
        return backend

    tenant = uuid4()
    began = monotonic()
    async with connected(fresh_database, pool_size=1) as database:
        at_first = {await refused_by() for _ in range(20)}
        assert len(at_first) <= 1 + int(monotonic() - began)
        await asyncio.sleep(1)
        began = monotonic()
        afterwards = {await refused_by() for _ in range(20)}
        assert 2 <= len(afterwards) <= 2 + int(monotonic() - began)


async def test_a_table_changed_under_a_prepared_statement_is_retried(
    database: Database, administrator: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    await administrator.execute("CREATE TABLE goals.changing (a int); INSERT INTO goals.changing VALUES (1)")
    statement = text("SELECT * FROM goals.changing")

    async def read(tx: Transaction) -> list[object]:
        return [dict(row) for row in await tx.rows(statement)]

    assert await database.run(Scope.of(), read) == [{"a": 1}]
    await administrator.execute("ALTER TABLE goals.changing ADD COLUMN b int DEFAULT 2")
    assert await database.run(Scope.of(), read) == [{"a": 1, "b": 2}]


async def test_a_dead_server_is_unavailable_and_says_when_to_come_back() -> None:
    async with connected(f"postgresql://nobody@127.0.0.1:{free_ports(1)[0]}/none") as database:
        with pytest.raises(DatabaseUnavailable) as raised:
            await database.ready()
        assert raised.value.retry_after_seconds > 0
        with pytest.raises(DatabaseUnavailable):
            await database.run(Scope.of(), keys, attempts=2)


async def test_a_database_that_was_never_migrated_is_not_ready(empty_database: str) -> None:
    async with connected(empty_database.replace("/test_", "/missing_")) as database:
        with pytest.raises(DatabaseUnavailable, match=r"cannot be reached"):
            await database.ready()


async def test_a_lock_that_takes_too_long_is_unavailable(fresh_database: str) -> None:
    tenant = uuid4()
    async with connected(fresh_database, lock_seconds_max=1) as database:

        async def lock(tx: Transaction) -> None:
            await tx.lock_tenants_exclusive([tenant])

        async with database.transaction(Scope.of()) as holder:
            await holder.lock_tenants_shared([tenant])
            with pytest.raises(DatabaseUnavailable):
                await database.run(Scope.of(), lock)


async def test_shared_tenant_locks_go_together_and_exclusive_ones_wait(database: Database) -> None:
    tenants = [uuid4() for _ in range(50)]
    entered: list[str] = []

    async def change() -> None:
        async with database.transaction(Scope.of()) as tx:
            await tx.lock_tenants_exclusive([tenants[7]])
            entered.append("exclusive")

    async with database.transaction(Scope.of()) as first:
        await first.lock_tenants_shared(tenants)
        async with database.transaction(Scope.of()) as second:
            await second.lock_tenants_shared(list(reversed(tenants)))
            changing = asyncio.create_task(change())

            async def waiting() -> bool:
                rows = await second.rows(text("SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"))
                return len(rows) == 1

            await eventually(waiting)
        assert entered == []
    await changing
    assert entered == ["exclusive"]


async def test_who_waits_for_tenants_only_so_long_has_all_of_them_or_none_and_goes_on(fresh_database: str) -> None:
    one, two = uuid4(), uuid4()

    async with connected(fresh_database) as database, database.transaction(Scope.of()) as tx:
        async with database.transaction(Scope.of()) as holder:
            await holder.lock_tenants_exclusive([one])
            usual = await tx.rows(text("SHOW lock_timeout"))
            began = monotonic()
            assert not await tx.wait_for_tenants_shared([one, two], milliseconds_max=50)
            assert 0.05 <= monotonic() - began < 5
            assert await tx.rows(text("SHOW lock_timeout")) == usual
            await holder.lock_tenants_exclusive([two])
            waiting = asyncio.create_task(tx.wait_for_tenants_shared([one, two], milliseconds_max=60_000))
            await asyncio.sleep(0.05)
        assert await waiting
        assert await tx.rows(text("SHOW lock_timeout")) == usual
        async with database.transaction(Scope.of()) as changing:
            locked = await changing.rows(
                text(
                    "SELECT count(*) AS n FROM pg_locks WHERE locktype = 'advisory' AND mode = 'ShareLock'"
                    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
                )
            )
            assert locked[0]["n"] == 2


async def test_a_scope_that_is_locked_holds_its_tenants_from_the_beginning(fresh_database: str) -> None:
    ours, theirs = uuid4(), uuid4()
    async with connected(fresh_database, lock_seconds_max=1) as database:

        async def is_free(tenant: UUID, lock: TenantLock) -> bool:
            try:
                async with database.transaction(Scope.of(tenant, lock=lock)):
                    return True
            except DatabaseUnavailable:
                return False

        for lock, others_share in ((TenantLock.SHARED, True), (TenantLock.EXCLUSIVE, False)):
            async with database.transaction(Scope.of(ours, lock=lock)):
                assert not await is_free(ours, TenantLock.EXCLUSIVE)
                assert await is_free(ours, TenantLock.SHARED) is others_share
                assert await is_free(theirs, TenantLock.EXCLUSIVE)
            assert await is_free(ours, TenantLock.EXCLUSIVE)


async def test_a_lock_that_the_scope_holds_is_not_taken_again_and_a_stronger_or_another_one_is(
    fresh_database: str, administrator: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    async def held() -> list[tuple[str, int]]:
        rows = await administrator.fetch(
            "SELECT mode, count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted GROUP BY mode ORDER BY mode"
        )
        return [(row["mode"], row["count"]) for row in rows]

    one, two = uuid4(), uuid4()
    async with connected(fresh_database, pool_size=1) as database:
        statements: list[str] = []
        async with database.transaction(Scope.of()) as tx:
            driver = (await tx.connection.get_raw_connection()).driver_connection
            assert driver is not None
            driver.add_query_logger(lambda record: statements.append(record.query))
        statements.clear()
        async with database.transaction(Scope.of(one, lock=TenantLock.EXCLUSIVE)) as tx:
            await tx.lock_tenants_exclusive([one])
            await tx.lock_tenants_shared([one])
            await tx.lock_tenants_shared([])
        assert [each.split(";")[0] for each in statements] == ["BEGIN", "COMMIT"]
        async with database.transaction(Scope.of(one, lock=TenantLock.SHARED)) as tx:
            await tx.lock_tenants_shared([one, two])
            assert await held() == [("ShareLock", 2)]
            await tx.lock_tenants_exclusive([one])
            assert await held() == [("ExclusiveLock", 1), ("ShareLock", 2)]
        assert await held() == []


async def test_locks_of_two_services_do_not_meet(fresh_database: str, database: Database) -> None:
    tenant = uuid4()
    other = Database(fresh_database, service="tracking", lock_seconds_max=1)
    try:
        async with database.transaction(Scope.of()) as tx, other.transaction(Scope.of()) as other_tx:
            await tx.lock_tenants_exclusive([tenant])
            await other_tx.lock_tenants_exclusive([tenant])
    finally:
        await other.close()


async def test_now_is_one_moment_and_new_ids_are_of_it(fresh_database: str) -> None:
    moment = datetime(2026, 3, 1, 12, 0, 0, 123000, tzinfo=UTC)
    database = Database(fresh_database, service="goals", clock=lambda: moment)
    try:
        async with database.transaction(Scope.of()) as tx:
            ids = {tx.new_id() for _ in range(100)}
            assert tx.now == moment
    finally:
        await database.close()
    assert len(ids) == 100
    assert {value.version for value in ids} == {7}
    assert {value.int >> 80 for value in ids} == {int(moment.timestamp() * 1000)}


class Hearing:
    """What a listener was told."""

    def __init__(self) -> None:
        self.told: asyncio.Queue[str | None] = asyncio.Queue()
        self.put = self.told.put_nowait

    async def next(self) -> str | None:
        async with asyncio.timeout(10):
            return await self.told.get()

    async def is_silent(self, seconds: float) -> bool:
        await asyncio.sleep(seconds)
        return self.told.empty()


async def test_a_listener_is_woken_by_a_commit_and_not_by_a_rollback(database: Database) -> None:
    heard = Hearing()
    async with database.channels("news").listening(heard.put):
        assert await heard.next() is None, "the first connect wakes"
        with pytest.raises(LookupError):
            async with database.transaction(Scope.of()) as tx:
                await tx.notify("news")
                raise LookupError
        assert await heard.is_silent(0.1)
        async with database.transaction(Scope.of()) as tx:
            await tx.notify("news")
        assert await heard.next() == ""
        assert await heard.is_silent(0.05)


async def test_a_listener_whose_connection_died_reconnects_and_looks_again(
    database: Database, administrator: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    heard, other = Hearing(), Hearing()
    async with database.channels("news").listening(heard.put), database.channels("more").listening(other.put):
        assert await heard.next() is None
        assert await other.next() is None
        await administrator.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        assert await heard.next() is None, "the new connect wakes"
        assert await other.next() is None, "whoever listens"
        async with database.transaction(Scope.of()) as tx:
            await tx.notify("news")
        assert await heard.next() == ""
        assert await other.is_silent(0.05)


async def test_all_listeners_of_a_process_share_one_connection_and_each_hears_what_it_listens_to(
    database: Database, administrator: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    async def are_listening(connections: int) -> bool:
        found = await administrator.fetch(
            "SELECT FROM pg_stat_activity WHERE datname = current_database() AND query ILIKE 'listen%'"
        )
        return len(found) == connections

    first, second = Hearing(), Hearing()
    async with database.channels("news", "more").listening(first.put):
        assert await first.next() is None
        async with database.channels("more").listening(second.put):
            assert await second.next() is None, "who comes later is told as well to look for what it missed"
            assert await are_listening(1)
            async with database.transaction(Scope.of()) as tx:
                await tx.notify("news", "a", "b")
                await tx.notify("more", "c")
            assert [await first.next() for _ in range(3)] == ["a", "b", "c"]
            assert await second.next() == "c"
        async with database.transaction(Scope.of()) as tx:
            await tx.notify("more", "d")
        assert await first.next() == "d"
        assert await second.is_silent(0.05)
    await eventually(lambda: are_listening(0), 5, expectation="nobody listens any more")


async def test_the_pool_recovers_from_a_restart_of_the_server(
    database: Database, postgres_server: PostgresServer
) -> None:
    tenant = uuid4()
    async with database.transaction(Scope.of(tenant)) as tx:
        await insert(tx, tenant, "a")
    await asyncio.to_thread(postgres_server.stop)
    with pytest.raises(DatabaseUnavailable):
        await database.ready()
    await asyncio.to_thread(postgres_server.start)
    await database.ready()
    async with database.transaction(Scope.of(tenant)) as tx:
        assert await keys(tx) == ["a"]


@pytest.mark.parametrize(
    ("kind", "elements"),
    [
        ("text", []),
        (
            "text",
            ["plain", "", " ", "NULL", "null", "{}", "a,b", 'say "so"', '","', "back\\slash", "\\", "line\nand\ttab"],
        ),
        ("text", ["\x01\x7f", "é", "日本", "\U0001f600", "'); DROP TABLE x; --", '{"a": [1, "b\\\\"]}']),
        ("text", ['say "so"', "plain"]),
        ("text", ['","']),
        ("text", [None, "plain", None]),
        ("text", [None, 'say "so"', "back\\slash", "line\nand\ttab", "\x01", "NULL", "", "é"]),
        ("text", [None]),
        ("uuid", [UUID(int=0), UUID(int=2**128 - 1), None]),
        ("bigint", [0, -1, 2**63 - 1, -(2**63), None]),
        ("numeric", [Decimal("1200.50"), Decimal("-0.000001"), Decimal("1E+3"), Decimal(10) ** 20, None]),
        ("boolean", [True, False, None]),
        ("date", [date(1900, 1, 1), date(3000, 12, 31), None]),
        ("timestamptz", [datetime(1900, 1, 1, tzinfo=UTC), datetime(2026, 5, 4, 8, 0, 0, 1, tzinfo=UTC), None]),
        ("timestamptz", [datetime.fromisoformat("2026-05-04T08:00:00.5-09:30")]),
    ],
)
async def test_an_array_that_travels_as_a_text_is_the_array(
    database: Database, kind: str, elements: list[Element]
) -> None:
    statement = text(f"SELECT CAST(CAST(:as_text AS text) AS {kind}[]) AS read, CAST(:as_array AS {kind}[]) AS sent")
    async with database.transaction(Scope.of()) as tx:
        [row] = await tx.rows(statement, {"as_text": array_text(elements), "as_array": elements})
    assert row["read"] == row["sent"] == elements
    assert [str(each) for each in row["read"]] == [str(each) for each in row["sent"]]
