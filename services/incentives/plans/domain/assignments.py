"""Who is on which plan, when, and the quotas the person is measured on."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from decimal import Context, Decimal
from enum import StrEnum
from itertools import pairwise
from typing import Final
from uuid import UUID

from services.incentives.plans.domain.active_days import (
    Prorated,
    RampStep,
    StatedAmount,
    check_leave,
    check_ramp,
    prorated,
)
from services.incentives.plans.domain.components import Component, pays_from_target, quota_measures
from services.incentives.plans.domain.kinds.objective import Objectives
from services.incentives.plans.domain.parameters import quota_key
from services.incentives.plans.domain.versions import Plan, PlanVersion, approved_days
from shared.kernel.approvals import Actor, Proposal
from shared.kernel.errors import Conflict, FieldError, InvalidInput, NotFound
from shared.kernel.measures import Unit
from shared.kernel.org import OwnerKind
from shared.kernel.periods import DatedRange, FiscalCalendar, Period, PeriodKind
from shared.kernel.working_days import WorkingDays

GOAL_IDS_MAX = 100
CHANGES_MAX = 100
"""So many later amounts a quota or a target variable has."""
_EXACT: Final = Context(prec=100)
_PER_YEAR: Final = {PeriodKind.MONTH: 12, PeriodKind.QUARTER: 4, PeriodKind.HALF: 2, PeriodKind.YEAR: 1}


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


class AssignmentNotProposed(Conflict):
    """Nothing about the assignment waits for an approval."""

    code = "assignment_not_proposed"
    title = "Assignment is not proposed"


class AssignmentStatus(StrEnum):
    """Only an approved assignment pays."""

    PROPOSED = "proposed"
    APPROVED = "approved"


class AssignmentChangeKind(StrEnum):
    """What was done to an assignment."""

    PROPOSED = "proposed"
    APPROVED = "approved"
    WITHDRAWN = "withdrawn"


@dataclass(frozen=True, slots=True)
class QuotaState:
    """An amount for every period, or the target of the goal of each period."""

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
class Quota:
    """What attainment is measured on. The first state is in force from the beginning, a change from its first day on.

    A change never re-pays what lies before its first day.
    """

    amount: Decimal | None = None
    goal_ids: tuple[UUID, ...] = ()
    changes: tuple[tuple[date, QuotaState], ...] = ()
    """In the order of their days."""

    def __post_init__(self) -> None:
        QuotaState(self.amount, self.goal_ids)
        check_days([start for start, _ in self.changes])

    def states(self) -> Iterator[tuple[date, QuotaState]]:
        """Every state with its first day, in order; the first from the beginning of time."""
        yield date.min, QuotaState(self.amount, self.goal_ids)
        yield from self.changes

    def named_goals(self) -> Iterator[tuple[str, UUID]]:
        """Every goal it names, with a pointer to where."""
        yield from ((f"/goal_ids/{index}", goal_id) for index, goal_id in enumerate(self.goal_ids))
        for number, (_, state) in enumerate(self.changes):
            yield from (
                (f"/changes/{number}/goal_ids/{index}", goal_id) for index, goal_id in enumerate(state.goal_ids)
            )


class PerTime(StrEnum):
    """What a target variable is stated for."""

    PERIOD = "period"
    YEAR = "year"


@dataclass(frozen=True, slots=True)
class TargetVariable:
    """The pay at target, in the plan's currency. `changes` are later amounts, each with its first day, in order."""

    amount: Decimal
    per: PerTime
    changes: tuple[tuple[date, Decimal], ...] = ()

    def __post_init__(self) -> None:
        if self.amount < 0:
            raise InvalidInput.field("/amount", "is negative", "0 or more")
        for index, (_, amount) in enumerate(self.changes):
            if amount < 0:
                raise InvalidInput.field(f"/changes/{index}/amount", "is negative", "0 or more")
        check_days([start for start, _ in self.changes])


def check_days(starts: Collection[date]) -> None:
    """Raise InvalidInput unless these first days of changes are few and in order."""
    if len(starts) > CHANGES_MAX:
        raise InvalidInput.field("/changes", f"has {len(starts)} members", f"at most {CHANGES_MAX}")
    for index, (before, later) in enumerate(pairwise(starts), start=1):
        if later <= before:
            raise InvalidInput.field(
                f"/changes/{index}/from", "is not after the change before", f"a day after {before}"
            )


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
    """A person is on a plan on the days of `range`. `quotas` is by component key.

    A quota by amounts, and the target variable, are reduced by `leave`, and by the days of the period outside `range`
    where it is `prorated`; a quota also by its `ramp`. A quota by goals is what the goal says.
    """

    id: UUID
    person_id: UUID
    plan_id: UUID
    range: DatedRange
    quotas: Mapping[str, Quota] = field(default_factory=dict)
    version: int = 1
    deleted: bool = False
    target_variable: TargetVariable | None = None
    ramp: tuple[RampStep, ...] = ()
    leave: tuple[DatedRange, ...] = ()
    prorated: bool = False
    status: AssignmentStatus = AssignmentStatus.APPROVED
    change: "Assignment | None" = None
    """What it is to become once that is approved; `deleted` there to take it back."""

    def __post_init__(self) -> None:
        try:
            check_ramp(self.ramp)
        except InvalidInput as error:
            raise error.under("/ramp") from None
        try:
            check_leave(self.leave)
        except InvalidInput as error:
            raise error.under("/leave") from None

    @property
    def wanted(self) -> "Assignment":
        """The terms that wait for an approval, else those in force."""
        return self if self.change is None else self.change

    @property
    def is_pending(self) -> bool:
        """Whether something about it waits for an approval."""
        return self.change is not None or self.status is AssignmentStatus.PROPOSED

    @property
    def depends_on_days(self) -> bool:
        """Whether what is expected in a period depends on which days are worked."""
        return bool(self.prorated or self.leave or self.ramp or self.has_later_amounts)

    @property
    def has_later_amounts(self) -> bool:
        """Whether a quota or the target variable becomes another one from some day on."""
        target = self.target_variable
        return any(quota.changes for quota in self.quotas.values()) or bool(target is not None and target.changes)


def proposed(stored: Assignment, terms: Assignment) -> Assignment:
    """The assignment with other terms that wait for an approval; one that never was approved has just those."""
    version = stored.version + 1
    if stored.status is AssignmentStatus.PROPOSED:
        return replace(terms, version=version, status=AssignmentStatus.PROPOSED, change=None)
    return replace(stored, version=version, change=replace(terms, version=version, change=None))


def approved_assignment(stored: Assignment, approver: Actor, proposal: Proposal) -> Assignment:
    """The assignment with what was proposed in force. Raises AssignmentNotProposed, ApprovalNotIndependent."""
    require_proposed(stored)
    proposal.check(approver)
    return replace(stored.wanted, version=stored.version + 1, status=AssignmentStatus.APPROVED, change=None)


def proposal_for(stored: Assignment, authors: Collection[Actor]) -> Proposal:
    """What is proposed of an assignment as something to approve: `authors` wrote a part of it."""
    return Proposal(f"assignment {stored.id}", authors, [stored.person_id], "an admin or somebody of revops")


def withdrawn(stored: Assignment) -> Assignment:
    """Without the change that was proposed. Raises AssignmentNotProposed, also for one that never was approved."""
    if stored.change is None:
        raise AssignmentNotProposed(f"No change of assignment {stored.id} waits for an approval.")
    return replace(stored, version=stored.version + 1, change=None)


def taken_back(stored: Assignment) -> Assignment:
    """As if it had never been made: proposed, for one that was approved; at once, for one that never was."""
    if stored.status is AssignmentStatus.PROPOSED:
        return replace(stored, version=stored.version + 1, deleted=True)
    return proposed(stored, replace(stored, deleted=True))


def require_proposed(stored: Assignment) -> None:
    """Raises AssignmentNotProposed."""
    if not stored.is_pending:
        raise AssignmentNotProposed(f"Nothing about assignment {stored.id} waits for an approval.")


def stated_quota(
    assignment: Assignment,
    component: str,
    unit: Unit,
    period: Period,
    goals: Mapping[UUID, QuotaGoal],
    work: WorkingDays | None = None,
    *,
    known_before: date | None = None,
) -> Prorated | QuotaGap:
    """How the quota of one component, which is paid on `unit`, comes to what it is in a period; or why there is none.

    Of the goals it names the first counts whose own period is this one, which is active or closed, and which fits.
    Where it changes within the period, each amount counts for its own days. What begins on the day `known_before` or
    later is left out: what was paid up to that day was paid by what was in force.
    """
    until = period.end if known_before is None else min(known_before, period.end)
    quota = assignment.quotas.get(component)
    if quota is None:
        return QuotaGap.MISSING
    states = list(quota.states())
    amounts = []
    for index, (start, state) in enumerate(states):
        is_over = index + 1 < len(states) and states[index + 1][0] <= period.start
        if is_over or start >= until:
            continue
        found = state.amount
        if found is None:
            target = _goal_target(state, assignment.person_id, unit, period, goals)
            if isinstance(target, QuotaGap):
                return target
            found = target
        amounts.append(StatedAmount(start, found, is_final=state.amount is None))
    return prorated(
        period,
        amounts,
        ramp=assignment.ramp,
        present=assignment.range if assignment.prorated else None,
        leave=assignment.leave,
        work=work,
    )


def quota_of(
    assignment: Assignment,
    component: str,
    unit: Unit,
    period: Period,
    goals: Mapping[UUID, QuotaGoal],
    work: WorkingDays | None = None,
) -> Decimal | QuotaGap:
    """The quota of one component in one period; or why there is none. See `stated_quota`."""
    found = stated_quota(assignment, component, unit, period, goals, work)
    return found if isinstance(found, QuotaGap) else found.value


def first_days(assignment: Assignment, component: Component) -> list[date]:
    """The days from which on a component pays by other amounts, in order: its periods are paid in parts there.

    Objectives are scored for whole periods, of which each target variable has its own days.
    """
    keys = [quota_key(component.key, name) for name in quota_measures(component)]
    found = {start for key in keys if key in assignment.quotas for start, _ in assignment.quotas[key].changes}
    target = assignment.target_variable
    if target is not None and pays_from_target(component) and not isinstance(component, Objectives):
        found |= {start for start, _ in target.changes}
    return sorted(found)


def target_variable_of(
    assignment: Assignment,
    kind: PeriodKind,
    period: Period,
    work: WorkingDays | None = None,
    *,
    days: Period | None = None,
) -> Prorated | None:
    """The pay at target of one period of a plan of that kind, for what is paid on some of its days (None: on all).

    None where none is stated. One that is stated for a year is shared evenly by the periods of a year. The amount that
    is in force on those days counts in full; where it changes within them, each for its own.
    """
    target = assignment.target_variable
    if target is None:
        return None
    parts = Decimal(1 if target.per is PerTime.PERIOD else _PER_YEAR[kind])
    stated = [(date.min, target.amount), *target.changes]
    within = period if days is None else days
    amounts = [
        StatedAmount(start, _EXACT.divide(amount, parts))
        for index, (start, amount) in enumerate(stated)
        if start < within.end and not (index + 1 < len(stated) and stated[index + 1][0] <= within.start)
    ]
    present = assignment.range if assignment.prorated else None
    counted = period if len(amounts) == 1 else within
    return prorated(counted, amounts, present=present, leave=assignment.leave, work=work)


def _goal_target(
    state: QuotaState, person_id: UUID, unit: Unit, period: Period, goals: Mapping[UUID, QuotaGoal]
) -> Decimal | QuotaGap:
    gap = QuotaGap.MISSING
    for goal_id in state.goal_ids:
        goal = goals.get(goal_id)
        if goal is None:
            gap = QuotaGap.GOAL_UNKNOWN if gap is QuotaGap.MISSING else gap
        elif goal.period == period:
            misfit = QuotaGap.GOAL_NOT_ACTIVE if not goal.counts else goal.misfit(person_id, unit)
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
                quota = candidate.quotas.get(key)
                for at, goal_id in () if quota is None else quota.named_goals():
                    if (goal := goals.get(goal_id)) is not None:
                        fitting = calendar.period_of(goal.period.start, counted.period or plan.period)
                        check_quota_goal(goal, candidate.person_id, counted.measure.unit, fitting, f"/quotas/{key}{at}")


def assignment_warnings(
    assignment: Assignment, goals: Mapping[UUID, QuotaGoal], *, is_active: bool = True
) -> list[FieldError]:
    """What is hardly meant: no end for a person who is not active any more, and goals that pay nothing for now."""
    found = []
    if not is_active and assignment.range.end is None:
        found.append(
            FieldError("/end", "is open for a person who is not active: pay goes on", "the day after the last one")
        )
    for key, quota in assignment.quotas.items():
        for at, goal_id in quota.named_goals():
            goal, pointer = goals.get(goal_id), f"/quotas/{key}{at}"
            if goal is None:
                found.append(
                    FieldError(pointer, "is no goal that has arrived yet: until it does, there is no quota", "a goal")
                )
            elif not goal.counts:
                found.append(FieldError(pointer, "is not active: until it is, there is no quota", "an active goal"))
    return found


def check_no_overlap(candidate: Assignment, others: Collection[Assignment]) -> None:
    """Raise AssignmentOverlaps when the person is on the same plan by another assignment on one of the days.

    What is proposed counts as well: of two that overlap one could never be approved.
    """
    for other in others:
        for terms in (other, other.wanted):
            if (
                other.id != candidate.id
                and not terms.deleted
                and (other.person_id, other.plan_id) == (candidate.person_id, candidate.plan_id)
                and terms.range.overlaps(candidate.range)
            ):
                raise AssignmentOverlaps(
                    f"Assignment {other.id} already covers days from {terms.range.start} to {_until(terms.range.end)}."
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
