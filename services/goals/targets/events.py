"""A goal as `attain.goals.v1` publishes it."""

from uuid import UUID

from services.goals.targets.domain import Goal
from shared.contracts import goals as contract


def goal_event(tenant_id: UUID, goal: Goal) -> contract.Goal:
    terms = goal.terms
    return contract.Goal(
        tenant_id=tenant_id,
        id=goal.id,
        version=goal.version,
        revision=goal.revision,
        status=contract.GoalStatus(goal.status.value),
        name=terms.name,
        owner=contract.Subject(kind=terms.owner.kind.value, id=terms.owner.id),
        metric=contract.Metric.of(terms.measure),
        target=terms.target,
        baseline=terms.baseline,
        unit=terms.unit,
        direction=contract.Direction(terms.direction.value),
        start=terms.period.start,
        end=terms.period.end,
        parent_id=terms.parent_id,
        weight=terms.weight,
        stretch=tuple(contract.StretchLevel(name=level.name, target=level.target) for level in terms.stretch),
        top=terms.top,
        check_in=contract.CheckIn(terms.check_in.value),
    )
