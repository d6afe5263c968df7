"""The round of actuals: having published what changed."""

from typing import Final

from services.tracking.measure.actuals import service
from shared.db.database import Database, Scope
from shared.outbox.outbox import Outbox
from shared.worker.rounds import Rounds

_EVERY_SECONDS: Final = 2.0
_CHUNK: Final = 1000


class ActualsPublisher(Rounds):
    """Has the months that changed published, each once a round however often it changed.

    What counts deals only notes that a month has changed: who plans needs no number within the second, and whoever
    counts is spared a statement. Any number may run.
    """

    def __init__(self, database: Database, outbox: Outbox) -> None:
        super().__init__("actuals_publisher", every_seconds=_EVERY_SECONDS)
        self._database = database
        self._outbox = outbox

    async def round(self) -> bool:
        taken = await self._database.run(Scope.every(), lambda tx: service.mark_due(tx, self._outbox, limit=_CHUNK))
        return taken == _CHUNK
