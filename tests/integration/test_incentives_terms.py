"""Terms of a plan over HTTP: rules beside components, what two versions differ in, documents that go out and in."""

from collections.abc import AsyncIterator

import pytest
from jsonschema import Draft202012Validator
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from shared.db.database import Scope, Transaction
from shared.http.auth import Role
from tests.stories.pay_api import ANN, APPROVER, AUTHOR, BEN, MAX, Company, Json, component, running_company

RULES: Json = {
    "draw": {"kind": "recoverable", "amount": "2000"},
    "holdback": {"percent": "30", "release": "deal_paid", "components": ["bookings"]},
}


@pytest.fixture
async def company(module_database: str) -> AsyncIterator[Company]:
    async with running_company(module_database) as running:
        yield running


async def new_plan(company: Company, name: str = "Reps") -> str:
    created = await company.send("POST", "/v1/plans", {"name": name, "currency": "USD", "period": "quarter"})
    return str(created.json()["id"])


def terms(**more: object) -> Json:
    return {"effective_from": "2026-01-01", "components": [component()], **more}


async def test_rules_are_stored_shown_and_compared_and_fixed_with_the_approval(company: Company) -> None:
    plan_id = await new_plan(company)
    versions = f"/v1/plans/{plan_id}/versions"
    plain = await company.send("POST", versions, terms())
    assert plain.json()["rules"]["clawback"]["policy"] == "full"
    ruled = (await company.send("POST", versions, terms(rules=RULES))).json()
    assert (ruled["rules"]["draw"]["amount"], ruled["rules"]["holdback"]["percent"]) == ("2000", "30")
    assert (await company.get(f"{versions}/2")).json()["rules"] == ruled["rules"]
    pointers = [change["pointer"] for change in (await company.get(f"{versions}/2/diff")).json()["changes"]]
    assert pointers == ["/rules"]
    taken = await company.send("PUT", f"{versions}/2", terms(rules={**RULES, "draw": None}), if_match='"1"')
    assert taken.json()["rules"]["draw"] is None
    history = (await company.get(f"{versions}/2/history")).json()["items"]
    assert [change["pointer"] for change in history[1]["changes"]] == ["/rules/draw"]
    await company.send("POST", f"{versions}/2/approve", person=APPROVER, if_match='"2"')

    async def change(tx: Transaction) -> None:
        await tx.execute(
            text("UPDATE incentives.plan_versions SET rules = NULL WHERE plan_id = :plan_id AND number = 2"),
            {"plan_id": plan_id},
        )

    with pytest.raises(DBAPIError, match="approved and cannot change"):
        await company.database.run(Scope.of(company.tenant), change)


@pytest.mark.parametrize(
    ("rules", "pointer"),
    [
        ({"draw": {"kind": "recoverable", "amount": "0"}}, "/rules/draw/amount"),
        (
            {"holdback": {"percent": "30", "release": "deal_paid", "components": ["spif"]}},
            "/rules/holdback/components/0",
        ),
        ({"rounding": {"to": "0.001"}}, "/rules/rounding/to"),
        ({"drow": None}, "/rules/drow"),
    ],
)
async def test_a_rule_that_cannot_be_is_refused_where_it_is(company: Company, rules: Json, pointer: str) -> None:
    plan_id = await new_plan(company)
    refused = await company.send("POST", f"/v1/plans/{plan_id}/versions", terms(rules=rules))
    assert refused.status_code == 422
    assert [error["pointer"] for error in refused.json()["errors"]] == [pointer]


async def test_exported_terms_are_what_the_schema_says_and_become_a_draft_elsewhere(
    company: Company,
) -> None:
    plan_id, other_id = await new_plan(company), await new_plan(company, "Others")
    drafted = await company.send("POST", f"/v1/plans/{plan_id}/versions", terms(rules=RULES, note="why"))
    document = (await company.get(f"/v1/plans/{plan_id}/versions/1/export")).json()
    assert document["plan"] == {"name": "Reps", "currency": "USD", "period": "quarter"}
    schema = (await company.get("/v1/plans/terms-schema")).json()
    Draft202012Validator(schema).validate(document)
    imported = await company.send("POST", f"/v1/plans/{other_id}/versions/import", document)
    assert (imported.status_code, imported.json()["status"], imported.json()["number"]) == (201, "draft", 1)
    for member in ("effective_from", "components", "rules", "note"):
        assert imported.json()[member] == drafted.json()[member]
    assert imported.headers["location"] == f"/v1/plans/{other_id}/versions/1"


async def test_a_document_that_cannot_be_drafted_is_refused_at_the_member(company: Company) -> None:
    plan_id = await new_plan(company)
    await company.send("POST", f"/v1/plans/{plan_id}/versions", terms())
    document = (await company.get(f"/v1/plans/{plan_id}/versions/1/export")).json()
    flat = {**component(), "rate": {"shape": "flat", "rate": "2"}}
    for changes, pointer in (
        ({"plan": {**document["plan"], "currency": "EUR"}}, "/plan/currency"),
        ({"plan": {**document["plan"], "period": "month"}}, "/plan/period"),
        ({"components": [flat]}, "/components/0/rate/rate"),
        ({"components": [{**flat, "kind": "gift"}]}, "/components/0/kind"),
        ({"rules": {"cap": {}}}, "/rules/cap"),
        ({"effective_from": "1026-01-02"}, "/effective_from"),
        ({"form": "attain.plan-terms.v2"}, "/form"),
    ):
        refused = await company.send("POST", f"/v1/plans/{plan_id}/versions/import", {**document, **changes})
        assert refused.status_code == 422, changes
        assert [error["pointer"] for error in refused.json()["errors"]] == [pointer]
    assert len((await company.get(f"/v1/plans/{plan_id}/versions")).json()["items"]) == 1


async def test_terms_are_exported_to_whoever_sees_them_and_imported_by_who_may_write_them(company: Company) -> None:
    plan_id = await company.plan()
    assert (await company.assign(plan_id, ANN)).status_code == 200
    path = f"/v1/plans/{plan_id}/versions/1/export"
    document = (await company.get(path)).json()
    for role, person, status in (
        (Role.REP, ANN, 200),
        (Role.REP, BEN, 404),
        (Role.MANAGER, MAX, 200),
        (Role.FINANCE, AUTHOR, 200),
        (Role.SERVICE, AUTHOR, 200),
    ):
        assert (await company.get(path, person, role)).status_code == status, role
    for role in (Role.REP, Role.MANAGER, Role.FINANCE):
        headers = company.headers(BEN, role)
        url = f"/v1/plans/{plan_id}/versions/import"
        assert (await company.http.post(url, json=document, headers=headers)).status_code == 403, role
    await company.send("POST", f"/v1/plans/{plan_id}/versions", terms())
    assert (await company.get(f"/v1/plans/{plan_id}/versions/2/export", ANN, Role.REP)).status_code == 404


async def test_a_draft_comes_with_what_can_hardly_be_meant_and_versions_differ_in_sentences(company: Company) -> None:
    plan_id = await new_plan(company)
    versions = f"/v1/plans/{plan_id}/versions"
    fine = await company.send("POST", versions, terms())
    assert fine.json()["warnings"] == []
    odd = await company.send("POST", versions, terms(components=[component(allocation_percent="120")]))
    assert [each["pointer"] for each in odd.json()["warnings"]] == ["/components/0/allocation_percent"]
    assert (await company.get(f"{versions}/2")).json()["warnings"] == odd.json()["warnings"]
    assert (await company.get(f"{versions}/2/diff")).json()["words"] == [
        {
            "en": "Component “New business”, allocation in percent: 100 became 120.",
            "zh": "组成部分“New business”，分配比例（%）：由 100 改为 120。",
        }
    ]
