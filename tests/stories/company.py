"""A tenant on a running stack, as its administrator uses it over HTTP."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Final
from uuid import uuid4

import httpx
from pydantic import JsonValue
from standardwebhooks import Webhook

from deploy.local.stack import Stack
from shared.http.auth import Role
from shared.http.settings import HttpSettings
from tests.servers.callers import bearer
from tests.servers.infrastructure import eventually

WON: Final[JsonValue] = {"all": [{"field": "status", "op": "eq", "value": "won"}]}
PERIOD: Final[JsonValue] = {"kind": "quarter", "containing": "2026-05-15"}
_START: Final = datetime(2026, 5, 1, 9, tzinfo=UTC)


class Company:
    """A new tenant. What is refused fails the test with what was answered."""

    def __init__(self, stack: Stack, client: httpx.AsyncClient) -> None:
        self.client = client
        self.tenant = uuid4()
        self._stack = stack

    def headers(self, role: Role = Role.ADMIN) -> dict[str, str]:
        """Those of some administrator, each time another: what one proposes another can approve."""
        return bearer(HttpSettings(jwt_secret=self._stack.secrets.jwt_secret), self.tenant, role)

    def url(self, service: str) -> str:
        """The public address of a service."""
        return self._stack.url(f"{service}-api")

    async def call(
        self,
        method: str,
        service: str,
        path: str,
        body: object = None,
        *,
        version: object = None,
        role: Role = Role.ADMIN,
    ) -> dict[str, JsonValue]:
        """What a service answers; `version` is the one a change is made from."""
        condition: Mapping[str, str] = {} if version is None else {"if-match": f'"{version}"'}
        response = await self.client.request(
            method, f"{self.url(service)}{path}", headers={**self.headers(role), **condition}, json=body
        )
        assert response.is_success, f"{method} {path}: {response.status_code} {response.text}"
        answer: dict[str, JsonValue] = response.json()
        return answer

    async def activated_goal(self, goal: JsonValue) -> str:
        """The id of a new goal that counts, as a service brings it in: of any time, and held to no warning."""
        drafted = await self.call("POST", "goals", "/v1/goals", goal)
        path = f"/v1/goals/{drafted['id']}/activate"
        await self.call("POST", "goals", path, version=drafted["version"], role=Role.SERVICE)
        return str(drafted["id"])

    async def value_of(self, goal_id: str) -> Decimal:
        """Where a goal stands; a goal that is not known to tracking yet stands at zero."""
        response = await self.client.get(f"{self.url('tracking')}/v1/goals/{goal_id}/progress", headers=self.headers())
        if response.status_code == httpx.codes.NOT_FOUND:
            return Decimal(0)
        assert response.is_success, response.text
        return Decimal(str(response.json()["value"]))


class Seller(Company):
    """A company of one, paid a tenth of what she books or of what comes in, in dollars."""

    person = ""
    hook = ""
    secret = ""
    changes = 0

    async def set_up(self) -> None:
        """Ann, her name in the CRM, and the connection."""
        await self.call("PUT", "goals", "/v1/calendar", {"start_month": 1, "time_zone": "UTC", "currency": "USD"})
        self.person = str((await self.call("POST", "goals", "/v1/people", {"name": "Ann"}))["id"])
        made = await self.call("POST", "tracking", "/v1/connections", {"source": "standard_webhooks", "name": "CRM"})
        self.hook, self.secret = f"{self.url('tracking')}{made['hook_path']}", str(made["secret"])
        identity = {"source": made["identity_source"], "external_user_id": "ann", "person_id": self.person}
        await self.call("POST", "goals", "/v1/identities", identity)

    async def goal(self, value_field: str, day: str = "closed") -> str:
        """Her goal for what she books, for what is invoiced of it, or for what comes in."""
        metric: JsonValue = {
            "aggregate": "sum",
            "value_field": value_field,
            "date_field": day,
            "filter": WON,
            "currency": "USD",
        }
        owner: JsonValue = {"kind": "person", "id": self.person}
        return await self.activated_goal(
            {"name": value_field, "owner": owner, "metric": metric, "target": "10000", "period": PERIOD}
        )

    async def plan(self, value_field: str, day: str = "closed") -> None:
        """A tenth of it is hers."""
        measure = {
            "aggregate": "sum",
            "value_field": value_field,
            "date_field": day,
            "filter": WON,
            "currency": "USD",
        }
        component = {
            "kind": "commission",
            "key": "tenth",
            "name": "A tenth",
            "measure": measure,
            "rate": {"shape": "flat", "rate": "0.1"},
        }
        plan = await self.call(
            "POST", "incentives", "/v1/plans", {"name": value_field, "currency": "USD", "period": "quarter"}
        )
        path = f"/v1/plans/{plan['id']}/versions"
        version = await self.call(
            "POST", "incentives", path, {"effective_from": "2026-04-01", "components": [component]}
        )
        for step in ("approve", "activate"):
            version = await self.call(
                "POST", "incentives", f"{path}/{version['number']}/{step}", version=version["version"]
            )
        assignment = {"person_id": self.person, "plan_id": plan["id"], "start": "2026-04-01"}
        assigned = await self.call("POST", "incentives", "/v1/assignments", assignment)
        path = f"/v1/assignments/{assigned['id']}/approve"
        await self.call("POST", "incentives", path, version=assigned["version"])

    async def tell(self, **fields: JsonValue) -> None:
        """A signed webhook about her one deal, won on the 15th of May 2026."""
        self.changes += 1
        deal: JsonValue = {
            "external_id": "D-1",
            "modified_at": (_START + timedelta(minutes=self.changes)).isoformat(),
            "status": "won",
            "owner_external_id": "ann",
            "closed_on": "2026-05-15",
            **fields,
        }
        text = json.dumps({"type": "deal.upserted", "data": deal})
        name, now = f"msg_{uuid4().hex}", datetime.now(UTC)
        headers = {
            "webhook-id": name,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": Webhook(self.secret).sign(name, now, text),
        }
        response = await self.client.post(self.hook, content=text, headers=headers)
        assert response.status_code == httpx.codes.ACCEPTED, response.text

    async def state_rate(self, rate: str) -> None:
        """What a euro was worth on the 10th of May."""
        rates = [{"currency": "EUR", "date": "2026-05-10", "rate": rate}]
        await self.call("PUT", "goals", "/v1/exchange-rates", rates)

    async def cut_off(self, day: str) -> str:
        """The id of the pay period with a day, which takes no more postings."""
        listed = (await self.call("GET", "incentives", f"/v1/pay-periods?containing={day}"))["items"]
        assert isinstance(listed, list)
        (found,) = listed
        assert isinstance(found, dict)
        path, version = f"/v1/pay-periods/{found['id']}", found["version"]
        for state in ("calculating", "in_review", "approved"):
            body = {"state": state, "reason": "The month is over"}
            version = (await self.call("POST", "incentives", f"{path}/move", body, version=version))["version"]
        return str(found["id"])

    async def earned(self) -> Decimal:
        """All she has earned."""
        earnings = (await self.call("GET", "incentives", "/v1/earnings"))["items"]
        assert isinstance(earnings, list)
        return sum((Decimal(str(each["earned"])) for each in earnings if isinstance(each, dict)), Decimal(0))

    async def comes_to(self, goal_id: str, value: str, earned: str) -> None:
        """Wait until the goal and her pay are there."""

        async def is_there() -> bool:
            return await self.value_of(goal_id) == Decimal(value) and await self.earned() == Decimal(earned)

        try:
            await eventually(is_there, 30.0, expectation=f"{value} booked and {earned} earned")
        except AssertionError as error:
            raise AssertionError(f"{error}: {await self.value_of(goal_id)}, {await self.earned()}") from error
