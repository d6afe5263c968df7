"""The rounds of the inbox: translating what has come, carrying out saved mappings, dropping bodies in time."""

from datetime import timedelta
from time import monotonic
from typing import Final

from services.tracking.intake.inbox import hook_counts as traffic
from services.tracking.intake.inbox import retranslation, service
from services.tracking.intake.inbox.publishing import Publisher
from services.tracking.intake.inbox.retranslation_store import RETRANSLATION_CHANNEL
from services.tracking.intake.inbox.service import FIRST_ID
from services.tracking.intake.inbox.store import INBOX_CHANNEL
from shared.db.database import Database, Scope
from shared.worker.rounds import Rounds

_POLL_SECONDS: Final = 5.0
"""What a worker was at that died is taken so soon; all else wakes."""
_LOOK_BACK_SECONDS: Final = 2.0
_RETRANSLATION_POLL_SECONDS: Final = 30.0
_RETENTION_POLL_SECONDS: Final = 86400.0
_RETENTION_CHUNK: Final = 500


class InboxProcessor(Rounds):
    """Translates deliveries as they come. Any number may run; each takes what no other is at."""

    def __init__(self, database: Database, publisher: Publisher) -> None:
        super().__init__("inbox", every_seconds=_POLL_SECONDS, woken_by=database.channels(INBOX_CHANNEL))
        self._database = database
        self._publisher = publisher
        # The index of what waits still has, until it is vacuumed, what waited before: a look that starts behind the
        # last one need not step over it. A full look follows soon, for what was committed late.
        self._after = FIRST_ID
        self._looked_back_at = float("-inf")

    async def round(self) -> bool:
        return await self.translate_once()

    async def translate_once(self) -> bool:
        """Translate one batch; whether to come again at once, without being woken. Raises Unavailable."""
        now = monotonic()
        looks_back = self._after == FIRST_ID or now - self._looked_back_at > _LOOK_BACK_SECONDS
        after = FIRST_ID if looks_back else self._after
        outcomes = await self._publisher.run(
            self._database,
            Scope.every(),
            lambda tx, publisher: service.translate_waiting(tx, publisher, after=after),
        )
        if looks_back:
            self._looked_back_at = now
        # What comes alone comes with a wake-up of its own; looking for more would delay its publication.
        comes_again = len(outcomes) > 1
        self._after = outcomes[-1].id if comes_again else FIRST_ID
        return comes_again


class Retranslator(Rounds):
    """Carries out what saved mappings change. Any number may run."""

    def __init__(self, database: Database, publisher: Publisher) -> None:
        super().__init__(
            "retranslator", every_seconds=_RETRANSLATION_POLL_SECONDS, woken_by=database.channels(RETRANSLATION_CHANNEL)
        )
        self._database = database
        self._publisher = publisher

    async def round(self) -> bool:
        if await self.step_once():
            return True
        async with self._database.transaction(Scope.every()) as tx:
            self.come_again_at(await retranslation.next_due_at(tx), tx.now)
        return False

    async def step_once(self) -> bool:
        """Do one piece of work; whether to come again at once. Raises Unavailable."""
        step = await self._publisher.run(self._database, Scope.every(), retranslation.step)
        return step is not None


class Retention(Rounds):
    """Drops the bodies of translated deliveries after some days, and old counts of what connections were sent.

    Bodies go by whole months: none before its days are over, all at most a month and a day after that. It also sees to
    it that the months to come have their tables. Once a day, in short transactions.
    """

    def __init__(self, database: Database, *, retention_days: int) -> None:
        super().__init__("retention", every_seconds=_RETENTION_POLL_SECONDS)
        self._database = database
        self._retention = timedelta(days=retention_days)

    async def round(self) -> bool:
        await self.drop_due()
        await self.prune_hook_counts()
        return False

    async def drop_due(self) -> int:
        """Drop every month that is due, and what is due in rows; how many of the latter. Raises Unavailable."""
        await self._database.run(Scope.every(), lambda tx: service.keep_months(tx, before=tx.now - self._retention))
        dropped = 0
        while not self.is_stopping:
            count = await self._database.run(
                Scope.every(),
                lambda tx: service.drop_bodies_in_rows(tx, before=tx.now - self._retention, count_max=_RETENTION_CHUNK),
            )
            dropped += count
            if count < _RETENTION_CHUNK:
                break
        return dropped

    async def prune_hook_counts(self) -> int:
        """Drop the counts of every hour that is past its time; how many. Raises Unavailable."""
        pruned = 0
        while not self.is_stopping:
            count = await self._database.run(Scope.every(), traffic.prune)
            pruned += count
            if not count:
                break
        return pruned
