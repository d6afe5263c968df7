"""The audit trail of the goals service over HTTP with real Postgres: who, when, why, before, after."""

from collections.abc import AsyncIterator
from uuid import UUID, uuid4

import asyncpg
import pytest

from shared.http.auth import Role
from tests.servers.infrastructure import service_url
from tests.stories.goals import AHEAD, BOOKINGS, Caller, Service, query, running_goals


@pytest.fixture(scope="module")
async def service(module_database: str) -> AsyncIterator[Service]:
    async with running_goals(module_database) as running:
        yield running


class Desk:
    """A tenant with a service account, and RevOps, a manager and a rep as people."""

    def __init__(self, service: Service) -> None:
        self.tenant = uuid4()
        self.admin = Caller(service, self.tenant, Role.SERVICE)
        self.revops_id = uuid4()
        self.revops = Caller(service, self.tenant, Role.REVOPS, person=self.revops_id)


@pytest.fixture
def desk(service: Service) -> Desk:
    return Desk(service)


async def changes(caller: Caller, query_string: str = "") -> list[dict[str, object]]:
    response = await caller.send("GET", f"/v1/audit{query_string}")
    assert response.status_code == 200, response.text
    return list(response.json()["items"])


async def test_a_change_keeps_who_made_it_when_why_and_what_it_was_before(desk: Desk) -> None:
    ada = await desk.admin.person()
    answer = await desk.revops.send("PATCH", f"/v1/people/{ada}?reason=换了团队", {"active": False}, version=1)
    assert answer.status_code == 200, answer.text
    changed, created = await changes(desk.admin)
    before, after = changed["before"], changed["after"]
    assert isinstance(before, dict) and isinstance(after, dict)
    assert (before["active"], after["active"], changed["changed"]) == (True, False, ["active"])
    assert (changed["change"], changed["version"], changed["reason"]) == ("changed", 2, "换了团队")
    assert changed["actor"] == {"kind": "person", "person_id": str(desk.revops_id)}
    assert (created["change"], created["before"], created["reason"]) == ("created", None, None)
    assert created["actor"] == {"kind": "service", "person_id": None}
    assert created["subject"] == changed["subject"] == f"person/{ada}"
    assert "tenant_id" not in after


async def test_a_revision_gives_its_reason_and_a_deletion_is_told_apart(desk: Desk) -> None:
    ada, team = await desk.admin.person(), await desk.admin.team()
    stay = await desk.admin.member(ada, team)
    await desk.revops.send("DELETE", f"/v1/memberships/{stay}", version=1)
    goal = await desk.admin.goal(ada, period=AHEAD)
    await desk.revops.send("POST", f"/v1/goals/{goal}/activate?reason=Agreed", version=1)
    await desk.admin.send("POST", f"/v1/goals/{goal}/revise", {"target": "2000", "reason": "New territory"}, version=2)
    revised, activated, drafted = await changes(desk.admin, f"?subject=goal/{goal}")
    assert (revised["reason"], revised["changed"]) == ("New territory", ["revision", "target"])
    assert (activated["changed"], drafted["change"]) == (["status"], "created")
    [deleted, _] = await changes(desk.admin, "?kind=membership")
    assert (deleted["change"], deleted["changed"]) == ("deleted", ["deleted"])


async def test_the_trail_is_filtered_by_kind_person_and_time_and_read_in_pages(desk: Desk) -> None:
    ada = await desk.admin.person()
    await desk.revops.send("PATCH", f"/v1/people/{ada}", {"name": "Ada B"}, version=1)
    await desk.admin.team()
    assert [each["subject"] for each in await changes(desk.admin, "?kind=person")] == [f"person/{ada}"] * 2
    [by_person] = await changes(desk.admin, f"?actor_id={desk.revops_id}")
    assert by_person["version"] == 2
    moment = str(by_person["changed_at"])
    assert [each["version"] for each in await changes(desk.admin, f"?kind=person&since={moment}")] == [2]
    assert [each["version"] for each in await changes(desk.admin, f"?kind=person&until={moment}")] == [1]
    first = (await desk.admin.send("GET", "/v1/audit?limit=2")).json()
    rest = (await desk.admin.send("GET", f"/v1/audit?limit=2&cursor={first['next_cursor']}")).json()
    ids = [each["id"] for each in [*first["items"], *rest["items"]]]
    assert (len(ids), ids, rest["next_cursor"]) == (3, sorted(ids, reverse=True), None)


async def test_who_sees_a_goal_sees_its_changes_and_nobody_else_does(desk: Desk, service: Service) -> None:
    ada, bo = await desk.admin.person(), await desk.admin.person("Bo")
    goal = await desk.admin.goal(ada)
    rep = Caller(service, desk.tenant, Role.REP, person=UUID(ada))
    other = Caller(service, desk.tenant, Role.REP, person=UUID(bo))
    seen = await rep.send("GET", f"/v1/goals/{goal}/changes")
    assert [each["change"] for each in seen.json()["items"]] == ["created"]
    assert (await other.send("GET", f"/v1/goals/{goal}/changes")).status_code == 404
    assert (await rep.send("GET", "/v1/audit")).status_code == 403
    manager = Caller(service, desk.tenant, Role.MANAGER, person=UUID(ada))
    assert (await manager.send("GET", "/v1/audit")).status_code == 403
    assert (
        await Caller(service, desk.tenant, Role.FINANCE, person=uuid4()).send("GET", "/v1/audit")
    ).status_code == 200
    stranger = Caller(service, uuid4(), Role.ADMIN, person=uuid4())
    assert await changes(stranger) == []


async def test_what_was_there_before_the_trail_is_its_own_before(desk: Desk, service: Service) -> None:
    ada = await desk.admin.person()
    await query(service, "DELETE FROM goals.audit WHERE tenant_id = $1", desk.tenant)
    await desk.revops.send("PATCH", f"/v1/people/{ada}", {"name": "Ada B"}, version=1)
    [change] = await changes(desk.admin)
    before = change["before"]
    assert isinstance(before, dict)
    assert (before["name"], change["changed"], change["version"]) == ("Ada", ["name"], 2)


async def test_a_refused_change_leaves_no_trace(desk: Desk) -> None:
    ada = await desk.admin.person()
    assert (await desk.revops.send("PATCH", f"/v1/people/{ada}", {"name": "X"}, version=9)).status_code == 412
    assert [each["version"] for each in await changes(desk.admin)] == [1]


async def test_the_service_itself_cannot_rewrite_the_trail(desk: Desk, service: Service) -> None:
    await desk.admin.person()
    connection = await asyncpg.connect(service_url(service.database_url, "goals"))
    try:
        await connection.execute("SET ROLE goals_app")
        for statement in ("UPDATE goals.audit SET reason = 'x'", "DELETE FROM goals.audit", "TRUNCATE goals.audit"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(statement)
    finally:
        await connection.close()


async def test_rates_are_on_the_trail_month_by_month(desk: Desk) -> None:
    calendar = {"start_month": 1, "time_zone": "UTC", "currency": "CNY"}
    assert (await desk.admin.send("PUT", "/v1/calendar", calendar)).status_code == 200
    for rate in ("7.2", "7.3"):
        rates = [{"currency": "USD", "date": "2026-03-02", "rate": rate}]
        stated = await desk.revops.send("PUT", "/v1/exchange-rates?reason=Central bank", rates)
        assert stated.status_code == 200, stated.text
    corrected, first = await changes(desk.admin, "?kind=exchange-rates")
    assert (corrected["changed"], corrected["reason"], first["change"]) == (["rates"], "Central bank", "created")


async def test_goal_templates_are_on_the_trail_though_nobody_is_told_of_them(desk: Desk) -> None:
    path = "/v1/goal-templates"
    template = {"name": "Quarter", "metric": BOOKINGS, "unit": "USD"}
    made = await desk.revops.made(path, template)
    renamed = await desk.revops.send("PATCH", f"{path}/{made}?reason=Clearer", {"name": "Bookings"}, version=1)
    assert renamed.status_code == 200, renamed.text
    assert (await desk.admin.send("DELETE", f"{path}/{made}", version=2)).status_code == 204
    deleted, changed, created = await changes(desk.admin, f"?subject=goal-template/{made}")
    assert [each["change"] for each in (created, changed, deleted)] == ["created", "changed", "deleted"]
    before, after = changed["before"], changed["after"]
    assert isinstance(before, dict) and isinstance(after, dict)
    assert (before["name"], after["name"], changed["changed"]) == ("Quarter", "Bookings", ["name"])
    assert (changed["reason"], changed["actor"]) == (
        "Clearer",
        {"kind": "person", "person_id": str(desk.revops_id)},
    )
    assert "tenant_id" not in after and before["metric"]["currency"] == "USD"
    assert len(await changes(desk.admin, "?kind=goal-template")) == 3
    assert await desk.admin.events() == []
