"""The incentives worker as a process: through Kafka, killed in the middle, fed everything twice."""

import asyncio
import os
import random
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import partial
from uuid import UUID, uuid4

from aiokafka import AIOKafkaConsumer
from sqlalchemy import text

from services.incentives.earnings import store
from services.incentives.plans.assigning import Act, AssignmentRequest
from services.incentives.plans.domain.assignments import Assignment
from services.incentives.plans.domain.kinds.commission import Commission
from services.incentives.plans.domain.rates import FlatRate
from shared.contracts import earnings
from shared.contracts.base import Event
from shared.contracts.earnings import Earning
from shared.contracts.envelope import from_record, to_message
from shared.contracts.org import Identity
from shared.contracts.topics import TOPICS
from shared.db.database import Database, Scope
from shared.kafka.producer import Producer
from shared.kafka.settings import KafkaSettings
from shared.kafka.topics import ensure_topics
from shared.kernel.approvals import SERVICE, Actor
from shared.kernel.deals import DateField
from shared.kernel.measures import Aggregate, Measure
from shared.kernel.periods import DatedRange, PeriodKind
from tests.oracles.incentives import DealVersion
from tests.servers.infrastructure import eventually, own_ports, service_url
from tests.stories.incentives import SOURCE, deal_event, named
from tests.stories.pay import ASSIGNMENTS, PLANS, VERIFICATION

DEALS = 3000
MOMENT = datetime(2026, 2, 1, tzinfo=UTC)


@asynccontextmanager
async def worker(database_url: str, bootstrap: str) -> AsyncIterator[asyncio.subprocess.Process]:
    environment = {
        **os.environ,
        "ATTAIN_DATABASE_URL": service_url(database_url, "incentives"),
        "ATTAIN_KAFKA_BOOTSTRAP": bootstrap,
        "ATTAIN_WORKER_PORT": str(own_ports().incentives_worker),
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services.incentives.worker", env=environment, stdout=asyncio.subprocess.DEVNULL
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
            await asyncio.wait_for(process.wait(), 30)


def versions() -> list[DealVersion]:
    """Two versions of every deal: the second is worth a dollar more and belongs to user 1 instead of 0."""
    found = []
    for number in range(DEALS // 2):
        for version in (0, 1):
            found.append(
                DealVersion(
                    number,
                    2 * number + version + 1,
                    version,
                    (),
                    100_000 + 100 * version,
                    True,
                    date(2026, 2, 1),
                    "USD",
                    False,
                )
            )
    return found


async def publish(producer: Producer, events: Sequence[Event]) -> None:
    messages = [to_message(event, event_id=uuid4(), source="test", time=MOMENT) for event in events]
    assert not any(await producer.send_many(messages))


async def assigned(database: Database, tenant: UUID) -> None:
    """Persons 0 and 1 are on a plan that pays 5 %."""
    scope = Scope.of(tenant)
    measure = Measure(Aggregate.SUM, "amount", DateField.CLOSED, currency="USD")
    async with database.transaction(scope) as tx:
        plan = await PLANS.create_plan(tx, tenant, "Reps", "USD", PeriodKind.QUARTER)
        await PLANS.create_version(
            tx,
            tenant,
            plan.id,
            effective_from=date(2026, 1, 1),
            components=(Commission("bookings", "Bookings", measure, FlatRate(Decimal("0.05"))),),
            note=None,
            author=Actor.of(named("person", 50)),
        )
        await PLANS.approve_version(tx, tenant, plan.id, 1, approver=Actor.of(named("person", 51)), expected_version=1)
        await PLANS.activate_version(tx, tenant, plan.id, 1, actor=SERVICE, expected_version=2)
        for person in (0, 1):
            made = partial(
                Assignment, person_id=named("person", person), plan_id=plan.id, range=DatedRange(date(2026, 1, 1))
            )
            added = await ASSIGNMENTS.create(tx, tenant, made, SERVICE)
            approval = AssignmentRequest("", added.id, added.version, Act.APPROVE)
            await ASSIGNMENTS.act(tx, tenant, approval, Actor.of(named("person", 51)))


async def test_a_worker_killed_in_the_middle_and_fed_everything_twice_pays_once(
    fresh_database: str, kafka_bootstrap: str
) -> None:
    kafka = KafkaSettings(bootstrap=kafka_bootstrap)
    await ensure_topics(kafka, TOPICS.values())
    tenant = uuid4()
    database = Database(fresh_database, service="incentives")
    producer = Producer(kafka, client_id="test-incentives")
    await producer.start()
    await assigned(database, tenant)
    identities = [
        Identity(
            tenant_id=tenant,
            id=named("user", user),
            version=1,
            source=SOURCE,
            external_user_id=str(user),
            person_id=named("person", user),
            deleted=False,
        )
        for user in (0, 1)
    ]
    events: list[Event] = [deal_event(tenant, version) for version in versions()]
    chance = random.Random(20260201)

    async def transactions() -> int:
        async with database.transaction(Scope.of(tenant)) as tx:
            (row,) = await tx.rows(text("SELECT count(*) AS n FROM incentives.ledger_transactions"))
        return int(row["n"])

    async def some_posted() -> bool:
        return await transactions() > 0

    async def paid() -> bool:
        async with database.transaction(Scope.of(tenant)) as tx:
            page = await store.page(tx, tenant, people=None, plan_id=None, within=(None, None), after=None, limit=10)
        earned = {each.cell.person_id: each.cell.earned for each in page}
        each = Decimal(DEALS // 2)
        return earned.get(named("person", 1)) == each * Decimal("50.05") and not earned.get(named("person", 0))

    try:
        async with worker(fresh_database, kafka_bootstrap) as first:
            await publish(producer, identities)
            chance.shuffle(events)
            await publish(producer, events)
            await eventually(some_posted, 60, expectation="the first postings")
            first.kill()
            await first.wait()
        chance.shuffle(events)
        await publish(producer, events)
        async with worker(fresh_database, kafka_bootstrap):
            await eventually(paid, 120, expectation="what was earned")
            assert [each async for each in VERIFICATION.of_tenant(database, tenant, Counter())] == []
            newest = await _newest_earnings(kafka, tenant)
            assert newest[named("person", 1)].earned == Decimal("75075")
    finally:
        await producer.stop()
        await database.close()


async def _newest_earnings(kafka: KafkaSettings, tenant: UUID) -> dict[UUID, Earning]:
    """The last event of each person of the tenant, once the last of them says what was earned."""
    newest: dict[UUID, Earning] = {}
    consumer = AIOKafkaConsumer(
        earnings.TOPIC, **kafka.client_options("test-earnings"), auto_offset_reset="earliest", group_id=None
    )
    await consumer.start()
    try:
        async with asyncio.timeout(30):
            async for record in consumer:
                event = from_record(dict(record.headers), record.value)
                if not isinstance(event, Earning) or event.tenant_id != tenant:
                    continue
                held = newest.get(event.person_id)
                if held is None or held.version < event.version:
                    newest[event.person_id] = event
                last = newest.get(named("person", 1))
                if last is not None and last.credits == DEALS // 2:
                    return newest
    finally:
        await consumer.stop()
    raise AssertionError("the topic ended")
