"""Connections, hooks and deliveries over HTTP with real Postgres, and what the inbox makes of them."""

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID, uuid4

import httpx
import pytest
from cryptography.fernet import Fernet
from sqlalchemy import text

from services.tracking.app import create_app
from services.tracking.intake.connections.directory import SenderDirectory
from services.tracking.intake.connections.domain import Sender
from services.tracking.intake.connections.service import Connections
from services.tracking.intake.inbox import intake as intake_module
from services.tracking.intake.inbox import service
from services.tracking.intake.inbox.domain.deliveries import Arrival, InboxFull, WaitingRoom
from services.tracking.intake.inbox.hook_counts import HookCounter
from services.tracking.intake.inbox.hooks import Hooks
from services.tracking.intake.inbox.intake import DeliveriesNotStored, Intake
from services.tracking.intake.inbox.publishing import Publisher
from services.tracking.intake.inbox.work import InboxProcessor
from services.tracking.intake.sources.domain import Source
from services.tracking.metadata import transport
from shared.db.database import Database, Scope
from shared.http.auth import Role
from shared.outbox.handover import HandOver
from shared.outbox.outbox import Outbox
from tests.servers.infrastructure import PROJECT_FOLDER, eventually
from tests.stories.connections import JWT_SECRET, Caller, Tracking, deal, send, signed, translate


@pytest.fixture(scope="module")
async def tracking(module_database: str) -> AsyncIterator[Tracking]:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("ATTAIN_DATABASE_URL", module_database)
        environment.setenv("ATTAIN_JWT_SECRET", JWT_SECRET)
        environment.setenv("ATTAIN_SECRETS_KEY", Fernet.generate_key().decode())
        # As under load: everything waits for the worker, but in the tests of what is translated at once.
        environment.setattr(service, "TRANSLATED_AT_ONCE_MAX", 0)
        app = create_app()
        hooks: Hooks = app.state.parts[Hooks]
        tasks = [asyncio.create_task(hooks.directory.run()), asyncio.create_task(hooks.intake.run())]
        await eventually(lambda: _is_ready(hooks.directory), expectation="the connections are loaded")
        database = Database(module_database, service="tracking")
        yield Tracking(app, database, InboxProcessor(database, Publisher(Outbox(transport))))
        await hooks.intake.stop()
        tasks[0].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await app.state.database.close()
        await database.close()


async def _is_ready(directory: SenderDirectory) -> bool:
    try:
        await directory.ready()
    except Exception:
        return False
    return True


async def test_a_signed_delivery_is_stored_and_becomes_an_event(admin: Caller) -> None:
    connection = await admin.connect(identity_source="crm-eu")
    assert await send(admin, connection, deal(amount="1200.50", currency="USD", owner_external_id="ann")) == 202
    (waiting,) = await admin.deliveries()
    assert waiting["state"] == "received"
    await translate(admin.tracking)
    (stored,) = await admin.deliveries(state="translated")
    (event,) = await admin.published()
    assert str(event.delivery_id) == stored["id"]
    assert stored["deals"] == 1
    assert (event.source, event.external_id, event.amount) == ("crm-eu", "A1", Decimal("1200.50"))
    assert event.received_at == datetime.fromisoformat(str(stored["received_at"]))


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes with few others is translated in the transaction that stores it, however soon after others."""
    monkeypatch.setattr(service, "TRANSLATED_AT_ONCE_MAX", 4)
    monkeypatch.setattr(intake_module, "QUIET_SECONDS", 0.0)


async def test_a_delivery_that_comes_alone_is_an_event_with_the_commit_that_stores_it(
    at_once: None, admin: Caller
) -> None:
    connection = await admin.connect(identity_source="crm-eu")
    assert await send(admin, connection, deal(amount="1200.50", currency="USD"), webhook_id="msg_1") == 202
    (stored,) = await admin.deliveries()
    (event,) = await admin.published()
    assert (stored["state"], stored["deals"], stored["id"]) == ("translated", 1, str(event.delivery_id))
    assert event.received_at == datetime.fromisoformat(str(stored["received_at"]))
    assert (event.source, event.amount) == ("crm-eu", Decimal("1200.50"))

    assert await send(admin, connection, deal(amount="1200.50", currency="USD"), webhook_id="msg_1") == 202
    await translate(admin.tracking)
    assert len(await admin.deliveries()) == len(await admin.published()) == 1


async def test_what_says_nothing_usable_is_in_quarantine_at_once_and_holds_up_no_neighbour(
    at_once: None, admin: Caller
) -> None:
    connection = await admin.connect()
    await asyncio.gather(send(admin, connection, "{", webhook_id="broken"), send(admin, connection, deal()))
    assert len(await admin.deliveries(state="quarantined")) == 1
    assert len(await admin.published()) == 1


@pytest.mark.parametrize(
    "what",
    [
        "a large body",
        "many",
        "one soon after others",
        "one that would not be counted here",
        "a record of which only what changed is told",
    ],
)
async def test_what_takes_longer_is_left_to_the_worker(
    at_once: None, admin: Caller, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = "salesforce" if what.startswith("a record") else "standard_webhooks"
    allowed = {"allowed": {"organization_id": ["00D000000000001EAA"]}} if source == "salesforce" else {}
    connection = await admin.connect(source, **allowed)
    match what:
        case "a large body":
            body = deal(custom={"notes": "x" * service.TRANSLATED_BYTES_MAX})
        case "many":
            body = deal()
            monkeypatch.setattr(service, "TRANSLATED_AT_ONCE_MAX", 0)
        case "one soon after others":
            body = deal()
            await send(admin, connection, body)
            monkeypatch.setattr(intake_module, "QUIET_SECONDS", 3600.0)
        case "one that would not be counted here":
            body = deal()
            monkeypatch.setattr(Publisher, "leaves", lambda _, tenant_ids: admin.tenant in tenant_ids)
        case _:
            body = (PROJECT_FOLDER / "tests/played/samples/salesforce/cdc.json").read_text()
    arrived = Arrival(Sender(admin.tenant, UUID(connection.id), Source(source), ()), uuid4().hex, "{}", body.encode())
    intake: Intake = admin.tracking.app.state.parts[Hooks].intake
    await intake.store(arrived)
    newest, *before = await admin.deliveries()
    assert newest["state"] == "received"
    assert len(await admin.published()) == len(before)
    await translate(admin.tracking)
    newest, *_ = await admin.deliveries()
    assert newest["state"] != "received"


async def test_a_delivery_is_stored_whatever_fails_where_it_is_translated(
    at_once: None, admin: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = await admin.connect()

    async def failing(*_: object) -> None:
        raise ValueError("planted")

    with monkeypatch.context() as planted:
        planted.setattr(service, "_settle", failing)
        assert await send(admin, connection, deal()) == 202
    (stored,) = await admin.deliveries()
    assert stored["state"] == "received"
    await translate(admin.tracking)
    assert len(await admin.published()) == 1


async def test_a_delivery_without_a_declared_length_is_stored_too(admin: Caller) -> None:
    connection = await admin.connect()
    body = deal()

    async def chunks() -> AsyncIterator[bytes]:
        yield body[:10].encode()
        yield body[10:].encode()

    response = await admin.client.post(connection.hook, content=chunks(), headers=signed(connection, body))
    assert response.status_code == 202
    (stored,) = await admin.deliveries()
    detail = (await admin.client.get(f"/v1/deliveries/{stored['id']}")).json()
    assert detail["body"] == body


async def test_a_delivery_sent_again_is_accepted_and_stored_once(admin: Caller) -> None:
    connection = await admin.connect()
    together = await asyncio.gather(*(send(admin, connection, deal(), webhook_id="msg_1") for _ in range(20)))
    assert set(together) == {202}
    assert await send(admin, connection, deal(), webhook_id="msg_1") == 202
    assert len(await admin.deliveries()) == 1
    await translate(admin.tracking)
    assert await send(admin, connection, deal(), webhook_id="msg_1") == 202
    await translate(admin.tracking)
    assert len(await admin.published()) == 1


async def test_the_same_id_on_another_connection_is_another_delivery(admin: Caller) -> None:
    first, second = await admin.connect(), await admin.connect()
    await send(admin, first, deal(), webhook_id="msg_1")
    await send(admin, second, deal(), webhook_id="msg_1")
    assert len(await admin.deliveries()) == 2


async def test_a_forged_delivery_and_an_unknown_connection_look_the_same_and_leave_nothing(admin: Caller) -> None:
    connection = await admin.connect()
    forged = signed(connection, deal(), secret="whsec_" + base64.b64encode(bytes(32)).decode())
    answers = [
        await admin.client.post(path, content=deal(), headers=forged)
        for path in (connection.hook, f"/hooks/{uuid4()}", "/hooks/nonsense")
    ]
    assert [answer.status_code for answer in answers] == [401, 401, 401]
    bodies = [{name: value for name, value in answer.json().items() if name != "request_id"} for answer in answers]
    assert bodies[0] == bodies[1] == bodies[2]
    assert await admin.deliveries() == []


async def test_a_body_over_the_limit_is_refused(admin: Caller) -> None:
    connection = await admin.connect()
    body = deal(name="x" * 1_100_000)
    assert await send(admin, connection, body) == 413


async def test_what_cannot_be_translated_is_quarantined_and_its_neighbours_are_not(admin: Caller) -> None:
    connection = await admin.connect()
    for body in (deal("A1"), "not json", deal("A2"), '{"type": "deal.exploded"}', deal("A3", amount="x")):
        assert await send(admin, connection, body) == 202
    await translate(admin.tracking)
    assert [event.external_id for event in await admin.published()] == ["A1", "A2"]
    quarantined = [item["quarantine"] for item in await admin.deliveries(state="quarantined")]
    assert [(why["reason"], why["pointer"]) for why in quarantined if isinstance(why, dict)] == [
        ("invalid_field", "/data/amount"),
        ("unknown_type", "/type"),
        ("not_json", ""),
    ]


async def test_one_bad_record_of_a_batch_is_quarantined_alone_with_its_reason(admin: Caller) -> None:
    connection = await admin.connect()
    deals = [json.loads(deal(f"A{number}"))["data"] for number in range(4)]
    deals[1] |= {"status": None, "stage": "Signed"}
    deals[2] |= {"amount": "lots"}
    assert await send(admin, connection, json.dumps({"type": "deals.batch", "deals": deals})) == 202
    await translate(admin.tracking)
    assert [event.external_id for event in await admin.published()] == ["A0", "A3"]
    (held,) = await admin.deliveries(state="quarantined")
    problems = [
        {"reason": "stage_unmapped", "pointer": "/deals/1/stage"},
        {"reason": "invalid_field", "pointer": "/deals/2/amount"},
    ]
    quarantine = held["quarantine"]
    assert isinstance(quarantine, dict)
    assert held["deals"] == 2
    assert {name: quarantine[name] for name in ("reason", "pointer")} == problems[0]
    assert [{name: each[name] for name in ("reason", "pointer")} for each in quarantine["problems"]] == problems
    fixed = {"mapping": {"stages": {"Signed": "won"}}}
    assert (await admin.change("PATCH", f"/v1/connections/{connection.id}", 1, fixed)).status_code == 200
    assert (await admin.client.post(f"/v1/deliveries/{held['id']}/replay")).status_code == 202
    await translate(admin.tracking)
    assert {event.external_id for event in await admin.published()} == {"A0", "A1", "A3"}
    (held,) = await admin.deliveries(state="quarantined")
    assert (held["deals"], held["quarantine"]) == (3, {**problems[1], **_kept(held, "detail", "problems")})


def _kept(held: dict[str, object], *names: str) -> dict[str, object]:
    quarantine = held["quarantine"]
    assert isinstance(quarantine, dict)
    return {name: quarantine[name] for name in names}


async def test_a_version_from_the_future_is_ordered_by_when_it_was_received_however_it_is_translated(
    admin: Caller,
) -> None:
    connection = await admin.connect()
    await send(admin, connection, deal(modified_at="2099-01-01T00:00:00Z", amount="1"))
    await translate(admin.tracking)
    now = datetime.now(UTC)
    await send(admin, connection, deal(modified_at=(now + timedelta(minutes=4)).isoformat(), amount="2"))
    await translate(admin.tracking)
    ahead, after = await admin.published()
    assert (ahead.modified_at, ahead.version < after.version) == (ahead.received_at, True)
    assert (after.modified_at, after.corrections) == (now + timedelta(minutes=4), ())
    (correction,) = ahead.corrections
    assert (correction.field, correction.stated, correction.reason) == (
        "/modified_at",
        "2099-01-01T00:00:00Z",
        "future",
    )
    (stored,) = [each for each in await admin.deliveries() if each["remarks"]]
    assert [each["kind"] for each in stored["remarks"]] == ["from_the_future"]  # type: ignore[attr-defined]
    assert (await admin.client.post(f"/v1/deliveries/{stored['id']}/replay")).status_code == 202
    await translate(admin.tracking)
    *_, copy = await admin.published()
    assert (copy.amount, copy.modified_at, copy.version < after.version) == (Decimal(1), ahead.modified_at, True)


async def test_what_is_not_about_deals_is_told_apart_from_what_is_not_understood(admin: Caller) -> None:
    connection = await admin.connect("pipedrive", secret="attain:a-password-long-enough")
    credentials = httpx.BasicAuth("attain", "a-password-long-enough")
    for entity in ("person", "gadget"):
        meta = {"entity": entity, "action": "change", "id": entity, "timestamp": "2026-03-31T18:40:02Z"}
        body = json.dumps({"meta": meta, "data": {"id": 1}, "previous": None})
        assert (await admin.client.post(connection.hook, content=body, auth=credentials)).status_code == 200
    await translate(admin.tracking)
    (held,) = await admin.deliveries(state="quarantined")
    (passed_over,) = await admin.deliveries(state="translated")
    assert (passed_over["not_counted"], passed_over["deals"], passed_over["quarantine"]) == ("person", 0, None)
    quarantine = held["quarantine"]
    assert isinstance(quarantine, dict)
    assert (held["not_counted"], quarantine["reason"], quarantine["pointer"]) == (None, "unknown_type", "/meta/entity")


async def test_misspelt_members_are_told_in_the_delivery_and_the_deal_is_taken(admin: Caller) -> None:
    connection = await admin.connect()
    body = deal(owner="ann")
    under_other_names = {name.replace("webhook-", "svix-"): value for name, value in signed(connection, body).items()}
    assert (await admin.client.post(connection.hook, content=body, headers=under_other_names)).status_code == 202
    await translate(admin.tracking)
    (stored,) = await admin.deliveries(state="translated")
    assert (stored["deals"], len(await admin.published())) == (1, 1)
    assert stored["remarks"] == [
        {
            "kind": "unknown_member",
            "pointer": "/data/owner",
            "detail": "is not read: no such member; did you mean owner_external_id?",
        }
    ]


async def test_an_activity_from_the_future_is_ordered_by_when_it_was_received(admin: Caller) -> None:
    connection = await admin.connect()
    call = {"external_id": "9031", "modified_at": "2099-03-31T18:40:02Z", "type": "call"}
    await send(admin, connection, json.dumps({"type": "activity.upserted", "data": call}))
    await translate(admin.tracking)
    (activity,) = await admin.activities_published()
    assert activity.modified_at == activity.received_at
    assert [each.reason for each in activity.corrections] == ["future"]


async def test_after_the_mapping_is_fixed_a_quarantined_delivery_is_replayed(admin: Caller) -> None:
    connection = await admin.connect()
    await send(admin, connection, deal(status=None, stage="Signed"))
    await translate(admin.tracking)
    (held,) = await admin.deliveries(state="quarantined")
    fixed = {"mapping": {"stages": {"Signed": "won"}}}
    tried = (await admin.client.post(f"/v1/deliveries/{held['id']}/preview", json=fixed)).json()
    assert (tried["deals"][0]["status"], tried["quarantine"]) == ("won", None)
    unfixed = (await admin.client.post(f"/v1/deliveries/{held['id']}/preview", json={})).json()
    assert unfixed["quarantine"]["reason"] == "stage_unmapped"
    assert (await admin.change("PATCH", f"/v1/connections/{connection.id}", 1, fixed)).status_code == 200
    replayed = await admin.client.post(f"/v1/deliveries/{held['id']}/replay")
    assert (replayed.status_code, replayed.json()["state"]) == (202, "received")
    await translate(admin.tracking)
    (event,) = await admin.published()
    assert (event.status.value, str(event.delivery_id)) == ("won", held["id"])


async def test_a_preview_shows_activities_too(admin: Caller) -> None:
    connection = await admin.connect()
    call = {"external_id": "9031", "modified_at": "2026-03-31T18:40:02Z", "type": "call", "owner_external_id": "7"}
    await send(admin, connection, json.dumps({"type": "activity.upserted", "data": call}))
    await translate(admin.tracking)
    (stored,) = await admin.deliveries()
    mapping = {"mapping": {"users": {"7": "ann"}}}
    tried = (await admin.client.post(f"/v1/deliveries/{stored['id']}/preview", json=mapping)).json()
    assert (tried["deals"], tried["quarantine"]) == ([], None)
    assert [(each["external_id"], each["owner_external_id"]) for each in tried["activities"]] == [("9031", "ann")]


async def test_everything_in_quarantine_is_replayed_at_once(admin: Caller) -> None:
    connection, other = await admin.connect(), await admin.connect()
    for number in range(3):
        await send(admin, connection, deal(f"A{number}", status=None, stage="Signed"))
    await send(admin, other, "not json")
    await translate(admin.tracking)
    await admin.change("PATCH", f"/v1/connections/{connection.id}", 1, {"mapping": {"stages": {"Signed": "won"}}})
    answer = await admin.client.post("/v1/deliveries/replay", json={"connection_id": connection.id})
    assert (answer.status_code, answer.json()) == (202, {"deliveries": 3})
    await translate(admin.tracking)
    assert len(await admin.published()) == 3
    assert len(await admin.deliveries(state="quarantined")) == 1


async def test_a_translated_delivery_is_replayed_as_a_newer_version(admin: Caller) -> None:
    connection = await admin.connect()
    await send(admin, connection, deal(status="open", stage="Signed"))
    await translate(admin.tracking)
    (stored,) = await admin.deliveries()
    await admin.change("PATCH", f"/v1/connections/{connection.id}", 1, {"mapping": {"stages": {"Signed": "won"}}})
    copy = (await admin.client.post(f"/v1/deliveries/{stored['id']}/replay")).json()
    assert copy["replay_of"] == stored["id"]
    again = await admin.client.post(f"/v1/deliveries/{copy['id']}/replay")
    assert (again.status_code, again.json()["code"]) == (409, "delivery_waiting")
    await translate(admin.tracking)
    before, after = await admin.published()
    assert (before.status.value, after.status.value) == ("open", "won")
    assert before.version < after.version


async def test_both_secrets_work_while_rotating_and_only_the_new_one_after(admin: Caller) -> None:
    connection = await admin.connect()
    secrets = f"/v1/connections/{connection.id}/secrets"
    rotated = (await admin.change("POST", secrets, 1, {"overlap_seconds": 3600})).json()
    old, new = rotated["secrets"][0]["id"], rotated["secret"]
    assert await send(admin, connection, deal()) == 202
    assert await send(admin, connection, deal(), secret=new) == 202
    third = await admin.change("POST", secrets, 2, {})
    assert (third.status_code, third.json()["code"]) == (409, "rotation_under_way")
    assert (await admin.change("DELETE", f"{secrets}/{old}", 2)).status_code == 200
    assert await send(admin, connection, deal()) == 401
    assert await send(admin, connection, deal(), secret=new) == 202
    shown = (await admin.client.get(f"/v1/connections/{connection.id}")).json()
    assert "secret" not in shown
    assert [secret["id"] for secret in shown["secrets"]] == [rotated["secrets"][1]["id"]]


async def test_secrets_do_not_stand_readable_in_the_database(admin: Caller) -> None:
    connection = await admin.connect()
    async with admin.tracking.database.transaction(Scope.of(admin.tenant)) as tx:
        (row,) = await tx.rows(text("SELECT secrets::text AS secrets FROM tracking.connections"))
    assert connection.secret not in row["secrets"]
    assert connection.secret.removeprefix("whsec_") not in row["secrets"]


async def test_an_answer_with_a_secret_is_repeated_and_does_not_stand_readable_in_the_database(admin: Caller) -> None:
    request = {"source": "standard_webhooks", "name": "CRM"}
    headers = {"idempotency-key": uuid4().hex}
    first, again = [await admin.client.post("/v1/connections", json=request, headers=headers) for _ in range(2)]
    assert again.headers["idempotent-replayed"] == "true"
    assert again.json() == first.json()
    async with admin.tracking.database.transaction(Scope.of(admin.tenant)) as tx:
        (row,) = await tx.rows(text("SELECT response_body FROM tracking.idempotency_keys"))
    assert first.json()["secret"].encode() not in row["response_body"]


async def test_another_process_hears_of_a_new_connection(admin: Caller) -> None:
    elsewhere = SenderDirectory(admin.tracking.database, admin.tracking.app.state.parts[Connections])
    following = asyncio.create_task(elsewhere.run())
    await eventually(lambda: _is_ready(elsewhere))
    connection = await admin.connect()
    await eventually(lambda: elsewhere.find(connection.id) is not None, 5, expectation="the connection is heard of")
    await admin.change("PATCH", f"/v1/connections/{connection.id}", 1, {"status": "disabled"})
    await eventually(lambda: elsewhere.find(connection.id) is None, 5, expectation="the connection is forgotten")
    following.cancel()


async def test_a_disabled_connection_takes_nothing(admin: Caller) -> None:
    connection = await admin.connect()
    await admin.change("PATCH", f"/v1/connections/{connection.id}", 1, {"status": "disabled"})
    assert await send(admin, connection, deal()) == 401


async def test_pipedrive_is_answered_with_200_and_understood(admin: Caller) -> None:
    connection = await admin.connect("pipedrive")
    event = {
        "meta": {"action": "create", "entity": "deal", "id": "1", "timestamp": "2026-03-31T18:40:02.754Z"},
        "data": {"id": 746, "value": 60000, "currency": "EUR", "status": "open", "update_time": "2026-03-31T18:40:02Z"},
        "previous": None,
    }
    authorization = "Basic " + base64.b64encode(connection.secret.encode()).decode()
    for _ in range(2):
        response = await admin.client.post(connection.hook, json=event, headers={"authorization": authorization})
        assert response.status_code == 200
    await translate(admin.tracking)
    (published,) = await admin.published()
    assert (published.external_id, published.source) == ("746", "pipedrive")
    (stored,) = await admin.deliveries()
    headers = (await admin.client.get(f"/v1/deliveries/{stored['id']}")).json()["headers"]
    assert "authorization" not in headers


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"source": "siebel", "name": "x"}, "/source"),
        ({"source": "pipedrive", "name": ""}, "/name"),
        ({"source": "pipedrive", "name": "a\nb"}, "/name"),
        ({"source": "pipedrive", "name": "x", "secret": "short:pw"}, "/secret"),
        (
            {"source": "pipedrive", "name": "x", "mapping": {"fields": {"external_id": "id"}}},
            "/mapping/fields/external_id",
        ),
        ({"source": "pipedrive", "name": "x", "mapping": {"stages": {"5": "closed"}}}, "/mapping/stages/5"),
    ],
)
async def test_a_connection_that_cannot_work_is_refused(admin: Caller, body: object, pointer: str) -> None:
    response = await admin.client.post("/v1/connections", json=body)
    assert response.status_code == 422
    assert response.json()["errors"][0]["pointer"] == pointer


async def test_a_change_made_from_an_old_version_loses(admin: Caller) -> None:
    connection = await admin.connect()
    path = f"/v1/connections/{connection.id}"
    assert (await admin.change("PATCH", path, 1, {"name": "New"})).headers["etag"].startswith('"2.')
    lost = await admin.change("PATCH", path, 1, {"name": "Newer"})
    assert (lost.status_code, lost.json()["code"]) == (412, "version_mismatch")
    assert (await admin.client.patch(path, json={"name": "Newer"})).status_code == 428
    for versions, status in (('"1", "3"', 412), ('"1", "2"', 200), ("*", 200)):
        changed = await admin.client.patch(path, json={"name": "Newest"}, headers={"if-match": versions})
        assert changed.status_code == status, versions


async def test_another_tenant_sees_neither_connection_nor_delivery(admin: Caller) -> None:
    connection = await admin.connect()
    await send(admin, connection, deal())
    (stored,) = await admin.deliveries()
    stranger = Caller(admin.tracking, Role.ADMIN)
    assert (await stranger.client.get(f"/v1/connections/{connection.id}")).status_code == 404
    assert (await stranger.client.get(f"/v1/deliveries/{stored['id']}")).status_code == 404
    assert (await stranger.client.post(f"/v1/deliveries/{stored['id']}/replay")).status_code == 404
    assert await stranger.deliveries() == []


@pytest.mark.parametrize("role", [Role.REP, Role.MANAGER, Role.FINANCE])
async def test_only_operators_see_connections_and_deliveries(tracking: Tracking, role: Role) -> None:
    caller = Caller(tracking, role)
    assert (await caller.client.get("/v1/connections")).status_code == 403
    assert (await caller.client.get("/v1/deliveries")).status_code == 403


async def test_two_processors_share_the_work_and_publish_once(admin: Caller) -> None:
    connection = await admin.connect()
    await asyncio.gather(*(send(admin, connection, deal(f"A{number}")) for number in range(60)))
    other = InboxProcessor(admin.tracking.database, Publisher(Outbox(transport)))

    async def drain(processor: InboxProcessor) -> None:
        while await processor.translate_once():
            pass

    await asyncio.gather(drain(admin.tracking.processor), drain(other))
    await translate(admin.tracking)
    assert sorted(event.external_id for event in await admin.published()) == sorted(f"A{n}" for n in range(60))


class Waker:
    """Stands for the relay of the process."""

    name = "waker"

    def __init__(self) -> None:
        self.handover: HandOver | None = None
        self.woken = asyncio.Event()

    def wake(self) -> None:
        self.woken.set()

    def wake_patient(self) -> None:
        self.wake()


async def test_the_processor_is_woken_by_a_delivery(admin: Caller) -> None:
    connection = await admin.connect()
    woken = Waker()
    processor = InboxProcessor(admin.tracking.database, Publisher(Outbox(transport, relay=woken)))
    running = asyncio.create_task(processor.run())
    await send(admin, connection, deal())
    await asyncio.wait_for(woken.woken.wait(), 10)
    await processor.stop()
    await running
    assert len(await admin.published()) == 1


def arrival(key: str, *, size_bytes: int = 10) -> Arrival:
    sender = Sender(UUID(int=1), UUID(int=2), Source.STANDARD_WEBHOOKS, ())
    return Arrival(sender, key, "{}", b"x" * size_bytes)


async def test_when_the_inbox_is_full_the_sender_is_told_to_come_back(tracking: Tracking) -> None:
    intake = Intake(
        tracking.database,
        Publisher(Outbox(transport)),
        HookCounter(tracking.database),
        room=WaitingRoom(waiting_max=1),
    )
    running = asyncio.create_task(intake.run())
    await asyncio.sleep(0)
    first = asyncio.create_task(intake.store(arrival(f"full-{uuid4()}")))
    await asyncio.sleep(0)
    with pytest.raises(InboxFull) as refused:
        await intake.store(arrival("full-2"))
    assert refused.value.retry_after_seconds == 1
    await intake.stop()
    await running
    await first


async def test_what_waits_at_the_stop_is_stored(tracking: Tracking) -> None:
    intake = Intake(tracking.database, Publisher(Outbox(transport)), HookCounter(tracking.database))
    running = asyncio.create_task(intake.run())
    await asyncio.sleep(0)
    waiting = [asyncio.create_task(intake.store(arrival(f"stop-{uuid4()}"))) for _ in range(5)]
    await asyncio.sleep(0)
    await intake.stop()
    await running
    await asyncio.gather(*waiting)


async def test_an_intake_that_is_not_running_refuses_at_once_instead_of_leaving_senders_waiting(
    tracking: Tracking,
) -> None:
    intake = Intake(tracking.database, Publisher(Outbox(transport)), HookCounter(tracking.database))
    with pytest.raises(DeliveriesNotStored):
        await asyncio.wait_for(intake.store(arrival("early")), 1)
    running = asyncio.create_task(intake.run())
    await asyncio.sleep(0)
    await intake.store(arrival(f"in-time-{uuid4()}"))
    cut_short = asyncio.create_task(intake.store(arrival(f"cut-{uuid4()}")))
    await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(DeliveriesNotStored):
        await asyncio.wait_for(cut_short, 5)
    with pytest.raises(DeliveriesNotStored):
        await asyncio.wait_for(intake.store(arrival("late")), 1)


async def test_readers_that_hold_every_connection_of_theirs_stand_before_no_webhook(admin: Caller) -> None:
    connection = await admin.connect()
    async with AsyncExitStack() as holding, asyncio.TaskGroup() as waiting:
        for _ in range(5):
            await holding.enter_async_context(admin.tracking.app.state.database.transaction(Scope.of(admin.tenant)))
        readers = [waiting.create_task(admin.client.get("/v1/deliveries")) for _ in range(20)]
        await asyncio.sleep(0.1)
        assert not any(reader.done() for reader in readers)
        async with asyncio.timeout(5):
            assert await send(admin, connection, deal()) == 202
        await holding.aclose()
    assert {reader.result().status_code for reader in readers} == {200}


async def test_without_a_database_the_sender_is_told_soon_and_nothing_is_held(module_database: str) -> None:
    async with AsyncExitStack() as closing:
        away = Database("postgresql://nobody@127.0.0.1:1/nowhere", service="tracking")
        closing.push_async_callback(away.close)
        intake = Intake(away, Publisher(Outbox(transport)), HookCounter(away), room=WaitingRoom(waiting_max=1))
        running = asyncio.create_task(intake.run())
        started = time.monotonic()
        for _ in range(2):
            with pytest.raises(DeliveriesNotStored):
                await intake.store(arrival("x"))
        assert time.monotonic() - started < 10
        await intake.stop()
        await running
