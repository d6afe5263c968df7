"""A goal and a plan that count by the same rule say the same of the same deal."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from uuid import UUID, uuid5

import pytest

from services.incentives.credits.domain.definitions import Definitions
from services.incentives.earnings.domain.cells import Cell
from services.incentives.earnings.domain.settlement import Settlement
from services.incentives.ledger.domain import Cause
from services.incentives.plans.domain.assignments import Assignment, Quota
from services.incentives.plans.domain.kinds.commission import Commission
from services.incentives.plans.domain.rates import FlatRate
from services.incentives.plans.domain.versions import Plan, PlanVersion, VersionStatus
from services.tracking.measure.progress.domain import GoalIndex, GoalTerms, Movements
from services.tracking.records.domain.snapshots import Change
from shared.kernel.attainment import attainment
from shared.kernel.deals import DateField, DealFacts, DealKind, DealStatus, Instalment, RecordVersion, Split
from shared.kernel.layers import Layered
from shared.kernel.measures import Aggregate, Crediting, Measure
from shared.kernel.org import CrmUser, MembershipFact, OrgChart, OwnerKind, TeamNode
from shared.kernel.periods import DatedRange, FiscalCalendar, Period, PeriodKind

TENANT = UUID(int=1)
TEAM = uuid5(TENANT, "team")
PEOPLE = ("ann", "ben", "cid")
FIRST, SECOND = Period(date(2026, 1, 1), date(2026, 4, 1)), Period(date(2026, 4, 1), date(2026, 7, 1))
NOW = datetime(2026, 3, 2, tzinfo=UTC)
BOOKED = Measure(Aggregate.SUM, "amount", DateField.CLOSED, currency="USD")
CASH = Measure(Aggregate.SUM, "paid_amount", DateField.PAID, currency="USD")
INVOICED = Measure(Aggregate.SUM, "invoiced_amount", DateField.INVOICED, currency="USD")
DEALS = Measure(Aggregate.COUNT, None, DateField.CLOSED)
DEAL = DealFacts(
    deal_id=UUID(int=1),
    source="crm",
    external_id="1",
    version=RecordVersion(NOW, 0, UUID(int=9)),
    kind=DealKind.UPSERTED,
    status=DealStatus.WON,
    owner_external_id="ann",
    amount=Decimal(1000),
    currency="USD",
    account_id="Acme",
    closed_on=date(2026, 3, 2),
)
HALVES = DEAL._replace(splits=(Split("ann", Decimal(50)), Split("ben", Decimal(50))))


def person(name: str) -> UUID:
    return uuid5(TENANT, name)


CHART = OrgChart(
    teams={TEAM: TeamNode(TEAM, None, person("max"))},
    memberships=[MembershipFact(person(name), TEAM, DatedRange(date(2025, 1, 1))) for name in ("ann", "ben")],
    identities={CrmUser("crm", name): person(name) for name in PEOPLE},
)


def goals(measure: Measure, *deals: DealFacts, chart: OrgChart = CHART) -> dict[tuple[str, Period], Decimal]:
    """Where goals of everybody and of the team stand in both quarters after these versions of one deal."""
    owners = {**{name: (OwnerKind.PERSON, person(name)) for name in PEOPLE}, "team": (OwnerKind.TEAM, TEAM)}
    keys = {uuid5(TENANT, f"{name} {period}"): (name, period) for name in owners for period in (FIRST, SECOND)}
    index = GoalIndex.of(
        chart, [GoalTerms(key, *owners[name], measure, period) for key, (name, period) in keys.items()]
    )
    movements = Movements(index)
    movements.add(
        Change(TENANT, before, after, NOW, TENANT) for before, after in zip((None, *deals[:-1]), deals, strict=True)
    )
    return {keys[key]: movement.value for key, movement in movements.net().items()}


def pay(
    measure: Measure, *deals: DealFacts, rate: str = "0.1", chart: OrgChart = CHART
) -> dict[tuple[str, Period], Cell]:
    """What everybody is paid after these versions of one deal, on a quota of 1,000 a quarter."""
    plan = Plan(uuid5(TENANT, "plan"), "Plan", "USD", PeriodKind.QUARTER)
    component = Commission("bookings", "Bookings", measure, FlatRate(Decimal(rate)))
    version = PlanVersion(plan.id, 1, VersionStatus.ACTIVE, date(2025, 1, 1), (component,), None, None)
    assignments = {
        uuid5(TENANT, f"assignment of {name}"): Assignment(
            uuid5(TENANT, f"assignment of {name}"),
            person(name),
            plan.id,
            DatedRange(date(2025, 1, 1)),
            {"bookings": Quota(Decimal(1000))},
        )
        for name in PEOPLE
    }
    known = Definitions(chart, Layered(), {plan.id: plan}, {plan.id: [version]}, assignments)
    settlement = Settlement(known, {})
    for before, after in zip((None, *deals[:-1]), deals, strict=True):
        cause = Cause.of_deal(after.deal_id, after.version)
        settlement.recredit(cause, [] if before is None else known.credits(before), known.credits(after))
    names = {person(name): name for name in PEOPLE}
    return {(names[cell.person_id], cell.key.period): cell for cell in settlement.changed_cells()}


def measures(cells: dict[tuple[str, Period], Cell]) -> dict[tuple[str, Period], Decimal]:
    return {key: cell.measure for key, cell in cells.items() if cell.credits}


def test_half_of_a_deal_is_half_of_the_goal_and_half_of_the_quota() -> None:
    by_split = replace(BOOKED, crediting=Crediting.SPLIT)
    value = goals(by_split, HALVES)["ann", FIRST]
    cell = pay(by_split, HALVES)["ann", FIRST]
    assert attainment(value, target=Decimal(1000)) == Decimal("0.5") == cell.attainment
    assert goals(BOOKED, HALVES)["ann", FIRST] == 1000 == pay(BOOKED, HALVES)["ann", FIRST].measure


@pytest.mark.parametrize("crediting", [Crediting.OWNER, Crediting.SPLIT])
@pytest.mark.parametrize("measure", [BOOKED, CASH, INVOICED, replace(BOOKED, date_field=DateField.INVOICED), DEALS])
def test_goal_and_pay_agree_about_every_deal(measure: Measure, crediting: Crediting) -> None:
    paid = (Instalment(date(2026, 3, 15), Decimal(200)), Instalment(date(2026, 4, 10), Decimal(100)))
    roles = (Split("ann", Decimal("33.3"), "owner"), Split("cid", Decimal("66.7"), "overlay"))
    rule = replace(measure, crediting=crediting)
    for deal in (
        DEAL,
        HALVES,
        DEAL._replace(payments=paid),
        DEAL._replace(payments=paid[:1], invoices=paid),
        HALVES._replace(payments=paid, splits=roles),
        HALVES._replace(invoices=paid, splits=roles),
    ):
        of_people = {key: value for key, value in goals(rule, deal).items() if key[0] != "team"}
        assert of_people == measures(pay(rule, deal))


def test_instalments_stay_in_their_quarters() -> None:
    first = DEAL._replace(payments=(Instalment(date(2026, 3, 15), Decimal(200)),))
    second = first._replace(payments=(*first.payments, Instalment(date(2026, 4, 10), Decimal(100))))
    assert goals(CASH, first)["ann", FIRST] == 200
    assert goals(CASH, first, second) == {
        ("ann", FIRST): 200,
        ("ann", SECOND): 100,
        ("team", FIRST): 200,
        ("team", SECOND): 100,
    }


def test_a_payment_that_states_its_moment_counts_on_the_day_of_the_tenants_calendar() -> None:
    midnight_in_shanghai = datetime(2026, 3, 31, 16, tzinfo=UTC)
    shanghai = replace(CHART, calendar=FiscalCalendar(1, "Asia/Shanghai"))
    paid = DEAL._replace(payments=(Instalment(midnight_in_shanghai.date(), Decimal(200), midnight_in_shanghai),))
    for crediting, deal in ((Crediting.OWNER, paid), (Crediting.SPLIT, paid._replace(splits=HALVES.splits))):
        for measure in (CASH, replace(DEALS, date_field=DateField.PAID)):
            rule = replace(measure, crediting=crediting)
            for chart, quarter in ((CHART, FIRST), (shanghai, SECOND)):
                assert {period for _, period in goals(rule, deal, chart=chart)} == {quarter}
                assert {period for _, period in measures(pay(rule, deal, chart=chart))} == {quarter}


def test_what_goes_back_takes_back_from_goal_and_pay_alike_on_its_own_day() -> None:
    paid = (Instalment(date(2026, 3, 15), Decimal(200)),)
    back = (*paid, Instalment(date(2026, 4, 10), Decimal(-50)))
    for versions in ([DEAL._replace(payments=back)], [DEAL._replace(payments=paid), DEAL._replace(payments=back)]):
        of_ann = {("ann", FIRST): Decimal(200), ("ann", SECOND): Decimal(-50)}
        assert {key: value for key, value in goals(CASH, *versions).items() if key[0] != "team"} == of_ann
        assert measures(pay(CASH, *versions)) == of_ann


def with_payments(*payments: Instalment) -> DealFacts:
    return DEAL._replace(payments=payments)


def with_invoices(*invoices: Instalment) -> DealFacts:
    return DEAL._replace(invoices=invoices)


@pytest.mark.parametrize(("measure", "having"), [(CASH, with_payments), (INVOICED, with_invoices)])
def test_a_payment_or_invoice_is_paid_in_its_quarter_and_what_goes_back_takes_back_its_own(
    measure: Measure, having: Callable[..., DealFacts]
) -> None:
    quarters = Period(date(2026, 10, 1), date(2027, 1, 1)), Period(date(2027, 1, 1), date(2027, 4, 1))
    october, january = Instalment(date(2026, 10, 20), Decimal(400)), Instalment(date(2027, 1, 12), Decimal(600))
    versions = [DEAL, having(october), having(october, january)]
    cells = pay(measure, *versions)
    assert [cells["ann", quarter].earned for quarter in quarters] == [40, 60]
    back = having(october, january, Instalment(date(2027, 2, 1), Decimal(-600)))
    cells = pay(measure, *versions, back)
    assert [cells["ann", quarter].earned for quarter in quarters] == [40, 0]


def test_a_whole_deal_is_one_deal_of_a_team_that_has_both_of_its_sellers() -> None:
    by_split = replace(DEALS, crediting=Crediting.SPLIT)
    assert goals(by_split, HALVES) == {
        ("ann", FIRST): Decimal("0.5"),
        ("ben", FIRST): Decimal("0.5"),
        ("team", FIRST): 1,
    }
    with_a_stranger = HALVES._replace(splits=(Split("ann", Decimal(50)), Split("cid", Decimal(50))))
    assert goals(by_split, with_a_stranger)["team", FIRST] == Decimal("0.5")


def test_a_deal_of_several_parts_is_one_of_the_deals_that_count() -> None:
    key = uuid5(TENANT, "team goal")
    measure = replace(CASH, crediting=Crediting.SPLIT)
    index = GoalIndex.of(CHART, [GoalTerms(key, OwnerKind.TEAM, TEAM, measure, FIRST)])
    paid = HALVES._replace(payments=tuple(Instalment(date(2026, 3, day), Decimal(100)) for day in (1, 2, 3)))
    movements = Movements(index)
    movements.add([Change(TENANT, None, paid, NOW, TENANT)])
    movement = movements.net()[key]
    assert (movement.value, movement.deals) == (Decimal(300), 1)
    assert [index.verdict(key, paid).parts[number].outcome.day for number in (0, 2, 4)] == [  # type: ignore[union-attr]
        date(2026, 3, day) for day in (1, 2, 3)
    ]
