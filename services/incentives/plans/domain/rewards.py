"""What a component pays for reaching something: bounds, curves and the reward itself."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from services.incentives.plans.domain.rates import TierScale, check_attainment, check_rising
from shared.kernel.errors import InvalidInput
from shared.kernel.money import format_amount

POINTS_MAX: Final = 50
REWARD_PERCENT_MAX: Final = Decimal(1000)


@dataclass(frozen=True, slots=True)
class Reward:
    """An amount of the plan's currency, or a percent of the target variable of the period; never both."""

    amount: Decimal | None = None
    target_percent: Decimal | None = None

    def __post_init__(self) -> None:
        if (self.amount is None) == (self.target_percent is None):
            raise InvalidInput.field(
                "", "names both or neither of an amount and a percent", "either amount or target_percent"
            )
        if self.amount is not None and self.amount <= 0:
            raise InvalidInput.field("/amount", f"is {format_amount(self.amount)}", "an amount above 0")
        if self.target_percent is not None and not 0 < self.target_percent <= REWARD_PERCENT_MAX:
            raise InvalidInput.field(
                "/target_percent",
                f"is {format_amount(self.target_percent)}",
                f"above 0, up to {format_amount(REWARD_PERCENT_MAX)}: 100 is all of the target variable",
            )


@dataclass(frozen=True, slots=True)
class Bound:
    """From `start` on, or above it where that is exclusive: at exactly `start` it is not reached then."""

    start: Decimal
    is_exclusive: bool = False


def check_bounds(bounds: Sequence[Bound], scale: TierScale, pointer: str) -> None:
    """Raise InvalidInput below `pointer` unless these are the parts of an axis: from 0, rising, of a meant size."""
    if not 1 <= len(bounds) <= POINTS_MAX:
        raise InvalidInput.field(pointer, f"has {len(bounds)} members", f"1 to {POINTS_MAX}")
    if bounds[0] != Bound(Decimal(0)):
        raise InvalidInput.field(
            f"{pointer}/0/from", f"is {format_amount(bounds[0].start)}", "0, which is below none: it has all below too"
        )
    check_rising([bound.start for bound in bounds], pointer, "from")
    check_scale([bound.start for bound in bounds], scale, pointer, "from")


def check_scale(values: Sequence[Decimal], scale: TierScale, pointer: str, member: str) -> None:
    """Raise InvalidInput for what is below 0, and for an attainment that must be a percentage."""
    for index, value in enumerate(values):
        check_reached_scale(value, scale, f"{pointer}/{index}/{member}")


def check_reached_scale(value: Decimal, scale: TierScale, pointer: str) -> None:
    """Raise InvalidInput for a bound below 0, and for an attainment that must be a percentage."""
    if value < 0:
        raise InvalidInput.field(pointer, f"is {format_amount(value)}", "0 or more")
    if scale is TierScale.ATTAINMENT:
        check_attainment(value, pointer)
