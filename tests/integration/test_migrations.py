"""The migrations of every service, and what the live catalogue says after them."""

import asyncio
import sys
from collections.abc import AsyncIterator

import asyncpg
import pytest

from shared.db.database import Database
from shared.db.migration import SERVICES, SchemaOutOfDate, check, require_current_schema, upgrade
from shared.db.tables import TABLES_WITHOUT_ROW_SECURITY


@pytest.fixture
async def catalogue(fresh_database: str) -> "AsyncIterator[asyncpg.Connection[asyncpg.Record]]":
    connection = await asyncpg.connect(fresh_database)
    try:
        yield connection
    finally:
        await connection.close()


@pytest.mark.parametrize("service", SERVICES)
async def test_a_history_builds_exactly_the_tables_of_the_code(empty_database: str, service: str) -> None:
    await asyncio.to_thread(upgrade, service, empty_database)
    await asyncio.to_thread(check, service, empty_database)


async def test_upgrading_twice_or_at_once_is_harmless(empty_database: str) -> None:
    command = f"from shared.db.migration import upgrade; upgrade('goals', {empty_database!r})"
    processes = [await asyncio.create_subprocess_exec(sys.executable, "-c", command) for _ in range(2)]
    assert await asyncio.gather(*(process.wait() for process in processes)) == [0, 0]
    await asyncio.to_thread(upgrade, "goals", empty_database)
    database = Database(empty_database, service="goals")
    try:
        await require_current_schema(database)
    finally:
        await database.close()


async def test_an_old_schema_is_refused_in_one_sentence(fresh_database: str) -> None:
    connection = await asyncpg.connect(fresh_database)
    await connection.execute("UPDATE goals.alembic_version SET version_num = '0000'")
    await connection.close()
    database = Database(fresh_database, service="goals")
    try:
        with pytest.raises(SchemaOutOfDate, match=r"revision 0000 .* run `attain migrate`"):
            await require_current_schema(database)
    finally:
        await database.close()


async def test_row_security_is_forced_on_every_table_with_a_tenant(
    catalogue: "asyncpg.Connection[asyncpg.Record]",
) -> None:
    tables = await catalogue.fetch(
        """
        SELECT n.nspname AS schema, c.relname AS name, c.relrowsecurity AND c.relforcerowsecurity AS forced,
            (SELECT count(*) FROM pg_policy p WHERE p.polrelid = c.oid) AS policies
        FROM pg_class c
        JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = ANY($1) AND c.relkind IN ('r', 'p')
            AND EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'tenant_id')
        """,
        list(SERVICES),
    )
    assert {table["schema"] for table in tables} == set(SERVICES)
    unprotected = {
        f"{table['schema']}.{table['name']}"
        for table in tables
        if table["name"] not in TABLES_WITHOUT_ROW_SECURITY and not (table["forced"] and table["policies"] == 1)
    }
    assert unprotected == set()


async def test_the_tenant_comes_first_in_the_key_of_every_protected_table(
    catalogue: "asyncpg.Connection[asyncpg.Record]",
) -> None:
    offenders = await catalogue.fetch(
        """
        SELECT c.oid::regclass::text AS name
        FROM pg_class c
        JOIN pg_namespace n ON n.oid = c.relnamespace
        LEFT JOIN pg_index i ON i.indrelid = c.oid AND i.indisprimary
        LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = i.indkey[0]
        WHERE n.nspname = ANY($1) AND c.relkind IN ('r', 'p') AND c.relrowsecurity
            AND a.attname IS DISTINCT FROM 'tenant_id'
        """,
        list(SERVICES),
    )
    assert [row["name"] for row in offenders] == []


async def test_the_roles_of_the_services_own_nothing_and_cannot_pass_row_security(
    catalogue: "asyncpg.Connection[asyncpg.Record]",
) -> None:
    roles = [f"{service}_app" for service in SERVICES]
    rows = await catalogue.fetch(
        "SELECT rolname, rolsuper, rolbypassrls, rolcreaterole, rolcreatedb FROM pg_roles WHERE rolname = ANY($1)",
        roles,
    )
    assert {row["rolname"] for row in rows} == set(roles)
    assert not any(value for row in rows for value in list(row.values())[1:])
    owned = await catalogue.fetchval(
        """
        SELECT (SELECT count(*) FROM pg_class WHERE pg_get_userbyid(relowner) = ANY($1))
            + (SELECT count(*) FROM pg_namespace WHERE pg_get_userbyid(nspowner) = ANY($1))
            + (SELECT count(*) FROM pg_proc WHERE pg_get_userbyid(proowner) = ANY($1))
        """,
        roles,
    )
    assert owned == 0


async def test_a_service_cannot_read_another_services_schema(fresh_database: str) -> None:
    database = Database(fresh_database, service="tracking")
    connection = await database.connect()
    try:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.fetch("SELECT * FROM goals.outbox")
    finally:
        await connection.close()
        await database.close()
