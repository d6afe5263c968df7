"""Scenarios over HTTP with real Postgres: worked out, changed, compared, committed to, made goals by jobs."""

from collections.abc import AsyncIterator, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from uuid import UUID, uuid4

import httpx
import pytest

from services.goals.calendar.service import Calendars
from services.goals.evidence.service import Evidence
from services.goals.jobs.service import Jobs
from services.goals.jobs.work import JobRunner
from services.goals.metadata import audit, transport
from services.goals.moves.service import strengths
from services.goals.org.service import Organisation
from services.goals.planning.knowing import Knowledge
from services.goals.planning.service import Planning
from services.goals.smart.service import SmartChecks
from services.goals.targets.service import Goals
from shared.contracts.actuals import Actuals
from shared.db.database import Database, Scope
from shared.http.auth import Role
from shared.outbox.outbox import Outbox
from shared.outbox.trail import Trail
from tests.integration.test_goals_worker import running_worker
from tests.servers.api import check_problem
from tests.servers.infrastructure import eventually, own_ports, service_url
from tests.stories.goals import BOOKINGS, Caller, Service, query, running_goals

ROLES = {"Eve": Role.MANAGER, "Mia": Role.MANAGER, "Rex": Role.REVOPS, "Rita": Role.REVOPS, "Ann": Role.FINANCE}
YEAR = {"start": "2027-01-01", "end": "2028-01-01"}
BY_QUARTER = {"along": "time", "into": "quarter", "shape": "equal"}
WON = {"Ray": {"2026-01": "300", "2026-07": "100"}, "Roy": {"2026-02": "200"}, "Sue": {"2025-12": "9"}}
"""What they won by month: 400, 200 and nothing in 2026."""


_OUTBOX = Outbox(transport)
ORGANISATION = Organisation(_OUTBOX, Calendars(_OUTBOX))


@pytest.fixture(scope="module")
async def service(module_database: str) -> AsyncIterator[Service]:
    async with running_goals(module_database) as running:
        yield running


@pytest.fixture(scope="module")
async def database(service: Service) -> AsyncIterator[Database]:
    opened = Database(service.database_url, service="goals")
    yield opened
    await opened.close()


@pytest.fixture(scope="module")
def planning() -> Planning:
    """As the worker has it."""
    trail = Trail(audit)
    outbox = Outbox(transport, trail=trail)
    calendars = Calendars(outbox)
    organisation = Organisation(outbox, calendars)
    evidence = Evidence()
    checks = SmartChecks(organisation, calendars, evidence, strengths)
    goals = Goals(outbox, organisation, calendars, trail, checks)
    knowledge = Knowledge(organisation, calendars, evidence, strengths)
    return Planning(goals, organisation, calendars, knowledge, Jobs(), checks.chances, trail)


class House:
    """Eve leads Sales with the teams North (Mia: Ray, Roy) and South (Sue); Rex and Rita are RevOps."""

    def __init__(self, service: Service, database: Database, planning: Planning) -> None:
        self._service = service
        self.database = database
        self._planning = planning
        self.tenant = uuid4()
        self.system = Caller(service, self.tenant, Role.SERVICE)
        self.ids: dict[str, str] = {}

    async def furnish(self) -> "House":
        calendar = {"start_month": 1, "time_zone": "UTC", "currency": "USD"}
        assert (await self.system.send("PUT", "/v1/calendar", calendar)).status_code == 200
        for name in ("Eve", "Mia", "Ray", "Roy", "Sue", "Rex", "Rita", "Ann"):
            self.ids[name] = await self.system.person(name)
        self.ids["Sales"] = await self.system.team("Sales", manager_id=self.ids["Eve"])
        for team, manager, people in (("North", "Mia", ("Ray", "Roy")), ("South", None, ("Sue",))):
            manager_id = None if manager is None else self.ids[manager]
            self.ids[team] = await self.system.team(team, manager_id=manager_id, parent_id=self.ids["Sales"])
            for person in people:
                await self.system.member(self.ids[person], self.ids[team])
        events = [self.actuals(person, month, won) for person, by in WON.items() for month, won in by.items()]
        async with self.database.transaction(Scope.of(self.tenant)) as tx:
            await Evidence().store_newest(tx, events)
        return self

    def actuals(self, person: str, month: str, won: str, *, version: int = 1) -> Actuals:
        return Actuals(
            tenant_id=self.tenant,
            person_id=UUID(self.ids[person]),
            month=month,
            version=version,
            currency="USD",
            won_value=Decimal(won),
            won_number=Decimal(1),
            open_value=Decimal(0),
            open_number=Decimal(0),
            unconverted=Decimal(0),
            changed_at=datetime(2026, 8, 1, tzinfo=UTC),
        )

    def __getitem__(self, name: str) -> Caller:
        return Caller(self._service, self.tenant, ROLES.get(name, Role.REP), person=UUID(self.ids[name]))

    def body(self, **fields: object) -> dict[str, object]:
        return {
            "name": "2027",
            "owner": {"kind": "team", "id": self.ids["Sales"]},
            "period": YEAR,
            "target": "1200000",
            "metric": BOOKINGS,
            "steps": [{"along": "people"}, {"along": "people", "tolerance": "0.05"}, BY_QUARTER],
            **fields,
        }

    async def scenario(self, **fields: object) -> dict[str, object]:
        made = await self["Rex"].send("POST", "/v1/scenarios", self.body(**fields))
        assert made.status_code == 201, made.text
        found: dict[str, object] = made.json()
        return found

    async def nodes(self, scenario: str, caller: Caller | None = None) -> dict[tuple[str, str], dict[str, str]]:
        """By the owner's name and the period's first and last month."""
        found: dict[tuple[str, str], dict[str, str]] = {}
        cursor = ""
        while True:
            path = f"/v1/scenarios/{scenario}/nodes?limit=7{cursor}"
            page = (await (caller or self.system).send("GET", path)).json()
            for node in page["items"]:
                found[node["name"], f"{node['period']['start'][:7]}..{node['period']['end'][:7]}"] = node
            if page["next_cursor"] is None:
                return found
            cursor = f"&cursor={page['next_cursor']}"

    async def targets(self, scenario: str) -> dict[tuple[str, str], str]:
        return {place: node["target"] for place, node in (await self.nodes(scenario)).items()}

    async def changed(self, by: str, scenario: str, version: int, **change: object) -> httpx.Response:
        return await self[by].send("POST", f"/v1/scenarios/{scenario}/changes", change, version=version)

    async def work(self) -> None:
        await JobRunner(self.database, Jobs(), self._planning.works, ORGANISATION.check_active).work_all()

    async def job(self, answer: httpx.Response) -> dict[str, object]:
        """What became of a job that was requested, once it has been worked at."""
        assert answer.status_code == 202, answer.text
        await self.work()
        found: dict[str, object] = (await self.system.send("GET", f"/v1/jobs/{answer.json()['id']}")).json()
        return found


OVER_ASSIGNED = [{"along": "people", "over_assignment": "0.1"}]
WHOLE = "2027-01..2028-01"
Q1 = "2027-01..2027-04"


@pytest.fixture(scope="module")
async def house(service: Service, database: Database, planning: Planning) -> House:
    return await House(service, database, planning).furnish()


async def test_a_target_is_split_down_the_organisation_and_the_year_exactly(house: House) -> None:
    scenario = await house.scenario()
    assert (scenario["nodes"], scenario["mismatches"], scenario["state"]) == (1 + 2 + 3 + 12, 0, "draft")
    targets = await house.targets(str(scenario["id"]))
    assert {name: targets[name, WHOLE] for name in ("Sales", "North", "South", "Ray", "Roy", "Sue")} == {
        "Sales": "1200000",
        "North": "600000",
        "South": "600000",
        "Ray": "300000",
        "Roy": "300000",
        "Sue": "600000",
    }
    assert targets["Ray", Q1] == "75000"


async def test_history_decides_by_what_was_won_in_the_same_months_of_the_year_before(house: House) -> None:
    steps = [{"along": "people", "blend": {"history": "0.8", "equal": "0.2"}}]
    north = {"kind": "team", "id": house.ids["North"]}
    scenario = await house.scenario(owner=north, target="1000", steps=steps)
    nodes = await house.nodes(str(scenario["id"]))
    # Ray won 400 and Roy 200 in 2026: 0.8 * 2/3 + 0.2 * 1/2 of 1,000, to the cent.
    assert (nodes["Ray", WHOLE]["target"], nodes["Roy", WHOLE]["target"]) == ("633.33", "366.67")
    assert (nodes["Ray", WHOLE]["last_year"], nodes["Ray", WHOLE]["change"]) == ("400", "0.583325")
    assert (nodes["North", WHOLE]["last_year"], nodes["North", WHOLE]["change"]) == ("600", "0.666667")


async def test_what_nobody_has_any_of_is_said(house: House) -> None:
    south = {"kind": "team", "id": house.ids["South"]}
    scenario = await house.scenario(owner=south, steps=[{"along": "people", "blend": {"pipeline": "1"}}])
    [remark] = scenario["remarks"] if isinstance(scenario["remarks"], list) else []
    assert (remark["lacking"], remark["evenly"]) == (["pipeline"], True)


async def test_seasons_are_learned_from_actuals_and_refused_without_any(house: House) -> None:
    seasonal = {"along": "time", "into": "month", "shape": "seasonal"}
    ray = {"kind": "person", "id": house.ids["Ray"]}
    scenario = await house.scenario(owner=ray, target="400", decimals=0, steps=[seasonal])
    targets = await house.targets(str(scenario["id"]))
    months = {place[1][:7]: target for place, target in targets.items() if place[1] != WHOLE}
    assert {month for month, target in months.items() if target != "0"} == {"2027-01", "2027-07"}
    # Index 9 and 3 of 12 months, 21 working days in January 2027 and 22 in July: 400 * 189 / 255.
    assert (months["2027-01"], months["2027-07"]) == ("296", "104")
    body = house.body(owner={"kind": "person", "id": house.ids["Ann"]}, steps=[seasonal])
    refused = await house["Rex"].send("POST", "/v1/scenarios", body)
    check_problem(refused, 422, "evidence_lacking")
    assert refused.json()["errors"][0]["pointer"] == "/steps/0/shape"


async def test_what_a_plan_cannot_be_is_refused_with_the_field_and_what_is_accepted(house: House) -> None:
    for fields, pointer in (
        ({"steps": [{"along": "people", "blend": {"equal": "0.5"}}]}, "/steps/0/blend"),
        ({"steps": [{**BY_QUARTER, "shape": "custom", "percentages": ["50", "50"]}]}, "/steps/0/percentages"),
        ({"target": "0.001"}, "/target"),
        ({"metric": {"aggregate": "children"}}, "/metric/aggregate"),
        ({"metric": {"aggregate": "stated", "combine": "latest"}}, "/unit"),
        ({"metric": {**BOOKINGS, "aggregate": "average"}, "steps": OVER_ASSIGNED}, "/steps/0/over_assignment"),
        ({"direction": "lower"}, "/baseline"),
        ({"baseline": "1200000"}, "/baseline"),
    ):
        refused = await house["Rex"].send("POST", "/v1/scenarios", house.body(**fields))
        assert refused.status_code == 422, (fields, refused.text)
        error = refused.json()["errors"][0]
        assert error["pointer"] == pointer and error["accepted"], refused.text
    nobody = {"owner": {"kind": "team", "id": str(uuid4())}}
    check_problem(await house["Rex"].send("POST", "/v1/scenarios", house.body(**nobody)), 422, "unknown_team")


async def test_an_average_is_handed_down_as_it_is_and_weighed_by_the_deals_that_were_won(
    service: Service, database: Database, planning: Planning
) -> None:
    house = await House(service, database, planning).furnish()
    won = [house.actuals("Sue", "2025-03", "600", version=9), house.actuals("Ray", "2025-03", "300", version=9)]
    won = [each.model_copy(update={"won_number": Decimal(number)}) for each, number in zip(won, (2, 3), strict=True)]
    async with house.database.transaction(Scope.of(house.tenant)) as tx:
        await Evidence().store_newest(tx, won)
    march = {"start": "2026-03-01", "end": "2026-04-01"}
    average = {**BOOKINGS, "aggregate": "average"}
    by_history = {"along": "people", "blend": {"history": "1"}}
    made = await house.scenario(
        metric=average, target="250", period=march, people_on="2026-03-01", steps=[by_history, by_history]
    )
    scenario = str(made["id"])
    assert (made["unit"], made["decimals"]) == ("USD", 2)
    place = "2026-03..2026-04"
    nodes = await house.nodes(scenario)
    assert {node["target"] for node in nodes.values()} == {"250"}
    assert {name: nodes[name, place]["share"] for name in ("Sales", "North", "South", "Ray", "Roy", "Sue")} == {
        "Sales": None,
        "North": "0.6",
        "South": "0.4",
        "Ray": "1",
        "Roy": "0",
        "Sue": "1",
    }
    # 900 by 5 deals: never the mean of 300 and 100.
    assert {name: nodes[name, place]["last_year"] for name in ("Sales", "South", "Ray")} == {
        "Sales": "180",
        "South": "300",
        "Ray": "100",
    }
    edited = await house.changed("Rex", scenario, 1, kind="edit", node_id=nodes["South", place]["id"], target="300")
    assert edited.status_code == 200, edited.text
    nodes = await house.nodes(scenario)
    assert (nodes["Sales", place]["mismatch"], nodes["Sue", place]["target"]) == ("20", "300")
    refused = await house.changed(
        "Rex", scenario, 2, kind="respread", node_id=nodes["Sales", place]["id"], day="2026-03-10"
    )
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/kind")


async def test_a_win_rate_and_a_number_that_is_better_when_lower_become_goals_with_their_baselines(
    service: Service, database: Database, planning: Planning
) -> None:
    house = await House(service, database, planning).furnish()
    # Nobody lets goals count whose time is over.
    next_year = {"kind": "year", "containing": f"{datetime.now(UTC).year + 1}-06-01"}
    rate = {
        "aggregate": "ratio",
        "filter": {"all": [{"field": "status", "op": "in", "value": ["won", "lost"]}]},
        "numerator_filter": BOOKINGS["filter"],
    }
    lost = {"aggregate": "count", "filter": {"all": [{"field": "status", "op": "eq", "value": "lost"}]}}
    cases = (
        (rate, {"target": "30", "baseline": "24", "goal_name": "Win rate {owner}"}, "%", {("30", "24")}),
        (
            lost,
            {"target": "30", "baseline": "60", "direction": "lower", "check_in": "weekly", "goal_name": "Lost {owner}"},
            "deals",
            {("30", "60"), ("15", "30"), ("8", "16"), ("7", "14")},
        ),
    )
    for metric, fields, unit, expected in cases:
        made = await house.scenario(
            metric=metric, period=next_year, steps=[{"along": "people"}, {"along": "people"}], **fields
        )
        path = f"/v1/scenarios/{made['id']}"
        assert {node["goal_id"] for node in (await house.nodes(str(made["id"]))).values()} == {None}
        job = await house.job(await house["Rex"].send("POST", f"{path}/apply", version=1))
        assert job["state"] == "done", job
        nodes = await house.nodes(str(made["id"]))
        goals = {
            name: (await house.system.send("GET", f"/v1/goals/{node['goal_id']}")).json()
            for (name, _), node in nodes.items()
        }
        assert {name: goal["owner"]["id"] for name, goal in goals.items()} == {name: house.ids[name] for name in goals}
        assert {(goal["target"], goal["baseline"]) for goal in goals.values()} == expected
        assert {(goal["unit"], goal["direction"]) for goal in goals.values()} == {
            (unit, fields.get("direction", "higher"))
        }
        assert {goal["check_in"] for goal in goals.values()} == {fields.get("check_in", "none")}
        activated = await house.job(await house["Rita"].send("POST", f"{path}/activate?reason=Agreed", version=3))
        assert (activated["state"], activated["counts"]) == ("done", {"activated": 6, "refused": 0}), activated


async def test_edits_locks_and_notes_move_what_they_should_and_a_mismatch_is_shown(house: House) -> None:
    scenario = str((await house.scenario())["id"])
    nodes = await house.nodes(scenario)
    ray, roy = nodes["Ray", WHOLE]["id"], nodes["Roy", WHOLE]["id"]
    edited = await house.changed("Rex", scenario, 1, kind="edit", node_id=ray, target="330000")
    assert (edited.status_code, edited.json()["mismatches"]) == (200, 1), edited.text
    after = await house.nodes(scenario)
    assert (after["North", WHOLE]["mismatch"], after["Ray", Q1]["target"]) == ("30000", "82500")
    taken = await house.changed("Rex", scenario, 2, kind="edit", node_id=ray, target="350000", taken_by="siblings")
    assert taken.json()["mismatches"] == 0, taken.text
    assert (await house.targets(scenario))["Roy", WHOLE] == "250000"
    assert (await house.changed("Rex", scenario, 3, kind="lock", node_id=roy, target="200000")).status_code == 200
    locked = await house.changed("Rex", scenario, 4, kind="edit", node_id=roy, target="1")
    check_problem(locked, 409, "plan_node_locked")
    assert (await house.changed("Rex", scenario, 4, kind="note", node_id=roy, text="看看")).status_code == 200
    assert (await house.nodes(scenario))["Roy", WHOLE]["note"] == "看看"
    stale = await house.changed("Rex", scenario, 4, kind="note", node_id=roy, text="late")
    check_problem(stale, 412, "version_mismatch")
    unknown = await house.changed("Rex", scenario, 5, kind="unlock", node_id=str(uuid4()))
    check_problem(unknown, 404, "plan_node_not_found")


async def test_a_manager_states_numbers_of_its_subtree_within_the_tolerance_and_no_others(house: House) -> None:
    scenario = str((await house.scenario())["id"])
    nodes = await house.nodes(scenario)
    ray, north, sue = (nodes[name, WHOLE]["id"] for name in ("Ray", "North", "Sue"))
    too_much = await house.changed("Mia", scenario, 1, kind="edit", node_id=ray, target="330000")
    check_problem(too_much, 422, "outside_tolerance")
    assert too_much.json()["errors"][0]["accepted"] == "285000 to 315000"
    taken = await house.changed("Mia", scenario, 1, kind="edit", node_id=ray, target="315000")
    assert taken.status_code == 200, taken.text
    assert (await house.nodes(scenario))["North", WHOLE]["mismatch"] == "15000"
    for node in (sue, str(uuid4())):
        check_problem(
            await house.changed("Mia", scenario, 2, kind="edit", node_id=node, target="1"), 404, "plan_node_not_found"
        )
    check_problem(
        await house.changed("Mia", scenario, 2, kind="lock", node_id=north, target="1"), 403, "goal_out_of_reach"
    )
    check_problem(
        await house.changed("Ray", scenario, 2, kind="edit", node_id=ray, target="300000"), 403, "goal_out_of_reach"
    )


async def test_everybody_sees_of_a_scenario_what_is_theirs(house: House) -> None:
    scenario = str((await house.scenario())["id"])
    seen = {
        name: {place[0] for place in await house.nodes(scenario, house[name])} for name in ("Ray", "Mia", "Eve", "Ann")
    }
    assert seen["Ray"] == {"Ray"}
    assert seen["Mia"] == {"North", "Ray", "Roy"}
    assert seen["Eve"] == seen["Ann"] == {"Sales", "North", "South", "Ray", "Roy", "Sue"}
    shown = (await house["Mia"].send("GET", f"/v1/scenarios/{scenario}")).json()
    assert (shown["target"], shown["nodes"]) == (None, 3 + 8)
    assert scenario in await house["Ray"].ids("/v1/scenarios?limit=200")
    assert await house["Rita"].ids("/v1/scenarios?limit=200") >= {scenario}
    outsider = Caller(house.system.service, uuid4(), Role.ADMIN, person=uuid4())
    check_problem(await outsider.send("GET", f"/v1/scenarios/{scenario}"), 404, "scenario_not_found")
    check_problem(await house["Rita"].send("GET", f"/v1/scenarios/{uuid4()}"), 404, "scenario_not_found")
    check_problem(await house["Ann"].send("POST", "/v1/scenarios", house.body()), 403, "goal_out_of_reach")
    check_problem(await house["Mia"].send("POST", "/v1/scenarios", house.body()), 403, "goal_out_of_reach")
    north = {"owner": {"kind": "team", "id": house.ids["North"]}}
    assert (await house["Mia"].send("POST", "/v1/scenarios", house.body(**north))).status_code == 201


async def test_commitments_from_below_stand_against_the_plan(house: House) -> None:
    scenario = str((await house.scenario(steps=[{"along": "people"}, {"along": "people"}]))["id"])
    nodes = await house.nodes(scenario)
    path = f"/v1/scenarios/{scenario}/commitments"
    for name, amount in (("Ray", "250000"), ("Ray", "280000"), ("Sue", "650000")):
        body = {"node_id": nodes[name, WHOLE]["id"], "amount": amount}
        assert (await house[name].send("POST", path, body)).status_code == 201
    others = {"node_id": nodes["Roy", WHOLE]["id"], "amount": "1"}
    check_problem(await house["Ray"].send("POST", path, others), 404, "plan_node_not_found")
    gaps = (await house["Rex"].send("GET", f"/v1/scenarios/{scenario}/gaps")).json()["items"]
    by_node = {gap["node_id"]: (gap["committed"], gap["outstanding"], gap["gap"]) for gap in gaps}
    assert by_node[nodes["Ray", WHOLE]["id"]] == ("280000", "0", "-20000")
    assert by_node[nodes["North", WHOLE]["id"]] == ("280000", "300000", "-320000")
    assert by_node[nodes["Sales", WHOLE]["id"]] == ("930000", "300000", "-270000")


async def test_scenarios_are_compared_side_by_side_with_last_year(house: House) -> None:
    first = await house.scenario(steps=[{"along": "people"}])
    copied = await house["Rex"].send("POST", f"/v1/scenarios/{first['id']}/copy", {"name": "Bold"})
    assert (copied.status_code, copied.json()["version"], copied.json()["name"]) == (201, 1, "Bold")
    second = copied.json()["id"]
    north = (await house.nodes(second))["North", WHOLE]["id"]
    edit = await house.changed("Rex", second, 1, kind="edit", node_id=north, target="900000", taken_by="parent")
    assert edit.status_code == 200, edit.text
    path = f"/v1/scenarios/compare?scenario_ids={first['id']},{second}"
    side_by_side = await house["Rex"].send("GET", path)
    assert side_by_side.status_code == 200, side_by_side.text
    rows = {row["name"]: row for row in side_by_side.json()["items"]}
    assert [each["target"] for each in rows["North"]["planned"]] == ["600000", "900000"]
    assert [each["target"] for each in rows["Sales"]["planned"]] == ["1200000", "1500000"]
    assert (rows["North"]["last_year"], rows["North"]["planned"][0]["change"]) == ("600", "999")
    seen = (await house["Mia"].send("GET", path)).json()["items"]
    assert {row["name"] for row in seen} == {"North"}


async def test_a_refresh_takes_what_is_known_now_and_keeps_what_people_changed(house: House) -> None:
    steps = [{"along": "people"}]
    south = {"kind": "team", "id": house.ids["South"]}
    scenario = str((await house.scenario(owner=south, target="100", steps=steps))["id"])
    sue = (await house.nodes(scenario))["Sue", WHOLE]["id"]
    await house.changed("Rex", scenario, 1, kind="edit", node_id=sue, target="40")
    newcomer = await house.system.person("New")
    stay = await house.system.member(newcomer, house.ids["South"], "2027-01-01")
    assert {place[0] for place in await house.nodes(scenario)} == {"South", "Sue"}
    refreshed = await house["Rex"].send("POST", f"/v1/scenarios/{scenario}/refresh", version=2)
    assert refreshed.status_code == 200, refreshed.text
    targets = await house.targets(scenario)
    assert (targets["Sue", WHOLE], targets["New", WHOLE]) == ("40", "50")
    assert (await house.system.send("DELETE", f"/v1/memberships/{stay}", version=1)).status_code == 204


async def test_what_is_left_is_respread_by_what_actuals_say_was_reached(house: House) -> None:
    ray = {"kind": "person", "id": house.ids["Ray"]}
    months = [{"along": "time", "into": "month", "shape": "equal"}]
    period = {"start": "2026-01-01", "end": "2027-01-01"}
    scenario = str((await house.scenario(owner=ray, period=period, target="1200", steps=months))["id"])
    whole = (await house.nodes(scenario))["Ray", "2026-01..2027-01"]["id"]
    spread = await house.changed("Rex", scenario, 1, kind="respread", node_id=whole, day="2026-04-01")
    assert spread.status_code == 200, spread.text
    nodes = await house.nodes(scenario)
    # 300 of 1,200 reached in January: 100 a month for the nine that are left.
    assert nodes["Ray", "2026-01..2026-02"]["reached"] == "300"
    assert {nodes["Ray", f"2026-{month:02}..2026-{month + 1:02}"]["target"] for month in range(4, 12)} == {"100"}


async def test_applying_drafts_the_goals_that_were_previewed_and_reverting_takes_them_back(house: House) -> None:
    scenario = await house.scenario(goal_name="{owner} {period}")
    path = f"/v1/scenarios/{scenario['id']}"
    before = await house.targets(str(scenario["id"]))
    job = await house.job(await house["Rex"].send("POST", f"{path}/apply?reason=Board", version=1))
    assert (job["state"], job["percent"], job["counts"]) == ("done", 100, {"drafted": 18, "without_target": 0})
    applied = (await house["Rex"].send("GET", path)).json()
    assert (applied["state"], applied["version"]) == ("applied", 3)
    sales = (await house.system.send("GET", f"/v1/goals?owner_id={house.ids['Sales']}&status=draft")).json()["items"]
    assert [(goal["target"], goal["name"]) for goal in sales] == [("1200000", "Sales 2027-01-01 – 2027-12-31")]
    parts = (await house.system.send("GET", f"/v1/goals?parent_id={sales[0]['id']}")).json()["items"]
    assert sorted(goal["target"] for goal in parts) == ["600000", "600000"]
    # Nothing is above the topmost one, and is not missed there.
    assert (sales[0]["top"], {goal["top"] for goal in parts}) == (True, {False})
    checks = (await house["Rita"].send("GET", f"/v1/goals/{sales[0]['id']}/smart")).json()["checks"]
    assert [each["verdict"] for each in checks if each["check"] == "relevant"] == ["pass"]
    rays = (await house.system.send("GET", f"/v1/goals?owner_id={house.ids['Ray']}&status=draft")).json()["items"]
    assert sorted((goal["period"]["start"], goal["target"]) for goal in rays) == sorted(
        (f"{place[1][:7]}-01", target) for place, target in before.items() if place[0] == "Ray"
    )
    [latest, *_] = (await house.system.send("GET", f"/v1/goals/{rays[0]['id']}/changes")).json()["items"]
    assert (latest["actor"]["person_id"], latest["reason"]) == (house.ids["Rex"], "Board")
    check_problem(await house["Rex"].send("POST", f"{path}/apply", version=3), 409, "scenario_not_in_state")
    nodes = await house.nodes(str(scenario["id"]))
    assert nodes["Sales", WHOLE]["goal_id"] == sales[0]["id"]
    assert {node["goal_id"] for place, node in nodes.items() if place[0] == "Ray"} == {goal["id"] for goal in rays}
    reverted = await house.job(await house["Rex"].send("POST", f"{path}/revert", version=3))
    assert (reverted["state"], reverted["counts"]) == ("done", {"cancelled": 18})
    draft = (await house["Rex"].send("GET", path)).json()
    assert (draft["state"], draft["applied_at"]) == ("draft", None)
    assert {node["goal_id"] for node in (await house.nodes(str(scenario["id"]))).values()} == {None}
    left = await house.system.send("GET", f"/v1/goals?owner_id={house.ids['Ray']}&status=draft")
    assert left.json()["items"] == []


async def test_a_worker_that_is_killed_in_the_middle_of_applying_drafts_each_goal_once(
    service: Service, kafka_bootstrap: str
) -> None:
    admin = Caller(service, uuid4(), Role.SERVICE)
    team = await admin.team()
    made = await admin.send("POST", "/v1/people/bulk", {"create": [{"name": f"P{number}"} for number in range(12)]})
    stays = [{"person_id": each["id"], "team_id": team, "start": "2020-01-01"} for each in made.json()["created"]]
    assert (await admin.send("POST", "/v1/memberships/bulk", {"create": stays})).status_code == 200
    body = {
        "name": "By day",
        "owner": {"kind": "team", "id": team},
        "period": YEAR,
        "target": "1000000",
        "metric": BOOKINGS,
        "steps": [{"along": "people"}, {"along": "time", "into": "day", "shape": "working_days"}],
    }
    scenario = (await admin.send("POST", "/v1/scenarios", body)).json()
    assert scenario["nodes"] == 1 + 12 + 12 * 365
    path = f"/v1/scenarios/{scenario['id']}"
    job = (await admin.send("POST", f"{path}/apply", version=1)).json()
    settings = {
        "ATTAIN_DATABASE_URL": service_url(service.database_url, "goals"),
        "ATTAIN_KAFKA_BOOTSTRAP": kafka_bootstrap,
        "ATTAIN_WORKER_PORT": str(own_ports().goals_worker),
    }

    async def under_way() -> bool:
        return bool((await admin.send("GET", f"/v1/jobs/{job['id']}")).json()["done"])

    async def applied() -> bool:
        return bool((await admin.send("GET", path)).json()["state"] == "applied")

    async with running_worker(**settings) as worker:
        await eventually(under_way, 60, expectation="a job that is under way")
        worker.kill()
        await worker.wait()
    assert not await applied()
    async with running_worker(**settings):
        await eventually(applied, 60, expectation="a scenario that is applied")
    done = (await admin.send("GET", f"/v1/jobs/{job['id']}")).json()
    [row] = await query(
        service,
        """
        SELECT count(*) AS goals, count(DISTINCT (owner_id, start_on, end_on)) AS places,
            sum(target) FILTER (WHERE end_on = start_on + 1) AS by_day,
            count(*) FILTER (WHERE parent_id IS NULL) AS tops
        FROM goals.goals WHERE tenant_id = $1 AND status = 'draft' AND version = 1
        """,
        admin.tenant,
    )
    # Nobody works on weekends: 261 days of 2027 are left.
    assert done["counts"] == {"drafted": 1 + 12 + 12 * 261, "without_target": 12 * (365 - 261)}
    assert dict(row) == {"goals": 3145, "places": 3145, "by_day": Decimal(1000000), "tops": 1}


async def test_another_person_approves_the_goals_of_a_scenario_and_nobody_their_own(house: House) -> None:
    # Nobody lets goals count whose time is over.
    next_year = {"kind": "year", "containing": f"{datetime.now(UTC).year + 1}-06-01"}
    scenario = await house.scenario(period=next_year, steps=[{"along": "people"}, {"along": "people"}])
    path = f"/v1/scenarios/{scenario['id']}"
    await house.job(await house["Rex"].send("POST", f"{path}/apply", version=1))
    own = await house.job(await house["Rex"].send("POST", f"{path}/activate", version=3))
    assert own["counts"] == {"activated": 0, "refused": 6}
    assert isinstance(own["problems"], list) and "wrote a part" in own["problems"][0]["message"]
    approved = await house.job(await house["Rita"].send("POST", f"{path}/activate?reason=Agreed", version=3))
    assert (approved["state"], approved["counts"]) == ("done", {"activated": 6, "refused": 0})
    active = await house.system.send("GET", f"/v1/goals?owner_id={house.ids['Ray']}&status=active")
    assert [goal["target"] for goal in active.json()["items"]] == ["300000"]
    late = await house["Rex"].send("POST", f"{path}/revert", version=3)
    check_problem(late, 409, "goal_not_draft")
    put_away = await house["Rex"].send("POST", f"{path}/archive", version=3)
    assert put_away.json()["state"] == "archived", put_away.text


@pytest.mark.parametrize("table_format", ["csv", "xlsx"])
async def test_targets_go_out_as_a_table_and_come_back_with_what_was_changed(house: House, table_format: str) -> None:
    scenario = str((await house.scenario())["id"])
    path = f"/v1/scenarios/{scenario}/table"
    before = await house.targets(scenario)
    given = await house["Rex"].send("GET", f"{path}?format={table_format}")
    media = given.headers["content-type"]
    headers = {"content-type": media, "if-match": '"1"'}

    async def sent(by: str, body: bytes, **other: str) -> httpx.Response:
        return await house[by].client.post(path, content=body, headers={**headers, **other})

    same = await sent("Rex", given.content)
    assert (same.status_code, same.json()["version"], same.json()["changes"]) == (200, 1, 0), same.text
    nodes = await house.nodes(scenario)
    ray, roy = nodes["Ray", WHOLE]["id"], nodes["Roy", WHOLE]["id"]
    table = f"node_id,target,note\n{ray},330000,看\n{roy},300000,\n"
    stated = await sent("Rex", table.encode(), **{"content-type": "text/csv"})
    assert (stated.status_code, stated.json()["version"], stated.json()["changes"]) == (200, 2, 2), stated.text
    after = await house.nodes(scenario)
    assert (after["Ray", WHOLE]["target"], after["Ray", WHOLE]["note"], after["Ray", Q1]["target"]) == (
        "330000",
        "看",
        "82500",
    )
    assert after["Roy", WHOLE]["target"] == before["Roy", WHOLE]
    late = await sent("Rex", table.encode(), **{"content-type": "text/csv"})
    check_problem(late, 412, "version_mismatch")


async def test_a_table_of_targets_is_taken_whole_or_not_at_all_and_names_the_line(house: House) -> None:
    scenario = str((await house.scenario())["id"])
    nodes = await house.nodes(scenario)
    ray, sue = nodes["Ray", WHOLE]["id"], nodes["Sue", WHOLE]["id"]

    async def sent(by: str, *lines: str) -> httpx.Response:
        body = "\n".join(("node_id,target", *lines)).encode()
        headers = {"content-type": "text/csv", "if-match": '"1"'}
        return await house[by].client.post(f"/v1/scenarios/{scenario}/table", content=body, headers=headers)

    unclear = await sent("Rex", f"{ray},310000", f'{sue},"1,234"')
    assert (unclear.status_code, unclear.json()["errors"][0]["pointer"]) == (422, "/line/3/target"), unclear.text
    beyond = await sent("Mia", f"{ray},310000", f"{sue},1")
    assert (beyond.status_code, beyond.json()["errors"][0]["pointer"]) == (422, "/line/3"), beyond.text
    wide = await sent("Mia", f"{ray},330000")
    assert wide.json()["errors"][0]["accepted"] == "285000 to 315000", wide.text
    assert (await house.targets(scenario))["Ray", WHOLE] == "300000"
    assert (await sent("Mia", f"{ray},310000")).status_code == 200


async def test_how_probable_each_target_is_stands_beside_it_where_enough_is_known(
    service: Service, database: Database, planning: Planning
) -> None:
    house = await House(service, database, planning).furnish()
    # Sue, alone in her team, won 100 in each of the twelve months before this one.
    this_month = datetime.now(UTC).date().replace(day=1)
    months = [months_before(this_month, back) for back in range(1, 13)]
    won = [house.actuals("Sue", f"{month:%Y-%m}", "100", version=2) for month in months]
    async with database.transaction(Scope.of(house.tenant)) as tx:
        await Evidence().store_newest(tx, won)
    next_month = {"start": str(months_before(this_month, -1)), "end": str(months_before(this_month, -2))}
    by_month = [{"along": "time", "into": "month", "shape": "equal"}]

    async def planned(person: str, target: str) -> str:
        owner = {"kind": "person", "id": house.ids[person]}
        made = await house.scenario(owner=owner, period=next_month, target=target, steps=by_month)
        return str(made["id"])

    low, high, unknown = await planned("Sue", "90"), await planned("Sue", "110"), await planned("Ann", "90")
    path = f"/v1/scenarios/compare?scenario_ids={low},{high}"
    [row] = (await house["Rex"].send("GET", path)).json()["items"]
    # Twelve of twelve and none of twelve, by Laplace's rule of succession: 13 and 1 of 14.
    assert [each["probability"] for each in row["planned"]] == ["0.9286", "0.0714"]
    probabilities = [node["probability"] for plan in (high, unknown) for node in (await house.nodes(plan)).values()]
    assert probabilities == ["0.0714", None]


def months_before(month: date, back: int) -> date:
    """The first day of the month so many months before."""
    number = month.year * 12 + month.month - 1 - back
    return date(number // 12, number % 12 + 1, 1)


async def test_what_becomes_of_a_scenario_is_on_the_audit_trail(house: House) -> None:
    made = await house.scenario(steps=[{"along": "people"}, {"along": "people"}])
    path = f"/v1/scenarios/{made['id']}"
    node = (await house.nodes(str(made["id"])))["North", WHOLE]["id"]
    edit = {"kind": "edit", "node_id": node, "target": "610000"}
    answer = await house["Eve"].send("POST", f"{path}/changes?reason=Two key accounts", edit, version=1)
    assert answer.status_code == 200, answer.text
    await house["Rex"].send("PATCH", path, {"name": "2027, agreed"}, version=2)
    await house.job(await house["Rex"].send("POST", f"{path}/apply?reason=Board", version=3))
    await house["Rex"].send("POST", f"{path}/archive", version=5)
    trail = (await house.system.send("GET", f"/v1/audit?subject=scenario/{made['id']}")).json()["items"][::-1]
    assert [(each["version"], each["after"]["state"], each["reason"]) for each in trail] == [
        (1, "draft", None),
        (2, "draft", "Two key accounts"),
        (3, "draft", None),
        (4, "applying", "Board"),
        (5, "applied", "Board"),
        (6, "archived", None),
    ]
    names = {house.ids[name]: name for name in ("Rex", "Eve")}
    assert [names[each["actor"]["person_id"]] for each in trail] == ["Rex", "Eve", "Rex", "Rex", "Rex", "Rex"]
    assert [len(each["after"]["made"]) for each in trail] == [0, 1, 0, 0, 0, 0]
    assert {**trail[1]["after"]["made"][0], **edit} == trail[1]["after"]["made"][0]
    assert [each["before"] for each in trail[1:]] == [each["after"] for each in trail[:-1]]
    assert (trail[0]["after"]["stated"]["target"], trail[2]["after"]["name"]) == ("1200000", "2027, agreed")


async def test_many_changes_of_a_plan_are_made_together_in_their_order_or_not_at_all(house: House) -> None:
    scenario = str((await house.scenario())["id"])
    nodes = await house.nodes(scenario)
    north, ray, roy = (nodes[name, WHOLE]["id"] for name in ("North", "Ray", "Roy"))
    path = f"/v1/scenarios/{scenario}/changes/bulk"

    async def sent(by: str, version: int, *changes: Mapping[str, object]) -> httpx.Response:
        return await house[by].send("POST", path, {"changes": list(changes)}, version=version)

    lock = {"kind": "lock", "node_id": ray, "target": "350000"}
    wrong = [
        {"kind": "edit", "node_id": str(uuid4()), "target": "1"},
        {"kind": "edit", "node_id": ray, "target": "1"},
        {"kind": "edit", "node_id": roy, "target": "0.001"},
    ]
    refused = await sent("Rex", 1, lock, *wrong[:2])
    check_problem(refused, 422, "items_refused")
    assert [error["pointer"] for error in refused.json()["errors"]] == ["/changes/1"]
    # What the plan itself refuses is named by its place in the request, too.
    refused = await sent("Rex", 1, lock, wrong[2])
    check_problem(refused, 422, "plan_refused")
    assert [error["pointer"] for error in refused.json()["errors"]] == ["/changes/1/target"]
    refused = await sent("Rex", 1, lock, wrong[1])
    assert [error["pointer"] for error in refused.json()["errors"]] == ["/changes/1"]
    # Mia states numbers of her own people and locks nothing.
    edits = [{"kind": "edit", "node_id": node, "target": target} for node, target in ((ray, "310000"), (roy, "290000"))]
    refused = await sent("Mia", 1, edits[0], lock, {"kind": "edit", "node_id": roy, "target": "1"})
    assert [error["pointer"].split("/")[2] for error in refused.json()["errors"]] == ["1", "2"]
    assert (await house.targets(scenario)) == {place: node["target"] for place, node in nodes.items()}
    assert (await sent("Mia", 1, *edits)).json()["version"] == 2
    locked = await sent("Rex", 2, lock, {"kind": "note", "node_id": north, "text": "As agreed"})
    assert (locked.status_code, locked.json()["changes"]) == (200, 4)
    after = await house.nodes(scenario)
    assert (after["Ray", WHOLE]["target"], after["North", WHOLE]["note"]) == ("350000", "As agreed")


async def test_many_commitments_are_stated_together_or_not_at_all(house: House) -> None:
    scenario = str((await house.scenario())["id"])
    nodes = await house.nodes(scenario)
    path = f"/v1/scenarios/{scenario}/commitments/bulk"
    stated = [
        {"node_id": nodes[name, WHOLE]["id"], "amount": amount} for name, amount in (("Ray", "280000"), ("Roy", "1"))
    ]
    refused = await house["Mia"].send("POST", path, {"commitments": [*stated, {**stated[0], "node_id": str(uuid4())}]})
    check_problem(refused, 422, "items_refused")
    assert [error["pointer"] for error in refused.json()["errors"]] == ["/commitments/2"]
    refused = await house["Ray"].send("POST", path, {"commitments": stated})
    assert [error["pointer"] for error in refused.json()["errors"]] == ["/commitments/1"]
    gaps = (await house["Mia"].send("GET", f"/v1/scenarios/{scenario}/gaps")).json()["items"]
    assert {gap["committed"] for gap in gaps} == {"0"}
    made = await house["Mia"].send("POST", path, {"commitments": stated})
    assert (made.status_code, [each["amount"] for each in made.json()["commitments"]]) == (201, ["280000", "1"])
    gaps = (await house["Mia"].send("GET", f"/v1/scenarios/{scenario}/gaps")).json()["items"]
    assert next(gap for gap in gaps if gap["node_id"] == nodes["North", WHOLE]["id"])["committed"] == "280001"
