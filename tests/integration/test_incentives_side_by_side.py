"""What touches different people settles at the same time, on one chain without a gap, and ends as if in a row."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Collection, Sequence
from dataclasses import replace
from functools import partial
from itertools import count
from random import Random
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from services.incentives.credits.domain.credit import ReceivedDeal
from services.incentives.earnings.consumer import DealsHandler
from services.incentives.earnings.service import Earnings
from services.incentives.ledger import service as ledger
from services.incentives.metadata import transport
from shared.contracts.envelope import to_message
from shared.db.database import Database, Transaction
from shared.kafka.consumer import Consumer
from shared.kafka.domain import Batch
from shared.kafka.producer import partition_of
from shared.kafka.settings import KafkaSettings
from shared.kernel.difference import Difference
from shared.kernel.errors import AttainError
from shared.outbox.message import OutboxMessage
from shared.outbox.outbox import Outbox
from tests.oracles.incentives import Assigned, DealVersion, Known, Step, World, histories
from tests.servers.consumers import make_topic, publish, running
from tests.servers.infrastructure import eventually
from tests.stories.incentives import deal_event
from tests.stories.pay import CREDITS, EARNINGS, PLANS, VERIFICATION
from tests.stories.pay_company import Company, many_paid, two_paid, won

_WAITS_SECONDS = 0.5
_OF_OTHERS_SECONDS_MAX = 20
"""How long what waits for nobody may take on a busy machine."""
_OTHER = 1
"""Somebody else than person 0."""


@pytest.fixture(scope="module")
async def database(module_database: str) -> AsyncIterator[Database]:
    opened = Database(module_database, service="incentives", pool_size=12)
    yield opened
    await opened.close()


class HeldOutbox(Outbox):
    """Holds a settlement open once all but its postings is stored."""

    def __init__(self) -> None:
        super().__init__(transport)
        self.reached = asyncio.Event()
        self.goes_on = asyncio.Event()

    async def mark(
        self,
        tx: Transaction,
        topic: str,
        subjects: Collection[tuple[UUID, str]],
        *,
        stripe: int = 0,
        patient: bool = False,
    ) -> None:
        await super().mark(tx, topic, subjects, stripe=stripe, patient=patient)
        self.reached.set()
        await self.goes_on.wait()


async def differences(company: Company) -> list[Difference]:
    return [found async for found in VERIFICATION.of_tenant(company.database, company.tenant, Counter())]


async def posted(company: Company) -> int:
    async with company.database.snapshot(company.scope) as tx:
        verified = await ledger.verify(tx, company.tenant)
    assert verified.first_break is None
    return verified.transactions


async def settle(earnings: Earnings, company: Company, versions: Sequence[DealVersion], *others: Company) -> None:
    """In a transaction that is not tried again, whatever it collides with."""
    companies = [company, *others]
    tenants = [each.tenant for each in companies]
    events = [deal_event(tenant, version) for version in versions for tenant in tenants]
    incoming = [
        ReceivedDeal(event.tenant_id, event.facts(), event.model_dump_json(), event.connection_id) for event in events
    ]
    async with company.database.transaction(company.scope.of(*tenants)) as tx:
        await earnings.apply_deals(tx, tenants, incoming)


async def waits(work: "asyncio.Task[None]") -> bool:
    done, _ = await asyncio.wait([work], timeout=_WAITS_SECONDS)
    return not done


async def test_of_two_people_one_is_settled_while_the_other_one_is_and_of_one_person_not(database: Database) -> None:
    company = await two_paid(database)
    held = HeldOutbox()
    first = asyncio.create_task(settle(Earnings(held, PLANS, CREDITS), company, [won(0, 1, 100_000)]))
    await held.reached.wait()
    await asyncio.wait_for(settle(EARNINGS, company, [won(1, 1, 300_000, owner=_OTHER)]), _OF_OTHERS_SECONDS_MAX)
    assert list((await company.owed()).values()) == [150]
    same = asyncio.create_task(settle(EARNINGS, company, [won(2, 1, 200_000)]))
    assert await waits(same)
    # It changes nobody's pay, and who changes definitions cannot know that.
    definitions = asyncio.create_task(company.define(Known(7, None)))
    assert await waits(definitions)
    held.goes_on.set()
    await asyncio.gather(first, same, definitions)
    assert sorted((await company.owed()).values()) == [150, 150]
    assert await posted(company) == 3
    assert await differences(company) == []


async def test_a_newer_version_waits_for_the_rebuild_that_reads_the_one_before(database: Database) -> None:
    company = await two_paid(database)
    await company.define(Known(3, None))
    await company.take_deals([won(0, 1, 100_000, owner=3)])
    await company.define(Known(3, 0))
    held = HeldOutbox()
    rebuilding = Earnings(held, PLANS, CREDITS)

    async def rebuild() -> None:
        async with database.transaction(company.scope) as tx:
            assert await rebuilding.rebuild(tx, company.tenant) == 1

    first = asyncio.create_task(rebuild())
    await held.reached.wait()
    await asyncio.wait_for(settle(EARNINGS, company, [won(1, 1, 300_000, owner=_OTHER)]), _OF_OTHERS_SECONDS_MAX)
    # Nobody but the rebuild under way credits the deal as it was; its new owner is somebody else.
    newer = asyncio.create_task(settle(EARNINGS, company, [won(0, 2, 100_000, owner=_OTHER)]))
    assert await waits(newer)
    held.goes_on.set()
    await asyncio.gather(first, newer)
    assert list((await company.owed()).values()) == [200]
    assert await differences(company) == []


async def test_those_who_post_first_begin_one_chain(database: Database) -> None:
    for _ in range(5):
        company = await two_paid(database)
        await asyncio.gather(*(settle(EARNINGS, company, [won(deal, 1, 100_000, owner=deal % 2)]) for deal in range(6)))
        assert await posted(company) == 6
        assert await differences(company) == []


async def test_settlements_that_touch_the_same_people_in_any_order_never_wait_in_a_circle(database: Database) -> None:
    companies = [await many_paid(database), await many_paid(database)]

    async def settler(number: int, *, own: bool) -> None:
        chance = Random(number)
        numbers = range(100 * number, 100 * number + 60) if own else range(60)
        for round_number in range(3):
            version = 10 * round_number + number + 1
            mine = [won(each, version, 10_000 + each, owner=100 + each % 60) for each in chance.sample(numbers, 40)]
            order = companies if chance.random() < 0.5 else companies[::-1]
            await settle(EARNINGS, order[0], mine, order[1])

    # A circle is broken by the database, after a second, with an error after which nothing here tries again.
    await asyncio.gather(*(settler(number, own=True) for number in range(6)))
    await asyncio.gather(*(settler(number, own=False) for number in range(6)))
    for company in companies:
        assert await differences(company) == []


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(history=histories(deals_max=24, changes_max=5), settlers=st.integers(2, 4), seed=st.integers(0, 1000))
async def test_side_by_side_in_any_order_ends_in_the_cells_and_ledger_of_the_oracle(
    database: Database, history: list[Step], settlers: int, seed: int
) -> None:
    company, world, chance = Company(database), World(), Random(seed)
    await company.found()
    lanes: list[list[DealVersion]] = [[] for _ in range(settlers)]
    changes: list[Step] = []
    for step in history:
        if isinstance(step, DealVersion):
            # As the partitions of a topic: what is of one deal comes in its order.
            lanes[step.deal % settlers].append(step)
            world.take(step)
        else:
            changes.append(step)

    async def settler(lane: Sequence[DealVersion]) -> None:
        rest = list(lane)
        while rest:
            size = chance.randint(1, 4)
            await company.take_deals(rest[:size])
            rest = rest[size:]

    async def define() -> None:
        for step in changes:
            try:
                await company.define(step)
            except AttainError:
                assume(False)
            if not (isinstance(step, Assigned) and step.deleted and step.index not in company.assignments):
                world.take(step)

    async def rebuild() -> None:
        for _ in range(4):
            await company.rebuilder.rebuild_all()
            await asyncio.sleep(0.01)

    # Somebody is paid before the rest goes on at once.
    beginning, changes = changes[:-4], changes[-4:]
    changes, later = beginning, changes
    await define()
    changes = later
    work: list[Awaitable[None]] = [*map(settler, lanes), define(), rebuild(), rebuild()]
    await asyncio.gather(*work)
    await company.rebuilder.rebuild_all()
    assert await differences(company) == []
    assert await company.cells() == company.expected(world)


class Reader(DealsHandler):
    """Remembers the partitions of its last batch."""

    def __init__(self) -> None:
        super().__init__(EARNINGS)
        self.partitions: set[int] = set()

    async def apply(self, tx: Transaction, batch: Batch) -> None:
        await super().apply(tx, batch)
        self.partitions = {record.partition for record in batch}


async def test_two_members_of_a_group_settle_what_touches_different_people_at_once(
    database: Database, kafka_bootstrap: str, topic_prefix: str
) -> None:
    company = await two_paid(database)
    kafka = KafkaSettings(bootstrap=kafka_bootstrap)
    topic = await make_topic(kafka, f"{topic_prefix}deals", partitions=2)
    readers = Reader(), Reader()

    def member(reader: Reader) -> Consumer:
        return Consumer(
            settings=kafka,
            database=database,
            tables=transport,
            outbox=Outbox(transport),
            group=f"{topic_prefix}deals",
            topics=[topic],
            handler=reader,
        )

    def to_come(version: DealVersion) -> OutboxMessage:
        event = deal_event(company.tenant, version)
        return to_message(event, event_id=uuid4(), source="test", time=event.modified_at)._replace(topic=topic)

    def in_partition(number: int, owner: int) -> OutboxMessage:
        made = (to_come(won(deal, 1, 100_000, owner=owner)) for deal in count(1))
        return next(each for each in made if partition_of(each.key.encode(), 2) == number)

    async def each_has_one() -> bool:
        await publish(kafka, [to_come(replace(won(deal, 1, 0), owner=None)) for deal in range(20_000, 20_008)])
        return {frozenset(reader.partitions) for reader in readers} == {frozenset({0}), frozenset({1})}

    async with running(member(readers[0])), running(member(readers[1])):
        await eventually(each_has_one, 60, expectation="a partition for each member")
        async with database.transaction(company.scope) as holder:
            # As whoever settles for person 0.
            await holder.lock_tenants_shared([company.tenant])
            await PLANS.lock_assignments(holder, company.tenant, [company.assignments[0][0]])
            await publish(kafka, [in_partition(0, owner=0), in_partition(1, owner=_OTHER)])
            await eventually(partial(pays, company, 1), 30, expectation="the pay of whom nobody holds")
        await eventually(partial(pays, company, 2), 30, expectation="the pay of both")
    assert await differences(company) == []


async def pays(company: Company, people: int) -> bool:
    return len(await company.owed()) == people
