"""The consumer runtime with processes killed, stopped and continued, and with its servers taken away."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from deploy.local.kafka import Broker
from shared.db.database import Database
from shared.kafka.consumer import Consumer, ConsumerNotReady
from shared.kafka.settings import KafkaSettings
from tests.faults.consumer_process import SESSION_SECONDS
from tests.servers.consumers import (
    RecordingHandler,
    applied,
    assert_once_and_in_order,
    make_consumer,
    make_topic,
    message,
    opened,
    publish,
    running,
    service_database,
    stored_positions,
)
from tests.servers.infrastructure import (
    PROJECT_FOLDER,
    eventually,
    running_kafka,
    running_postgres,
    start,
)


@pytest.fixture(scope="module")
async def url(postgres_url: str) -> AsyncIterator[str]:
    async with service_database(postgres_url) as url:
        yield url


@pytest.fixture(scope="module")
async def database(url: str) -> AsyncIterator[Database]:
    async with opened(url) as opened_database:
        yield opened_database


@pytest.fixture
def settings(kafka_bootstrap: str) -> KafkaSettings:
    return KafkaSettings(bootstrap=kafka_bootstrap)


class ConsumerProcess:
    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def says(self, what: str) -> None:
        assert self._process.stdout is not None
        async with asyncio.timeout(30):
            while what.encode() not in (line := await self._process.stdout.readline()):
                assert line, f"the process ended before it said {what}"

    def signal(self, number: signal.Signals) -> None:
        os.kill(self._process.pid, number)

    def let_go_on(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(b"\n")


@asynccontextmanager
async def consumer_process(
    settings: KafkaSettings, url: str, *, group: str, topic: str, point: str
) -> AsyncIterator[ConsumerProcess]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.faults.consumer_process",
        settings.bootstrap,
        url,
        group,
        topic,
        point,
        cwd=PROJECT_FOLDER,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        yield ConsumerProcess(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@pytest.mark.parametrize(("point", "kept"), [("fetched", 0), ("applied", 0), ("committed", 10)])
async def test_a_consumer_killed_at_any_point_neither_loses_nor_repeats_a_record(
    settings: KafkaSettings, database: Database, url: str, topic_prefix: str, point: str, kept: int
) -> None:
    topic = await make_topic(settings, f"{topic_prefix}deals")
    group = f"{topic_prefix}group"
    await publish(settings, [message(topic, "key", b"value") for _ in range(50)])
    async with consumer_process(settings, url, group=group, topic=topic, point=point) as process:
        await process.says(point)
        process.signal(signal.SIGKILL)
    await eventually(lambda: has_applied(database, topic, kept))
    assert len(await applied(database, topic)) == kept
    consumer = make_consumer(settings, database, group=group, topic=topic, handler=RecordingHandler())
    async with running(consumer):
        await eventually(lambda: has_applied(database, topic, 50), 30)
        await publish(settings, [message(topic, "key", b"value") for _ in range(10)])
        await eventually(lambda: has_applied(database, topic, 60), 30)
    assert_once_and_in_order(await applied(database, topic), 60)


async def test_a_zombie_that_wakes_up_after_its_partition_was_taken_over_writes_nothing(
    settings: KafkaSettings, database: Database, url: str, topic_prefix: str
) -> None:
    topic = await make_topic(settings, f"{topic_prefix}deals")
    group = f"{topic_prefix}group"
    await publish(settings, [message(topic, "key", b"value") for _ in range(50)])
    async with consumer_process(settings, url, group=group, topic=topic, point="fetched") as zombie:
        await zombie.says("fetched")
        zombie.signal(signal.SIGSTOP)
        owner = make_consumer(
            settings,
            database,
            group=group,
            topic=topic,
            handler=RecordingHandler(),
            session_seconds=SESSION_SECONDS,
        )
        async with running(owner):
            await eventually(lambda: has_applied(database, topic, 50), 30, expectation="the partition is taken over")
            zombie.let_go_on()
            zombie.signal(signal.SIGCONT)
            await zombie.says("position_moved_by_another_consumer")
            await publish(settings, [message(topic, "key", b"value") for _ in range(10)])
            await eventually(lambda: has_applied(database, topic, 60), 30)
    assert_once_and_in_order(await applied(database, topic), 60)
    assert await stored_positions(database, group) == {(topic, 0): 60}


async def test_a_killed_and_restarted_broker_is_waited_out(database: Database, topic_prefix: str) -> None:
    topic = f"{topic_prefix}deals"
    with running_kafka() as broker:
        settings = KafkaSettings(bootstrap=broker.bootstrap)
        await make_topic(settings, topic, partitions=2)
        consumer = make_consumer(
            settings, database, group=f"{topic_prefix}group", topic=topic, handler=RecordingHandler()
        )
        async with running(consumer):
            await publish(settings, [message(topic, f"key-{number}", b"before") for number in range(100)])
            await eventually(lambda: has_applied(database, topic, 100), 30)
            await restart(broker)
            await publish(settings, [message(topic, f"key-{number}", b"after") for number in range(100)])
            await eventually(lambda: has_applied(database, topic, 200), 60)
    assert_once_and_in_order(await applied(database, topic), 200)


async def test_a_restarted_postgres_is_waited_out_and_readiness_tells(
    settings: KafkaSettings, topic_prefix: str
) -> None:
    topic = await make_topic(settings, f"{topic_prefix}deals", partitions=2)
    with running_postgres() as server:
        async with service_database(server.url()) as url, opened(url) as database:
            consumer = make_consumer(
                settings, database, group=f"{topic_prefix}group", topic=topic, handler=RecordingHandler()
            )
            async with running(consumer):
                await publish(settings, [message(topic, f"key-{number}", b"before") for number in range(100)])
                await eventually(lambda: has_applied(database, topic, 100), 30)
                await asyncio.to_thread(server.process.kill)
                await publish(settings, [message(topic, f"key-{number}", b"during") for number in range(100)])

                await eventually(lambda: is_ready(consumer, False), 30, expectation="not ready")
                await asyncio.to_thread(server.start)
                await eventually(lambda: has_applied(database, topic, 200), 60)
                await eventually(lambda: is_ready(consumer, True), 30, expectation="ready again")
            assert_once_and_in_order(await applied(database, topic), 200)


async def restart(broker: Broker) -> None:
    await asyncio.to_thread(broker.process.kill)
    await asyncio.to_thread(start, broker)


async def is_ready(consumer: Consumer, expected: bool) -> bool:
    try:
        await consumer.ready()
    except ConsumerNotReady:
        return not expected
    return expected


async def has_applied(database: Database, topic: str, expected: int) -> bool:
    return len(await applied(database, topic)) >= expected
