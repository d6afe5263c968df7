"""Counting versions of records as they are published, so that a goal has moved once its deal is stored.

It waits for nobody who takes long. What it leaves alone is counted when its topic brings it: the records of a tenant
whose definitions take long to change or whose goals take long to be rebuilt, or whose definitions this process has not
read yet. Definitions that are behind do where nothing newer is about whoever has the record.
"""

from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from time import monotonic
from typing import Final
from uuid import UUID

from services.tracking.measure.progress.definitions import DefinitionsCache
from services.tracking.measure.progress.service import ProgressTracker
from services.tracking.records.domain.snapshots import CountedLater, Superseded
from shared.contracts.activities import Activity
from shared.contracts.deals import Deal
from shared.db.database import Database, Scope, Transaction
from shared.telemetry import metrics
from shared.worker.rounds import Rounds

_LOOK_SECONDS: Final = 0.5
_REST_OF_READING: Final = 10
"""So many times as long as reading took nothing is read, so that it never takes more than a share of the process."""


class DefinitionsReader(Rounds):
    """Reads definitions into this process's memory, beside everything else."""

    def __init__(self, database: Database, definitions: DefinitionsCache) -> None:
        super().__init__("definitions_reader", every_seconds=None)
        self._database = database
        self._definitions = definitions
        self._behind: set[UUID] = set()
        self._missing: set[UUID] = set()

    def want(self, tenant_id: UUID, *, is_missing: bool) -> None:
        """Have the tenant's definitions read soon, and again until nothing of them has changed between two looks.

        `is_missing`: without them records could not be counted.
        """
        self._behind.add(tenant_id)
        if is_missing:
            self._missing.add(tenant_id)
        self.wake()

    def misses(self, tenant_ids: Collection[UUID]) -> bool:
        """Whether definitions of one of these tenants have been missing here and were not read since."""
        return not self._missing.isdisjoint(tenant_ids)

    async def round(self) -> bool:
        while self._behind and not self.is_stopping:
            for tenant_id in sorted(self._behind):
                began = monotonic()
                async with self._database.transaction(Scope.of(tenant_id)) as tx:
                    has_read = await self._definitions.catch_up(tx, tenant_id)
                self._missing.discard(tenant_id)
                if not has_read:
                    self._behind.discard(tenant_id)
                    continue
                await self.pause(max(_LOOK_SECONDS, _REST_OF_READING * (monotonic() - began)))
        return False


class RecordCounter:
    """Counts what is about to be published, where that can be done at once."""

    def __init__(self, tracker: ProgressTracker, reader: DefinitionsReader) -> None:
        self._tracker = tracker
        self._reader = reader

    async def count(self, tx: Transaction, deals: Sequence[Deal], activities: Sequence[Activity]) -> Superseded:
        """Count these versions, or leave them to their topics; what of them is not the newest."""
        try:
            counted = await self._tracker.count(tx, deals, activities)
        except CountedLater:
            for tenant_id in {each.tenant_id for each in (*deals, *activities)}:
                self._reader.want(tenant_id, is_missing=True)
            raise
        for tenant_id in counted.unread:
            self._reader.want(tenant_id, is_missing=True)
        for tenant_id in counted.behind:
            self._reader.want(tenant_id, is_missing=False)
        tx.after_commit(lambda: observe(counted.accepted))
        return counted.superseded

    def leaves(self, tenant_ids: Collection[UUID]) -> bool:
        """Whether records of one of these tenants would be left to their topics, as definitions are missing here."""
        return self._reader.misses(tenant_ids)


def observe(accepted: Sequence[datetime]) -> None:
    """Observe how long changes that have just been counted were under way since their deliveries were accepted."""
    now = datetime.now(UTC)
    for received_at in accepted:
        metrics.WEBHOOK_TO_PROGRESS_SECONDS.observe(max(0.0, (now - received_at).total_seconds()))
