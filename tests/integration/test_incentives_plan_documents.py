"""Plan documents and their acceptance over HTTP, by every role, on real Postgres."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final
from uuid import UUID

import httpx
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from shared.db.database import Scope, Transaction
from shared.http.auth import Role
from tests.integration.test_incentives_statements import shown
from tests.stories.incentives import named
from tests.stories.pay_api import ANN, AUTHOR, BEN, MAX, Company, running_company

STRANGER: Final = named("person", 9)
RATE: Final = {
    "shape": "tiers",
    "mode": "marginal",
    "by": "attainment",
    "tiers": [{"from": "0", "rate": "0.05"}, {"from": "1", "rate": "0.06"}, {"from": "1.25", "rate": "0.07"}],
}
MEASURE: Final = {"aggregate": "sum", "value_field": "amount", "date_field": "closed", "currency": "USD"}
FLAT: Final = {"shape": "flat", "rate": "0.05"}


@dataclass
class Planned:
    """A company with a plan that pays ann and ben."""

    company: Company
    plan_id: str

    def path(self, rest: str, number: int = 1) -> str:
        return f"/v1/plans/{self.plan_id}/versions/{number}/{rest}"

    async def accept(
        self, person: UUID | None, role: Role = Role.REP, number: int = 1, language: str = "en"
    ) -> httpx.Response:
        headers = self.company.headers(person, role)
        body = {"language": language}
        return await self.company.http.post(self.path("accept", number), json=body, headers=headers)

    async def waiting(self, person: UUID = AUTHOR, role: Role = Role.REVOPS, query: str = "") -> list[str]:
        """The names of those who are listed."""
        answer = await self.company.get(self.path(f"acceptances{query}"), person, role)
        assert answer.status_code == 200, answer.text
        return sorted(str(item["person_name"]) for item in answer.json()["items"])


@pytest.fixture
async def planned(module_database: str) -> AsyncIterator[Planned]:
    async with running_company(module_database) as company:
        plan_id = await company.plan(rate=RATE)
        await company.found_person(BEN, "Ben", "E-2")
        for person in (ANN, BEN):
            await company.assign(plan_id, person)
        yield Planned(company, plan_id)


@pytest.mark.parametrize(
    ("language", "words"),
    [
        ("en", ["Incentive plan", "deals whose status is won", "with a quota of 100,000.00", "100% up to"]),
        ("zh", ["激励方案", "状态为 won", "配额为 100,000.00 时", "由实际计奖的同一程序计算"]),
    ],
)
@pytest.mark.parametrize("document_format", ["pdf", "html"])
async def test_a_version_is_a_document_with_examples_around_its_bounds(
    planned: Planned, document_format: str, language: str, words: list[str]
) -> None:
    path = planned.path(f"document?format={document_format}&language={language}")
    response = await planned.company.get(path, ANN, Role.REP)
    found = "".join(shown(response).split("\n"))
    for each in words:
        assert each in found
    # 5 % to the quota of 100,000, 6 % to 125 %, 7 % above.
    for credited, pays in (
        ("99,999.99", "5,000.00"),
        ("100,000.00", "5,000.00"),
        ("112,500.00", "5,750.00"),
        ("125,000.00", "6,500.00"),
        ("152,500.00", "8,425.00"),
    ):
        assert credited in found
        assert pays in found.partition(credited)[2]
    assert (await planned.company.get(path, BEN, Role.REP)).content == response.content


async def test_a_document_is_seen_by_who_sees_the_version(planned: Planned) -> None:
    company = planned.company
    for person, role, status in (
        (ANN, Role.REP, 200),
        (MAX, Role.MANAGER, 200),
        (STRANGER, Role.FINANCE, 200),
        (STRANGER, Role.REVOPS, 200),
        (STRANGER, Role.REP, 404),
        (STRANGER, Role.MANAGER, 404),
    ):
        for rest in ("document", "acceptances"):
            assert (await company.get(planned.path(rest), person, role)).status_code == status, (role, rest)
    component = {"kind": "commission", "key": "bookings", "name": "B", "measure": MEASURE, "rate": FLAT}
    drafted = {"effective_from": "2026-04-01", "components": [component]}
    assert (await company.send("POST", f"/v1/plans/{planned.plan_id}/versions", drafted)).status_code == 201
    assert (await company.get(planned.path("document", 2), ANN, Role.REP)).status_code == 404
    draft = await company.get(planned.path("document?format=html", 2), AUTHOR, Role.REVOPS)
    assert "Draft: it pays nothing" in shown(draft)
    refused = await planned.accept(ANN, number=2)
    assert (refused.status_code, refused.json()["code"]) == (404, "plan_version_not_found")
    early = await planned.accept(ANN, Role.REVOPS, number=2)
    assert (early.status_code, early.json()["code"]) == (409, "plan_version_not_active")


async def test_only_the_person_itself_accepts_and_once_for_good(planned: Planned) -> None:
    company = planned.company
    assert await planned.waiting() == ["Ann", "Ben"]
    for person, role, status in (
        (MAX, Role.MANAGER, 409),
        (AUTHOR, Role.REVOPS, 409),
        (AUTHOR, Role.FINANCE, 409),
        (AUTHOR, Role.ADMIN, 409),
        (None, Role.SERVICE, 409),
        (STRANGER, Role.REP, 404),
    ):
        refused = await planned.accept(person, role)
        assert refused.status_code == status, role
        assert status == 404 or refused.json()["code"] == "not_paid_by_plan_version"
    assert await planned.waiting(query="?accepted=true") == []
    first = await planned.accept(BEN, language="zh")
    assert first.status_code == 200, first.text
    accepted = first.json()
    assert (accepted["person_id"], accepted["employee_number"], accepted["language"]) == (str(BEN), "E-2", "zh")
    assert (await planned.accept(BEN, language="en")).json() == accepted
    assert await planned.waiting(query="?accepted=false") == ["Ann"]
    assert await planned.waiting(query="?accepted=true") == ["Ben"]
    assert await planned.waiting(ANN, Role.REP) == ["Ann"]
    assert await planned.waiting(MAX, Role.MANAGER) == ["Ann", "Ben"]

    copy = shown(await company.get(planned.path("document?format=html"), BEN, Role.REP))
    assert f"Ben, {accepted['accepted_at'][:10]}" in copy
    assert accepted["terms_digest"] in copy
    assert "Accepted by" not in shown(await company.get(planned.path("document?format=html"), ANN, Role.REP))


async def test_nobody_changes_or_deletes_an_acceptance(planned: Planned) -> None:
    assert (await planned.accept(ANN)).status_code == 200
    for statement in (
        "UPDATE incentives.plan_acceptances SET accepted_at = now()",
        "DELETE FROM incentives.plan_acceptances",
        "TRUNCATE incentives.plan_acceptances",
    ):

        async def change(tx: Transaction, statement: str = statement) -> None:
            await tx.execute(text(statement))

        with pytest.raises(DBAPIError, match="permission denied"):
            await planned.company.database.run(Scope.of(planned.company.tenant), change)


async def test_pages_of_acceptances_have_everybody_once(planned: Planned) -> None:
    first = (await planned.company.get(planned.path("acceptances?limit=1"))).json()
    second = (await planned.company.get(planned.path(f"acceptances?limit=1&cursor={first['next_cursor']}"))).json()
    assert second["next_cursor"] is None
    assert [item["person_id"] for item in (*first["items"], *second["items"])] == sorted([str(ANN), str(BEN)])


async def test_somebody_whom_the_version_pays_on_no_day_is_not_asked(planned: Planned) -> None:
    later = await planned.company.assign(planned.plan_id, named("person", 2), start="2027-01-01")
    ended = await planned.company.assign(planned.plan_id, named("person", 4), start="2025-01-01", end="2026-01-01")
    assert (later.status_code, ended.status_code) == (200, 200)
    listed = (await planned.company.get(planned.path("acceptances"))).json()["items"]
    assert {item["person_id"] for item in listed} == {str(ANN), str(BEN), str(named("person", 2))}


async def test_a_document_for_a_person_has_its_own_terms_and_says_when_they_changed_since(planned: Planned) -> None:
    company, path = planned.company, planned.path(f"document?person_id={ANN}")
    [assignment] = (await company.get("/v1/assignments", person_id=ANN, plan_id=planned.plan_id)).json()["items"]

    async def state(quota: str) -> None:
        current = await company.get(f"/v1/assignments/{assignment['id']}")
        body = {
            "quotas": {"bookings": {"amount": quota, "changes": [{"from": "2026-07-01", "amount": "300000"}]}},
            "target_variable": {"amount": "40000", "per": "year"},
            "ramp": [{"from": "2026-01-01", "share": "0.75"}, {"from": "2026-04-01", "share": "1"}],
            "leave": [{"start": "2026-05-04", "end": "2026-05-18"}],
            "prorated": True,
        }
        changed = await company.send(
            "PATCH", f"/v1/assignments/{assignment['id']}", body, if_match=current.headers["etag"]
        )
        assert changed.status_code == 200, changed.text
        await company.approved(changed)

    await state("200000")
    for person, role in ((ANN, Role.REP), (MAX, Role.MANAGER), (AUTHOR, Role.REVOPS)):
        found = shown(await company.get(path, person, role))
        for words in ("For Ann", "200,000.00", "300,000.00", "USD 40,000.00", "75%", "2026-05-04", "up to 2026-05-17"):
            assert words in found, words
    assert "Ann 的个人条款" in shown(await company.get(path, language="zh", format="html"))
    assert "200,000.00" not in shown(await company.get(planned.path("document")))
    hidden = await company.get(path, BEN, Role.REP)
    assert (hidden.status_code, hidden.json()["code"]) == (404, "person_not_found")
    nobody = await company.get(planned.path(f"document?person_id={STRANGER}"))
    assert (nobody.status_code, nobody.json()["code"]) == (409, "not_paid_by_plan_version")
    accepted = (await planned.accept(ANN)).json()
    assert accepted["personal_digest"][:16] in shown(await company.get(path))
    await state("250000")
    found = shown(await company.get(path))
    assert "they have changed since" in found
    assert "250,000.00" in found
    assert (await planned.accept(ANN)).json() == accepted
