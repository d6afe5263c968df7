"""Who is on which plan, when, and the quotas the person is measured on."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from uuid import UUID

from shared.kernel.errors import Conflict, InvalidInput, NotFound
from shared.kernel.periods import DatedRange, Period

GOAL_IDS_MAX = 100


class AssignmentNotFound(NotFound):
    """There is no such assignment, or the caller may not see it."""

    code = "assignment_not_found"
    title = "Assignment not found"


class AssignmentOverlaps(Conflict):
    """The person is already on the plan on some of these days and would be paid twice."""

    code = "assignment_overlaps"
    title = "Assignment overlaps"


@dataclass(frozen=True, slots=True)
class Quota:
    """What attainment is measured on: an amount for every period, or the target of the goal of each period."""

    amount: Decimal | None = None
    goal_ids: tuple[UUID, ...] = ()

    def __post_init__(self) -> None:
        if (self.amount is None) == (not self.goal_ids):
            raise InvalidInput.field("", "names both or neither of an amount and goals", "either amount or goal_ids")
        if self.amount is not None and self.amount < 0:
            raise InvalidInput.field("/amount", "is negative", "0 or more")
        if len(self.goal_ids) > GOAL_IDS_MAX:
            raise InvalidInput.field("/goal_ids", "are too many", f"at most {GOAL_IDS_MAX}")


@dataclass(frozen=True, slots=True)
class QuotaGoal:
    """A goal as a quota sees it: it counts while it is active or closed."""

    period: Period
    target: Decimal
    counts: bool


@dataclass(frozen=True, slots=True)
class Assignment:
    """A person is on a plan on the days of `range`. `quotas` is by component key."""

    id: UUID
    person_id: UUID
    plan_id: UUID
    range: DatedRange
    quotas: Mapping[str, Quota] = field(default_factory=dict)
    version: int = 1
    deleted: bool = False


def quota_of(assignment: Assignment, component: str, period: Period, goals: Mapping[UUID, QuotaGoal]) -> Decimal | None:
    """The quota of one component in one period, or None when nobody has set one.

    Of the goals it names the first counts whose own period is this one and which is active or closed.
    """
    quota = assignment.quotas.get(component)
    if quota is None or quota.amount is not None:
        return None if quota is None else quota.amount
    for goal_id in quota.goal_ids:
        goal = goals.get(goal_id)
        if goal is not None and goal.counts and goal.period == period:
            return goal.target
    return None


def check_no_overlap(candidate: Assignment, others: Collection[Assignment]) -> None:
    """Raise AssignmentOverlaps when the person is on the same plan by another assignment on one of the days."""
    for other in others:
        if (
            other.id != candidate.id
            and not other.deleted
            and (other.person_id, other.plan_id) == (candidate.person_id, candidate.plan_id)
            and other.range.overlaps(candidate.range)
        ):
            raise AssignmentOverlaps(
                f"Assignment {other.id} already covers days from {other.range.start} to {_until(other.range.end)}."
            )


def check_quota_keys(quotas: Collection[str], known: Collection[str]) -> None:
    """Raise InvalidInput when a quota is for a component that no version of the plan has."""
    for key in quotas:
        if key not in known:
            raise InvalidInput.field(
                f"/quotas/{key}", "is not a component of the plan", ", ".join(sorted(known)) or "no quotas yet"
            )


def _until(end: date | None) -> str:
    return "its open end" if end is None else str(end)
