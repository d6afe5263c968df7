"""The ledger on real Postgres: any kind of posting, after transactions of the form of the release before."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import date
from decimal import Decimal
from uuid import UUID, uuid4

import asyncpg
import pytest
from alembic import command
from sqlalchemy import text

from services.incentives.ledger import service as ledger
from services.incentives.ledger import store
from services.incentives.ledger.domain import (
    EARNED,
    EARNING,
    Account,
    Cause,
    Entry,
    Flaw,
    LedgerTransaction,
    Posting,
    Subject,
    seal,
)
from services.incentives.ledger.schemas import LedgerTransactionAnswer
from shared.db.database import Database, Scope, Transaction
from shared.db.migration import _configuration, upgrade
from shared.kernel.periods import Period

CELL, RUN, ANN, PLAN = (UUID(int=number) for number in (61, 62, 11, 63))
MARCH = Period(date(2026, 3, 1), date(2026, 4, 1))
COMMISSION = Posting(
    EARNED,
    (
        Entry(Account("expense", f"commission:{PLAN}"), Decimal(50), "USD"),
        Entry(Account("payable", str(ANN)), Decimal(-50), "USD"),
    ),
    Subject(EARNING, CELL, ANN, PLAN, "bookings"),
    MARCH,
    Cause.of_definitions(["plan/1 v1"]),
    MARCH,
)
PAID = Posting(
    "paid",
    (
        Entry(Account("payable", str(ANN)), Decimal(80), "USD"),
        Entry(Account("bank", "payroll"), Decimal(-80), "USD"),
        Entry(Account("payable", str(ANN)), Decimal(7), "JPY"),
        Entry(Account("bank", "payroll"), Decimal(-7), "JPY"),
    ),
    Subject("payout_run", RUN, ANN),
    MARCH,
    Cause("payout_run", changes=("payout_run/62 v2",)),
    MARCH,
)


@pytest.fixture(scope="module")
async def database(module_database: str) -> AsyncIterator[Database]:
    opened = Database(module_database, service="incentives")
    yield opened
    await opened.close()


async def post_as_the_release_before(tx: Transaction, tenant_id: UUID) -> None:
    """A commission of 50, in the columns and the form of a worker that has not been replaced yet."""
    head = await store.locked_head(tx, tenant_id)
    unsealed = LedgerTransaction(tenant_id, head.sequence + 1, tx.now, replace(COMMISSION, period=None, posted_in=None))
    values = {
        "tenant": tenant_id,
        "sequence": unsealed.sequence,
        "now": tx.now,
        "cell": CELL,
        "person": ANN,
        "plan": PLAN,
        "hash": seal(head.hash, unsealed),
    }
    for statement in (
        "INSERT INTO incentives.ledger_transactions (tenant_id, sequence, posted_at, cell_id, person_id, plan_id,"
        " component, cause, changes, hash) VALUES (:tenant, :sequence, :now, :cell, :person, :plan, 'bookings',"
        """ 'definitions', '["plan/1 v1"]', :hash)""",
        "INSERT INTO incentives.ledger_entries (tenant_id, sequence, line, account, amount, currency) VALUES"
        f" (:tenant, :sequence, 1, 'expense:commission:{PLAN}', 50, 'USD'),"
        f" (:tenant, :sequence, 2, 'payable:{ANN}', -50, 'USD')",
        "INSERT INTO incentives.ledger_heads VALUES (:tenant, :sequence, :hash)"
        " ON CONFLICT (tenant_id) DO UPDATE SET sequence = excluded.sequence, hash = excluded.hash",
    ):
        await tx.execute(text(statement), {name: each for name, each in values.items() if f":{name}" in statement})


async def add_cell(tx: Transaction, tenant_id: UUID) -> None:
    """The cell of the commissions, of the first quarter."""
    await tx.execute(
        text(
            "INSERT INTO incentives.cells (tenant_id, id, assignment_id, component, period_start, period_end,"
            " person_id, plan_id, plan_version, currency, measure, payout, earned, credits, version, changed_at) VALUES"
            " (:tenant, :cell, :cell, 'bookings', '2026-01-01', '2026-04-01', :person, :plan, 1, 'USD', 0, 0, 0, 0, 1,"
            " :now)"
        ),
        {"tenant": tenant_id, "cell": CELL, "person": ANN, "plan": PLAN, "now": tx.now},
    )


async def owed_by_origin(database: Database, tenant_id: UUID) -> dict[Period, Decimal]:
    """What was posted in pay periods that end with March, by the period it belongs to."""
    async with database.transaction(Scope.of(tenant_id)) as tx:
        found = await ledger.posted(
            tx, tenant_id, "payable", EARNING, after=date(2026, 3, 31), until=date(2026, 4, 1), people=[ANN]
        )
    return {each.origin: each.amount for each in found}


async def test_what_names_no_period_was_posted_for_that_of_its_cell(database: Database) -> None:
    tenant_id = uuid4()
    async with database.transaction(Scope.of(tenant_id)) as tx:
        await add_cell(tx, tenant_id)
        await post_as_the_release_before(tx, tenant_id)
        await ledger.post(tx, tenant_id, [COMMISSION, PAID])
    quarter = Period(date(2026, 1, 1), date(2026, 4, 1))
    assert await owed_by_origin(database, tenant_id) == {quarter: Decimal(50), MARCH: Decimal(50)}


async def both_forms(database: Database) -> UUID:
    """A tenant whose ledger has two commissions of the first form, a commission, a payment, and one more as before."""
    tenant_id = uuid4()
    async with database.transaction(Scope.of(tenant_id)) as tx:
        for _ in range(2):
            await post_as_the_release_before(tx, tenant_id)
        await ledger.post(tx, tenant_id, [COMMISSION, PAID])
        await post_as_the_release_before(tx, tenant_id)
    return tenant_id


async def test_a_chain_goes_on_in_the_general_form_and_is_intact(database: Database) -> None:
    tenant_id = await both_forms(database)
    async with database.transaction(Scope.of(tenant_id)) as tx:
        verified = await ledger.verify(tx, tenant_id)
        posted = await ledger.transactions(tx, tenant_id, after=0, limit=10)
        of_the_run = await ledger.transactions(tx, tenant_id, after=0, limit=10, subject_id=RUN)
    assert (verified.first_break, verified.transactions) == (None, 5)
    before = replace(COMMISSION, period=None, posted_in=None)
    assert [each.posting for each in posted] == [before, before, COMMISSION, PAID, before]
    assert of_the_run == [posted[3]]
    commission, paid = (LedgerTransactionAnswer.of(each) for each in posted[2:4])
    assert (commission.earning_id, commission.plan_id, commission.component) == (CELL, PLAN, "bookings")
    assert (paid.kind, paid.subject.id, paid.earning_id, paid.plan_id, paid.component) == (
        "paid",
        RUN,
        None,
        None,
        None,
    )


async def test_balances_are_of_any_kind_of_account_by_subject(database: Database) -> None:
    tenant_id = await both_forms(database)
    async with database.transaction(Scope.of(tenant_id)) as tx:
        payable = [await ledger.balances_of_kind(tx, tenant_id, "payable", kind) for kind in (EARNING, "payout_run")]
        of_the_run = await ledger.balances(tx, tenant_id, "bank", [RUN, CELL])
    assert payable == [{CELL: {"USD": Decimal(-200)}}, {RUN: {"USD": Decimal(80), "JPY": Decimal(7)}}]
    assert of_the_run == {RUN: {"USD": Decimal(-80), "JPY": Decimal(-7)}}


IN_BOTH_FORMS = (
    "posted_at = posted_at + interval '1 second'",
    "cell_id = person_id",
    "person_id = cell_id",
    "plan_id = person_id",
    "plan_id = CASE WHEN plan_id IS NULL THEN person_id END",
    "component = coalesce(component, '') || 'x'",
    "cause = 'deal'",
    "deal_id = person_id",
    "(deal_modified_at, deal_sequence, delivery_id) = (now(), 0, person_id)",
    "changes = '[]'",
    "hash = '\\x00'",
)
IN_THE_GENERAL_FORM = (
    "posted_in_start = '2020-01-01'",
    "posted_in_end = '2030-01-01'",
    "(posted_in_start, posted_in_end) = (NULL, NULL)",
    "kind = 'draw'",
    "subject_kind = 'draw'",
    "period_start = '2020-01-01'",
    "period_end = '2030-01-01'",
    "(kind, subject_kind, period_start, period_end, posted_in_start, posted_in_end)"
    " = (NULL, NULL, NULL, NULL, NULL, NULL)",
)
IN_THE_FIRST_FORM = (
    "(kind, subject_kind, period_start, period_end) = ('earned', 'earning', '2026-03-01', '2026-04-01')",
)
OF_AN_ENTRY = ("account = 'payable:nobody'", "amount = amount * 3", "currency = 'EUR'")


@asynccontextmanager
async def superuser_around_the_triggers(url: str) -> "AsyncIterator[asyncpg.Connection[asyncpg.Record]]":
    """A connection that may change what is append-only."""
    connection = await asyncpg.connect(url.replace("+asyncpg", ""))
    try:
        await connection.execute("SET session_replication_role = replica")
        yield connection
    finally:
        await connection.close()


async def test_any_sealed_member_that_a_superuser_alters_shows_in_either_form(
    database: Database, module_database: str
) -> None:
    tenant_id = await both_forms(database)
    alterations = [
        *(("transactions", at, change) for at in (2, 3, 4, 5) for change in IN_BOTH_FORMS),
        *(("transactions", at, change) for at in (3, 4) for change in IN_THE_GENERAL_FORM),
        *(("transactions", at, change) for at in (2, 5) for change in IN_THE_FIRST_FORM),
        *(("entries", at, change) for at in (2, 3, 4, 5) for change in OF_AN_ENTRY),
    ]
    async with superuser_around_the_triggers(module_database) as superuser:
        for table, at, change in alterations:
            where = f"tenant_id = '{tenant_id}' AND sequence = {at}"
            columns = "sequence, line, account, amount, currency" if table == "entries" else "*"
            await superuser.execute(
                f"CREATE TEMPORARY TABLE as_posted AS SELECT {columns} FROM incentives.ledger_{table} WHERE {where}"
            )
            await superuser.execute(f"UPDATE incentives.ledger_{table} SET {change} WHERE {where}")
            async with database.transaction(Scope.of(tenant_id)) as tx:
                found = (await ledger.verify(tx, tenant_id)).first_break
            assert found is not None, (at, change)
            assert (found.sequence, found.flaw) == (at, Flaw.ALTERED), change
            await superuser.execute(f"DELETE FROM incentives.ledger_{table} WHERE {where}")
            columns = "tenant_id, " + columns if table == "entries" else ""
            values = f"'{tenant_id}', *" if table == "entries" else "*"
            await superuser.execute(
                f"INSERT INTO incentives.ledger_{table} {f'({columns})' if columns else ''}"
                f" SELECT {values} FROM as_posted"
            )
            await superuser.execute("DROP TABLE as_posted")
    async with database.transaction(Scope.of(tenant_id)) as tx:
        assert (await ledger.verify(tx, tenant_id)).first_break is None


async def test_half_of_the_general_form_is_no_form(database: Database, module_database: str) -> None:
    tenant_id = await both_forms(database)
    async with superuser_around_the_triggers(module_database) as superuser:
        with pytest.raises(asyncpg.CheckViolationError, match="ck_ledger_transactions_form"):
            await superuser.execute(
                f"UPDATE incentives.ledger_transactions SET kind = 'paid' WHERE tenant_id = '{tenant_id}'"
            )


async def test_a_migration_back_and_forth_leaves_every_seal_as_it_is(fresh_database: str) -> None:
    database = Database(fresh_database, service="incentives")
    try:
        tenant_id = await both_forms(database)
        async with database.transaction(Scope.of(tenant_id)) as tx:
            await add_cell(tx, tenant_id)
        await asyncio.to_thread(command.downgrade, _configuration("incentives", fresh_database), "0007")
        await asyncio.to_thread(upgrade, "incentives", fresh_database)
        async with database.transaction(Scope.of(tenant_id)) as tx:
            verified = await ledger.verify(tx, tenant_id)
        owed = await owed_by_origin(database, tenant_id)
    finally:
        await database.close()
    assert (verified.first_break, verified.transactions) == (None, 5)
    assert owed == {Period(date(2026, 1, 1), date(2026, 4, 1)): Decimal(150), MARCH: Decimal(50)}
