"""Simulation over HTTP on real Postgres: what would be earned equals what is earned once it has happened."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import date
from decimal import Decimal
from uuid import UUID, uuid4

import httpx
import pytest
from defusedxml import ElementTree
from sqlalchemy import text

from shared.db.database import Scope, Transaction
from shared.http.auth import Role
from tests.stories.incentives import named
from tests.stories.pay_api import ANN, BEN, MAX, Company, Json, component, running_company, won


@pytest.fixture
async def company(module_database: str) -> AsyncIterator[Company]:
    async with running_company(module_database) as running:
        yield running


async def simulate(
    company: Company, person: UUID, *deals: Json, by: UUID | None = None, role: Role = Role.ADMIN
) -> httpx.Response:
    body = {"person_id": str(person), "deals": list(deals)}
    return await company.http.post("/v1/simulations/earnings", json=body, headers=company.headers(by, role))


def new(amount: str, day: str = "2026-02-20") -> Json:
    return {"amount": amount, "currency": "USD", "closed_on": day}


async def state(company: Company) -> list[tuple[object, ...]]:
    """How much of everything there is."""

    async def read(tx: Transaction) -> list[tuple[object, ...]]:
        counts = " UNION ALL ".join(
            f"SELECT '{table}', count(*), coalesce(sum(hashtext(t::text)), 0) FROM incentives.{table} AS t"
            for table in ("credits", "cells", "ledger_transactions", "ledger_entries", "deals", "outbox")
        )
        return [tuple(row.values()) for row in await tx.rows(text(counts))]

    return await company.database.run(Scope.of(company.tenant), read)


async def test_a_deal_that_would_be_won_earns_what_it_earns_once_it_is(company: Company) -> None:
    """5,000 up to the bound at 4 % and 15,000 above it at 6 %: 1,100."""
    await company.assign(await company.plan(), ANN)
    await company.deal(won(1, 145_000))
    before = await state(company)
    answer = await simulate(company, ANN, new("20000"), by=ANN, role=Role.REP)
    assert answer.status_code == 200, answer.text
    [cell] = answer.json()["earnings"]
    assert (cell["earned_before"], cell["earned_after"], cell["difference"]) == ("5800.00", "6900.00", "1100.00")
    assert (cell["measure_before"], cell["measure_after"]) == ("145000", "165000")
    assert answer.json()["totals"] == [{"currency": "USD", "difference": "1100.00"}]
    assert await state(company) == before
    await company.deal(won(2, 20_000, version=2, day=date(2026, 2, 20)))
    [earning] = (await company.get("/v1/earnings", person_id=ANN)).json()["items"]
    assert (earning["earned"], earning["id"]) == (cell["earned_after"], cell["earning_id"])


async def test_an_open_deal_is_won_in_the_simulation_and_a_won_one_counts_once(company: Company) -> None:
    await company.assign(await company.plan(), ANN)
    await company.deal(won(1, 145_000), replace(won(3, 10_000), won=False))
    deal_id = str(named("deal", 3))
    answer = await simulate(company, ANN, {"deal_id": deal_id, "closed_on": "2026-03-01"})
    assert answer.json()["totals"] == [{"currency": "USD", "difference": "500.00"}]
    larger = await simulate(company, ANN, {"deal_id": str(named("deal", 1)), "amount": "150000"})
    assert larger.json()["totals"] == [{"currency": "USD", "difference": "200.00"}]
    smaller = await simulate(company, ANN, {"deal_id": str(named("deal", 1)), "amount": "100000"})
    assert smaller.json()["totals"] == [{"currency": "USD", "difference": "-1800.00"}]
    later = await simulate(company, ANN, {"deal_id": str(named("deal", 1)), "closed_on": "2026-05-01"})
    assert [each["difference"] for each in later.json()["earnings"]] == ["-5800.00", "5800.00"]
    # What the CRM made of 100 euros is not what it would make of 200, and no rate says what that is.
    await company.deal(replace(won(4, 100), currency="EUR", home_cents=100_000))
    euros = await simulate(company, ANN, {"deal_id": str(named("deal", 4)), "amount": "200"})
    assert euros.json()["totals"] == [{"currency": "USD", "difference": "-40.00"}]


async def test_nobody_simulates_whose_pay_is_out_of_sight(company: Company) -> None:
    await company.assign(await company.plan(), ANN)
    await company.deal(won(1, 145_000), won(2, 1_000, owner=1))
    for by, role, status in (
        (ANN, Role.REP, 200),
        (BEN, Role.REP, 404),
        (MAX, Role.MANAGER, 200),
        (None, Role.FINANCE, 200),
    ):
        assert (await simulate(company, ANN, new("1"), by=by, role=role)).status_code == status
    others = await simulate(company, ANN, {"deal_id": str(named("deal", 2))}, by=ANN, role=Role.REP)
    assert (others.status_code, others.json()["errors"][0]["pointer"]) == (422, "/deals/0/deal_id")
    unknown = await simulate(company, ANN, new("1"), {"deal_id": str(uuid4())})
    assert (unknown.status_code, unknown.json()["errors"][0]["pointer"]) == (422, "/deals/1/deal_id")
    no_amount = await simulate(company, ANN, {"closed_on": "2026-02-01"})
    assert (no_amount.status_code, no_amount.json()["errors"][0]["pointer"]) == (422, "/deals/0/amount")
    nobody = await simulate(company, named("person", 9), new("1"))
    assert (nobody.status_code, nobody.json()["code"]) == (422, "person_unmapped")


async def test_a_draft_is_tried_on_what_really_happened(company: Company) -> None:
    plan_id = await company.plan()
    await company.assign(plan_id, ANN)
    await company.assign(plan_id, BEN)
    await company.deal(won(1, 145_000), won(2, 20_000), won(3, 50_000, owner=1), won(4, 9_000, day=date(2026, 5, 1)))
    draft = component(rate={"shape": "flat", "rate": "0.05"})
    body: Json = {"effective_from": "2027-01-01", "components": [draft]}
    assert (await company.send("POST", f"/v1/plans/{plan_id}/versions", body)).status_code == 201
    before = await state(company)
    path = f"/v1/simulations/plans/{plan_id}/versions/2"
    found = (await company.get(path, start="2026-01-01", end="2026-04-01")).json()
    people = {each["person_id"]: each for each in found["people"]}
    # Ann: 150,000 at 4 % and 15,000 at 6 %, against 165,000 at 5 %. Ben: 50,000 at 4 % against 5 %.
    assert (people[str(ANN)]["current"], people[str(ANN)]["simulated"]) == ("6900.00", "8250.00")
    assert (people[str(BEN)]["current"], people[str(BEN)]["simulated"]) == ("2000.00", "2500.00")
    assert (found["cost"], found["simulated_cost"]) == ("8900.00", "10750.00")
    assert (found["winners"], found["losers"], found["unchanged"]) == (2, 0, 0)
    assert (found["current"]["p50"], found["current"]["p90"], found["current"]["mean"]) == (
        "2000.00",
        "6900.00",
        "4450.00",
    )
    assert [sum(bar[which] for bar in found["bars"]) for which in ("current", "simulated")] == [2, 2]
    cases = {each["factor"]: each for each in found["sensitivity"]}
    assert cases["1"]["current"] == found["cost"]
    # At 110 %: Ann 150,000 at 4 % and 31,500 at 6 %; flat terms grow in proportion.
    assert Decimal(cases["1.1"]["current"]) == 6000 + 1890 + 2200
    assert Decimal(cases["1.1"]["simulated"]) == Decimal("10750") * Decimal("1.1")
    same = (await company.get(path.replace("/2", "/1"), start="2026-01-01", end="2026-04-01")).json()
    assert (same["winners"], same["losers"], same["simulated_cost"]) == (0, 0, found["cost"])
    assert await state(company) == before


async def test_a_simulation_is_a_table_and_a_picture_too(company: Company) -> None:
    plan_id = await company.plan()
    await company.assign(plan_id, ANN)
    await company.deal(won(1, 145_000))
    path = f"/v1/simulations/plans/{plan_id}/versions/1?start=2026-01-01&end=2026-04-01"
    table = await company.get(path, format="csv")
    assert table.headers["content-type"].startswith("text/csv")
    assert table.text.splitlines() == [
        "person_id,person,current,simulated,difference,currency",
        f"{ANN},Ann,5800,5800,0,USD",
    ]
    drawn = await company.get(path, format="svg")
    assert drawn.headers["content-type"] == "image/svg+xml"
    assert ElementTree.fromstring(drawn.text).tag.endswith("svg")
    assert "5800.00 USD" in drawn.text


async def test_a_plan_is_tried_by_those_who_see_all_pay(company: Company) -> None:
    plan_id = await company.plan()
    version = f"/v1/simulations/plans/{plan_id}/versions/1"
    path = f"{version}?start=2026-01-01&end=2026-04-01"
    nobody = await company.get(path)
    assert (nobody.status_code, nobody.json()["errors"][0]["pointer"]) == (422, "/plan_id")
    await company.assign(plan_id, ANN)
    for role, status in ((Role.REP, 403), (Role.MANAGER, 403), (Role.FINANCE, 200), (Role.REVOPS, 200)):
        assert (await company.get(path, MAX, role)).status_code == status
    backwards = await company.get(version, start="2026-04-01", end="2026-01-01")
    assert (backwards.status_code, backwards.json()["errors"][0]["pointer"]) == (422, "/end")
    assert (await company.get(path.replace("/1?", "/9?"))).status_code == 404
