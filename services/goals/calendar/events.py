"""The calendar as `attain.org.v1` publishes it."""

from datetime import datetime
from uuid import UUID

from services.goals.calendar.domain import Calendar
from shared.contracts import org as contract


def calendar_event(tenant_id: UUID, calendar: Calendar, now: datetime) -> contract.Calendar:
    states = [(None, calendar.always), *calendar.changes]
    current = calendar.on(calendar.fiscal.business_date(now))
    return contract.Calendar(
        tenant_id=tenant_id,
        version=calendar.version,
        start_month=current.start_month,
        time_zone=current.time_zone,
        currency=current.currency,
        history=tuple(
            contract.CalendarState(
                start=start, start_month=terms.start_month, time_zone=terms.time_zone, currency=terms.currency
            )
            for start, terms in states
        ),
    )
