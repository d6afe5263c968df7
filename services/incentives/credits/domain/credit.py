"""What a deal is credited with and to whom, the cell it counts in, and why it is not credited."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Context, Decimal
from enum import StrEnum
from functools import lru_cache
from typing import Final, NamedTuple
from uuid import UUID, uuid5

from services.incentives.plans.domain.active_days import Prorated
from services.incentives.plans.domain.assignments import (
    QuotaGap,
    QuotaGoal,
)
from services.incentives.plans.domain.components import Component
from services.incentives.plans.domain.parameters import (
    MAIN,
    Multiplier,
    quota_key,
)
from services.incentives.plans.domain.versions import Plan, PlanVersion
from shared.kernel.deals import DealFacts
from shared.kernel.errors import NotFound
from shared.kernel.filters import Filter
from shared.kernel.measures import Counted, Exclusion
from shared.kernel.org import CrmUser
from shared.kernel.parts import Part
from shared.kernel.periods import DatedRange, Period
from shared.kernel.rates import RatesInto
from shared.kernel.working_days import WorkingDays

_EXACT: Final = Context(prec=100)
_ZERO: Final = Decimal(0)
_ONE: Final = Decimal(1)


class CreditExclusion(StrEnum):
    """Why a deal is not credited, beside the words of `shared.kernel.measures.Exclusion`."""

    DEAL_UNKNOWN = "deal_unknown"
    NO_ASSIGNMENT = "no_assignment"
    NO_WHOLE_PERIOD = "no_whole_period"
    """No whole period of the plan lies within the days in question."""
    NO_PLAN_VERSION = "no_plan_version"
    """The plan has no terms on the day that the deal counts on."""
    TERMS_START_LATER = "terms_start_later"
    """The plan's first terms start after the day that the deal counts on."""
    NO_COMPONENT = "no_component"
    OWNER_UNMAPPED = "owner_unmapped"
    NOT_OWNER = "not_owner"
    NOT_ON_SPLIT = "not_on_split"
    NOT_IN_SUBTREE = "not_in_subtree"
    NOT_IN_TEAM = "not_in_team"
    NOT_ON_PLAN = "not_on_plan"
    OUTSIDE_PERIOD = "outside_period"
    OWNED_BY_ANOTHER = "owned_by_another_on_day"
    """Somebody else owned the deal on the day it counts on, and the plan credits whoever did."""
    LEAVERS_DEAL = "leavers_deal"
    """The deal was taken over from somebody who left, and the plan goes on crediting who left."""
    HOUSE_ACCOUNT = "house_account"
    """Nobody is credited with the deal."""


class PersonNotInSight(NotFound):
    """There is no such person, or the caller may not see what it earns."""

    code = "person_not_found"
    title = "Person not found"


class TeamNotInSight(NotFound):
    """There is no such team, or the caller may not see it."""

    code = "team_not_found"
    title = "Team not found"


class DirectLine(NamedTuple):
    """A component that credits an assignment with its own share of money.

    `line` is a number that those which pay by the same component of the same plan have alike, `whole_percent` what of a
    deal is credited to whoever has all of it.
    """

    assignment_id: UUID
    component: str
    line: int
    whole_percent: Decimal
    currency: str


class CreditedToNobody(NamedTuple):
    """A deal, or a share of one, that counts for a component of a plan, and that is credited to nobody for `reason`."""

    deal_id: UUID
    plan_id: UUID
    day: date
    value: Decimal
    currency: str
    reason: str


class ReceivedDeal(NamedTuple):
    """A deal event as it was received, and its facts."""

    tenant_id: UUID
    facts: DealFacts
    body: str
    connection_id: UUID


class OwnerSince(NamedTuple):
    """The version of a deal of that moment has this owner, by the source's id; None for none."""

    moment: datetime
    user: str | None


Owners = Sequence[OwnerSince]
"""Of the versions of a deal, in their order."""


@dataclass(frozen=True, slots=True)
class CellKey:
    """One component of one assignment in one period."""

    assignment_id: UUID
    component: str
    period: Period

    @property
    def id(self) -> UUID:
        """The cell's identity: the same key is the same cell, for ever."""
        return _cell_id(self.assignment_id, self.component, self.period.start)


class PeriodTotal(NamedTuple):
    """What the credits by one measure come to that count in one period, and how many they are.

    Of a measure beside the main one, those of one `day`: its totals may run for other days than the cells.
    """

    cell: CellKey
    measure: str
    day: date
    value: Decimal
    credits: int


class CellDays(NamedTuple):
    """Days of one period that are paid alike, and the terms that are in force on them."""

    period: Period
    version: PlanVersion


@dataclass(frozen=True, slots=True)
class ComponentYear:
    """The cells of a component of an assignment in a fiscal year, where one depends on another."""

    assignment_id: UUID
    component: str
    year: Period


@dataclass(frozen=True, slots=True)
class CreditChanges:
    """What became of what a deal adds before it was credited.

    `multipliers` are those it passes; `left_out` is what a windfall leaves out of the whole deal on the credit's day.
    """

    multipliers: tuple[Multiplier, ...] = ()
    left_out: Decimal = _ZERO


@dataclass(frozen=True, slots=True)
class Credit:
    """What of a deal counts for an assignment's component on one day: its share of the deal, or of that day's payments.

    `measure` names the component's measure that counted it, and `period` is of that one. `value` = what it counted that
    day × `percent` ÷ 100, exact, less what a windfall leaves out, and times the multipliers of credit. What the credit
    pays is paid `factor` times.
    """

    assignment_id: UUID
    component: str
    deal_id: UUID
    day: date
    period: Period
    percent: Decimal
    value: Decimal
    measure: str = MAIN
    factor: Decimal = _ONE

    @property
    def key(self) -> tuple[UUID, UUID, str, str, date]:
        """A deal is credited at most once a day to a measure of a component of an assignment."""
        return self.deal_id, self.assignment_id, self.component, self.measure, self.day

    @property
    def cell(self) -> CellKey:
        """The cell it counts in; of a further measure, what would be a cell of its own."""
        return CellKey(self.assignment_id, quota_key(self.component, self.measure), self.period)

    @property
    def order(self) -> tuple[date, UUID]:
        """The order in which credits reach the tiers: business date, then deal id."""
        return self.day, self.deal_id


@dataclass(frozen=True, slots=True)
class NotCredited:
    """Why a deal is not in a cell.

    `failing` is the part of the filter it does not pass, `period` the one it counts in instead.
    """

    reason: str
    failing: Filter | None = None
    period: Period | None = None


@dataclass(frozen=True, slots=True)
class PartInCell:
    """One part of a deal, whose it is, and whether it is in a cell."""

    part: Part
    person_id: UUID | None
    outcome: Counted | NotCredited


@dataclass(frozen=True, slots=True)
class DealOfCell:
    """What a deal is to one cell: its credits by day, or why it has none; and that part by part.

    There are no parts where the deal adds nothing whoever has it.
    """

    credits: tuple[Credit, ...]
    refusal: NotCredited | None
    parts: tuple[PartInCell, ...] = ()


@dataclass(frozen=True, slots=True)
class PayTerms:
    """What a cell is paid by."""

    component: Component
    plan: Plan
    plan_version: int
    quota: Decimal | QuotaGap
    target_variable: Decimal | None = None
    """The pay at target in the period, in the plan's currency, where one is stated."""

    @property
    def target(self) -> Decimal | QuotaGap:
        """The pay at target, or that there is none."""
        return QuotaGap.TARGET_VARIABLE_MISSING if self.target_variable is None else self.target_variable

    @property
    def quota_amount(self) -> Decimal | None:
        """The quota, where there is one."""
        return None if isinstance(self.quota, QuotaGap) else self.quota


@dataclass(frozen=True, slots=True)
class Expected:
    """How what is expected of a person in a period comes about, by days; None for what is not stated."""

    quota: Prorated | None
    target_variable: Prorated | None


class ReachedUser(NamedTuple):
    """A user whose deals may be credited, on some days or on all, and for a roll-up of so many levels."""

    user: CrmUser
    days: DatedRange | None = None
    depth: int | None = None


@dataclass(frozen=True, slots=True)
class CreditInputs:
    """Everything outside an assignment and its deals that its cells depend on. Equal inputs give equal cells."""

    calendar: object
    users: frozenset[ReachedUser]
    goals: tuple[QuotaGoal | None, ...]
    terms: tuple[tuple[date, int], ...]
    rates: tuple[RatesInto, ...]
    """The daily rates of the assignment's years into the plan's currency, where its components convert at them."""
    work: WorkingDays | None
    """Which days are worked, where that decides what is expected of the person."""


# In the order in which they are checked, of a deal and then of one part.
_REASONS: Final = (
    CreditExclusion.NO_COMPONENT,
    Exclusion.DELETED,
    Exclusion.MERGED,
    Exclusion.FILTER,
    Exclusion.NO_DATE,
    Exclusion.NO_VALUE,
    Exclusion.NO_CURRENCY,
    Exclusion.CURRENCY_DIFFERS,
    Exclusion.NO_EXCHANGE_RATE,
    Exclusion.OWNER_MISSING,
    CreditExclusion.OWNER_UNMAPPED,
    CreditExclusion.NOT_OWNER,
    CreditExclusion.NOT_ON_SPLIT,
    CreditExclusion.NOT_IN_SUBTREE,
    CreditExclusion.NOT_IN_TEAM,
    CreditExclusion.NOT_ON_PLAN,
    Exclusion.SPLIT_UNMAPPED,
    Exclusion.OTHER_ROLE,
    Exclusion.NO_SHARE,
    CreditExclusion.OWNED_BY_ANOTHER,
    CreditExclusion.LEAVERS_DEAL,
    CreditExclusion.HOUSE_ACCOUNT,
    CreditExclusion.NO_ASSIGNMENT,
    CreditExclusion.NO_PLAN_VERSION,
    CreditExclusion.TERMS_START_LATER,
    CreditExclusion.OUTSIDE_PERIOD,
)


def furthest(refusals: Iterable[NotCredited]) -> NotCredited:
    """Of several reasons the one that was checked last: what is still missing where the most is right."""
    return max(refusals, key=lambda each: _REASONS.index(each.reason))


@lru_cache(maxsize=1 << 16)
def _cell_id(assignment_id: UUID, component: str, start: date) -> UUID:
    return uuid5(assignment_id, f"{component}/{start}")
