"""What a saved mapping changes of deliveries that were translated before it, with real Postgres."""

import json
import random
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from sqlalchemy import text

from services.tracking.intake.inbox import retranslation
from services.tracking.intake.inbox.publishing import Publisher
from services.tracking.intake.inbox.retranslation_store import RetranslationState
from services.tracking.intake.inbox.work import Retranslator
from shared.db.database import Database, Scope, Transaction
from tests.played.salesforce import ORGANIZATION
from tests.stories.connections import (
    OUTBOX,
    Caller,
    Tracking,
    arrive,
    deal,
    newest,
    record,
    remap,
    save,
    send,
    settle,
    statuses,
    translate,
    versions,
    work,
    work_of,
)

SETTLED = timedelta(seconds=16)
OPEN = {"IsClosed": False, "IsWon": False, "CloseDate": "2026-03-31", "CreatedDate": "2026-01-05T09:12:44Z"}


@pytest.fixture
async def later(module_database: str) -> AsyncIterator[Database]:
    """The database as it is met when what was under way has settled."""
    database = Database(module_database, service="tracking", clock=lambda: datetime.now(UTC) + SETTLED)
    yield database
    await database.close()


async def test_a_saved_mapping_changes_the_deals_it_is_about_and_no_other(admin: Caller) -> None:
    connection = await admin.connect()
    for name, stage in (("A", "Signed"), ("B", "Signed"), ("C", "Talking")):
        await send(admin, connection, deal(name, status="open", stage=stage, amount="10.50", custom={"x": "y"}))
    await settle(admin.tracking)
    await remap(admin, connection, 1, stages={"Signed": "won"})
    assert await statuses(admin) == {"A": "won", "B": "won", "C": "open"}
    assert await versions(admin) == {"A": 2, "B": 2, "C": 1}
    done = await work_of(admin, connection)
    assert (done.state, done.total, done.done, done.changed) == (RetranslationState.SETTLING, 3, 3, 2)


async def test_saving_the_same_mapping_again_changes_nothing(admin: Caller, later: Database) -> None:
    connection = await admin.connect()
    splits = [{"owner_external_id": "ann", "percent": "60"}, {"owner_external_id": "ben", "percent": "40"}]
    products = [{"sku": "X", "quantity": "2", "amount": "5.00"}]
    payments = [{"paid_on": "2026-04-01", "amount": "3"}]
    body = deal(splits=splits, products=products, payments=payments, probability="12.5", closed_on="2026-03-31")
    await arrive(admin, connection, body)
    await save(admin, connection, 1)
    await work(admin.tracking.database)
    await work(later)
    await settle(admin.tracking)
    assert await versions(admin) == {"A1": 1}
    done = await work_of(admin, connection)
    assert (done.state, done.changed) == (RetranslationState.DONE, 0)


async def test_what_a_mapping_cures_comes_out_of_quarantine_and_the_rest_stays(admin: Caller) -> None:
    connection = await admin.connect()
    for name in ("A", "B"):
        await send(admin, connection, deal(name, status=None, stage="Signed"))
    await arrive(admin, connection, deal("C", status=None, stage="Lost it"), "not json")
    await remap(admin, connection, 1, stages={"Signed": "won"})
    assert await statuses(admin) == {"A": "won", "B": "won"}
    reasons = [item["quarantine"] for item in await admin.deliveries(state="quarantined")]
    assert [why["reason"] for why in reasons if isinstance(why, dict)] == ["not_json", "stage_unmapped"]
    await work(admin.tracking.database)
    assert (await work_of(admin, connection)).received_again == 3


async def test_of_two_mappings_saved_one_after_the_other_the_second_is_applied(admin: Caller) -> None:
    connection = await admin.connect()
    await arrive(admin, connection, deal(status="open", stage="Signed"))
    await save(admin, connection, 1, stages={"Signed": "won"})
    await Retranslator(admin.tracking.database, Publisher(OUTBOX)).step_once()
    await remap(admin, connection, 2, stages={"Signed": "lost"})
    assert await statuses(admin) == {"A1": "lost"}
    assert await versions(admin) == {"A1": 2}


async def test_a_mapping_taken_back_while_its_work_is_under_way_leaves_nothing_of_it(
    admin: Caller, later: Database
) -> None:
    connection = await admin.connect()
    await arrive(admin, connection, deal(status="open", stage="Signed"))
    await save(admin, connection, 1, stages={"Signed": "won"})
    await work(admin.tracking.database)
    await translate(admin.tracking)
    await save(admin, connection, 2)
    await work(admin.tracking.database)
    assert await statuses(admin) == {"A1": "open"}, "the copy under the first mapping is not recorded yet"
    await record(admin.tracking)
    assert await statuses(admin) == {"A1": "won"}
    await work(later)
    await settle(admin.tracking)
    assert await statuses(admin) == {"A1": "open"}


async def test_a_delivery_that_was_translated_but_not_recorded_when_the_mapping_was_saved_is_not_left_behind(
    admin: Caller, later: Database
) -> None:
    connection = await admin.connect()
    await send(admin, connection, deal(status="open", stage="Signed"))
    await translate(admin.tracking)
    await save(admin, connection, 1, stages={"Signed": "won"})
    await work(admin.tracking.database)
    await work(later)
    await settle(admin.tracking)
    assert await statuses(admin) == {"A1": "won"}
    assert (await work_of(admin, connection)).state is RetranslationState.DONE


HELD = 12
"""More than two of the short steps walk through."""


@pytest.fixture
def short_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retranslation, "_CHUNK_DELIVERIES", 5)


@pytest.mark.parametrize(
    ("told", "mapping", "steps", "member", "value"),
    [
        ({"owner_external_id": "u7"}, {"users": {"u7": "ann"}}, 1, "owner_external_id", "ann"),
        (
            {"splits": [{"owner_external_id": "u7", "percent": "100"}]},
            {"users": {"u7": "ann"}},
            1,
            "splits",
            "ann",
        ),
        ({"currency": None}, {"currency": "EUR"}, 1, "currency", "EUR"),
        ({"owner_external_id": None}, {"fields": {"owner_external_id": "region"}}, 1, "owner_external_id", "EMEA"),
        ({"status": None, "stage": "Signed"}, {"stages": {"Signed": "won"}}, 1, "status", "won"),
        ({"status": "open", "stage": "Signed"}, {"stages": {"Signed": "won"}}, 3, "status", "won"),
        ({"pipeline": "7"}, {"pipelines": {"7": "New"}}, 3, "pipeline", "New"),
    ],
    ids=["owner", "split", "currency", "field", "quarantined stage", "held stage", "pipeline"],
)
@pytest.mark.usefixtures("short_steps")
async def test_what_a_mapping_is_about_is_translated_before_what_is_held_and_what_comes(
    tracking: Tracking,
    admin: Caller,
    told: dict[str, object],
    mapping: dict[str, object],
    steps: int,
    member: str,
    value: str,
) -> None:
    """In the first step what an index or the quarantine tells; a stage and a pipeline once all are queued."""
    connection = await admin.connect()
    won = {"status": "won", "closed_on": "2026-03-31", "amount": "1", "currency": "USD", "region": "EMEA"}
    for number in range(HELD):
        await send(admin, connection, deal(f"A{number:02}", **{**won, "owner_external_id": "ben"}))
    await send(admin, connection, deal("Z", **{**won, "owner_external_id": "ben", **told}))
    await settle(tracking)
    for number in range(5):
        await send(admin, connection, deal(f"B{number:02}", **won))
    await save(admin, connection, 1, **mapping)
    retranslator = Retranslator(tracking.database, Publisher(OUTBOX))
    for _ in range(steps):
        await retranslator.step_once()
    await record(tracking)
    (touched,) = [event for event in await newest(admin) if event.external_id == "Z"]
    said = touched.splits[0].owner_external_id if member == "splits" else getattr(touched, member)
    assert said == value, "without the processor of what comes, which has not run"
    await work(tracking.database)
    await settle(tracking)
    done = await work_of(admin, connection)
    assert done.total == done.done
    assert (await versions(admin))["Z"] <= 2


@pytest.mark.usefixtures("short_steps")
async def test_work_on_what_a_mapping_is_about_comes_before_the_rest_of_another_connections_walk(admin: Caller) -> None:
    busy, repaired = await admin.connect(), await admin.connect()
    for number in range(HELD):
        await send(admin, busy, deal(f"A{number:02}", status="open"))
    await arrive(admin, repaired, deal("Z", owner_external_id="u7"))
    await save(admin, busy, 1, users={"u8": "ben"})
    retranslator = Retranslator(admin.tracking.database, Publisher(OUTBOX))
    for _ in range(3):
        await retranslator.step_once()
    await save(admin, repaired, 1, users={"u7": "ann"})
    await retranslator.step_once()
    await record(admin.tracking)
    assert [each.owner_external_id for each in await newest(admin) if each.external_id == "Z"] == ["ann"]
    assert (await work_of(admin, busy)).state is RetranslationState.RUNNING
    await work(admin.tracking.database)


@pytest.mark.usefixtures("short_steps")
async def test_of_repairs_that_follow_each_other_at_once_none_waits_for_the_walk_of_all(admin: Caller) -> None:
    connection = await admin.connect()
    for number in range(HELD):
        await send(admin, connection, deal(f"A{number:02}", owner_external_id="ben"))
    for user in ("u7", "u8"):
        await send(admin, connection, deal(user, owner_external_id=user))
    await settle(admin.tracking)
    await save(admin, connection, 1, users={"u7": "ann"})
    await save(admin, connection, 2, users={"u7": "ann", "u8": "eve"})
    await Retranslator(admin.tracking.database, Publisher(OUTBOX)).step_once()
    await record(admin.tracking)
    owners = {each.external_id: each.owner_external_id for each in await newest(admin)}
    assert (owners["u7"], owners["u8"]) == ("ann", "eve")
    await work(admin.tracking.database)


async def test_work_that_was_cut_off_is_done_once(admin: Caller) -> None:
    connection = await admin.connect()
    for number in range(150):
        await send(admin, connection, deal(f"A{number:02}", status="open", stage="Signed"))
    await settle(admin.tracking)
    await save(admin, connection, 1, stages={"Signed": "won"})

    async def killed(tx: Transaction) -> None:
        await retranslation.step(tx, Publisher(OUTBOX))
        raise ConnectionAbortedError

    for _ in range(3):
        with pytest.raises(ConnectionAbortedError):
            await admin.tracking.database.run(Scope.every(), killed)
        await Retranslator(admin.tracking.database, Publisher(OUTBOX)).step_once()
    await work(admin.tracking.database)
    await settle(admin.tracking)
    assert set((await statuses(admin)).values()) == {"won"}
    assert set((await versions(admin)).values()) == {2}
    done = await work_of(admin, connection)
    assert (done.total, done.done, done.changed) == (150, 150, 150)


async def test_a_delivery_the_mapping_cannot_translate_keeps_its_deal_and_is_counted(admin: Caller) -> None:
    connection = await admin.connect()
    await arrive(admin, connection, deal(status="won", region="EMEA", name="x"))
    await remap(admin, connection, 1, fields={"amount": "region"})
    assert await versions(admin) == {"A1": 1}
    done = await work_of(admin, connection)
    assert (done.changed, done.untranslatable) == (0, 1)


async def test_a_delivery_whose_body_is_gone_keeps_its_deal_and_is_counted(admin: Caller) -> None:
    connection = await admin.connect()
    await arrive(admin, connection, deal(status="open", stage="Signed"))
    async with admin.tracking.database.transaction(Scope.of(admin.tenant)) as tx:
        await tx.execute(text("DELETE FROM tracking.delivery_bodies"))
    await save(admin, connection, 1, stages={"Signed": "won"})
    await work(admin.tracking.database)
    assert await statuses(admin) == {"A1": "open"}
    assert (await work_of(admin, connection)).dropped == 1


async def test_a_deal_that_a_later_delivery_changed_is_taken_from_that_one(admin: Caller) -> None:
    connection = await admin.connect()
    deals = [json.loads(deal(name, status="open", stage="Signed", amount="1"))["data"] for name in ("A", "B")]
    await arrive(
        admin,
        connection,
        json.dumps({"type": "deals.batch", "deals": deals}),
        deal("A", status="open", stage="Signed", amount="2"),
    )
    await remap(admin, connection, 1, stages={"Signed": "won"})
    assert await statuses(admin) == {"A": "won", "B": "won"}
    (event,) = [each for each in await newest(admin) if each.external_id == "A"]
    assert (event.status.value, event.amount) == ("won", Decimal(2))


async def test_replaying_one_of_two_deliveries_of_the_same_time_does_not_bring_its_state_back(admin: Caller) -> None:
    connection = await admin.connect()
    await send(admin, connection, deal(status="open", amount="1"), webhook_id="first")
    await send(admin, connection, deal(status="won", amount="2"), webhook_id="second")
    await settle(admin.tracking)
    second, first = await admin.deliveries()
    for replayed in (first, second, first):
        assert (await admin.client.post(f"/v1/deliveries/{replayed['id']}/replay")).status_code == 202
        await settle(admin.tracking)
        (event,) = await newest(admin)
        assert (event.status.value, event.amount) == ("won", Decimal(2))


async def test_copies_that_left_everything_out_are_not_copied_by_every_mapping_saved_after(
    admin: Caller, module_database: str
) -> None:
    connection = await admin.connect()
    await send(admin, connection, deal(status="open"), webhook_id="first")
    await send(admin, connection, deal(status="won"), webhook_id="second")
    await settle(admin.tracking)
    _, first = await admin.deliveries()
    await admin.client.post(f"/v1/deliveries/{first['id']}/replay")
    await settle(admin.tracking)
    for version in (1, 2, 3):
        await save(admin, connection, version)
        await work(admin.tracking.database)
        settled = Database(module_database, service="tracking", clock=lambda: datetime.now(UTC) + SETTLED)
        await work(settled)
        await settled.close()
        await settle(admin.tracking)
    assert len(await admin.deliveries()) == 3


async def test_an_activity_is_translated_once_more_where_its_owner_goes_by_another_name(admin: Caller) -> None:
    connection = await admin.connect()
    for name, owner in (("A", "u1"), ("B", "u2")):
        data = {
            "external_id": name,
            "modified_at": "2026-03-31T18:40:02Z",
            "type": "call",
            "owner_external_id": owner,
            "occurred_at": "2026-03-31T18:00:00Z",
        }
        await send(admin, connection, json.dumps({"type": "activity.upserted", "data": data}))
    await settle(admin.tracking)
    await remap(admin, connection, 1, users={"u1": "ann"})
    async with admin.tracking.database.transaction(Scope.of(admin.tenant)) as tx:
        rows = await tx.rows(text("SELECT external_id, owner_external_id AS owner FROM tracking.activities"))
    assert {row["external_id"]: row["owner"] for row in rows} == {"A": "ann", "B": "u2"}
    assert (await work_of(admin, connection)).changed == 1


async def test_deals_put_together_from_changes_are_told_once_more_as_they_are_now(admin: Caller) -> None:
    connection = await admin.connect("salesforce", allowed={"organization_id": [ORGANIZATION]})

    async def change(kind: str, sequence: int, **fields: object) -> None:
        header = {
            "entityName": "Opportunity",
            "recordIds": ["0060800000AbCdEAAV"],
            "changeType": kind,
            "transactionKey": f"0004a7c8-{sequence}",
            "sequenceNumber": 1,
            "commitTimestamp": 1774982402000 + sequence,
            "changedFields": sorted(fields),
            "nulledFields": [],
        }
        body = {"payload": {"ChangeEventHeader": header, **fields}}
        bearer = {"authorization": f"Bearer {connection.secret}"}
        assert (await admin.client.post(connection.hook, json=body, headers=bearer)).status_code == 200

    await change("CREATE", 1, Name="Acme", StageName="Signed", Amount=10, OwnerId="00508000004abcdAAA", **OPEN)
    await change("UPDATE", 2, Amount=20)
    await settle(admin.tracking)
    assert [(each.status.value, each.amount) for each in await newest(admin)] == [("open", Decimal(20))]
    await remap(admin, connection, 1, stages={"Signed": "won"})
    assert [(each.status.value, each.amount) for each in await newest(admin)] == [("won", Decimal(20))]
    assert (await work_of(admin, connection)).changed == 1
    await remap(admin, connection, 2, stages={"Signed": "won"})
    assert (await work_of(admin, connection)).changed == 0


async def test_a_delivery_on_its_way_is_not_overtaken_by_a_copy_of_an_older_one_of_the_same_time(
    admin: Caller, later: Database
) -> None:
    connection = await admin.connect()
    await arrive(admin, connection, deal(status="open", stage="Signed", amount="1"))
    await send(admin, connection, deal(status="open", stage="Signed", amount="2"))
    await remap(admin, connection, 1, stages={"Signed": "won"})
    await work(later)
    await settle(admin.tracking)
    assert [(each.status.value, each.amount) for each in await newest(admin)] == [("won", Decimal(2))]


STAGES = ("Signed", "Talking", "Dead")


@pytest.mark.parametrize("seed", range(6))
async def test_in_whatever_order_things_happen_every_deal_ends_as_the_last_mapping_has_it(
    admin: Caller, later: Database, seed: int
) -> None:
    chance = random.Random(seed)
    connection = await admin.connect()
    told: dict[str, list[tuple[int, int, str]]] = {}
    mapping: dict[str, str] = {}
    version = 1
    for number in range(30):
        match chance.choice(("send", "send", "save", "step", "translate", "record", "settle")):
            case "send":
                name, day, stage = chance.choice("ABC"), chance.randint(1, 3), chance.choice(STAGES)
                told.setdefault(name, []).append((day, number, stage))
                body = deal(
                    name, status="open", stage=stage, amount=str(number), modified_at=f"2026-03-0{day}T00:00:00Z"
                )
                await send(admin, connection, body)
            case "save":
                mapping = {
                    stage: chance.choice(("won", "lost")) for stage in chance.sample(STAGES, chance.randint(0, 3))
                }
                await save(admin, connection, version, stages=mapping)
                version += 1
            case "step":
                await Retranslator(admin.tracking.database, Publisher(OUTBOX)).step_once()
            case "translate":
                await admin.tracking.processor.translate_once()
            case "record":
                await record(admin.tracking)
            case "settle":
                await settle(admin.tracking)
    await work(admin.tracking.database)
    await settle(admin.tracking)
    await work(later)
    await settle(admin.tracking)
    expected = {}
    for name, versions_told in told.items():
        _, number, stage = max(versions_told)
        expected[name] = (mapping.get(stage, "open"), Decimal(number))
    assert {each.external_id: (each.status.value, each.amount) for each in await newest(admin)} == expected
