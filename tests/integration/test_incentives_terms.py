"""Terms of a plan over HTTP: rules beside components, what two versions differ in, documents that go out and in."""

from collections.abc import AsyncIterator

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from shared.db.database import Scope, Transaction
from tests.stories.pay_api import APPROVER, Company, Json, component, running_company

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
