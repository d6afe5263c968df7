"""The migrations of every service, and what the live catalogue says after them."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import partial
from uuid import UUID

import asyncpg
import pytest
from alembic import command
from cryptography.fernet import Fernet

from services.goals.calendar.domain import Calendar, CalendarTerms
from services.goals.calendar.store import CALENDARS
from services.goals.org.domain import (
    Place,
    Team,
)
from services.goals.org.store import TEAMS
from services.tracking.records import service as records
from shared.db.database import Database, Scope
from shared.db.migration import (
    SERVICES,
    SchemaOutOfDate,
    SecretsKeyMissing,
    _configuration,
    check,
    require_current_schema,
    upgrade,
)
from shared.db.sealing import SecretsBox
from shared.db.tables import TABLES_WITHOUT_ROW_SECURITY
from shared.kernel.org import CrmUser


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


async def test_a_deal_that_was_held_at_a_time_to_come_is_ordered_by_when_it_was_received(empty_database: str) -> None:
    """The role that migrates need not be one that row security spares."""
    for service, earlier in (("tracking", "0011"), ("incentives", "0003")):
        await asyncio.to_thread(upgrade, service, empty_database, earlier)
    connection = await asyncpg.connect(empty_database)
    received, ahead = datetime(2026, 3, 31, 18, tzinfo=UTC), datetime(2099, 1, 1, tzinfo=UTC)
    tenant, ids = UUID(int=1), (UUID(int=2), UUID(int=3))
    won = ({"closed_on": None, "closed_at": "2026-04-01T01:30:00+02:00"}, {"closed_on": "2026-02-03"})
    try:
        for number, modified in enumerate((ahead, received + timedelta(minutes=5))):
            for table in ("deals", "deal_versions"):
                recorded = ", recorded_at" if table == "deal_versions" else ""
                await connection.execute(
                    f"""
                    INSERT INTO tracking.{table} (tenant_id, deal_id, modified_at, sequence, delivery_id, connection_id,
                        received_at, source, external_id, kind, status{recorded})
                    VALUES ($1, $2, $3, 0, $1, $1, $4, 'crm', 'A', 'upserted', 'won'{", $4" if recorded else ""})
                    """,
                    tenant,
                    ids[number],
                    modified,
                    received,
                )
            await connection.execute(
                """
                INSERT INTO incentives.deals (tenant_id, id, modified_at, sequence, delivery_id, source, body)
                VALUES ($1, $2, $3, 0, $1, 'crm', $4)
                """,
                tenant,
                ids[number],
                modified,
                json.dumps({"received_at": received.isoformat(), "status": "won", **won[number]}),
            )
        await connection.execute(
            """
            INSERT INTO tracking.records
                (tenant_id, connection_id, object_name, external_id, fields, is_whole, merges)
            VALUES ($1, $1, 'Opportunity', 'A', $2, true, 1)
            """,
            tenant,
            json.dumps({"Amount": [1, ahead.isoformat(), 0], "Name": ["x", received.isoformat(), 0]}),
        )
        before = datetime.now(UTC)
        for service in ("tracking", "incentives"):
            await asyncio.to_thread(upgrade, service, empty_database)
        for table, name in (
            ("tracking.deals", "deal_id"),
            ("tracking.deal_versions", "deal_id"),
            ("incentives.deals", "id"),
        ):
            rows = await connection.fetch(f"SELECT {name} AS id, modified_at FROM {table} ORDER BY id")
            assert [row["modified_at"] for row in rows] == [received, received + timedelta(minutes=5)], table
        days = await connection.fetch("SELECT won_on, status FROM incentives.deals ORDER BY id")
        assert [tuple(row) for row in days] == [(date(2026, 3, 31), "won"), (date(2026, 2, 3), "won")]
        (told, nothing) = await connection.fetch("SELECT corrections FROM tracking.deal_versions ORDER BY deal_id")
        assert nothing["corrections"] is None
        assert json.loads(told["corrections"]) == [
            {
                "field": "/modified_at",
                "stated": "2099-01-01T00:00:00.000000Z",
                "kept": "2026-03-31T18:00:00.000000Z",
                "reason": "future",
            }
        ]
        fields = json.loads(await connection.fetchval("SELECT fields FROM tracking.records"))
        assert before - timedelta(minutes=1) < datetime.fromisoformat(fields["Amount"][1]) <= datetime.now(UTC)
        assert fields["Name"][1] == received.isoformat()
    finally:
        await connection.close()


async def test_what_counted_on_the_day_of_the_latest_payment_is_counted_anew(empty_database: str) -> None:
    await asyncio.to_thread(command.upgrade, _configuration("tracking", empty_database), "0013")
    await asyncio.to_thread(command.upgrade, _configuration("incentives", empty_database), "0004")
    tenant, deal, goal, other, plan = (UUID(int=number) for number in range(1, 6))
    at = datetime(2026, 4, 11, tzinfo=UTC)
    connection = await asyncpg.connect(empty_database)
    try:
        await connection.execute(
            """
            INSERT INTO tracking.deal_versions
                (tenant_id, deal_id, modified_at, sequence, delivery_id, connection_id, received_at, source,
                 external_id, kind, status, splits, payments, paid_amount, last_paid_on, recorded_at)
            VALUES ($1, $2, $3, 0, $2, $1, $3, 'crm', '1', 'upserted', 'won', $4, $5, 300, '2026-04-10', $3)
            """,
            tenant,
            deal,
            at,
            json.dumps([{"owner_external_id": user, "role": "owner", "percent": "50"} for user in ("ann", "ben")]),
            json.dumps([{"paid_on": "2026-03-15", "amount": "200"}, {"paid_on": "2026-04-10", "amount": "100"}]),
        )
        for goal_id, when_paid in ((goal, True), (other, False)):
            await connection.execute(
                "INSERT INTO tracking.projected_snapshots VALUES ($1, 'goal/' || $2::uuid, 'attain.goal.v1', 1, $3)",
                tenant,
                goal_id,
                json.dumps({"metric": {"counts_when_paid": when_paid}}),
            )
            await connection.execute(
                "INSERT INTO tracking.progress_goals VALUES ($1, $2, false, 7, $3)", tenant, goal_id, at
            )
        await connection.execute(
            """
            INSERT INTO incentives.plan_versions
                (tenant_id, plan_id, number, status, effective_from, components, revision, created_at)
            VALUES ($1, $2, 1, 'active', '2026-01-01', $3, 1, $4)
            """,
            tenant,
            plan,
            json.dumps([{"measure": {"date_field": "closed"}}, {"measure": {"date_field": "paid"}}]),
            at,
        )
        await connection.execute(
            """
            INSERT INTO incentives.assignments
                (tenant_id, id, person_id, plan_id, start, quotas, version, deleted, created_at)
            VALUES ($1, $2, $2, $3, '2026-01-01', '{}', 1, false, $4)
            """,
            tenant,
            goal,
            plan,
            at,
        )
        credit = (tenant, deal, goal, "cash", other, date(2026, 4, 10), date(2026, 4, 1), date(2026, 7, 1), 100, 300)
        statement = "INSERT INTO incentives.credits VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)"
        await connection.execute(statement, *credit)
        for service in ("tracking", "incentives"):
            await asyncio.to_thread(upgrade, service, empty_database)
        named = await connection.fetch("SELECT source, external_id, deal_id FROM tracking.deal_split_users ORDER BY 2")
        assert [tuple(row) for row in named] == [("crm", "ann", deal), ("crm", "ben", deal)]
        goals = await connection.fetch("SELECT goal_id, stale, version FROM tracking.progress_goals ORDER BY 1")
        assert [tuple(row) for row in goals] == [(goal, True, 8), (other, False, 7)]
        stale = await connection.fetch("SELECT assignment_id FROM incentives.stale_assignments")
        assert [row["assignment_id"] for row in stale] == [goal]
        # The same component may now have a credit of the deal on another day, and only one a day.
        await connection.execute(
            "INSERT INTO incentives.credits (tenant_id, deal_id, assignment_id, component, cell_id, day, period_start,"
            " period_end, percent, value)"
            " VALUES ($1, $2, $3, 'cash', $4, '2026-03-15', '2026-01-01', '2026-04-01', 100, 200)",
            tenant,
            deal,
            goal,
            other,
        )
        with pytest.raises(asyncpg.UniqueViolationError):
            await connection.execute(
                "INSERT INTO incentives.credits (tenant_id, deal_id, assignment_id, component, cell_id, day,"
                " period_start, period_end, percent, value) SELECT tenant_id, deal_id, assignment_id, component,"
                " cell_id, day, period_start, period_end, percent, value FROM incentives.credits"
            )
        await asyncio.to_thread(command.downgrade, _configuration("tracking", empty_database), "0013")
        await asyncio.to_thread(command.downgrade, _configuration("incentives", empty_database), "0004")
        assert await connection.fetchval("SELECT last_paid_on FROM tracking.deal_versions") == date(2026, 4, 10)
        assert await connection.fetchval("SELECT count(*) FROM incentives.credits") == 1
    finally:
        await connection.close()


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


async def test_plan_versions_from_before_changes_were_recorded_keep_what_is_known_of_them(empty_database: str) -> None:
    configuration = _configuration("incentives", empty_database)
    await asyncio.to_thread(command.upgrade, configuration, "0002")
    author, approver = UUID(int=1), UUID(int=2)
    connection = await asyncpg.connect(empty_database)
    try:
        await connection.execute("SELECT set_config('app.tenants', '*', false)")
        for number, (status, writer, revision) in enumerate(
            [("draft", author, 1), ("draft", author, 3), ("approved", author, 2), ("active", None, 4)], start=1
        ):
            approved = status != "draft"
            await connection.execute(
                "INSERT INTO incentives.plan_versions (tenant_id, plan_id, number, status, effective_from, components,"
                " note, author_id, approver_id, revision, created_at, approved_at, activated_at) VALUES ($1, $1, $2,"
                " $3, '2026-01-01', '[{\"key\": \"bookings\"}]', 'why', $4, $5, $6, '2026-01-02', $7, $8)",
                UUID(int=7),
                number,
                status,
                writer,
                approver if approved else None,
                revision,
                datetime(2026, 1, 3, tzinfo=UTC) if approved else None,
                datetime(2026, 1, 4, tzinfo=UTC) if status == "active" else None,
            )
        await asyncio.to_thread(upgrade, "incentives", empty_database)
        rows = await connection.fetch(
            "SELECT number, revision, kind, actor, person_id, at IS NULL AS untimed, after IS NULL AS untold"
            " FROM incentives.plan_version_changes ORDER BY number, revision"
        )
    finally:
        await connection.close()
    assert [tuple(row) for row in rows] == [
        (1, 1, "drafted", "person", author, False, False),
        (2, 1, "drafted", "person", author, False, True),
        (2, 3, "edited", "unknown", None, True, False),
        (3, 1, "drafted", "person", author, False, False),
        (3, 2, "approved", "person", approver, False, True),
        (4, 1, "drafted", "service", None, False, True),
        (4, 2, "edited", "unknown", None, True, False),
        (4, 3, "approved", "person", approver, False, True),
        (4, 4, "activated", "unknown", None, False, True),
    ]


async def test_won_deals_of_nobody_from_before_they_were_counted_are_counted_as_a_recount_would(
    empty_database: str,
) -> None:
    await asyncio.to_thread(command.upgrade, _configuration("tracking", empty_database), "0012")
    tenants, connection_id = (UUID(int=1), UUID(int=2)), UUID(int=7)
    shared = [{"owner_external_id": "ann", "percent": "60"}, {"owner_external_id": "eve", "percent": "40"}]
    deals: list[dict[str, object]] = [
        {},
        {"owner_external_id": "eve"},
        {"owner_external_id": "eve", "status": "open"},
        {"owner_external_id": "eve", "kind": "deleted"},
        {"owner_external_id": None, "currency": None},
        {"splits": json.dumps(shared), "amount": Decimal("999.99")},
        {"closed_at": None, "amount": None},
    ]
    connection = await asyncpg.connect(empty_database)
    try:
        await connection.execute("SELECT set_config('app.tenants', '*', false)")
        for tenant_id in tenants:
            for deleted, user in ((tenant_id == tenants[1], "ann"), (True, "eve")):
                body = {"source": "crm", "external_user_id": user, "deleted": deleted}
                await connection.execute(
                    "INSERT INTO tracking.projected_snapshots VALUES ($1, $2, 'attain.identity.v1', 1, $3)",
                    tenant_id,
                    f"identity/{user}",
                    json.dumps(body),
                )
            for number, fields in enumerate(deals):
                deal = {
                    "tenant_id": tenant_id,
                    "deal_id": UUID(int=number),
                    "modified_at": datetime(2026, 3, 31, tzinfo=UTC),
                    "sequence": 0,
                    "delivery_id": UUID(int=9),
                    "connection_id": connection_id,
                    "received_at": datetime(2026, 3, 31, tzinfo=UTC),
                    "source": "crm",
                    "external_id": str(number),
                    "kind": "upserted",
                    "status": "won",
                    "owner_external_id": "ann",
                    "amount": Decimal(100),
                    "currency": "EUR",
                    "closed_at": datetime(2026, 3, 31, tzinfo=UTC),
                    **fields,
                }
                places = ", ".join(f"${place}" for place in range(1, len(deal) + 1))
                await connection.execute(
                    f"INSERT INTO tracking.deals ({', '.join(deal)}) VALUES ({places})",
                    *deal.values(),
                )
        await asyncio.to_thread(upgrade, "tracking", empty_database)
    finally:
        await connection.close()
    database = Database(empty_database, service="tracking")
    try:
        for tenant_id, known, gaps in ((tenants[0], [CrmUser("crm", "ann")], 5), (tenants[1], [], 7)):
            async with database.transaction(Scope.of(tenant_id)) as tx:
                counted, recounted = await records.uncredited_counts(tx, tenant_id, known)
            assert counted == recounted
            assert len(counted) == gaps
            (share,) = [count for key, count in counted.items() if (key.reason, key.user) == ("split_unknown", "eve")]
            assert share.amount == Decimal("399.996")
    finally:
        await database.close()


async def test_addresses_from_before_they_were_sealed_are_sealed_with_the_key(
    empty_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ATTAIN_SECRETS_KEY", raising=False)
    await asyncio.to_thread(command.upgrade, _configuration("tracking", empty_database), "0018")
    address, tenant = "https://payroll.example.com/hook?token=secret", UUID(int=7)
    connection = await asyncpg.connect(empty_database)
    try:
        await connection.execute("SELECT set_config('app.tenants', '*', false)")
        for number, deleted in ((1, None), (2, datetime(2026, 1, 1, tzinfo=UTC))):
            await connection.execute(
                "INSERT INTO tracking.subscriptions (tenant_id, id, name, url, events, secrets, status, version,"
                " created_at, updated_at, deleted_at)"
                " VALUES ($1, $2, 'Payroll', $3, '{}', '[]', 'active', 1, now(), now(), $4)",
                tenant,
                UUID(int=number),
                address,
                deleted,
            )
        for key, body in (("shows it", f'{{"url":"{address}"}}'), ("shows none", '{"id":"1"}')):
            await connection.execute(
                "INSERT INTO tracking.idempotency_keys (tenant_id, key, fingerprint, response_status,"
                " response_headers, response_body) VALUES ($1, $2, '', 200, '[]', $3)",
                tenant,
                key,
                body.encode(),
            )
        with pytest.raises(SecretsKeyMissing, match="ATTAIN_SECRETS_KEY"):
            await asyncio.to_thread(upgrade, "tracking", empty_database)
        key = Fernet.generate_key().decode()
        await asyncio.to_thread(partial(upgrade, "tracking", empty_database, secrets_key=key))
        sealed = [row["sealed_url"] for row in await connection.fetch("SELECT sealed_url FROM tracking.subscriptions")]
        kept = [row["key"] for row in await connection.fetch("SELECT key FROM tracking.idempotency_keys")]
        monkeypatch.setenv("ATTAIN_SECRETS_KEY", key)
        await asyncio.to_thread(command.downgrade, _configuration("tracking", empty_database), "0018")
        opened = [row["url"] for row in await connection.fetch("SELECT url FROM tracking.subscriptions")]
    finally:
        await connection.close()
    assert [SecretsBox(key).open(each) for each in sealed] == [address, address]
    assert kept == ["shows none"]
    assert opened == [address, address], "the way back"


async def test_calendars_and_teams_from_before_they_had_days_hold_from_the_beginning(empty_database: str) -> None:
    await asyncio.to_thread(command.upgrade, _configuration("goals", empty_database), "0003")
    tenant, team, manager = UUID(int=7), UUID(int=8), UUID(int=9)
    connection = await asyncpg.connect(empty_database)
    try:
        await connection.execute("SELECT set_config('app.tenants', '*', false)")
        await connection.execute(
            "INSERT INTO goals.calendars (tenant_id, version, start_month, time_zone, currency, changed_at)"
            " VALUES ($1, 3, 4, 'posix/Asia/Tokyo', 'JPY', now())",
            tenant,
        )
        await connection.execute(
            "INSERT INTO goals.people (tenant_id, id, version, name, active, changed_at)"
            " VALUES ($1, $2, 1, 'M', true, now())",
            tenant,
            manager,
        )
        await connection.execute(
            "INSERT INTO goals.teams (tenant_id, id, version, name, manager_id, changed_at)"
            " VALUES ($1, $2, 2, 'Sales', $3, now())",
            tenant,
            team,
            manager,
        )
    finally:
        await connection.close()
    await asyncio.to_thread(upgrade, "goals", empty_database)
    database = Database(empty_database, service="goals")
    try:
        async with database.transaction(Scope.of(tenant)) as tx:
            calendar = await CALENDARS.get(tx, tenant, tenant)
            placed = await TEAMS.get(tx, tenant, team)
    finally:
        await database.close()
    assert calendar == Calendar(3, CalendarTerms(4, "Asia/Tokyo", "JPY"))
    assert placed == Team(team, 2, "Sales", Place(None, manager))


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
