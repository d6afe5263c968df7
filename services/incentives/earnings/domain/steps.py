"""How a cell's pay came about, step by step, in words: for kinds that are not paid deal by deal alone."""

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction
from typing import Final

from services.incentives.earnings.domain.inputs import EXACT
from shared.kernel.money import format_amount
from shared.kernel.reasons import Words

_SHOWN: Final = Decimal("0.000001")


class StepKind(StrEnum):
    """What a step is about."""

    MILESTONE = "milestone"
    EACH_DEAL = "each_deal"
    PER_UNIT = "per_unit"
    CURVE = "curve"
    OBJECTIVE = "objective"
    POOL = "pool"
    MATRIX = "matrix"
    BEFORE = "before"
    """What the same would pay for what was credited before the terms, or a quota, changed within a period."""
    THRESHOLD = "threshold"
    GATE = "gate"
    CARRIED = "carried"
    CAP_OF_PERIOD = "cap_of_period"
    CAP_OF_YEAR = "cap_of_year"


@dataclass(frozen=True, slots=True)
class Step:
    """A part of what a cell pays: `amount` = `value` × `rate`, where a rate is what it is paid by.

    The amounts of a cell's steps add up to its pay.
    """

    kind: StepKind
    words: Words
    value: Decimal
    rate: Decimal | None
    amount: Decimal


def before_step(paid: Decimal) -> Step:
    """What was paid for earlier parts of the period, or would be by these terms, is not paid again."""
    shown = format_amount(paid)
    words = Words(
        f"{shown} of it is for what was credited earlier in the period, before its terms or its quota changed.",
        f"其中 {shown} 对应本期内条款或指标变更之前的业绩，不重复计付。",
    )
    return Step(StepKind.BEFORE, words, paid, None, paid.copy_negate())


def once_step(due: Decimal) -> Step:
    """What is paid once a period was paid in an earlier part of it."""
    words = Words(
        "It was paid earlier in the period, and a period pays it once.",
        "本期内此前已计付，每期仅计付一次。",
    )
    return Step(StepKind.BEFORE, words, due, None, due.copy_negate())


def as_decimal(ratio: Fraction) -> Decimal:
    """The ratio to 80 digits; one that terminates within these is exact."""
    return EXACT.divide(Decimal(ratio.numerator), Decimal(ratio.denominator))


def percent(share: Decimal | Fraction) -> str:
    """A share as a percentage to read, rounded to six decimals: 0.925 is "92.5"."""
    exact = as_decimal(Fraction(share) * 100)
    return format_amount(exact.quantize(_SHOWN, context=EXACT))
