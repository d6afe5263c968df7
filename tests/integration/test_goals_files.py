"""Tables of people, teams, memberships, identities and goals over HTTP with real Postgres."""

import csv
from collections.abc import AsyncIterator
from io import BytesIO, StringIO
from uuid import UUID, uuid4

import httpx
import pytest
from pydantic import JsonValue
from python_calamine import load_workbook

from services.goals.calendar.service import Calendars
from services.goals.evidence.service import Evidence
from services.goals.files.api import ROWS_MAX
from services.goals.files.kinds import Tables
from services.goals.files.service import IMPORT, Uploads
from services.goals.files.work import CHUNK_ROWS, ImportWork
from services.goals.jobs.service import Jobs
from services.goals.jobs.work import JobRunner
from services.goals.metadata import audit, transport
from services.goals.moves.service import strengths
from services.goals.org.service import Organisation
from services.goals.smart.service import SmartChecks
from services.goals.targets.service import Goals
from shared.db.database import Database
from shared.db.failures import DatabaseUnavailable
from shared.http.auth import Role
from shared.outbox.outbox import Outbox
from shared.outbox.trail import Trail
from tests.stories.goals import AHEAD, Caller, Service, pointers, running_goals

XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
KINDS = ("people", "teams", "memberships", "identities", "goals")


@pytest.fixture(scope="module")
async def service(module_database: str) -> AsyncIterator[Service]:
    async with running_goals(module_database) as running:
        yield running


@pytest.fixture
def admin(service: Service) -> Caller:
    return Caller(service, uuid4(), Role.ADMIN, person=uuid4())


async def exported(caller: Caller, kind: str) -> list[dict[str, str]]:
    response = await caller.client.get(f"/v1/{kind}/table")
    assert response.status_code == 200, response.text
    return list(csv.DictReader(StringIO(response.text, newline="")))


async def test_a_table_is_csv_or_a_workbook_with_the_same_cells(admin: Caller) -> None:
    ada = await admin.made("/v1/people", {"name": "=HYPERLINK(1)", "employee_number": "007", "email": "a@b.example"})
    await admin.goal(ada, name="Bookings, Q1", target="1.234")
    response = await admin.client.get("/v1/people/table?format=xlsx")
    assert response.headers["content-type"] == XLSX
    assert response.headers["content-disposition"] == 'attachment; filename="people.xlsx"'
    header, row = load_workbook(BytesIO(response.content)).get_sheet_by_index(0).to_python()
    assert dict(zip(header, row, strict=True)) == {
        **{"id": ada, "version": 1, "name": "=HYPERLINK(1)", "email": "a@b.example"},
        **{"employee_number": "007", "active": True},
    }
    [person] = await exported(admin, "people")
    assert person == {
        **{"id": ada, "version": "1", "name": "'=HYPERLINK(1)", "email": "a@b.example"},
        **{"employee_number": "007", "active": "true"},
    }
    [goal] = await exported(admin, "goals")
    assert (goal["name"], goal["target"], goal["owner_id"]) == ("Bookings, Q1", "1.2340", ada)
    assert goal["metric_filter"] == '{"all":[{"field":"status","op":"eq","value":"won"}]}'


async def test_everyone_is_given_what_they_see(admin: Caller) -> None:
    ada, bob = await admin.person("Ada"), await admin.person("Bob")
    sales = await admin.team(manager_id=ada)
    await admin.member(bob, sales)
    for person in (ada, bob):
        await admin.goal(person)
    seen = {
        Role.REP: (bob, [1, 0, 1, 0, 1]),
        Role.MANAGER: (ada, [2, 1, 1, 0, 2]),
        Role.FINANCE: (ada, [2, 1, 1, 0, 2]),
    }
    for role, (person, counts) in seen.items():
        caller = Caller(admin.service, admin.tenant, role, person=UUID(person))
        assert [len(await exported(caller, kind)) for kind in KINDS] == counts, role
    stranger = Caller(admin.service, uuid4(), Role.ADMIN, person=uuid4())
    assert [len(await exported(stranger, kind)) for kind in KINDS] == [0] * 5


async def test_a_text_that_no_cell_of_a_workbook_has_room_for_is_told_and_csv_has_it(admin: Caller) -> None:
    ada = await admin.person()
    values = [f"{'x' * 490}{number}" for number in range(100)]
    metric = {"aggregate": "count", "filter": {"all": [{"field": "source", "op": "in", "value": values}]}}
    await admin.goal(ada, metric=metric, target="10")
    refused = await admin.send("GET", "/v1/goals/table?format=xlsx")
    assert (refused.status_code, refused.json()["code"]) == (409, "table_does_not_fit")
    assert "column metric_filter" in refused.json()["detail"]
    assert len(await exported(admin, "goals")) == 1


async def imported(caller: Caller, kind: str, table: str | bytes, query_string: str = "") -> httpx.Response:
    media = XLSX if isinstance(table, bytes) else "text/csv"
    content = table if isinstance(table, bytes) else table.encode()
    return await caller.client.post(f"/v1/{kind}/table{query_string}", content=content, headers={"content-type": media})


async def took(caller: Caller, kind: str, table: str | bytes, query_string: str = "") -> tuple[int, int, int]:
    """How many lines created, changed and left something as it was."""
    response = await imported(caller, kind, table, query_string)
    assert response.status_code == 200, response.text
    answer = response.json()
    return answer["created"], answer["changed"], answer["unchanged"]


def written(rows: list[dict[str, str]], *, without: tuple[str, ...] = ()) -> str:
    text = StringIO()
    writer = csv.DictWriter(text, [name for name in rows[0] if name not in without], extrasaction="ignore")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


async def company(admin: Caller) -> None:
    ada, bob = (
        await admin.person("张三, “Ada”"),
        await admin.made("/v1/people", {"name": "-Bob", "email": "b@c.example"}),
    )
    await admin.send("PATCH", f"/v1/people/{bob}", {"active": False}, version=1)
    top = await admin.team("Top", manager_id=ada)
    east = await admin.team("East", parent_id=top)
    await admin.send("PATCH", f"/v1/teams/{east}", {"manager_id": bob, "start": "2026-03-01"}, version=1)
    await admin.send("PATCH", f"/v1/teams/{east}", {"parent_id": None, "start": "2026-05-01"}, version=2)
    await admin.member(bob, east, "2026-01-01", "2026-06-01")
    await admin.member(bob, top)
    await admin.made("/v1/identities", {"source": "crm", "external_user_id": "0042", "person_id": bob})
    whole = await admin.goal(east, kind="team", name="Whole", stretch=[{"name": "Club", "target": "2000.5"}])
    await admin.goal(bob, name="Part", target="250.125", parent_id=whole, weight="0.25")
    fixed = {"aggregate": "sum", "value_field": "amount", "currency": "USD", "rate_policy": "fixed"}
    await admin.goal(bob, metric={**fixed, "fixed_rates": {"EUR": "1.1"}}, target="0.000001", unit="=USD")
    count = {
        "record": "activity",
        "aggregate": "count",
        "filter": {"all": [{"field": "type", "op": "eq", "value": "call"}]},
    }
    await admin.goal(bob, metric=count, target="3", unit="通话", direction="lower", baseline="9")


async def test_what_is_given_is_taken_again_as_it_is(admin: Caller) -> None:
    await company(admin)
    before = len(await admin.events())
    other = Caller(admin.service, uuid4(), Role.ADMIN, person=uuid4())
    for kind in KINDS:
        rows = await exported(admin, kind)
        workbook = (await admin.client.get(f"/v1/{kind}/table?format=xlsx")).content
        assert await took(admin, kind, written(rows)) == (0, 0, len(rows))
        assert await took(admin, kind, workbook) == (0, 0, len(rows))
        assert await took(other, kind, written(rows, without=("version", "status"))) == (len(rows), 0, 0)
        given = [{**row, "version": ""} for row in rows]
        assert [{**row, "version": ""} for row in await exported(other, kind)] == given
    assert len(await admin.events()) == before


async def by_name(caller: Caller) -> list[dict[str, str]]:
    return sorted(await exported(caller, "people"), key=lambda person: person["name"])


async def test_lines_make_and_change_things_and_leave_out_what_stays(admin: Caller) -> None:
    assert await took(admin, "people", "name,employee_number\nAda,001\nBob,\n") == (2, 0, 0)
    ada, bob = await by_name(admin)
    assert (ada["employee_number"], ada["active"]) == ("001", "true")
    table = f"id,version,name\n{ada['id']},1,Ada Lovelace\n{bob['id']},,Bob\n,,Eve\n"
    assert await took(admin, "people", table) == (1, 1, 1)
    assert [(row["name"], row["employee_number"], row["version"]) for row in await by_name(admin)] == [
        ("Ada Lovelace", "001", "2"),
        ("Bob", "", "1"),
        ("Eve", "", "1"),
    ]
    assert await took(admin, "people", f"id,version,employee_number\n{ada['id']},2,\n") == (0, 1, 0)
    swapped = f"id,version,name,email\n{ada['id']},3,Ada,x@y.example\n"
    assert await took(admin, "people", swapped) == (0, 1, 0)


async def test_teams_and_goals_may_be_below_one_another_in_one_file(admin: Caller) -> None:
    top, below = uuid4(), uuid4()
    teams = f"id,name,start,parent_id\n{below},East,,{top}\n{below},East,2026-03-01,\n{top},Top,,\n"
    assert await took(admin, "teams", teams) == (3, 0, 0)
    history = (await admin.send("GET", f"/v1/teams/{below}")).json()["history"]
    assert [(each["start"], each["parent_id"]) for each in history] == [(None, str(top)), ("2026-03-01", None)]
    whole, part = uuid4(), uuid4()
    header = (
        "id,name,owner_kind,owner_id,target,start,end,parent_id,metric_aggregate,metric_value_field,metric_currency"
    )
    rest = f"team,{top},1200.50,2026-01-01,2026-04-01"
    goals = f"{header}\n{part},Part,{rest},{whole},sum,amount,USD\n{whole},Whole,{rest},,sum,amount,USD\n"
    assert await took(admin, "goals", goals) == (2, 0, 0)
    circle = f"id,version,parent_id\n{whole},1,{part}\n"
    refused = await imported(admin, "goals", circle)
    assert (refused.status_code, pointers(refused)) == (422, ["/line/2/parent_id"])


async def test_an_active_goal_is_revised_for_the_reason_of_the_request(admin: Caller) -> None:
    ada = await admin.person()
    goal = await admin.goal(ada, period=AHEAD)
    superior = Caller(admin.service, admin.tenant, Role.ADMIN, person=uuid4())
    assert (await superior.send("POST", f"/v1/goals/{goal}/activate?reason=Agreed", version=1)).status_code == 200
    table = f"id,version,target\n{goal},2,2000\n"
    refused = await imported(admin, "goals", table)
    assert (refused.status_code, pointers(refused)) == (422, ["/line/2"])
    assert "reason" in refused.json()["detail"]
    assert await took(admin, "goals", table, "?reason=A+second+territory") == (0, 1, 0)
    revision = (await admin.send("GET", f"/v1/goals/{goal}/revisions")).json()["items"][0]
    assert (revision["revision"], revision["terms"]["target"], revision["reason"]) == (2, "2000", "A second territory")


async def test_a_check_says_what_would_become_of_each_line_and_stores_nothing(admin: Caller) -> None:
    ada = await admin.person()
    table = f"id,version,name\n{ada},1,Augusta\n,,Bob\n"
    events = len(await admin.events())
    checked = (await imported(admin, "people", table, "?check=true")).json()
    assert (checked["stored"], checked["created"], checked["changed"]) == (False, 1, 1)
    assert [(line["line"], line["became"]) for line in checked["lines"]] == [(2, "changed"), (3, "created")]
    assert (len(await admin.events()), len(await exported(admin, "people"))) == (events, 1)
    stored = (await imported(admin, "people", table)).json()
    assert {**stored, "lines": [], "stored": False} == {**checked, "lines": []}


async def test_what_is_wrong_is_named_by_line_and_column_and_nothing_is_stored(admin: Caller) -> None:
    ada, bob = await admin.person("Ada"), await admin.made("/v1/people", {"name": "Bob", "email": "b@c.example"})
    team = await admin.team()
    stay = await admin.member(ada, team, "2026-01-01", "2026-03-01")
    await admin.made("/v1/identities", {"source": "crm", "external_user_id": "42", "person_id": ada})
    nobody = uuid4()
    cases = [
        ("people", "name,email\nEve,b@C.example\n", ["/line/2/email"]),
        ("people", "name,email\nEve,e@f.example\nEve,E@f.example\n", ["/line/3/email"]),
        ("people", "name,email\nEve,nothing\n,a@b.example\n", ["/line/2/email", "/line/3/name"]),
        ("people", f"id,version,name\n{ada},,Eve\n", ["/line/2/version"]),
        ("people", f"id,version,name\n{ada},7,Eve\n", ["/line/2"]),
        ("people", f"id,version,name\n{nobody},1,Eve\n", ["/line/2/version"]),
        ("people", f"id,version,name\n{ada},1,Eve\n{ada},1,Eva\n", ["/line/3/id"]),
        ("people", "name,active\nEve,yes\n", ["/line/2/active"]),
        ("teams", f"name,manager_id\nEast,{nobody}\n", ["/line/2/manager_id"]),
        ("teams", f"id,version,parent_id\n{team},1,{team}\n", ["/line/2/parent_id"]),
        ("teams", f"id,name,start\n{nobody},East,2026-01-01\n", ["/line/2/start"]),
        ("memberships", f"person_id,team_id,start\n{nobody},{team},2026-01-01\n", ["/line/2/person_id"]),
        ("memberships", f"person_id,team_id,start\n{ada},{team},2026-02-01\n", ["/line/2/start"]),
        ("memberships", f"person_id,team_id,start,end\n{bob},{team},2026-02-01,2026-02-01\n", ["/line/2/end"]),
        ("memberships", f"id,version,person_id\n{stay},1,{bob}\n", ["/line/2/person_id"]),
        ("memberships", f"person_id,team_id,start\n{bob},{team},01/02/2026\n", ["/line/2/start"]),
        ("identities", f"source,external_user_id,person_id\ncrm,42,{bob}\n", ["/line/2/external_user_id"]),
        ("goals", f"name,owner_kind,owner_id,target\nBookings,person,{ada},\"1,000\"\n", ["/line/2/target"]),
        ("goals", f"name,owner_kind,owner_id,target,start,end,metric_aggregate,metric_value_field,metric_currency\n"
         f"Q1,person,{nobody},1,2026-01-01,2026-04-01,sum,amount,USD\n", ["/line/2/owner_id"]),
        ("goals", f"name,owner_kind,owner_id,target,start,end,metric_aggregate,metric_filter\n"
         f'Q1,person,{ada},1,2026-01-01,2026-04-01,count,"{{""all"":[{{""field"":""x""}}]}}"\n',
         ["/line/2/metric_filter"]),
        ("goals", f"name,owner_kind,owner_id,target,start,end,metric_aggregate,status\n"
         f"Q1,person,{ada},1,2026-01-01,2026-04-01,count,active\n", ["/line/2/status"]),
    ]  # fmt: skip
    before = {kind: await exported(admin, kind) for kind in KINDS}
    for kind, table, expected in cases:
        refused = await imported(admin, kind, table)
        assert (refused.status_code, pointers(refused)) == (422, expected), (table, refused.text)
        assert refused.json()["code"] == "invalid_table"
        assert f"line {expected[0].split('/')[2]}" in refused.json()["detail"]
        assert refused.json()["errors"][0].get("accepted") or expected == ["/line/2"], refused.text
    assert {kind: await exported(admin, kind) for kind in KINDS} == before


async def test_a_thing_that_was_deleted_is_not_made_again(admin: Caller) -> None:
    stay = await admin.member(await admin.person(), await admin.team())
    [row] = await exported(admin, "memberships")
    assert (await admin.client.delete(f"/v1/memberships/{stay}", headers={"if-match": '"1"'})).status_code == 204
    refused = await imported(admin, "memberships", written([row], without=("version",)))
    assert (refused.status_code, pointers(refused)) == (422, ["/line/2/id"])


async def test_only_who_may_change_things_one_by_one_takes_tables(admin: Caller) -> None:
    for role, status in ((Role.REP, 403), (Role.MANAGER, 403), (Role.FINANCE, 403), (Role.REVOPS, 200)):
        caller = Caller(admin.service, admin.tenant, role, person=uuid4())
        for kind, header in (("people", "name"), ("goals", "name"), ("teams", "name"), ("memberships", "start")):
            assert (await imported(caller, kind, f"{header},id\n")).status_code == status, (role, kind)


async def test_more_lines_than_one_request_takes_are_refused(admin: Caller) -> None:
    lines = "".join(f"P{number},\n" for number in range(ROWS_MAX + 1))
    refused = await imported(admin, "people", f"name,email\n{lines}")
    assert (refused.status_code, pointers(refused)) == (422, [f"/line/{ROWS_MAX + 2}"])
    assert await took(admin, "people", f"name,email\n{lines.removesuffix(f'P{ROWS_MAX},' + chr(10))}") == (
        ROWS_MAX,
        0,
        0,
    )


async def sent(caller: Caller, kind: str, content: bytes, *, part_bytes: int = 200_000) -> str:
    """The path of an upload of these bytes, in parts."""
    upload = await caller.send("POST", "/v1/uploads", {"kind": kind})
    assert upload.status_code == 201, upload.text
    path = f"/v1/uploads/{upload.json()['id']}"
    for number, first in enumerate(range(0, len(content), part_bytes), 1):
        part = content[first : first + part_bytes]
        response = await caller.client.put(f"{path}/parts/{number}", content=part)
        assert response.status_code == 204, response.text
    return path


async def job_of(caller: Caller, path: str, runner: JobRunner, query_string: str = "") -> dict[str, JsonValue]:
    """A job that takes an upload, at its end."""
    requested = await caller.send("POST", f"{path}/import{query_string}")
    assert requested.status_code == 202, requested.text
    await runner.work_all()
    return dict((await caller.send("GET", requested.headers["location"])).json())


@pytest.fixture
async def runner(service: Service) -> AsyncIterator[JobRunner]:
    """Works at imports as the worker of goals does."""
    database = Database(service.database_url, service="goals")
    trail = Trail(audit)
    outbox = Outbox(transport, trail=trail)
    calendars = Calendars(outbox)
    organisation = Organisation(outbox, calendars)
    jobs = Jobs()
    checks = SmartChecks(organisation, calendars, Evidence(), strengths)
    tables = Tables(organisation, Goals(outbox, organisation, calendars, trail, checks))
    yield JobRunner(database, jobs, {IMPORT: ImportWork(tables, Uploads(jobs))}, organisation.check_active)
    await database.close()


async def test_a_table_of_any_length_is_taken_by_a_job(admin: Caller, runner: JobRunner) -> None:
    count = 2 * CHUNK_ROWS + 10
    table = "name,email\n" + "".join(f"张 {number},p{number}@b.example\n" for number in range(count))
    path = await sent(admin, "people", table.encode())
    checked = await job_of(admin, path, runner, "?check=true")
    assert (checked["state"], checked["counts"], checked["percent"]) == ("done", {"created": count}, 100)
    assert await exported(admin, "people") == []
    taken = await job_of(admin, path, runner, "?reason=Taken+over")
    assert (taken["state"], taken["counts"], taken["total"]) == ("done", {"created": count}, 2 * count)
    assert len(await exported(admin, "people")) == count
    change = (await admin.send("GET", "/v1/audit?limit=1")).json()["items"][0]
    assert (change["reason"], change["actor"]["kind"]) == ("Taken over", "person")
    again = await admin.send("POST", f"{path}/import")
    assert (again.status_code, again.json()["code"]) == (404, "upload_not_found")


async def test_one_wrong_line_of_a_long_table_ends_the_job_and_nothing_is_stored(
    admin: Caller, runner: JobRunner
) -> None:
    lines = [f"P{number},p{number}@b.example\n" for number in range(CHUNK_ROWS + 2)]
    for wrong, pointer in ((f"{'x' * 300},\n", f"/line/{CHUNK_ROWS + 4}/name"), ("P,P0@b.example\n", "/email")):
        path = await sent(admin, "people", ("name,email\n" + "".join([*lines, wrong])).encode())
        failed = await job_of(admin, path, runner)
        failure = failed["failure"]
        assert (failed["state"], isinstance(failure, dict)) == ("failed", True), failed
        assert isinstance(failure, dict) and isinstance(failure["fields"], list)
        [field] = failure["fields"]
        assert isinstance(field, dict) and str(field["pointer"]).endswith(pointer)
        assert (await exported(admin, "people"), len(await admin.events())) == ([], 0)


async def test_a_job_that_is_cut_short_while_it_stores_stores_everything_once(
    admin: Caller, runner: JobRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = "name\n" + "".join(f"P{number}\n" for number in range(CHUNK_ROWS + 5))
    path = await sent(admin, "people", table.replace("\n", ",\n").replace("name,", "name,email").encode())
    requested = await admin.send("POST", f"{path}/import")
    forget = Uploads.forget

    async def cut_short(*_: object) -> None:
        raise DatabaseUnavailable("gone", retry_after_seconds=1)

    monkeypatch.setattr(Uploads, "forget", cut_short)
    with pytest.raises(DatabaseUnavailable):
        await runner.work_all()
    assert await exported(admin, "people") == []
    monkeypatch.setattr(Uploads, "forget", forget)
    await runner.work_all()
    job = (await admin.send("GET", requested.headers["location"])).json()
    assert (job["state"], job["counts"]) == ("done", {"created": CHUNK_ROWS + 5})
    assert len(await exported(admin, "people")) == CHUNK_ROWS + 5


async def test_an_upload_is_its_tenants_and_has_all_its_parts(admin: Caller) -> None:
    path = await sent(admin, "people", b"name,email\nAda,\n", part_bytes=5)
    stranger = Caller(admin.service, uuid4(), Role.ADMIN, person=uuid4())
    rep = Caller(admin.service, admin.tenant, Role.REP, person=uuid4())
    for caller, status in ((stranger, 404), (rep, 403)):
        assert (await caller.client.put(f"{path}/parts/1", content=b"x")).status_code == status
        assert (await caller.send("POST", f"{path}/import")).status_code == status
    gap = await admin.send("POST", "/v1/uploads", {"kind": "people"})
    path = f"/v1/uploads/{gap.json()['id']}"
    assert (await admin.client.put(f"{path}/parts/2", content=b"x")).status_code == 204
    refused = await admin.send("POST", f"{path}/import")
    assert (refused.status_code, refused.json()["code"]) == (422, "upload_incomplete")
    assert "Part 1 is missing" in refused.json()["detail"]
