"""What the pay of a cell is a function of, whatever the kind of its component."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import ROUND_HALF_UP, Context, Decimal
from fractions import Fraction
from typing import Final
from uuid import UUID

from services.incentives.plans.domain.assignments import QuotaGap

EXACT: Final = Context(prec=80)
"""Wide enough that sums and products of limited amounts, percents and rates lose nothing."""
DECIMALS: Final = 20
"""How many decimals a quotient is worked out to, half up: what is divided is worked out once, by one rule."""
_ZERO: Final = Decimal(0)
_ONE: Final = Decimal(1)
_WIDE: Final = Context(prec=120)


@dataclass(frozen=True, slots=True)
class DealTotal:
    """What the main measure counts of one deal in a cell; `day` is the first it counts on.

    `units` are those sold, where they are counted beside money; what the deal is paid is paid `factor` times.
    """

    deal_id: UUID
    day: date
    value: Decimal
    units: Decimal = _ZERO
    factor: Decimal = _ONE


@dataclass(frozen=True, slots=True)
class CapState:
    """What earlier cells of the fiscal year have come to.

    `due` and `paid` are of the period of the plan so far: before its cap, with what was carried into it, and after.
    `carried` is what this cell begins a period with, and `year` what the year has come to before its cap.
    """

    due: Decimal = _ZERO
    paid: Decimal = _ZERO
    carried: Decimal = _ZERO
    year: Decimal = _ZERO


@dataclass(frozen=True, slots=True)
class PoolShare:
    """The weights of everybody who shares a pool, in one order for all of them, and whose `place` the cell is."""

    weights: Sequence[Decimal]
    place: int


@dataclass(frozen=True, slots=True)
class PayInputs:
    """Everything the pay of a cell depends on, beside its component.

    `quotas` and `totals` are by the name of a measure, of the period that its totals run for: up to the end of the
    cell, and `before` up to its start, for measures whose totals go on from earlier cells. `deals` has the main
    measure's in the cell itself, by business date and deal id. `scores` are percents by objective, of those that are
    scored. `part` is the cell's share of the days of its period: what is stated for a whole one is paid by it.
    `paid_before` is what earlier cells of its period have come to under the same terms.
    """

    quotas: Mapping[str, Decimal | QuotaGap]
    totals: Mapping[str, Decimal]
    deals: Sequence[DealTotal]
    currency: str
    target_variable: Decimal | QuotaGap = QuotaGap.TARGET_VARIABLE_MISSING
    scores: Mapping[str, Decimal] = field(default_factory=dict)
    pool: PoolShare | None = None
    before: Mapping[str, Decimal] = field(default_factory=dict)
    caps: CapState = CapState()
    part: Fraction = Fraction(1)
    paid_before: Decimal = _ZERO


def exact_sum(amounts: Iterable[Decimal]) -> Decimal:
    """Their sum, to the last digit."""
    total = _ZERO
    for amount in amounts:
        total = EXACT.add(total, amount)
    return total


def quotient(dividend: Decimal, divisor: Decimal) -> Decimal:
    """Their quotient to DECIMALS decimals, half up."""
    exact = _WIDE.divide(dividend, divisor)
    return exact.quantize(_ONE.scaleb(-DECIMALS), ROUND_HALF_UP, _WIDE)
