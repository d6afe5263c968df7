"""Worker component: looks at every active connection and at the dead letters, so that nobody else has to."""

from datetime import timedelta
from typing import Final

from services.tracking.tell.alerts import service
from services.tracking.tell.alerts.domain import Alert
from services.tracking.tell.alerts.store import Watch
from shared.db.database import Database, Scope
from shared.outbox.outbox import Outbox
from shared.telemetry import metrics
from shared.telemetry.logs import get_logger
from shared.worker.rounds import Rounds

_POLL_SECONDS_MAX: Final = 5.0
_log = get_logger(__name__)


class AlertWatcher(Rounds):
    """Looks at each connection in a short transaction of its own. Any number may run: a connection is looked at by
    one at a time, and as often however many there are.
    """

    def __init__(self, database: Database, outbox: Outbox, *, look_seconds: int) -> None:
        """`look_seconds`: from one look at a connection to the next."""
        super().__init__("alerts", every_seconds=min(float(look_seconds), _POLL_SECONDS_MAX))
        self._database = database
        self._outbox = outbox
        self._every = timedelta(seconds=look_seconds)

    async def round(self) -> bool:
        await self.look_due()
        await self.look_at_dead_letters()
        return False

    async def look_due(self) -> int:
        """Look at every connection that is due; how many alerts were told. Raises Unavailable."""
        async with self._database.transaction(Scope.every()) as tx:
            due = await service.due(tx)
        told = 0
        for watch in due:
            if self.is_stopping:
                break
            told += await self._look(watch)
        return told

    async def look_at_dead_letters(self) -> int:
        """Look at what waits in the dead letters of every tenant; how many alerts were told. Raises Unavailable."""
        async with self._database.transaction(Scope.every()) as tx:
            waiting = await service.dead_letters_to_look_at(tx)
        told: list[Alert] = []
        for tenant_id, topics in sorted(waiting.items()):
            async with self._database.transaction(Scope.of(tenant_id)) as tx:
                told.extend(await service.look_at_dead_letters(tx, self._outbox, tenant_id, topics))
        for alert in told:
            _count(alert)
        return len(told)

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
