"""The consumer runtime on a real broker and a real Postgres."""

import asyncio
from collections.abc import AsyncIterator
from functools import partial

import pytest
from sqlalchemy import text

from shared.db.database import Database, Scope
from shared.kafka.consumer import Consumer, ConsumerNotReady
from shared.kafka.domain import QuarantineLimit
from shared.kafka.settings import KafkaSettings
from tests.servers.consumers import (
    TABLES,
    RecordingHandler,
    applied,
    applied_count,
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
from tests.servers.infrastructure import eventually

PASSING_REFUSALS = ("25006", "53100", "42P01", "23505")
"""Read-only, disk full, no such table, a clash with what is stored."""


@pytest.fixture(scope="module")
async def database(postgres_url: str) -> AsyncIterator[Database]:
    async with service_database(postgres_url) as url, opened(url) as opened_database:
        yield opened_database


@pytest.fixture
def settings(kafka_bootstrap: str) -> KafkaSettings:
    return KafkaSettings(bootstrap=kafka_bootstrap)


async def test_every_record_is_applied_once_and_in_order_across_restarts(
    settings: KafkaSettings, database: Database, topic_prefix: str
) -> None:
    topic = await make_topic(settings, f"{topic_prefix}deals", partitions=3)
    for restart in range(3):
        messages = [message(topic, f"key-{number % 20}", f"{restart}/{number}".encode()) for number in range(300)]
        consumer = make_consumer(
            settings, database, group=f"{topic_prefix}group", topic=topic, handler=RecordingHandler(), max_records=37
        )
        async with running(consumer):
            await publish(settings, messages)
            await eventually(partial(has_applied, database, topic, 300 * (restart + 1)))
    assert_once_and_in_order(await applied(database, topic), 900)
    assert sum((await stored_positions(database, f"{topic_prefix}group")).values()) == 900


async def test_records_gather_between_two_batches_where_they_are_to(
    settings: KafkaSettings, database: Database, topic_prefix: str
) -> None:
    topic = await make_topic(settings, f"{topic_prefix}deals", partitions=1)
    handler = RecordingHandler()
    consumer = make_consumer(
        settings, database, group=f"{topic_prefix}group", topic=topic, handler=handler, gather_seconds=2.0
    )
    async with running(consumer):
        await publish(settings, [message(topic, "key", b"first")])
        await eventually(partial(has_applied, database, topic, 1))
        for number in range(5):
            await publish(settings, [message(topic, "key", str(number).encode())])
        await eventually(partial(has_applied, database, topic, 6))
    # What was fetched before the pause comes by itself.
    assert handler.batches in ([[0], [1, 2, 3, 4, 5]], [[0], [1], [2, 3, 4, 5]])


async def test_records_published_before_the_first_consumer_are_read_from_the_beginning(
    settings: KafkaSettings, database: Database, topic_prefix: str
) -> None:
    topic = await make_topic(settings, f"{topic_prefix}deals", partitions=2)
    await publish(settings, [message(topic, f"key-{number}", b"value") for number in range(50)])
    consumer = make_consumer(settings, database, group=f"{topic_prefix}group", topic=topic, handler=RecordingHandler())
    async with running(consumer):
        await eventually(lambda: has_applied(database, topic, 50))


async def test_a_rebalance_in_mid_batch_neither_loses_nor_repeats_a_record(
    settings: KafkaSettings, database: Database, topic_prefix: str
) -> None:
    topic = await make_topic(settings, f"{topic_prefix}deals", partitions=4)
    group = f"{topic_prefix}group"
    first_handler, second_handler = RecordingHandler(), RecordingHandler()
    # Nothing is heard of a member while its revocation waits. With a session hardly longer than that, a busy machine
    # puts whoever waits out of the group, and both go on taking the partitions from each other.
    first, second = (
        make_consumer(settings, database, group=group, topic=topic, handler=handler, max_records=20, session_seconds=10)
        for handler in (first_handler, second_handler)
    )
    await publish(settings, [message(topic, f"key-{number}", b"value") for number in range(400)])
    first_handler.may_commit.clear()
    async with running(first):
        await asyncio.wait_for(first_handler.applying.wait(), 15)
        async with running(second):
            # The first holds a batch uncommitted while the second joins, for longer than a revocation waits: else it
            # had no partitions again. Whether the second reads meanwhile is chance: it may be at the same partition.
            await eventually(partial(are_ready, first, second), 60, expectation="both have their partitions")
            assert len(first_handler.batches) == 1
            first_handler.may_commit.set()
            await eventually(lambda: has_applied(database, topic, 400), 30)
            await publish(settings, [message(topic, f"key-{number}", b"value") for number in range(400)])
            await eventually(lambda: has_applied(database, topic, 800), 30)
        await publish(settings, [message(topic, f"key-{number}", b"value") for number in range(200)])
        await eventually(lambda: has_applied(database, topic, 1000), 30)
    assert_once_and_in_order(await applied(database, topic), 1000)
    assert second_handler.batches


async def are_ready(*consumers: Consumer) -> bool:
    try:
        for consumer in consumers:
            await consumer.ready()
    except ConsumerNotReady:
        return False
    return True


async def test_a_poisonous_record_goes_to_the_dead_letters_once_and_its_neighbours_are_applied(
    settings: KafkaSettings, database: Database, topic_prefix: str
) -> None:
    topic = await make_topic(settings, f"{topic_prefix}deals")
    values = [b"good", b"poison", b"good", b"crash", b"good", b"bad-sql", b"good"]
    messages = [message(topic, f"key-{number}", value) for number, value in enumerate(values)]
    messages.append(message(topic, "no\x00tenant", b"value", tenant=None))
    messages.append(message(topic, "key", b"good"))
    await publish(settings, messages)
    group = f"{topic_prefix}group"
    consumer = make_consumer(settings, database, group=group, topic=topic, handler=RecordingHandler())
    async with running(consumer):
        await eventually(lambda: is_at(database, group, topic, 9))
        await consumer.ready()
    restarted = make_consumer(settings, database, group=group, topic=topic, handler=RecordingHandler())
    async with running(restarted):
        await publish(settings, [message(topic, "key", b"good")])
        await eventually(lambda: is_at(database, group, topic, 10))
    assert [offset for _, offset, _ in await applied(database, topic)] == [0, 2, 4, 6, 8, 9]
    async with database.transaction(Scope.of()) as tx:
        letters = await tx.rows(TABLES.outbox.select().where(TABLES.outbox.c.topic == f"{topic}.dlq"))
    assert sorted((letter["value"], letter["key"]) for letter in letters) == sorted(
        [
            (b"poison", "key-1"),
            (b"crash", "key-3"),
            (b"bad-sql", "key-5"),
            (b"value", "no�tenant"),
        ]
    )
    headers = {letter["value"]: letter["headers"] for letter in letters}
    assert "dlq_reason" in headers[b"poison"]


async def test_a_consumer_that_would_quarantine_too_much_stands_still_and_goes_on_once_it_need_not(
    settings: KafkaSettings, database: Database, topic_prefix: str
) -> None:
    topic = await make_topic(settings, f"{topic_prefix}deals")
    group = f"{topic_prefix}group"
    values = [b"poison" if number % 2 else b"good" for number in range(40)]
    await publish(settings, [message(topic, "key", value) for value in values])
    handler = RecordingHandler()
    consumer = make_consumer(
        settings,
        database,
        group=group,
        topic=topic,
        handler=handler,
        quarantine_limit=QuarantineLimit(window_records=100, share_max=0.1, count_min=5),
    )
    async with running(consumer):
        await eventually(partial(is_waiting, consumer, "would be quarantined"))
        assert await applied(database, topic) == []
        assert await stored_positions(database, group) == {}
        handler.refuses = False
        await eventually(lambda: has_applied(database, topic, 40))
        await eventually(partial(are_ready, consumer))
    assert await dead_letters(database, topic) == []


async def test_a_handler_that_fails_for_every_record_quarantines_none(
    settings: KafkaSettings, database: Database, topic_prefix: str
) -> None:
    topic = await make_topic(settings, f"{topic_prefix}deals")
    await publish(settings, [message(topic, "key", b"crash") for _ in range(40)])
    consumer = make_consumer(settings, database, group=f"{topic_prefix}group", topic=topic, handler=RecordingHandler())
    async with running(consumer):
        await eventually(partial(is_waiting, consumer, "would be quarantined"))
    assert await stored_positions(database, f"{topic_prefix}group") == {}
    assert await dead_letters(database, topic) == []


@pytest.mark.parametrize("state", PASSING_REFUSALS)
async def test_a_passing_refusal_of_the_database_is_waited_out_and_quarantines_nothing(
    settings: KafkaSettings, database: Database, topic_prefix: str, state: str
) -> None:
    topic = await make_topic(settings, f"{topic_prefix}deals")
    handler = RecordingHandler()
    handler.refused_with = state
    await publish(settings, [message(topic, f"key-{number}", b"value") for number in range(20)])
    consumer = make_consumer(settings, database, group=f"{topic_prefix}group", topic=topic, handler=handler)
    async with running(consumer):
        await eventually(partial(is_waiting, consumer, state))
        await eventually(lambda: len(handler.batches) > 8, expectation="more tries than there ever were")
        assert await applied(database, topic) == []
        handler.refused_with = None
        await eventually(lambda: has_applied(database, topic, 20))
        await eventually(partial(are_ready, consumer))
    assert_once_and_in_order(await applied(database, topic), 20)
    assert await dead_letters(database, topic) == []


@pytest.mark.parametrize("error", [OSError("no space left"), MemoryError(), RuntimeError("of nobody's making")])
async def test_an_error_that_no_content_causes_is_waited_out(
    settings: KafkaSettings, database: Database, topic_prefix: str, error: Exception
) -> None:
    topic = await make_topic(settings, f"{topic_prefix}deals")
    handler = RecordingHandler()
    handler.fails_with = error
    await publish(settings, [message(topic, "key", b"value")])
    consumer = make_consumer(settings, database, group=f"{topic_prefix}group", topic=topic, handler=handler)
    async with running(consumer):
        await eventually(partial(is_waiting, consumer, type(error).__name__))
        handler.fails_with = None
        await eventually(lambda: has_applied(database, topic, 1))
    assert await dead_letters(database, topic) == []


@pytest.mark.parametrize("stored", [999, 11])
async def test_a_stored_position_beyond_the_end_of_the_log_starts_again_from_its_beginning(
    settings: KafkaSettings, database: Database, topic_prefix: str, stored: int
) -> None:
    topic = await make_topic(settings, f"{topic_prefix}deals")
    group = f"{topic_prefix}group"
    await publish(settings, [message(topic, "key", b"value") for _ in range(10)])
    await store_position(database, group, topic, stored)
    consumer = make_consumer(settings, database, group=group, topic=topic, handler=RecordingHandler())
    async with running(consumer):
        await eventually(lambda: is_at(database, group, topic, 10))
    assert_once_and_in_order(await applied(database, topic), 10)


async def test_a_stored_position_inside_the_log_is_where_reading_starts(
    settings: KafkaSettings, database: Database, topic_prefix: str
) -> None:
    topic = await make_topic(settings, f"{topic_prefix}deals")
    group = f"{topic_prefix}group"
    await publish(settings, [message(topic, "key", b"value") for _ in range(10)])
    await store_position(database, group, topic, 6)
    consumer = make_consumer(settings, database, group=group, topic=topic, handler=RecordingHandler())
    async with running(consumer):
        await eventually(lambda: is_at(database, group, topic, 10))
    assert [offset for _, offset, _ in await applied(database, topic)] == [6, 7, 8, 9]


async def test_a_position_moved_behind_its_back_makes_the_consumer_go_on_from_there(
    settings: KafkaSettings, database: Database, topic_prefix: str
) -> None:
    topic = await make_topic(settings, f"{topic_prefix}deals")
    group = f"{topic_prefix}group"
    consumer = make_consumer(settings, database, group=group, topic=topic, handler=RecordingHandler())
    async with running(consumer):
        await publish(settings, [message(topic, "key", b"first") for _ in range(10)])
        await eventually(lambda: is_at(database, group, topic, 10))
        await store_position(database, group, topic, 4)
        await publish(settings, [message(topic, "key", b"second")])
        await eventually(lambda: is_at(database, group, topic, 11))
    assert [offset for _, offset, _ in await applied(database, topic)] == [*range(10), *range(4, 11)]


async def test_stopping_while_a_batch_takes_too_long_rolls_it_back(
    settings: KafkaSettings, database: Database, topic_prefix: str
) -> None:
    topic = await make_topic(settings, f"{topic_prefix}deals")
    handler = RecordingHandler()
    handler.may_commit.clear()
    await publish(settings, [message(topic, "key", b"value")])
    consumer = make_consumer(
        settings, database, group=f"{topic_prefix}group", topic=topic, handler=handler, drain_seconds_max=0.5
    )
    async with running(consumer):
        await asyncio.wait_for(handler.applying.wait(), 15)
    assert await applied(database, topic) == []
    assert await stored_positions(database, f"{topic_prefix}group") == {}


async def test_stopping_waits_for_the_batch_in_hand(
    settings: KafkaSettings, database: Database, topic_prefix: str
) -> None:
    topic = await make_topic(settings, f"{topic_prefix}deals")
    handler = RecordingHandler()
    handler.may_commit.clear()
    await publish(settings, [message(topic, "key", b"value")])
    consumer = make_consumer(settings, database, group=f"{topic_prefix}group", topic=topic, handler=handler)
    async with running(consumer):
        await asyncio.wait_for(handler.applying.wait(), 15)
        asyncio.get_running_loop().call_later(0.3, handler.may_commit.set)
    assert await applied_count(database, topic) == 1


async def test_a_consumer_is_ready_once_it_has_its_partitions_and_no_longer_after_it_stopped(
    settings: KafkaSettings, database: Database, topic_prefix: str
) -> None:
    topic = await make_topic(settings, f"{topic_prefix}deals")
    consumer = make_consumer(settings, database, group=f"{topic_prefix}group", topic=topic, handler=RecordingHandler())
    with pytest.raises(ConsumerNotReady):
        await consumer.ready()

    async with running(consumer):
        await eventually(partial(are_ready, consumer))
    with pytest.raises(ConsumerNotReady):
        await consumer.ready()


async def is_waiting(consumer: Consumer, reason: str) -> bool:
    try:
        await consumer.ready()
    except ConsumerNotReady as error:
        return reason in error.detail
    return False


async def dead_letters(database: Database, topic: str) -> list[bytes]:
    async with database.transaction(Scope.of()) as tx:
        rows = await tx.rows(TABLES.outbox.select().where(TABLES.outbox.c.topic == f"{topic}.dlq"))
    return [row["value"] for row in rows]


async def has_applied(database: Database, topic: str, expected: int) -> bool:
    return await applied_count(database, topic) >= expected


async def is_at(database: Database, group: str, topic: str, offset: int) -> bool:
    return (await stored_positions(database, group)).get((topic, 0)) == offset


async def store_position(database: Database, group: str, topic: str, offset: int) -> None:
    async with database.transaction(Scope.of()) as tx:
        await tx.execute(
            text(
                """
                INSERT INTO probe.consumer_positions ("group", topic, partition, next_offset)
                VALUES (:group, :topic, 0, :offset)
                ON CONFLICT ("group", topic, partition) DO UPDATE SET next_offset = excluded.next_offset
                """
            ),
            {"group": group, "topic": topic, "offset": offset},
        )
