"""The rounds of earnings: working stale assignments out, and beginning periods that pay without deals."""

import time
from functools import partial
from typing import Final
from uuid import UUID

from services.incentives.earnings.service import Earnings
from services.incentives.plans.service import STALE_CHANNEL, Plans
from shared.db.database import Database, Scope, Transaction
from shared.kernel.errors import Unavailable
from shared.telemetry.logs import get_logger
from shared.telemetry.metrics import EARNINGS_REBUILD_SECONDS
from shared.worker.rounds import Rounds

_log = get_logger(__name__)
_POLL_SECONDS: Final = 5.0
_BEGIN_SECONDS: Final = 900.0


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

        A tenant whose assignments cannot be worked out is logged and left until the next time, as its re-earnings say;
        the others go on.
        """
        for tenant_id in await self._database.run(Scope.every(), self._plans.stale_tenants):
            try:
                while not self.is_stopping and await self._chunk(tenant_id):
                    pass
            except Unavailable:
                raise
            except Exception as error:
                _log.exception("rebuild_failed", tenant_id=str(tenant_id))
                failed = partial(
                    self._fail, tenant_id=tenant_id, failure=f"Something unforeseen: {type(error).__name__}."
                )
                await self._database.run(Scope.of(tenant_id), failed)

    async def _fail(self, tx: Transaction, *, tenant_id: UUID, failure: str) -> None:
        await self._plans.fail_re_earnings(tx, tenant_id, failure)

    async def _chunk(self, tenant_id: UUID) -> int:
        started = time.perf_counter()
        rebuilt = await self._database.run(Scope.of(tenant_id), lambda tx: self._earnings.rebuild(tx, tenant_id))
        if rebuilt:
            EARNINGS_REBUILD_SECONDS.observe(time.perf_counter() - started)
        return rebuilt


class PeriodBeginnings(Rounds):
    """Looks for periods that have begun and pay without deals; any number may run."""

    def __init__(self, database: Database, plans: Plans, earnings: Earnings) -> None:
        super().__init__("period_beginnings", every_seconds=_BEGIN_SECONDS)
        self._database = database
        self._plans = plans
        self._earnings = earnings

    async def round(self) -> bool:
        await self.begin_all()
        return False

    async def begin_all(self) -> None:
        """Of every tenant. Raises Unavailable. One that cannot be worked out is logged; the others go on."""
        for tenant_id in await self._database.run(Scope.every(), self._plans.tenants):
            try:
                await self._database.run(Scope.of(tenant_id), partial(self._begin, tenant_id=tenant_id))
            except Unavailable:
                raise
            except Exception:
                _log.exception("periods_not_begun", tenant_id=str(tenant_id))

    async def _begin(self, tx: Transaction, *, tenant_id: UUID) -> None:
        await self._earnings.begin_periods(tx, tenant_id)
        await self._plans.tidy_re_earnings(tx, tenant_id)
