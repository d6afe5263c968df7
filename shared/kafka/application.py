"""Applying one batch exactly once: the position, the handler's work and the dead letters in one transaction.

A record is quarantined when the handler says so (Poison), or when it alone, tried apart from its neighbours, again and
again fails in a way that content can cause: a data exception or a broken CHECK of the database, or one of the errors
that Python raises for values. An error that nobody foresaw in a handler is among the latter: one tenant's record that
trips over a fault of ours must not hold up every other tenant, and it waits in the dead letters until the release that
mends the fault. Everything else is waited out, however long it lasts: a database that is away, read-only or full, a
table that is missing, a machine without memory. So is what would quarantine more than the limit. While a batch waits
the consumer is not ready, and says why.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from random import SystemRandom
from typing import Final, NamedTuple, Protocol

import asyncpg
from sqlalchemy import text

from shared.db import failures
from shared.db.database import Database, Scope, Transaction
from shared.kafka.domain import (
    Batch,
    Failure,
    Isolate,
    Partition,
    Poison,
    QuarantineHistory,
    QuarantineLimit,
    Record,
    Refusal,
    Retry,
    Swap,
    after_failure,
    dead_letter_headers,
    halves,
    lost_swaps,
    swaps,
)
from shared.kafka.events import tenant_or_nobody
from shared.kafka.positions import Positions
from shared.kernel.errors import AttainError, Unavailable
from shared.outbox.domain import Backoff
from shared.outbox.message import OutboxMessage
from shared.outbox.outbox import Outbox
from shared.telemetry import metrics, tracing
from shared.telemetry.logs import get_logger

_log = get_logger(__name__)
_chance: Final = SystemRandom()
_SAVEPOINT: Final = text("SAVEPOINT piece")
_ROLL_BACK_TO_SAVEPOINT: Final = text("ROLLBACK TO SAVEPOINT piece")
_RELEASE_SAVEPOINT: Final = text("RELEASE SAVEPOINT piece")
_RAISED_FOR_VALUES: Final = (
    ArithmeticError,
    AssertionError,
    AttainError,
    AttributeError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
)
"""What Python, a decoder or a rule raises for a value; an error of the system beneath is never one of them."""


@dataclass(slots=True)
class Place:
    """The position of a reader in a partition while it alone may read it: one for every time it is assigned."""

    stored: int | None
    """The next offset as last read from or written to Postgres."""
    valid: bool = True
    """False once the partition is revoked or its position was moved by another consumer; never true again."""


class Applied(NamedTuple):
    """What became of a batch."""

    records: int
    """Applied or quarantined, and committed."""
    lost: frozenset[Partition]
    """Partitions whose position another consumer had moved: nothing of them was written."""


class Handler(Protocol):
    """What a room does with the records of its topics."""

    def scope(self, batch: Batch) -> Scope:
        """The tenants the batch touches, and how it locks them: the transaction sees their rows and no others.

        May raise Poison.
        """

    async def apply(self, tx: Transaction, batch: Batch) -> None:
        """Do the batch's work in the transaction given; never commit.

        The batch may be given again, whole or in part, after the transaction was rolled back, so nothing of it may be
        remembered outside the transaction. Raises Poison for a record that can never be applied.
        """


class _SwapLost(Exception):
    def __init__(self, partitions: frozenset[Partition]) -> None:
        super().__init__()
        self.partitions = partitions


class _TooMany(Exception):
    """More of the batch would be quarantined than may be."""


class _Undo(Exception):
    """Rolls back a transaction that was only made to look."""


class BatchApplication:
    """Applies the batches of one consumer group, one at a time."""

    def __init__(
        self,
        *,
        database: Database,
        positions: Positions,
        outbox: Outbox,
        group: str,
        handler: Handler,
        backoff: Backoff,
        quarantine_limit: QuarantineLimit,
    ) -> None:
        self._database = database
        self._positions = positions
        self._outbox = outbox
        self._group = group
        self._handler = handler
        self._backoff = backoff
        self._quarantine_limit = quarantine_limit
        self._history = QuarantineHistory()
        self._waits_because: str | None = None

    @property
    def waits_because(self) -> str | None:
        """Why the batch in hand waits for longer than a moment, if it does."""
        return self._waits_because

    async def apply(
        self, batch: Batch, places: Mapping[Partition, Place], wait: Callable[[Retry], Awaitable[None]]
    ) -> Applied:
        """Apply the batch, however often it takes.

        `places` has the place of every record's partition. Records of a place that is no longer valid are dropped
        before every attempt. Once committed, the places are behind the batch. `wait` is awaited between attempts.
        """
        try:
            return await self._applied(batch, places, wait)
        finally:
            self._wait_because(None)

    async def _applied(
        self, whole: Batch, places: Mapping[Partition, Place], wait: Callable[[Retry], Awaitable[None]]
    ) -> Applied:
        batch = whole
        refusals: list[Refusal] = []
        failed = Counter[Failure]()
        lost: frozenset[Partition] = frozenset()
        while True:
            valid = {partition for partition, place in places.items() if place.valid}
            batch = [each for each in batch if (each.topic, each.partition) in valid]
            refusals = [each for each in refusals if (each.record.topic, each.record.partition) in valid]
            count = len(batch) + len(refusals)
            if not count:
                return Applied(0, lost)
            stored = {partition: place.stored for partition, place in places.items()}
            wanted = swaps(stored, (*(each.record for each in refusals), *batch))
            try:
                with tracing.span(f"consume {self._group}", _traceparent(batch)):
                    await self._attempt(wanted, batch, refusals)
            except _SwapLost as error:
                metrics.CONSUMER_BATCHES_LOST.labels(self._group).inc()
                _log.warning(
                    "position_moved_by_another_consumer", group=self._group, partitions=_named(error.partitions)
                )
                lost |= error.partitions
                for partition in error.partitions:
                    places[partition].valid = False
            except Exception as error:
                try:
                    batch, refusals = await self._after(error, batch, refusals, failed, wait)
                except _TooMany as too_many:
                    self._wait_because(str(too_many))
                    await wait(Retry(self._backoff.longest_seconds, pause=True))
                    batch, refusals = whole, []
            else:
                self._history = self._history.after(self._quarantine_limit, batch_records=count, refused=len(refusals))
                for swap in wanted:
                    places[swap.partition].stored = swap.next_offset
                self._count(batch, refusals)
                return Applied(count, lost)

    async def _after(
        self,
        error: Exception,
        batch: Batch,
        refusals: list[Refusal],
        failed: Counter[Failure],
        wait: Callable[[Retry], Awaitable[None]],
    ) -> tuple[Batch, list[Refusal]]:
        """What to attempt next, once it is time to: the records to apply and those to quarantine. Raises _TooMany."""
        count = len(batch) + len(refusals)
        if isinstance(error, Poison):
            remaining = [record for record in batch if not _same(record, error.record)]
            if len(remaining) < len(batch):
                refusals = [*refusals, Refusal(error.record, error.reason, error.detail)]
                self._check_limit(count, len(refusals))
                return remaining, refusals
        failure = failure_of(error)
        failed[failure] += 1
        attempt = failed[failure]
        step = after_failure(failure, attempt=attempt, chance=_chance.random(), backoff=self._backoff)
        if isinstance(step, Isolate):
            found = await self._find_culprits(batch, already_refused=len(refusals))
            culprits = {(each.record.topic, each.record.partition, each.record.offset) for each in found}
            if culprits:
                failed[failure] = 0
                remaining = [each for each in batch if (each.topic, each.partition, each.offset) not in culprits]
                return remaining, [*refusals, *found]
            step = Retry(self._backoff.longest_seconds, pause=True)
        _log.warning(
            "batch_failed",
            group=self._group,
            failure=failure.value,
            error=_kind_of(error),
            attempt=attempt,
            retry_seconds=round(step.delay_seconds, 3),
        )
        if step.pause:
            self._wait_because(_kind_of(error))
        await wait(step)
        return batch, refusals

    async def _attempt(self, wanted: tuple[Swap, ...], batch: Batch, refusals: list[Refusal]) -> None:
        scope = self._handler.scope(batch) if batch else Scope.of()
        async with self._database.transaction(scope) as tx:
            lost = lost_swaps(wanted, await self._positions.swap(tx, wanted))
            if lost:
                raise _SwapLost(lost)
            if batch:
                await self._handler.apply(tx, batch)
            if refusals:
                await self._outbox.append(tx, [self._dead_letter(refusal) for refusal in refusals])

    async def _find_culprits(self, batch: Batch, *, already_refused: int) -> list[Refusal]:
        """The records that fail on their own by their content, found by halving under savepoints; all of it is rolled
        back.

        What interrupts the search is no record's fault: only what cannot even be read is blamed then. Raises _TooMany.
        """
        culprits: list[Refusal] = []
        readable: list[Record] = []
        for record in batch:
            try:
                self._handler.scope([record])
            except Poison as error:
                culprits.append(Refusal(record, error.reason, error.detail))
            except Exception as error:
                if failure_of(error) is Failure.CONTENT:
                    culprits.append(_failed(record, error))
            else:
                readable.append(record)
        self._check_limit(len(batch) + already_refused, len(culprits) + already_refused)
        if not readable:
            return culprits
        known = len(culprits)
        try:
            async with self._database.transaction(self._handler.scope(readable)) as tx:
                pieces: list[Batch] = [readable]
                while pieces:
                    piece = pieces.pop()
                    refusal = await self._try_piece(tx, piece, pieces)
                    if refusal is not None:
                        culprits.append(refusal)
                        self._check_limit(len(batch) + already_refused, len(culprits) + already_refused)
                raise _Undo
        except _Undo:
            return culprits
        except _TooMany:
            raise
        except Exception as error:
            _log.warning("culprits_not_found", group=self._group, error=_kind_of(error))
            return culprits[:known]

    async def _try_piece(self, tx: Transaction, piece: Batch, pieces: list[Batch]) -> Refusal | None:
        """Apply a piece; if it fails put its halves on `pieces`, the earlier on top, or say what is wrong with it."""
        await tx.execute(_SAVEPOINT)
        try:
            await self._handler.apply(tx, piece)
        except Exception as error:
            if failure_of(error) is not Failure.CONTENT:
                raise
            await tx.execute(_ROLL_BACK_TO_SAVEPOINT)
            if len(piece) > 1:
                pieces.extend(reversed(halves(piece)))
                return None
            if isinstance(error, Poison):
                return Refusal(piece[0], error.reason, error.detail)
            return _failed(piece[0], error)
        await tx.execute(_RELEASE_SAVEPOINT)
        return None

    def _check_limit(self, batch_records: int, refused: int) -> None:
        if self._history.exceeds(self._quarantine_limit, batch_records=batch_records, refused=refused):
            limit = self._quarantine_limit
            raise _TooMany(
                f"more than {limit.share_max:.0%} of the last {limit.window_records} records (and more than"
                f" {limit.count_min}) would be quarantined"
            )

    def _wait_because(self, reason: str | None) -> None:
        if reason is not None and reason != self._waits_because:
            _log.error("consumer_waits", group=self._group, reason=reason)
        self._waits_because = reason
        metrics.CONSUMER_WAITING.labels(self._group).set(reason is not None)

    def _dead_letter(self, refusal: Refusal) -> OutboxMessage:
        record = refusal.record
        return OutboxMessage(
            tenant_id=tenant_or_nobody(record),
            topic=f"{record.topic}.dlq",
            key=record.key.replace("\x00", "�"),
            headers=dead_letter_headers(refusal, self._group),
            value=record.value,
        )

    def _count(self, batch: Batch, refusals: list[Refusal]) -> None:
        for topic, records in Counter(record.topic for record in batch).items():
            metrics.CONSUMER_RECORDS.labels(self._group, topic).inc(records)
        for refusal in refusals:
            record = refusal.record
            metrics.CONSUMER_QUARANTINED.labels(self._group, record.topic, refusal.reason).inc()
            _log.error(
                "record_quarantined",
                group=self._group,
                topic=record.topic,
                partition=record.partition,
                offset=record.offset,
                reason=refusal.reason,
                detail=refusal.detail,
            )


def failure_of(error: Exception) -> Failure:
    """The kind of failure, for an error raised by a transaction's block or by leaving it."""
    cause = error.__cause__ if isinstance(error, failures.DatabaseUnavailable) else error
    kind = failures.Failure.OTHER if cause is None else failures.classify(cause)
    if kind in (failures.Failure.CONFLICT, failures.Failure.STALE_STATEMENT):
        return Failure.CONFLICT
    if kind is failures.Failure.CONTENT:
        return Failure.CONTENT
    if failures.of_database(error) or isinstance(error, Unavailable):
        return Failure.OUTAGE
    return Failure.CONTENT if isinstance(error, _RAISED_FOR_VALUES) else Failure.OUTAGE


def _kind_of(error: Exception) -> str:
    """What failed, without its text: that of an unforeseen error may contain personal data."""
    unavailable = isinstance(error, failures.DatabaseUnavailable)
    cause = failures.driver_error_of(error.__cause__ if unavailable and error.__cause__ is not None else error)
    state = cause.sqlstate if isinstance(cause, asyncpg.PostgresError) else None
    return type(cause).__qualname__ if state is None else f"{type(cause).__qualname__} ({state})"


def _failed(record: Record, error: Exception) -> Refusal:
    return Refusal(record, "failed", f"the handler failed with {_kind_of(error)}")


def _same(one: Record, other: Record) -> bool:
    return (one.offset, one.partition, one.topic) == (other.offset, other.partition, other.topic)


def _named(partitions: Collection[Partition]) -> list[str]:
    return [f"{partition.topic}/{partition.number}" for partition in sorted(partitions)]


def _traceparent(batch: Batch) -> str | None:
    """The trace of the batch's first record; only looked for when traces are on."""
    if not batch or not tracing.enabled():
        return None
    traceparent = batch[0].headers.get("traceparent")
    return None if traceparent is None else traceparent.decode(errors="replace")
