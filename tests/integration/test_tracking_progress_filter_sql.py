"""Filters in SQL and in Python hold for the same stored deals."""

from collections.abc import AsyncIterator
from datetime import UTC, date, datetime
from decimal import Decimal
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from services.tracking.measure.progress.filter_sql import FilterCompiler
from services.tracking.records.service import DEALS
from shared.contracts.deals import Deal, Invoice, Payment, Product
from shared.db.database import Database, Scope
from shared.kernel.deals import DEAL_FIELDS, DealKind, DealStatus
from shared.kernel.filters import Filter, first_failing, parse_filter, predicate
from shared.kernel.records import RECORD_TYPES, RecordKind

NOW = datetime(2026, 1, 1, tzinfo=UTC)
# Letters whose cases come and go in more than one step, signs SQL patterns are made of, letters without cases.
TEXTS = st.text(alphabet="aAbBßẞİıσςΣÄäÀ%_\\'\" 北京é", max_size=4)
NUMBERS = st.sampled_from(("0", "-0.01", "0.000001", "50", "50.0", "999999999999999.999999"))
DAYS = st.dates(date(2026, 1, 1), date(2026, 1, 4)).map(date.isoformat)
FIELDS = {
    **dict.fromkeys(("name", "currency", "status", "stage", "type", "source", "account_name", "custom.tier"), TEXTS),
    "home_currency": TEXTS,
    **dict.fromkeys(("amount", "paid_amount", "quantity", "probability"), NUMBERS),
    "expected_close_on": DAYS,
}


@pytest.fixture(scope="module")
async def database(module_database: str) -> AsyncIterator[Database]:
    database = Database(module_database, service="tracking")
    yield database
    await database.close()


@st.composite
def conditions(draw: st.DrawFn) -> dict[str, object]:
    field = draw(st.sampled_from(sorted(FIELDS)))
    values = FIELDS[field]
    own = ("contains", "starts_with") if values is TEXTS else ("gt", "gte", "lt", "lte")
    op = draw(st.sampled_from(("eq", "ne", "in", "not_in", "exists", *own)))
    if op == "exists":
        return {"field": field, "op": op, "value": draw(st.booleans())}
    if op in ("in", "not_in"):
        return {"field": field, "op": op, "value": draw(st.lists(values, min_size=1, max_size=3))}
    return {"field": field, "op": op, "value": draw(values)}


def _group(name: str, members: list[dict[str, object]]) -> dict[str, object]:
    return {name: members}


def _groups(inner: st.SearchStrategy[dict[str, object]]) -> st.SearchStrategy[dict[str, object]]:
    every = st.builds(_group, st.just("all"), st.lists(inner, max_size=3))
    return every | st.builds(_group, st.just("any"), st.lists(inner, min_size=1, max_size=3))


filters = st.recursive(conditions(), _groups, max_leaves=6).map(lambda data: parse_filter(data, DEAL_FIELDS))


@st.composite
def deals(draw: st.DrawFn) -> Deal:
    return Deal(
        tenant_id=UUID(int=0),
        id=uuid4(),
        connection_id=UUID(int=1),
        source=draw(TEXTS),
        external_id="D",
        kind=DealKind.UPSERTED,
        modified_at=NOW,
        sequence=0,
        delivery_id=UUID(int=2),
        received_at=NOW,
        status=draw(st.sampled_from(DealStatus)),
        owner_external_id=None,
        name=draw(st.none() | TEXTS),
        amount=draw(st.none() | NUMBERS.map(Decimal)),
        currency=draw(st.sampled_from((None, "USD"))),
        created_at=None,
        expected_close_on=draw(st.none() | DAYS.map(date.fromisoformat)),
        closed_at=None,
        closed_on=None,
        stage=draw(st.none() | TEXTS),
        pipeline=None,
        probability=draw(st.none() | st.sampled_from((Decimal(0), Decimal(50)))),
        type=draw(st.none() | TEXTS),
        channel=None,
        region=None,
        account_id=None,
        account_name=draw(st.none() | TEXTS),
        merged_into=None,
        splits=(),
        products=tuple(
            Product(sku="x", quantity=Decimal(quantity), amount=None)
            for quantity in draw(st.lists(st.sampled_from(("0", "50")), max_size=2))
        ),
        custom=draw(st.dictionaries(st.sampled_from(("tier", "other")), TEXTS, max_size=2)),
        home_currency=draw(st.sampled_from((None, "EUR"))),
        payments=tuple(
            Payment(paid_on=date(2026, 1, 2), amount=Decimal(amount))
            for amount in draw(st.lists(st.sampled_from(("50", "-0.01", "-50")), max_size=2))
        ),
        invoices=tuple(
            Invoice(invoiced_on=date(2026, 1, 2), amount=Decimal(amount))
            for amount in draw(st.lists(st.sampled_from(("50", "-50")), max_size=2))
        ),
    )


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(filters, st.lists(deals(), min_size=1, max_size=6))
async def test_sql_and_python_pick_the_same_deals(database: Database, node: Filter, stored: list[Deal]) -> None:
    tenant_id = uuid4()
    compiler = FilterCompiler("deal", DEAL_FIELDS, {})
    condition = compiler.condition(node)
    async with database.transaction(Scope.of(tenant_id)) as tx:
        await DEALS.record(tx, [deal.model_copy(update={"tenant_id": tenant_id}) for deal in stored])
        rows = await tx.rows(
            text(f"SELECT deal_id FROM tracking.deals AS deal WHERE tenant_id = :tenant_id AND {condition}"),
            {"tenant_id": tenant_id, **compiler.parameters},
        )
    facts = [deal.facts() for deal in stored]
    holds = predicate(node, RECORD_TYPES[RecordKind.DEAL].reader)
    picked = {each.deal_id for each in facts if first_failing(node, each.value_of) is None}
    assert {row["deal_id"] for row in rows} == picked
    assert {each.deal_id for each in facts if holds(each)} == picked
