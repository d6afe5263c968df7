"""The worker of the goals service as a process, with real Postgres and Kafka."""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE, STDOUT, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime
from decimal import Decimal
from uuid import uuid4

import asyncpg
import httpx
from aiokafka import AIOKafkaConsumer, TopicPartition

from deploy.local.commands.republish import republished
from deploy.local.ports import free_ports
from services.goals.calendar.service import Calendars
from services.goals.evidence.domain import MonthOfPerson
from services.goals.evidence.service import Evidence
from services.goals.metadata import transport
from services.goals.org.service import Organisation
from services.tracking.measure.actuals.service import render_actuals
from services.tracking.measure.actuals.work import ActualsPublisher
from services.tracking.metadata import transport as tracking_transport
from shared.contracts import actuals
from shared.contracts.base import Event
from shared.contracts.envelope import from_record
from shared.contracts.org import TOPIC, Person
from shared.contracts.topics import TOPICS
from shared.db.database import Database, Scope
from shared.kafka.producer import Producer
from shared.kafka.settings import KafkaSettings
from shared.outbox.outbox import Outbox
from shared.outbox.relay import Relay
from tests.servers.infrastructure import eventually, own_ports, service_url
from tests.stories.june import Tenant, won


@asynccontextmanager
async def running_worker(**environment: str) -> AsyncIterator[Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "services.goals.worker",
        env={"PATH": os.environ["PATH"], **environment},
        stdout=PIPE,
        stderr=STDOUT,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def said(process: Process) -> str:
    assert process.stdout is not None
    return (await asyncio.wait_for(process.stdout.read(), 30)).decode()


async def is_ready(url: str) -> bool:
    async with httpx.AsyncClient(trust_env=False) as client:
        try:
            return (await client.get(url)).status_code == 200
        except httpx.TransportError:
            return False


async def outbox_rows(database_url: str) -> int:
    connection = await asyncpg.connect(database_url)
    try:
        return int(await connection.fetchval("SELECT count(*) FROM goals.outbox"))
    finally:
        await connection.close()


async def test_what_is_committed_is_published_and_the_worker_stops_cleanly(
    fresh_database: str, kafka_bootstrap: str
) -> None:
    tenant = uuid4()
    port = own_ports().goals_worker
    database = Database(fresh_database, service="goals")
    async with running_worker(
        ATTAIN_DATABASE_URL=service_url(fresh_database, "goals"),
        ATTAIN_KAFKA_BOOTSTRAP=kafka_bootstrap,
        ATTAIN_WORKER_PORT=str(port),
    ) as worker:
        await eventually(lambda: is_ready(f"http://127.0.0.1:{port}/readyz"), 30, expectation="a ready worker")
        outbox = Outbox(transport)
        organisation = Organisation(outbox, Calendars(outbox))
        async with database.transaction(Scope.of(tenant)) as tx:
            ada = await organisation.create_person(tx, tenant, name="Ada", email=None)
        async with database.transaction(Scope.of(tenant)) as tx:
            await organisation.change_person(tx, tenant, ada.id, 1, lambda _: ada)
        await database.close()
        events = await published(kafka_bootstrap, TOPIC, f"{tenant}/person/{ada.id}", 2)
        assert [event.version for event in events if isinstance(event, Person)] == [1, 2]

        async def nothing_waits() -> bool:
            return await outbox_rows(fresh_database) == 0

        await eventually(nothing_waits, expectation="an empty outbox")
        worker.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(worker.wait(), 20) == 0


async def test_what_tracking_counts_comes_through_kafka_and_is_evidence_here(
    fresh_database: str, kafka_bootstrap: str
) -> None:
    kafka = KafkaSettings(bootstrap=kafka_bootstrap)
    goals, tracking = (Database(fresh_database, service=name) for name in ("goals", "tracking"))
    port = own_ports().goals_worker
    async with running_worker(
        ATTAIN_DATABASE_URL=service_url(fresh_database, "goals"),
        ATTAIN_KAFKA_BOOTSTRAP=kafka_bootstrap,
        ATTAIN_WORKER_PORT=str(port),
    ):
        await eventually(lambda: is_ready(f"http://127.0.0.1:{port}/readyz"), 30, expectation="a ready worker")
        producer = Producer(kafka, client_id="test")
        await producer.start()
        relay = Relay(tracking, tracking_transport, producer, {actuals.TOPIC: render_actuals})
        publisher = ActualsPublisher(tracking, Outbox(tracking_transport, relay=relay))
        running = [asyncio.create_task(component.run()) for component in (relay, publisher)]
        tenant = Tenant(tracking)
        await tenant.found("UTC")
        await tenant.define(tenant.mapped())
        await tenant.rebuild()
        month = date(2026, 6, 1)

        async def reached() -> Decimal | None:
            async with goals.transaction(tenant.scope) as tx:
                found = await Evidence().of(tx, tenant.id, [tenant.person], [month])
            return found[MonthOfPerson(tenant.person, month)].won_value if found else None

        for number in (1, 2):
            await tenant.take([won(tenant.id, number, datetime(2026, 6, 15, tzinfo=UTC), amount=100)])

            async def has_come(amount: int = 100 * number) -> bool:
                return await reached() == amount

            await eventually(has_come, 30, expectation=f"{number} deals as evidence")
        # What is published once more changes nothing.
        assert await republished(tracking, actuals.TOPIC) == 1
        relay.wake()
        await eventually(lambda: nothing_marked(fresh_database), expectation="no marks")
        assert await reached() == 200
        await asyncio.gather(*(component.stop() for component in (publisher, relay)))
        await asyncio.gather(*running)
        await producer.stop()
    for database in (goals, tracking):
        await database.close()


async def nothing_marked(database_url: str) -> bool:
    connection = await asyncpg.connect(database_url)
    try:
        marks = "SELECT count(*) FROM tracking.outbox_marks WHERE topic = $1"
        return not await connection.fetchval(marks, actuals.TOPIC)
    finally:
        await connection.close()


async def published(bootstrap: str, topic: str, key: str, count: int) -> list[Event]:
    """The first `count` events of a key, from the beginning of the topic."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="earliest", enable_auto_commit=False)
    await consumer.start()
    try:
        partitions = [TopicPartition(topic, number) for number in range(TOPICS[topic].partitions)]
        consumer.assign(partitions)
        await consumer.seek_to_beginning(*partitions)
        found: list[Event] = []
        async with asyncio.timeout(30):
            while len(found) < count:
                record = await consumer.getone()
                if record.key == key.encode():
                    event = from_record(dict(record.headers), record.value)
                    assert event is not None
                    found.append(event)
        return found
    finally:
        await consumer.stop()


async def test_a_worker_that_is_told_too_little_says_what_is_missing() -> None:
    async with running_worker() as worker:
        output = await said(worker)
        assert await worker.wait() == 1
    assert "ATTAIN_DATABASE_URL: Field required" in output
    assert "ATTAIN_WORKER_PORT: Field required" in output
    assert "Traceback" not in output


async def test_a_worker_whose_schema_is_missing_says_so_in_one_sentence(empty_database: str) -> None:
    async with running_worker(ATTAIN_DATABASE_URL=empty_database, ATTAIN_WORKER_PORT="1") as worker:
        output = await said(worker)
        assert await worker.wait() == 1
    assert "run `attain migrate`" in output
    assert "Traceback" not in output


async def test_a_worker_without_a_broker_says_so_and_ends(fresh_database: str) -> None:
    nowhere = f"127.0.0.1:{free_ports(1)[0]}"
    async with running_worker(
        ATTAIN_DATABASE_URL=service_url(fresh_database, "goals"), ATTAIN_KAFKA_BOOTSTRAP=nowhere, ATTAIN_WORKER_PORT="1"
    ) as worker:
        output = await said(worker)
        assert await worker.wait() == 1
    assert nowhere in output
    assert "cannot_start" in output
