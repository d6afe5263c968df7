"""Whom a change of definitions touches is worked out anew as a job: counted, seen over HTTP, gone on with."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from uuid import uuid4

import pytest
from sqlalchemy import text

from services.incentives.earnings.service import REBUILD_ASSIGNMENTS
from services.incentives.plans.domain.kinds.commission import Commission
from services.incentives.plans.domain.rates import FlatRate
from services.incentives.plans.domain.re_earnings import ReEarning, ReEarningNotFound, ReEarningState
from shared.contracts.org import Membership
from shared.db.database import UTC_NOW, Database, Transaction
from shared.db.projection import Snapshot
from shared.http.auth import Role
from shared.kernel.approvals import Actor
from tests.oracles.incentives import EVER, Known
from tests.stories.incentives import named
from tests.stories.pay import EARNINGS, PLANS, VERIFICATION
from tests.stories.pay_api import ANN, APPROVER, AUTHOR, MAX, running_company
from tests.stories.pay_company import SIMPLE, Company, many_paid, paying, won

PEOPLE = 62


@pytest.fixture(scope="module")
async def database(module_database: str) -> AsyncIterator[Database]:
    opened = Database(module_database, service="incentives")
    yield opened
    await opened.close()


async def other_terms(company: Company, *components: Commission) -> str:
    """Let the plan of everybody pay by other terms; the cause that its postings name."""
    plan_id = company.plans[0]
    async with company.database.transaction(company.scope) as tx:
        tx.actor, tx.reason = Actor.of(AUTHOR), "The second half's rates"
        draft = await PLANS.create_version(
            tx, company.tenant, plan_id, effective_from=EVER, components=components, note=None, author=tx.actor
        )
        await PLANS.approve_version(
            tx, company.tenant, plan_id, draft.number, approver=Actor.of(APPROVER), expected_version=1
        )
        await PLANS.activate_version(tx, company.tenant, plan_id, draft.number, actor=tx.actor, expected_version=2)
    return f"plan/{plan_id} v{draft.number}"


async def of_cause(company: Company, cause: str) -> ReEarning:
    async with company.database.transaction(company.scope) as tx:
        [found] = await PLANS.list_re_earnings(tx, company.tenant, state=None, cause=cause, after=None, limit=10)
    return found


async def rebuild(company: Company) -> int:
    return await company.database.run(company.scope, lambda tx: EARNINGS.rebuild(tx, company.tenant))


async def test_a_population_is_worked_out_in_parts_that_count_once_while_deals_go_on(database: Database) -> None:
    company = await many_paid(database)
    await company.take_deals([won(user, 1, 100_000, owner=user) for user in (0, 1, *range(100, 160))])
    cause = await other_terms(company, replace(SIMPLE, rate=FlatRate(Decimal("0.10"))))
    queued = await of_cause(company, cause)
    assert (queued.state, queued.total, queued.done, queued.percent) == (ReEarningState.QUEUED, PEOPLE, 0, 0)
    assert (queued.requested_by, queued.reason) == (Actor.of(AUTHOR), "The second half's rates")
    assert (queued.per_minute, queued.seconds_left, queued.started_at) == (None, None, None)
    assert await rebuild(company) == REBUILD_ASSIGNMENTS
    running = await of_cause(company, cause)
    assert (running.state, running.done) == (ReEarningState.RUNNING, REBUILD_ASSIGNMENTS)
    assert running.percent == 100 * REBUILD_ASSIGNMENTS // PEOPLE
    assert running.per_minute is not None and running.seconds_left is not None
    # Some are worked out by the new terms, the others wait: either is paid for what arrives meanwhile.
    await company.take_deals([won(user, 2, 200_000, owner=user) for user in range(100, 160)])

    async def cut_short(tx: Transaction) -> None:
        assert await EARNINGS.rebuild(tx, company.tenant) == REBUILD_ASSIGNMENTS
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await database.run(company.scope, cut_short)
    assert await of_cause(company, cause) == running
    await asyncio.gather(*(rebuild(company) for _ in range(5)))
    done = await of_cause(company, cause)
    assert (done.state, done.done, done.percent, done.seconds_left) == (ReEarningState.DONE, PEOPLE, 100, None)
    assert done.ended_at is not None
    assert await rebuild(company) == 0
    assert sorted((await company.owed()).values()) == [100, 100, *[200] * 60]
    assert [found async for found in VERIFICATION.of_tenant(database, company.tenant, Counter())] == []


async def test_one_who_waits_for_two_changes_counts_for_both(database: Database) -> None:
    company = await paying(database)
    first = await other_terms(company, replace(SIMPLE, rate=FlatRate(Decimal("0.10"))))
    second = await other_terms(company, replace(SIMPLE, rate=FlatRate(Decimal("0.20"))))
    assert await rebuild(company) == 1
    for cause in (first, second):
        done = await of_cause(company, cause)
        assert (done.state, done.total, done.done) == (ReEarningState.DONE, 1, 1)


async def test_what_cannot_be_worked_out_says_so_until_it_can(database: Database) -> None:
    company = await paying(database)
    await company.take_deals([won(0, 1, 100_000)])
    stay = Membership(
        tenant_id=company.tenant,
        id=uuid4(),
        version=1,
        person_id=uuid4(),
        team_id=uuid4(),
        start=date(2026, 2, 1),
        end=date(2026, 1, 1),
        deleted=False,
    )
    snapshot = Snapshot(company.tenant, stay.subject, stay.event_type, 1, stay.model_dump_json())
    await company.define(Known(0, None))
    async with database.transaction(company.scope) as tx:
        await PLANS.store_newest(tx, [snapshot])
    await company.rebuilder.rebuild_all()
    cause = f"identity/{named('user', 0)} v2"
    failed = await of_cause(company, cause)
    assert (failed.state, failed.done) == (ReEarningState.FAILED, 0)
    assert failed.failure is not None and failed.failure.startswith("Something unforeseen: ")
    mended = stay.model_copy(update={"deleted": True}).model_dump_json()
    async with database.transaction(company.scope) as tx:
        await PLANS.store_newest(tx, [snapshot._replace(version=2, body=mended)])
    await company.rebuilder.rebuild_all()
    done = await of_cause(company, cause)
    assert (done.state, done.failure, done.done) == (ReEarningState.DONE, None, 1)
    assert await company.owed() == {}


async def test_what_nobody_counted_ends_and_what_ended_long_ago_is_forgotten(
    database: Database, module_database: str
) -> None:
    company = await paying(database)
    kept = await other_terms(company, replace(SIMPLE, rate=FlatRate(Decimal("0.10"))))
    async with database.transaction(company.scope) as tx:
        await PLANS.tidy_re_earnings(tx, company.tenant)
    assert (await of_cause(company, kept)).state is ReEarningState.QUEUED
    # As a process of the release before takes it.
    async with database.transaction(company.scope) as tx:
        await tx.execute(text("DELETE FROM incentives.stale_assignments"))
        await PLANS.tidy_re_earnings(tx, company.tenant)
    ended = await of_cause(company, kept)
    assert (ended.state, ended.done) == (ReEarningState.DONE, 1)
    later = Database(module_database, service="incentives", clock=lambda: UTC_NOW() + timedelta(days=91))
    async with later.transaction(company.scope) as tx:
        await PLANS.tidy_re_earnings(tx, company.tenant)
        with pytest.raises(ReEarningNotFound):
            await PLANS.get_re_earning(tx, company.tenant, ended.id)
    await later.close()


async def test_who_sees_the_whole_tenant_sees_how_far_each_is(module_database: str) -> None:
    async with running_company(module_database) as company:
        plan_id = await company.plan()
        assignment = (await company.assign(plan_id, ANN)).json()
        answer = await company.get("/v1/re-earnings", cause=f"assignment/{assignment['id']} v2")
        assert answer.status_code == 200, answer.text
        [found] = answer.json()["items"]
        assert found["state"] == "done"
        assert (found["total"], found["done"], found["percent"]) == (1, 1, 100)
        assert found["requested_by"]["kind"] == "person"
        path = f"/v1/re-earnings/{found['id']}"
        for role in (Role.ADMIN, Role.REVOPS, Role.FINANCE, Role.SERVICE):
            assert (await company.get(path, role=role)).json() == found
        for person, role in ((MAX, Role.MANAGER), (ANN, Role.REP)):
            assert (await company.get(path, person, role)).status_code == 403
            assert (await company.get("/v1/re-earnings", person, role)).status_code == 403
        for state, ids in (("done", [found["id"]]), ("queued", []), ("running", []), ("failed", [])):
            listed = (await company.get("/v1/re-earnings", state=state)).json()["items"]
            assert [each["id"] for each in listed if each["id"] == found["id"]] == ids
        missing = await company.get(f"/v1/re-earnings/{uuid4()}")
        assert (missing.status_code, missing.json()["type"]) == (404, "urn:attain:problem:re_earning_not_found")
