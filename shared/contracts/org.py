"""`attain.org.v1`: who sells, in which team, under which name in each CRM; the tenant's days and exchange rates."""

from datetime import date
from decimal import Decimal
from typing import Annotated, ClassVar
from uuid import UUID

from pydantic import Field

from shared.contracts.base import AS_TEXT, NO_FLOAT, Currency, Event, Value, Version
from shared.kernel.rates import RATE_DECIMALS_MAX, RATE_LIMIT

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


ExchangeRate = Annotated[
    Decimal,
    Field(gt=0, lt=RATE_LIMIT, decimal_places=RATE_DECIMALS_MAX),
    NO_FLOAT,
    AS_TEXT,
]
"""Units of the home currency for one unit of another: above 0, below 10^9, at most ten decimals."""


class DatedRate(Value):
    """A rate that is in force from this day on, up to the next one stated."""

    date: date
    rate: ExchangeRate


class ExchangeRates(Event):
    """All rates of one currency stated for the days of one month; without rates, there are none any more.

    `base_currency` is the home currency they were stated in: those in a former one stay what they are.
    """

    event_type: ClassVar[str] = "attain.exchange-rates.v1"
    topic: ClassVar[str] = TOPIC

    version: Version
    base_currency: Currency
    currency: Currency
    month: str = Field(pattern=r"^[0-9]{4}-[0-9]{2}$", examples=["2026-03"])
    rates: tuple[DatedRate, ...] = Field(description="How many units of the base currency a unit is, by day.")

    @property
    def subject(self) -> str:
        return f"exchange-rates/{self.base_currency}/{self.currency}/{self.month}"
