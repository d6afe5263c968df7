"""Inquiries about pay over HTTP, by every role, and what is reported of them, on real Postgres."""

import json
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Final
from uuid import UUID, uuid4

import httpx
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from services.incentives.inquiries.service import Inquiries
from services.incentives.inquiries.work import OverdueInquiries
from services.incentives.metadata import transport
from shared.db.database import Scope, Transaction
from shared.http.auth import Role
from shared.kernel.ids import deal_id as deal_id_of
from shared.outbox.outbox import Outbox
from tests.stories.incentives import CONNECTION, SOURCE, deal_event
from tests.stories.pay import ADJUSTMENTS, CREDITS, EXPLANATIONS, PLANS
from tests.stories.pay_api import ANN, APPROVER, AUTHOR, BEN, MAX, Company, Json, running_company, won

INQUIRIES: Final = Inquiries(Outbox(transport), PLANS, CREDITS, EXPLANATIONS, ADJUSTMENTS)


@pytest.fixture
async def company(module_database: str) -> AsyncIterator[Company]:
    async with running_company(module_database) as running:
        yield running


async def send(
    company: Company, path: str, body: object, person: UUID | None, role: Role, version: int | None = None
) -> httpx.Response:
    match = {} if version is None else {"if-match": f'"{version}"'}
    return await company.http.post(path, json=body, headers=company.headers(person, role, **match))


def about(person: UUID, **more: object) -> Json:
    deal = {"source": SOURCE, "external_id": "never-came"}
    return {"person_id": str(person), "deal": deal, "reason": "missing_deal", "text": "Where is it?", **more}


async def raised(company: Company, person: UUID = ANN, **more: object) -> Json:
    answer = await send(company, "/v1/inquiries", about(person, **more), person, Role.REP)
    assert answer.status_code == 201, answer.text
    found: Json = answer.json()
    return found


async def step(
    company: Company, inquiry: Json, name: str, body: object, person: UUID | None = AUTHOR, role: Role = Role.FINANCE
) -> httpx.Response:
    path = f"/v1/inquiries/{inquiry['id']}/{name}"
    now = (await company.get(f"/v1/inquiries/{inquiry['id']}")).json()
    return await send(company, path, body, person, role, now["version"])


async def test_a_rep_asks_about_its_own_pay_and_nobody_elses(company: Company) -> None:
    mine = await raised(company)
    assert (mine["status"], mine["overdue"], mine["version"]) == ("open", False, 1)
    assert mine["deal"] == {"deal_id": None, "source": SOURCE, "external_id": "never-came"}
    others = await send(company, "/v1/inquiries", about(BEN), ANN, Role.REP)
    assert (others.status_code, others.json()["code"]) == (404, "person_not_found")
    for path in (f"/v1/inquiries/{mine['id']}", f"/v1/inquiries/{mine['id']}/entries"):
        assert (await company.get(path, BEN, Role.REP)).status_code == 404
        assert (await company.get(path, MAX, Role.MANAGER)).status_code == 200
    written = await send(company, f"/v1/inquiries/{mine['id']}/messages", {"text": "Mine"}, BEN, Role.REP)
    assert written.status_code == 404
    assert (await company.get("/v1/inquiries", BEN, Role.REP)).json()["items"] == []
    assert len((await company.get("/v1/inquiries", MAX, Role.MANAGER)).json()["items"]) == 1


async def test_an_inquiry_is_tied_to_a_line_of_an_earning_of_its_person(company: Company) -> None:
    plan_id = await company.plan()
    await company.assign(plan_id, ANN)
    deal_id = str(deal_id_of(CONNECTION, "1"))
    await company.receive([deal_event(company.tenant, won(1, 5000)).model_copy(update={"id": UUID(deal_id)})])
    [earning] = (await company.get("/v1/earnings", person_id=ANN)).json()["items"]
    [line] = (await company.get(f"/v1/earnings/{earning['id']}/explain")).json()["lines"]
    assert line["deal_id"] == deal_id
    body = about(ANN, earning_id=earning["id"], deal={"deal_id": deal_id}, reason="wrong_rate")
    answer = await send(company, "/v1/inquiries", body, ANN, Role.REP)
    assert answer.status_code == 201, answer.text
    explained = await company.get(answer.json()["explanation_url"], ANN, Role.REP)
    assert explained.json()["deal"]["deal_id"] == deal_id
    assert (await company.get("/v1/inquiries", earning_id=earning["id"])).json()["items"] == [answer.json()]

    not_his = await send(company, "/v1/inquiries", {**body, "person_id": str(BEN)}, BEN, Role.REP)
    assert (not_his.status_code, not_his.json()["code"]) == (404, "earning_not_found")
    unknown = await send(company, "/v1/inquiries", about(ANN, deal={"deal_id": str(uuid4())}), ANN, Role.REP)
    assert (unknown.status_code, unknown.json()["errors"][0]["pointer"]) == (422, "/deal/deal_id")
    half = await send(company, "/v1/inquiries", about(ANN, deal={"source": SOURCE}), ANN, Role.REP)
    assert (half.status_code, half.json()["errors"][0]["pointer"]) == (422, "/deal/external_id")
    nothing = await send(company, "/v1/inquiries", about(ANN, deal=None), ANN, Role.REP)
    assert (nothing.status_code, nothing.json()["errors"][0]["pointer"]) == (422, "/earning_id")
    # A deal that came is found by what its CRM calls it, but not by somebody who may not see it.
    named_in_crm = {"source": SOURCE, "external_id": line["external_id"]}
    assert (await raised(company, ANN, deal=named_in_crm))["deal"] == {"deal_id": deal_id, **named_in_crm}
    assert (await raised(company, BEN, deal=named_in_crm))["deal"] == {"deal_id": None, **named_in_crm}


async def test_every_step_is_an_entry_of_the_thread_with_who_and_what(company: Company) -> None:
    inquiry = await raised(company)
    later = (await company.get(f"/v1/inquiries/{inquiry['id']}")).json()
    assert (await step(company, inquiry, "assign", {"assignee_id": str(BEN)})).status_code == 422
    assigned = await step(company, inquiry, "assign", {"assignee_id": str(ANN)})
    assert (assigned.status_code, assigned.json()["errors"][0]["pointer"]) == (422, "/assignee_id")
    await company.found_person(AUTHOR, "Fay")
    assigned = await step(company, inquiry, "assign", {"assignee_id": str(AUTHOR)})
    assert (assigned.status_code, assigned.json()["status"]) == (200, "in_progress")
    stale = await send(
        company,
        f"/v1/inquiries/{inquiry['id']}/resolve",
        {"outcome": "explained", "text": "So"},
        AUTHOR,
        Role.FINANCE,
        int(str(later["version"])),
    )
    assert stale.status_code == 412
    past = await step(company, inquiry, "reschedule", {"due_on": "2020-01-01", "text": "Soon"})
    assert (past.status_code, past.json()["errors"][0]["pointer"]) == (422, "/due_on")
    moved = await step(company, inquiry, "reschedule", {"due_on": "2100-01-01", "text": "Waiting for the contract"})
    assert moved.json()["due_on"] == "2100-01-01"
    message = await send(company, f"/v1/inquiries/{inquiry['id']}/messages", {"text": "Here it is"}, ANN, Role.REP)
    assert message.status_code == 201
    answered = await step(company, inquiry, "resolve", {"outcome": "explained", "text": "It was won in April"})
    assert answered.json()["resolution"] == {
        "outcome": "explained",
        "text": "It was won in April",
        "adjustment_id": None,
    }
    again = await step(company, inquiry, "resolve", {"outcome": "declined", "text": "No"})
    assert (again.status_code, again.json()["code"]) == (409, "inquiry_ended")
    reopened = await step(company, inquiry, "reopen", {"text": "In March, see the contract"}, ANN, Role.REP)
    assert (reopened.json()["status"], reopened.json()["resolution"]) == ("open", None)
    assert (await step(company, inquiry, "reopen", {"text": "Twice"}, ANN, Role.REP)).status_code == 409
    withdrawn = await step(company, inquiry, "withdraw", None, ANN, Role.REP)
    assert withdrawn.json()["status"] == "withdrawn"
    thread = (await company.get(f"/v1/inquiries/{inquiry['id']}/entries", ANN, Role.REP)).json()["items"]
    assert [(each["kind"], each["actor"]["person_id"], each["before"], each["after"]) for each in thread] == [
        ("raised", str(ANN), None, None),
        ("assigned", str(AUTHOR), None, str(AUTHOR)),
        ("rescheduled", str(AUTHOR), inquiry["due_on"], "2100-01-01"),
        ("message", str(ANN), None, None),
        ("resolved", str(AUTHOR), None, "explained"),
        ("reopened", str(ANN), "resolved", "open"),
        ("withdrawn", str(ANN), None, None),
    ]
    assert [each["text"] for each in thread][3:5] == ["Here it is", "It was won in April"]


async def test_nobody_answers_a_question_about_their_own_pay(company: Company) -> None:
    inquiry = await raised(company)
    answer = {"outcome": "declined", "text": "Surely"}
    own = await step(company, inquiry, "resolve", answer, ANN, Role.FINANCE)
    assert (own.status_code, own.json()["code"]) == (403, "own_interest")
    later = await step(company, inquiry, "reschedule", {"due_on": "2100-01-01", "text": "Later"}, ANN, Role.REVOPS)
    assert (later.status_code, later.json()["code"]) == (403, "own_interest")
    for role, person in ((Role.REP, BEN), (Role.MANAGER, MAX), (Role.SERVICE, None)):
        refused = await step(company, inquiry, "resolve", answer, person, role)
        assert (refused.status_code, refused.json()["code"]) == (403, "role_missing")
    not_hers = await step(company, inquiry, "withdraw", None, APPROVER, Role.FINANCE)
    assert (not_hers.status_code, not_hers.json()["code"]) == (403, "not_the_author")
    for role in (Role.ADMIN, Role.REVOPS, Role.FINANCE):
        assert (await step(company, inquiry, "resolve", answer, APPROVER, role)).status_code == 200
        assert (await step(company, inquiry, "reopen", {"text": "No"}, ANN, Role.REP)).status_code == 200


async def test_what_is_adjusted_names_an_adjustment_of_the_same_person(company: Company) -> None:
    plan_id = await company.plan()
    await company.assign(plan_id, ANN)
    await company.assign(plan_id, BEN)
    inquiry = await raised(company)
    made = {}
    for person in (ANN, BEN):
        body = {"person_id": str(person), "plan_id": plan_id, "amount": "25", "reason": "The deal was missing"}
        made[person] = (await send(company, "/v1/adjustments", body, AUTHOR, Role.FINANCE)).json()["id"]
    for adjustment_id in (None, made[BEN], str(uuid4())):
        wrong = {"outcome": "adjusted", "text": "Made up for", "adjustment_id": adjustment_id}
        refused = await step(company, inquiry, "resolve", wrong)
        assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/adjustment_id")
    needless = {"outcome": "declined", "text": "No", "adjustment_id": made[ANN]}
    assert (await step(company, inquiry, "resolve", needless)).status_code == 422
    body = {"outcome": "adjusted", "text": "Made up for", "adjustment_id": made[ANN]}
    resolved = await step(company, inquiry, "resolve", body)
    assert resolved.json()["resolution"]["adjustment_id"] == made[ANN]


async def test_what_is_overdue_is_reported_once_when_its_day_is_over(company: Company) -> None:
    inquiry = await raised(company)
    work = OverdueInquiries(company.database, INQUIRIES)
    await work.round()
    assert not (await published(company, inquiry))[-1]["overdue_since"]

    async def age(tx: Transaction) -> None:
        overdue_on = tx.now.date() - timedelta(days=2)
        await tx.execute(
            text("UPDATE incentives.inquiries SET due_on = :day WHERE id = :id"),
            {"day": overdue_on, "id": inquiry["id"]},
        )

    await company.database.run(Scope.of(company.tenant), age)
    assert (await company.get(f"/v1/inquiries/{inquiry['id']}")).json()["overdue"]
    assert len((await company.get("/v1/inquiries", overdue="true")).json()["items"]) == 1
    await work.round()
    await work.round()
    events = await published(company, inquiry)
    assert [bool(event["overdue_since"]) for event in events] == [False, True]
    assert (await step(company, inquiry, "resolve", {"outcome": "declined", "text": "No"})).status_code == 200
    assert (await company.get("/v1/inquiries", overdue="true")).json()["items"] == []
    assert [event["status"] for event in await published(company, inquiry)] == ["open", "open", "resolved"]


async def test_the_thread_cannot_be_rewritten(company: Company) -> None:
    inquiry = await raised(company)

    async def rewrite(tx: Transaction) -> None:
        await tx.execute(
            text("UPDATE incentives.inquiry_entries SET text = 'x' WHERE inquiry_id = :id"), {"id": inquiry["id"]}
        )

    with pytest.raises(DBAPIError):
        await company.database.run(Scope.of(company.tenant), rewrite)


async def published(company: Company, inquiry: Json) -> list[Json]:
    """The versions of an inquiry that are in the outbox, in their order."""

    async def read(tx: Transaction) -> list[Json]:
        rows = await tx.rows(
            text("SELECT value FROM incentives.outbox WHERE key = :key ORDER BY id"),
            {"key": f"{company.tenant}/inquiry/{inquiry['id']}"},
        )
        return [json.loads(bytes(row["value"])) for row in rows]

    return await company.database.run(Scope.of(company.tenant), read)
