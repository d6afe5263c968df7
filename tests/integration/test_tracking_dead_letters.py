"""What a consumer could not apply: told as an alert, listed, and applied in one call once the cause is mended."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from deploy.local.commands.dead_letters import replay, waiting
from services.tracking.measure.progress.consumer import PROGRESS_GROUP, DealsHandler
from services.tracking.measure.progress.definitions import DefinitionsCache
from services.tracking.measure.progress.service import ProgressTracker
from services.tracking.metadata import transport
from services.tracking.tell.alerts.work import DeadLettersWatcher
from services.tracking.tell.dead_letters.consumer import DeadLettersHandler
from shared.contracts import deals
from shared.contracts.deals import Deal
from shared.contracts.envelope import to_message
from shared.contracts.examples import EXAMPLES
from shared.contracts.topics import TOPICS
from shared.db.database import Database, Scope, Transaction
from shared.kafka.application import Handler
from shared.kafka.consumer import Consumer
from shared.kafka.domain import Batch, Record
from shared.kafka.producer import Producer
from shared.kafka.settings import KafkaSettings
from shared.kafka.topics import ensure_topics
from shared.outbox.outbox import Outbox
from shared.outbox.relay import Relay
from shared.worker.components import Component
from tests.servers.consumers import FAST_RETRIES
from tests.servers.infrastructure import eventually


class Faulty:
    """The handler of deals, with a fault that one deal trips over."""

    def __init__(self, handler: DealsHandler, deal_id: UUID) -> None:
        self.handler = handler
        self.deal_id = deal_id
        self.is_mended = False

    def scope(self, batch: Batch) -> Scope:
        return self.handler.scope(batch)

    async def apply(self, tx: Transaction, batch: Batch) -> None:
        if not self.is_mended and any(str(self.deal_id) in record.key for record in batch):
            raise KeyError("nobody thought of that")
        await self.handler.apply(tx, batch)


@asynccontextmanager
async def running(*components: Component) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(component.run()) for component in components]
    try:
        yield
    finally:
        for component in components:
            await component.stop()
        await asyncio.gather(*tasks)


@pytest.fixture
async def database(fresh_database: str) -> AsyncIterator[Database]:
    opened = Database(fresh_database, service="tracking")
    yield opened
    await opened.close()


async def test_a_dead_letter_is_an_alert_and_is_applied_in_one_call_once_its_cause_is_mended(
    database: Database, fresh_database: str, kafka_bootstrap: str
) -> None:
    kafka = KafkaSettings(bootstrap=kafka_bootstrap)
    await ensure_topics(kafka, TOPICS.values())
    tenant, example = uuid4(), EXAMPLES["attain.deal.v1"]
    assert isinstance(example, Deal)
    some = [example.model_copy(update={"tenant_id": tenant, "id": uuid4()}) for _ in range(3)]
    # Only of what is published from now on: the topic is every test's.
    handler = Faulty(DealsHandler(ProgressTracker(Outbox(transport), DefinitionsCache())), some[1].id)
    producer = Producer(kafka, client_id="test")
    await producer.start()
    messages = [to_message(each, event_id=uuid4(), source="tracking", time=datetime.now(UTC)) for each in some]

    def consumer(group: str, topic: str, handler: Handler) -> Consumer:
        return Consumer(
            settings=kafka,
            database=database,
            tables=transport,
            outbox=Outbox(transport),
            group=group,
            topics=[topic],
            handler=handler,
            backoff=FAST_RETRIES,
        )

    watcher = DeadLettersWatcher(database, Outbox(transport))
    group = f"{PROGRESS_GROUP}.{uuid4().hex}"
    components: list[Component] = [
        consumer(group, deals.TOPIC, handler),
        consumer(f"test-{uuid4().hex}", f"{deals.TOPIC}.dlq", Mine(tenant)),
        Relay(database, transport, producer, {}),
    ]
    try:
        async with running(*components):

            async def all_are_published() -> bool:
                return await producer.send_many(messages) == [None] * 3

            # Topics that were made a moment ago may not be led yet.
            await eventually(all_are_published, 60, expectation="all deals are published")

            async def held() -> int:
                return len([each for each in await waiting(fresh_database) if each.tenant_id == tenant])

            async def letter_waits() -> bool:
                return await held() == 1

            await eventually(letter_waits, 60, expectation="the letter waits")
            (letter,) = [each for each in await waiting(fresh_database) if each.tenant_id == tenant]
            assert (letter.group, letter.topic, letter.reason) == (group, deals.TOPIC, "failed")
            assert letter.detail == "the handler failed with KeyError"
            assert str(some[1].id) in letter.key

            async def the_others_are_stored() -> bool:
                return await stored(database, tenant) == {some[0].id, some[2].id}

            # They stand in partitions of their own, which may be read after the letter's.
            await eventually(the_others_are_stored, 60, expectation="the others are stored")
            await watcher.look()
            await watcher.look()
            ((kind, state, check, version, sentence),) = await alerts_told(database, tenant)
            assert (kind, state, check, version) == ("dead_letters", "raised", deals.TOPIC, 1)
            assert sentence.startswith(f"1 record of {deals.TOPIC} could not be applied")
            handler.is_mended = True
            assert await replay(fresh_database, deals.TOPIC) == 1

            async def all_are_stored() -> bool:
                return await stored(database, tenant) == {each.id for each in some}

            await eventually(all_are_stored, 60, expectation="all deals are stored")
            assert await held() == 0
            await watcher.look()
    finally:
        await producer.stop()
    ((_, state, _, version, _),) = await alerts_told(database, tenant)
    assert (state, version) == ("cleared", 2)


async def test_what_is_refused_again_comes_back_and_what_is_no_letter_is_passed_over(
    database: Database, fresh_database: str
) -> None:
    tenant, handler = uuid4(), DeadLettersHandler()
    headers = {
        "ce_tenantid": str(tenant).encode(),
        "dlq_reason": b"failed",
        "dlq_detail": b"\xff\x00",
        "dlq_group": b"attain.incentives.deals",
        "dlq_source_topic": deals.TOPIC.encode(),
        "dlq_source_partition": b"2",
        "dlq_source_offset": b"17",
    }
    letter = Record(f"{deals.TOPIC}.dlq", 0, 3, "key", headers, b"{}", 1_700_000_000_000)
    strange = [
        letter._replace(headers={}),
        letter._replace(headers={**headers, "dlq_source_offset": b"x"}),
        letter._replace(timestamp_ms=10**18),
    ]
    batch = [letter, letter._replace(offset=4, timestamp_ms=1_700_000_001_000), *strange]
    for _ in range(2):
        async with database.transaction(handler.scope(batch)) as tx:
            await handler.apply(tx, batch)
    (held,) = await waiting(fresh_database, deals.TOPIC)
    assert (held.partition, held.record_offset, held.refusals) == (2, 17, 1)
    again = letter._replace(offset=9, timestamp_ms=1_700_000_002_000)
    async with database.transaction(Scope.of(tenant)) as tx:
        await handler.apply(tx, [again])
    # Read before it was refused again: it must not be let go.
    assert await replay(fresh_database, deals.TOPIC) == 1
    assert await waiting(fresh_database) == []
    async with database.transaction(Scope.of(tenant)) as tx:
        await handler.apply(tx, [again._replace(offset=10, timestamp_ms=1_700_000_003_000)])
    assert len(await waiting(fresh_database)) == 1


class Mine(DeadLettersHandler):
    """Of the letters of one tenant only, as the topic is every test's."""

    def __init__(self, tenant: UUID) -> None:
        self._tenant = tenant

    async def apply(self, tx: Transaction, batch: Batch) -> None:
        mine = str(self._tenant).encode()
        await super().apply(tx, [record for record in batch if record.headers.get("ce_tenantid") == mine])


async def stored(database: Database, tenant: UUID) -> set[UUID]:
    async with database.transaction(Scope.of(tenant)) as tx:
        rows = await tx.rows(text("SELECT DISTINCT deal_id AS id FROM tracking.deals"))
    return {row["id"] for row in rows}


async def alerts_told(database: Database, tenant: UUID) -> list[tuple[str, str, str, int, str]]:
    async with database.transaction(Scope.of(tenant)) as tx:
        rows = await tx.rows(text('SELECT kind, state, "check", version, sentence FROM tracking.alerts'))
    return [(row["kind"], row["state"], row["check"], row["version"], row["sentence"]) for row in rows]
