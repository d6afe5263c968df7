"""The rounds of progress: bringing stale goals up to date, and counting early what comes alone."""

from collections.abc import Sequence
from datetime import UTC, datetime
from time import perf_counter
from typing import Final
from uuid import UUID

from services.tracking.measure.progress import store
from services.tracking.measure.progress.service import ProgressTracker
from services.tracking.measure.progress.tables import EARLY_STRIPE
from shared.contracts import activities, deals
from shared.contracts.activities import Activity
from shared.contracts.deals import Deal
from shared.contracts.envelope import from_record
from shared.db.database import Database, Scope, TenantLock
from shared.kernel.errors import Unavailable
from shared.outbox.message import OutboxMessage
from shared.telemetry import metrics
from shared.telemetry.logs import get_logger
from shared.worker.rounds import Rounds

_EARLY_TOPICS: Final = frozenset({deals.TOPIC, activities.TOPIC})
_EARLY_RECORDS_MAX: Final = 100
_log = get_logger(__name__)


class Rebuilder(Rounds):
    """Brings stale goals up to date, a chunk a transaction; a worker component.

    Which goals are stale is stored, so what one process leaves undone another does. Any number may run.
    """

    def __init__(self, database: Database, tracker: ProgressTracker, *, poll_seconds: float = 5.0) -> None:
        """Without being woken it looks every `poll_seconds`."""
        super().__init__("rebuilder", every_seconds=poll_seconds)
        self._database = database
        self._tracker = tracker

    async def round(self) -> bool:
        await self.rebuild_all()
        return False

    async def rebuild_all(self) -> None:
        """Rebuild what is stale now, a chunk of each tenant in turn. Raises Unavailable.

        A tenant whose goals cannot be rebuilt is logged and left until the next time; it does not hold up the others.
        """
        failed: set[UUID] = set()
        while not self.is_stopping:
            async with self._database.transaction(Scope.every()) as tx:
                waiting = await store.stale_tenants(tx)
            metrics.PROGRESS_STALE_GOALS.set(sum(waiting.values()))
            tenant_ids = [tenant_id for tenant_id in waiting if tenant_id not in failed]
            if not tenant_ids:
                return
            for tenant_id in tenant_ids:
                try:
                    await self._rebuild_chunk(tenant_id)
                except Unavailable:
                    raise
                except Exception:
                    _log.exception("rebuild_failed", tenant_id=str(tenant_id))
                    failed.add(tenant_id)

    async def _rebuild_chunk(self, tenant_id: UUID) -> None:
        started = perf_counter()
        scope = Scope.of(tenant_id, lock=TenantLock.EXCLUSIVE)
        await self._database.run(scope, lambda tx: self._tracker.rebuild(tx, tenant_id))
        metrics.PROGRESS_REBUILD_SECONDS.observe(perf_counter() - started)


class EarlyCounter(Rounds):
    """Counts records that this process has just translated, before their topics bring them.

    The topics' consumers find them counted then. What is not counted here, because something is in the way or too much
    comes, they count.
    """

    def __init__(self, database: Database, tracker: ProgressTracker) -> None:
        super().__init__("early_counter", every_seconds=None)
        self._database = database
        self._tracker = tracker
        self._waiting: list[OutboxMessage] = []

    def offer(self, messages: Sequence[OutboxMessage]) -> None:
        """Count soon the records among these, which are committed to the outbox."""
        records = [message for message in messages if message.topic in _EARLY_TOPICS]
        if records and len(self._waiting) + len(records) <= _EARLY_RECORDS_MAX:
            self._waiting.extend(records)
            self.wake()

    async def round(self) -> bool:
        messages, self._waiting = self._waiting, []
        if messages:
            # Read as from the topic: nothing may depend on which way a record came.
            events = [from_record(dict(message.headers), message.value) for message in messages]
            deals = [event for event in events if isinstance(event, Deal)]
            activities = [event for event in events if isinstance(event, Activity)]
            tenant_ids = {message.tenant_id for message in messages}
            async with self._database.transaction(Scope.of(*tenant_ids, lock=TenantLock.SHARED)) as tx:
                accepted = await self._tracker.apply(tx, tenant_ids, [deals], stripe=EARLY_STRIPE)
                accepted += await self._tracker.apply_activities(tx, tenant_ids, [activities], stripe=EARLY_STRIPE)
            observe(accepted)
        return False


def observe(accepted: Sequence[datetime]) -> None:
    """Observe how long changes were under way whose deliveries were accepted then."""
    now = datetime.now(UTC)
    for received_at in accepted:
        metrics.WEBHOOK_TO_PROGRESS_SECONDS.observe(max(0.0, (now - received_at).total_seconds()))
