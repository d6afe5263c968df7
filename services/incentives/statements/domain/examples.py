"""Worked examples of a component: amounts around its bounds, and what the code that pays makes of them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from itertools import pairwise
from typing import Final
from uuid import UUID

from services.incentives.earnings.domain.inputs import EXACT, DealTotal, PayInputs, PoolShare
from services.incentives.earnings.domain.payout import pay
from services.incentives.plans.domain.assignments import QuotaGap
from services.incentives.plans.domain.components import Component, main_measure
from services.incentives.plans.domain.kinds.bonus import Bonus, Curve, EachDeal, Milestone, PerUnit
from services.incentives.plans.domain.kinds.commission import GATE, QUANTITY, Basis, Caps, Commission
from services.incentives.plans.domain.kinds.matrix import SECOND, Axis, Matrix
from services.incentives.plans.domain.kinds.objective import Objectives
from services.incentives.plans.domain.kinds.override import Override
from services.incentives.plans.domain.kinds.pool import Pool
from services.incentives.plans.domain.parameters import MAIN
from services.incentives.plans.domain.rates import FlatRate, PointsPay, PointsRate, TieredRate, TierScale
from shared.kernel.money import currency_minor_units
from shared.kernel.reasons import Words

QUOTA_OF_MONEY: Final = Decimal(100_000)
QUOTA_OF_COUNT: Final = Decimal(10)
TARGET_VARIABLE: Final = Decimal(10_000)
POOL_WEIGHTS: Final = (Decimal(3), Decimal(2), Decimal(1))
BOUNDS_MAX: Final = 12
_ABOVE: Final = Decimal("1.2")
_HALF: Final = Decimal("0.5")
_FAR_ABOVE: Final = Decimal(10)
_ONE: Final = Decimal(1)
_ANY_DEAL: Final = UUID(int=0)


@dataclass(frozen=True, slots=True)
class Example:
    """What is paid for what is credited, exactly. `second` is of a second measure, `score` a percent of objectives."""

    pays: Decimal
    credited: Decimal | None = None
    second: Decimal | None = None
    score: Decimal | None = None
    weight: Decimal | None = None
    words: tuple[Words, ...] = ()


@dataclass(frozen=True, slots=True)
class Examples:
    """Examples of one component, and what they suppose. `is_of_deals` where each deal is paid by itself."""

    rows: tuple[Example, ...]
    is_of_deals: bool = False
    quota: Decimal | None = None
    target_variable: Decimal | None = None


def examples_of(component: Component, currency: str) -> Examples:
    """Below, at and above each of the component's bounds, the first twelve of them; what differs is what pays."""
    measure = main_measure(component)
    is_money = measure is not None and measure.is_money
    step = _ONE.scaleb(-currency_minor_units(currency)) if is_money else _ONE
    quota = QUOTA_OF_MONEY if is_money else QUOTA_OF_COUNT
    try_out = _Trial(component, currency, quota)
    match component:
        case Commission() | Override():
            return _of_rate(component, try_out, step, quota)
        case Bonus():
            rows = tuple(try_out(total) for total in _around(_bounds_of(component, quota), step, quota))
            quota_shown = quota if component.needs_quota else None
            is_of_deals = isinstance(component.condition, EachDeal)
            return Examples(rows, is_of_deals, quota_shown, _target(component.pays.target_percent))
        case Matrix():
            columns = QUOTA_OF_MONEY if component.columns.measure.is_money else QUOTA_OF_COUNT
            rows = tuple(
                try_out(total, second=second, second_quota=columns)
                for total in _starts_of(component.rows, quota)
                for second in _starts_of(component.columns, columns)
            )
            return Examples(rows, quota=quota, target_variable=TARGET_VARIABLE)
        case Objectives():
            rows = tuple(try_out(score=score) for score in (Decimal(100), Decimal(50), Decimal(0)))
            return Examples(rows, target_variable=_target(component.target.target_percent))
        case Pool():
            total = None if measure is None else Decimal(1_000_000)
            return Examples(tuple(try_out(total, place=place) for place in range(len(POOL_WEIGHTS))))


def _of_rate(component: Commission | Override, try_out: "_Trial", step: Decimal, quota: Decimal) -> Examples:
    rated = component.paid_as() if isinstance(component, Override) else component
    rate, threshold = rated.rate, rated.threshold
    bounds = [] if isinstance(rate, FlatRate) else _scaled(_starts(rate), rate.scale, quota)
    if rated.counts_units_beside_money:
        rows = [try_out(quota, units=units) for units in _around(bounds, _ONE, QUOTA_OF_COUNT)]
    else:
        if threshold is not None:
            bounds = sorted({*bounds, *_scaled([threshold.start], threshold.scale, quota)})
        totals = _around(bounds, step, quota)
        rows = [try_out(total) for total in totals]
        if rated.gate is not None:
            rows.append(try_out(totals[-1], is_gate_met=False))
        if rated.caps != Caps():
            rows.append(try_out(EXACT.multiply(totals[-1], _FAR_ABOVE)))
    is_by_target = isinstance(rate, PointsRate) and rate.pays is PointsPay.TARGET_PERCENT
    return Examples(
        tuple(rows),
        rated.basis is Basis.PER_DEAL,
        quota if rated.needs_quota else None,
        TARGET_VARIABLE if is_by_target else None,
    )


@dataclass(frozen=True, slots=True)
class _Trial:
    """Pays a component for what an example supposes."""

    component: Component
    currency: str
    quota: Decimal

    def __call__(
        self,
        total: Decimal | None = None,
        *,
        second: Decimal | None = None,
        second_quota: Decimal | None = None,
        score: Decimal | None = None,
        place: int | None = None,
        units: Decimal | None = None,
        is_gate_met: bool = True,
    ) -> Example:
        main = Decimal(0) if total is None else total
        totals = {MAIN: main, GATE: self._gate(is_met=is_gate_met)}
        if second is not None:
            totals[SECOND] = second
        if units is not None:
            totals[QUANTITY] = units
        quotas: Mapping[str, Decimal | QuotaGap] = {
            counted.name: self.quota if counted.name != SECOND or second_quota is None else second_quota
            for counted in self.component.measures
        }
        objectives = self.component.objectives if isinstance(self.component, Objectives) else ()
        inputs = PayInputs(
            quotas=quotas,
            totals=totals,
            deals=(DealTotal(_ANY_DEAL, date(2026, 1, 1), main, units or Decimal(0)),),
            currency=self.currency,
            target_variable=TARGET_VARIABLE,
            scores={} if score is None else {objective.key: score for objective in objectives},
            pool=None if place is None else PoolShare(POOL_WEIGHTS, place),
        )
        paid = pay(self.component, inputs)
        words = tuple(step.words for step in paid.steps)
        weight = None if place is None else POOL_WEIGHTS[place]
        return Example(paid.amount, total, units if second is None else second, score, weight, words)

    def _gate(self, *, is_met: bool) -> Decimal:
        """What the gate's own measure has come to."""
        gate = self.component.gate if isinstance(self.component, Commission) else None
        if gate is None or not is_met:
            return Decimal(0)
        return (
            EXACT.multiply(gate.at_least_attainment or Decimal(0), self.quota)
            if gate.at_least is None
            else gate.at_least
        )


def _around(bounds: Sequence[Decimal], step: Decimal, whole: Decimal) -> Sequence[Decimal]:
    """Just below, at, and between each bound and the next; without a bound a half of `whole` and all of it."""
    rising = [bound for bound in bounds[: BOUNDS_MAX + 1] if bound > 0][:BOUNDS_MAX]
    if not rising:
        return (_rounded(EXACT.multiply(whole, _HALF), step), whole)
    found = {_rounded(EXACT.multiply(rising[0], _HALF), step)}
    for lower, upper in pairwise([*rising, EXACT.multiply(rising[-1], EXACT.multiply(_ABOVE, _ABOVE))]):
        found |= {lower - step, lower, _rounded(EXACT.multiply(EXACT.add(lower, upper), _HALF), step)}
    return sorted(total for total in found if total > 0)


def _rounded(total: Decimal, step: Decimal) -> Decimal:
    return EXACT.multiply(EXACT.divide(total, step).to_integral_value(), step)


def _starts(rate: TieredRate | PointsRate) -> list[Decimal]:
    return [tier.start for tier in rate.tiers] if isinstance(rate, TieredRate) else [point.at for point in rate.points]


def _scaled(bounds: Iterable[Decimal], scale: TierScale, quota: Decimal) -> list[Decimal]:
    return [EXACT.multiply(bound, quota) if scale is TierScale.ATTAINMENT else bound for bound in bounds]


def _bounds_of(bonus: Bonus, quota: Decimal) -> list[Decimal]:
    condition = bonus.condition
    match condition:
        case Milestone():
            return _scaled([condition.bound.start], condition.scale, quota)
        case EachDeal():
            return [condition.bound.start]
        case PerUnit():
            return [condition.unit, EXACT.multiply(condition.unit, Decimal(2))]
        case Curve():
            return _scaled([point.at for point in condition.points], condition.scale, quota)


def _starts_of(axis: Axis, quota: Decimal) -> list[Decimal]:
    """The first value in each part of an axis; what is above an exclusive bound is one step above it."""
    starts = _scaled([bound.start for bound in axis.bounds], axis.scale, quota)
    found = [
        EXACT.add(start, _ONE) if bound.is_exclusive else start
        for start, bound in zip(starts, axis.bounds, strict=True)
    ]
    return found[:BOUNDS_MAX]


def _target(percent: Decimal | None) -> Decimal | None:
    return None if percent is None else TARGET_VARIABLE
