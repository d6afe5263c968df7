"""The consumer runtime with processes killed, stopped and continued, and with its servers taken away."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiokafka.errors import KafkaError

from deploy.local.kafka import Broker
from shared.db.database import Database
from shared.kafka.consumer import Consumer, ConsumerNotReady
from shared.kafka.settings import KafkaSettings
from shared.kafka.tail import Tail
from tests.faults.consumer_process import SESSION_SECONDS
from tests.servers.consumers import (
    Feed,
    assert_once_and_in_order,
    fails_once,
    opened,
    running,
    service_database,
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
async def feed(kafka_bootstrap: str, database: Database, topic_prefix: str) -> Feed:
    return await Feed.made(KafkaSettings(bootstrap=kafka_bootstrap), database, topic_prefix)


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
async def consumer_process(feed: Feed, url: str, *, point: str) -> AsyncIterator[ConsumerProcess]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.faults.consumer_process",
        feed.settings.bootstrap,
        url,
        feed.group,
        feed.topic,
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
    feed: Feed, url: str, point: str, kept: int
) -> None:
    await feed.publish(*[b"value"] * 50)
    async with consumer_process(feed, url, point=point) as process:
        await process.says(point)
        process.signal(signal.SIGKILL)
    await eventually(lambda: feed.has_applied(kept))
    assert len(await feed.applied()) == kept
    async with running(feed.consumer()):
        await eventually(lambda: feed.has_applied(50), 30)
        await feed.publish(*[b"value"] * 10)
        await eventually(lambda: feed.has_applied(60), 30)
    assert_once_and_in_order(await feed.applied(), 60)


async def test_a_zombie_that_wakes_up_after_its_partition_was_taken_over_writes_nothing(feed: Feed, url: str) -> None:
    await feed.publish(*[b"value"] * 50)
    async with consumer_process(feed, url, point="fetched") as zombie:
        await zombie.says("fetched")
        zombie.signal(signal.SIGSTOP)
        async with running(feed.consumer(session_seconds=SESSION_SECONDS)):
            await eventually(lambda: feed.has_applied(50), 30, expectation="the partition is taken over")
            zombie.let_go_on()
            zombie.signal(signal.SIGCONT)
            await zombie.says("position_moved_by_another_consumer")
            await feed.publish(*[b"value"] * 10)
            await eventually(lambda: feed.has_applied(60), 30)
    assert_once_and_in_order(await feed.applied(), 60)
    assert await feed.positions() == {(feed.topic, 0): 60}


async def test_a_killed_and_restarted_broker_is_waited_out(database: Database, topic_prefix: str) -> None:
    with running_kafka() as broker:
        settings = KafkaSettings(bootstrap=broker.bootstrap)
        feed = await Feed.made(settings, database, topic_prefix, partitions=2)
        async with running(feed.consumer()):
            await feed.publish(*[b"before"] * 100, keys=100)
            await eventually(lambda: feed.has_applied(100), 30)
            await restart(broker)
            await feed.publish(*[b"after"] * 100, keys=100)
            await eventually(lambda: feed.has_applied(200), 60)
    assert_once_and_in_order(await feed.applied(), 200)


async def test_a_client_that_fails_or_is_stopped_while_its_broker_is_away_takes_nothing_with_it(
    database: Database, topic_prefix: str
) -> None:
    with running_kafka() as broker:
        feed = await Feed.made(KafkaSettings(bootstrap=broker.bootstrap), database, topic_prefix)
        tail = Tail(feed.settings, topics=[feed.topic], client_id="test")
        await tail.start()
        async with running(feed.consumer(session_seconds=2)):
            await feed.publish(b"before")
            await eventually(lambda: feed.has_applied(1), 30)
            await asyncio.to_thread(broker.process.kill)
            failed = fails_once(KafkaError("as what a broker says of a group while it ends"))
            async with asyncio.timeout(30):
                await failed.wait()
            await tail.stop()
            await asyncio.to_thread(start, broker)
            await feed.publish(b"after")
            await eventually(lambda: feed.has_applied(2), 60)
            await asyncio.to_thread(broker.process.kill)
            # It is stopped once its fetches have noticed.
            await asyncio.sleep(1)


async def test_a_restarted_postgres_is_waited_out_and_readiness_tells(kafka_bootstrap: str, topic_prefix: str) -> None:
    settings = KafkaSettings(bootstrap=kafka_bootstrap)
    with running_postgres() as server:
        async with service_database(server.url()) as url, opened(url) as database:
            feed = await Feed.made(settings, database, topic_prefix, partitions=2)
            consumer = feed.consumer()
            async with running(consumer):
                await feed.publish(*[b"before"] * 100, keys=100)
                await eventually(lambda: feed.has_applied(100), 30)
                await asyncio.to_thread(server.process.kill)
                await feed.publish(*[b"during"] * 100, keys=100)

                await eventually(lambda: is_ready(consumer, False), 30, expectation="not ready")
                await asyncio.to_thread(server.start)
                await eventually(lambda: feed.has_applied(200), 60)
                await eventually(lambda: is_ready(consumer, True), 30, expectation="ready again")
            assert_once_and_in_order(await feed.applied(), 200)


async def restart(broker: Broker) -> None:
    await asyncio.to_thread(broker.process.kill)
    await asyncio.to_thread(start, broker)


async def is_ready(consumer: Consumer, expected: bool) -> bool:
    try:
        await consumer.ready()
    except ConsumerNotReady:
        return not expected
    return expected
