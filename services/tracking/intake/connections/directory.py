"""Every sender the process may meet, in memory, so that an unknown one costs no more than a known one."""

import asyncio
import re
from time import monotonic
from typing import Final
from uuid import UUID

from services.tracking.intake.connections.domain import Connection, ConnectionStatus, Sender
from services.tracking.intake.connections.service import CHANNEL, Connections
from shared.db.database import Database, Scope, Transaction
from shared.kernel.errors import Unavailable
from shared.worker.rounds import Rounds

_CATCH_UP_SECONDS_MIN: Final = 0.25
_CATCH_UP_PAUSES_MIN: Final = 20
_CATCHING_UP_MAX: Final = 200
_ABSENT_MAX: Final = 10_000
_ABSENT_SECONDS: Final = 60.0
_CANONICAL_ID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")


class SendersUnknown(Unavailable):
    """Whether the sender may send is not known for now: send it again in a moment."""

    code = "senders_unknown"
    title = "Senders unknown"


class SenderDirectory(Rounds):
    """Follows the connections: one that changes is read alone; all are at the start, and when any may have changed."""

    def __init__(self, database: Database, connections: Connections) -> None:
        super().__init__("directory", every_seconds=None, woken_by=database.channels(CHANNEL))
        self._database = database
        self._connections = connections
        # By the text of the id, as in the path of a request: hashing a UUID costs more.
        self._senders: dict[str, Sender] = {}
        self._loaded = False
        self._reading = asyncio.Lock()
        # Those that the next reading for deliveries that seem to be nobody's is of.
        self._sought: set[UUID] = set()
        self._catching_up: asyncio.Task[None] | None = None
        self._catch_up_not_before = float("-inf")
        self._waiting = 0
        self._reading_seconds = 0.0
        # Ids that no connection had when they were last looked for, oldest first, and until when that is believed.
        self._absent: dict[str, float] = {}

    def find(self, connection_id: str) -> Sender | None:
        """The sender of an active connection, by the canonical text of its id."""
        return self._senders.get(connection_id)

    def saved(self, tx: Transaction, connection: Connection) -> None:
        """Know of a connection as soon as it is committed; other processes are notified, within milliseconds."""
        if connection.status is ConnectionStatus.ACTIVE:
            sender = self._connections.sender(connection)
            tx.after_commit(lambda: self._put(sender))
        else:
            tx.after_commit(lambda: self._forget(connection.id))

    def _put(self, sender: Sender) -> None:
        self._senders[str(sender.connection_id)] = sender

    def _forget(self, connection_id: UUID) -> None:
        self._senders.pop(str(connection_id), None)

    async def load(self) -> None:
        """Read all connections. Raises DatabaseUnavailable."""
        # One at a time, so that what was read earlier never replaces what was read later.
        async with self._reading:
            async with self._database.transaction(Scope.every()) as tx:
                senders = await self._connections.senders(tx)
            self._senders = {str(sender.connection_id): sender for sender in senders}
            self._loaded = True

    async def _read(self, connection_ids: set[UUID]) -> None:
        """Read these alone."""
        async with self._reading:
            async with self._database.transaction(Scope.every()) as tx:
                senders = await self._connections.senders(tx, connection_ids)
            for connection_id in connection_ids:
                self._forget(connection_id)
            for sender in senders:
                self._put(sender)

    async def catch_up(self, connection_id: str) -> None:
        """Return once the connection has been read after this call: for a delivery that seems to be nobody's.

        Another process may have made a connection or given it a secret which this one has not heard of yet. All who
        ask share the next reading, which is of what they ask for alone; however many ask there are no more than four a
        second, and these take no more than a twentieth of the time. For an id that nobody had a minute ago nothing is
        read, and the wait is as long: a connection that was made since is heard of by its notification, as all are,
        and then found without this. Raises SendersUnknown when too many wait, and DatabaseUnavailable.
        """
        if self._is_absent(connection_id):
            await asyncio.sleep(max(0.0, self._catch_up_not_before - monotonic()) + self._reading_seconds)
            return
        if self._waiting >= _CATCHING_UP_MAX:
            raise SendersUnknown("Too many deliveries wait for the connections to be read.", retry_after_seconds=1)
        self._waiting += 1
        self._sought.add(UUID(connection_id))
        try:
            if self._catching_up is None:
                self._catching_up = asyncio.create_task(self._read_soon())
            await asyncio.shield(self._catching_up)
        finally:
            self._waiting -= 1
        if connection_id not in self._senders:
            self._absent.pop(connection_id, None)
            self._absent[connection_id] = monotonic() + _ABSENT_SECONDS
            while len(self._absent) > _ABSENT_MAX:
                del self._absent[next(iter(self._absent))]

    def _is_absent(self, connection_id: str) -> bool:
        if connection_id in self._senders:
            return False
        return self._absent.get(connection_id, 0.0) > monotonic() or not _CANONICAL_ID.match(connection_id)

    async def _read_soon(self) -> None:
        await asyncio.sleep(max(0.0, self._catch_up_not_before - monotonic()))
        # Callers from now on are not served by this reading.
        self._catching_up = None
        sought, self._sought = self._sought, set()
        began = monotonic()
        self._catch_up_not_before = began + _CATCH_UP_SECONDS_MIN
        await self._read(sought)
        self._reading_seconds = monotonic() - began
        pause_seconds = max(_CATCH_UP_SECONDS_MIN, _CATCH_UP_PAUSES_MIN * self._reading_seconds)
        self._catch_up_not_before = began + pause_seconds

    async def ready(self) -> None:
        """Raises Unavailable before the first load."""
        if not self._loaded:
            raise Unavailable("The connections are not loaded yet.")

    async def round(self) -> bool:
        with self.notifications() as changed:
            if changed is None:
                await self.load()
            elif changed:
                await self._read({UUID(connection_id) for connection_id in changed})
        return False
