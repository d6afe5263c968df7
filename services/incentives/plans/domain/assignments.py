"""Who is on which plan, when, and the quotas the person is measured on."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from enum import StrEnum
from uuid import UUID

from services.incentives.plans.domain.parameters import quota_key
from services.incentives.plans.domain.versions import Plan, PlanVersion, approved_days
from shared.kernel.errors import Conflict, FieldError, InvalidInput, NotFound
from shared.kernel.measures import Unit
from shared.kernel.org import OwnerKind
from shared.kernel.periods import DatedRange, FiscalCalendar, Period

GOAL_IDS_MAX = 100


class AssignmentNotFound(NotFound):
    """There is no such assignment, or the caller may not see it."""

    code = "assignment_not_found"
    title = "Assignment not found"


class AssignmentOverlaps(Conflict):
    """The person is already on the plan on some of these days and would be paid twice."""

    code = "assignment_overlaps"
    title = "Assignment overlaps"


class AssignmentPaysApprover(Conflict):
    """The person approved terms that would pay the person on these days."""

    code = "assignment_pays_approver"
    title = "Assignment pays who approved its terms"


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


class QuotaGap(StrEnum):
    """Why a component that is measured on a quota has none it could be paid by."""

    MISSING = "quota_missing"
    """Nobody has set one, or no goal that was named is of the period."""
    NOT_POSITIVE = "quota_not_positive"
    TARGET_VARIABLE_MISSING = "target_variable_missing"
    """The pay is a percent of the person's target variable, and nobody has set one."""
    GOAL_UNKNOWN = "quota_goal_unknown"
    """No goal of that id has arrived."""
    GOAL_NOT_ACTIVE = "quota_goal_not_active"
    """The goal of the period is a draft, or was cancelled."""
    GOAL_OF_ANOTHER = "quota_goal_of_another_person"
    GOAL_OF_ANOTHER_UNIT = "quota_goal_of_another_unit"
    """The goal counts something else than the component is paid on, or in another currency."""


@dataclass(frozen=True, slots=True)
class QuotaGoal:
    """A goal as a quota sees it: it counts while it is active or closed."""

    period: Period
    target: Decimal
    counts: bool
    owner_kind: OwnerKind
    owner_id: UUID
    unit: Unit
    lower_is_better: bool = False

    def misfit(self, person_id: UUID, unit: Unit) -> QuotaGap | None:
        """Why it can never be a quota of this person for a component that is paid on this; None when it can.

        A team's goal may be the quota of a person.
        """
        if self.owner_kind is OwnerKind.PERSON and self.owner_id != person_id:
            return QuotaGap.GOAL_OF_ANOTHER
        return None if self.unit == unit else QuotaGap.GOAL_OF_ANOTHER_UNIT


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


def quota_of(
    assignment: Assignment, component: str, unit: Unit, period: Period, goals: Mapping[UUID, QuotaGoal]
) -> Decimal | QuotaGap:
    """The quota of one component, which is paid on `unit`, in one period; or why there is none.

    Of the goals it names the first counts whose own period is this one, which is active or closed, and which fits.
    """
    quota = assignment.quotas.get(component)
    if quota is None:
        return QuotaGap.MISSING
    if quota.amount is not None:
        return quota.amount
    gap = QuotaGap.MISSING
    for goal_id in quota.goal_ids:
        goal = goals.get(goal_id)
        if goal is None:
            gap = QuotaGap.GOAL_UNKNOWN if gap is QuotaGap.MISSING else gap
        elif goal.period == period:
            misfit = QuotaGap.GOAL_NOT_ACTIVE if not goal.counts else goal.misfit(assignment.person_id, unit)
            if misfit is None:
                return goal.target
            gap = misfit
    return gap


def check_quota_goal(goal: QuotaGoal, person_id: UUID, unit: Unit, fitting: Period, pointer: str) -> None:
    """Raise InvalidInput at `pointer` when the goal can never be the person's quota for what a component is paid on.

    `fitting` is the period of the plan that the goal's first day lies in.
    """
    match goal.misfit(person_id, unit):
        case QuotaGap.GOAL_OF_ANOTHER:
            raise InvalidInput.field(
                pointer, "is a goal of another person", "a goal of the person on the plan, or of a team"
            )
        case QuotaGap.GOAL_OF_ANOTHER_UNIT:
            raise InvalidInput.field(
                pointer, f"is a goal for {goal.unit}", f"a goal for {unit}, as the component is paid"
            )
    if goal.lower_is_better:
        raise InvalidInput.field(
            pointer, "is a goal where lower is better", "one where higher is better, as pay grows with what is counted"
        )
    if goal.period != fitting:
        raise InvalidInput.field(
            pointer,
            f"is a goal from {goal.period.start} to {goal.period.end}, which is no period of the plan",
            f"a goal from {fitting.start} to {fitting.end}, or of another period of the plan",
        )


def check_quota_goals(
    candidate: Assignment,
    goals: Mapping[UUID, QuotaGoal],
    plan: Plan,
    versions: Iterable[PlanVersion],
    calendar: FiscalCalendar,
) -> None:
    """Raise InvalidInput for a goal that can never be the quota it is named for. One that is not known may come yet."""
    for version in versions:
        for component in version.components:
            for counted in component.measures:
                key = quota_key(component.key, counted.name)
                for index, goal_id in enumerate(candidate.quotas[key].goal_ids if key in candidate.quotas else ()):
                    if (goal := goals.get(goal_id)) is not None:
                        fitting = calendar.period_of(goal.period.start, counted.period or plan.period)
                        pointer = f"/quotas/{key}/goal_ids/{index}"
                        check_quota_goal(goal, candidate.person_id, counted.measure.unit, fitting, pointer)


def quota_warnings(assignment: Assignment, goals: Mapping[UUID, QuotaGoal]) -> list[FieldError]:
    """The goals that quotas name and that pay nothing for now, each with what would change that."""
    found = []
    for key, quota in assignment.quotas.items():
        for index, goal_id in enumerate(quota.goal_ids):
            goal, pointer = goals.get(goal_id), f"/quotas/{key}/goal_ids/{index}"
            if goal is None:
                found.append(
                    FieldError(pointer, "is no goal that has arrived yet: until it does, there is no quota", "a goal")
                )
            elif not goal.counts:
                found.append(FieldError(pointer, "is not active: until it is, there is no quota", "an active goal"))
    return found


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


def check_approver_unpaid(
    candidate: Assignment, before: Assignment | None, plan: Plan, versions: Collection[PlanVersion]
) -> None:
    """Raise AssignmentPaysApprover when the assignment adds days on which terms the person approved pay the person.

    `before` is the assignment before the change, None for a new one.
    """
    if before is not None and before.range.covers(candidate.range):
        return
    for version in versions:
        days = approved_days(version, versions, candidate.person_id)
        if days is not None and days.overlaps(candidate.range):
            raise AssignmentPaysApprover(
                f"The person approved version {version.number} of the plan {plan.name}, which pays from {days.start}"
                f" to {_until(days.end)}. Have another person approve a version with the same terms first."
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
