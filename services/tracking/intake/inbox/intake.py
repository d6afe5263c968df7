"""Group commit: deliveries that come together are stored together, and answered after the commit.

What comes after a moment of quiet, alone or with few others, is translated in the transaction that stores it, so that
its deals are on their way with the commit. While more comes, translating is the worker's: it would hold up the next
group. So it is while definitions are missing here by which it would be counted: the worker has read them before.

While one group is being stored the next gathers, so a group is as large as the load makes it, and a delivery that comes
alone waits for nobody. One group at a time: the NOTIFY makes commits queue for each other, so a second would only wait
in Postgres, and smaller groups cost more.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from time import monotonic
from typing import Final
from uuid import UUID

from services.tracking.intake.inbox import service
from services.tracking.intake.inbox.domain.deliveries import Arrival, InboxFull, WaitingRoom
from services.tracking.intake.inbox.hook_counts import HookCounter
from services.tracking.intake.inbox.publishing import Publisher
from services.tracking.records.domain.snapshots import CountedLater
from shared.db.database import Database, Scope
from shared.kernel.errors import Unavailable
from shared.telemetry.logs import get_logger
from shared.telemetry.metrics import WEBHOOK_DUPLICATES, WEBHOOK_GROUP_COMMIT_DELIVERIES, WEBHOOK_RECEIVED
from shared.worker.rounds import Rounds

_STORE_ATTEMPTS: Final = 3
QUIET_SECONDS: Final = 0.01
"""Since the group before, for one to be translated as it is stored."""
_NOBODY_STORES: Final = "Deliveries are not being stored here for now."
_log = get_logger(__name__)


_Waiting = tuple[Arrival, asyncio.Future[None]]


class DeliveriesNotStored(Unavailable):
    """The deliveries could not be stored for now: send them again."""

    code = "deliveries_not_stored"
    title = "Deliveries not stored"


class Intake(Rounds):
    """Stores what arrives, as long as `run` runs; what comes before or after it is refused at once."""

    finishes = True

    def __init__(
        self,
        database: Database,
        publisher: Publisher,
        traffic: HookCounter,
        *,
        room: WaitingRoom[_Waiting] | None = None,
    ) -> None:
        super().__init__("intake", every_seconds=None)
        self._database = database
        self._publisher = publisher
        self._traffic = traffic
        self._room: WaitingRoom[_Waiting] = room or WaitingRoom()
        self._stored_at = float("-inf")

    async def store(self, arrival: Arrival) -> None:
        """Return once the delivery is durable, whether it was new or stored before.

        Raises InboxFull, and DeliveriesNotStored when the database does not take it for now or nobody is storing.
        """
        if not self.is_running:
            raise DeliveriesNotStored(_NOBODY_STORES, retry_after_seconds=5)
        stored: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self.is_stopping or not self._room.admit((arrival, stored), len(arrival.body)):
            raise InboxFull("Too many deliveries wait to be stored.", retry_after_seconds=1)
        self.wake()
        await stored

    @asynccontextmanager
    async def during(self) -> AsyncIterator[None]:
        try:
            yield
        finally:
            # Cut short: nobody is left waiting for an answer that cannot come.
            while waiting := self._room.next_group()[0]:
                _refuse(waiting, _NOBODY_STORES)

    async def round(self) -> bool:
        while not self._room.is_empty:
            waiting, size_bytes = self._room.next_group()
            try:
                await self._store_group(waiting)
            finally:
                self._room.done(len(waiting), size_bytes)
        return False

    async def _store_group(self, waiting: list[_Waiting]) -> None:
        arrivals = [arrival for arrival, _ in waiting]
        try:
            new = await self._stored(arrivals)
        except Exception as error:
            if not isinstance(error, Unavailable):
                _log.exception("deliveries_not_stored", deliveries=len(waiting))
            _refuse(waiting, error.detail if isinstance(error, Unavailable) else "The deliveries could not be stored.")
            return
        except BaseException:
            _refuse(waiting, _NOBODY_STORES)
            raise
        for _, stored in waiting:
            # A client that has gone away meanwhile took its future with it; its delivery is stored all the same.
            if not stored.done():
                stored.set_result(None)
        self._count(arrivals, new)

    async def _stored(self, arrivals: list[Arrival]) -> Mapping[UUID, int]:
        """How many of the arrivals were new, by connection."""
        tenant_ids = {arrival.sender.tenant_id for arrival in arrivals}
        scope = Scope.of(*tenant_ids)
        # In the order of the unique key, so that groups of two processes never wait for each other in a circle.
        ordered = sorted(
            arrivals, key=lambda each: (each.sender.tenant_id.int, each.sender.connection_id.int, each.dedupe_key)
        )

        async def store(*, is_translating: bool) -> Mapping[UUID, int]:
            return await self._database.run(
                scope,
                lambda tx: service.receive(tx, self._publisher, ordered, is_translating=is_translating),
                attempts=_STORE_ATTEMPTS,
            )

        try:
            is_quiet = monotonic() - self._stored_at >= QUIET_SECONDS
            return await store(is_translating=is_quiet and not self._publisher.leaves(tenant_ids))
        except Unavailable:
            raise
        except CountedLater:
            return await store(is_translating=False)
        except Exception:
            # Whatever is wrong with what they say, it is no reason not to store them.
            _log.exception("deliveries_not_translated", deliveries=len(arrivals))
            return await store(is_translating=False)
        finally:
            self._stored_at = monotonic()

    def _count(self, arrivals: list[Arrival], new: Mapping[UUID, int]) -> None:
        WEBHOOK_GROUP_COMMIT_DELIVERIES.observe(len(arrivals))
        senders = {arrival.sender.connection_id: arrival.sender for arrival in arrivals}
        for connection_id, count in Counter(arrival.sender.connection_id for arrival in arrivals).items():
            sender = senders[connection_id]
            source = sender.source.value
            stored = new.get(connection_id, 0)
            WEBHOOK_RECEIVED.labels(source).inc(stored)
            WEBHOOK_DUPLICATES.labels(source).inc(count - stored)
            self._traffic.received(sender, new=stored, duplicates=count - stored)


def _refuse(waiting: Sequence[_Waiting], reason: str) -> None:
    for _, stored in waiting:
        if not stored.done():
            stored.set_exception(DeliveriesNotStored(reason, retry_after_seconds=2))
