"""Callers of the goals service over HTTP, and what its outbox holds of their tenant."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import NamedTuple
from uuid import UUID

import asyncpg
import httpx
import pytest
from fastapi import FastAPI
from pydantic import JsonValue

from services.goals.app import create_app
from services.goals.settings import ApiSettings
from shared.contracts.base import Event
from shared.contracts.envelope import from_record
from shared.db.database import Database, Scope
from shared.http.auth import Role
from shared.outbox.outbox import decode_headers
from tests.servers.callers import bearer, client_of
from tests.servers.infrastructure import eventually

WON: JsonValue = {"all": [{"field": "status", "op": "eq", "value": "won"}]}
BOOKINGS: dict[str, JsonValue] = {"aggregate": "sum", "value_field": "amount", "filter": WON, "currency": "USD"}
QUARTER: dict[str, JsonValue] = {"kind": "quarter", "containing": "2026-02-14"}
AHEAD: dict[str, JsonValue] = {"kind": "quarter", "containing": "2099-02-14"}
"""Not over before the person who is to activate a goal comes to it."""


class Service(NamedTuple):
    """The app, and where its database is for looking behind it."""

    app: FastAPI
    database_url: str


class Caller:
    """Somebody with a token in one tenant."""

    def __init__(self, service: Service, tenant: UUID, *roles: Role, person: UUID | None = None) -> None:
        self.service = service
        self.tenant = tenant
        self.client = client_of(service.app, bearer(ApiSettings(), tenant, *roles, person=person))

    async def send(
        self, method: str, path: str, body: object = None, *, version: int | None = None, key: str | None = None
    ) -> httpx.Response:
        headers = {} if version is None else {"if-match": f'"{version}"'}
        if key is not None:
            headers["idempotency-key"] = key
        return await self.client.request(method, path, headers=headers, json=body)

    async def made(self, path: str, body: object) -> str:
        response = await self.send("POST", path, body)
        assert response.status_code == 201, response.text
        assert response.headers["location"] == f"{path}/{response.json()['id']}"
        return str(response.json()["id"])

    async def person(self, name: str = "Ada") -> str:
        return await self.made("/v1/people", {"name": name})

    async def team(self, name: str = "Sales", **fields: object) -> str:
        return await self.made("/v1/teams", {"name": name, **fields})

    async def member(self, person: str, team: str, start: str = "2020-01-01", end: str | None = None) -> str:
        return await self.made("/v1/memberships", {"person_id": person, "team_id": team, "start": start, "end": end})

    async def goal(self, owner: str, *, kind: str = "person", **fields: object) -> str:
        return await self.made("/v1/goals", goal_body(owner, kind=kind, **fields))

    async def ids(self, path: str) -> set[str]:
        response = await self.send("GET", path)
        assert response.status_code == 200, response.text
        return {item["id"] for item in response.json()["items"]}

    async def events(self) -> list[Event]:
        """What the outbox holds of the tenant, in order."""
        rows = await query(
            self.service,
            "SELECT topic, key, headers, value FROM goals.outbox WHERE tenant_id = $1 ORDER BY id",
            self.tenant,
        )
        events = []
        for row in rows:
            event = from_record(dict(decode_headers(row["headers"])), row["value"])
            assert event is not None
            assert (row["topic"], row["key"]) == (event.topic, f"{self.tenant}/{event.subject}")
            events.append(event)
        return events


def goal_body(owner: str, *, kind: str = "person", **fields: object) -> dict[str, object]:
    return {
        "name": "Bookings",
        "owner": {"kind": kind, "id": owner},
        "metric": BOOKINGS,
        "target": "1000.50",
        "period": QUARTER,
        **fields,
    }


async def query(service: Service, statement: str, *arguments: object) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(service.database_url)
    try:
        return list(await connection.fetch(statement, *arguments))
    finally:
        await connection.close()


async def at_once(caller: Caller, *requests: Awaitable[httpx.Response]) -> list[httpx.Response]:
    """The answers to requests that all have begun before any of them may change anything of the tenant."""
    database = Database(caller.service.database_url, service="goals")

    async def all_wait() -> bool:
        waiting = await query(
            caller.service,
            "SELECT 1 FROM pg_locks JOIN pg_database AS d ON d.oid = database"
            " WHERE locktype = 'advisory' AND NOT granted AND datname = current_database()",
        )
        return len(waiting) == len(requests)

    try:
        async with database.transaction(Scope.of(caller.tenant)) as tx:
            await tx.lock_tenants_exclusive([caller.tenant])
            answers = asyncio.gather(*requests)
            await eventually(all_wait, 5, expectation="every request waiting for its turn")
        return await answers
    finally:
        await database.close()


def pointers(response: httpx.Response) -> list[str]:
    return [error["pointer"] for error in response.json()["errors"]]


@asynccontextmanager
async def running_goals(url: str) -> AsyncIterator[Service]:
    """The app on a database."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("ATTAIN_DATABASE_URL", url)
        environment.setenv("ATTAIN_JWT_SECRET", "0123456789abcdef0123456789abcdef0123456789abcdef")
        app = create_app()
        yield Service(app, url)
        await app.state.database.close()
