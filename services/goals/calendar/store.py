"""Every statement on calendars."""

from collections.abc import Collection, Sequence
from datetime import date
from typing import Final
from uuid import UUID

from sqlalchemy import RowMapping, delete, insert, select

from services.goals.calendar.domain import Calendar, CalendarNotSet, CalendarTerms
from services.goals.calendar.tables import calendar_changes, calendars
from shared.db.conditions import among
from shared.db.database import Transaction
from shared.db.dated import dated_changes
from shared.db.versioned import VersionedTable
from shared.kernel.zones import stored_zone

_CALENDARS: Final = select(
    calendars,
    dated_changes(
        calendar_changes,
        calendar_changes.c.tenant_id == calendars.c.tenant_id,
        *("start_month", "time_zone", "currency"),
    ),
)


async def calendars_of(tx: Transaction, tenant_ids: Collection[UUID]) -> dict[UUID, Calendar]:
    """The calendars of those of these tenants that have set one."""
    rows = await tx.rows(_CALENDARS.where(among(calendars.c.tenant_id, frozenset(tenant_ids))))
    return {row["tenant_id"]: _calendar(row) for row in rows}


def _calendar(row: RowMapping) -> Calendar:
    always = CalendarTerms(row["start_month"], stored_zone(row["time_zone"]), row["currency"])
    changes = (
        (date.fromisoformat(start), CalendarTerms(start_month, stored_zone(time_zone), currency))
        for start, start_month, time_zone, currency in row["changes"]
    )
    return Calendar(row["version"], always, tuple(changes))


def _calendar_values(calendar: Calendar) -> dict[str, object]:
    return {"version": calendar.version, **_terms_values(calendar.always)}


async def _store_calendar_changes(tx: Transaction, tenant_id: UUID, changed: Sequence[Calendar]) -> None:
    await tx.execute(delete(calendar_changes).where(calendar_changes.c.tenant_id == tenant_id))
    values = [
        {"tenant_id": tenant_id, "start_on": start, **_terms_values(terms)}
        for calendar in changed
        for start, terms in calendar.changes
    ]
    if values:
        await tx.execute(insert(calendar_changes), values)


def _terms_values(terms: CalendarTerms) -> dict[str, object]:
    return {"start_month": terms.start_month, "time_zone": terms.time_zone, "currency": terms.currency}


CALENDARS: Final = VersionedTable(
    "calendar",
    calendars,
    _calendar,
    _calendar_values,
    CalendarNotSet,
    rows=_CALENDARS,
    store_parts=_store_calendar_changes,
)
