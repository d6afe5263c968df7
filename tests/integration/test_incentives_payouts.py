"""Payout runs over HTTP on real Postgres: a month is calculated, approved by another, exported once, paid, undone."""

import json
from collections import defaultdict
from collections.abc import AsyncIterator
from datetime import date
from decimal import Decimal
from typing import cast
from uuid import UUID

import httpx
import pytest
from sqlalchemy import text

from services.incentives.earnings.publishing import render
from shared.db.database import Scope, Transaction
from shared.http.auth import Role
from tests.stories.incentives import named
from tests.stories.pay_api import ANN, APPROVER, BEN, MAX, Company, Json, component, running_company, won

FAY = named("person", 60)
"""Of finance, and paid by nothing."""
FLAT: Json = {"shape": "flat", "rate": "0.10"}


@pytest.fixture
async def company(module_database: str) -> AsyncIterator[Company]:
    async with running_company(module_database) as running:
        yield running


async def monthly(company: Company, rules: Json | None = None, *people: UUID) -> str:
    """A plan by month at 10 % with rules, and who is on it from the year's start."""
    created = await company.send("POST", "/v1/plans", {"name": "Reps", "currency": "USD", "period": "month"})
    plan_id = str(created.json()["id"])
    body = {"effective_from": "2026-01-01", "components": [component(rate=FLAT)], "rules": rules or {}}
    drafted = await company.send("POST", f"/v1/plans/{plan_id}/versions", body)
    assert drafted.status_code == 201, drafted.text
    assert (await company.step(plan_id, "approve", "1", APPROVER)).status_code == 200
    assert (await company.step(plan_id, "activate", "2")).status_code == 200
    for person in people or (ANN,):
        assert (await company.assign(plan_id, person)).status_code in (200, 201)
    return plan_id


async def sold(
    company: Company, deal: int, amount: int, month: int, *, owner: int = 0, version: int | None = None
) -> None:
    await company.deal(won(deal, amount, version=version or deal, day=date(2026, month, 10), owner=owner))


async def post(company: Company, path: str, body: object, person: UUID, version: int | None = None) -> httpx.Response:
    match = {} if version is None else {"if-match": f'"{version}"'}
    return await company.http.post(path, json=body, headers=company.headers(person, Role.FINANCE, **match))


async def period(company: Company, month: int) -> Json:
    listed = await company.get("/v1/pay-periods", containing=date(2026, month, 10), role=Role.FINANCE)
    [found] = listed.json()["items"]
    return dict(found)


async def move(company: Company, month: int, *states: str) -> None:
    for state in states:
        found = await period(company, month)
        person = APPROVER if state == "approved" else FAY
        path = f"/v1/pay-periods/{found['id']}/move"
        moved = await post(company, path, {"state": state, "reason": "Month end"}, person, int(str(found["version"])))
        assert moved.status_code == 200, moved.text


async def calculated(company: Company, month: int) -> Json:
    found = await period(company, month)
    answer = await post(company, "/v1/payout-runs", {"pay_period_id": found["id"]}, FAY)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


async def step(company: Company, run: Json, name: str, person: UUID = APPROVER) -> httpx.Response:
    now = (await company.get(f"/v1/payout-runs/{run['id']}", role=Role.FINANCE)).json()
    return await post(company, f"/v1/payout-runs/{run['id']}/{name}", {"reason": "Fine"}, person, now["version"])


async def paid(company: Company, month: int) -> Json:
    """The month closed and paid; its run."""
    await move(company, month, "calculating", "in_review", "approved")
    run = await calculated(company, month)
    for name in ("approve", "export", "paid"):
        answer = await step(company, run, name)
        assert answer.status_code == 200, answer.text
    await move(company, month, "closed")
    return run


async def payouts(company: Company, run: Json) -> dict[str, Json]:
    listed = (await company.get(f"/v1/payout-runs/{run['id']}/payouts", role=Role.FINANCE)).json()["items"]
    return {each["person_id"]: each for each in listed}


async def balances(company: Company) -> dict[str, Decimal]:
    """What the accounts of people come to, by kind."""

    async def read(tx: Transaction) -> dict[str, Decimal]:
        found: defaultdict[str, Decimal] = defaultdict(Decimal)
        for row in await tx.rows(text("SELECT account, amount FROM incentives.ledger_entries")):
            found[row["account"].partition(":")[0]] += row["amount"]
        return {kind: amount for kind, amount in found.items() if amount}

    return await company.database.run(Scope.of(company.tenant), read)


async def published(company: Company) -> list[Json]:
    async def read(tx: Transaction) -> list[Json]:
        rows = await tx.rows(
            text("SELECT value FROM incentives.outbox WHERE key LIKE :key ORDER BY id"),
            {"key": f"{company.tenant}/payout/%"},
        )
        return [json.loads(bytes(row["value"])) for row in rows]

    return await company.database.run(Scope.of(company.tenant), read)


async def test_a_month_is_paid_to_the_cent_and_leaves_nothing_payable(company: Company) -> None:
    await monthly(company, None, ANN, BEN)
    await sold(company, 1, 10_000, 1)
    await sold(company, 2, 5_000, 1, owner=1)
    run = await paid(company, 1)
    found = await payouts(company, run)
    assert (found[str(ANN)]["paid"], found[str(BEN)]["paid"]) == ("1000.00", "500.00")
    assert run["totals"] == [{"currency": "USD", "amount": "1500.00"}]
    assert await balances(company) == {"expense": Decimal(1500), "paid": Decimal(-1500)}
    assert (await period(company, 1))["state"] == "closed"
    intact = await company.get("/v1/ledger/verify", role=Role.FINANCE)
    assert intact.json()["status"] == "intact"


async def test_a_late_change_is_paid_by_the_next_run_and_the_closed_month_stays(company: Company) -> None:
    await monthly(company)
    await sold(company, 1, 10_000, 1)
    first = await paid(company, 1)
    await sold(company, 1, 12_000, 1, version=9)
    await sold(company, 2, 1_000, 2)
    second = await paid(company, 2)
    assert (await payouts(company, second))[str(ANN)]["paid"] == "300.00"
    assert (await payouts(company, first))[str(ANN)]["paid"] == "1000.00"
    assert await balances(company) == {"expense": Decimal(1300), "paid": Decimal(-1300)}


async def test_nobody_approves_a_run_they_calculated_or_are_paid_by(company: Company) -> None:
    await monthly(company)
    await sold(company, 1, 10_000, 1)
    await move(company, 1, "calculating", "in_review")
    run = await calculated(company, 1)
    early = await step(company, run, "approve")
    assert (early.status_code, early.json()["code"]) == (409, "payout_run_out_of_turn")
    await move(company, 1, "approved")
    for person in (FAY, ANN):
        refused = await step(company, run, "approve", person)
        assert (refused.status_code, refused.json()["code"]) == (403, "approval_not_independent")
    for role in (Role.REP, Role.MANAGER, Role.REVOPS, Role.SERVICE):
        headers = company.headers(None if role is Role.SERVICE else MAX, role, **{"if-match": '"1"'})
        path = f"/v1/payout-runs/{run['id']}/approve"
        refused = await company.http.post(path, json={"reason": "x"}, headers=headers)
        assert (refused.status_code, refused.json()["code"]) == (403, "role_missing")
    assert (await balances(company)).keys() == {"expense", "payable"}
    assert (await step(company, run, "approve")).status_code == 200
    again = await step(company, run, "approve")
    assert (again.status_code, again.json()["code"]) == (409, "payout_run_cannot_move")
    history = (await company.get(f"/v1/payout-runs/{run['id']}/history", role=Role.FINANCE)).json()["items"]
    assert [(each["status"], each["actor"]["person_id"], each["reason"]) for each in history] == [
        ("calculated", str(FAY), None),
        ("approved", str(APPROVER), "Fine"),
    ]


async def test_a_run_that_would_pay_something_else_now_is_calculated_anew(company: Company) -> None:
    await monthly(company)
    await sold(company, 1, 10_000, 1)
    await move(company, 1, "calculating", "in_review")
    run = await calculated(company, 1)
    await sold(company, 2, 1_000, 1)
    await move(company, 1, "approved")
    outdated = await step(company, run, "approve")
    assert (outdated.status_code, outdated.json()["code"]) == (409, "payout_run_outdated")
    found = await period(company, 1)
    second = await post(company, "/v1/payout-runs", {"pay_period_id": found["id"]}, FAY)
    assert (second.status_code, second.json()["code"]) == (409, "payout_run_out_of_turn")
    assert (await step(company, run, "cancel", FAY)).status_code == 200
    assert (await payouts(company, await calculated(company, 1)))[str(ANN)]["paid"] == "1100.00"


async def test_a_month_with_nothing_to_pay_is_closed_by_a_run_of_nothing(company: Company) -> None:
    await monthly(company)
    await move(company, 1, "calculating", "in_review", "approved")
    run = await calculated(company, 1)
    assert (run["payouts"], run["totals"]) == (0, [])
    assert (await step(company, run, "approve", FAY)).status_code == 403
    for name, state in (("approve", "approved"), ("export", "exported"), ("paid", "paid")):
        found = await period(company, 1)
        if state != "approved":
            move_alone = {"state": state, "reason": "There is nothing to pay"}
            refused = await post(
                company, f"/v1/pay-periods/{found['id']}/move", move_alone, APPROVER, int(str(found["version"]))
            )
            assert (refused.status_code, refused.json()["code"]) == (409, "pay_period_cannot_move")
            assert "calculate a run all the same" in refused.json()["detail"]
        assert (await step(company, run, name)).status_code == 200
        assert (await period(company, 1))["state"] == state
    await move(company, 1, "closed")
    assert await published(company) == []


async def test_a_run_takes_every_month_it_pays_for_with_it(company: Company) -> None:
    await monthly(company)
    await sold(company, 1, 10_000, 1)
    await sold(company, 2, 5_000, 2)
    for month in (1, 2):
        await move(company, month, "calculating", "in_review", "approved")
    run = await calculated(company, 2)
    assert run["totals"] == [{"currency": "USD", "amount": "1500.00"}]
    assert (await step(company, run, "approve")).status_code == 200
    for name, state in (("export", "exported"), ("paid", "paid")):
        assert (await step(company, run, name)).status_code == 200
        assert [(await period(company, month))["state"] for month in (1, 2)] == [state, state]
    await move(company, 1, "closed")
    await move(company, 2, "closed")


async def test_nobody_who_is_not_of_finance_exports_pays_or_undoes_and_nothing_is_done_by_whoever_tries(
    company: Company,
) -> None:
    await monthly(company)
    await sold(company, 1, 10_000, 1)
    await move(company, 1, "calculating", "in_review", "approved")
    run = await calculated(company, 1)
    assert (await step(company, run, "approve")).status_code == 200
    for name, roles in (
        ("export", (Role.REP, Role.MANAGER, Role.REVOPS, Role.SERVICE)),
        ("paid", (Role.REP, Role.MANAGER, Role.REVOPS, Role.SERVICE)),
        ("reverse", (Role.REP, Role.MANAGER, Role.SERVICE)),
        ("cancel", (Role.REP, Role.MANAGER, Role.SERVICE)),
    ):
        for role in roles:
            headers = company.headers(None if role is Role.SERVICE else MAX, role, **{"if-match": '"2"'})
            path = f"/v1/payout-runs/{run['id']}/{name}"
            refused = await company.http.post(path, json={"reason": "x"}, headers=headers)
            assert (refused.status_code, refused.json()["code"]) == (403, "role_missing"), (name, role)
    assert await published(company) == []
    assert (await period(company, 1))["state"] == "approved"
    # Who is paid by a run may propose to undo it, and does not approve that; neither does who proposed it.
    reversal = dict((await step(company, run, "reverse", ANN)).json())
    refused = await step(company, reversal, "approve", ANN)
    assert (refused.status_code, refused.json()["code"]) == (403, "approval_not_independent")
    second = await step(company, run, "reverse", FAY)
    assert (second.status_code, second.json()["code"]) == (409, "payout_run_out_of_turn")
    assert (await step(company, reversal, "cancel", FAY)).status_code == 200
    by_another = dict((await step(company, run, "reverse", FAY)).json())
    for person in (FAY, ANN):
        assert (await step(company, by_another, "approve", person)).status_code == 403
    assert (await step(company, by_another, "approve")).status_code == 200


async def test_a_run_is_exported_once(company: Company) -> None:
    await monthly(company)
    await sold(company, 1, 10_000, 1)
    await move(company, 1, "calculating", "in_review", "approved")
    run = await calculated(company, 1)
    early = await step(company, run, "export")
    assert (early.status_code, early.json()["code"]) == (409, "payout_run_cannot_move")
    assert (await step(company, run, "approve")).status_code == 200
    assert (await step(company, run, "export")).status_code == 200
    assert (await step(company, run, "export")).status_code == 409
    [event] = await published(company)
    assert (event["amount"], event["person_id"], event["run_number"]) == ("1000.00", str(ANN), 1)
    assert (await period(company, 1))["state"] == "exported"
    table = await company.get(f"/v1/payout-runs/{run['id']}/table", role=Role.FINANCE)
    assert table.text.splitlines()[1].endswith(",USD,1000,1000,0,new_payee")
    book = await company.get(f"/v1/payout-runs/{run['id']}/table", role=Role.FINANCE, format="xlsx")
    assert book.content[:2] == b"PK"


async def test_only_another_run_undoes_one_and_leaves_what_was_before(company: Company) -> None:
    await monthly(company, {"draw": {"kind": "recoverable", "amount": "2000"}})
    await sold(company, 1, 15_000, 1)
    await paid(company, 1)
    assert (await balances(company))["advance"] == 500
    before = await balances(company)
    await sold(company, 2, 30_000, 2)
    second = await paid(company, 2)
    assert (await payouts(company, second))[str(ANN)]["paid"] == "2500.00"
    reversal = await step(company, second, "reverse", FAY)
    assert reversal.status_code == 201, reversal.text
    assert (await step(company, dict(reversal.json()), "approve", FAY)).status_code == 403
    assert (await step(company, dict(reversal.json()), "approve")).status_code == 200
    found = await balances(company)
    assert {kind: found[kind] for kind in ("advance", "paid")} == {kind: before[kind] for kind in ("advance", "paid")}
    assert found["payable"] == -3000
    third = await calculated(company, 2)
    assert (await payouts(company, third))[str(ANN)]["paid"] == "2500.00"
    undone = (await company.get(f"/v1/payout-runs/{second['id']}", role=Role.FINANCE)).json()
    assert undone["status"] == "reversed"
    assert len(await published(company)) == 2


async def test_a_draw_is_advanced_and_recovered_over_months_as_the_ledger_has_it(company: Company) -> None:
    """Gross 2,750, 1,500, 2,375 and 3,000 with a recoverable draw of 2,000: net 2,750, 2,000, 2,000 and 2,875."""
    await monthly(company, {"draw": {"kind": "recoverable", "amount": "2000"}})
    for month, amount in enumerate((27_500, 15_000, 23_750, 30_000), start=1):
        await sold(company, month, amount, month)
    nets, owed = [], []
    for month in range(1, 5):
        found = (await payouts(company, await paid(company, month)))[str(ANN)]
        nets.append(found["paid"])
        owed.append(found["owed"])
        advance = (await balances(company)).get("advance", Decimal(0))
        assert advance == Decimal(str(found["owed"]))
    assert nets == ["2750.00", "2000.00", "2000.00", "2875.00"]
    assert owed == ["0.00", "500.00", "125.00", "0.00"]


async def test_what_is_held_back_is_paid_with_its_deal_and_a_clawback_takes_its_part(company: Company) -> None:
    rules: Json = {
        "holdback": {"percent": "30", "release": "after_periods", "periods": 1},
        "clawback": {"policy": "part", "percent": "50"},
    }
    await monthly(company, rules)
    await sold(company, 1, 10_000, 1)
    first = (await payouts(company, await paid(company, 1)))[str(ANN)]
    assert (first["paid"], first["held_back"]) == ("700.00", "300.00")
    assert (await balances(company))["held"] == -300
    second = (await payouts(company, await paid(company, 2)))[str(ANN)]
    assert (second["paid"], second["held_back"]) == ("300.00", "0.00")
    await company.deal(won(1, 0, version=8, day=date(2026, 1, 10)))
    await sold(company, 3, 20_000, 3)
    third = (await payouts(company, await paid(company, 3)))[str(ANN)]
    lines = cast(list[dict[str, str]], third["lines"])
    assert [(line["kind"], line["amount"]) for line in lines] == [
        ("earned", "2000.00"),
        ("earned", "-1000.00"),
        ("waived", "500.00"),
        ("held_back", "-600.00"),
    ]
    assert (third["earned"], third["paid"]) == ("1000.00", "900.00")


async def adjust(company: Company, plan_id: str, amount: str, person: UUID = ANN, by: UUID = FAY) -> httpx.Response:
    body = {"person_id": str(person), "plan_id": plan_id, "amount": amount, "reason": "A referral"}
    return await post(company, "/v1/adjustments", body, by)


async def test_an_adjustment_that_another_approves_is_posted_and_paid_by_the_next_run(company: Company) -> None:
    plan_id = await monthly(company)
    await sold(company, 1, 10_000, 1)
    proposed = (await adjust(company, plan_id, "250")).json()
    path = f"/v1/adjustments/{proposed['id']}"
    assert (await balances(company)) == {"expense": Decimal(1000), "payable": Decimal(-1000)}
    for person, code in ((FAY, "approval_not_independent"), (ANN, "approval_not_independent")):
        refused = await post(company, f"{path}/approve", {}, person, 1)
        assert (refused.status_code, refused.json()["code"]) == (403, code)
    approved = await post(company, f"{path}/approve", {"reason": "Agreed"}, APPROVER, 1)
    assert (approved.status_code, approved.json()["status"]) == (200, "approved")
    again = await post(company, f"{path}/approve", {}, APPROVER, 2)
    assert (again.status_code, again.json()["code"]) == (409, "adjustment_decided")
    assert (await balances(company)) == {"expense": Decimal(1250), "payable": Decimal(-1250)}
    # It is of today's pay period: the run that pays that one pays it, and what was earned before.
    today = (await company.get("/v1/pay-periods", role=Role.FINANCE, limit=200)).json()["items"][-1]
    begun = {"state": "calculating", "reason": "Now"}
    assert (await post(company, f"/v1/pay-periods/{today['id']}/move", begun, FAY, today["version"])).status_code == 200
    run = await post(company, "/v1/payout-runs", {"pay_period_id": today["id"]}, FAY)
    payout = (await payouts(company, run.json()))[str(ANN)]
    lines = cast(list[dict[str, str]], payout["lines"])
    assert [(line["kind"], line["amount"]) for line in lines] == [("earned", "1000.00"), ("adjusted", "250.00")]
    assert payout["paid"] == "1250.00"


async def test_an_adjustment_is_proposed_for_others_and_seen_by_whose_it_is(company: Company) -> None:
    plan_id = await monthly(company)
    own = await adjust(company, plan_id, "250", by=ANN)
    assert (own.status_code, own.json()["code"]) == (403, "own_interest")
    for amount in ("0", "1.005"):
        refused = await adjust(company, plan_id, amount)
        assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/amount")
    stranger = await adjust(company, plan_id, "1", BEN)
    assert (stranger.status_code, stranger.json()["code"]) == (404, "person_not_found")
    taken = (await adjust(company, plan_id, "-40")).json()
    path = f"/v1/adjustments/{taken['id']}"
    for person, role, status in ((ANN, Role.REP, 200), (MAX, Role.MANAGER, 200), (BEN, Role.REP, 404)):
        assert (await company.get(path, person, role)).status_code == status
    assert (await post(company, f"{path}/reject", {}, ANN, 1)).json()["code"] == "own_interest"
    assert (await post(company, f"{path}/withdraw", None, APPROVER, 1)).json()["code"] == "not_the_proposer"
    assert (await post(company, f"{path}/withdraw", None, FAY, 1)).json()["status"] == "withdrawn"
    second = (await adjust(company, plan_id, "-40")).json()
    rejected = await post(company, f"/v1/adjustments/{second['id']}/reject", {"reason": "No"}, APPROVER, 1)
    assert (rejected.json()["status"], rejected.json()["decision"]["reason"]) == ("rejected", "No")
    assert await balances(company) == {}
    listed = await company.get("/v1/adjustments", ANN, Role.REP, status="rejected")
    assert [each["id"] for each in listed.json()["items"]] == [second["id"]]


async def test_an_earning_is_published_with_what_its_last_change_posted(company: Company) -> None:
    await monthly(company)

    async def published_earning(tx: Transaction) -> Json:
        [found] = await tx.rows(text("SELECT id FROM incentives.cells"))
        [message] = await render(tx, [(company.tenant, f"earning/{found['id']}")])
        assert message.value is not None
        return dict(json.loads(message.value))

    async def now() -> tuple[object, object, object]:
        event = await company.database.run(Scope.of(company.tenant), published_earning)
        return event["version"], event["earned"], event["posted"]

    await sold(company, 1, 10_000, 1)
    assert await now() == (1, "1000.00", "1000.00")
    await sold(company, 2, 500, 1)
    assert await now() == (2, "1050.00", "50.00")
    await sold(company, 1, 4_000, 1, version=9)
    assert await now() == (3, "450.00", "-600.00")
    await sold(company, 1, 4_000, 1, version=10)
    assert await now() == (3, "450.00", "-600.00"), "nothing changed"

    async def saved_by_the_release_before(tx: Transaction) -> None:
        await tx.execute(text("UPDATE incentives.cells SET earned = 460, version = 4"))

    await company.database.run(Scope.of(company.tenant), saved_by_the_release_before)
    assert await now() == (4, "460.00", None)


async def test_what_should_be_looked_at_is_said(company: Company) -> None:
    await monthly(company, {"cap": {"period": "5000", "carry_excess": True}})
    for month, amount in enumerate((10_000, 11_000, 9_000, 90_000), start=1):
        await sold(company, month, amount, month)
    found = []
    for month in range(1, 5):
        run = await paid(company, month)
        found.append((await payouts(company, run))[str(ANN)]["anomalies"])
    assert found == [["new_payee"], [], [], ["jump", "cap_hit"]]
    nothing = (await payouts(company, await paid(company, 5)))[str(ANN)]
    assert (nothing["anomalies"], nothing["paid"]) == (["jump", "zero_earner"], "4000.00")
    listed = await company.get(f"/v1/payout-runs/{run['id']}/payouts", role=Role.FINANCE, anomaly="cap_hit")
    assert len(listed.json()["items"]) == 1
