"""A tenant of incentives, driven through the use cases as consumers and HTTP drive them."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from decimal import Decimal
from functools import partial
from uuid import UUID, uuid4

from services.incentives.credits.domain.credit import ReceivedDeal
from services.incentives.earnings import store
from services.incentives.ledger import service as ledger
from services.incentives.ledger.domain import EARNING, PAYABLE
from services.incentives.plans.assigning import Act, AssignmentRequest
from services.incentives.plans.domain.assignments import Assignment
from services.incentives.plans.domain.kinds.commission import Commission
from services.incentives.plans.domain.rates import FlatRate
from shared.contracts.base import Event
from shared.contracts.goals import Direction, Goal, GoalStatus, Metric, Subject
from shared.contracts.org import Identity, Membership
from shared.db.database import Database, Scope, Transaction
from shared.db.projection import Snapshot
from shared.kernel.approvals import SERVICE, Actor
from shared.kernel.deals import DateField
from shared.kernel.errors import Refusals
from shared.kernel.measures import Aggregate, Measure
from shared.kernel.periods import DatedRange, PeriodKind
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
)
from tests.stories.incentives import (
    SOURCE,
    assignment,
    cell_id,
    cents,
    component,
    deal_event,
    measured,
    named,
    rates_event,
    team_event,
)
from tests.stories.pay import ASSIGNMENTS, EARNINGS, PLANS, rebuilder

AUTHOR, APPROVER = UUID(int=101), UUID(int=102)


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
        held = self.assignments.get(step.index)
        person, plan = PLAN_OF[step.index]
        async with self.database.transaction(self.scope) as tx:
            if step.deleted and held is None:
                self.deleted.add(step.index)
                return
            if held is None:
                saved = await ASSIGNMENTS.create(
                    tx,
                    self.tenant,
                    lambda key: assignment(step, key, named("person", person), self.plans[plan]),
                    SERVICE,
                )
            else:
                edit = partial(assignment, step, held[0], named("person", person), self.plans[plan])
                act = Act.TAKE_BACK if step.deleted else Act.PROPOSE
                request = AssignmentRequest("", held[0], held[1], act, lambda _: edit())
                saved = await ASSIGNMENTS.act(tx, self.tenant, request, SERVICE)
            approval = AssignmentRequest("", saved.id, saved.version, Act.APPROVE)
            saved = await ASSIGNMENTS.act(tx, self.tenant, approval, Actor.of(APPROVER))
        if step.deleted:
            self.deleted.add(step.index)
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


SIMPLE = Commission(
    "bookings",
    "Bookings",
    Measure(Aggregate.SUM, "amount", DateField.CLOSED, currency="USD"),
    FlatRate(Decimal("0.05")),
)


async def paying(database: Database, *components: Commission) -> Company:
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


async def two_paid(database: Database) -> Company:
    """Persons 0 and 1 are paid; the first deal of the connection, for which others of it wait, has come."""
    company = await paying(database)
    await company.assign(Assigned(1, EVER, None, ()))
    await company.rebuilder.rebuild_all()
    await company.take_deals([replace(won(10_000, 1, 0), owner=None)])
    return company


async def many_paid(database: Database) -> Company:
    """Users 100 to 159 are people who are paid as well."""
    company = await two_paid(database)
    users = range(100, 160)
    known = [
        Identity(
            tenant_id=company.tenant,
            id=named("user", user),
            version=1,
            source=SOURCE,
            external_user_id=str(user),
            person_id=named("person", user),
            deleted=False,
        )
        for user in users
    ]
    await company.publish(*known, version=1)
    made = [
        ("", partial(Assignment, person_id=named("person", user), plan_id=company.plans[0], range=DatedRange(EVER)))
        for user in users
    ]
    async with database.transaction(company.scope) as tx:
        added, _ = await ASSIGNMENTS.put(tx, company.tenant, SERVICE, made, [], Refusals(alone=True))
        approvals = [AssignmentRequest("", each.id, each.version, Act.APPROVE) for each in added]
        await ASSIGNMENTS.put(tx, company.tenant, Actor.of(APPROVER), [], approvals, Refusals(alone=True))
    await company.rebuilder.rebuild_all()
    return company
