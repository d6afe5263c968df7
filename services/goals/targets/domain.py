"""A goal's life: draft, active, revised while active, then closed or cancelled."""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_UP, Decimal
from enum import StrEnum
from typing import Final
from uuid import UUID

from shared.kernel.approvals import Actor, Proposal
from shared.kernel.errors import Conflict, FieldError, Forbidden, InvalidInput, NotFound
from shared.kernel.measures import Aggregate, Measure
from shared.kernel.money import AMOUNT_DECIMALS_MAX, format_amount
from shared.kernel.org import OwnerKind
from shared.kernel.periods import Period
from shared.kernel.sight import Breadth, Sight

STRETCH_LEVELS_MAX: Final = 10
_ALL_PERCENT: Final = Decimal(100)
_BLANKS: Final = ("owner", "start", "end")
_BLANK: Final = re.compile(r"\{([^{}]*)\}")


class GoalNotFound(NotFound):
    """There is no such goal, or the caller may not see it."""

    code = "goal_not_found"
    title = "Goal not found"


class GoalNotDraft(Conflict):
    """Only a draft can be edited or activated."""

    code = "goal_not_draft"
    title = "Goal is not a draft"


class GoalNotActive(Conflict):
    """Only an active goal can be revised or closed."""

    code = "goal_not_active"
    title = "Goal is not active"


class GoalEnded(Conflict):
    """A closed or cancelled goal can not be cancelled."""

    code = "goal_ended"
    title = "Goal has ended"


class GoalTermsRefused(InvalidInput):
    """The terms of the goal contradict each other."""

    code = "goal_terms_refused"
    title = "Goal terms refused"


class UnknownParent(InvalidInput):
    """The parent is no goal."""

    code = "unknown_parent_goal"
    title = "Unknown parent goal"


class UnknownTemplate(InvalidInput):
    """A goal is to be made from a template that there is not."""

    code = "unknown_goal_template"
    title = "Unknown goal template"


class GoalCircle(InvalidInput):
    """The goal would be a part of itself."""

    code = "goal_circle"
    title = "Circle of goals"


class WeightsNotWhole(Conflict):
    """The weights of the goals that a goal is made of would not come to 1."""

    code = "weights_not_whole"
    title = "Weights do not come to 1"


class NotAPart(InvalidInput):
    """The goal is no part of the goal whose parts get other weights, or that one is not made of its parts."""

    code = "not_a_part"
    title = "Not a part of the goal"


class CheckFailed(InvalidInput):
    """A check that a goal has to pass before it counts fails."""

    code = "goal_check_failed"
    title = "Goal fails a check"


class CheckUnacknowledged(Conflict):
    """A check warns of the goal, and nobody has said why it may count all the same."""

    code = "goal_check_unacknowledged"
    title = "Warning is not acknowledged"


class GoalOutOfReach(Forbidden):
    """The caller may not do this to goals of this owner."""

    code = "goal_out_of_reach"
    title = "Goal out of reach"


class Status(StrEnum):
    """Where a goal is in its life."""

    DRAFT = "draft"
    ACTIVE = "active"
    CLOSED = "closed"
    CANCELLED = "cancelled"


class Direction(StrEnum):
    """Whether more or less is better."""

    HIGHER = "higher"
    LOWER = "lower"


class CheckIn(StrEnum):
    """How often the owner is to say how the goal goes."""

    WEEKLY = "weekly"
    BIWEEKLY = "biweekly"
    MONTHLY = "monthly"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose records count: a person's, or everyone's who was in the team's subtree on the record's date."""

    kind: OwnerKind
    id: UUID


@dataclass(frozen=True, slots=True)
class StretchLevel:
    """More than what was promised, by a name."""

    name: str
    target: Decimal


@dataclass(frozen=True, slots=True)
class StretchShare:
    """A level by how much of the way from the baseline to the target it is, in percent: more than 100."""

    name: str
    percent: Decimal


@dataclass(frozen=True, slots=True)
class GoalTemplate:
    """What goals of one kind have in common, for those who draft one to leave out.

    `name_pattern` makes a goal's name of its owner's name, its first and its last day: "{owner}: bookings to {end}".
    """

    id: UUID
    version: int
    name: str
    name_pattern: str | None
    measure: Measure
    unit: str
    direction: Direction
    stretch: tuple[StretchShare, ...]
    check_in: CheckIn
    deleted: bool = False

    def goal_name(self, owner_name: str, period: Period) -> str | None:
        """The name of a goal; None without a pattern."""
        if self.name_pattern is None:
            return None
        words = {"owner": owner_name, "start": str(period.start), "end": str(period.end - timedelta(1))}
        return _BLANK.sub(lambda blank: words.get(blank[1], blank[0]), self.name_pattern)

    def levels(self, target: Decimal, baseline: Decimal) -> tuple[StretchLevel, ...]:
        """The levels of a goal; of what is counted whole ones, no nearer than the share."""
        return tuple(StretchLevel(each.name, self._level(each, target, baseline)) for each in self.stretch)

    def _level(self, share: StretchShare, target: Decimal, baseline: Decimal) -> Decimal:
        level = baseline + (target - baseline) * share.percent / 100
        if self.measure.aggregate in (Aggregate.COUNT, Aggregate.DISTINCT):
            return level.to_integral_value(ROUND_CEILING if target > baseline else ROUND_FLOOR)
        return level.quantize(Decimal(1).scaleb(-AMOUNT_DECIMALS_MAX), ROUND_HALF_UP)


@dataclass(frozen=True, slots=True)
class Filling:
    """What is known to fill in what new goals leave out: their templates, and what owners are called."""

    templates: Mapping[UUID, GoalTemplate] = field(default_factory=dict)
    names: Mapping[UUID, str] = field(default_factory=dict)

    def template(self, template_id: UUID | None) -> GoalTemplate | None:
        """The template of a goal, if it is to have one. Raises UnknownTemplate."""
        if template_id is None:
            return None
        if template_id not in self.templates:
            raise UnknownTemplate.field(
                "/template_id", f"there is no template {template_id}", "the id of a template of GET /v1/goal-templates"
            )
        return self.templates[template_id]


NOTHING_FILLED: Final = Filling()


def check_template(template: GoalTemplate) -> None:
    """Raises InvalidInput for a blank of the name's pattern that nothing fills, and for levels out of order."""
    unknown = sorted(set(_BLANK.findall(template.name_pattern or "")) - set(_BLANKS))
    if unknown:
        accepted = ", ".join(f"{{{blank}}}" for blank in _BLANKS)
        raise InvalidInput.field("/name_pattern", f"nothing fills {{{unknown[0]}}}", accepted)
    bound, names = _ALL_PERCENT, set[str]()
    for index, share in enumerate(template.stretch):
        if share.percent <= bound:
            shown = format_amount(bound)
            raise InvalidInput.field(f"/stretch/{index}/percent", f"is not above {shown}", f"more than {shown}")
        if share.name in names:
            raise InvalidInput.field(f"/stretch/{index}/name", f"{share.name!r} is used twice", "a name of its own")
        bound = share.percent
        names.add(share.name)


@dataclass(frozen=True, slots=True)
class GoalTerms:
    """What is promised: by whom, of what, how much, by when, as a part of what.

    `stretch` has levels beyond the target, the nearest first. A goal at the `top` is meant to be no part of another.
    """

    name: str
    owner: Owner
    measure: Measure
    target: Decimal
    baseline: Decimal
    unit: str
    direction: Direction
    period: Period
    parent_id: UUID | None
    weight: Decimal
    stretch: tuple[StretchLevel, ...] = ()
    top: bool = False
    check_in: CheckIn = CheckIn.NONE


@dataclass(frozen=True, slots=True)
class Goal:
    """`version` counts every change. `revision` counts the terms it was active with: 1 until it is first revised."""

    id: UUID
    version: int
    revision: int
    status: Status
    terms: GoalTerms


@dataclass(frozen=True, slots=True)
class GoalFilter:
    """Which goals are wanted, `on` a day of their period; None narrows nothing down."""

    status: Status | None = None
    owner_id: UUID | None = None
    parent_id: UUID | None = None
    on: date | None = None


@dataclass(frozen=True, slots=True)
class Weighing:
    """A goal that counts and is made of its parts, and what the weights of those of them that count come to."""

    goal_id: UUID
    name: str
    weights: Decimal


@dataclass(frozen=True, slots=True)
class NewWeight:
    """The weight that a part is to have."""

    goal_id: UUID
    weight: Decimal


@dataclass(frozen=True, slots=True)
class Revision:
    """The terms a goal was active with from `revised_at` on; the first has no reason. A service is no person."""

    revision: int
    terms: GoalTerms
    reason: str | None
    revised_by: UUID | None
    revised_at: datetime


def draft(goal_id: UUID, terms: GoalTerms) -> Goal:
    """A new goal. It counts nothing before its activation."""
    return Goal(goal_id, 1, 1, Status.DRAFT, terms)


def edited(goal: Goal, terms: GoalTerms) -> Goal:
    """A draft with other terms. Raises GoalNotDraft."""
    _require_draft(goal, "edited; revise an active goal instead")
    return replace(goal, version=goal.version + 1, terms=terms)


def activated(goal: Goal) -> Goal:
    """A draft that counts from now on. Raises GoalNotDraft, GoalTermsRefused."""
    _require_draft(goal, "activated")
    check_terms(goal.terms)
    return replace(goal, version=goal.version + 1, status=Status.ACTIVE)


def revised(goal: Goal, terms: GoalTerms) -> Goal:
    """An active goal under its next revision. Raises GoalNotActive, GoalTermsRefused."""
    _require_active(goal, "revised")
    check_terms(terms)
    if terms == goal.terms:
        raise GoalTermsRefused("The revision changes nothing.", fields=[FieldError("", "changes nothing")])
    return replace(goal, version=goal.version + 1, revision=goal.revision + 1, terms=terms)


def closed(goal: Goal) -> Goal:
    """An active goal at its end; it still follows late corrections of its deals. Raises GoalNotActive."""
    _require_active(goal, "closed")
    return replace(goal, version=goal.version + 1, status=Status.CLOSED)


def cancelled(goal: Goal) -> Goal:
    """A draft or active goal that counts nothing any more. Raises GoalEnded."""
    if goal.status not in (Status.DRAFT, Status.ACTIVE):
        raise GoalEnded(f"This goal is {goal.status} and can not be cancelled.")
    return replace(goal, version=goal.version + 1, status=Status.CANCELLED)


def check_terms(terms: GoalTerms) -> None:
    """Raises GoalTermsRefused, with every contradiction, unless the terms can be reached and measured."""
    target, baseline = format_amount(terms.target), format_amount(terms.baseline)
    problems: list[FieldError] = []
    if terms.direction is Direction.HIGHER and terms.target <= terms.baseline:
        problems.append(
            FieldError("/target", f"{target} is not above the baseline {baseline}", f"more than {baseline}")
        )
    if terms.direction is Direction.LOWER and terms.target >= terms.baseline:
        problems.append(
            FieldError("/target", f"{target} is not below the baseline {baseline}", f"less than {baseline}")
        )
    problems += _out_of_reach(terms, "/target", terms.target)
    problems += _stretch_problems(terms)
    if terms.measure.aggregate is Aggregate.CHILDREN and terms.direction is Direction.LOWER:
        problems.append(FieldError("/direction", "is no direction for the attainment of other goals", Direction.HIGHER))
    if terms.top and terms.parent_id is not None:
        problems.append(FieldError("/top", "is a part of another goal", "false, or no parent"))
    if problems:
        detail = "; ".join(f"{problem.pointer}: {problem.message}" for problem in problems)
        raise GoalTermsRefused(detail, fields=problems)


def _out_of_reach(terms: GoalTerms, pointer: str, target: Decimal) -> Iterator[FieldError]:
    """What is wrong with a target that the metric can never come to."""
    measure = terms.measure
    if measure.aggregate in (Aggregate.COUNT, Aggregate.DISTINCT) and target != target.to_integral_value():
        yield FieldError(pointer, f"{format_amount(target)} can not be counted to", "a whole number")
    if measure.aggregate is Aggregate.RATIO and measure.value_field is None and not 0 <= target <= _ALL_PERCENT:
        yield FieldError(pointer, f"{format_amount(target)} % is no part of the records", "0 to 100, in percent")


def _stretch_problems(terms: GoalTerms) -> Iterator[FieldError]:
    """What is wrong with the levels: each lies beyond the one before and has a name of its own."""
    is_higher = terms.direction is Direction.HIGHER
    bound, names = terms.target, set[str]()
    for index, level in enumerate(terms.stretch):
        pointer = f"/stretch/{index}"
        if (level.target <= bound) if is_higher else (level.target >= bound):
            shown = format_amount(bound)
            yield FieldError(
                f"{pointer}/target",
                f"{format_amount(level.target)} is not {'above' if is_higher else 'below'} {shown}",
                f"{'more' if is_higher else 'less'} than {shown}, as levels go on from the target in order",
            )
        yield from _out_of_reach(terms, f"{pointer}/target", level.target)
        if level.name in names:
            yield FieldError(f"{pointer}/name", f"{level.name!r} is used twice", "a name of its own")
        bound = level.target
        names.add(level.name)


def check_parent(parents: Mapping[UUID, UUID | None], goal_id: UUID, parent_id: UUID | None) -> None:
    """Raises UnknownParent or GoalCircle unless `goal_id` may be a part of `parent_id`.

    `parents` has at least the parent and its ancestors.
    """
    if parent_id is None:
        return
    if parent_id != goal_id and parent_id not in parents:
        raise UnknownParent(
            f"There is no goal {parent_id}.",
            fields=[FieldError("/parent_id", f"there is no goal {parent_id}", "the id of a goal of GET /v1/goals")],
        )
    ancestor: UUID | None = parent_id
    while ancestor is not None:
        if ancestor == goal_id:
            raise GoalCircle(
                "The goal would be a part of itself.",
                fields=[FieldError("/parent_id", "is a part of this goal, or is it", "a goal that is no part of it")],
            )
        ancestor = parents.get(ancestor)


def check_weights(weighings: Iterable[Weighing]) -> None:
    """Raises WeightsNotWhole for the first goal whose parts' weights do not come to 1, exactly."""
    for weighing in weighings:
        missing = 1 - weighing.weights
        if missing:
            sum_of = f"the weights of its active and closed parts would come to {format_amount(weighing.weights)}"
            amount = format_amount(abs(missing))
            raise WeightsNotWhole(
                f"{weighing.name} (goal {weighing.goal_id}) is made of its parts, and {sum_of}: "
                f"{amount} {'is missing' if missing > 0 else 'too much'}.",
                fields=[FieldError("/weight", sum_of, "weights that come to 1")],
            )


def reweighed(goal: Goal, parent_id: UUID, weight: Decimal, pointer: str) -> Goal:
    """An active part under its next revision, in which only its weight is another one.

    Raises NotAPart, GoalNotActive, GoalTermsRefused.
    """
    if goal.terms.parent_id != parent_id:
        raise NotAPart(
            f"Goal {goal.id} is no part of goal {parent_id}.",
            fields=[FieldError(pointer, "is no part of this goal", f"a goal of GET /v1/goals?parent_id={parent_id}")],
        )
    return revised(goal, replace(goal.terms, weight=weight))


def check_may_propose(sight: Sight, owner: Owner) -> None:
    """Raises GoalOutOfReach unless the viewer may draft goals of this owner, and propose changes of them."""
    if not sight.viewer.edits and (sight.is_whole or not sight.sees_owner(owner.id)):
        raise GoalOutOfReach(
            "Goals are drafted and proposed by RevOps for everybody, by a manager for the teams and people of its"
            " subtree, and by everybody for themselves."
        )


def check_may_decide(sight: Sight, owner: Owner) -> None:
    """Raises GoalOutOfReach unless the viewer decides on goals of this owner, if they are not its own."""
    if sight.viewer.edits or (sight.viewer.breadth is Breadth.SUBTREE and sight.sees_owner(owner.id)):
        return
    raise GoalOutOfReach("It is decided by a manager of the owner or one above, or by RevOps.")


def approval_of(goal: Goal, authors: Collection[Actor], concerned: Collection[UUID]) -> Proposal:
    """The goal as something to be approved; `concerned` are the people whom it measures."""
    approvers = "a manager of its owner or one above, or somebody of RevOps,"
    return Proposal(f"the goal {goal.terms.name}", authors, concerned, approvers)


def _require_draft(goal: Goal, verb: str) -> None:
    if goal.status is not Status.DRAFT:
        raise GoalNotDraft(f"This goal is {goal.status} and can not be {verb}.")


def _require_active(goal: Goal, verb: str) -> None:
    if goal.status is not Status.ACTIVE:
        raise GoalNotActive(f"This goal is {goal.status} and can not be {verb}.")
