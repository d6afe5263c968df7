"""What a cell pays, and how that came about."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final
from uuid import UUID

from services.incentives.earnings.domain.steps import Step
from services.incentives.plans.domain.assignments import QuotaGap

_ZERO: Final = Decimal(0)


@dataclass(frozen=True, slots=True)
class DealExtra:
    """What a deal is paid beside the rate: what multipliers added, and what the cap of a deal withheld."""

    multiplied: Decimal
    withheld: Decimal


@dataclass(frozen=True, slots=True)
class Pay:
    """What a cell pays, exactly: `by_rate`, which has the extras of deals in it, and the `steps` add up to `amount`.

    `due` is what is owed before the caps, and `within_period` what the cap of the period lets through of it. `gap` is
    why something that pay depends on is not known.
    """

    amount: Decimal = _ZERO
    by_rate: Decimal = _ZERO
    extras: Mapping[UUID, DealExtra] = field(default_factory=dict)
    steps: tuple[Step, ...] = ()
    due: Decimal = _ZERO
    within_period: Decimal = _ZERO
    gap: QuotaGap | None = None
