"""Worker components of the inbox: translating what has come, and dropping bodies whose time is over."""

import asyncio
from datetime import timedelta
from time import monotonic
from typing import Final

from services.tracking.inbox import service, traffic
from services.tracking.inbox.service import FIRST_ID
from services.tracking.inbox.store import INBOX_CHANNEL
from shared.db.database import Database, Scope
from shared.kernel.errors import Unavailable
from shared.outbox.outbox import Outbox
from shared.telemetry.logs import get_logger

_POLL_SECONDS: Final = 1.0
_LOOK_BACK_SECONDS: Final = 2.0
_FAILURE_SECONDS: Final = 1.0
_RETENTION_POLL_SECONDS: Final = 3600.0
_RETENTION_CHUNK: Final = 500
_log = get_logger(__name__)


class InboxProcessor:
    """Translates deliveries as they come. Any number may run; each takes what no other is at."""

    def __init__(self, database: Database, outbox: Outbox) -> None:
        self._database = database
        self._outbox = outbox
        self._stopping = asyncio.Event()
        # The index of what waits still holds, until it is vacuumed, what waited before: a look that starts behind the
        # last one need not step over it. A full look follows soon, for what was committed late.
        self._after = FIRST_ID
        self._looked_back_at = float("-inf")

    async def run(self) -> None:
        """Translate until `stop`. Waits out a database that is away."""
        async with self._database.listen(INBOX_CHANNEL) as notifications:
            while not self._stopping.is_set():
                try:
                    more = await self.translate_once()
                except Unavailable as error:
                    _log.warning("inbox_interrupted", reason=error.detail)
                    await self._rest(_FAILURE_SECONDS)
                    continue
                if not more and not self._stopping.is_set():
                    await notifications.wait(_POLL_SECONDS)

    async def stop(self) -> None:
        """Finish the batch under way; `run` returns within the time of a poll."""
        self._stopping.set()

    async def translate_once(self) -> bool:
        """Translate one batch; whether to come again at once, without being woken. Raises Unavailable."""
        now = monotonic()
        looks_back = self._after == FIRST_ID or now - self._looked_back_at > _LOOK_BACK_SECONDS
        after = FIRST_ID if looks_back else self._after
        outcomes = await self._database.run(
            Scope.every(), lambda tx: service.translate_waiting(tx, self._outbox, after=after)
        )
        if looks_back:
            self._looked_back_at = now
        # What comes alone comes with a wake-up of its own; looking for more would hold up its being published.
        comes_again = len(outcomes) > 1
        self._after = outcomes[-1].id if comes_again else FIRST_ID
        return comes_again

    async def _rest(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            return


class Retention:
    """Drops the bodies of translated deliveries after some days, and old counts of what connections were sent.

    Once an hour, in short transactions.
    """

    def __init__(self, database: Database, *, keep_days: int) -> None:
        self._database = database
        self._keep = timedelta(days=keep_days)
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Drop what is due until `stop`. A database that is away is met again an hour later."""
        while not self._stopping.is_set():
            try:
                await self.drop_due()
                await self.prune_traffic()
            except Unavailable as error:
                _log.warning("retention_interrupted", reason=error.detail)
            try:
                async with asyncio.timeout(_RETENTION_POLL_SECONDS):
                    await self._stopping.wait()
            except TimeoutError:
                continue

    async def stop(self) -> None:
        """Finish the chunk under way; `run` returns soon after."""
        self._stopping.set()

    async def drop_due(self) -> int:
        """Drop every body that is due; how many. Raises Unavailable."""
        dropped = 0
        while not self._stopping.is_set():
            count = await self._database.run(
                Scope.every(),
                lambda tx: service.drop_bodies(tx, before=tx.now - self._keep, count_max=_RETENTION_CHUNK),
            )
            dropped += count
            if count < _RETENTION_CHUNK:
                break
        return dropped

    async def prune_traffic(self) -> int:
        """Drop the counts of every hour that is past its time; how many. Raises Unavailable."""
        pruned = 0
        while not self._stopping.is_set():
            count = await self._database.run(Scope.every(), traffic.prune)
            pruned += count
            if not count:
                break
        return pruned
