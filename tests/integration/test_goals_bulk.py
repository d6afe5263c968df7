"""Many people, teams, memberships, identities and goals in one request: all of it or nothing, errors by index."""

from collections.abc import AsyncIterator
from uuid import UUID, uuid4

import pytest

from shared.contracts.goals import Goal
from shared.http.auth import Role
from tests.stories.goals import AHEAD, Caller, Service, goal_body, pointers, query, running_goals

KINDS = ("people", "teams", "memberships", "identities")


@pytest.fixture(scope="module")
async def service(module_database: str) -> AsyncIterator[Service]:
    async with running_goals(module_database) as running:
        yield running


@pytest.fixture
def admin(service: Service) -> Caller:
    return Caller(service, uuid4(), Role.SERVICE)


async def put(caller: Caller, kind: str, query: str = "", **body: object) -> dict[str, list[dict[str, object]]]:
    response = await caller.send("POST", f"/v1/{kind}/bulk{query}", body)
    assert response.status_code == 200, response.text
    return dict(response.json())


async def refused(caller: Caller, kind: str, query: str = "", **body: object) -> set[str]:
    """Where a request that is refused is wrong."""
    response = await caller.send("POST", f"/v1/{kind}/bulk{query}", body)
    assert (response.status_code, response.json()["code"]) == (422, "items_refused"), response.text
    return set(pointers(response))


def at(thing: dict[str, object], **changes: object) -> dict[str, object]:
    return {"id": thing["id"], "version": thing["version"], **changes}


async def test_an_organisation_is_made_and_changed_in_four_requests(admin: Caller) -> None:
    people = (await put(admin, "people", create=[{"name": f"P{n}", "email": f"p{n}@example.com"} for n in range(200)]))[
        "created"
    ]
    teams = (await put(admin, "teams", create=[{"name": f"T{n}", "manager_id": people[n]["id"]} for n in range(20)]))[
        "created"
    ]
    stays = [
        {"person_id": person["id"], "team_id": teams[n % 20]["id"], "start": "2026-01-01"}
        for n, person in enumerate(people)
    ]
    members = (await put(admin, "memberships", create=stays))["created"]
    users = [{"source": "crm", "external_user_id": str(n), "person_id": each["id"]} for n, each in enumerate(people)]
    identities = (await put(admin, "identities", create=users))["created"]
    assert [person["name"] for person in people] == [f"P{n}" for n in range(200)]
    assert len(await admin.events()) == 200 + 20 + 200 + 200

    moved = await put(
        admin,
        "memberships",
        change=[at(members[0], end="2026-07-01")],
        delete=[at(members[1])],
        create=[{**stays[0], "start": "2026-07-01"}, stays[1]],
    )
    assert [item["version"] for item in moved["changed"]] == [2]
    assert [item["start"] for item in moved["created"]] == ["2026-07-01", "2026-01-01"]
    given = await put(
        admin, "identities", delete=[at(identities[0])], create=[{**users[0], "person_id": users[1]["person_id"]}]
    )
    assert (given["changed"], given["created"][0]["person_id"]) == ([], people[1]["id"])
    other = await put(admin, "identities", change=[at(identities[2], person_id=people[0]["id"])])
    assert other["changed"][0]["person_id"] == people[0]["id"]
    named = await put(
        admin, "teams", change=[at(teams[1], parent_id=teams[0]["id"], start="beginning"), at(teams[2], name="New")]
    )
    assert [(team["parent_id"], team["name"]) for team in named["changed"]] == [(teams[0]["id"], "T1"), (None, "New")]
    left = await put(admin, "people", change=[at(people[5], active=False, email=None)])
    assert (left["changed"][0]["active"], left["changed"][0]["email"]) == (False, None)
    trail = (await admin.send("GET", f"/v1/audit?subject=person/{people[5]['id']}")).json()["items"]
    assert [(change["version"], change["change"]) for change in trail] == [(2, "changed"), (1, "created")]


async def test_goals_are_drafted_activated_revised_closed_and_cancelled_together(admin: Caller) -> None:
    ada = await admin.person()
    drafts = (await put(admin, "goals", create=[goal_body(ada, name=f"G{n}", target=str(n + 1)) for n in range(6)]))[
        "created"
    ]
    await put(admin, "goals", activate=[at(draft) for draft in drafts[1:5]])
    changed = await put(
        admin,
        "goals",
        change=[at(drafts[0], target="10", parent_id=drafts[1]["id"])],
        revise=[
            {"id": drafts[1]["id"], "version": 2, "target": "20", "reason": "More"},
            {"id": drafts[2]["id"], "version": 2, "target": "30", "reason": "Less"},
        ],
        close=[{"id": drafts[3]["id"], "version": 2}],
        cancel=[{"id": drafts[4]["id"], "version": 2}, at(drafts[5])],
        create=[goal_body(ada, parent_id=drafts[0]["id"])],
    )
    found = {item["name"]: item for item in changed["changed"]}
    assert {name: (item["status"], item["target"], item["revision"]) for name, item in found.items()} == {
        "G0": ("draft", "10", 1),
        "G1": ("active", "20", 2),
        "G2": ("active", "30", 2),
        "G3": ("closed", "4", 1),
        "G4": ("cancelled", "5", 1),
        "G5": ("cancelled", "6", 1),
    }
    history = (await admin.send("GET", f"/v1/goals/{drafts[2]['id']}/revisions")).json()["items"]
    assert [(item["revision"], item["terms"]["target"], item["reason"]) for item in history] == [
        (2, "30", "Less"),
        (1, "3", None),
    ]
    reasons = (await admin.send("GET", f"/v1/goals/{drafts[1]['id']}/changes")).json()["items"]
    assert [change["reason"] for change in reasons] == ["More", None, None]
    versions = [event.version for event in await admin.events() if isinstance(event, Goal) and event.name == "G1"]
    assert versions == [1, 2, 3]


async def test_what_is_wrong_is_told_of_each_and_then_nothing_is_done(admin: Caller) -> None:
    ada, bo = await admin.person("Ada"), await admin.person("Bo")
    top, below = await admin.team("Top"), await admin.team("Below")
    stay = await admin.member(ada, top)
    goal, other = await admin.goal(ada), await admin.goal(ada)
    nobody = str(uuid4())
    before = len(await admin.events())
    assert await refused(
        admin,
        "people",
        create=[{"name": "A", "email": "a@x.org"}, {"name": "B", "email": "A@X.org"}, {"name": "C"}],
        change=[
            {"id": nobody, "version": 1},
            {"id": ada, "version": 2},
            {"id": bo, "version": 1},
            {"id": bo, "version": 1},
        ],
    ) == {"/create/1/email", "/change/0", "/change/1", "/change/3/id"}
    assert await refused(
        admin,
        "teams",
        create=[{"name": "C", "parent_id": nobody}, {"name": "D", "manager_id": nobody}],
        change=[
            {"id": top, "version": 1, "parent_id": below, "start": "beginning"},
            {"id": below, "version": 1, "parent_id": top, "start": "beginning"},
        ],
    ) == {"/create/0/parent_id", "/create/1/manager_id", "/change/1/parent_id"}
    assert await refused(
        admin,
        "memberships",
        create=[
            {"person_id": ada, "team_id": top, "start": "2026-01-01"},
            {"person_id": bo, "team_id": top, "start": "2026-01-01", "end": "2025-01-01"},
            {"person_id": bo, "team_id": below, "start": "2026-01-01"},
            {"person_id": bo, "team_id": below, "start": "2026-02-01"},
            {"person_id": nobody, "team_id": below, "start": "2026-02-01"},
        ],
        delete=[{"id": stay, "version": 7}],
    ) == {"/create/0/start", "/create/1/end", "/create/3/start", "/create/4/person_id", "/delete/0"}
    assert await refused(
        admin,
        "identities",
        create=[{"source": "crm", "external_user_id": "7", "person_id": each} for each in (ada, bo, nobody)],
    ) == {"/create/1/external_user_id", "/create/2/person_id"}
    assert await refused(
        admin,
        "goals",
        create=[goal_body(nobody), goal_body(ada, parent_id=nobody), goal_body(ada, metric={"aggregate": "sum"})],
    ) == {"/create/0/owner/id", "/create/1/parent_id", "/create/2/metric/value_field"}
    assert await refused(
        admin,
        "goals",
        close=[{"id": goal, "version": 1}, {"id": other, "version": 1}],
        activate=[{"id": nobody, "version": 1}, {"id": goal, "version": 1}],
    ) == {"/activate/0", "/close/0/id", "/close/1"}
    malformed = await admin.send("POST", "/v1/people/bulk", {"create": [{"name": "A"}, {"name": ""}, {"mail": "x"}]})
    assert set(pointers(malformed)) >= {"/create/1/name", "/create/2/name"}
    many = await admin.send("POST", "/v1/people/bulk", {"create": [{"name": "A"}] * 1001})
    assert (many.status_code, pointers(many)) == (422, ["/create"])
    assert len(await admin.events()) == before
    assert await admin.ids("/v1/people") == {ada, bo}


async def test_nobody_activates_goals_of_their_own_among_others(admin: Caller) -> None:
    ada, bo = await admin.person("Ada"), await admin.person("Bo")
    own, other = await admin.goal(ada), await admin.goal(bo, period=AHEAD)
    revops = Caller(admin.service, admin.tenant, Role.REVOPS, person=UUID(ada))
    wanted = [{"id": goal, "version": 1} for goal in (other, own)]
    assert await refused(revops, "goals", "?reason=Agreed", activate=wanted) == {"/activate/1"}
    assert (await put(revops, "goals", "?reason=Agreed", activate=wanted[:1]))["changed"][0]["status"] == "active"


@pytest.mark.parametrize("kind", KINDS)
async def test_only_who_may_edit_does_it_in_bulk(admin: Caller, kind: str) -> None:
    for role in Role:
        person = None if role is Role.SERVICE else uuid4()
        response = await Caller(admin.service, admin.tenant, role, person=person).send("POST", f"/v1/{kind}/bulk", {})
        assert response.status_code == (200 if role in {Role.ADMIN, Role.REVOPS, Role.SERVICE} else 403), role


async def test_goals_are_drafted_and_decided_in_bulk_by_whom_they_may_be_alone(admin: Caller) -> None:
    ada, bo, boss = await admin.person("Ada"), await admin.person("Bo"), await admin.person("Boss")
    team = await admin.team(manager_id=boss)
    await admin.member(ada, team)
    rep = Caller(admin.service, admin.tenant, Role.REP, person=UUID(ada))
    manager = Caller(admin.service, admin.tenant, Role.MANAGER, person=UUID(boss))
    assert await refused(rep, "goals", create=[goal_body(ada), goal_body(bo)]) == {"/create/1"}
    [own] = (await put(rep, "goals", create=[goal_body(ada, period=AHEAD)]))["created"]
    [by_manager] = (await put(manager, "goals", create=[goal_body(ada)]))["created"]
    out_of_sight = {"id": await admin.goal(bo), "version": 1}
    wanted = [at(own), at(by_manager), out_of_sight]
    assert await refused(rep, "goals", activate=wanted) == {"/activate/0", "/activate/1", "/activate/2"}
    assert await refused(manager, "goals", "?reason=Agreed", activate=wanted) == {"/activate/1", "/activate/2"}
    assert (await put(manager, "goals", "?reason=Agreed", activate=[at(own)]))["changed"][0]["status"] == "active"


async def test_a_request_that_is_sent_again_does_nothing_again(admin: Caller) -> None:
    body = {"create": [{"name": f"P{n}"} for n in range(1000)]}
    first, again = [await admin.send("POST", "/v1/people/bulk", body, key="plan") for _ in range(2)]
    assert (first.status_code, again.status_code, again.headers["idempotent-replayed"]) == (200, 200, "true")
    assert again.json() == first.json()
    [row] = await query(admin.service, "SELECT count(*) AS n FROM goals.people WHERE tenant_id = $1", admin.tenant)
    assert row["n"] == 1000
