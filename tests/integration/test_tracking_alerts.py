"""Alerts on real Postgres and Kafka: raised, told, cleared, whoever looks and however often."""

import asyncio
import json
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Engine, event, text
from standardwebhooks import Webhook

from deploy.local.commands.republish import republished
from services.tracking.intake.calling.caller import ApiCaller
from services.tracking.intake.calling.domain import SourceUnavailable
from services.tracking.intake.connections import service as crm
from services.tracking.intake.inbox.hook_counts import HookCounter
from services.tracking.intake.inbox.hooks import Hooks
from services.tracking.intake.upkeep.domain import NEW_FOR
from services.tracking.measure.progress.definitions import DefinitionsCache
from services.tracking.metadata import transport
from services.tracking.records.changes import CHANGES_CHANNEL
from services.tracking.tell.alerts import service
from services.tracking.tell.alerts.work import AlertWatcher
from services.tracking.tell.channels.consumer import OUTGOING_TOPICS, OutgoingHandler
from services.tracking.tell.channels.mailer import Mailer, MailSettings
from services.tracking.tell.channels.people import People
from services.tracking.tell.channels.service import Subscriptions
from services.tracking.tell.channels.work import Deliverer, subscriber_client
from services.tracking.worker import CONNECTION_CHECKS
from shared.contracts.alerts import TOPIC, Alert
from shared.contracts.envelope import from_record
from shared.contracts.topics import TOPICS
from shared.db.database import Database, Scope
from shared.db.listening import OnNotification
from shared.http.auth import Role
from shared.http.outbound import OutboundSettings
from shared.kafka.consumer import Consumer
from shared.kafka.producer import Producer
from shared.kafka.settings import KafkaSettings
from shared.kafka.topics import ensure_topics
from shared.outbox.outbox import Outbox, decode_headers
from shared.outbox.relay import Relay
from shared.worker.components import Component
from tests.played.listener import Listener, Reply, listening
from tests.servers.infrastructure import eventually
from tests.stories.connections import Answered, Caller, Tracking, deal, running_tracking, send, settle

FAULTLESS = deal(status="open")
"""Nobody is credited with what is not won, so nothing is missing in it."""
WRONG_SECRET = "whsec_" + "A" * 32
LOOK_SECONDS = 30

Json = dict[str, Any]
"""An answer as it was parsed."""


def setting(heard: asyncio.Event) -> OnNotification:
    return lambda _: heard.set()


class Watching:
    """Tracking, and the watchers of its workers by a clock that stands until it is told."""

    def __init__(self, tracking: Tracking, url: str) -> None:
        self.tracking = tracking
        self.now = datetime.now(UTC)
        self.databases = [Database(url, service="tracking", clock=lambda: self.now) for _ in range(2)]
        self.watchers = [
            AlertWatcher(database, Outbox(transport), CONNECTION_CHECKS, look_seconds=LOOK_SECONDS)
            for database in self.databases
        ]
        self._heard = [asyncio.Event() for _ in self.databases]

    @asynccontextmanager
    async def hearing(self) -> AsyncIterator[None]:
        """The watchers hear what is notified, as in their workers."""
        async with AsyncExitStack() as listening:
            for database, watcher, heard in zip(self.databases, self.watchers, self._heard, strict=True):
                await listening.enter_async_context(
                    database.channels(CHANGES_CHANNEL).listening(watcher.on_notification)
                )
                await listening.enter_async_context(database.channels("heard").listening(setting(heard)))
                await asyncio.wait_for(heard.wait(), 10)
            yield

    async def heard(self) -> None:
        """Return once the watchers have heard of all that was committed before."""
        for heard in self._heard:
            heard.clear()
        async with self.tracking.database.transaction(Scope.of()) as tx:
            await tx.notify("heard")
        for heard in self._heard:
            await asyncio.wait_for(heard.wait(), 10)

    async def look(self, times: int = 1) -> int:
        """Look so many times, at the intervals of a worker; how many alerts were told."""
        await self.meter.flush()
        await self.heard()
        told = 0
        for _ in range(times):
            self.now += timedelta(seconds=LOOK_SECONDS)
            told += await self.watchers[0].look_due()
        return told

    @property
    def meter(self) -> HookCounter:
        meter: HookCounter = self.tracking.app.state.parts[Hooks].traffic
        return meter

    async def told(self, caller: Caller) -> list[Alert]:
        """What is in the outbox of alerts of a tenant, in its order."""
        async with self.tracking.database.transaction(Scope.of(caller.tenant)) as tx:
            rows = await tx.rows(
                text(
                    "SELECT headers, value FROM tracking.outbox"
                    " WHERE tenant_id = :tenant AND topic = :topic ORDER BY id"
                ),
                {"tenant": caller.tenant, "topic": TOPIC},
            )
        events = [from_record(dict(decode_headers(row["headers"])), row["value"]) for row in rows]
        return [event for event in events if isinstance(event, Alert)]


@pytest.fixture
async def watching(fresh_database: str) -> AsyncIterator[Watching]:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("ATTAIN_OUTBOUND_ALLOWED_NETWORKS", "127.0.0.0/8")
        async with running_tracking(fresh_database) as tracking:
            running = Watching(tracking, fresh_database)
            async with running.hearing():
                yield running
            for database in running.databases:
                await database.close()


@pytest.fixture
def admin(watching: Watching) -> Caller:
    return Caller(watching.tracking, Role.ADMIN)


async def alerts(caller: Caller, **wanted: str) -> list[Json]:
    response = await caller.client.get("/v1/alerts", params=wanted)
    assert response.status_code == 200, response.text
    items: list[Json] = response.json()["items"]
    return items


def story(told: Sequence[Alert]) -> list[tuple[str, str, str, int]]:
    return [(each.check, each.state.value, each.severity.value, each.version) for each in told]


async def refuse_signatures(connection: Answered, caller: Caller) -> None:
    assert await send(caller, connection, deal(), secret=WRONG_SECRET) == 401


async def test_refused_signatures_raise_an_alert_and_the_right_secret_clears_it(
    watching: Watching, admin: Caller
) -> None:
    connection = await admin.connect()
    assert await watching.look() == 0
    await refuse_signatures(connection, admin)
    assert await watching.look() == 1
    (raised,) = await alerts(admin, state="raised")
    assert (raised["kind"], raised["check"], raised["severity"]) == ("connection_health", "signatures", "broken")
    assert (raised["subject_type"], raised["subject_id"], raised["title"]) == ("connection", connection.id, "CRM")
    assert "not signed with a valid secret" in raised["sentence"]
    assert raised["raised_at"] == raised["changed_at"]
    assert await watching.look(3) == 0, "it was told already"
    assert await send(admin, connection, FAULTLESS) == 202
    await settle(watching.tracking)
    assert await watching.look() == 0, "it may break again"
    assert await watching.look() == 1
    (cleared,) = await alerts(admin, state="cleared")
    assert await alerts(admin, state="raised") == []
    assert cleared["id"] == raised["id"]
    assert cleared["cleared_at"] == cleared["changed_at"] > cleared["raised_at"] == raised["raised_at"]
    assert "that few may be somebody trying" in cleared["sentence"]
    assert (await admin.client.get(f"/v1/alerts/{raised['id']}")).json() == cleared


async def test_every_version_is_published_with_what_it_changes(watching: Watching, admin: Caller) -> None:
    connection = await admin.connect()
    await refuse_signatures(connection, admin)
    await watching.look()
    assert story(await watching.told(admin)) == [("signatures", "raised", "broken", 1)]
    (told,) = await watching.told(admin)
    assert (await admin.client.get(f"/v1/alerts/{told.id}")).json() == told.model_dump(mode="json")
    await send(admin, connection, FAULTLESS)
    await settle_but_alerts(watching)
    await watching.look(2)
    assert story(await watching.told(admin)) == [
        ("signatures", "raised", "broken", 1),
        ("signatures", "cleared", "broken", 2),
    ]


async def settle_but_alerts(watching: Watching) -> None:
    """Translate what waits; what comes of it is not recorded."""
    while await watching.tracking.processor.translate_once():
        pass


async def test_a_source_that_is_not_called_for_a_while_raises_an_alert_and_another_access_clears_it(
    watching: Watching, admin: Caller
) -> None:
    caller: ApiCaller = watching.tracking.app.state.parts[ApiCaller]
    connection = await admin.connect("hubspot", secret="the-secret-of-the-app", allowed={"portal_id": ["1"]})
    path = f"/v1/connections/{connection.id}/api-access"
    async with listening() as hubspot:
        spent = b'{"status":"error","policyName":"DAILY","message":"The daily limit is reached."}'
        hubspot.respond = lambda _: Reply(429, {"content-type": "application/json"}, spent)
        access = {"source": "hubspot", "api_url": hubspot.url, "access_token": "pat-old"}
        given = await admin.client.put(path, json=access)
        assert given.status_code == 200, given.text
        assert await watching.look(2) == 0
        async with watching.tracking.database.transaction(Scope.of(admin.tenant)) as tx:
            stored = await crm.get(tx, admin.tenant, UUID(connection.id))
        calling = caller.access(stored)
        with pytest.raises(SourceUnavailable):
            await calling.run(calling.api.changed(calling.credentials, datetime.now(UTC), None))
        assert await watching.look() == 1
        (raised,) = await alerts(admin, state="raised")
        assert (raised["check"], raised["severity"]) == ("api_access", "broken")
        assert "The daily limit is reached" in raised["sentence"]
        assert "quota of API calls is used up" in raised["sentence"]
        mended = await admin.client.put(
            path, json={**access, "access_token": "pat-new"}, headers={"if-match": given.headers["etag"]}
        )
        assert mended.status_code == 200, mended.text
        assert await watching.look(2) == 1
    assert await alerts(admin, state="raised") == []


async def test_what_needs_attention_is_raised_when_it_was_seen_twice_and_is_worded_anew_once_an_hour(
    watching: Watching, admin: Caller
) -> None:
    connection = await admin.connect()
    await send(admin, connection, "not json")
    await settle_but_alerts(watching)
    assert await watching.look() == 0
    assert await watching.look() == 1
    await send(admin, connection, "no json either")
    await settle_but_alerts(watching)
    assert await watching.look(119) == 0
    assert await watching.look() == 1
    assert story(await watching.told(admin)) == [
        ("quarantine", "raised", "attention", 1),
        ("quarantine", "raised", "attention", 2),
    ]
    first, second = await watching.told(admin)
    assert first.raised_at == second.raised_at == first.changed_at
    assert second.changed_at - first.changed_at == timedelta(hours=1)
    assert second.sentence.startswith("2 deliveries are in quarantine")


async def test_a_disabled_connection_has_its_alerts_cleared_and_is_looked_at_once_it_is_active_again(
    watching: Watching, admin: Caller
) -> None:
    connection = await admin.connect()
    await refuse_signatures(connection, admin)
    await watching.look()
    path = f"/v1/connections/{connection.id}"
    assert (await admin.change("PATCH", path, 1, {"status": "disabled"})).status_code == 200
    assert await watching.look() == 1
    assert await watching.look() == 0
    (cleared,) = await alerts(admin)
    assert (cleared["state"], cleared["sentence"]) == (
        "cleared",
        "The connection is disabled, so nobody looks at it.",
    )
    assert (await admin.change("PATCH", path, 2, {"status": "active"})).status_code == 200
    assert await watching.look() == 1
    (again,) = await alerts(admin, state="raised")
    assert (again["id"], again["version"], again["cleared_at"]) == (cleared["id"], 3, None)
    assert again["raised_at"] > cleared["raised_at"]


async def test_two_workers_look_at_each_connection_once_an_interval(watching: Watching, admin: Caller) -> None:
    """Neither of them tells anything twice, and together they do not see anything twice at once."""
    connections = [await admin.connect() for _ in range(6)]
    for connection in connections[:3]:
        await refuse_signatures(connection, admin)
    for connection in connections[3:]:
        await send(admin, connection, "not json")
    await settle_but_alerts(watching)
    await watching.meter.flush()
    await watching.heard()
    told = await asyncio.gather(*(watcher.look_due() for watcher in watching.watchers))
    assert sum(told) == 3
    assert await watching.watchers[1].look_due() == 0
    watching.now += timedelta(seconds=LOOK_SECONDS)
    told = await asyncio.gather(*(watcher.look_due() for watcher in watching.watchers))
    assert sum(told) == 3
    events = await watching.told(admin)
    assert {each.version for each in events} == {1}
    assert {str(each.subject_id) for each in events} == {connection.id for connection in connections}
    assert len(events) == 6


async def test_a_worker_looks_by_itself_until_it_is_stopped(watching: Watching, admin: Caller) -> None:
    watcher = AlertWatcher(watching.tracking.database, Outbox(transport), CONNECTION_CHECKS, look_seconds=1)
    running = asyncio.create_task(watcher.run())
    connection = await admin.connect()
    await refuse_signatures(connection, admin)
    await watching.meter.flush()

    async def is_raised() -> bool:
        return len(await alerts(admin, state="raised")) == 1

    async def is_cleared() -> bool:
        return len(await alerts(admin, state="cleared")) == 1

    await eventually(is_raised, 20, expectation="the alert is raised")
    await send(admin, connection, FAULTLESS)
    await settle_but_alerts(watching)
    await watching.meter.flush()
    await eventually(is_cleared, 20, expectation="the alert is cleared")
    await watcher.stop()
    await asyncio.wait_for(running, 10)


async def test_what_changes_is_looked_at_at_once_and_what_does_not_never(watching: Watching, admin: Caller) -> None:
    connection, _ = await admin.connect(), await admin.connect()
    await watching.look()
    watcher = watching.watchers[1]
    running = asyncio.create_task(watcher.run())

    async def is_raised() -> bool:
        # At its start it looks at all; what changes within an interval of that would wait for the end of it.
        watching.now += timedelta(seconds=LOOK_SECONDS)
        await refuse_signatures(connection, admin)
        await watching.meter.flush()
        return len(await alerts(admin, state="raised")) == 1

    # Far sooner than an interval.
    await eventually(is_raised, 10, expectation="the alert is raised")
    await watcher.stop()
    await asyncio.wait_for(running, 1)


async def test_connections_that_are_idle_cost_nothing_however_many_there_are(watching: Watching, admin: Caller) -> None:
    """Over ten minutes in which one of them changes, within an hour: when one ends, what is of a day is looked at."""
    watching.now -= timedelta(minutes=30 if watching.now.minute >= 30 else 0)
    statements: list[str] = []

    def note(*executed: object) -> None:
        statements.append(str(executed[2]))

    async def statements_with(connections: int) -> list[str]:
        for _ in range(connections - len(await every_watch(watching))):
            connection = await admin.connect()
        await watching.look(2)
        await refuse_signatures(connection, admin)
        await watching.meter.flush()
        await watching.heard()
        statements.clear()
        event.listen(Engine, "before_cursor_execute", note)
        try:
            for _ in range(20):
                watching.now += timedelta(seconds=LOOK_SECONDS)
                await watching.watchers[0].round()
        finally:
            event.remove(Engine, "before_cursor_execute", note)
        return sorted(statements)

    few, many = await statements_with(5), await statements_with(500)
    assert few == many
    assert len(few) < 20 * 2 + 40, "what is due and when the next is, and one look at what changed"
    assert len(await alerts(admin, state="raised")) == 2


async def every_watch(watching: Watching) -> list[tuple[UUID, datetime]]:
    """The connections that are looked at, and when each is looked at next though nothing changes."""
    async with watching.tracking.database.transaction(Scope.every()) as tx:
        rows = await tx.rows(text("SELECT connection_id, due_at FROM tracking.alert_watches"))
    return [(row["connection_id"], row["due_at"]) for row in rows]


async def test_what_needs_attention_by_time_alone_is_looked_at_when_that_has_come(
    watching: Watching, admin: Caller
) -> None:
    connection = await admin.connect()
    shown = (await admin.client.get(f"/v1/connections/{connection.id}")).json()
    created_at = datetime.fromisoformat(shown["created_at"])
    await watching.look()
    ((_, due_at),) = await every_watch(watching)
    assert due_at == created_at + NEW_FOR
    watching.now = due_at - timedelta(seconds=LOOK_SECONDS)
    assert await watching.look() == 0, "it was seen once"
    assert await watching.look() == 1
    (raised,) = await alerts(admin)
    assert raised["check"] == "deliveries"


async def test_what_another_has_looked_at_meanwhile_is_not_looked_at_again(watching: Watching, admin: Caller) -> None:
    connection = await admin.connect()
    await send(admin, connection, "not json")
    await settle_but_alerts(watching)
    slower = watching.databases[1]
    async with slower.transaction(Scope.every()) as tx:
        (watch,) = await service.due(tx, CONNECTION_CHECKS, None, interval=timedelta(seconds=LOOK_SECONDS))
    assert await watching.watchers[0].look_due() == 0
    async with slower.transaction(Scope.of(admin.tenant)) as tx:
        every = timedelta(seconds=LOOK_SECONDS)
        assert await service.look_at(tx, Outbox(transport), CONNECTION_CHECKS, watch, every=every) == ()
    assert await alerts(admin) == [], "it was seen once"


async def test_a_connection_that_cannot_be_looked_at_does_not_keep_others_from_it(
    watching: Watching, admin: Caller
) -> None:
    unreadable, connection = await admin.connect(), await admin.connect()
    await watching.look()
    async with watching.tracking.database.transaction(Scope.of(admin.tenant)) as tx:
        await tx.execute(
            text("UPDATE tracking.alert_watches SET trends = '[]' WHERE connection_id = :id"),
            {"id": UUID(unreadable.id)},
        )
    for each in (unreadable, connection):
        await refuse_signatures(each, admin)
    assert await watching.look() == 1
    (raised,) = await alerts(admin)
    assert raised["subject_id"] == connection.id


async def test_alerts_are_listed_by_when_they_were_raised_and_for_one_thing(watching: Watching, admin: Caller) -> None:
    connections = []
    for _ in range(3):
        connections.append(await admin.connect())
        await refuse_signatures(connections[-1], admin)
        await watching.look()
    seen: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        page = (await admin.client.get("/v1/alerts", params={"limit": "1", **cursor})).json()
        seen += [item["subject_id"] for item in page["items"]]
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}
    assert seen == [connection.id for connection in reversed(connections)]
    (one,) = await alerts(admin, subject_id=connections[1].id)
    assert one["subject_id"] == connections[1].id
    without_zone = urlsafe_b64encode(f'["2026-03-31T18:40:03","{uuid4()}"]'.encode()).decode()
    for unknown_cursor in ("x", without_zone):
        assert (await admin.client.get("/v1/alerts", params={"cursor": unknown_cursor})).status_code == 422
    assert (await admin.client.get("/v1/alerts", params={"state": "open"})).status_code == 422
    unknown = await admin.client.get(f"/v1/alerts/{uuid4()}")
    assert (unknown.status_code, unknown.json()["code"]) == (404, "alert_not_found")


async def test_only_operators_of_the_tenant_read_alerts(watching: Watching, admin: Caller) -> None:
    connection = await admin.connect()
    await refuse_signatures(connection, admin)
    await watching.look()
    (raised,) = await alerts(admin)
    path = f"/v1/alerts/{raised['id']}"
    for role in (Role.REP, Role.MANAGER, Role.FINANCE):
        caller = Caller(watching.tracking, role, tenant=admin.tenant)
        assert [(await caller.client.get(each)).status_code for each in ("/v1/alerts", path)] == [403, 403]
    for role in (Role.REVOPS, Role.SERVICE):
        caller = Caller(watching.tracking, role, tenant=admin.tenant)
        assert (await caller.client.get(path)).json() == raised
    stranger = Caller(watching.tracking, Role.ADMIN)
    assert await alerts(stranger) == []
    assert (await stranger.client.get(path)).status_code == 404


async def test_a_lost_topic_is_filled_again_with_the_newest_version_of_every_alert(
    watching: Watching, admin: Caller
) -> None:
    other = Caller(watching.tracking, Role.ADMIN)
    for caller in (admin, other):
        connection = await caller.connect()
        await refuse_signatures(connection, caller)
        await watching.look()
        await send(caller, connection, FAULTLESS)
    await settle_but_alerts(watching)
    await watching.look(2)
    before = {caller.tenant: await watching.told(caller) for caller in (admin, other)}
    assert await republished(watching.tracking.database, TOPIC) == 2
    for caller in (admin, other):
        told = await watching.told(caller)
        assert told == [*before[caller.tenant], before[caller.tenant][-1]]
        assert told[-1].version == 2


async def test_a_subscriber_is_told_of_the_raising_and_of_the_clearing_through_kafka(
    watching: Watching, admin: Caller, kafka_bootstrap: str, topic_prefix: str
) -> None:
    """Also when its endpoint could not be told of the one before the other had happened."""
    kafka = KafkaSettings(bootstrap=kafka_bootstrap)
    await ensure_topics(kafka, TOPICS.values())
    database = watching.tracking.database
    outbox = Outbox(transport)
    producer = Producer(kafka, client_id="test")
    await producer.start()
    client = subscriber_client(watching.tracking.app.state.parts[OutboundSettings], connections_max=4)
    relay = Relay(database, transport, producer, {})
    consumer = Consumer(
        settings=kafka,
        database=database,
        tables=transport,
        outbox=outbox,
        group=f"{topic_prefix}outgoing",
        topics=OUTGOING_TOPICS,
        handler=OutgoingHandler(People(DefinitionsCache())),
    )
    subscriptions = watching.tracking.app.state.parts[Subscriptions]
    deliverer = Deliverer(database, subscriptions, client, Mailer(MailSettings()), concurrency=4, concurrency_each=1)
    components: list[Component] = [relay, consumer, deliverer]
    async with listening() as subscriber:
        broken = {"field": "severity", "op": "eq", "value": "broken"}
        subscription = (
            await admin.client.post(
                "/v1/subscriptions",
                json={
                    "name": "On call",
                    "url": subscriber.url,
                    "events": [{"type": "attain.alert.v1", "filter": broken}],
                },
            )
        ).json()
        path = f"/v1/subscriptions/{subscription['id']}"
        await admin.change("PATCH", path, 1, {"status": "paused"})
        running = [asyncio.create_task(component.run()) for component in components]

        async def recorded() -> bool:
            waiting = await admin.client.get(f"{path}/deliveries", params={"state": "waiting"})
            return len(waiting.json()["items"]) == 2

        async def told() -> bool:
            return len(subscriber.requests) == 2

        try:
            connection = await admin.connect()
            await send(admin, connection, "not json")
            await refuse_signatures(connection, admin)
            for _ in range(4):
                await refuse_signatures(connection, admin)
            await settle_but_alerts(watching)
            await watching.look(2)
            assert {each["check"] for each in await alerts(admin)} == {"signatures", "quarantine"}
            connection = await admin.connect()
            await refuse_signatures(connection, admin)
            await watching.look()
            await send(admin, connection, FAULTLESS)
            await settle_but_alerts(watching)
            await watching.look(2)
            await eventually(recorded, 30, expectation="the raising and the clearing are recorded")
            await admin.change("PATCH", path, 2, {"status": "active"})
            await eventually(told, 30, expectation="the subscriber was told")
        finally:
            for component in (consumer, deliverer, relay):
                await component.stop()
            await asyncio.gather(*running)
            await producer.stop()
            await client.aclose()
        bodies = [verified(subscription["secret"], subscriber, index) for index in range(2)]
    assert [body["type"] for body in bodies] == ["attain.alert.v1"] * 2
    assert [(body["data"]["version"], body["data"]["state"]) for body in bodies] == [(1, "raised"), (2, "cleared")]
    assert {body["data"]["subject_id"] for body in bodies} == {connection.id}
    assert "Enter the secret of this connection" in bodies[0]["data"]["sentence"]


def verified(secret: str, subscriber: Listener, index: int) -> Json:
    """What a subscriber reads once its library has accepted the signature."""
    request = subscriber.requests[index]
    Webhook(secret).verify(request.body, dict(request.headers))
    body: Json = json.loads(request.body)
    return body
