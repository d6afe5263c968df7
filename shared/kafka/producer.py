"""Publishing to Kafka: every message is acknowledged by all in-sync replicas, or its error is returned."""

import asyncio
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple
from zlib import crc32

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, MessageSizeTooLargeError
from aiokafka.producer.message_accumulator import BatchBuilder

from shared.kafka.settings import KafkaSettings
from shared.kafka.topics import MESSAGE_BYTES_MAX
from shared.outbox.message import OutboxMessage

# The messages of one call are all handed over before the sender gets its turn: they are batched without waiting.
_LINGER_MILLISECONDS: Final = 0
_BATCH_BYTES_MAX: Final = 256 * 1024
_RETRY_MILLISECONDS: Final = 50


class Producer:
    """One connection to the brokers; start it, share it, stop it.

    Messages of one topic and key arrive in the order they were given. A message may arrive twice when the broker's
    answer to it is lost.
    """

    def __init__(self, settings: KafkaSettings, *, client_id: str, answer_seconds_max: int = 10) -> None:
        """`answer_seconds_max` bounds the wait for the broker, retries included."""
        self._settings = settings
        self._client_id = client_id
        self._answer_seconds_max = answer_seconds_max
        self._producer: AIOKafkaProducer | None = None

    async def start(self) -> None:
        """Connect. Raises aiokafka.errors.KafkaConnectionError when no broker can be reached."""
        producer = AIOKafkaProducer(
            **self._settings.client_options(self._client_id),
            acks="all",
            linger_ms=_LINGER_MILLISECONDS,
            max_batch_size=_BATCH_BYTES_MAX,
            max_request_size=MESSAGE_BYTES_MAX,
            request_timeout_ms=self._answer_seconds_max * 1000,
            retry_backoff_ms=_RETRY_MILLISECONDS,
        )
        try:
            await producer.start()
        except BaseException:
            await producer.stop()
            raise
        self._producer = producer

    async def stop(self) -> None:
        """Send what is still under way, for as long as one answer may take, and disconnect."""
        producer, self._producer = self._producer, None
        if producer is None:
            return
        async with asyncio.timeout(self._answer_seconds_max):
            await producer.stop()

    async def send_many(self, messages: Sequence[OutboxMessage]) -> list[Exception | None]:
        """Publish the messages and wait for every answer: for each, in order, None or what went wrong.

        A message counts as published only if all earlier ones of its topic and key are: publishing again whatever has
        an error, in order, leaves the newest message last. An outage costs one wait for each topic, not one for each
        message. RuntimeError if not started.
        """
        producer = self._producer
        if producer is None:
            raise RuntimeError("the producer is not started")
        outcomes: list[Exception | None] = [None] * len(messages)
        by_topic: defaultdict[str, list[int]] = defaultdict(list)
        for index, message in enumerate(messages):
            by_topic[message.topic].append(index)
        sent: list[_Sent] = []
        for topic, indexes in by_topic.items():
            await _send_topic(producer, topic, indexes, messages, outcomes, sent)
        results = await asyncio.gather(*(batch.answer for batch in sent), return_exceptions=True)
        for batch, result in zip(sent, results, strict=True):
            if isinstance(result, Exception):
                for index in batch.indexes:
                    outcomes[index] = result
            elif isinstance(result, BaseException):
                raise result
        if any(outcomes):
            _fail_what_overtook(messages, outcomes)
        return outcomes


class _Sent(NamedTuple):
    """A batch on its way, and the places of its messages in the call."""

    indexes: Sequence[int]
    answer: asyncio.Future[object]


def partition_of(key: bytes, partitions: int) -> int:
    """Where messages of a key go: CRC-32 of the key, as librdkafka's `consistent` partitioner."""
    return crc32(key) % partitions


async def _send_topic(
    producer: AIOKafkaProducer,
    topic: str,
    indexes: Sequence[int],
    messages: Sequence[OutboxMessage],
    outcomes: list[Exception | None],
    sent: list[_Sent],
) -> None:
    """Hand the topic's messages over in whole batches, which costs a fraction of one by one.

    What cannot be handed over gets its outcome; the answers to the rest are awaited by the caller.
    """
    try:
        partitions = len(await producer.partitions_for(topic))
        by_partition: defaultdict[int, list[int]] = defaultdict(list)
        for index in indexes:
            by_partition[partition_of(messages[index].key.encode(), partitions)].append(index)
        for partition, mine in by_partition.items():
            for batch_indexes, batch in _batches(producer, mine, messages, outcomes):
                answer = await producer.send_batch(batch, topic, partition=partition)
                sent.append(_Sent(batch_indexes, answer))
    except KafkaError as error:
        handed_over = {index for batch in sent for index in batch.indexes}
        for index in indexes:
            if index not in handed_over and outcomes[index] is None:
                outcomes[index] = error


def _batches(
    producer: AIOKafkaProducer,
    indexes: Sequence[int],
    messages: Sequence[OutboxMessage],
    outcomes: list[Exception | None],
) -> Iterator[tuple[Sequence[int], BatchBuilder]]:
    """The messages in their order, in as few batches as may be. One too large for a request gets its outcome."""
    batch, batched = producer.create_batch(), list[int]()
    for index in indexes:
        message = messages[index]
        key, headers = message.key.encode(), list(message.headers)
        if size_bytes(message) > MESSAGE_BYTES_MAX:
            outcomes[index] = MessageSizeTooLargeError(f"a message may have {MESSAGE_BYTES_MAX} bytes at most")
            continue
        if batch.append(timestamp=None, key=key, value=message.value, headers=headers) is None:
            yield batched, batch
            batch, batched = producer.create_batch(), []
            batch.append(timestamp=None, key=key, value=message.value, headers=headers)
        batched.append(index)
    if batched:
        batch.close()
        yield batched, batch


def size_bytes(message: OutboxMessage) -> int:
    """Of its key, its value and its headers: what `MESSAGE_BYTES_MAX` bounds."""
    headers = sum(len(name) + len(value) for name, value in message.headers)
    return len(message.key.encode()) + len(message.value or b"") + headers


def _fail_what_overtook(messages: Sequence[OutboxMessage], outcomes: list[Exception | None]) -> None:
    failed: dict[tuple[str, str], Exception] = {}
    for index, message in enumerate(messages):
        outcome = outcomes[index]
        if outcome is not None:
            failed.setdefault((message.topic, message.key), outcome)
        else:
            outcomes[index] = failed.get((message.topic, message.key))
