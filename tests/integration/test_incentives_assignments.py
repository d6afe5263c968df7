"""Assignments over HTTP: proposed by one, approved by another, with every step on record; many at once."""

from collections import Counter
from collections.abc import AsyncIterator
from datetime import date
from decimal import Decimal
from uuid import UUID

import asyncpg
import httpx
import pytest

from shared.contracts.org import Calendar, Person
from shared.http.auth import Role
from tests.stories.incentives import named
from tests.stories.pay import VERIFICATION, rebuilder
from tests.stories.pay_api import AGREEING, ANN, APPROVER, AUTHOR, BEN, MAX, Company, running_company, won


@pytest.fixture
async def company(module_database: str) -> AsyncIterator[Company]:
    async with running_company(module_database) as opened:
        yield opened


BY_ATTAINMENT = {
    "shape": "tiers",
    "mode": "marginal",
    "by": "attainment",
    "tiers": [{"from": "0", "rate": "0.05"}, {"from": "1", "rate": "0.1"}],
}


async def proposed(company: Company, plan_id: str, **more: object) -> dict[str, object]:
    body = {"person_id": str(ANN), "plan_id": plan_id, "start": "2026-01-01", **more}
    answer = await company.send("POST", "/v1/assignments?reason=Hired", body)
    assert answer.status_code == 201, answer.text
    made: dict[str, object] = answer.json()
    return made


async def test_a_proposed_assignment_pays_nothing_and_is_seen_by_who_sees_the_tenant(company: Company) -> None:
    plan_id = await company.plan()
    made = await proposed(company, plan_id)
    assert (made["status"], made["change"]) == ("proposed", None)
    await company.deal(won(0, 1000))
    await rebuilder(company.database).rebuild_all()
    assert (await company.get("/v1/earnings")).json()["items"] == []
    path = f"/v1/assignments/{made['id']}"
    for person, role, status in ((ANN, Role.REP, 404), (MAX, Role.MANAGER, 404), (MAX, Role.FINANCE, 200)):
        assert (await company.get(path, person, role)).status_code == status
        items = (await company.get("/v1/assignments", person, role)).json()["items"]
        assert len(items) == (status == 200)
    assert (await company.get(f"/v1/plans/{plan_id}", ANN, Role.REP)).status_code == 404
    pending = (await company.get("/v1/assignments", pending="true")).json()["items"]
    assert [each["id"] for each in pending] == [made["id"]]
    # Terms that are activated meanwhile leave it alone.
    body = {
        "effective_from": "2026-04-01",
        "components": (await company.get(f"/v1/plans/{plan_id}/versions/1")).json()["components"],
    }
    assert (await company.send("POST", f"/v1/plans/{plan_id}/versions", body)).status_code == 201
    for step, version, person in (("approve", "1", APPROVER), ("activate", "2", AUTHOR)):
        at = f"/v1/plans/{plan_id}/versions/2/{step}"
        assert (await company.send("POST", at, person=person, if_match=f'"{version}"')).status_code == 200
    await rebuilder(company.database).rebuild_all()
    assert (await company.get("/v1/earnings")).json()["items"] == []
    answer = await company.send("POST", f"{path}/approve", person=AGREEING, if_match='"1"')
    assert (answer.status_code, answer.json()["status"], answer.json()["version"]) == (200, "approved", 2)
    await rebuilder(company.database).rebuild_all()
    (earning,) = (await company.get("/v1/earnings")).json()["items"]
    assert earning["earned"] == "40.00"
    assert (await company.get(path, ANN, Role.REP)).status_code == 200


async def test_who_may_approve_an_assignment(company: Company) -> None:
    plan_id = await company.plan()
    made = await proposed(company, plan_id)
    path = f"/v1/assignments/{made['id']}"
    refused = [
        await company.send("POST", f"{path}/approve", person=AUTHOR, if_match='"1"'),
        await company.send("POST", f"{path}/approve", person=ANN, if_match='"1"'),
        await company.http.post(f"{path}/approve", headers=company.headers(None, Role.SERVICE, **{"if-match": '"1"'})),
    ]
    for answer in refused:
        assert (answer.status_code, answer.json()["code"]) == (403, "approval_not_independent"), answer.text
    for role in (Role.REP, Role.MANAGER, Role.FINANCE):
        headers = company.headers(AGREEING, role, **{"if-match": '"1"'})
        assert (await company.http.post(f"{path}/approve", headers=headers)).status_code == 403
        assert (await company.http.post(f"{path}/withdraw", headers=headers)).status_code == 403
        assert (await company.http.post("/v1/assignments/bulk", json={}, headers=headers)).status_code == 403
        history = await company.http.get(f"{path}/history", headers=headers)
        assert history.status_code == (200 if role is Role.FINANCE else 403)
    edited = await company.send("PATCH", path, {"end": "2026-07-01"}, person=AGREEING, if_match='"1"')
    assert (edited.status_code, edited.json()["status"], edited.json()["end"]) == (200, "proposed", "2026-07-01")
    both = await company.send("POST", f"{path}/approve", person=AGREEING, if_match='"2"')
    assert both.json()["code"] == "approval_not_independent"
    assert (await company.send("POST", f"{path}/approve", person=MAX, if_match='"1"')).status_code == 412
    assert (await company.send("POST", f"{path}/approve", person=MAX, if_match='"2"')).status_code == 200
    again = await company.send("POST", f"{path}/approve", person=MAX, if_match='"3"')
    assert (again.status_code, again.json()["code"]) == (409, "assignment_not_proposed")


async def test_a_change_waits_beside_the_terms_in_force_and_every_step_is_on_record(
    company: Company, module_database: str
) -> None:
    plan_id = await company.plan(rate=BY_ATTAINMENT)
    made = (await company.assign(plan_id, ANN, quotas={"bookings": {"amount": "100000"}})).json()
    await company.deal(won(0, 150_000))
    path = f"/v1/assignments/{made['id']}"
    changed = await company.send(
        "PATCH", f"{path}?reason=Promoted", {"quotas": {"bookings": {"amount": "200000"}}}, if_match='"2"'
    )
    assert changed.json()["quotas"]["bookings"]["amount"] == "100000"
    assert changed.json()["change"]["quotas"]["bookings"]["amount"] == "200000"
    assert (await company.get(path, ANN, Role.REP)).json()["change"] is None
    await rebuilder(company.database).rebuild_all()
    (earning,) = (await company.get("/v1/earnings")).json()["items"]
    assert earning["earned"] == "10000.00"
    withdrawn = await company.send("POST", f"{path}/withdraw", if_match='"3"')
    assert (withdrawn.status_code, withdrawn.json()["change"]) == (200, None)
    nothing = await company.send("POST", f"{path}/withdraw", if_match='"4"')
    assert nothing.json()["code"] == "assignment_not_proposed"
    again = await company.send("PATCH", path, {"quotas": {"bookings": {"amount": "150000"}}}, if_match='"4"')
    await company.approved(again)
    (earning,) = (await company.get("/v1/earnings")).json()["items"]
    assert (earning["earned"], earning["quota"]) == ("7500.00", "150000")
    history = (await company.get(f"{path}/history", MAX, Role.FINANCE)).json()["items"]
    assert [(each["version"], each["kind"], each["person_id"], each["reason"]) for each in history] == [
        (1, "proposed", str(AUTHOR), None),
        (2, "approved", str(AGREEING), None),
        (3, "proposed", str(AUTHOR), "Promoted"),
        (4, "withdrawn", str(AUTHOR), None),
        (5, "proposed", str(AUTHOR), None),
        (6, "approved", str(AGREEING), None),
    ]
    assert history[5]["changes"] == [{"pointer": "/quotas/bookings/amount", "before": "100000", "after": "150000"}]
    (posted,) = [
        each
        for each in (await company.get("/v1/ledger", earning_id=earning["id"])).json()["items"]
        if each["cause"]["changes"] == [f"assignment/{made['id']} v6"]
    ]
    assert Decimal(posted["entries"][0]["amount"]) == -2500
    connection = await asyncpg.connect(module_database.replace("+asyncpg", ""))
    try:
        with pytest.raises(asyncpg.PostgresError, match="append-only"):
            await connection.execute("UPDATE incentives.assignment_changes SET reason = 'another'")
    finally:
        await connection.close()


async def test_an_assignment_that_was_never_approved_is_gone_when_it_is_taken_back(company: Company) -> None:
    plan_id = await company.plan()
    made = await proposed(company, plan_id)
    path = f"/v1/assignments/{made['id']}"
    withdrawn = await company.send("POST", f"{path}/withdraw", if_match='"1"')
    assert withdrawn.json()["code"] == "assignment_not_proposed"
    overlapping = await company.send(
        "POST", "/v1/assignments", {"person_id": str(ANN), "plan_id": plan_id, "start": "2026-05-01"}
    )
    assert overlapping.json()["code"] == "assignment_overlaps"
    assert (await company.send("DELETE", path, if_match='"1"')).status_code == 204
    assert (await company.get(path)).status_code == 404
    assert (await company.send("POST", f"{path}/approve", person=AGREEING, if_match='"2"')).status_code == 404
    assert (await proposed(company, plan_id, start="2026-05-01"))["status"] == "proposed"


async def test_a_thousand_people_are_assigned_and_approved_at_once_or_nobody_is(company: Company) -> None:
    plan_id = await company.plan()
    people = [named("crowd", number) for number in range(1000)]
    bodies = [{"person_id": str(person), "plan_id": plan_id, "start": "2026-01-01"} for person in people]
    refused = await company.send(
        "POST", "/v1/assignments/bulk", {"create": [*bodies[:2], bodies[0], {**bodies[3], "plan_id": str(ANN)}]}
    )
    assert (refused.status_code, refused.json()["code"]) == (422, "items_refused")
    assert [error["pointer"] for error in refused.json()["errors"]] == ["/create/2", "/create/3"]
    made = (await company.send("POST", "/v1/assignments/bulk", {"create": bodies})).json()["created"]
    assert len(made) == 1000
    items = [{"id": each["id"], "version": each["version"]} for each in made]
    own = await company.send("POST", "/v1/assignments/bulk", {"approve": items}, person=AUTHOR)
    assert own.json()["code"] == "items_refused"
    answer = await company.send("POST", "/v1/assignments/bulk", {"approve": items}, person=AGREEING)
    assert {each["status"] for each in answer.json()["changed"]} == {"approved"}
    changed = await company.send(
        "POST",
        "/v1/assignments/bulk?reason=Year+end",
        {
            "change": [{**items[0], "version": 2, "end": "2027-01-01"}],
            "delete": [{**items[1], "version": 2}, {**items[2], "version": 1}],
        },
    )
    assert [error["pointer"] for error in changed.json()["errors"]] == ["/delete/1"]
    changed = await company.send(
        "POST",
        "/v1/assignments/bulk?reason=Year+end",
        {
            "change": [{**items[0], "version": 2, "end": "2027-01-01"}],
            "delete": [{**items[1], "version": 2}],
        },
    )
    assert [each["change"]["deleted"] for each in changed.json()["changed"]] == [True, False]


async def test_what_is_wrong_with_an_assignment_s_terms_is_told_at_its_place(company: Company) -> None:
    plan_id = await company.plan()
    body = {"person_id": str(BEN), "plan_id": plan_id, "start": "2026-01-01"}
    change = {"from": "2026-04-01", "amount": "5"}
    for terms, pointer in (
        ({"ramp": [{"from": "2026-02-01", "share": "0.5"}, {"from": "2026-01-01", "share": "1"}]}, "/ramp/1/from"),
        ({"ramp": [{"from": "2026-02-01", "share": "1.5"}]}, "/ramp/0/share"),
        ({"leave": [{"start": "2026-02-01", "end": "2026-02-01"}]}, "/leave/0/end"),
        (
            {"leave": [{"start": "2026-02-01", "end": "2026-03-01"}, {"start": "2026-02-20", "end": "2026-04-01"}]},
            "/leave/1/start",
        ),
        ({"quotas": {"bookings": {"amount": "1", "changes": [change, change]}}}, "/quotas/bookings/changes/1/from"),
        (
            {"quotas": {"bookings": {"amount": "1", "changes": [{"from": "2026-04-01"}]}}},
            "/quotas/bookings/changes/0",
        ),
        ({"quotas": {"other": {"amount": "1"}}}, "/quotas/other"),
        ({"target_variable": {"amount": "-1", "per": "year"}}, "/target_variable/amount"),
    ):
        answer = await company.send("POST", "/v1/assignments", {**body, **terms})
        assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, pointer), answer.text


async def test_quota_and_explanation_follow_ramp_leave_and_a_start_within_the_period(company: Company) -> None:
    plan_id = await company.plan(rate=BY_ATTAINMENT)
    await company.assign(
        plan_id,
        ANN,
        start="2026-02-01",
        quotas={"bookings": {"amount": "90000", "changes": [{"from": "2026-04-01", "amount": "180000"}]}},
        prorated=True,
        ramp=[{"from": "2026-02-01", "share": "0.5"}, {"from": "2026-04-01", "share": "1"}],
        target_variable={"amount": "40000", "per": "year"},
    )
    await company.deal(won(0, 50_000), won(1, 50_000, day=date(2026, 4, 2)))
    first, second = (await company.get("/v1/earnings")).json()["items"]
    # No calendar has arrived: 59 of 90 calendar days.
    assert (first["quota"], first["earned"]) == ("29500", "3525.00")
    assert (second["quota"], second["earned"]) == ("180000", "2500.00")
    explained = (await company.get(f"/v1/earnings/{first['id']}/explain")).json()
    assert explained["quota"] == {
        "value": "29500",
        "counted": "calendar_days",
        "days": 90,
        "stretches": [
            {"start": "2026-01-01", "end": "2026-02-01", "amount": "90000", "share": "1", "active_days": 0},
            {"start": "2026-02-01", "end": "2026-04-01", "amount": "90000", "share": "0.5", "active_days": 59},
        ],
    }
    assert (explained["target_variable"]["value"], explained["target_variable"]["days"]) == ("6555.555556", 90)
    # The first quarter of 2026 has 64 days from Monday to Friday, of which January has 22, and the fifth is off.
    calendar = Calendar(
        tenant_id=company.tenant,
        version=1,
        start_month=1,
        time_zone="UTC",
        currency="USD",
        days_off=(date(2026, 1, 5), date(2026, 2, 2)),
    )
    await company.publish([calendar])
    explained = (await company.get(f"/v1/earnings/{first['id']}/explain")).json()["quota"]
    assert (explained["counted"], explained["days"], explained["stretches"][1]["active_days"]) == (
        "working_days",
        62,
        41,
    )
    (again, _) = (await company.get("/v1/earnings")).json()["items"]
    assert again["quota"] == explained["value"] == "29758.064516"


async def test_a_quota_from_the_middle_of_a_quarter_cuts_what_was_paid_and_gives_it_back_when_withdrawn(
    company: Company, module_database: str
) -> None:
    plan_id = await company.plan(rate=BY_ATTAINMENT)
    made = (await company.assign(plan_id, ANN, quotas={"bookings": {"amount": "1000"}})).json()
    await company.deal(won(0, 1200, day=date(2026, 2, 14)), won(1, 1000, day=date(2026, 2, 15)))
    (whole,) = (await company.get("/v1/earnings")).json()["items"]
    assert (whole["earned"], whole["quota"]) == ("170.00", "1000")
    path = f"/v1/assignments/{made['id']}"
    later = {"bookings": {"amount": "1000", "changes": [{"from": "2026-02-15", "amount": "2000"}]}}
    await company.approved(await company.send("PATCH", path, {"quotas": later}, if_match='"2"'))
    first, second = (await company.get("/v1/earnings")).json()["items"]
    # 45 days at 1,000 and 45 at 2,000: from the day on the quota is 1,500, and of 2,200 the last 700 are above it.
    assert [(each["start"], each["end"], each["quota"], each["earned"]) for each in (first, second)] == [
        ("2026-01-01", "2026-02-15", "1000", "70.00"),
        ("2026-02-15", "2026-04-01", "1500", "85.00"),
    ]
    assert first["id"] == whole["id"]
    explained = (await company.get(f"/v1/earnings/{second['id']}/explain")).json()
    assert [(each["amount"], each["active_days"]) for each in explained["quota"]["stretches"]] == [
        ("1000", 45),
        ("2000", 45),
    ]
    assert (explained["before"], [line["amount"] for line in explained["lines"]]) == ("1200", ["85.00"])
    statement = (await company.get("/v1/statements", person_id=ANN, start="2026-01-01", end="2026-04-01")).json()
    assert len(statement["earnings"]) == 2
    posted = [
        (each["period"]["start"], each["period"]["end"], each["entries"][0]["amount"])
        for each in (await company.get("/v1/ledger")).json()["items"]
        if each["cause"]["changes"] == [f"assignment/{made['id']} v4"]
    ]
    assert sorted(posted) == [
        ("2026-01-01", "2026-02-15", "70.00"),
        ("2026-01-01", "2026-04-01", "-170.00"),
        ("2026-02-15", "2026-04-01", "85.00"),
    ]
    # A deal that arrives then settles its own part, and what it leaves to the part after it.
    await company.deal(won(2, 100, day=date(2026, 1, 20)))
    first, second = (await company.get("/v1/earnings")).json()["items"]
    assert (first["earned"], second["earned"]) == ("80.00", "90.00")
    assert await differences(company) == []
    await company.approved(
        await company.send("PATCH", path, {"quotas": {"bookings": {"amount": "1000"}}}, if_match='"4"')
    )
    again = {each["id"]: each["earned"] for each in (await company.get("/v1/earnings")).json()["items"]}
    assert again == {whole["id"]: "180.00", second["id"]: "0.00"}
    assert await differences(company) == []


async def differences(company: Company) -> list[object]:
    return [found async for found in VERIFICATION.of_tenant(company.database, company.tenant, Counter())]


async def imported(company: Company, path: str, table: str, person: UUID = AUTHOR) -> httpx.Response:
    headers = company.headers(person, Role.ADMIN, **{"content-type": "text/csv"})
    return await company.http.post(f"/v1/assignments/{path}", content=table.encode(), headers=headers)


async def test_assignments_and_quotas_come_in_as_tables_whole_or_not_at_all(company: Company) -> None:
    plan_id = await company.plan(rate=BY_ATTAINMENT)
    head = "person_id,plan_id,start,component,quota,target_variable,prorated"
    refused = await imported(
        company,
        "import",
        f"{head}\n{ANN},{plan_id},2026-01-01,bookings,1000,,\n{BEN},{plan_id},2026-01-01,other,1000,,\n"
        f"{MAX},{plan_id},2026-01-01,bookings,,,\n",
    )
    assert (refused.status_code, refused.json()["code"]) == (422, "items_refused")
    assert [error["pointer"] for error in refused.json()["errors"]] == ["/line/4/quota", "/line/3/quotas/other"]
    unread = await imported(company, "import", f"{head}\n{ANN},{plan_id},2026-13-01,bookings,1000,,\n")
    assert (unread.json()["code"], unread.json()["errors"][0]["pointer"]) == (
        "invalid_assignments_file",
        "/line/2/start",
    )
    answer = await imported(
        company,
        "import",
        f"{head}\n{ANN},{plan_id},2026-01-01,bookings,1000,40000,true\n{BEN},{plan_id},2026-01-01,bookings,500,,\n",
    )
    made = {each["person_id"]: each for each in answer.json()["created"]}
    assert (made[str(ANN)]["target_variable"]["amount"], made[str(ANN)]["prorated"]) == ("40000", True)
    items = [{"id": each["id"], "version": each["version"]} for each in made.values()]
    assert (await company.send("POST", "/v1/assignments/bulk", {"approve": items}, person=AGREEING)).is_success
    ann, ben = (made[str(person)]["id"] for person in (ANN, BEN))
    head = "assignment_id,component,from,quota"
    for person in (ANN, AUTHOR):
        raised = await imported(
            company, "quotas/import", f"{head}\n{ann},bookings,2026-04-01,2000\n{ben},bookings,,600\n", person
        )
        assert raised.is_success is (person == AUTHOR), raised.text
    changes = {each["id"]: each["change"]["quotas"]["bookings"] for each in raised.json()["changed"]}
    assert changes[ann]["amount"] == "1000"
    assert changes[ann]["changes"] == [{"from": "2026-04-01", "amount": "2000", "goal_ids": []}]
    assert changes[ben]["amount"] == "600"
    within = await imported(company, "quotas/import", f"{head}\n{ann},bookings,2026-05-01,3000\n")
    (changed,) = within.json()["changed"]
    assert [each["from"] for each in changed["change"]["quotas"]["bookings"]["changes"]] == ["2026-04-01", "2026-05-01"]
    headers = company.headers(BEN, Role.MANAGER, **{"content-type": "text/csv"})
    for path in ("import", "quotas/import"):
        assert (await company.http.post(f"/v1/assignments/{path}", content=b"", headers=headers)).status_code == 403


async def test_an_open_assignment_of_a_person_who_is_not_active_is_warned_of(company: Company) -> None:
    plan_id = await company.plan()
    made = (await company.assign(plan_id, ANN)).json()
    assert made["warnings"] == []
    await company.publish(
        [Person(tenant_id=company.tenant, id=ANN, version=2, name="Ann", email=None, active=False)], version=2
    )
    path = f"/v1/assignments/{made['id']}"
    assert [each["pointer"] for each in (await company.get(path)).json()["warnings"]] == ["/end"]
    ended = await company.approved(await company.send("PATCH", path, {"end": "2026-03-01"}, if_match='"2"'))
    assert ended.json()["warnings"] == []
