"""What each connection is sent: counted in memory, and added to the database every few seconds.

A process that is killed takes its last seconds of counts with it; deliveries are never lost by that.
"""

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

from services.tracking.intake.connections.domain import Sender
from services.tracking.intake.inbox import hook_counts_store as hook_counts_store
from services.tracking.intake.inbox.domain.hook_counts import Sent
from services.tracking.intake.inbox.hook_counts_store import Counted
from services.tracking.intake.sources.domain import Rejection
from shared.db.database import Database, Scope, Transaction
from shared.worker.rounds import Rounds

RETENTION: Final = timedelta(days=90)
_FLUSH_SECONDS: Final = 5.0
_CONNECTIONS_MAX: Final = 1000
_PRUNE_CHUNK: Final = 1000


@dataclass(slots=True)
class _Tally:
    received: int = 0
    duplicates: int = 0
    rejected: defaultdict[Rejection, int] = field(default_factory=lambda: defaultdict(int))
    last_received_at: datetime | None = None


class HookCounter(Rounds):
    """Counts what the connections of this process are sent. One per API process."""

    finishes = True

    def __init__(self, database: Database) -> None:
        super().__init__("traffic", every_seconds=_FLUSH_SECONDS)
        self._database = database
        self._tallies: defaultdict[tuple[UUID, UUID], _Tally] = defaultdict(_Tally)

    def received(self, sender: Sender, *, new: int, duplicates: int) -> None:
        """Deliveries of a sender were stored, now or before."""
        tally = self._tallies[sender.tenant_id, sender.connection_id]
        tally.received += new
        tally.duplicates += duplicates
        tally.last_received_at = datetime.now(UTC)

    def rejected(self, sender: Sender, reason: Rejection) -> None:
        """A delivery to a connection was not from its sender."""
        self._tallies[sender.tenant_id, sender.connection_id].rejected[reason] += 1

    async def round(self) -> bool:
        await self.flush()
        return False

    async def flush(self) -> None:
        """Add what was counted. Whatever it raises, what was not added stays for the next time."""
        while self._tallies:
            keys = list(self._tallies)[:_CONNECTIONS_MAX]
            taken = {key: self._tallies.pop(key) for key in keys}
            try:
                # Not tried again: after a lost connection it may have been added.
                async with self._database.transaction(Scope.of(*{tenant_id for tenant_id, _ in taken})) as tx:
                    await hook_counts_store.add(tx, [_counted(key, taken[key]) for key in sorted(taken)])
            except Exception:
                for key, tally in taken.items():
                    self._put_back(key, tally)
                raise

    def _put_back(self, key: tuple[UUID, UUID], tally: _Tally) -> None:
        later = self._tallies[key]
        later.received += tally.received
        later.duplicates += tally.duplicates
        later.last_received_at = later.last_received_at or tally.last_received_at
        for reason, count in tally.rejected.items():
            later.rejected[reason] += count


async def of_connection(tx: Transaction, tenant_id: UUID, connection_id: UUID) -> Sent:
    """What a connection was sent of late, as far as it has been added."""
    return await hook_counts_store.of_connection(tx, tenant_id, connection_id)


async def prune(tx: Transaction) -> int:
    """Drop some of the counts that are past their time; how many, 0 when none is left."""
    return await hook_counts_store.prune(tx, before=tx.now - RETENTION, count_max=_PRUNE_CHUNK)


def _counted(key: tuple[UUID, UUID], tally: _Tally) -> Counted:
    return Counted(
        *key,
        tally.received,
        tally.duplicates,
        tally.rejected[Rejection.HEADERS],
        tally.rejected[Rejection.TIMESTAMP],
        tally.rejected[Rejection.SIGNATURE],
        tally.rejected[Rejection.ADDRESS],
        tally.rejected[Rejection.NOT_ALLOWED],
        tally.last_received_at,
    )
