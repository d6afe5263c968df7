"""What a plan pays for: components of typed parameters, checked where they are made.

A rate is an amount of the plan's currency for each unit of the measure: "0.05" is 5 % of a sum of money, "250" is 250
for each unit of a quantity or each deal of a count. Tiers are half-open: a bound belongs to the tier it opens.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from itertools import pairwise
from typing import Final

from shared.kernel.errors import InvalidInput
from shared.kernel.measures import Aggregate, Measure
from shared.kernel.money import format_amount

COMPONENTS_MAX: Final = 20
TIERS_MAX: Final = 50
ALLOCATION_PERCENT_MAX: Final = Decimal(1000)
ATTAINMENT_BOUND_MAX: Final = Decimal(10)
_KEY: Final = re.compile(r"[a-z][a-z0-9_]{0,39}\Z")
_WHOLE: Final = Decimal(100)


class Basis(StrEnum):
    """What the rate is looked up with."""

    CUMULATIVE = "cumulative"
    """Everything credited in the period so far."""
    PER_DEAL = "per_deal"
    """Each deal by itself."""


class TierMode(StrEnum):
    """What a tier's rate applies to."""

    MARGINAL = "marginal"
    """Each slice at its own tier's rate."""
    RETROACTIVE = "retroactive"
    """Everything at the rate of the tier reached."""


class TierScale(StrEnum):
    """What the tiers' bounds are counted in."""

    AMOUNT = "amount"
    """The measure's own unit."""
    ATTAINMENT = "attainment"
    """Shares of the quota: 1 is the quota, 1.25 is a quarter above it."""


@dataclass(frozen=True, slots=True)
class Tier:
    """From `start` on, up to the next tier's start, `rate` applies."""

    start: Decimal
    rate: Decimal


@dataclass(frozen=True, slots=True)
class FlatRate:
    """One rate for everything."""

    rate: Decimal


@dataclass(frozen=True, slots=True)
class TieredRate:
    """Rates by how much was reached. The first tier starts at 0, starts rise strictly, the top is open."""

    mode: TierMode
    scale: TierScale
    tiers: tuple[Tier, ...]

    def __post_init__(self) -> None:
        if not 1 <= len(self.tiers) <= TIERS_MAX:
            raise InvalidInput.field("/tiers", f"has {len(self.tiers)} tiers", f"1 to {TIERS_MAX} tiers")
        if self.tiers[0].start != 0:
            raise InvalidInput.field("/tiers/0/from", f"is {format_amount(self.tiers[0].start)}", "0")
        for index, (lower, upper) in enumerate(pairwise(self.tiers), start=1):
            if upper.start <= lower.start:
                raise InvalidInput.field(
                    f"/tiers/{index}/from",
                    f"{format_amount(upper.start)} is not above the tier before",
                    f"more than {format_amount(lower.start)}",
                )


Rate = FlatRate | TieredRate


def check_rate_can_be_meant(rate: Rate) -> None:
    """Raise InvalidInput for a bound by attainment that must be a percentage: 100 is a hundred times the quota."""
    if isinstance(rate, FlatRate) or rate.scale is not TierScale.ATTAINMENT:
        return
    for index, tier in enumerate(rate.tiers):
        if tier.start > ATTAINMENT_BOUND_MAX:
            raise InvalidInput.field(
                f"/tiers/{index}/from",
                f"{format_amount(tier.start)} is {format_amount(tier.start * 100)} % of the quota",
                f"a share of the quota, at most {format_amount(ATTAINMENT_BOUND_MAX)}: 1 is the quota, 1.25 is 125 %",
            )


def rates_of(rate: Rate) -> tuple[Tier, ...]:
    """The tiers of a rate; a flat one is one tier from 0."""
    return rate.tiers if isinstance(rate, TieredRate) else (Tier(Decimal(0), rate.rate),)


@dataclass(frozen=True, slots=True)
class Component:
    """A commission: a share of what `measure` counts and credits, paid at a rate.

    `allocation_percent` scales every credit of the component.
    """

    key: str
    name: str
    measure: Measure
    rate: Rate
    allocation_percent: Decimal = _WHOLE
    basis: Basis = Basis.CUMULATIVE

    def __post_init__(self) -> None:
        if not _KEY.match(self.key):
            raise InvalidInput.field(
                "/key", f"{self.key!r} is not a key", "a small letter, then up to 39 small letters, digits and _"
            )
        if not 0 < self.allocation_percent <= ALLOCATION_PERCENT_MAX:
            raise InvalidInput.field(
                "/allocation_percent", "is out of range", f"above 0, up to {ALLOCATION_PERCENT_MAX}"
            )
        if self.measure.aggregate not in (Aggregate.SUM, Aggregate.COUNT):
            raise InvalidInput.field(
                "/measure/aggregate", f"{self.measure.aggregate} cannot be credited to single deals", "sum, count"
            )
        if self.needs_quota and self.basis is Basis.PER_DEAL:
            raise InvalidInput.field("/basis", "a single deal has no attainment", "cumulative, or tiers by amount")
        self._check_rates()

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


def check_components(components: Sequence[Component], currency: str) -> None:
    """Raise InvalidInput unless these can be the components of one version of a plan in `currency`."""
    if not 1 <= len(components) <= COMPONENTS_MAX:
        raise InvalidInput.field("/components", f"has {len(components)} members", f"1 to {COMPONENTS_MAX} components")
    seen: set[str] = set()
    for index, component in enumerate(components):
        if component.key in seen:
            raise InvalidInput.field(f"/components/{index}/key", f"{component.key!r} is used twice", "a key of its own")
        seen.add(component.key)
        if component.measure.is_money and component.measure.currency != currency:
            raise InvalidInput.field(
                f"/components/{index}/measure/currency",
                f"{component.measure.currency} is not the plan's currency",
                currency,
            )
