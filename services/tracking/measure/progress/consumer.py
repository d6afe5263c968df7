"""The Kafka edge of progress: deals, activities and definitions in."""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Final, NamedTuple, TypeVar

from services.tracking.measure.progress.counting import observe
from services.tracking.measure.progress.definitions import UnusableDefinition, check_usable
from services.tracking.measure.progress.service import ProgressTracker
from services.tracking.measure.progress.tables import ACTIVITIES_STRIPE
from services.tracking.measure.progress.work import Rebuilder
from services.tracking.records.service import ACTIVITIES, DEALS
from shared.contracts import goals, org
from shared.contracts.activities import Activity
from shared.contracts.base import Event
from shared.contracts.deals import Deal
from shared.db.database import Scope, TenantLock, Transaction
from shared.kafka.domain import Batch, Poison
from shared.kafka.events import NamedVersion, events_of, tenants_of, version_of
from shared.worker.turns import Turns

PROGRESS_GROUP: Final = "attain.tracking.progress"
ACTIVITIES_GROUP: Final = "attain.tracking.activities"
DEFINITIONS_GROUP: Final = "attain.tracking.definitions"
DEFINITIONS_TOPICS: Final = (org.TOPIC, goals.TOPIC)
DEFINITIONS_MAX: Final = 100
"""A batch of definitions has its tenants alone for as long as it takes: their deals wait for so many at most."""

# A batch is decoded in pieces, each while Postgres is busy with the one before.
_PIECE_RECORDS: Final = 500
_UNUSABLE: Final = "unusable_definition"

EventT = TypeVar("EventT", bound=Event)


class DealsHandler:
    """Batches of `attain.deals.v1`: what was not counted as it was published is stored, and applied to the goals."""

    def __init__(self, tracker: ProgressTracker) -> None:
        self._tracker = tracker

    def scope(self, batch: Batch) -> Scope:
        """The tenants in the records' headers, beside other batches. Raises Poison."""
        return Scope.of(*tenants_of(batch), lock=TenantLock.SHARED)

    async def apply(self, tx: Transaction, batch: Batch) -> None:
        """Apply the deals; once that is committed, observe how long each change was under way. Raises Poison."""
        left = await _left(tx, batch, DEALS.unrecorded)
        if left.records:
            # All partitions of the batch are this consumer's, so nobody else writes the stripe of any of them.
            stripe = min(record.partition for record in batch)
            accepted = await self._tracker.apply(
                tx,
                tenants_of(left.records),
                _pieces(left.records, Deal),
                stripe=stripe,
                published_beside=left.published_beside,
            )
            tx.after_commit(lambda: observe(accepted))


class ActivitiesHandler:
    """Batches of `attain.activities.v1`: the same for activities."""

    def __init__(self, tracker: ProgressTracker) -> None:
        self._tracker = tracker

    def scope(self, batch: Batch) -> Scope:
        """The tenants in the records' headers, beside other batches. Raises Poison."""
        return Scope.of(*tenants_of(batch), lock=TenantLock.SHARED)

    async def apply(self, tx: Transaction, batch: Batch) -> None:
        """Apply the activities; once that is committed, observe how long each change was under way. Raises Poison."""
        left = await _left(tx, batch, ACTIVITIES.unrecorded)
        if left.records:
            accepted = await self._tracker.apply_activities(
                tx,
                tenants_of(left.records),
                _pieces(left.records, Activity),
                stripe=ACTIVITIES_STRIPE + min(record.partition for record in batch),
                published_beside=left.published_beside,
            )
            tx.after_commit(lambda: observe(accepted))


class DefinitionsHandler:
    """Batches of `attain.org.v1` and `attain.goals.v1`: stored, with new goals counted and changed ones marked stale.

    Their tenants are locked once they are decoded and stored.
    """

    def __init__(self, tracker: ProgressTracker, rebuilder: Rebuilder) -> None:
        self._tracker = tracker
        self._rebuilder = rebuilder

    def scope(self, batch: Batch) -> Scope:
        """The tenants in the records' headers. Raises Poison."""
        return Scope.of(*tenants_of(batch))

    async def apply(self, tx: Transaction, batch: Batch) -> None:
        """Store the definitions; once that is committed, wake the rebuilder. Raises Poison."""
        events: list[Event] = []
        turns = Turns()
        for record, event in events_of(batch):
            try:
                check_usable(event)
            except UnusableDefinition as error:
                raise Poison(record, error.detail, reason=_UNUSABLE) from None
            events.append(event)
            await turns.give()
        await self._tracker.define(tx, events)
        tx.after_commit(self._rebuilder.wake)


class _Left(NamedTuple):
    """Records that are still to be counted."""

    records: Batch
    published_beside: bool
    """Whether whoever publishes them may count others of the same deals as it does."""


async def _left(
    tx: Transaction,
    batch: Batch,
    unrecorded: Callable[[Transaction, Sequence[NamedVersion]], Awaitable[Sequence[int]]],
) -> _Left:
    """What of the batch was not counted as it was published. Raises Poison.

    The versions that headers name are compared with what is stored, and nothing else of those records is decoded. So
    what was published and then lost with a database that a backup replaced is counted again. A record that names no
    version was published by a release before, which left counting to the topic.
    """
    versions = [version_of(record) for record in batch]
    named = [(place, version) for place, version in enumerate(versions) if version is not None]
    missing = {named[position][0] for position in await unrecorded(tx, [version for _, version in named])}
    records = [
        record
        for place, (record, version) in enumerate(zip(batch, versions, strict=True))
        if version is None or place in missing
    ]
    return _Left(records, bool(missing))


def _pieces(batch: Batch, event_type: type[EventT]) -> Iterator[list[EventT]]:
    """The events of one type in the batch, decoded piece by piece as they are taken. Raises Poison."""
    for first in range(0, len(batch), _PIECE_RECORDS):
        decoded = events_of(batch[first : first + _PIECE_RECORDS])
        yield [event for _, event in decoded if isinstance(event, event_type)]
