"""Tables of people, teams, memberships, identities and goals over HTTP with real Postgres."""

import csv
from collections.abc import AsyncIterator
from io import BytesIO, StringIO
from uuid import UUID, uuid4

import pytest
from python_calamine import load_workbook

from shared.http.auth import Role
from tests.stories.goals import Caller, Service, running_goals

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
