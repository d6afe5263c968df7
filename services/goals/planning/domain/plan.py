"""What a plan is made of: a target, who and what it is split by, and what people changed of the outcome. Pure.

A plan is all that its tree is worked out from: the same plan gives the same tree, node by node, whenever it is asked.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import StrEnum
from functools import cached_property
from typing import Final, NamedTuple
from uuid import UUID

from services.goals.planning.domain.segments import Ramp
from services.goals.targets.domain import Owner
from shared.kernel.errors import Conflict, InvalidInput, NotFound
from shared.kernel.periods import DatedRange, Period

NODES_MAX: Final = 250_000
STEPS_MAX: Final = 20
CHANGES_MAX: Final = 10_000
OVER_ASSIGNMENT_MAX: Final = Decimal(10)
NOTE_CHARACTERS_MAX: Final = 2_000


class PlanRefused(InvalidInput):
    """The plan contradicts itself or can not be split as it says; its fields name where."""

    code = "plan_refused"
    title = "Plan refused"


class NodeNotFound(NotFound):
    """The plan's tree has no such node."""

    code = "plan_node_not_found"
    title = "Node of the plan not found"


class NodeLocked(Conflict):
    """A locked node has to be unlocked first."""

    code = "plan_node_locked"
    title = "Node of the plan is locked"


class NodeBehind(Conflict):
    """The node was behind when the plan was last re-spread: what it had to reach is not changed any more."""

    code = "plan_node_behind"
    title = "Node of the plan is behind"


class OutsideTolerance(InvalidInput):
    """A manager's own number is further from the one handed down than the tolerance of the level allows."""

    code = "outside_tolerance"
    title = "Outside the tolerance"


class Basis(StrEnum):
    """What decides how much of a target each of several people or teams gets."""

    EQUAL = "equal"
    HISTORY = "history"
    CAPACITY = "capacity"
    PIPELINE = "pipeline"
    POTENTIAL = "potential"


class Shape(StrEnum):
    """What decides how much of a target each part of its period gets."""

    EQUAL = "equal"
    """Each part the same, however long it is."""
    DAYS = "days"
    """By days: a period of five weeks in a 4-4-5 year gets five quarters of what one of four gets."""
    WORKING_DAYS = "working_days"
    SEASONAL = "seasonal"
    """By working days, each times the index of its season."""
    CUSTOM = "custom"
    """By stated percentages; a part that is cut has its percentage by days."""


@dataclass(frozen=True, slots=True)
class AlongPeople:
    """Each owner's target goes to those right below, a blend of bases deciding: shares of the blend sum to 1.

    `over_assignment` 0.1 hands down 10 % more than the target, on purpose. `tolerance` 0.05 lets a manager set the own
    node 5 % off what was handed down; None leaves it free.
    """

    blend: Mapping[Basis, Decimal]
    over_assignment: Decimal = Decimal(0)
    tolerance: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Season:
    """Some of the days of the plan and their seasonal index, 1 being the mean."""

    period: Period
    index: Decimal


@dataclass(frozen=True, slots=True)
class AlongTime:
    """Each target is split over those of `parts` that lie in its period, cut where they reach beyond it.

    `parts` are all months (or quarters, weeks, days …) of the plan's period, in order and without a gap: a week that
    belongs to two months is cut into its days in each. `seasons` cover the period too (SEASONAL); `percentages` are one
    a part and total 100 (CUSTOM). `follows_capacity` gives a person less where a ramp or an absence says so.
    """

    parts: tuple[Period, ...]
    shape: Shape
    seasons: tuple[Season, ...] = ()
    percentages: tuple[Decimal, ...] = ()
    follows_capacity: bool = False


Step = AlongPeople | AlongTime


@dataclass(frozen=True, slots=True)
class Capacity:
    """How much somebody can take on: full-time equivalents × availability × productivity × ramp, on days present."""

    fte: Decimal = Decimal(1)
    availability: Decimal = Decimal(1)
    productivity: Decimal = Decimal(1)
    ramp: Ramp | None = None
    present: DatedRange | None = None
    """None: on all days."""
    reduced: tuple[tuple[DatedRange, Decimal], ...] = ()
    """Days on which somebody present has no more than a share of the strength, as on leave; the least counts."""


@dataclass(frozen=True, slots=True)
class OwnerFacts:
    """What is known about a person or a team. What is None is, for a team, the sum of those below it.

    For a person it is then nothing, and the capacity that of one full-time employee. History and pipeline below 0 count
    as 0.
    """

    history: Decimal | None = None
    pipeline: Decimal | None = None
    potential: Decimal | None = None
    capacity: Capacity | None = None


class TakenBy(StrEnum):
    """Who takes the difference when a node gets another target."""

    NOBODY = "nobody"
    """It is shown at the node above as a mismatch."""
    SIBLINGS = "siblings"
    """The nodes beside it that nobody stated or locked; of rates each gets the same that makes up for it."""
    PARENT = "parent"
    """All nodes above it, up to the first one that is locked; that one shows what it did not take as a mismatch."""


@dataclass(frozen=True, slots=True)
class Edit:
    """Somebody states the target of a node. What is below follows, except what is stated or locked there."""

    node_id: UUID
    target: Decimal
    taken_by: TakenBy = TakenBy.NOBODY


@dataclass(frozen=True, slots=True)
class Lock:
    """A node has this target, whatever is split or re-spread around it; where that differs, its siblings take it."""

    node_id: UUID
    target: Decimal


@dataclass(frozen=True, slots=True)
class Unlock:
    """A node that was locked or stated may change again with what is around it. Nothing moves at once."""

    node_id: UUID


@dataclass(frozen=True, slots=True)
class Note:
    """Somebody says something about a node; an empty text takes it back."""

    node_id: UUID
    text: str


@dataclass(frozen=True, slots=True)
class Respread:
    """What is left of a node's target on `day` is split anew over what lies ahead of it, through all levels of time.

    `reached` is what each node of `nodes_reaching` has reached from its first day up to, not including, `day`; a node
    that is not named has reached nothing.
    """

    node_id: UUID
    day: date
    reached: Mapping[UUID, Decimal]


Change = Edit | Lock | Unlock | Note | Respread


@dataclass(frozen=True, slots=True)
class Plan:
    """All that a tree is worked out from. Amounts have at most `decimals` decimals: a currency's, or 0."""

    target: Decimal
    decimals: int
    owner: Owner
    period: Period
    steps: tuple[Step, ...]
    below: Mapping[Owner, tuple[Owner, ...]]
    """Who is right below whom, in the order in which equal remainders are rounded up."""
    facts: Mapping[Owner, OwnerFacts]
    working_days: tuple[date, ...] = ()
    """Those of the plan's period, in order; none are needed where no step counts them."""
    changes: tuple[Change, ...] = ()
    """In the order in which people made them."""
    adds_up: bool = True
    """False where targets are rates, such as ratios and averages: each part has the target of the node above it, and
    what a step splits by decides how much the part weighs in what the parts come to together.
    """


@dataclass(frozen=True, slots=True)
class Node:
    """One owner's target for one period. All a store needs of it is here: one row a node.

    The id is that of the place (owner and period, under such nodes), the same in every plan that has the place.
    """

    id: UUID
    parent_id: UUID | None
    owner: Owner
    period: Period
    target: Decimal
    handed_down: Decimal
    """What the last split gave it, which a manager's tolerance is measured from."""
    over_assigned: Decimal
    """By how much more was handed down than the target, on purpose; 0 where nothing is below."""
    mismatch: Decimal
    """What those right below add up to, less the target and what is over-assigned; 0 where nothing is below.

    Those that are behind a re-spread count with what they reached. Of rates it is the mean of those right below, each
    by its share, less the target.
    """
    locked: bool
    stated: bool
    """Somebody gave it this target."""
    reached: Decimal | None
    """What counts of it instead of its target since a re-spread, for a part that was behind."""
    step: int | None
    """Which of the plan's steps made it; None for the topmost."""
    note: str
    share: Decimal | None = None
    """How much of the node above a rate weighs, with six decimals; None for the topmost and for what adds up."""


class Remark(NamedTuple):
    """Nobody below the node has any of these bases (or no part any of this shape), so they decided nothing.

    Where nothing else did, `evenly`: the target was split equally.
    """

    node_id: UUID
    lacking: tuple[Basis | Shape, ...]
    evenly: bool


class Unapplied(NamedTuple):
    """A change of the plan, by its place among them, that its tree no longer has the node for, and why."""

    change: int
    reason: NodeNotFound | NodeLocked | NodeBehind


@dataclass(frozen=True)
class Tree:
    """The nodes of a plan: each after the one above it, those below one node side by side, in order."""

    nodes: tuple[Node, ...]
    remarks: tuple[Remark, ...]
    unapplied: tuple[Unapplied, ...]

    @cached_property
    def by_id(self) -> Mapping[UUID, Node]:
        """Every node by its id."""
        return {node.id: node for node in self.nodes}
