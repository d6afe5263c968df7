"""The rounds of alerts: looking at connections and at the dead letters, so that nobody else has to."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from services.tracking.records.changes import CHANGES_CHANNEL, connection_of
from services.tracking.tell.alerts import service
from services.tracking.tell.alerts.domain import Alert
from services.tracking.tell.alerts.service import Checks
from services.tracking.tell.alerts.store import Watch
from services.tracking.tell.dead_letters.store import DEAD_LETTERS_CHANNEL
from shared.db.database import Database, Scope
from shared.outbox.outbox import Outbox
from shared.telemetry import metrics
from shared.telemetry.logs import get_logger
from shared.worker.rounds import Rounds

_DEAD_LETTERS_POLL_SECONDS: Final = 600.0
"""How old the count in an alert about waiting dead letters may be; the first is published as it comes."""
_log = get_logger(__name__)


class AlertWatcher(Rounds):
    """Looks at a connection when something of it has changed, or when time alone may have changed what is found.

    Each in a short transaction of its own. Any number may run: a connection is looked at by one at a time, and as
    often however many there are.
    """

    def __init__(self, database: Database, outbox: Outbox, checks: Checks, *, look_seconds: int) -> None:
        """`look_seconds`: from one look at a connection to the next, at least."""
        # What another worker would have looked at, and died, is found in the time of a look.
        super().__init__("alerts", every_seconds=float(look_seconds), woken_by=database.channels(CHANGES_CHANNEL))
        self._database = database
        self._outbox = outbox
        self._checks = checks
        self._every = timedelta(seconds=look_seconds)

    async def round(self) -> bool:
        await self.look_due()
        async with self._database.transaction(Scope.every()) as tx:
            self.come_again_at(await service.next_due_at(tx), tx.now)
        return False

    async def look_due(self) -> int:
        """Look at every connection that is due; how many alerts were published. Raises Unavailable."""
        with self.notifications() as payloads:
            changed = None if payloads is None else {connection_of(each) for each in payloads}
            async with self._database.transaction(Scope.every()) as tx:
                due = await service.due(tx, self._checks, changed, interval=self._every)
        published = 0
        for watch in due:
            if self.is_stopping:
                break
            published += await self._look(watch)
        return published

    async def _look(self, watch: Watch) -> int:
        try:
            async with self._database.transaction(Scope.of(watch.tenant_id)) as tx:
                published = await service.look_at(tx, self._outbox, self._checks, watch, every=self._every)
        except Exception:
            # One connection that cannot be looked at must not stop the others; a database that is away does.
            _log.exception("connection_not_looked_at", connection_id=str(watch.connection_id))
            async with self._database.transaction(Scope.of(watch.tenant_id)) as tx:
                await service.put_off(tx, watch, every=self._every)
            return 0
        return _counted(published)


class DeadLettersWatcher(Rounds):
    """Looks at what waits in the dead letters. Any number may run; an alert is published by one of them."""

    def __init__(self, database: Database, outbox: Outbox) -> None:
        super().__init__(
            "dead_letter_alerts",
            every_seconds=_DEAD_LETTERS_POLL_SECONDS,
            woken_by=database.channels(DEAD_LETTERS_CHANNEL),
        )
        self._database = database
        self._outbox = outbox

    async def round(self) -> bool:
        await self.look()
        return False

    async def look(self) -> int:
        """Look at what waits in the dead letters of every tenant; how many alerts it published. Raises Unavailable."""
        async with self._database.transaction(Scope.every()) as tx:
            waiting = await service.dead_letters_to_look_at(tx)
        published = 0
        for tenant_id, topics in sorted(waiting.items()):
            async with self._database.transaction(Scope.of(tenant_id)) as tx:
                alerts = await service.look_at_dead_letters(tx, self._outbox, tenant_id, topics)
            published += _counted(alerts)
        return published


def _counted(published: Sequence[Alert]) -> int:
    for alert in published:
        metrics.ALERTS_PUBLISHED.labels(alert.effect, alert.severity.value).inc()
        _log.info(
            "alert_published",
            alert_id=str(alert.id),
            effect=alert.effect,
            severity=alert.severity.value,
            check=alert.check,
            subject_id=str(alert.subject_id),
        )
    return len(published)
