"""The tracking worker as a process: what a sender tells over HTTP comes through Kafka into where goals stand."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from cryptography.fernet import Fernet
from fastapi import FastAPI
from sqlalchemy import text
from standardwebhooks import Webhook

from services.tracking.app import create_app
from services.tracking.intake.inbox.intake import QUIET_SECONDS
from services.tracking.measure.progress.consumer import ACTIVITIES_GROUP, DEFINITIONS_MAX
from services.tracking.settings import ApiSettings
from shared.contracts import activities, goals, org
from shared.contracts.base import Event
from shared.contracts.envelope import to_message
from shared.contracts.topics import TOPICS
from shared.db.database import Database, Scope
from shared.http.auth import Role
from shared.kafka.producer import Producer
from shared.kafka.settings import KafkaSettings
from shared.kafka.topics import ensure_topics
from shared.kernel.ids import activity_id
from tests.servers.callers import bearer, client_of
from tests.servers.infrastructure import eventually, own_ports, service_url

MOMENT = datetime(2026, 2, 1, tzinfo=UTC)
CALL = {
    "external_id": "9031",
    "modified_at": "2026-02-03T10:00:00Z",
    "type": "call",
    "status": "done",
    "owner_external_id": "u1",
    "subject": "Renewal terms",
    "occurred_at": "2026-02-03T09:30:00Z",
    "duration_seconds": 660,
    "deal_external_id": "746",
}


class Site:
    """The API process's app, in which one tenant has a sender and a goal; `working` ends the worker."""

    def __init__(self, app: FastAPI, producer: Producer, working: AsyncExitStack) -> None:
        self.working = working
        self.tenant, self.person, self.goal = uuid4(), uuid4(), uuid4()
        self.producer = producer
        self.client = client_of(app, bearer(ApiSettings(), self.tenant, Role.ADMIN))
        self.connection, self.secret, self.hook = "", "", ""

    async def set_up(self) -> None:
        """A sender, whose user u1 is a person with a goal of done calls in February."""
        made = await self.client.post("/v1/connections", json={"source": "standard_webhooks", "name": "Dialler"})
        assert made.status_code == 201, made.text
        self.secret, self.hook = made.json()["secret"], made.json()["hook_path"]
        self.connection = made.json()["id"]
        await self.publish(
            org.Identity(
                tenant_id=self.tenant,
                id=uuid4(),
                version=1,
                source=made.json()["identity_source"],
                external_user_id="u1",
                person_id=self.person,
                deleted=False,
            ),
            self.goal_event(),
        )

    def goal_event(self) -> goals.Goal:
        """The goal of done calls."""
        return goals.Goal.model_validate(
            {
                "tenant_id": self.tenant,
                "id": self.goal,
                "version": 1,
                "revision": 1,
                "status": "active",
                "name": "Calls",
                "owner": {"kind": "person", "id": self.person},
                "metric": {
                    "record": "activity",
                    "aggregate": "count",
                    "value_field": None,
                    "date_field": "closed",
                    "filter": {
                        "all": [
                            {"field": "type", "op": "eq", "value": "call"},
                            {"field": "status", "op": "eq", "value": "done"},
                        ]
                    },
                    "currency": None,
                },
                "target": "40",
                "baseline": "0",
                "unit": "activities",
                "direction": "higher",
                "start": "2026-02-01",
                "end": "2026-03-01",
                "parent_id": None,
                "weight": "1",
            }
        )

    async def publish(self, *events: Event) -> None:
        messages = [to_message(event, event_id=uuid4(), source="goals", time=MOMENT) for event in events]
        assert await self.producer.send_many(messages) == [None] * len(messages)

    async def deliver(self, webhook_id: str, what: str, data: Mapping[str, object]) -> None:
        body, now = json.dumps({"type": what, "data": data}), datetime.now(UTC)
        headers = {
            "webhook-id": webhook_id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": Webhook(self.secret).sign(webhook_id, now, body),
        }
        response = await self.client.post(self.hook, content=body, headers=headers)
        assert response.status_code == 202, response.text

    async def stands(self, value: str, activities: int) -> bool:
        response = await self.client.get(f"/v1/goals/{self.goal}/progress")
        answer = response.json()
        return response.status_code == 200 and (answer["value"], answer["deals"], answer["stale"]) == (
            value,
            activities,
            False,
        )

    async def explained(self, **query: str) -> list[dict[str, object]]:
        response = await self.client.get(f"/v1/goals/{self.goal}/progress/explain", params=query)
        assert response.status_code == 200, response.text
        items: list[dict[str, object]] = response.json()["items"]
        return items

    async def deliveries(self) -> list[dict[str, object]]:
        items: list[dict[str, object]] = (await self.client.get("/v1/deliveries")).json()["items"]
        return items

    async def has_settled(self) -> bool:
        return all(each["state"] == "translated" for each in await self.deliveries())

    async def activity(self) -> UUID:
        response = await self.client.get("/v1/activities", params={"deal": "746"})
        (item,) = response.json()["items"]
        return UUID(item["id"])


@asynccontextmanager
async def worker() -> AsyncIterator[None]:
    """A worker for as long as the block lasts."""
    environment = {**os.environ, "ATTAIN_WORKER_PORT": str(own_ports().tracking_worker)}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services.tracking.worker", env=environment, stdout=asyncio.subprocess.DEVNULL
    )
    try:
        yield
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
            await asyncio.wait_for(process.wait(), 30)


@pytest.fixture
async def site(fresh_database: str, kafka_bootstrap: str) -> AsyncIterator[Site]:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("ATTAIN_DATABASE_URL", service_url(fresh_database, "tracking"))
        environment.setenv("ATTAIN_KAFKA_BOOTSTRAP", kafka_bootstrap)
        environment.setenv("ATTAIN_JWT_SECRET", "0123456789abcdef" * 3)
        environment.setenv("ATTAIN_SECRETS_KEY", Fernet.generate_key().decode())
        kafka = KafkaSettings(bootstrap=kafka_bootstrap)
        await ensure_topics(kafka, TOPICS.values())
        producer = Producer(kafka, client_id="test")
        await producer.start()
        app = create_app()
        async with app.router.lifespan_context(app), AsyncExitStack() as working:
            await working.enter_async_context(worker())
            made = Site(app, producer, working)
            await eventually(lambda: _is_ready(made), expectation="the connections are loaded")
            await made.set_up()
            yield made
            await made.client.aclose()
        await producer.stop()


async def _is_ready(site: Site) -> bool:
    return (await site.client.get("/readyz")).status_code == 200


async def _is_read(database_url: str, bootstrap: str) -> bool:
    """Whether all activities that were published have been read from their topic."""
    database = Database(service_url(database_url, "tracking"), service="tracking")
    reader = AIOKafkaConsumer(bootstrap_servers=bootstrap)
    await reader.start()
    try:
        partitions = [TopicPartition(activities.TOPIC, each) for each in range(TOPICS[activities.TOPIC].partitions)]
        ends = await reader.end_offsets(partitions)
        async with database.transaction(Scope.every()) as tx:
            rows = await tx.rows(
                text('SELECT partition, next_offset FROM tracking.consumer_positions WHERE "group" = :group'),
                {"group": ACTIVITIES_GROUP},
            )
        positions = {row["partition"]: row["next_offset"] for row in rows}
        return all(positions.get(each.partition, 0) >= end for each, end in ends.items())
    finally:
        await reader.stop()
        await database.close()


async def test_a_call_that_a_sender_tells_moves_a_goal_of_calls(site: Site) -> None:
    await site.deliver("msg-1", "activity.upserted", CALL)
    await site.deliver("msg-1", "activity.upserted", CALL)
    await eventually(lambda: site.stands("1", 1), 60.0, expectation="one call")
    (counting,) = await site.explained()
    call = await site.activity()
    assert (counting["record"], counting["activity_id"], counting["subject"], counting["day"]) == (
        "activity",
        str(call),
        "Renewal terms",
        "2026-02-03",
    )

    await site.deliver("msg-2", "activity.upserted", {**CALL, "external_id": "9032"})
    await eventually(lambda: site.stands("2", 2), 60.0, expectation="two calls")

    moved = {**CALL, "modified_at": "2026-02-03T11:00:00Z", "status": "cancelled"}
    await site.deliver("msg-3", "activity.upserted", moved)
    await eventually(lambda: site.stands("1", 1), 60.0, expectation="one of them was cancelled")
    await site.deliver("msg-4", "activity.upserted", {**CALL, "modified_at": "2026-02-03T10:30:00Z"})
    (judged,) = await site.explained(activity_id=str(call))
    assert (judged["counts"], judged["reason"]) == (False, "filter_not_met")
    assert judged["failing"] == {"field": "status", "op": "eq", "value": "done"}

    gone = {**CALL, "external_id": "9032", "modified_at": "2026-02-03T12:00:00Z"}
    await site.deliver("msg-5", "activity.deleted", gone)
    await eventually(lambda: site.stands("0", 0), 60.0, expectation="the other was deleted")
    unknown = await site.client.get(f"/v1/goals/{site.goal}/progress/explain", params={"deal_id": str(call)})
    assert (unknown.status_code, unknown.json()["code"]) == (404, "deal_not_known")


async def test_replaying_a_delivery_does_not_bring_back_what_a_later_one_of_the_same_moment_changed(site: Site) -> None:
    await site.deliver("msg-1", "activity.upserted", CALL)
    await eventually(lambda: site.stands("1", 1), 60.0, expectation="one call")
    first = (await site.deliveries())[0]
    await site.deliver("msg-2", "activity.upserted", {**CALL, "status": "cancelled"})
    await eventually(lambda: site.stands("0", 0), 60.0, expectation="it was cancelled")

    replayed = await site.client.post(f"/v1/deliveries/{first['id']}/replay")
    assert replayed.status_code == 202, replayed.text
    await eventually(site.has_settled, 60.0, expectation="the copy is translated")
    await site.deliver("msg-3", "activity.upserted", {**CALL, "external_id": "9032"})
    await eventually(lambda: site.stands("1", 1), 60.0, expectation="only the new call")
    call = activity_id(UUID(site.connection), "9031")
    newest = (await site.client.get(f"/v1/activities/{call}")).json()
    versions = (await site.client.get(f"/v1/activities/{call}/versions")).json()["items"]
    assert (newest["status"], len(versions)) == ("cancelled", 2)


async def test_a_webhook_that_comes_alone_is_counted_with_the_commit_that_stores_it_while_no_worker_runs(
    site: Site, fresh_database: str, kafka_bootstrap: str
) -> None:
    await site.deliver("msg-1", "activity.upserted", CALL)
    await eventually(lambda: site.stands("1", 1), 60.0, expectation="one call")
    await site.explained()
    await site.working.aclose()
    await asyncio.sleep(QUIET_SECONDS)
    await site.deliver("msg-2", "activity.upserted", {**CALL, "external_id": "9032"})
    assert await site.stands("2", 2)

    async with worker():
        # The topic brings what it has counted meanwhile and what it has not.
        await asyncio.gather(
            *(
                site.deliver(f"msg-{number}", "activity.upserted", {**CALL, "external_id": str(number)})
                for number in range(9040, 9060)
            )
        )
        await eventually(lambda: site.stands("22", 22), 60.0, expectation="all calls")
        await eventually(site.has_settled, 60.0, expectation="all deliveries are translated")
        await eventually(lambda: _is_read(fresh_database, kafka_bootstrap), 60.0, expectation="the topic is read")
        assert await site.stands("22", 22)


async def test_thousands_of_goals_hold_up_their_tenant_a_hundred_at_a_time(site: Site, fresh_database: str) -> None:
    one = site.goal_event()
    many = [one.model_copy(update={"id": uuid4()}) for _ in range(2000)]
    database = Database(service_url(fresh_database, "tracking"), service="tracking")
    seen: dict[str, int] = {}

    async def all_count() -> bool:
        async with database.transaction(Scope.of(site.tenant)) as tx:
            [row] = await tx.rows(_HELD_UP)
        seen.update(row)
        return int(row["counting"]) == len(many) + 1

    await site.publish(*many)
    await eventually(all_count, 120.0, expectation="all goals count")
    await database.close()
    # Every transaction that changes definitions makes a revision, and every rebuild has a moment of its own.
    assert 1 < seen["defined"] <= DEFINITIONS_MAX
    assert 1 < seen["rebuilt"] <= 100
    await site.deliver("msg-1", "activity.upserted", CALL)
    await eventually(lambda: site.stands("1", 1), 60.0, expectation="one call")


_HELD_UP = text(
    """
    SELECT (SELECT count(*) FROM tracking.progress_goals WHERE NOT stale) AS counting,
        (SELECT max(n) FROM (SELECT count(*) AS n FROM tracking.projected_snapshots GROUP BY revision) AS s) AS defined,
        (SELECT max(n) FROM (SELECT count(*) AS n FROM tracking.progress_goals GROUP BY changed_at) AS g) AS rebuilt
    """
)
