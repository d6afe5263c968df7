"""The last quarter of a replayed pipeline: planned by what was won in the two before it, then held against the plan."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import Final
from uuid import UUID

from pydantic import JsonValue

from deploy.local.api import AttainApi, ServiceApi
from deploy.local.errors import StackError
from deploy.local.traffic.company import BOOKINGS, COMPANY, ReplayCompany
from deploy.local.traffic.pipeline import CURRENCY, Pipeline
from deploy.local.traffic.scenario import activate, drafted, nodes_of, worked_out
from services.goals.calendar.schemas import CalendarAnswer
from services.goals.evidence.schemas import ActualsAnswer
from services.goals.planning.schemas import NodeAnswer, ScenarioListedAnswer
from services.goals.targets.schemas import GoalAnswer
from services.tracking.measure.progress.schemas import GoalProgress
from shared.kernel.periods import FiscalCalendar, Period, PeriodKind

_WHAT: Final = "planned bookings"
_LEVELS: Final = 3
"""The company's offices, their managers' teams, and the agents in these."""
_HISTORY_QUARTERS: Final = 2
_POLL_SECONDS: Final = 0.5
_SECONDS_MAX: Final = 120.0


@dataclass(frozen=True, slots=True)
class QuarterAhead:
    """The quarter that is planned, and the two before it."""

    quarter: Period
    history: Period

    @property
    def name(self) -> str:
        """Of the scenario."""
        return f"{self.quarter.start.year} Q{self.quarter.start.month // 3 + 1}, {_WHAT}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What somebody was to reach, and has reached. `depth` counts the owners above."""

    name: str
    depth: int
    is_team: bool
    period: Period
    planned: Decimal
    reached: Decimal


def quarter_ahead(pipeline: Pipeline) -> QuarterAhead:
    """The one in which the last deal of the pipeline closed."""
    calendar = FiscalCalendar()
    quarter = calendar.period_of(pipeline.closed_on[-1], PeriodKind.QUARTER)
    start = quarter.start
    for _ in range(_HISTORY_QUARTERS):
        start = calendar.period_of(start - timedelta(1), PeriodKind.QUARTER).start
    return QuarterAhead(quarter, Period(start, quarter.start))


def has_seasons(pipeline: Pipeline, ahead: QuarterAhead) -> bool:
    """Whether the pipeline has a whole year before the quarter."""
    start = ahead.quarter.start
    return pipeline.closed_on[0] <= start.replace(year=start.year - 1)


async def plan_quarter(
    api: AttainApi, pipeline: Pipeline, company: ReplayCompany, ahead: QuarterAhead
) -> ScenarioListedAnswer:
    """A scenario by what goals knows of the quarters before, its goals drafted and activated, as far as they are not.

    `StackError` where goals does not come to know what the pipeline says was won before.
    """
    home = (await api.goals.get("/v1/calendar", CalendarAnswer)).currency
    if home != CURRENCY:
        raise StackError(f"The home currency is {home}, and what is won is planned in it: expected {CURRENCY}.")
    history = await _history(api.goals, pipeline, company, ahead)
    shape = "seasonal" if has_seasons(pipeline, ahead) else "working_days"
    body = _body(ahead, company.teams[COMPANY], history, shape)
    scenario = await drafted(api.goals, await worked_out(api.goals, body))
    if any(goal.status == "draft" for goal in await _goals(api.goals)):
        await activate(api.goals, scenario)
    return scenario


async def outcomes(api: AttainApi, pipeline: Pipeline, scenario: ScenarioListedAnswer) -> list[Outcome]:
    """Of everybody with a target, each with all below it, once progress is what the pipeline adds up to.

    `StackError` where it is not after two minutes.
    """
    nodes = [node for node in await nodes_of(api.goals, scenario.id) if node.target]
    goals = {(goal.owner.id, goal.period.start, goal.period.end): goal.id for goal in await _goals(api.goals)}
    places = {node.id: goals[node.owner.id, node.period.start, node.period.end] for node in nodes}
    must = {node.id: _won(pipeline, node) for node in nodes}
    deadline = asyncio.get_running_loop().time() + _SECONDS_MAX
    while True:
        progress = {each.goal_id: each for each in await api.tracking.items("/v1/progress", GoalProgress)}
        reached = {node.id: progress[places[node.id]].value for node in nodes if places[node.id] in progress}
        if reached == must:
            break
        if asyncio.get_running_loop().time() > deadline:
            wrong = next(node for node in nodes if reached.get(node.id) != must[node.id])
            raise StackError(
                f"{wrong.name} has {reached.get(wrong.id)} from {wrong.period.start} on, expected {must[wrong.id]}: "
                "were other deals sent to this stack?"
            )
        await asyncio.sleep(_POLL_SECONDS)
    return [
        Outcome(
            name=node.name,
            depth=depth,
            is_team=node.owner.kind == "team",
            period=Period(node.period.start, node.period.end),
            planned=node.target,
            reached=reached[node.id],
        )
        for depth, node in _branches(nodes, None)
    ]


async def _history(
    goals: ServiceApi, pipeline: Pipeline, company: ReplayCompany, ahead: QuarterAhead
) -> Mapping[UUID, Decimal]:
    """What each agent won in the quarters before, as soon as goals knows of everything won before the quarter."""
    before = Period(pipeline.closed_on[0].replace(day=1), ahead.quarter.start)
    won = pipeline.won(before)
    must = {company.people[agent.name]: won.get(agent.name, Decimal(0)) for agent in pipeline.agents}
    query = {"from": f"{before.start:%Y-%m}", "to": f"{before.end:%Y-%m}"}
    deadline = asyncio.get_running_loop().time() + _SECONDS_MAX
    while True:
        actuals = await goals.items("/v1/actuals", ActualsAnswer, **query)
        known = {
            person_id: sum((each.won_value for each in actuals if each.person_id == person_id), Decimal(0))
            for person_id in must
        }
        if known == must:
            break
        if asyncio.get_running_loop().time() > deadline:
            raise StackError(
                f"Goals knows of {sum(known.values()):,} {CURRENCY} won before {before.end}, expected "
                f"{sum(must.values()):,}: were other deals sent to this stack?"
            )
        await asyncio.sleep(_POLL_SECONDS)
    first = f"{ahead.history.start:%Y-%m}"
    return {
        person_id: sum(
            (each.won_value for each in actuals if each.person_id == person_id and each.month >= first), Decimal(0)
        )
        for person_id in must
    }


def _body(
    ahead: QuarterAhead, company_id: UUID, history: Mapping[UUID, Decimal], shape: str
) -> Mapping[str, JsonValue]:
    """As much as a quarter came to on average, down to the agents by what each has won, then along the months."""
    average = sum(history.values(), Decimal(0)) / _HISTORY_QUARTERS
    by_history: JsonValue = {"along": "people", "blend": {"history": "1"}}
    facts: list[JsonValue] = [
        {"owner": {"kind": "person", "id": str(person_id)}, "history": str(won)} for person_id, won in history.items()
    ]
    return {
        "name": ahead.name,
        "owner": {"kind": "team", "id": str(company_id)},
        "period": {"start": ahead.quarter.start.isoformat(), "end": ahead.quarter.end.isoformat()},
        "target": str(average.quantize(Decimal(1), rounding=ROUND_HALF_UP)),
        "decimals": 0,
        "metric": BOOKINGS,
        "goal_name": f"{{owner}}, {_WHAT} {{period}}",
        "steps": [*[by_history] * _LEVELS, {"along": "time", "into": "month", "shape": shape}],
        "facts": facts,
    }


async def _goals(goals: ServiceApi) -> Sequence[GoalAnswer]:
    """Those that the scenario has made."""
    return [goal for goal in await goals.items("/v1/goals", GoalAnswer) if f", {_WHAT} " in goal.name]


def _branches(nodes: Sequence[NodeAnswer], above: UUID | None, depth: int = 0) -> Iterator[tuple[int, NodeAnswer]]:
    """Each with how far it is down, and all that is below it before the next."""
    for node in nodes:
        if node.parent_id == above:
            yield depth, node
            yield from _branches(nodes, node.id, depth + 1)


def _won(pipeline: Pipeline, node: NodeAnswer) -> Decimal:
    """What the pipeline says that the owner of a node, or who is below it, won in its period."""
    won = pipeline.won(Period(node.period.start, node.period.end))
    below = [
        agent.name
        for agent in pipeline.agents
        if node.name in ((COMPANY, agent.office, agent.manager) if node.owner.kind == "team" else (agent.name,))
    ]
    return sum((won.get(name, Decimal(0)) for name in below), Decimal(0))
