"""What the pay of a cell is a function of, whatever the kind of its component."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Context, Decimal
from typing import Final
from uuid import UUID

from services.incentives.plans.domain.assignments import QuotaGap

EXACT: Final = Context(prec=80)
"""Wide enough that sums and products of limited amounts, percents and rates lose nothing."""
_ZERO: Final = Decimal(0)


@dataclass(frozen=True, slots=True)
class DealTotal:
    """What the main measure counts of one deal in a cell; `day` is the first it counts on."""

    deal_id: UUID
    day: date
    value: Decimal


@dataclass(frozen=True, slots=True)
class PoolShare:
    """The weights of everybody who shares a pool, in one order for all of them, and whose `place` the cell is."""

    weights: Sequence[Decimal]
    place: int


@dataclass(frozen=True, slots=True)
class PayInputs:
    """Everything the pay of a cell depends on, beside its component.

    `quotas` and `totals` are by the name of a measure, of the period that its totals run for; `deals` has the main
    measure's, by business date and deal id. `scores` are percents by objective, of those that are scored.
    """

    quotas: Mapping[str, Decimal | QuotaGap]
    totals: Mapping[str, Decimal]
    deals: Sequence[DealTotal]
    currency: str
    target_variable: Decimal | QuotaGap = QuotaGap.TARGET_VARIABLE_MISSING
    scores: Mapping[str, Decimal] = field(default_factory=dict)
    pool: PoolShare | None = None


def exact_sum(amounts: Iterable[Decimal]) -> Decimal:
    """Their sum, to the last digit."""
    total = _ZERO
    for amount in amounts:
        total = EXACT.add(total, amount)
    return total
