"""Publishing to Kafka: every message acknowledged by all in-sync replicas, or its error told."""

import asyncio
from collections.abc import Sequence
from typing import Final

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, KafkaTimeoutError

from shared.kafka.settings import KafkaSettings
from shared.outbox.message import OutboxMessage

# The messages of one call are all handed over before the sender gets its turn: they are batched without waiting.
_LINGER_MILLISECONDS: Final = 0
_BATCH_BYTES_MAX: Final = 256 * 1024
_REQUEST_BYTES_MAX: Final = 4 * 1024 * 1024
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
            max_request_size=_REQUEST_BYTES_MAX,
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

        A message is only told as published if all earlier ones of its topic and key are: publishing again whatever has
        an error, in order, leaves the newest message last. An outage costs one wait for each topic, not one for each
        message. RuntimeError if not started.
        """
        producer = self._producer
        if producer is None:
            raise RuntimeError("the producer is not started")
        outcomes: list[Exception | None] = [None] * len(messages)
        answers: list[asyncio.Future[object]] = []
        handed_over: list[int] = []
        unreachable_topics: dict[str, Exception] = {}
        for index, message in enumerate(messages):
            if message.topic in unreachable_topics:
                outcomes[index] = unreachable_topics[message.topic]
                continue
            try:
                answer = await producer.send(
                    message.topic, value=message.value, key=message.key.encode(), headers=list(message.headers)
                )
            except KafkaError as error:
                outcomes[index] = error
                if error.retriable or isinstance(error, KafkaTimeoutError):
                    unreachable_topics[message.topic] = error
                continue
            answers.append(answer)
            handed_over.append(index)
        results = await asyncio.gather(*answers, return_exceptions=True)
        for index, result in zip(handed_over, results, strict=True):
            if isinstance(result, Exception):
                outcomes[index] = result
            elif isinstance(result, BaseException):
                raise result
        if any(outcomes):
            _fail_what_overtook(messages, outcomes)
        return outcomes


def _fail_what_overtook(messages: Sequence[OutboxMessage], outcomes: list[Exception | None]) -> None:
    failed: dict[tuple[str, str], Exception] = {}
    for index, message in enumerate(messages):
        outcome = outcomes[index]
        if outcome is not None:
            failed.setdefault((message.topic, message.key), outcome)
        else:
            outcomes[index] = failed.get((message.topic, message.key))
