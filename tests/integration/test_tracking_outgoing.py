"""Webhooks to other systems: real Postgres, a real server that plays the subscriber, and time that is told."""

import asyncio
import json
from base64 import b64decode
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from time import monotonic
from uuid import UUID, uuid4

import asyncpg
import pytest
from sqlalchemy import text
from standardwebhooks import Webhook
from structlog.testing import capture_logs

from services.tracking.metadata import transport
from services.tracking.tell.channels.domain.deliveries import RETRY_SECONDS, TRIES_MAX
from services.tracking.tell.channels.work import OutgoingRetention
from shared.contracts.envelope import to_message
from shared.contracts.topics import TOPICS
from shared.db.database import Scope
from shared.http.auth import Role
from shared.http.outbound import OutboundSettings
from shared.kafka.consumer import Consumer
from shared.kafka.domain import Poison
from shared.kafka.producer import Producer
from shared.kafka.settings import KafkaSettings
from shared.kafka.topics import ensure_topics
from shared.outbox.outbox import Outbox
from tests.played.listener import Received, Reply, listening
from tests.servers.infrastructure import eventually
from tests.stories.outgoing import (
    ALL_EARNINGS,
    ALL_PROGRESS,
    OTHER_GOAL,
    Caller,
    Json,
    Site,
    deliver_due,
    earning,
    outgoing_site,
    progress,
    record,
)

JITTERED = 1.11


def versions(received: Sequence[Received]) -> list[int]:
    return [json.loads(each.body)["data"]["version"] for each in received]


def verified(secret: str, request: Received) -> Json:
    """What a subscriber reads once its library has accepted the signature; the time is not held against now."""
    at = datetime.fromtimestamp(int(request.headers["webhook-timestamp"]), UTC)
    expected = Webhook(secret).sign(request.headers["webhook-id"], at, request.body.decode())
    assert expected in request.headers["webhook-signature"].split(" ")
    body: Json = json.loads(request.body)
    return body


@pytest.fixture
async def site(fresh_database: str) -> AsyncIterator[Site]:
    async with outgoing_site(fresh_database) as running:
        yield running


@pytest.fixture
def caller(site: Site) -> Caller:
    return Caller(site, Role.ADMIN)


async def test_an_event_is_delivered_signed_as_standard_webhooks_says(site: Site, caller: Caller) -> None:
    site.clock.now = datetime.now(UTC) + timedelta(seconds=1)
    made = await caller.subscribe(f"{site.subscriber.url}/hook?from=attain", ALL_EARNINGS)
    await site.happen(earning(caller, 1))
    assert await site.deliver() == 1
    (request,) = site.subscriber.requests
    assert (request.method, request.path) == ("POST", "/hook?from=attain")
    assert request.headers["content-type"] == "application/json"
    body = Webhook(made["secret"]).verify(request.body, dict(request.headers))
    assert body["type"] == "attain.earning.v1"
    assert datetime.fromisoformat(body["timestamp"]) == site.clock.now
    assert body["data"]["earned"] == "9366.03"
    (delivery,) = await caller.log(made)
    assert (delivery["state"], delivery["due_at"]) == ("delivered", None)
    assert request.headers["webhook-id"] == delivery["webhook_id"]
    assert [attempt["status"] for attempt in delivery["attempts"]] == [204]
    detail = await caller.ask("GET", f"/v1/subscriptions/{made['id']}/deliveries/{delivery['id']}", 200)
    assert detail["body"].encode() == request.body
    assert await site.deliver() == 0


async def test_an_address_is_stored_sealed_and_shown_to_nobody_but_who_may_read_the_subscription(
    site: Site, caller: Caller, fresh_database: str
) -> None:
    first, second = "first-secret-of-an-address", "second-secret-of-an-address"
    with capture_logs() as logged:
        path = "/v1/subscriptions"
        body = {"name": "Payroll", "url": f"{site.subscriber.url}/hook?token={first}", "events": ALL_EARNINGS}
        made = await caller.ask("POST", path, 201, body, **{"idempotency-key": "made"})
        assert (await caller.subscription(made))["url"] == f"{site.subscriber.url}/hook?token={first}"
        changes = {"url": f"{site.subscriber.url}/hook?token={second}"}
        edits = {"if-match": '"1"', "idempotency-key": "edited"}
        changed = await caller.ask("PATCH", f"{path}/{made['id']}", 200, changes, **edits)
        assert await caller.ask("PATCH", f"{path}/{made['id']}", 200, changes, **edits) == changed
        assert (await caller.ask("GET", path, 200))["items"][0]["url"] == changed["url"] == changes["url"]
        await site.happen(earning(caller, 1))
        assert await site.deliver() == 1
        site.subscriber.respond = lambda _: Reply(500)
        await site.happen(earning(caller, 2))
        await site.deliver()
    assert site.subscriber.requests[0].path == f"/hook?token={second}"
    stored = await _everything_in(fresh_database)
    assert len(stored) >= 8
    for secret in (first, second):
        assert secret not in repr(logged)
        assert [row for row in stored if secret in row or secret.encode().hex() in row] == []


async def _everything_in(database: str) -> list[str]:
    """Every row of the service's schema, as text."""
    connection = await asyncpg.connect(database)
    try:
        await connection.execute("SELECT set_config('app.tenants', '*', false)")
        tables = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'tracking'")
        return [
            row["text"]
            for table in tables
            for row in await connection.fetch(f"SELECT held::text AS text FROM tracking.{table['tablename']} AS held")
        ]
    finally:
        await connection.close()


async def test_every_subscriber_gets_what_its_filter_lets_through(site: Site) -> None:
    caller = Caller(site, Role.REVOPS)
    reached = {"all": [{"field": "attainment", "op": "gte", "value": "1"}]}
    await caller.subscribe(f"{site.subscriber.url}/reached", [{"type": "attain.progress.v1", "filter": reached}])
    await caller.subscribe(f"{site.subscriber.url}/all", ALL_PROGRESS)
    await caller.subscribe(f"{site.subscriber.url}/earnings", ALL_EARNINGS)
    await site.happen(progress(caller, 99), progress(caller, 100, goal=OTHER_GOAL))
    await site.deliver()
    told = sorted((each.path, *versions([each])) for each in site.subscriber.requests)
    assert told == [("/all", 99), ("/all", 100), ("/reached", 100)]


async def test_another_tenants_events_are_not_for_a_subscriber(site: Site, caller: Caller) -> None:
    stranger = Caller(site, Role.ADMIN)
    made = await caller.subscribe(site.subscriber.url, ALL_PROGRESS)
    await site.happen(progress(stranger, 1), progress(caller, 2))
    await site.deliver()
    assert versions(site.subscriber.requests) == [2]
    path = f"/v1/subscriptions/{made['id']}"
    (delivery,) = await caller.log(made)
    for method, below in (
        ("GET", ""),
        ("POST", "/test"),
        ("GET", "/deliveries"),
        ("GET", f"/deliveries/{delivery['id']}"),
        ("POST", f"/deliveries/{delivery['id']}/replay"),
    ):
        await stranger.ask(method, path + below, 404)
    assert (await stranger.ask("GET", "/v1/subscriptions", 200))["items"] == []


async def test_what_happened_before_a_subscription_was_made_is_not_for_it(site: Site, caller: Caller) -> None:
    before = progress(caller, 1)
    made = await caller.subscribe(site.subscriber.url, ALL_PROGRESS)
    site.clock.now = datetime.fromisoformat(made["created_at"]) - timedelta(milliseconds=1)
    await site.happen(before)
    assert await caller.log(made) == []


async def test_an_event_that_the_topic_brings_again_is_not_delivered_again(site: Site, caller: Caller) -> None:
    """Neither while its delivery is in the log nor when that was dropped long ago; nor an older one."""
    made = await caller.subscribe(site.subscriber.url, [*ALL_PROGRESS, *ALL_EARNINGS])
    events = [progress(caller, 7), earning(caller, 3), earning(caller, 4)]
    await site.happen(*events, *events)
    await site.happen(*events)
    await site.deliver()
    assert sorted(versions(site.subscriber.requests)) == [3, 4, 7]
    site.clock.advance(days=31)
    await OutgoingRetention(site.database, retention_days=30).drop_due()
    assert await caller.log(made) == []
    await site.happen(*events, progress(caller, 6))
    assert await site.deliver() == 0
    await site.happen(progress(caller, 8))
    assert await site.deliver() == 1


async def test_progress_that_waits_is_delivered_in_its_newest_state_only(site: Site, caller: Caller) -> None:
    made = await caller.subscribe(site.subscriber.url, ALL_PROGRESS)
    for version in (1, 2):
        await site.happen(progress(caller, version))
    await site.happen(progress(caller, 3), progress(caller, 4), progress(caller, 1, goal=OTHER_GOAL))
    await site.deliver()
    assert sorted(versions(site.subscriber.requests)) == [1, 4]
    assert [each["state"] for each in await caller.log(made)] == ["delivered", "delivered"]


async def test_progress_that_was_attempted_is_superseded_by_a_newer_state_under_another_id(
    site: Site, caller: Caller
) -> None:
    """A site.subscriber that has seen an id may have kept what came with it, even if its answer was lost."""
    made = await caller.subscribe(site.subscriber.url, ALL_PROGRESS)
    site.subscriber.respond = lambda _: Reply(500)
    await site.happen(progress(caller, 1))
    await site.deliver()
    site.subscriber.respond = lambda _: Reply(204)
    site.clock.advance(hours=1)
    await site.happen(progress(caller, 2))
    assert await site.deliver() == 1
    assert versions(site.subscriber.requests) == [1, 2]
    assert site.subscriber.requests[0].headers["webhook-id"] != site.subscriber.requests[1].headers["webhook-id"]
    assert [each["state"] for each in await caller.log(made)] == ["superseded", "delivered"]


async def test_every_earning_is_delivered_in_the_order_of_its_versions(site: Site, caller: Caller) -> None:
    await caller.subscribe(site.subscriber.url, ALL_EARNINGS)
    await site.happen(earning(caller, 2), earning(caller, 1), *(earning(caller, version) for version in range(3, 9)))
    assert await site.deliver() == 8
    assert versions(site.subscriber.requests) == list(range(1, 9))


async def test_an_endpoint_that_fails_is_tried_again_by_the_schedule_under_the_same_id(
    site: Site, caller: Caller
) -> None:
    made = await caller.subscribe(site.subscriber.url, ALL_EARNINGS)
    site.subscriber.respond = lambda _: Reply(500, body=b"no\0 luck \xff" + b"x" * 3000)
    await site.happen(earning(caller, 1))
    await site.deliver()
    for seconds in RETRY_SECONDS[:2]:
        site.clock.advance(seconds=seconds - 1)
        assert await site.deliver() == 0
        site.clock.advance(seconds=1 + seconds * (JITTERED - 1))
        assert await site.deliver() == 1
    site.subscriber.respond = lambda _: Reply(200, body=b"thanks")
    site.clock.advance(seconds=RETRY_SECONDS[2] * JITTERED)
    await site.deliver()
    (delivery,) = await caller.log(made)
    assert delivery["state"] == "delivered"
    assert [attempt["status"] for attempt in delivery["attempts"]] == [500, 500, 500, 200]
    assert delivery["attempts"][0]["answer"].startswith("no� luck �x")
    assert len(delivery["attempts"][0]["answer"]) == 500
    assert delivery["attempts"][3]["answer"] == "thanks"
    assert len({request.headers["webhook-id"] for request in site.subscriber.requests}) == 1
    assert len({request.headers["webhook-timestamp"] for request in site.subscriber.requests}) == 4
    assert len({request.body for request in site.subscriber.requests}) == 1
    for request in site.subscriber.requests:
        verified(made["secret"], request)


async def test_after_the_last_attempt_a_delivery_has_failed_and_can_be_replayed(site: Site, caller: Caller) -> None:
    made = await caller.subscribe(site.subscriber.url, ALL_EARNINGS)
    site.subscriber.respond = lambda _: Reply(503)
    await site.happen(earning(caller, 1))
    attempts = await site.deliver()
    for seconds in RETRY_SECONDS:
        site.clock.advance(seconds=seconds * JITTERED)
        attempts += await site.deliver()
    assert attempts == TRIES_MAX
    site.clock.advance(days=10)
    assert await site.deliver() == 0
    (failed,) = await caller.log(made, "?state=failed")
    assert len(failed["attempts"]) == TRIES_MAX
    assert (await caller.subscription(made))["status"] == "active"

    site.subscriber.respond = lambda _: Reply(204)
    replayed = await caller.ask("POST", f"/v1/subscriptions/{made['id']}/deliveries/{failed['id']}/replay", 202)
    assert replayed["state"] == "waiting"
    assert await site.deliver() == 1
    (delivery,) = await caller.log(made)
    assert (delivery["state"], len(delivery["attempts"])) == ("delivered", TRIES_MAX + 1)
    assert len({request.headers["webhook-id"] for request in site.subscriber.requests}) == 1


async def test_everything_that_failed_since_a_moment_is_replayed_at_once(site: Site, caller: Caller) -> None:
    made = await caller.subscribe(site.subscriber.url, ALL_EARNINGS)
    site.subscriber.respond = lambda _: Reply(410)
    moments = []
    for version in (1, 2, 3):
        await caller.set(made, status="active")
        site.clock.advance(hours=1)
        moments.append(site.clock.now)
        await site.happen(earning(caller, version))
        await site.deliver()
    assert [each["state"] for each in await caller.log(made)] == ["failed"] * 3
    await caller.set(made, status="active")
    site.subscriber.requests.clear()
    site.subscriber.respond = lambda _: Reply(200)
    answer = await caller.ask(
        "POST", f"/v1/subscriptions/{made['id']}/deliveries/replay", 202, {"since": moments[1].isoformat()}
    )
    assert answer == {"deliveries": 2, "more": False}
    await site.deliver()
    assert versions(site.subscriber.requests) == [2, 3]


async def test_what_an_endpoint_asks_for_in_retry_after_is_waited_for(site: Site, caller: Caller) -> None:
    """By the delivery, and by its neighbours too: what is limited is the endpoint."""
    await caller.subscribe(site.subscriber.url, ALL_PROGRESS)
    site.subscriber.respond = lambda _: Reply(429, headers={"retry-after": "600"})
    await site.happen(progress(caller, 1))
    await site.deliver()
    site.subscriber.respond = lambda _: Reply(204)
    await site.happen(progress(caller, 1, goal=OTHER_GOAL))
    site.clock.advance(seconds=599)
    assert await site.deliver() == 0
    site.clock.advance(seconds=2)
    assert await site.deliver() == 2


async def test_what_is_asked_to_be_tried_again_after_a_second_is_tried_then_and_not_at_the_next_look(
    site: Site, caller: Caller
) -> None:
    """Without anything else happening: the deliverer knows when it is due next."""
    await caller.subscribe(site.subscriber.url, ALL_EARNINGS)
    asked_at: list[float] = []

    def respond(_: Received) -> Reply:
        asked_at.append(monotonic())
        return Reply(429, headers={"retry-after": "1"}) if len(asked_at) == 1 else Reply(204)

    site.subscriber.respond = respond
    await site.happen(earning(caller, 1))
    site.clock.run()
    running = asyncio.create_task(site.deliverer.run())
    try:
        await eventually(lambda: len(asked_at) == 2, expectation="it was tried again")
    finally:
        await site.deliverer.stop()
        await running
    waited = asked_at[1] - asked_at[0]
    assert 1.0 <= waited < 4.0, waited


async def test_while_nothing_is_due_the_deliverer_does_not_look(site: Site, caller: Caller) -> None:
    await caller.subscribe(site.subscriber.url, ALL_EARNINGS)
    looks = 0
    look = site.deliverer.round

    async def counted() -> bool:
        nonlocal looks
        looks += 1
        return await look()

    site.deliverer.round = counted  # type: ignore[method-assign]
    running = asyncio.create_task(site.deliverer.run())
    try:
        await asyncio.sleep(2.5)
        assert looks <= 2, "at the start, and perhaps once more as it began to listen"
        await site.happen(earning(caller, 1))
        await eventually(lambda: len(site.subscriber.requests) == 1, expectation="what happens wakes it")
    finally:
        await site.deliverer.stop()
        await running


@pytest.mark.parametrize(
    "header", ["Fri, 31 Dec 99999999999 23:59:59 GMT", "Fri, 31 Dec 9999 23:59:59 -1400", "9" * 5000]
)
async def test_a_retry_after_from_the_end_of_time_neither_repeats_a_delivery_nor_loses_an_attempt(
    site: Site, caller: Caller, header: str
) -> None:
    made = await caller.subscribe(site.subscriber.url, ALL_PROGRESS)
    site.subscriber.respond = lambda _: Reply(200, headers={"retry-after": header})
    await site.happen(progress(caller, 1))
    assert await site.deliver() == 1
    site.clock.advance(days=2)
    assert await site.deliver() == 0
    site.subscriber.respond = lambda _: Reply(503, headers={"retry-after": header})
    await site.happen(progress(caller, 2))
    assert await site.deliver() == 1
    states = [(each["state"], len(each["attempts"])) for each in await caller.log(made)]
    assert states == [("delivered", 1), ("waiting", 1)]


async def test_an_endpoint_that_is_gone_is_disabled_at_once(site: Site, caller: Caller) -> None:
    made = await caller.subscribe(site.subscriber.url, ALL_EARNINGS)
    site.subscriber.respond = lambda _: Reply(410)
    await site.happen(earning(caller, 1))
    await site.deliver()
    found = await caller.subscription(made)
    assert found["status"] == "disabled"
    assert "410 Gone" in found["status_reason"]
    assert found["version"] == made["version"] + 1
    await site.happen(earning(caller, 2))
    site.clock.advance(days=2)
    assert await site.deliver() == 0
    assert [each["state"] for each in await caller.log(made)] == ["failed"]
    enabled = await caller.set(made, status="active")
    assert enabled["status_reason"] is None


async def test_an_endpoint_that_fails_everything_for_days_is_disabled_with_the_reason(
    site: Site, caller: Caller
) -> None:
    made = await caller.subscribe(site.subscriber.url, ALL_EARNINGS)
    site.subscriber.respond = lambda _: Reply(500)
    for version in range(1, 11):
        await site.happen(earning(caller, version))
        await site.deliver()
        assert (await caller.subscription(made))["status"] == "active"
        site.clock.advance(hours=12, seconds=600)
    await site.deliver()
    found = await caller.subscription(made)
    assert found["status"] == "disabled"
    assert "status 500" in found["status_reason"]
    asked = len(site.subscriber.requests)
    site.clock.advance(days=1)
    assert await site.deliver() == 0
    assert len(site.subscriber.requests) == asked


async def test_an_endpoint_that_keeps_failing_is_not_hammered(site: Site, caller: Caller) -> None:
    """A hundred goals that move are not a hundred requests a moment to somebody who is down."""
    made = await caller.subscribe(site.subscriber.url, ALL_PROGRESS)
    site.subscriber.respond = lambda _: Reply(500)
    await site.happen(*(progress(caller, 1, goal=uuid4()) for _ in range(100)))
    await site.deliver()
    assert len(site.subscriber.requests) <= 4
    for _ in range(10):
        site.clock.advance(seconds=301)
        before = len(site.subscriber.requests)
        await site.deliver()
        assert len(site.subscriber.requests) == before + 1
    site.subscriber.respond = lambda _: Reply(204)
    site.clock.advance(days=1)
    await site.deliver()
    assert {each["state"] for each in await caller.log(made, "?limit=200")} == {"delivered"}
    async with site.database.transaction(Scope.every()) as tx:
        (health,) = await tx.rows(text("SELECT failures, failing_since FROM tracking.subscription_health"))
    assert dict(health) == {"failures": 0, "failing_since": None}


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_redirects_are_failures_and_not_followed(site: Site, caller: Caller, status: int) -> None:
    made = await caller.subscribe(site.subscriber.url, ALL_EARNINGS)
    site.subscriber.respond = lambda _: Reply(status, headers={"location": f"{site.subscriber.url}/elsewhere"})
    await site.happen(earning(caller, 1))
    assert await site.deliver() == 1
    assert [each.path for each in site.subscriber.requests] == ["/"]
    (delivery,) = await caller.log(made)
    assert (delivery["state"], delivery["attempts"][0]["status"]) == ("waiting", status)


async def test_an_endpoint_that_never_answers_is_given_up_on(site: Site, caller: Caller) -> None:
    made = await caller.subscribe(site.subscriber.url, ALL_EARNINGS)
    site.subscriber.respond = lambda _: Reply(hang=True)
    await site.happen(earning(caller, 1))
    await deliver_due(site.another_deliverer(timeout_seconds=0.3))
    (delivery,) = await caller.log(made)
    (attempt,) = delivery["attempts"]
    assert (delivery["state"], attempt["status"]) == ("waiting", None)
    assert attempt["error"].startswith("Outgoing call timed out")
    assert attempt["duration_milliseconds"] >= 300


@pytest.mark.parametrize(
    "reply",
    [
        Reply(200, body=b"x" * 5_000_000),
        Reply(200, headers={"content-encoding": "gzip"}, body=b"not read"),
        Reply(200, body=b"x" * 400, drip_seconds=0.02),
    ],
    ids=["huge", "compressed", "dripping"],
)
async def test_a_success_counts_whatever_its_body_is_like(site: Site, caller: Caller, reply: Reply) -> None:
    made = await caller.subscribe(site.subscriber.url, ALL_EARNINGS)
    site.subscriber.respond = lambda _: reply
    await site.happen(earning(caller, 1))
    await deliver_due(site.another_deliverer(timeout_seconds=1.0))
    (delivery,) = await caller.log(made)
    assert delivery["state"] == "delivered"
    assert len(delivery["attempts"][0]["answer"]) <= 500


async def test_a_slow_endpoint_does_not_hold_up_another(site: Site, caller: Caller) -> None:
    async with listening() as slow:
        slow.respond = lambda _: Reply(hang=True)
        await caller.subscribe(slow.url, ALL_PROGRESS)
        await caller.subscribe(site.subscriber.url, ALL_PROGRESS)
        await site.happen(*(progress(caller, 1, goal=uuid4()) for _ in range(40)))
        deliverer = site.another_deliverer(timeout_seconds=10.0, concurrency=8, each=4)
        running = asyncio.create_task(deliverer.run())
        try:

            async def all_told() -> bool:
                return len(site.subscriber.requests) == 40

            await eventually(all_told, expectation="the quick endpoint has been told everything", deadline_seconds=8)
            assert len(slow.requests) == 4
        finally:
            slow.close()
            await deliverer.stop()
            await running


async def test_two_deliverers_send_each_delivery_once_and_a_subject_in_order(site: Site, caller: Caller) -> None:
    await caller.subscribe(site.subscriber.url, [*ALL_EARNINGS, *ALL_PROGRESS])
    await site.happen(*(earning(caller, version) for version in range(1, 21)))
    await site.happen(*(progress(caller, 1, goal=uuid4()) for _ in range(20)))
    deliverers = [site.another_deliverer() for _ in range(3)]
    running = [asyncio.create_task(each.run()) for each in deliverers]

    async def all_told() -> bool:
        return len(site.subscriber.requests) >= 40

    try:
        await eventually(all_told, expectation="everything was told")
    finally:
        for each in deliverers:
            await each.stop()
        await asyncio.gather(*running)
    assert len({each.headers["webhook-id"] for each in site.subscriber.requests}) == len(site.subscriber.requests) == 40
    cells = [each for each in site.subscriber.requests if b"earning" in each.body]
    assert versions(cells) == list(range(1, 21))


async def test_a_subjects_next_version_waits_for_the_one_that_is_under_way(site: Site, caller: Caller) -> None:
    """Another subject's does not."""
    made = await caller.subscribe(site.subscriber.url, [*ALL_EARNINGS, *ALL_PROGRESS])
    site.subscriber.respond = lambda request: Reply(hang=b"earning" in request.body)
    await site.happen(earning(caller, 1), progress(caller, 1))
    running = asyncio.create_task(deliver_due(site.another_deliverer(timeout_seconds=30.0)))

    async def one_is_under_way() -> bool:
        return len(site.subscriber.requests) == 2 and len(await caller.log(made, "?state=delivered")) == 1

    await eventually(one_is_under_way, expectation="the state is delivered and the fact is under way")
    site.clock.advance(seconds=1)
    await site.happen(earning(caller, 2), progress(caller, 2))
    assert await site.deliver() == 1
    assert sorted(versions(site.subscriber.requests)) == [1, 1, 2]
    assert [each["event_version"] for each in await caller.log(made, "?state=waiting")] == [1, 2]
    site.subscriber.respond = lambda _: Reply(204)
    site.subscriber.close()
    await running
    await site.deliver()
    site.clock.advance(seconds=10)
    await site.deliver()
    assert {each["state"] for each in await caller.log(made)} == {"delivered"}


async def test_an_answer_that_comes_after_the_lease_changes_nothing(site: Site, caller: Caller) -> None:
    """By then the delivery is somebody else's, whose attempt is the one that counts."""
    made = await caller.subscribe(site.subscriber.url, ALL_EARNINGS)
    site.subscriber.respond = lambda _: Reply(hang=True)
    await site.happen(earning(caller, 1))
    late = asyncio.create_task(deliver_due(site.another_deliverer(timeout_seconds=30.0)))

    async def asked() -> bool:
        return len(site.subscriber.requests) == 1

    await eventually(asked, expectation="the request is under way")
    site.clock.advance(seconds=61)
    site.subscriber.respond = lambda _: Reply(410)
    assert await site.deliver() == 1
    site.subscriber.close()
    await late
    (delivery,) = await caller.log(made)
    assert (delivery["state"], [each["status"] for each in delivery["attempts"]]) == ("failed", [410])


async def test_what_a_worker_died_over_is_sent_again_under_the_same_id(site: Site, caller: Caller) -> None:
    made = await caller.subscribe(site.subscriber.url, ALL_EARNINGS)
    site.subscriber.respond = lambda _: Reply(hang=True)
    await site.happen(earning(caller, 1))
    dying = site.another_deliverer(timeout_seconds=30.0)
    running = asyncio.create_task(dying.run())

    async def asked() -> bool:
        return len(site.subscriber.requests) == 1

    await eventually(asked, expectation="the request is under way")
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    site.subscriber.respond = lambda _: Reply(204)
    assert await site.deliver() == 0
    site.clock.advance(seconds=61)
    assert await site.deliver() == 1
    assert len({each.headers["webhook-id"] for each in site.subscriber.requests}) == 1
    assert (await caller.log(made))[0]["state"] == "delivered"


@pytest.mark.parametrize("address", ["169.254.169.254", "10.0.0.7", "127.0.0.1", "::ffff:127.0.0.1", "fe80::1"])
async def test_a_name_that_leads_to_a_private_address_is_not_called(site: Site, caller: Caller, address: str) -> None:
    made = await caller.subscribe(f"https://hooks.example.test:{site.subscriber.port}/", ALL_EARNINGS)
    await site.happen(earning(caller, 1))
    await deliver_due(site.another_deliverer(addresses=[address]))
    (delivery,) = await caller.log(made)
    (attempt,) = delivery["attempts"]
    assert (delivery["state"], attempt["status"], attempt["error"]) == (
        "waiting",
        None,
        "Address refused: hooks.example.test leads to an address that may not be called",
    )
    assert site.subscriber.connections == 0


@pytest.mark.parametrize(
    "url",
    [
        "http://hooks.example.com/",
        "https://10.0.0.1/",
        "https://169.254.169.254/",
        "https://user:password@hooks.example.com/",
        "ftp://hooks.example.com/",
        "hooks.example.com",
    ],
)
async def test_a_url_that_may_not_be_called_cannot_be_subscribed(site: Site, caller: Caller, url: str) -> None:
    site.app.state.parts[OutboundSettings] = OutboundSettings(allowed_networks=())
    refused = await caller.ask("POST", "/v1/subscriptions", 422, {"name": "n", "url": url, "events": ALL_EARNINGS})
    assert [field["pointer"] for field in refused["errors"]] == ["/url"]
    made = await caller.subscribe("https://hooks.example.com/", ALL_EARNINGS)
    await caller.ask("PATCH", f"/v1/subscriptions/{made['id']}", 422, {"url": url}, **{"if-match": '"1"'})


@pytest.mark.parametrize(
    ("events", "pointer"),
    [
        ([], "/events"),
        ([{"type": "attain.deal.v1"}], "/events/0/type"),
        ([*ALL_PROGRESS, *ALL_PROGRESS], "/events/1/type"),
        ([{"type": "attain.earning.v1", "filter": {"field": "goal_id", "op": "eq", "value": "x"}}], "/events/0/filter"),
        ([{"type": "attain.progress.v1", "filter": {"field": "value", "op": "gt", "value": 1.5}}], "/events/0/filter"),
    ],
)
async def test_events_that_cannot_be_subscribed_are_refused_with_their_place(
    site: Site, caller: Caller, events: object, pointer: str
) -> None:
    body = {"name": "n", "url": "https://hooks.example.com/", "events": events}
    refused = await caller.ask("POST", "/v1/subscriptions", 422, body)
    assert refused["errors"][0]["pointer"].startswith(pointer)


async def test_while_two_secrets_are_valid_each_delivery_is_signed_with_both(site: Site, caller: Caller) -> None:
    made = await caller.subscribe(site.subscriber.url, ALL_EARNINGS)
    path = f"/v1/subscriptions/{made['id']}"
    rotated = await caller.ask("POST", f"{path}/secrets", 201, {"overlap_seconds": 3600}, **{"if-match": '"1"'})
    assert rotated["secret"] != made["secret"]
    await caller.ask("POST", f"{path}/secrets", 409, {}, **{"if-match": '"2"'})
    await site.happen(earning(caller, 1))
    await site.deliver()
    assert len(site.subscriber.requests[0].headers["webhook-signature"].split(" ")) == 2
    verified(made["secret"], site.subscriber.requests[0])
    verified(rotated["secret"], site.subscriber.requests[0])

    site.clock.advance(seconds=3601)
    await site.happen(earning(caller, 2))
    await site.deliver()
    assert len(site.subscriber.requests[1].headers["webhook-signature"].split(" ")) == 1
    verified(rotated["secret"], site.subscriber.requests[1])


async def test_a_secret_that_is_retired_signs_no_more_and_the_last_one_stays(site: Site, caller: Caller) -> None:
    made = await caller.subscribe(site.subscriber.url, ALL_EARNINGS)
    path = f"/v1/subscriptions/{made['id']}"
    rotated = await caller.ask("POST", f"{path}/secrets", 201, {}, **{"if-match": '"1"'})
    old, new = (secret["id"] for secret in rotated["secrets"])
    await caller.ask("DELETE", f"{path}/secrets/{uuid4()}", 404, **{"if-match": '"2"'})
    await caller.ask("DELETE", f"{path}/secrets/{old}", 200, **{"if-match": '"2"'})
    await caller.ask("DELETE", f"{path}/secrets/{new}", 409, **{"if-match": '"3"'})
    await site.happen(earning(caller, 1))
    await site.deliver()
    verified(rotated["secret"], site.subscriber.requests[0])
    with pytest.raises(AssertionError):
        verified(made["secret"], site.subscriber.requests[0])


async def test_a_secret_is_shown_once_and_stored_sealed(site: Site, caller: Caller) -> None:
    made = await caller.subscribe("https://hooks.example.com/", ALL_EARNINGS)
    assert made["secret"].startswith("whsec_")
    assert len(b64decode(made["secret"].removeprefix("whsec_"))) == 32
    assert "secret" not in await caller.subscription(made)
    async with site.database.transaction(Scope.every()) as tx:
        (row,) = await tx.rows(text("SELECT secrets::text AS secrets FROM tracking.subscriptions"))
    assert made["secret"].removeprefix("whsec_") not in row["secrets"]


async def test_a_paused_subscription_gets_later_what_happened_meanwhile(site: Site, caller: Caller) -> None:
    made = await caller.subscribe(site.subscriber.url, ALL_EARNINGS)
    await caller.set(made, status="paused")
    await site.happen(earning(caller, 1), earning(caller, 2))
    assert await site.deliver() == 0
    await caller.set(made, status="active")
    assert await site.deliver() == 2
    await caller.set(made, status="disabled")
    await site.happen(earning(caller, 3))
    await caller.set(made, status="active")
    assert await site.deliver() == 0


async def test_a_change_is_made_from_the_version_that_is_there(site: Site, caller: Caller) -> None:
    made = await caller.subscribe(f"{site.subscriber.url}/old", ALL_EARNINGS)
    path = f"/v1/subscriptions/{made['id']}"
    await site.happen(earning(caller, 1))
    await caller.set(made, url=f"{site.subscriber.url}/new", name="New", events=ALL_PROGRESS)
    await caller.ask("PATCH", path, 412, {"name": "Lost"}, **{"if-match": '"1"'})
    await caller.ask("PATCH", path, 428, {"name": "Lost"})
    await caller.ask("DELETE", path, 412, **{"if-match": '"1"'})
    await site.happen(earning(caller, 2), progress(caller, 3))
    await site.deliver()
    assert sorted((each.path, *versions([each])) for each in site.subscriber.requests) == [("/new", 1), ("/new", 3)]


async def test_a_deleted_subscription_is_seen_and_served_no_more_and_leaves_nothing(site: Site, caller: Caller) -> None:
    made = await caller.subscribe(site.subscriber.url, ALL_EARNINGS)
    kept = await caller.subscribe(f"{site.subscriber.url}/kept", ALL_EARNINGS)
    await site.happen(*(earning(caller, version) for version in range(1, 4)))
    path = f"/v1/subscriptions/{made['id']}"
    await caller.ask("DELETE", path, 204, **{"if-match": '"1"'})
    await caller.ask("GET", path, 404)
    await caller.ask("GET", f"{path}/deliveries", 404)
    assert [each["id"] for each in (await caller.ask("GET", "/v1/subscriptions", 200))["items"]] == [kept["id"]]
    await site.happen(earning(caller, 4))
    await site.deliver()
    assert {each.path for each in site.subscriber.requests} == {"/kept"}
    await OutgoingRetention(site.database, retention_days=30).drop_due()
    async with site.database.transaction(Scope.every()) as tx:
        for table, column in (
            ("subscriptions", "id"),
            ("subscription_health", "subscription_id"),
            ("subscription_subjects", "subscription_id"),
            ("outgoing_deliveries", "subscription_id"),
        ):
            rows = await tx.rows(text(f"SELECT DISTINCT {column} AS id FROM tracking.{table}"))
            assert [row["id"] for row in rows] == [UUID(kept["id"])], table


async def test_a_test_event_is_sent_whatever_is_subscribed(site: Site) -> None:
    caller = Caller(site, Role.SERVICE)
    nothing = {"field": "component", "op": "eq", "value": "none such"}
    made = await caller.subscribe(site.subscriber.url, [{"type": "attain.earning.v1", "filter": nothing}])
    path = f"/v1/subscriptions/{made['id']}"
    sent = await caller.ask("POST", f"{path}/test", 201)
    assert await site.deliver() == 1
    body = verified(made["secret"], site.subscriber.requests[0])
    assert (body["type"], body["data"]) == ("attain.test.v1", {"subscription_id": made["id"]})
    assert (await caller.ask("GET", f"{path}/deliveries/{sent['id']}", 200))["state"] == "delivered"


async def test_the_log_is_paged_newest_first_and_filtered_by_state(site: Site, caller: Caller) -> None:
    made = await caller.subscribe(site.subscriber.url, ALL_EARNINGS)
    await site.happen(*(earning(caller, version) for version in range(1, 6)))
    await site.deliver()
    site.clock.advance(seconds=1)
    await site.happen(earning(caller, 6))
    path = f"/v1/subscriptions/{made['id']}/deliveries"
    seen: list[int] = []
    cursor = ""
    while True:
        page = await caller.ask("GET", f"{path}?limit=2{cursor}", 200)
        seen += [item["event_version"] for item in page["items"]]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert seen[0] == 6
    assert sorted(seen) == [1, 2, 3, 4, 5, 6]
    assert [each["event_version"] for each in await caller.log(made, "?state=waiting")] == [6]
    assert len(await caller.log(made, "?state=delivered")) == 5


@pytest.mark.parametrize("role", [Role.REP, Role.MANAGER, Role.FINANCE])
async def test_only_who_runs_the_product_may_subscribe(site: Site, role: Role) -> None:
    admin, caller = Caller(site, Role.ADMIN), Caller(site, role)
    made = await admin.subscribe("https://hooks.example.com/", ALL_EARNINGS)
    path = f"/v1/subscriptions/{made['id']}"
    for method, where in (
        ("GET", "/v1/subscriptions"),
        ("GET", path),
        ("DELETE", path),
        ("GET", f"{path}/deliveries"),
        ("POST", f"{path}/test"),
    ):
        await caller.ask(method, where, 403)
    body = {"name": "n", "url": "https://hooks.example.com/", "events": ALL_EARNINGS}
    await caller.ask("POST", "/v1/subscriptions", 403, body)


async def test_a_malformed_event_is_named_and_an_unknown_one_passed_by(site: Site, caller: Caller) -> None:
    made = await caller.subscribe(site.subscriber.url, ALL_EARNINGS)
    good = record(earning(caller, 1), 0, site.clock.now)
    tombstone = good._replace(value=None)
    unknown = good._replace(headers={**good.headers, "ce_type": b"attain.earning.v9"})
    broken = good._replace(value=b'{"version": 1}')
    async with site.database.transaction(Scope.of(caller.tenant)) as tx:
        await site.handler.apply(tx, [tombstone, unknown])
    assert await caller.log(made) == []
    with pytest.raises(Poison) as poisoned:
        async with site.database.transaction(Scope.of(caller.tenant)) as tx:
            await site.handler.apply(tx, [good, broken])
    assert poisoned.value.record is broken
    assert await caller.log(made) == []


async def test_from_the_topics_to_the_subscriber_through_kafka(
    site: Site, caller: Caller, kafka_bootstrap: str
) -> None:
    settings = KafkaSettings(bootstrap=kafka_bootstrap)
    await ensure_topics(settings, TOPICS.values())
    await caller.subscribe(site.subscriber.url, [*ALL_PROGRESS, *ALL_EARNINGS])
    consumer = Consumer(
        settings=settings,
        database=site.database,
        tables=transport,
        outbox=Outbox(transport),
        group=f"test-{uuid4().hex}",
        topics=["attain.progress.v1", "attain.earnings.v1"],
        handler=site.handler,
    )
    producer = Producer(settings, client_id="test")
    await producer.start()
    running = [asyncio.create_task(consumer.run()), asyncio.create_task(site.deliverer.run())]

    async def told() -> bool:
        return len(site.subscriber.requests) >= 3

    try:
        events = [progress(caller, 1), earning(caller, 1), earning(caller, 2)]
        messages = [to_message(each, event_id=uuid4(), source="t", time=site.clock.now) for each in events]
        assert [each for each in await producer.send_many([*messages, *messages]) if each is not None] == []
        await eventually(told, 30, expectation="the site.subscriber was told")
    finally:
        await consumer.stop()
        await site.deliverer.stop()
        await asyncio.gather(*running)
        await producer.stop()
    assert sorted(versions(site.subscriber.requests)) == [1, 1, 2]
