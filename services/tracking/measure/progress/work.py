"""The rounds of progress: bringing stale goals, and actuals that are to be counted anew, up to date."""

from time import perf_counter
from typing import Final
from uuid import UUID

from services.tracking.measure.actuals import service as actuals
from services.tracking.measure.progress import store
from services.tracking.measure.progress.service import ProgressTracker
from shared.db.database import Database, Scope
from shared.kernel.errors import Unavailable
from shared.telemetry import metrics
from shared.telemetry.logs import get_logger
from shared.worker.rounds import Rounds

_log = get_logger(__name__)
_CHUNKS_A_LOOK: Final = 20
"""Of each tenant, until the stale goals of all are counted again, which costs as much as there are."""


class Rebuilder(Rounds):
    """Brings stale goals and outdated actuals up to date, a chunk a transaction; a worker component.

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
        """Rebuild what is stale, a chunk of each tenant in turn. Raises Unavailable.

        A tenant whose goals cannot be rebuilt is logged and left until the next time; it does not hold up the others.
        """
        failed: set[UUID] = set()
        while not self.is_stopping:
            async with self._database.transaction(Scope.every()) as tx:
                waiting = await store.stale_tenants(tx)
                outdated = await actuals.outdated_tenants(tx)
            metrics.PROGRESS_STALE_GOALS.set(sum(waiting.values()))
            tenant_ids = sorted({*waiting, *outdated} - failed)
            if not tenant_ids:
                return
            for _ in range(_CHUNKS_A_LOOK):
                for tenant_id in tuple(tenant_ids):
                    try:
                        rebuilt = await self._rebuild_chunk(tenant_id)
                    except Unavailable:
                        raise
                    except Exception:
                        _log.exception("rebuild_failed", tenant_id=str(tenant_id))
                        failed.add(tenant_id)
                        rebuilt = 0
                    if not rebuilt:
                        tenant_ids.remove(tenant_id)
                if not tenant_ids or self.is_stopping:
                    break

    async def _rebuild_chunk(self, tenant_id: UUID) -> int:
        started = perf_counter()
        rebuilt = await self._database.run(Scope.of(tenant_id), lambda tx: self._tracker.rebuild(tx, tenant_id))
        seconds = perf_counter() - started
        metrics.PROGRESS_REBUILD_SECONDS.observe(seconds)
        # Meanwhile the tenant's records have their turn.
        await self.pause(seconds)
        return rebuilt
