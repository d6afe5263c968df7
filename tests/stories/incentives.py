"""From the steps of the oracle's history to the values of the product."""

from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Context, Decimal
from fractions import Fraction
from uuid import UUID, uuid5

from services.incentives.plans.domain.active_days import RampStep
from services.incentives.plans.domain.assignments import Assignment, PerTime, Quota, QuotaState, TargetVariable
from services.incentives.plans.domain.components import Component
from services.incentives.plans.domain.kinds.bonus import Bonus, EachDeal, Milestone
from services.incentives.plans.domain.kinds.commission import GATE, Basis, Caps, Commission, Gate, Threshold
from services.incentives.plans.domain.kinds.matrix import Axis, Matrix, MatrixPays
from services.incentives.plans.domain.kinds.objective import Objective, Objectives
from services.incentives.plans.domain.kinds.override import Override
from services.incentives.plans.domain.kinds.pool import FixedPot, Pool, SharePot
from services.incentives.plans.domain.parameters import ComponentMeasure, Multiplier, Windfall, WindfallCounts
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
from services.incentives.plans.domain.rewards import Bound, Reward
from shared.contracts.deals import Deal, Invoice, Payment, Split
from shared.contracts.org import DatedRate, ExchangeRates, Team, TeamState
from shared.kernel.deals import DateField, DealKind, DealStatus
from shared.kernel.filters import All, Condition, Operator
from shared.kernel.measures import Aggregate, Crediting, Measure, RatePolicy
from shared.kernel.periods import DatedRange, PeriodKind
from tests.oracles.incentives import PLAN_RATES, Assigned, DealVersion, Paying, Placed, Rated

SPACE = UUID(int=7)
CONNECTION = UUID(int=8)
SOURCE = "crm"
WON = Measure(Aggregate.SUM, "amount", DateField.CLOSED, Condition("status", Operator.EQ, ("won",)), "USD")

IN_EUROS = Condition("currency", Operator.EQ, ("EUR",))


def named(kind: str, number: int) -> UUID:
    return uuid5(SPACE, f"{kind} {number}")


def cents(amount: int) -> Decimal:
    return Decimal(amount).scaleb(-2)


def measured(amount: Fraction) -> Decimal:
    """Cents and fractions of one, to the last digit."""
    exact = Context(prec=200)
    return exact.divide(Decimal(amount.numerator), Decimal(amount.denominator * 100))


def deal_event(tenant_id: UUID, version: DealVersion) -> Deal:
    """The event of a deal's version; its external id is the deal's number."""
    moment = datetime.fromtimestamp(1_700_000_000 + version.version, UTC)
    return Deal(
        tenant_id=tenant_id,
        id=named("deal", version.deal),
        connection_id=CONNECTION,
        source=SOURCE,
        external_id=str(version.deal),
        kind=DealKind.DELETED if version.gone else DealKind.UPSERTED,
        modified_at=moment,
        sequence=0,
        delivery_id=named("delivery", version.version),
        received_at=moment,
        status=DealStatus.WON if version.won else DealStatus.OPEN,
        owner_external_id=None if version.owner is None else str(version.owner),
        name=None,
        amount=cents(version.cents),
        currency=version.currency,
        created_at=None,
        expected_close_on=None,
        closed_at=None,
        closed_on=version.day,
        stage=None,
        pipeline=None,
        probability=None,
        type=None,
        channel=None,
        region=None,
        account_id=None,
        account_name=None,
        merged_into=None,
        splits=tuple(
            Split(owner_external_id=str(user), role=role, percent=Decimal(percent))
            for user, percent, role in version.splits
        ),
        products=(),
        custom={},
        home_amount=None if version.home_cents is None else cents(version.home_cents),
        home_currency=None if version.home_cents is None else "USD",
        payments=tuple(Payment(paid_on=day, amount=cents(paid)) for day, paid in version.paid),
        invoices=tuple(Invoice(invoiced_on=day, amount=cents(invoiced)) for day, invoiced in version.invoiced),
    )


def rates_event(tenant_id: UUID, version: int, rated: Rated) -> ExchangeRates:
    return ExchangeRates(
        tenant_id=tenant_id,
        version=version,
        base_currency="CNY",
        currency=rated.currency,
        month=rated.month.isoformat()[:7],
        rates=tuple(DatedRate(date=day, rate=Decimal(rate).scaleb(-4)) for day, rate in rated.rates),
    )


def measure(paying: Paying) -> Measure:
    policy = RatePolicy(paying.exchange)
    fixed = tuple((currency, Decimal(rate).scaleb(-4)) for currency, rate in sorted(PLAN_RATES.items()))
    days = {"paid": DateField.PAID, "invoiced": DateField.INVOICED, "whole": DateField.CLOSED}
    return replace(
        WON,
        value_field="paid_amount" if paying.cash else "amount",
        date_field=days[paying.way],
        rate_policy=policy,
        fixed_rates=fixed if policy is RatePolicy.FIXED else (),
        crediting=Crediting(paying.crediting),
        role=paying.role,
    )


def reward(paying: Paying, amount: int) -> Reward:
    return Reward(cents(amount)) if paying.pays == "amount" else Reward(target_percent=Decimal(amount))


def matrix(paying: Paying) -> Matrix:
    rows = tuple(Bound(Decimal(start).scaleb(-2)) for start, _ in paying.tiers)
    columns = tuple(Bound(Decimal(start).scaleb(-2)) for start in paying.columns)
    places = {"amount": -2, "target_percent": 0, "rate": -4}[paying.pays]
    return Matrix(
        paying.key,
        paying.key,
        Axis(measure(paying), TierScale(paying.by), rows),
        Axis(counting_euros(paying), TierScale(paying.by_columns), columns),
        MatrixPays(paying.pays),
        tuple(tuple(Decimal(cell).scaleb(places) for cell in row) for row in paying.cells),
        Decimal(paying.allocation),
    )


def component(paying: Paying) -> Component:
    allocation, basis = Decimal(paying.allocation), Basis(paying.basis)
    match paying.mode:
        case "matrix":
            return matrix(paying)
        case "objective":
            named_by_place = (Objective(f"o{n}", f"O{n}", Decimal(weight)) for n, weight in enumerate(paying.weights))
            return Objectives(paying.key, paying.key, reward(paying, paying.reward), tuple(named_by_place))
        case "pool":
            is_fixed = paying.pays == "amount"
            pot = FixedPot(cents(paying.reward)) if is_fixed else SharePot(Decimal(paying.reward), measure(paying))
            return Pool(paying.key, paying.key, pot)
    if paying.mode in ("milestone", "each_deal"):
        start, last = paying.tiers[-1]
        bound, pays, counted = Bound(Decimal(start).scaleb(-2)), reward(paying, last), measure(paying)
        condition = EachDeal(bound) if paying.mode == "each_deal" else Milestone(bound, TierScale(paying.by))
        return Bonus(paying.key, paying.key, counted, condition, pays, allocation)
    if paying.depth is not None:
        return Override(paying.key, paying.key, measure(paying), rate(paying), paying.depth, allocation, basis)
    deal, period, year = map(_cents, (paying.cap_deal, paying.cap_period, paying.cap_year))
    return Commission(
        paying.key,
        paying.key,
        measure(paying),
        rate(paying),
        Decimal(paying.allocation),
        Basis(paying.basis),
        restart=paying.restart,
        multipliers=multipliers(paying),
        gate=gate(paying),
        threshold=threshold(paying),
        caps=Caps(deal, period, year, paying.carry),
        windfall=windfall(paying),
    )


def rate(paying: Paying) -> Rate:
    scale = TierScale(paying.by)
    pairs = [(Decimal(start).scaleb(-2), Decimal(per).scaleb(-4)) for start, per in paying.tiers]
    match paying.mode:
        case "flat":
            return FlatRate(pairs[0][1])
        case "points":
            return PointsRate(scale, PointsPay.RATE, tuple(Point(at, per) for at, per in pairs))
    last = len(pairs) - 1
    is_gated = paying.gate is not None and paying.gate[2]
    tiers = tuple(
        Tier(start, per, paying.exclusive and index > 0, is_gated and index == last)
        for index, (start, per) in enumerate(pairs)
    )
    if paying.mode == "mixed":
        return TieredRate(TierMode.RETROACTIVE, scale, tiers, tiers[1].start)
    return TieredRate(TierMode(paying.mode), scale, tiers)


def multipliers(paying: Paying) -> tuple[Multiplier, ...]:
    if paying.multiplier is None:
        return ()
    percent, of_pay = paying.multiplier
    return (Multiplier("in euros", IN_EUROS, Decimal(percent).scaleb(-2), not of_pay),)


def gate(paying: Paying) -> Gate | None:
    if paying.gate is None:
        return None
    at_least, period, _ = paying.gate
    return Gate(ComponentMeasure(GATE, counting_euros(paying), period=PeriodKind(period)), Decimal(at_least))


def counting_euros(paying: Paying) -> Measure:
    return Measure(
        Aggregate.COUNT,
        None,
        DateField.CLOSED,
        All((WON.filter, IN_EUROS)),
        crediting=Crediting(paying.crediting),
        role=paying.role,
    )


def threshold(paying: Paying) -> Threshold | None:
    if paying.threshold is None:
        return None
    start, only_above = paying.threshold
    return Threshold(TierScale(paying.by), Decimal(start).scaleb(-2), only_above)


def windfall(paying: Paying) -> Windfall | None:
    if paying.windfall is None:
        return None
    above, percent = paying.windfall
    return Windfall(cents(above), WindfallCounts.SHARE if percent else WindfallCounts.CAPPED, Decimal(percent))


def _cents(amount: int | None) -> Decimal | None:
    return None if amount is None else cents(amount)


def quotas(stated: tuple[tuple[str, int | None], ...]) -> dict[str, Quota]:
    goals = (named("goal", 0), named("goal", 1))
    return {key: Quota(goal_ids=goals) if amount is None else Quota(cents(amount)) for key, amount in stated}


def assignment(step: Assigned, key: UUID, person_id: UUID, plan_id: UUID) -> Assignment:
    later = tuple((start, QuotaState(cents(amount))) for start, amount in step.later)
    stated = {
        component: quota if quota.amount is None else replace(quota, changes=later)
        for component, quota in quotas(step.quotas).items()
    }
    return Assignment(
        key,
        person_id,
        plan_id,
        DatedRange(step.start, step.end),
        stated,
        deleted=step.deleted,
        prorated=step.prorated,
        ramp=tuple(RampStep(start, Decimal(percent).scaleb(-2)) for start, percent in step.ramp),
        leave=tuple(DatedRange(*away) for away in step.leave),
        target_variable=None
        if step.target is None
        else TargetVariable(
            cents(step.target),
            PerTime.PERIOD,
            tuple((start, cents(amount)) for start, amount in step.target_later),
        ),
    )


def cell_id(assignment_id: UUID, key: str, start: date) -> UUID:
    return uuid5(assignment_id, f"{key}/{start.isoformat()}")


def team_event(tenant_id: UUID, version: int, placed: Placed) -> Team:
    """As releases before the history told it where there is only one state."""

    def of(kind: str, number: int | None) -> UUID | None:
        return None if number is None else named(kind, number)

    states = tuple(
        TeamState(start=start, parent_id=of("team", parent), manager_id=of("person", manager))
        for start, parent, manager in placed.states
    )
    return Team(
        tenant_id=tenant_id,
        id=named("team", placed.team),
        version=version,
        name=str(placed.team),
        parent_id=states[-1].parent_id,
        manager_id=states[-1].manager_id,
        history=states if len(states) > 1 else (),
    )
