"""Definitions that arrive beside deals: what waits for whom, and what counts from which commit on."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID, uuid4

import pytest

from services.tracking.definitions.tables import projection
from services.tracking.measure.progress import store
from shared.contracts.goals import Goal, GoalStatus
from shared.db.database import Database, Scope
from shared.db.projection import Projection, Snapshot
from tests.servers.infrastructure import service_url
from tests.stories.june import JUNE, Tenant, won

NOON = datetime(2026, 6, 15, 12, tzinfo=UTC)
SOON_SECONDS = 0.3
PATIENCE_SECONDS = 30.0


@pytest.fixture
async def tenant(database_url: str) -> AsyncIterator[Tenant]:
    database = Database(service_url(database_url, "tracking"), service="tracking")
    tenant = Tenant(database)
    await tenant.found("UTC")
    await tenant.define(tenant.mapped())
    yield tenant
    await database.close()


def with_status(goal: Goal, status: GoalStatus, version: int) -> Goal:
    return goal.model_copy(update={"status": status, "version": version})


async def stands(tenant: Tenant, goal_id: UUID) -> tuple[Decimal, bool] | None:
    """Where a goal stands, and whether it waits to be rebuilt; None where it has no progress."""
    async with tenant.database.transaction(tenant.scope) as tx:
        found = await store.states(tx, [(tenant.id, goal_id)])
    return (found[0].value, found[0].stale) if found else None


async def test_a_new_goal_counts_with_the_commit_that_stores_it_and_a_draft_does_not(tenant: Tenant) -> None:
    await tenant.take([won(tenant.id, 1, NOON, amount=5)])
    goal = tenant.goal(uuid4(), JUNE)
    await tenant.define(with_status(goal, GoalStatus.DRAFT, 1))
    assert await stands(tenant, goal.id) is None
    await tenant.define(with_status(goal, GoalStatus.ACTIVE, 2))
    assert await stands(tenant, goal.id) == (Decimal(5), False)
    await tenant.take([won(tenant.id, 2, NOON, amount=2)])
    assert await stands(tenant, goal.id) == (Decimal(7), False)
    await tenant.define(with_status(goal, GoalStatus.CANCELLED, 3))
    assert (await stands(tenant, goal.id) or (None, False))[1], "what counted before waits to be rebuilt"


async def test_what_is_rolled_back_is_defined_again(tenant: Tenant) -> None:
    await tenant.take([won(tenant.id, 1, NOON, amount=5)])
    goal = tenant.goal(uuid4(), JUNE)
    with pytest.raises(ZeroDivisionError):
        async with tenant.database.transaction(tenant.scope) as tx:
            await tenant.tracker.define(tx, [goal])
            raise ZeroDivisionError
    assert await stands(tenant, goal.id) is None
    await tenant.define(goal)
    assert await stands(tenant, goal.id) == (Decimal(5), False)


async def test_deals_under_way_count_for_a_goal_that_waits_for_them_and_drafts_do_not_wait(tenant: Tenant) -> None:
    goal, draft = tenant.goal(uuid4(), JUNE), with_status(tenant.goal(uuid4(), JUNE), GoalStatus.DRAFT, 1)
    async with tenant.database.transaction(tenant.scope) as tx:
        await tenant.tracker.apply(tx, [tenant.id], [[won(tenant.id, 1, NOON, amount=5)]], stripe=0)
        async with asyncio.timeout(PATIENCE_SECONDS):
            await tenant.define(draft)
        defining = asyncio.create_task(tenant.define(goal))
        done, _ = await asyncio.wait([defining], timeout=SOON_SECONDS)
        assert not done
    await defining
    assert await stands(tenant, goal.id) == (Decimal(5), False)
    await tenant.take([won(tenant.id, 2, NOON, amount=2)])
    assert await stands(tenant, goal.id) == (Decimal(7), False)


async def test_two_who_store_at_once_make_a_revision_each(tenant: Tenant) -> None:
    copies, of = Projection(projection), uuid4()
    scope = Scope.of(of)

    async def stored(subject: str, may_end: asyncio.Event) -> int:
        async with tenant.database.transaction(scope) as tx:
            revision = (await copies.lock_revisions(tx, [of]))[of]
            await copies.store_newest(tx, [Snapshot(of, subject, "attain.person.v1", 1, "{}")])
            await may_end.wait()
        return revision

    for before in (0, 2):
        may_end = asyncio.Event()
        both = [asyncio.create_task(stored(f"{each}/{before}", may_end)) for each in ("person/1", "person/2")]
        await asyncio.wait(both, timeout=SOON_SECONDS)
        may_end.set()
        assert sorted(await asyncio.gather(*both)) == [before, before + 1]
        async with tenant.database.transaction(scope) as tx:
            assert len(await copies.since(tx, of, before + 1)) == 1, "who knows the first one reads the other"
