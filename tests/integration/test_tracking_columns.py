"""Events and facts come back from Postgres as they were stored, field by field."""

from collections.abc import AsyncIterator
from datetime import timedelta
from decimal import Decimal

import pytest

from services.tracking.records.service import ACTIVITIES, DEALS
from shared.contracts.activities import Activity
from shared.contracts.base import CORRECTED_DECIMALS, Correction
from shared.contracts.deals import Deal, Invoice, Payment, Product, Split
from shared.contracts.examples import EXAMPLES
from shared.db.database import Database, Scope

CORRECTIONS = (Correction(field="/amount", stated="1.0000001", kept="1", reason=CORRECTED_DECIMALS),)


@pytest.fixture(scope="module")
async def database(module_database: str) -> AsyncIterator[Database]:
    opened = Database(module_database, service="tracking")
    yield opened
    await opened.close()


async def test_a_deal_with_every_field_comes_back_as_it_was(database: Database) -> None:
    example = EXAMPLES[Deal.event_type]
    assert isinstance(example, Deal)
    moment = example.modified_at
    deal = example.model_copy(
        update={
            "sequence": 7,
            "expected_close_on": moment.date(),
            "expected_close_at": moment,
            "closed_on": moment.date(),
            "created_at": moment,
            "closed_at": moment,
            "probability": Decimal("12.5"),
            "merged_into": "elsewhere",
            "home_amount": Decimal("3.25"),
            "home_currency": "EUR",
            "splits": (Split(owner_external_id="7", role="overlay", percent=Decimal("33.3")),),
            "products": (Product(sku="A", quantity=Decimal("2.5"), amount=None),),
            "payments": (Payment(paid_on=moment.date(), amount=Decimal(-1), paid_at=moment),),
            "invoices": (Invoice(invoiced_on=moment.date(), amount=Decimal(-2), invoiced_at=moment),),
            "corrections": CORRECTIONS,
            **{
                name: f"the {name}"
                for name in ("name", "stage", "pipeline", "type", "channel", "region", "account_id", "account_name")
            },
        }
    )
    assert [name for name in Deal.model_fields if not getattr(deal, name)] == []
    after = deal.model_copy(update={"modified_at": moment + timedelta(seconds=1)})
    async with database.transaction(Scope.of(deal.tenant_id)) as tx:
        await DEALS.record(tx, [deal])
        assert await DEALS.newest(tx, deal.tenant_id, [deal.id]) == {deal.id: deal}
        assert await DEALS.facts(tx, deal.tenant_id, [deal.id]) == {deal.id: deal.facts()}
        (change,) = (await DEALS.record(tx, [after])).changes
    assert (change.before, change.after) == (deal.facts(), after.facts())
    assert change.before is not None
    assert (change.before.splits, change.before.payments) == (deal.split_facts, deal.payment_facts)


async def test_an_activity_with_every_field_comes_back_as_it_was(database: Database) -> None:
    example = EXAMPLES[Activity.event_type]
    assert isinstance(example, Activity)
    moment = example.modified_at
    activity = example.model_copy(
        update={
            "sequence": 7,
            "is_deleted": True,
            "occurred_at": moment,
            "duration_seconds": 90,
            "corrections": CORRECTIONS,
            "custom": {"room": "4"},
            **{
                name: f"the {name}"
                for name in ("owner_external_id", "subject_line", "outcome", "deal_external_id", "account_id")
            },
        }
    )
    assert [name for name in Activity.model_fields if not getattr(activity, name)] == []
    after = activity.model_copy(update={"modified_at": moment + timedelta(seconds=1)})
    async with database.transaction(Scope.of(activity.tenant_id)) as tx:
        await ACTIVITIES.record(tx, [activity])
        assert await ACTIVITIES.newest(tx, activity.tenant_id, [activity.id]) == {activity.id: activity}
        (change,) = (await ACTIVITIES.record(tx, [after])).changes
    assert (change.before, change.after) == (activity.facts(), after.facts())
