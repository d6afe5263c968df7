"""The worked numbers of what a commission can be told: points, gates, multipliers, thresholds, caps, windfalls, seams.

Each through the settlement as the service drives it, deal by deal; each total is the same in any order of deals, equals
the cells worked out anew, and is what the lines and steps of the explanation add up to.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from decimal import Decimal
from itertools import permutations
from typing import Final
from uuid import UUID, uuid5

import pytest

from services.incentives.credits.domain.credit import CellKey, ComponentYear, Credit
from services.incentives.credits.domain.definitions import Definitions
from services.incentives.earnings.domain.cells import Cell
from services.incentives.earnings.domain.explanation import Explanation, explained, explained_in_year
from services.incentives.earnings.domain.settlement import Settlement
from services.incentives.earnings.domain.steps import StepKind
from services.incentives.earnings.domain.years import LinkedCells, YearCredits
from services.incentives.ledger.domain import Cause
from services.incentives.plans.domain.assignments import Assignment, PerTime, Quota, QuotaGap, TargetVariable
from services.incentives.plans.domain.kinds.commission import (
    GATE,
    Basis,
    Caps,
    Commission,
    Gate,
    Threshold,
)
from services.incentives.plans.domain.parameters import (
    MAIN,
    ComponentMeasure,
    Multiplier,
    Windfall,
    WindfallCounts,
    quota_key,
)
from services.incentives.plans.domain.rates import (
    FlatRate,
    Point,
    PointsPay,
    PointsRate,
    Rate,
    Tier,
    TieredRate,
    TierMode,
    TierScale,
)
from services.incentives.plans.domain.versions import Plan, PlanVersion, VersionStatus
from shared.kernel.deals import DateField, DealFacts, DealKind, DealStatus, Instalment, RecordVersion, Split
from shared.kernel.errors import InvalidInput
from shared.kernel.filters import Condition, Operator
from shared.kernel.layers import Layered
from shared.kernel.measures import Aggregate, Crediting, Measure
from shared.kernel.org import CrmUser, OrgChart
from shared.kernel.periods import DatedRange, PeriodKind

SPACE: Final = UUID(int=1)
ANN: Final = uuid5(SPACE, "ann")
PLAN: Final = uuid5(SPACE, "plan")
ASSIGNMENT: Final = uuid5(SPACE, "assignment")
CAUSE: Final = Cause.of_definitions(["test"])
MONEY: Final = Measure(Aggregate.SUM, "amount", DateField.CLOSED, currency="USD")
UNITS: Final = Measure(Aggregate.SUM, "quantity", DateField.CLOSED)
NEW: Final = Condition("type", Operator.EQ, ("new",))
LONG: Final = Condition("channel", Operator.EQ, ("multi-year",))
JANUARY: Final = date(2026, 1, 1)


def deal(
    number: int,
    amount: str,
    day: date = date(2026, 1, 10),
    *,
    quantity: str | None = None,
    new: bool = False,
    long: bool = False,
    payments: Sequence[tuple[date, str]] = (),
    splits: Sequence[tuple[str, str]] = (),
) -> DealFacts:
    return DealFacts(
        deal_id=UUID(int=100 + number),
        source="crm",
        external_id=str(number),
        version=RecordVersion(datetime(2026, 1, 15, tzinfo=UTC), 0, UUID(int=5)),
        kind=DealKind.UPSERTED,
        status=DealStatus.WON,
        owner_external_id="ann",
        amount=Decimal(amount),
        currency="USD",
        quantity=None if quantity is None else Decimal(quantity),
        type="new" if new else None,
        channel="multi-year" if long else None,
        closed_on=day,
        payments=tuple(Instalment(paid_on, Decimal(paid)) for paid_on, paid in payments),
        splits=tuple(Split(user, Decimal(percent)) for user, percent in splits),
    )


@dataclass(frozen=True)
class Company:
    """Ann on a plan with versions of one commission, each from its first day on."""

    versions: tuple[tuple[date, Commission], ...]
    period: PeriodKind = PeriodKind.QUARTER
    quota: str | None = None
    gate_quota: str | None = None
    end: date | None = None
    target: str | None = None

    @property
    def definitions(self) -> Definitions:
        quotas = {}
        if self.quota is not None:
            quotas["bookings"] = Quota(Decimal(self.quota))
        if self.gate_quota is not None:
            quotas[quota_key("bookings", GATE)] = Quota(Decimal(self.gate_quota))
        versions = [
            PlanVersion(PLAN, number, VersionStatus.ACTIVE, start, (paying,), None, None)
            for number, (start, paying) in enumerate(self.versions, start=1)
        ]
        target = None if self.target is None else TargetVariable(Decimal(self.target), PerTime.PERIOD)
        days = DatedRange(JANUARY, self.end)
        assignment = Assignment(ASSIGNMENT, ANN, PLAN, days, quotas, target_variable=target)
        return Definitions(
            OrgChart(identities={CrmUser("crm", "ann"): ANN}),
            Layered(),
            {PLAN: Plan(PLAN, "Reps", "USD", self.period)},
            {PLAN: versions},
            {ASSIGNMENT: assignment},
        )


class Book:
    """Settles deals one by one, as batches of one."""

    def __init__(self, company: Company) -> None:
        self.known = company.definitions
        self.credits: dict[UUID, list[Credit]] = {}
        self.cells: dict[CellKey, Cell] = {}
        self.posted: dict[UUID, Decimal] = defaultdict(Decimal)

    def take(self, *facts: DealFacts) -> "Book":
        for each in facts:
            fresh = self.known.credits(each)
            years: dict[ComponentYear, list[Credit]] = defaultdict(list)
            for credit in (credit for credits in self.credits.values() for credit in credits):
                year = self.known.year_of(credit)
                if year is not None:
                    years[year].append(credit)
            for year in filter(None, map(self.known.year_of, fresh)):
                years.setdefault(year, [])
            settlement = Settlement(self.known, self.cells, {key: YearCredits(each) for key, each in years.items()})
            settlement.recredit(CAUSE, self.credits.get(each.deal_id, []), fresh)
            self.credits[each.deal_id] = fresh
            self._keep(settlement)
        return self

    def _keep(self, settlement: Settlement) -> None:
        self.cells |= {cell.key: cell for cell in settlement.changed_cells()}
        for posting in settlement.postings:
            self.posted[posting.subject.id] += posting.entries[0].amount

    def earned(self) -> dict[date, Decimal]:
        """What each cell that has earned something has earned, by its first day."""
        return {key.period.start: cell.earned for key, cell in sorted(self.cells.items(), key=_start) if cell.earned}

    def explanation(self, start: date = JANUARY) -> Explanation:
        key, cell = next((key, cell) for key, cell in self.cells.items() if key.period.start == start)
        credits = [credit for of_deal in self.credits.values() for credit in of_deal]
        year = self.known.linked_year(key)
        if year is None:
            terms = self.known.terms(key)
            assert terms is not None
            return explained(terms, [credit for credit in credits if credit.cell == key], cell.currency)
        of_year = YearCredits(credit for credit in credits if self.known.year_of(credit) == year)
        found = {each.key: each for each in LinkedCells(self.known, year).worked_out(of_year)}
        return explained_in_year(found[key], of_year, cell.currency)


def _start(item: tuple[CellKey, Cell]) -> date:
    return item[0].period.start


def earned(company: Company, *deals: DealFacts) -> dict[date, Decimal]:
    """What the deals earn, in whichever order they arrive; the ledger, a rebuild and explanations agree with it."""
    found: list[dict[date, Decimal]] = []
    for order in permutations(deals) if len(deals) < 5 else [deals, deals[::-1]]:
        book = Book(company).take(*order)
        found.append(book.earned())
        assert {key.id: cell.earned for key, cell in book.cells.items() if cell.earned} == {
            cell_id: amount for cell_id, amount in book.posted.items() if amount
        }
        again = Settlement(book.known, book.cells)
        again.rebuild({ASSIGNMENT: CAUSE}, list(book.cells), [c for credits in book.credits.values() for c in credits])
        assert again.changed_cells() == []
        for key, cell in book.cells.items():
            about = book.explanation(key.period.start)
            amounts = [*(line.amount for line in about.lines), *(step.amount for step in about.steps)]
            assert sum(amounts, Decimal(0)) == cell.earned
    assert all(each == found[0] for each in found)
    return found[0]


def total(company: Company, *deals: DealFacts) -> Decimal:
    return sum(earned(company, *deals).values(), Decimal(0))


def commission(rate: Rate, basis: Basis = Basis.CUMULATIVE, measure: Measure = MONEY, **more: object) -> Commission:
    return Commission("bookings", "Bookings", measure, rate, basis=basis, **more)  # type: ignore[arg-type]


def paying(found: Commission, **more: object) -> Company:
    return replace(Company(((JANUARY, found),)), **more)  # type: ignore[arg-type]


def tiers(
    mode: TierMode,
    *pairs: tuple[str, str],
    scale: TierScale = TierScale.AMOUNT,
    exclusive: Sequence[int] = (),
    gated: Sequence[int] = (),
    marginal_from: str | None = None,
) -> TieredRate:
    found = tuple(
        Tier(Decimal(start), Decimal(rate), index in exclusive, index in gated)
        for index, (start, rate) in enumerate(pairs)
    )
    return TieredRate(mode, scale, found, None if marginal_from is None else Decimal(marginal_from))


FIVE = FlatRate(Decimal("0.05"))
TEN = FlatRate(Decimal("0.10"))


# Exclusive bounds


@pytest.mark.parametrize(
    ("amount", "pays"), [("99999.99", "6000.00"), ("100000", "8000"), ("150000", "12000"), ("150000.01", "15000.00")]
)
def test_more_than_150_percent_leaves_150_percent_itself_in_the_tier_below(amount: str, pays: str) -> None:
    rate = tiers(
        TierMode.RETROACTIVE,
        ("0", "0.06"),
        ("1", "0.08"),
        ("1.5", "0.10"),
        scale=TierScale.ATTAINMENT,
        exclusive=[2],
    )
    assert total(paying(commission(rate), quota="100000"), deal(1, amount)) == Decimal(pays)


def test_an_exclusive_bound_changes_nothing_where_tiers_are_marginal() -> None:
    pairs = (("0", "0.05"), ("1000", "0.10"))
    for exclusive in ([], [1]):
        company = paying(commission(tiers(TierMode.MARGINAL, *pairs, exclusive=exclusive)))
        assert [total(company, deal(1, amount)) for amount in ("1000", "1000.10")] == [50, Decimal("50.01")]


def test_a_refund_falls_back_to_an_exclusive_bound_and_is_paid_as_if_it_had_never_been_crossed() -> None:
    rate = tiers(TierMode.RETROACTIVE, ("0", "0.05"), ("1000", "0.10"), exclusive=[1])
    assert total(paying(commission(rate)), deal(1, "1500"), deal(2, "-500")) == 50


# Retroactive up to a bound, marginal above it


MIXED = tiers(
    TierMode.RETROACTIVE, ("0", "0.04"), ("1000", "0.05"), ("2000", "0.08"), ("3000", "0.10"), marginal_from="2000"
)


@pytest.mark.parametrize(
    ("amount", "pays"),
    [("999", "39.96"), ("1000", "50"), ("2000", "100"), ("2500", "140"), ("3000", "180"), ("4000", "280")],
)
def test_retroactive_up_to_a_bound_and_marginal_above_it(amount: str, pays: str) -> None:
    assert total(paying(commission(MIXED)), deal(1, amount)) == Decimal(pays)


def test_across_both_zones_and_back_the_order_of_deals_does_not_matter() -> None:
    company = paying(commission(MIXED))
    assert total(company, deal(1, "900"), deal(2, "2600"), deal(3, "-1500")) == 100
    assert total(company, deal(1, "3500"), deal(2, "-3500")) == 0


# Points


CURVE = PointsRate(
    TierScale.ATTAINMENT,
    PointsPay.RATE,
    (
        Point(Decimal("0.8"), Decimal("0.04")),
        Point(Decimal(1), Decimal("0.05")),
        Point(Decimal("1.2"), Decimal("0.08")),
    ),
)


@pytest.mark.parametrize(
    ("amount", "pays"),
    [
        ("79999.99", "0"),
        ("80000", "3200"),
        ("90000", "4050"),
        ("100000", "5000"),
        ("110000", "7150"),
        ("150000", "12000"),
    ],
)
def test_a_rate_drawn_through_points_pays_for_everything(amount: str, pays: str) -> None:
    assert total(paying(commission(CURVE), quota="100000"), deal(1, amount)) == Decimal(pays)


def test_a_slope_that_is_told_to_goes_on_above_the_last_point() -> None:
    further = replace(CURVE, extrapolate=True)
    assert total(paying(commission(further), quota="100000"), deal(1, "140000")) == Decimal("15400")


def test_points_pay_the_same_in_any_order_and_nothing_after_a_full_refund() -> None:
    company = paying(commission(CURVE), quota="100000")
    assert total(company, deal(1, "33333.33"), deal(2, "61111.11"), deal(3, "-5000"), deal(4, "20000")) > 0
    assert total(company, deal(1, "110000"), deal(2, "-110000")) == 0


TARGET = PointsRate(
    TierScale.ATTAINMENT,
    PointsPay.TARGET_PERCENT,
    tuple(Point(Decimal(at), Decimal(percent)) for at, percent in (("0.8", "50"), ("1", "100"), ("1.2", "150"))),
)


@pytest.mark.parametrize(
    ("amount", "pays"), [(70, 0), (80, 5000), (90, 7500), (100, 10000), (110, 12500), (120, 15000), (130, 15000)]
)
def test_points_of_the_target_variable_pay_what_the_line_has_there(amount: int, pays: int) -> None:
    company = paying(commission(TARGET), quota="100", target="10000")
    assert total(company, deal(1, str(amount))) == pays
    assert total(company, deal(1, str(amount)), deal(2, str(-amount))) == 0


def test_the_first_point_is_a_step_of_the_tier_it_opens_and_the_slope_may_go_on() -> None:
    company = paying(commission(replace(TARGET, extrapolate=True)), quota="100", target="10000")
    assert total(company, deal(1, "130")) == 17500
    (line,) = Book(company).take(deal(1, "90")).explanation().lines
    assert [[part.value, part.step, part.amount] for part in line.slices] == [[80, 0, 0], [10, 5000, 7500]]


def test_without_a_target_variable_a_percent_of_it_is_nothing_and_says_so() -> None:
    book = Book(paying(commission(TARGET), quota="100")).take(deal(1, "100"))
    assert book.earned() == {}
    assert book.explanation().schedule is QuotaGap.TARGET_VARIABLE_MISSING


# Gates


def gate(at_least: str, period: PeriodKind | None = None) -> Gate:
    counted = ComponentMeasure(GATE, Measure(Aggregate.COUNT, None, DateField.CLOSED, NEW), period=period)
    return Gate(counted, Decimal(at_least))


GATED = tiers(TierMode.MARGINAL, ("0", "0.05"), ("1", "0.08"), scale=TierScale.ATTAINMENT, gated=[1])
ACCELERATED = paying(commission(GATED, gate=gate("3")), quota="100000")


def test_without_the_gate_the_tier_below_goes_on() -> None:
    deals = [deal(1, "75000", new=True), deal(2, "75000", new=True)]
    assert total(ACCELERATED, *deals) == 7500
    step = Book(ACCELERATED).take(*deals).explanation().steps[0].step
    assert step.kind is StepKind.GATE
    assert "not met: 2, at least 3" in step.words.en
    assert "未满足：2" in step.words.zh


def test_the_third_new_customer_earns_the_tier_anew_whether_it_comes_first_or_last() -> None:
    deals = [deal(1, "50000", new=True), deal(2, "50000", new=True), deal(3, "50000", new=True)]
    assert total(ACCELERATED, *deals) == 9000
    assert total(ACCELERATED, *deals[:2], deal(3, "50000")) == 7500


def test_a_gate_of_all_the_pay_holds_it_back_until_it_is_met_and_again_when_it_is_not() -> None:
    company = paying(commission(FIVE, gate=gate("2")))
    book = Book(company).take(deal(1, "1000", new=True))
    assert book.earned() == {}
    about = book.explanation()
    assert [line.amount for line in about.lines] == [50]
    assert [step.amount for step in about.steps] == [-50]
    assert book.take(deal(2, "0", new=True)).earned() == {JANUARY: 50}
    assert book.take(deal(2, "0")).earned() == {}


def test_a_gate_of_the_quarter_opens_every_month_of_it_and_no_other() -> None:
    company = paying(commission(FIVE, gate=gate("2", PeriodKind.QUARTER)), period=PeriodKind.MONTH)
    deals = [
        deal(1, "1000", date(2026, 1, 5), new=True),
        deal(2, "2000", date(2026, 2, 5)),
        deal(3, "4000", date(2026, 4, 5), new=True),
    ]
    assert earned(company, *deals) == {}
    assert earned(company, *deals, deal(4, "0", date(2026, 3, 31), new=True)) == {JANUARY: 50, date(2026, 2, 1): 100}
    assert earned(company, *deals, deal(4, "0", date(2026, 4, 1), new=True)) == {date(2026, 4, 1): 200}


def test_a_gate_counts_the_days_of_its_own_period_also_where_other_terms_have_another() -> None:
    """What counts under the terms of February has the year as its period, and for January's gate its own day."""
    quarter, year = (commission(FIVE, gate=gate("1", kind)) for kind in (PeriodKind.QUARTER, PeriodKind.YEAR))
    company = Company(((JANUARY, quarter), (date(2026, 2, 15), year)), PeriodKind.QUARTER)
    won = deal(1, "1000", date(2026, 1, 5))
    assert earned(company, won, deal(2, "0", date(2026, 4, 1), new=True)) == {}
    assert earned(company, won, deal(2, "0", date(2026, 3, 1), new=True)) == {JANUARY: 50}


@pytest.mark.parametrize(("quota", "pays"), [("4", 0), ("2", 50), (None, 0), ("0", 0)])
def test_a_gate_may_be_measured_on_a_quota_of_its_own(quota: str | None, pays: int) -> None:
    found = replace(gate("1"), at_least=None, at_least_attainment=Decimal("0.5"))
    company = paying(commission(FIVE, gate=found), gate_quota=quota)
    assert total(company, deal(1, "1000", new=True)) == pays


# Multipliers


def multiplier(factor: str, *, of_credit: bool) -> Multiplier:
    return Multiplier("multi-year", LONG, Decimal(factor), of_credit)


@pytest.mark.parametrize(("of_credit", "measure"), [(False, 10000), (True, 12000)])
def test_a_multiplier_is_one_of_pay_or_of_credit(of_credit: bool, measure: int) -> None:
    company = paying(commission(FIVE, multipliers=(multiplier("1.2", of_credit=of_credit),)))
    book = Book(company).take(deal(1, "10000", long=True))
    assert [[cell.measure, cell.earned] for cell in book.cells.values()] == [[measure, 600]]
    assert total(company, deal(1, "10000", long=True), deal(2, "10000")) == 1100
    assert total(company, deal(1, "10000", long=True), deal(2, "-10000", long=True)) == 0


def test_only_a_multiplier_of_credit_moves_the_deal_through_the_tiers() -> None:
    rate = tiers(TierMode.MARGINAL, ("0", "0.05"), ("10000", "0.10"))
    of_credit, of_pay = (
        paying(commission(rate, multipliers=(multiplier("2", of_credit=each),))) for each in (True, False)
    )
    assert total(of_credit, deal(1, "8000", long=True)) == 500 + 600
    assert total(of_pay, deal(1, "8000", long=True)) == 800


def test_a_multiplier_of_pay_takes_a_deal_as_it_lies_in_the_tiers_by_day_whenever_it_arrived() -> None:
    rate = tiers(TierMode.MARGINAL, ("0", "0.05"), ("1000", "0.10"))
    company = paying(commission(rate, multipliers=(multiplier("2", of_credit=False),)))
    early, late = deal(1, "1000", date(2026, 1, 5)), deal(2, "1000", date(2026, 1, 6), long=True)
    assert total(company, early, late) == 50 + 200
    early, late = deal(1, "1000", date(2026, 1, 5), long=True), deal(2, "1000", date(2026, 1, 6))
    assert total(company, early, late) == 100 + 100


def test_a_multiplier_of_pay_takes_a_deal_at_the_retroactive_rate_of_the_end() -> None:
    rate = tiers(TierMode.RETROACTIVE, ("0", "0.05"), ("1000", "0.10"))
    company = paying(commission(rate, multipliers=(multiplier("2", of_credit=False),)))
    assert total(company, deal(1, "400", long=True), deal(2, "600")) == 80 + 60


# Thresholds


@pytest.mark.parametrize(
    ("only_above", "amount", "pays"),
    [
        (False, "39999.99", 0),
        (False, "40000", 2000),
        (False, "60000", 3000),
        (True, "39999.99", 0),
        (True, "40000", 0),
        (True, "60000", 1000),
        (False, "-60000", 0),
        (True, "-60000", 0),
    ],
)
def test_a_threshold_of_the_quota_pays_from_the_first_or_only_what_is_above(
    only_above: bool, amount: str, pays: int
) -> None:
    threshold = Threshold(TierScale.ATTAINMENT, Decimal("0.4"), only_above)
    assert total(paying(commission(FIVE, threshold=threshold), quota="100000"), deal(1, amount)) == pays


def test_falling_back_below_a_threshold_takes_everything_back() -> None:
    company = paying(commission(FIVE, threshold=Threshold(TierScale.AMOUNT, Decimal(1000))))
    assert total(company, deal(1, "1500"), deal(2, "-501")) == 0
    assert total(company, deal(1, "1500"), deal(2, "-500")) == 50
    (step,) = Book(company).take(deal(1, "999")).explanation().steps
    assert "999 is reached of the 1000 below which nothing is paid" in step.step.words.en


def test_what_is_above_a_threshold_is_paid_at_the_tiers_it_lies_in() -> None:
    rate = tiers(TierMode.MARGINAL, ("0", "0.05"), ("1000", "0.10"))
    threshold = Threshold(TierScale.AMOUNT, Decimal(400), only_above=True)
    assert total(paying(commission(rate, threshold=threshold)), deal(1, "700"), deal(2, "800")) == 30 + 50
    retroactive = replace(rate, mode=TierMode.RETROACTIVE)
    assert total(paying(commission(retroactive, threshold=threshold)), deal(1, "1400")) == 100


def test_a_threshold_is_one_of_each_deal_where_each_is_paid_by_itself() -> None:
    found = commission(FIVE, Basis.PER_DEAL, threshold=Threshold(TierScale.AMOUNT, Decimal(1000)))
    assert total(paying(found), deal(1, "999"), deal(2, "1000"), deal(3, "-1000")) == 0
    assert total(paying(found), deal(1, "999"), deal(2, "1000")) == 50


# Caps


MONTHLY = PeriodKind.MONTH
FEBRUARY, MARCH, APRIL = date(2026, 2, 1), date(2026, 3, 1), date(2026, 4, 1)


def test_what_the_cap_of_a_month_withholds_is_earned_in_the_next() -> None:
    capped = paying(commission(TEN, caps=Caps(period=Decimal(10000), carry_excess=True)), period=MONTHLY)
    january, february = deal(1, "120000"), deal(2, "70000", date(2026, 2, 5))
    assert earned(capped, january, february) == {JANUARY: 10000, FEBRUARY: 9000}
    assert earned(capped, january) == {JANUARY: 10000, FEBRUARY: 2000}
    assert earned(capped, deal(1, "250000")) == {JANUARY: 10000, FEBRUARY: 10000, MARCH: 5000}
    assert earned(capped, deal(1, "100000"), february) == {JANUARY: 10000, FEBRUARY: 7000}
    assert earned(capped, january, deal(2, "-20000", date(2026, 1, 11))) == {JANUARY: 10000}
    kinds = [step.step.kind for step in Book(capped).take(january, february).explanation(FEBRUARY).steps]
    assert kinds == [StepKind.CARRIED]


def test_what_is_not_told_to_be_carried_is_lost() -> None:
    company = paying(commission(TEN, caps=Caps(period=Decimal(10000))), period=MONTHLY)
    assert earned(company, deal(1, "120000"), deal(2, "70000", date(2026, 2, 5))) == {JANUARY: 10000, FEBRUARY: 7000}
    (step,) = Book(company).take(deal(1, "120000")).explanation().steps
    assert step.step.kind is StepKind.CAP_OF_PERIOD
    assert step.amount == -2000


def test_what_is_carried_ends_with_the_assignment_and_with_the_year() -> None:
    capped = commission(TEN, caps=Caps(period=Decimal(10000), carry_excess=True))
    assert earned(paying(capped, period=MONTHLY, end=FEBRUARY), deal(1, "120000")) == {JANUARY: 10000}
    december = deal(1, "120000", date(2026, 12, 5))
    assert earned(paying(capped, period=MONTHLY), december) == {date(2026, 12, 1): 10000}


def test_the_cap_of_a_year_is_one_of_everything_it_comes_to() -> None:
    company = paying(commission(TEN, caps=Caps(year=Decimal(1000))), period=MONTHLY)
    deals = [deal(1, "7000"), deal(2, "7000", date(2026, 2, 5)), deal(3, "-6000", date(2026, 3, 5))]
    assert earned(company, *deals[:2]) == {JANUARY: 700, FEBRUARY: 300}
    assert earned(company, *deals) == {JANUARY: 700, FEBRUARY: 300, MARCH: -200}
    assert earned(company, deal(1, "10000"), deal(2, "1", date(2026, 2, 5))) == {JANUARY: 1000}


@pytest.mark.parametrize("basis", [Basis.CUMULATIVE, Basis.PER_DEAL])
def test_the_cap_of_a_deal_is_mirrored_for_what_takes_it_back(basis: Basis) -> None:
    company = paying(commission(TEN, basis, caps=Caps(deal=Decimal(500))))
    assert total(company, deal(1, "4999"), deal(2, "5000"), deal(3, "80000")) == Decimal("1499.90")
    assert total(company, deal(1, "80000"), deal(2, "-80000", date(2026, 1, 11))) == 0
    (line,) = Book(company).take(deal(1, "80000")).explanation().lines
    assert [line.withheld, line.amount] == [7500, 500]


# Windfalls


@pytest.mark.parametrize(
    ("counts", "percent", "pays"),
    [(WindfallCounts.CAPPED, "0", 5000), (WindfallCounts.SHARE, "25", 6250), (WindfallCounts.REVIEWED, "0", 5000)],
)
def test_of_a_giant_deal_counts_what_the_windfall_rule_leaves(counts: WindfallCounts, percent: str, pays: int) -> None:
    company = paying(commission(FIVE, windfall=Windfall(Decimal(100000), counts, Decimal(percent))))
    assert total(company, deal(1, "200000")) == pays
    assert total(company, deal(1, "100000")) == 5000
    assert total(company, deal(1, "200000"), deal(2, "-200000")) == 0


def test_a_windfall_is_one_of_the_whole_deal_before_it_is_shared_and_over_all_its_payments() -> None:
    windfall = Windfall(Decimal(100000), WindfallCounts.CAPPED)
    shared = paying(commission(FIVE, measure=replace(MONEY, crediting=Crediting.SPLIT), windfall=windfall))
    assert total(shared, deal(1, "200000", splits=[("ann", "50"), ("ben", "50")])) == 2500
    cash = replace(MONEY, date_field=DateField.PAID)
    paid = deal(1, "200000", payments=[(date(2026, 4, 5), "120000"), (date(2026, 1, 5), "80000")])
    assert earned(paying(commission(FIVE, measure=cash, windfall=windfall)), paid) == {JANUARY: 4000, APRIL: 1000}


# Quantities


BY_UNITS = TieredRate(
    TierMode.RETROACTIVE, TierScale.QUANTITY, (Tier(Decimal(0), Decimal("0.05")), Tier(Decimal(10), Decimal("0.10")))
)


def test_money_may_be_paid_at_a_rate_by_the_units_sold() -> None:
    company = paying(commission(BY_UNITS))
    nine, one = deal(1, "900", quantity="9"), deal(2, "100", date(2026, 1, 11), quantity="1")
    assert total(company, nine) == 45
    assert total(company, nine, one) == 100
    assert total(company, nine, one, deal(3, "-100", quantity="-1")) == 45
    assert [line.amount for line in Book(company).take(one, nine).explanation().lines] == [45, 55]


def test_a_deal_paid_by_itself_has_the_rate_of_its_own_units() -> None:
    company = paying(commission(BY_UNITS, Basis.PER_DEAL))
    assert total(company, deal(1, "900", quantity="9"), deal(2, "1000", quantity="10")) == 45 + 100
    assert total(company, deal(1, "1000", quantity="10"), deal(2, "-1000", quantity="-10")) == 0


def test_bounds_by_quantity_are_the_measures_own_where_it_counts_units() -> None:
    rate = tiers(TierMode.MARGINAL, ("0", "50"), ("10", "75"), scale=TierScale.QUANTITY)
    assert total(paying(commission(rate, measure=UNITS)), deal(1, "1", quantity="12")) == 650


# Year to date


STEPS = tiers(TierMode.MARGINAL, ("0", "0.05"), ("1000", "0.10"))


def test_a_running_total_of_the_year_goes_on_from_quarter_to_quarter() -> None:
    company = paying(commission(STEPS, Basis.YEAR_TO_DATE))
    first, second = deal(1, "800"), deal(2, "800", date(2026, 4, 5))
    assert earned(company, first, second) == {JANUARY: 40, APRIL: 70}
    assert earned(company, second) == {APRIL: 40}
    assert earned(company, first, second, deal(3, "800", date(2027, 1, 5))) == {
        JANUARY: 40,
        APRIL: 70,
        date(2027, 1, 1): 40,
    }


def test_a_retroactive_tier_of_the_year_rerates_the_quarters_before_in_the_one_that_reaches_it() -> None:
    company = paying(commission(replace(STEPS, mode=TierMode.RETROACTIVE), Basis.YEAR_TO_DATE))
    deals = [deal(1, "800"), deal(2, "800", date(2026, 4, 5)), deal(3, "-700", date(2026, 7, 5))]
    assert earned(company, *deals[:2]) == {JANUARY: 40, APRIL: 120}
    assert earned(company, *deals) == {JANUARY: 40, APRIL: 120, date(2026, 7, 1): -115}


def test_the_quota_of_a_year_to_date_is_the_years() -> None:
    rate = tiers(TierMode.MARGINAL, ("0", "0.05"), ("1", "0.10"), scale=TierScale.ATTAINMENT)
    company = paying(commission(rate, Basis.YEAR_TO_DATE), quota="1000")
    book = Book(company).take(deal(1, "800"), deal(2, "800", date(2026, 4, 5)))
    assert book.earned() == {JANUARY: 40, APRIL: 70}
    assert [cell.attainment for cell in book.cells.values()] == [Decimal("0.8"), Decimal("1.6")]


# Seams


FIFTEENTH = date(2026, 1, 15)
BEFORE, AFTER = deal(1, "10000", date(2026, 1, 10)), deal(2, "10000", date(2026, 1, 20))


def test_a_version_from_the_fifteenth_pays_each_deal_by_the_terms_of_its_day() -> None:
    old, new = (commission(FlatRate(Decimal(rate)), Basis.PER_DEAL) for rate in ("0.05", "0.06"))
    company = Company(((JANUARY, old), (FIFTEENTH, new)), MONTHLY)
    assert earned(company, BEFORE, AFTER) == {JANUARY: 500, FIFTEENTH: 600}
    on_the_day = deal(3, "100", FIFTEENTH)
    assert earned(company, on_the_day, deal(4, "100", date(2026, 1, 14))) == {JANUARY: 5, FIFTEENTH: 6}


@pytest.mark.parametrize(("restart", "pays"), [(False, 1400), (True, 900)])
def test_a_running_total_goes_on_over_the_seam_unless_told_to_restart(restart: bool, pays: int) -> None:
    old = commission(tiers(TierMode.MARGINAL, ("0", "0.05"), ("12000", "0.08")))
    new = replace(old, rate=tiers(TierMode.MARGINAL, ("0", "0.09"), ("12000", "0.14"), ("12000.01", "0.14")))
    company = Company(((JANUARY, old), (FIFTEENTH, replace(new, restart=restart))), MONTHLY)
    expected = 180 + 1120 if not restart else pays
    assert earned(company, BEFORE, AFTER) == {JANUARY: 500, FIFTEENTH: expected}


def test_both_halves_explain_themselves_and_the_second_says_what_it_began_with() -> None:
    old = commission(STEPS)
    company = Company(((JANUARY, old), (FIFTEENTH, replace(old, name="Bookings, new"))), MONTHLY)
    book = Book(company).take(deal(1, "800", date(2026, 1, 10)), deal(2, "800", date(2026, 1, 20)))
    assert book.earned() == {JANUARY: 40, FIFTEENTH: 70}
    first, second = book.explanation(), book.explanation(FIFTEENTH)
    assert [line.after for line in first.lines] == [800]
    assert [[line.before, line.after] for line in second.lines] == [[800, 1600]]
    assert second.inputs.before[MAIN] == 800
    ends = {key.period.start: key.period.end for key in book.cells}
    assert ends == {JANUARY: FIFTEENTH, FIFTEENTH: FEBRUARY}


def test_the_quota_and_the_cap_of_a_period_are_those_of_the_whole_of_it() -> None:
    rate = tiers(TierMode.MARGINAL, ("0", "0.05"), ("1", "0.10"), scale=TierScale.ATTAINMENT)
    old = commission(rate, caps=Caps(period=Decimal(100)))
    company = Company(((JANUARY, old), (FIFTEENTH, replace(old, name="new"))), MONTHLY, quota="1000")
    assert earned(company, deal(1, "1000", date(2026, 1, 10)), deal(2, "900", date(2026, 1, 20))) == {
        JANUARY: 50,
        FIFTEENTH: 50,
    }


def test_the_first_terms_may_begin_within_a_period_and_pay_from_that_day() -> None:
    company = Company(((FIFTEENTH, commission(FIVE)),), MONTHLY)
    assert earned(company, BEFORE, AFTER) == {FIFTEENTH: 500}


# What cannot be meant


@pytest.mark.parametrize(
    ("make", "pointer"),
    [
        (lambda: commission(CURVE, Basis.PER_DEAL), "/basis"),
        (lambda: commission(FIVE, Basis.PER_DEAL, restart=True), "/restart"),
        (lambda: commission(GATED), "/rate/tiers/1/gate"),
        (lambda: commission(replace(BY_UNITS, mode=TierMode.MARGINAL)), "/rate/mode"),
        (lambda: commission(CURVE, threshold=Threshold(TierScale.AMOUNT, Decimal(1))), "/threshold"),
        (
            lambda: commission(
                FlatRate(Decimal(3)), measure=UNITS, windfall=Windfall(Decimal(1), WindfallCounts.CAPPED)
            ),
            "/windfall",
        ),
        (lambda: commission(FIVE, multipliers=(multiplier("2", of_credit=True),) * 2), "/multipliers/1/name"),
        (lambda: multiplier("1", of_credit=True), "/factor"),
        (lambda: multiplier("-1", of_credit=True), "/factor"),
        (lambda: Caps(carry_excess=True), "/carry_excess"),
        (lambda: Caps(year=Decimal(0)), "/year"),
        (lambda: Threshold(TierScale.AMOUNT, Decimal(0)), "/amount"),
        (lambda: gate("0"), "/at_least"),
        (lambda: Windfall(Decimal(1), WindfallCounts.SHARE), "/percent"),
        (lambda: replace(MIXED, marginal_from=Decimal(2001)), "/marginal_from"),
        (lambda: replace(MIXED, mode=TierMode.MARGINAL), "/marginal_from"),
        (lambda: tiers(TierMode.MARGINAL, ("0", "0.1"), exclusive=[0]), "/tiers/0/from_exclusive"),
        (lambda: tiers(TierMode.MARGINAL, ("0", "0.1"), gated=[0]), "/tiers/0/gate"),
        (lambda: replace(CURVE, points=CURVE.points[:1]), "/points"),
        (lambda: replace(CURVE, points=CURVE.points[::-1]), "/points/1/at"),
    ],
)
def test_terms_that_cannot_be_meant_are_refused_where_they_are_wrong(make: object, pointer: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        make()  # type: ignore[operator]
    assert [error.pointer for error in refused.value.fields] == [pointer]
