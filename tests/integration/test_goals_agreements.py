"""Who drafts, proposes, decides and comments on goals, over HTTP with real Postgres."""

from collections.abc import AsyncIterator

import pytest

from tests.servers.api import check_problem
from tests.stories.goals import Service, running_goals
from tests.stories.house import House


@pytest.fixture(scope="module")
async def service(module_database: str) -> AsyncIterator[Service]:
    async with running_goals(module_database) as running:
        yield running


@pytest.fixture(scope="module")
async def house(service: Service) -> House:
    return await House(service).furnish()


@pytest.mark.parametrize(
    ("by", "owner", "status"),
    [
        ("Ray", "Ray", 201),
        ("Ray", "Roy", 403),
        ("Ray", "North", 403),
        ("Mia", "Ray", 201),
        ("Mia", "North", 201),
        ("Mia", "Sales", 403),
        ("Mia", "Eve", 403),
        ("Eve", "North", 201),
        ("Rex", "Sales", 201),
        ("Ann", "Ray", 403),
    ],
)
async def test_goals_are_drafted_for_oneself_in_the_subtree_or_by_revops(
    house: House, by: str, owner: str, status: int
) -> None:
    answer = await house.drafted(by, owner)
    assert answer.status_code == status, answer.text
    if status == 403:
        check_problem(answer, 403, "goal_out_of_reach")


@pytest.mark.parametrize(
    ("author", "owner", "approver", "refused"),
    [
        ("Ray", "Ray", "Mia", None),
        ("Ray", "Ray", "Eve", None),
        ("Ray", "Ray", "Rex", None),
        ("Ray", "Ray", "Ray", "goal_out_of_reach"),
        ("Mia", "Ray", "Mia", "approval_not_independent"),
        ("Mia", "Mia", "Mia", "own_interest"),
        ("Rex", "North", "Mia", "own_interest"),
        ("Mia", "North", "Eve", None),
        ("Eve", "Sales", "Eve", "own_interest"),
        ("Eve", "Sales", "Rex", None),
        ("Rex", "Ray", "Rex", "approval_not_independent"),
        ("Rex", "Ray", "Rita", None),
        ("Rex", "Ray", "Ann", "goal_out_of_reach"),
    ],
)
async def test_a_draft_is_approved_by_a_superior_who_wrote_no_part_of_it_and_is_not_measured(
    house: House, author: str, owner: str, approver: str, refused: str | None
) -> None:
    goal = (await house.drafted(author, owner)).json()["id"]
    answer = await house[approver].send("POST", f"/v1/goals/{goal}/activate?reason=Agreed", version=1)
    if refused is None:
        assert (answer.status_code, answer.json()["status"]) == (200, "active"), answer.text
    else:
        check_problem(answer, 403, refused)


async def test_who_edited_a_draft_wrote_a_part_of_it(house: House) -> None:
    goal = (await house.drafted("Ray", "Ray")).json()["id"]
    edited = await house["Mia"].send("PATCH", f"/v1/goals/{goal}", {"target": "2000"}, version=1)
    assert edited.status_code == 200, edited.text
    refused = await house["Mia"].send("POST", f"/v1/goals/{goal}/activate", version=2)
    check_problem(refused, 403, "approval_not_independent")
    assert (await house["Eve"].send("POST", f"/v1/goals/{goal}/activate?reason=Agreed", version=2)).status_code == 200


async def test_a_change_is_proposed_approved_by_another_and_becomes_the_next_revision(house: House) -> None:
    goal = await house.active("Ray")
    path = f"/v1/goals/{goal}"
    direct = await house["Rex"].send("POST", f"{path}/revise", {"target": "3000", "reason": "More"}, version=2)
    check_problem(direct, 403, "approval_not_independent")
    made = await house["Ray"].send("POST", f"{path}/proposals", {"target": "900", "reason": "Lost a territory"})
    assert made.status_code == 201, made.text
    proposal = made.json()
    assert (proposal["changes"], proposal["state"]) == ({"target": "900"}, "pending")
    assert (await house["Mia"].send("GET", path)).json()["target"] == "1000.5"
    inbox = f"/v1/goals/proposals?state=pending&goal_id={goal}"
    assert await house["Mia"].ids(inbox) == {proposal["id"]}
    assert await house["Roy"].ids(inbox) == set()
    decide = f"{path}/proposals/{proposal['id']}/approve"
    check_problem(await house["Ray"].send("POST", decide, {}, version=1), 403, "goal_out_of_reach")
    approved = await house["Mia"].send("POST", decide, {"reason": "Agreed"}, version=1)
    assert approved.status_code == 200, approved.text
    decision = approved.json()["decision"]
    assert (approved.json()["state"], decision["reason"]) == ("approved", "Agreed")
    assert decision["actor"]["person_id"] == house.ids["Mia"]
    now = (await house["Ray"].send("GET", path)).json()
    assert (now["target"], now["revision"]) == ("900", 2)
    [latest, *_] = (await house["Ray"].send("GET", f"{path}/changes")).json()["items"]
    assert (latest["actor"]["person_id"], latest["reason"]) == (house.ids["Mia"], "Lost a territory")
    check_problem(await house["Mia"].send("POST", decide, {}, version=2), 409, "proposal_decided")


async def test_who_proposed_does_not_approve_and_neither_does_whom_it_measures(house: House) -> None:
    goal = await house.active("North")
    path = f"/v1/goals/{goal}/proposals"
    by_eve = (await house["Eve"].send("POST", path, {"target": "2000", "reason": "More"})).json()["id"]
    approve, reject = f"{path}/{by_eve}/approve", f"{path}/{by_eve}/reject"
    check_problem(await house["Eve"].send("POST", approve, {}, version=1), 403, "approval_not_independent")
    check_problem(await house["Mia"].send("POST", approve, {}, version=1), 403, "own_interest")
    check_problem(await house["Mia"].send("POST", reject, {"reason": "No"}, version=1), 403, "own_interest")
    assert (await house["Rex"].send("POST", approve, {}, version=1)).status_code == 200


async def test_a_proposal_is_rejected_with_a_reason_withdrawn_by_its_author_or_outdated(house: House) -> None:
    goal = await house.active("Ray")
    path = f"/v1/goals/{goal}/proposals"

    async def proposed(target: str) -> str:
        made = await house["Ray"].send("POST", path, {"target": target, "reason": "Because"})
        return str(made.json()["id"])

    first, second, third = await proposed("900"), await proposed("800"), await proposed("700")
    rejected = await house["Mia"].send("POST", f"{path}/{first}/reject", {"reason": "Not yet"}, version=1)
    assert (rejected.json()["state"], rejected.json()["decision"]["reason"]) == ("rejected", "Not yet")
    check_problem(await house["Mia"].send("POST", f"{path}/{second}/withdraw", version=1), 403, "not_the_author")
    assert (await house["Ray"].send("POST", f"{path}/{second}/withdraw", version=1)).json()["state"] == "withdrawn"
    body = {"target": "1500", "reason": "System"}
    revised = await house.system.send("POST", f"/v1/goals/{goal}/revise", body, version=2)
    assert revised.status_code == 200, revised.text
    check_problem(await house["Mia"].send("POST", f"{path}/{third}/approve", {}, version=1), 409, "proposal_outdated")
    check_problem(await house["Mia"].send("POST", f"{path}/{third}/approve", {}, version=7), 412, "version_mismatch")
    other = await house.active("Roy")
    wrong = await house["Mia"].send("POST", f"/v1/goals/{other}/proposals/{third}/approve", {}, version=1)
    check_problem(wrong, 404, "proposal_not_found")


async def test_what_could_not_be_revised_cannot_be_proposed(house: House) -> None:
    goal = await house.active("Ray")
    path = f"/v1/goals/{goal}/proposals"
    for body, status, code in (
        ({"target": "0", "reason": "x"}, 422, "goal_terms_refused"),
        ({"parent_id": goal, "reason": "x"}, 422, "goal_circle"),
        ({"owner": {"kind": "person", "id": house.ids["Roy"]}, "reason": "x"}, 403, "goal_out_of_reach"),
    ):
        check_problem(await house["Ray"].send("POST", path, body), status, code)
    check_problem(await house["Roy"].send("POST", path, {"target": "5", "reason": "x"}), 404, "goal_not_found")
    draft = (await house.drafted("Ray", "Ray")).json()["id"]
    answer = await house["Ray"].send("POST", f"/v1/goals/{draft}/proposals", {"target": "5", "reason": "x"})
    check_problem(answer, 409, "goal_not_active")


async def test_only_who_decides_closes_or_cancels_a_goal_in_force(house: House) -> None:
    goal = await house.active("Ray")
    for verb in ("close", "cancel"):
        check_problem(await house["Ray"].send("POST", f"/v1/goals/{goal}/{verb}", version=2), 403, "goal_out_of_reach")
        check_problem(await house["Roy"].send("POST", f"/v1/goals/{goal}/{verb}", version=2), 404, "goal_not_found")
    assert (await house["Mia"].send("POST", f"/v1/goals/{goal}/close", version=2)).json()["status"] == "closed"
    draft = (await house.drafted("Ray", "Ray")).json()["id"]
    assert (await house["Ray"].send("POST", f"/v1/goals/{draft}/cancel", version=1)).json()["status"] == "cancelled"
    team = await house.active("North")
    check_problem(await house["Mia"].send("POST", f"/v1/goals/{team}/cancel", version=2), 403, "own_interest")


async def test_everybody_who_sees_a_goal_comments_on_it_and_reads_the_comments(house: House) -> None:
    goal = await house.active("Ray")
    path = f"/v1/goals/{goal}/comments"
    for name in ("Ray", "Mia", "Eve", "Ann"):
        assert (await house[name].send("POST", path, {"text": f"{name} 同意"})).status_code == 201
    check_problem(await house["Roy"].send("POST", path, {"text": "me too"}), 404, "goal_not_found")
    check_problem(await house["Roy"].send("GET", path), 404, "goal_not_found")
    items = (await house["Ray"].send("GET", path)).json()["items"]
    assert [(each["text"], each["author"]["person_id"]) for each in items] == [
        (f"{name} 同意", house.ids[name]) for name in ("Ray", "Mia", "Eve", "Ann")
    ]
