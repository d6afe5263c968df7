"""One batch, applied exactly once, against a real Postgres and whoever else believes to own the partition."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from shared.db.database import Database, Scope
from shared.kafka.application import Applied, BatchApplication, Place
from shared.kafka.domain import Partition, QuarantineLimit, Record, Retry
from shared.kafka.positions import Positions
from shared.outbox.outbox import Outbox
from tests.servers.consumers import (
    FAST_RETRIES,
    TABLES,
    RecordingHandler,
    applied,
    opened,
    record_of,
    service_database,
    stored_positions,
)


@pytest.fixture(scope="module")
async def database(postgres_url: str) -> AsyncIterator[Database]:
    async with service_database(postgres_url) as url, opened(url) as opened_database:
        yield opened_database


async def no_wait(_: Retry) -> None:
    await asyncio.sleep(0)


def application(database: Database, group: str, handler: RecordingHandler) -> BatchApplication:
    return BatchApplication(
        database=database,
        positions=Positions(TABLES, group),
        outbox=Outbox(TABLES),
        group=group,
        handler=handler,
        backoff=FAST_RETRIES,
        quarantine_limit=QuarantineLimit(),
    )


def batch_of(topic: str, offsets: range, *, partition: int = 0, value: bytes = b"value") -> list[Record]:
    return [record_of(topic, offset, value, partition=partition) for offset in offsets]


async def test_a_zombie_that_comes_back_with_an_old_batch_writes_nothing(database: Database, topic_prefix: str) -> None:
    topic, partition = topic_prefix, Partition(topic_prefix, 0)
    owner = application(database, topic_prefix, RecordingHandler())
    zombie = application(database, topic_prefix, RecordingHandler())
    zombie_place, owner_place = Place(None), Place(None)
    assert await owner.apply(batch_of(topic, range(5)), {partition: owner_place}, no_wait) == Applied(5, frozenset())
    done = await zombie.apply(batch_of(topic, range(3), value=b"zombie"), {partition: zombie_place}, no_wait)
    assert done == Applied(0, frozenset({partition}))
    assert not zombie_place.valid
    assert owner_place == Place(5)
    assert [value for _, _, value in await applied(database, topic)] == ["value"] * 5
    assert await stored_positions(database, topic_prefix) == {(topic, 0): 5}


@pytest.mark.parametrize("stored", [None, 10])
async def test_of_two_that_apply_the_same_batch_at_once_one_waits_and_loses(
    database: Database, topic_prefix: str, stored: int | None
) -> None:
    topic, partition = topic_prefix, Partition(topic_prefix, 0)
    if stored is not None:
        await application(database, topic, RecordingHandler()).apply(
            batch_of(topic, range(stored)), {partition: Place(None)}, no_wait
        )
    slow_handler = RecordingHandler()
    slow_handler.may_commit.clear()
    slow = application(database, topic, slow_handler)
    batch = batch_of(topic, range(stored or 0, 20))
    first = asyncio.ensure_future(slow.apply(batch, {partition: Place(stored)}, no_wait))
    await asyncio.wait_for(slow_handler.applying.wait(), 10)
    second = asyncio.ensure_future(
        application(database, topic, RecordingHandler()).apply(batch, {partition: Place(stored)}, no_wait)
    )
    done, _ = await asyncio.wait([second], timeout=0.2)
    assert not done
    slow_handler.may_commit.set()
    assert await first == Applied(20 - (stored or 0), frozenset())
    assert await second == Applied(0, frozenset({partition}))
    assert [offset for _, offset, _ in await applied(database, topic)] == list(range(20))


async def test_losing_one_partition_applies_the_others(database: Database, topic_prefix: str) -> None:
    topic = topic_prefix
    mine, taken = Partition(topic, 0), Partition(topic, 1)
    other = application(database, topic, RecordingHandler())
    await other.apply(batch_of(topic, range(4), partition=1), {taken: Place(None)}, no_wait)
    places = {mine: Place(None), taken: Place(None)}
    batch = batch_of(topic, range(3)) + batch_of(topic, range(2), partition=1, value=b"zombie")
    assert await application(database, topic, RecordingHandler()).apply(batch, places, no_wait) == Applied(
        3, frozenset({taken})
    )
    assert places[mine] == Place(3)
    assert await stored_positions(database, topic) == {(topic, 0): 3, (topic, 1): 4}
    assert [value for _, _, value in await applied(database, topic)] == ["value"] * 7


async def test_records_of_a_revoked_partition_are_dropped(database: Database, topic_prefix: str) -> None:
    topic = topic_prefix
    places = {Partition(topic, 0): Place(None), Partition(topic, 1): Place(None, valid=False)}
    batch = batch_of(topic, range(3)) + batch_of(topic, range(2), partition=1)
    await application(database, topic, RecordingHandler()).apply(batch, places, no_wait)
    assert await stored_positions(database, topic) == {(topic, 0): 3}
    assert len(await applied(database, topic)) == 3


async def test_positions_of_another_group_are_left_alone(database: Database, topic_prefix: str) -> None:
    topic, partition = topic_prefix, Partition(topic_prefix, 0)
    for group in (f"{topic_prefix}a", f"{topic_prefix}b"):
        done = await application(database, group, RecordingHandler()).apply(
            batch_of(topic, range(3)), {partition: Place(None)}, no_wait
        )
        assert done == Applied(3, frozenset())
    await application(database, f"{topic_prefix}a", RecordingHandler()).apply(
        batch_of(topic, range(3, 6)), {partition: Place(3)}, no_wait
    )
    assert await stored_positions(database, f"{topic_prefix}b") == {(topic, 0): 3}


async def test_a_position_may_move_back_when_the_log_was_made_anew(database: Database, topic_prefix: str) -> None:
    topic, partition = topic_prefix, Partition(topic_prefix, 0)
    consumer = application(database, topic, RecordingHandler())
    place = Place(None)
    await consumer.apply(batch_of(topic, range(9)), {partition: place}, no_wait)
    await consumer.apply(batch_of(topic, range(2)), {partition: place}, no_wait)
    assert await stored_positions(database, topic) == {(topic, 0): 2}


async def test_two_consumers_with_crossed_partitions_never_deadlock(database: Database, topic_prefix: str) -> None:
    topic = topic_prefix
    partitions = [Partition(topic, number) for number in range(6)]
    rounds = 15

    async def consume(order: list[Partition]) -> None:
        for _ in range(rounds):
            async with database.transaction(Scope.of()) as tx:
                stored = await Positions(TABLES, topic).read(tx, partitions)
            batch = [record_of(topic, stored[each] or 0, b"value", partition=each.number) for each in order]
            places = {each: Place(stored[each]) for each in order}
            await application(database, topic, RecordingHandler()).apply(batch, places, no_wait)

    await asyncio.wait_for(asyncio.gather(consume(partitions), consume(partitions[::-1])), 30)
    found = await applied(database, topic)
    for partition in partitions:
        offsets = [offset for number, offset, _ in found if number == partition.number]
        assert offsets == list(range(len(offsets)))
        assert rounds <= len(offsets) <= 2 * rounds
