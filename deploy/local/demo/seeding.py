"""Setting the company up over the public APIs. What is there already is left as it is, so it may be done again."""

import hmac
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from hashlib import sha256
from typing import Final
from uuid import UUID

from pydantic import JsonValue

from deploy.local.api import AttainApi, JsonObject, Resource, Versioned
from deploy.local.demo import company
from deploy.local.demo.company import ANALYST, CHIEF, EMPLOYEES, SELLERS, TEAMS
from deploy.local.demo.planning import Counted, QuarterPlan
from deploy.local.demo.script import Channel
from deploy.local.traffic.plan import activated
from deploy.local.traffic.scenario import activate, drafted, scenario_named, stated, worked_out
from services.goals.org.schemas import IdentityAnswer, MembershipAnswer, PersonAnswer, TeamAnswer
from services.goals.planning.schemas import ScenarioListedAnswer
from services.goals.targets.schemas import GoalAnswer
from services.incentives.plans.assignment_schemas import AssignmentAnswer
from services.incentives.plans.domain.assignments import AssignmentStatus
from services.incentives.plans.schemas import PlanAnswer, PlanVersionAnswer
from services.tracking.intake.connections.schemas import ConnectionAnswer
from shared.http.auth import Role
from shared.kernel.periods import FiscalCalendar, Period, PeriodKind

CALENDAR: Final = FiscalCalendar(company.FISCAL_START_MONTH, company.TIME_ZONE)
_HISTORY_DAYS: Final = 365


@dataclass(frozen=True, slots=True)
class Hook:
    """Where a CRM sends to and what it proves itself with."""

    connection_id: UUID
    url: str
    secret: str


@dataclass(frozen=True, slots=True)
class SeededCompany:
    """The ids of what was set up. Goals are by employee key, team key, and None for the company."""

    quarter: Period
    root_team_id: UUID
    people: Mapping[str, UUID]
    scenario_ids: Sequence[UUID]
    bookings_goals: Mapping[str | None, UUID]
    deals_goals: Mapping[str | None, UUID]
    hooks: Mapping[Channel, Hook]
    plan_id: UUID
    created: int

    @property
    def goal_ids(self) -> frozenset[UUID]:
        return frozenset([*self.bookings_goals.values(), *self.deals_goals.values()])


class Seeding:
    """One run of setting up, in the quarter with a day; counts what it had to create."""

    def __init__(self, api: AttainApi, day: date, connection_key: str) -> None:
        self._api = api
        self._quarter = CALENDAR.period_of(day, PeriodKind.QUARTER)
        self._connection_key = connection_key
        self._created = 0

    async def run(self) -> SeededCompany:
        """Set up what is missing. `StackError` has what was refused."""
        await self._calendar()
        people = await self._people()
        teams = await self._teams(people)
        await self._memberships(people, teams)
        await self._identities(people)
        hooks = await self._hooks()
        plans = [QuarterPlan(self._quarter, counted, people, teams) for counted in Counted]
        scenarios = [await self._planned(plan) for plan in plans]
        bookings, deals = [{key: goal.id for key, goal in (await self._goals(plan)).items()} for plan in plans]
        plan_id = await self._plan(people)
        await self._assignments(people, plan_id, bookings)
        return SeededCompany(
            quarter=self._quarter,
            root_team_id=teams[None],
            people=people,
            scenario_ids=[scenario_id for scenario_id in scenarios if scenario_id is not None],
            bookings_goals=bookings,
            deals_goals=deals,
            hooks=hooks,
            plan_id=plan_id,
            created=self._created,
        )

    async def _calendar(self) -> None:
        wanted: JsonObject = {
            "start_month": company.FISCAL_START_MONTH,
            "time_zone": company.TIME_ZONE,
            "currency": company.CURRENCY,
        }
        if await self._api.goals.absent("/v1/calendar"):
            await self._api.goals.put("/v1/calendar", Versioned, wanted)
            self._created += 1

    async def _people(self) -> dict[str, UUID]:
        existing = {person.email: person.id for person in await self._api.goals.items("/v1/people", PersonAnswer)}
        return {
            employee.key: existing.get(employee.email)
            or await self._create(
                "/v1/people", {"name": employee.name, "email": employee.email}, key=f"person/{employee.key}"
            )
            for employee in EMPLOYEES
        }

    async def _teams(self, people: Mapping[str, UUID]) -> dict[str | None, UUID]:
        existing = {team.name: team.id for team in await self._api.goals.items("/v1/teams", TeamAnswer)}
        root = existing.get(company.NAME) or await self._create(
            "/v1/teams", {"name": company.NAME, "manager_id": str(people[CHIEF])}, key="team/root"
        )
        teams: dict[str | None, UUID] = {None: root}
        for team in TEAMS:
            body = {"name": team.name, "parent_id": str(root), "manager_id": str(people[team.manager])}
            teams[team.key] = existing.get(team.name) or await self._create("/v1/teams", body, key=f"team/{team.key}")
        return teams

    async def _memberships(self, people: Mapping[str, UUID], teams: Mapping[str | None, UUID]) -> None:
        existing = {
            (each.person_id, each.team_id) for each in await self._api.goals.items("/v1/memberships", MembershipAnswer)
        }
        start = (self._quarter.start - timedelta(days=_HISTORY_DAYS)).isoformat()
        for employee in EMPLOYEES:
            member = people[employee.key], teams[employee.team]
            if member not in existing:
                body = {"person_id": str(member[0]), "team_id": str(member[1]), "start": start}
                await self._create("/v1/memberships", body, key=f"membership/{employee.key}")

    async def _identities(self, people: Mapping[str, UUID]) -> None:
        existing = {
            (each.source, each.external_user_id)
            for each in await self._api.goals.items("/v1/identities", IdentityAnswer)
        }
        for employee in EMPLOYEES:
            users = (
                (company.CRM_SOURCE, employee.crm_user),
                (company.PIPEDRIVE_SOURCE, employee.pipedrive_user),
            )
            for source, user in users:
                if (source, user) not in existing:
                    body = {"source": source, "external_user_id": user, "person_id": str(people[employee.key])}
                    await self._create("/v1/identities", body, key=f"identity/{source}/{user}")

    async def _hooks(self) -> dict[Channel, Hook]:
        existing = {each.name: each for each in await self._api.tracking.items("/v1/connections", ConnectionAnswer)}
        hooks = {}
        for channel, body in self._connections().items():
            connection = existing.get(channel)
            if connection is None:
                connection = await self._api.tracking.post(
                    "/v1/connections", ConnectionAnswer, body, idempotency_key=f"seed/connection/{body['source']}"
                )
                self._created += 1
            url = self._api.tracking.url + connection.hook_path
            hooks[channel] = Hook(connection.id, url, str(body["secret"]))
        return hooks

    def _connections(self) -> dict[Channel, dict[str, JsonValue]]:
        """The secrets follow from the state folder's, so that whoever seeds again can still send."""
        return {
            Channel.CRM: {
                "source": "standard_webhooks",
                "name": Channel.CRM.value,
                "identity_source": company.CRM_SOURCE,
                "secret": f"whsec_{b64encode(self._derived('standard_webhooks')).decode()}",
                "mapping": {"stages": {**company.CRM_STAGES}},
            },
            Channel.PIPEDRIVE: {
                "source": "pipedrive",
                "name": Channel.PIPEDRIVE.value,
                "identity_source": company.PIPEDRIVE_SOURCE,
                "secret": f"attain:{self._derived('pipedrive').hex()}",
                "mapping": {
                    "fields": {"region": f"custom_fields.{company.PIPEDRIVE_REGION_FIELD}"},
                    "custom_fields": {company.PIPEDRIVE_COMPETITOR_FIELD: "competitor"},
                },
            },
        }

    def _derived(self, purpose: str) -> bytes:
        return hmac.digest(self._connection_key.encode(), f"connection/{purpose}".encode(), sha256)

    async def _planned(self, plan: QuarterPlan) -> UUID | None:
        """The scenario that has made the goals, and has let them count; None for goals that are there without one."""
        before = await self._goals(plan)
        scenario = await scenario_named(self._api.goals, plan.name)
        if scenario is None and len(before) == len(plan.goal_names):
            return None
        scenario = await self._drafted(plan)
        goals = await self._goals(plan)
        if any(goal.status == "draft" for goal in goals.values()):
            await activate(self._api.goals, scenario)
        self._created += len(goals) - len(before)
        return scenario.id

    async def _drafted(self, plan: QuarterPlan) -> ScenarioListedAnswer:
        """The analyst plans, and states what teams are to reach; each manager states what its sellers are."""
        analyst = self._api.acting_as(plan.people[ANALYST], Role.REVOPS).goals
        scenario = await worked_out(analyst, plan.body())
        scenario = await stated(analyst, scenario, plan.team_targets)
        for team in TEAMS:
            manager = self._api.acting_as(plan.people[team.manager], Role.MANAGER).goals
            scenario = await stated(manager, scenario, plan.seller_targets(team.key))
        return await drafted(analyst, scenario)

    async def _goals(self, plan: QuarterPlan) -> dict[str | None, GoalAnswer]:
        """Those of the plan that are there: the company's, those of its teams below it, those of people below."""
        keys = {name: key for key, name in plan.goal_names.items()}
        goals = await self._api.goals.items("/v1/goals", GoalAnswer, on=self._quarter.start)
        return {keys[goal.name]: goal for goal in goals if goal.name in keys and goal.status in ("draft", "active")}

    async def _plan(self, people: Mapping[str, UUID]) -> UUID:
        """A plan whose terms the analyst writes and the chief approves."""
        plans = await self._api.incentives.items("/v1/plans", PlanAnswer)
        plan = next((plan for plan in plans if plan.name == company.PLAN_NAME), None)
        author = self._api.acting_as(people[ANALYST], Role.REVOPS).incentives
        approver = self._api.acting_as(people[CHIEF], Role.ADMIN).incentives
        if plan is None:
            body = {"name": company.PLAN_NAME, "currency": company.CURRENCY, "period": PeriodKind.QUARTER.value}
            plan = await author.post("/v1/plans", PlanAnswer, body, idempotency_key="seed/plan")
            self._created += 1
        versions = f"/v1/plans/{plan.id}/versions"
        existing = await author.items(versions, PlanVersionAnswer)
        terms = existing[-1] if existing else None
        if terms is None:
            draft: dict[str, JsonValue] = {
                "effective_from": self._quarter.start.isoformat(),
                "components": company.plan_components(),
                "note": "Marginal tiers by attainment; one percent for everyone who sold a deal together.",
            }
            terms = await author.post(versions, PlanVersionAnswer, draft, idempotency_key="seed/plan/terms")
        await activated(versions, terms, approver=approver, activator=author)
        return plan.id

    async def _assignments(self, people: Mapping[str, UUID], plan_id: UUID, goals: Mapping[str | None, UUID]) -> None:
        """Everybody who sells is on the plan: the analyst proposes it and the chief approves."""
        author = self._api.acting_as(people[ANALYST], Role.REVOPS).incentives
        approver = self._api.acting_as(people[CHIEF], Role.ADMIN).incentives
        existing = {
            each.person_id: each
            for each in await author.items("/v1/assignments", AssignmentAnswer)
            if each.plan_id == plan_id
        }
        for seller in SELLERS:
            assignment = existing.get(people[seller.key])
            if assignment is None:
                body: dict[str, JsonValue] = {
                    "person_id": str(people[seller.key]),
                    "plan_id": str(plan_id),
                    "start": self._quarter.start.isoformat(),
                    "quotas": {company.BOOKINGS_COMPONENT: {"goal_ids": [str(goals[seller.key])]}},
                }
                key = f"seed/assignment/{seller.key}"
                assignment = await author.post("/v1/assignments", AssignmentAnswer, body, idempotency_key=key)
                self._created += 1
            if assignment.status is AssignmentStatus.PROPOSED:
                path = f"/v1/assignments/{assignment.id}/approve"
                await approver.post(path, AssignmentAnswer, version=assignment.version)

    async def _create(self, path: str, body: Mapping[str, str], *, key: str) -> UUID:
        made = await self._api.goals.post(path, Resource, body, idempotency_key=f"seed/{key}")
        self._created += 1
        return made.id
