"""The rounds of earnings: working stale assignments out."""

import time
from typing import Final
from uuid import UUID

from services.incentives.earnings.service import Earnings
from services.incentives.plans.service import STALE_CHANNEL, Plans
from shared.db.database import Database, Scope
from shared.kernel.errors import Unavailable
from shared.telemetry.logs import get_logger
from shared.telemetry.metrics import EARNINGS_REBUILD_SECONDS
from shared.worker.rounds import Rounds

_log = get_logger(__name__)
_POLL_SECONDS: Final = 5.0


class Rebuilder(Rounds):
    """Rebuilds whenever something is marked stale; any number may run. What a killed one leaves is still marked."""

    def __init__(self, database: Database, plans: Plans, earnings: Earnings) -> None:
        super().__init__("rebuilder", every_seconds=_POLL_SECONDS, woken_by=database.channels(STALE_CHANNEL))
        self._database = database
        self._plans = plans
        self._earnings = earnings

    async def round(self) -> bool:
        await self.rebuild_all()
        return False

    async def rebuild_all(self) -> None:
        """Rebuild every stale assignment of every tenant. Raises Unavailable.

        A tenant whose assignments cannot be worked out is logged and left until the next time; the others go on.
        """
        for tenant_id in await self._database.run(Scope.every(), self._plans.stale_tenants):
            try:
                while not self.is_stopping and await self._chunk(tenant_id):
                    pass
            except Unavailable:
                raise
            except Exception:
                _log.exception("rebuild_failed", tenant_id=str(tenant_id))

    async def _chunk(self, tenant_id: UUID) -> int:
        started = time.perf_counter()
        rebuilt = await self._database.run(Scope.of(tenant_id), lambda tx: self._earnings.rebuild(tx, tenant_id))
        if rebuilt:
            EARNINGS_REBUILD_SECONDS.observe(time.perf_counter() - started)
        return rebuilt
