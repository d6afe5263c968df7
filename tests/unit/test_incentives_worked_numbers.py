"""The worked numbers of public plan documents, and what lies around each: bounds, crossings back, any order."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from fractions import Fraction
from itertools import permutations
from uuid import UUID, uuid5

import pytest

from services.incentives.credits.domain.credit import CellKey, Credit
from services.incentives.credits.domain.definitions import Definitions
from services.incentives.earnings.domain.attribution import AttributedCredit, attributed
from services.incentives.earnings.domain.cells import Cell
from services.incentives.earnings.domain.inputs import exact_sum
from services.incentives.earnings.domain.schedule import Schedule, schedule_of
from services.incentives.earnings.domain.settlement import Settlement
from services.incentives.earnings.domain.years import deal_totals
from services.incentives.ledger.domain import Cause
from services.incentives.plans.domain.assignments import (
    Assignment,
    Quota,
    QuotaGap,
    QuotaGoal,
    assignment_warnings,
    check_quota_goal,
    quota_of,
)
from services.incentives.plans.domain.kinds.commission import Basis, Commission
from services.incentives.plans.domain.rates import (
    FlatRate,
    Rate,
    Tier,
    TieredRate,
    TierMode,
    TierScale,
    check_rate_can_be_meant,
)
from services.incentives.plans.domain.versions import Plan, PlanVersion, VersionStatus
from shared.kernel.deals import DateField, DealFacts, DealKind, DealStatus, Instalment, RecordVersion, Split
from shared.kernel.errors import InvalidInput
from shared.kernel.layers import Layered
from shared.kernel.measures import Aggregate, Crediting, Measure, RatePolicy, Unit, fixed_rates_of
from shared.kernel.org import CrmUser, MembershipFact, OrgChart, OwnerKind, TeamNode
from shared.kernel.periods import DatedRange, Period, PeriodKind
from shared.kernel.rates import ExchangeRates

SPACE = UUID(int=1)
DAY = date(2026, 1, 15)
PERIOD = Period(date(2026, 1, 1), date(2026, 4, 1))
BOOKINGS = Measure(Aggregate.SUM, "amount", DateField.CLOSED, currency="USD")
UNITS = Measure(Aggregate.SUM, "quantity", DateField.CLOSED)


def named(name: str) -> UUID:
    return uuid5(SPACE, name)


def tiers(mode: TierMode, *pairs: tuple[str, str], scale: TierScale = TierScale.AMOUNT) -> TieredRate:
    return TieredRate(mode, scale, tuple(Tier(Decimal(start), Decimal(rate)) for start, rate in pairs))


def component(rate: Rate, basis: Basis = Basis.CUMULATIVE, measure: Measure = BOOKINGS) -> Commission:
    return Commission("bookings", "Bookings", measure, rate, basis=basis)


def schedule(rate: Rate, basis: Basis = Basis.CUMULATIVE, quota: str | None = None) -> Schedule:
    found = schedule_of(component(rate, basis), QuotaGap.MISSING if quota is None else Decimal(quota))
    assert isinstance(found, Schedule)
    return found


def credit(name: str, value: str, day: date = DAY) -> Credit:
    return Credit(named("assignment"), "bookings", named(name), day, PERIOD, Decimal(100), Decimal(value))


def paid(rate: Rate, values: Sequence[str], basis: Basis = Basis.CUMULATIVE) -> list[AttributedCredit]:
    """The deals in business order, one a day."""
    credits = [credit(f"deal {n}", value, date(2026, 1, n)) for n, value in enumerate(values, start=1)]
    return attributed(schedule(rate, basis), credits, "USD")


def amounts(lines: Sequence[AttributedCredit]) -> list[Decimal]:
    return [line.amount for line in lines]


SPIFF = tiers(TierMode.MARGINAL, ("0", "0.04"), ("150000", "0.06"), ("250000", "0.08"))
ORACLE_STEPS = tiers(TierMode.MARGINAL, ("0", "0.01"), ("1000", "0.02"), ("3000", "0.03"), ("8000", "0.05"))
ORACLE_RETROACTIVE = tiers(
    TierMode.RETROACTIVE, ("0", "0.01"), ("10000", "0.02"), ("50000", "0.03"), ("100000", "0.04")
)
ACCELERATOR = tiers(TierMode.MARGINAL, ("0", "0.05"), ("1", "0.06"), ("1.25", "0.07"), scale=TierScale.ATTAINMENT)
FIVE_SEVEN_TEN = (("0", "0.05"), ("10000", "0.07"), ("25000", "0.10"))
OURS = tiers(TierMode.RETROACTIVE, ("0", "0.10"), ("100", "0.20"))


def test_marginal_tiers_on_a_running_total_pay_each_slice_of_a_deal_at_its_own_rate() -> None:
    lines = paid(SPIFF, ["145000", "20000"])
    assert lines[1].amount == Decimal(1100)
    assert [part.value for part in lines[1].slices] == [5000, 15000]
    assert [part.amount for part in lines[1].slices] == [200, 900]


def test_a_running_total_exactly_on_a_marginal_bound_fills_the_tier_and_the_next_deal_starts_the_next() -> None:
    assert amounts(paid(SPIFF, ["145000", "5000", "1"])) == [Decimal(5800), Decimal(200), Decimal("0.06")]


def test_one_deal_across_two_marginal_bounds_is_cut_in_three() -> None:
    (line,) = paid(SPIFF, ["300000"])
    assert line.amount == Decimal(6000 + 6000 + 4000)
    assert [part.tier for part in line.slices] == [0, 1, 2]


def test_a_refund_that_crosses_back_over_a_marginal_bound_is_the_exact_inverse() -> None:
    lines = paid(SPIFF, ["145000", "20000", "-20000"])
    assert lines[2].amount == -lines[1].amount
    assert [part.amount for part in lines[2].slices] == [Decimal(-900), Decimal(-200)]


def test_the_total_of_marginal_tiers_does_not_depend_on_the_order_of_deals() -> None:
    totals = {sum(amounts(paid(SPIFF, order))) for order in permutations(["145000", "20000", "-7000.33", "120000"])}
    assert len(totals) == 1


def test_step_rates_per_deal_and_cumulative_differ_as_oracle_shows() -> None:
    deals = ["200", "300", "1500", "1200"]
    assert amounts(paid(ORACLE_STEPS, deals, Basis.PER_DEAL)) == [2, 3, 20, 14]
    assert amounts(paid(ORACLE_STEPS, deals)) == [2, 3, 25, 26]


def test_per_deal_every_deal_starts_in_the_first_tier_on_a_bound_and_across_two() -> None:
    assert amounts(paid(ORACLE_STEPS, ["1000", "3000", "8000"], Basis.PER_DEAL)) == [10, 50, 200]


def test_per_deal_a_credit_note_takes_back_exactly_what_its_deal_paid() -> None:
    lines = paid(ORACLE_STEPS, ["1500", "-1500"], Basis.PER_DEAL)
    assert amounts(lines) == [20, -20]
    assert sum(part.amount for part in lines[1].slices) == -20


def test_per_deal_totals_do_not_depend_on_the_order_of_deals() -> None:
    orders = permutations(["200", "300", "1500.55", "-1200"])
    assert len({sum(amounts(paid(ORACLE_STEPS, order, Basis.PER_DEAL))) for order in orders}) == 1


@pytest.mark.parametrize(("reached", "pays"), [("5000", 50), ("15000", 300), ("60000", 1800)])
def test_retroactive_tiers_pay_everything_at_the_rate_reached(reached: str, pays: int) -> None:
    assert schedule(ORACLE_RETROACTIVE).total(Decimal(reached)) == pays


@pytest.mark.parametrize(("reached", "pays"), [("9999.99", "99.9999"), ("10000", "200"), ("100000", "4000")])
def test_a_retroactive_bound_belongs_to_the_tier_it_opens(reached: str, pays: str) -> None:
    assert schedule(ORACLE_RETROACTIVE).total(Decimal(reached)) == Decimal(pays)


def test_the_deal_that_reaches_a_retroactive_tier_across_two_bounds_rerates_all_before_it() -> None:
    first, second = paid(ORACLE_RETROACTIVE, ["9000", "51000"])
    assert [first.amount, second.amount] == [90, 1710]
    assert second.rerated == Decimal(9000) * (Decimal("0.03") - Decimal("0.01"))


def test_a_refund_that_falls_back_out_of_a_retroactive_tier_is_the_exact_inverse() -> None:
    assert amounts(paid(ORACLE_RETROACTIVE, ["9000", "51000", "-51000"])) == [90, 1710, -1710]


def test_the_total_of_retroactive_tiers_does_not_depend_on_the_order_of_deals() -> None:
    orders = permutations(["9000", "51000", "-8000", "45000.01"])
    assert len({sum(amounts(paid(ORACLE_RETROACTIVE, order))) for order in orders}) == 1


def test_accelerators_over_quota_pay_each_part_of_the_attainment_at_its_rate() -> None:
    assert schedule(ACCELERATOR, quota="100000").total(Decimal(150000)) == 8250


@pytest.mark.parametrize(("reached", "pays"), [("100000", 5000), ("125000", 6500), ("-10000", -500), ("0", 0)])
def test_accelerators_on_their_bounds_and_below_zero(reached: str, pays: int) -> None:
    assert schedule(ACCELERATOR, quota="100000").total(Decimal(reached)) == pays


@pytest.mark.parametrize(("quota", "gap"), [(None, QuotaGap.MISSING), ("0", QuotaGap.NOT_POSITIVE)])
def test_tiers_by_attainment_pay_nothing_without_a_quota_and_say_so(quota: str | None, gap: QuotaGap) -> None:
    found = schedule_of(component(ACCELERATOR), QuotaGap.MISSING if quota is None else Decimal(quota))
    assert found is gap
    (line,) = attributed(gap, [credit("deal", "50000")], "USD")
    assert line.amount == 0


def test_marginal_against_retroactive_on_the_same_tiers() -> None:
    assert schedule(tiers(TierMode.MARGINAL, *FIVE_SEVEN_TEN)).total(Decimal(30000)) == 2050
    assert schedule(tiers(TierMode.RETROACTIVE, *FIVE_SEVEN_TEN)).total(Decimal(30000)) == 3000


def test_marginal_and_retroactive_agree_in_the_first_tier_and_below_zero_and_part_on_the_bound() -> None:
    marginal, retroactive = (schedule(tiers(mode, *FIVE_SEVEN_TEN)) for mode in TierMode)
    for reached in ("9999.99", "0", "-25000"):
        assert marginal.total(Decimal(reached)) == retroactive.total(Decimal(reached))
    assert [marginal.total(Decimal(10000)), retroactive.total(Decimal(10000))] == [500, 700]


def people(*names: str) -> dict[CrmUser, UUID]:
    return {CrmUser("crm", name): named(name) for name in names}


def deal(
    name: str, amount: str, owner: str = "ann", splits: Sequence[tuple[str, str]] = (), quantity: str | None = None
) -> DealFacts:
    return DealFacts(
        deal_id=named(name),
        source="crm",
        external_id=name,
        version=RecordVersion(datetime(2026, 1, 15, tzinfo=UTC), 0, named("delivery")),
        kind=DealKind.UPSERTED,
        status=DealStatus.WON,
        owner_external_id=owner,
        amount=Decimal(amount),
        currency="USD",
        quantity=None if quantity is None else Decimal(quantity),
        closed_on=DAY,
        splits=tuple(Split(person, Decimal(percent)) for person, percent in splits),
    )


def company(*assigned: tuple[str, Commission]) -> Definitions:
    """Each named person on a plan of its own with that component; max manages the team of ann, ben and cid."""
    team = named("team")
    plans, versions, assignments = {}, {}, {}
    for name, paying in assigned:
        plan = Plan(named(f"plan of {name}"), name, "USD", PeriodKind.QUARTER)
        plans[plan.id] = plan
        versions[plan.id] = [PlanVersion(plan.id, 1, VersionStatus.ACTIVE, PERIOD.start, (paying,), None, None)]
        key = named(f"assignment of {name}")
        assignments[key] = Assignment(key, named(name), plan.id, DatedRange(PERIOD.start))
    chart = OrgChart(
        teams={team: TeamNode(team, None, named("max"))},
        memberships=[MembershipFact(named(name), team, DatedRange(date(2025, 1, 1))) for name in ("ann", "ben", "cid")],
        identities=people("ann", "ben", "cid", "dan", "max"),
    )
    return Definitions(chart, Layered(), plans, versions, assignments)


def credited(definitions: Definitions, name: str, *deals: DealFacts) -> Decimal:
    wanted = named(f"assignment of {name}")
    return sum(
        (c.value for facts in deals for c in definitions.credits(facts) if c.assignment_id == wanted), Decimal(0)
    )


def crediting(rule: Crediting, role: str | None = None, percent: str = "100") -> Commission:
    measure = replace(BOOKINGS, crediting=rule, role=role)
    return Commission("bookings", "Bookings", measure, FlatRate(Decimal("0.05")), Decimal(percent))


def test_splits_credit_their_shares_and_a_manager_the_measures_of_the_team() -> None:
    split = crediting(Crediting.SPLIT)
    definitions = company(*((name, split) for name in ("ann", "ben", "cid")), ("max", crediting(Crediting.ROLLUP)))
    shared = deal("shared", "50000", splits=[("ann", "60"), ("ben", "30"), ("cid", "10")])
    assert [credited(definitions, name, shared) for name in ("ann", "ben", "cid")] == [30000, 15000, 5000]
    alone = [deal("a", "170000", "ann"), deal("b", "165000", "ben"), deal("c", "145000", "cid")]
    reps = [credited(definitions, name, shared, *alone) for name in ("ann", "ben", "cid")]
    assert reps == [200000, 180000, 150000]
    assert credited(definitions, "max", shared, *alone) == 530000


def test_a_share_of_someone_outside_the_subtree_does_not_roll_up() -> None:
    definitions = company(("max", crediting(Crediting.ROLLUP)))
    assert credited(definitions, "max", deal("d", "1000", splits=[("ann", "25"), ("dan", "75")])) == 250


def test_a_deal_without_splits_is_the_owners_and_a_role_narrows_only_the_splits() -> None:
    definitions = company(("ann", crediting(Crediting.SPLIT, role="overlay")))
    assert credited(definitions, "ann", deal("d", "1000")) == 1000
    assert credited(definitions, "ann", deal("d", "1000", splits=[("ann", "100")])) == 0


def test_weighted_achievement_counts_each_unit_at_its_share() -> None:
    counting = Commission("units", "Units", replace(UNITS, crediting=Crediting.SPLIT), FlatRate(Decimal(10)))
    definitions = company(("ann", counting))
    full = deal("full", "1", quantity="5")
    half = deal("half", "1", quantity="10", splits=[("ann", "50"), ("ben", "50")])
    assert credited(definitions, "ann", full, half) == 10


def settled(definitions: Definitions, *changes: tuple[DealFacts | None, DealFacts | None]) -> tuple[Cell, Settlement]:
    settlement = Settlement(definitions, {})
    for before, after in changes:
        cause = Cause.of_definitions(["test"])
        settlement.recredit(
            cause,
            [] if before is None else definitions.credits(before),
            [] if after is None else definitions.credits(after),
        )
    (cell,) = settlement.changed_cells()
    return cell, settlement


def test_a_split_is_taken_before_the_rate() -> None:
    definitions = company(("ann", crediting(Crediting.SPLIT)))
    cell, _ = settled(definitions, (None, deal("d", "10000", splits=[("ann", "60"), ("ben", "40")])))
    assert [cell.measure, cell.earned] == [6000, 300]


def test_an_allocation_scales_the_split() -> None:
    definitions = company(("ann", crediting(Crediting.SPLIT, percent="50")))
    assert credited(definitions, "ann", deal("d", "10000", splits=[("ann", "60"), ("ben", "40")])) == 3000


def test_a_full_refund_nets_to_exactly_nothing() -> None:
    definitions = company(("ann", component(tiers(TierMode.MARGINAL, ("0", "0.001"), ("1000", "0.015")))))
    sale, note = deal("sale", "1333.37"), deal("note", "-1333.37")
    cell, settlement = settled(definitions, (None, sale), (None, note))
    assert [cell.earned, cell.measure, cell.credits] == [0, 0, 2]
    assert [posting.entries[0].amount for posting in settlement.postings] == [Decimal("6.00"), Decimal("-6.00")]
    cell, _ = settled(definitions, (None, sale), (sale, None))
    assert [cell.earned, cell.credits] == [0, 0]


def test_a_refund_that_comes_before_its_sale_nets_to_nothing_too() -> None:
    definitions = company(("ann", component(ORACLE_RETROACTIVE)))
    cell, settlement = settled(definitions, (None, deal("note", "-60000")), (None, deal("sale", "60000")))
    assert cell.earned == 0
    assert [posting.entries[0].amount for posting in settlement.postings] == [-600, 600]


PAYMENTS, INVOICES = ("payments", "paid_amount"), ("invoices", "invoiced_amount")


def cash(
    rate: str,
    date_field: DateField = DateField.CLOSED,
    policy: RatePolicy = RatePolicy.NONE,
    field: str = "paid_amount",
) -> Commission:
    measure = Measure(Aggregate.SUM, field, date_field, currency="USD", rate_policy=policy)
    return component(FlatRate(Decimal(rate)), measure=measure)


def paying_in(name: str, amount: str, *payments: tuple[date, str], of: str = "payments") -> list[DealFacts]:
    """A deal as it was signed, and after each payment or invoice."""
    versions = [deal(name, amount)]
    for number in range(1, len(payments) + 1):
        came_in = tuple(Instalment(day, Decimal(paid)) for day, paid in payments[:number])
        is_paid = of == "payments"
        versions.append(versions[0]._replace(payments=came_in) if is_paid else versions[0]._replace(invoices=came_in))
    return versions


@pytest.mark.parametrize(("of", "field"), [PAYMENTS, INVOICES])
@pytest.mark.parametrize(
    ("rate", "amount", "payments", "posted"),
    [
        ("0.1", "1000000", ("500000", "500000"), [50000, 50000]),
        ("0.2", "20000", ("10000", "10000"), [2000, 2000]),
        ("0.1", "1000", ("1000", "-1000"), [100, -100]),
    ],
)
def test_pay_on_cash_or_invoice_is_posted_as_each_payment_or_invoice_comes_in(
    rate: str, amount: str, payments: tuple[str, ...], posted: list[int], of: str, field: str
) -> None:
    definitions = company(("ann", cash(rate, field=field)))
    days = [date(2026, 2, number) for number in range(1, len(payments) + 1)]
    signed, *later = paying_in("d", amount, *zip(days, payments, strict=True), of=of)
    assert definitions.credits(signed) == []
    changes = list(zip([signed, *later], later, strict=False))
    cell, settlement = settled(definitions, *changes)
    assert [posting.entries[0].amount for posting in settlement.postings] == posted
    assert cell.earned == sum(posted)
    assert cell.key.period == PERIOD


def test_cash_counts_in_the_period_it_was_booked_in_or_in_that_of_each_payment() -> None:
    _, late = paying_in("d", "1000", (date(2026, 5, 1), "1000"))
    (booked,) = company(("ann", cash("0.1"))).credits(late)
    (received,) = company(("ann", cash("0.1", DateField.PAID))).credits(late)
    assert (booked.day, booked.period) == (DAY, PERIOD)
    assert (received.day, received.period) == (date(2026, 5, 1), Period(date(2026, 4, 1), date(2026, 7, 1)))


@pytest.mark.parametrize("field", ["amount", "invoiced_amount"])
def test_an_invoice_is_recognised_in_its_period_and_a_credit_note_in_its_own(field: str) -> None:
    definitions = company(("ann", cash("0.2", DateField.INVOICED, field=field)))
    *_, deal = paying_in(
        "d",
        "20000",
        (date(2026, 3, 31), "10000"),
        (date(2026, 4, 1), "10000"),
        (date(2026, 7, 2), "-10000"),
        of="invoices",
    )
    paid = deal._replace(payments=(Instalment(date(2026, 3, 1), Decimal(5)),))
    assert definitions.credits(paid) == definitions.credits(deal)
    assert [
        (credit.day, credit.period.start, credit.value * Decimal("0.2")) for credit in definitions.credits(deal)
    ] == [
        (date(2026, 3, 31), date(2026, 1, 1), Decimal(2000)),
        (date(2026, 4, 1), date(2026, 4, 1), Decimal(2000)),
        (date(2026, 7, 2), date(2026, 7, 1), Decimal(-2000)),
    ]
    assert definitions.credits(deal._replace(invoices=())) == []


def test_a_deal_is_paid_by_its_invoices_or_by_its_payments_whichever_its_terms_came_to_first() -> None:
    invoiced = (Instalment(date(2026, 2, 1), Decimal(100)), Instalment(date(2026, 8, 1), Decimal(200)))
    came_in = (Instalment(date(2026, 5, 1), Decimal(70)), Instalment(date(2026, 6, 1), Decimal(30)))
    both = deal("d", "1000")._replace(invoices=invoiced, payments=came_in)
    by_invoice, by_payment = cash("0.1", DateField.INVOICED, field="amount"), cash("0.1", DateField.PAID)

    def days(first: Commission, then: Commission) -> list[date]:
        definitions = company(("ann", first))
        ((plan_id, versions),) = definitions.versions.items()
        later = PlanVersion(plan_id, 2, VersionStatus.ACTIVE, date(2026, 7, 1), (then,), None, None)
        return sorted(
            credit.day for credit in replace(definitions, versions={plan_id: [*versions, later]}).credits(both)
        )

    assert days(by_invoice, by_invoice) == [date(2026, 2, 1), date(2026, 8, 1)]
    assert days(by_invoice, by_payment) == [date(2026, 2, 1)]
    assert days(by_payment, by_invoice) == [date(2026, 5, 1), date(2026, 6, 1)]


def converting(policy: RatePolicy, rates: ExchangeRates, fixed: Mapping[str, str] | None = None) -> Definitions:
    measure = replace(BOOKINGS, rate_policy=policy, fixed_rates=fixed_rates_of(fixed))
    definitions = company(("ann", component(FlatRate(Decimal("0.05")), measure=measure)))
    return replace(definitions, chart=replace(definitions.chart, rates=rates))


def in_currency(currency: str, amount: str, **facts: object) -> DealFacts:
    return deal("d", amount)._replace(currency=currency, **facts)  # type: ignore[arg-type]


# On 15 January a euro is 1.0845 dollars and a pound 1.2711; the next day a euro is 1.09.
DOLLARS = ExchangeRates(
    "USD",
    {
        ("USD", "EUR"): {DAY: Decimal("1.0845"), date(2026, 1, 16): Decimal("1.09")},
        ("USD", "GBP"): {date(2026, 1, 2): Decimal("1.2711")},
    },
)


def test_a_deal_in_another_currency_is_paid_at_the_rate_of_its_day_and_rounded_once() -> None:
    definitions = converting(RatePolicy.DEAL_DATE, DOLLARS)
    cell, _ = settled(definitions, (None, in_currency("EUR", "1000.10")))
    # 1000.10 × 1.0845 = 1084.608450; 5 % of it 54.2304225.
    assert (cell.measure, cell.earned) == (Decimal("1084.60845"), Decimal("54.23"))
    cell, _ = settled(definitions, (None, in_currency("GBP", "500")))
    assert (cell.measure, cell.earned) == (Decimal("635.55"), Decimal("31.78"))
    assert definitions.credits(in_currency("JPY", "500")) == []


def test_the_crms_own_conversion_is_paid_before_the_daily_rate_and_a_fixed_one_before_both() -> None:
    told = in_currency("EUR", "1000", home_amount=Decimal(1080), home_currency="USD")
    cell, _ = settled(converting(RatePolicy.DEAL_DATE, DOLLARS), (None, told))
    assert [cell.measure, cell.earned] == [1080, 54]
    cell, _ = settled(converting(RatePolicy.FIXED, DOLLARS, {"EUR": "1.10"}), (None, told))
    assert [cell.measure, cell.earned] == [1100, 55]
    assert converting(RatePolicy.NONE, DOLLARS).credits(told) == []


def test_a_converted_deal_that_is_taken_back_leaves_nothing() -> None:
    thirds = ExchangeRates("CNY", {("CNY", "USD"): {DAY: Decimal(3)}, ("CNY", "EUR"): {DAY: Decimal(2)}})
    large = in_currency("EUR", "123456789012.37", splits=(Split("ann", Decimal("33.333333")),))
    split = Commission(
        "bookings",
        "Bookings",
        replace(BOOKINGS, rate_policy=RatePolicy.DEAL_DATE, crediting=Crediting.SPLIT),
        FlatRate(Decimal("0.0333")),
        allocation_percent=Decimal("12.345678"),
    )
    definitions = company(("ann", split))
    definitions = replace(definitions, chart=replace(definitions.chart, rates=thirds))
    (credit,) = definitions.credits(large)
    share = Fraction("0.33333333") * Fraction("0.12345678") * 100 / 100
    assert Fraction(credit.value) == Fraction("123456789012.37") * Fraction("0.6666666666666667") * share
    cell, _ = settled(definitions, (None, large))
    assert Fraction(cell.measure) == Fraction(credit.value)
    cell, _ = settled(definitions, (None, large), (large, None))
    assert [cell.measure, cell.earned, cell.credits] == [0, 0, 0]


def test_bounds_are_half_open_so_that_nothing_is_unpaid_or_ambiguous() -> None:
    ours = schedule(OURS)
    assert ours.total(Decimal("0.5")) == Decimal("0.05")
    assert ours.tier_of(Decimal("99.999999")) == 0
    assert ours.tier_of(Decimal(100)) == 1
    assert ours.total(Decimal(100)) == 20


def test_a_cent_below_a_bound_and_a_cent_over_a_second_one() -> None:
    stepped = schedule(tiers(TierMode.MARGINAL, ("0", "0.1"), ("100", "0.2"), ("200", "0.3")))
    assert stepped.total(Decimal("99.99")) == Decimal("9.999")
    assert stepped.total(Decimal("200.01")) == Decimal("30.003")


def test_the_amounts_of_deals_sum_to_the_rounded_pay_though_each_alone_would_round_up() -> None:
    lines = paid(FlatRate(Decimal("0.05")), ["0.10"] * 3)
    assert sum(amounts(lines)) == Decimal("0.02")
    assert amounts(lines) == [Decimal("0.01"), Decimal("0.00"), Decimal("0.01")]


def test_an_earlier_deal_that_arrives_late_takes_the_lower_tier_and_rerates_the_later_one() -> None:
    late, early = credit("late", "10000", date(2026, 2, 1)), credit("early", "10000", date(2026, 1, 1))
    tiered = schedule(tiers(TierMode.MARGINAL, ("0", "0.05"), ("10000", "0.10")))
    assert amounts(attributed(tiered, [late], "USD")) == [500]
    assert amounts(attributed(tiered, [late, early], "USD")) == [500, 1000]


def test_a_quota_amount_serves_every_period_of_the_assignment() -> None:
    definitions = company(("ann", component(ACCELERATOR)))
    (assignment,) = definitions.assignments.values()
    quoted = Assignment(
        assignment.id,
        assignment.person_id,
        assignment.plan_id,
        assignment.range,
        {"bookings": Quota(amount=Decimal(1000))},
    )
    with_quota = Definitions(
        definitions.chart, Layered(), definitions.plans, definitions.versions, {assignment.id: quoted}
    )
    cell, _ = settled(with_quota, (None, deal("d", "1500")))
    assert cell.key == CellKey(assignment.id, "bookings", PERIOD)
    assert cell.earned == Decimal("82.50")


_DOLLARS = Unit("money", "USD")
_NEXT = Period(date(2026, 4, 1), date(2026, 7, 1))


def quota_goal(target: str = "1", *, owner: str = "ann", unit: Unit = _DOLLARS, counts: bool = True) -> QuotaGoal:
    return QuotaGoal(PERIOD, Decimal(target), counts, OwnerKind.PERSON, named(owner), unit)


def measured_on(*goals: str) -> Assignment:
    quotas = {"bookings": Quota(goal_ids=tuple(named(goal) for goal in goals))}
    return Assignment(named("a"), named("ann"), named("plan"), DatedRange(PERIOD.start), quotas)


def test_a_goal_is_a_quota_only_of_its_own_period_and_while_it_counts() -> None:
    assignment = measured_on("cancelled", "closed")
    goals = {named("cancelled"): quota_goal(counts=False), named("closed"): quota_goal("2")}
    assert quota_of(assignment, "bookings", _DOLLARS, PERIOD, goals) == 2
    assert quota_of(assignment, "bookings", _DOLLARS, _NEXT, goals) is QuotaGap.MISSING
    assert quota_of(assignment, "renewals", _DOLLARS, PERIOD, goals) is QuotaGap.MISSING


@pytest.mark.parametrize(
    ("goal", "gap"),
    [
        (None, QuotaGap.GOAL_UNKNOWN),
        (quota_goal(counts=False), QuotaGap.GOAL_NOT_ACTIVE),
        (quota_goal(owner="bob"), QuotaGap.GOAL_OF_ANOTHER),
        (quota_goal("10", unit=Unit("count", None)), QuotaGap.GOAL_OF_ANOTHER_UNIT),
        (quota_goal("1000000", unit=Unit("money", "JPY")), QuotaGap.GOAL_OF_ANOTHER_UNIT),
    ],
)
def test_a_goal_that_does_not_fit_is_never_paid_on_and_says_why(goal: QuotaGoal | None, gap: QuotaGap) -> None:
    goals = {} if goal is None else {named("goal"): goal}
    found = quota_of(measured_on("goal"), "bookings", _DOLLARS, PERIOD, goals)
    assert found is gap
    assert schedule_of(component(ACCELERATOR), found) is gap


def test_a_team_s_goal_may_be_the_quota_of_a_person() -> None:
    goal = QuotaGoal(PERIOD, Decimal(5), True, OwnerKind.TEAM, named("team"), _DOLLARS)
    assert quota_of(measured_on("goal"), "bookings", _DOLLARS, PERIOD, {named("goal"): goal}) == 5


@pytest.mark.parametrize(
    ("goal", "says"),
    [
        (quota_goal(owner="bob"), "another person"),
        (quota_goal(unit=Unit("count", None)), "a number of records"),
        (quota_goal(unit=Unit("money", "JPY")), "money in JPY"),
    ],
)
def test_a_goal_that_can_never_be_the_quota_is_refused_with_its_place(goal: QuotaGoal, says: str) -> None:
    with pytest.raises(InvalidInput, match=says) as refused:
        check_quota_goal(goal, named("ann"), _DOLLARS, PERIOD, "/quotas/bookings/goal_ids/0")
    assert refused.value.fields[0].pointer == "/quotas/bookings/goal_ids/0"


def test_a_goal_of_a_year_is_refused_as_the_quota_of_a_quarter() -> None:
    with pytest.raises(InvalidInput, match="no period of the plan") as refused:
        check_quota_goal(quota_goal(), named("ann"), _DOLLARS, _NEXT, "/quotas/bookings/goal_ids/0")
    assert "2026-04-01 to 2026-07-01" in str(refused.value.fields[0].accepted)


def test_a_quota_whose_goal_has_not_arrived_or_is_not_active_is_warned_of() -> None:
    goals = {named("draft"): quota_goal(counts=False), named("active"): quota_goal()}
    found = assignment_warnings(measured_on("active", "draft", "unknown"), goals)
    assert [warning.pointer for warning in found] == ["/quotas/bookings/goal_ids/1", "/quotas/bookings/goal_ids/2"]


@pytest.mark.parametrize("basis", list(Basis))
@pytest.mark.parametrize("mode", list(TierMode))
@pytest.mark.parametrize(
    "values", [["60000", "-20000"], ["5000", "10000", "-14000"], ["-20000"], ["120000", "-120000"]]
)
def test_the_tiers_of_an_explanation_add_up_to_the_payout(basis: Basis, mode: TierMode, values: list[str]) -> None:
    rate = tiers(mode, ("0", "0.01"), ("10000", "0.02"), ("50000", "0.03"), ("100000", "0.04"))
    found = schedule(rate, basis=basis)
    credited = [Decimal(value) for value in values]
    credits = [credit(f"deal {n}", value) for n, value in enumerate(values)]
    lines = attributed(found, credits, "USD")
    deals = deal_totals(credits)
    parts = list(found.parts(Decimal(0), sum(credited, Decimal(0)), deals, None))
    assert exact_sum(part.amount for part in parts) == exact_sum(line.exact for line in lines)
    assert exact_sum(part.value for part in parts) == sum(credited)
    if basis is Basis.CUMULATIVE and mode is TierMode.RETROACTIVE:
        # All of it is paid at the tier it ended in, and nothing is left of the tiers it went through.
        assert {part.tier for part in parts} <= {found.tier_of(sum(credited, Decimal(0)))}


def test_a_bound_by_attainment_that_must_be_a_percentage_is_refused_with_its_place() -> None:
    meant = tiers(TierMode.MARGINAL, ("0", "0.05"), ("1", "0.06"), ("10", "0.07"), scale=TierScale.ATTAINMENT)
    check_rate_can_be_meant(meant)
    check_rate_can_be_meant(tiers(TierMode.MARGINAL, ("0", "0.05"), ("100", "0.06")))
    with pytest.raises(InvalidInput, match="10000 % of the quota") as refused:
        check_rate_can_be_meant(tiers(TierMode.MARGINAL, ("0", "0.05"), ("100", "0.06"), scale=TierScale.ATTAINMENT))
    assert refused.value.fields[0].pointer == "/tiers/1/from"
