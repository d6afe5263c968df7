"""Two companies that are called the same, on one stack: neither sees or changes anything of the other's.

Which operations there are is taken from the OpenAPI documents, and which tables from the database's catalogue, so what
is added later is held to the same.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from io import BytesIO
from typing import Final, NamedTuple
from uuid import UUID, uuid4
from zipfile import ZipFile

import asyncpg
import httpx
import pytest
from pydantic import JsonValue
from sqlalchemy.engine import make_url
from standardwebhooks import Webhook

from deploy.local.stack import Stack
from shared.db.tables import TABLES_WITHOUT_ROW_SECURITY
from shared.http.auth import Role
from shared.http.settings import HttpSettings
from tests.played.pipedrive import PlayedPipedrive
from tests.servers.callers import bearer
from tests.servers.infrastructure import PROJECT_FOLDER, eventually

SERVICES: Final = ("goals", "tracking", "incentives")
WON: Final[JsonValue] = {"all": [{"field": "status", "op": "eq", "value": "won"}]}
BOOKINGS: Final[JsonValue] = {"aggregate": "sum", "value_field": "amount", "filter": WON, "currency": "USD"}
COMPONENT: Final[JsonValue] = {
    "kind": "commission",
    "key": "bookings",
    "name": "Bookings",
    "measure": BOOKINGS,
    "rate": {"shape": "flat", "rate": "0.1"},
}
SHOWS_NO_IDS: Final = {
    "list_goal_revisions",
    "list_fetches",
    "list_plan_version_changes",
    "list_assignment_changes",
    "list_payout_run_changes",
    "list_uncredited_deals",
    "list_pay_period_moves",
    "list_pay_period_corrections",
    "list_scores",
    "list_score_history",
}
"""What waits to be fetched is fetched: there is nothing to show. Plans are written by people of no organisation, and
have no objectives to score. Runs are worked out by them too, and every deal is somebody's."""
MOVES_BY_ITSELF: Final = {
    "get_health",
    "get_api_access",
    "get_reconciliation",
    "list_alerts",
    "get_alert",
    "list_subscriptions",
    "get_subscription",
    "list_subscription_deliveries",
    "get_subscription_delivery",
}
"""What time and attempts change: ages, times to come, what failed once more."""
FINANCE_CHANGES: Final = {
    "set_exchange_rates",
    "import_exchange_rates",
    "delete_exchange_rate",
    "set_cost_centre",
    "set_plan_budget",
    "create_adjustment",
    "approve_adjustment",
    "reject_adjustment",
    "withdraw_adjustment",
    "create_payout_run",
    "approve_payout_run",
    "export_payout_run",
    "mark_payout_run_paid",
    "cancel_payout_run",
    "reverse_payout_run",
    "assign_inquiry",
    "reschedule_inquiry",
    "resolve_inquiry",
    "move_pay_period",
}
"""What finance may change."""
AGREED_ON: Final = {
    "change_goal",
    "activate_goal",
    "revise_goal",
    "close_goal",
    "cancel_goal",
    "propose_goal_terms",
    "approve_goal_proposal",
    "reject_goal_proposal",
    "withdraw_goal_proposal",
    "create_goal_comment",
    "put_goals",
    "reweigh_goal_parts",
    "create_stated_value",
    "import_stated_values",
    "change_stated_value",
    "delete_stated_value",
    "create_scenario",
    "change_scenario",
    "change_scenario_plan",
    "refresh_scenario",
    "copy_scenario",
    "archive_scenario",
    "create_scenario_commitment",
    "create_scenario_commitments",
    "change_scenario_plan_many",
    "import_scenario_nodes",
    "apply_scenario",
    "revert_scenario",
    "activate_scenario",
    "acknowledge_smart_checks",
    "apply_move",
    "cancel_move",
    "pause_job",
    "resume_job",
    "cancel_job",
    "simulate_earnings",
    "preview_change",
    "preview_change_table",
    "score_objective",
    "accept_plan_version",
    "create_inquiry",
    "create_inquiry_message",
    "withdraw_inquiry",
    "reopen_inquiry",
}
"""What depends on whose goal, pay, plan, move or job it is: the integration tests have who may do what."""
PERIOD: Final = {"start": "2026-04-01", "end": "2026-07-01"}


class Operation(NamedTuple):
    """One operation of a service."""

    service: str
    method: str
    path: str
    id: str
    parameters: tuple[str, ...]
    body: JsonValue

    @property
    def streams(self) -> bool:
        return self.path.endswith("/stream")


@dataclass
class Company:
    """A tenant, callers in it, and the ids of everything it has, by the name of the path parameter."""

    stack: Stack
    client: httpx.AsyncClient
    amount: str
    currency: str
    """Of its exchange rates, and of nothing else here."""
    crm: PlayedPipedrive = field(default_factory=PlayedPipedrive)
    tenant: UUID = field(default_factory=uuid4)
    people: dict[str, str] = field(default_factory=dict)
    goals: dict[str, str] = field(default_factory=dict)
    deals: dict[str, str] = field(default_factory=dict)
    activities: dict[str, str] = field(default_factory=dict)
    earnings: dict[str, str] = field(default_factory=dict)
    ids: dict[str, str] = field(default_factory=dict)
    hook: str = ""
    secret: str = ""

    def caller(self, role: Role, person: str | None = None) -> dict[str, str]:
        """The headers of somebody with one role."""
        person_id = None if person is None else UUID(self.people[person])
        settings = HttpSettings(jwt_secret=self.stack.secrets.jwt_secret)
        return bearer(settings, self.tenant, role, person=person_id)

    async def send(
        self,
        method: str,
        service: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
        body: object = None,
    ) -> httpx.Response:
        return await self.client.request(
            method,
            f"{self.stack.url(f'{service}-api')}{path}",
            headers=self.caller(Role.ADMIN) if headers is None else headers,
            params=query,
            json=body,
        )

    async def items(
        self, service: str, path: str, *, headers: Mapping[str, str] | None = None, **query: str
    ) -> list[dict[str, JsonValue]]:
        response = await self.send("GET", service, path, headers=headers, query=query)
        assert response.status_code == 200, response.text
        found: list[dict[str, JsonValue]] = response.json()["items"]
        return found

    async def make(self, service: str, path: str, body: object, **headers: str) -> dict[str, JsonValue]:
        response = await self.send("POST", service, path, headers={**self.caller(Role.ADMIN), **headers}, body=body)
        assert response.is_success, response.text
        made: dict[str, JsonValue] = response.json()
        return made

    async def deliver(self, webhook_id: str, body: JsonValue) -> None:
        text = json.dumps(body)
        now = datetime.now(UTC)
        headers = {
            "webhook-id": webhook_id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": Webhook(self.secret).sign(webhook_id, now, text),
        }
        response = await self.client.post(self.hook, content=text, headers=headers)
        assert response.status_code == 202, response.text

    def won(self, external_id: str, seller: str, amount: str) -> JsonValue:
        return {"type": "deal.upserted", "data": self.deal(external_id, seller, amount)}

    def deal(self, external_id: str, seller: str, amount: str) -> JsonValue:
        return {
            "external_id": external_id,
            "modified_at": "2026-05-15T09:30:00Z",
            "name": f"The deal of {seller}",
            "status": "won",
            "owner_external_id": seller,
            "amount": amount,
            "currency": "USD",
            "closed_on": "2026-05-15",
        }

    def called(self, external_id: str, seller: str) -> JsonValue:
        return {
            "type": "activity.upserted",
            "data": {
                "external_id": external_id,
                "modified_at": "2026-05-15T09:30:00Z",
                "type": "call",
                "owner_external_id": seller,
                "occurred_at": "2026-05-15T09:00:00Z",
            },
        }

    def marks(self) -> frozenset[str]:
        """Every id by which this company would be recognised in an answer."""
        held = (self.people, self.goals, self.deals, self.activities, self.earnings, self.ids)
        ids = {value for each in held for value in each.values() if len(value) == 36}
        return frozenset(ids | {str(self.tenant), self.currency})

    def path(self, operation: Operation, instead: Mapping[str, str] | None = None) -> str:
        """The operation's path to this company's things, to some of them `instead` of the usual ones."""
        parts = {**self.ids, **(instead or {})}
        if operation.path.startswith("/v1/subscriptions/"):
            parts |= {"secret_id": self.ids["signing_secret_id"], "delivery_id": self.ids["subscription_delivery_id"]}
        for kind in ("deal", "activity"):
            if f"{{{kind}_id}}" in operation.path:
                parts["delivery_id"] = self.ids[f"{kind}_delivery_id"]
        if "/values" in operation.path:
            parts["goal_id"] = self.ids["stated_goal_id"]
        if not operation.path.startswith("/v1/payout-runs/"):
            parts["run_id"] = self.ids["backfill_id" if "/backfills/" in operation.path else "reconciliation_id"]
        return operation.path.format(**parts, currency=self.currency, date="2026-05-01")

    async def set_up(self) -> None:
        """Chief above Mia's team with Ann in it, and beside it a team with Bob; a goal, a plan and a deal for each."""
        await self._organise()
        await self._promise()
        await self._pay()
        await self._connect()
        await self._subscribe()
        rates: JsonValue = [{"currency": self.currency, "date": "2026-05-01", "rate": "1.1"}]
        assert (await self.send("PUT", "goals", "/v1/exchange-rates", body=rates)).status_code == 200
        deals = [self.deal("D-1", "ann", self.amount), self.deal("D-2", "bob", self.amount)]
        await self.deliver("msg-1", {"type": "deals.batch", "deals": deals})
        for number, seller in enumerate(("ann", "bob"), start=1):
            await self.deliver(f"call-{number}", self.called(f"A-{number}", seller))
        await self.deliver("msg-3", {"type": "deal.upserted", "data": {"external_id": "D-3"}})
        await eventually(self._arrived, 60.0, expectation="progress and pay of the company")
        await self._look_up()

    async def _organise(self) -> None:
        response = await self.send(
            "PUT", "goals", "/v1/calendar", body={"start_month": 1, "time_zone": "UTC", "currency": "USD"}
        )
        assert response.status_code == 200, response.text
        for name in ("chief", "mia", "ann", "bob"):
            person = await self.make("goals", "/v1/people", {"name": name, "email": f"{name}@example.com"})
            self.people[name] = str(person["id"])
        root = await self.make("goals", "/v1/teams", {"name": "Company", "manager_id": self.people["chief"]})
        teams = {}
        for name, manager in (("Field", "mia"), ("Partners", "chief")):
            body: JsonValue = {"name": name, "parent_id": root["id"], "manager_id": self.people[manager]}
            teams[name] = str((await self.make("goals", "/v1/teams", body))["id"])
        for name, team in (("ann", "Field"), ("bob", "Partners")):
            membership: JsonValue = {"person_id": self.people[name], "team_id": teams[team], "start": "2026-01-01"}
            self.ids["membership_id"] = str((await self.make("goals", "/v1/memberships", membership))["id"])
            identity: JsonValue = {"source": "crm", "external_user_id": name, "person_id": self.people[name]}
            self.ids["identity_id"] = str((await self.make("goals", "/v1/identities", identity))["id"])
        self.ids |= {"person_id": self.people["ann"], "team_id": teams["Field"]}
        connection = await self.make(
            "tracking",
            "/v1/connections",
            {"source": "standard_webhooks", "name": "CRM", "identity_source": "crm"},
        )
        self.secret = str(connection["secret"])
        self.hook = f"{self.stack.url('tracking-api')}/hooks/{connection['id']}"

    async def _promise(self) -> None:
        owners = {name: ("person", self.people[name]) for name in ("ann", "bob")}
        for name, (kind, owner) in {**owners, "field": ("team", self.ids["team_id"])}.items():
            body: JsonValue = {
                "name": "Bookings",
                "owner": {"kind": kind, "id": owner},
                "metric": BOOKINGS,
                "target": "10000",
                "period": {"kind": "quarter", "containing": "2026-05-15"},
            }
            goal = await self.make("goals", "/v1/goals", body)
            headers = {**self.caller(Role.SERVICE), "if-match": f'"{goal["version"]}"'}
            activated = await self.send("POST", "goals", f"/v1/goals/{goal['id']}/activate", headers=headers, body=None)
            assert activated.is_success, activated.text
            self.goals[name] = str(goal["id"])
        self.ids["goal_id"] = self.goals["ann"]
        path = f"/v1/goals/{self.goals['ann']}"
        proposal = await self.make("goals", f"{path}/proposals", {"target": "9000", "reason": "A smaller territory"})
        self.ids["proposal_id"] = str(proposal["id"])
        await self.make("goals", f"{path}/comments", {"text": "Half of the accounts moved"})
        template = {"name": "Bookings", "metric": BOOKINGS}
        self.ids["template_id"] = str((await self.make("goals", "/v1/goal-templates", template))["id"])
        await self._state()
        await self._plan()
        await self._move()

    async def _move(self) -> None:
        """Somebody who will be away."""
        away: JsonValue = {
            "person_id": self.people["ann"],
            "kind": "leave",
            "start": "2026-06-01",
            "reason": "Parental leave",
        }
        self.ids["move_id"] = str((await self.make("goals", "/v1/moves", away))["id"])

    async def _state(self) -> None:
        """A goal on values that are stated, and one of them."""
        goal = await self.make(
            "goals",
            "/v1/goals",
            {
                "name": "Satisfaction",
                "owner": {"kind": "team", "id": self.ids["team_id"]},
                "metric": {"aggregate": "stated", "combine": "latest"},
                "target": "9",
                "unit": "points",
                "period": {"kind": "year", "containing": "2026-05-15"},
            },
        )
        self.ids["stated_goal_id"] = str(goal["id"])
        stated = {"day": "2026-05-15", "value": "8", "source": "hand"}
        self.ids["value_id"] = str((await self.make("goals", f"/v1/goals/{goal['id']}/values", stated))["id"])

    async def _plan(self) -> None:
        """A scenario, a job that found nothing to activate, and a file that was begun."""
        scenario = await self.make(
            "goals",
            "/v1/scenarios",
            {
                "name": "Next year",
                "owner": {"kind": "team", "id": self.ids["team_id"]},
                "period": {"kind": "year", "containing": "2027-05-15"},
                "target": "1000",
                "metric": BOOKINGS,
                "steps": [{"along": "people"}],
            },
        )
        self.ids["scenario_id"] = str(scenario["id"])
        job = await self.make("goals", "/v1/goals/activations", {"on": "2031-01-01"})
        self.ids["job_id"] = str(job["id"])
        self.ids["upload_id"] = str((await self.make("goals", "/v1/uploads", {"kind": "people"}))["id"])

    async def _pay(self) -> None:
        plan = await self.make("incentives", "/v1/plans", {"name": "AE", "currency": "USD", "period": "quarter"})
        path = f"/v1/plans/{plan['id']}/versions"
        version = await self.make("incentives", path, {"effective_from": "2026-04-01", "components": [COMPONENT]})
        for step in ("approve", "activate"):
            held = {"if-match": f'"{version["version"]}"'}
            version = await self.make("incentives", f"{path}/{version['number']}/{step}", None, **held)
        for name in ("ann", "bob"):
            body: JsonValue = {"person_id": self.people[name], "plan_id": plan["id"], "start": "2026-04-01"}
            made = await self.make("incentives", "/v1/assignments", body)
            self.ids["assignment_id"] = str(made["id"])
            path = f"/v1/assignments/{made['id']}/approve"
            await self.make("incentives", path, None, **{"if-match": f'"{made["version"]}"'})
        for name in ("bob", "ann"):
            more: JsonValue = {
                "person_id": self.people[name],
                "plan_id": plan["id"],
                "amount": "5",
                "reason": f"Help of {name}",
            }
            self.ids["adjustment_id"] = str((await self.make("incentives", "/v1/adjustments", more))["id"])
            deal: JsonValue = {"source": "crm", "external_id": f"Lost by {name}"}
            asked: JsonValue = {"person_id": self.people[name], "deal": deal, "reason": "missing_deal", "text": "Why?"}
            made = await self.make("incentives", "/v1/inquiries", asked, **self.caller(Role.REP, name))
            self.ids["inquiry_id"] = str(made["id"])
        budget = await self.send(
            "PUT", "incentives", f"/v1/plans/{plan['id']}/budgets/2026-05-01", body={"amount": "9"}
        )
        assert budget.status_code == 200, budget.text
        self.ids |= {"plan_id": str(plan["id"]), "number": "1"}
        hidden = await self.make("incentives", "/v1/plans", {"name": "Unseen", "currency": "USD", "period": "quarter"})
        self.ids["hidden_plan_id"] = str(hidden["id"])
        draft: JsonValue = {"effective_from": "2026-07-01", "components": [COMPONENT], "note": "Terms unseen"}
        for plan_id in (plan["id"], hidden["id"]):
            await self.make("incentives", f"/v1/plans/{plan_id}/versions", draft)

    async def _connect(self) -> None:
        """A CRM with an API that was asked for everything, and one whose access is wrong."""
        connection = await self.make("tracking", "/v1/connections", self.crm.connection())
        path = f"/v1/connections/{connection['id']}"
        self.ids |= {"connection_id": str(connection["id"]), "secret_id": first_id(connection["secrets"])}
        access = await self.send("PUT", "tracking", f"{path}/api-access", body=self.crm.access())
        assert access.status_code == 200, access.text
        mapping: JsonValue = {"mapping": {"stages": {"7": "won"}}}
        version = {"if-match": f'"{access.json()["version"]}"'}
        mapped = await self.send(
            "PATCH", "tracking", path, headers={**self.caller(Role.ADMIN), **version}, body=mapping
        )
        assert mapped.status_code == 200, mapped.text
        self.ids["reconciliation_id"] = str((await self.make("tracking", f"{path}/reconcile", None))["id"])
        self.ids["backfill_id"] = str((await self.make("tracking", f"{path}/backfills", None))["id"])
        refused = await self.make("tracking", "/v1/connections", self.crm.connection())
        path = f"/v1/connections/{refused['id']}/api-access"
        wrong = {**self.crm.access(), "api_token": "not-the-one"}
        assert (await self.send("PUT", "tracking", path, body=wrong)).status_code == 200
        checked = await self.send("POST", "tracking", f"{path}/check")
        assert checked.json()["works"] is False, checked.text

    async def _subscribe(self) -> None:
        """Somebody to tell, who does not listen."""
        subscription = await self.make(
            "tracking",
            "/v1/subscriptions",
            {
                "name": "Payroll",
                "url": f"{self.crm.address}/nobody",
                "events": [{"type": "attain.earning.v1", "filter": {"all": []}}],
            },
        )
        path = f"/v1/subscriptions/{subscription['id']}"
        told = await self.make("tracking", f"{path}/test", None)
        self.ids |= {
            "subscription_id": str(subscription["id"]),
            "signing_secret_id": first_id(subscription["secrets"]),
            "subscription_delivery_id": str(told["id"]),
        }

    async def _arrived(self) -> bool:
        values = {str(each["goal_id"]): each["value"] for each in await self.items("tracking", "/v1/progress")}
        earned = [each["credits"] for each in await self.items("incentives", "/v1/earnings")]
        states = [each["state"] for each in await self.items("tracking", "/v1/deliveries")]
        activities = await self.items("tracking", "/v1/activities")
        return (
            values == dict.fromkeys(self.goals.values(), self.amount)
            and earned == [1, 1]
            and "received" not in states
            and len(activities) == 2
            and await self._has_run("reconciliations", "reconciliation_id")
            and await self._has_run("backfills", "backfill_id")
            and await self._is_retranslated()
            and len(await self.items("tracking", "/v1/alerts")) >= 1
        )

    async def _has_run(self, kind: str, run: str) -> bool:
        path = f"/v1/connections/{self.ids['connection_id']}/{kind}/{self.ids[run]}"
        return bool((await self.send("GET", "tracking", path)).json()["state"] == "done")

    async def _is_retranslated(self) -> bool:
        """Whether the mapping that was saved has been through everything: until then its state and count change."""
        path = f"/v1/connections/{self.ids['connection_id']}/retranslation"
        return bool((await self.send("GET", "tracking", path)).json()["state"] == "done")

    async def _pay_out(self) -> None:
        """What the quarter earned is worked out to be paid, and waits for its approval."""
        [found] = await self.items("incentives", "/v1/pay-periods", containing="2026-06-15")
        self.ids["pay_period_id"] = str(found["id"])
        begun: JsonValue = {"state": "calculating", "reason": "Month end"}
        version = {"if-match": f'"{found["version"]}"'}
        await self.make("incentives", f"/v1/pay-periods/{found['id']}/move", begun, **version)
        run = await self.make("incentives", "/v1/payout-runs", {"pay_period_id": found["id"]})
        self.ids["run_id"] = str(run["id"])

    async def _look_up(self) -> None:
        for deal in await self.items("tracking", "/v1/deals"):
            self.deals[str(deal["owner_external_id"])] = str(deal["id"])
        for deal in await self.items("tracking", f"/v1/deals/{self.deals['ann']}/versions"):
            self.ids["deal_delivery_id"] = str(deal["delivery_id"])
        for activity in await self.items("tracking", "/v1/activities"):
            self.activities[str(activity["owner_external_id"])] = str(activity["id"])
        for activity in await self.items("tracking", f"/v1/activities/{self.activities['ann']}/versions"):
            self.ids["activity_delivery_id"] = str(activity["delivery_id"])
        names = {person: name for name, person in self.people.items()}
        for earning in await self.items("incentives", "/v1/earnings"):
            self.earnings[names[str(earning["person_id"])]] = str(earning["id"])
        self.ids["re_earning_id"] = str((await self.items("incentives", "/v1/re-earnings"))[0]["id"])
        await self._pay_out()
        path = f"/v1/cost-centres/{self.ids['team_id']}/2026-05-01"
        booked = await self.send("PUT", "incentives", path, body={"code": "4100"})
        assert booked.status_code == 200, booked.text
        self.ids["alert_id"] = str((await self.items("tracking", "/v1/alerts"))[0]["id"])
        (quarantined,) = await self.items("tracking", "/v1/deliveries", state="quarantined")
        self.ids |= {
            "deal_id": self.deals["ann"],
            "activity_id": self.activities["ann"],
            "earning_id": self.earnings["ann"],
            "delivery_id": str(quarantined["id"]),
        }


class Pair(NamedTuple):
    """The two companies."""

    north: Company
    south: Company

    def both_ways(self) -> Iterator[tuple[Company, Company]]:
        """Each as the one that asks, with the other."""
        yield self.north, self.south
        yield self.south, self.north


@pytest.fixture(scope="module")
async def companies(stack: Stack) -> AsyncIterator[Pair]:
    async with httpx.AsyncClient(timeout=30.0, trust_env=False) as client:
        pair = Pair(Company(stack, client, "1000", "CHF"), Company(stack, client, "3000", "NOK"))
        async with pair.north.crm.served(), pair.south.crm.served():
            await asyncio.gather(pair.north.set_up(), pair.south.set_up())
            yield pair


def first_id(things: JsonValue) -> str:
    assert isinstance(things, list)
    assert isinstance(things[0], dict)
    return str(things[0]["id"])


def operations() -> list[Operation]:
    found = []
    for service in SERVICES:
        document = json.loads((PROJECT_FOLDER / "services" / service / "openapi.json").read_text())
        for path, methods in document["paths"].items():
            for method, described in methods.items():
                parameters = tuple(each["name"] for each in described.get("parameters", ()) if each["in"] == "query")
                content = described.get("requestBody", {}).get("content", {}).get("application/json", {})
                schema = content.get("schema", {})
                if "$ref" in schema:
                    schema = document["components"]["schemas"][schema["$ref"].rsplit("/", 1)[-1]]
                named = [each["value"] for each in content.get("examples", {}).values()]
                examples = schema.get("examples") or named or [None]
                found.append(
                    Operation(service, method.upper(), path, described["operationId"], parameters, examples[0])
                )
    return found


def reads() -> list[Operation]:
    return [operation for operation in operations() if operation.method == "GET"]


def writes() -> list[Operation]:
    return [each for each in operations() if each.method != "GET" and not each.path.startswith("/hooks/")]


def required_query(company: Company, operation: Operation) -> dict[str, str]:
    match operation.id:
        case "get_statement":
            return {"person_id": company.people["ann"], **PERIOD}
        case "get_statement_document":
            return {"person_id": company.people["ann"], "format": "html", **PERIOD}
        case "get_statement_documents":
            return {"format": "html", **PERIOD}
        case "get_statement_table" | "simulate_plan_version" | "get_accruals" | "get_plan_costs":
            return PERIOD
        case "compare_scenarios":
            return {"scenario_ids": company.ids["scenario_id"]}
        case "get_plan_document" | "get_pay_statement_document" | "get_pay_statement_documents":
            return {"format": "html"}
        case "diff_plan_version":
            return {"against": "1"}
        case _:
            return {}


def without_request_id(response: httpx.Response) -> str:
    """What was answered, a document or a table as well."""
    if not response.headers["content-type"].endswith("json"):
        return response.text
    answer = response.json()
    return json.dumps({**answer, "request_id": None} if isinstance(answer, dict) else answer)


@asynccontextmanager
async def streaming(company: Company, path: str) -> AsyncIterator[httpx.Response]:
    url = f"{company.stack.url('tracking-api')}{path}"
    async with company.client.stream("GET", url, headers=company.caller(Role.ADMIN)) as response:
        yield response


async def events(response: httpx.Response) -> AsyncIterator[dict[str, JsonValue]]:
    async for line in response.aiter_lines():
        if line.startswith("data:"):
            yield json.loads(line.removeprefix("data:"))


async def everything(company: Company) -> dict[str, JsonValue]:
    """All answers a company's admin gets, by operation."""
    answers: dict[str, JsonValue] = {}
    for operation in reads():
        if not operation.streams:
            query = required_query(company, operation)
            response = await company.send("GET", operation.service, company.path(operation), query=query)
            assert response.status_code == 200, (operation.id, response.text)
            answers[operation.id] = readable(response)
    return answers


def readable(response: httpx.Response) -> JsonValue:
    """What an answer says: JSON, the text of a file, or that of each file in one."""
    match response.headers["content-type"].partition(";")[0]:
        case "application/json":
            found: JsonValue = response.json()
            return found
        case "application/zip":
            with ZipFile(BytesIO(response.content)) as opened:
                return {name: opened.read(name).decode() for name in opened.namelist()}
        case _:
            return response.text


async def lasting(company: Company) -> dict[str, JsonValue]:
    """Those of its answers that stay the same while nobody changes anything."""
    return {name: answer for name, answer in (await everything(company)).items() if name not in MOVES_BY_ITSELF}


async def settled(company: Company) -> dict[str, JsonValue]:
    """The same, once two looks in a row found the same: nothing is under way any more."""
    seen: list[dict[str, JsonValue]] = [await lasting(company)]

    async def is_unchanged() -> bool:
        seen.append(await lasting(company))
        return seen[-1] == seen[-2]

    await eventually(is_unchanged, 60.0, expectation="a company in which nothing moves")
    return seen[-1]


async def test_no_answer_names_anything_of_the_other_company(companies: Pair) -> None:
    for asking, other in companies.both_ways():
        for name, answer in (await everything(asking)).items():
            text = json.dumps(answer)
            assert [mark for mark in other.marks() if mark in text] == [], name
            if name.startswith("list_") and name not in SHOWS_NO_IDS:
                assert any(mark in text for mark in asking.marks()), f"{name} shows nothing at all"


async def test_what_the_other_company_has_is_not_found(companies: Pair) -> None:
    for asking, other in companies.both_ways():
        for operation in reads():
            if "{" not in operation.path or operation.streams:
                continue
            query = required_query(asking, operation)
            response = await asking.send("GET", operation.service, other.path(operation), query=query)
            assert response.status_code == 404, (operation.id, response.text)
            assert not any(mark in response.text for mark in other.marks() - set(other.ids.values())), operation.id


async def test_a_list_narrowed_to_something_of_the_other_company_is_empty(companies: Pair) -> None:
    narrowed = 0
    for asking, other in companies.both_ways():
        for operation in reads():
            for name in set(operation.parameters) & set(other.ids):
                if "{" in operation.path or not operation.id.startswith("list_"):
                    continue
                narrowed += 1
                query = {name: other.ids[name]}
                response = await asking.send("GET", operation.service, operation.path, query=query)
                assert response.json()["items"] == [], (operation.id, name)
    assert narrowed >= 12


async def test_a_statement_of_somebody_in_the_other_company_has_nothing_on_it(companies: Pair) -> None:
    for asking, other in companies.both_ways():
        query = {"person_id": other.people["ann"], **PERIOD}
        response = await asking.send("GET", "incentives", "/v1/statements", query=query)
        if response.status_code != 404:
            statement = response.json()
            assert (statement["person_name"], statement["earnings"], statement["totals"]) == (None, [], [])


async def test_a_deal_of_the_other_company_is_unknown_to_an_explanation(companies: Pair) -> None:
    for asking, other in companies.both_ways():
        query = {"deal_id": other.deals["ann"]}
        progress = await asking.send(
            "GET", "tracking", f"/v1/goals/{asking.goals['ann']}/progress/explain", query=query
        )
        assert progress.status_code == 404
        path = f"/v1/earnings/{asking.earnings['ann']}/explain"
        earning = await asking.send("GET", "incentives", path, query=query)
        assert earning.json()["deal"]["reason"] == "deal_unknown"
        assert earning.json()["deal"]["deal_version"] is None


async def test_nothing_of_the_other_company_can_be_changed(companies: Pair) -> None:
    for asking, other in companies.both_ways():
        before = await settled(other)
        for operation in writes():
            if "{" not in operation.path:
                continue
            response = await asking.send(
                operation.method,
                operation.service,
                other.path(operation),
                headers={**asking.caller(Role.ADMIN), "if-match": '"1"'},
                body=operation.body,
            )
            assert response.status_code == 404, (operation.id, response.text)
        assert await lasting(other) == before


async def test_something_new_cannot_refer_to_the_other_company(companies: Pair) -> None:
    north, south = companies
    refused: list[tuple[str, str, JsonValue]] = [
        ("goals", "/v1/teams", {"name": "Spies", "parent_id": south.ids["team_id"]}),
        ("goals", "/v1/teams", {"name": "Spies", "manager_id": south.people["mia"]}),
        (
            "goals",
            "/v1/memberships",
            {"person_id": south.people["ann"], "team_id": north.ids["team_id"], "start": "2026-01-01"},
        ),
        ("goals", "/v1/identities", {"source": "x", "external_user_id": "y", "person_id": south.people["ann"]}),
        (
            "goals",
            "/v1/goals",
            {
                "name": "Theirs",
                "owner": {"kind": "person", "id": south.people["ann"]},
                "metric": BOOKINGS,
                "target": "1",
                "period": {"kind": "quarter", "containing": "2026-05-15"},
            },
        ),
        ("tracking", "/v1/deliveries/replay", {"connection_id": south.ids["connection_id"]}),
        (
            "incentives",
            "/v1/assignments",
            {"person_id": north.people["ann"], "plan_id": south.ids["plan_id"], "start": "2027-01-01"},
        ),
    ]
    for service, path, body in refused:
        response = await north.send("POST", service, path, body=body)
        assert response.status_code in (404, 422), (path, response.text)


async def test_a_stream_carries_only_the_companys_own_changes(companies: Pair) -> None:
    north, south = companies
    for operation in reads():
        if operation.streams:
            async with streaming(north, south.path(operation)) as response:
                assert response.status_code == 404, operation.id
    paths = [north.path(operation) for operation in reads() if operation.streams]
    assert len(paths) == 3
    for number, path in enumerate(paths):
        async with asyncio.timeout(30), streaming(north, path) as response:
            assert response.status_code == 200
            received = events(response)
            seen = [await anext(received)]
            await south.deliver(f"stream-{number}", south.won(f"S-{number}", "ann", "7"))
            await north.deliver(f"stream-{number}", north.won(f"S-{number}", "ann", "1"))
            wanted = str(1001 + number)
            while seen[-1]["value"] != wanted:
                seen.append(await anext(received))
            assert {str(each["goal_id"]) for each in seen} <= set(north.goals.values())


async def test_a_rep_sees_itself_only(companies: Pair) -> None:
    for company, _ in companies.both_ways():
        ann = company.caller(Role.REP, "ann")
        assert await sellers(company, ann) == {"ann"}
        await refuses_what_is_bobs(company, ann)
        for service, path in (("tracking", "/v1/connections"), ("tracking", "/v1/deliveries")):
            assert (await company.send("GET", service, path, headers=ann)).status_code == 403


async def test_a_manager_sees_its_subtree(companies: Pair) -> None:
    for company, _ in companies.both_ways():
        mia = company.caller(Role.MANAGER, "mia")
        assert await sellers(company, mia) == {"ann"}
        await refuses_what_is_bobs(company, mia)
        progress = await company.items("tracking", "/v1/progress", headers=mia)
        assert {each["goal_id"] for each in progress} == {company.goals["ann"], company.goals["field"]}
        assert await sellers(company, company.caller(Role.MANAGER, "chief")) == {"ann", "bob"}


async def test_no_answer_to_a_rep_or_a_manager_tells_anything_of_somebody_out_of_sight(companies: Pair) -> None:
    company = companies.north
    bobs = {
        "person_id": company.people["bob"],
        "goal_id": company.goals["bob"],
        "deal_id": company.deals["bob"],
        "activity_id": company.activities["bob"],
        "earning_id": company.earnings["bob"],
    }
    strange = {**bobs, "owner_id": bobs["person_id"], "owner": "bob", "deal": "D-2", "email": "bob@example.com"}
    missing = {name: str(UUID(int=7)) if len(value) == 36 else "nobody" for name, value in strange.items()}
    told = {*bobs.values(), "D-2", "A-2", "The deal of bob", company.ids["hidden_plan_id"], "Terms unseen"}
    seen_by_admin = json.dumps(await everything(company))
    assert [mark for mark in told if mark not in seen_by_admin] == []
    await settled(company)
    probes = 0
    for caller in (company.caller(Role.REP, "ann"), company.caller(Role.MANAGER, "mia")):
        for operation in reads():
            if operation.streams:
                continue
            query = required_query(company, operation)
            for path in {company.path(operation), company.path(operation, bobs)}:
                response = await company.send("GET", operation.service, path, headers=caller, query=query)
                assert response.status_code in (200, 403, 404), (operation.id, response.text)
                known = {mark for mark in told if mark in path}
                assert not known or response.status_code in (403, 404), operation.id
                assert [mark for mark in told - known if mark in response.text] == [], (operation.id, response.text)
                probes += 1
            for name in set(operation.parameters) & set(strange):
                hidden, absent = [
                    await company.send(
                        "GET",
                        operation.service,
                        company.path(operation),
                        headers=caller,
                        query={**query, name: values[name]},
                    )
                    for values in (strange, missing)
                ]
                assert hidden.status_code == absent.status_code, (operation.id, name, hidden.text)
                texts = [without_request_id(each) for each in (hidden, absent)]
                assert texts[0].replace(strange[name], missing[name]) == texts[1], (operation.id, name)
                probes += 2
    assert probes >= 200


async def test_whoever_sees_a_number_sees_what_the_delivery_told_of_its_deals_and_nothing_else(
    companies: Pair,
) -> None:
    company = companies.north
    for caller, sees in (
        (company.caller(Role.REP, "ann"), True),
        (company.caller(Role.MANAGER, "mia"), True),
        (company.caller(Role.FINANCE), True),
        (company.caller(Role.ADMIN), True),
        (company.caller(Role.REP, "bob"), False),
    ):
        query = {"person_id": company.people["ann"], **PERIOD}
        statement = await company.send("GET", "incentives", "/v1/statements", headers=caller, query=query)
        assert statement.is_success == sees
        url = f"/v1/deals/{company.deals['ann']}/deliveries/{company.ids['deal_delivery_id']}"
        if sees:
            lines = [line for earning in statement.json()["earnings"] for line in earning["lines"]]
            (line,) = [line for line in lines if line["deal_id"] == company.deals["ann"]]
            assert line["deal_version"]["delivery_url"] == url
        shown = await company.send("GET", "tracking", url, headers=caller)
        assert shown.status_code == (200 if sees else 404)
        if sees:
            members = {"type": "deals.batch", "deals": [company.deal("D-1", "ann", company.amount)]}
            assert (shown.json()["body_kept"], shown.json()["members"]) == (True, members)
            assert "headers" not in shown.json()
    other = f"/v1/deals/{company.deals['ann']}/deliveries/{company.ids['activity_delivery_id']}"
    assert (await company.send("GET", "tracking", other)).status_code == 404


async def test_finance_reads_all_pay_and_changes_nothing(companies: Pair) -> None:
    for company, _ in companies.both_ways():
        finance = company.caller(Role.FINANCE)
        assert await sellers(company, finance) == {"ann", "bob"}
        for name in ("ann", "bob"):
            query = {"person_id": company.people[name], **PERIOD}
            response = await company.send("GET", "incentives", "/v1/statements", headers=finance, query=query)
            assert response.json()["totals"][0]["lines"] >= 1
        verified = await company.send("GET", "incentives", "/v1/ledger/verify", headers=finance)
        assert verified.json()["status"] == "intact"


@pytest.mark.parametrize("role", [Role.REP, Role.MANAGER, Role.FINANCE])
async def test_only_those_who_run_the_company_change_it(companies: Pair, role: Role) -> None:
    company = companies.north
    for operation in writes():
        if operation.id in AGREED_ON or (role is Role.FINANCE and operation.id in FINANCE_CHANGES):
            continue
        response = await company.send(
            operation.method,
            operation.service,
            company.path(operation),
            headers={**company.caller(role, "mia"), "if-match": '"1"'},
            body=operation.body,
        )
        assert response.status_code == 403, (operation.id, response.text)


async def test_nothing_is_answered_without_a_token(companies: Pair) -> None:
    company = companies.north
    for operation in [*reads(), *writes()]:
        response = await company.send(
            operation.method, operation.service, company.path(operation), headers={}, body=operation.body
        )
        assert response.status_code == 401, operation.id


@pytest.mark.parametrize("service", SERVICES)
async def test_the_services_role_sees_no_row_before_it_says_whose(companies: Pair, service: str) -> None:
    async with superuser(companies.north.stack) as connection:
        tables = await tenant_tables(connection, service)
        totals = {table: await count(connection, service, table) for table in tables}
        async with connection.transaction():
            await connection.execute(f"SET LOCAL ROLE {service}_app")
            unscoped = {table: await count(connection, service, table) for table in tables}
            await connection.execute("SELECT set_config('app.tenants', $1, true)", str(companies.north.tenant))
            foreign = {table: await count(connection, service, table, companies.south.tenant) for table in tables}
            own = {table: await count(connection, service, table, companies.north.tenant) for table in tables}
    assert sum(1 for total in totals.values() if total) >= 5
    assert unscoped == dict.fromkeys(tables, 0)
    assert foreign == dict.fromkeys(tables, 0)
    assert sum(own.values()) > 0


@pytest.mark.parametrize("service", SERVICES)
async def test_the_services_role_cannot_write_for_another_tenant(companies: Pair, service: str) -> None:
    async with superuser(companies.north.stack) as connection:
        for table in await tenant_tables(connection, service):
            transaction = connection.transaction()
            await transaction.start()
            try:
                await connection.execute(f"SET LOCAL ROLE {service}_app")
                await connection.execute("SELECT set_config('app.tenants', $1, true)", str(companies.north.tenant))
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await connection.execute(
                        f"INSERT INTO {service}.{table} (tenant_id) VALUES ($1)", companies.south.tenant
                    )
            finally:
                await transaction.rollback()


async def test_every_table_with_a_tenant_is_under_row_level_security(companies: Pair) -> None:
    async with superuser(companies.north.stack) as connection:
        rows = await connection.fetch(
            "SELECT relname, relrowsecurity AND relforcerowsecurity AS held "
            "FROM pg_class WHERE relkind IN ('r', 'p') AND relnamespace::regnamespace::text = ANY($1)",
            list(SERVICES),
        )
    unprotected = {row["relname"] for row in rows if not row["held"]}
    assert unprotected == TABLES_WITHOUT_ROW_SECURITY | {"alembic_version"}


async def sellers(company: Company, headers: Mapping[str, str]) -> set[str]:
    """Whose things a caller sees; the same of every kind of thing."""
    seen = {}
    names = {person: name for name, person in company.people.items()}
    for service, path, key in (
        ("goals", "/v1/identities", "person_id"),
        ("goals", "/v1/memberships", "person_id"),
        ("incentives", "/v1/assignments", "person_id"),
        ("incentives", "/v1/earnings", "person_id"),
        ("incentives", "/v1/ledger", "person_id"),
    ):
        seen[path] = {names[str(each[key])] for each in await company.items(service, path, headers=headers)}
    people = await company.items("goals", "/v1/people", headers=headers)
    seen["people"] = {str(each["name"]) for each in people} & {"ann", "bob"}
    deals = await company.items("tracking", "/v1/deals", headers=headers)
    seen["deals"] = {str(each["owner_external_id"]) for each in deals} - {"None"}
    activities = await company.items("tracking", "/v1/activities", headers=headers)
    seen["activities"] = {str(each["owner_external_id"]) for each in activities}
    owners = {goal: name for name, goal in company.goals.items()} | {company.ids["stated_goal_id"]: "field"}
    for service, path, key in (("goals", "/v1/goals", "id"), ("tracking", "/v1/progress", "goal_id")):
        found = {owners[str(each[key])] for each in await company.items(service, path, headers=headers)}
        seen[path] = found - {"field"}
    assert len({frozenset(each) for each in seen.values()}) == 1, seen
    return seen["deals"]


async def refuses_what_is_bobs(company: Company, headers: Mapping[str, str]) -> None:
    for service, path in (
        ("goals", f"/v1/people/{company.people['bob']}"),
        ("goals", f"/v1/goals/{company.goals['bob']}"),
        ("goals", f"/v1/goals/{company.goals['bob']}/revisions"),
        ("goals", f"/v1/memberships/{company.ids['membership_id']}"),
        ("goals", f"/v1/identities/{company.ids['identity_id']}"),
        ("tracking", f"/v1/deals/{company.deals['bob']}"),
        ("tracking", f"/v1/deals/{company.deals['bob']}/versions"),
        ("tracking", f"/v1/activities/{company.activities['bob']}"),
        ("tracking", f"/v1/activities/{company.activities['bob']}/versions"),
        ("tracking", f"/v1/goals/{company.goals['bob']}/progress"),
        ("tracking", f"/v1/goals/{company.goals['bob']}/progress/series"),
        ("tracking", f"/v1/goals/{company.goals['bob']}/progress/explain"),
        ("tracking", f"/v1/goals/{company.goals['bob']}/progress/stream"),
        ("tracking", f"/v1/people/{company.people['bob']}/progress/stream"),
        ("incentives", f"/v1/assignments/{company.ids['assignment_id']}"),
        ("incentives", f"/v1/earnings/{company.earnings['bob']}"),
        ("incentives", f"/v1/earnings/{company.earnings['bob']}/explain"),
        ("incentives", f"/v1/statements?person_id={company.people['bob']}&start=2026-04-01&end=2026-07-01"),
    ):
        response = await company.send("GET", service, path, headers=headers)
        assert response.status_code == 404, (path, response.text)


@asynccontextmanager
async def superuser(stack: Stack) -> AsyncIterator[asyncpg.Connection]:
    url = make_url(stack.database_url).set(drivername="postgresql").render_as_string(hide_password=False)
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        await connection.close()


async def tenant_tables(connection: asyncpg.Connection, service: str) -> list[str]:
    """The tables of a service that hold tenants' data."""
    rows = await connection.fetch(
        "SELECT table_name FROM information_schema.columns WHERE table_schema = $1 AND column_name = 'tenant_id'",
        service,
    )
    return sorted({str(row["table_name"]) for row in rows} - TABLES_WITHOUT_ROW_SECURITY)


async def count(connection: asyncpg.Connection, service: str, table: str, tenant: UUID | None = None) -> int:
    statement = f"SELECT count(*) FROM {service}.{table}"
    found = (
        await connection.fetchval(statement)
        if tenant is None
        else await connection.fetchval(f"{statement} WHERE tenant_id = $1", tenant)
    )
    return int(found)
