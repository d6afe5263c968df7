"""A tenant on a running stack, as its administrator uses it over HTTP."""

from collections.abc import Mapping
from decimal import Decimal
from uuid import uuid4

import httpx
from pydantic import JsonValue

from deploy.local.stack import Stack
from shared.http.auth import Role, issue_token
from shared.http.settings import HttpSettings


class Company:
    """A new tenant. What is refused fails the test with what was answered."""

    def __init__(self, stack: Stack, client: httpx.AsyncClient) -> None:
        self.client = client
        self.tenant = uuid4()
        self._stack = stack

    def headers(self) -> dict[str, str]:
        """Those of some administrator, each time another: what one proposes another can approve."""
        token = issue_token(
            HttpSettings(jwt_secret=self._stack.secrets.jwt_secret),
            tenant_id=self.tenant,
            person_id=uuid4(),
            roles=frozenset({Role.ADMIN}),
            ttl_seconds=600,
        )
        return {"authorization": f"Bearer {token}"}

    def url(self, service: str) -> str:
        """The public address of a service."""
        return self._stack.url(f"{service}-api")

    async def call(
        self, method: str, service: str, path: str, body: object = None, *, version: object = None
    ) -> dict[str, JsonValue]:
        """What a service answers; `version` is the one a change is made from."""
        condition: Mapping[str, str] = {} if version is None else {"if-match": f'"{version}"'}
        response = await self.client.request(
            method, f"{self.url(service)}{path}", headers={**self.headers(), **condition}, json=body
        )
        assert response.is_success, f"{method} {path}: {response.status_code} {response.text}"
        answer: dict[str, JsonValue] = response.json()
        return answer

    async def activated_goal(self, goal: JsonValue) -> str:
        """The id of a new goal that counts."""
        drafted = await self.call("POST", "goals", "/v1/goals", goal)
        await self.call("POST", "goals", f"/v1/goals/{drafted['id']}/activate", version=drafted["version"])
        return str(drafted["id"])

    async def value_of(self, goal_id: str) -> Decimal:
        """Where a goal stands; a goal that is not known to tracking yet stands at zero."""
        response = await self.client.get(f"{self.url('tracking')}/v1/goals/{goal_id}/progress", headers=self.headers())
        if response.status_code == httpx.codes.NOT_FOUND:
            return Decimal(0)
        assert response.is_success, response.text
        return Decimal(str(response.json()["value"]))
