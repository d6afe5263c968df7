"""From the outbox to Kafka: one active relay a service, order kept by key, nothing lost, duplicates possible."""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from random import SystemRandom
from secrets import token_hex
from typing import Final, Protocol
from uuid import UUID

from shared.db.database import Database, Scope, Session, Statements
from shared.db.failures import classify
from shared.db.tables import TransportTables
from shared.outbox.domain import Backoff, Blocked, Lane, Progress, after_round, begin
from shared.outbox.handover import HandOver
from shared.outbox.leadership import Candidate
from shared.outbox.message import Appended, Mark, OutboxMessage
from shared.outbox.store import RelayStore
from shared.telemetry import metrics
from shared.telemetry.logs import get_logger
from shared.worker.rounds import Rounds

Renderer = Callable[[Statements, Sequence[tuple[UUID, str]]], Awaitable[Sequence[OutboxMessage]]]
"""Reads the newest state of the marked subjects: their messages on the marks' topic, keyed `tenant/subject`.

A subject without a message is settled without one. The statements see every tenant.
"""

_log = get_logger(__name__)
_chance: Final = SystemRandom()

_ROWS_MAX: Final = 1000
_PATIENT_BESIDE_MAX: Final = 20
_BESIDE_SECONDS: Final = 1.0
"""So long after something else few patient marks are published at a time, with as long a rest behind them."""
_BYTES_MAX: Final = 16 * 1024 * 1024
_BLOCKED_LANES_MAX: Final = 5000
_PUBLISH_SECONDS_MAX: Final = 60.0
_GATHER_SECONDS_A_MESSAGE: Final = 0.001
_GATHER_SECONDS_MAX: Final = 0.025
"""From one pass to the next, by how much it sent: what comes alone never waits, what comes in masses gathers."""
_PASSES_WITHOUT_LOOK_MAX: Final = 8
"""So that what others have committed has its turn while this process hands over more and more."""
_ANSWER_SECONDS_MAX: Final = 90.0
"""For a statement of the relay, longer than the server lets one last: a server that is gone may say nothing at all."""
_COUNT_SECONDS: Final = 5.0
_COUNT_MAX: Final = 100_000
_LANE_BACKOFF: Final = Backoff(first_seconds=0.1, longest_seconds=10.0)


class Producer(Protocol):
    """Where the messages go."""

    async def send_many(self, messages: Sequence[OutboxMessage]) -> list[Exception | None]:
        """Publish the messages and wait for the broker: None or the error for each, in their order."""


@dataclass(frozen=True, slots=True)
class _Page:
    """What one pass sends: the messages appended, and those that the marks were rendered to."""

    appended: Sequence[Appended]
    marks: Sequence[Mark]
    rendered: Sequence[OutboxMessage]

    @property
    def messages(self) -> list[OutboxMessage]:
        return [*(row.message for row in self.appended), *self.rendered]


class Relay(Rounds):
    """Publishes what a service's outbox holds, until it is stopped.

    Any number may run; the one that holds the service's advisory lock publishes and the others wait for it to go away.
    What this process commits is handed to it while it does; the rest it finds by looking. A message is deleted after
    the broker has it, so a relay that dies in between leaves it to be published again. Patient marks are published on
    another connection beside everything else, which does not wait for them; but of a lane only one is under way at a
    time, so that a topic ends with its newest state.
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
        self.handover: HandOver | None = None
        self._database = database
        self._store = RelayStore(tables)
        self._service = tables.service
        self._channel = tables.outbox_channel
        self._producer = producer
        self._renderers = dict(renderers)
        self._poll_seconds = poll_seconds
        self._drain_seconds = drain_seconds
        self._blocked_lanes: Blocked[Lane] = Blocked(_LANE_BACKOFF)
        self._blocked_topics: Blocked[str] = Blocked(_LANE_BACKOFF)
        self._running: asyncio.Task[None] | None = None
        self._counted_at = float("-inf")
        self._passes_without_look = 0
        self._impatient_at = float("-inf")
        self._patience_over = asyncio.Event()
        self._under_way: frozenset[Lane] = frozenset()
        self._patient_under_way: frozenset[Lane] = frozenset()

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
        self.wake_patient()
        if self._running is None:
            return
        await asyncio.wait([self._running], timeout=self._drain_seconds)
        if not self._running.done():
            _log.warning("relay_drain_unfinished")
            self._running.cancel()
            await asyncio.wait([self._running])

    def wake_patient(self) -> None:
        """Look for patient marks."""
        self._patience_over.set()

    def _wake_all(self) -> None:
        self.wake()
        self.wake_patient()

    async def round(self) -> bool:
        """Stand for election, and lead until the lock is lost."""
        try:
            async with Candidate.standing(self._database, self._channel, self._wake_all, own=self.name) as candidate:
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
        self.handover = HandOver(rows_max=_ROWS_MAX, bytes_max=_BYTES_MAX)
        self._under_way = self._patient_under_way = frozenset()
        try:
            async with self._database.session(Scope.every()) as beside:
                await _all_or_none(self._lead(candidate, self.handover), self._lead_patient(candidate, beside))
        finally:
            self.handover = None

    async def _lead(self, candidate: Candidate, handover: HandOver) -> None:
        while not candidate.lost:
            self.woken.clear()
            began = time.monotonic()
            gather_seconds = await self._pass(candidate, handover)
            if gather_seconds is not None:
                await self.pause(began + gather_seconds - time.monotonic())
            elif self.is_stopping:
                return
            else:
                await self._wait(began, self.woken)

    async def _lead_patient(self, candidate: Candidate, session: Session) -> None:
        published: list[Mark] = []
        while not candidate.lost:
            self._patience_over.clear()
            began = time.monotonic()
            gather_seconds = await self._patient_pass(candidate, session.statements(), published)
            if gather_seconds is not None:
                await self.pause(began + gather_seconds - time.monotonic())
            elif self.is_stopping:
                return
            else:
                await self._wait(began, self._patience_over)

    async def _wait(self, began: float, woken: asyncio.Event) -> None:
        """Until there is something to do after a pass that began then; what was blocked then may be free by now."""
        now = time.monotonic()
        pauses = [self._blocked_lanes.seconds_to_next(began), self._blocked_topics.seconds_to_next(began)]
        left = [max(0.0, pause - (now - began)) for pause in pauses if pause is not None]
        timeout_seconds = min([self._poll_seconds, *left])
        if len(self._blocked_lanes.blocked(now)) >= _BLOCKED_LANES_MAX:
            # The broker is away: nothing new is to be tried before something that failed is.
            await self.pause(timeout_seconds)
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_seconds):
                await woken.wait()

    async def _pass(self, candidate: Candidate, handover: HandOver) -> float | None:
        """Publish what was handed over, or else what a look finds.

        How many seconds after this pass began the next comes at the earliest; None if there is nothing more to do.
        """
        started = time.monotonic()
        blocked_lanes = self._blocked_lanes.blocked(started)
        if len(blocked_lanes) >= _BLOCKED_LANES_MAX:
            return None
        blocked_topics = self._blocked_topics.blocked(started)
        topics = [topic for topic in self._renderers if topic not in blocked_topics]
        statements = candidate.session.statements()
        async with asyncio.timeout(_ANSWER_SECONDS_MAX):
            if handover.is_empty or self._passes_without_look >= _PASSES_WITHOUT_LOOK_MAX:
                self._passes_without_look = 0
                rows, marks = await self._look(statements, handover, topics, blocked_lanes)
            else:
                self._passes_without_look += 1
                self._impatient_at = time.monotonic()
                rows, marks = handover.take(topics, [*blocked_lanes, *self._patient_under_way])
                self._under_way = frozenset(mark.lane for mark in marks)
            page = await self._rendered(statements, rows, marks)
        metrics.OUTBOX_LAG_SECONDS.labels(self._service).set(rows[0].age_seconds if rows else 0)
        if not page.appended and not page.marks:
            # Without a look nobody knows what else there is.
            return None if handover.is_empty and not self._passes_without_look else 0.0
        progress = await self._publish(candidate, page.messages)
        published, settled = self._settle(page, progress)
        handover.settle(published, settled, progress.stuck)
        self._under_way = frozenset()
        metrics.OUTBOX_PASS_SECONDS.labels(self._service).observe(time.monotonic() - started)
        return min(len(page.messages) * _GATHER_SECONDS_A_MESSAGE, _GATHER_SECONDS_MAX)

    async def _patient_pass(self, candidate: Candidate, statements: Statements, published: list[Mark]) -> float | None:
        """Publish some patient marks, and delete those published before. What it returns is as of the other passes."""
        started = time.monotonic()
        blocked_topics, blocked_lanes = self._blocked_topics.blocked(started), self._blocked_lanes.blocked(started)
        is_beside = started - self._impatient_at < _BESIDE_SECONDS
        async with asyncio.timeout(_ANSWER_SECONDS_MAX):
            found = await self._store.look_patient(
                statements,
                published_marks=published,
                topics=[topic for topic in self._renderers if topic not in blocked_topics],
                blocked=blocked_lanes,
                marks_max=_PATIENT_BESIDE_MAX if is_beside else _ROWS_MAX,
            )
        published.clear()
        if not found:
            return None
        marks = [mark for mark in found if mark.lane not in self._under_way]
        self._patient_under_way = frozenset(mark.lane for mark in marks)
        async with asyncio.timeout(_ANSWER_SECONDS_MAX):
            page = await self._rendered(statements, (), marks)
        progress = await self._publish(candidate, page.messages)
        published.extend(self._settle(page, progress)[1])
        self._patient_under_way = frozenset()
        # What was marked without patience meanwhile has waited for these.
        self.woken.set()
        return 2 * (time.monotonic() - started) if is_beside else _GATHER_SECONDS_MAX

    async def _look(
        self, statements: Statements, handover: HandOver, topics: Collection[str], blocked: Collection[Lane]
    ) -> tuple[list[Appended], list[Mark]]:
        """What is unsent in the outbox, once what was published is deleted from it."""
        rows, marks = await self._store.look(
            statements,
            published=handover.published,
            published_marks=handover.published_marks,
            topics=topics,
            blocked=blocked,
            rows_max=_ROWS_MAX,
            marks_max=_ROWS_MAX,
            bytes_max=_BYTES_MAX,
        )
        if rows or marks:
            self._impatient_at = time.monotonic()
        marks = [mark for mark in marks if mark.lane not in self._patient_under_way]
        self._under_way = frozenset(mark.lane for mark in marks)
        handover.looked(rows, marks)
        now = time.monotonic()
        if now - self._counted_at > _COUNT_SECONDS:
            waiting_messages, waiting_marks = await self._store.waiting(statements, rows_max=_COUNT_MAX)
            metrics.OUTBOX_ROWS.labels(self._service, "appended").set(waiting_messages)
            metrics.OUTBOX_ROWS.labels(self._service, "marked").set(waiting_marks)
            self._counted_at = now
        return rows, marks

    async def _rendered(self, statements: Statements, rows: Sequence[Appended], marks: Sequence[Mark]) -> _Page:
        """The page to send. The marks of a topic whose renderer fails are left out, and the topic is left alone."""
        rendered: list[OutboxMessage] = []
        failed: set[str] = set()
        for topic in dict.fromkeys(mark.topic for mark in marks):
            subjects = sorted({(mark.tenant_id, mark.subject) for mark in marks if mark.topic == topic})
            try:
                rendered.extend(await self._renderers[topic](statements, subjects))
            except Exception as error:
                if classify(error).passes:
                    raise
                _log.exception("render_failed", topic=topic)
                failed.add(topic)
                self._blocked_topics.fail([topic], time.monotonic(), _chance.random())
            else:
                self._blocked_topics.succeed([topic])
        return _Page(rows, [mark for mark in marks if mark.topic not in failed], rendered)

    async def _publish(self, candidate: Candidate, messages: Sequence[OutboxMessage]) -> Progress[int]:
        """Send in rounds; stops between two when the lock is lost."""
        progress = begin((index, message.lane) for index, message in enumerate(messages))
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

    def _settle(self, page: _Page, progress: Progress[int]) -> tuple[list[int], list[Mark]]:
        """Which appended messages and which marks are published; what failed is left alone for a while."""
        messages, published = page.messages, progress.acknowledged
        unpublished = {message.lane for index, message in enumerate(messages) if index not in published}
        # A failed message that is keyed unlike any mark of its topic might stand for any of them.
        mark_lanes = {mark.lane for mark in page.marks}
        doubtful_topics = {
            message.topic
            for index, message in enumerate(page.rendered, start=len(page.appended))
            if index not in published and message.lane not in mark_lanes
        }
        now = time.monotonic()
        self._blocked_topics.fail(doubtful_topics, now, _chance.random())
        self._blocked_lanes.fail(progress.stuck, now, _chance.random())
        self._blocked_lanes.succeed({messages[index].lane for index in published} - progress.stuck)
        return (
            [row.id for index, row in enumerate(page.appended) if index in published],
            [mark for mark in page.marks if mark.lane not in unpublished and mark.topic not in doubtful_topics],
        )


async def _all_or_none(*works: Coroutine[object, object, None]) -> None:
    """Wait until all of these are done; when one of them fails the others end too."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
