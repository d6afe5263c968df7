"""What a commission pays: rates as a function of what was reached, exact and unrounded.

A schedule is the rate with its bounds in the measure's own unit. Below zero a running total follows the first tier's
line, so taking back what was credited is the exact inverse of crediting it. A deal paid by itself is mirrored at zero:
a credit note pays exactly the opposite of the deal it takes back.
"""

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property, lru_cache
from typing import Final

from services.incentives.earnings.domain.inputs import EXACT, PayInputs, exact_sum
from services.incentives.plans.domain.assignments import QuotaGap
from services.incentives.plans.domain.kinds.commission import Basis, Commission
from services.incentives.plans.domain.parameters import MAIN
from services.incentives.plans.domain.rates import FlatRate, Tier, TieredRate, TierMode, TierScale, rates_of

_ZERO: Final = Decimal(0)


@dataclass(frozen=True, slots=True)
class Slice:
    """A part of what was credited and what its rate makes of it: `amount` = `value` × `rate`."""

    tier: int
    value: Decimal
    rate: Decimal
    amount: Decimal


def reversed_slice(part: Slice) -> Slice:
    """The slice as it is taken back."""
    return Slice(part.tier, part.value.copy_negate(), part.rate, part.amount.copy_negate())


@dataclass(frozen=True)
class Schedule:
    """Tiers with bounds in the measure's unit, and how they apply."""

    mode: TierMode
    basis: Basis
    tiers: tuple[Tier, ...]

    def total(self, measure: Decimal) -> Decimal:
        """What a running total pays."""
        tier = self.tier_of(measure)
        rate = self.tiers[tier].rate
        if self.mode is TierMode.RETROACTIVE:
            return EXACT.multiply(measure, rate)
        within = EXACT.subtract(measure, self.tiers[tier].start)
        return EXACT.add(self._paid_below[tier], EXACT.multiply(within, rate))

    def deal(self, value: Decimal) -> Decimal:
        """What a deal of that value pays by itself."""
        return self.total(value.copy_negate()).copy_negate() if value < 0 else self.total(value)

    def tier_of(self, measure: Decimal) -> int:
        """The tier a total is in, counted from 0; a bound belongs to the tier it opens."""
        return max(0, bisect_right(self._starts, measure) - 1)

    def slices(self, before: Decimal, after: Decimal) -> tuple[Slice, ...]:
        """What lies between two running totals, cut where the marginal rate changes, in the direction of travel."""
        if after < before:
            return tuple(reversed_slice(part) for part in reversed(self.slices(after, before)))
        if self.mode is TierMode.RETROACTIVE:
            tier = self.tier_of(after)
            return (self._slice(tier, EXACT.subtract(after, before)),) if after != before else ()
        parts = []
        for index in range(len(self.tiers)):
            low = before if index == 0 else max(before, self._starts[index])
            high = after if index + 1 == len(self.tiers) else min(after, self._starts[index + 1])
            if low < high:
                parts.append(self._slice(index, EXACT.subtract(high, low)))
        return tuple(parts)

    def deal_slices(self, before: Decimal, after: Decimal) -> tuple[Slice, ...]:
        """What lies between two totals of one deal that is paid by itself: mirrored at zero, as `deal` is."""
        if after < before:
            return tuple(reversed_slice(part) for part in reversed(self.deal_slices(after, before)))
        below = self.slices(min(after, _ZERO).copy_negate(), before.copy_negate()) if before < 0 else ()
        above = self.slices(max(before, _ZERO), after) if after > 0 else ()
        return (*reversed(below), *above)

    def parts(self, of_deals: Iterable[Decimal]) -> Iterable[Slice]:
        """What deals credited with these values have in the tiers in the end. The amounts add up to what is paid."""
        if self.basis is Basis.PER_DEAL:
            return [part for value in of_deals for part in self.deal_slices(_ZERO, value)]
        return self.slices(_ZERO, exact_sum(of_deals))

    def _slice(self, tier: int, value: Decimal) -> Slice:
        rate = self.tiers[tier].rate
        return Slice(tier, value, rate, EXACT.multiply(value, rate))

    @cached_property
    def _starts(self) -> list[Decimal]:
        return [tier.start for tier in self.tiers]

    @cached_property
    def _paid_below(self) -> list[Decimal]:
        """What all lower tiers pay together when they are full."""
        paid = [_ZERO]
        for lower, upper in zip(self.tiers, self.tiers[1:], strict=False):
            width = EXACT.subtract(upper.start, lower.start)
            paid.append(EXACT.add(paid[-1], EXACT.multiply(width, lower.rate)))
        return paid


def payout(component: Commission, inputs: PayInputs) -> Decimal:
    """What a commission pays for its credits, exactly."""
    schedule = schedule_of(component, inputs.quotas[MAIN])
    if isinstance(schedule, QuotaGap):
        return _ZERO
    if schedule.basis is Basis.PER_DEAL:
        return exact_sum(schedule.deal(deal.value) for deal in inputs.deals)
    return schedule.total(inputs.totals[MAIN])


@lru_cache(maxsize=4096)
def schedule_of(component: Commission, quota: Decimal | QuotaGap) -> Schedule | QuotaGap:
    """The component's rate in the measure's unit. Tiers by attainment need a quota above 0."""
    rate = component.rate
    match rate:
        case FlatRate():
            return Schedule(TierMode.MARGINAL, component.basis, rates_of(rate))
        case TieredRate(scale=TierScale.AMOUNT):
            return Schedule(rate.mode, component.basis, rate.tiers)
        case _ if isinstance(quota, QuotaGap):
            return quota
        case _ if quota <= 0:
            return QuotaGap.NOT_POSITIVE
        case _:
            tiers = tuple(Tier(EXACT.multiply(tier.start, quota), tier.rate) for tier in rate.tiers)
            return Schedule(rate.mode, component.basis, tiers)
