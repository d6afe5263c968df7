"""The JSON form of rates of pay."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from services.incentives.plans.content.base import Content
from services.incentives.plans.domain.rates import (
    TIERS_MAX,
    FlatRate,
    Point,
    PointsPay,
    PointsRate,
    Rate,
    Tier,
    TieredRate,
    TierMode,
    TierScale,
)
from shared.contracts.base import Amount
from shared.kernel.errors import InvalidInput


class FlatRateContent(Content):
    """One rate for everything."""

    shape: Literal["flat"] = "flat"
    rate: Amount = Field(description="Pay for each unit of the measure: 0.05 is 5 % of money.", examples=["0.05"])


class TierContent(Content):
    """A tier: from its start on, or above it, up to the start of the next."""

    model_config = ConfigDict(populate_by_name=True)

    start: Amount = Field(alias="from", description="First value of the tier; 0 in the first.", examples=["100000"])
    rate: Amount = Field(description="Pay for each unit of the measure.", examples=["0.06"])
    from_exclusive: bool = Field(False, description="Whether exactly `from` still belongs to the tier below.")
    gate: bool = Field(False, description="Whether it applies only while the component's gate is met.")


class TieredRateContent(Content):
    """Rates by how much was reached; the last tier is open."""

    shape: Literal["tiers"] = "tiers"
    mode: TierMode = Field(
        description="`marginal`: each slice at its own rate. `retroactive`: all at the rate reached."
    )
    by: TierScale = Field(
        description="Bounds by `amount`: the measure's unit; `quantity`: units sold; `attainment`: shares of the quota."
    )
    tiers: list[TierContent] = Field(min_length=1, max_length=TIERS_MAX)
    marginal_from: Amount | None = Field(
        None, description="Start of a tier from which on retroactive ones are marginal: what is below it stays."
    )


class PointContent(Content):
    """A point that the line goes through; all points of a rate have the same of the two values."""

    at: Amount = Field(description="Where it is, in what `by` says.", examples=["0.8"])
    target_percent: Amount | None = Field(None, description="Percent of the target variable.", examples=["50"])
    rate: Amount | None = Field(None, description="Pay for each unit of all of the measure.", examples=["0.05"])


class PointsRateContent(Content):
    """A line drawn through points: nothing below the first, the value of the last above it."""

    shape: Literal["points"] = "points"
    by: TierScale = Field(description="As of tiers.")
    points: list[PointContent] = Field(min_length=2, max_length=TIERS_MAX)
    extrapolate: bool = Field(False, description="Whether the last slope goes on above the last point.")


RateContent = Annotated[FlatRateContent | TieredRateContent | PointsRateContent, Field(discriminator="shape")]


def rate_of(content: FlatRateContent | TieredRateContent | PointsRateContent) -> Rate:
    """The rate that is meant, or InvalidInput that points into it."""
    match content:
        case FlatRateContent():
            return FlatRate(content.rate)
        case TieredRateContent():
            tiers = tuple(Tier(tier.start, tier.rate, tier.from_exclusive, tier.gate) for tier in content.tiers)
            return TieredRate(content.mode, content.by, tiers, content.marginal_from)
        case PointsRateContent():
            pays = PointsPay.RATE if content.points[0].rate is not None else PointsPay.TARGET_PERCENT
            points = tuple(_point(point, pays, f"/points/{index}") for index, point in enumerate(content.points))
            return PointsRate(content.by, pays, points, content.extrapolate)


def rate_content(rate: Rate) -> FlatRateContent | TieredRateContent | PointsRateContent:
    """The content that `rate_of` turns back into an equal rate."""
    match rate:
        case FlatRate():
            return FlatRateContent(rate=rate.rate)
        case TieredRate():
            tiers = [
                TierContent(start=tier.start, rate=tier.rate, from_exclusive=tier.is_exclusive, gate=tier.is_gated)
                for tier in rate.tiers
            ]
            return TieredRateContent(mode=rate.mode, by=rate.scale, tiers=tiers, marginal_from=rate.marginal_from)
        case PointsRate():
            is_rate = rate.pays is PointsPay.RATE
            points = [
                PointContent(at=point.at, rate=point.value)
                if is_rate
                else PointContent(at=point.at, target_percent=point.value)
                for point in rate.points
            ]
            return PointsRateContent(by=rate.scale, points=points, extrapolate=rate.extrapolate)


def _point(content: PointContent, pays: PointsPay, pointer: str) -> Point:
    value, other = content.target_percent, content.rate
    if pays is PointsPay.RATE:
        value, other = other, value
    if value is None or other is not None:
        raise InvalidInput.field(pointer, "has both values, none, or another than the first point", f"only {pays}")
    return Point(content.at, value)
