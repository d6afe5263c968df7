"""`attain.org.v1`: who sells, in which team, under which name in each CRM, and how the tenant counts its days."""

from datetime import date
from typing import ClassVar
from uuid import UUID

from pydantic import Field

from shared.contracts.base import Currency, Event, Version

TOPIC = "attain.org.v1"


class Calendar(Event):
    """The tenant's fiscal year and time zone."""

    event_type: ClassVar[str] = "attain.calendar.v1"
    topic: ClassVar[str] = TOPIC

    version: Version
    start_month: int = Field(ge=1, le=12)
    time_zone: str
    currency: Currency

    @property
    def subject(self) -> str:
        return "calendar"


class Person(Event):
    """Someone who can own goals and earn."""

    event_type: ClassVar[str] = "attain.person.v1"
    topic: ClassVar[str] = TOPIC

    id: UUID
    version: Version
    name: str
    email: str | None
    active: bool

    @property
    def subject(self) -> str:
        return f"person/{self.id}"


class Team(Event):
    """A node of the team tree. `manager_id` sees everyone in the subtree."""

    event_type: ClassVar[str] = "attain.team.v1"
    topic: ClassVar[str] = TOPIC

    id: UUID
    version: Version
    name: str
    parent_id: UUID | None
    manager_id: UUID | None

    @property
    def subject(self) -> str:
        return f"team/{self.id}"


class Membership(Event):
    """A person is in a team from `start` up to, not including, `end`. `deleted` takes it back as if never said."""

    event_type: ClassVar[str] = "attain.membership.v1"
    topic: ClassVar[str] = TOPIC

    id: UUID
    version: Version
    person_id: UUID
    team_id: UUID
    start: date
    end: date | None
    deleted: bool

    @property
    def subject(self) -> str:
        return f"membership/{self.id}"


class Identity(Event):
    """A CRM user is a person. `deleted` takes it back."""

    event_type: ClassVar[str] = "attain.identity.v1"
    topic: ClassVar[str] = TOPIC

    id: UUID
    version: Version
    source: str
    external_user_id: str
    person_id: UUID
    deleted: bool

    @property
    def subject(self) -> str:
        return f"identity/{self.id}"
