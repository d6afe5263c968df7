"""Goals that are made of their parts, and goals on stated values, over HTTP with real Postgres."""

from collections.abc import AsyncIterator
from uuid import UUID, uuid4

import httpx
import pytest

from deploy.local.commands.republish import republished
from shared.contracts.goals import Goal, StatedValue
from shared.db.database import Database
from shared.http.auth import Role
from shared.kernel.measures import Aggregate
from tests.stories.goals import QUARTER, Caller, Service, goal_body, pointers, query, running_goals

OF_PARTS: dict[str, object] = {"metric": {"aggregate": "children"}, "target": None}
LAST: dict[str, object] = {"metric": {"aggregate": "stated", "combine": "latest"}, "target": "9", "unit": "points"}


@pytest.fixture(scope="module")
async def service(module_database: str) -> AsyncIterator[Service]:
    async with running_goals(module_database) as running:
        yield running


@pytest.fixture
def admin(service: Service) -> Caller:
    return Caller(service, uuid4(), Role.SERVICE)


async def drafted(admin: Caller, owner: str, fields: dict[str, object], *, kind: str = "person") -> str:
    return await admin.made("/v1/goals", {**goal_body(owner, kind=kind), **fields})


async def made_of(admin: Caller, ada: str, *weights: str) -> tuple[str, list[str]]:
    """A goal, a draft as yet, and its active parts."""
    parent = await drafted(admin, ada, OF_PARTS)
    parts = [await admin.goal(ada, parent_id=parent, weight=weight) for weight in weights]
    for part in parts:
        await done(admin, part, "activate", 1)
    return parent, parts


async def step(admin: Caller, goal: str, verb: str, version: int, **body: object) -> httpx.Response:
    return await admin.send("POST", f"/v1/goals/{goal}/{verb}", body or None, version=version)


async def done(admin: Caller, goal: str, verb: str, version: int, **body: object) -> None:
    response = await step(admin, goal, verb, version, **body)
    assert response.status_code == 200, response.text


async def test_a_goal_of_parts_is_out_of_a_hundred_percent_unless_it_is_said_otherwise(admin: Caller) -> None:
    ada = await admin.person()
    goal = (await admin.send("GET", f"/v1/goals/{await drafted(admin, ada, OF_PARTS)}")).json()
    assert (goal["target"], goal["unit"], goal["metric"]["aggregate"]) == ("100", "%", "children")
    stretched = await drafted(admin, ada, {**OF_PARTS, "target": "70", "unit": "% of the OKRs"})
    assert (await admin.send("GET", f"/v1/goals/{stretched}")).json()["target"] == "70"
    [event, _] = [event for event in await admin.events() if isinstance(event, Goal)]
    assert (event.metric.later_aggregate, str(event.target)) == ("children", "100")
    assert event.metric.measure().aggregate is Aggregate.CHILDREN


async def test_a_goal_of_parts_counts_once_the_weights_of_those_that_do_come_to_one(admin: Caller) -> None:
    ada = await admin.person()
    parent, [first] = await made_of(admin, ada, "0.75")
    second = await admin.goal(ada, parent_id=parent, weight="0.25")
    refused = await step(admin, parent, "activate", 1)
    assert (refused.status_code, refused.json()["code"], pointers(refused)) == (409, "weights_not_whole", ["/weight"])
    assert "would come to 0.75: 0.25 is missing" in refused.json()["detail"]
    await done(admin, second, "activate", 1)
    await done(admin, parent, "activate", 1)
    await done(admin, first, "close", 2)
    assert (await step(admin, second, "cancel", 2)).json()["code"] == "weights_not_whole"
    for change in ({"weight": "0.3"}, {"parent_id": None}):
        assert (await step(admin, second, "revise", 2, **change, reason="?")).json()["code"] == "weights_not_whole"
    third = await admin.goal(ada, parent_id=parent, weight="0.1")
    over = await step(admin, third, "activate", 1)
    assert "would come to 1.1: 0.1 too much" in over.json()["detail"]
    await done(admin, parent, "cancel", 2)
    await done(admin, second, "cancel", 2)


async def test_a_revision_into_a_goal_of_parts_is_held_to_the_same(admin: Caller) -> None:
    ada = await admin.person()
    parent = await admin.goal(ada)
    part = await admin.goal(ada, parent_id=parent, weight="0.5")
    for goal in (parent, part):
        await done(admin, goal, "activate", 1)
    change = {"metric": {"aggregate": "children"}, "target": "100", "reason": "By its parts from now on"}
    assert (await step(admin, parent, "revise", 2, **change)).json()["code"] == "weights_not_whole"
    await done(admin, part, "revise", 2, weight="1", reason="All of it")
    await done(admin, parent, "revise", 2, **change)


async def test_parts_of_a_goal_that_counts_get_other_weights_all_at_once(service: Service, admin: Caller) -> None:
    ada = await admin.person()
    parent, [first, second] = await made_of(admin, ada, "0.75", "0.25")
    await done(admin, parent, "activate", 1)
    third = await admin.goal(ada, parent_id=parent, weight="0")
    await done(admin, third, "activate", 1)
    stranger = await admin.goal(ada)
    await done(admin, stranger, "activate", 1)

    async def reweigh(caller: Caller, goal: str, version: int, **new: str) -> httpx.Response:
        named = {"first": first, "second": second, "third": third, "stranger": stranger}
        weights = [{"goal_id": named[name], "weight": weight} for name, weight in new.items()]
        body = {"weights": weights, "reason": "Second half"}
        return await caller.send("POST", f"/v1/goals/{goal}/reweigh", body, version=version)

    uneven = await reweigh(admin, parent, 2, first="0.5", second="0.4")
    assert (uneven.status_code, uneven.json()["code"]) == (409, "weights_not_whole")
    other = await reweigh(admin, parent, 2, first="0.5", stranger="0.5")
    assert (other.status_code, pointers(other)) == (422, ["/weights/1/goal_id"])
    assert (await reweigh(admin, parent, 1, first="0.5", second="0.5")).status_code == 412
    assert (await reweigh(admin, stranger, 2, first="1")).json()["code"] == "not_a_part"
    herself = Caller(service, admin.tenant, Role.ADMIN, person=UUID(ada))
    assert (await reweigh(herself, parent, 2, first="0", third="0.75")).json()["code"] == "own_interest"
    answer = await reweigh(admin, parent, 2, first="0", third="0.75")
    assert (answer.status_code, answer.json()["version"], answer.json()["revision"]) == (200, 3, 1)
    [revision, _] = (await admin.send("GET", f"/v1/goals/{first}/revisions")).json()["items"]
    assert (revision["reason"], revision["terms"]["weight"]) == ("Second half", "0")
    await done(admin, first, "cancel", 3)


@pytest.mark.parametrize(
    ("fields", "pointer"),
    [
        ({"metric": {"aggregate": "children", "combine": "sum"}}, "/metric/combine"),
        ({"metric": {"aggregate": "children", "value_field": "amount"}}, "/metric/value_field"),
        ({"metric": {"aggregate": "children", "currency": "USD"}}, "/metric/currency"),
        ({"metric": {"aggregate": "stated"}, "unit": "points"}, "/metric/combine"),
        ({"metric": {"aggregate": "stated", "combine": "sum"}}, "/unit"),
        ({"metric": {"aggregate": "stated", "combine": "sum", "record": "activity"}, "unit": "x"}, "/metric/record"),
        (
            {"metric": {"aggregate": "stated", "combine": "sum", "date_field": "paid"}, "unit": "x"},
            "/metric/date_field",
        ),
        ({"target": None}, "/target"),
    ],
)
async def test_a_goal_that_uses_what_it_does_not_count_is_refused(
    admin: Caller, fields: dict[str, object], pointer: str
) -> None:
    ada = await admin.person()
    refused = await admin.send(
        "POST",
        "/v1/goals",
        {"name": "G", "owner": {"kind": "person", "id": ada}, "target": "1", "period": QUARTER}
        | {"metric": {"aggregate": "count"}}
        | fields,
    )
    assert (refused.status_code, pointers(refused)) == (422, [pointer])


async def test_what_is_stated_is_corrected_and_taken_back_and_all_of_it_is_on_record(
    service: Service, admin: Caller
) -> None:
    ada, boss = await admin.person(), await admin.person("Boss")
    goal = await drafted(admin, ada, LAST)
    path = f"/v1/goals/{goal}/values"
    entered = await admin.send("POST", path, {"day": "2026-02-28", "value": "8.4", "source": "file", "note": "Survey"})
    assert entered.status_code == 201
    value = entered.json()["id"]
    assert entered.headers["location"] == f"{path}/{value}"
    revops = Caller(service, admin.tenant, Role.REVOPS, person=UUID(boss))
    corrected = await revops.send("PATCH", f"{path}/{value}", {"value": "8.6"}, version=1)
    assert (corrected.json()["value"], corrected.json()["version"], corrected.json()["stated_by"]) == ("8.6", 2, boss)
    assert (await admin.send("PATCH", f"{path}/{value}", {"value": "1"}, version=1)).status_code == 412
    assert (await admin.send("PATCH", f"{path}/{value}", {"value": "8.60"}, version=2)).status_code == 422
    assert [item["value"] for item in (await admin.send("GET", path)).json()["items"]] == ["8.6"]
    taken_back = await admin.send("DELETE", f"{path}/{value}?reason=Wrong%20survey", version=2)
    assert taken_back.status_code == 204
    assert (await admin.send("GET", path)).json()["items"] == []
    assert (await admin.send("GET", f"{path}/{value}")).json()["code"] == "stated_value_not_found"
    states = [event for event in await admin.events() if isinstance(event, StatedValue)]
    assert [(event.version, str(event.value), event.deleted) for event in states] == [
        (1, "8.4", False),
        (2, "8.6", False),
        (3, "8.6", True),
    ]
    trail = (await admin.send("GET", f"/v1/audit?subject=stated-value/{value}")).json()["items"]
    assert [(item["version"], item["reason"]) for item in trail] == [(3, "Wrong survey"), (2, None), (1, None)]
    assert trail[1]["before"]["value"] == "8.4"


async def test_a_value_is_of_a_day_that_counts_and_is_known(admin: Caller) -> None:
    ada = await admin.person()
    goal = await drafted(admin, ada, LAST)
    ahead = await drafted(admin, ada, {**LAST, "period": {"start": "2026-01-01", "end": "2099-01-01"}})
    for of, day in ((goal, "2026-04-01"), (goal, "2025-12-31"), (ahead, "2098-12-31")):
        refused = await admin.send("POST", f"/v1/goals/{of}/values", {"day": day, "value": "1"})
        assert (refused.status_code, pointers(refused)) == (422, ["/day"])
        assert refused.json()["errors"][0]["accepted"]
    counted = await admin.goal(ada)
    refused = await admin.send("POST", f"/v1/goals/{counted}/values", {"day": "2026-02-28", "value": "1"})
    assert (refused.status_code, refused.json()["code"]) == (409, "goal_not_stated")
    await done(admin, goal, "cancel", 1)
    refused = await admin.send("POST", f"/v1/goals/{goal}/values", {"day": "2026-02-28", "value": "1"})
    assert (refused.status_code, refused.json()["code"]) == (409, "goal_not_stated")


async def test_values_are_stated_in_the_subtree_and_by_nobody_for_themselves(service: Service, admin: Caller) -> None:
    boss, ada, bo = [await admin.person(name) for name in ("Boss", "Ada", "Bo")]
    east = await admin.team("East", manager_id=boss)
    await admin.member(ada, east)
    goals = {name: await drafted(admin, owner, LAST) for name, owner in (("boss", boss), ("ada", ada), ("bo", bo))}
    goals["east"] = await drafted(admin, east, LAST, kind="team")

    async def states(caller: Caller, name: str) -> int:
        body = {"day": "2026-02-28", "value": "8", "source": "hand"}
        return (await caller.send("POST", f"/v1/goals/{goals[name]}/values", body)).status_code

    def caller(role: Role, person: str | None) -> Caller:
        return Caller(service, admin.tenant, role, person=None if person is None else UUID(person))

    for who, expected in (
        (caller(Role.MANAGER, boss), {"boss": 403, "ada": 201, "bo": 404, "east": 201}),
        (caller(Role.REP, ada), {"boss": 403, "ada": 403, "bo": 403, "east": 403}),
        (caller(Role.FINANCE, bo), {"boss": 403, "ada": 403, "bo": 403, "east": 403}),
        (caller(Role.ADMIN, bo), {"boss": 201, "ada": 201, "bo": 403, "east": 201}),
        (caller(Role.SERVICE, None), {"boss": 201, "ada": 201, "bo": 201, "east": 201}),
    ):
        assert {name: await states(who, name) for name in goals} == expected
    rep = caller(Role.REP, ada)
    [value, *_] = (await rep.send("GET", f"/v1/goals/{goals['ada']}/values")).json()["items"]
    assert (await rep.send("GET", f"/v1/goals/{goals['bo']}/values")).status_code == 404
    elsewhere = f"/v1/goals/{goals['east']}/values/{value['id']}"
    assert (await admin.send("GET", elsewhere)).status_code == 404
    assert (await admin.send("DELETE", elsewhere, version=1)).status_code == 404
    bos = (await admin.send("GET", f"/v1/goals/{goals['bo']}/values")).json()["items"][0]
    own = await caller(Role.ADMIN, bo).send("DELETE", f"/v1/goals/{goals['bo']}/values/{bos['id']}", version=1)
    assert (own.status_code, own.json()["code"]) == (403, "own_interest")


async def test_a_lost_topic_gets_every_value_again_those_taken_back_among_them(service: Service, admin: Caller) -> None:
    ada = await admin.person()
    path = f"/v1/goals/{await drafted(admin, ada, LAST)}/values"
    for day in ("2026-02-01", "2026-02-02"):
        assert (await admin.send("POST", path, {"day": day, "value": "1"})).status_code == 201
    first = (await admin.send("GET", path)).json()["items"][0]["id"]
    await admin.send("DELETE", f"{path}/{first}", version=1)
    await query(service, "DELETE FROM goals.outbox WHERE tenant_id = $1", admin.tenant)
    database = Database(service.database_url, service="goals")
    try:
        await republished(database, "attain.goals.v1")
    finally:
        await database.close()
    again = [event for event in await admin.events() if isinstance(event, StatedValue)]
    assert sorted((str(event.day), event.deleted) for event in again) == [
        ("2026-02-01", True),
        ("2026-02-02", False),
    ]


async def test_values_go_out_as_a_table_and_come_in_whole_or_not_at_all(admin: Caller) -> None:
    team = await admin.team()
    goal = await drafted(admin, team, LAST, kind="team")
    path = f"/v1/goals/{goal}/values/table"

    async def sent(*lines: str) -> httpx.Response:
        body = "\n".join(("day,value,note", *lines)).encode()
        return await admin.client.post(path, content=body, headers={"content-type": "text/csv"})

    taken = await sent("2026-01-31,8.1,Januar", "2026-02-28,8.4,")
    assert (taken.status_code, taken.json()) == (200, {"stated": 2, "known": 0}), taken.text
    again = await sent("2026-01-31,8.1,Januar", "2026-02-28,8.4,", "2026-03-31,8.6,")
    assert again.json() == {"stated": 1, "known": 2}, again.text
    stated = (await admin.send("GET", f"/v1/goals/{goal}/values")).json()["items"]
    assert sorted((each["day"], each["value"], each["source"], each["note"]) for each in stated) == [
        ("2026-01-31", "8.1", "file", "Januar"),
        ("2026-02-28", "8.4", "file", None),
        ("2026-03-31", "8.6", "file", None),
    ]
    for line, at in (('2026-03-30,"1,234",', "/line/3/value"), ("2025-12-31,1,", "/line/3/day")):
        refused = await sent("2026-03-29,9,", line)
        assert (refused.status_code, pointers(refused)) == (422, [at]), refused.text
    twice = await sent("2026-03-29,9,", "2026-03-29,9,")
    assert (twice.status_code, pointers(twice)) == (422, ["/line/3"]), twice.text
    assert len((await admin.send("GET", f"/v1/goals/{goal}/values")).json()["items"]) == 3
    for table_format in ("csv", "xlsx"):
        given = await admin.send("GET", f"{path}?format={table_format}")
        headers = {"content-type": given.headers["content-type"]}
        same = await admin.client.post(path, content=given.content, headers=headers)
        assert same.json() == {"stated": 0, "known": 3}, same.text
    bookings = await admin.goal(team, kind="team")
    other = await admin.client.post(f"/v1/goals/{bookings}/values/table", content=b"day,value\n2026-01-31,1\n")
    assert (other.status_code, other.json()["code"]) == (409, "goal_not_stated")
