"""Requests and answers of the organisation."""

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from typing import Annotated, Final, Required, Self
from uuid import UUID

from pydantic import AfterValidator, BaseModel, Field, JsonValue, StringConstraints, with_config
from typing_extensions import TypedDict

from services.goals.calendar.domain import FirstDay
from services.goals.calendar.schemas import FIRST_DAY, FirstDayOf, Version, first_day
from services.goals.org.domain import Identity, Membership, Person, Place, Team
from shared.contracts.base import Day
from shared.contracts.texts import COMPOSED, ONE_LINE, Line
from shared.http.schemas import ITEMS_MAX, VersionedItem, body_example
from shared.kernel.ids import source_user_id
from shared.kernel.periods import DatedRange

_PERSON = "01935a00-0000-7000-8000-000000000011"
_TEAM = "01935a00-0000-7000-8000-000000000021"
_STAY = "01935a00-0000-7000-8000-000000000071"
_USER = "01935a00-0000-7000-8000-000000000072"
_NAMED: dict[str, JsonValue] = {"name": "Darcel Schlecht", "email": "darcel@example.com", "employee_number": "E-1042"}
_CENTRAL: dict[str, JsonValue] = {"name": "Central", "parent_id": None, "manager_id": _PERSON}
_IN_CENTRAL: dict[str, JsonValue] = {"person_id": _PERSON, "team_id": _TEAM, "start": "2026-01-01", "end": None}
_PIPEDRIVE_USER: dict[str, JsonValue] = {
    "source": "pipedrive",
    "external_user_id": "12345678",
    "person_id": _PERSON,
}
_EMAIL: Final = re.compile(r"[^@\s]+@[^@\s]+")


def _address(text: str) -> str:
    if not _EMAIL.fullmatch(text):
        raise ValueError("an address such as ada@example.com")
    return text


Email = Annotated[
    str, StringConstraints(strip_whitespace=True, max_length=254), ONE_LINE, AfterValidator(_address), COMPOSED
]
EmployeeNumber = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=64), ONE_LINE, COMPOSED
]
"""What payroll knows a person by: digits or not, leading zeros count."""


class PersonBody(BaseModel):
    """A new person."""

    model_config = body_example(**_NAMED)

    name: Line
    email: Email | None = Field(None, description="Nobody else of the tenant has it, in whatever case of letters.")
    employee_number: EmployeeNumber | None = Field(
        None, description="What payroll knows the person by; nobody else of the tenant has it."
    )

    def person(self, person_id: UUID) -> Person:
        return Person(person_id, 1, self.name, self.email, active=True, employee_number=self.employee_number)


@with_config(extra="forbid", json_schema_extra={"examples": [{"email": "darcel.schlecht@example.com"}]})
class PersonChanges(TypedDict, total=False):
    """What is to change; what is left out stays."""

    name: Line
    email: Email | None
    active: bool
    employee_number: EmployeeNumber | None


@with_config(extra="forbid", json_schema_extra={"examples": [{"id": _PERSON, "version": 1, "active": False}]})
class PersonItem(VersionedItem, PersonChanges, total=False):
    """What is to change of one of many people; what is left out stays."""


class PeopleBody(BaseModel):
    """Many people at once: all of it happens or nothing."""

    model_config = body_example(
        create=[dict(_NAMED)], change=[{"id": "01935a00-0000-7000-8000-000000000012", "version": 3, "active": False}]
    )

    create: list[PersonBody] = Field(default=[], max_length=ITEMS_MAX)
    change: list[PersonItem] = Field(default=[], max_length=ITEMS_MAX)


class PersonAnswer(PersonBody):
    """Someone who can own goals and earn."""

    model_config = body_example(**_NAMED, id=_PERSON, version=1, active=True)

    id: UUID
    version: Version
    active: bool

    @classmethod
    def of(cls, person: Person) -> Self:
        return cls(
            id=person.id,
            version=person.version,
            name=person.name,
            email=person.email,
            active=person.active,
            employee_number=person.employee_number,
        )


class PeopleAnswer(BaseModel):
    """What was added and changed, in the order of the request."""

    model_config = body_example(created=[{**_NAMED, "id": _PERSON, "version": 1, "active": True}], changed=[])

    created: list[PersonAnswer]
    changed: list[PersonAnswer]


class TeamBody(BaseModel):
    """A new team."""

    model_config = body_example(**_CENTRAL)

    name: Line
    parent_id: UUID | None = Field(None, description="The team it belongs to; null at the top.")
    manager_id: UUID | None = Field(None, description="The person who sees everyone in it and below.")

    def team(self, team_id: UUID) -> Team:
        """In force from the beginning of time."""
        return Team(team_id, 1, self.name, Place(self.parent_id, self.manager_id))


@with_config(extra="forbid", json_schema_extra={"examples": [{"parent_id": _TEAM, "start": "2026-07-01"}]})
class TeamChanges(TypedDict, total=False):
    """What is to change; what is left out stays. The name is the same on all days."""

    name: Line
    parent_id: UUID | None
    manager_id: UUID | None
    start: Annotated[
        FirstDayOf,
        Field(description=f"Of the parent and the manager. {FIRST_DAY} Left out: the tenant's today."),
    ]


@with_config(extra="forbid", json_schema_extra={"examples": [{"id": _TEAM, "version": 1, "name": "North"}]})
class TeamItem(VersionedItem, TeamChanges, total=False):
    """What is to change of one of many teams; what is left out stays."""


class TeamsBody(BaseModel):
    """Many teams at once: all of it happens or nothing."""

    model_config = body_example(create=[dict(_CENTRAL)], change=[{"id": _TEAM, "version": 1, "name": "North"}])

    create: list[TeamBody] = Field(default=[], max_length=ITEMS_MAX)
    change: list[TeamItem] = Field(default=[], max_length=ITEMS_MAX)


class TeamPlace(BaseModel):
    """A team's parent and manager from a day on, up to the next."""

    start: date | None = Field(description="First day; null for the beginning of time.")
    parent_id: UUID | None
    manager_id: UUID | None


class TeamAnswer(TeamBody):
    """A node of the team tree as it is today, and as it was and will be."""

    model_config = body_example(
        **_CENTRAL, id=_TEAM, version=1, history=[{"start": None, "parent_id": None, "manager_id": _PERSON}]
    )

    id: UUID
    version: Version
    history: list[TeamPlace] = Field(description="In order, without a gap.")

    @classmethod
    def of(cls, team: Team, today: date) -> Self:
        current = team.on(today)
        return cls(
            id=team.id,
            version=team.version,
            name=team.name,
            parent_id=current.parent_id,
            manager_id=current.manager_id,
            history=[
                TeamPlace(start=None, parent_id=team.always.parent_id, manager_id=team.always.manager_id),
                *(
                    TeamPlace(start=start, parent_id=place.parent_id, manager_id=place.manager_id)
                    for start, place in team.changes
                ),
            ],
        )


class TeamsAnswer(BaseModel):
    """What was added and changed, in the order of the request."""

    model_config = body_example(created=[{**_CENTRAL, "id": _TEAM, "version": 1, "history": []}], changed=[])

    created: list[TeamAnswer]
    changed: list[TeamAnswer]


class MembershipBody(BaseModel):
    """A person is in a team from a day on."""

    model_config = body_example(**_IN_CENTRAL)

    person_id: UUID
    team_id: UUID
    start: Day = Field(description="First day.")
    end: Day | None = Field(None, description="First day after; null for good.")

    def membership(self, membership_id: UUID) -> Membership:
        """Raises InvalidInput when it ends before it starts."""
        return Membership(membership_id, 1, self.person_id, self.team_id, DatedRange(self.start, self.end))


@with_config(extra="forbid", json_schema_extra={"examples": [{"end": "2026-07-01"}]})
class MembershipChanges(TypedDict, total=False):
    """What is to change; what is left out stays."""

    start: Day
    end: Day | None


@with_config(extra="forbid", json_schema_extra={"examples": [{"id": _STAY, "version": 1, "end": "2026-07-01"}]})
class MembershipItem(VersionedItem, MembershipChanges, total=False):
    """What is to change of one of many memberships; what is left out stays."""


class MembershipsBody(BaseModel):
    """Many memberships at once, taken back, changed and then created: all of it happens or nothing."""

    model_config = body_example(
        create=[dict(_IN_CENTRAL)], change=[{"id": _STAY, "version": 1, "end": "2026-07-01"}], delete=[]
    )

    create: list[MembershipBody] = Field(default=[], max_length=ITEMS_MAX)
    change: list[MembershipItem] = Field(default=[], max_length=ITEMS_MAX)
    delete: list[VersionedItem] = Field(default=[], max_length=ITEMS_MAX, description="Taken back as if never stated.")


class MembershipAnswer(BaseModel):
    """A person is in a team from `start` up to, not including, `end`."""

    model_config = body_example(**_IN_CENTRAL, id="01935a00-0000-7000-8000-000000000071", version=1)

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


class MembershipsAnswer(BaseModel):
    """What was created and changed, in the order of the request."""

    model_config = body_example(created=[{**_IN_CENTRAL, "id": _STAY, "version": 1}], changed=[])

    created: list[MembershipAnswer]
    changed: list[MembershipAnswer]


class IdentityBody(BaseModel):
    """A CRM user is a person."""

    model_config = body_example(**_PIPEDRIVE_USER)

    source: Line = Field(description="What the deals of the CRM connection name as their source.")
    external_user_id: Line = Field(description="The user's id in the CRM.")
    person_id: UUID

    def identity(self, identity_id: UUID) -> Identity:
        return Identity(identity_id, 1, self.source, source_user_id(self.external_user_id), self.person_id)


class IdentityChanges(BaseModel):
    """The CRM user is another person."""

    model_config = body_example(person_id=_PERSON)

    person_id: UUID


@with_config(extra="forbid", json_schema_extra={"examples": [{"id": _USER, "version": 1, "person_id": _PERSON}]})
class IdentityItem(VersionedItem, total=False):
    """One of many CRM users is another person."""

    person_id: Required[UUID]


class IdentitiesBody(BaseModel):
    """Many identities at once, taken back, changed and then created: all of it happens or nothing."""

    model_config = body_example(create=[dict(_PIPEDRIVE_USER)], change=[], delete=[{"id": _USER, "version": 1}])

    create: list[IdentityBody] = Field(default=[], max_length=ITEMS_MAX)
    change: list[IdentityItem] = Field(default=[], max_length=ITEMS_MAX)
    delete: list[VersionedItem] = Field(default=[], max_length=ITEMS_MAX, description="The CRM users are nobody then.")


class IdentityAnswer(IdentityBody):
    """A CRM user is a person."""

    model_config = body_example(**_PIPEDRIVE_USER, id="01935a00-0000-7000-8000-000000000072", version=1)

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


class IdentitiesAnswer(BaseModel):
    """What was created and changed, in the order of the request."""

    model_config = body_example(created=[{**_PIPEDRIVE_USER, "id": _USER, "version": 1}], changed=[])

    created: list[IdentityAnswer]
    changed: list[IdentityAnswer]


def person_changed(changes: PersonChanges) -> Callable[[Person], Person]:
    """Changes a person so."""
    return lambda person: replace(
        person,
        name=changes.get("name", person.name),
        email=changes.get("email", person.email),
        active=changes.get("active", person.active),
        employee_number=changes.get("employee_number", person.employee_number),
    )


def team_changed(changes: TeamChanges) -> Callable[[Team, date], Team]:
    """Changes a team so: the name for all days, the place from a first day on, made of the one in force then."""
    start = first_day(changes.get("start"))

    def changed(team: Team, today: date) -> Team:
        first = {FirstDay.TODAY: today, FirstDay.BEGINNING: date.min}[start] if isinstance(start, FirstDay) else start
        before = team.on(first)
        place = Place(changes.get("parent_id", before.parent_id), changes.get("manager_id", before.manager_id))
        return replace(team.placed(start, place, today), name=changes.get("name", team.name))

    return changed


def membership_changed(changes: MembershipChanges) -> Callable[[Membership], Membership]:
    """Changes the days of a membership so. What it makes raises InvalidInput when that ends before it starts."""
    return lambda stay: replace(
        stay, range=DatedRange(changes.get("start", stay.range.start), changes.get("end", stay.range.end))
    )
