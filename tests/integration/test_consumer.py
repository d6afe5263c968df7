"""The consumer runtime on a real broker and a real Postgres."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from functools import partial

import pytest
from aiokafka import errors
from sqlalchemy import RowMapping, text

from shared.db.database import Database, Scope
from shared.kafka.consumer import Consumer, ConsumerNotReady
from shared.kafka.domain import QuarantineLimit
from shared.kafka.settings import KafkaSettings
from tests.servers.consumers import (
    TABLES,
    Feed,
    RecordingHandler,
    assert_once_and_in_order,
    fails_once,
    message,
    opened,
    publish,
    running,
    service_database,
)
from tests.servers.infrastructure import eventually

PASSING_REFUSALS = ("25006", "53100", "42P01", "23505")
"""Read-only, disk full, no such table, a clash with what is stored."""


@pytest.fixture(scope="module")
async def database(postgres_url: str) -> AsyncIterator[Database]:
    async with service_database(postgres_url) as url, opened(url) as opened_database:
        yield opened_database


@pytest.fixture
async def feed(kafka_bootstrap: str, database: Database, topic_prefix: str, request: pytest.FixtureRequest) -> Feed:
    """Of one partition where a test does not state how many."""
    settings = KafkaSettings(bootstrap=kafka_bootstrap)
    return await Feed.made(settings, database, topic_prefix, partitions=getattr(request, "param", 1))


@pytest.mark.parametrize("feed", [3], indirect=True, ids=["3 partitions"])
async def test_every_record_is_applied_once_and_in_order_across_restarts(feed: Feed) -> None:
    for restart in range(3):
        async with running(feed.consumer(max_records=37)):
            await feed.publish(*(f"{restart}/{number}".encode() for number in range(300)), keys=20)
            await eventually(partial(feed.has_applied, 300 * (restart + 1)))
    assert_once_and_in_order(await feed.applied(), 900)
    assert sum((await feed.positions()).values()) == 900


async def test_records_gather_between_two_batches_where_they_are_to(feed: Feed) -> None:
    handler = RecordingHandler()
    async with running(feed.consumer(handler, gather_seconds=2.0)):
        await feed.publish(b"first")
        await eventually(partial(feed.has_applied, 1))
        for number in range(5):
            await feed.publish(str(number).encode())
        await eventually(partial(feed.has_applied, 6))
    # What was fetched before the pause comes by itself.
    assert handler.batches in ([[0], [1, 2, 3, 4, 5]], [[0], [1], [2, 3, 4, 5]])


@pytest.mark.parametrize("feed", [2], indirect=True, ids=["2 partitions"])
async def test_records_published_before_the_first_consumer_are_read_from_the_beginning(feed: Feed) -> None:
    await feed.publish(*[b"value"] * 50, keys=50)
    async with running(feed.consumer()):
        await eventually(lambda: feed.has_applied(50))


@pytest.mark.parametrize("feed", [4], indirect=True, ids=["4 partitions"])
async def test_a_rebalance_in_mid_batch_neither_loses_nor_repeats_a_record(feed: Feed) -> None:
    first_handler, second_handler = RecordingHandler(), RecordingHandler()
    # Nothing is heard of a member while its revocation waits. With a session hardly longer than that, a busy machine
    # puts whoever waits out of the group, and both go on taking the partitions from each other.
    first, second = (
        feed.consumer(handler, max_records=20, session_seconds=10) for handler in (first_handler, second_handler)
    )
    await feed.publish(*[b"value"] * 400, keys=400)
    first_handler.may_commit.clear()
    async with running(first):
        await asyncio.wait_for(first_handler.applying.wait(), 15)
        async with running(second):
            # The first holds a batch uncommitted while the second joins, for longer than a revocation waits: else it
            # had no partitions again. Whether the second reads meanwhile is chance: it may be at the same partition.
            await eventually(partial(are_ready, first, second), 60, expectation="both have their partitions")
            assert len(first_handler.batches) == 1
            first_handler.may_commit.set()
            await eventually(lambda: feed.has_applied(400), 30)
            await feed.publish(*[b"value"] * 400, keys=400)
            await eventually(lambda: feed.has_applied(800), 30)
        await feed.publish(*[b"value"] * 200, keys=200)
        await eventually(lambda: feed.has_applied(1000), 30)
    assert_once_and_in_order(await feed.applied(), 1000)
    assert second_handler.batches


async def are_ready(*consumers: Consumer) -> bool:
    try:
        for consumer in consumers:
            await consumer.ready()
    except ConsumerNotReady:
        return False
    return True


async def test_a_poisonous_record_goes_to_the_dead_letters_once_and_its_neighbours_are_applied(feed: Feed) -> None:
    values = [b"good", b"poison", b"good", b"crash", b"good", b"bad-sql", b"good"]
    await feed.publish(*values, keys=len(values))
    await publish(feed.settings, [message(feed.topic, "no\x00tenant", b"value", tenant=None)])
    await feed.publish(b"good")
    consumer = feed.consumer()
    async with running(consumer):
        await eventually(lambda: feed.is_at(9))
        await consumer.ready()
    async with running(feed.consumer()):
        await feed.publish(b"good")
        await eventually(lambda: feed.is_at(10))
    assert [offset for _, offset, _ in await feed.applied()] == [0, 2, 4, 6, 8, 9]
    letters = await dead_letters(feed)
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


async def test_a_consumer_that_would_quarantine_too_much_stands_still_and_goes_on_once_it_need_not(feed: Feed) -> None:
    values = [b"poison" if number % 2 else b"good" for number in range(40)]
    await feed.publish(*values)
    handler = RecordingHandler()
    limit = QuarantineLimit(window_records=100, share_max=0.1, count_min=5)
    consumer = feed.consumer(handler, quarantine_limit=limit)
    async with running(consumer):
        await eventually(partial(is_waiting, consumer, "would be quarantined"))
        assert await feed.applied() == []
        assert await feed.positions() == {}
        handler.refuses = False
        await eventually(lambda: feed.has_applied(40))
        await eventually(partial(are_ready, consumer))
    assert await dead_letters(feed) == []


async def test_a_handler_that_fails_for_every_record_quarantines_none(feed: Feed) -> None:
    await feed.publish(*[b"crash"] * 40)
    consumer = feed.consumer()
    async with running(consumer):
        await eventually(partial(is_waiting, consumer, "would be quarantined"))
    assert await feed.positions() == {}
    assert await dead_letters(feed) == []


@pytest.mark.parametrize("state", PASSING_REFUSALS)
async def test_a_passing_refusal_of_the_database_is_waited_out_and_quarantines_nothing(feed: Feed, state: str) -> None:
    handler = RecordingHandler()
    handler.refused_with = state
    await feed.publish(*[b"value"] * 20, keys=20)
    consumer = feed.consumer(handler)
    async with running(consumer):
        await eventually(partial(is_waiting, consumer, state))
        await eventually(lambda: len(handler.batches) > 8, expectation="more tries than there ever were")
        assert await feed.applied() == []
        handler.refused_with = None
        await eventually(lambda: feed.has_applied(20))
        await eventually(partial(are_ready, consumer))
    assert_once_and_in_order(await feed.applied(), 20)
    assert await dead_letters(feed) == []


@pytest.mark.parametrize("error", [OSError("no space left"), MemoryError(), RuntimeError("of nobody's making")])
async def test_an_error_that_no_content_causes_is_waited_out(feed: Feed, error: Exception) -> None:
    handler = RecordingHandler()
    handler.fails_with = error
    await feed.publish(b"value")
    consumer = feed.consumer(handler)
    async with running(consumer):
        await eventually(partial(is_waiting, consumer, type(error).__name__))
        handler.fails_with = None
        await eventually(lambda: feed.has_applied(1))
    assert await dead_letters(feed) == []


@pytest.mark.parametrize("stored", [999, 11])
async def test_a_stored_position_beyond_the_end_of_the_log_starts_again_from_its_beginning(
    feed: Feed, stored: int
) -> None:
    await feed.publish(*[b"value"] * 10)
    await store_position(feed, stored)
    async with running(feed.consumer()):
        await eventually(lambda: feed.is_at(10))
    assert_once_and_in_order(await feed.applied(), 10)


async def test_a_stored_position_inside_the_log_is_where_reading_starts(feed: Feed) -> None:
    await feed.publish(*[b"value"] * 10)
    await store_position(feed, 6)
    async with running(feed.consumer()):
        await eventually(lambda: feed.is_at(10))
    assert [offset for _, offset, _ in await feed.applied()] == [6, 7, 8, 9]


async def test_a_position_moved_behind_its_back_makes_the_consumer_go_on_from_there(feed: Feed) -> None:
    async with running(feed.consumer()):
        await feed.publish(*[b"first"] * 10)
        await eventually(lambda: feed.is_at(10))
        await store_position(feed, 4)
        await feed.publish(b"second")
        await eventually(lambda: feed.is_at(11))
    assert [offset for _, offset, _ in await feed.applied()] == [*range(10), *range(4, 11)]


async def test_stopping_while_a_batch_takes_too_long_rolls_it_back(feed: Feed) -> None:
    handler = RecordingHandler()
    handler.may_commit.clear()
    await feed.publish(b"value")
    async with running(feed.consumer(handler, drain_seconds_max=0.5)):
        await asyncio.wait_for(handler.applying.wait(), 15)
    assert await feed.applied() == []
    assert await feed.positions() == {}


async def test_stopping_waits_for_the_batch_in_hand(feed: Feed) -> None:
    handler = RecordingHandler()
    handler.may_commit.clear()
    await feed.publish(b"value")
    async with running(feed.consumer(handler)):
        await asyncio.wait_for(handler.applying.wait(), 15)
        asyncio.get_running_loop().call_later(0.3, handler.may_commit.set)
    assert len(await feed.applied()) == 1


async def test_a_consumer_is_ready_once_it_has_its_partitions_and_no_longer_after_it_stopped(feed: Feed) -> None:
    consumer = feed.consumer()
    with pytest.raises(ConsumerNotReady):
        await consumer.ready()

    async with running(consumer):
        await eventually(partial(are_ready, consumer))
    with pytest.raises(ConsumerNotReady):
        await consumer.ready()


@pytest.mark.parametrize(
    "error",
    [
        # What aiokafka makes of an answer without versions, as a broker gives that has just started.
        errors.IncompatibleBrokerVersion("FindCoordinatorRequest cannot be used if the API version is unknown"),
        errors.KafkaError("Unexpected exception in heartbeat task: UnknownError()"),
        AssertionError("Did we not perform bootstrap?"),
        asyncio.CancelledError(),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_a_client_that_fails_is_replaced_by_another(feed: Feed, error: BaseException) -> None:
    consumer = feed.consumer()
    async with running(consumer):
        await eventually(partial(are_ready, consumer))
        failed = fails_once(error)
        await asyncio.wait_for(failed.wait(), 15)
        await feed.publish(b"value")
        await eventually(partial(feed.has_applied, 1))
        await eventually(partial(are_ready, consumer))


@pytest.mark.parametrize("kind", [errors.GroupAuthorizationFailedError, errors.TopicAuthorizationFailedError])
async def test_what_a_broker_refuses_for_good_ends_the_consumer_with_its_reason(
    feed: Feed, kind: type[errors.KafkaError]
) -> None:
    consumer = feed.consumer()
    fails_once(kind("not yours"))
    with pytest.raises(kind):
        await asyncio.wait_for(consumer.run(), 15)
    assert await is_waiting(consumer, kind.__name__)


async def is_waiting(consumer: Consumer, reason: str) -> bool:
    try:
        await consumer.ready()
    except ConsumerNotReady as error:
        return reason in error.detail
    return False


async def dead_letters(feed: Feed) -> Sequence[RowMapping]:
    async with feed.database.transaction(Scope.of()) as tx:
        return await tx.rows(TABLES.outbox.select().where(TABLES.outbox.c.topic == f"{feed.topic}.dlq"))


async def store_position(feed: Feed, offset: int) -> None:
    async with feed.database.transaction(Scope.of()) as tx:
        await tx.execute(
            text(
                """
                INSERT INTO probe.consumer_positions ("group", topic, partition, next_offset)
                VALUES (:group, :topic, 0, :offset)
                ON CONFLICT ("group", topic, partition) DO UPDATE SET next_offset = excluded.next_offset
                """
            ),
            {"group": feed.group, "topic": feed.topic, "offset": offset},
        )
