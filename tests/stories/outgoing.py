"""The API and the worker's components of outgoing messages on one database, and somebody who can be subscribed."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from ipaddress import ip_address, ip_network
from time import monotonic
from typing import Any
from uuid import UUID, uuid4

from cryptography.fernet import Fernet
from fastapi import FastAPI
from pydantic import SecretStr

from services.tracking.measure.progress.definitions import DefinitionsCache
from services.tracking.metadata import transport
from services.tracking.tell.channels.api import router as outgoing_router
from services.tracking.tell.channels.consumer import OutgoingHandler
from services.tracking.tell.channels.mailer import Mailer, MailSettings
from services.tracking.tell.channels.people import People
from services.tracking.tell.channels.service import Subscriptions
from services.tracking.tell.channels.work import Deliverer, subscriber_client
from shared.contracts.base import Event
from shared.contracts.earnings import Earning
from shared.contracts.envelope import to_message
from shared.contracts.goals import Direction, GoalStatus, Subject
from shared.contracts.progress import Progress
from shared.db.database import Database
from shared.db.sealing import SecretsBox
from shared.http.app import create_service_app
from shared.http.auth import Role
from shared.http.outbound import Address, OutboundSettings
from shared.http.settings import HttpSettings
from shared.kafka.domain import Record
from tests.played.listener import Listener, listening
from tests.servers.callers import bearer, client_of

JWT_SECRET = "0123456789abcdef0123456789abcdef0123456789abcdef"
LOOPBACK_TOO = OutboundSettings(allowed_networks=(ip_network("127.0.0.0/8"),))
GOAL, OTHER_GOAL = uuid4(), uuid4()
CELL = uuid4()
ALL_PROGRESS = [{"type": "attain.progress.v1"}]
ALL_EARNINGS = [{"type": "attain.earning.v1"}]

Json = dict[str, Any]
"""An answer as it was parsed."""


class Clock:
    """A clock that stands until it is told or runs. It starts a little ahead, after whatever the test has made."""

    def __init__(self) -> None:
        self.now = datetime.now(UTC) + timedelta(seconds=30)
        self.runs_since: float | None = None

    def __call__(self) -> datetime:
        return self.now if self.runs_since is None else self.now + timedelta(seconds=monotonic() - self.runs_since)

    def run(self) -> None:
        self.runs_since = monotonic()

    def advance(self, **by: float) -> None:
        self.now += timedelta(**by)


class Site:
    """The API of tracking and a worker's components, on one database; and somebody who can be subscribed."""

    def __init__(self, app: FastAPI, database: Database, clock: Clock, subscriber: Listener) -> None:
        self.app = app
        self.subscriber = subscriber
        self.database = database
        self.clock = clock
        self.handler = OutgoingHandler(People(DefinitionsCache()))
        self.exit = AsyncExitStack()
        self.mailer = Mailer(MailSettings())
        self.deliverer = self.another_deliverer()

    def another_deliverer(
        self, *, timeout_seconds: float = 2.0, concurrency: int = 16, each: int = 4, addresses: Sequence[str] = ()
    ) -> Deliverer:
        settings = OutboundSettings(allowed_networks=()) if addresses else LOOPBACK_TOO

        async def resolve(host: str, port: int) -> Sequence[Address]:
            return [ip_address(each) for each in addresses or [host]]

        client = subscriber_client(settings, connections_max=16, timeout_seconds=timeout_seconds, resolve=resolve)
        self.exit.push_async_callback(client.aclose)
        subscriptions: Subscriptions = self.app.state.parts[Subscriptions]
        return Deliverer(
            self.database,
            subscriptions,
            client,
            self.mailer,
            concurrency=concurrency,
            concurrency_each=each,
            clock=self.clock,
        )

    async def happen(self, *events: Event) -> None:
        """The events are published and consumed, in one batch."""
        batch = [record(event, offset, self.clock.now) for offset, event in enumerate(events)]
        async with self.database.transaction(self.handler.scope(batch)) as tx:
            await self.handler.apply(tx, batch)

    async def deliver(self) -> int:
        return await deliver_due(self.deliverer)


async def deliver_due(deliverer: Deliverer) -> int:
    """Have everything attempted that is due now, round after round until nothing is; how many attempts."""
    attempts = 0
    while started := await deliverer._start_due():
        attempts += started
        await deliverer._settled()
    return attempts


class Caller:
    """Somebody with a token in one tenant."""

    def __init__(self, site: Site, *roles: Role, tenant: UUID | None = None) -> None:
        self.tenant = tenant or uuid4()
        headers = bearer(HttpSettings(jwt_secret=SecretStr(JWT_SECRET)), self.tenant, *roles)
        self.client = client_of(site.app, headers)

    async def ask(self, method: str, path: str, status: int, body: object = None, **headers: str) -> Json:
        response = await self.client.request(method, path, json=body, headers=headers)
        assert response.status_code == status, response.text
        answer: Json = response.json() if response.content else {}
        return answer

    async def subscribe(self, url: str, events: object, name: str = "Payroll") -> Json:
        made: Json = await self.ask("POST", "/v1/subscriptions", 201, {"name": name, "url": url, "events": events})
        return made

    async def subscription(self, made: Json) -> Json:
        found: Json = await self.ask("GET", f"/v1/subscriptions/{made['id']}", 200)
        return found

    async def set(self, made: Json, **fields: object) -> Json:
        version = (await self.subscription(made))["version"]
        path = f"/v1/subscriptions/{made['id']}"
        changed: Json = await self.ask("PATCH", path, 200, fields, **{"if-match": f'"{version}"'})
        return changed

    async def log(self, made: Json, query: str = "") -> list[Json]:
        """Oldest first."""
        page = await self.ask("GET", f"/v1/subscriptions/{made['id']}/deliveries{query}", 200)
        return list(reversed(page["items"]))


def progress(caller: Caller, version: int, *, goal: UUID = GOAL, **fields: object) -> Progress:
    return Progress.model_validate(
        {
            "tenant_id": caller.tenant,
            "goal_id": goal,
            "version": version,
            "goal_version": 1,
            "status": GoalStatus.ACTIVE,
            "name": "Bookings",
            "owner": Subject(kind="person", id=uuid4()),
            "value": Decimal(version),
            "target": Decimal(100),
            "baseline": Decimal(0),
            "attainment": Decimal(version) / 100,
            "direction": Direction.HIGHER,
            "unit": "USD",
            "currency": "USD",
            "start": date(2026, 1, 1),
            "end": date(2026, 4, 1),
            "deals": version,
            "received_at": None,
            "changed_at": datetime(2026, 3, 1, tzinfo=UTC),
        }
        | fields
    )


def earning(caller: Caller, version: int, **fields: object) -> Earning:
    return Earning.model_validate(
        {
            "tenant_id": caller.tenant,
            "id": CELL,
            "version": version,
            "person_id": uuid4(),
            "assignment_id": uuid4(),
            "plan_id": uuid4(),
            "plan_version": 1,
            "component": "bookings",
            "start": date(2026, 1, 1),
            "end": date(2026, 4, 1),
            "measure": Decimal(version),
            "quota": None,
            "attainment": None,
            "earned": Decimal("9366.03"),
            "currency": "USD",
            "credits": 1,
            "changed_at": datetime(2026, 3, 1, tzinfo=UTC),
        }
        | fields
    )


def record(event: Event, offset: int, time: datetime) -> Record:
    message = to_message(event, event_id=uuid4(), source="tracking", time=time)
    return Record(event.topic, 0, offset, message.key, dict(message.headers), message.value, 0)


@asynccontextmanager
async def outgoing_site(fresh_database: str) -> AsyncIterator[Site]:
    """The site on a database of its own."""
    settings = HttpSettings(jwt_secret=SecretStr(JWT_SECRET))
    of_the_api = Database(fresh_database, service="tracking")
    app = create_service_app(
        title="Subscriptions alone",
        description="",
        settings=settings,
        database=of_the_api,
        transport_tables=transport,
        routers=[outgoing_router],
        readiness={},
        parts=[Subscriptions(SecretsBox(Fernet.generate_key().decode())), LOOPBACK_TOO],
    )
    clock = Clock()
    database = Database(fresh_database, service="tracking", clock=clock)
    async with listening() as subscriber:
        running = Site(app, database, clock, subscriber)
        async with running.exit:
            yield running
    await of_the_api.close()
    await database.close()
