"""The round of public holidays: taking over what is known of them since the calendars were set."""

import asyncio
from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Final
from uuid import UUID

from services.goals.calendar.service import Calendars
from shared.db.database import Database, Scope
from shared.kernel.errors import InvalidInput
from shared.kernel.working_days import NationalDays, Region
from shared.telemetry.logs import get_logger
from shared.worker.rounds import Rounds

_log = get_logger(__name__)
_PAGE: Final = 100


class HolidayRefresh(Rounds):
    """Has each calendar know of public holidays what is known now; one that knows it already is left alone.

    What is known changes with the library and with the year alone. Another library comes with another process, so a
    round comes with the start and with each year of UTC, and never in between. Any number may run.
    """

    def __init__(
        self, database: Database, calendars: Calendars, national_days: Callable[[Region, date], NationalDays]
    ) -> None:
        super().__init__("holidays", every_seconds=None)
        self._database = database
        self._calendars = calendars
        self._national_days = national_days

    async def round(self) -> bool:
        known: dict[Region, NationalDays] = {}
        after: UUID | None = None
        while not self.is_stopping:
            async with self._database.transaction(Scope.every()) as tx:
                page, now = await self._calendars.calendars_with_holidays(tx, after, _PAGE), tx.now
            for tenant_id, calendar in page:
                await asyncio.to_thread(self._learn, known, calendar.regions, now.date())
                if calendar.with_national(known).national != calendar.national:
                    await self._refresh(tenant_id, known)
            if len(page) < _PAGE:
                self.come_again_at(datetime(now.year + 1, 1, 1, tzinfo=UTC), now)
                break
            after = page[-1][0]
        return False

    async def _refresh(self, tenant_id: UUID, known: dict[Region, NationalDays]) -> None:
        refreshed = await self._database.run(
            Scope.of(tenant_id), lambda tx: self._calendars.refresh_holidays(tx, tenant_id, known)
        )
        if refreshed is not None:
            _log.info("holidays_refreshed", tenant_id=str(tenant_id), version=refreshed.version)

    def _learn(self, known: dict[Region, NationalDays], regions: frozenset[Region], today: date) -> None:
        """Add what is known of these regions. A new release of the library may know one no more."""
        for region in regions - known.keys():
            try:
                known[region] = self._national_days(region, today)
            except InvalidInput as unknown:
                _log.warning("holidays_unknown", country=region[0], subdivision=region[1], reason=unknown.detail)
