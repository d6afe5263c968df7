"""How far a value has come towards what was aimed at: compared exactly, shown rounded towards "not yet".

Whoever compares an attainment takes `attainment`, whoever shows one takes `shown`. A value that is below a bound by
whatever little is below it for both.
"""

from decimal import ROUND_05UP, ROUND_FLOOR, Context, Decimal
from typing import Final

from shared.kernel.money import AMOUNT_DECIMALS_MAX

SHOWN_DECIMALS: Final = 6
_SHOWN_UNIT: Final = Decimal(1).scaleb(-SHOWN_DECIMALS)
# One decimal more than any bound has. Rounded so that the last digit of what is not exact is never 0 or 5, a quotient
# lies on the same side of every bound as the ratio itself, and on none that it does not reach exactly.
_COMPARED_UNIT: Final = Decimal(1).scaleb(-AMOUNT_DECIMALS_MAX - 1)
_EXACT: Final = Context(prec=100, rounding=ROUND_05UP)


def attainment(
    value: Decimal, *, target: Decimal, baseline: Decimal = Decimal(0), lower_is_better: bool = False
) -> Decimal | None:
    """value ÷ target, or (baseline - value) ÷ (baseline - target) where lower is better; unclamped.

    Compares with every number of at most six decimals as the exact ratio does. None when that divides by zero.
    """
    reached, whole = value, target
    if lower_is_better:
        reached, whole = _EXACT.subtract(baseline, value), _EXACT.subtract(baseline, target)
    if not whole:
        return None
    return _EXACT.quantize(_EXACT.divide(reached, whole), _COMPARED_UNIT)


def shown(ratio: Decimal | None, unit: Decimal = _SHOWN_UNIT) -> Decimal | None:
    """An attainment for people to read, in whole `unit`s: rounded down, so that it reaches no bound too early."""
    return None if ratio is None else ratio.quantize(unit, rounding=ROUND_FLOOR, context=_EXACT)
