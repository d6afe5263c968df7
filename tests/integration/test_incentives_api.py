"""Incentives over HTTP, as administrators, managers and reps use it, on real Postgres."""

from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import jsonschema
import pytest
from sqlalchemy import text

from services.incentives.earnings import explaining
from shared.contracts.goals import Direction, Goal
from shared.db.database import Scope, Transaction
from shared.db.projection import Snapshot
from shared.http.auth import Role
from tests.oracles.incentives import DealVersion, Rated
from tests.stories.incentives import named
from tests.stories.pay import EARNINGS, PLANS, VERIFICATION, rebuilder
from tests.stories.pay_api import (
    ANN,
    APPROVER,
    AUTHOR,
    BEN,
    MAX,
    QUARTER,
    Company,
    Json,
    component,
    running_company,
    won,
)


@pytest.fixture
async def company(module_database: str) -> AsyncIterator[Company]:
    async with running_company(module_database) as running:
        yield running


async def test_terms_are_approved_by_another_person_than_their_author_and_then_fixed(company: Company) -> None:
    created = await company.send("POST", "/v1/plans", {"name": "Reps", "currency": "USD", "period": "quarter"})
    plan_id = created.json()["id"]
    body: Json = {"effective_from": "2026-01-01", "components": [component()]}
    drafted = await company.send("POST", f"/v1/plans/{plan_id}/versions", body)
    assert (drafted.status_code, drafted.headers["etag"][:3], drafted.json()["status"]) == (201, '"1.', "draft")
    early = await company.step(plan_id, "activate", "1")
    assert (early.status_code, early.json()["code"]) == (409, "plan_version_not_approved")
    own = await company.step(plan_id, "approve", "1", AUTHOR)
    assert (own.status_code, own.json()["code"]) == (403, "approval_not_independent")
    missing = await company.send("POST", f"/v1/plans/{plan_id}/versions/1/approve", person=APPROVER)
    assert missing.status_code == 428
    assert (await company.step(plan_id, "approve", "7", APPROVER)).status_code == 412
    assert (await company.step(plan_id, "approve", "1", APPROVER)).json()["status"] == "approved"
    late = await company.send("PUT", f"/v1/plans/{plan_id}/versions/1", body, if_match='"2"')
    assert (late.status_code, late.json()["code"]) == (409, "plan_version_not_draft")
    assert (await company.step(plan_id, "activate", "2")).json()["status"] == "active"
    listed = await company.get(f"/v1/plans/{plan_id}/versions")
    assert [item["approver_id"] for item in listed.json()["items"]] == [str(APPROVER)]


async def test_nobody_approves_terms_they_wrote_a_part_of(company: Company) -> None:
    created = await company.send("POST", "/v1/plans", {"name": "Reps", "currency": "USD", "period": "quarter"})
    versions = f"/v1/plans/{created.json()['id']}/versions"

    def terms(rate: str) -> Json:
        return {"effective_from": "2026-01-01", "components": [component(rate={"shape": "flat", "rate": rate})]}

    assert (await company.send("POST", versions, terms("0.10"))).status_code == 201
    edited = await company.send("PUT", f"{versions}/1", terms("0.90"), person=APPROVER, if_match='"1"')
    assert edited.status_code == 200
    back = await company.send("PUT", f"{versions}/1", terms("0.20"), person=MAX, if_match='"2"')
    assert back.status_code == 200
    for author in (AUTHOR, APPROVER, MAX):
        refused = await company.step(created.json()["id"], "approve", "3", author)
        assert (refused.status_code, refused.json()["code"]) == (403, "approval_not_independent")
        assert "wrote a part of version 1 of the plan Reps" in refused.json()["detail"]
        assert "ask an admin or somebody of revops who wrote no part of it" in refused.json()["detail"]
    service = await company.http.post(
        f"{versions}/1/approve", headers=company.headers(None, Role.SERVICE, **{"if-match": '"3"'})
    )
    assert (service.status_code, service.json()["code"]) == (403, "approval_not_independent")
    assert (await company.step(created.json()["id"], "approve", "3", BEN)).status_code == 200
    assert (await company.step(created.json()["id"], "activate", "4", APPROVER)).status_code == 200

    history = (await company.get(f"{versions}/1/history", role=Role.FINANCE)).json()["items"]
    assert [(step["version"], step["kind"], step["person_id"]) for step in history] == [
        (1, "drafted", str(AUTHOR)),
        (2, "edited", str(APPROVER)),
        (3, "edited", str(MAX)),
        (4, "approved", str(BEN)),
        (5, "activated", str(APPROVER)),
    ]
    assert [step["changes"] for step in history[1:]] == [
        [{"pointer": "/components/bookings/rate/rate", "before": "0.1", "after": "0.9"}],
        [{"pointer": "/components/bookings/rate/rate", "before": "0.9", "after": "0.2"}],
        [],
        [],
    ]
    assert all(step["at"] for step in history)
    paged = (await company.get(f"{versions}/1/history", limit=2)).json()
    assert [step["version"] for step in paged["items"]] == [1, 2]
    rest = (await company.get(f"{versions}/1/history", cursor=paged["next_cursor"])).json()
    assert [step["version"] for step in rest["items"]] == [3, 4, 5]


async def test_nobody_approves_terms_they_are_paid_by(company: Company) -> None:
    created = await company.send("POST", "/v1/plans", {"name": "Reps", "currency": "USD", "period": "quarter"})
    plan_id = created.json()["id"]
    versions = f"/v1/plans/{plan_id}/versions"
    body: Json = {"effective_from": "2026-04-01", "components": [component()]}
    assert (await company.send("POST", versions, body)).status_code == 201
    # Ann is on the plan until the terms begin, Ben from a day after they did.
    assert (await company.assign(plan_id, ANN, end="2026-04-01")).status_code == 200
    assert (await company.assign(plan_id, BEN, start="2027-01-01")).status_code == 200
    refused = await company.step(plan_id, "approve", "1", BEN)
    assert (refused.status_code, refused.json()["code"]) == (403, "approval_not_independent")
    assert "paid or measured by version 1 of the plan Reps" in refused.json()["detail"]
    assert (await company.step(plan_id, "approve", "1", ANN)).status_code == 200

    # Put on the plan between approval and activation, who approved is paid by the terms: they do not come into effect.
    assert (await company.assign(plan_id, ANN, start="2026-05-01")).status_code == 200
    late = await company.step(plan_id, "activate", "2")
    assert (late.status_code, late.json()["code"]) == (403, "approval_not_independent")


async def test_a_rep_sees_neither_plans_not_its_own_nor_terms_that_are_not_in_effect(company: Company) -> None:
    own, other = await company.plan(), await company.plan()
    assert (await company.assign(own, ANN)).status_code == 200
    assert (await company.assign(other, named("person", 9))).status_code == 200
    versions = f"/v1/plans/{own}/versions"
    for number in (2, 3):
        body: Json = {"effective_from": "2027-01-01", "components": [component()]}
        assert (await company.send("POST", versions, body)).json()["number"] == number
    approved = await company.send("POST", f"{versions}/3/approve", person=APPROVER, if_match='"1"')
    assert approved.status_code == 200

    async def seen(person: UUID, role: Role) -> tuple[set[str], set[int]]:
        listed = {plan["id"] for plan in (await company.get("/v1/plans", person, role)).json()["items"]}
        numbers = {each["number"] for each in (await company.get(versions, person, role)).json().get("items", ())}
        for plan_id in (own, other):
            for path in (f"/v1/plans/{plan_id}", f"/v1/plans/{plan_id}/versions"):
                assert (await company.get(path, person, role)).is_success == (plan_id in listed)
        for number in (1, 2, 3):
            assert (await company.get(f"{versions}/{number}", person, role)).is_success == (number in numbers)
            compared = await company.get(f"{versions}/{number}/diff", person, role, against=1)
            assert compared.is_success == (number in numbers)
        return listed, numbers

    assert await seen(ANN, Role.REP) == ({own}, {1})
    assert await seen(MAX, Role.MANAGER) == ({own}, {1})
    assert await seen(BEN, Role.REP) == (set(), set())
    assert await seen(MAX, Role.FINANCE) == ({own, other}, {1, 3})
    assert await seen(MAX, Role.REVOPS) == ({own, other}, {1, 2, 3})
    hidden = await company.get(f"/v1/plans/{other}", ANN, Role.REP)
    missing = await company.get(f"/v1/plans/{UUID(int=7)}", ANN, Role.REP)
    assert hidden.json()["code"] == missing.json()["code"] == "plan_not_found"
    for role in (Role.REP, Role.MANAGER):
        assert (await company.get(f"{versions}/1/history", ANN, role)).status_code == 403
    assert (await company.get(f"{versions}/2/history", MAX, Role.FINANCE)).status_code == 404


async def test_a_strangers_deal_is_answered_as_one_that_does_not_exist(company: Company) -> None:
    plan_id = await company.plan()
    for person in (ANN, BEN):
        assert (await company.assign(plan_id, person)).status_code == 200
    await company.deal(won(0, 100_000), won(1, 50_000, owner=1), won(2, 60_000, owner=None))
    await rebuilder(company.database).rebuild_all()
    (earning,) = (await company.get("/v1/earnings", BEN, Role.REP)).json()["items"]

    async def told(deal: UUID, path: str, person: UUID, role: Role) -> object:
        text = (await company.get(path, person, role, deal_id=deal)).text
        return text.replace(str(deal), "the deal")

    for path in (f"/v1/earnings/{earning['id']}/explain", f"{QUARTER}&person_id={BEN}"):
        missing = await told(UUID(int=7), path, BEN, Role.REP)
        for stranger in (0, 2):
            assert await told(named("deal", stranger), path, BEN, Role.REP) == missing
        assert await told(named("deal", 1), path, BEN, Role.REP) != missing
        # The manager of both, who sees both deals, is told why the one is not on the other's statement.
        assert await told(named("deal", 0), path, MAX, Role.MANAGER) != missing


async def test_who_approved_active_terms_is_not_put_on_their_plan(company: Company) -> None:
    plan_id = await company.plan()
    refused = await company.assign(plan_id, APPROVER)
    assert (refused.status_code, refused.json()["code"]) == (409, "assignment_pays_approver")
    assert "approved version 1 of the plan Reps" in refused.json()["detail"]

    # Days on which terms pay that another person approved are no matter.
    body: Json = {"effective_from": "2026-07-01", "components": [component()]}
    assert (await company.send("POST", f"/v1/plans/{plan_id}/versions", body, person=APPROVER)).status_code == 201
    for step, version, person in (("approve", "1", MAX), ("activate", "2", MAX)):
        path = f"/v1/plans/{plan_id}/versions/2/{step}"
        assert (await company.send("POST", path, person=person, if_match=f'"{version}"')).status_code == 200
    assert (await company.assign(plan_id, APPROVER, start="2026-06-30")).status_code == 409
    later = await company.assign(plan_id, APPROVER, start="2026-07-01")
    assert (later.status_code, later.json()["status"]) == (200, "approved")
    earlier = await company.send(
        "PATCH", f"/v1/assignments/{later.json()['id']}", {"start": "2026-06-30"}, if_match='"2"'
    )
    assert (earlier.status_code, earlier.json()["code"]) == (409, "assignment_pays_approver")
    shorter = await company.send(
        "PATCH", f"/v1/assignments/{later.json()['id']}", {"end": "2026-08-01"}, if_match='"2"'
    )
    assert shorter.status_code == 200


async def test_nobody_makes_changes_or_deletes_an_assignment_or_a_quota_of_their_own(company: Company) -> None:
    plan_id = await company.plan()
    body = {"person_id": str(AUTHOR), "plan_id": plan_id, "start": "2026-01-01"}
    own = await company.send("POST", "/v1/assignments", body, person=AUTHOR)
    made = await company.send("POST", "/v1/assignments", body, person=MAX)
    assert made.status_code == 201
    path = f"/v1/assignments/{made.json()['id']}"
    quota = {"quotas": {"bookings": {"amount": "1"}}}
    changed = await company.send("PATCH", path, quota, person=AUTHOR, if_match='"1"')
    deleted = await company.send("DELETE", path, person=AUTHOR, if_match='"1"')
    for refused in (own, changed, deleted):
        assert (refused.status_code, refused.json()["code"]) == (403, "own_interest")
        assert "Nobody changes an assignment or a quota of their own" in refused.json()["detail"]
    assert (await company.send("PATCH", path, quota, person=MAX, if_match='"1"')).status_code == 200


async def test_what_was_done_to_a_plan_version_cannot_be_altered(company: Company, module_database: str) -> None:
    await company.plan()
    for statement in (
        "UPDATE incentives.plan_version_changes SET person_id = NULL",
        "DELETE FROM incentives.plan_version_changes",
    ):
        with pytest.raises(Exception, match=r"append-only|permission denied"):
            async with company.database.transaction(Scope.of(company.tenant)) as tx:
                await tx.execute(text(statement))
    owner = await asyncpg.connect(module_database.replace("+asyncpg", ""))
    try:
        with pytest.raises(asyncpg.PostgresError, match="append-only"):
            await owner.execute("DELETE FROM incentives.plan_version_changes")
    finally:
        await owner.close()


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"rate": {"shape": "flat", "rate": "5"}}, "/components/0/rate/rate"),
        ({"rate": {"shape": "flat", "rate": 0.05}}, "/components/0/rate/rate"),
        (
            {"rate": {"shape": "tiers", "mode": "marginal", "by": "amount", "tiers": [{"from": "1", "rate": "0"}]}},
            "/components/0/rate/tiers/0/from",
        ),
        ({"measure": {"aggregate": "sum", "value_field": "region"}}, "/components/0/measure/value_field"),
        (
            {"measure": {"aggregate": "sum", "value_field": "amount", "currency": "EUR"}},
            "/components/0/measure/currency",
        ),
        (
            {"measure": {"aggregate": "count", "filter": {"field": "mood", "op": "eq", "value": "x"}}},
            "/components/0/measure/filter/field",
        ),
        ({"measure": {"record": "activity", "aggregate": "count"}}, "/components/0/measure/record"),
        ({"measure": {"aggregate": "count", "date_field": "occurred"}}, "/components/0/measure/date_field"),
        ({"colour": "red"}, "/components/0/colour"),
    ],
)
async def test_terms_that_cannot_be_are_refused_with_a_pointer_to_the_field(
    company: Company, changes: Json, pointer: str
) -> None:
    created = await company.send("POST", "/v1/plans", {"name": "Reps", "currency": "USD", "period": "quarter"})
    body = {"effective_from": "2026-01-01", "components": [component(**changes)]}
    refused = await company.send("POST", f"/v1/plans/{created.json()['id']}/versions", body)
    assert refused.status_code == 422
    assert [error["pointer"] for error in refused.json()["errors"]] == [pointer]


async def test_a_gate_that_runs_shorter_than_the_plan_is_refused(company: Company) -> None:
    created = await company.send("POST", "/v1/plans", {"name": "Reps", "currency": "USD", "period": "quarter"})
    counted = {"aggregate": "count", "filter": {"all": []}}
    gated = component(gate={"measure": counted, "period": "month", "at_least": "3"})
    body = {"effective_from": "2026-02-15", "components": [gated]}
    refused = await company.send("POST", f"/v1/plans/{created.json()['id']}/versions", body)
    assert refused.json()["errors"][0]["pointer"] == "/components/0/gate/period"
    assert refused.json()["errors"][0]["accepted"] == "quarter, half, year"


async def test_the_published_schema_accepts_what_is_exported_and_refuses_a_float(company: Company) -> None:
    plan_id = await company.plan()
    schema = (await company.get("/v1/plans/schema")).json()
    exported = (await company.get(f"/v1/plans/{plan_id}/versions/1")).json()["components"]
    jsonschema.validate(exported, schema)
    exported[0]["rate"]["tiers"][0]["rate"] = 0.04
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(exported, schema)


async def test_a_diff_names_the_component_and_the_field(company: Company) -> None:
    plan_id = await company.plan()
    body = {"effective_from": "2026-04-01", "components": [component(rate={"shape": "flat", "rate": "0.05"})]}
    await company.send("POST", f"/v1/plans/{plan_id}/versions", body)
    changes = (await company.get(f"/v1/plans/{plan_id}/versions/2/diff")).json()["changes"]
    by_pointer = {change["pointer"]: (change["before"], change["after"]) for change in changes}
    assert by_pointer["/effective_from"] == ("2026-01-01", "2026-04-01")
    assert by_pointer["/components/bookings/rate/shape"] == ("tiers", "flat")


async def test_a_person_is_not_put_on_the_same_plan_twice_at_once(company: Company) -> None:
    plan_id = await company.plan()
    first = await company.assign(plan_id, ANN, end="2026-06-01")
    assert (first.status_code, first.json()["person_name"]) == (200, "Ann")
    again = await company.assign(plan_id, ANN, start="2026-05-31")
    assert (again.status_code, again.json()["code"]) == (409, "assignment_overlaps")
    assert (await company.assign(plan_id, ANN, start="2026-06-01")).status_code == 200
    unknown = await company.assign(plan_id, BEN, quotas={"renewals": {"amount": "1"}})
    assert unknown.json()["errors"][0]["pointer"] == "/quotas/renewals"


async def test_an_earning_is_explained_down_to_the_delivery_and_equals_its_ledger(company: Company) -> None:
    plan_id = await company.plan()
    await company.assign(plan_id, ANN)
    await company.deal(won(0, 145_000, day=date(2026, 1, 10)))
    await company.deal(won(1, 20_000, version=2, day=date(2026, 1, 11)))
    (earning,) = (await company.get("/v1/earnings", person_id=ANN)).json()["items"]
    assert (earning["measure"], earning["earned"], earning["credits"]) == ("165000", "6900.00", 2)
    told = (await company.get(f"/v1/earnings/{earning['id']}/explain")).json()
    assert [line["amount"] for line in told["lines"]] == ["5800.00", "1100.00"]
    assert [(part["value"], part["rate"]) for part in told["lines"][1]["slices"]] == [
        ("5000", "0.04"),
        ("15000", "0.06"),
    ]
    assert told["lines"][1]["deal_version"]["delivery_id"] == str(named("delivery", 2))
    assert told["lines"][1]["deal_version"]["delivery_url"] == (
        f"/v1/deals/{told['lines'][1]['deal_id']}/deliveries/{named('delivery', 2)}"
    )
    assert [(tier["from"], tier["to"], tier["value"]) for tier in told["tiers"]] == [
        ("0", "150000", "150000"),
        ("150000", None, "15000"),
    ]
    assert [entry["cause"]["delivery_id"] for entry in told["ledger"]] == [
        str(named("delivery", 1)),
        str(named("delivery", 2)),
    ]
    assert told["ledger_balance"] == "6900.00"
    first = (await company.get(f"/v1/earnings/{earning['id']}/explain", limit=1)).json()
    second = (await company.get(f"/v1/earnings/{earning['id']}/explain", limit=1, cursor=first["next_cursor"])).json()
    assert [second["lines"][0]["deal_id"], second["next_cursor"]] == [str(named("deal", 1)), None]


async def test_a_rate_that_is_corrected_reearns_the_deals_of_its_days_and_says_so(company: Company) -> None:
    plan_id = await company.plan()
    await company.assign(plan_id, ANN)
    euros = replace(won(0, 1000, day=date(2026, 1, 10)), currency="EUR")
    converted = replace(won(1, 1000, version=2, day=date(2026, 1, 11)), currency="EUR", home_cents=120_000)
    await company.deal(euros, converted, won(2, 100, version=3, day=date(2026, 1, 12)))
    await company.rates(1, Rated("USD", date(2026, 1, 1), ((date(2026, 1, 1), 70_000),)))
    await company.rates(1, Rated("EUR", date(2026, 1, 1), ((date(2026, 1, 9), 77_000),)))
    (earning,) = (await company.get("/v1/earnings", person_id=ANN)).json()["items"]
    assert (earning["measure"], earning["earned"], earning["credits"]) == ("2400", "96.00", 3)
    told = (await company.get(f"/v1/earnings/{earning['id']}/explain", deal_id=named("deal", 0))).json()
    daily = {"amount": "1000", "currency": "EUR", "rate": "1.1", "stated_on": "2026-01-01", "origin": "daily"}
    crm = {"amount": "1000", "currency": "EUR", "rate": "1.2", "stated_on": None, "origin": "crm"}
    assert [(line["value"], line["conversion"]) for line in told["lines"]] == [
        ("1100", daily),
        ("1200", crm),
        ("100", None),
    ]
    (asked,) = told["deal"]["earnings"]
    assert (asked["counts"], asked["value"], asked["conversion"]) == (True, "1100", daily)
    assert told["terms"]["measure"]["rate_policy"] == "deal_date"

    await company.rates(2, Rated("EUR", date(2026, 1, 1), ((date(2026, 1, 9), 84_000),)))
    told = (await company.get(f"/v1/earnings/{earning['id']}/explain")).json()
    assert (told["earning"]["measure"], told["ledger_balance"]) == ("2500", "100.00")
    assert told["lines"][0]["conversion"]["rate"] == "1.2"
    last = told["ledger"][-1]
    assert (last["cause"]["kind"], last["cause"]["changes"]) == ("definitions", ["exchange-rates/CNY/EUR/2026-01 v2"])
    assert {entry["amount"].lstrip("-") for entry in last["entries"]} == {"4.00"}

    await company.rates(3, Rated("EUR", date(2026, 1, 1), ()))
    (asked,) = (await company.get(QUARTER, person_id=ANN, deal_id=named("deal", 0))).json()["deal"]["earnings"]
    assert (asked["counts"], asked["reason"], asked["conversion"]) == (False, "no_exchange_rate", None)


async def test_rates_of_other_years_and_a_plan_of_fixed_rates_leave_pay_alone(company: Company) -> None:
    measure = component()["measure"]
    assert isinstance(measure, dict)
    fixed = {**measure, "rate_policy": "fixed", "fixed_rates": {"EUR": "1.10"}}
    await company.assign(await company.plan(measure=fixed), ANN)
    await company.assign(await company.plan(), BEN, end="2026-04-01")
    await company.deal(replace(won(0, 1000), currency="EUR"))
    (earning,) = (await company.get("/v1/earnings", person_id=ANN)).json()["items"]
    assert (earning["measure"], earning["earned"]) == ("1100", "44.00")
    await company.rates(1, Rated("EUR", date(2027, 1, 1), ((date(2027, 1, 1), 84_000),)), rebuild=False)
    await company.rates(1, Rated("USD", date(2027, 1, 1), ((date(2027, 1, 1), 70_000),)), rebuild=False)
    async with company.database.transaction(Scope.of(company.tenant)) as tx:
        assert await PLANS.stale_ids(tx, [company.tenant]) == {}
    # Ben's plan converts by the day, until the end of March.
    await company.rates(1, Rated("EUR", date(2026, 3, 1), ((date(2026, 3, 1), 84_000),)), rebuild=False)
    await company.rates(1, Rated("USD", date(2026, 3, 1), ((date(2026, 3, 1), 70_000),)), rebuild=False)
    async with company.database.transaction(Scope.of(company.tenant)) as tx:
        assert len((await PLANS.stale_ids(tx, [company.tenant]))[company.tenant]) == 1


async def test_terms_kept_from_before_other_currencies_counted_still_count_their_own_only(company: Company) -> None:
    plan_id = await company.plan()
    body: Json = {"effective_from": "2026-04-01", "components": [component()]}
    drafted = await company.send("POST", f"/v1/plans/{plan_id}/versions", body)
    assert drafted.json()["components"][0]["measure"]["rate_policy"] == "deal_date"
    async with company.database.transaction(Scope.of(company.tenant)) as tx:
        await tx.execute(
            text(
                "UPDATE incentives.plan_versions SET components = components #- '{0,measure,rate_policy}'"
                " #- '{0,measure,fixed_rates}' WHERE tenant_id = :tenant_id AND status = 'draft'"
            ),
            {"tenant_id": company.tenant},
        )
    read = (await company.get(f"/v1/plans/{plan_id}/versions/2")).json()["components"][0]["measure"]
    assert (read["rate_policy"], read["fixed_rates"]) == ("none", None)


async def test_a_statement_has_every_line_and_totals_that_equal_the_ledger(company: Company) -> None:
    plan_id = await company.plan()
    await company.assign(plan_id, ANN)
    await company.deal(*(won(n, 33_333 + n, version=n + 1, day=date(2026, 1, 1 + n)) for n in range(9)))
    statement = (await company.get(QUARTER, person_id=ANN)).json()
    lines = [line for earning in statement["earnings"] for line in earning["lines"]]
    assert len(lines) == 9
    (total,) = statement["totals"]
    assert sum(Decimal(line["amount"]) for line in lines) == Decimal(total["earned"])
    assert total["earned"] == total["ledger_balance"]
    posted = (await company.get("/v1/ledger", person_id=ANN, limit=200)).json()["items"]
    owed = -sum(
        Decimal(entry["amount"]) for item in posted for entry in item["entries"] if entry["account"] == f"payable:{ANN}"
    )
    assert owed == Decimal(total["earned"])
    assert statement["person_name"] == "Ann"
    other = (await company.get("/v1/statements", person_id=ANN, start="2026-04-01", end="2026-07-01")).json()
    assert [other["earnings"], other["totals"]] == [[], []]


async def test_a_statement_is_refused_rather_than_cut(company: Company, monkeypatch: pytest.MonkeyPatch) -> None:
    await company.assign(await company.plan(), ANN)
    await company.deal(won(1, 500, version=1, day=date(2026, 1, 2)))
    monkeypatch.setattr(explaining, "STATEMENT_CELLS_MAX", 0)
    refused = await company.get(QUARTER, person_id=ANN)
    assert (refused.status_code, refused.json()["code"]) == (422, "statement_too_long")
    assert refused.json()["errors"][0]["pointer"] == "/end"


async def test_a_deal_that_is_not_on_the_statement_says_why(company: Company) -> None:
    split_plan = await company.plan(crediting="split")
    await company.assign(split_plan, ANN, start="2026-01-15")
    cases = {
        None: won(0, 100),
        "not_owner": won(1, 100, owner=1),
        "owner_unmapped": won(2, 100, owner=4),
        "filter_not_met": DealVersion(3, 1, 0, (), 100, False, date(2026, 2, 1), "USD", False),
        "no_exchange_rate": DealVersion(4, 1, 0, (), 100, True, date(2026, 2, 1), "EUR", False),
        "no_date": DealVersion(5, 1, 0, (), 100, True, None, "USD", False),
        "deleted": DealVersion(6, 1, 0, (), 100, True, date(2026, 2, 1), "USD", True),
        "not_on_split": DealVersion(7, 1, 0, ((1, 100, "owner"),), 100, True, date(2026, 2, 1), "USD", False),
        "outside_period": won(8, 100, day=date(2026, 5, 1)),
        "no_assignment": won(9, 100, day=date(2026, 1, 2)),
        "split_user_unmapped": DealVersion(
            10, 1, 1, ((1, 60, "owner"), (4, 40, "owner")), 100, True, date(2026, 2, 1), "USD", False
        ),
        "owner_missing": won(11, 100, owner=None),
    }
    await company.deal(*cases.values())
    for reason, deal in cases.items():
        statement = await company.get(QUARTER, person_id=ANN, deal_id=named("deal", deal.deal))
        asked = statement.json()["deal"]
        (told,) = asked["earnings"]
        assert (told["reason"], told["counts"]) == (reason, reason is None)
        assert (asked["reason"], asked["counts"]) == (reason, reason is None)
        assert (told["why"] or {}).get("code") == (asked["why"] or {}).get("code") == reason
    unknown = await company.get(QUARTER, person_id=ANN, deal_id=named("deal", 10))
    assert unknown.json()["deal"]["why"]["found"] == "4"
    outside = await company.get(QUARTER, person_id=ANN, deal_id=named("deal", 8))
    assert outside.json()["deal"]["earnings"][0]["counts_from"] == "2026-04-01"
    unmet = await company.get(QUARTER, person_id=ANN, deal_id=named("deal", 3))
    assert unmet.json()["deal"]["earnings"][0]["failing_filter"] == {"field": "status", "op": "eq", "value": "won"}
    never = await company.get(QUARTER, person_id=ANN, deal_id=uuid4())
    assert never.json()["deal"]["reason"] == "deal_unknown"
    nobody = await company.get(QUARTER, person_id=BEN, deal_id=named("deal", 1))
    assert nobody.json()["deal"]["reason"] == "no_assignment"


async def test_why_a_deal_is_not_on_a_statement_is_said_in_words_beside_what_was_expected(company: Company) -> None:
    await company.assign(await company.plan(crediting="split", role="overlay"), ANN, start="2025-10-01")
    shared = DealVersion(0, 1, 1, ((0, 50, "Overlay"), (1, 50, "owner")), 100, True, date(2026, 2, 1), "USD", False)
    open_ = DealVersion(1, 1, 0, (), 100, False, date(2026, 2, 1), "USD", False)
    await company.deal(shared, open_, won(2, 100, day=date(2025, 12, 20)))

    async def why(deal: int, period: str = QUARTER) -> Json:
        answer = (await company.get(period, person_id=ANN, deal_id=named("deal", deal))).json()["deal"]
        assert not answer["counts"]
        assert answer["reason"] == answer["why"]["code"]
        found: Json = answer["why"]
        return found

    role = await why(0)
    assert (role["code"], role["found"], role["expected"]) == (
        "other_role",
        "Overlay",
        {"en": "overlay", "zh": "overlay"},
    )
    unmet = await why(1)
    assert unmet["found"] == "status: open"
    assert unmet["sentence"] == {
        "en": "Only deals count whose status is won; of this one that is not so.",
        "zh": "只计入满足“状态为 won”的商机，该商机不满足。",
    }
    before = await why(2, "/v1/statements?start=2025-10-01&end=2026-01-01")
    assert before["code"] == "terms_start_later"
    assert "2026-01-01" in str(before["sentence"])
    part = await why(0, "/v1/statements?start=2026-02-15&end=2026-04-01")
    assert part["code"] == "no_whole_period"


async def test_a_deal_paid_in_instalments_earns_each_in_its_quarter_and_says_so_part_by_part(company: Company) -> None:
    cash: Json = {**component()["measure"], "value_field": "paid_amount", "date_field": "paid"}  # type: ignore[dict-item]
    plan = await company.plan(measure=cash, crediting="split", rate={"shape": "flat", "rate": "0.1"})
    await company.assign(plan, ANN)
    signed = DealVersion(0, 1, 0, ((0, 50, "owner"), (1, 50, "owner")), 100_000, True, date(2026, 1, 5), "USD", False)
    march, april, back = (date(2026, 3, 15), 40_000), (date(2026, 4, 10), 60_000), (date(2026, 4, 20), -20_000)
    await company.deal(replace(signed, version=2, paid=(march,)))
    await company.deal(replace(signed, version=3, paid=(march, april)))
    await company.deal(replace(signed, version=4, paid=(march, april, back)))
    earned = [
        (item["start"], item["earned"], item["credits"])
        for item in (await company.get("/v1/earnings", person_id=ANN)).json()["items"]
    ]
    # Half of 400 at 10 % in the first quarter, half of 600 less half of 200 in the second.
    assert earned == [("2026-01-01", "20.00", 1), ("2026-04-01", "20.00", 2)]
    second = (await company.get("/v1/earnings", person_id=ANN)).json()["items"][1]["id"]
    explained = (await company.get(f"/v1/earnings/{second}/explain", deal_id=named("deal", 0))).json()
    assert [(line["day"], line["value"], line["amount"]) for line in explained["lines"]] == [
        ("2026-04-10", "300", "30.00"),
        ("2026-04-20", "-100", "-10.00"),
    ]
    (told,) = explained["deal"]["earnings"]
    assert (told["counts"], told["value"], told["percent"]) == (True, "200", "50")
    assert [(part["external_id"], part["paid_on"], part["value"], part["reason"]) for part in told["parts"]] == [
        ("0", "2026-03-15", None, "outside_period"),
        ("1", "2026-03-15", None, "not_on_split"),
        ("0", "2026-04-10", "300", None),
        ("1", "2026-04-10", None, "not_on_split"),
        ("0", "2026-04-20", "-100", None),
        ("1", "2026-04-20", None, "not_on_split"),
    ]
    assert (len(explained["ledger"]), explained["ledger_balance"]) == (2, "20.00")
    assert [each async for each in VERIFICATION.of_tenant(company.database, company.tenant, Counter())] == []


async def test_a_gate_of_the_year_opens_and_closes_the_cells_of_all_its_quarters(company: Company) -> None:
    gate: Json = {"measure": {"aggregate": "count", "filter": {"all": []}}, "period": "year", "at_least": "3"}
    plan = await company.plan(rate={"shape": "flat", "rate": "0.1"}, gate=gate)
    await company.assign(plan, ANN)
    quarters = [
        replace(won(number, 1000), day=day)
        for number, day in enumerate((date(2026, 1, 5), date(2026, 4, 5), date(2026, 7, 5)))
    ]

    async def earned() -> list[tuple[str, str, int]]:
        items = (await company.get("/v1/earnings", person_id=ANN)).json()["items"]
        return [(item["start"], item["earned"], item["credits"]) for item in items]

    await company.deal(*quarters[:2])
    assert await earned() == [("2026-01-01", "0.00", 1), ("2026-04-01", "0.00", 1)]
    await company.deal(quarters[2])
    await company.deal(replace(quarters[0], version=2, cents=200_000))
    assert await earned() == [("2026-01-01", "200.00", 1), ("2026-04-01", "100.00", 1), ("2026-07-01", "100.00", 1)]
    assert [each async for each in VERIFICATION.of_tenant(company.database, company.tenant, Counter())] == []
    await company.deal(replace(quarters[1], version=2, gone=True))
    assert {amount for _, amount, _ in await earned()} == {"0.00"}
    assert [each async for each in VERIFICATION.of_tenant(company.database, company.tenant, Counter())] == []


async def test_a_missing_quota_pays_nothing_and_says_so_and_a_quota_pays(company: Company) -> None:
    by_attainment = {
        "shape": "tiers",
        "mode": "marginal",
        "by": "attainment",
        "tiers": [{"from": "0", "rate": "0.05"}, {"from": "1", "rate": "0.06"}, {"from": "1.25", "rate": "0.07"}],
    }
    plan_id = await company.plan(rate=by_attainment)
    assigned = (await company.assign(plan_id, ANN)).json()
    await company.deal(won(0, 150_000))
    (earning,) = (await company.get("/v1/earnings", person_id=ANN)).json()["items"]
    assert (earning["earned"], earning["attainment"]) == ("0.00", None)
    assert (await company.get(f"/v1/earnings/{earning['id']}/explain")).json()["quota_gap"] == "quota_missing"
    path = f"/v1/assignments/{assigned['id']}"
    changed = await company.send("PATCH", path, {"quotas": {"bookings": {"amount": "100000"}}}, if_match='"2"')
    assert (changed.status_code, changed.headers["etag"][:3]) == (200, '"3.')
    assert (await company.get(f"/v1/earnings/{earning['id']}/explain")).json()["quota_gap"] == "quota_missing"
    await company.approved(changed)
    (earning,) = (await company.get("/v1/earnings", person_id=ANN)).json()["items"]
    assert (earning["earned"], earning["attainment"]) == ("8250.00", "1.5")
    (posted,) = (await company.get("/v1/ledger", earning_id=earning["id"])).json()["items"]
    assert posted["cause"]["changes"] == [f"assignment/{assigned['id']} v4"]


async def test_deleting_an_assignment_takes_back_what_it_earned(company: Company) -> None:
    plan_id = await company.plan()
    assigned = (await company.assign(plan_id, ANN)).json()
    await company.deal(won(0, 1000))
    path = f"/v1/assignments/{assigned['id']}"
    assert (await company.send("DELETE", path, if_match='"2"')).status_code == 204
    assert (await company.get(path)).json()["change"]["deleted"] is True
    await company.approved(await company.get(path))
    (earning,) = (await company.get("/v1/earnings", person_id=ANN)).json()["items"]
    assert (earning["earned"], earning["credits"]) == ("0.00", 0)
    posted = (await company.get("/v1/ledger", earning_id=earning["id"])).json()["items"]
    assert [item["entries"][0]["amount"] for item in posted] == ["40.00", "-40.00"]
    assert (await company.get(f"/v1/assignments/{assigned['id']}")).status_code == 404


async def test_a_rep_sees_its_own_pay_a_manager_its_teams_and_finance_everything(company: Company) -> None:
    plan_id = await company.plan()
    for person in (ANN, BEN, named("person", 4)):
        await company.assign(plan_id, person)
    await company.deal(won(0, 1000), won(1, 2000, owner=1))
    ben = (await company.get("/v1/earnings", BEN, Role.REP)).json()["items"]
    assert [item["person_id"] for item in ben] == [str(BEN)]
    (ann,) = (await company.get("/v1/earnings", person_id=ANN)).json()["items"]
    for path in (f"/v1/earnings/{ann['id']}", f"/v1/earnings/{ann['id']}/explain"):
        assert (await company.get(path, BEN, Role.REP)).status_code == 404
        assert (await company.get(path, MAX, Role.MANAGER)).status_code == 200
    assert (await company.get(QUARTER, BEN, Role.REP, person_id=ANN)).status_code == 404
    assert (await company.get(QUARTER, ANN, Role.REP, person_id=ANN)).status_code == 200
    assert len((await company.get("/v1/ledger", BEN, Role.REP)).json()["items"]) == 1
    assert len((await company.get("/v1/ledger", MAX, Role.MANAGER)).json()["items"]) == 2
    assert len((await company.get("/v1/assignments", MAX, Role.MANAGER)).json()["items"]) == 2
    assert len((await company.get("/v1/assignments", MAX, Role.FINANCE)).json()["items"]) == 3
    assert (await company.get("/v1/ledger/verify", MAX, Role.MANAGER)).status_code == 403
    assert (await company.http.get("/v1/earnings")).status_code == 401


async def test_an_intact_ledger_verifies_and_lists_page_by_page(company: Company) -> None:
    plan_id = await company.plan()
    await company.assign(plan_id, ANN)
    await company.deal(*(won(n, 1000) for n in range(5)))
    verified = (await company.get("/v1/ledger/verify", AUTHOR, Role.FINANCE)).json()
    assert (verified["status"], verified["transactions"], verified["broken_at"]) == ("intact", 5, None)
    seen: list[int] = []
    path = "/v1/ledger"
    while True:
        page = (await company.get(path, limit=2)).json()
        seen += [item["sequence"] for item in page["items"]]
        if page["next_cursor"] is None:
            break
        path = f"/v1/ledger?cursor={page['next_cursor']}"
    assert seen == [1, 2, 3, 4, 5]


async def test_the_same_idempotency_key_makes_one_plan(company: Company) -> None:
    body = {"name": "Reps", "currency": "USD", "period": "month"}
    answers = [await company.send("POST", "/v1/plans", body, idempotency_key="once") for _ in range(2)]
    assert answers[0].json() == answers[1].json()
    assert len((await company.get("/v1/plans")).json()["items"]) == 1


def goal_event(tenant: UUID, owner: UUID, **metric: object) -> Goal:
    return Goal.model_validate(
        {
            "tenant_id": tenant,
            "id": uuid4(),
            "version": 1,
            "revision": 1,
            "status": "active",
            "name": "A goal",
            "owner": {"kind": "person", "id": owner},
            "metric": {
                "aggregate": "sum",
                "value_field": "amount",
                "date_field": "closed",
                "filter": {"all": []},
                "currency": "USD",
                **metric,
            },
            "target": "15000",
            "baseline": "0",
            "unit": "USD",
            "direction": "higher",
            "start": "2026-01-01",
            "end": "2026-04-01",
            "parent_id": None,
            "weight": "1",
        }
    )


async def test_terms_that_can_never_be_right_are_refused_with_their_place(company: Company) -> None:
    refused = await company.send("POST", "/v1/plans", {"name": "Reps", "currency": "XQX", "period": "quarter"})
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["pointer"] == "/currency"
    plan_id = (
        await company.send("POST", "/v1/plans", {"name": "Reps", "currency": "USD", "period": "quarter"})
    ).json()["id"]

    async def pointer_of(**changes: object) -> str:
        body = {"effective_from": "2026-01-01", "components": [component(**changes)]}
        answer = await company.send("POST", f"/v1/plans/{plan_id}/versions", body)
        assert answer.status_code == 422, answer.text
        return str(answer.json()["errors"][0]["pointer"])

    measure = {"aggregate": "sum", "value_field": "amount", "currency": "USD"}
    misspelt = {**measure, "filter": {"all": [{"field": "status", "op": "eq", "value": "Won"}]}}
    assert await pointer_of(measure=misspelt) == "/components/0/measure/filter/all/0/value"
    tiers = [{"from": "0", "rate": "0.05"}, {"from": "100", "rate": "0.06"}]
    percentages = {"shape": "tiers", "mode": "marginal", "by": "attainment", "tiers": tiers}
    assert await pointer_of(rate=percentages) == "/components/0/rate/tiers/1/from"


async def test_a_goal_that_is_no_quota_is_refused_and_one_that_has_not_arrived_is_warned_of(company: Company) -> None:
    plan_id = await company.plan()
    fitting = goal_event(company.tenant, ANN)
    misfits = [
        goal_event(company.tenant, BEN),
        goal_event(company.tenant, ANN, aggregate="count", value_field=None, currency=None),
        goal_event(company.tenant, ANN, currency="JPY"),
        goal_event(company.tenant, ANN, later_aggregate="average"),
        goal_event(company.tenant, ANN, later_aggregate="ratio", numerator_filter={"all": []}),
        goal_event(company.tenant, ANN).model_copy(update={"direction": Direction.LOWER}),
    ]
    snapshots = [
        Snapshot(company.tenant, each.subject, each.event_type, 1, each.model_dump_json())
        for each in (fitting, *misfits)
    ]

    async def apply(tx: Transaction) -> None:
        await EARNINGS.apply_definitions(tx, [company.tenant], snapshots)

    await company.database.run(Scope.of(company.tenant), apply)
    body = {"person_id": str(ANN), "plan_id": plan_id, "start": "2026-01-01"}
    for misfit in misfits:
        answer = await company.send(
            "POST", "/v1/assignments", {**body, "quotas": {"bookings": {"goal_ids": [str(misfit.id)]}}}
        )
        assert answer.status_code == 422, answer.text
        assert answer.json()["errors"][0]["pointer"] == "/quotas/bookings/goal_ids/0"
    unknown = str(uuid4())
    taken = (await company.assign(plan_id, ANN, quotas={"bookings": {"goal_ids": [str(fitting.id), unknown]}})).json()
    assert [warning["pointer"] for warning in taken["warnings"]] == ["/quotas/bookings/goal_ids/1"]
    await company.deal(won(0, 15_000))
    (earning,) = (await company.get("/v1/earnings", person_id=ANN)).json()["items"]
    assert Decimal(str(earning["quota"])) == 15_000


async def test_a_gate_a_cap_and_terms_from_within_a_quarter_are_earned_explained_and_verified(company: Company) -> None:
    counted: Json = {"aggregate": "count", "filter": {"all": [{"field": "currency", "op": "eq", "value": "USD"}]}}
    flat: Json = {"shape": "flat", "rate": "0.10"}
    gated: Json = {"rate": flat, "gate": {"measure": counted, "at_least": "2"}}
    plan_id = await company.plan(**gated)
    await company.assign(plan_id, ANN)
    await company.deal(won(0, 1000, day=date(2026, 2, 1)))

    async def explained() -> list[dict[str, Any]]:
        listed = (await company.get("/v1/earnings", person_id=ANN)).json()["items"]
        return [(await company.get(f"/v1/earnings/{earning['id']}/explain")).json() for earning in listed]

    (held,) = await explained()
    assert [line["amount"] for line in held["lines"]] == ["100.00"]
    assert [(step["kind"], step["amount"]) for step in held["steps"]] == [("gate", "-100.00")]
    assert "未满足" in held["steps"][0]["why"]["zh"]

    await company.deal(won(1, 2000, day=date(2026, 3, 10)))
    (met,) = await explained()
    assert (met["earning"]["earned"], met["ledger_balance"]) == ("300.00", "300.00")

    versions = f"/v1/plans/{plan_id}/versions"
    capped: Json = component(**gated, caps={"period": "250"})
    body: Json = {"effective_from": "2026-02-15", "components": [capped]}
    assert (await company.send("POST", versions, body)).status_code == 201
    approved = await company.send("POST", f"{versions}/2/approve", person=APPROVER, if_match='"1"')
    assert approved.status_code == 200
    assert (await company.send("POST", f"{versions}/2/activate", person=AUTHOR, if_match='"2"')).status_code == 200
    await rebuilder(company.database).rebuild_all()

    first, second = await explained()
    assert [first["earning"]["end"], second["earning"]["start"]] == ["2026-02-15", "2026-02-15"]
    assert (first["earning"]["earned"], second["earning"]["earned"]) == ("100.00", "150.00")
    assert (second["before"], second["lines"][0]["before"]) == ("1000", "1000")
    assert [step["kind"] for step in second["steps"]] == ["gate", "cap_of_period"]
    statement = (await company.get(QUARTER, person_id=ANN)).json()
    assert statement["totals"][0]["earned"] == statement["totals"][0]["ledger_balance"] == "250.00"

    # One deal moves both parts: without it the gate is closed again.
    await company.deal(replace(won(1, 2000, version=2, day=date(2026, 3, 10)), gone=True))
    first, second = await explained()
    assert (first["earning"]["earned"], second["earning"]["earned"]) == ("0.00", "0.00")
    assert [found async for found in VERIFICATION.of_tenant(company.database, company.tenant, Counter())] == []
