"""Amounts as whole numbers of their smallest unit, in which everything is split. Pure.

A target has as many decimals as its unit (a currency its minor unit's, a count none), a weight at most six.
"""

from collections.abc import Iterator, Sequence
from decimal import ROUND_HALF_UP, Context, Decimal
from typing import Final

from shared.kernel.errors import FieldError
from shared.kernel.money import AMOUNT_DECIMALS_MAX, AMOUNT_MAGNITUDE_MAX, has_decimals_at_most

MILLION: Final[int] = 10**AMOUNT_DECIMALS_MAX
_EXACT: Final = Context(prec=60, rounding=ROUND_HALF_UP)
_RATIO_UNIT: Final = Decimal(1).scaleb(-AMOUNT_DECIMALS_MAX)


def amount_problems(amount: Decimal, decimals: int, pointer: str) -> Iterator[FieldError]:
    """Why an amount is no whole number of the smallest unit with so many decimals, or too large to be stored."""
    if not _is_within_limits(amount, decimals):
        accepted = f"at most {decimals} decimals" if decimals else "a whole number"
        yield FieldError(pointer, f"{amount} can not be stated exactly", f"{accepted}, below 10^15")


def weight_problems(weight: Decimal, pointer: str) -> Iterator[FieldError]:
    """Why a number is no weight: those are 0 or more, with at most six decimals."""
    if not _is_within_limits(weight, AMOUNT_DECIMALS_MAX) or weight < 0:
        accepted = f"0 or more, below 10^15, with at most {AMOUNT_DECIMALS_MAX} decimals"
        yield FieldError(pointer, f"{weight} is no weight", accepted)


def to_units(amount: Decimal, decimals: int) -> int:
    """An amount without `amount_problems` in its smallest unit."""
    return int(amount.scaleb(decimals, _EXACT))


def from_units(units: int, decimals: int) -> Decimal:
    """A whole number of smallest units as an amount."""
    return Decimal(units).scaleb(-decimals, _EXACT)


def millionths(weight: Decimal) -> int:
    """A weight without `weight_problems` in millionths."""
    return int(weight.scaleb(AMOUNT_DECIMALS_MAX, _EXACT))


def rounded_half_up(numerator: int, denominator: int) -> int:
    """The whole number nearest to a quotient, the one further from zero of two. `denominator` is above 0."""
    size = (2 * abs(numerator) + denominator) // (2 * denominator)
    return size if numerator >= 0 else -size


def change_ratio(after: Decimal, before: Decimal | None) -> Decimal | None:
    """(after - before) ÷ |before| with six decimals, half-up; None where there is nothing before to compare with."""
    if not before:
        return None
    return quotient(_EXACT.subtract(after, before), abs(before))


def quotient(numerator: Decimal, denominator: Decimal) -> Decimal:
    """With six decimals, half-up. `denominator` is not 0."""
    return _EXACT.quantize(_EXACT.divide(numerator, denominator), _RATIO_UNIT)


def shown(amount: Decimal) -> Decimal:
    """An amount with six decimals at most, half-up: a mean of rates may have more."""
    return amount if has_decimals_at_most(amount, AMOUNT_DECIMALS_MAX) else _EXACT.quantize(amount, _RATIO_UNIT)


def mean(amounts: Sequence[Decimal]) -> Decimal:
    """Of some amounts, with six decimals, half-up."""
    return quotient(sum(amounts, Decimal(0)), Decimal(len(amounts)))


def _is_within_limits(amount: Decimal, decimals: int) -> bool:
    return amount.is_finite() and abs(amount) < AMOUNT_MAGNITUDE_MAX and has_decimals_at_most(amount, decimals)
