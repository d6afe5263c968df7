"""Calling a source's API, fetching back, reconciling, backfilling, channels; with real Postgres and a real server."""

import asyncio
import json
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from time import monotonic, time
from typing import NamedTuple, cast
from uuid import UUID, uuid4

import pytest
from cryptography.fernet import Fernet
from fastapi import FastAPI
from sqlalchemy import text
from starlette.responses import Response

from services.tracking.app import create_app
from services.tracking.intake.calling import caller
from services.tracking.intake.calling import service as calling
from services.tracking.intake.calling.caller import ApiCaller, source_client
from services.tracking.intake.calling.domain import (
    Admission,
    CallLimits,
    CallState,
    CircuitState,
    Go,
    SourceRefused,
    SourceUnavailable,
    Trouble,
    admit,
)
from services.tracking.intake.connections import service as crm_service
from services.tracking.intake.connections import users
from services.tracking.intake.connections.domain import Connection
from services.tracking.intake.connections.service import Connections
from services.tracking.intake.inbox import fetching
from services.tracking.intake.inbox.fetch_store import Ask, DueConnection
from services.tracking.intake.inbox.publishing import Publisher
from services.tracking.intake.inbox.work import InboxProcessor, Retranslator
from services.tracking.intake.sources.adapter import Adapter
from services.tracking.intake.sources.domain import Limit, Source, SourceMapping
from services.tracking.intake.sources.registry import ADAPTERS
from services.tracking.intake.sources.source_api import Call, Conversation
from services.tracking.intake.sync import service
from services.tracking.intake.sync.domain import RunKind, RunState
from services.tracking.intake.sync.work.channels import ChannelRenewer
from services.tracking.intake.sync.work.fetcher import Fetcher
from services.tracking.intake.sync.work.synchroniser import Synchroniser
from services.tracking.metadata import transport
from services.tracking.records.service import ACTIVITIES, DEALS
from services.tracking.settings import ApiSettings
from shared.contracts.activities import Activity
from shared.contracts.deals import Deal
from shared.contracts.envelope import from_record
from shared.db.database import Database, Scope, Transaction
from shared.db.sealing import SecretsBox
from shared.http.auth import Role
from shared.http.outbound import OutboundSettings
from shared.kernel.deals import DealKind
from shared.outbox.outbox import Outbox, decode_headers
from tests.played.crms import PlainDeal, PlayedCrm
from tests.played.fxiaoke import PlayedFxiaoke
from tests.played.hubspot import PlayedHubspot
from tests.played.pipedrive import PlayedPipedrive
from tests.played.plain import OBJECT, Plain, PlainApi, PlainCredentials, PlayedPlain
from tests.played.salesforce import PlayedLine, PlayedSalesforce, played_activity
from tests.played.zoho import PlayedZoho
from tests.servers.callers import bearer, client_of
from tests.servers.infrastructure import eventually
from tests.stories.connections import OUTBOX

JWT_SECRET = "0123456789abcdef0123456789abcdef0123456789abcdef"
SECRETS_KEY = Fernet.generate_key().decode()
SECOND = timedelta(seconds=1)


def now() -> datetime:
    return datetime.now(UTC)


class Worker(NamedTuple):
    """What a worker process runs, with a pool and a client of its own."""

    database: Database
    caller: ApiCaller
    fetcher: Fetcher
    synchroniser: Synchroniser
    channels: ChannelRenewer


class World:
    """A tenant with a connection to the plain CRM, in a database of its own."""

    def __init__(self, url: str, crm: PlayedPlain, app: FastAPI, exits: AsyncExitStack) -> None:
        self.crm = crm
        self.app = app
        self.tenant = uuid4()
        self.connections = Connections(SecretsBox(SECRETS_KEY))
        self.database = Database(url, service="tracking")
        self._url = url
        self._exits = exits
        self._processor = InboxProcessor(self.database, Publisher(Outbox(transport)))
        self.client = client_of(app, bearer(ApiSettings(), self.tenant, Role.ADMIN))

    def worker(self) -> Worker:
        """Another worker process, but for its components being told when to work."""
        database = Database(self._url, service="tracking")
        client = source_client(OutboundSettings())
        self._exits.push_async_callback(database.close)
        self._exits.push_async_callback(client.aclose)
        caller = ApiCaller(database, self.connections.box, client, chance=lambda: 0.01)
        return Worker(
            database,
            caller,
            Fetcher(database, caller, gather_seconds=0.05),
            Synchroniser(database, caller, self.connections),
            ChannelRenewer(database, caller, self.connections, public_url="https://hooks.example/"),
        )

    async def connect(self, *, api_url: str | None = None, tenant: UUID | None = None) -> Connection:
        """A connection with access to the API."""
        async with self.database.transaction(Scope.of(tenant or self.tenant)) as tx:
            made = await self.connections.create(
                tx,
                tenant or self.tenant,
                source=Source.STANDARD_WEBHOOKS,
                name="Plain",
                identity_source="plain",
                secret=None,
                mapping=SourceMapping(),
                allowed={},
            )
            return await self._given(tx, made.connection, PlainCredentials(api_url=api_url or self.crm.address))

    async def connect_played(self, crm: PlayedCrm) -> Connection:
        """A connection to a played CRM, with access to its API, made as an administrator makes it."""
        made = await self.call("POST", "/v1/connections", crm.connection(), status=201)
        crm.secret, crm.hook_url = str(made["secret"]), f"http://tracking{made['hook_path']}"
        await self.call("PUT", f"/v1/connections/{made['id']}/api-access", crm.access())
        return await self.connection(UUID(str(made["id"])))

    async def connection(self, connection_id: UUID) -> Connection:
        """As it is now."""
        async with self.database.transaction(Scope.of(self.tenant)) as tx:
            return await crm_service.get(tx, self.tenant, connection_id)

    async def give(self, connection: Connection, credentials: PlainCredentials) -> Connection:
        async with self.database.transaction(Scope.of(connection.tenant_id)) as tx:
            current = await crm_service.get(tx, connection.tenant_id, connection.id)
            return await self._given(tx, current, credentials)

    async def _given(self, tx: Transaction, connection: Connection, credentials: PlainCredentials) -> Connection:
        given = await self.connections.give_access(
            tx, connection.tenant_id, connection.id, credentials, expected_version=connection.version
        )
        await service.access_given(tx, self.connections, given)
        return given

    async def ask(self, connection: Connection, *ids: str, floor: datetime | None = None) -> UUID:
        """Have these fetched, as a delivery that names them would; the delivery's id."""
        async with self.database.transaction(Scope.of(connection.tenant_id)) as tx:
            delivery_id = tx.new_id()
            await fetching.ask(
                tx, [Ask(connection.tenant_id, connection.id, OBJECT, each, floor, delivery_id) for each in ids]
            )
        return delivery_id

    async def deals(self) -> dict[str, Deal]:
        """Translate what waits, take over what was published as the consumer of deals would; all deals by their id."""
        while await self._processor.translate_once():
            pass
        async with self.database.transaction(Scope.every()) as tx:
            rows = await tx.rows(text("SELECT headers, value FROM tracking.outbox ORDER BY id"))
            events = [from_record(dict(decode_headers(row["headers"])), row["value"]) for row in rows]
            await DEALS.record(tx, [event for event in events if isinstance(event, Deal)])
            await tx.execute(text("DELETE FROM tracking.outbox"))
            ids = [row["deal_id"] for row in await tx.rows(text("SELECT deal_id FROM tracking.deals"))]
            held = await DEALS.newest(tx, self.tenant, ids)
        return {deal.external_id: deal for deal in held.values()}

    async def activities(self) -> dict[str, Activity]:
        """Translate what waits, take over what was published; the newest of each activity in it, by its id."""
        while await self._processor.translate_once():
            pass
        async with self.database.transaction(Scope.every()) as tx:
            rows = await tx.rows(text("SELECT headers, value FROM tracking.outbox ORDER BY id"))
            events = [from_record(dict(decode_headers(row["headers"])), row["value"]) for row in rows]
            told = [event for event in events if isinstance(event, Activity)]
            await ACTIVITIES.record(tx, told)
        return {each.external_id: each for each in sorted(told, key=lambda each: each.version)}

    async def rows(self, statement: str, **parameters: object) -> list[dict[str, object]]:
        async with self.database.transaction(Scope.every()) as tx:
            return [dict(row) for row in await tx.rows(text(statement), parameters)]

    async def execute(self, statement: str, **parameters: object) -> None:
        async with self.database.transaction(Scope.every()) as tx:
            await tx.execute(text(statement), parameters)

    async def deliveries(self, origin: str) -> list[dict[str, object]]:
        """Deliveries of an origin, with their bodies read."""
        rows = await self.rows(
            "SELECT id, d.caused_by, b.body, d.state FROM tracking.deliveries AS d"
            " JOIN tracking.delivery_bodies AS b USING (tenant_id, id) WHERE d.origin = :origin ORDER BY id",
            origin=origin,
        )
        return [{**row, "body": json.loads(cast(bytes, row["body"]))} for row in rows]

    async def call(
        self, method: str, path: str, body: object = None, *, status: int = 200, version: int | None = None
    ) -> dict[str, object]:
        headers = {} if version is None else {"if-match": f'"{version}"'}
        response = await self.client.request(method, path, json=body, headers=headers)
        assert response.status_code == status, response.text
        answer: dict[str, object] = response.json()
        return answer

    async def run_once(self, worker: Worker, connection: Connection) -> dict[str, object]:
        """Reconcile on demand to the end; the run as it is then answered."""
        started = await self.call("POST", f"/v1/connections/{connection.id}/reconcile", status=202)
        await worker.synchroniser.start_due()
        return await self.ended(f"/v1/connections/{connection.id}/reconciliations/{started['id']}")

    async def ended(self, path: str) -> dict[str, object]:
        latest: dict[str, object] = {}

        async def has_ended() -> bool:
            latest.update(await self.call("GET", path))
            return latest["ended_at"] is not None

        await eventually(has_ended, 60, expectation="the run to end")
        return latest

    async def circuit(self, connection: Connection) -> CircuitState:
        async with self.database.transaction(Scope.of(connection.tenant_id)) as tx:
            return (await calling.call_state(tx, connection)).circuit.state


@pytest.fixture
async def world(fresh_database: str) -> AsyncIterator[World]:
    async with AsyncExitStack() as exits:
        environment = exits.enter_context(pytest.MonkeyPatch.context())
        environment.setenv("ATTAIN_DATABASE_URL", fresh_database)
        environment.setenv("ATTAIN_JWT_SECRET", JWT_SECRET)
        environment.setenv("ATTAIN_SECRETS_KEY", SECRETS_KEY)
        environment.setenv("ATTAIN_OUTBOUND_ALLOWED_NETWORKS", "127.0.0.0/8")
        environment.setitem(cast(dict[Source, Adapter], ADAPTERS), Source.STANDARD_WEBHOOKS, Plain())
        crm = PlayedPlain()
        await exits.enter_async_context(crm.served())
        app = create_app()
        exits.push_async_callback(app.state.parts[ApiCaller].client.aclose)
        exits.push_async_callback(app.state.database.close)
        made = World(fresh_database, crm, app, exits)
        exits.push_async_callback(made.database.close)
        exits.push_async_callback(made.client.aclose)
        yield made


def deal(number: int, *, at: datetime | None = None, amount: str = "100") -> PlainDeal:
    moment = at or now()
    return PlainDeal(f"{number:03}", "Deal", Decimal(amount), "USD", "won", "9001", moment, moment)


def answering(status: int, **headers: str) -> Callable[[], Response]:
    return lambda: Response(f"answered {status}", status, headers=headers)


async def fetch(worker: Worker, connection: Connection) -> None:
    await worker.fetcher.fetch_due(DueConnection(connection.tenant_id, connection.id))


async def test_many_ids_become_few_calls_and_each_record_says_which_delivery_named_it(world: World) -> None:
    connection, worker = await world.connect(), world.worker()
    for number in range(25):
        world.crm.put(deal(number))
    named = await world.ask(connection, *(f"{number:03}" for number in range(20)))
    other = await world.ask(connection, *(f"{number:03}" for number in range(20, 25)))
    await fetch(worker, connection)
    assert sorted(map(len, world.crm.asked_ids())) == [5, 10, 10]
    causes = {each["caused_by"] for each in await world.deliveries("fetched")}
    assert causes == {named, other}
    deals = await world.deals()
    assert len(deals) == 25
    assert {each.amount for each in deals.values()} == {Decimal(100)}
    assert await world.rows("SELECT * FROM tracking.fetches") == []


async def test_a_record_named_while_the_connection_is_idle_is_fetched_at_once(world: World) -> None:
    connection, worker = await world.connect(), world.worker()
    world.crm.put(deal(1))
    fetcher = Fetcher(worker.database, worker.caller, gather_seconds=30)
    running = asyncio.create_task(fetcher.run())
    try:
        started = monotonic()
        await world.ask(connection, "001")
        await eventually(lambda: bool(world.crm.asked_ids()), 5, expectation="the call")
        assert monotonic() - started < 3
        await world.ask(connection, "002")
        await world.ask(connection, "003")
        await asyncio.sleep(0.3)
        assert len(world.crm.asked_ids()) == 1
    finally:
        await fetcher.stop()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_a_record_that_is_gone_is_a_deleted_deal_not_before_what_named_it(world: World) -> None:
    connection, worker = await world.connect(), world.worker()
    world.crm.put(deal(1))
    await world.ask(connection, "001")
    await fetch(worker, connection)
    assert (await world.deals())["001"].kind is DealKind.UPSERTED
    floor = now() + timedelta(minutes=4)
    world.crm.delete("001", now())
    await world.ask(connection, "001", floor=floor)
    await fetch(worker, connection)
    deleted = (await world.deals())["001"]
    assert (deleted.kind, deleted.modified_at) == (DealKind.DELETED, floor)


async def test_a_record_named_again_while_it_is_asked_for_is_asked_for_again(world: World) -> None:
    connection, worker = await world.connect(), world.worker()
    world.crm.put(deal(1))
    world.crm.gates["ids=001"] = asyncio.Event()
    await world.ask(connection, "001")
    under_way = asyncio.create_task(fetch(worker, connection))
    await eventually(lambda: "ids=001" in world.crm.held, expectation="the call to be under way")
    again = await world.ask(connection, "001")
    world.crm.gates["ids=001"].set()
    await under_way
    await fetch(worker, connection)
    assert world.crm.asked_ids() == [["001"], ["001"]]
    assert (await world.deliveries("fetched"))[-1]["caused_by"] == again
    assert await world.rows("SELECT * FROM tracking.fetches") == []


async def test_a_pause_the_source_asks_for_is_waited_for_by_every_worker(world: World) -> None:
    connection = await world.connect()
    one, other = world.worker(), world.worker()
    world.crm.put(deal(1))
    world.crm.fail(answering(429, **{"retry-after": "2"}), path="/deals")

    async def call(worker: Worker) -> None:
        access = worker.caller.access(connection)
        await access.run(access.api.fetch(access.credentials, OBJECT, ["001"]))

    async def is_known() -> bool:
        (row,) = await world.rows("SELECT calls->>'not_before' AS pause FROM tracking.api_states")
        return row["pause"] is not None

    started = monotonic()
    first = asyncio.create_task(call(one))
    await eventually(is_known, expectation="the pause to be known")
    await asyncio.gather(first, call(other))
    assert len(world.crm.times) == 2
    assert all(at - started >= 2 for at in world.crm.times)


async def test_a_pause_longer_than_anybody_waits_is_told_and_the_fetch_put_off_until_then(world: World) -> None:
    connection, worker = await world.connect(), world.worker()
    world.crm.put(deal(1))
    world.crm.fail(answering(429, **{"retry-after": "600"}), path="/deals")
    await world.ask(connection, "001")
    await fetch(worker, connection)
    (waiting,) = await world.rows("SELECT due_at FROM tracking.fetches")
    assert cast(datetime, waiting["due_at"]) > now() + timedelta(minutes=9)
    assert len(world.crm.asked_ids()) == 1


async def test_an_expired_token_is_replaced_once_for_all_workers(world: World) -> None:
    connection = await world.connect()
    workers = [world.worker() for _ in range(3)]
    world.crm.put(deal(1))

    async def call(worker: Worker) -> int:
        access = worker.caller.access(connection)
        page = await access.run(access.api.fetch(access.credentials, OBJECT, ["001"]))
        return len(page.records)

    assert await asyncio.gather(*map(call, workers)) == [1, 1, 1]
    assert len(world.crm.tokens) == 1
    world.crm.expire_tokens()
    assert await asyncio.gather(*map(call, workers)) == [1, 1, 1]
    assert len(world.crm.tokens) == 1
    assert world.crm.getting_tokens_max == 1


async def test_the_circuit_opens_for_every_worker_and_closes_again(world: World) -> None:
    connection = await world.connect()
    one, other = world.worker(), world.worker()
    world.crm.put(deal(1))
    world.crm.fail(answering(503), times=1000, path="/deals")
    await world.ask(connection, "001")

    async def call(worker: Worker) -> None:
        access = worker.caller.access(connection)
        await access.run(access.api.fetch(access.credentials, OBJECT, ["001"]))

    for _ in range(2):
        with pytest.raises(SourceUnavailable):
            await call(one)
    assert await world.circuit(connection) is CircuitState.OPEN
    made = len(world.crm.asked_ids())
    with pytest.raises(SourceUnavailable) as refused:
        await call(other)
    assert refused.value.trouble is Trouble.UNWELL
    assert len(world.crm.asked_ids()) == made
    shown = await world.call("GET", f"/v1/connections/{connection.id}/api-access")
    circuit = cast(Mapping[str, object], shown["circuit"])
    assert circuit["state"] == "open"
    assert circuit["error"] == "answered 503"
    assert circuit["what_to_do"]
    world.crm.failures.clear()
    await world.execute(
        "UPDATE tracking.api_states SET calls = jsonb_set(calls, '{circuit,until}', to_jsonb(now() - interval '1 s'))"
    )
    await call(other)
    assert await world.circuit(connection) is CircuitState.CLOSED
    await call(one)


async def test_an_access_that_the_source_no_longer_takes_is_told_and_mended_by_another(world: World) -> None:
    connection, worker = await world.connect(), world.worker()
    world.crm.put(deal(1))
    broken = await world.give(connection, PlainCredentials(api_url=world.crm.address, key="wrong"))
    await world.ask(broken, "001")
    await fetch(worker, broken)
    shown = await world.call("GET", f"/v1/connections/{connection.id}/api-access")
    assert "accepts the API access" in str(cast(Mapping[str, object], shown["circuit"])["what_to_do"])
    assert shown["waiting_records"] == 1
    checked = await world.call("POST", f"/v1/connections/{connection.id}/api-access/check")
    assert (checked["works"], checked["detail"]) == (False, "invalid_key")
    mended = await world.give(connection, PlainCredentials(api_url=world.crm.address))
    assert (await world.call("POST", f"/v1/connections/{connection.id}/api-access/check"))["works"] is True
    await fetch(worker, mended)
    assert list(await world.deals()) == ["001"]


async def test_two_workers_together_keep_to_one_rate_limit(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PlainApi, "limits", (Limit(5, SECOND),))
    connection = await world.connect()
    workers = [world.worker(), world.worker()]
    world.crm.put(deal(1))

    async def call(worker: Worker) -> None:
        access = worker.caller.access(connection)
        await access.run(access.api.fetch(access.credentials, OBJECT, ["001"]))

    admissions: dict[UUID, float] = {}

    def noted(
        state: CallState, terms: CallLimits, *, endpoint: str, call_id: UUID, now: datetime, is_requested: bool
    ) -> tuple[CallState, Admission]:
        calls, admission = admit(state, terms, endpoint=endpoint, call_id=call_id, now=now, is_requested=is_requested)
        if isinstance(admission, Go):
            admissions[call_id] = admission.at.timestamp()
        return calls, admission

    await call(workers[0])
    await asyncio.sleep(1)
    world.crm.times.clear()
    monkeypatch.setattr(caller, "admit", noted)
    started = now().timestamp()
    await asyncio.gather(*(call(workers[number % 2]) for number in range(16)))
    # Of the times at which they are sent, not of those at which they arrive: how long a call is on its way is nobody's.
    times = sorted(admissions.values())
    assert len(times) == len(world.crm.times) == 16
    assert all(later - earlier >= 0.9999 for earlier, later in zip(times, times[5:], strict=False))
    assert times[-1] - started < 5
    since_then = time() - monotonic()
    arrived = [at + since_then for at in sorted(world.crm.times)]
    assert all(there >= sent - 0.01 for sent, there in zip(times, arrived, strict=True)), "none is sent too early"


async def test_no_more_calls_are_under_way_than_the_source_takes_whoever_makes_them(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PlainApi, "concurrent_calls_max", 2)
    connection = await world.connect()
    workers = [world.worker(), world.worker()]
    access = workers[0].caller.access(connection)
    await access.run(access.api.count(access.credentials))
    world.crm.gates["ids="] = asyncio.Event()
    calls = []
    for number in range(6):
        access = workers[number % 2].caller.access(connection)
        calls.append(asyncio.create_task(access.run(access.api.fetch(access.credentials, OBJECT, ["1"]))))
    await eventually(lambda: len(world.crm.asked_ids()) >= 2, expectation="the first calls")
    await asyncio.sleep(0.4)
    assert len(world.crm.asked_ids()) == 2
    world.crm.gates["ids="].set()
    await asyncio.gather(*calls)
    assert len(world.crm.asked_ids()) == 6


async def test_the_one_record_that_is_refused_is_shown_with_the_reason_and_the_others_come(world: World) -> None:
    connection, worker = await world.connect(), world.worker()
    for number in range(8):
        world.crm.put(deal(number))
    world.crm.refused = {"005"}
    await world.ask(connection, *(f"{number:03}" for number in range(8)))
    await fetch(worker, connection)
    assert sorted(await world.deals()) == ["000", "001", "002", "003", "004", "006", "007"]
    path = f"/v1/connections/{connection.id}/fetches"
    (waiting,) = cast(list[dict[str, object]], (await world.call("GET", path))["items"])
    assert (waiting["external_id"], waiting["error"]) == ("005", "one of these may not be read")
    world.crm.refused = set()
    mended = await world.give(connection, PlainCredentials(api_url=world.crm.address))
    await fetch(worker, mended)
    assert "005" in await world.deals()


async def test_a_source_whose_pages_do_not_end_is_refused_rather_than_asked_for_ever(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(caller, "_CONVERSATION_CALLS_MAX", 5)
    access = world.worker().caller.access(await world.connect())

    def endless() -> Conversation[None]:
        while True:
            yield Call("GET", f"{world.crm.address}/deals", {"ids": "001"})

    with pytest.raises(SourceRefused, match="does not end with 5 calls"):
        await access.run(endless())
    assert len(world.crm.asked_ids()) == 5


async def test_a_record_that_cannot_be_translated_goes_to_quarantine_alone(world: World) -> None:
    connection, worker = await world.connect(), world.worker()
    for number in range(4):
        world.crm.put(deal(number))
    world.crm.broken = {"002"}
    await world.ask(connection, "000", "001", "002", "003")
    await fetch(worker, connection)
    assert sorted(await world.deals()) == ["000", "001", "003"]
    assert sorted(str(each["state"]) for each in await world.deliveries("fetched")) == ["quarantined", "translated"]


async def test_a_connection_whose_source_hangs_does_not_hold_up_another(world: World) -> None:
    async with AsyncExitStack() as exits:
        sick = PlayedPlain()
        await exits.enter_async_context(sick.served())
        sick.gates["/deals"] = asyncio.Event()
        sick.put(deal(1))
        hanging, well, worker = await world.connect(api_url=sick.address), await world.connect(), world.worker()
        world.crm.put(deal(2))
        running = asyncio.create_task(worker.fetcher.run())
        try:
            await world.ask(hanging, "001")
            await eventually(lambda: bool(sick.held), expectation="the call that hangs")
            await world.ask(well, "002")
            await eventually(lambda: bool(world.crm.asked_ids()), 5, expectation="the call of the other")
        finally:
            sick.gates["/deals"].set()
            await worker.fetcher.stop()
            await asyncio.wait_for(running, 10)


async def test_a_fetch_that_is_cancelled_is_due_again_at_once(world: World) -> None:
    connection, worker = await world.connect(), world.worker()
    world.crm.put(deal(1))
    world.crm.gates["ids=001"] = asyncio.Event()
    await world.ask(connection, "001")
    under_way = asyncio.create_task(fetch(worker, connection))
    await eventually(lambda: "ids=001" in world.crm.held, expectation="the call to be under way")
    under_way.cancel()
    await asyncio.gather(under_way, return_exceptions=True)
    world.crm.open_gates()
    await fetch(world.worker(), connection)
    assert list(await world.deals()) == ["001"]


async def test_reconciliation_finds_what_webhooks_missed_and_only_that(world: World) -> None:
    connection, worker = await world.connect(), world.worker()
    for number in range(7):
        world.crm.put(deal(number))
    world.crm.users = [{"id": "9001", "name": "Ada", "email": "ada@example.com", "active": True}]
    first = await world.run_once(worker, connection)
    assert (first["state"], first["seen"], first["missed_new"], first["missed"]) == ("done", 7, 7, 7)
    assert len(await world.deals()) == 7
    world.crm.put(replace(world.crm.deals["003"], amount=Decimal(250), modified_at=now()))
    world.crm.delete("005", now())
    world.crm.put(deal(8))
    second = await world.run_once(worker, connection)
    assert [second[f"missed_{what}"] for what in ("new", "changed", "deleted")] == [1, 1, 1]
    deals = await world.deals()
    assert (deals["003"].amount, deals["005"].kind) == (Decimal(250), DealKind.DELETED)
    assert "008" in deals
    third = await world.run_once(worker, connection)
    assert (third["state"], third["missed"]) == ("done", 0)
    listed = await world.call("GET", f"/v1/connections/{connection.id}/reconciliations")
    assert [each["missed"] for each in cast(list[dict[str, object]], listed["items"])] == [0, 3, 7]
    async with world.database.transaction(Scope.of(world.tenant)) as tx:
        (user,) = await users.of(tx, world.tenant, connection.id)
    assert (user.external_id, user.name, user.email, user.is_active) == ("9001", "Ada", "ada@example.com", True)


async def test_a_reconciliation_asked_for_while_one_is_under_way_finds_what_that_one_has_passed(world: World) -> None:
    connection, worker = await world.connect(), world.worker()
    path = f"/v1/connections/{connection.id}/reconcil"
    world.crm.put(deal(1))
    world.crm.gates["/users"] = asyncio.Event()
    first = await world.call("POST", f"{path}e", status=202)
    await worker.synchroniser.start_due()
    await eventually(lambda: "/users" in world.crm.held, expectation="the run to be at the users")
    world.crm.put(deal(2))
    world.crm.delete("001", now())
    again = await world.call("POST", f"{path}e", status=202)
    assert again["id"] == first["id"]
    world.crm.open_gates()
    ended = await world.ended(f"{path}iations/{first['id']}")
    assert ended["missed_new"] == 2
    deals = await world.deals()
    assert (deals["001"].kind, deals["002"].kind) == (DealKind.DELETED, DealKind.UPSERTED)


async def test_the_first_reconciliation_leaves_history_to_the_backfill(world: World) -> None:
    connection, worker = await world.connect(), world.worker()
    world.crm.put(deal(1, at=now() - timedelta(days=30)))
    world.crm.put(deal(2))
    assert (await world.run_once(worker, connection))["seen"] == 1
    assert list(await world.deals()) == ["002"]


async def test_the_mark_moves_only_when_a_run_is_complete(world: World) -> None:
    connection, worker = await world.connect(), world.worker()
    path = f"/v1/connections/{connection.id}/reconciliation"
    world.crm.fail(answering(403), times=1, path="/deleted")
    failed = await world.run_once(worker, connection)
    assert (failed["state"], failed["error"]) == ("failed", "answered 403")
    assert (await world.call("GET", path))["complete_until"] is None
    before = now()
    await world.run_once(worker, connection)
    mark = datetime.fromisoformat(str((await world.call("GET", path))["complete_until"]))
    assert before - SECOND < mark < now()


async def test_a_run_waits_for_a_source_that_is_unwell_and_goes_on_where_it_was(world: World) -> None:
    connection, worker = await world.connect(), world.worker()
    for number in range(7):
        world.crm.put(deal(number))
    world.crm.fail(answering(402), times=1, path="/deleted")
    started = await world.call("POST", f"/v1/connections/{connection.id}/reconcile", status=202)
    await worker.synchroniser.start_due()
    path = f"/v1/connections/{connection.id}/reconciliations/{started['id']}"

    async def is_waiting() -> bool:
        return (await world.call("GET", path))["next_try_at"] is not None

    await eventually(is_waiting, expectation="the run to wait")
    waiting = await world.call("GET", path)
    assert (waiting["state"], waiting["phase"], waiting["error"]) == ("running", "deleted", "answered 402")
    await world.give(connection, PlainCredentials(api_url=world.crm.address))
    await world.worker().synchroniser.start_due()
    done = await world.ended(path)
    assert (done["state"], done["seen"]) == ("done", 7)


async def test_a_record_that_cannot_be_translated_is_not_stored_again_by_the_next_run(world: World) -> None:
    connection, worker = await world.connect(), world.worker()
    world.crm.put(deal(1))
    world.crm.broken = {"001"}
    assert (await world.run_once(worker, connection))["unreadable"] == 1
    assert (await world.run_once(worker, connection))["unreadable"] == 0
    assert len(await world.deliveries("reconciled")) == 1


async def test_reconciliations_start_by_themselves_as_often_as_is_set(world: World) -> None:
    connection, worker = await world.connect(), world.worker()
    path = f"/v1/connections/{connection.id}/reconciliation"

    async def planned() -> int:
        await worker.synchroniser.plan()
        return len(await world.rows("SELECT id FROM tracking.sync_runs"))

    assert await planned() == 1
    assert await planned() == 1
    shown = await world.call("GET", path)
    assert shown["every_minutes"] == 15
    assert datetime.fromisoformat(str(shown["next_at"])) > now() + timedelta(minutes=14)
    await world.execute("UPDATE tracking.sync_runs SET state = 'done', ended_at = now()")
    await world.execute("UPDATE tracking.reconciliations SET due_at = now()")
    assert await planned() == 2
    off = await world.call("PUT", path, {"every_minutes": 0}, version=cast(int, shown["version"]))
    assert (off["every_minutes"], off["next_at"]) == (0, None)
    await world.call("PUT", path, {"every_minutes": 5}, version=cast(int, shown["version"]), status=412)
    await world.call("PUT", path, {"every_minutes": -1}, version=cast(int, off["version"]), status=422)


async def test_reconciliations_of_more_than_a_month_ago_are_forgotten(world: World) -> None:
    connection, worker = await world.connect(), world.worker()
    await world.run_once(worker, connection)
    await world.execute("UPDATE tracking.sync_runs SET ended_at = now() - interval '31 days'")
    kept = await world.run_once(worker, connection)
    await worker.synchroniser.plan()
    ended = await world.rows("SELECT id FROM tracking.sync_runs WHERE ended_at IS NOT NULL")
    assert [str(each["id"]) for each in ended] == [kept["id"]]


async def test_a_backfill_brings_in_the_whole_history_and_tells_how_far_it_is(world: World) -> None:
    connection, worker = await world.connect(), world.worker()
    for number in range(10):
        world.crm.put(deal(number, at=now() - timedelta(days=number)))
    path = f"/v1/connections/{connection.id}/backfills"
    started = await world.call("POST", path, status=201)
    assert (started["state"], started["percent"]) == ("running", None)
    await world.call("POST", path, status=409)
    await worker.synchroniser.start_due()
    done = await world.ended(f"{path}/{started['id']}")
    assert (done["state"], done["seen"], done["total"], done["percent"]) == ("done", 10, 10, 100)
    assert len(await world.deals()) == 10
    again = await world.call("POST", path, status=201)
    await worker.synchroniser.start_due()
    assert (await world.ended(f"{path}/{again['id']}"))["missed"] == 0
    assert len(await world.deliveries("backfilled")) == 4


async def test_a_backfill_is_paused_between_two_pages_and_resumed_where_it_was(world: World) -> None:
    connection, worker = await world.connect(), world.worker()
    for number in range(9):
        world.crm.put(deal(number))
    world.crm.gates["cursor=002"] = asyncio.Event()
    path = f"/v1/connections/{connection.id}/backfills"
    run = f"{path}/{(await world.call('POST', path, status=201))['id']}"
    await worker.synchroniser.start_due()
    await eventually(lambda: "cursor=002" in world.crm.held, expectation="the second page")
    await world.call("POST", f"{run}/pause", version=7, status=412)
    paused = await world.call("POST", f"{run}/pause", version=1)
    assert (paused["state"], paused["seen"], paused["total"], paused["percent"]) == ("paused", 3, 9, 33)
    world.crm.gates["cursor=002"].set()
    await eventually(lambda: _seen(world, run, 6), expectation="the page under way")
    await worker.synchroniser.start_due()
    assert len(await world.deals()) == 6
    assert not any("cursor=005" in str(call.url) for call in world.crm.calls)
    await world.call("POST", f"{run}/pause", version=2, status=409)
    await world.call("POST", f"{run}/resume", version=2)
    await worker.synchroniser.start_due()
    done = await world.ended(run)
    assert (done["state"], done["seen"], done["missed"]) == ("done", 9, 9)
    assert len(await world.deals()) == 9


async def _seen(world: World, run: str, seen: int) -> bool:
    return (await world.call("GET", run))["seen"] == seen


async def test_a_cancelled_backfill_stores_nothing_more(world: World) -> None:
    connection, worker = await world.connect(), world.worker()
    for number in range(9):
        world.crm.put(deal(number))
    world.crm.gates["cursor=002"] = asyncio.Event()
    path = f"/v1/connections/{connection.id}/backfills"
    run = f"{path}/{(await world.call('POST', path, status=201))['id']}"
    await worker.synchroniser.start_due()
    await eventually(lambda: "cursor=002" in world.crm.held, expectation="the second page")
    await world.call("POST", f"{run}/cancel", version=1)
    world.crm.gates["cursor=002"].set()
    await worker.synchroniser.stop()
    await worker.synchroniser.run()
    assert (await world.call("GET", run))["seen"] == 3
    assert len(await world.deals()) == 3


async def test_a_worker_that_dies_in_the_middle_of_a_page_is_followed_by_another_without_loss_or_repetition(
    world: World,
) -> None:
    connection, dying, following = await world.connect(), world.worker(), world.worker()
    for number in range(9):
        world.crm.put(deal(number))
    world.crm.gates["cursor=002"] = asyncio.Event()
    path = f"/v1/connections/{connection.id}/backfills"
    run = f"{path}/{(await world.call('POST', path, status=201))['id']}"
    async with dying.database.transaction(Scope.every()) as tx:
        (claimed,) = await service.claim(tx, lease=timedelta(minutes=1), limit=10)
    walking = asyncio.create_task(dying.synchroniser.walk(claimed))
    await eventually(lambda: "cursor=002" in world.crm.held, expectation="the second page")
    walking.cancel()
    await asyncio.gather(walking, return_exceptions=True)
    world.crm.open_gates()
    await world.execute("UPDATE tracking.sync_runs SET due_at = now()")
    await following.synchroniser.start_due()
    done = await world.ended(run)
    assert (done["state"], done["seen"], done["missed"]) == ("done", 9, 9)
    stored = [
        record["external_id"]
        for delivery in await world.deliveries("backfilled")
        for record in cast(Mapping[str, list[dict[str, str]]], delivery["body"])["records"]
    ]
    assert sorted(stored) == [f"{number:03}" for number in range(9)]


async def test_a_worker_that_was_taken_for_dead_stores_nothing(world: World) -> None:
    connection, slow, other = await world.connect(), world.worker(), world.worker()
    for number in range(5):
        world.crm.put(deal(number))
    world.crm.gates["cursor=002"] = asyncio.Event()
    path = f"/v1/connections/{connection.id}/backfills"
    await world.call("POST", path, status=201)
    async with slow.database.transaction(Scope.every()) as tx:
        (claimed,) = await service.claim(tx, lease=timedelta(minutes=1), limit=10)
    walking = asyncio.create_task(slow.synchroniser.walk(claimed))
    await eventually(lambda: "cursor=002" in world.crm.held, expectation="the second page")
    await world.execute("UPDATE tracking.sync_runs SET due_at = now()")
    async with other.database.transaction(Scope.every()) as tx:
        (taken,) = await service.claim(tx, lease=timedelta(minutes=1), limit=10)
    world.crm.gates["cursor=002"].set()
    await walking
    assert len(await world.deliveries("backfilled")) == 1
    await other.synchroniser.walk(taken)
    assert len(await world.deals()) == 5
    async with world.database.transaction(Scope.of(world.tenant)) as tx:
        (done,) = await service.runs(tx, world.tenant, connection.id, RunKind.BACKFILL, before=None, limit=10)
    assert (done.state, done.seen) == (RunState.DONE, 5)


async def test_the_components_of_several_workers_share_the_work(world: World) -> None:
    connection = await world.connect()
    for number in range(12):
        world.crm.put(deal(number))
    workers = [world.worker(), world.worker()]
    running = [
        asyncio.create_task(component.run())
        for worker in workers
        for component in (worker.fetcher, worker.synchroniser, worker.channels)
    ]
    try:
        path = f"/v1/connections/{connection.id}/backfills"
        run = f"{path}/{(await world.call('POST', path, status=201))['id']}"
        await world.ask(connection, *(f"{number:03}" for number in range(12)))
        assert (await world.ended(run))["state"] == "done"
        await eventually(lambda: bool(world.crm.channels), expectation="the channel")
        await eventually(lambda: _is_empty(world), expectation="the fetches")
        assert len(await world.deals()) == 12
        assert len(world.crm.channels) == 1
    finally:
        for worker in workers:
            for component in (worker.fetcher, worker.synchroniser, worker.channels):
                await component.stop()
        await asyncio.wait_for(asyncio.gather(*running), 20)


async def _is_empty(world: World) -> bool:
    return await world.rows("SELECT * FROM tracking.fetches") == []


async def test_a_channel_is_opened_renewed_in_time_and_told_a_new_secret(world: World) -> None:
    connection, worker = await world.connect(), world.worker()
    secret = world.connections.newest_secret(connection)[1]
    await worker.channels.renew_due()
    await worker.channels.renew_due()
    (opened,) = world.crm.channels
    assert opened["url"] == f"https://hooks.example/hooks/{connection.id}"
    assert (opened["secret"], opened["renewal"]) == (secret, False)
    assert str(opened["id"]).isdigit()
    shown = (await world.call("GET", f"/v1/connections/{connection.id}/api-access"))["channel"]
    channel = cast(Mapping[str, str], shown)
    assert channel["id"] == opened["id"]
    assert datetime.fromisoformat(channel["expires_at"]) > now() + timedelta(hours=23)
    assert now() - 20 * SECOND < datetime.fromisoformat(channel["renewed_at"]) <= now()
    assert now() < datetime.fromisoformat(channel["renews_at"]) < now() + timedelta(hours=13)
    await world.execute("UPDATE tracking.channels SET due_at = now()")
    await worker.channels.renew_due()
    assert world.crm.channels[-1]["renewal"] is True
    rotated = await world.call(
        "POST", f"/v1/connections/{connection.id}/secrets", {}, status=201, version=connection.version
    )
    await worker.synchroniser.plan()
    await worker.channels.renew_due()
    assert len(world.crm.channels) == 3
    assert world.crm.channels[-1]["secret"] == rotated["secret"]


async def test_a_channel_that_the_source_refuses_to_renew_is_opened_anew(world: World) -> None:
    connection, worker = await world.connect(), world.worker()
    await worker.channels.renew_due()
    world.crm.fail(answering(404), path="/channel")
    await world.execute("UPDATE tracking.channels SET due_at = now()")
    await worker.channels.renew_due()
    shown = cast(
        Mapping[str, object], (await world.call("GET", f"/v1/connections/{connection.id}/api-access"))["channel"]
    )
    assert (shown["error"], shown["expires_at"]) == ("answered 404", None)
    await world.execute("UPDATE tracking.channels SET due_at = now()")
    await worker.channels.renew_due()
    assert world.crm.channels[-1]["renewal"] is False


async def test_a_channel_waits_for_an_address_that_sources_can_reach(world: World) -> None:
    connection, worker = await world.connect(), world.worker()
    await ChannelRenewer(worker.database, worker.caller, world.connections, public_url="/").renew_due()
    shown = cast(
        Mapping[str, object], (await world.call("GET", f"/v1/connections/{connection.id}/api-access"))["channel"]
    )
    assert "ATTAIN_PUBLIC_URL" in str(shown["error"])
    assert world.crm.channels == []


HUBSPOT = {"source": "hubspot", "api_url": "https://api.hubapi.com", "access_token": "pat-secret-of-the-test"}


async def test_api_access_is_given_shown_without_its_secrets_and_withdrawn(world: World) -> None:
    made = await world.call("POST", "/v1/connections", {"source": "hubspot", "name": "HubSpot"}, status=201)
    path = f"/v1/connections/{made['id']}/api-access"
    none = await world.call("GET", path)
    assert (none["has_api_access"], none["addresses"]) == (False, {})
    for action in ("api-access/check", "reconcile", "backfills"):
        refused = await world.call("POST", f"/v1/connections/{made['id']}/{action}", status=409)
        assert refused["code"] == "api_access_missing"
    given = await world.call("PUT", path, HUBSPOT)
    assert (given["has_api_access"], given["addresses"]) == (True, {"api_url": "https://api.hubapi.com"})
    assert "pat-secret" not in json.dumps(given)
    stored = await world.rows("SELECT api FROM tracking.connections WHERE id = :id", id=UUID(str(made["id"])))
    assert "pat-secret" not in str(stored)
    assert (await world.call("GET", f"/v1/connections/{made['id']}"))["has_api_access"] is True
    await world.call("PUT", path, HUBSPOT, status=428)
    await world.call("PUT", path, HUBSPOT, version=1, status=412)
    again = await world.call("PUT", path, HUBSPOT, version=cast(int, given["version"]))
    withdrawn = await world.call("DELETE", path, version=cast(int, again["version"]))
    assert withdrawn["has_api_access"] is False
    assert (await world.rows("SELECT api FROM tracking.connections"))[0]["api"] is None


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({**HUBSPOT, "api_url": "http://10.0.0.1"}, "/api_url"),
        ({**HUBSPOT, "api_url": "https://169.254.169.254"}, "/api_url"),
        ({**HUBSPOT, "access_token": ""}, "/access_token"),
        ({"source": "pipedrive", "api_token": "0" * 40}, None),
        ({"source": "nothing"}, None),
    ],
)
async def test_access_that_does_not_fit_is_refused_with_the_field(
    world: World, body: dict[str, object], pointer: str | None
) -> None:
    made = await world.call("POST", "/v1/connections", {"source": "hubspot", "name": "HubSpot"}, status=201)
    refused = await world.call("PUT", f"/v1/connections/{made['id']}/api-access", body, status=422)
    if pointer is not None:
        errors = cast(list[Mapping[str, str]], refused["errors"])
        assert [each["pointer"] for each in errors] == [pointer]


@pytest.mark.parametrize("key", [["a\x00", "b"], ["a", "\ud800"], ["a"], "a", [1, 2]])
async def test_a_cursor_that_was_not_given_out_is_refused(world: World, key: object) -> None:
    connection = await world.connect()
    cursor = urlsafe_b64encode(json.dumps(key).encode()).rstrip(b"=").decode()
    refused = await world.call("GET", f"/v1/connections/{connection.id}/fetches?cursor={cursor}", status=422)
    assert refused["code"] == "invalid_cursor"


async def test_what_is_still_to_be_fetched_is_listed_page_by_page(world: World) -> None:
    connection = await world.connect()
    await world.ask(connection, *(f"{number:03}" for number in range(5)))
    path, cursor, seen = f"/v1/connections/{connection.id}/fetches?limit=2", "", []
    while True:
        page = await world.call("GET", path + (f"&cursor={cursor}" if cursor else ""))
        seen += [each["external_id"] for each in cast(list[dict[str, str]], page["items"])]
        if page["next_cursor"] is None:
            break
        cursor = str(page["next_cursor"])
    assert seen == ["000", "001", "002", "003", "004"]


async def test_another_tenant_sees_and_changes_nothing(world: World) -> None:
    connection = await world.connect(tenant=uuid4())
    for method, path in (
        ("GET", "api-access"),
        ("POST", "api-access/check"),
        ("GET", "reconciliation"),
        ("POST", "reconcile"),
        ("POST", "backfills"),
        ("GET", "fetches"),
    ):
        await world.call(method, f"/v1/connections/{connection.id}/{path}", status=404)


@pytest.mark.parametrize("kind", [PlayedZoho, PlayedFxiaoke, PlayedSalesforce, PlayedHubspot, PlayedPipedrive])
async def test_every_source_is_reconciled_and_backfilled_to_the_same_deals(
    world: World, kind: Callable[[], PlayedCrm]
) -> None:
    crm, worker = kind(), world.worker()
    async with crm.served():
        made = await world.call("POST", "/v1/connections", crm.connection(), status=201)
        path = f"/v1/connections/{made['id']}"
        crm.secret, crm.hook_url = str(made["secret"]), f"http://tracking{made['hook_path']}"
        await world.call("PUT", f"{path}/api-access", crm.access())
        assert (await world.call("POST", f"{path}/api-access/check"))["works"] is True
        async with world.database.transaction(Scope.of(world.tenant)) as tx:
            connection = await crm_service.get(tx, world.tenant, UUID(str(made["id"])))
        start = now().replace(microsecond=0)
        for number in range(230):
            crm.put(replace(deal(100_000 + number, at=start), amount=Decimal(number), closed_on=start.date()))
        for number in range(5):
            old = start - timedelta(days=400)
            crm.put(replace(deal(200_000 + number, at=old), amount=Decimal(number), closed_on=old.date()))
        first = await world.run_once(worker, connection)
        assert (first["state"], first["missed_new"], first["unreadable"]) == ("done", 230, 0), first
        deals = await world.deals()
        assert sum((each.amount or Decimal(0) for each in deals.values()), Decimal(0)) == sum(range(230))
        crm.put(replace(crm.deals["100003"], amount=Decimal(1003), modified_at=start + SECOND))
        crm.delete("100007", start + SECOND)
        second = await world.run_once(worker, connection)
        assert [second[f"missed_{what}"] for what in ("new", "changed", "deleted")] == [0, 1, 1], second
        present = [each for each in (await world.deals()).values() if each.kind is not DealKind.DELETED]
        assert len(present) == 229
        assert sum((each.amount or Decimal(0) for each in present), Decimal(0)) == sum(range(230)) + 1000 - 7
        assert (await world.run_once(worker, connection))["missed"] == 0
        started = await world.call("POST", f"{path}/backfills", status=201)
        await worker.synchroniser.start_due()
        done = await world.ended(f"{path}/backfills/{started['id']}")
        assert (done["state"], done["missed_new"], done["missed_changed"]) == ("done", 5, 0), done["error"]
        assert len([each for each in (await world.deals()).values() if each.kind is not DealKind.DELETED]) == 234


def _call_of_salesforce(crm: PlayedCrm, at: datetime) -> str:
    assert isinstance(crm, PlayedSalesforce)
    row = played_activity("00T", 1, at, TaskSubtype="Call", Status="Completed")
    crm.activities["Task"][str(row["Id"])] = row
    return str(row["Id"])


def _call_of_hubspot(crm: PlayedCrm, at: datetime) -> str:
    assert isinstance(crm, PlayedHubspot)
    crm.activities["calls"] = {"5": {"hs_call_title": "Hi", "hs_lastmodifieddate": at.isoformat()}}
    return "5"


def _call_of_pipedrive(crm: PlayedCrm, at: datetime) -> str:
    assert isinstance(crm, PlayedPipedrive)
    time = at.isoformat().replace("+00:00", "Z")
    crm.activities["9"] = {"id": 9, "type": "call", "done": True, "update_time": time}
    return "9"


def _call_of_fxiaoke(crm: PlayedCrm, at: datetime) -> str:
    assert isinstance(crm, PlayedFxiaoke)
    modified = int(at.timestamp() * 1000)
    crm.put_row("ActiveRecordObj", {"_id": "65a0", "last_modified_time": modified, "life_status": "normal"})
    return "65a0"


@pytest.mark.parametrize(
    ("kind", "call"),
    [
        (PlayedSalesforce, _call_of_salesforce),
        (PlayedHubspot, _call_of_hubspot),
        (PlayedPipedrive, _call_of_pipedrive),
        (PlayedFxiaoke, _call_of_fxiaoke),
    ],
)
@pytest.mark.parametrize("age", [timedelta(), timedelta(days=40)])
async def test_an_activity_that_no_webhook_told_is_found(
    world: World, kind: Callable[[], PlayedCrm], call: Callable[[PlayedCrm, datetime], str], age: timedelta
) -> None:
    """A new one by reconciliation, one of before the connection by the backfill."""
    crm, worker = kind(), world.worker()
    async with crm.served():
        connection = await world.connect_played(crm)
        path = f"/v1/connections/{connection.id}"
        external_id = call(crm, now().replace(microsecond=0) - age)
        run = await world.run_once(worker, connection)
        if age:
            assert (run["state"], run["missed"], await world.activities()) == ("done", 0, {})
            started = await world.call("POST", f"{path}/backfills", status=201)
            await worker.synchroniser.start_due()
            run = await world.ended(f"{path}/backfills/{started['id']}")
        assert (run["state"], run["missed_new"], run["unreadable"]) == ("done", 1, 0), run
        assert list(await world.activities()) == [external_id]


async def test_an_activity_of_fxiaoke_made_invalid_without_a_webhook_is_found_deleted(world: World) -> None:
    crm, worker = PlayedFxiaoke(), world.worker()
    async with crm.served():
        connection = await world.connect_played(crm)
        start = now().replace(microsecond=0)
        _call_of_fxiaoke(crm, start)
        assert (await world.run_once(worker, connection))["missed_new"] == 1
        assert [each.is_deleted for each in (await world.activities()).values()] == [False]
        later = int((start + SECOND).timestamp() * 1000)
        crm.objects["ActiveRecordObj"]["65a0"] |= {"life_status": "invalid", "last_modified_time": later}
        run = await world.run_once(worker, connection)
        assert (run["missed_deleted"], run["missed"]) == (1, 1), run
        assert [each.is_deleted for each in (await world.activities()).values()] == [True]
        assert (await world.run_once(worker, connection))["missed"] == 0


def _line_of_salesforce(crm: PlayedCrm, at: datetime) -> str:
    assert isinstance(crm, PlayedSalesforce)
    crm.lines["1"] = PlayedLine("1", "100", "GTX-PRO", 12.0, 600.5, at)
    return "GTX-PRO"


def _line_of_hubspot(crm: PlayedCrm, at: datetime) -> str:
    assert isinstance(crm, PlayedHubspot)
    line = {"hs_sku": "GTX-PRO", "quantity": "12", "amount": "600.5", "hs_lastmodifieddate": at.isoformat()}
    crm.activities["line_items"] = {"71": line}
    crm.deals_of_activities["71"] = "100"
    return "GTX-PRO"


def _line_of_pipedrive(crm: PlayedCrm, at: datetime) -> str:
    assert isinstance(crm, PlayedPipedrive)
    crm.products = {"100": [{"id": 1, "product_id": 7, "quantity": 12, "sum": 600.5}]}
    return "7"


def _line_of_fxiaoke(crm: PlayedCrm, at: datetime) -> str:
    assert isinstance(crm, PlayedFxiaoke)
    line = {"new_opportunity_id": "100", "product_id": "GTX-PRO", "quantity": "12", "total_amount": "600.50"}
    modified = {"last_modified_time": int(at.timestamp() * 1000), "life_status": "normal"}
    crm.objects["NewOpportunityLinesObj"] = {"l1": {"_id": "l1", **line, **modified}}
    return "GTX-PRO"


def _line_of_zoho(crm: PlayedCrm, at: datetime) -> str:
    assert isinstance(crm, PlayedZoho)
    crm.custom["100"] = {"Sold": [{"Product": {"name": "GTX-PRO"}, "Quantity": 12, "Line_Total": 600.5}]}
    return "GTX-PRO"


@pytest.mark.parametrize(
    ("kind", "line", "access", "mapping"),
    [
        (PlayedSalesforce, _line_of_salesforce, {}, {}),
        (PlayedHubspot, _line_of_hubspot, {}, {}),
        (PlayedPipedrive, _line_of_pipedrive, {}, {"asks_products": True}),
        (PlayedFxiaoke, _line_of_fxiaoke, {"objects": ["NewOpportunityObj", "NewOpportunityLinesObj"]}, {}),
        (
            PlayedZoho,
            _line_of_zoho,
            {},
            {"products": {"lines": "Sold", "sku": "Product.name", "quantity": "Quantity", "amount": "Line_Total"}},
        ),
    ],
)
async def test_what_is_sold_with_a_deal_is_known_from_every_source(
    world: World,
    kind: Callable[[], PlayedCrm],
    line: Callable[[PlayedCrm, datetime], str],
    access: dict[str, object],
    mapping: dict[str, object],
) -> None:
    """Found by reconciliation where it changed, and told by it as missed once only."""
    crm, worker = kind(), world.worker()
    start = now().replace(microsecond=0)
    async with crm.served():
        made = await world.connect_played(crm)
        path = f"/v1/connections/{made.id}"
        await world.call("PUT", f"{path}/api-access", crm.access() | access, version=made.version)
        wanted = {"currency": "USD", **mapping}
        await world.call("PATCH", path, {"mapping": wanted}, version=made.version + 1)
        saved = cast(dict[str, object], (await world.call("GET", path))["mapping"])
        assert {name: saved[name] for name in mapping} == mapping
        connection = await world.connection(made.id)
        crm.put(deal(100, at=start))
        assert (await world.run_once(worker, connection))["missed_new"] == 1
        assert [each.products for each in (await world.deals()).values()] == [()]
        sku = line(crm, start + SECOND)
        crm.put(replace(crm.deals["100"], modified_at=start + SECOND))
        second = await world.run_once(worker, connection)
        assert (second["missed_changed"], second["unreadable"]) == (1, 0), second
        (held,) = (await world.deals()).values()
        assert [(each.sku, each.quantity, each.amount) for each in held.products] == [
            (sku, Decimal(12), Decimal("600.5"))
        ]
        assert (await world.run_once(worker, connection))["missed"] == 0


async def test_a_saved_mapping_of_teams_gives_their_members_a_share_of_the_deals_that_are_held(world: World) -> None:
    crm, worker = PlayedFxiaoke(), world.worker()
    async with crm.served():
        connection = await world.connect_played(crm)
        path = f"/v1/connections/{connection.id}"
        crm.custom["100"] = {"relevant_team": [{"teamMemberEmployee": ["FSUID_42"], "teamMemberRole": "4"}]}
        crm.custom["101"] = {"owner": [], "data_own_department": ["1001"], "relevant_team": []}
        for number in (100, 101):
            crm.put(deal(number, at=now().replace(microsecond=0)))
        await world.run_once(worker, connection)
        assert [each.splits for each in (await world.deals()).values()] == [(), ()]
    unmapped = cast(list[dict[str, object]], (await world.call("GET", f"{path}/unmapped"))["owners"])
    assert "team:1001" in {each["external_user_id"] for each in unmapped}
    mapping = {
        "currency": "USD",
        "team_roles": {"4": {"role": "overlay", "percent": "12.5"}},
        "teams": {"1001": "lead"},
    }
    current = await world.call("GET", path)
    tried = await world.call("POST", f"{path}/mapping/test", {"mapping": mapping})
    assert tried["deals_changed"] == 2, tried
    await world.call("PATCH", path, {"mapping": mapping}, version=int(str(current["version"])))
    saved = cast(dict[str, object], (await world.call("GET", path))["mapping"])
    assert (saved["team_roles"], saved["teams"]) == (mapping["team_roles"], mapping["teams"])
    retranslator = Retranslator(world.database, Publisher(OUTBOX))
    while await retranslator.step_once():
        pass
    deals = await world.deals()
    held = deals["100"]
    assert (deals["101"].owner_external_id, deals["101"].splits) == ("lead", ())
    assert [(split.owner_external_id, split.role, split.percent) for split in held.splits] == [
        (held.owner_external_id, "owner", Decimal(100)),
        ("FSUID_42", "overlay", Decimal("12.5")),
    ]
