"""People move over HTTP with real Postgres: what is shown is what is done, by whom, and all at once or not at all."""

from collections.abc import AsyncIterator

import httpx
import pytest
from pydantic import JsonValue

from shared.contracts.goals import Goal
from shared.contracts.org import Membership
from tests.servers.api import check_problem
from tests.stories.goals import Caller, Service, running_goals
from tests.stories.house import House

FEBRUARY = "2099-02-01"


@pytest.fixture(scope="module")
async def service(module_database: str) -> AsyncIterator[Service]:
    async with running_goals(module_database) as running:
        yield running


@pytest.fixture
async def house(service: Service) -> House:
    """Beside North, Sales has the team South of Sam, in which Sue sells."""
    house = await House(service).furnish()
    for name in ("Sam", "Sue"):
        house.ids[name] = await house.system.person(name)
    south = await house.system.team("South", manager_id=house.ids["Sam"], parent_id=house.ids["Sales"])
    house.ids["South"] = south
    await house.system.member(house.ids["Sue"], south)
    return house


def leaver(house: House, **fields: object) -> dict[str, object]:
    return {
        "person_id": house.ids["Ray"],
        "kind": "leaver",
        "start": FEBRUARY,
        "successor_id": house.ids["Roy"],
        "reason": "Leaves the company",
        **fields,
    }


async def active(house: House, owner: str, target: str = "90000", **fields: object) -> str:
    goal = await house.system.made("/v1/goals", {**house.body(owner), "target": target, **fields})
    answer = await house.system.send("POST", f"/v1/goals/{goal}/activate", version=1)
    assert answer.status_code == 200, answer.text
    return goal


async def drafted(by: Caller, body: dict[str, object]) -> dict[str, JsonValue]:
    answer = await by.send("POST", "/v1/moves", body)
    assert answer.status_code == 201, answer.text
    found: dict[str, JsonValue] = answer.json()
    return found


async def decide(by: Caller, move: dict[str, JsonValue], verb: str = "apply", version: int = 1) -> httpx.Response:
    return await by.send("POST", f"/v1/moves/{move['id']}/{verb}", {}, version=version)


async def goals_of(house: House, name: str) -> list[tuple[str, str, str, str]]:
    items = (await house.system.send("GET", f"/v1/goals?owner_id={house.ids[name]}")).json()["items"]
    return [(item["status"], item["target"], item["period"]["start"], item["period"]["end"]) for item in items]


async def stays_of(house: House, name: str) -> list[tuple[str, str, str | None]]:
    items = (await house.system.send("GET", f"/v1/memberships?person_id={house.ids[name]}")).json()["items"]
    teams = {team: name for name, team in house.ids.items()}
    return [(teams[item["team_id"]], item["start"], item["end"]) for item in items]


async def test_what_a_leaver_had_is_shown_handed_on_at_once_and_on_the_audit_trail(house: House) -> None:
    goal = await active(house, "Ray")
    await house.drafted("Ray", "Ray")
    move = await drafted(house["Rex"], leaver(house))
    shown = (await house["Rita"].send("GET", f"/v1/moves/{move['id']}")).json()
    assert shown["effect"] == move["effect"]
    [membership] = shown["effect"]["memberships"]
    assert (membership["before"], membership["after"]) == (
        {"start": "2020-01-01", "end": None},
        {"start": "2020-01-01", "end": FEBRUARY},
    )
    first, second = shown["effect"]["goals"]
    assert (first["status"], first["sum_before"], first["sum_after"], first["difference"]) == (
        "active",
        "90000",
        "90000",
        "0",
    )
    assert [(each["target_before"], each["target_after"]) for each in first["targets"]] == [
        ("90000", "31000"),
        (None, "59000"),
    ]
    assert (second["status"], second["difference"]) == ("draft", "0")
    # Nothing has happened yet.
    assert (await goals_of(house, "Roy"), len(await stays_of(house, "Ray"))) == ([], 1)
    known = len(await house.system.events())

    applied = await decide(house["Rita"], move)
    assert (applied.status_code, applied.json()["state"]) == (200, "applied"), applied.text
    assert applied.json()["effect"] == move["effect"]
    assert await goals_of(house, "Ray") == [
        ("active", "31000", "2099-01-01", "2099-04-01"),
        ("draft", "344.62", "2099-01-01", "2099-04-01"),
    ]
    assert sorted(await goals_of(house, "Roy")) == [
        ("active", "59000", FEBRUARY, "2099-04-01"),
        ("draft", "655.88", FEBRUARY, "2099-04-01"),
    ]
    assert await stays_of(house, "Ray") == [("North", "2020-01-01", FEBRUARY)]
    events = (await house.system.events())[known:]
    assert sum(isinstance(event, Membership) for event in events) == 1
    assert sum(isinstance(event, Goal) for event in events) == 5

    decided, stated = (await house.system.send("GET", f"/v1/audit?subject=move/{move['id']}")).json()["items"]
    assert [(each["actor"]["person_id"], each["reason"], each["after"]["state"]) for each in (stated, decided)] == [
        (house.ids["Rex"], "Leaves the company", "draft"),
        (house.ids["Rita"], None, "applied"),
    ]
    assert decided["before"] == stated["after"] and stated["before"] is None
    assert [each["after"] for each in decided["after"]["effect"]["goals"][0]["targets"]] == ["31000", "59000"]
    [latest, *_] = (await house.system.send("GET", f"/v1/goals/{goal}/changes")).json()["items"]
    why = f"Leaver of Ray on {FEBRUARY} (move {move['id']}): Leaves the company"
    assert (latest["actor"]["person_id"], latest["reason"]) == (house.ids["Rita"], why)
    [revision, _] = (await house.system.send("GET", f"/v1/goals/{goal}/revisions")).json()["items"]
    assert (revision["reason"], revision["terms"]["target"]) == (why, "31000")
    trail = (await house.system.send("GET", f"/v1/audit?kind=membership&actor_id={house.ids['Rita']}")).json()["items"]
    assert [change["reason"] for change in trail] == [why]
    check_problem(await decide(house["Rita"], move, version=2), 409, "move_ended")


async def test_a_transfer_gives_the_successors_goal_what_is_handed_on(house: House) -> None:
    await active(house, "Ray")
    await active(house, "Roy", "60000")
    body = leaver(house, kind="transfer", team_id=house.ids["South"])
    move = await drafted(house["Rex"], body)
    assert (await decide(house["Eve"], move)).status_code == 200
    assert await goals_of(house, "Ray") == [("active", "31000", "2099-01-01", "2099-04-01")]
    assert await goals_of(house, "Roy") == [("active", "119000", "2099-01-01", "2099-04-01")]
    assert await stays_of(house, "Ray") == [("North", "2020-01-01", FEBRUARY), ("South", FEBRUARY, None)]


async def test_weights_of_parts_come_to_one_through_a_move(house: House) -> None:
    whole = await house.system.made(
        "/v1/goals", {**house.body("North"), "metric": {"aggregate": "children"}, "target": None}
    )
    for owner, weight in (("Ray", "0.75"), ("Mia", "0.25")):
        await active(house, owner, parent_id=whole, weight=weight)
    assert (await house.system.send("POST", f"/v1/goals/{whole}/activate", version=1)).status_code == 200
    applied = await decide(house["Rita"], await drafted(house["Rex"], leaver(house)))
    assert applied.status_code == 200, applied.text
    parts = (await house.system.send("GET", f"/v1/goals?parent_id={whole}")).json()["items"]
    assert sorted(part["weight"] for part in parts) == ["0.25", "0.258333", "0.491667"]
    reduced = leaver(house, kind="leave", handling="reduce", person_id=house.ids["Mia"], successor_id=None)
    refused = await house["Rex"].send("POST", "/v1/moves", reduced | {"start": "2099-01-01"})
    check_problem(refused, 422, "move_refused")


async def test_a_move_that_would_do_something_else_by_now_is_outdated_and_does_nothing(house: House) -> None:
    goal = await active(house, "Ray")
    move = await drafted(house["Rex"], leaver(house))
    revised = await house.system.send("POST", f"/v1/goals/{goal}/revise", {"target": "1", "reason": "x"}, version=2)
    assert revised.status_code == 200
    answer = await decide(house["Rita"], move)
    check_problem(answer, 409, "move_outdated")
    assert goal in answer.json()["detail"]
    second = await drafted(house["Rex"], leaver(house, handling="stay"))
    await house.system.member(house.ids["Ray"], house.ids["South"], start=FEBRUARY)
    check_problem(await decide(house["Rita"], second), 409, "move_outdated")
    assert len(await stays_of(house, "Ray")) == 2


@pytest.mark.parametrize(
    ("author", "person", "successor", "code"),
    [
        ("Rex", "Ray", "Sue", None),
        ("Eve", "Ray", "Sue", None),
        ("Mia", "Ray", "Roy", None),
        ("Mia", "Ray", "Sue", "move_out_of_reach"),
        ("Mia", "Sue", None, "move_out_of_reach"),
        ("Mia", "Eve", None, "move_out_of_reach"),
        ("Ray", "Roy", None, "move_out_of_reach"),
        ("Ray", "Ray", "Roy", "move_out_of_reach"),
        ("Ray", "Ray", None, None),
        ("Ann", "Ray", None, "move_out_of_reach"),
    ],
)
async def test_revops_drafts_moves_of_all_a_manager_of_its_subtree_and_a_rep_only_its_own(
    house: House, author: str, person: str, successor: str | None, code: str | None
) -> None:
    body = leaver(house, kind="leave", person_id=house.ids[person])
    body["successor_id"] = None if successor is None else house.ids[successor]
    answer = await house[author].send("POST", "/v1/moves", body)
    if code is None:
        assert answer.status_code == 201, answer.text
    else:
        check_problem(answer, 403, code)


@pytest.mark.parametrize(
    ("author", "decider", "kind", "code"),
    [
        ("Rex", "Rita", "leaver", None),
        ("Rex", "Rex", "leaver", "approval_not_independent"),
        ("Mia", "Eve", "leaver", None),
        ("Rex", "Mia", "leaver", "own_interest"),
        ("Rex", "Mia", "leave", None),
        ("Mia", "Mia", "leave", "approval_not_independent"),
        ("Rex", "Sam", "leave", "move_not_found"),
        ("Rex", "Ray", "leave", "move_not_found"),
        ("Rex", "Roy", "leave", "move_not_found"),
        ("Rex", "Ann", "leave", "move_out_of_reach"),
        ("Ray", "Ray", "leave", "move_out_of_reach"),
        ("Ray", "Mia", "leave", None),
    ],
)
async def test_a_move_is_applied_by_somebody_else_above_all_whom_it_concerns(
    house: House, author: str, decider: str, kind: str, code: str | None
) -> None:
    await active(house, "Ray")
    successor = house.ids["Roy"] if author != "Ray" else None
    move = await drafted(house[author], leaver(house, kind=kind, successor_id=successor))
    answer = await decide(house[decider], move)
    if code is None:
        assert answer.status_code == 200, answer.text
    else:
        check_problem(answer, 404 if code == "move_not_found" else 403, code)
        assert await goals_of(house, "Ray") == [("active", "90000", "2099-01-01", "2099-04-01")]


async def test_who_drafted_a_move_that_changes_no_goal_does_not_apply_it_either(house: House) -> None:
    move = await drafted(house["Rex"], leaver(house))
    check_problem(await decide(house["Rex"], move), 403, "approval_not_independent")
    assert await stays_of(house, "Ray") == [("North", "2020-01-01", None)]


async def test_a_service_drafts_and_applies_and_what_is_sent_again_is_done_once(house: House) -> None:
    await active(house, "Ray")
    answers = [await house.system.send("POST", "/v1/moves", leaver(house), key="leaver-1") for _ in range(2)]
    assert answers[0].json()["id"] == answers[1].json()["id"]
    path = f"/v1/moves/{answers[0].json()['id']}/apply"
    check_problem(await house.system.send("POST", path, {}), 428, "if_match_required")
    check_problem(await house.system.send("POST", path, {}, version=2), 412, "version_mismatch")
    for _ in range(2):
        assert (await house.system.send("POST", path, {}, version=1, key="leaver-2")).status_code == 200
    assert await goals_of(house, "Roy") == [("active", "59000", FEBRUARY, "2099-04-01")]


async def test_whom_a_draft_is_about_sees_it_when_it_is_applied_and_others_by_their_sight(house: House) -> None:
    move = await drafted(house["Rex"], leaver(house, kind="leave", successor_id=None, end="2099-03-01"))
    seeing = {name: await house[name].ids("/v1/moves") for name in ("Rita", "Ann", "Eve", "Mia", "Sam", "Ray")}
    assert seeing == {name: {move["id"]} if name in ("Rita", "Ann", "Eve", "Mia") else set() for name in seeing}
    check_problem(await house["Ray"].send("GET", f"/v1/moves/{move['id']}"), 404, "move_not_found")
    assert (await decide(house["Mia"], move)).status_code == 200
    assert await house["Ray"].ids("/v1/moves") == {move["id"]}
    kept = (await house["Ray"].send("GET", f"/v1/moves/{move['id']}")).json()
    assert (kept["end"], kept["decision"]["actor"]["person_id"]) == ("2099-03-01", house.ids["Mia"])


async def test_a_draft_is_taken_back_by_its_author_or_refused_by_who_decides(house: House) -> None:
    first, second, third = [await drafted(house["Mia"], leaver(house, kind="leave")) for _ in range(3)]
    assert (await decide(house["Mia"], first, "cancel")).json()["state"] == "cancelled"
    assert (await decide(house["Eve"], second, "cancel")).status_code == 200
    check_problem(await decide(house["Ann"], third, "cancel"), 403, "move_out_of_reach")
    check_problem(await decide(house["Eve"], second, version=2), 409, "move_ended")


async def test_what_cannot_be_is_refused_with_the_field_and_what_is_accepted(house: House) -> None:
    nobody = "01935a00-0000-7000-8000-00000000dead"
    goal = await active(house, "Sue")
    for fields, code, pointer in (
        ({"person_id": nobody}, "unknown_person", "/person_id"),
        ({"successor_id": nobody}, "unknown_person", "/successor_id"),
        ({"kind": "transfer", "team_id": nobody}, "unknown_team", "/team_id"),
        ({"kind": "hire"}, "move_refused", "/team_id"),
        ({"kind": "leave", "end": "2099-01-01"}, "invalid_input", "/end"),
        ({"goals": [{"goal_id": goal, "handling": "stay"}]}, "move_refused", "/goals/0/goal_id"),
        ({"ramp": ["1.5"]}, "invalid_input", "/ramp/0"),
    ):
        answer = await house["Rex"].send("POST", "/v1/moves", leaver(house, **fields))
        assert answer.status_code == 422, answer.text
        problem = answer.json()
        assert problem["type"].endswith(code), problem
        assert problem["errors"][0]["pointer"] == pointer, problem
        assert problem["errors"][0].get("accepted") or pointer == "/ramp/0", problem
    again = leaver(house, kind="transfer", team_id=house.ids["North"])
    check_problem(await house["Rex"].send("POST", "/v1/moves", again), 409, "membership_overlaps")
    managing = await drafted(house["Rex"], leaver(house, person_id=house.ids["Mia"], successor_id=None))
    assert managing["effect"]["manages"] == [house.ids["North"]]  # type: ignore[index, call-overload]


async def test_leave_and_ramps_count_in_what_people_can_take_on(house: House) -> None:
    north = {"kind": "team", "id": house.ids["North"]}
    goal = await house.system.made("/v1/goals", {**house.body("Ray"), "owner": north})

    async def full_time() -> str:
        checks = (await house.system.send("GET", f"/v1/goals/{goal}/smart")).json()["checks"]
        achievable = next(check for check in checks if check["check"] == "achievable")
        return str(next(each["value"] for each in achievable["evidence"] if each["name"] == "full_time_people"))

    async def by_capacity() -> dict[str, str]:
        body = {
            "name": "2099",
            "owner": north,
            "period": {"start": "2099-01-01", "end": "2099-04-01"},
            "target": "24200",
            "metric": {"aggregate": "count"},
            "steps": [{"along": "people", "blend": {"capacity": "1"}}],
        }
        scenario = await house.system.made("/v1/scenarios", body)
        nodes = (await house.system.send("GET", f"/v1/scenarios/{scenario}/nodes")).json()["items"]
        return {node["name"]: node["target"] for node in nodes if node["owner"]["kind"] == "person"}

    alike = {"Mia": "8067", "Ray": "8067", "Roy": "8066"}
    assert (await full_time(), await by_capacity()) == ("3", alike)
    leave: dict[str, object] = {
        "person_id": house.ids["Ray"],
        "kind": "leave",
        "start": FEBRUARY,
        "end": "2099-03-01",
        "reason": "Parental leave",
    }
    move = await drafted(house["Rex"], leave)
    assert (await full_time(), await by_capacity()) == ("3", alike)
    assert (await decide(house["Rita"], move)).status_code == 200
    # 20 of the quarter's 64 working days; 28 of its 90 days, of which 62 and 90 are left.
    assert (await full_time(), await by_capacity()) == ("2.69", {"Mia": "9000", "Ray": "6200", "Roy": "9000"})
    ramp: dict[str, object] = {
        "person_id": house.ids["Roy"],
        "kind": "ramp",
        "start": "2099-03-01",
        "ramp": ["0.5"],
        "reason": "New products",
    }
    assert (await decide(house["Rita"], await drafted(house["Rex"], ramp))).status_code == 200
    # 22 working days by half; 31 days by half leave 74.5.
    assert await full_time() == "2.52"
    assert await by_capacity() == {"Mia": "9616", "Ray": "6624", "Roy": "7960"}
