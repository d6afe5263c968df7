"""What a bonus pays."""

from collections.abc import Iterable
from decimal import ROUND_DOWN, Decimal
from fractions import Fraction
from typing import Final

from services.incentives.earnings.domain.inputs import EXACT, PayInputs
from services.incentives.earnings.domain.rewards import is_reached, reward, unit_of
from services.incentives.earnings.domain.schedule import drawn, value_at
from services.incentives.earnings.domain.steps import Step, StepKind, as_decimal, percent
from services.incentives.plans.domain.assignments import QuotaGap
from services.incentives.plans.domain.kinds.bonus import Bonus, Curve, EachDeal, Milestone, PerUnit, Times
from services.incentives.plans.domain.parameters import MAIN
from services.incentives.plans.domain.rates import TierScale
from services.incentives.plans.domain.rewards import Bound
from shared.kernel.money import format_amount
from shared.kernel.reasons import Words

_ZERO: Final = Decimal(0)


def steps(component: Bonus, inputs: PayInputs) -> tuple[Step, ...] | QuotaGap:
    """How the bonus came about: one step, or none where nothing is reached. A gap pays nothing."""
    whole = reward(component.pays, inputs.target_variable)
    if isinstance(whole, QuotaGap):
        return whole
    total, condition = inputs.totals[MAIN], component.condition
    match condition:
        case Milestone():
            unit = unit_of(condition.scale, inputs.quotas[MAIN])
            if isinstance(unit, QuotaGap):
                return unit
            if not is_reached(condition.bound, total, unit):
                return ()
            words = _reached(condition.bound, condition.scale)
            return (Step(StepKind.MILESTONE, words, Decimal(1), whole, whole),)
        case EachDeal():
            number = rewarded_deals(condition, (deal.value for deal in inputs.deals))
            return _times(StepKind.EACH_DEAL, number, whole, _deals(condition, number))
        case PerUnit():
            number = whole_units(condition, total)
            return _times(StepKind.PER_UNIT, number, whole, _units(condition, number))
        case Curve():
            unit = unit_of(condition.scale, inputs.quotas[MAIN])
            return unit if isinstance(unit, QuotaGap) else _drawn(condition, total, unit, whole)


def rewarded_deals(condition: EachDeal, values: Iterable[Decimal]) -> int:
    """How many rewards deals of these values bring; one that is as much below zero takes one back."""
    number = 0
    for value in values:
        if is_reached(condition.bound, abs(value), Decimal(1)):
            number += 1 if value > 0 else -1
    return min(max(number, 0), 1) if condition.times is Times.ONCE else number


def whole_units(condition: PerUnit, total: Decimal) -> int:
    """How many whole units a total has; below zero as many are taken back as the opposite total has."""
    return int(EXACT.divide(total, condition.unit).to_integral_value(rounding=ROUND_DOWN))


def _times(kind: StepKind, number: int, whole: Decimal, words: Words) -> tuple[Step, ...]:
    if not number:
        return ()
    times = Decimal(number)
    return (Step(kind, words, times, whole, EXACT.multiply(times, whole)),)


def _drawn(curve: Curve, total: Decimal, unit: Decimal, whole: Decimal) -> tuple[Step, ...]:
    at = [EXACT.multiply(point.at, unit) for point in curve.points]
    paid = [EXACT.scaleb(EXACT.multiply(point.percent, whole), -2) for point in curve.points]
    amount = value_at(drawn(at, paid, extrapolate=curve.extrapolate), total)
    if not amount:
        return ()
    is_share = curve.scale is TierScale.ATTAINMENT
    reached = f"{percent(Fraction(total) / Fraction(unit))} %" if is_share else format_amount(total)
    share = Fraction(amount) / Fraction(whole)
    words = Words(
        f"At {reached} the curve pays {percent(share)} % of {format_amount(whole)}.",
        f"达成 {reached}，曲线对应 {format_amount(whole)} 的 {percent(share)}%。",
    )
    return (Step(StepKind.CURVE, words, whole, as_decimal(share), amount),)


def _reached(bound: Bound, scale: TierScale) -> Words:
    at = f"{percent(bound.start)} %" if scale is TierScale.ATTAINMENT else format_amount(bound.start)
    if bound.is_exclusive:
        return Words(f"More than {at} was reached.", f"已超过 {at}。")
    return Words(f"At least {at} was reached.", f"已达到 {at}。")


def _deals(condition: EachDeal, number: int) -> Words:
    at, above = format_amount(condition.bound.start), condition.bound.is_exclusive
    if condition.times is Times.ONCE:
        return Words(
            f"A deal has {'more than' if above else 'at least'} {at}.",
            f"有一笔商机{'超过' if above else '达到'} {at}。",
        )
    return Words(
        f"Deals of {'more than' if above else 'at least'} {at}: {number}.",
        f"{'超过' if above else '达到'} {at} 的商机：{number} 笔。",
    )


def _units(condition: PerUnit, number: int) -> Words:
    unit = format_amount(condition.unit)
    return Words(f"Whole units of {unit}: {number}.", f"每满 {unit} 计一次：{number} 次。")
