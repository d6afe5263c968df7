"""The Kafka edge of progress: deals, activities and definitions in."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Final, TypeVar

from services.tracking.measure.progress.definitions import UnusableDefinition, check_usable
from services.tracking.measure.progress.service import ProgressTracker
from services.tracking.measure.progress.tables import ACTIVITIES_STRIPE
from services.tracking.measure.progress.work import Rebuilder
from shared.contracts import goals, org
from shared.contracts.activities import Activity
from shared.contracts.base import Event
from shared.contracts.deals import Deal
from shared.db.database import Scope, TenantLock, Transaction
from shared.kafka.domain import Batch, Poison
from shared.kafka.events import events_of, tenants_of
from shared.telemetry import metrics

PROGRESS_GROUP: Final = "attain.tracking.progress"
ACTIVITIES_GROUP: Final = "attain.tracking.activities"
DEFINITIONS_GROUP: Final = "attain.tracking.definitions"
DEFINITIONS_TOPICS: Final = (org.TOPIC, goals.TOPIC)

# A batch is decoded in pieces, each while Postgres is busy with the one before.
_PIECE_RECORDS: Final = 500
_UNUSABLE: Final = "unusable_definition"

EventT = TypeVar("EventT", bound=Event)


class DealsHandler:
    """Batches of `attain.deals.v1`: stored, and applied to the goals."""

    def __init__(self, tracker: ProgressTracker) -> None:
        self._tracker = tracker

    def scope(self, batch: Batch) -> Scope:
        """The tenants in the records' headers, beside other batches. Raises Poison."""
        return Scope.of(*tenants_of(batch), lock=TenantLock.SHARED)

    async def apply(self, tx: Transaction, batch: Batch) -> None:
        """Apply the deals; once that is committed, observe how long each change was under way. Raises Poison."""
        # All partitions of the batch are this consumer's, so nobody else writes the stripe of any of them.
        stripe = min(record.partition for record in batch)
        accepted = await self._tracker.apply(tx, tenants_of(batch), _pieces(batch, Deal), stripe=stripe)
        tx.after_commit(lambda: _observe(accepted))


class ActivitiesHandler:
    """Batches of `attain.activities.v1`: stored, and applied to the goals."""

    def __init__(self, tracker: ProgressTracker) -> None:
        self._tracker = tracker

    def scope(self, batch: Batch) -> Scope:
        """The tenants in the records' headers, beside other batches. Raises Poison."""
        return Scope.of(*tenants_of(batch), lock=TenantLock.SHARED)

    async def apply(self, tx: Transaction, batch: Batch) -> None:
        """Apply the activities; once that is committed, observe how long each change was under way. Raises Poison."""
        stripe = ACTIVITIES_STRIPE + min(record.partition for record in batch)
        pieces = _pieces(batch, Activity)
        accepted = await self._tracker.apply_activities(tx, tenants_of(batch), pieces, stripe=stripe)
        tx.after_commit(lambda: _observe(accepted))


class DefinitionsHandler:
    """Batches of `attain.org.v1` and `attain.goals.v1`: stored, with the goals they change marked stale."""

    def __init__(self, tracker: ProgressTracker, rebuilder: Rebuilder) -> None:
        self._tracker = tracker
        self._rebuilder = rebuilder

    def scope(self, batch: Batch) -> Scope:
        """The tenants in the records' headers, alone. Raises Poison."""
        return Scope.of(*tenants_of(batch), lock=TenantLock.EXCLUSIVE)

    async def apply(self, tx: Transaction, batch: Batch) -> None:
        """Store the definitions; once that is committed, wake the rebuilder. Raises Poison."""
        events: list[Event] = []
        for record, event in events_of(batch):
            try:
                check_usable(event)
            except UnusableDefinition as error:
                raise Poison(record, error.detail, reason=_UNUSABLE) from None
            events.append(event)
        await self._tracker.define(tx, events)
        tx.after_commit(self._rebuilder.wake)


def _pieces(batch: Batch, event_type: type[EventT]) -> Iterator[list[EventT]]:
    """The events of one type in the batch, decoded piece by piece as they are taken. Raises Poison."""
    for first in range(0, len(batch), _PIECE_RECORDS):
        decoded = events_of(batch[first : first + _PIECE_RECORDS])
        yield [event for _, event in decoded if isinstance(event, event_type)]


def _observe(accepted: Sequence[datetime]) -> None:
    now = datetime.now(UTC)
    for received_at in accepted:
        metrics.WEBHOOK_TO_PROGRESS_SECONDS.observe(max(0.0, (now - received_at).total_seconds()))
