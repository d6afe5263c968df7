"""Goal templates over HTTP with real Postgres: made and changed by whom, and what they fill in."""

from collections.abc import AsyncIterator
from uuid import uuid4

import pytest

from shared.http.auth import Role
from tests.servers.api import check_problem
from tests.stories.goals import BOOKINGS, QUARTER, Caller, Service, pointers, running_goals

BODY = {
    "name": "Bookings of a quarter",
    "name_pattern": "{owner}: {start} to {end}",
    "metric": BOOKINGS,
    "stretch": [{"name": "Club", "percent": "120"}, {"name": "Top", "percent": "150"}],
    "check_in": "weekly",
}


@pytest.fixture(scope="module")
async def service(module_database: str) -> AsyncIterator[Service]:
    async with running_goals(module_database) as running:
        yield running


@pytest.fixture
def admin(service: Service) -> Caller:
    return Caller(service, uuid4(), Role.SERVICE)


async def made(caller: Caller, **fields: object) -> str:
    return await caller.made("/v1/goal-templates", {**BODY, **fields})


async def drafted(caller: Caller, template: str, owner: str, **fields: object) -> dict[str, object]:
    owned = {"kind": "person", "id": owner}
    body = {"template_id": template, "owner": owned, "target": "1000", "period": QUARTER, **fields}
    response = await caller.send("POST", "/v1/goals", body)
    assert response.status_code == 201, response.text
    return dict(response.json())


async def test_a_template_fills_what_is_left_out(admin: Caller) -> None:
    template, ada = await made(admin), await admin.person("Ada")
    goal = await drafted(admin, template, ada)
    assert (goal["name"], goal["unit"], goal["check_in"]) == ("Ada: 2026-01-01 to 2026-03-31", "USD", "weekly")
    assert goal["stretch"] == [{"name": "Club", "target": "1200"}, {"name": "Top", "target": "1500"}]
    metric = goal["metric"]
    assert isinstance(metric, dict)
    assert {name: metric[name] for name in BOOKINGS} == BOOKINGS
    assert (await admin.send("POST", f"/v1/goals/{goal['id']}/activate", version=1)).status_code == 200


async def test_what_is_given_goes_before(admin: Caller) -> None:
    template, ada = await made(admin), await admin.person("Ada")
    count = {"aggregate": "count", "filter": BOOKINGS["filter"]}
    goal = await drafted(admin, template, ada, name="Mine", metric=count, stretch=[], check_in="none")
    assert (goal["name"], goal["unit"], goal["stretch"], goal["check_in"]) == ("Mine", "deals", [], "none")


async def test_levels_are_a_share_of_the_way_from_the_baseline_whole_and_in_the_goals_direction(admin: Caller) -> None:
    lower = {"metric": {"aggregate": "count", "filter": BOOKINGS["filter"]}, "direction": "lower", "stretch": []}
    shares = [{"name": "Club", "percent": "120"}]
    template, ada = await made(admin, **{**lower, "stretch": shares}), await admin.person("Ada")
    goal = await drafted(admin, template, ada, target="6", baseline="10")
    # 10 − 4 × 1.2 = 5.2
    assert (goal["direction"], goal["stretch"]) == ("lower", [{"name": "Club", "target": "5"}])
    money = await made(admin, stretch=[{"name": "Club", "percent": "133.33"}])
    assert (await drafted(admin, money, ada, target="0.01"))["stretch"] == [{"name": "Club", "target": "0.013333"}]


async def test_many_are_made_from_templates_in_one_request_and_an_unknown_one_is_named(admin: Caller) -> None:
    template, ada = await made(admin), await admin.person("Ada")
    body = {"owner": {"kind": "person", "id": ada}, "target": "1", "period": QUARTER}
    unknown = {**body, "template_id": str(uuid4())}
    wanted = [{**body, "template_id": template}, unknown, {**body, "name": "X"}, {**body, "metric": BOOKINGS}]
    refused = await admin.send("POST", "/v1/goals/bulk", {"create": wanted})
    check_problem(refused, 422, "items_refused")
    assert pointers(refused) == ["/create/1/template_id", "/create/2/metric", "/create/3/name"]
    alone = await admin.send("POST", "/v1/goals", unknown)
    check_problem(alone, 422, "unknown_goal_template")
    done = await admin.send("POST", "/v1/goals/bulk", {"create": wanted[:1]})
    assert [goal["name"] for goal in done.json()["created"]] == ["Ada: 2026-01-01 to 2026-03-31"]


async def test_a_goal_keeps_what_it_was_made_with(admin: Caller) -> None:
    template, ada = await made(admin), await admin.person("Ada")
    goal = await drafted(admin, template, ada)
    path = f"/v1/goal-templates/{template}"
    changed = await admin.send("PATCH", path, {"check_in": "monthly", "name_pattern": None}, version=1)
    assert (changed.status_code, changed.json()["version"]) == (200, 2), changed.text
    check_problem(await admin.send("PATCH", path, {"name": "X"}, version=1), 412, "version_mismatch")
    assert (await admin.send("GET", f"/v1/goals/{goal['id']}")).json()["check_in"] == "weekly"
    assert (await drafted(admin, template, ada, name="Other"))["check_in"] == "monthly"
    assert (await admin.send("DELETE", path, version=2)).status_code == 204
    check_problem(await admin.send("GET", path), 404, "goal_template_not_found")
    assert await admin.ids("/v1/goal-templates") == set()
    assert (await admin.send("GET", f"/v1/goals/{goal['id']}")).json()["name"] == goal["name"]
    body = {"template_id": template, "owner": {"kind": "person", "id": ada}, "target": "1", "period": QUARTER}
    assert pointers(await admin.send("POST", "/v1/goals", body)) == ["/template_id"]


@pytest.mark.parametrize(
    ("fields", "pointer"),
    [
        ({"name_pattern": "{owner} in {year}"}, "/name_pattern"),
        ({"stretch": [{"name": "Club", "percent": "100"}]}, "/stretch/0/percent"),
        ({"stretch": [{"name": "A", "percent": "120"}, {"name": "B", "percent": "110"}]}, "/stretch/1/percent"),
        ({"stretch": [{"name": "A", "percent": "120"}, {"name": "A", "percent": "130"}]}, "/stretch/1/name"),
        ({"metric": {"aggregate": "sum"}}, "/metric/value_field"),
    ],
)
async def test_what_would_fill_nothing_is_refused(admin: Caller, fields: dict[str, object], pointer: str) -> None:
    refused = await admin.send("POST", "/v1/goal-templates", {**BODY, **fields})
    assert (refused.status_code, pointers(refused)) == (422, [pointer]), refused.text


async def test_everybody_reads_templates_and_who_may_edit_makes_them(admin: Caller) -> None:
    template = await made(admin)
    path = f"/v1/goal-templates/{template}"
    for role in Role:
        person = None if role is Role.SERVICE else uuid4()
        caller = Caller(admin.service, admin.tenant, role, person=person)
        edits = role in {Role.ADMIN, Role.REVOPS, Role.SERVICE}
        assert (await caller.send("GET", path)).status_code == 200
        assert template in await caller.ids("/v1/goal-templates")
        assert (await caller.send("POST", "/v1/goal-templates", BODY)).status_code == (201 if edits else 403), role
        stale = await caller.send("PATCH", path, {"name": "X"}, version=99)
        assert stale.status_code == (412 if edits else 403), role
        assert (await caller.send("DELETE", path, version=99)).status_code == (412 if edits else 403), role
    stranger = Caller(admin.service, uuid4(), Role.ADMIN, person=uuid4())
    assert (await stranger.send("GET", path)).status_code == 404
    body = {"template_id": template, "owner": {"kind": "person", "id": await stranger.person()}, "target": "1"}
    assert pointers(await stranger.send("POST", "/v1/goals", {**body, "period": QUARTER})) == ["/template_id"]
