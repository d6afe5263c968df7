"""Row 7: the pay of a full period worked out and posted, against one SQL statement that writes the same."""

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Final
from uuid import UUID, uuid5

import asyncpg

from deploy.local.bench.company import CURRENCY, PERIOD_START, SOURCE, TENANT_ID, deal
from deploy.local.bench.report import Bound, Row
from deploy.local.bench.servers import Servers
from services.incentives.credits.domain.credit import ReceivedDeal
from services.incentives.credits.service import Credits
from services.incentives.earnings.service import Earnings
from services.incentives.earnings.work import Rebuilder
from services.incentives.metadata import transport
from services.incentives.plans.assigning import Act, AssignmentRequest, Assignments
from services.incentives.plans.domain.assignments import Assignment
from services.incentives.plans.domain.kinds.commission import Commission
from services.incentives.plans.domain.rates import Tier, TieredRate, TierMode, TierScale
from services.incentives.plans.service import Plans
from shared.contracts.base import Event
from shared.contracts.org import Identity, Person
from shared.db.database import Database, Scope, Transaction
from shared.db.projection import Snapshot
from shared.http.collector import relax_garbage_collection
from shared.kernel.approvals import Actor
from shared.kernel.deals import DateField
from shared.kernel.errors import Refusals
from shared.kernel.filters import Condition, Operator
from shared.kernel.measures import Aggregate, Measure
from shared.kernel.periods import DatedRange, PeriodKind
from shared.outbox.outbox import Outbox

_REQUIRED: Final = 2.0
_DATABASE: Final = "bench_pay"
_AUTHOR, _APPROVER = (Actor.of(uuid5(TENANT_ID, name)) for name in ("author", "approver"))
_STATEMENT_SECONDS_MAX: Final = 1800
_BOUNDS: Final = (Decimal(1_000_000), Decimal(3_000_000))
_RATES: Final = (Decimal("0.04"), Decimal("0.06"), Decimal("0.08"))
_COMPONENT: Final = Commission(
    "bookings",
    "Bookings",
    Measure(Aggregate.SUM, "amount", DateField.CLOSED, Condition("status", Operator.EQ, ("won",)), CURRENCY),
    TieredRate(
        TierMode.MARGINAL,
        TierScale.AMOUNT,
        tuple(Tier(start, rate) for start, rate in zip((Decimal(0), *_BOUNDS), _RATES, strict=True)),
    ),
)
# Every deal but the first, which the product has stored, as a copy of it.
_FILL: Final = """
INSERT INTO incentives.deals (tenant_id, id, modified_at, sequence, delivery_id, source, owner_external_id, body)
SELECT model.tenant_id, made.id, model.modified_at, made.number, model.delivery_id, model.source, made.owner,
    replace(replace(replace(replace(model.body, CAST(model.id AS text), CAST(made.id AS text)),
        '"owner-0"', '"' || made.owner || '"'), '"deal-0"', '"deal-' || made.number || '"'), '"1000.50"',
        '"' || (1000.50 + made.number % 9000) || '"')
FROM incentives.deals AS model, (
    SELECT number, CAST(md5('deal-' || number) AS uuid) AS id, 'owner-' || (number % {people}) AS owner
    FROM generate_series(1, {last}) AS number ORDER BY id
) AS made
"""
_SIDES: Final = ("credits", "cells", "ledger_transactions", "ledger_entries")
_ONE_STATEMENT: Final = """
WITH running AS MATERIALIZED (
    SELECT *, sum(amount) OVER (PARTITION BY assignment_id ORDER BY day, id) AS after FROM bare.deals
), paid AS MATERIALIZED (
    SELECT *, {after} - {before} AS pay FROM running
), credited AS (
    INSERT INTO bare.credits (tenant_id, deal_id, assignment_id, component, day, cell_id, period_start, period_end,
        percent, value)
    SELECT tenant_id, id, assignment_id, 'bookings', day, assignment_id, $1, $2, 100, amount FROM paid
), totals AS MATERIALIZED (
    SELECT tenant_id, assignment_id, person_id, sum(amount) AS measure, sum(pay) AS payout,
        round(sum(pay), 2) AS earned, count(*) AS credits, row_number() OVER (ORDER BY assignment_id) AS sequence
    FROM paid GROUP BY tenant_id, assignment_id, person_id
), opened AS (
    INSERT INTO bare.cells (tenant_id, id, assignment_id, component, period_start, period_end, person_id, plan_id,
        plan_version, currency, measure, payout, earned, credits, version, changed_at)
    SELECT tenant_id, assignment_id, assignment_id, 'bookings', $1, $2, person_id, assignment_id, 1, 'USD', measure,
        payout, earned, credits, 1, now()
    FROM totals
), posted AS (
    INSERT INTO bare.ledger_transactions (tenant_id, sequence, posted_at, cell_id, person_id, cause, changes, hash)
    SELECT tenant_id, sequence, now(), assignment_id, person_id, 'definitions', '[]',
        sha256(CAST(sequence || ' ' || earned AS bytea))
    FROM totals
)
INSERT INTO bare.ledger_entries (tenant_id, sequence, line, account, amount, currency)
SELECT tenant_id, sequence, line, account, sign * earned, 'USD'
FROM totals CROSS JOIN (VALUES (0, 'expense:commission', 1), (1, 'payable', -1)) AS side (line, account, sign)
"""


async def measure(servers: Servers, *, rounds: int, people: int, deals: int, report: Callable[[str], None]) -> Row:
    """Each round a database with `deals` won deals of every one of `people`, and a plan that comes into effect."""
    ours: list[float] = []
    other: list[float] = []
    problems: list[str] = []
    relax_garbage_collection()
    for number in range(1, rounds + 1):
        url = await servers.new_database(_DATABASE)
        database = Database(url, service="incentives", statement_seconds_max=_STATEMENT_SECONDS_MAX)
        try:
            pay = _Pay(servers, database, people, deals)
            await pay.prepare()
            ours.append(await pay.settle())
            other.append(await pay.bare())
            problems.extend(await pay.problems())
        finally:
            await database.close()
            await servers.drop_database(_DATABASE)
        report(f"row 7, round {number}: {ours[-1]:.1f} s, one SQL statement {other[-1]:.1f} s")
    return Row(
        number=7,
        what=f"a full period of {people:,} people with {deals:,} deals each worked out and posted",
        against="one SQL statement that computes and writes the same",
        unit="s",
        ours=tuple(ours),
        other=tuple(other),
        bound=Bound.AT_MOST,
        required=_REQUIRED,
        details={"people": people, "deals": people * deals},
        problems=tuple(problems[:5]),
    )


class _Pay:
    """A tenant with everybody on one plan, whose terms are approved and not yet in effect."""

    def __init__(self, servers: Servers, database: Database, people: int, deals: int) -> None:
        self._servers = servers
        self._database = database
        self._people = {f"owner-{number}": uuid5(TENANT_ID, f"person/{number}") for number in range(people)}
        self._deals = people * deals
        self._plans = Plans()
        self._earnings = Earnings(Outbox(transport), self._plans, Credits(self._plans))
        self._plan_id = UUID(int=0)

    async def prepare(self) -> None:
        """Store people, deals, the plan and its assignments."""
        await self._database.run(Scope.of(TENANT_ID), self._define)
        fill = _FILL.format(people=len(self._people), last=self._deals - 1)
        await self._servers.administer(fill, database=_DATABASE)
        await self._database.run(Scope.of(TENANT_ID), self._assign)
        await Rebuilder(self._database, self._plans, self._earnings).rebuild_all()
        await self._servers.tidy(_DATABASE)

    async def settle(self) -> float:
        """Seconds from the activation of the terms until all they pay is posted."""
        started_at = time.perf_counter()

        async def activate(tx: Transaction) -> None:
            await self._plans.activate_version(tx, TENANT_ID, self._plan_id, 1, actor=_AUTHOR, expected_version=2)

        await self._database.run(Scope.of(TENANT_ID), activate)
        await Rebuilder(self._database, self._plans, self._earnings).rebuild_all()
        return time.perf_counter() - started_at

    async def bare(self) -> float:
        """Seconds that one statement takes on tables of the same shape, with the deals in columns."""
        connection = await asyncpg.connect(self._servers.postgres.url(_DATABASE))
        try:
            await connection.execute("CREATE SCHEMA bare")
            for table in _SIDES:
                await connection.execute(f"CREATE TABLE bare.{table} (LIKE incentives.{table} INCLUDING ALL)")
            await connection.execute("CREATE TABLE bare.sellers (owner text, person_id uuid)")
            await connection.copy_records_to_table("sellers", schema_name="bare", records=list(self._people.items()))
            await connection.execute(
                """
                CREATE TABLE bare.deals AS
                SELECT d.tenant_id, d.id, a.id AS assignment_id, a.person_id,
                    CAST(CAST(d.body AS json) ->> 'closed_on' AS date) AS day,
                    CAST(CAST(d.body AS json) ->> 'amount' AS numeric) AS amount
                FROM incentives.deals AS d
                JOIN bare.sellers AS seller ON seller.owner = d.owner_external_id
                JOIN incentives.assignments AS a ON a.person_id = seller.person_id
                """
            )
            await connection.execute("ANALYZE bare.deals")
            statement = _ONE_STATEMENT.format(after=_payout("after"), before=_payout("(after - amount)"))
            started_at = time.perf_counter()
            await connection.execute(statement, PERIOD_START, date(PERIOD_START.year + 1, 1, 1))
            return time.perf_counter() - started_at
        finally:
            await connection.close()

    async def problems(self) -> list[str]:
        """Where the two sides differ."""
        connection = await asyncpg.connect(self._servers.postgres.url(_DATABASE))
        found = []
        try:
            for table, what in (("credits", "sum(value)"), ("cells", "sum(earned)"), ("ledger_entries", "count(*)")):
                [mine], [theirs] = [
                    await connection.fetch(f"SELECT count(*), {what} FROM {schema}.{table}")
                    for schema in ("incentives", "bare")
                ]
                if mine != theirs:
                    found.append(f"{table}: ours {tuple(mine)}, one statement {tuple(theirs)}")
        finally:
            await connection.close()
        return found

    async def _define(self, tx: Transaction) -> None:
        events: list[Event] = []
        for name, person_id in self._people.items():
            events.append(Person(tenant_id=TENANT_ID, id=person_id, version=1, name=name, email=None, active=True))
            events.append(
                Identity(
                    tenant_id=TENANT_ID,
                    id=uuid5(person_id, "identity"),
                    version=1,
                    source=SOURCE,
                    external_user_id=name,
                    person_id=person_id,
                    deleted=False,
                )
            )
        snapshots = [Snapshot(TENANT_ID, e.subject, e.event_type, 1, e.model_dump_json()) for e in events]
        await self._earnings.apply_definitions(tx, [TENANT_ID], snapshots)
        model = deal(0, 0, "owner-0")
        received = ReceivedDeal(TENANT_ID, model.facts(), model.model_dump_json(), model.connection_id)
        await self._earnings.apply_deals(tx, [TENANT_ID], [received])

    async def _assign(self, tx: Transaction) -> None:
        plan = await self._plans.create_plan(tx, TENANT_ID, "Sellers", CURRENCY, PeriodKind.YEAR)
        self._plan_id = plan.id
        await self._plans.create_version(
            tx, TENANT_ID, plan.id, effective_from=PERIOD_START, components=(_COMPONENT,), note=None, author=_AUTHOR
        )
        assignments = Assignments(self._plans)
        empty = Assignment(UUID(int=0), UUID(int=0), plan.id, DatedRange(PERIOD_START, None))

        def made(person_id: UUID) -> Callable[[UUID], Assignment]:
            return lambda assignment_id: replace(empty, id=assignment_id, person_id=person_id)

        created, _ = await assignments.put(
            tx, TENANT_ID, _AUTHOR, [("", made(person)) for person in self._people.values()], [], Refusals(alone=True)
        )
        approvals = [AssignmentRequest("", each.id, each.version, Act.APPROVE) for each in created]
        await assignments.put(tx, TENANT_ID, _APPROVER, [], approvals, Refusals(alone=True))
        await self._plans.approve_version(tx, TENANT_ID, plan.id, 1, approver=_APPROVER, expected_version=1)


def _payout(total: str) -> str:
    """What the tiers pay for a total, in SQL."""
    low, high = _BOUNDS
    first, second, third = _RATES
    return (
        f"(least({total}, {low}) * {first} + greatest(least({total}, {high}) - {low}, 0) * {second}"
        f" + greatest({total} - {high}, 0) * {third})"
    )
