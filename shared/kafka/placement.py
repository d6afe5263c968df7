"""Putting a reader at its stored position whenever partitions come and go."""

import asyncio
from collections.abc import Collection, Iterable
from random import SystemRandom
from typing import Final

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import IllegalStateError, KafkaError

from shared.db.database import Database, Scope
from shared.kafka.application import Place
from shared.kafka.domain import BACKOFF, Partition, seek_target
from shared.kafka.positions import Positions
from shared.kernel.errors import Unavailable
from shared.telemetry import metrics
from shared.telemetry.logs import get_logger

_log = get_logger(__name__)
_chance: Final = SystemRandom()
_REVOCATION_SECONDS_MAX: Final = 5.0


class Placement(ConsumerRebalanceListener):  # type: ignore[misc]
    """The places of one consumer's assigned partitions.

    Callbacks come from aiokafka's coordinator in the middle of anything. A revocation invalidates the places at once
    and then waits, for a bounded time, for the batch in hand; an assignment pauses the new partitions and leaves the
    rest to a task, so that neither a dead database nor a long batch keeps the group from its heartbeats. A partition
    is read only once it has a place.
    """

    def __init__(self, kafka: AIOKafkaConsumer, *, database: Database, positions: Positions, group: str) -> None:
        self.places: dict[Partition, Place] = {}
        self.resting = asyncio.Event()
        """Set while no batch is in hand."""
        self.resting.set()
        self.is_held_back = False
        """True while partitions are held back on purpose; those placed meanwhile stay paused."""
        self.assigned = False
        """An assignment, even an empty one, has been received and nothing has been revoked since."""
        self._kafka = kafka
        self._database = database
        self._positions = positions
        self._group = group
        self._placing: set[asyncio.Task[None]] = set()
        self._failure: BaseException | None = None

    @property
    def complete(self) -> bool:
        """Assigned, and every partition has its place."""
        return self.assigned and not self._placing

    def check(self) -> None:
        """Raises what a placement failed with, if it was nothing that passes."""
        if self._failure is not None:
            raise self._failure

    async def on_partitions_revoked(self, _revoked: Collection[TopicPartition]) -> None:
        self.assigned = False
        self._invalidate(list(self.places))
        self.cancel()
        try:
            async with asyncio.timeout(_REVOCATION_SECONDS_MAX):
                await self.resting.wait()
        except TimeoutError:
            _log.warning("revoked_in_mid_batch", group=self._group)

    async def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        metrics.CONSUMER_REBALANCES.labels(self._group).inc()
        _log.info("partitions_assigned", group=self._group, partitions=len(assigned))
        self.assigned = True
        self.replace(Partition(*each) for each in assigned)

    def replace(self, partitions: Iterable[Partition]) -> None:
        """Stop reading these partitions and start again from what is stored; partitions no longer ours are left."""
        ours = self._kafka.assignment()
        wanted = [partition for partition in partitions if partition in ours]
        self._invalidate(wanted)
        if not wanted:
            return
        self._kafka.pause(*map(_of_aiokafka, wanted))
        task = asyncio.ensure_future(self._place(wanted))
        self._placing.add(task)
        task.add_done_callback(self._placed)

    def pause(self) -> None:
        """Fetch nothing until `resume`; what was fetched ahead is let go."""
        self.is_held_back = True
        self._kafka.pause(*self._kafka.assignment())

    def resume(self) -> None:
        """Fetch again wherever there is a place."""
        self.is_held_back = False
        ours = self._kafka.assignment()
        self._kafka.resume(*(_of_aiokafka(partition) for partition in self.places if partition in ours))

    def cancel(self) -> None:
        """Give up placements under way."""
        for task in self._placing:
            task.cancel()
        self._placing.clear()

    def _invalidate(self, partitions: Iterable[Partition]) -> None:
        for partition in partitions:
            place = self.places.pop(partition, None)
            if place is not None:
                place.valid = False
                metrics.CONSUMER_LAG_RECORDS.remove(self._group, partition.topic, str(partition.number))

    def _placed(self, task: asyncio.Task[None]) -> None:
        self._placing.discard(task)
        if not task.cancelled():
            self._failure = task.exception()

    async def _place(self, partitions: list[Partition]) -> None:
        attempt = 0
        while True:
            attempt += 1
            try:
                starts = await self._kafka.beginning_offsets([_of_aiokafka(partition) for partition in partitions])
                async with self._database.transaction(Scope.of()) as tx:
                    stored = await self._positions.read(tx, partitions)
            except (Unavailable, KafkaError) as error:
                _log.warning("placement_failed", group=self._group, error_type=type(error).__qualname__)
                await asyncio.sleep(BACKOFF.pause_seconds(attempt, _chance.random()))
            else:
                break
        for partition in partitions:
            target = seek_target(stored[partition], starts[partition])
            if target.skipped_records:
                _log.error(
                    "records_expired_unread",
                    group=self._group,
                    topic=partition.topic,
                    partition=partition.number,
                    records=target.skipped_records,
                )
            try:
                self._kafka.seek(_of_aiokafka(partition), target.offset)
            except IllegalStateError:
                continue
            metrics.CONSUMER_LAG_RECORDS.labels(self._group, partition.topic, str(partition.number))
            self.places[partition] = Place(stored[partition])
            if not self.is_held_back:
                self._kafka.resume(_of_aiokafka(partition))


def _of_aiokafka(partition: Partition) -> TopicPartition:
    return TopicPartition(partition.topic, partition.number)
