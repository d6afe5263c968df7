"""Topics, the producer and the tail on a real broker."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError

from shared.kafka.domain import Record
from shared.kafka.producer import Producer, size_bytes
from shared.kafka.settings import KafkaSettings
from shared.kafka.tail import Tail
from shared.kafka.topics import MESSAGE_BYTES_MAX, TopicsUnusable, ensure_topics
from tests.servers.consumers import make_topic, message, publish, topic_spec
from tests.servers.infrastructure import eventually, running_kafka, start


@pytest.fixture
def settings(kafka_bootstrap: str) -> KafkaSettings:
    return KafkaSettings(bootstrap=kafka_bootstrap)


async def test_topics_are_made_once_whoever_asks_first(settings: KafkaSettings, topic_prefix: str) -> None:
    specs = [topic_spec(f"{topic_prefix}a", 3), replace(topic_spec(f"{topic_prefix}b", 2), retention=None)]
    await asyncio.gather(ensure_topics(settings, specs), ensure_topics(settings, specs))
    await ensure_topics(settings, specs)


async def test_a_topic_of_another_shape_is_refused_with_every_reason(
    settings: KafkaSettings, topic_prefix: str
) -> None:
    kept_by_time = topic_spec(f"{topic_prefix}deals", 3)
    await ensure_topics(settings, [kept_by_time])
    with pytest.raises(TopicsUnusable) as refused:
        await ensure_topics(settings, [replace(kept_by_time, partitions=4, retention=None)])
    assert refused.value.problems == (
        f"topic {topic_prefix}deals has 3 partitions, expected 4",
        f"topic {topic_prefix}deals has cleanup.policy=delete, expected compact",
    )


async def test_a_topic_that_could_not_hold_the_largest_message_is_made_roomier_and_else_left_as_it_is(
    settings: KafkaSettings, topic_prefix: str
) -> None:
    spec = replace(topic_spec(f"{topic_prefix}deals", 3), retention=None)
    largest = message(spec.name, "key", b"x" * (MESSAGE_BYTES_MAX - 1000))
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.bootstrap)
    await admin.start()
    try:
        own = {"cleanup.policy": "compact", "min.cleanable.dirty.ratio": "0.25"}
        await admin.create_topics([NewTopic(spec.name, 3, 1, topic_configs=own)])
        await asyncio.gather(ensure_topics(settings, [spec]), ensure_topics(settings, [spec]))
        (described,) = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, spec.name)])
    finally:
        await admin.close()
    ((_, _, _, _, entries),) = described.resources
    of_topic = {name: value for name, value, _, source, *_ in entries if source == 1}
    assert of_topic == {**own, "max.message.bytes": "6356992"}
    async with collecting(Tail(settings, topics=[spec.name], client_id="test")) as found:
        await publish(settings, [largest])
        await eventually(lambda: len(found) == 1, 30)


async def test_a_topic_that_the_broker_refuses_to_make_is_named(settings: KafkaSettings) -> None:
    with pytest.raises(TopicsUnusable, match="not a name could not be made: InvalidTopicError"):
        await ensure_topics(settings, [topic_spec("not a name", 1)])


async def test_every_message_has_its_own_outcome(settings: KafkaSettings, topic_prefix: str) -> None:
    topic = await make_topic(settings, f"{topic_prefix}deals", partitions=2)
    producer = Producer(settings, client_id="test")
    await producer.start()
    try:
        too_large = message(topic, "large", b"x" * MESSAGE_BYTES_MAX)
        outcomes = await producer.send_many(
            [
                message(topic, "first", b"value"),
                too_large,
                message(topic, "second", None),
                message(topic, "large", b"behind the refused one"),
            ]
        )
    finally:
        await producer.stop()
    assert [type(outcome).__name__ for outcome in outcomes] == [
        "NoneType",
        "MessageSizeTooLargeError",
        "NoneType",
        "MessageSizeTooLargeError",
    ]


async def test_the_largest_message_there_may_be_is_published_and_read(
    settings: KafkaSettings, topic_prefix: str
) -> None:
    topic = await make_topic(settings, f"{topic_prefix}deals")
    small = message(topic, "key", b"before")
    room = MESSAGE_BYTES_MAX - size_bytes(small._replace(value=b""))
    largest = small._replace(value=b"x" * room)
    async with collecting(Tail(settings, topics=[topic], client_id="test")) as found:
        await publish(settings, [small, largest, message(topic, "key", b"after")])
        await eventually(lambda: len(found) == 3, 30)
    assert [len(record.value or b"") for record in found] == [6, room, 5]


async def test_a_write_to_a_connection_that_has_just_closed_costs_the_producer_one_more_try(
    settings: KafkaSettings, topic_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = await make_topic(settings, f"{topic_prefix}deals")
    producer = Producer(settings, client_id="test")
    await producer.start()
    try:
        assert await producer.send_many([message(topic, "key", b"before")]) == [None]
        with monkeypatch.context() as patch:

            def write(writer: asyncio.StreamWriter, _: bytes) -> None:
                patch.undo()
                writer.close()
                raise RuntimeError("unable to perform operation on <TCPTransport closed=True>; the handler is closed")

            patch.setattr(asyncio.StreamWriter, "write", write)
            assert await producer.send_many([message(topic, "key", b"during")]) == [None]
    finally:
        await producer.stop()


async def test_a_missing_broker_costs_one_wait_and_fails_every_message(topic_prefix: str) -> None:
    with running_kafka() as broker:
        settings = KafkaSettings(bootstrap=broker.bootstrap)
        topic = await make_topic(settings, f"{topic_prefix}deals")
        producer = Producer(settings, client_id="test", answer_seconds_max=2)
        await producer.start()
        try:
            assert await producer.send_many([message(topic, "key", b"value")]) == [None]
            await asyncio.to_thread(broker.process.kill)
            async with asyncio.timeout(15):
                outcomes = await producer.send_many(
                    [message(topic, f"key-{number}", b"x" * 100_000) for number in range(50)]
                )
            assert all(isinstance(outcome, KafkaError) for outcome in outcomes)
            await asyncio.to_thread(start, broker)

            async def is_accepted() -> bool:
                return await producer.send_many([message(topic, "key", b"value")]) == [None]

            await eventually(is_accepted, 30)
        finally:
            await producer.stop()


@asynccontextmanager
async def collecting(tail: Tail) -> AsyncIterator[list[Record]]:
    """What the tail reads while the block lasts."""
    found: list[Record] = []

    async def collect() -> None:
        async for record in tail:
            found.append(record)

    await tail.start()
    collector = asyncio.ensure_future(collect())
    try:
        yield found
    finally:
        await tail.stop()
        await asyncio.wait_for(collector, 10)


async def test_a_tail_reads_what_is_published_from_now_on_and_all_of_it(
    settings: KafkaSettings, topic_prefix: str
) -> None:
    topics = [await make_topic(settings, f"{topic_prefix}{name}", partitions=3) for name in ("a", "b")]
    await publish(settings, [message(topic, f"key-{number}", b"old") for topic in topics for number in range(20)])
    async with collecting(Tail(settings, topics=topics, client_id="test", max_records=7)) as found:
        new = [message(topic, f"key-{number}", f"{number}".encode()) for topic in topics for number in range(100)]
        await publish(settings, new)
        await eventually(lambda: len(found) >= len(new))
    assert sorted((record.topic, record.key, record.value) for record in found) == sorted(
        (each.topic, each.key, each.value) for each in new
    )
    assert all(record.headers["ce_tenantid"] for record in found)


async def test_a_tail_outlives_a_restart_of_the_broker(topic_prefix: str) -> None:
    with running_kafka() as broker:
        settings = KafkaSettings(bootstrap=broker.bootstrap)
        topic = await make_topic(settings, f"{topic_prefix}deals", partitions=2)
        async with collecting(Tail(settings, topics=[topic], client_id="test")) as found:
            await publish(settings, [message(topic, f"key-{number}", b"before") for number in range(10)])
            await eventually(lambda: len(found) == 10)
            await asyncio.to_thread(broker.process.kill)
            await asyncio.to_thread(start, broker)
            await publish(settings, [message(topic, f"key-{number}", b"after") for number in range(10)])
            await eventually(lambda: len(found) >= 20, 30)
    assert [record.value for record in found].count(b"after") == 10


async def test_dead_letters_are_kept_by_time_even_when_the_topic_is_compacted(
    settings: KafkaSettings, topic_prefix: str
) -> None:
    compacted = replace(topic_spec(f"{topic_prefix}deals", 1), retention=None)
    await ensure_topics(settings, [compacted])
    await ensure_topics(settings, [replace(compacted, name=f"{topic_prefix}other", retention=timedelta(days=1))])
    with pytest.raises(TopicsUnusable, match=r"\.dlq has cleanup.policy=delete, expected compact"):
        await ensure_topics(settings, [replace(compacted, name=compacted.dead_letters)])
