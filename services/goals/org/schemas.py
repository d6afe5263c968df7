"""Requests and answers of the organisation."""

from datetime import date
from typing import Annotated, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, JsonValue, with_config
from typing_extensions import TypedDict

from services.goals.fields import Day, Email, Line
from services.goals.org.domain import Calendar, Identity, Membership, Person, Team
from shared.contracts.base import Currency
from shared.kernel.periods import FiscalCalendar

_PERSON = "01935a00-0000-7000-8000-000000000011"
_TEAM = "01935a00-0000-7000-8000-000000000021"
_CALENDAR: dict[str, JsonValue] = {"start_month": 4, "time_zone": "Asia/Shanghai", "currency": "CNY"}
_NAMED: dict[str, JsonValue] = {"name": "Darcel Schlecht", "email": "darcel@example.com"}
_CENTRAL: dict[str, JsonValue] = {"name": "Central", "parent_id": None, "manager_id": _PERSON}
_IN_CENTRAL: dict[str, JsonValue] = {"person_id": _PERSON, "team_id": _TEAM, "start": "2026-01-01", "end": None}
_PIPEDRIVE_USER: dict[str, JsonValue] = {
    "source": "pipedrive",
    "external_user_id": "12345678",
    "person_id": _PERSON,
}
Version = Annotated[int, Field(ge=1, description="Grows with every change; its ETag goes into If-Match.")]


def _example(**fields: JsonValue) -> ConfigDict:
    return ConfigDict(extra="forbid", json_schema_extra={"examples": [fields]})


class CalendarBody(BaseModel):
    """The fiscal year and the zone days are counted in."""

    model_config = _example(**_CALENDAR)

    start_month: int = Field(ge=1, le=12, description="The month the fiscal year starts in.")
    time_zone: str = Field(max_length=64, description="IANA name.")
    currency: Currency

    def fiscal(self) -> FiscalCalendar:
        """Raises InvalidInput naming the field that is wrong."""
        return FiscalCalendar(self.start_month, self.time_zone)


class CalendarAnswer(CalendarBody):
    """The tenant's calendar."""

    model_config = _example(**_CALENDAR, version=1)

    version: Version

    @classmethod
    def of(cls, calendar: Calendar) -> Self:
        return cls(
            version=calendar.version,
            start_month=calendar.fiscal.start_month,
            time_zone=calendar.fiscal.time_zone,
            currency=calendar.currency,
        )


class PersonBody(BaseModel):
    """A new person."""

    model_config = _example(**_NAMED)

    name: Line
    email: Email | None = None


@with_config(extra="forbid", json_schema_extra={"examples": [{"email": "darcel.schlecht@example.com"}]})
class PersonChanges(TypedDict, total=False):
    """What is to change; what is left out stays."""

    name: Line
    email: Email | None
    active: bool


class PersonAnswer(PersonBody):
    """Someone who can own goals and earn."""

    model_config = _example(**_NAMED, id=_PERSON, version=1, active=True)

    id: UUID
    version: Version
    active: bool

    @classmethod
    def of(cls, person: Person) -> Self:
        return cls(id=person.id, version=person.version, name=person.name, email=person.email, active=person.active)


class TeamBody(BaseModel):
    """A new team."""

    model_config = _example(**_CENTRAL)

    name: Line
    parent_id: UUID | None = Field(None, description="The team it belongs to; null at the top.")
    manager_id: UUID | None = Field(None, description="The person who sees everyone in it and below.")


@with_config(extra="forbid", json_schema_extra={"examples": [{"parent_id": _TEAM}]})
class TeamChanges(TypedDict, total=False):
    """What is to change; what is left out stays."""

    name: Line
    parent_id: UUID | None
    manager_id: UUID | None


class TeamAnswer(TeamBody):
    """A node of the team tree."""

    model_config = _example(**_CENTRAL, id=_TEAM, version=1)

    id: UUID
    version: Version

    @classmethod
    def of(cls, team: Team) -> Self:
        return cls(
            id=team.id, version=team.version, name=team.name, parent_id=team.parent_id, manager_id=team.manager_id
        )


class MembershipBody(BaseModel):
    """A person is in a team from a day on."""

    model_config = _example(**_IN_CENTRAL)

    person_id: UUID
    team_id: UUID
    start: Day = Field(description="First day.")
    end: Day | None = Field(None, description="First day after; null for good.")


@with_config(extra="forbid", json_schema_extra={"examples": [{"end": "2026-07-01"}]})
class MembershipChanges(TypedDict, total=False):
    """What is to change; what is left out stays."""

    start: Day
    end: Day | None


class MembershipAnswer(BaseModel):
    """A person is in a team from `start` up to, not including, `end`."""

    model_config = _example(**_IN_CENTRAL, id="01935a00-0000-7000-8000-000000000071", version=1)

    id: UUID
    version: Version
    person_id: UUID
    team_id: UUID
    start: date
    end: date | None

    @classmethod
    def of(cls, membership: Membership) -> Self:
        return cls(
            id=membership.id,
            version=membership.version,
            person_id=membership.person_id,
            team_id=membership.team_id,
            start=membership.range.start,
            end=membership.range.end,
        )


class IdentityBody(BaseModel):
    """A CRM user is a person."""

    model_config = _example(**_PIPEDRIVE_USER)

    source: Line = Field(description="What the deals of the CRM connection name as their source.")
    external_user_id: Line = Field(description="The user's id in the CRM.")
    person_id: UUID


class IdentityChanges(BaseModel):
    """The CRM user is another person."""

    model_config = _example(person_id=_PERSON)

    person_id: UUID


class IdentityAnswer(IdentityBody):
    """A CRM user is a person."""

    model_config = _example(**_PIPEDRIVE_USER, id="01935a00-0000-7000-8000-000000000072", version=1)

    id: UUID
    version: Version

    @classmethod
    def of(cls, identity: Identity) -> Self:
        return cls(
            id=identity.id,
            version=identity.version,
            source=identity.source,
            external_user_id=identity.external_user_id,
            person_id=identity.person_id,
        )
