"""The commission plans of a replayed pipeline: agents by attainment of their quarter's goal, managers on their team."""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Final
from uuid import UUID

from pydantic import JsonValue

from deploy.local.api import AttainApi, ServiceApi
from deploy.local.traffic.company import ReplayCompany, at_once, goal_name
from deploy.local.traffic.pipeline import CURRENCY, Pipeline
from services.incentives.plans.assignment_schemas import AssignmentAnswer
from services.incentives.plans.domain.assignments import AssignmentStatus
from services.incentives.plans.schemas import PlanAnswer, PlanVersionAnswer
from shared.http.auth import Role

AGENTS_PLAN: Final = "Pipeline agents"
MANAGERS_PLAN: Final = "Pipeline managers"
COMPONENT: Final = "bookings"
_APPROVER_ID: Final = UUID("01935a00-0000-7000-8000-0000000000a1")
"""Approves the plans: somebody of finance, since agents and managers are paid by them."""
_MEASURE: Final[JsonValue] = {
    "aggregate": "sum",
    "value_field": "amount",
    "date_field": "closed",
    "filter": {"all": [{"field": "status", "op": "eq", "value": "won"}]},
    "currency": CURRENCY,
}
_TERMS: Final[Mapping[str, JsonValue]] = {
    AGENTS_PLAN: {
        "kind": "commission",
        "key": COMPONENT,
        "name": "Bookings",
        "measure": _MEASURE,
        "crediting": "owner",
        "rate": {
            "shape": "tiers",
            "mode": "marginal",
            "by": "attainment",
            "tiers": [
                {"from": "0", "rate": "0.05"},
                {"from": "1", "rate": "0.07"},
                {"from": "1.25", "rate": "0.09"},
            ],
        },
    },
    MANAGERS_PLAN: {
        "kind": "commission",
        "key": COMPONENT,
        "name": "Team bookings",
        "measure": _MEASURE,
        "crediting": "rollup",
        "rate": {"shape": "flat", "rate": "0.005"},
    },
}


async def set_up_plans(api: AttainApi, pipeline: Pipeline, company: ReplayCompany) -> None:
    """Active plans with everyone assigned from the first year of the pipeline on. Run again it changes nothing."""
    start = date(pipeline.years[0], 1, 1)
    managers = list(dict.fromkeys(agent.manager for agent in pipeline.agents))
    author = api.acting_as(company.people[managers[0]], Role.REVOPS)
    approver = api.acting_as(_APPROVER_ID, Role.ADMIN)
    known = {plan.name: plan for plan in await api.incentives.items("/v1/plans", PlanAnswer)}
    for name in _TERMS:
        plan = known.get(name) or await author.incentives.post(
            "/v1/plans", PlanAnswer, {"name": name, "currency": CURRENCY, "period": "quarter"}
        )
        await _active_version(author, approver, plan, _TERMS[name], start)
        if name == MANAGERS_PLAN:
            await _assign(api, approver, plan, company, managers, start, {})
        else:
            quotas = {
                agent.name: [
                    str(company.goals[goal_name(agent.name, year, quarter)])
                    for year in pipeline.years
                    for quarter in range(1, 5)
                ]
                for agent in pipeline.agents
            }
            await _assign(api, approver, plan, company, list(quotas), start, quotas)


async def _active_version(
    author: AttainApi, approver: AttainApi, plan: PlanAnswer, terms: JsonValue, start: date
) -> None:
    path = f"/v1/plans/{plan.id}/versions"
    versions = await author.incentives.items(path, PlanVersionAnswer)
    version = (
        versions[0]
        if versions
        else await author.incentives.post(
            path, PlanVersionAnswer, {"effective_from": start.isoformat(), "components": [terms]}
        )
    )
    await activated(path, version, approver=approver.incentives, activator=approver.incentives)


async def activated(path: str, version: PlanVersionAnswer, *, approver: ServiceApi, activator: ServiceApi) -> None:
    """Have a version at `path`, that of a plan's versions, approved and activated, as far as it is not."""
    at = f"{path}/{version.number}"
    if version.status == "draft":
        version = await approver.post(f"{at}/approve", PlanVersionAnswer, version=version.version)
    if version.status == "approved":
        await activator.post(f"{at}/activate", PlanVersionAnswer, version=version.version)


async def _assign(
    api: AttainApi,
    approver: AttainApi,
    plan: PlanAnswer,
    company: ReplayCompany,
    names: Sequence[str],
    start: date,
    quotas: Mapping[str, Sequence[str]],
) -> None:
    assigned = await api.incentives.items("/v1/assignments", AssignmentAnswer, plan_id=plan.id)
    known = {assignment.person_id: assignment for assignment in assigned}

    async def assign(name: str) -> None:
        assignment = known.get(company.people[name])
        if assignment is None:
            quota: dict[str, JsonValue] = {COMPONENT: {"goal_ids": list(quotas[name])}} if name in quotas else {}
            body: dict[str, JsonValue] = {
                "person_id": str(company.people[name]),
                "plan_id": str(plan.id),
                "start": start.isoformat(),
                "quotas": quota,
            }
            assignment = await api.incentives.post("/v1/assignments", AssignmentAnswer, body)
        if assignment.status is AssignmentStatus.PROPOSED:
            path = f"/v1/assignments/{assignment.id}/approve"
            await approver.incentives.post(path, AssignmentAnswer, version=assignment.version)

    await at_once(names, assign)
