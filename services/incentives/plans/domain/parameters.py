"""What the components of every kind have in common: their key, and the measures that they count by."""

import re
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Final

from shared.kernel.errors import InvalidInput
from shared.kernel.filters import Filter
from shared.kernel.measures import Aggregate, Measure
from shared.kernel.money import format_amount
from shared.kernel.periods import PeriodKind

MAIN: Final = "main"
"""The name of the measure that a component pays on; it may have further ones, by other names."""
WHOLE_PERCENT: Final = Decimal(100)
ALLOCATION_PERCENT_MAX: Final = Decimal(1000)
FACTOR_MAX: Final = Decimal(100)
_KEY: Final = re.compile(r"[a-z][a-z0-9_]{0,39}\Z")


class WindfallCounts(StrEnum):
    """What of a deal above the amount still counts."""

    CAPPED = "capped"
    """Nothing."""
    SHARE = "share"
    """A share of it."""
    REVIEWED = "reviewed"
    """Nothing until somebody has looked at it: what is then paid is an adjustment."""


@dataclass(frozen=True, slots=True)
class Windfall:
    """What of a giant deal counts: all up to `above`, and of what is above it what `counts` says.

    The amount is that of the whole deal, in the plan's currency, before it is shared.
    """

    above: Decimal
    counts: WindfallCounts
    percent: Decimal = Decimal(0)

    def __post_init__(self) -> None:
        if self.above <= 0:
            raise InvalidInput.field("/above", f"is {format_amount(self.above)}", "more than 0")
        if self.counts is WindfallCounts.SHARE and not 0 < self.percent < WHOLE_PERCENT:
            raise InvalidInput.field("/percent", f"is {format_amount(self.percent)}", "above 0, below 100")
        if self.counts is not WindfallCounts.SHARE and self.percent:
            raise InvalidInput.field("/percent", f"is beside {self.counts}", "null")


@dataclass(frozen=True, slots=True)
class Multiplier:
    """Deals that pass the filter count for `factor` times as much (`is_of_credit`), or are paid that many times."""

    name: str
    filter: Filter
    factor: Decimal
    is_of_credit: bool

    def __post_init__(self) -> None:
        if not 0 <= self.factor <= FACTOR_MAX:
            raise InvalidInput.field("/factor", f"is {format_amount(self.factor)}", f"0 to {FACTOR_MAX}, such as 1.2")
        if self.factor == 1:
            raise InvalidInput.field("/factor", "is 1, which changes nothing", f"another one, 0 to {FACTOR_MAX}")


@dataclass(frozen=True, slots=True)
class ComponentMeasure:
    """A measure that a component counts by: whose credits they are is in the measure, `allocation_percent` scales each.

    Its totals run for periods of `period`, or, where that is None, for the plan's own. `within` is the part of the
    component's JSON that has it, where that is not the component itself or a member of its name. A roll-up has `depth`
    levels of teams, None all. `of_plan`: the shares of everybody who is on the plan that day are credited, to each
    who is on it at any time of the period.
    """

    name: str
    measure: Measure
    allocation_percent: Decimal = WHOLE_PERCENT
    period: PeriodKind | None = None
    within: str | None = None
    depth: int | None = None
    of_plan: bool = False
    multipliers: tuple[Multiplier, ...] = ()
    windfall: Windfall | None = None

    @property
    def pointer(self) -> str:
        """Where the measure is in the component's JSON."""
        if self.within is not None:
            return f"{self.within}/measure"
        return "/measure" if self.name == MAIN else f"/{self.name}/measure"


def quota_key(component: str, measure: str) -> str:
    """The key of an assignment's quota for a measure of a component: the component's own for the main one."""
    return component if measure == MAIN else f"{component}.{measure}"


def check_key(key: str) -> None:
    """Raise InvalidInput at /key unless it can be the key of a component."""
    if not _KEY.match(key):
        raise InvalidInput.field(
            "/key", f"{key!r} is not a key", "a small letter, then up to 39 small letters, digits and _"
        )


def check_allocation(percent: Decimal) -> None:
    """Raise InvalidInput at /allocation_percent unless credits can be scaled by it."""
    if not 0 < percent <= ALLOCATION_PERCENT_MAX:
        raise InvalidInput.field("/allocation_percent", "is out of range", f"above 0, up to {ALLOCATION_PERCENT_MAX}")


def check_credited(measure: Measure) -> None:
    """Raise InvalidInput at /measure unless single deals can be credited by it."""
    if measure.aggregate not in (Aggregate.SUM, Aggregate.COUNT):
        raise InvalidInput.field(
            "/measure/aggregate", f"{measure.aggregate} cannot be credited to single deals", "sum, count"
        )


def check_currency(measure: Measure, currency: str, pointer: str) -> None:
    """Raise InvalidInput below `pointer`, the measure's, where it sums money in another currency than the plan's."""
    if measure.is_money and measure.currency != currency:
        raise InvalidInput.field(f"{pointer}/currency", f"{measure.currency} is not the plan's currency", currency)
