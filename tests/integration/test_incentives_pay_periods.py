"""Months are closed over HTTP on real Postgres: who moves them, what is posted after them, and that nothing changes."""

from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import date
from decimal import Decimal
from uuid import UUID, uuid5

import httpx
import pytest
from sqlalchemy import text

from services.incentives.ledger import service as ledger
from shared.contracts.base import Event
from shared.contracts.org import Calendar, CalendarState
from shared.db.database import Scope, Transaction
from shared.db.projection import Snapshot
from shared.http.auth import Role
from shared.kernel.periods import Period
from tests.integration.test_incentives_ledger import (
    COMMISSION,
    post_as_the_release_before,
    superuser_around_the_triggers,
)
from tests.stories.incentives import named
from tests.stories.pay import EARNINGS, VERIFICATION, rebuilder
from tests.stories.pay_api import ANN, APPROVER, AUTHOR, BEN, MAX, Company, component, running_company, won

MARCH, APRIL = date(2026, 3, 1), date(2026, 4, 1)


@pytest.fixture
async def company(module_database: str) -> AsyncIterator[Company]:
    async with running_company(module_database) as running:
        yield running


async def move(
    company: Company,
    start: date,
    state: str,
    version: int,
    person: UUID | None = AUTHOR,
    role: Role = Role.FINANCE,
) -> httpx.Response:
    body = {"state": state, "reason": f"It is time for {state}"}
    headers = company.headers(person, role, **{"if-match": f'"{version}"'})
    return await company.http.post(f"{path_of(company, start)}/move", json=body, headers=headers)


def path_of(company: Company, start: date) -> str:
    """Of the pay period that starts on a day."""
    return f"/v1/pay-periods/{uuid5(company.tenant, f'pay-period/{start}')}"


async def cut_off(company: Company, start: date) -> dict[str, object]:
    """Approve the pay period."""
    for version, (state, person) in enumerate([("calculating", AUTHOR), ("in_review", AUTHOR), ("approved", APPROVER)]):
        answer = await move(company, start, state, version, person)
        assert answer.status_code == 200, answer.text
    approved: dict[str, object] = answer.json()
    return approved


async def pay(company: Company, start: date) -> None:
    """A payout run for the pay period, from its calculation to its payment."""
    body = {"pay_period_id": path_of(company, start).rpartition("/")[2]}
    headers = company.headers(AUTHOR, Role.FINANCE)
    run = (await company.http.post("/v1/payout-runs", json=body, headers=headers)).json()
    for version, step in enumerate(("approve", "export", "paid"), start=1):
        headers = company.headers(APPROVER, Role.FINANCE, **{"if-match": f'"{version}"'})
        answer = await company.http.post(f"/v1/payout-runs/{run['id']}/{step}", json={"reason": step}, headers=headers)
        assert answer.status_code == 200, answer.text


async def sums(company: Company) -> dict[tuple[str, str], Decimal]:
    """What was earned by anybody, by first day of the origin and of the pay period."""
    found: dict[tuple[str, str], Decimal] = {}
    for each in (await company.get("/v1/ledger")).json()["items"]:
        if each["kind"] != "earned":
            continue
        key = each["period"]["start"], each["posted_in"]["start"]
        found[key] = found.get(key, Decimal(0)) + Decimal(each["entries"][0]["amount"])
    return found


async def differences(company: Company) -> list[str]:
    return [str(each) async for each in VERIFICATION.of_tenant(company.database, company.tenant, Counter())]


async def publish(company: Company, event: Event, version: int) -> None:
    snapshot = Snapshot(company.tenant, event.subject, event.event_type, version, event.model_dump_json())

    async def apply(tx: Transaction) -> None:
        await EARNINGS.apply_definitions(tx, [company.tenant], [snapshot])

    await company.database.run(Scope.of(company.tenant), apply)
    await rebuilder(company.database).rebuild_all()


async def paying_ann(company: Company) -> str:
    plan_id = await company.plan()
    assert (await company.assign(plan_id, ANN)).status_code == 200
    await company.deal(won(1, 100_000))
    return plan_id


async def test_a_month_goes_through_its_states_and_what_changes_later_is_posted_in_the_next(company: Company) -> None:
    await paying_ann(company)
    before = await company.get(path_of(company, MARCH))
    assert (before.json()["state"], before.json()["version"], before.headers["etag"][:3]) == ("open", 0, '"0.')
    assert (await move(company, MARCH, "calculating", 0)).json()["state"] == "calculating"
    assert (await move(company, MARCH, "in_review", 7)).status_code == 412
    assert (await move(company, MARCH, "in_review", 1)).json()["next_states"] == ["calculating", "open", "approved"]
    for person in (AUTHOR, ANN, None):
        refused = await move(company, MARCH, "approved", 2, person, Role.SERVICE if person is None else Role.ADMIN)
        assert refused.status_code == 403, refused.text
    approved = await move(company, MARCH, "approved", 2, APPROVER)
    paid = [{"amount": "4000.00", "currency": "USD"}]
    assert (approved.json()["as_paid"], approved.json()["cut_off_sequence"]) == (paid, 1)
    await company.deal(won(2, 10_000), won(3, 100_000, day=date(2026, 5, 5)))
    for person, role in ((APPROVER, Role.FINANCE), (APPROVER, Role.ADMIN), (None, Role.SERVICE)):
        alone = await move(company, MARCH, "exported", 3, person, role)
        assert (alone.status_code, alone.json()["code"]) == (409, "pay_period_cannot_move")
        assert "when a payout run that pays for it is exported, and in no other way" in alone.json()["detail"]
    await pay(company, MARCH)
    assert (await move(company, MARCH, "closed", 5, APPROVER)).json()["state"] == "closed"
    await company.deal(won(1, 50_000, version=2))
    assert await sums(company) == {
        ("2026-01-01", "2026-03-01"): Decimal(4000),
        ("2026-01-01", "2026-04-01"): Decimal(-1600),
        ("2026-04-01", "2026-06-01"): Decimal(4000),
    }
    assert (await company.get(path_of(company, MARCH))).json()["as_paid"] == paid
    late = await company.get("/v1/ledger", posted_in="2026-04-30", origin="2026-03-31")
    found = [(each["entries"][0]["amount"], each["cause"]["kind"]) for each in late.json()["items"]]
    assert found == [("400.00", "deal"), ("4000.00", "payout_run"), ("-2000.00", "deal")]
    corrections = (await company.get(f"{path_of(company, MARCH)}/corrections")).json()["items"]
    assert [each["transaction"]["kind"] for each in corrections] == ["earned", "earned"], "a run corrects nothing"
    history = (await company.get(f"{path_of(company, MARCH)}/history")).json()["items"]
    assert [(each["before"], each["after"]) for each in history][-2:] == [("exported", "paid"), ("paid", "closed")]
    assert history[2]["actor"] == {"kind": "person", "person_id": str(APPROVER)}
    assert history[2]["reason"] == "It is time for approved"
    back = await move(company, MARCH, "open", 6)
    assert (back.status_code, back.json()["code"]) == (409, "pay_period_cannot_move")
    listed = (await company.get("/v1/pay-periods", limit="2")).json()["items"]
    assert [(each["start"], each["state"]) for each in listed] == [("2026-03-01", "closed"), ("2026-04-01", "open")]
    assert await differences(company) == []
    async with company.database.transaction(Scope.of(company.tenant)) as tx:
        rows = await tx.rows(
            text("SELECT value FROM incentives.outbox WHERE key LIKE :key ORDER BY id"),
            {"key": f"{company.tenant}/pay-period/2026-03-01"},
        )
    assert [b'"state":"closed"' in row["value"] for row in rows] == [False] * 5 + [True]


async def test_no_version_quota_or_calendar_changes_what_a_closed_month_paid(company: Company) -> None:
    plan_id = await paying_ann(company)
    await cut_off(company, MARCH)
    # Other terms for the year: the first quarter is worked out anew, and the difference is due in April.
    body = {"effective_from": "2026-01-01", "components": [component(allocation_percent="50")]}
    assert (await company.send("POST", f"/v1/plans/{plan_id}/versions", body)).status_code == 201
    path = f"/v1/plans/{plan_id}/versions/2"
    preview = f"/v1/plans/{plan_id}/versions/2/preview"
    shown = await company.get(preview)
    assert shown.status_code == 200, shown.text
    (person,) = shown.json()["items"]
    (effect,) = person["earnings"]
    assert (person["person_name"], effect["difference"], effect["due_state"]) == ("Ann", "-2000.00", "approved")
    assert (effect["due"]["start"], effect["posted_in"]["start"]) == ("2026-03-01", "2026-04-01")
    assert (await company.get(preview, ANN, Role.REP)).status_code == 403
    assert len(await sums(company)) == 1
    for step, version, person in (("approve", "1", APPROVER), ("activate", "2", AUTHOR)):
        answer = await company.send("POST", f"{path}/{step}", person=person, if_match=f'"{version}"')
        assert answer.status_code == 200, answer.text
    await rebuilder(company.database).rebuild_all()
    assert await sums(company) == {
        ("2026-01-01", "2026-03-01"): Decimal(4000),
        ("2026-01-01", "2026-04-01"): Decimal(-2000),
    }
    assert (await company.get(preview)).json()["items"] == []
    # Years from February: what was the first quarter is January, and a quarter from February to April.
    states = tuple(
        CalendarState(start=start, start_month=month, time_zone="UTC", currency="USD")
        for start, month in ((None, 1), (date(2026, 2, 1), 2))
    )
    calendar = Calendar(
        tenant_id=company.tenant, version=1, start_month=2, time_zone="UTC", currency="USD", history=states
    )
    await publish(company, calendar, 1)
    assert await sums(company) == {
        ("2026-01-01", "2026-03-01"): Decimal(4000),
        ("2026-01-01", "2026-04-01"): Decimal(-4000),
        ("2026-02-01", "2026-04-01"): Decimal(2000),
    }
    found = (await company.get("/v1/ledger")).json()["items"]
    assert sorted(each["period"]["end"] for each in found[2:]) == ["2026-04-01", "2026-05-01"]
    assert [each["cause"]["changes"] for each in found[1:]] == [
        [f"plan/{plan_id} v2"],
        ["calendar v1"],
        ["calendar v1"],
    ]
    march = (await company.get(path_of(company, MARCH))).json()
    assert (march["end"], march["as_paid"]) == ("2026-04-01", [{"amount": "4000.00", "currency": "USD"}])
    assert await differences(company) == []


async def test_a_month_of_an_earlier_year_is_closed_where_something_was_posted_in_it(company: Company) -> None:
    before = (await company.get("/v1/pay-periods")).json()["items"]
    assert before[0]["start"] > "2025-12-31", "the fiscal year's own"
    november = Period(date(2024, 11, 1), date(2024, 12, 1))
    async with company.database.transaction(Scope.of(company.tenant)) as tx:
        await ledger.post(tx, company.tenant, [replace(COMMISSION, period=november, posted_in=november)])
    listed = (await company.get("/v1/pay-periods", limit="2")).json()["items"]
    assert [each["start"] for each in listed] == ["2024-11-01", "2024-12-01"]
    assert (await move(company, date(2024, 11, 1), "calculating", 0)).status_code == 200
    assert (await move(company, date(2024, 10, 1), "calculating", 0)).status_code == 404


async def test_each_role_moves_what_it_may_and_everybody_sees_how_far_a_month_is(company: Company) -> None:
    await paying_ann(company)
    for role in (Role.REP, Role.MANAGER):
        refused = await move(company, MARCH, "calculating", 0, MAX, role)
        assert (refused.status_code, refused.json()["code"]) == (403, "role_missing")
    assert (await move(company, MARCH, "calculating", 0, None, Role.SERVICE)).status_code == 200
    assert (await move(company, MARCH, "in_review", 1, AUTHOR, Role.REVOPS)).status_code == 200
    for role in (Role.REVOPS, Role.SERVICE):
        refused = await move(company, MARCH, "approved", 2, APPROVER if role is Role.REVOPS else None, role)
        assert (refused.status_code, refused.json()["code"]) == (403, "mover_not_allowed")
    assert (await move(company, MARCH, "approved", 2, APPROVER, Role.ADMIN)).status_code == 200
    for person, role, paid in ((ANN, Role.REP, False), (MAX, Role.MANAGER, False), (AUTHOR, Role.REVOPS, True)):
        seen = await company.get(path_of(company, MARCH), person, role)
        assert (seen.json()["state"], seen.json()["as_paid"] is not None) == ("approved", paid)
        history = await company.get(f"{path_of(company, MARCH)}/history", person, role)
        assert history.status_code == (200 if paid else 403)
    (found,) = (await company.get("/v1/pay-periods", containing="2026-03-31")).json()["items"]
    assert found["id"] in path_of(company, MARCH)
    unknown = await company.get(path_of(company, date(2026, 3, 2)))
    assert (unknown.status_code, unknown.json()["code"]) == (404, "pay_period_not_found")
    assert (await move(company, APRIL, "shut", 0)).status_code == 422


async def test_a_month_waits_for_the_one_before_it_and_may_be_opened_again_until_it_is_approved(
    company: Company,
) -> None:
    await move(company, MARCH, "calculating", 0)
    early = await move(company, APRIL, "calculating", 0)
    assert (early.status_code, early.json()["code"]) == (409, "pay_period_out_of_turn")
    for version, state in enumerate(("in_review", "calculating", "open", "calculating", "in_review"), start=1):
        assert (await move(company, MARCH, state, version)).status_code == 200
    assert (await move(company, MARCH, "approved", 6, APPROVER)).json()["as_paid"] == []
    assert (await move(company, APRIL, "calculating", 0)).status_code == 200


async def test_the_database_refuses_postings_in_a_month_that_was_cut_off_and_any_change_of_it(company: Company) -> None:
    await paying_ann(company)
    await cut_off(company, MARCH)
    tenant = company.tenant
    ids = {"tenant": tenant}
    of_march = "WHERE tenant_id = :tenant AND state = 'approved'"
    for statement, refusal in (
        (f"UPDATE incentives.pay_periods SET as_paid = '{{}}' {of_march}", "stays as it was paid"),
        (f"UPDATE incentives.pay_periods SET \"end\" = '2026-05-01' {of_march}", "stays as it was paid"),
        (f"UPDATE incentives.pay_periods SET state = 'in_review' {of_march}", "stays as it was paid"),
        (f"DELETE FROM incentives.pay_periods {of_march}", "permission denied|append-only"),
        ("UPDATE incentives.pay_period_changes SET reason = 'x'", "permission denied|append-only"),
        ("UPDATE incentives.ledger_heads SET open_start = '2026-03-01' WHERE tenant_id = :tenant", "not opened again"),
        ("UPDATE incentives.ledger_heads SET open_start = NULL WHERE tenant_id = :tenant", "not opened again"),
        (
            "INSERT INTO incentives.ledger_transactions (tenant_id, sequence, posted_at, kind, subject_kind, cell_id,"
            " person_id, period_start, period_end, posted_in_start, posted_in_end, cause, changes, hash)"
            " SELECT tenant_id, 2, posted_at, kind, subject_kind, cell_id, person_id, period_start, period_end,"
            " posted_in_start, posted_in_end, cause, changes, hash FROM incentives.ledger_transactions"
            " WHERE tenant_id = :tenant",
            "takes no postings",
        ),
    ):
        with pytest.raises(Exception, match=refusal):
            async with company.database.transaction(Scope.of(tenant)) as tx:
                await tx.execute(text(statement), ids if ":tenant" in statement else {})
    with pytest.raises(Exception, match="takes no postings"):
        async with company.database.transaction(Scope.of(tenant)) as tx:
            await post_as_the_release_before(tx, tenant)
    with pytest.raises(ValueError, match="before 2026-04-01 take no postings already"):
        async with company.database.transaction(Scope.of(tenant)) as tx:
            opens = await ledger.opens(tx, tenant)
            assert opens is not None
            await ledger.cut_off(tx, tenant, opens)
    assert await differences(company) == []


async def test_what_somebody_posts_around_the_triggers_in_a_closed_month_shows(
    company: Company, module_database: str
) -> None:
    await paying_ann(company)
    await cut_off(company, MARCH)
    await company.deal(won(2, 10_000))
    from_april = "tenant_id = $1 AND sequence = 2"
    async with superuser_around_the_triggers(module_database) as superuser:
        await superuser.execute(
            "UPDATE incentives.ledger_transactions SET posted_in_start = '2026-03-01', posted_in_end = '2026-04-01'"
            f" WHERE {from_april}",
            company.tenant,
        )
    found = await differences(company)
    assert any("pay period from 2026-03-01" in each and "4000" in each and "4400" in each for each in found), found
    assert any("posted after its cut-off" in each for each in found), found


async def test_as_paid_stands_beside_as_recalculated_and_corrections_name_whose_doing_they_are(
    company: Company,
) -> None:
    plan_id = await paying_ann(company)
    assert (await company.assign(plan_id, BEN)).status_code == 200
    await company.deal(won(8, 1_000, owner=1))
    await cut_off(company, MARCH)
    await company.deal(won(1, 50_000, version=2))
    body = {"effective_from": "2026-01-01", "components": [component(allocation_percent="50")]}
    await company.send("POST", f"/v1/plans/{plan_id}/versions", body)
    for step, version, person in (("approve", "1", APPROVER), ("activate", "2", AUTHOR)):
        await company.send("POST", f"/v1/plans/{plan_id}/versions/2/{step}", person=person, if_match=f'"{version}"')
    await rebuilder(company.database).rebuild_all()
    path = path_of(company, MARCH)
    ann, ben = sorted((await company.get(f"{path}/comparison")).json()["items"], key=lambda each: each["as_paid"])[::-1]
    assert (ann["person_id"], ann["person_name"], ben["as_paid"]) == (str(ANN), "Ann", "40.00")
    assert (ann["as_paid"], ann["as_recalculated"], ann["difference"]) == ("4000.00", "1000.00", "-3000.00")
    (line,) = ann["due"]
    april = {"start": "2026-04-01", "end": "2026-05-01"}
    assert (line["component"], line["later"]) == ("bookings", [{"posted_in": april, "amount": "-3000.00"}])
    found = (await company.get(f"{path}/corrections", person_id=ANN)).json()["items"]
    assert [each["kinds"] for each in found] == [["deal"], ["plan_version"]]
    assert found[0]["transaction"]["cause"]["deal_id"] == str(named("deal", 1))
    acts = {each["act"]: each["actor"]["person_id"] for each in found[1]["doings"]}
    assert acts == {"drafted": str(AUTHOR), "approved": str(APPROVER), "activated": str(AUTHOR)}
    # What April will pay for the first quarter is not its own.
    later = (await company.get(f"{path_of(company, APRIL)}/comparison", person_id=ANN)).json()["items"]
    assert (later[0]["as_paid"], later[0]["paid_for_earlier"], later[0]["due"]) == ("-3000.00", "-3000.00", [])
    first = await company.get(f"{path}/comparison", limit="1")
    rest = await company.get(f"{path}/comparison", limit="1", cursor=first.json()["next_cursor"])
    assert {each.json()["items"][0]["person_id"] for each in (first, rest)} == {str(ANN), str(BEN)}
    for person, role, seen in (
        (ANN, Role.REP, {ANN}),
        (MAX, Role.MANAGER, {ANN, BEN}),
        (AUTHOR, Role.FINANCE, {ANN, BEN}),
    ):
        compared = await company.get(f"{path}/comparison", person, role)
        assert {each["person_id"] for each in compared.json()["items"]} == set(map(str, seen))
        corrections = (await company.get(f"{path}/corrections", person, role)).json()["items"]
        assert {each["transaction"]["person_id"] for each in corrections} == set(map(str, seen))
    team = await company.get(f"{path}/comparison", team_id=named("team", 0))
    assert len(team.json()["items"]) == 2
    nobody = await company.get(f"{path}/comparison", team_id=named("team", 9))
    assert nobody.json()["items"] == []
    assert await differences(company) == []
