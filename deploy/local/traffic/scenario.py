"""A scenario over the public API: found or worked out, stated as wanted, made goals, and activated."""

import asyncio
from collections.abc import Mapping
from decimal import Decimal
from typing import Final
from uuid import UUID

from pydantic import JsonValue

from deploy.local.api import ServiceApi
from deploy.local.errors import StackError
from services.goals.jobs.schemas import JobAnswer
from services.goals.planning.schemas import NodeAnswer, ScenarioAnswer, ScenarioListedAnswer

_SCENARIOS: Final = "/v1/scenarios"
_DONE, _UNDER_WAY = "done", ("queued", "running")
_JOB_POLL_SECONDS: Final = 0.1
_JOB_SECONDS_MAX: Final = 120.0


async def scenario_named(goals: ServiceApi, name: str) -> ScenarioListedAnswer | None:
    """The newest one of this name that is not put away."""
    found = await goals.items(_SCENARIOS, ScenarioListedAnswer)
    return next((each for each in reversed(found) if each.name == name and each.state != "archived"), None)


async def worked_out(goals: ServiceApi, body: Mapping[str, JsonValue]) -> ScenarioListedAnswer:
    """The scenario of the body's name: what is there, else a draft."""
    known = await scenario_named(goals, str(body["name"]))
    return known or await goals.post(_SCENARIOS, ScenarioAnswer, body)


async def nodes_of(goals: ServiceApi, scenario_id: UUID) -> list[NodeAnswer]:
    """Those that the caller sees, each after the one above it."""
    return await goals.items(f"{_SCENARIOS}/{scenario_id}/nodes", NodeAnswer)


async def stated(
    goals: ServiceApi, scenario: ScenarioListedAnswer, targets: Mapping[UUID, Decimal]
) -> ScenarioListedAnswer:
    """A draft with these targets by owner, each of them stated by the caller where the plan came to another one."""
    if scenario.state != "draft":
        return scenario
    for node in await nodes_of(goals, scenario.id):
        target = targets.get(node.owner.id)
        if target is not None and target != node.target:
            change: dict[str, JsonValue] = {"kind": "edit", "node_id": str(node.id), "target": str(target)}
            path = f"{_SCENARIOS}/{scenario.id}/changes"
            scenario = await goals.post(path, ScenarioAnswer, change, version=scenario.version)
    return scenario


async def drafted(goals: ServiceApi, scenario: ScenarioListedAnswer) -> ScenarioListedAnswer:
    """With its goals drafted by the caller, as far as they are not. `StackError` has why they cannot be."""
    path = f"{_SCENARIOS}/{scenario.id}"
    if scenario.state == "draft":
        await _ended(goals, await goals.post(f"{path}/apply", JobAnswer, version=scenario.version))
    elif scenario.state == "applying" and scenario.job_id is not None:
        await _ended(goals, await goals.get(f"/v1/jobs/{scenario.job_id}", JobAnswer))
    return await goals.get(path, ScenarioAnswer)


async def activate(goals: ServiceApi, scenario: ScenarioListedAnswer) -> None:
    """Let its goals count, all of them. `StackError` has the first that the caller may not approve."""
    path = f"{_SCENARIOS}/{scenario.id}/activate"
    job = await _ended(goals, await goals.post(path, JobAnswer, version=scenario.version))
    if job.problems:
        raise StackError(f"{scenario.name}: {job.problems[0].pointer} was not activated: {job.problems[0].message}.")


async def _ended(goals: ServiceApi, job: JobAnswer) -> JobAnswer:
    """Once everything of it is done."""
    deadline = asyncio.get_running_loop().time() + _JOB_SECONDS_MAX
    while job.state in _UNDER_WAY and asyncio.get_running_loop().time() < deadline:
        await asyncio.sleep(_JOB_POLL_SECONDS)
        job = await goals.get(f"/v1/jobs/{job.id}", JobAnswer)
    if job.state != _DONE:
        why = "" if job.failure is None else f": {job.failure.detail}"
        raise StackError(f"The job {job.kind} is {job.state} after {job.done} of {job.total}{why}")
    return job
