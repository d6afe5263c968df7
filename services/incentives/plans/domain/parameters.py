"""What the components of every kind have in common: their key, and the measures that they count by."""

import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from shared.kernel.errors import InvalidInput
from shared.kernel.measures import Aggregate, Measure
from shared.kernel.periods import PeriodKind

MAIN: Final = "main"
"""The name of the measure that a component pays on; it may have further ones, by other names."""
WHOLE_PERCENT: Final = Decimal(100)
ALLOCATION_PERCENT_MAX: Final = Decimal(1000)
_KEY: Final = re.compile(r"[a-z][a-z0-9_]{0,39}\Z")


@dataclass(frozen=True, slots=True)
class ComponentMeasure:
    """A measure that a component counts by: whose credits they are is in the measure, `allocation_percent` scales each.

    Its totals run for periods of `period`, or, where that is None, for the plan's own. `within` is the part of the
    component's JSON that has it, where that is not the component itself or a member of its name.
    """

    name: str
    measure: Measure
    allocation_percent: Decimal = WHOLE_PERCENT
    period: PeriodKind | None = None
    within: str | None = None

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
