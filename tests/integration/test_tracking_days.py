"""The day of an instant, as goals count it live and as queries over the stored records tell it."""

from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.tracking.measure.progress import contributions
from services.tracking.measure.progress.domain import GoalIndex, GoalTerms, Rule, Span
from services.tracking.measure.progress.verification import of_tenant
from services.tracking.records.service import DEALS
from shared.contracts import deals
from shared.db.database import Database, Scope
from shared.kernel.deals import DEAL_FIELDS, DateField, DealStatus
from shared.kernel.filters import parse_filter
from shared.kernel.measures import INSTALMENT_FIELDS, Aggregate, Counted, Measure
from shared.kernel.org import CrmUser, OrgChart, OwnerKind
from shared.kernel.periods import CalendarChange, FiscalCalendar, Period
from shared.kernel.zones import offset_spans
from tests.stories.june import JULY, JUNE, NOW, Tenant, won

BEGINNING = datetime(1900, 1, 2, tzinfo=UTC)
EVER = Period(date(1900, 1, 1), date(3000, 1, 1))
ZONES = (
    *("UTC", "CET", "EET", "MET", "WET", "EST", "Asia/Calcutta", "Asia/Kathmandu", "Asia/Shanghai", "Asia/Gaza"),
    *("Africa/Casablanca", "Africa/Monrovia", "America/St_Johns", "America/Havana", "Australia/Lord_Howe"),
    *("Europe/Dublin", "Pacific/Apia", "Pacific/Kiritimati", "US/Eastern", "Etc/GMT+12", "Antarctica/Troll"),
)


@pytest.fixture(scope="module")
async def database(module_database: str) -> AsyncIterator[Database]:
    database = Database(module_database, service="tracking")
    yield database
    await database.close()


@st.composite
def instants(draw: st.DrawFn, calendar: FiscalCalendar) -> datetime:
    """Any, and more often one beside a change of clocks, a midnight or the first day of a change."""
    if draw(st.booleans()):
        return BEGINNING + timedelta(seconds=draw(st.integers(0, 1_098 * 365 * 86_400)))
    zone = draw(st.sampled_from([calendar.time_zone, *(change.time_zone for change in calendar.changes)]))
    year = draw(st.sampled_from((1901, 1931, 1972, 1985, 2011, 2012, 2026, 2038, 2087, 2500)))
    changes = [span.start for span in offset_spans(zone, year, year + 1)]
    changes += [
        datetime(change.start.year, change.start.month, change.start.day, tzinfo=UTC) for change in calendar.changes
    ]
    near = draw(st.sampled_from(changes))
    away = st.sampled_from((-1, 0, 1, 59, 60, -60, 3600, -3600)) | st.integers(-40 * 3600, 40 * 3600)
    return near + timedelta(seconds=draw(away))


@st.composite
def calendars(draw: st.DrawFn) -> FiscalCalendar:
    zones = st.sampled_from(ZONES)
    starts = draw(st.lists(st.dates(date(2011, 12, 25), date(2012, 1, 5)), max_size=2, unique=True))
    return FiscalCalendar(1, draw(zones), tuple(CalendarChange(start, 1, draw(zones)) for start in sorted(starts)))


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(st.data())
async def test_queries_tell_the_day_that_zoneinfo_decides(database: Database, data: st.DataObject) -> None:
    tenant_id = uuid4()
    calendar = data.draw(calendars())
    closed = data.draw(st.lists(instants(calendar), min_size=1, max_size=20))
    period = data.draw(st.sampled_from((EVER, JUNE, Period(date(2011, 12, 29), date(2012, 1, 3)))))
    stored = [won(tenant_id, number, instant) for number, instant in enumerate(closed)]
    measure = Measure(Aggregate.COUNT, None, DateField.CLOSED)
    rule = Rule(measure, calendar.days, (Span(CrmUser("crm", "u1"), period),))
    async with database.transaction(Scope.of(tenant_id)) as tx:
        await DEALS.record(tx, stored)
        counting = await contributions.page(tx, tenant_id, uuid4(), rule, after=None, limit=100)
    decided = {deal.id: calendar.business_date(instant) for deal, instant in zip(stored, closed, strict=True)}
    assert {record_id: day for day, record_id in counting} == {
        known: day for known, day in decided.items() if day in period
    }


FILTERED = st.sampled_from(("eq", "ne", "gt", "gte", "lt", "lte", "in", "not_in"))


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(st.data())
async def test_queries_and_filters_tell_the_day_a_deal_is_expected_to_close_as_it_is_told_live(
    database: Database, data: st.DataObject
) -> None:
    tenant_id, goal_id, person = uuid4(), uuid4(), uuid4()
    calendar = data.draw(calendars())
    expected = data.draw(st.lists(instants(calendar), min_size=1, max_size=20))
    stated = st.none() | st.sampled_from([calendar.business_date(instant) for instant in expected])
    stored = [
        won(tenant_id, number, NOW).model_copy(
            update={"expected_close_at": instant, "expected_close_on": data.draw(stated)}
        )
        for number, instant in enumerate(expected)
    ]
    day, op = data.draw(st.sampled_from([calendar.business_date(instant) for instant in expected])), data.draw(FILTERED)
    value: object = [str(day)] if op in ("in", "not_in") else str(day)
    date_field = data.draw(st.sampled_from((DateField.EXPECTED_CLOSE, DateField.CLOSED)))
    condition = parse_filter({"field": "expected_close_on", "op": op, "value": value}, DEAL_FIELDS)
    measure = Measure(Aggregate.COUNT, None, date_field, condition)
    chart = OrgChart(identities={CrmUser("crm", "u1"): person}, calendar=calendar)
    index = GoalIndex.of(chart, [GoalTerms(goal_id, OwnerKind.PERSON, person, measure, EVER)])
    async with database.transaction(Scope.of(tenant_id)) as tx:
        await DEALS.record(tx, stored)
        counting = await contributions.page(tx, tenant_id, goal_id, index.rules[goal_id], after=None, limit=100)
        kept = await DEALS.newest(tx, tenant_id, [deal.id for deal in stored])
    live = {deal.id for deal in kept.values() if index.contributions(deal.facts())}
    assert {record_id for _, record_id in counting} == live
    for told, deal in ((told, kept[record_id]) for told, record_id in counting):
        assert told == deal.facts().day(date_field, calendar)
    assert live == {deal.id for deal in stored if isinstance(index.verdict(goal_id, deal.facts()).outcome, Counted)}


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(st.data())
async def test_queries_tell_the_day_of_a_payment_or_invoice_as_it_is_told_live(
    database: Database, data: st.DataObject
) -> None:
    tenant_id, goal_id, person = uuid4(), uuid4(), uuid4()
    calendar = data.draw(calendars())
    moments = st.lists(st.tuples(instants(calendar), st.booleans()), max_size=3)
    is_paid = data.draw(st.booleans())

    def instalment(at: datetime, with_moment: bool) -> deals.Payment | deals.Invoice:
        moment = at if with_moment else None
        if is_paid:
            return deals.Payment(paid_on=at.date(), amount=Decimal(1), paid_at=moment)
        return deals.Invoice(invoiced_on=at.date(), amount=Decimal(1), invoiced_at=moment)

    stored = [
        won(tenant_id, number, NOW).model_copy(
            update={"payments" if is_paid else "invoices": tuple(instalment(*each) for each in stated)}
        )
        for number, stated in enumerate(data.draw(st.lists(moments, min_size=1, max_size=8)))
    ]
    period = data.draw(st.sampled_from((EVER, JUNE, Period(date(2011, 12, 29), date(2012, 1, 3)))))
    day = DateField.PAID if is_paid else DateField.INVOICED
    money = Measure(Aggregate.SUM, INSTALMENT_FIELDS[day], day, currency="EUR")
    measure = data.draw(st.sampled_from((money, Measure(Aggregate.COUNT, None, day))))
    chart = OrgChart(identities={CrmUser("crm", "u1"): person}, calendar=calendar)
    index = GoalIndex.of(chart, [GoalTerms(goal_id, OwnerKind.PERSON, person, measure, period)])
    async with database.transaction(Scope.of(tenant_id)) as tx:
        await DEALS.record(tx, stored)
        counting = await contributions.page(tx, tenant_id, goal_id, index.rules[goal_id], after=None, limit=100)
        total = (await contributions.totals(tx, tenant_id, index.rules))[goal_id]
        kept = await DEALS.newest(tx, tenant_id, [deal.id for deal in stored])
    live = [(deal.id, each.added.value) for deal in kept.values() for each in index.contributions(deal.facts())]
    assert (total.value, total.deals) == (sum(value for _, value in live), len(live))
    verdicts = {deal.id: index.verdict(goal_id, deal.facts()).outcome for deal in kept.values()}
    assert {record_id: day for day, record_id in counting} == {
        record_id: outcome.day for record_id, outcome in verdicts.items() if isinstance(outcome, Counted)
    }


async def test_a_goal_that_reaches_nobody_has_no_days(database: Database) -> None:
    tenant_id, goal_id = uuid4(), uuid4()
    rule = Rule(Measure(Aggregate.COUNT, None, DateField.CLOSED), FiscalCalendar().days, ())
    async with database.transaction(Scope.of(tenant_id)) as tx:
        await DEALS.record(tx, [won(tenant_id, 1, NOW)])
        assert await contributions.page(tx, tenant_id, goal_id, rule, after=None, limit=1) == []
        assert await contributions.series(tx, tenant_id, goal_id, rule) == []


@pytest.mark.parametrize("zone", ["CET", "MET", "Europe/Berlin"])
async def test_a_deal_whose_owner_is_mapped_afterwards_counts_on_the_day_it_counts_on_live(
    database: Database, zone: str
) -> None:
    tenant = Tenant(database)
    await tenant.found(zone)
    # Half past midnight on 1 July where clocks are two hours ahead in summer.
    closed_at = datetime(2026, 6, 30, 22, 30, tzinfo=UTC)
    await tenant.take([won(tenant.id, 1, closed_at, amount=100)])
    await tenant.define(tenant.mapped())
    await tenant.rebuild()
    assert await tenant.values() == ("0", "100")
    await tenant.take([won(tenant.id, 2, closed_at, amount=7)])
    assert await tenant.values() == ("0", "107")
    assert [each async for each in of_tenant(database, tenant.id, Counter())] == []


async def test_a_deal_expected_at_midnight_in_shanghai_counts_on_that_day_live_and_in_recounts(
    database: Database,
) -> None:
    tenant = Tenant(database)
    await tenant.found("Asia/Shanghai")
    for goal_id, period in ((tenant.june, JUNE), (tenant.july, JULY)):
        terms = tenant.goal(goal_id, period)
        metric = terms.metric.model_copy(update={"date_field": DateField.EXPECTED_CLOSE})
        await tenant.define(terms.model_copy(update={"metric": metric, "version": 2, "revision": 2}))
    await tenant.rebuild()

    def expected(number: int, amount: int) -> deals.Deal:
        at = datetime(2026, 6, 30, 16, tzinfo=UTC)
        deal = won(tenant.id, number, at, amount=amount)
        open_now = {"status": DealStatus.OPEN, "closed_at": None, "expected_close_at": at}
        return deal.model_copy(update=open_now)

    await tenant.take([expected(1, 100)])
    await tenant.define(tenant.mapped())
    await tenant.rebuild()
    assert await tenant.values() == ("0", "100")
    await tenant.take([expected(2, 7)])
    assert await tenant.values() == ("0", "107")
    assert [each async for each in of_tenant(database, tenant.id, Counter())] == []


@pytest.mark.parametrize("zone", ["localtime", "posixrules", "posix/Europe/Berlin", "Factory", "Mars/Olympus"])
async def test_a_zone_that_names_no_place_stops_neither_its_tenant_nor_another(database: Database, zone: str) -> None:
    odd, other = Tenant(database), Tenant(database)
    for tenant, its_zone in ((odd, zone), (other, "Asia/Shanghai")):
        await tenant.found(its_zone)
        await tenant.take([won(tenant.id, 1, datetime(2026, 6, 30, 12, tzinfo=UTC), amount=100)])
        await tenant.define(tenant.mapped())
    await odd.rebuild()
    assert await odd.values() == await other.values() == ("100", "0")
    for tenant in (odd, other):
        assert [each async for each in of_tenant(database, tenant.id, Counter())] == []
