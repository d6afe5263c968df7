"""Bonuses, overrides, pools, matrices and scored objectives over HTTP, on real Postgres: credited, paid, explained."""

from collections import Counter
from collections.abc import AsyncIterator
from datetime import date
from decimal import Decimal
from uuid import UUID

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from services.incentives.earnings.work import PeriodBeginnings
from shared.contracts.org import Membership, Team
from shared.db.database import Scope, Transaction
from shared.http.auth import Role
from tests.stories.incentives import named
from tests.stories.pay import EARNINGS, PLANS, VERIFICATION, rebuilder
from tests.stories.pay_api import ANN, APPROVER, AUTHOR, BEN, MAX, Company, Json, running_company, won

WON: Json = {"all": [{"field": "status", "op": "eq", "value": "won"}]}
BOOKINGS: Json = {"aggregate": "sum", "value_field": "amount", "filter": WON, "currency": "USD"}
DEALS: Json = {"aggregate": "count", "filter": WON}
TARGET: Json = {"target_variable": {"amount": "10000", "per": "period"}}


@pytest.fixture
async def company(module_database: str) -> AsyncIterator[Company]:
    async with running_company(module_database) as running:
        yield running
        assert [each async for each in VERIFICATION.of_tenant(running.database, running.tenant, Counter())] == []


async def plan(company: Company, *components: Json, **more: object) -> str:
    """An active plan with these components."""
    created = await company.send("POST", "/v1/plans", {"name": "Plan", "currency": "USD", "period": "quarter"})
    plan_id = str(created.json()["id"])
    body = {"effective_from": "2026-01-01", "components": list(components), **more}
    drafted = await company.send("POST", f"/v1/plans/{plan_id}/versions", body)
    assert drafted.status_code == 201, drafted.text
    assert (await company.step(plan_id, "approve", "1", APPROVER)).status_code == 200
    assert (await company.step(plan_id, "activate", "2")).status_code == 200
    return plan_id


async def assign(company: Company, plan_id: str, person: UUID, **more: object) -> str:
    answer = await company.assign(plan_id, person, **more)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["id"])


async def earned(company: Company, person: UUID, plan_id: str | None = None) -> dict[str, str]:
    """By component, what a person earned in the first quarter."""
    found = (await company.get("/v1/earnings", person_id=person)).json()["items"]
    return {
        each["component"]: each["earned"]
        for each in found
        if each["start"] == "2026-01-01" and plan_id in (None, each["plan_id"])
    }


async def explained(company: Company, person: UUID, component: str) -> Json:
    """The explanation of an earning, whose lines and steps add up to it."""
    found = (await company.get("/v1/earnings", person_id=person)).json()["items"]
    (earning,) = [each for each in found if each["component"] == component and each["start"] == "2026-01-01"]
    answer: Json = (await company.get(f"/v1/earnings/{earning['id']}/explain")).json()
    lines, steps = answer["lines"], answer["steps"]
    assert isinstance(lines, list) and isinstance(steps, list)
    assert sum(Decimal(each["amount"]) for each in (*lines, *steps)) == Decimal(earning["earned"])
    assert answer["ledger_balance"] == earning["earned"]
    return answer


SPIF: Json = {
    "kind": "bonus",
    "key": "spif",
    "name": "Large deals",
    "measure": BOOKINGS,
    "condition": {"when": "each_deal", "from": "10000"},
    "pays": {"amount": "250"},
}
MILESTONE: Json = {
    "kind": "bonus",
    "key": "milestone",
    "name": "Quota reached",
    "measure": BOOKINGS,
    "condition": {"when": "milestone", "by": "attainment", "from": "1"},
    "pays": {"target_percent": "50"},
}
CURVE: Json = {
    "kind": "bonus",
    "key": "curve",
    "name": "Attainment",
    "measure": BOOKINGS,
    "condition": {
        "when": "curve",
        "by": "attainment",
        "points": [{"at": "0.8", "percent": "50"}, {"at": "1", "percent": "100"}, {"at": "1.2", "percent": "150"}],
    },
    "pays": {"target_percent": "100"},
}


async def test_bonuses_are_paid_as_deals_come_and_go_and_say_why(company: Company) -> None:
    quotas = {"milestone": {"amount": "100000"}, "curve": {"amount": "100000"}}
    await assign(company, await plan(company, SPIF, MILESTONE, CURVE), ANN, quotas=quotas, **TARGET)
    await company.deal(won(0, 9_000), won(1, 10_000), won(2, 71_000))
    assert await earned(company, ANN) == {"spif": "500.00", "milestone": "0.00", "curve": "7500.00"}
    await company.deal(won(3, 20_000))
    assert await earned(company, ANN) == {"spif": "750.00", "milestone": "5000.00", "curve": "12500.00"}
    steps = (await explained(company, ANN, "curve"))["steps"]
    assert isinstance(steps, list)
    assert [(step["kind"], step["amount"]) for step in steps] == [("curve", "12500.00")]
    assert steps[0]["why"] == {
        "en": "At 110 % the curve pays 125 % of 10000.",
        "zh": "达成 110 %，曲线对应 10000 的 125%。",
    }
    await company.deal(won(3, 20_000, version=2, owner=1))
    assert await earned(company, ANN) == {"spif": "500.00", "milestone": "0.00", "curve": "7500.00"}


async def test_a_percent_of_a_target_variable_that_nobody_stated_pays_nothing_and_says_so(company: Company) -> None:
    await assign(company, await plan(company, MILESTONE), ANN, quotas={"milestone": {"amount": "100"}})
    await company.deal(won(0, 9_000))
    assert (await explained(company, ANN, "milestone"))["quota_gap"] == "target_variable_missing"


async def divided(company: Company) -> None:
    """Ben's team East is below West, of which Ann is a member and which Max manages."""
    east, west = named("team", 1), named("team", 0)
    await company.publish(
        [
            Team(tenant_id=company.tenant, id=east, version=2, name="East", parent_id=west, manager_id=None),
            Membership(
                tenant_id=company.tenant,
                id=named("stay", 1),
                version=2,
                person_id=BEN,
                team_id=east,
                start=date(2020, 1, 1),
                end=None,
                deleted=False,
            ),
        ],
        version=2,
    )


def override(key: str, **more: object) -> Json:
    rate = {"shape": "flat", "rate": "0.01"}
    return {"kind": "override", "key": key, "name": key, "measure": BOOKINGS, "rate": rate, **more}


async def test_an_override_pays_on_as_many_levels_of_teams_as_it_says(company: Company) -> None:
    await assign(company, await plan(company, override("all"), override("near", depth=1)), MAX)
    await company.deal(won(0, 100_000), won(1, 30_000, owner=1))
    assert await earned(company, MAX) == {"all": "1300.00", "near": "1300.00"}
    await divided(company)
    assert await earned(company, MAX) == {"all": "1300.00", "near": "1000.00"}
    await company.deal(won(1, 50_000, version=2, owner=1))
    assert await earned(company, MAX) == {"all": "1500.00", "near": "1000.00"}
    path = (await company.get("/v1/earnings", person_id=MAX)).json()["items"]
    near = next(each["id"] for each in path if each["component"] == "near")
    why = (await company.get(f"/v1/earnings/{near}/explain", deal_id=named("deal", 1))).json()["deal"]
    assert (why["counts"], why["reason"]) == (False, "not_in_subtree")


async def test_a_team_result_is_that_of_everybody_in_the_teams_of_the_person_and_below(company: Company) -> None:
    condition = {"when": "milestone", "by": "amount", "from": "100000"}
    team = {**MILESTONE, "key": "team", "crediting": "team", "condition": condition}
    plan_id = await plan(company, team)
    await assign(company, plan_id, ANN, **TARGET)
    await assign(company, plan_id, BEN, **TARGET)
    await company.deal(won(0, 60_000), won(1, 50_000, owner=1))
    assert [await earned(company, person) for person in (ANN, BEN)] == [{"team": "5000.00"}] * 2
    await divided(company)
    assert [await earned(company, person) for person in (ANN, BEN)] == [{"team": "5000.00"}, {"team": "0.00"}]


async def test_a_pool_is_shared_to_the_cent_by_all_on_the_plan_also_by_who_comes_late(company: Company) -> None:
    pool: Json = {
        "kind": "pool",
        "key": "pool",
        "name": "Pool",
        "pot": {"of": "result", "percent": "2", "measure": BOOKINGS},
    }
    plan_id = await plan(company, pool)
    await assign(company, plan_id, ANN, quotas={"pool.weight": {"amount": "3"}})
    await company.deal(won(0, 600_000), won(1, 400_000, owner=1))
    assert await earned(company, ANN) == {"pool": "12000.00"}
    await assign(company, plan_id, BEN, quotas={"pool.weight": {"amount": "2"}})
    await assign(company, plan_id, MAX)
    shares = [(await earned(company, person))["pool"] for person in (ANN, BEN, MAX)]
    assert shares == ["10000.00", "6666.67", "3333.33"]
    await company.deal(won(2, 100_000, owner=1), won(3, 5_000, owner=2))
    shares = [(await earned(company, person))["pool"] for person in (ANN, BEN, MAX)]
    assert sum(map(Decimal, shares)) == 22_000
    steps = (await explained(company, BEN, "pool"))["steps"]
    assert isinstance(steps, list)
    assert steps[0]["why"]["en"] == "180 of 540 parts of the pot of 22000, shared by 3."


async def test_a_fixed_pot_is_shared_without_deals_by_the_days_on_the_plan(company: Company) -> None:
    pool: Json = {"kind": "pool", "key": "pool", "name": "Pool", "pot": {"of": "amount", "amount": "900"}}
    plan_id = await plan(company, pool)
    await assign(company, plan_id, ANN)
    assert (await earned(company, ANN))["pool"] == "900.00"
    await assign(company, plan_id, BEN, start="2026-02-15")
    assert [(await earned(company, person))["pool"] for person in (ANN, BEN)] == ["600.00", "300.00"]


async def test_whoever_joins_in_a_later_period_has_no_share_of_the_pots_before(company: Company) -> None:
    pool: Json = {"kind": "pool", "key": "pool", "name": "Pool", "pot": {"of": "amount", "amount": "900"}}
    plan_id = await plan(company, pool)
    await assign(company, plan_id, ANN)
    await assign(company, plan_id, BEN, start="2026-04-01")
    shares = {}
    for person in (ANN, BEN):
        found = (await company.get("/v1/earnings", person_id=person)).json()["items"]
        shares[person] = {each["start"]: each["earned"] for each in found if each["start"] <= "2026-04-01"}
    assert shares == {ANN: {"2026-01-01": "900.00", "2026-04-01": "450.00"}, BEN: {"2026-04-01": "450.00"}}


async def test_a_period_that_begins_pays_its_fixed_pot_though_nothing_else_happens(company: Company) -> None:
    pool: Json = {"kind": "pool", "key": "pool", "name": "Pool", "pot": {"of": "amount", "amount": "900"}}
    body = {"person_id": str(ANN), "plan_id": await plan(company, pool), "start": "2026-01-01"}
    proposed = (await company.send("POST", "/v1/assignments", body)).json()
    path, version = f"/v1/assignments/{proposed['id']}/approve", f'"{proposed["version"]}"'
    assert (await company.send("POST", path, person=APPROVER, if_match=version)).status_code == 200

    async def forget(tx: Transaction) -> None:
        await tx.execute(text("DELETE FROM incentives.stale_assignments"))

    await company.database.run(Scope.of(company.tenant), forget)
    await rebuilder(company.database).rebuild_all()
    assert await earned(company, ANN) == {}
    beginnings = PeriodBeginnings(company.database, PLANS, EARNINGS)
    for _ in range(2):
        await beginnings.begin_all()
        await rebuilder(company.database).rebuild_all()
        assert await earned(company, ANN) == {"pool": "900.00"}


MATRIX: Json = {
    "kind": "matrix",
    "key": "matrix",
    "name": "Revenue and deals",
    "measure": BOOKINGS,
    "by": "attainment",
    "bounds": [{"from": "0"}, {"from": "0.8"}, {"from": "1"}],
    "second": {"measure": DEALS, "by": "attainment", "bounds": [{"from": "0"}, {"from": "0.9"}]},
    "pays": "target_percent",
    "cells": [["0", "20"], ["50", "80"], ["90", "120"]],
}


async def test_a_matrix_looks_two_measures_up_each_with_a_quota_of_its_own(company: Company) -> None:
    quotas = {"matrix": {"amount": "100000"}, "matrix.second": {"amount": "3"}}
    await assign(company, await plan(company, MATRIX), ANN, quotas=quotas, **TARGET)
    await company.deal(won(0, 90_000), won(1, 4_000))
    assert await earned(company, ANN) == {"matrix": "5000.00"}
    await company.deal(won(2, 1_000))
    assert await earned(company, ANN) == {"matrix": "8000.00"}
    await company.deal(won(3, 5_000))
    assert await earned(company, ANN) == {"matrix": "12000.00"}
    await explained(company, ANN, "matrix")


OBJECTIVES: Json = {
    "kind": "objective",
    "key": "mbo",
    "name": "Objectives",
    "target": {"amount": "5000"},
    "objectives": [
        {"key": "pipeline", "name": "Pipeline", "weight": "60"},
        {"key": "hiring", "name": "Hiring", "weight": "40"},
    ],
}


def score(objective: str, percent: str, **more: object) -> Json:
    evidence = "See the report of 31 March"
    return {
        "component": "mbo",
        "objective": objective,
        "start": "2026-01-01",
        "percent": percent,
        "evidence": evidence,
        **more,
    }


async def give(company: Company, assignment: str, person: UUID | None, role: Role, body: Json) -> int:
    path = f"/v1/assignments/{assignment}/scores"
    answer = await company.http.post(path, json=body, headers=company.headers(person, role))
    await rebuilder(company.database).rebuild_all()
    return answer.status_code


async def test_objectives_are_scored_by_others_and_paid_at_once_and_every_score_is_kept(company: Company) -> None:
    assignment = await assign(company, await plan(company, OBJECTIVES), ANN)
    assert await earned(company, ANN) == {}
    assert await give(company, assignment, MAX, Role.MANAGER, score("pipeline", "100")) == 201
    assert await give(company, assignment, AUTHOR, Role.REVOPS, score("hiring", "75")) == 201
    assert await earned(company, ANN) == {"mbo": "4500.00"}
    assert await give(company, assignment, AUTHOR, Role.ADMIN, score("hiring", "50")) == 201
    assert await earned(company, ANN) == {"mbo": "4000.00"}
    found = await explained(company, ANN, "mbo")
    ledger = found["ledger"]
    assert isinstance(ledger, list)
    assert ledger[-1]["cause"]["changes"] == [f"score/{assignment} v3"]
    path = f"/v1/assignments/{assignment}/scores"
    counting = (await company.get(path, ANN, Role.REP)).json()["items"]
    assert [(each["objective"], each["percent"], each["number"]) for each in counting] == [
        ("pipeline", "100", 1),
        ("hiring", "50", 3),
    ]
    history = (await company.get(f"{path}/history", MAX, Role.MANAGER)).json()["items"]
    assert [(each["percent"], each["scorer"]["person_id"]) for each in history] == [
        ("100", str(MAX)),
        ("75", str(AUTHOR)),
        ("50", str(AUTHOR)),
    ]
    assert await give(company, assignment, MAX, Role.MANAGER, score("pipeline", "0")) == 201
    assert await give(company, assignment, MAX, Role.MANAGER, score("hiring", "0")) == 201
    assert await earned(company, ANN) == {"mbo": "0.00"}

    async def forge(tx: Transaction) -> None:
        await tx.execute(text("UPDATE incentives.objective_scores SET percent = 100"))

    with pytest.raises(DBAPIError, match=r"append-only|permission denied"):
        await company.database.run(Scope.of(company.tenant), forge)


async def test_nobody_scores_their_own_and_only_who_is_over_the_person_scores_at_all(company: Company) -> None:
    plan_id = await plan(company, OBJECTIVES)
    of_ann, of_max = await assign(company, plan_id, ANN), await assign(company, plan_id, MAX)
    for person, role, status in (
        (ANN, Role.REP, 403),
        (BEN, Role.REP, 403),
        (AUTHOR, Role.FINANCE, 403),
        (None, Role.SERVICE, 403),
        (ANN, Role.ADMIN, 403),
        (BEN, Role.MANAGER, 404),
        (MAX, Role.MANAGER, 201),
    ):
        assert await give(company, of_ann, person, role, score("hiring", "10")) == status, (person, role)
    assert await give(company, of_max, MAX, Role.MANAGER, score("hiring", "10")) == 403
    for person, role, status in ((ANN, Role.REP, 200), (BEN, Role.REP, 404), (AUTHOR, Role.FINANCE, 200)):
        for path in ("scores", "scores/history"):
            answer = await company.get(f"/v1/assignments/{of_ann}/{path}", person, role)
            assert answer.status_code == status, (person, role)


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        (score("hiring", "100.01"), "/percent"),
        (score("sales", "100"), "/objective"),
        (score("hiring", "100", component="bonus"), "/component"),
        (score("hiring", "100", start="2026-02-01"), "/start"),
        (score("hiring", "100", start="2025-10-01"), "/start"),
        (score("hiring", "100", evidence=" "), "/evidence"),
    ],
)
async def test_what_cannot_be_scored_is_refused_where_it_is(company: Company, body: Json, pointer: str) -> None:
    assignment = await assign(company, await plan(company, OBJECTIVES), ANN)
    refused = await company.send("POST", f"/v1/assignments/{assignment}/scores", body)
    assert refused.status_code == 422, refused.text
    assert [error["pointer"] for error in refused.json()["errors"]] == [pointer]
