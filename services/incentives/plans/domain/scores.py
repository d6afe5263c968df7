"""Scores of objectives: who gave which, when and why. The newest one of an objective in a period counts."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Final
from uuid import UUID

from services.incentives.plans.domain.assignments import Assignment
from services.incentives.plans.domain.kinds.objective import Objectives
from services.incentives.plans.domain.versions import Plan, PlanVersion, timeline
from shared.kernel.approvals import Actor
from shared.kernel.errors import Forbidden, InvalidInput
from shared.kernel.periods import FiscalCalendar, Period

EVIDENCE_CHARACTERS_MAX: Final = 4000


class ScorerNotPerson(Forbidden):
    """An objective is scored by a person: a manager over whose it is, or somebody of revops or an admin."""

    code = "scorer_not_person"
    title = "Scorer is not a person"


@dataclass(frozen=True, slots=True)
class Score:
    """`percent` of one objective of an assignment in a period. `number` counts the scores of the assignment."""

    assignment_id: UUID
    number: int
    component: str
    objective: str
    period: Period
    percent: Decimal
    evidence: str
    scorer: Actor
    at: datetime


Scores = Mapping[tuple[str, date], Mapping[str, Decimal]]
"""The scores of an assignment that count, by component and first day of the period, by objective."""


def counting(scores: Iterable[Score]) -> dict[UUID, dict[tuple[str, date], dict[str, Decimal]]]:
    """By assignment, the scores that count of those given, which are in the order of their numbers."""
    found: dict[UUID, dict[tuple[str, date], dict[str, Decimal]]] = {}
    for score in scores:
        of_period = found.setdefault(score.assignment_id, {}).setdefault((score.component, score.period.start), {})
        of_period[score.objective] = score.percent
    return found


def scored_period(
    assignment: Assignment,
    plan: Plan,
    versions: Iterable[PlanVersion],
    calendar: FiscalCalendar,
    *,
    component: str,
    objective: str,
    start: date,
    percent: Decimal,
) -> Period:
    """The period that an objective of the assignment can be scored in so; InvalidInput that points at what is wrong."""
    period, version = _cell_on(plan, versions, calendar, start)
    if period.start != start:
        raise InvalidInput.field(
            "/start", f"{start} is not the first day of a period that is paid by itself", f"{period.start}"
        )
    days = assignment.range
    if days.start >= period.end or (days.end is not None and days.end <= period.start):
        raise InvalidInput.field("/start", "begins a period that the person is not on the plan in", "another period")
    components = () if version is None else version.components
    scored = {each.key: each for each in components if isinstance(each, Objectives)}
    if component not in scored:
        known = " or ".join(sorted(scored)) or "none: the terms of the period have no objectives"
        raise InvalidInput.field("/component", f"{component!r} has no objectives in that period", known)
    found = scored[component]
    if found.objective(objective) is None:
        known = " or ".join(each.key for each in found.objectives)
        raise InvalidInput.field("/objective", f"{objective!r} is none of the component's", known)
    found.check_score(percent, "/percent")
    return period


def _cell_on(
    plan: Plan, versions: Iterable[PlanVersion], calendar: FiscalCalendar, day: date
) -> tuple[Period, PlanVersion | None]:
    """The days around one that the same terms pay, within a period of the plan."""
    period = calendar.period_of(day, plan.period)
    start, end, found = period.start, period.end, None
    for version in timeline(list(versions)):
        if version.effective_from <= day:
            start, found = max(start, version.effective_from), version
        else:
            end = min(end, version.effective_from)
            break
    return Period(max(start, period.start), end), found
