"""Every sender the process may meet, in memory, so that an unknown one costs no more than a known one."""

import asyncio
from typing import Final
from uuid import UUID

from services.tracking.crm.domain import Sender
from services.tracking.crm.service import CHANNEL, Connections
from shared.db.database import Database, Scope
from shared.kernel.errors import AttainError, Unavailable
from shared.telemetry.logs import get_logger

_RELOAD_SECONDS: Final = 30.0
_log = get_logger(__name__)


class SenderDirectory:
    """Follows the connections: reloaded when one changes, and every half minute in case that went unheard."""

    def __init__(self, database: Database, connections: Connections) -> None:
        self._database = database
        self._connections = connections
        # By the text of the id, as it stands in the path of a request: hashing a UUID costs more.
        self._senders: dict[str, Sender] = {}
        self._loaded = False

    def find(self, connection_id: str) -> Sender | None:
        """The sender of an active connection, by the canonical text of its id."""
        return self._senders.get(connection_id)

    def put(self, sender: Sender) -> None:
        """Know of a sender at once, ahead of the next reload."""
        self._senders[str(sender.connection_id)] = sender

    def forget(self, connection_id: UUID) -> None:
        """Take nothing more from a sender, ahead of the next reload."""
        self._senders.pop(str(connection_id), None)

    async def load(self) -> None:
        """Read all connections. Raises DatabaseUnavailable."""
        async with self._database.transaction(Scope.every()) as tx:
            senders = await self._connections.senders(tx)
        self._senders = {str(sender.connection_id): sender for sender in senders}
        self._loaded = True

    async def ready(self) -> None:
        """Raises Unavailable before the first load."""
        if not self._loaded:
            raise Unavailable("The connections are not loaded yet.")

    async def run(self) -> None:
        """Keep up until cancelled."""
        async with self._database.listen(CHANNEL) as notifications:
            while True:
                try:
                    await self.load()
                except AttainError as error:
                    _log.warning("connections_not_loaded", code=error.code)
                    await asyncio.sleep(1)
                    continue
                await notifications.wait(_RELOAD_SECONDS)
