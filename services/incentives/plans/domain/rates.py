"""Rates of pay by how much was reached.

A rate is an amount of the plan's currency for each unit of the measure: "0.05" is 5 % of a sum of money, "250" is 250
for each unit of a quantity or each deal of a count. Tiers are half-open: a bound belongs to the tier it opens, or, if
it is exclusive, to the one below.
"""

from collections.abc import Sequence
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
    QUANTITY = "quantity"
    """Units sold: the measure's own where it counts deals or units, else the quantity of the deals that count."""
    ATTAINMENT = "attainment"
    """Shares of the quota: 1 is the quota, 1.25 is a quarter above it."""


@dataclass(frozen=True, slots=True)
class Tier:
    """From `start` on, up to the next tier's start, `rate` applies; to more than `start` alone where that is exclusive.

    A gated tier applies only while the component's gate is met: else the tier below goes on.
    """

    start: Decimal
    rate: Decimal
    is_exclusive: bool = False
    is_gated: bool = False


@dataclass(frozen=True, slots=True)
class FlatRate:
    """One rate for everything."""

    rate: Decimal


@dataclass(frozen=True, slots=True)
class TieredRate:
    """Rates by how much was reached. The first tier starts at 0, starts rise strictly, the top is open.

    Retroactive tiers may end at `marginal_from`, the start of one of them: up to there everything is paid at the rate
    reached, and what is above it slice by slice.
    """

    mode: TierMode
    scale: TierScale
    tiers: tuple[Tier, ...]
    marginal_from: Decimal | None = None

    def __post_init__(self) -> None:
        if not 1 <= len(self.tiers) <= TIERS_MAX:
            raise InvalidInput.field("/tiers", f"has {len(self.tiers)} tiers", f"1 to {TIERS_MAX} tiers")
        first = self.tiers[0]
        if first.start != 0:
            raise InvalidInput.field("/tiers/0/from", f"is {format_amount(first.start)}", "0")
        if first.is_exclusive:
            raise InvalidInput.field("/tiers/0/from_exclusive", "is true, and nothing is below the first tier", "false")
        if first.is_gated:
            raise InvalidInput.field(
                "/tiers/0/gate", "is true, and no tier is below it to go on", "false, or a gate without gated tiers"
            )
        check_rising([tier.start for tier in self.tiers], "/tiers", "from")
        self._check_marginal_from()

    @property
    def is_retroactive(self) -> bool:
        """Whether everything is paid at the rate reached, whatever was reached."""
        return self.mode is TierMode.RETROACTIVE and self.marginal_from is None

    def _check_marginal_from(self) -> None:
        if self.marginal_from is None:
            return
        if self.mode is TierMode.MARGINAL:
            raise InvalidInput.field("/marginal_from", "is for retroactive tiers", "null, as all tiers are marginal")
        starts = [tier.start for tier in self.tiers[1:]]
        if self.marginal_from not in starts:
            raise InvalidInput.field(
                "/marginal_from",
                f"{format_amount(self.marginal_from)} is the start of no tier above the first",
                ", ".join(map(format_amount, starts)) or "more than one tier",
            )


class PointsPay(StrEnum):
    """What the values of points are."""

    TARGET_PERCENT = "target_percent"
    """Percents of the target variable."""
    RATE = "rate"
    """Rates that pay for everything."""


@dataclass(frozen=True, slots=True)
class Point:
    """At exactly `at` the line has this value."""

    at: Decimal
    value: Decimal


@dataclass(frozen=True, slots=True)
class PointsRate:
    """A line drawn through points. Below the first nothing is paid; above the last its value stays, or its slope."""

    scale: TierScale
    pays: PointsPay
    points: tuple[Point, ...]
    extrapolate: bool = False

    def __post_init__(self) -> None:
        if not 2 <= len(self.points) <= TIERS_MAX:
            raise InvalidInput.field("/points", f"has {len(self.points)} points", f"2 to {TIERS_MAX} points")
        if self.points[0].at < 0:
            raise InvalidInput.field("/points/0/at", f"is {format_amount(self.points[0].at)}", "0 or more")
        check_rising([point.at for point in self.points], "/points", "at")
        for index, point in enumerate(self.points):
            if point.value < 0:
                raise InvalidInput.field(f"/points/{index}/{self.pays}", "is negative", "0 or more")
        first, last = self.points[0], self.points[-1]
        if first.at == 0 and first.value > 0 and self.pays is PointsPay.TARGET_PERCENT:
            raise InvalidInput.field("/points/0/target_percent", "would be paid for nothing", "0, or a point above 0")
        if self.extrapolate and last.value < self.points[-2].value:
            raise InvalidInput.field("/extrapolate", "is true, and the last slope falls", "false, or one that rises")


Rate = FlatRate | TieredRate | PointsRate


def check_rising(values: Sequence[Decimal], pointer: str, member: str) -> None:
    """Raise InvalidInput unless each value is above the one before."""
    for index, (lower, upper) in enumerate(pairwise(values), start=1):
        if upper <= lower:
            raise InvalidInput.field(
                f"{pointer}/{index}/{member}",
                f"{format_amount(upper)} is not above the one before",
                f"more than {format_amount(lower)}",
            )


def check_attainment(value: Decimal, pointer: str) -> None:
    """Raise InvalidInput for a bound by attainment that must be a percentage: 100 is a hundred times the quota."""
    if value > ATTAINMENT_BOUND_MAX:
        raise InvalidInput.field(
            pointer,
            f"{format_amount(value)} is {format_amount(value * 100)} % of the quota",
            f"a share of the quota, at most {format_amount(ATTAINMENT_BOUND_MAX)}: 1 is the quota, 1.25 is 125 %",
        )


def check_rate_can_be_meant(rate: Rate) -> None:
    """Raise InvalidInput for a bound by attainment that must be a percentage."""
    if isinstance(rate, FlatRate) or rate.scale is not TierScale.ATTAINMENT:
        return
    if isinstance(rate, PointsRate):
        for index, point in enumerate(rate.points):
            check_attainment(point.at, f"/points/{index}/at")
        return
    for index, tier in enumerate(rate.tiers):
        check_attainment(tier.start, f"/tiers/{index}/from")


def rates_of(rate: Rate) -> tuple[Tier, ...]:
    """The tiers of a rate; a flat one is one tier from 0, and one by points has none."""
    match rate:
        case TieredRate():
            return rate.tiers
        case FlatRate():
            return (Tier(Decimal(0), rate.rate),)
        case PointsRate():
            return ()
