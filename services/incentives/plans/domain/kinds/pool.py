"""Pool: a pot that everyone on the plan shares by weight."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from services.incentives.plans.domain.parameters import MAIN, ComponentMeasure, check_credited, check_key
from shared.kernel.errors import InvalidInput
from shared.kernel.measures import Measure
from shared.kernel.money import format_amount

WEIGHT: Final = "weight"
"""The name of what an assignment states beside the component's key for its weight."""


@dataclass(frozen=True, slots=True)
class FixedPot:
    """The same amount every period."""

    amount: Decimal

    def __post_init__(self) -> None:
        if self.amount <= 0:
            raise InvalidInput.field("/amount", f"is {format_amount(self.amount)}", "an amount above 0")


@dataclass(frozen=True, slots=True)
class SharePot:
    """`percent` of what the team brings in: everybody whom the measure credits, at the shares it credits."""

    percent: Decimal
    measure: Measure

    def __post_init__(self) -> None:
        if not 0 < self.percent <= 100:
            raise InvalidInput.field("/percent", f"is {format_amount(self.percent)}", "above 0, up to 100")
        check_credited(self.measure)
        if not self.measure.is_money:
            raise InvalidInput.field("/measure", "is not money, of which a percent could be paid", "a sum of money")


@dataclass(frozen=True, slots=True)
class Pool:
    """A pot shared by all who are on the plan in the period, each by its weight × its days on the plan in the period.

    The weight is the assignment's `<key>.weight`, 1 where it states none. The shares are rounded to the minor unit so
    that they add up to the pot: the largest remainders get what rounding down leaves.
    """

    key: str
    name: str
    pot: FixedPot | SharePot

    def __post_init__(self) -> None:
        check_key(self.key)

    @property
    def measures(self) -> Sequence[ComponentMeasure]:
        """What it counts by: nothing where the pot is fixed."""
        if isinstance(self.pot, FixedPot):
            return ()
        return (ComponentMeasure(MAIN, self.pot.measure, within="/pot", of_plan=True),)

    @property
    def is_linked(self) -> bool:
        """Whether a cell depends on more than the total of its own credits, or its deals one by one."""
        return True

    @property
    def needs_quota(self) -> bool:
        """Whether nothing can be paid without a quota."""
        return False
