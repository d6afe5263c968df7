"""From the outbox to Kafka: one active relay a service, order kept by key, nothing lost, duplicates possible."""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from random import SystemRandom
from secrets import token_hex
from typing import Final, Protocol
from uuid import UUID

from shared.db.database import Database, Scope, Transaction
from shared.db.failures import classify
from shared.db.tables import TransportTables
from shared.outbox.domain import Backoff, Holds, Lane, Progress, after_round, begin
from shared.outbox.leadership import Candidate
from shared.outbox.message import OutboxMessage
from shared.outbox.store import Appended, Mark, RelayStore
from shared.telemetry import metrics
from shared.telemetry.logs import get_logger
from shared.worker.rounds import Rounds

Renderer = Callable[[Transaction, Sequence[tuple[UUID, str]]], Awaitable[Sequence[OutboxMessage]]]
"""Reads the newest state of the marked subjects: their messages on the marks' topic, keyed `tenant/subject`.

A subject without a message is settled without one. The transaction sees every tenant and is for reading.
"""

_log = get_logger(__name__)
_chance: Final = SystemRandom()

_ROWS_MAX: Final = 1000
_BYTES_MAX: Final = 16 * 1024 * 1024
_HELD_LANES_MAX: Final = 5000
_PUBLISH_SECONDS_MAX: Final = 60.0
_CONFIRM_SECONDS: Final = 5.0
_COUNT_SECONDS: Final = 5.0
_COUNT_MAX: Final = 100_000
_LANE_BACKOFF: Final = Backoff(first_seconds=0.1, longest_seconds=10.0)


class Producer(Protocol):
    """Where the messages go."""

    async def send_many(self, messages: Sequence[OutboxMessage]) -> list[Exception | None]:
        """Publish the messages and wait for the broker: None or the error for each, in their order."""


class _RenderFailed(Exception):
    def __init__(self, topic: str) -> None:
        super().__init__(topic)
        self.topic = topic


@dataclass(frozen=True, slots=True)
class _Page:
    """What one pass has read: the messages appended, the marks, and the messages that the marks were rendered to."""

    appended: Sequence[Appended]
    marks: Sequence[Mark]
    rendered: Sequence[OutboxMessage]

    @property
    def full(self) -> bool:
        """Whether a limit cut it short, so that there is probably more."""
        value_bytes = sum(len(row.message.value or b"") for row in self.appended)
        return len(self.appended) >= _ROWS_MAX or len(self.marks) >= _ROWS_MAX or value_bytes >= _BYTES_MAX

    @property
    def messages(self) -> list[OutboxMessage]:
        return [*(row.message for row in self.appended), *self.rendered]


class Relay(Rounds):
    """Publishes what a service's outbox holds, until it is stopped.

    Any number may run; the one that holds the service's advisory lock publishes and the others wait for it to go away.
    A message is deleted after the broker has it, so a relay that dies in between leaves it to be published again.
    """

    def __init__(
        self,
        database: Database,
        tables: TransportTables,
        producer: Producer,
        renderers: Mapping[str, Renderer],
        *,
        poll_seconds: float = 1.0,
        drain_seconds: float = 10.0,
    ) -> None:
        """`renderers` by topic. Without a wake-up the outbox is looked at, or the lock tried, every `poll_seconds`."""
        super().__init__("relay", every_seconds=poll_seconds)
        self.name = token_hex(8)
        """What this process's outbox notifies with: its commits wake the relay themselves."""
        self._database = database
        self._store = RelayStore(tables)
        self._service = tables.service
        self._channel = tables.outbox_channel
        self._producer = producer
        self._renderers = dict(renderers)
        self._poll_seconds = poll_seconds
        self._drain_seconds = drain_seconds
        self._held_lanes: Holds[Lane] = Holds(_LANE_BACKOFF)
        self._held_topics: Holds[str] = Holds(_LANE_BACKOFF)
        self._running: asyncio.Task[None] | None = None
        self._counted_at = float("-inf")

    async def run(self) -> None:
        """Publish until `stop`; survives the loss of the database and of the broker. Call once."""
        self._running = asyncio.create_task(super().run(), name=f"relay-{self._service}")
        try:
            await asyncio.wait([self._running])
        except asyncio.CancelledError:
            self._running.cancel()
            await asyncio.wait([self._running])
            raise
        if not self._running.cancelled():
            self._running.result()

    async def stop(self) -> None:
        """Publish what is waiting, for `drain_seconds` at most, and end `run`."""
        await super().stop()
        if self._running is None:
            return
        await asyncio.wait([self._running], timeout=self._drain_seconds)
        if not self._running.done():
            _log.warning("relay_drain_unfinished")
            self._running.cancel()
            await asyncio.wait([self._running])

    async def round(self) -> bool:
        """Stand for election, and lead until the lock is lost."""
        try:
            async with Candidate.standing(self._database, self._channel, self.wake, own=self.name) as candidate:
                await self._stand(candidate)
        finally:
            metrics.OUTBOX_RELAY_ACTIVE.labels(self._service).set(0)
        return True

    async def _stand(self, candidate: Candidate) -> None:
        while not await candidate.elected():
            if self.is_stopping:
                return
            await self.pause(self._poll_seconds)
        metrics.OUTBOX_RELAY_ACTIVE.labels(self._service).set(1)
        _log.info("relay_leads")
        await self._lead(candidate)

    async def _lead(self, candidate: Candidate) -> None:
        confirmed_at = time.monotonic()
        while not candidate.lost:
            self.woken.clear()
            began = time.monotonic()
            try:
                more = await self._pass(candidate)
            except _RenderFailed as error:
                _log.exception("render_failed", topic=error.topic)
                self._held_topics.fail([error.topic], time.monotonic(), _chance.random())
                continue
            if self.is_stopping and not more:
                return
            if not more:
                await self._wait(began)
            now = time.monotonic()
            if now - confirmed_at > _CONFIRM_SECONDS:
                await candidate.confirm()
                confirmed_at = now

    async def _wait(self, began: float) -> None:
        """Until there is something to do after a pass that began then; what was held then may be free by now."""
        now = time.monotonic()
        pauses = [self._held_lanes.seconds_to_next(began), self._held_topics.seconds_to_next(began)]
        left = [max(0.0, pause - (now - began)) for pause in pauses if pause is not None]
        timeout_seconds = min([self._poll_seconds, *left])
        if len(self._held_lanes.held(now)) >= _HELD_LANES_MAX:
            # The broker is away: nothing new is to be tried before something that failed is.
            await self.pause(timeout_seconds)
            return
        try:
            async with asyncio.timeout(timeout_seconds):
                await self.woken.wait()
        except TimeoutError:
            return

    async def _pass(self, candidate: Candidate) -> bool:
        """Read, publish, delete. True when there may be more to publish at once."""
        started = time.monotonic()
        held_lanes = self._held_lanes.held(started)
        if len(held_lanes) >= _HELD_LANES_MAX:
            return False
        held_topics = self._held_topics.held(started)
        topics = [topic for topic in self._renderers if topic not in held_topics]
        page = await self._database.run(Scope.every(), lambda tx: self._read(tx, topics, held_lanes))
        self._held_topics.succeed(topics)
        metrics.OUTBOX_LAG_SECONDS.labels(self._service).set(page.appended[0].age_seconds if page.appended else 0)
        if not page.appended and not page.marks:
            return False
        messages = page.messages
        progress = await self._publish(candidate, messages)
        await self._settle(page, messages, progress)
        metrics.OUTBOX_PASS_SECONDS.labels(self._service).observe(time.monotonic() - started)
        return page.full

    async def _read(self, tx: Transaction, topics: Collection[str], held: Collection[Lane]) -> _Page:
        appended = await self._store.appended(tx, held, rows_max=_ROWS_MAX, bytes_max=_BYTES_MAX)
        marks = await self._store.marks(tx, topics, held, rows_max=_ROWS_MAX) if topics else []
        rendered: list[OutboxMessage] = []
        for topic in topics:
            subjects = sorted({(mark.tenant_id, mark.subject) for mark in marks if mark.topic == topic})
            if subjects:
                rendered.extend(await self._render(tx, topic, subjects))
        if time.monotonic() - self._counted_at > _COUNT_SECONDS:
            waiting_messages, waiting_marks = await self._store.waiting(tx, rows_max=_COUNT_MAX)
            metrics.OUTBOX_ROWS.labels(self._service, "appended").set(waiting_messages)
            metrics.OUTBOX_ROWS.labels(self._service, "marked").set(waiting_marks)
            self._counted_at = time.monotonic()
        return _Page(appended, marks, rendered)

    async def _render(
        self, tx: Transaction, topic: str, subjects: Sequence[tuple[UUID, str]]
    ) -> Sequence[OutboxMessage]:
        try:
            return await self._renderers[topic](tx, subjects)
        except Exception as error:
            if classify(error).passes:
                raise
            raise _RenderFailed(topic) from error

    async def _publish(self, candidate: Candidate, messages: Sequence[OutboxMessage]) -> Progress[int]:
        """Send in rounds; stops between two when the lock is lost."""
        progress = begin((index, Lane(message.topic, message.key)) for index, message in enumerate(messages))
        while progress.next_round and not candidate.lost:
            batch = [messages[index] for index, _ in progress.next_round]
            outcomes = await self._send(batch)
            self._count(batch, outcomes)
            progress = after_round(progress, [outcome is None for outcome in outcomes])
        return progress

    async def _send(self, batch: Sequence[OutboxMessage]) -> Sequence[Exception | None]:
        try:
            async with asyncio.timeout(_PUBLISH_SECONDS_MAX):
                outcomes: Sequence[Exception | None] = await self._producer.send_many(batch)
        except Exception as error:
            outcomes = [error] * len(batch)
        failures = [outcome for outcome in outcomes if outcome is not None]
        if failures:
            _log.warning(
                "publish_failed", messages=len(failures), reason=type(failures[0]).__name__, detail=str(failures[0])
            )
        return outcomes

    def _count(self, batch: Sequence[OutboxMessage], outcomes: Sequence[Exception | None]) -> None:
        counts = Counter((message.topic, outcome is None) for message, outcome in zip(batch, outcomes, strict=True))
        for (topic, went_out), number in counts.items():
            counter = metrics.OUTBOX_PUBLISHED if went_out else metrics.OUTBOX_PUBLISH_FAILURES
            counter.labels(self._service, topic).inc(number)

    async def _settle(self, page: _Page, messages: Sequence[OutboxMessage], progress: Progress[int]) -> None:
        published = progress.acknowledged
        unpublished = {
            Lane(message.topic, message.key) for index, message in enumerate(messages) if index not in published
        }
        # A failed message that is keyed unlike any mark of its topic might stand for any of them.
        mark_lanes = {mark.lane for mark in page.marks}
        doubtful_topics = {
            message.topic
            for index, message in enumerate(page.rendered, start=len(page.appended))
            if index not in published and Lane(message.topic, message.key) not in mark_lanes
        }
        ids = [row.id for index, row in enumerate(page.appended) if index in published]
        marks = [mark for mark in page.marks if mark.lane not in unpublished and mark.topic not in doubtful_topics]
        now = time.monotonic()
        self._held_topics.fail(doubtful_topics, now, _chance.random())
        self._held_lanes.fail(progress.stuck, now, _chance.random())
        self._held_lanes.succeed(
            {Lane(messages[index].topic, messages[index].key) for index in published} - progress.stuck
        )
        await self._database.run(Scope.every(), lambda tx: self._store.delete(tx, ids, marks))
