"""How far a value has come towards what was aimed at: compared exactly, shown rounded towards "not yet".

Whoever compares an attainment takes `attainment`, whoever shows one takes `shown`. A value that is below a bound by
whatever little is below it for both.
"""

from collections.abc import Iterable
from decimal import ROUND_05UP, ROUND_FLOOR, ROUND_HALF_UP, Context, Decimal
from fractions import Fraction
from typing import Final, NamedTuple

from shared.kernel.measures import Aggregate
from shared.kernel.money import AMOUNT_DECIMALS_MAX

SHOWN_DECIMALS: Final = 6
_SHOWN_UNIT: Final = Decimal(1).scaleb(-SHOWN_DECIMALS)
# One decimal more than any bound has. Rounded so that the last digit of what is not exact is never 0 or 5, a quotient
# lies on the same side of every bound as the ratio itself, and on none that it does not reach exactly.
_COMPARED_UNIT: Final = Decimal(1).scaleb(-AMOUNT_DECIMALS_MAX - 1)
_EXACT: Final = Context(prec=100, rounding=ROUND_05UP)
_PUBLISHED_UNIT: Final = Decimal(1).scaleb(-20)
_PERCENT: Final = Decimal(100)


class Actual(NamedTuple):
    """A goal's number, exactly: `dividend` ÷ `divisor`, and none as long as the divisor is 0."""

    dividend: Decimal
    divisor: Decimal = Decimal(1)

    @property
    def shown(self) -> Decimal | None:
        """The number to read: as it is, or rounded half-up to six decimals where it is a quotient."""
        if self.divisor == 1:
            return self.dividend
        return self._quotient(_SHOWN_UNIT, ROUND_HALF_UP)

    @property
    def published(self) -> "Actual":
        """The same with a divisor of 1 or 0, to twenty decimals: on the same side of every target."""
        if self.divisor in (0, 1):
            return self
        return Actual(self._quotient(_PUBLISHED_UNIT, ROUND_05UP) or Decimal(0))

    def has_reached(self, target: Decimal, *, lower_is_better: bool) -> bool:
        """Whether it is as good as a target of at most six decimals, exactly; no number is not."""
        compared = self._quotient(_COMPARED_UNIT, ROUND_05UP)
        if compared is None:
            return False
        return compared <= target if lower_is_better else compared >= target

    def _quotient(self, unit: Decimal, rounding: str) -> Decimal | None:
        if not self.divisor:
            return None
        # What was cut off still decides, as the last digit of what is not exact is neither 0 nor 5.
        return _EXACT.divide(self.dividend, self.divisor).quantize(unit, rounding=rounding, context=_EXACT)


def actual(aggregate: Aggregate, value: Decimal, denominator: Decimal) -> Actual:
    """What the sums of a goal come to; of a ratio in percent. What counts no records always has both sides."""
    if aggregate is Aggregate.RATIO:
        return Actual(_EXACT.multiply(_PERCENT, value), denominator)
    has_both = aggregate is Aggregate.AVERAGE or not aggregate.counts_records
    return Actual(value, denominator) if has_both else Actual(value)


def attained(stands: Actual, *, target: Decimal, baseline: Decimal, lower_is_better: bool) -> Fraction | None:
    """What `attainment` gives, exactly."""
    if not stands.divisor:
        return None
    value = Fraction(stands.dividend) / Fraction(stands.divisor)
    reached, whole = value, Fraction(target)
    if lower_is_better:
        reached, whole = Fraction(baseline) - value, Fraction(baseline) - whole
    return reached / whole if whole else None


def weighted(parts: Iterable[tuple[Decimal, Fraction | None]]) -> Actual:
    """The sum of weight × attainment, in percent, exactly; no number where the attainment of a part is none."""
    total = Fraction(0)
    for weight, attainment_of_part in parts:
        if attainment_of_part is None:
            return Actual(Decimal(0), Decimal(0))
        total += Fraction(weight) * attainment_of_part
    total *= 100
    return Actual(Decimal(total.numerator), Decimal(total.denominator))


def attainment(
    value: Decimal,
    *,
    target: Decimal,
    baseline: Decimal = Decimal(0),
    lower_is_better: bool = False,
    divisor: Decimal = Decimal(1),
) -> Decimal | None:
    """value ÷ target, or (baseline - value) ÷ (baseline - target) where lower is better; unclamped.

    The value is `value` ÷ `divisor`. Compares with every number of at most six decimals as the exact ratio does. None
    when that divides by zero.
    """
    reached, whole = value, _EXACT.multiply(target, divisor)
    if lower_is_better:
        start = _EXACT.multiply(baseline, divisor)
        reached, whole = _EXACT.subtract(start, value), _EXACT.subtract(start, whole)
    if not whole:
        return None
    return _EXACT.quantize(_EXACT.divide(reached, whole), _COMPARED_UNIT)


def shown(ratio: Decimal | None, unit: Decimal = _SHOWN_UNIT) -> Decimal | None:
    """An attainment for people to read, in whole `unit`s: rounded down, so that it reaches no bound too early."""
    return None if ratio is None else ratio.quantize(unit, rounding=ROUND_FLOOR, context=_EXACT)
