"""Statements of pay periods over HTTP: kept as they were paid, whatever comes later, and read by every role."""

import csv
import io
import json
from collections import Counter
from collections.abc import AsyncIterator
from decimal import Decimal
from hashlib import sha256
from io import BytesIO
from typing import cast
from uuid import UUID, uuid4
from zipfile import ZipFile

import pytest
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError

from services.incentives.statements.archive import INDEX
from services.incentives.statements.keeping import DueStatements, PayStatements
from services.incentives.statements.work import StatementKeeper
from shared.db.database import Scope, Transaction
from shared.http.auth import Role
from tests.integration.test_incentives_ledger import superuser_around_the_triggers
from tests.integration.test_incentives_payouts import monthly, move, paid, period, sold, step
from tests.integration.test_incentives_statements import shown
from tests.stories.incentives import SOURCE, named
from tests.stories.pay import CREDITS, PAY_PERIODS, PAY_STATEMENTS, PLANS, STATEMENTS, keeper
from tests.stories.pay_api import ANN, BEN, MAX, Company, Json, running_company

STRANGER = named("person", 9)
JANUARY = {"start": "2026-01-01", "end": "2026-02-01"}
FEBRUARY = {"start": "2026-02-01", "end": "2026-03-01"}


@pytest.fixture
async def company(module_database: str) -> AsyncIterator[Company]:
    async with running_company(module_database) as running:
        await running.found_person(ANN, "Ann", "E-1042", version=2)
        yield running


async def keep(company: Company) -> None:
    """What the worker does when it is told that a pay period moved."""
    await keeper(company.database).keep_all([company.tenant])


async def statement(company: Company, month: int, person: UUID = ANN) -> Json:
    found = await company.get(f"{await path(company, month)}/{person}")
    assert found.status_code == 200, found.text
    return dict(found.json())


def each_of(found: Json, name: str) -> list[Json]:
    """What stands in a list of an answer."""
    return cast("list[Json]", found[name])


async def path(company: Company, month: int) -> str:
    return f"/v1/pay-periods/{(await period(company, month))['id']}/statements"


async def test_a_kept_statement_stays_as_it_was_and_what_comes_later_stands_beside_it(company: Company) -> None:
    await monthly(company, {"draw": {"kind": "recoverable", "amount": "1500"}}, ANN)
    await sold(company, 1, 10_000, 1)
    await sold(company, 2, 3_000, 1)
    before = await statement(company, 1)
    assert (before["digest"], before["cut_off_at"]) == (None, None)
    await paid(company, 1)
    await keep(company)
    at = f"{await path(company, 1)}/{ANN}"
    [earned, last] = kept = (await company.get(f"{at}/kept")).json()["parts"]
    assert (earned["part"], last["part"]) == ("earned", "paid")
    documents = {
        language: await company.get(f"{at}/document?format=html&language={language}") for language in ("en", "zh")
    }
    drawn = await company.get(f"{at}/document")
    await sold(company, 1, 4_000, 1, version=9)
    await sold(company, 3, 50_000, 2, version=10)
    await keep(company)
    assert (await company.get(f"{at}/kept")).json()["parts"] == kept
    for part in kept:
        assert part["digest"] == sha256(part["content"].encode()).hexdigest()
    assert json.loads(last["content"])["earned"] == earned["digest"]
    for language, document in documents.items():
        assert (await company.get(f"{at}/document?format=html&language={language}")).content == document.content
    assert (await company.get(f"{at}/document")).content == drawn.content
    for amount in ("USD 1,300.00", "USD 1,500.00", "1,000.00", "300.00"):
        assert amount in shown(documents["en"])
    found = await statement(company, 1)
    assert found["digest"] == last["digest"]
    assert found["earnings"] == json.loads(earned["content"])["earnings"]
    assert found["totals"] == [
        {
            "currency": "USD",
            "as_paid": "1300.00",
            "for_due": "1300.00",
            "for_earlier": "0.00",
            "as_recalculated": "700.00",
            "difference": "-600.00",
        }
    ]
    [later] = each_of(found, "later")
    assert (later["amount"], later["cause"], later["posted_in"]) == ("-600", "deal", FEBRUARY)
    deal = cast("Json", later["deal"])
    assert (later["origin"], deal["external_id"], deal["source"]) == (JANUARY, "1", SOURCE)
    [payout] = each_of(found, "payouts")
    assert (payout["paid"], payout["owed"], payout["status"]) == ("1500", "200", "paid")
    assert payout["paid_on"]
    assert [line["kind"] for line in each_of(payout, "lines")] == ["earned", "advanced"]
    told = shown(await company.get(f"{at}/document?later=true"))
    assert "As recalculated" in told
    assert "USD -600.00" in told
    # The next pay period names where what it takes back comes from.
    [earlier] = each_of(await statement(company, 2), "earlier")
    assert (earlier["amount"], earlier["origin"], earlier["deal"]) == ("-600", JANUARY, later["deal"])
    assert "Paid for earlier periods" in shown(await company.get(f"{await path(company, 2)}/{ANN}/document"))


async def test_a_statement_of_days_has_what_runs_paid_in_them(company: Company) -> None:
    await monthly(company, None, ANN)
    await sold(company, 1, 10_000, 1)
    run = await paid(company, 1)
    found = (await company.get("/v1/statements?start=2026-01-01&end=2026-02-01", person_id=ANN)).json()
    assert [(each["run_number"], each["paid"]) for each in found["payouts"]] == [(run["number"], "1000")]
    assert found["totals"][0]["earned"] == "1000.00"
    assert (await step(company, run, "reverse")).status_code in (200, 201)
    runs = (await company.get("/v1/payout-runs", role=Role.FINANCE)).json()["items"]
    assert (await step(company, runs[-1], "approve", named("person", 60))).status_code == 200
    found = (await company.get("/v1/statements?start=2026-01-01&end=2026-02-01", person_id=ANN)).json()
    assert [(each["paid"], each["status"], each["reverses"]) for each in found["payouts"]] == [
        ("1000", "reversed", None),
        ("-1000", "approved", 1),
    ]
    document = shown(await company.get("/v1/statements/document?start=2026-01-01&end=2026-02-01", person_id=ANN))
    assert "reverses run 1" in document


async def test_who_sees_whose_statement_of_a_pay_period(company: Company) -> None:
    await monthly(company, None, ANN, BEN)
    await sold(company, 1, 10_000, 1)
    await move(company, 1, "calculating", "in_review", "approved")
    await keep(company)
    at = await path(company, 1)
    for person, role, status in (
        (ANN, Role.REP, 200),
        (BEN, Role.REP, 404),
        (MAX, Role.MANAGER, 200),
        (STRANGER, Role.MANAGER, 404),
        (STRANGER, Role.FINANCE, 200),
        (STRANGER, Role.REVOPS, 200),
        (STRANGER, Role.ADMIN, 200),
    ):
        for of in (f"{ANN}", f"{ANN}/document", f"{ANN}/kept", f"table?person_id={ANN}"):
            answer = await company.get(f"{at}/{of}", person, role)
            assert answer.status_code == status, (of, role)
            assert status == 200 or answer.json()["code"] == "person_not_found"
        listed = {each["person_id"] for each in (await company.get(at, person, role)).json()["items"]}
        assert (str(ANN) in listed) is (status == 200)
        verified = await company.get(f"{at}/verification", person, role)
        assert verified.status_code == (200 if role in (Role.FINANCE, Role.REVOPS, Role.ADMIN) else 403)
    own = await company.get(f"{at}/documents?format=html", ANN, Role.REP)
    with ZipFile(BytesIO(own.content)) as opened:
        assert opened.namelist() == ["E-1042_Ann.html", INDEX]
    hidden = await company.get(f"{at}/documents?team_id={named('team', 0)}", ANN, Role.REP)
    assert (hidden.status_code, hidden.json()["code"]) == (404, "team_not_found")
    team = await company.get(f"{at}/documents?team_id={named('team', 0)}&format=html", MAX, Role.MANAGER)
    with ZipFile(BytesIO(team.content)) as opened:
        assert len(opened.namelist()) == 3
    both = await company.get(f"{at}/table?person_id={ANN}&team_id={named('team', 0)}")
    assert (both.status_code, both.json()["errors"][0]["pointer"]) == (422, "/team_id")
    for of in ("", f"/{ANN}", "/documents", "/verification"):
        nowhere = await company.get(f"/v1/pay-periods/{uuid4()}/statements{of}")
        assert (nowhere.status_code, nowhere.json()["code"]) == (404, "pay_period_not_found")
    [part] = (await company.get(f"{at}/{ANN}/kept")).json()["parts"]
    assert part["part"] == "earned"


async def test_a_table_adds_up_to_what_the_pay_period_paid(company: Company) -> None:
    await monthly(company, {"draw": {"kind": "recoverable", "amount": "1500"}}, ANN)
    await sold(company, 1, 10_000, 1)
    await paid(company, 1)
    await sold(company, 1, 12_000, 1, version=9)
    await sold(company, 2, 30_000, 2)
    await paid(company, 2)
    await keep(company)
    for month, posted, out in ((1, "1000.00", "1500.00"), (2, "3200.00", "2700.00")):
        answer = await company.get(f"{await path(company, month)}/table")
        rows = list(csv.DictReader(io.StringIO(answer.text)))
        assert sum(Decimal(row["amount"]) for row in rows if row["amount"]) == Decimal(posted)
        assert sum(Decimal(row["pay_amount"]) for row in rows if row["pay_amount"]) == Decimal(out)
        assert {row["employee_number"] for row in rows} == {"E-1042"}


async def test_a_statement_that_was_altered_is_found(company: Company, module_database: str) -> None:
    await monthly(company, None, ANN, BEN)
    await sold(company, 1, 10_000, 1)
    await sold(company, 2, 20_000, 1, owner=1)
    await paid(company, 1)
    await keep(company)
    at = f"{await path(company, 1)}/verification"
    found = (await company.get(at)).json()
    assert found["intact"] is True
    assert [(each["part"], each["statements"]) for each in found["parts"]] == [("earned", 2), ("paid", 2)]
    compared: Counter[str] = Counter()
    assert [each async for each in PAY_STATEMENTS.of_tenant(company.database, company.tenant, compared)] == []
    assert compared["kept statement"] == 4
    with pytest.raises(ProgrammingError, match="permission denied"):
        await company.database.run(Scope.of(company.tenant), _alter)
    where = f"WHERE tenant_id = '{company.tenant}' AND person_id = '{ANN}'"
    async with superuser_around_the_triggers(module_database) as superuser:
        await superuser.execute(
            f"UPDATE incentives.kept_statements SET content = replace(content, '\"1000', '\"9000') {where}"
        )
    found = (await company.get(at)).json()
    assert (found["intact"], len(found["differences"])) == (False, 2)
    async with superuser_around_the_triggers(module_database) as superuser:
        await superuser.execute(f"DELETE FROM incentives.kept_statements {where}")
    gone = (await company.get(at)).json()
    assert any("of all" in each for each in gone["differences"])


async def _alter(tx: Transaction) -> None:
    await tx.execute(text("UPDATE incentives.kept_statements SET content = ''"))


class _Stopping(PayStatements):
    """Is killed after the first statement that it kept."""

    async def keep(self, tx: Transaction, tenant_id: UUID, due: DueStatements, person_id: UUID) -> None:
        if await self.digests(tx, tenant_id, due.pay_period.id) != {"earned": {}, "paid": {}}:
            raise MemoryError
        await super().keep(tx, tenant_id, due, person_id)


async def test_what_a_killed_worker_left_is_kept_by_the_next_and_twice_changes_nothing(company: Company) -> None:
    await monthly(company, None, ANN, BEN)
    await sold(company, 1, 10_000, 1)
    await paid(company, 1)
    stopping = _Stopping(PLANS, CREDITS, PAY_PERIODS, STATEMENTS)
    await StatementKeeper(company.database, PLANS, stopping).keep_all([company.tenant])
    at = await path(company, 1)
    half = (await company.get(f"{at}/verification")).json()
    assert (half["parts"], half["intact"]) == ([], True)
    listed = (await company.get(at)).json()["items"]
    assert sum(each["earned"] is not None for each in listed) == 1
    await keep(company)
    whole = (await company.get(f"{at}/verification")).json()
    assert [each["statements"] for each in whole["parts"]] == [2, 2]
    await keep(company)
    assert (await company.get(f"{at}/verification")).json() == whole


async def test_a_change_between_the_cut_off_and_the_keeping_is_said(company: Company) -> None:
    await monthly(company, None, ANN)
    await sold(company, 1, 10_000, 1)
    await move(company, 1, "calculating", "in_review", "approved")
    await sold(company, 1, 8_000, 1, version=9)
    await keep(company)
    found = await statement(company, 1)
    [earning] = each_of(found, "earnings")
    assert (earning["as_paid"], earning["earned"]) == ("1000", "800")
    document = await company.get(f"{await path(company, 1)}/{ANN}/document")
    assert "This pay period paid USD 1,000.00 for it" in shown(document)
