"""Versions of records by month on real Postgres: what is read of them, what an event looks into, what was before."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from inspect import Signature, signature
from uuid import UUID, uuid4

import asyncpg
import pytest
from alembic import command
from sqlalchemy import text

from services.tracking.records import queries
from services.tracking.records.columns import DEAL_COLUMNS
from services.tracking.records.domain.records import DealFilter
from services.tracking.records.service import DEALS, Records
from services.tracking.records.store.deals import DealStore
from services.tracking.records.store.records import RecordStore, VersionKey
from services.tracking.records.tables import deal_versions, deals
from shared.contracts.deals import Deal
from shared.db.database import Database, Scope
from shared.db.migration import _configuration, check, upgrade
from shared.kernel.deals import DealFacts
from shared.kernel.errors import NotFound
from shared.kernel.records import RecordKind
from shared.kernel.sight import WHOLE_TENANT
from tests.stories.june import won


class FactsBefore:
    """Makes the facts of a deal as a release that knew no invoices did."""

    def __init__(self) -> None:
        known = signature(DealFacts).parameters.values()
        self.__signature__ = Signature([each for each in known if each.name not in INVOICED])

    def __call__(self, *values: object) -> DealFacts:
        return DealFacts(*values)  # type: ignore[arg-type]


class StoreBefore(DealStore):
    """The statements of that release."""

    def __init__(self) -> None:
        known = [column for column in DEAL_COLUMNS if column.name not in INVOICED]
        RecordStore.__init__(self, Deal, FactsBefore(), known, deals, deal_versions)


INVOICED = ("invoices", "invoiced_amount")
BEFORE = Records(StoreBefore(), Deal.facts, lambda deal_id: NotFound(str(deal_id)))


@pytest.fixture
async def database(fresh_database: str) -> AsyncIterator[Database]:
    opened = Database(fresh_database, service="tracking")
    yield opened
    await opened.close()


def in_month(tenant_id: UUID, months_ahead: int, *, number: int = 1) -> Deal:
    """A deal as modified in a month after this one, with the number of it as amount."""
    today = datetime.now(UTC)
    month = today.month - 1 + months_ahead
    at = datetime(today.year + month // 12, month % 12 + 1, 1, 12, tzinfo=UTC)
    return won(tenant_id, number, at, amount=months_ahead + 10).model_copy(
        update={"modified_at": at, "received_at": at, "delivery_id": UUID(int=months_ahead + 100)}
    )


async def record(url: str, event: Deal, records: Records[Deal, DealFacts, DealFilter] = DEALS) -> None:
    """Record a version in the moment in which it was received."""
    database = Database(url, service="tracking", clock=lambda: event.received_at)
    await database.run(Scope.of(event.tenant_id), lambda tx: records.record(tx, [event]))
    await database.close()


async def all_versions(
    database: Database, tenant_id: UUID, deal_id: UUID, records: Records[Deal, DealFacts, DealFilter] = DEALS
) -> list[Decimal | None]:
    """The amounts of a deal's versions, newest first, read two at a time."""
    amounts: list[Decimal | None] = []
    before: VersionKey | None = None
    while True:
        async with database.transaction(Scope.of(tenant_id)) as tx:
            page = await records.versions(tx, tenant_id, WHOLE_TENANT, deal_id, before=before, limit=2)
        if not page:
            return amounts
        amounts += [each.event.amount for each in page]
        last = page[-1].event
        before = (last.modified_at, last.sequence, last.delivery_id)


async def test_a_deal_whose_versions_are_of_many_months_is_read_as_if_they_were_of_one(
    fresh_database: str, database: Database
) -> None:
    """In the partition of what was before, in months of their own, and after the last month that has one."""
    tenant, months = uuid4(), [-30, -1, 0, 1, 2, 3, 7, 8]
    events = [in_month(tenant, month) for month in months]
    for event in (*events[::2], *events[1::2], *events):
        await record(fresh_database, event)
    amounts = [Decimal(month + 10) for month in months]
    assert await all_versions(database, tenant, events[0].id) == amounts[::-1]
    async with database.transaction(Scope.of(tenant)) as tx:
        for event in events:
            assert await DEALS.brought_by(tx, tenant, WHOLE_TENANT, event.id, event.delivery_id) is not None
        assert await DEALS.brought_by(tx, tenant, WHOLE_TENANT, events[0].id, uuid4()) is None


async def test_the_past_is_told_by_what_was_recorded_by_then(fresh_database: str, database: Database) -> None:
    tenant, months = uuid4(), [-2, 0, 1, 2, 7]
    events = [in_month(tenant, month) for month in months]
    for event in events:
        await record(fresh_database, event)
    statement = text(f"SELECT amount FROM {queries.AS_OF[RecordKind.DEAL]} AS record")
    async with database.transaction(Scope.of(tenant)) as tx:
        told = [
            [row["amount"] for row in await tx.rows(statement, {"tenant_id": tenant, "as_of": event.received_at})]
            for event in events
        ]
    assert told == [[event.amount] for event in events]


async def test_an_event_looks_into_its_own_month_however_many_there_are(
    fresh_database: str, database: Database
) -> None:
    tenant = uuid4()
    owner = await asyncpg.connect(fresh_database)
    try:
        for year in range(2100, 2110):
            await owner.execute(
                f"CREATE TABLE tracking.deal_versions_{year} PARTITION OF tracking.deal_versions"
                f" FOR VALUES FROM ('{year}-01-01') TO ('{year + 1}-01-01')"
            )
    finally:
        await owner.close()
    for _ in range(7):
        event = in_month(tenant, 2)
        async with database.transaction(Scope.of(tenant)) as tx:
            await DEALS.record(tx, [event])
            touched = await tx.rows(
                text(
                    "SELECT DISTINCT relname FROM pg_locks JOIN pg_class ON oid = relation"
                    " WHERE pid = pg_backend_pid() AND relname LIKE 'deal_versions%' AND relkind <> 'i' ORDER BY 1"
                )
            )
        assert [row["relname"] for row in touched] == ["deal_versions", f"deal_versions_{event.modified_at:%Y_%m}"]


async def test_versions_of_a_release_before_stay_as_they_are_and_its_statements_go_on(empty_database: str) -> None:
    await asyncio.to_thread(upgrade, "tracking", empty_database, "0022")
    tenant = uuid4()
    old, late = in_month(tenant, -5), in_month(tenant, 0)
    await record(empty_database, old, BEFORE)
    await record(empty_database, late, BEFORE)
    owner = await asyncpg.connect(empty_database)
    database = Database(empty_database, service="tracking")
    # As the release before records, in the process that it ran before and after the migration.
    running = Database(empty_database, service="tracking")

    async def files() -> Sequence[int]:
        rows = await owner.fetch(
            "SELECT pg_relation_filenode(oid) AS file FROM pg_class WHERE relnamespace = 'tracking'::regnamespace"
            " AND relname ~ '^(deal|activity)_versions(_until_\\d{4}_\\d{2})?$' AND relkind = 'r' ORDER BY 1"
        )
        return [row["file"] for row in rows]

    async def constraints() -> list[str]:
        rows = await owner.fetch("SELECT conname FROM pg_constraint WHERE contype = 'c' AND conname = 'is_before'")
        return [row["conname"] for row in rows]

    try:
        before = await files()
        await running.run(Scope.of(tenant), lambda tx: BEFORE.record(tx, [in_month(tenant, 0, number=2)]))
        await asyncio.to_thread(upgrade, "tracking", empty_database)
        assert (await files(), await constraints()) == (before, [])
        await running.run(Scope.of(tenant), lambda tx: BEFORE.record(tx, [in_month(tenant, 2), in_month(tenant, 9)]))
        amounts = [Decimal(amount) for amount in (19, 12, 10, 5)]
        assert await all_versions(database, tenant, old.id, BEFORE) == amounts
        for revision in ("0022", "head"):
            step = command.downgrade if revision == "0022" else command.upgrade
            await asyncio.to_thread(step, _configuration("tracking", empty_database), revision)
            await running.run(Scope.of(tenant), lambda tx: BEFORE.record(tx, [in_month(tenant, 2)]))
            assert await all_versions(database, tenant, old.id, BEFORE) == amounts
        await asyncio.to_thread(check, "tracking", empty_database)
    finally:
        await owner.close()
        await database.close()
        await running.close()


async def test_no_partition_of_versions_shows_a_row_of_another_tenant(fresh_database: str, database: Database) -> None:
    tenant = uuid4()
    for month in (-1, 2, 9):
        await record(fresh_database, in_month(tenant, month))
    seen: list[int] = []
    for who in (tenant, uuid4()):
        async with database.transaction(Scope.of(who)) as tx:
            parts = await tx.rows(
                text(
                    "SELECT inhrelid::regclass::text AS name FROM pg_inherits"
                    " WHERE inhparent = 'tracking.deal_versions'::regclass"
                )
            )
            counts = [await tx.rows(text(f"SELECT count(*) AS rows FROM {part['name']}")) for part in parts]
            seen.append(sum(count[0]["rows"] for count in counts))
    assert seen == [3, 0]
