"""SMART checks over HTTP with real Postgres: what they say, whom they hold, and what is acknowledged."""

from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from uuid import UUID, uuid4

import httpx
import pytest

from services.goals.evidence.service import Evidence
from shared.contracts.actuals import Actuals
from shared.db.database import Database, Scope
from shared.http.auth import Role
from tests.servers.api import check_problem
from tests.stories.goals import AHEAD, Caller, Service, goal_body, pointers, query, running_goals

WARNS = {"measurable", "achievable", "relevant", "time_bound"}


@pytest.fixture(scope="module")
async def service(module_database: str) -> AsyncIterator[Service]:
    async with running_goals(module_database) as running:
        yield running


class House:
    """Mia manages Ann, Ben and Cat in the team North; Rex is RevOps, Fin is finance, and nobody knows Zoe."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self.tenant = uuid4()
        self.system = Caller(service, self.tenant, Role.SERVICE)
        self.ids: dict[str, str] = {}

    async def furnish(self) -> "House":
        for name in ("Mia", "Ann", "Ben", "Cat", "Rex", "Fin", "Zoe"):
            self.ids[name] = await self.system.person(name)
        self.ids["North"] = await self.system.team("North", manager_id=self.ids["Mia"])
        for name in ("Ann", "Ben", "Cat"):
            await self.system.member(self.ids[name], self.ids["North"])
            user = {"source": "crm", "external_user_id": name, "person_id": self.ids[name]}
            await self.system.made("/v1/identities", user)
        return self

    def __getitem__(self, name: str) -> Caller:
        roles = {"Mia": Role.MANAGER, "Rex": Role.REVOPS, "Fin": Role.FINANCE}
        return Caller(self._service, self.tenant, roles.get(name, Role.REP), person=UUID(self.ids[name]))

    async def won(self, name: str, *values: int) -> None:
        """So much in each of the last months that are over, the newest first."""
        today = datetime.now(UTC).date()
        events = []
        for number, value in enumerate(values, 1):
            years, month = divmod(today.year * 12 + today.month - 1 - number, 12)
            events.append(
                Actuals(
                    tenant_id=self.tenant,
                    person_id=UUID(self.ids[name]),
                    month=f"{date(years, month + 1, 1):%Y-%m}",
                    version=1,
                    currency="USD",
                    won_value=Decimal(value),
                    won_number=Decimal(1),
                    open_value=Decimal(0),
                    open_number=Decimal(0),
                    unconverted=Decimal(0),
                    changed_at=datetime.now(UTC),
                )
            )
        database = Database(self._service.database_url, service="goals")
        try:
            async with database.transaction(Scope.of(self.tenant)) as tx:
                await Evidence().store_newest(tx, events)
        finally:
            await database.close()

    async def drafted(self, owner: str, **fields: object) -> str:
        kind = "team" if owner == "North" else "person"
        return await self.system.goal(self.ids[owner], kind=kind, **{"period": AHEAD, **fields})


@pytest.fixture(scope="module")
async def house(service: Service) -> House:
    return await House(service).furnish()


async def checks(caller: Caller, goal: str) -> dict[str, dict[str, object]]:
    response = await caller.send("GET", f"/v1/goals/{goal}/smart")
    assert response.status_code == 200, response.text
    return {check["check"]: check for check in response.json()["checks"]}


async def acknowledged(
    caller: Caller, goal: str, letters: list[str], version: int = 1, reason: str = "A new market"
) -> httpx.Response:
    body = {"checks": letters, "reason": reason}
    return await caller.send("POST", f"/v1/goals/{goal}/smart/acknowledge", body, version=version)


async def activated(caller: Caller, goal: str, version: int = 1, reason: str | None = None) -> httpx.Response:
    because = "" if reason is None else f"?reason={reason}"
    return await caller.send("POST", f"/v1/goals/{goal}/activate{because}", version=version)


def next_month() -> dict[str, object]:
    day = datetime.now(UTC).date().replace(day=1) + timedelta(31)
    return {"kind": "month", "containing": day.isoformat()}


async def test_a_probability_names_its_sample_and_what_would_pass(house: House) -> None:
    await house.won("Ann", 100, 200, 300, 400)
    await house.won("Ben", 10, 20, 30, 40)
    goal = await house.drafted("Ann", target="1000", period=next_month())
    found = (await checks(house["Ann"], goal))["achievable"]
    assert found["verdict"] == "warn"
    # Ben at ten times his level makes the same four months once more: none of eight reaches 1,000, 1 ÷ 10.
    assert found["probability"] == {
        "value": "0.1",
        "source": "history_and_peers",
        "sample": 8,
        "attained_in": 0,
        "peer_periods": 4,
    }
    assert found["accepted"] is not None and "more than" in str(found["accepted"])
    evidence = found["evidence"]
    assert isinstance(evidence, list)
    assert [each["value"] for each in evidence if each["name"] == "owner_period"] == ["100", "200", "300", "400"]
    # One peer of whom something is known: a median would show what he reached.
    assert [each["value"] for each in evidence if each["name"] == "peers"] == ["1"]
    assert "median_of_peers" not in {each["name"] for each in evidence}
    nothing_known = (await checks(house["Rex"], await house.drafted("Zoe")))["achievable"]
    assert (nothing_known["verdict"], nothing_known["probability"]) == ("warn", None)
    assert "cannot be told" in str(nothing_known["reason"])


async def test_a_blocked_activation_names_what_would_pass_and_each_warning_is_acknowledged(house: House) -> None:
    goal = await house.drafted("Zoe")
    refused = await activated(house["Rex"], goal)
    check_problem(refused, 409, "goal_check_unacknowledged")
    assert set(pointers(refused)) == {"/owner", "/target", "/parent_id", "/check_in"}
    assert all(error["accepted"] for error in refused.json()["errors"])
    check_problem(await acknowledged(house["Rex"], goal, ["specific"]), 422, "invalid_input")
    first = await acknowledged(house["Rex"], goal, ["measurable", "achievable", "relevant"])
    assert first.status_code == 200, first.text
    state = {each["check"]: each["acknowledged"] for each in first.json()["checks"]}
    assert {letter for letter, done in state.items() if done} == WARNS - {"time_bound"}
    assert pointers(await activated(house["Rex"], goal)) == ["/check_in"]
    assert (await acknowledged(house["Rex"], goal, ["time_bound"])).status_code == 200
    assert (await activated(house["Rex"], goal)).status_code == 200
    check_problem(await acknowledged(house["Rex"], goal, ["relevant"], version=2), 409, "goal_not_draft")
    kept = (await house["Rex"].send("GET", f"/v1/goals/{goal}/smart/acknowledgements")).json()["items"]
    assert [(each["reason"], each["acknowledged_by"]["person_id"], each["goal_version"]) for each in kept] == [
        ("A new market", house.ids["Rex"], 1)
    ] * 2


async def test_an_edit_needs_the_acknowledgement_again_and_the_former_one_is_kept(house: House) -> None:
    goal = await house.drafted("Ann")
    warns = sorted(name for name, each in (await checks(house["Rex"], goal)).items() if each["verdict"] == "warn")
    assert (await acknowledged(house["Rex"], goal, warns)).status_code == 200
    edited = await house.system.send("PATCH", f"/v1/goals/{goal}", {"target": "2000"}, version=1)
    assert edited.status_code == 200, edited.text
    check_problem(await activated(house["Rex"], goal, 2), 409, "goal_check_unacknowledged")
    check_problem(await acknowledged(house["Rex"], goal, warns, version=1), 412, "version_mismatch")
    assert (await activated(house["Rex"], goal, 2, reason="Still")).status_code == 200
    kept = (await house["Rex"].send("GET", f"/v1/goals/{goal}/smart/acknowledgements")).json()["items"]
    assert [(each["goal_version"], each["reason"]) for each in kept] == [(1, "A new market"), (2, "Still")]


async def test_terms_that_answer_every_check_are_activated_without_a_word(house: House) -> None:
    await house.won("Cat", *range(100, 1300, 100))
    whole = await house.drafted("North", top=True)
    goal = await house.drafted("Cat", target="700", parent_id=whole, check_in="weekly", period=next_month())
    assert {each["verdict"] for each in (await checks(house["Mia"], goal)).values()} == {"pass"}
    assert (await activated(house["Mia"], goal)).status_code == 200
    assert (await house["Mia"].send("GET", f"/v1/goals/{goal}/smart/acknowledgements")).json()["items"] == []


async def test_a_period_that_is_over_fails_for_people_and_is_noted_of_services(house: House) -> None:
    goal = await house.drafted("Ann", period={"start": "2026-01-01", "end": "2026-04-01"})
    assert (await checks(house["Rex"], goal))["time_bound"]["verdict"] == "fail"
    refused = await activated(house["Rex"], goal, reason="Late")
    check_problem(refused, 422, "goal_check_failed")
    assert "/period" in pointers(refused)
    assert (await checks(house.system, goal))["time_bound"]["verdict"] == "warn"
    assert (await activated(house.system, goal)).status_code == 200
    [kept] = (await house.system.send("GET", f"/v1/goals/{goal}/smart/acknowledgements")).json()["items"]
    assert (kept["reason"], kept["acknowledged_by"]["kind"]) == (None, "service")
    assert "time_bound" in kept["checks"]


@pytest.mark.parametrize(
    ("by", "read", "acknowledge"),
    [
        ("Mia", 200, 200),
        ("Rex", 200, 200),
        ("Ann", 200, 403),
        ("Fin", 200, 403),
        ("Ben", 404, 404),
    ],
)
async def test_who_sees_a_goal_reads_its_checks_and_who_decides_acknowledges(
    house: House, by: str, read: int, acknowledge: int
) -> None:
    goal = await house.drafted("Ann")
    assert (await house[by].send("GET", f"/v1/goals/{goal}/smart")).status_code == read
    assert (await house[by].send("GET", f"/v1/goals/{goal}/smart/acknowledgements")).status_code == read
    assert (await acknowledged(house[by], goal, ["relevant"])).status_code == acknowledge
    stranger = Caller(house.system.service, uuid4(), Role.ADMIN, person=uuid4())
    assert (await stranger.send("GET", f"/v1/goals/{goal}/smart")).status_code == 404


async def test_nobody_acknowledges_what_warns_of_a_goal_of_their_own(house: House) -> None:
    goal = await house.drafted("Mia")
    boss = Caller(house.system.service, house.tenant, Role.REVOPS, person=UUID(house.ids["Mia"]))
    check_problem(await acknowledged(boss, goal, ["relevant"]), 403, "own_interest")


async def test_many_are_held_to_the_checks_together_and_one_reason_acknowledges(house: House) -> None:
    fine, past = (
        await house.drafted("Ann"),
        await house.drafted("Ann", period={"start": "2026-01-01", "end": "2026-04-01"}),
    )
    wanted = {"activate": [{"id": fine, "version": 1}, {"id": past, "version": 1}]}
    both = await house["Rex"].send("POST", "/v1/goals/bulk?reason=Plan", wanted)
    check_problem(both, 422, "items_refused")
    assert {pointer.rsplit("/", 1)[0] for pointer in pointers(both)} == {"/activate/1"}
    rows = "SELECT goal_id FROM goals.smart_acknowledgements WHERE goal_id = $1"
    assert await query(house.system.service, rows, UUID(fine)) == []
    unsaid = await house["Rex"].send("POST", "/v1/goals/bulk", {"activate": wanted["activate"][:1]})
    assert {pointer.rsplit("/", 1)[0] for pointer in pointers(unsaid)} == {"/activate/0"}
    one = await house["Rex"].send("POST", "/v1/goals/bulk?reason=Plan", {"activate": wanted["activate"][:1]})
    assert one.status_code == 200, one.text
    assert len(await query(house.system.service, rows, UUID(fine))) == 1


async def test_the_top_is_no_part_of_another_goal_and_both_terms_are_on_the_trail(house: House) -> None:
    whole = await house.drafted("North", top=True, check_in="monthly")
    part = await house.drafted("Ann", top=True, parent_id=whole)
    refused = await activated(house.system, part)
    check_problem(refused, 422, "goal_terms_refused")
    assert pointers(refused) == ["/top"]
    stored = (await house.system.send("GET", f"/v1/goals/{whole}")).json()
    assert (stored["top"], stored["check_in"]) == (True, "monthly")
    plain = (await house.system.send("POST", "/v1/goals", goal_body(house.ids["Ann"]))).json()
    assert (plain["top"], plain["check_in"]) == (False, "none")
    await house.system.send("PATCH", f"/v1/goals/{whole}", {"check_in": "weekly"}, version=1)
    [change, _] = (await house.system.send("GET", f"/v1/goals/{whole}/changes")).json()["items"]
    assert change["changed"] == ["check_in"]
