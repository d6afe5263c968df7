"""Publishing what deliveries say: counted in the transaction that publishes it where that can be, and in order.

A counter is handed in, as counting is no concern of the intake. What it does not count is counted when its topic brings
it; what fails because of it is done again without it.
"""

from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import NamedTuple, Protocol, TypeVar
from uuid import UUID

from services.tracking.records.domain.snapshots import NOTHING_SUPERSEDED, CountedLater, Superseded
from services.tracking.records.service import ACTIVITIES, DEALS
from shared.contracts.activities import Activity
from shared.contracts.deals import Deal
from shared.contracts.envelope import to_record_message
from shared.db.database import Database, Scope, Transaction
from shared.kernel.errors import Unavailable
from shared.outbox.outbox import Outbox
from shared.telemetry.logs import get_logger

T = TypeVar("T")
_log = get_logger(__name__)


class Counter(Protocol):
    """Records versions and moves the goals they change, in a transaction that publishes them afterwards."""

    async def count(self, tx: Transaction, deals: Sequence[Deal], activities: Sequence[Activity]) -> Superseded:
        """Count those that can be counted without waiting for what takes long; which of them are not the newest.

        Raises CountedLater.
        """

    def leaves(self, tenant_ids: Collection[UUID]) -> bool:
        """Whether it would not count records of one of these tenants here and now."""


class Stated(NamedTuple):
    """What a delivery states of a record, and the W3C trace context it came with."""

    event: Deal | Activity
    traceparent: str | None


class Publisher:
    """Publishes versions of deals and activities."""

    def __init__(self, outbox: Outbox, counter: Counter | None = None) -> None:
        """Without a counter everything is counted when its topic brings it."""
        self._outbox = outbox
        self._counter = counter

    def leaves(self, tenant_ids: Collection[UUID]) -> bool:
        """Whether what one of these tenants publishes would not be counted with it here and now."""
        return self._counter is not None and self._counter.leaves(tenant_ids)

    async def publish(self, tx: Transaction, stated: Sequence[Stated]) -> None:
        """Publish these versions, in this order within a record.

        What is counted is recorded before it is published, so who records a record's version first publishes it first:
        a topic ends with the newest version, or with that published again. Raises CountedLater.
        """
        if not stated:
            return
        superseded = NOTHING_SUPERSEDED
        if self._counter is not None:
            deals = [event for event, _ in stated if isinstance(event, Deal)]
            activities = [event for event, _ in stated if isinstance(event, Activity)]
            superseded = await self._counter.count(tx, deals, activities)
        messages = [
            to_record_message(event, event_id=tx.new_id(), time=tx.now, traceparent=traceparent)
            for event, traceparent in stated
        ]
        await self._outbox.append(tx, messages)
        if superseded.deals:
            await DEALS.publish_again(tx, self._outbox, superseded.deals)
        if superseded.activities:
            await ACTIVITIES.publish_again(tx, self._outbox, superseded.activities)

    async def run(
        self, database: Database, scope: Scope, work: Callable[[Transaction, "Publisher"], Awaitable[T]]
    ) -> T:
        """Do idempotent work that publishes, as `Database.run` does; without counting if it fails with it."""
        try:
            return await database.run(scope, lambda tx: work(tx, self))
        except Unavailable:
            raise
        except Exception as error:
            if self._counter is None:
                raise
            if not isinstance(error, CountedLater):
                # Whatever is wrong with counting it, that is no reason not to publish it.
                _log.exception("records_not_counted_at_once")
            alone = Publisher(self._outbox)
            return await database.run(scope, lambda tx: work(tx, alone))
