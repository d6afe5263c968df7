"""Setting up the company of a CSV pipeline through the public APIs: what exists by name stays, the rest is made."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final, TypeVar
from uuid import UUID

from pydantic import JsonValue

from deploy.local.api import AttainApi, ServiceApi, Versioned
from deploy.local.traffic.pipeline import CURRENCY, Agent, Pipeline, user_id
from services.goals.org.schemas import IdentityAnswer, MembershipAnswer, PersonAnswer, TeamAnswer
from services.goals.targets.schemas import GoalAnswer
from services.tracking.intake.connections.schemas import ConnectionAnswer
from shared.kernel.periods import FiscalCalendar, PeriodKind

SOURCE: Final = "pipeline-csv"
COMPANY: Final = "Company"
_REQUESTS_AT_ONCE: Final = 8
_FOUNDED_ON: Final = date(2000, 1, 1)
_WON: Final[JsonValue] = {"all": [{"field": "status", "op": "eq", "value": "won"}]}
BOOKINGS: Final[dict[str, JsonValue]] = {
    "aggregate": "sum",
    "value_field": "amount",
    "date_field": "closed",
    "filter": _WON,
    "currency": CURRENCY,
}
_DEAL_COUNT: Final[dict[str, JsonValue]] = {"aggregate": "count", "date_field": "closed", "filter": _WON}
_YEARS: Final[Mapping[str, JsonValue]] = {
    "start_month": 1,
    "time_zone": "UTC",
    "currency": CURRENCY,
    "country": "US",
}
_TARGETS: Final[Mapping[str, str]] = {"company": "3000000", "office": "1000000", "manager": "500000", "agent": "80000"}
_COMPANY_DEALS_TARGET: Final = "1300"

ItemT = TypeVar("ItemT")


@dataclass(frozen=True, slots=True)
class ReplayCompany:
    """What was set up: ids by name, and where the CRM sends its webhooks."""

    connection: ConnectionAnswer
    people: Mapping[str, UUID]
    teams: Mapping[str, UUID]
    goals: Mapping[str, UUID]


def goal_name(owner: str, year: int, quarter: int, number: str = "bookings") -> str:
    """The name of a replay's goal: `Darcel Schlecht, bookings 2017 Q1`."""
    return f"{owner}, {number} {year} Q{quarter}"


async def set_up_company(api: AttainApi, pipeline: Pipeline, *, secret: str) -> ReplayCompany:
    """Everyone in their team with a goal a quarter, and a connection whose webhooks `secret` signs.

    Run again it changes nothing. The secret is only looked at when the connection is made.
    """
    await _calendar(api.goals)
    people = await _people(api.goals, pipeline.agents)
    teams = await _teams(api.goals, pipeline.agents, people)
    await _memberships(api.goals, pipeline.agents, people, teams)
    await _identities(api.goals, people)
    connection = await _connection(api.tracking, secret)
    goals = await _goals(api.goals, pipeline, people, teams)
    return ReplayCompany(connection, people, teams, goals)


async def _calendar(goals: ServiceApi) -> None:
    """Calendar years, and the home currency of the pipeline, unless a calendar is set already."""
    if await goals.absent("/v1/calendar"):
        await goals.put("/v1/calendar", Versioned, _YEARS)


async def _people(goals: ServiceApi, agents: Sequence[Agent]) -> dict[str, UUID]:
    known = {person.name: person.id for person in await goals.items("/v1/people", PersonAnswer)}
    names = dict.fromkeys([*(agent.manager for agent in agents), *(agent.name for agent in agents)])

    async def add(name: str) -> None:
        known[name] = (await goals.post("/v1/people", PersonAnswer, {"name": name, "email": None})).id

    await at_once((name for name in names if name not in known), add)
    return {name: known[name] for name in names}


async def _teams(goals: ServiceApi, agents: Sequence[Agent], people: Mapping[str, UUID]) -> dict[str, UUID]:
    """The company, its offices, and a team a manager named after the manager."""
    known = {team.name: team.id for team in await goals.items("/v1/teams", TeamAnswer)}

    async def ensure(name: str, parent: str | None, manager: str | None) -> None:
        if name not in known:
            body: dict[str, JsonValue] = {
                "name": name,
                "parent_id": None if parent is None else str(known[parent]),
                "manager_id": None if manager is None else str(people[manager]),
            }
            known[name] = (await goals.post("/v1/teams", TeamAnswer, body)).id

    await ensure(COMPANY, None, None)
    for office in dict.fromkeys(agent.office for agent in agents):
        await ensure(office, COMPANY, None)
    for manager, office in dict.fromkeys((agent.manager, agent.office) for agent in agents):
        await ensure(manager, office, manager)
    return known


async def _memberships(
    goals: ServiceApi, agents: Sequence[Agent], people: Mapping[str, UUID], teams: Mapping[str, UUID]
) -> None:
    known = {(m.person_id, m.team_id) for m in await goals.items("/v1/memberships", MembershipAnswer)}

    async def join(agent: Agent) -> None:
        body: dict[str, JsonValue] = {
            "person_id": str(people[agent.name]),
            "team_id": str(teams[agent.manager]),
            "start": _FOUNDED_ON.isoformat(),
        }
        await goals.post("/v1/memberships", MembershipAnswer, body)

    await at_once((agent for agent in agents if (people[agent.name], teams[agent.manager]) not in known), join)


async def _identities(goals: ServiceApi, people: Mapping[str, UUID]) -> None:
    found = await goals.items("/v1/identities", IdentityAnswer)
    known = {identity.external_user_id for identity in found if identity.source == SOURCE}

    async def identify(name: str) -> None:
        body: dict[str, JsonValue] = {
            "source": SOURCE,
            "external_user_id": user_id(name),
            "person_id": str(people[name]),
        }
        await goals.post("/v1/identities", IdentityAnswer, body)

    await at_once((name for name in people if user_id(name) not in known), identify)


async def _connection(tracking: ServiceApi, secret: str) -> ConnectionAnswer:
    for connection in await tracking.items("/v1/connections", ConnectionAnswer):
        if connection.identity_source == SOURCE:
            return connection
    body: dict[str, JsonValue] = {
        "source": "standard_webhooks",
        "name": "CSV pipeline",
        "identity_source": SOURCE,
        "secret": secret,
    }
    return await tracking.post("/v1/connections", ConnectionAnswer, body)


async def _goals(
    goals: ServiceApi, pipeline: Pipeline, people: Mapping[str, UUID], teams: Mapping[str, UUID]
) -> dict[str, UUID]:
    """A goal by amount a quarter for everyone, each part of the one above; for the company also one by count."""
    known = {goal.name: goal for goal in await goals.items("/v1/goals", GoalAnswer)}
    quarters = [(year, quarter) for year in pipeline.years for quarter in range(1, 5)]

    async def ensure(owner: str, kind: str, level: str, parent: str | None) -> None:
        owner_id = people[owner] if kind == "person" else teams[owner]
        for year, quarter in quarters:
            name = goal_name(owner, year, quarter)
            parent_id = None if parent is None else str(known[goal_name(parent, year, quarter)].id)
            body = _goal(name, kind, owner_id, (year, quarter), BOOKINGS, _TARGETS[level], parent_id)
            known[name] = await _active(goals, known.get(name), body)

    await ensure(COMPANY, "team", "company", None)
    for year, quarter in quarters:
        name = goal_name(COMPANY, year, quarter, "deals")
        body = _goal(name, "team", teams[COMPANY], (year, quarter), _DEAL_COUNT, _COMPANY_DEALS_TARGET, None)
        known[name] = await _active(goals, known.get(name), body)
    offices = dict.fromkeys(agent.office for agent in pipeline.agents)
    await at_once(offices, lambda office: ensure(office, "team", "office", COMPANY))
    managers = dict.fromkeys((agent.manager, agent.office) for agent in pipeline.agents)
    await at_once(managers, lambda pair: ensure(pair[0], "team", "manager", pair[1]))
    await at_once(pipeline.agents, lambda agent: ensure(agent.name, "person", "agent", agent.manager))
    return {name: goal.id for name, goal in known.items()}


def _goal(
    name: str,
    kind: str,
    owner_id: UUID,
    quarter: tuple[int, int],
    metric: dict[str, JsonValue],
    target: str,
    parent_id: str | None,
) -> dict[str, JsonValue]:
    period = FiscalCalendar().period_of(date(quarter[0], 3 * quarter[1], 1), PeriodKind.QUARTER)
    return {
        "name": name,
        "owner": {"kind": kind, "id": str(owner_id)},
        "metric": metric,
        "target": target,
        "period": {"start": period.start.isoformat(), "end": period.end.isoformat()},
        "parent_id": parent_id,
    }


async def _active(goals: ServiceApi, known: GoalAnswer | None, body: Mapping[str, JsonValue]) -> GoalAnswer:
    goal = known or await goals.post("/v1/goals", GoalAnswer, body)
    if goal.status != "draft":
        return goal
    return await goals.post(f"/v1/goals/{goal.id}/activate", GoalAnswer, version=goal.version)


async def at_once(items: Iterable[ItemT], work: Callable[[ItemT], Awaitable[None]]) -> None:
    """Do all of it, a few at a time; the first failure ends it."""
    free = asyncio.Semaphore(_REQUESTS_AT_ONCE)

    async def limited(item: ItemT) -> None:
        async with free:
            await work(item)

    await asyncio.gather(*(limited(item) for item in items))
