"""`attain verify` compares across services, counts dead letters, says how much, isolates tenants and waits."""

import asyncio
import resource
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import partial
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from deploy.local.commands.verify import Report, lines, verified
from services.goals.calendar.service import Calendars
from services.goals.evidence.service import Evidence
from services.goals.metadata import transport as goals_transport
from services.goals.org.service import Organisation
from services.incentives.credits.domain.credit import ReceivedDeal
from services.incentives.credits.service import Credits
from services.tracking.measure.actuals import service as actuals
from services.tracking.measure.progress.definitions import DefinitionsCache
from services.tracking.measure.progress.service import ProgressTracker
from services.tracking.metadata import transport
from services.tracking.tell.dead_letters import store as dead_letters
from services.tracking.tell.dead_letters.store import DeadLetter
from shared.contracts.actuals import Actuals
from shared.contracts.deals import Deal
from shared.contracts.envelope import from_record
from shared.contracts.examples import EXAMPLES
from shared.contracts.org import Identity, Person
from shared.db.database import Database, Scope, Transaction
from shared.db.projection import Snapshot
from shared.kernel.deals import DealStatus
from shared.outbox.outbox import Outbox, decode_headers
from tests.stories.pay import CREDITS, EARNINGS

STATED = datetime(2026, 11, 23, tzinfo=UTC)


@dataclass
class House:
    """The three services on one database, given events as their consumers give them."""

    url: str
    goals: Database
    tracking: Database
    incentives: Database
    tenant: UUID

    @property
    def scope(self) -> Scope:
        return Scope.of(self.tenant)

    async def track(self, *deals: Deal) -> None:
        tracker = ProgressTracker(Outbox(transport), DefinitionsCache())
        async with self.tracking.transaction(self.scope) as tx:
            await tracker.apply(tx, [self.tenant], [deals], stripe=0)

    async def credit(self, *deals: Deal) -> None:
        incoming = [
            ReceivedDeal(self.tenant, deal.facts(), deal.model_dump_json(), deal.connection_id) for deal in deals
        ]
        async with self.incentives.transaction(self.scope) as tx:
            await EARNINGS.apply_deals(tx, [self.tenant], incoming)

    async def add_person(self) -> Person:
        """Somebody in the goals service, as published."""
        async with self.goals.transaction(self.scope) as tx:
            outbox = Outbox(goals_transport)
            await Organisation(outbox, Calendars(outbox)).create_person(tx, self.tenant, name="Ada", email=None)
            rows = await tx.rows(
                text("SELECT headers, value FROM goals.outbox WHERE tenant_id = :tenant"), {"tenant": self.tenant}
            )
        (event,) = [from_record(dict(decode_headers(row["headers"])), row["value"]) for row in rows]
        assert isinstance(event, Person)
        return event

    async def define(self, person: Person, *, incentives: bool = True) -> None:
        async with self.tracking.transaction(self.scope) as tx:
            await ProgressTracker(Outbox(transport), DefinitionsCache()).define(tx, [person])
        if incentives:
            body = person.model_dump_json()
            snapshot = Snapshot(self.tenant, person.subject, person.event_type, person.version, body)
            async with self.incentives.transaction(self.scope) as tx:
                await EARNINGS.apply_definitions(tx, [self.tenant], [snapshot])

    def deal(self, number: int, **changes: object) -> Deal:
        example = EXAMPLES["attain.deal.v1"]
        assert isinstance(example, Deal)
        return example.model_copy(update={"tenant_id": self.tenant, "id": UUID(int=number + 1), **changes})


@pytest.fixture
async def house(fresh_database: str) -> AsyncIterator[House]:
    goals, tracking, incentives = (
        Database(fresh_database, service=name) for name in ("goals", "tracking", "incentives")
    )
    yield House(fresh_database, goals, tracking, incentives, uuid4())
    for database in (goals, tracking, incentives):
        await database.close()


async def test_what_all_hold_alike_is_no_difference_and_how_much_was_compared_is_said(house: House) -> None:
    deals = [house.deal(number) for number in range(3)]
    await house.track(*deals)
    await house.credit(*deals)
    await house.define(await house.add_person())
    report = await verified(house.url, settle_seconds=0)
    assert report.differences == []
    assert report.is_clean
    assert lines(report)[-3:] == [
        "compared: 1 tenant, 3 deals, 0 credits, 0 cells, 0 ledger transactions, 3 deals in both services,"
        " 1 definition in tracking, 1 definition in incentives",
        "dead letters: 0",
        "verify: 0 differences",
    ]


async def test_a_deal_or_definition_that_one_service_lost_is_a_difference_in_each_direction(house: House) -> None:
    same, lost, older, ghost = (house.deal(number) for number in range(4))
    newer = older.model_copy(update={"modified_at": STATED})
    await house.track(same, lost, newer)
    await house.credit(same, older, ghost)
    person = await house.add_person()
    await house.define(person, incentives=False)
    report = await verified(house.url, settle_seconds=0)
    assert [line.split(" (")[0] for line in report.differences] == [
        f"deal {lost.id}",
        f"deal {older.id}",
        f"deal {ghost.id}",
        f"person/{person.id}",
    ]
    assert "incentives has none" in report.differences[0]
    assert "tracking has none" in report.differences[2]
    assert "goals published version 1, incentives has none" in report.differences[3]
    assert not report.is_clean


async def test_what_is_under_way_while_it_verifies_is_no_difference(house: House) -> None:
    deals = [house.deal(number) for number in range(5)]
    await house.track(*deals)

    async def come_later() -> None:
        await asyncio.sleep(1.5)
        await house.credit(*deals)

    coming = asyncio.create_task(come_later())
    report = await verified(house.url, settle_seconds=30)
    await coming
    assert report.differences == []
    assert report.compared["deal in both services"] == 5


async def with_actuals(house: House) -> list[Actuals]:
    """What tracking has to publish of two deals that somebody won."""
    person, example = await house.add_person(), EXAMPLES["attain.identity.v1"]
    assert isinstance(example, Identity)
    deal = house.deal(0)
    identity = example.model_copy(
        update={
            "tenant_id": house.tenant,
            "person_id": person.id,
            "source": deal.source,
            "external_user_id": deal.owner_external_id,
        }
    )
    async with house.tracking.transaction(house.scope) as tx:
        await ProgressTracker(Outbox(transport), DefinitionsCache()).define(tx, [person, identity])
    deals = [
        house.deal(number, status=DealStatus.WON, splits=(), closed_at=None, closed_on=day)
        for number, day in ((1, STATED.date()), (2, date(2026, 10, 5)))
    ]
    await house.track(*deals)
    await house.credit(*deals)
    async with house.tracking.transaction(house.scope) as tx:
        return await actuals.published_of(tx, house.tenant, [person.id])


async def stored_as_evidence(house: House, *events: Actuals) -> None:
    async with house.goals.transaction(house.scope) as tx:
        await Evidence().store_newest(tx, events)


def about_actuals(report: Report) -> list[str]:
    return [line for line in report.differences if line.startswith("actuals of")]


async def test_what_goals_plans_with_is_compared_with_what_tracking_published(house: House) -> None:
    published = await with_actuals(house)
    assert len(published) == 2
    await stored_as_evidence(house, *published)
    report = await verified(house.url, settle_seconds=0)
    assert about_actuals(report) == []
    assert report.compared["month in both services"] == 2
    async with house.goals.transaction(house.scope) as tx:
        await tx.execute(text("UPDATE goals.actuals SET won_value = won_value + 1 WHERE month = '2026-10-01'"))
        await tx.execute(text("DELETE FROM goals.actuals WHERE month = '2026-11-01'"))
        ghost = text(
            "INSERT INTO goals.actuals (tenant_id, person_id, month, version, won_value, won_number, open_value,"
            " open_number, unconverted, changed_at) VALUES (:tenant, :person, '2026-11-01', 1, 5, 1, 0, 0, 0, :now)"
        )
        await tx.execute(ghost, {"tenant": house.tenant, "person": UUID(int=7), "now": STATED})
    found = about_actuals(await verified(house.url, settle_seconds=0))
    assert [(line.split(" in 2026-")[1][:2], line.split("tracking ")[1].split(" of ")[0]) for line in found] == [
        ("11", "published nothing, goals has version 1"),
        ("10", "published version 1"),
        ("11", "published version 1"),
    ]
    assert found[2].endswith("goals has nothing")


async def test_actuals_that_are_under_way_while_it_verifies_are_no_difference(house: House) -> None:
    published = await with_actuals(house)

    async def come_later() -> None:
        await asyncio.sleep(1.5)
        await stored_as_evidence(house, *published)

    coming = asyncio.create_task(come_later())
    report = await verified(house.url, settle_seconds=30)
    await coming
    assert about_actuals(report) == []
    assert report.compared["month in both services"] == 2


async def test_what_lies_in_the_dead_letters_is_counted_and_fails_the_verification(house: House) -> None:
    letter = DeadLetter(
        house.tenant, "attain.deals.v1", 0, 7, "attain.incentives.deals", "key", "failed", "", 1, STATED
    )
    async with house.tracking.transaction(house.scope) as tx:
        await dead_letters.put(tx, [letter])
    report = await verified(house.url, settle_seconds=0)
    assert "dead letters: 1" in lines(report)
    assert not report.is_clean


async def test_a_tenant_that_cannot_be_verified_is_reported_and_the_others_are_verified(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    await house.credit(house.deal(0))
    other = House(house.url, house.goals, house.tracking, house.incentives, uuid4())
    await other.credit(other.deal(1))
    original = Credits.definitions

    async def breaking(credits: Credits, tx: Transaction, tenant_id: UUID) -> object:
        if tenant_id == house.tenant:
            raise ZeroDivisionError("a fault")
        return await original(credits, tx, tenant_id)

    monkeypatch.setattr(Credits, "definitions", breaking)
    report = await verified(house.url, settle_seconds=0)
    (failure,) = report.failures
    assert str(house.tenant) in failure
    assert [line for line in report.differences if str(other.tenant) in line]
    assert lines(report)[-1].endswith("1 tenant not verified")
    assert not report.is_clean


async def test_nobody_waits_for_a_verification(house: House) -> None:
    """A batch of deals, which holds its tenant's lock, goes on while a snapshot is open, and is not seen in it."""
    await house.credit(house.deal(0))
    async with house.incentives.snapshot(house.scope) as tx:
        before = await CREDITS.deal_versions(tx, house.tenant, after=UUID(int=0), until=None, limit=10)
        await asyncio.wait_for(house.credit(house.deal(1)), 10)
        assert await CREDITS.deal_versions(tx, house.tenant, after=UUID(int=0), until=None, limit=10) == before


async def test_memory_is_bounded_whatever_the_number_of_deals(house: House) -> None:
    """Ten times the deals take no more memory: what is read is read page by page."""
    await many_deals(house, 3_000)
    await verified(house.url, settle_seconds=0)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    await many_deals(house, 30_000)
    report = await verified(house.url, settle_seconds=0)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024
    sys.stdout.write(f"verifying 30,000 deals instead of 3,000 took {grown} MiB more at its peak\n")
    assert report.compared["deal in both services"] == 30_000
    assert report.differences == []
    assert grown < 48


async def many_deals(house: House, count: int) -> None:
    deal = house.deal(0, status=DealStatus.OPEN)
    await house.track(deal)
    await house.credit(deal)
    copy = partial(_copy, count=count)
    async with house.tracking.transaction(house.scope) as tx:
        await copy(tx, "tracking.deals", "deal_id")
    async with house.incentives.transaction(house.scope) as tx:
        await copy(tx, "incentives.deals", "id")


async def _copy(tx: Transaction, table: str, key: str, *, count: int) -> None:
    """Rows that differ from the first in nothing but their id."""
    schema, name = table.split(".")
    rows = await tx.rows(
        text(
            "SELECT column_name FROM information_schema.columns WHERE table_schema = :schema AND table_name = :name"
            " AND is_generated = 'NEVER' ORDER BY ordinal_position"
        ),
        {"schema": schema, "name": name},
    )
    columns = [row["column_name"] for row in rows]
    new_id = "CAST(lpad(to_hex(n), 32, '0') AS uuid)"
    made = {key: new_id, "body": f"replace(body, {key}::text, ({new_id})::text)"}
    values = [made.get(column, column) for column in columns]
    await tx.execute(
        text(
            f"INSERT INTO {table} ({', '.join(columns)}) SELECT {', '.join(values)}"
            f" FROM {table}, generate_series(2, {count}) AS n WHERE {key} = :first ON CONFLICT DO NOTHING"
        ),
        {"first": UUID(int=1)},
    )
