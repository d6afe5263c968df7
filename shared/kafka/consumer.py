"""The consumer runtime: batches from Kafka, applied exactly once in Postgres.

What is consumed is what Postgres says is consumed: the position of each partition is moved by compare-and-swap in the
transaction of the batch. The offsets committed to Kafka are a hint for tools that show lag, written now and then and
never read.
"""

import asyncio
from collections.abc import Awaitable, Mapping, Sequence
from contextlib import suppress
from random import SystemRandom
from time import monotonic, perf_counter
from typing import Final

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition, errors
from aiokafka.errors import KafkaError

from shared.db.database import Database, Scope
from shared.db.tables import TransportTables
from shared.kafka.application import Applied, BatchApplication, Handler, Place
from shared.kafka.closing import close
from shared.kafka.domain import (
    BACKOFF,
    Partition,
    QuarantineLimit,
    Retry,
    log_was_lost,
)
from shared.kafka.placement import Placement
from shared.kafka.positions import Positions
from shared.kafka.records import as_record
from shared.kafka.settings import KafkaSettings
from shared.kernel.errors import Unavailable
from shared.outbox.domain import Backoff
from shared.outbox.outbox import Outbox
from shared.telemetry import metrics
from shared.telemetry.logs import get_logger
from shared.worker.rounds import Rounds

_log = get_logger(__name__)
_chance: Final = SystemRandom()
MAX_RECORDS: Final = 2000
"""Of a batch, unless a consumer is given another number."""
_POLL_MILLISECONDS: Final = 1000
_HINT_SECONDS: Final = 1.0
_WATCH_SECONDS: Final = 5.0
_HINT_SECONDS_MAX: Final = 5.0
_LAST_HINT_SECONDS_MAX: Final = 1.0
"""A worker has several consumers to stop, one after another, and the broker may be away."""
_HEARTBEATS_IN_SESSION: Final = 4
_PARTITION_BYTES_MAX: Final = 1024 * 1024
_FETCH_BYTES_MAX: Final = 16 * 1024 * 1024
"""Bounds the memory for fetched records."""
_METADATA_MILLISECONDS_MAX: Final = 30_000
_NOT_FOR_US_TO_RETRY: Final = (
    errors.GroupAuthorizationFailedError,
    errors.InconsistentGroupProtocolError,
    errors.InvalidGroupIdError,
    errors.InvalidSessionTimeoutError,
    errors.TopicAuthorizationFailedError,
)
"""What a broker says of this group and its topics, and says again until somebody changes its settings or ours.

IncompatibleBrokerVersion is not among them: aiokafka raises it for every broker that does not list its versions, as one
that has just started and answers that question with an error. A broker too old for us, or one that refuses the login,
ends the process as it starts, which asks the same broker for its topics before anything else.
"""


class ConsumerNotReady(Unavailable):
    """The consumer is not reading: it is starting, rebalancing, waiting, cut off, or has stopped for good."""

    code = "consumer_not_ready"
    title = "Consumer not ready"


class _Stopping(Exception):
    """Leaves whatever is being waited for because the consumer is to stop."""


class Consumer:
    """One member of a consumer group. Run it once; any number of processes may run one of the same group."""

    def __init__(
        self,
        *,
        settings: KafkaSettings,
        database: Database,
        tables: TransportTables,
        outbox: Outbox,
        group: str,
        topics: Sequence[str],
        handler: Handler,
        max_records: int = MAX_RECORDS,
        gather_seconds: float = 0.0,
        session_seconds: int = 10,
        drain_seconds_max: float = 10.0,
        backoff: Backoff = BACKOFF,
        quarantine_limit: QuarantineLimit | None = None,
    ) -> None:
        """After every committed batch records gather for `gather_seconds` for the next.

        The partitions of a killed member are taken over after `session_seconds`. `stop` waits `drain_seconds_max` for
        the batch in hand.
        """
        self._settings = settings
        self._database = database
        self._positions = Positions(tables, group)
        self._group = group
        self._topics = tuple(topics)
        self._max_records = max_records
        self._gather_seconds = gather_seconds
        self._session_seconds = session_seconds
        self._drain_seconds_max = drain_seconds_max
        self._application = BatchApplication(
            database=database,
            positions=self._positions,
            outbox=outbox,
            group=group,
            handler=handler,
            backoff=backoff,
            quarantine_limit=quarantine_limit or QuarantineLimit(),
        )
        self._placement: Placement | None = None
        self._stopping = asyncio.Event()
        self._finished = asyncio.Event()
        self._finished.set()
        self._work: asyncio.Task[Applied] | None = None
        self._stopped_because: str | None = None

    async def ready(self) -> None:
        """Raises ConsumerNotReady unless every assigned partition is being read. No partitions at all is ready too."""
        if self._stopped_because is not None:
            raise ConsumerNotReady(f"{self._group} stopped: {self._stopped_because}")
        placement = self._placement
        if placement is None or not placement.complete:
            raise ConsumerNotReady(f"{self._group} is waiting for its partitions")
        if self._application.waits_because is not None:
            raise ConsumerNotReady(f"{self._group} waits: {self._application.waits_because}")

    async def run(self) -> None:
        """Consume until `stop` is called. Waits out a broker or a database that is away or refuses the work.

        Raises what the broker refuses for good (an aiokafka.errors.KafkaError); `ready` then fails and says
        why. Whatever else goes wrong, foreseen or not, a new member with a new client goes on from the stored
        positions.
        """
        self._finished.clear()
        attempt = 0
        try:
            while not self._stopping.is_set():
                began = monotonic()
                try:
                    await self._member()
                except _Stopping:
                    break
                except _NOT_FOR_US_TO_RETRY:
                    raise
                except Exception as error:
                    attempt = 1 if monotonic() - began > BACKOFF.longest_seconds else attempt + 1
                    self._report_lost(error)
                    with suppress(_Stopping):
                        await self._pause_for(BACKOFF.pause_seconds(attempt, _chance.random()))
        except Exception as error:
            self._stopped_because = type(error).__qualname__
            raise
        finally:
            self._finished.set()

    async def stop(self) -> None:
        """Finish the batch in hand, leave the group and close; a batch that takes too long is rolled back."""
        self._stopping.set()
        try:
            async with asyncio.timeout(self._drain_seconds_max):
                await self._finished.wait()
        except TimeoutError:
            if self._work is not None:
                self._work.cancel()
            await self._finished.wait()

    async def _member(self) -> None:
        """Be a member of the group until `stop` (_Stopping) or a failure of the client (mostly a KafkaError)."""
        kafka = AIOKafkaConsumer(
            **self._settings.client_options(f"attain-{self._group}"),
            group_id=self._group,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            max_poll_records=self._max_records,
            fetch_min_bytes=1,
            fetch_max_wait_ms=self._settings.fetch_wait_milliseconds,
            fetch_max_bytes=_FETCH_BYTES_MAX,
            max_partition_fetch_bytes=_PARTITION_BYTES_MAX,
            session_timeout_ms=self._session_seconds * 1000,
            heartbeat_interval_ms=self._session_seconds * 1000 // _HEARTBEATS_IN_SESSION,
            metadata_max_age_ms=_METADATA_MILLISECONDS_MAX,
        )
        placement = Placement(kafka, database=self._database, positions=self._positions, group=self._group)
        beside: list[asyncio.Task[None]] = []
        try:
            await kafka.start()
            kafka.subscribe(self._topics, listener=placement)
            self._placement = placement
            beside = [
                asyncio.ensure_future(each.run())
                for each in (
                    _Hints(kafka, placement, self._group),
                    _PositionWatch(placement, self._database, self._positions),
                )
            ]
            while True:
                await self._next_batch(kafka, placement)
        finally:
            self._placement = None
            placement.cancel()
            for task in beside:
                task.cancel()
            try:
                if beside:
                    await asyncio.wait(beside)
                    with suppress(TimeoutError):
                        async with asyncio.timeout(_LAST_HINT_SECONDS_MAX):
                            await _hint(kafka, placement.places, {})
            finally:
                await close(kafka)

    async def _next_batch(self, kafka: AIOKafkaConsumer, placement: Placement) -> None:
        fetched = await self._unless_stopping(kafka.getmany(timeout_ms=_POLL_MILLISECONDS))
        placement.check()
        places = {Partition(*each): placement.places[each] for each in fetched if each in placement.places}
        batch = [as_record(each) for partition in places for each in fetched[TopicPartition(*partition)]]
        if not batch:
            return
        self._report_lost_logs(fetched, places)
        started = perf_counter()
        placement.resting.clear()
        try:
            self._work = asyncio.ensure_future(
                self._application.apply(batch, places, lambda retry: self._wait(kafka, placement, retry))
            )
            applied = await self._finish(self._work)
        finally:
            placement.resting.set()
        placement.replace(applied.lost)
        if not applied.records:
            return
        metrics.CONSUMER_BATCH_SECONDS.labels(self._group).observe(perf_counter() - started)
        metrics.CONSUMER_BATCH_RECORDS.labels(self._group).observe(applied.records)
        if self._gather_seconds:
            await self._pause_for(self._gather_seconds)

    async def _finish(self, work: asyncio.Task[Applied]) -> Applied:
        try:
            return await work
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            raise _Stopping from None
        finally:
            self._work = None

    async def _wait(self, kafka: AIOKafkaConsumer, placement: Placement, retry: Retry) -> None:
        """Wait between two attempts at a batch.

        In a long wait the partitions are paused and the consumer goes on polling, so that memory stays bounded and the
        group keeps its member. _Stopping when the consumer is to stop.
        """
        if not retry.pause:
            await self._pause_for(retry.delay_seconds)
            return
        placement.pause()
        try:
            await self._unless_stopping(kafka.getmany(timeout_ms=max(1, int(retry.delay_seconds * 1000))))
        finally:
            placement.resume()

    async def _pause_for(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
            raise _Stopping

    async def _unless_stopping(
        self, fetching: Awaitable[Mapping[TopicPartition, Sequence[ConsumerRecord]]]
    ) -> Mapping[TopicPartition, Sequence[ConsumerRecord]]:
        fetch = asyncio.ensure_future(fetching)
        stopping = asyncio.ensure_future(self._stopping.wait())
        try:
            await asyncio.wait([fetch, stopping], return_when=asyncio.FIRST_COMPLETED)
            if self._stopping.is_set():
                raise _Stopping
            if fetch.cancelled():
                raise errors.Cancelled("the client has ended its own work")
            return fetch.result()
        finally:
            fetch.cancel()
            stopping.cancel()

    def _report_lost(self, error: Exception) -> None:
        if isinstance(error, KafkaError):
            _log.warning("broker_lost", group=self._group, error_type=type(error).__qualname__, detail=str(error))
        else:
            _log.error("membership_failed", group=self._group, exc_info=error)

    def _report_lost_logs(
        self, fetched: Mapping[TopicPartition, Sequence[ConsumerRecord]], places: Mapping[Partition, Place]
    ) -> None:
        for partition, place in places.items():
            first_offset = fetched[TopicPartition(*partition)][0].offset
            if log_was_lost(place.stored, first_offset):
                _log.error(
                    "topic_was_lost_and_replays",
                    group=self._group,
                    topic=partition.topic,
                    partition=partition.number,
                    stored_offset=place.stored,
                    first_offset=first_offset,
                )


class _Hints(Rounds):
    """Reports the positions of a member of a group to Kafka and the metrics."""

    def __init__(self, kafka: AIOKafkaConsumer, placement: Placement, group: str) -> None:
        super().__init__("consumer_hints", every_seconds=_HINT_SECONDS)
        self._kafka = kafka
        self._placement = placement
        self._group = group
        self._hinted: dict[Partition, int] = {}

    async def round(self) -> bool:
        self._measure_lag()
        with suppress(TimeoutError):
            async with asyncio.timeout(_HINT_SECONDS_MAX):
                await _hint(self._kafka, self._placement.places, self._hinted)
        return False

    def _measure_lag(self) -> None:
        assigned = self._kafka.assignment()
        for partition, place in self._placement.places.items():
            if partition not in assigned:
                continue
            end = self._kafka.highwater(TopicPartition(*partition))
            if end is not None:
                lag = metrics.CONSUMER_LAG_RECORDS.labels(self._group, partition.topic, str(partition.number))
                lag.set(max(0, end - (place.stored or 0)))


class _PositionWatch(Rounds):
    """Takes notice of a position that was moved behind the consumer's back, also where nothing more is published."""

    def __init__(self, placement: Placement, database: Database, positions: Positions) -> None:
        super().__init__("position_watch", every_seconds=_WATCH_SECONDS)
        self._placement = placement
        self._database = database
        self._positions = positions

    async def round(self) -> bool:
        placement = self._placement
        if not placement.resting.is_set() or not placement.places:
            return False
        known = {partition: (place, place.stored) for partition, place in placement.places.items()}
        async with self._database.transaction(Scope.of()) as tx:
            stored = await self._positions.read(tx, known.keys())
        # A batch that came meanwhile finds out by itself.
        if placement.resting.is_set():
            placement.replace(
                partition
                for partition, (place, offset) in known.items()
                if place.valid and place.stored == offset != stored[partition]
            )
        return False


async def _hint(kafka: AIOKafkaConsumer, places: Mapping[Partition, Place], hinted: dict[Partition, int]) -> None:
    """Report the group's positions to Kafka. Nothing depends on it, so whatever goes wrong is ignored."""
    moved = {
        partition: place.stored
        for partition, place in places.items()
        if place.stored is not None and place.stored != hinted.get(partition)
    }
    if not moved:
        return
    with suppress(KafkaError):
        await kafka.commit({TopicPartition(*partition): offset for partition, offset in moved.items()})
        hinted.update(moved)
