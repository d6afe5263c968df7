"""Requests and answers of the calendar."""

from datetime import date, datetime
from typing import Annotated, Final, Literal, Self

from pydantic import BaseModel, Field, JsonValue
from typing_extensions import TypedDict

from services.goals.calendar.domain import Calendar, CalendarTerms, FirstDay
from shared.contracts.base import Currency, Day
from shared.http.schemas import body_example

_CALENDAR: dict[str, JsonValue] = {"start_month": 4, "time_zone": "Asia/Shanghai", "currency": "CNY"}
Version = Annotated[int, Field(ge=1, description="Grows with every change; its ETag goes into If-Match.")]


class _CalendarTexts(TypedDict):
    start_month: int
    time_zone: str
    currency: str


FirstDayOf = Day | Literal["beginning"]
FIRST_DAY: Final = (
    "The first day it is in force; what lies before stays as it is. `beginning`: from the beginning of time, for what"
    " was stated wrongly. A change with the same first day is replaced; stating what was in force before takes it back."
)


def first_day(start: FirstDayOf | None) -> date | FirstDay:
    """From when on; from the tenant's today on where none is named."""
    if start is None:
        return FirstDay.TODAY
    return start if isinstance(start, date) else FirstDay(start)


class CalendarFields(BaseModel):
    """The fiscal year, the zone days are counted in and the home currency."""

    start_month: int = Field(ge=1, le=12, description="The month the fiscal year starts in.")
    time_zone: str = Field(max_length=64, description="IANA name of a place, such as Asia/Shanghai, or UTC.")
    currency: Currency


class CalendarBody(CalendarFields):
    """What is in force from a day on, up to the next change."""

    model_config = body_example(**_CALENDAR, start="2026-07-01")

    start: FirstDayOf | None = Field(
        None,
        description=f"{FIRST_DAY} Left out: the tenant's today, or for another start month the first day of a month"
        " that follows. The first calendar of a tenant is in force from the beginning, whatever day is named.",
    )

    def terms(self) -> CalendarTerms:
        """Raises InvalidInput naming the field that is wrong."""
        return CalendarTerms(self.start_month, self.time_zone, self.currency)


class DatedCalendar(CalendarFields):
    """What is or was in force from a day on, up to the next."""

    start: date | None = Field(description="First day; null for the beginning of time.")


class CalendarAnswer(CalendarFields):
    """The tenant's calendar as in force today, and as it was and will be."""

    model_config = body_example(**_CALENDAR, version=1, history=[{"start": None, **_CALENDAR}])

    version: Version
    history: list[DatedCalendar] = Field(description="In order, without a gap.")

    @classmethod
    def of(cls, calendar: Calendar, now: datetime) -> Self:
        return cls(
            version=calendar.version,
            **_fields(calendar.on(calendar.fiscal.business_date(now))),
            history=[
                DatedCalendar(start=None, **_fields(calendar.always)),
                *(DatedCalendar(start=start, **_fields(terms)) for start, terms in calendar.changes),
            ],
        )


def _fields(terms: CalendarTerms) -> _CalendarTexts:
    return {"start_month": terms.start_month, "time_zone": terms.time_zone, "currency": terms.currency}
