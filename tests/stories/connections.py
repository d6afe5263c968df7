"""A tenant's connections in a tracking service without Kafka: sent to, translated, recorded, looked after."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import NamedTuple
from uuid import UUID, uuid4

import httpx
import pytest
from cryptography.fernet import Fernet
from fastapi import FastAPI
from sqlalchemy import text
from standardwebhooks import Webhook

from services.tracking.app import create_app
from services.tracking.intake.inbox import retranslation
from services.tracking.intake.inbox.hooks import Hooks
from services.tracking.intake.inbox.publishing import Publisher
from services.tracking.intake.inbox.retranslation_store import Retranslation
from services.tracking.intake.inbox.work import InboxProcessor, Retranslator
from services.tracking.metadata import transport
from services.tracking.records.service import ACTIVITIES, DEALS
from services.tracking.settings import ApiSettings
from shared.contracts.activities import Activity
from shared.contracts.base import Event
from shared.contracts.deals import Deal
from shared.contracts.envelope import from_record
from shared.db.database import Database, Scope
from shared.http.auth import Role
from shared.outbox.outbox import Outbox, decode_headers
from tests.servers.callers import bearer, client_of

OUTBOX = Outbox(transport)
JWT_SECRET = "0123456789abcdef0123456789abcdef0123456789abcdef"


class Tracking(NamedTuple):
    """The app as its lifespan would run it but for Kafka, and the inbox of a worker."""

    app: FastAPI
    database: Database
    processor: InboxProcessor


class Answered(NamedTuple):
    """A connection as it was answered."""

    id: str
    secret: str
    hook: str
    version: int


class Caller:
    """Somebody with a token in one tenant, and that tenant's CRM."""

    def __init__(self, tracking: Tracking, *roles: Role, tenant: UUID | None = None) -> None:
        self.tracking = tracking
        self.tenant = tenant or uuid4()
        self.client = client_of(tracking.app, bearer(ApiSettings(), self.tenant, *roles))

    async def connect(self, source: str = "standard_webhooks", **fields: object) -> Answered:
        response = await self.client.post("/v1/connections", json={"source": source, "name": "CRM", **fields})
        assert response.status_code == 201, response.text
        made = response.json()
        return Answered(made["id"], made["secret"], made["hook_path"], made["version"])

    async def change(self, method: str, path: str, version: int, body: object = None) -> httpx.Response:
        return await self.client.request(method, path, json=body, headers={"if-match": f'"{version}"'})

    async def deliveries(self, **wanted: str) -> list[dict[str, object]]:
        response = await self.client.get("/v1/deliveries", params=wanted)
        assert response.status_code == 200, response.text
        items: list[dict[str, object]] = response.json()["items"]
        return items

    async def published(self) -> list[Deal]:
        """The deal events of this tenant in the outbox, in their order."""
        return [event for event in await self._published() if isinstance(event, Deal)]

    async def activities_published(self) -> list[Activity]:
        """The same of activities."""
        return [event for event in await self._published() if isinstance(event, Activity)]

    async def _published(self) -> list[Event | None]:
        async with self.tracking.database.transaction(Scope.every()) as tx:
            rows = await tx.rows(
                text("SELECT headers, value FROM tracking.outbox WHERE tenant_id = :tenant ORDER BY id"),
                {"tenant": self.tenant},
            )
        return [from_record(dict(decode_headers(row["headers"])), row["value"]) for row in rows]


async def send(caller: Caller, to: Answered, body: str, *, webhook_id: str | None = None, secret: str = "") -> int:
    """Post a signed delivery; the status answered."""
    response = await caller.client.post(to.hook, content=body, headers=signed(to, body, webhook_id, secret))
    return response.status_code


def signed(to: Answered, body: str, webhook_id: str | None = None, secret: str = "") -> dict[str, str]:
    name = webhook_id or f"msg_{uuid4().hex}"
    now = datetime.now(UTC)
    return {
        "webhook-id": name,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(secret or to.secret).sign(name, now, body),
    }


def deal(external_id: str = "A1", **fields: object) -> str:
    data = {"external_id": external_id, "modified_at": "2026-03-31T18:40:02Z", "status": "won", "amount": "10"}
    return json.dumps({"type": "deal.upserted", "data": data | fields})


async def translate(tracking: Tracking) -> None:
    """Let the worker translate all that waits."""
    while await tracking.processor.translate_once():
        pass


@asynccontextmanager
async def running_tracking(url: str, *, secrets_key: str | None = None) -> AsyncIterator[Tracking]:
    """The app on a database, which takes deliveries, and the inbox of a worker; several are like several processes.

    It hears of what others change only when it asks, or once its directory is run.
    """
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("ATTAIN_DATABASE_URL", url)
        environment.setenv("ATTAIN_JWT_SECRET", JWT_SECRET)
        environment.setenv("ATTAIN_SECRETS_KEY", secrets_key or Fernet.generate_key().decode())
        app = create_app()
        hooks: Hooks = app.state.parts[Hooks]
        await hooks.directory.load()
        storing = asyncio.create_task(hooks.intake.run())
        database = Database(url, service="tracking")
        yield Tracking(app, database, InboxProcessor(database, Publisher(OUTBOX)))
        await hooks.intake.stop()
        await storing
        await app.state.database.close()
        await database.close()


async def save(caller: Caller, connection: Answered, version: int, **mapping: object) -> None:
    """Save a mapping made from a version of the connection."""
    path = f"/v1/connections/{connection.id}"
    assert (await caller.change("PATCH", path, version, {"mapping": mapping})).status_code == 200


async def record(tracking: Tracking) -> None:
    """Let the deals and activities that were published be recorded."""
    async with tracking.database.transaction(Scope.every()) as tx:
        rows = await tx.rows(text("DELETE FROM tracking.outbox RETURNING id, headers, value"))
        events = [
            from_record(dict(decode_headers(row["headers"])), row["value"])
            for row in sorted(rows, key=lambda row: int(row["id"]))
        ]
        await DEALS.record(tx, [event for event in events if isinstance(event, Deal)])
        await ACTIVITIES.record(tx, [event for event in events if isinstance(event, Activity)])


async def settle(tracking: Tracking) -> None:
    """Translate what waits, and record what comes of it."""
    await translate(tracking)
    await record(tracking)


async def arrive(caller: Caller, to: Answered, *bodies: str) -> None:
    """Post signed deliveries, and record what comes of them."""
    for body in bodies:
        await send(caller, to, body)
    await settle(caller.tracking)


async def remap(caller: Caller, connection: Answered, version: int, **mapping: object) -> None:
    """Save a mapping, and record what comes of applying it to what came before."""
    await save(caller, connection, version, **mapping)
    await work(caller.tracking.database)
    await settle(caller.tracking)


async def work(database: Database) -> None:
    """Carry out all that is due."""
    retranslator = Retranslator(database, Publisher(OUTBOX))
    while await retranslator.step_once():
        pass


async def work_of(caller: Caller, connection: Answered) -> Retranslation:
    async with caller.tracking.database.transaction(Scope.of(caller.tenant)) as tx:
        found = await retranslation.find(tx, caller.tenant, UUID(connection.id))
    assert found is not None
    return found


async def statuses(caller: Caller) -> dict[str, str]:
    """The status of each deal of the tenant."""
    async with caller.tracking.database.transaction(Scope.of(caller.tenant)) as tx:
        rows = await tx.rows(text("SELECT external_id, status FROM tracking.deals ORDER BY external_id"))
    return {row["external_id"]: row["status"] for row in rows}


async def versions(caller: Caller) -> dict[str, int]:
    """How many versions of each deal of the tenant there are."""
    async with caller.tracking.database.transaction(Scope.of(caller.tenant)) as tx:
        rows = await tx.rows(
            text("SELECT external_id, count(*) AS versions FROM tracking.deal_versions GROUP BY external_id")
        )
    return {row["external_id"]: row["versions"] for row in rows}


async def newest(caller: Caller) -> list[Deal]:
    async with caller.tracking.database.transaction(Scope.of(caller.tenant)) as tx:
        ids = [row["deal_id"] for row in await tx.rows(text("SELECT deal_id FROM tracking.deals"))]
        return list((await DEALS.newest(tx, caller.tenant, ids)).values())
