"""Plain components are credited by the database as `Definitions.credits` credits every deal."""

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from decimal import Decimal
from uuid import UUID

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from services.incentives.credits.domain.credit import ReceivedDeal
from services.incentives.credits.domain.definitions import Definitions
from services.incentives.credits.domain.plain import plain_components
from services.incentives.plans.domain.assignments import Assignment
from services.incentives.plans.domain.components import Component
from services.incentives.plans.domain.crediting import CreditingRules
from services.incentives.plans.domain.kinds.commission import Basis, Caps, Commission
from services.incentives.plans.domain.parameters import Multiplier, Windfall, WindfallCounts
from services.incentives.plans.domain.rates import FlatRate
from services.incentives.plans.domain.rules import PeriodRules
from services.incentives.plans.domain.versions import Plan, PlanVersion, VersionStatus
from shared.contracts.deals import Deal, Payment, Split
from shared.db.database import Database, Transaction
from shared.kernel.approvals import Actor
from shared.kernel.deals import DateField, DealKind, DealStatus
from shared.kernel.filters import EVERYTHING, All, Any, Condition, Filter, Operator
from shared.kernel.measures import Aggregate, Crediting, Measure, RatePolicy
from shared.kernel.periods import DatedRange, PeriodKind
from tests.oracles.incentives import EVER, Assigned, DealVersion, Known
from tests.stories.incentives import cell_id, deal_event
from tests.stories.pay import CREDITS, EARNINGS, PLANS, VERIFICATION
from tests.stories.pay_company import APPROVER, AUTHOR, SIMPLE, Company, paying, won

DAYS = [date(2025, 11, 30), date(2026, 1, 1), date(2026, 3, 31), date(2026, 4, 1), date(2026, 12, 31)]
TEXTS = ["West", "west", 'We"st\\', "{W,e}", "NULL", "", "西部", "o'W"]
NOON = datetime(2026, 4, 1, 12, tzinfo=UTC)
WON = replace(SIMPLE, measure=replace(SIMPLE.measure, filter=Condition("status", Operator.EQ, ("won",))))

texts = st.none() | st.sampled_from(TEXTS)
AMOUNTS = [Decimal(each) for each in ("0", "1000.50", "-12.3", "0.001", "99999999999.99")]
deals = st.builds(
    lambda number, **members: deal_event(
        UUID(int=1), DealVersion(number, 1, 0, (), 0, True, None, "USD", False)
    ).model_copy(update=members),
    st.integers(0, 30),
    kind=st.sampled_from([DealKind.UPSERTED] * 5 + [*DealKind]),
    status=st.sampled_from([DealStatus.WON] * 4 + [DealStatus.OPEN]),
    owner_external_id=st.sampled_from(["0", "0", "0", "1", "1", "2", "9", None]),
    amount=st.sampled_from([*AMOUNTS, *AMOUNTS, None]),
    currency=st.sampled_from(["USD", "USD", "USD", "EUR", "JPY", None]),
    closed_on=st.sampled_from([*DAYS, *DAYS, date(2039, 1, 1), None]),
    closed_at=st.sampled_from([None, None, None, NOON]),
    region=texts,
    stage=texts,
    home_amount=st.none() | st.just(Decimal("7.5")),
    home_currency=st.none() | st.just("USD"),
    splits=st.just(()) | st.just((Split(owner_external_id="1", role="owner", percent=Decimal(40)),)),
    payments=st.just(()) | st.just((Payment(paid_on=DAYS[1], amount=Decimal(3)),)),
)
conditions = st.one_of(
    st.builds(
        lambda field, op, value: Condition(field, op, (value,)),
        st.sampled_from(["region", "stage"]),
        st.sampled_from([Operator.EQ, Operator.NE]),
        st.sampled_from(TEXTS),
    ),
    st.builds(
        lambda op, values: Condition("region", op, tuple(values)),
        st.sampled_from([Operator.IN, Operator.NOT_IN]),
        st.lists(st.sampled_from(TEXTS), min_size=1, max_size=3),
    ),
    st.builds(lambda expected: Condition("stage", Operator.EXISTS, expected=expected), st.booleans()),
    st.just(Condition("currency", Operator.EQ, ("USD",))),
    st.just(Condition("status", Operator.EQ, ("won",))),
)
filters: st.SearchStrategy[Filter] = st.just(EVERYTHING) | st.recursive(
    conditions,
    lambda members: (
        st.lists(members, min_size=1, max_size=3).map(tuple).flatmap(lambda m: st.sampled_from([All(m), Any(m)]))
    ),
    max_leaves=4,
)
measures = st.one_of(
    st.builds(lambda node: Measure(Aggregate.COUNT, None, DateField.CLOSED, node), filters),
    st.builds(
        lambda node, policy: Measure(
            Aggregate.SUM,
            "amount",
            DateField.CLOSED,
            node,
            "USD",
            policy,
            (("EUR", Decimal("1.1")),) if policy is RatePolicy.FIXED else (),
        ),
        filters,
        st.sampled_from(RatePolicy),
    ),
)


def commissions(key: str) -> st.SearchStrategy[Commission]:
    return st.builds(
        lambda measure, allocation: Commission(key, key, measure, FlatRate(Decimal("0.05")), allocation),
        measures,
        st.sampled_from(["100", "33.3", "150"]).map(Decimal),
    )


@dataclass(frozen=True)
class Chapter:
    """Deals that arrive, terms that come into effect after them, and the days of two people on the plan."""

    deals: list[Deal]
    terms: tuple[date, tuple[Commission, ...]]
    ranges: tuple[tuple[date, date | None], tuple[date, date | None]]


ranges = st.sampled_from([(EVER, None), (date(2026, 1, 1), None), (date(2026, 2, 1), date(2026, 4, 1))])
chapters = st.builds(
    Chapter,
    st.lists(deals, min_size=1, max_size=12, unique_by=lambda deal: deal.id),
    st.tuples(
        st.sampled_from([EVER, date(2026, 1, 1), date(2026, 2, 15)]),
        st.sets(st.sampled_from(["one", "two"]), min_size=1).flatmap(
            lambda keys: st.tuples(*(commissions(key) for key in sorted(keys)))
        ),
    ),
    st.tuples(ranges, ranges),
)


@pytest.fixture(scope="module")
async def database(module_database: str) -> AsyncIterator[Database]:
    opened = Database(module_database, service="incentives")
    yield opened
    await opened.close()


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(story=st.lists(chapters, min_size=1, max_size=3))
async def test_credits_by_sets_are_those_of_the_rule_that_knows_every_deal(
    database: Database, story: list[Chapter]
) -> None:
    company = Company(database)
    await company.found()
    for user in (0, 1, 2):
        await company.define(Known(user, min(user, 1)))
    for number, chapter in enumerate(story, start=1):
        await take(company, chapter.deals, number)
        await activate(company, *chapter.terms)
        for index, (start, end) in enumerate(chapter.ranges):
            await company.assign(Assigned(index, start, end, ()))
        await company.rebuilder.rebuild_all()
        assert [found async for found in VERIFICATION.of_tenant(database, company.tenant, Counter())] == []
        credited, kept = await credit_again(company)
        event(f"{len(credited)} of 2 by sets")
        assert kept


async def test_what_the_release_before_stores_is_read_by_the_database_or_credited_by_the_other_rule(
    database: Database,
) -> None:
    company = await paying(database, WON)
    [assignment_id] = (company.assignments[0][0],)
    sold = deal_event(company.tenant, won(1, 1, 100_00))

    async def store(event: Deal) -> None:
        statement = text(
            """
            INSERT INTO incentives.deals
                (tenant_id, id, modified_at, sequence, delivery_id, source, owner_external_id, body)
            VALUES (:tenant, :id, :modified_at, 0, :id, :source, :owner, :body)
            ON CONFLICT (tenant_id, id) DO UPDATE SET modified_at = excluded.modified_at, body = excluded.body
            """
        )
        stated = {"tenant": company.tenant, "id": event.id, "modified_at": event.modified_at, "source": event.source}
        parameters = stated | {"owner": event.owner_external_id, "body": event.model_dump_json()}
        await company.database.run(company.scope, lambda tx: tx.execute(statement, parameters))

    versions: list[tuple[dict[str, object], bool]] = [
        ({}, True),
        ({"amount": Decimal(30)}, True),
        ({"name": "a\0b"}, False),
        ({"name": "ab"}, True),
    ]
    for version, (members, by_sets) in enumerate(versions, start=2):
        sold = sold.model_copy(update=members | {"modified_at": datetime(2026, 5, version, tzinfo=UTC)})
        await store(sold)
        await activate(company, EVER, (replace(WON, allocation_percent=Decimal(10 * version)),))
        await company.rebuilder.rebuild_all()
        assert (await credit_again(company))[0] == ({assignment_id} if by_sets else set())
        assert sold.amount is not None
        assert [cell[0] for cell in (await company.cells()).values()] == [sold.amount * version / 10]


async def activate(company: Company, start: date, components: Sequence[Component]) -> None:
    plan_id = company.plans[0]
    async with company.database.transaction(company.scope) as tx:
        draft = await PLANS.create_version(
            tx,
            company.tenant,
            plan_id,
            effective_from=start,
            components=tuple(components),
            note=None,
            author=Actor.of(AUTHOR),
        )
        await PLANS.approve_version(
            tx, company.tenant, plan_id, draft.number, approver=Actor.of(APPROVER), expected_version=1
        )
        await PLANS.activate_version(
            tx, company.tenant, plan_id, draft.number, actor=Actor.of(AUTHOR), expected_version=2
        )


async def take(company: Company, arrived: Sequence[Deal], version: int) -> None:
    moment = datetime(2026, 5, version, tzinfo=UTC)
    events = [
        each.model_copy(update={"tenant_id": company.tenant, "modified_at": moment, "received_at": moment})
        for each in arrived
    ]
    incoming = [
        ReceivedDeal(company.tenant, each.facts(), each.model_dump_json(), each.connection_id) for each in events
    ]
    await company.database.run(company.scope, lambda tx: EARNINGS.apply_deals(tx, [company.tenant], incoming))


async def credit_again(company: Company) -> tuple[frozenset[UUID], bool]:
    """The assignments that are credited by sets, and whether all that is stored stays the row that it was."""

    async def again(tx: Transaction) -> tuple[frozenset[UUID], bool]:
        rows = text("SELECT ctid, credits.* FROM incentives.credits WHERE tenant_id = :tenant_id ORDER BY ctid")
        before = await tx.rows(rows, {"tenant_id": company.tenant})
        known = await CREDITS.definitions(tx, company.tenant)
        found = await CREDITS.credit_plain(tx, company.tenant, known, known.assignments.keys())
        return found.assignments, before == await tx.rows(rows, {"tenant_id": company.tenant})

    return await company.database.run(company.scope, again)


async def test_a_plain_company_is_credited_by_sets_and_what_does_not_count_any_more_goes(database: Database) -> None:
    company = await paying(database, WON)
    sold = [won(number, 1, 100_00 + number) for number in range(5)]
    await company.take_deals(sold)
    [assignment_id] = (company.assignments[0][0],)
    await activate(company, EVER, (replace(WON, allocation_percent=Decimal(50)),))
    await company.rebuilder.rebuild_all()
    credited, kept = await credit_again(company)
    assert credited == {assignment_id} and kept
    assert await company.cells() == {
        cell_id(assignment_id, "bookings", date(2026, 1, 1)): (Decimal("250.05"), Decimal("12.50"), 5)
    }
    # The component goes, and another one comes.
    await activate(company, EVER, (replace(WON, key="renewals"),))
    await company.rebuilder.rebuild_all()
    assert await company.cells() == {
        cell_id(assignment_id, "renewals", date(2026, 1, 1)): (Decimal("500.10"), Decimal("25.01"), 5)
    }
    assert [found async for found in VERIFICATION.of_tenant(database, company.tenant, Counter())] == []


@pytest.mark.parametrize(
    "odd",
    [
        replace(WON, basis=Basis.PER_DEAL),
        replace(WON, basis=Basis.YEAR_TO_DATE),
        replace(WON, caps=Caps(deal=Decimal(10))),
        replace(WON, caps=Caps(period=Decimal(10))),
        replace(WON, multipliers=(Multiplier("new", EVERYTHING, Decimal(2), True),)),
        replace(WON, windfall=Windfall(Decimal(1000), WindfallCounts.CAPPED)),
        *(
            replace(WON, measure=replace(SIMPLE.measure, **members))
            for members in (
                {"crediting": Crediting.SPLIT},
                {"crediting": Crediting.ROLLUP},
                {"crediting": Crediting.TEAM},
                {"date_field": DateField.CREATED},
                {"date_field": DateField.PAID},
                {"value_field": "paid_amount"},
                {"value_field": "quantity", "currency": None},
                {"filter": Condition("name", Operator.CONTAINS, ("x",))},
                {"filter": Condition("custom.x", Operator.EQ, ("x",))},
                {"filter": All((Condition("amount", Operator.EQ, (Decimal(5),)),))},
            )
        ),
    ],
)
def test_a_component_that_asks_for_more_is_not_plain(odd: Commission) -> None:
    plan = Plan(UUID(int=1), "Sellers", "USD", PeriodKind.QUARTER)
    person = Assignment(UUID(int=2), UUID(int=3), plan.id, DatedRange(EVER))

    def found(*versions: PlanVersion) -> tuple[str, ...] | None:
        known = Definitions(
            plans={plan.id: plan},
            versions={plan.id: versions},
            assignments={person.id: person},
            today=date(2026, 6, 1),
        )
        components = plain_components(known, person)
        return None if components is None else tuple(each.key for each in components)

    version = PlanVersion(plan.id, 1, VersionStatus.ACTIVE, EVER, (WON,), None, None)
    other = replace(version, number=2, components=(replace(WON, key="two"), odd))
    assert found(version) == ("bookings",)
    assert found(other) is None
    assert found(version, replace(other, effective_from=date(2026, 4, 1))) is None
    # What changes within a period links its two parts.
    assert found(version, replace(version, number=2, effective_from=date(2026, 2, 1))) is None
    houses = PeriodRules(crediting=CreditingRules(house_accounts=(UUID(int=9),)))
    assert found(replace(version, rules=houses)) is None
