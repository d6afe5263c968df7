"""Every statement on calendars."""

from collections.abc import Collection, Iterable, Sequence
from datetime import date
from typing import Final
from uuid import UUID

from sqlalchemy import RowMapping, delete, func, insert, select, true

from services.goals.calendar.domain import Calendar, CalendarNotSet, CalendarTerms
from services.goals.calendar.tables import calendar_changes, calendars
from shared.db.conditions import among
from shared.db.database import Transaction
from shared.db.dated import dated_changes
from shared.db.versioned import VersionedTable
from shared.kernel.working_days import NationalDays, Region, WorkRule
from shared.kernel.years import Weekday, Weeks, YearEnd, YearPattern
from shared.kernel.zones import stored_zone

_TERMS: Final = (
    *("start_month", "time_zone", "currency", "pattern", "week_start", "year_end"),
    *("country", "subdivision", "days_off", "extra_working_days"),
)
_CALENDARS: Final = select(
    calendars,
    dated_changes(
        calendar_changes,
        calendar_changes.c.tenant_id == calendars.c.tenant_id,
        *_TERMS,
    ),
)


async def calendars_of(tx: Transaction, tenant_ids: Collection[UUID]) -> dict[UUID, Calendar]:
    """The calendars of those of these tenants that have set one."""
    rows = await tx.rows(_CALENDARS.where(among(calendars.c.tenant_id, frozenset(tenant_ids))))
    return {row["tenant_id"]: _calendar(row) for row in rows}


async def calendars_with_holidays(tx: Transaction, after: UUID | None, limit: int) -> list[tuple[UUID, Calendar]]:
    """The next tenants, by id, with public holidays of any country."""
    statement = _CALENDARS.where(
        true() if after is None else calendars.c.tenant_id > after,
        func.jsonb_array_length(calendars.c.national_days) > 0,
    )
    rows = await tx.rows(statement.order_by(calendars.c.tenant_id).limit(limit))
    return [(row["tenant_id"], _calendar(row)) for row in rows]


def _calendar(row: RowMapping) -> Calendar:
    changes = ((date.fromisoformat(start), _terms(*terms)) for start, *terms in row["changes"])
    national = dict(_national_days(**stored) for stored in row["national_days"])
    return Calendar(row["version"], _terms(*(row[name] for name in _TERMS)), tuple(changes), national)


def _terms(
    start_month: int,
    time_zone: str,
    currency: str,
    pattern: str,
    week_start: str,
    year_end: str,
    country: str | None,
    subdivision: str | None,
    days_off: Iterable[date | str],
    extra_working_days: Iterable[date | str],
) -> CalendarTerms:
    weeks = Weeks(Weekday(week_start), YearPattern(pattern), YearEnd(year_end))
    work = WorkRule(country, subdivision, _days(days_off), _days(extra_working_days))
    return CalendarTerms(start_month, stored_zone(time_zone), currency, weeks, work)


def _days(stored: Iterable[date | str]) -> frozenset[date]:
    return frozenset(date.fromisoformat(day) if isinstance(day, str) else day for day in stored)


def _national_days(
    country: str,
    subdivision: str | None,
    start: str,
    end: str,
    published_until: str,
    weekend: Iterable[str],
    off: Iterable[str],
    worked: Iterable[str],
    estimated: Iterable[str],
) -> tuple[Region, NationalDays]:
    days = NationalDays(
        date.fromisoformat(start),
        date.fromisoformat(end),
        date.fromisoformat(published_until),
        frozenset(map(Weekday, weekend)),
        _days(off),
        _days(worked),
        _days(estimated),
    )
    return (country, subdivision), days


def _national_values(region: Region, national: NationalDays) -> dict[str, object]:
    country, subdivision = region
    days = {name: getattr(national, name).isoformat() for name in ("start", "end", "published_until")}
    sets = {name: sorted(map(str, getattr(national, name))) for name in ("weekend", "off", "worked", "estimated")}
    return {"country": country, "subdivision": subdivision, **days, **sets}


def _calendar_values(calendar: Calendar) -> dict[str, object]:
    national = [_national_values(region, days) for region, days in calendar.national.items()]
    return {"version": calendar.version, "national_days": national, **_terms_values(calendar.always)}


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
    return {
        "start_month": terms.start_month,
        "time_zone": terms.time_zone,
        "currency": terms.currency,
        "pattern": terms.weeks.pattern,
        "week_start": terms.weeks.start,
        "year_end": terms.weeks.year_end,
        "country": terms.work.country,
        "subdivision": terms.work.subdivision,
        "days_off": sorted(terms.work.days_off),
        "extra_working_days": sorted(terms.work.extra_working_days),
    }


CALENDARS: Final = VersionedTable(
    "calendar",
    calendars,
    _calendar,
    _calendar_values,
    CalendarNotSet,
    rows=_CALENDARS,
    store_parts=_store_calendar_changes,
)
