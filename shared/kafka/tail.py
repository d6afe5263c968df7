"""Reading what is published from now on, all partitions, without a group: for live streams."""

from asyncio import sleep
from collections.abc import AsyncIterator, Sequence
from random import SystemRandom
from typing import Final

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import ConsumerStoppedError, KafkaError, KafkaTimeoutError

from shared.kafka.closing import close
from shared.kafka.domain import BACKOFF, Record
from shared.kafka.records import as_record
from shared.kafka.settings import KafkaSettings
from shared.telemetry.logs import get_logger

_log = get_logger(__name__)
_chance: Final = SystemRandom()
_POLL_MILLISECONDS: Final = 1000
_METADATA_MILLISECONDS_MAX: Final = 30_000
_FETCH_BYTES_MAX: Final = 8 * 1024 * 1024


class Tail:
    """Every record published to the topics after `start` returned, once, in order within a partition.

    Nothing is remembered: whoever needs what came before reads it elsewhere. A slow reader holds back the fetching,
    so no more than 8 MiB and `max_records` wait in memory. Outlives a restart of the broker. Records that the broker
    deletes before they were read are skipped.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        *,
        topics: Sequence[str],
        client_id: str,
        max_records: int = 1000,
    ) -> None:
        self._topics = tuple(topics)
        self._options = settings.client_options(client_id)
        self._fetch_wait_milliseconds = settings.fetch_wait_milliseconds
        self._max_records = max_records
        self._kafka: AIOKafkaConsumer | None = None

    async def start(self) -> None:
        """Find the end of every partition. Raises aiokafka.errors.KafkaError when the broker does not answer."""
        kafka = AIOKafkaConsumer(
            *self._topics,
            **self._options,
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="latest",
            max_poll_records=self._max_records,
            fetch_min_bytes=1,
            fetch_max_wait_ms=self._fetch_wait_milliseconds,
            fetch_max_bytes=_FETCH_BYTES_MAX,
            metadata_max_age_ms=_METADATA_MILLISECONDS_MAX,
        )
        try:
            await kafka.start()
            # Named one by one, the partitions keep their places when the metadata is patchy while a broker restarts.
            partitions = list(kafka.assignment())
            kafka.unsubscribe()
            kafka.assign(partitions)
            if not await kafka.seek_to_end():
                raise KafkaTimeoutError("the ends of the partitions could not be found")
        except BaseException:
            await close(kafka)
            raise
        self._kafka = kafka

    async def stop(self) -> None:
        """Disconnect; the iteration ends."""
        kafka, self._kafka = self._kafka, None
        if kafka is not None:
            await close(kafka)

    async def __aiter__(self) -> AsyncIterator[Record]:
        kafka = self._kafka
        if kafka is None:
            raise RuntimeError("the tail is not started")
        attempt = 0
        while True:
            try:
                fetched = await kafka.getmany(timeout_ms=_POLL_MILLISECONDS)
                attempt = 0
            except ConsumerStoppedError:
                return
            except KafkaError as error:
                attempt += 1
                _log.warning("tail_interrupted", topics=self._topics, error_type=type(error).__qualname__)
                await sleep(BACKOFF.pause_seconds(attempt, _chance.random()))
                continue
            for records in fetched.values():
                for record in records:
                    yield as_record(record)
