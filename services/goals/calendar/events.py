"""The calendar as `attain.org.v1` publishes it."""

from datetime import datetime
from uuid import UUID

from services.goals.calendar.domain import Calendar, CalendarTerms
from shared.contracts import org as contract
from shared.kernel.working_days import NationalDays, Region
from shared.kernel.years import Weekday


def calendar_event(tenant_id: UUID, calendar: Calendar, now: datetime) -> contract.Calendar:
    states = [(None, calendar.always), *calendar.changes]
    current = calendar.on(calendar.fiscal.business_date(now))
    return contract.Calendar(
        tenant_id=tenant_id,
        version=calendar.version,
        **_rules(current).model_dump(),
        history=tuple(contract.CalendarState(start=start, **_rules(terms).model_dump()) for start, terms in states),
        national_days=tuple(_national_days(*known) for known in calendar.national.items()),
    )


def _rules(terms: CalendarTerms) -> contract.CalendarRules:
    return contract.CalendarRules(
        start_month=terms.start_month,
        time_zone=terms.time_zone,
        currency=terms.currency,
        pattern=terms.weeks.pattern,
        week_start=terms.weeks.start,
        year_end=terms.weeks.year_end,
        country=terms.work.country,
        subdivision=terms.work.subdivision,
        days_off=tuple(sorted(terms.work.days_off)),
        extra_working_days=tuple(sorted(terms.work.extra_working_days)),
    )


def _national_days(region: Region, national: NationalDays) -> contract.NationalDays:
    country, subdivision = region
    return contract.NationalDays(
        country=country,
        subdivision=subdivision,
        start=national.start,
        end=national.end,
        published_until=national.published_until,
        weekend=tuple(day for day in Weekday if day in national.weekend),
        off=tuple(sorted(national.off)),
        worked=tuple(sorted(national.worked)),
        estimated=tuple(sorted(national.estimated)),
    )
