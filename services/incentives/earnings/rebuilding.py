"""The worker's component that works stale assignments out."""

import asyncio
import time
from typing import Final
from uuid import UUID

from services.incentives.earnings import service
from services.incentives.plans import service as plans
from services.incentives.publishing import STALE_CHANNEL
from shared.db.database import Database, Scope
from shared.kernel.errors import Unavailable
from shared.telemetry.logs import get_logger
from shared.telemetry.metrics import EARNINGS_REBUILD_SECONDS

_log = get_logger(__name__)
_POLL_SECONDS: Final = 5.0
_AGAIN_SECONDS: Final = 1.0


class Rebuilder:
    """Runs until stopped; any number may run. What a killed one leaves is still marked for the next."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Rebuild whenever something is marked stale, and look every few seconds whether something was missed."""
        async with self._database.listen(STALE_CHANNEL) as notifications:
            while not self._stopping.is_set():
                try:
                    await self.rebuild_all()
                except Unavailable as error:
                    _log.warning("rebuild_interrupted", reason=error.detail)
                    await self._rest(_AGAIN_SECONDS)
                    continue
                waiting = asyncio.ensure_future(notifications.wait(_POLL_SECONDS))
                stopping = asyncio.ensure_future(self._stopping.wait())
                await asyncio.wait([waiting, stopping], return_when=asyncio.FIRST_COMPLETED)
                waiting.cancel()
                stopping.cancel()

    async def stop(self) -> None:
        """Finish the chunk in hand."""
        self._stopping.set()

    async def rebuild_all(self) -> None:
        """Rebuild every stale assignment of every tenant. Raises Unavailable."""
        tenants = await self._database.run(Scope.every(), plans.stale_tenants)
        for tenant_id in tenants:
            while not self._stopping.is_set() and await self._chunk(tenant_id):
                pass

    async def _chunk(self, tenant_id: UUID) -> int:
        started = time.perf_counter()
        rebuilt = await self._database.run(Scope.of(tenant_id), lambda tx: service.rebuild(tx, tenant_id))
        if rebuilt:
            EARNINGS_REBUILD_SECONDS.observe(time.perf_counter() - started)
        return rebuilt

    async def _rest(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            return
