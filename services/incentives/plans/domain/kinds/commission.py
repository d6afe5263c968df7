"""Commission: a share of what deals bring in, paid at a rate."""

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from services.incentives.plans.domain.parameters import (
    MAIN,
    WHOLE_PERCENT,
    ComponentMeasure,
    check_allocation,
    check_credited,
    check_key,
)
from services.incentives.plans.domain.rates import Rate, TieredRate, TierScale, rates_of
from shared.kernel.errors import InvalidInput
from shared.kernel.measures import Measure
from shared.kernel.money import format_amount


class Basis(StrEnum):
    """What the rate is looked up with."""

    CUMULATIVE = "cumulative"
    """Everything credited in the period so far."""
    PER_DEAL = "per_deal"
    """Each deal by itself."""


@dataclass(frozen=True, slots=True)
class Commission:
    """A commission: a share of what `measure` counts and credits, paid at a rate.

    `allocation_percent` scales every credit of the component.
    """

    key: str
    name: str
    measure: Measure
    rate: Rate
    allocation_percent: Decimal = WHOLE_PERCENT
    basis: Basis = Basis.CUMULATIVE

    def __post_init__(self) -> None:
        check_key(self.key)
        check_allocation(self.allocation_percent)
        check_credited(self.measure)
        if self.needs_quota and self.basis is Basis.PER_DEAL:
            raise InvalidInput.field("/basis", "a single deal has no attainment", "cumulative, or tiers by amount")
        self._check_rates()

    @property
    def measures(self) -> tuple[ComponentMeasure, ...]:
        """What it counts by."""
        return (ComponentMeasure(MAIN, self.measure, self.allocation_percent),)

    @property
    def needs_quota(self) -> bool:
        """Whether nothing can be paid without a quota."""
        return isinstance(self.rate, TieredRate) and self.rate.scale is TierScale.ATTAINMENT

    def _check_rates(self) -> None:
        for index, tier in enumerate(rates_of(self.rate)):
            at = f"/rate/tiers/{index}/rate" if isinstance(self.rate, TieredRate) else "/rate/rate"
            if tier.rate < 0:
                raise InvalidInput.field(at, "is negative", "0 or more")
            if self.measure.is_money and tier.rate > 1:
                raise InvalidInput.field(
                    at, f"{format_amount(tier.rate)} pays more than the deal", "0 to 1, such as 0.05 for 5 %"
                )
