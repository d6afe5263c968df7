"""A scenario: a plan that is kept, changed by people, compared with others, and becomes goals once. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from hashlib import sha256
from typing import Final, NamedTuple
from uuid import UUID

from services.goals.planning.domain.numbers import from_units, rounded_half_up, to_units
from services.goals.planning.domain.plan import AlongPeople, Change, Node, OwnerFacts, Plan, Shape
from services.goals.targets.domain import CheckIn, Direction, Goal, GoalTerms, Owner, draft
from shared.kernel.approvals import Actor
from shared.kernel.errors import Conflict, InvalidInput, NotFound
from shared.kernel.ids import unix_milliseconds, uuid7
from shared.kernel.measures import Measure
from shared.kernel.periods import Period, PeriodKind

GOAL_NAME_CHARACTERS_MAX: Final = 200
_OWNER, _PERIOD = "{owner}", "{period}"


class ScenarioNotFound(NotFound):
    """There is no such scenario, or the caller may not see it."""

    code = "scenario_not_found"
    title = "Scenario not found"


class ScenarioNotInState(Conflict):
    """The scenario is in a state in which this cannot be done."""

    code = "scenario_not_in_state"
    title = "Scenario is in another state"


class EvidenceLacking(InvalidInput):
    """The plan is to be split by something that nothing is known of."""

    code = "evidence_lacking"
    title = "Evidence is lacking"


class ScenarioState(StrEnum):
    """Where a scenario is."""

    DRAFT = "draft"
    APPLYING = "applying"
    """Its goals are being drafted, or taken back."""
    APPLIED = "applied"
    ARCHIVED = "archived"


class Slice(StrEnum):
    """By what a target is split along time."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    QUARTER = "quarter"
    HALF = "half"

    @property
    def kind(self) -> PeriodKind | None:
        """Of which kind the fiscal calendar has it; None for a day."""
        return None if self is Slice.DAY else PeriodKind(self)


@dataclass(frozen=True, slots=True)
class OverTime:
    """A step along time as it is stated: the calendar says which parts there are, and actuals what the seasons are."""

    slice: Slice
    shape: Shape
    percentages: tuple[Decimal, ...] = ()
    follows_capacity: bool = False


StatedStep = AlongPeople | OverTime


@dataclass(frozen=True, slots=True)
class Wish:
    """A plan as somebody states it, before the calendar, the organisation and actuals say what it comes to.

    The organisation is that of the day `people_on`. Facts that are stated go before those that are known.
    """

    target: Decimal
    decimals: int
    owner: Owner
    period: Period
    steps: tuple[StatedStep, ...]
    people_on: date
    facts: Mapping[Owner, OwnerFacts]


@dataclass(frozen=True, slots=True)
class Pattern:
    """What the goals of a scenario have in common. `name` may have {owner} and {period} in it.

    The topmost goal starts from `baseline`. Where targets add up, the others start from as much of it as their target
    is of the topmost one.
    """

    name: str
    measure: Measure
    unit: str
    direction: Direction = Direction.HIGHER
    baseline: Decimal = Decimal(0)
    check_in: CheckIn = CheckIn.NONE

    def named(self, owner: str, period: Period) -> str:
        """The name of the goal of somebody for a period, cut to what a name may have."""
        last = date.fromordinal(period.end.toordinal() - 1)
        days = period.start.isoformat() if last == period.start else f"{period.start} – {last}"
        return self.name.replace(_OWNER, owner).replace(_PERIOD, days)[:GOAL_NAME_CHARACTERS_MAX].strip()


class Entry(NamedTuple):
    """Who made a change of the plan, when and why."""

    actor: Actor
    changed_at: datetime
    reason: str | None


@dataclass(frozen=True, slots=True)
class Scenario:
    """A plan with its history. `plan` is what the wish came to with what was known at `known_at`.

    `log` has an entry for each of the plan's changes. `applied_at` is from when its goals are; a draft has none.
    """

    id: UUID
    version: int
    name: str
    state: ScenarioState
    pattern: Pattern
    wish: Wish
    plan: Plan
    author: Actor
    known_at: datetime
    log: tuple[Entry, ...] = ()
    applied_at: datetime | None = None
    job_id: UUID | None = None

    @property
    def owner_ids(self) -> frozenset[UUID]:
        """Of everybody the plan has a target for."""
        below = self.plan.below.values()
        return frozenset({self.plan.owner.id, *(owner.id for owners in below for owner in owners)})

    def renamed(self, name: str) -> "Scenario":
        """Under another name."""
        return replace(self, version=self.version + 1, name=name)

    def with_changes(self, changes: Sequence[Change], entry: Entry) -> "Scenario":
        """With changes of its plan more, all made at once. Raises ScenarioNotInState."""
        self.needs(ScenarioState.DRAFT)
        plan = replace(self.plan, changes=(*self.plan.changes, *changes))
        log = (*self.log, *[entry] * len(changes))
        return replace(self, version=self.version + 1, plan=plan, log=log)

    def refreshed(self, plan: Plan, known_at: datetime) -> "Scenario":
        """By what is known now; what people changed stays. Raises ScenarioNotInState."""
        self.needs(ScenarioState.DRAFT)
        plan = replace(plan, changes=self.plan.changes)
        return replace(self, version=self.version + 1, plan=plan, known_at=known_at)

    def copied(self, scenario_id: UUID, name: str, author: Actor) -> "Scenario":
        """Another draft of the same."""
        return replace(
            self,
            id=scenario_id,
            version=1,
            name=name,
            state=ScenarioState.DRAFT,
            author=author,
            applied_at=None,
            job_id=None,
        )

    def applying(self, job_id: UUID, now: datetime) -> "Scenario":
        """With its goals being drafted. Raises ScenarioNotInState."""
        self.needs(ScenarioState.DRAFT)
        return replace(self, version=self.version + 1, state=ScenarioState.APPLYING, applied_at=now, job_id=job_id)

    def reverting(self, job_id: UUID) -> "Scenario":
        """With its goals being taken back. Raises ScenarioNotInState."""
        self.needs(ScenarioState.APPLYING, ScenarioState.APPLIED)
        return replace(self, version=self.version + 1, state=ScenarioState.APPLYING, job_id=job_id)

    def ended(self, state: ScenarioState) -> "Scenario":
        """With its goals drafted, or taken back."""
        applied_at = None if state is ScenarioState.DRAFT else self.applied_at
        return replace(self, version=self.version + 1, state=state, applied_at=applied_at)

    def archived(self) -> "Scenario":
        """Put away; its goals, if it has any, stay. Raises ScenarioNotInState."""
        self.needs(ScenarioState.DRAFT, ScenarioState.APPLIED)
        return replace(self, version=self.version + 1, state=ScenarioState.ARCHIVED)

    def needs(self, *states: ScenarioState) -> None:
        """Raises ScenarioNotInState unless it is in one of these."""
        if self.state not in states:
            raise ScenarioNotInState(f"The scenario is {self.state}; this needs one that is {' or '.join(states)}.")

    def goal_id(self, node_id: UUID) -> UUID:
        """Of the goal that a node becomes: the same each time, another in each try."""
        if self.applied_at is None:
            raise ValueError("a scenario that was never applied has no goals")
        chance = sha256(self.id.bytes + node_id.bytes).digest()[:10]
        return uuid7(unix_milliseconds(self.applied_at), chance)

    def became(self, node: Node) -> UUID | None:
        """The goal that a node has become; None before all of them are drafted, and for one without a target."""
        is_applied = self.state in (ScenarioState.APPLIED, ScenarioState.ARCHIVED) and self.applied_at is not None
        return self.goal_id(node.id) if is_applied and node.target > 0 else None

    def goals_of(self, nodes: Sequence[Node], by_id: Mapping[UUID, Node], names: Mapping[Owner, str]) -> Iterator[Goal]:
        """The drafts that these nodes become; one whose target is 0 becomes none."""
        for node in nodes:
            if node.target > 0:
                above = None if node.parent_id is None else by_id[node.parent_id]
                while above is not None and above.target <= 0:
                    above = None if above.parent_id is None else by_id[above.parent_id]
                parent_id = None if above is None else self.goal_id(above.id)
                terms = self.terms(node.owner, names[node.owner], node.period, node.target, parent_id)
                yield draft(self.goal_id(node.id), terms)

    def terms(self, owner: Owner, name: str, period: Period, target: Decimal, parent_id: UUID | None) -> GoalTerms:
        """Those of a goal of an owner, whose name is `name`, for a period."""
        return GoalTerms(
            name=self.pattern.named(name, period),
            owner=owner,
            measure=self.pattern.measure,
            target=target,
            baseline=self._baseline(target),
            unit=self.pattern.unit,
            direction=self.pattern.direction,
            period=period,
            parent_id=parent_id,
            weight=Decimal(1),
            check_in=self.pattern.check_in,
            top=parent_id is None,
        )

    def _baseline(self, target: Decimal) -> Decimal:
        whole = self.pattern.baseline
        if not (self.plan.adds_up and whole and self.plan.target):
            return whole
        decimals = self.plan.decimals
        parts = to_units(whole, decimals) * to_units(target, decimals)
        of = to_units(self.plan.target, decimals)
        return from_units(rounded_half_up(parts if of > 0 else -parts, abs(of)), decimals)


@dataclass(frozen=True, slots=True)
class Commitment:
    """What somebody says they will reach of a node, from below; the last one stated of a node counts."""

    node_id: UUID
    amount: Decimal
    comment: str | None
    author: Actor
    committed_at: datetime


def months_of(period: Period) -> tuple[date, ...] | None:
    """The first days of the calendar months a period is made of; None where it is not made of whole ones."""
    if period.start.day != 1 or period.end.day != 1:
        return None
    return tuple(_months(period.start, period.end))


def a_year_before(month: date) -> date:
    """The same month of the year before."""
    return month.replace(year=month.year - 1)


def _months(start: date, end: date) -> Iterator[date]:
    month = start
    while month < end:
        yield month
        month = date(month.year + month.month // 12, month.month % 12 + 1, 1)
