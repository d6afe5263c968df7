"""Which rows and pages the hot statements touch in tables whose rows nobody has counted yet, as on the first day."""

import re

import pytest
from sqlalchemy import TextClause, text

from deploy.local.bench.company import OWNERS, TENANT_ID, deal
from services.tracking.intake.inbox import retranslation_store as retranslation
from services.tracking.intake.inbox import store as inbox
from services.tracking.measure.progress import store as progress
from services.tracking.records.service import DEALS
from services.tracking.records.store import deals
from services.tracking.records.store.activities import ActivityStore
from services.tracking.records.store.deals import DealStore
from shared.db.database import Database, Scope
from tests.servers.statements import plan_of


@pytest.mark.parametrize(
    ("statement", "index", "condition"),
    [
        (DealStore().record_statement, "pk_deals", "(tenant_id = incoming.tenant_id) AND (deal_id = incoming.deal_id)"),
        (
            ActivityStore().record_statement,
            "pk_activities",
            "(tenant_id = incoming.tenant_id) AND (activity_id = incoming.activity_id)",
        ),
        (inbox._CLAIM_RECEIVED, "pk_deliveries", "(tenant_id = waiting.tenant_id) AND (id = waiting.id)"),
        (inbox._SETTLE, "pk_deliveries", "(tenant_id = o.t) AND (id = o.i)"),
        (
            progress._STATES_OF_GOALS,
            "pk_projected_snapshots",
            "(tenant_id = g.tenant_id) AND (subject = (('goal/'::text || (g.goal_id)::text)))",
        ),
        (
            progress._STATES_OF_GOALS,
            "pk_progress_goals",
            "(tenant_id = wanted.tenant_id) AND (goal_id = wanted.goal_id)",
        ),
        (
            progress._STATES_PAGE,
            "pk_projected_snapshots",
            "(tenant_id = goal.tenant_id) AND (subject = (('goal/'::text || (goal.goal_id)::text)))",
        ),
    ],
    ids=["record deals", "record activities", "claim", "settle", "goals' definitions", "goals", "page of goals"],
)
async def test_rows_are_looked_up_by_the_whole_primary_key(
    fresh_database: str, statement: TextClause, index: str, condition: str
) -> None:
    plan = await plan_of(fresh_database, "tracking", statement)
    assert f"Index Scan using {index}" in plan
    assert condition in plan
    assert "Seq Scan" not in plan


async def test_the_deals_that_a_mapping_is_about_are_found_by_indexes(fresh_database: str) -> None:
    plan = await plan_of(fresh_database, "tracking", retranslation._QUEUE_TOUCHED)
    for index in ("ix_deals_owner", "pk_deal_split_users", "pk_deals", "ix_activities_owner", "ix_deals_incomplete"):
        assert index in plan
    assert "Seq Scan" not in plan


async def test_the_deals_of_a_person_are_looked_up_by_the_users_they_are(fresh_database: str) -> None:
    """As owner and on splits, without looking into the splits of anybody else's deals."""
    plan = await plan_of(fresh_database, "tracking", DealStore().page_statement([deals._OF_SEEN]))
    assert re.search(r"using ix_deals_owner .*\n +Index Cond: .*owner_external_id = ", plan), plan
    assert re.search(r"using pk_deal_split_users .*\n +Index Cond: .*external_id = ", plan), plan
    assert re.search(r"using pk_deals on deals r .*\n +Index Cond: .*deal_id = ANY", plan), plan
    assert "Seq Scan" not in plan


async def test_a_newer_version_of_a_deal_is_stored_in_the_page_of_the_deal(fresh_database: str) -> None:
    """So that it writes no other page, and no index."""
    pages = text("SELECT external_id, (CAST(CAST(ctid AS text) AS point))[0] AS page FROM tracking.deals ORDER BY 1")
    database = Database(fresh_database, service="tracking")
    try:
        async with database.transaction(Scope.of(TENANT_ID)) as tx:
            await DEALS.record(tx, [deal(number, number, OWNERS[0]) for number in range(1000)])
            before = await tx.rows(pages)
            await DEALS.record(tx, [deal(1000 + number, number, OWNERS[0]) for number in range(0, 1000, 20)])
            after = await tx.rows(pages)
    finally:
        await database.close()
    assert len({row["page"] for row in before}) > 20
    assert after == before
