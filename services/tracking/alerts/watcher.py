"""Worker component: looks at every active connection again and again, so that nobody else has to."""

import asyncio
from datetime import timedelta
from typing import Final

from services.tracking.alerts import service
from services.tracking.alerts.domain import Alert
from services.tracking.alerts.store import Watch
from shared.db.database import Database, Scope
from shared.kernel.errors import Unavailable
from shared.outbox.outbox import Outbox
from shared.telemetry import metrics
from shared.telemetry.logs import get_logger

_POLL_SECONDS_MAX: Final = 5.0
_log = get_logger(__name__)


class AlertWatcher:
    """Looks at each connection in a short transaction of its own. Any number may run: a connection is looked at by
    one at a time, and as often however many there are.
    """

    def __init__(self, database: Database, outbox: Outbox, *, look_seconds: int) -> None:
        """`look_seconds`: from one look at a connection to the next."""
        self._database = database
        self._outbox = outbox
        self._every = timedelta(seconds=look_seconds)
        self._poll_seconds = min(float(look_seconds), _POLL_SECONDS_MAX)
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Look until `stop`. Waits out a database that is away."""
        while not self._stopping.is_set():
            try:
                await self.look_due()
            except Unavailable as error:
                _log.warning("alerts_interrupted", reason=error.detail)
            try:
                async with asyncio.timeout(self._poll_seconds):
                    await self._stopping.wait()
            except TimeoutError:
                continue

    async def stop(self) -> None:
        """Finish the look under way; `run` returns soon after."""
        self._stopping.set()

    async def look_due(self) -> int:
        """Look at every connection that is due; how many alerts were told. Raises Unavailable."""
        async with self._database.transaction(Scope.every()) as tx:
            due = await service.due(tx)
        told = 0
        for watch in due:
            if self._stopping.is_set():
                break
            told += await self._look(watch)
        return told

    async def _look(self, watch: Watch) -> int:
        try:
            async with self._database.transaction(Scope.of(watch.tenant_id)) as tx:
                told = await service.look_at(tx, self._outbox, watch, every=self._every)
        except Exception:
            # One connection that cannot be looked at must not keep the others from it; a database that is away does.
            _log.exception("connection_not_looked_at", connection_id=str(watch.connection_id))
            async with self._database.transaction(Scope.of(watch.tenant_id)) as tx:
                await service.put_off(tx, watch, every=self._every)
            return 0
        for alert in told:
            _count(alert)
        return len(told)


def _count(alert: Alert) -> None:
    metrics.ALERTS_TOLD.labels(alert.effect, alert.severity.value).inc()
    _log.info(
        "alert_told",
        alert_id=str(alert.id),
        effect=alert.effect,
        severity=alert.severity.value,
        check=alert.check,
        subject_id=str(alert.subject_id),
    )
