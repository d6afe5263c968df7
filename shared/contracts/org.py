"""`attain.org.v1`: who sells, in which team, under which name in each CRM; the tenant's days and exchange rates."""

from datetime import date
from decimal import Decimal
from typing import Annotated, ClassVar, Final, TypeVar
from uuid import UUID

from pydantic import AfterValidator, Field

from shared.contracts.base import AS_TEXT, NO_FLOAT, Currency, Event, Value, Version
from shared.kernel.org import TeamChange, TeamNode
from shared.kernel.periods import CalendarChange, FiscalCalendar
from shared.kernel.rates import RATE_DECIMALS_MAX, RATE_LIMIT
from shared.kernel.working_days import NationalDays as KnownDays
from shared.kernel.working_days import WorkingDays, WorkRule
from shared.kernel.years import Weekday, Weeks, YearEnd, YearPattern
from shared.kernel.zones import stored_zone

TOPIC = "attain.org.v1"


StateStart = Annotated[
    date | None,
    Field(
        ge=date(1900, 1, 1),
        le=date(3000, 1, 1),
        description="The first day it is in force; null for the first state, which is from the beginning of time.",
    ),
]


class CalendarRules(Value):
    """How years are cut, days counted and worked, and the home currency."""

    start_month: int = Field(ge=1, le=12)
    time_zone: str
    currency: Currency
    pattern: YearPattern = Field(
        YearPattern.MONTHS, description="Years of calendar months, or of quarters of so many weeks each."
    )
    week_start: Weekday = Weekday.MONDAY
    year_end: YearEnd = Field(
        YearEnd.NEAREST,
        description="Of a year of weeks: the last day of a week `nearest` to the end of the month before `start_month`,"
        " or the `last` one in that month.",
    )
    country: str | None = Field(None, description="ISO 3166-1 alpha-2: whose public holidays are kept.")
    subdivision: str | None = Field(None, description="Of the country, where its public holidays are others.")
    days_off: tuple[date, ...] = Field((), description="The company's own days off.")
    extra_working_days: tuple[date, ...] = Field((), description="Days that are worked all the same.")

    @property
    def weeks(self) -> Weeks:
        """The weeks and what is made of them."""
        return Weeks(self.week_start, self.pattern, self.year_end)


class CalendarState(CalendarRules):
    """The calendar from a day on, up to the next state."""

    start: StateStart


_RULES: Final = set(CalendarRules.model_fields)


class NationalDays(Value):
    """The days of a country or a subdivision on which is worked otherwise than by its week, as far as they are known.

    They are known from `start` up to, not including, `end`; from `published_until` on, and those of `estimated`, are
    guesses. An own day off or extra working day of the company goes before.
    """

    country: str
    subdivision: str | None
    start: date
    end: date
    published_until: date
    weekend: tuple[Weekday, ...]
    off: tuple[date, ...] = Field(description="Days outside weekends that are not worked.")
    worked: tuple[date, ...] = Field(description="Days of weekends that are worked.")
    estimated: tuple[date, ...] = Field(description="Those of `off` that may yet move.")


class TeamState(Value):
    """Which team a team is below and who manages it from a day on, up to the next state."""

    start: StateStart
    parent_id: UUID | None
    manager_id: UUID | None


StateT = TypeVar("StateT", CalendarState, TeamState)


def _in_order(states: tuple[StateT, ...]) -> tuple[StateT, ...]:
    starts = [state.start for state in states]
    later = [start for start in starts[1:] if start is not None]
    if starts and (starts[0] is not None or len(later) != len(starts) - 1 or later != sorted(set(later))):
        raise ValueError("must be in the order of their days, the first without one")
    return states


class Calendar(CalendarRules, Event):
    """The tenant's fiscal year, time zone, working days and home currency, as in force on the day this was published.

    `history` has what was and will be in force on other days; without it, this has been in force all along.
    """

    event_type: ClassVar[str] = "attain.calendar.v1"
    topic: ClassVar[str] = TOPIC

    version: Version
    history: Annotated[tuple[CalendarState, ...], AfterValidator(_in_order)] = ()
    national_days: tuple[NationalDays, ...] = Field((), description="Of every country and subdivision of a state.")

    @property
    def subject(self) -> str:
        return "calendar"

    def states(self) -> tuple[CalendarState, ...]:
        """Every state, the first from the beginning of time."""
        return self.history or (CalendarState(start=None, **self.model_dump(include=_RULES)),)

    def fiscal(self) -> FiscalCalendar:
        """What divides time into the tenant's years and days; a zone of earlier releases is read by `stored_zone`.

        Raises InvalidInput for what is no calendar.
        """
        first, *later = self.states()
        return FiscalCalendar(
            first.start_month,
            stored_zone(first.time_zone),
            tuple(
                CalendarChange(state.start, state.start_month, stored_zone(state.time_zone), state.weeks)
                for state in later
                if state.start is not None
            ),
            first.weeks,
        )

    def working_days(self) -> WorkingDays | None:
        """Which days are worked; None where the days of a country or subdivision of a state are not stated."""
        rules = tuple(
            (
                state.start or date.min,
                WorkRule(
                    state.country, state.subdivision, frozenset(state.days_off), frozenset(state.extra_working_days)
                ),
            )
            for state in self.states()
        )
        national = {
            (each.country, each.subdivision): KnownDays(
                each.start,
                each.end,
                each.published_until,
                frozenset(each.weekend),
                frozenset(each.off),
                frozenset(each.worked),
                frozenset(each.estimated),
            )
            for each in self.national_days
        }
        is_stated = all(rule.region is None or rule.region in national for _, rule in rules)
        return WorkingDays(rules, national) if is_stated else None


class Person(Event):
    """Someone who can own goals and earn."""

    event_type: ClassVar[str] = "attain.person.v1"
    topic: ClassVar[str] = TOPIC

    id: UUID
    version: Version
    name: str
    email: str | None
    active: bool
    employee_number: str | None = Field(None, description="What payroll knows the person by, unique in the tenant.")

    @property
    def subject(self) -> str:
        return f"person/{self.id}"


class Team(Event):
    """A node of the team tree, as on the day this was published. `manager_id` sees everyone in the subtree.

    `history` has its place and manager on other days; without it, they have been the same all along.
    """

    event_type: ClassVar[str] = "attain.team.v1"
    topic: ClassVar[str] = TOPIC

    id: UUID
    version: Version
    name: str
    parent_id: UUID | None
    manager_id: UUID | None
    history: Annotated[tuple[TeamState, ...], AfterValidator(_in_order)] = ()

    @property
    def subject(self) -> str:
        return f"team/{self.id}"

    def node(self) -> TeamNode:
        """The team in the tree, on every day."""
        if not self.history:
            return TeamNode(self.id, self.parent_id, self.manager_id)
        first, *later = self.history
        return TeamNode(
            self.id,
            first.parent_id,
            first.manager_id,
            tuple(
                TeamChange(state.start, state.parent_id, state.manager_id) for state in later if state.start is not None
            ),
        )


class Membership(Event):
    """A person is in a team from `start` up to, not including, `end`. `deleted` undoes it from the start."""

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
