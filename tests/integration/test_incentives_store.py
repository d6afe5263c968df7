"""Incentives on real Postgres: the services against the oracle, the closed ledger, tenants apart, speed of a batch."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import date
from decimal import Decimal
from uuid import UUID, uuid4

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from sqlalchemy import event, text

from deploy.local.commands.republish import republished
from services.incentives.credits.domain import ReceivedDeal
from services.incentives.earnings import store
from services.incentives.earnings.domain.settlement import PAYABLE
from services.incentives.earnings.publishing import render
from services.incentives.ledger import service as ledger
from services.incentives.ledger import store as ledger_store
from services.incentives.ledger.domain import EARNING, Account, Cause, Entry, Flaw, Posting
from services.incentives.ledger.domain import Subject as LedgerSubject
from services.incentives.plans.domain.components import (
    Component,
    FlatRate,
)
from shared.contracts.base import Event
from shared.contracts.earnings import TOPIC
from shared.contracts.goals import Direction, Goal, GoalStatus, Metric, Subject
from shared.contracts.org import Identity, Membership
from shared.db.database import Database, Scope, Transaction
from shared.db.projection import Snapshot
from shared.kernel.approvals import SERVICE, Actor
from shared.kernel.deals import DateField
from shared.kernel.measures import Aggregate, Measure
from shared.kernel.periods import DatedRange, Period, PeriodKind
from tests.oracles.incentives import (
    EVER,
    FOUNDED,
    PLAN_OF,
    QUARTERS,
    Aim,
    Assigned,
    DealVersion,
    Known,
    Placed,
    Rated,
    Stay,
    Step,
    Terms,
    World,
    emptied,
    histories,
)
from tests.stories.incentives import (
    SOURCE,
    cell_id,
    cents,
    component,
    deal_event,
    measured,
    named,
    quotas,
    rates_event,
    team_event,
)
from tests.stories.pay import EARNINGS, PLANS, VERIFICATION, rebuilder

AUTHOR, APPROVER = UUID(int=101), UUID(int=102)


@pytest.fixture(scope="module")
async def database(module_database: str) -> AsyncIterator[Database]:
    opened = Database(module_database, service="incentives")
    yield opened
    await opened.close()


class Company:
    """One tenant, driven through the services as consumers and HTTP drive them."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.tenant = uuid4()
        self.scope = Scope.of(self.tenant)
        self.plans: dict[int, UUID] = {}
        self.assignments: dict[int, tuple[UUID, int]] = {}
        self.deleted: set[int] = set()
        self.subject_versions: dict[str, int] = {}
        self.rebuilder = rebuilder(database)

    async def take_deals(self, versions: Sequence[DealVersion]) -> None:
        events = [deal_event(self.tenant, version) for version in versions]
        incoming = [
            ReceivedDeal(self.tenant, event.facts(), event.model_dump_json(), event.connection_id) for event in events
        ]

        async def apply(tx: Transaction) -> None:
            await EARNINGS.apply_deals(tx, [self.tenant], incoming)

        await self.database.run(self.scope, apply)

    async def publish(self, *events: Event, version: int) -> None:
        snapshots = [
            Snapshot(self.tenant, event.subject, event.event_type, version, event.model_dump_json()) for event in events
        ]

        async def apply(tx: Transaction) -> None:
            await EARNINGS.apply_definitions(tx, [self.tenant], snapshots)

        await self.database.run(self.scope, apply)

    async def define(self, step: Step) -> None:
        match step:
            case Terms():
                await self.activate(step)
            case Assigned():
                await self.assign(step)
            case Stay():
                stay = Membership(
                    tenant_id=self.tenant,
                    id=named("stay", step.index),
                    version=self.next(f"stay {step.index}"),
                    person_id=named("person", step.person),
                    team_id=named("team", step.team),
                    start=step.start,
                    end=step.end,
                    deleted=step.deleted,
                )
                await self.publish(stay, version=stay.version)
            case Known():
                known = Identity(
                    tenant_id=self.tenant,
                    id=named("user", step.user),
                    version=self.next(f"user {step.user}"),
                    source=SOURCE,
                    external_user_id=str(step.user),
                    person_id=named("person", step.person or 0),
                    deleted=step.person is None,
                )
                await self.publish(known, version=known.version)
            case Aim():
                await self.aim(step)
            case Rated():
                stated = rates_event(self.tenant, self.next(f"{step.currency} {step.month}"), step)
                await self.publish(stated, version=stated.version)
            case Placed():
                team = team_event(self.tenant, self.next(f"team {step.team}"), step)
                await self.publish(team, version=team.version)

    async def aim(self, step: Aim) -> None:
        version = self.next(f"goal {step.goal}")
        goal = Goal(
            tenant_id=self.tenant,
            id=named("goal", step.goal),
            version=version,
            revision=1,
            status=GoalStatus.ACTIVE if step.counts else GoalStatus.CANCELLED,
            name="Bookings",
            owner=Subject(kind="team", id=named("team", 0)),
            metric=Metric.of(Measure(Aggregate.SUM, "amount", DateField.CLOSED, currency="USD")),
            target=cents(step.cents),
            baseline=Decimal(0),
            unit="USD",
            direction=Direction.HIGHER,
            start=QUARTERS[step.goal],
            end=QUARTERS[step.goal + 1],
            parent_id=None,
            weight=Decimal(1),
        )
        await self.publish(goal, version=version)

    async def found(self) -> None:
        """Teams and plans."""
        for placed in FOUNDED:
            await self.define(placed)
        for number in (0, 1):
            async with self.database.transaction(self.scope) as tx:
                created = await PLANS.create_plan(tx, self.tenant, str(number), "USD", PeriodKind.QUARTER)
            self.plans[number] = created.id

    async def activate(self, step: Terms) -> None:
        plan_id = self.plans[step.plan]
        terms = tuple(component(paying) for paying in step.components)
        async with self.database.transaction(self.scope) as tx:
            draft = await PLANS.create_version(
                tx,
                self.tenant,
                plan_id,
                effective_from=step.start,
                components=terms,
                note=None,
                author=Actor.of(AUTHOR),
            )
            await PLANS.approve_version(
                tx, self.tenant, plan_id, draft.number, approver=Actor.of(APPROVER), expected_version=1
            )
            await PLANS.activate_version(
                tx, self.tenant, plan_id, draft.number, actor=Actor.of(AUTHOR), expected_version=2
            )

    async def assign(self, step: Assigned) -> None:
        if step.index in self.deleted:
            return
        dated, stated = DatedRange(step.start, step.end), quotas(step.quotas)
        held = self.assignments.get(step.index)
        person, plan = PLAN_OF[step.index]
        async with self.database.transaction(self.scope) as tx:
            if step.deleted:
                if held is not None:
                    await PLANS.delete_assignment(tx, self.tenant, held[0], actor=SERVICE, expected_version=held[1])
                self.deleted.add(step.index)
                return
            if held is None:
                saved = await PLANS.create_assignment(
                    tx,
                    self.tenant,
                    person_id=named("person", person),
                    plan_id=self.plans[plan],
                    dated=dated,
                    quotas=stated,
                    actor=SERVICE,
                )
            else:
                saved = await PLANS.change_assignment(
                    tx, self.tenant, held[0], dated=dated, quotas=stated, actor=SERVICE, expected_version=held[1]
                )
        self.assignments[step.index] = saved.id, saved.version

    def next(self, subject: str) -> int:
        self.subject_versions[subject] = self.subject_versions.get(subject, 0) + 1
        return self.subject_versions[subject]

    async def cells(self) -> dict[UUID, tuple[Decimal, Decimal, int]]:
        async with self.database.transaction(self.scope) as tx:
            page = await store.page(
                tx, self.tenant, people=None, plan_id=None, within=(None, None), after=None, limit=1000
            )
        return {
            stored.cell.id: (stored.cell.measure, stored.cell.earned, stored.cell.credits)
            for stored in page
            if stored.cell.credits or stored.cell.earned or stored.cell.measure
        }

    async def owed(self) -> dict[UUID, Decimal]:
        async with self.database.transaction(self.scope) as tx:
            balances = await ledger.balances_of_kind(tx, self.tenant, PAYABLE, EARNING)
        return {cell: -by["USD"] for cell, by in balances.items() if by["USD"]}

    def expected(self, world: World) -> dict[UUID, tuple[Decimal, Decimal, int]]:
        return {
            cell_id(self.assignments[index][0], key, start): (
                measured(cell.measure),
                cents(cell.cents),
                cell.credits,
            )
            for (index, key, start), cell in world.cells().items()
        }


def batches(history: Sequence[Step]) -> list[list[Step]]:
    """Deals that come one after another are one batch."""
    found: list[list[Step]] = []
    for step in history:
        if found and isinstance(step, DealVersion) and isinstance(found[-1][-1], DealVersion):
            found[-1].append(step)
        else:
            found.append([step])
    return found


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(history=histories(deals_max=16, changes_max=6))
async def test_the_services_end_in_the_cells_and_ledger_of_the_oracle(database: Database, history: list[Step]) -> None:
    company, world = Company(database), World()
    await company.found()
    for number, batch in enumerate(batches(history)):
        deals = [step for step in batch if isinstance(step, DealVersion)]
        if deals:
            await company.take_deals(deals)
        else:
            await company.define(batch[0])
        for step in batch:
            if not (isinstance(step, Assigned) and step.deleted and step.index not in company.assignments):
                world.take(step)
        if number % 3 == 0:
            # In between, batches of deals meet assignments that are still stale.
            await company.rebuilder.rebuild_all()
    await company.rebuilder.rebuild_all()
    assert await company.cells() == company.expected(world)
    assert await company.owed() == {cell: earned for cell, (_, earned, _) in (await company.cells()).items() if earned}
    assert [found for found in await VERIFICATION.differences(database) if found.tenant_id == company.tenant] == []
    await company.take_deals(emptied(world.deals))
    assert await company.cells() == {}
    assert await company.owed() == {}


SIMPLE = Component(
    "bookings",
    "Bookings",
    Measure(Aggregate.SUM, "amount", DateField.CLOSED, currency="USD"),
    FlatRate(Decimal("0.05")),
)


async def paying(database: Database, *components: Component) -> Company:
    """A company whose person 0 is on a plan with these components; its users are known."""
    company = Company(database)
    await company.found()
    for user in range(5):
        await company.define(Known(user, user % 4))
    async with database.transaction(company.scope) as tx:
        draft = await PLANS.create_version(
            tx,
            company.tenant,
            company.plans[0],
            effective_from=EVER,
            components=components or (SIMPLE,),
            note=None,
            author=Actor.of(AUTHOR),
        )
        await PLANS.approve_version(
            tx, company.tenant, company.plans[0], draft.number, approver=Actor.of(APPROVER), expected_version=1
        )
        await PLANS.activate_version(
            tx, company.tenant, company.plans[0], draft.number, actor=Actor.of(AUTHOR), expected_version=2
        )
    await company.assign(Assigned(0, EVER, None, ()))
    await company.rebuilder.rebuild_all()
    return company


def won(deal: int, version: int, amount_cents: int, owner: int = 0) -> DealVersion:
    return DealVersion(deal, version, owner, (), amount_cents, True, date(2026, 2, 1), "USD", False)


async def test_a_duplicate_and_an_older_version_post_nothing(database: Database) -> None:
    company = await paying(database)
    await company.take_deals([won(0, 5, 100_000)])
    before = await company.owed()
    await company.take_deals([won(0, 5, 100_000), won(0, 4, 900_000)])
    assert await company.owed() == before
    async with database.transaction(company.scope) as tx:
        assert len(await ledger_store.page(tx, company.tenant, after=0, limit=10)) == 1


async def test_each_transaction_names_the_deal_version_or_the_definition_that_caused_it(database: Database) -> None:
    company = await paying(database)
    await company.take_deals([won(0, 1, 100_000, owner=2)])
    await company.take_deals([won(0, 2, 100_000, owner=0)])
    await company.define(Known(0, None))
    await company.rebuilder.rebuild_all()
    async with database.transaction(company.scope) as tx:
        first, second = await ledger_store.page(tx, company.tenant, after=0, limit=10)
    cause = first.posting.cause
    assert cause.deal_id == named("deal", 0)
    assert cause.deal_version is not None
    assert cause.deal_version.delivery_id == named("delivery", 2)
    assert second.posting.cause.changes == (f"identity/{named('user', 0)} v2",)
    assert first.posting.entries[1].amount == -second.posting.entries[1].amount == Decimal(-50)


async def test_what_another_room_posts_on_the_same_accounts_changes_nothing_that_was_earned(database: Database) -> None:
    company = await paying(database)
    await company.take_deals([won(0, 1, 100_000)])
    earned = await company.owed()
    person = named("person", 0)
    paid = Posting(
        "paid",
        (
            Entry(Account(PAYABLE, str(person)), Decimal(30), "USD"),
            Entry(Account("bank", "payroll"), Decimal(-30), "USD"),
        ),
        LedgerSubject("payout_run", uuid4(), person),
        Period(QUARTERS[0], QUARTERS[1]),
        Cause("payout_run"),
    )
    async with database.transaction(company.scope) as tx:
        await ledger.post(tx, company.tenant, [paid])
    assert await company.owed() == earned
    assert [found for found in await VERIFICATION.differences(database) if found.tenant_id == company.tenant] == []


async def test_the_service_can_only_add_balanced_transactions(database: Database) -> None:
    company = await paying(database)
    await company.take_deals([won(0, 1, 100_000)])
    for statement in (
        "UPDATE incentives.ledger_entries SET amount = amount * 2",
        "DELETE FROM incentives.ledger_transactions",
        "TRUNCATE incentives.ledger_entries",
    ):
        with pytest.raises(Exception, match=r"permission denied|append-only"):
            async with database.transaction(company.scope) as tx:
                await tx.execute(text(statement))
    with pytest.raises(Exception, match="do not sum to zero"):
        async with database.transaction(company.scope) as tx:
            await tx.execute(
                text("INSERT INTO incentives.ledger_entries VALUES (:tenant, 2, 1, 'payable:x', 5, 'USD')"),
                {"tenant": company.tenant},
            )


async def test_approved_terms_cannot_be_changed_in_the_database(database: Database) -> None:
    company = await paying(database)
    with pytest.raises(Exception, match="approved and cannot change"):
        async with database.transaction(company.scope) as tx:
            await tx.execute(text("UPDATE incentives.plan_versions SET effective_from = '2020-01-01'"))


async def test_a_superuser_who_alters_a_row_is_found_out_at_that_row(database: Database, module_database: str) -> None:
    company = await paying(database)
    await company.take_deals([won(n, n + 1, 100_000 + n) for n in range(4)])
    superuser = await asyncpg.connect(module_database.replace("+asyncpg", ""))
    try:
        with pytest.raises(asyncpg.PostgresError, match="append-only"):
            await superuser.execute("UPDATE incentives.ledger_entries SET amount = 1")
        await superuser.execute("SET session_replication_role = replica")
        await superuser.execute(
            "UPDATE incentives.ledger_entries SET amount = amount * 3 WHERE tenant_id = $1 AND sequence = 3",
            company.tenant,
        )
    finally:
        await superuser.close()
    async with database.transaction(company.scope) as tx:
        verified = await ledger.verify(tx, company.tenant)
    assert verified.first_break is not None
    assert (verified.first_break.sequence, verified.first_break.flaw) == (3, Flaw.ALTERED)
    told = [str(found) for found in await VERIFICATION.differences(database) if found.tenant_id == company.tenant]
    assert any("ledger chain transaction 3" in line and "altered" in line for line in told)
    assert any(line.startswith("ledger ") and "stored 300.01" not in line for line in told)


async def test_one_tenant_does_not_see_the_ledger_of_another(database: Database) -> None:
    company, other = await paying(database), await paying(database)
    await company.take_deals([won(0, 1, 100_000)])
    async with database.transaction(other.scope) as tx:
        assert await ledger_store.page(tx, company.tenant, after=0, limit=10) == []
        rows = await tx.rows(text("SELECT count(*) AS n FROM incentives.cells"))
    assert rows[0]["n"] == 0


async def test_marks_render_the_newest_state_and_republishing_marks_every_earning(database: Database) -> None:
    company = await paying(database)
    await company.take_deals([won(0, 1, 100_000)])
    await company.take_deals([won(1, 2, 50_000)])
    (cell,) = (await company.cells()).keys()
    assert await republished(database, TOPIC) >= 1
    async with database.transaction(Scope.every()) as tx:
        (message,) = await render(tx, [(company.tenant, f"earning/{cell}")])
    assert message.key == f"{company.tenant}/earning/{cell}"
    from_headers = dict(message.headers)
    assert from_headers["ce_subject"].decode() == f"earning/{cell}"
    assert b'"earned":"75.00"' in (message.value or b"")


async def test_a_batch_of_a_thousand_deals_takes_the_nine_statements_that_one_deal_takes(database: Database) -> None:
    company = await paying(database, SIMPLE, replace(SIMPLE, key="second"))
    statements: list[int] = []

    def count_statement(*_: object) -> None:
        statements[-1] += 1

    for first, count in ((0, 1), (1, 10), (11, 1000)):
        events = [deal_event(company.tenant, won(n, n + 1, 100_000 + n)) for n in range(first, first + count)]
        incoming = [
            ReceivedDeal(company.tenant, event.facts(), event.model_dump_json(), event.connection_id)
            for event in events
        ]
        statements.append(0)
        async with database.transaction(company.scope) as tx:
            connection = tx.connection.sync_connection
            event.listen(connection, "before_cursor_execute", count_statement)
            await EARNINGS.apply_deals(tx, [company.tenant], incoming)
            event.remove(connection, "before_cursor_execute", count_statement)
    # The tenant's lock and how its definitions stand, which have not changed and are not read; deals, cells, credits;
    # the ledger's head and what is added to it; and the mark for publishing.
    assert statements == [9, 9, 9]
    assert [credits for _, _, credits in (await company.cells()).values()] == [1011, 1011]


async def test_a_tenant_whose_definitions_contradict_each_other_does_not_stop_the_rebuild_of_another(
    database: Database,
) -> None:
    companies = [await paying(database), await paying(database)]
    broken, other = sorted(companies, key=lambda company: company.tenant)
    for company in companies:
        await company.take_deals([won(0, 1, 100_000)])
        await company.define(Known(0, None))
    stay = Membership(
        tenant_id=broken.tenant,
        id=uuid4(),
        version=1,
        person_id=uuid4(),
        team_id=uuid4(),
        start=date(2026, 2, 1),
        end=date(2026, 1, 1),
        deleted=False,
    )
    snapshot = Snapshot(broken.tenant, stay.subject, stay.event_type, 1, stay.model_dump_json())
    async with database.transaction(broken.scope) as tx:
        await PLANS.keep_newest(tx, [snapshot])
    await broken.rebuilder.rebuild_all()
    assert await broken.owed() != {}
    assert await other.owed() == {}
    # What cannot be worked out would hold up the tests that come after this one.
    async with database.transaction(broken.scope) as tx:
        await PLANS.keep_newest(
            tx, [snapshot._replace(version=2, body=stay.model_copy(update={"deleted": True}).model_dump_json())]
        )
    await broken.rebuilder.rebuild_all()
    assert await broken.owed() == {}
