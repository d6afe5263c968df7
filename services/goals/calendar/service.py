"""The use cases of the calendar: each change checked, stored and published in the caller's transaction."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from datetime import date
from typing import Final
from uuid import UUID

from services.goals.calendar import store
from services.goals.calendar.domain import Calendar, CalendarNotSet, CalendarTerms, FirstDay
from services.goals.calendar.events import calendar_event
from shared.contracts.base import Event
from shared.db.database import Transaction
from shared.kernel.approvals import SERVICE
from shared.kernel.errors import check_version
from shared.kernel.money import known_currency
from shared.kernel.periods import FiscalCalendar, Period
from shared.kernel.working_days import NationalDays, Region, WorkingDays
from shared.outbox.outbox import Outbox
from shared.outbox.published import Published
from shared.outbox.republishing import ReadNext

_REFRESHED: Final = "Public holidays as they are known now."


class Calendars:
    """The calendar of every tenant."""

    def __init__(self, outbox: Outbox) -> None:
        self._published = Published(store.CALENDARS, _events, outbox)

    @property
    def published(self) -> Sequence[ReadNext]:
        """Everything that is published, by kind, to be published again."""
        return [self._published.read_next]

    async def get_calendar(self, tx: Transaction, tenant_id: UUID) -> Calendar:
        """The tenant's calendar. Raises CalendarNotSet."""
        calendar = await store.CALENDARS.find(tx, tenant_id, tenant_id)
        if calendar is None:
            raise CalendarNotSet("The fiscal calendar has not been set.")
        return calendar

    async def fiscal_calendar(self, tx: Transaction, tenant_id: UUID) -> FiscalCalendar:
        """How the tenant cuts its years; January and UTC until it has set a calendar."""
        calendar = await store.CALENDARS.find(tx, tenant_id, tenant_id)
        return FiscalCalendar() if calendar is None else calendar.fiscal

    async def working(self, tx: Transaction, tenant_id: UUID) -> WorkingDays:
        """Which days the tenant works; Monday to Friday until it has set a calendar."""
        calendar = await store.CALENDARS.find(tx, tenant_id, tenant_id)
        return WorkingDays() if calendar is None else calendar.working_days

    async def today(self, tx: Transaction, tenant_id: UUID) -> date:
        """The tenant's day of this transaction."""
        return (await self.fiscal_calendar(tx, tenant_id)).business_date(tx.now)

    async def today_of(self, tx: Transaction, tenant_ids: Collection[UUID]) -> Mapping[UUID, date]:
        """The day of each of these tenants."""
        stored = await store.calendars_of(tx, tenant_ids)
        fiscal = {tenant_id: calendar.fiscal for tenant_id, calendar in stored.items()}
        return {tenant_id: fiscal.get(tenant_id, FiscalCalendar()).business_date(tx.now) for tenant_id in tenant_ids}

    async def set_calendar(
        self,
        tx: Transaction,
        tenant_id: UUID,
        terms: CalendarTerms,
        start: date | FirstDay,
        national_days: Callable[[Region, date], NationalDays],
        *,
        expected_version: int,
    ) -> Calendar:
        """Set the calendar, or change it from `expected_version`, which is 0 when none was set, from a first day on.

        The first one is in force from the beginning of time. `national_days` of every region are taken as they are
        known now, also of states that do not change. Raises VersionMismatch; InvalidInput for a day that cannot be, and
        what `national_days` raises for an unknown region.
        """
        await tx.lock_tenants_exclusive([tenant_id])
        stored = await store.CALENDARS.find(tx, tenant_id, tenant_id)
        check_version(0 if stored is None else stored.version, expected_version)
        terms = replace(terms, currency=known_currency(terms.currency))
        changed = Calendar(1, terms) if stored is None else stored.with_terms(start, terms, tx.now)
        changed = changed.with_national({region: national_days(region, tx.now.date()) for region in changed.regions})
        if stored is None:
            return await self._published.add(tx, tenant_id, changed)
        return await self._published.save(tx, tenant_id, changed)

    async def calendars_with_holidays(
        self, tx: Transaction, after: UUID | None, limit: int
    ) -> Sequence[tuple[UUID, Calendar]]:
        """The next tenants, by id, that have or had the public holidays of a country, each with its calendar."""
        return await store.calendars_with_holidays(tx, after, limit)

    async def refresh_holidays(
        self, tx: Transaction, tenant_id: UUID, known: Mapping[Region, NationalDays]
    ) -> Calendar | None:
        """Take over what is known of public holidays now; None where the calendar has all of it. Raises CalendarNotSet.

        It is a change like any other, and nobody's: a service makes it.
        """
        tx.actor, tx.reason = SERVICE, _REFRESHED
        await tx.lock_tenants_exclusive([tenant_id])
        stored = await self.get_calendar(tx, tenant_id)
        refreshed = stored.with_national(known)
        if refreshed.national == stored.national:
            return None
        return await self._published.save(tx, tenant_id, replace(refreshed, version=stored.version + 1))

    async def working_days(self, tx: Transaction, tenant_id: UUID, periods: Sequence[Period]) -> Sequence[int]:
        """How many days of each period are worked, by what is stored of public holidays."""
        working = await self.working(tx, tenant_id)
        return [working.count(period) for period in periods]


async def _events(tx: Transaction, calendars: Sequence[tuple[UUID, Calendar]]) -> Sequence[Event]:
    return [calendar_event(tenant_id, calendar, tx.now) for tenant_id, calendar in calendars]
