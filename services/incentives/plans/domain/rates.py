"""Rates of pay by how much was reached.

A rate is an amount of the plan's currency for each unit of the measure: "0.05" is 5 % of a sum of money, "250" is 250
for each unit of a quantity or each deal of a count. Tiers are half-open: a bound belongs to the tier it opens.
"""

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from itertools import pairwise
from typing import Final

from shared.kernel.errors import InvalidInput
from shared.kernel.money import format_amount

TIERS_MAX: Final = 50
ATTAINMENT_BOUND_MAX: Final = Decimal(10)


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
