"""Group commit: deliveries that come together are stored together, and answered after the commit.

While one group is being stored the next gathers, so a group is as large as the load makes it; alone, a delivery waits
for nobody.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from services.tracking.crm.domain import Sender
from services.tracking.inbox import store
from services.tracking.inbox.domain import Delivery, InboxFull, WaitingRoom
from shared.db.database import Database, Scope, Transaction
from shared.kernel.errors import AttainError, Unavailable
from shared.telemetry.logs import get_logger
from shared.telemetry.metrics import WEBHOOK_DUPLICATES, WEBHOOK_GROUP_COMMIT_DELIVERIES, WEBHOOK_RECEIVED

_GATHER_SECONDS: Final = 0.003
_CROWD: Final = 8
_STORE_ATTEMPTS: Final = 3
_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Arrival:
    """A verified delivery that is to be stored."""

    sender: Sender
    dedupe_key: str
    headers: Mapping[str, str]
    body: bytes
    traceparent: str | None


_Waiting = tuple[Arrival, asyncio.Future[None]]


class Intake:
    """Stores what arrives. `run` does the storing, in as many tasks as there may be groups under way at once."""

    def __init__(self, database: Database, *, writers: int = 2, room: WaitingRoom[_Waiting] | None = None) -> None:
        self._database = database
        self._writers = writers
        self._room: WaitingRoom[_Waiting] = room or WaitingRoom()
        self._someone_waits = asyncio.Event()
        self._closed = False

    async def store(self, arrival: Arrival) -> None:
        """Return once the delivery is durable, whether it was new or held already.

        Raises InboxFull, and DatabaseUnavailable when it could not be stored for now.
        """
        stored: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self._closed or not self._room.admit((arrival, stored), len(arrival.body)):
            raise InboxFull("Too many deliveries wait to be stored.", retry_after_seconds=1)
        self._someone_waits.set()
        await stored

    async def run(self) -> None:
        """Store groups until `stop`, then what still waits."""
        async with asyncio.TaskGroup() as group:
            for number in range(self._writers):
                group.create_task(self._keep_storing(), name=f"intake-{number}")

    async def stop(self) -> None:
        """Let nothing more in; `run` returns when all is stored."""
        self._closed = True
        self._someone_waits.set()

    async def _keep_storing(self) -> None:
        crowded = False
        while True:
            if self._room.is_empty:
                if self._closed:
                    return
                self._someone_waits.clear()
                await self._someone_waits.wait()
            if crowded and not self._closed:
                # Under load a moment's patience makes fewer and fuller commits.
                await asyncio.sleep(_GATHER_SECONDS)
            waiting, size_bytes = self._room.next_group()
            if waiting:
                await self._store_group(waiting)
                self._room.done(len(waiting), size_bytes)
            crowded = len(waiting) >= _CROWD

    async def _store_group(self, waiting: list[_Waiting]) -> None:
        arrivals = [arrival for arrival, _ in waiting]
        try:
            received = await self._stored(arrivals)
        except Exception as error:
            if not isinstance(error, AttainError):
                _log.exception("deliveries_not_stored", deliveries=len(waiting))
                error = Unavailable("The deliveries could not be stored.")
            for _, stored in waiting:
                if not stored.done():
                    stored.set_exception(error)
            return
        for _, stored in waiting:
            # A client that has gone away meanwhile took its future with it; its delivery is stored all the same.
            if not stored.done():
                stored.set_result(None)
        _count(arrivals, received)

    async def _stored(self, arrivals: list[Arrival]) -> list[bool]:
        """Which of the arrivals were new."""

        async def work(tx: Transaction) -> list[bool]:
            deliveries = [_delivery(arrival, tx) for arrival in arrivals]
            new: set[UUID] = await store.add(tx, deliveries)
            return [delivery.id in new for delivery in deliveries]

        scope = Scope.of(*{arrival.sender.tenant_id for arrival in arrivals})
        return await self._database.run(scope, work, attempts=_STORE_ATTEMPTS)


def _delivery(arrival: Arrival, tx: Transaction) -> Delivery:
    return Delivery(
        tenant_id=arrival.sender.tenant_id,
        id=tx.new_id(),
        connection_id=arrival.sender.connection_id,
        dedupe_key=arrival.dedupe_key,
        received_at=tx.now,
        headers=dict(arrival.headers),
        body=arrival.body,
        traceparent=arrival.traceparent,
    )


def _count(arrivals: list[Arrival], new: list[bool]) -> None:
    WEBHOOK_GROUP_COMMIT_DELIVERIES.observe(len(arrivals))
    counts: dict[tuple[str, bool], int] = {}
    for arrival, is_new in zip(arrivals, new, strict=True):
        key = (arrival.sender.source.value, is_new)
        counts[key] = counts.get(key, 0) + 1
    for (source, is_new), count in counts.items():
        (WEBHOOK_RECEIVED if is_new else WEBHOOK_DUPLICATES).labels(source).inc(count)
