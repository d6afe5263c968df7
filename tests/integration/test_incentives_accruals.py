"""What accounting books over HTTP on real Postgres: sums equal to the ledger, by cost centre, against budgets."""

from collections import defaultdict
from collections.abc import AsyncIterator
from datetime import date
from decimal import Decimal
from typing import cast

import pytest
from sqlalchemy import text

from shared.db.database import Scope, Transaction
from shared.http.auth import Role
from tests.stories.incentives import named
from tests.stories.pay_api import ANN, BEN, MAX, Company, running_company, won

WEST = named("team", 0)
YEAR = "start=2026-01-01&end=2027-01-01"


@pytest.fixture
async def company(module_database: str) -> AsyncIterator[Company]:
    async with running_company(module_database) as running:
        yield running


async def sold(company: Company) -> str:
    """Ann earns 400 in the first quarter and Ben 200 in the second; the plan."""
    plan_id = await company.plan(rate={"shape": "flat", "rate": "0.04"})
    await company.assign(plan_id, ANN)
    await company.assign(plan_id, BEN)
    await company.deal(won(1, 10_000), won(2, 5_000, owner=1, day=date(2026, 5, 4)))
    return plan_id


async def ledger(company: Company) -> dict[tuple[str, str], Decimal]:
    """The sums of the ledger by account and currency, the accounts of people as one."""

    async def read(tx: Transaction) -> dict[tuple[str, str], Decimal]:
        rows = await tx.rows(text("SELECT account, currency, amount FROM incentives.ledger_entries"))
        found: defaultdict[tuple[str, str], Decimal] = defaultdict(Decimal)
        for row in rows:
            account = "payable" if row["account"].startswith("payable:") else row["account"]
            found[account, row["currency"]] += row["amount"]
        return dict(found)

    return await company.database.run(Scope.of(company.tenant), read)


async def accruals(company: Company) -> list[dict[str, str]]:
    return cast(list[dict[str, str]], (await company.get(f"/v1/accruals?{YEAR}")).json()["accruals"])


async def test_accruals_are_the_ledger_by_month_account_and_cost_centre(company: Company) -> None:
    plan_id = await sold(company)
    centre = await company.send("PUT", f"/v1/cost-centres/{WEST}/2026-04-01", {"code": "4100"})
    assert centre.status_code == 200, centre.text
    found = await accruals(company)
    expense = f"expense:commission:{plan_id}"
    assert [(each["start"], each["account"], each["cost_centre"], each["amount"]) for each in found] == [
        ("2026-03-01", expense, "", "400.00"),
        ("2026-03-01", "payable", "", "-400.00"),
        ("2026-06-01", expense, "4100", "200.00"),
        ("2026-06-01", "payable", "4100", "-200.00"),
    ]
    await company.deal(won(1, 7_000, version=2), won(3, 12_345, day=date(2026, 8, 1)))
    sums: defaultdict[tuple[str, str], Decimal] = defaultdict(Decimal)
    for each in await accruals(company):
        sums[each["account"], each["currency"]] += Decimal(each["amount"])
    assert dict(sums) == await ledger(company)
    assert sum(sums.values()) == 0


async def test_the_nearest_team_with_a_cost_centre_books_and_what_is_said_last_counts(company: Company) -> None:
    await sold(company)
    for code in ("1000", "2000"):
        await company.send("PUT", f"/v1/cost-centres/{WEST}/2026-01-01", {"code": code})
    assert {each["cost_centre"] for each in await accruals(company)} == {"2000"}
    listed = (await company.get("/v1/cost-centres")).json()["items"]
    assert [(each["team_id"], each["code"]) for each in listed] == [(str(WEST), "2000")]
    unknown = await company.send("PUT", f"/v1/cost-centres/{named('team', 9)}/2026-01-01", {"code": "1"})
    assert (unknown.status_code, unknown.json()["code"]) == (404, "team_not_found")


async def test_what_a_plan_costs_stands_beside_its_budget(company: Company) -> None:
    plan_id = await sold(company)
    for month, amount in (("2026-03-01", "300"), ("2026-04-01", "50"), ("2026-06-01", "250")):
        said = await company.send("PUT", f"/v1/plans/{plan_id}/budgets/{month}", {"amount": amount})
        assert said.status_code == 200, said.text
    found = (await company.get(f"/v1/plans/{plan_id}/costs?start=2026-03-01&end=2026-07-01")).json()
    assert [
        (each["start"], each["cost"], each["budget"], each["left"], each["cost_so_far"], each["budget_so_far"])
        for each in found["periods"]
    ] == [
        ("2026-03-01", "400.00", "300.00", "-100.00", "400.00", "300.00"),
        ("2026-04-01", "0.00", "50.00", "50.00", "400.00", "350.00"),
        ("2026-05-01", "0.00", None, None, "400.00", "350.00"),
        ("2026-06-01", "200.00", "250.00", "50.00", "600.00", "600.00"),
    ]
    middle = await company.send("PUT", f"/v1/plans/{plan_id}/budgets/2026-03-15", {"amount": "1"})
    assert (middle.status_code, middle.json()["errors"][0]["pointer"]) == (422, "/date")
    negative = await company.send("PUT", f"/v1/plans/{plan_id}/budgets/2026-03-01", {"amount": "-1"})
    assert (negative.status_code, negative.json()["errors"][0]["pointer"]) == (422, "/amount")
    budgets = (await company.get(f"/v1/plans/{plan_id}/budgets")).json()["items"]
    assert [(each["start"], each["amount"]) for each in budgets] == [
        ("2026-03-01", "300"),
        ("2026-04-01", "50"),
        ("2026-06-01", "250"),
    ]


async def test_accruals_go_out_as_a_table(company: Company) -> None:
    plan_id = await sold(company)
    table = await company.get(f"/v1/accruals?{YEAR}&format=csv")
    assert table.text.splitlines()[:2] == [
        "start,end,account,cost_centre,currency,amount",
        f"2026-03-01,2026-04-01,expense:commission:{plan_id},,USD,400",
    ]
    assert (await company.get(f"/v1/accruals?{YEAR}&format=xlsx")).content[:2] == b"PK"


async def test_only_those_who_see_all_pay_see_what_it_costs_and_only_finance_says_what_it_may(
    company: Company,
) -> None:
    plan_id = await company.plan()
    for path in (f"/v1/accruals?{YEAR}", "/v1/cost-centres", f"/v1/plans/{plan_id}/budgets"):
        for role, status in ((Role.REP, 403), (Role.MANAGER, 403), (Role.FINANCE, 200), (Role.SERVICE, 200)):
            assert (await company.get(path, MAX, role)).status_code == status
    for role, status in ((Role.MANAGER, 403), (Role.SERVICE, 403), (Role.FINANCE, 200)):
        headers = company.headers(MAX, role)
        budget = await company.http.put(
            f"/v1/plans/{plan_id}/budgets/2026-01-01", json={"amount": "1"}, headers=headers
        )
        centre = await company.http.put(f"/v1/cost-centres/{WEST}/2026-01-01", json={"code": "1"}, headers=headers)
        assert (budget.status_code, centre.status_code) == (status, status)
