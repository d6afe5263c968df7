"""How many people there are for a goal, as far as they are there. Pure."""

from bisect import bisect_left
from collections.abc import Collection, Mapping, Sequence
from datetime import date
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction
from typing import Final
from uuid import UUID

from services.goals.org.domain import strength_spans
from shared.kernel.org import Reach
from shared.kernel.periods import DatedRange

_HUNDREDTH: Final = Decimal("0.01")


def full_time(
    reaches: Sequence[Reach],
    reduced: Mapping[UUID, Collection[tuple[DatedRange, Decimal]]],
    working_days: Sequence[date],
) -> Decimal:
    """How many people who are there in full on all of the working days of a period these come to.

    Each counts on the working days of its reach, less what `reduced` leaves. Two decimals, half-up; 0 where no day is
    worked. `working_days` are those of the period, in order.
    """
    if not working_days:
        return Decimal(0)
    strong = Fraction(0)
    for each in reaches:
        for span, share in strength_spans(each.period, reduced.get(each.person_id, ())):
            worked = bisect_left(working_days, span.end) - bisect_left(working_days, span.start)
            strong += worked * Fraction(share)
    exact = strong / len(working_days)
    return (Decimal(exact.numerator) / exact.denominator).quantize(_HUNDREDTH, rounding=ROUND_HALF_UP)
