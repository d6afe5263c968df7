"""What is reached of a bound, and what a reward is worth."""

from collections.abc import Sequence
from decimal import Decimal

from services.incentives.earnings.domain.inputs import EXACT
from services.incentives.plans.domain.assignments import QuotaGap
from services.incentives.plans.domain.rates import TierScale
from services.incentives.plans.domain.rewards import Bound, Reward


def reward(pays: Reward, target_variable: Decimal | QuotaGap) -> Decimal | QuotaGap:
    """What all of a reward is worth; a percent of the target variable is nothing without one."""
    if pays.amount is not None:
        return pays.amount
    if isinstance(target_variable, QuotaGap):
        return target_variable
    return EXACT.scaleb(EXACT.multiply(target_variable, pays.target_percent or Decimal(0)), -2)


def unit_of(scale: TierScale, quota: Decimal | QuotaGap) -> Decimal | QuotaGap:
    """What one of a scale is in the measure's unit: 1, or the quota, which has to be above 0."""
    if scale is TierScale.AMOUNT:
        return Decimal(1)
    if isinstance(quota, QuotaGap):
        return quota
    return quota if quota > 0 else QuotaGap.NOT_POSITIVE


def is_reached(bound: Bound, total: Decimal, unit: Decimal) -> bool:
    """Whether a total has come to a bound that counts in that unit."""
    start = EXACT.multiply(bound.start, unit)
    return total > start if bound.is_exclusive else total >= start


def reached_part(bounds: Sequence[Bound], total: Decimal, unit: Decimal) -> int:
    """The part of an axis that a total is in, counted from 0; what is below 0 is in the first."""
    return max((index for index, bound in enumerate(bounds) if is_reached(bound, total, unit)), default=0)
