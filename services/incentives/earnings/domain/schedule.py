"""What a measure pays: rates as a function of what was reached, exact and unrounded.

A schedule is the rate with its bounds in the measure's own unit. What is reached decides on a line, and the line pays
for the total. Below zero a running total follows the first tier's line, so taking back what was credited is the exact
inverse of crediting it; below the first point, and below a threshold, nothing is paid. A deal paid by itself is
mirrored at zero: a credit note pays exactly the opposite of the deal it takes back.
"""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property, lru_cache
from itertools import pairwise
from typing import Final

from services.incentives.earnings.domain.inputs import EXACT, DealTotal, quotient
from services.incentives.plans.domain.assignments import QuotaGap
from services.incentives.plans.domain.kinds.commission import Basis, Commission, Threshold
from services.incentives.plans.domain.rates import (
    FlatRate,
    PointsPay,
    PointsRate,
    Tier,
    TieredRate,
    TierMode,
    TierScale,
    rates_of,
)

_ZERO: Final = Decimal(0)
_ONE: Final = Decimal(1)
_EVER: Final = Decimal("-Infinity")


@dataclass(frozen=True, slots=True)
class Slice:
    """A part of what was credited and what its rate makes of it: `amount` = `value` × `rate` + `step`.

    `step` is what reaching the tier pays at once. The slope of a line between points is a rate that is rounded to be
    shown; the amount is not.
    """

    tier: int
    value: Decimal
    rate: Decimal
    amount: Decimal
    step: Decimal = _ZERO


@dataclass(frozen=True, slots=True)
class Segment:
    """A straight part of a line: `paid` at its start, and from there on `rise` for every `run` of the measure."""

    tier: int
    start: Decimal
    paid: Decimal
    rise: Decimal
    run: Decimal = _ONE

    def at(self, measure: Decimal) -> Decimal:
        """What the line has at that measure."""
        if not self.rise:
            return self.paid
        within = EXACT.subtract(measure, self.start)
        if self.run == 1:
            return EXACT.add(self.paid, EXACT.multiply(within, self.rise))
        return quotient(EXACT.add(EXACT.multiply(self.paid, self.run), EXACT.multiply(within, self.rise)), self.run)

    @property
    def rate(self) -> Decimal:
        """What each unit of the measure pays."""
        return self.rise if self.run == 1 else quotient(self.rise, self.run)


Line = tuple[Segment, ...]
_NOTHING: Final[Line] = (Segment(0, _EVER, _ZERO, _ZERO),)


def value_at(line: Line, measure: Decimal) -> Decimal:
    """What a line pays for a total."""
    for segment in reversed(line):
        if measure >= segment.start:
            return segment.at(measure)
    return line[0].at(measure)


def slices_between(line: Line, before: Decimal, after: Decimal) -> tuple[Slice, ...]:
    """What lies between two totals, cut where the rate changes, in the direction of travel."""
    if after < before:
        return tuple(reversed_slice(part) for part in reversed(slices_between(line, after, before)))
    found = []
    for index, segment in enumerate(line):
        low = before if index == 0 else max(before, segment.start)
        high = after if index + 1 == len(line) else min(after, line[index + 1].start)
        is_entered = index > 0 and before < segment.start <= after
        step = EXACT.subtract(segment.paid, line[index - 1].at(segment.start)) if is_entered else _ZERO
        if low < high or step:
            within = EXACT.subtract(segment.at(max(high, low)), segment.at(low))
            value = EXACT.subtract(max(high, low), low)
            found.append(Slice(segment.tier, value, segment.rate, EXACT.add(within, step), step))
    return tuple(found)


def reversed_slice(part: Slice) -> Slice:
    """The slice as it is taken back."""
    return Slice(part.tier, part.value.copy_negate(), part.rate, part.amount.copy_negate(), EXACT.minus(part.step))


@dataclass(frozen=True)
class Schedule:
    """Tiers with bounds in the measure's unit, and the line each of them pays by where it is the one reached.

    One line alone is that of every tier. `rates` has the points of rates that are interpolated instead.
    """

    basis: Basis
    tiers: tuple[Tier, ...]
    lines: tuple[Line, ...]
    rates: PointsRate | None = None
    threshold: Decimal | None = None

    def line(self, reached: Decimal) -> Line:
        """The line that pays when so much is reached."""
        if self.threshold is not None and reached < self.threshold:
            return _NOTHING
        if self.rates is not None:
            return _interpolated(self.rates, reached, self.tier_of(reached))
        return self.lines[0] if len(self.lines) == 1 else self.lines[self.tier_of(reached)]

    def total(self, measure: Decimal, reached: Decimal | None = None) -> Decimal:
        """What a running total pays; `reached` is what decides on the line, where that is not the total itself."""
        return value_at(self.line(measure if reached is None else reached), measure)

    def deal(self, value: Decimal, units: Decimal | None = None) -> Decimal:
        """What a deal of that value pays by itself; `units` are those sold, where they decide on the line."""
        reached = None if units is None else units.copy_abs()
        if value < 0:
            return self.total(value.copy_negate(), reached).copy_negate()
        return self.total(value, reached)

    def tier_of(self, reached: Decimal) -> int:
        """The tier a total is in, counted from 0; a bound belongs to the tier it opens, an exclusive one does not."""
        index = bisect_right(self._starts, reached) - 1
        if index > 0 and self.tiers[index].is_exclusive and self._starts[index] == reached:
            index -= 1
        return max(0, index)

    def slices(self, before: Decimal, after: Decimal, reached: Decimal | None = None) -> tuple[Slice, ...]:
        """What lies between two running totals, by the line of the higher one or of what is `reached`."""
        return slices_between(self.line(max(before, after) if reached is None else reached), before, after)

    def deal_slices(self, before: Decimal, after: Decimal, reached: Decimal | None = None) -> tuple[Slice, ...]:
        """What lies between two totals of one deal that is paid by itself: mirrored at zero, as `deal` is."""
        if after < before:
            return tuple(reversed_slice(part) for part in reversed(self.deal_slices(after, before, reached)))
        below = self.slices(min(after, _ZERO).copy_negate(), before.copy_negate(), reached) if before < 0 else ()
        above = self.slices(max(before, _ZERO), after, reached) if after > 0 else ()
        return (*reversed(below), *above)

    def parts(
        self, before: Decimal, after: Decimal, deals: Iterable[DealTotal], reached: Decimal | None
    ) -> Iterable[Slice]:
        """What lies in the tiers in the end between two running totals, or of deals where each is paid by itself."""
        if self.basis is Basis.PER_DEAL:
            return [
                part
                for deal in deals
                for part in self.deal_slices(_ZERO, deal.value, None if reached is None else deal.units.copy_abs())
            ]
        return slices_between(self.line(after if reached is None else reached), before, after)

    @cached_property
    def _starts(self) -> list[Decimal]:
        return [tier.start for tier in self.tiers]


@lru_cache(maxsize=4096)
def schedule_of(
    component: Commission,
    quota: Decimal | QuotaGap,
    target_variable: Decimal | QuotaGap = QuotaGap.TARGET_VARIABLE_MISSING,
    *,
    is_gate_met: bool = True,
) -> Schedule | QuotaGap:
    """The component's rate in the measure's unit. Bounds by attainment need a quota above 0."""
    unit = _unit(component, quota)
    if isinstance(unit, QuotaGap):
        return unit
    rate = component.rate
    match rate:
        case FlatRate():
            tiers = rates_of(rate)
            found = Schedule(component.basis, tiers, (_marginal(tiers),))
        case TieredRate():
            scale = unit if rate.scale is TierScale.ATTAINMENT else _ONE
            kept = tuple(tier for tier in rate.tiers if is_gate_met or not tier.is_gated)
            found = _tiered(component.basis, rate, kept, scale)
        case PointsRate():
            scale = unit if rate.scale is TierScale.ATTAINMENT else _ONE
            if rate.pays is PointsPay.TARGET_PERCENT and isinstance(target_variable, QuotaGap):
                return target_variable
            found = _pointed(component.basis, rate, scale, target_variable)
    return found if component.threshold is None else _above(found, component.threshold, unit)


def _unit(component: Commission, quota: Decimal | QuotaGap) -> Decimal | QuotaGap:
    """What one of a scale by attainment is in the measure's unit, where something is by attainment."""
    if not component.needs_quota:
        return _ONE
    if isinstance(quota, QuotaGap):
        return quota
    return quota if quota > 0 else QuotaGap.NOT_POSITIVE


def _marginal(tiers: tuple[Tier, ...], first: int = 0) -> Line:
    """Each slice at the rate of its own tier."""
    line = [Segment(first, tiers[0].start, _ZERO, tiers[0].rate)]
    for index, tier in enumerate(tiers[1:], start=first + 1):
        line.append(Segment(index, tier.start, line[-1].at(tier.start), tier.rate))
    return tuple(line)


def _tiered(basis: Basis, rate: TieredRate, kept: tuple[Tier, ...], unit: Decimal) -> Schedule:
    tiers = tuple(Tier(EXACT.multiply(tier.start, unit), tier.rate, tier.is_exclusive) for tier in kept)
    if rate.mode is TierMode.MARGINAL:
        return Schedule(basis, tiers, (_marginal(tiers),))
    flat: list[Line] = [(Segment(index, _ZERO, _ZERO, tier.rate),) for index, tier in enumerate(tiers)]
    if rate.marginal_from is not None:
        bound = EXACT.multiply(rate.marginal_from, unit)
        first = next((index for index, tier in enumerate(tiers) if tier.start >= bound), len(tiers))
        below = flat[first - 1][0]
        above = [below]
        for index, tier in enumerate(tiers[first:], start=first):
            above.append(Segment(index, tier.start, above[-1].at(tier.start), tier.rate))
        flat = [*flat[:first], *([tuple(above)] * (len(tiers) - first))]
    return Schedule(basis, tiers, tuple(flat))


def _pointed(basis: Basis, rate: PointsRate, unit: Decimal, target_variable: Decimal | QuotaGap) -> Schedule:
    at = [EXACT.multiply(point.at, unit) for point in rate.points]
    if rate.pays is PointsPay.RATE or isinstance(target_variable, QuotaGap):
        tiers = tuple(Tier(start, point.value) for start, point in zip(at, rate.points, strict=True))
        return Schedule(basis, _from_zero(tiers), (), _scaled(rate, unit))
    paid = [EXACT.scaleb(EXACT.multiply(point.value, target_variable), -2) for point in rate.points]
    line = drawn(at, paid, extrapolate=rate.extrapolate)
    tiers = tuple(Tier(segment.start, segment.rate) for segment in line[1:])
    return Schedule(basis, _from_zero(tiers), (line,))


def drawn(at: Sequence[Decimal], paid: Sequence[Decimal], *, extrapolate: bool) -> Line:
    """The line through points: nothing below the first, and above the last what it has, or its slope."""
    first = 1 if at[0] > 0 else 0
    line = [Segment(0, _EVER, _ZERO, _ZERO)]
    for index, ((low, high), (start, end)) in enumerate(zip(pairwise(at), pairwise(paid), strict=True), start=first):
        line.append(Segment(index, low, start, EXACT.subtract(end, start), EXACT.subtract(high, low)))
    if not extrapolate:
        line.append(Segment(first + len(at) - 1, at[-1], paid[-1], _ZERO))
    return tuple(line)


def _from_zero(tiers: tuple[Tier, ...]) -> tuple[Tier, ...]:
    """The tiers with one below that pays nothing, where they do not start at 0."""
    return tiers if tiers[0].start == 0 else (Tier(_ZERO, _ZERO), *tiers)


def _scaled(rate: PointsRate, unit: Decimal) -> PointsRate:
    points = tuple(type(point)(EXACT.multiply(point.at, unit), point.value) for point in rate.points)
    return PointsRate(rate.scale, rate.pays, points, rate.extrapolate)


def _interpolated(rates: PointsRate, reached: Decimal, tier: int) -> Line:
    """Everything at the rate that the line through the points has at what is reached."""
    points = rates.points
    if reached < points[0].at:
        return _NOTHING
    if reached >= points[-1].at and not rates.extrapolate:
        return (Segment(tier, _ZERO, _ZERO, points[-1].value),)
    index = max(1, min(len(points) - 1, sum(1 for point in points if point.at <= reached)))
    low, high = points[index - 1], points[index]
    run = EXACT.subtract(high.at, low.at)
    rise = EXACT.multiply(EXACT.subtract(high.value, low.value), EXACT.subtract(reached, low.at))
    drawn = quotient(EXACT.add(EXACT.multiply(low.value, run), rise), run)
    return (Segment(tier, _ZERO, _ZERO, drawn),)


def _above(found: Schedule, threshold: Threshold, unit: Decimal) -> Schedule:
    """The schedule with nothing paid below a threshold: of all once it is reached, or of what is above it."""
    start = EXACT.multiply(threshold.start, unit) if threshold.scale is TierScale.ATTAINMENT else threshold.start
    lines = tuple(_cut(line, start) for line in found.lines) if threshold.only_above else found.lines
    return Schedule(found.basis, found.tiers, lines, found.rates, start)


def _cut(line: Line, start: Decimal) -> Line:
    """What a line pays for what is above a start."""
    at_start = value_at(line, start)
    first = max((index for index, segment in enumerate(line) if segment.start <= start), default=0)
    kept = [Segment(line[first].tier, start, _ZERO, line[first].rise, line[first].run)]
    kept += [
        Segment(segment.tier, segment.start, EXACT.subtract(segment.paid, at_start), segment.rise, segment.run)
        for segment in line[first + 1 :]
    ]
    return (Segment(0, _EVER, _ZERO, _ZERO), *kept)
