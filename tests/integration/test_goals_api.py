"""The goals service over HTTP with real Postgres: what is answered, stored and handed to the outbox."""

from collections.abc import AsyncIterator, Iterable
from uuid import UUID, uuid4

import asyncpg
import httpx
import pytest

from deploy.local.commands.republish import republished
from shared.contracts.goals import Goal
from shared.contracts.org import Calendar, Identity, Membership, Person, Team
from shared.db.database import Database
from shared.http.auth import Role
from shared.kernel.deals import DEAL_FIELDS
from shared.kernel.filters import parse_filter
from shared.kernel.measures import Aggregate, RatePolicy
from tests.stories.goals import AHEAD, WON, Caller, Service, at_once, goal_body, pointers, query, running_goals


def statuses(responses: Iterable[httpx.Response]) -> list[int]:
    return sorted(response.status_code for response in responses)


@pytest.fixture(scope="module")
async def service(module_database: str) -> AsyncIterator[Service]:
    async with running_goals(module_database) as running:
        yield running


@pytest.fixture
def admin(service: Service) -> Caller:
    return Caller(service, uuid4(), Role.SERVICE)


async def test_a_goal_lives_from_draft_to_closed_and_keeps_its_revisions(admin: Caller) -> None:
    ada = await admin.person()
    goal = await admin.goal(ada)
    path = f"/v1/goals/{goal}"
    edited = await admin.send("PATCH", path, {"target": "1500", "weight": "0.5"}, version=1)
    assert (edited.status_code, edited.headers["etag"][:3], edited.json()["target"]) == (200, '"2.', "1500")
    assert (await admin.send("GET", f"{path}/revisions")).json()["items"] == []
    activated = await admin.send("POST", f"{path}/activate", version=2)
    assert (activated.json()["status"], activated.json()["revision"]) == ("active", 1)
    revision = await admin.send("POST", f"{path}/revise", {"target": "2000", "reason": "New territory"}, version=3)
    assert (revision.json()["revision"], revision.json()["target"], revision.headers["etag"][:3]) == (2, "2000", '"4.')
    closed = await admin.send("POST", f"{path}/close", version=4)
    assert closed.json()["status"] == "closed"

    history = (await admin.send("GET", f"{path}/revisions")).json()["items"]
    assert [(item["revision"], item["terms"]["target"], item["reason"]) for item in history] == [
        (2, "2000", "New territory"),
        (1, "1500", None),
    ]
    events = [event for event in await admin.events() if isinstance(event, Goal)]
    assert [(event.version, event.revision, event.status.value, str(event.target)) for event in events] == [
        (1, 1, "draft", "1000.5"),
        (2, 1, "draft", "1500"),
        (3, 1, "active", "1500"),
        (4, 2, "active", "2000"),
        (5, 2, "closed", "2000"),
    ]


async def test_every_change_of_the_organisation_is_one_event(admin: Caller) -> None:
    await admin.send("PUT", "/v1/calendar", {"start_month": 4, "time_zone": "Asia/Shanghai", "currency": "CNY"})
    ada = await admin.person()
    await admin.send("PATCH", f"/v1/people/{ada}", {"email": "ada@example.com", "active": False}, version=1)
    team = await admin.team(manager_id=ada)
    await admin.send("PATCH", f"/v1/teams/{team}", {"manager_id": None}, version=1)
    stay = await admin.member(ada, team)
    await admin.send("PATCH", f"/v1/memberships/{stay}", {"end": "2026-01-01"}, version=1)
    await admin.send("DELETE", f"/v1/memberships/{stay}", version=2)
    bo = await admin.person("Bo")
    user = await admin.made("/v1/identities", {"source": "pipedrive", "external_user_id": "7", "person_id": ada})
    await admin.send("PATCH", f"/v1/identities/{user}", {"person_id": bo}, version=1)
    await admin.send("DELETE", f"/v1/identities/{user}", version=2)
    told: list[object] = []
    for event in await admin.events():
        match event:
            case Calendar():
                told.append(("calendar", event.version, event.start_month, event.time_zone, event.currency))
            case Person():
                told.append((event.name, event.version, event.email, event.active))
            case Team():
                told.append((event.name, event.version, None if event.manager_id is None else str(event.manager_id)))
            case Membership():
                told.append(("member", event.version, str(event.end), event.deleted))
            case Identity():
                told.append((event.external_user_id, event.version, str(event.person_id), event.deleted))
    assert told == [
        ("calendar", 1, 4, "Asia/Shanghai", "CNY"),
        ("Ada", 1, None, True),
        ("Ada", 2, "ada@example.com", False),
        ("Sales", 1, ada),
        ("Sales", 2, None),
        ("member", 1, "None", False),
        ("member", 2, "2026-01-01", False),
        ("member", 3, "2026-01-01", True),
        ("Bo", 1, None, True),
        ("7", 1, ada, False),
        ("7", 2, bo, False),
        ("7", 3, bo, True),
    ]


async def test_an_address_and_an_employee_number_are_one_persons(admin: Caller) -> None:
    ada = await admin.made("/v1/people", {"name": "Ada", "email": "Zoe\u0308@example.com", "employee_number": "E-7"})
    shown = (await admin.send("GET", f"/v1/people/{ada}")).json()
    assert (shown["email"], shown["employee_number"]) == ("Zo\u00eb@example.com", "E-7")
    for field, value, code in (
        ("email", "ZO\u00cb@example.com", "email_taken"),
        ("employee_number", "E-7", "employee_number_taken"),
    ):
        refused = await admin.send("POST", "/v1/people", {"name": "Bo", field: value})
        assert (refused.status_code, refused.json()["code"], pointers(refused)) == (409, code, [f"/{field}"])
        assert f"Ada (person {ada})" in refused.json()["detail"]
    bo = await admin.made("/v1/people", {"name": "Bo", "employee_number": "E-8"})
    changed = await admin.send("PATCH", f"/v1/people/{bo}", {"employee_number": "E-7"}, version=1)
    assert (changed.status_code, pointers(changed)) == (409, ["/employee_number"])
    assert await admin.ids("/v1/people?email=zo%C3%AB@EXAMPLE.com") == {ada}
    assert await admin.ids("/v1/people?employee_number=E-8") == {bo}
    newest = {event.name: event.employee_number for event in await admin.events() if isinstance(event, Person)}
    assert newest == {"Ada": "E-7", "Bo": "E-8"}


async def test_an_address_two_people_had_before_it_was_held_to_stays_until_one_changes_it(admin: Caller) -> None:
    ada, bo = await admin.made("/v1/people", {"name": "Ada", "email": "a@example.com"}), await admin.person("Bo")
    connection = await asyncpg.connect(admin.service.database_url)
    try:
        await connection.execute("SELECT set_config('app.tenants', '*', false)")
        statement = "UPDATE goals.people SET email = 'A@example.com', email_folded = 'a@example.com' WHERE id = $1"
        await connection.execute(statement, UUID(bo))
    finally:
        await connection.close()
    assert (await admin.send("PATCH", f"/v1/people/{bo}", {"name": "Bob"}, version=1)).status_code == 200
    assert await admin.ids("/v1/people?email=a@example.com") == {ada, bo}
    third = await admin.send("POST", "/v1/people", {"name": "Cy", "email": "a@example.com"})
    assert (third.status_code, pointers(third)) == (409, ["/email"])


async def test_a_change_that_is_refused_changes_nothing_and_says_nothing(admin: Caller) -> None:
    ada = await admin.person()
    goal = await admin.goal(ada, target="-1")
    before = await admin.events()
    refused = await admin.send("POST", f"/v1/goals/{goal}/activate", version=1)
    assert (refused.status_code, pointers(refused)) == (422, ["/target"])
    assert (await admin.send("PATCH", f"/v1/people/{ada}", {"name": "B"}, version=7)).status_code == 412
    assert await admin.events() == before
    assert (await admin.send("GET", f"/v1/goals/{goal}")).headers["etag"].startswith('"1.')


async def test_a_change_says_the_version_it_was_made_from(admin: Caller) -> None:
    ada = await admin.person()
    goal = await admin.goal(ada)
    for method, path in (
        ("PATCH", f"/v1/people/{ada}"),
        ("PATCH", f"/v1/goals/{goal}"),
        ("POST", f"/v1/goals/{goal}/activate"),
        ("POST", f"/v1/goals/{goal}/close"),
        ("POST", f"/v1/goals/{goal}/cancel"),
    ):
        body = {"name": "X"} if method == "PATCH" else None
        missing, stale = await admin.send(method, path, body), await admin.send(method, path, body, version=9)
        assert (missing.status_code, missing.json()["code"]) == (428, "if_match_required"), path
        assert (stale.status_code, stale.json()["code"]) == (412, "version_mismatch"), path


async def test_the_first_calendar_needs_no_version_and_every_other_does(admin: Caller) -> None:
    body = {"start_month": 4, "time_zone": "Asia/Shanghai", "currency": "CNY"}
    assert (await admin.send("GET", "/v1/calendar")).json()["code"] == "calendar_not_set"
    assert (await admin.send("PUT", "/v1/calendar", body, version=1)).status_code == 412
    assert (await admin.send("PUT", "/v1/calendar", body)).headers["etag"].startswith('"1.')
    assert (await admin.send("PUT", "/v1/calendar", body)).status_code == 428
    wrong_all_along = {**body, "start_month": 7, "start": "beginning"}
    assert (await admin.send("PUT", "/v1/calendar", wrong_all_along, version=1)).status_code == 200
    shown = await admin.send("GET", "/v1/calendar")
    assert (shown.json()["start_month"], shown.headers["etag"][:3]) == (7, '"2.')
    assert shown.json()["history"] == [
        {
            **{"start": None, "start_month": 7, "time_zone": "Asia/Shanghai", "currency": "CNY"},
            **{"pattern": "months", "week_start": "monday", "year_end": "nearest"},
            **{"country": None, "subdivision": None, "days_off": [], "extra_working_days": []},
        }
    ]


async def test_a_change_of_the_calendar_has_a_first_day_and_is_read_with_what_was_before(admin: Caller) -> None:
    body = {"start_month": 1, "time_zone": "Asia/Shanghai", "currency": "CNY"}
    await admin.send("PUT", "/v1/calendar", body)
    in_july = {**body, "time_zone": "Europe/Berlin", "start": "2020-07-01"}
    assert (await admin.send("PUT", "/v1/calendar", in_july, version=1)).json()["time_zone"] == "Europe/Berlin"
    later = {**body, "start_month": 4, "start": "2999-04-01"}
    answer = (await admin.send("PUT", "/v1/calendar", later, version=2)).json()
    assert (answer["time_zone"], answer["start_month"]) == ("Europe/Berlin", 1)
    assert [state["start"] for state in answer["history"]] == [None, "2020-07-01", "2999-04-01"]
    refused = await admin.send("PUT", "/v1/calendar", {**later, "start": "2999-04-02", "start_month": 7}, version=3)
    assert (refused.status_code, pointers(refused)) == (422, ["/start"])
    # Saying for a day what was in force before it takes its change back.
    back = (await admin.send("PUT", "/v1/calendar", {**body, "start": "2020-07-01"}, version=3)).json()
    assert [state["start"] for state in back["history"]] == [None, "2999-04-01"]
    (first, *_, newest) = [event for event in await admin.events() if isinstance(event, Calendar)]
    assert [state.start_month for state in newest.history] == [1, 4]
    assert (newest.start_month, first.history[0].time_zone) == (1, "Asia/Shanghai")


async def test_a_named_period_follows_the_calendar_of_the_tenant(admin: Caller) -> None:
    await admin.send("PUT", "/v1/calendar", {"start_month": 2, "time_zone": "UTC", "currency": "USD"})
    goal = await admin.goal(await admin.person(), period={"kind": "quarter", "containing": "2026-01-31"})
    shown = (await admin.send("GET", f"/v1/goals/{goal}")).json()
    assert shown["period"] == {"start": "2025-11-01", "end": "2026-02-01"}


async def test_of_two_who_revise_at_once_one_wins_and_one_is_told(admin: Caller) -> None:
    goal = await admin.goal(await admin.person())
    await admin.send("POST", f"/v1/goals/{goal}/activate", version=1)
    both = await at_once(
        admin,
        *(
            admin.send("POST", f"/v1/goals/{goal}/revise", {"target": target, "reason": "race"}, version=2)
            for target in ("2000", "3000")
        ),
    )
    assert statuses(both) == [200, 412]
    assert [event.version for event in await admin.events() if isinstance(event, Goal)] == [1, 2, 3]


async def test_two_moves_at_once_make_no_circle(admin: Caller) -> None:
    east, west = await admin.team("East"), await admin.team("West")
    both = await at_once(
        admin,
        admin.send("PATCH", f"/v1/teams/{east}", {"parent_id": west}, version=1),
        admin.send("PATCH", f"/v1/teams/{west}", {"parent_id": east}, version=1),
    )
    assert statuses(both) == [200, 422]
    refused = next(response for response in both if response.status_code == 422)
    assert (refused.json()["code"], pointers(refused)) == ("team_circle", ["/parent_id"])


async def test_two_memberships_or_identities_at_once_do_not_collide(admin: Caller) -> None:
    ada, team = await admin.person(), await admin.team()
    stay = {"person_id": ada, "team_id": team, "start": "2026-01-01"}
    user = {"person_id": ada, "source": "pipedrive", "external_user_id": "7"}
    for path, body, code in (
        ("/v1/memberships", stay, "membership_overlaps"),
        ("/v1/identities", user, "identity_taken"),
    ):
        both = await at_once(admin, admin.send("POST", path, body), admin.send("POST", path, body))
        assert statuses(both) == [201, 409]
        assert {response.json()["code"] for response in both if response.status_code == 409} == {code}


async def test_a_membership_can_end_and_begin_again(admin: Caller) -> None:
    ada, team = await admin.person(), await admin.team()
    stay = await admin.member(ada, team, "2026-01-01")
    again = {"person_id": ada, "team_id": team, "start": "2026-02-01"}
    assert (await admin.send("POST", "/v1/memberships", again)).status_code == 409
    assert (await admin.send("PATCH", f"/v1/memberships/{stay}", {"end": "2026-02-01"}, version=1)).status_code == 200
    second = await admin.made("/v1/memberships", again)
    overlapping = await admin.send("PATCH", f"/v1/memberships/{stay}", {"end": None}, version=2)
    assert overlapping.json()["code"] == "membership_overlaps"
    assert await admin.ids(f"/v1/memberships?team_id={team}&on=2026-01-31") == {stay}
    assert await admin.ids(f"/v1/memberships?person_id={ada}&on=2026-02-01") == {second}


async def test_a_deleted_identity_frees_the_user_for_another(admin: Caller) -> None:
    ada, bo = await admin.person(), await admin.person("Bo")
    user = {"source": "pipedrive", "external_user_id": "7"}
    first = await admin.made("/v1/identities", {**user, "person_id": ada})
    assert (await admin.send("DELETE", f"/v1/identities/{first}", version=1)).status_code == 204
    assert (await admin.send("GET", f"/v1/identities/{first}")).json()["code"] == "identity_not_found"
    second = await admin.made("/v1/identities", {**user, "person_id": bo})
    assert await admin.ids("/v1/identities?source=pipedrive&external_user_id=7") == {second}


async def test_a_user_of_salesforce_is_the_same_one_with_15_characters_and_with_18(admin: Caller) -> None:
    ada, bo = await admin.person(), await admin.person("Bo")
    short = {"source": "salesforce", "external_user_id": "00508000004abcd"}
    made = await admin.made("/v1/identities", {**short, "person_id": ada})
    held = (await admin.send("GET", f"/v1/identities/{made}")).json()
    assert held["external_user_id"] == "00508000004abcdAAA"
    for written in ("00508000004abcd", "00508000004abcdAAA"):
        assert await admin.ids(f"/v1/identities?source=salesforce&external_user_id={written}") == {made}
        again = await admin.send("POST", "/v1/identities", {**short, "external_user_id": written, "person_id": bo})
        assert (again.status_code, again.json()["code"]) == (409, "identity_taken")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"name": " "}, ["/name"]),
        ({"name": "a\nb"}, ["/name"]),
        ({"target": 12.5}, ["/target"]),
        ({"target": "NaN"}, ["/target"]),
        ({"target": "1e15"}, ["/target"]),
        ({"weight": "-1"}, ["/weight"]),
        ({"tarmac": "1"}, ["/tarmac"]),
        ({"direction": "sideways"}, ["/direction"]),
        ({"owner": {"kind": "team", "id": str(uuid4())}}, ["/owner/id"]),
        ({"owner": {"kind": "person", "id": str(uuid4())}}, ["/owner/id"]),
        ({"parent_id": str(uuid4())}, ["/parent_id"]),
        ({"period": {"start": "2026-01-01", "end": "2025-01-01"}}, ["/period/end"]),
        ({"metric": {"aggregate": "sum", "value_field": "amount"}}, ["/metric/currency"]),
        ({"metric": {"aggregate": "median"}}, ["/metric/aggregate"]),
        ({"metric": {"aggregate": "average"}}, ["/metric/value_field"]),
        ({"metric": {"aggregate": "average", "value_field": "amount"}}, ["/metric/currency"]),
        (
            {
                "metric": {
                    "aggregate": "average",
                    "value_field": "paid_amount",
                    "currency": "USD",
                    "date_field": "paid",
                }
            },
            ["/metric/date_field"],
        ),
        ({"metric": {"aggregate": "ratio"}}, ["/metric/numerator_filter"]),
        ({"metric": {"aggregate": "count", "numerator_filter": WON}}, ["/metric/numerator_filter"]),
        (
            {"metric": {"aggregate": "ratio", "numerator_filter": {"all": [{"field": "stage", "op": "gt"}]}}},
            ["/metric/numerator_filter/all/0/op"],
        ),
        (
            {
                "metric": {
                    "aggregate": "ratio",
                    "numerator_filter": {"all": [{"field": "status", "op": "eq", "value": "Won"}]},
                }
            },
            ["/metric/numerator_filter/all/0/value"],
        ),
        ({"stretch": [{"name": "Club", "target": "1e15"}]}, ["/stretch/0/target"]),
        ({"stretch": [{"name": "Club", "target": "9", "bonus": "1"}]}, ["/stretch/0/bonus"]),
        ({"metric": {"record": "weather", "aggregate": "count"}}, ["/metric/record"]),
        ({"metric": {"record": "activity", "aggregate": "sum", "value_field": "amount"}}, ["/metric/value_field"]),
        ({"metric": {"aggregate": "distinct", "value_field": "custom.\0"}}, ["/metric/value_field"]),
        (
            {"metric": {"aggregate": "count", "filter": {"any": [{"field": "stage", "op": "eq", "value": "a\0b"}]}}},
            ["/metric/filter/any/0/value"],
        ),
        (
            {"metric": {"aggregate": "count", "filter": {"all": [{"field": "stage", "op": "gt", "value": "b"}]}}},
            ["/metric/filter/all/0/op"],
        ),
    ],
)
async def test_a_goal_that_is_refused_names_the_field(
    admin: Caller, change: dict[str, object], expected: list[str]
) -> None:
    response = await admin.send("POST", "/v1/goals", {**goal_body(await admin.person()), **change})
    assert (response.status_code, pointers(response)) == (422, expected)


async def test_a_goal_of_activities_is_drafted_revised_and_read_back(admin: Caller) -> None:
    calls = {"all": [{"field": "type", "op": "eq", "value": "call"}]}
    goal = await admin.goal(
        await admin.person(),
        metric={"record": "activity", "aggregate": "count", "filter": calls},
        unit=None,
        target="40",
    )
    drafted = (await admin.send("GET", f"/v1/goals/{goal}")).json()
    assert (drafted["unit"], drafted["metric"]["record"], drafted["metric"]["date_field"]) == (
        "activities",
        "activity",
        "occurred",
    )
    assert (await admin.send("POST", f"/v1/goals/{goal}/activate", version=1)).status_code == 200
    minutes = {"record": "activity", "aggregate": "sum", "value_field": "duration_seconds", "filter": calls}
    revised = await admin.send(
        "POST", f"/v1/goals/{goal}/revise", {"metric": minutes, "reason": "Talk, not tries"}, version=2
    )
    assert revised.status_code == 200, revised.text
    assert revised.json()["metric"] == (await admin.send("GET", f"/v1/goals/{goal}")).json()["metric"]
    terms = [
        item["terms"]["metric"] for item in (await admin.send("GET", f"/v1/goals/{goal}/revisions")).json()["items"]
    ]
    assert [metric["value_field"] for metric in terms] == ["duration_seconds", None]


async def test_a_goal_of_a_ratio_with_levels_is_drafted_revised_and_read_back(admin: Caller) -> None:
    decided = {"all": [{"field": "status", "op": "in", "value": ["won", "lost"]}]}
    rate = {"aggregate": "ratio", "filter": decided, "numerator_filter": WON}
    club, top = {"name": "Club", "target": "40"}, {"name": "Top", "target": "50"}
    goal = await admin.goal(await admin.person(), metric=rate, unit=None, target="30", stretch=[top, club])
    refused = await admin.send("POST", f"/v1/goals/{goal}/activate", version=1)
    assert (refused.status_code, pointers(refused)) == (422, ["/stretch/1/target"])
    edited = await admin.send("PATCH", f"/v1/goals/{goal}", {"stretch": [club, top]}, version=1)
    assert (edited.json()["unit"], edited.json()["stretch"]) == ("%", [club, top])
    assert (edited.json()["metric"]["currency"], edited.json()["metric"]["numerator_filter"]) == (None, WON)
    assert (await admin.send("POST", f"/v1/goals/{goal}/activate", version=2)).status_code == 200
    average = {"aggregate": "average", "value_field": "amount", "currency": "USD"}
    change = {"metric": average, "unit": "USD", "target": "100.5", "stretch": [], "reason": "Fewer and larger"}
    revised = await admin.send("POST", f"/v1/goals/{goal}/revise", change, version=3)
    assert revised.status_code == 200, revised.text
    items = (await admin.send("GET", f"/v1/goals/{goal}/revisions")).json()["items"]
    assert [(item["terms"]["metric"]["aggregate"], item["terms"]["stretch"]) for item in items] == [
        ("average", []),
        ("ratio", [club, top]),
    ]
    *_, before, after = [each for each in await admin.events() if isinstance(each, Goal) and str(each.id) == goal]
    assert (before.metric.measure().numerator_filter, [level.name for level in before.stretch]) == (
        parse_filter(WON, DEAL_FIELDS),
        ["Club", "Top"],
    )
    assert (after.metric.measure().aggregate, after.metric.measure().rate_policy, after.stretch) == (
        Aggregate.AVERAGE,
        RatePolicy.DEAL_DATE,
        (),
    )


async def test_a_goal_says_who_gets_a_deal_and_otherwise_it_is_its_owners(admin: Caller) -> None:
    bookings = {"aggregate": "sum", "value_field": "amount", "currency": "USD"}
    ada = await admin.person()
    for said, read in (
        ({}, ("owner", None)),
        ({"crediting": "split"}, ("split", None)),
        ({"crediting": "split", "role": "overlay"}, ("split", "overlay")),
    ):
        goal = await admin.goal(ada, metric={**bookings, **said})
        metric = (await admin.send("GET", f"/v1/goals/{goal}")).json()["metric"]
        assert (metric["crediting"], metric["role"]) == read
        published = [event for event in await admin.events() if isinstance(event, Goal) and str(event.id) == goal]
        assert [(event.metric.crediting, event.metric.role) for event in published] == [read]


@pytest.mark.parametrize(
    ("metric", "pointer"),
    [
        ({"aggregate": "count", "crediting": "rollup"}, "/metric/crediting"),
        ({"aggregate": "count", "role": "overlay"}, "/metric/role"),
        ({"aggregate": "count", "record": "activity", "crediting": "split"}, "/metric/crediting"),
    ],
)
async def test_a_goal_that_says_wrongly_who_gets_a_deal_is_refused(
    admin: Caller, metric: dict[str, object], pointer: str
) -> None:
    refused = await admin.send("POST", "/v1/goals", {**goal_body(await admin.person()), "metric": metric})
    assert (refused.status_code, pointers(refused)) == (422, [pointer])


async def test_a_goal_can_not_become_a_part_of_itself(admin: Caller) -> None:
    ada = await admin.person()
    company = await admin.goal(ada)
    team = await admin.goal(ada, parent_id=company)
    person = await admin.goal(ada, parent_id=team)
    refused = await admin.send("PATCH", f"/v1/goals/{company}", {"parent_id": person}, version=1)
    assert (refused.status_code, pointers(refused), refused.json()["code"]) == (422, ["/parent_id"], "goal_circle")
    assert await admin.ids(f"/v1/goals?parent_id={company}") == {team}


async def test_another_tenant_sees_nothing_and_reaches_nothing(service: Service, admin: Caller) -> None:
    ada = await admin.person()
    team = await admin.team()
    goal = await admin.goal(ada)
    stranger = Caller(service, uuid4(), Role.ADMIN, person=uuid4())
    for path in ("/v1/people", "/v1/teams", "/v1/goals", "/v1/memberships", "/v1/identities"):
        assert await stranger.ids(path) == set()
    for path in (f"/v1/people/{ada}", f"/v1/teams/{team}", f"/v1/goals/{goal}", f"/v1/goals/{goal}/revisions"):
        assert (await stranger.send("GET", path)).status_code == 404
    assert (await stranger.send("PATCH", f"/v1/people/{ada}", {"name": "X"}, version=1)).status_code == 404
    assert (await stranger.send("POST", f"/v1/goals/{goal}/activate", version=1)).status_code == 404
    assert pointers(await stranger.send("POST", "/v1/goals", goal_body(ada))) == ["/owner/id"]
    assert pointers(await stranger.send("POST", "/v1/teams", {"name": "T", "parent_id": team})) == ["/parent_id"]
    assert (await admin.send("GET", f"/v1/people/{ada}")).json()["name"] == "Ada"


async def test_a_rep_sees_itself_and_a_manager_its_subtree_of_today(service: Service, admin: Caller) -> None:
    boss, ada, bo, gone = [await admin.person(name) for name in ("Boss", "Ada", "Bo", "Gone")]
    east = await admin.team("East", manager_id=boss)
    desk = await admin.team("Desk", parent_id=east)
    west = await admin.team("West")
    stay = await admin.member(ada, desk)
    await admin.member(bo, west)
    await admin.member(gone, desk, "2020-01-01", "2021-01-01")
    goals = {
        name: await admin.goal(owner, period=AHEAD)
        for name, owner in (("ada", ada), ("bo", bo), ("boss", boss), ("gone", gone))
    }
    desk_goal, west_goal = await admin.goal(desk, kind="team"), await admin.goal(west, kind="team")
    manager = Caller(service, admin.tenant, Role.MANAGER, person=UUID(boss))
    rep = Caller(service, admin.tenant, Role.REP, person=UUID(ada))
    finance = Caller(service, admin.tenant, Role.FINANCE, person=uuid4())

    assert await manager.ids("/v1/people") == {boss, ada}
    assert await manager.ids("/v1/teams") == {east, desk}
    assert await manager.ids("/v1/goals") == {goals["ada"], goals["boss"], desk_goal}
    assert await manager.ids("/v1/memberships") == {stay}
    assert await rep.ids("/v1/people") == {ada}
    assert await rep.ids("/v1/teams") == set()
    assert await rep.ids("/v1/goals") == {goals["ada"]}
    assert await finance.ids("/v1/goals") == {*goals.values(), desk_goal, west_goal}
    assert (await manager.send("GET", f"/v1/goals/{west_goal}")).status_code == 404
    assert (await manager.send("GET", f"/v1/goals/{desk_goal}/revisions")).status_code == 200
    assert (await rep.send("GET", f"/v1/goals/{goals['bo']}")).json()["code"] == "goal_not_found"
    assert (await rep.send("GET", f"/v1/people/{bo}")).status_code == 404
    for caller, goal in ((manager, goals["boss"]), (rep, goals["ada"]), (finance, goals["ada"])):
        assert (await caller.send("POST", "/v1/people", {"name": "X"})).status_code == 403
        assert (await caller.send("POST", f"/v1/goals/{goal}/activate", version=1)).status_code == 403
    revops = Caller(service, admin.tenant, Role.REVOPS, person=uuid4())
    assert (await revops.send("POST", f"/v1/goals/{goals['ada']}/activate?reason=Agreed", version=1)).status_code == 200


async def test_a_revision_names_the_person_who_made_it(service: Service, admin: Caller) -> None:
    goal = await admin.goal(await admin.person())
    someone = uuid4()
    revops = Caller(service, admin.tenant, Role.REVOPS, person=someone)
    await admin.send("POST", f"/v1/goals/{goal}/activate", version=1)
    other = Caller(service, admin.tenant, Role.REVOPS, person=uuid4())
    body = {"weight": "2", "reason": "Focus"}
    proposal = (await other.send("POST", f"/v1/goals/{goal}/proposals", body)).json()["id"]
    await revops.send("POST", f"/v1/goals/{goal}/proposals/{proposal}/approve", {}, version=1)
    history = (await admin.send("GET", f"/v1/goals/{goal}/revisions")).json()["items"]
    assert [item["revised_by"] for item in history] == [str(someone), None]


async def test_pages_neither_skip_nor_repeat(admin: Caller) -> None:
    expected = [await admin.person(f"P{number}") for number in range(7)]
    found: list[str] = []
    path = "/v1/people?limit=3"
    while True:
        page = (await admin.send("GET", path)).json()
        found += [item["id"] for item in page["items"]]
        if page["next_cursor"] is None:
            break
        path = f"/v1/people?limit=3&cursor={page['next_cursor']}"
    assert found == expected
    refused = await admin.send("GET", "/v1/people?cursor=nonsense")
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid_cursor")


async def test_revisions_come_in_pages_the_newest_first(admin: Caller) -> None:
    goal = await admin.goal(await admin.person())
    await admin.send("POST", f"/v1/goals/{goal}/activate", version=1)
    for number in range(3):
        body = {"target": str(2000 + number), "reason": "More"}
        assert (await admin.send("POST", f"/v1/goals/{goal}/revise", body, version=2 + number)).status_code == 200
    first = (await admin.send("GET", f"/v1/goals/{goal}/revisions?limit=2")).json()
    rest = (await admin.send("GET", f"/v1/goals/{goal}/revisions?limit=2&cursor={first['next_cursor']}")).json()
    assert [item["revision"] for item in first["items"] + rest["items"]] == [4, 3, 2, 1]
    assert rest["next_cursor"] is None


async def test_lists_are_filtered(admin: Caller) -> None:
    ada, bo = await admin.person(), await admin.person("Bo")
    await admin.send("PATCH", f"/v1/people/{bo}", {"active": False, "email": "bo@example.com"}, version=1)
    top = await admin.team("Top", manager_id=ada)
    desk = await admin.team("Desk", parent_id=top)
    goal = await admin.goal(ada)
    later = await admin.goal(bo, period={"start": "2026-07-01", "end": "2026-10-01"})
    await admin.send("POST", f"/v1/goals/{goal}/activate", version=1)
    assert await admin.ids("/v1/people?active=false") == {bo}
    assert await admin.ids("/v1/people?email=bo@example.com") == {bo}
    assert await admin.ids(f"/v1/teams?parent_id={top}") == {desk}
    assert await admin.ids(f"/v1/teams?manager_id={ada}") == {top}
    assert await admin.ids("/v1/goals?status=active") == {goal}
    assert await admin.ids(f"/v1/goals?owner_id={bo}") == {later}
    assert await admin.ids("/v1/goals?on=2026-03-31") == {goal}
    assert await admin.ids("/v1/goals?on=2026-04-01") == set()
    assert await admin.ids("/v1/goals?on=2026-09-30") == {later}


async def test_a_request_sent_again_under_its_key_is_done_once(admin: Caller) -> None:
    first = await admin.send("POST", "/v1/people", {"name": "Ada"}, key="k-1")
    again = await admin.send("POST", "/v1/people", {"name": "Ada"}, key="k-1")
    assert again.json() == first.json()
    assert again.headers["idempotent-replayed"] == "true"
    assert len(await admin.events()) == 1


async def test_history_can_not_be_rewritten_by_the_service(service: Service, admin: Caller) -> None:
    goal = await admin.goal(await admin.person())
    await admin.send("POST", f"/v1/goals/{goal}/activate", version=1)
    connection = await asyncpg.connect(service.database_url, server_settings={"role": "goals_app", "app.tenants": "*"})
    try:
        assert len(await connection.fetch("SELECT * FROM goals.goal_revisions WHERE goal_id = $1", UUID(goal))) == 1
        for statement in ("UPDATE goals.goal_revisions SET reason = 'x'", "DELETE FROM goals.goal_revisions"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(statement)
    finally:
        await connection.close()


async def test_a_lost_topic_is_filled_again_with_the_newest_of_every_subject(service: Service, admin: Caller) -> None:
    await admin.send("PUT", "/v1/calendar", {"start_month": 1, "time_zone": "UTC", "currency": "USD"})
    ada, team = await admin.person(), await admin.team()
    stay = await admin.member(ada, team)
    await admin.send("DELETE", f"/v1/memberships/{stay}", version=1)
    await admin.made("/v1/identities", {"source": "pipedrive", "external_user_id": "7", "person_id": ada})
    goal = await admin.goal(ada)
    await admin.send("POST", f"/v1/goals/{goal}/activate", version=1)
    crowd = 1100
    await query(
        service,
        "INSERT INTO goals.people (tenant_id, id, version, name, active, changed_at)"
        " SELECT $1, gen_random_uuid(), 1, 'P' || n, true, now() FROM generate_series(1, $2) AS n",
        admin.tenant,
        crowd,
    )
    newest = {event.subject: event for event in await admin.events()}
    await query(service, "DELETE FROM goals.outbox")
    database = Database(service.database_url, service="goals")
    try:
        org, goals = await republished(database, "attain.org.v1"), await republished(database, "attain.goals.v1")
        with pytest.raises(ValueError, match="not published by goals"):
            await republished(database, "attain.deals.v1")
    finally:
        await database.close()
    told = await admin.events()
    assert len({event.subject for event in told}) == len(told) == len(newest) + crowd
    assert {event.subject: event for event in told if event.subject in newest} == newest
    assert newest[f"membership/{stay}"].model_dump()["deleted"] is True
    counted = await query(service, "SELECT topic, count(*) AS n FROM goals.outbox GROUP BY topic")
    assert {row["topic"]: row["n"] for row in counted} == {"attain.org.v1": org, "attain.goals.v1": goals}


async def test_nobody_activates_or_revises_a_goal_of_their_own(service: Service) -> None:
    tenant = uuid4()
    admin = Caller(service, tenant, Role.ADMIN, person=uuid4())
    ada = await admin.person()
    herself = Caller(service, tenant, Role.ADMIN, person=UUID(ada))
    goal = await herself.goal(ada, period=AHEAD)
    own = await herself.send("POST", f"/v1/goals/{goal}/activate", version=1)
    assert (await admin.send("POST", f"/v1/goals/{goal}/activate?reason=Agreed", version=1)).status_code == 200
    lower = {"target": "1", "reason": "easier"}
    revised = await herself.send("POST", f"/v1/goals/{goal}/revise", lower, version=2)
    for refused in (own, revised):
        assert (refused.status_code, refused.json()["code"]) == (403, "own_interest")
    system = Caller(service, tenant, Role.SERVICE)
    assert (await system.send("POST", f"/v1/goals/{goal}/revise", lower, version=2)).status_code == 200
