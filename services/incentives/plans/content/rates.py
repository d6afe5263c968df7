"""The JSON form of rates of pay."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from services.incentives.plans.content.base import Content
from services.incentives.plans.domain.rates import (
    TIERS_MAX,
    FlatRate,
    Rate,
    Tier,
    TieredRate,
    TierMode,
    TierScale,
)
from shared.contracts.base import Amount


class FlatRateContent(Content):
    """One rate for everything."""

    shape: Literal["flat"] = "flat"
    rate: Amount = Field(description="Pay for each unit of the measure: 0.05 is 5 % of money.", examples=["0.05"])


class TierContent(Content):
    """A tier: from its start on, up to the start of the next."""

    model_config = ConfigDict(populate_by_name=True)

    start: Amount = Field(alias="from", description="First value of the tier; 0 in the first.", examples=["100000"])
    rate: Amount = Field(description="Pay for each unit of the measure.", examples=["0.06"])


class TieredRateContent(Content):
    """Rates by how much was reached; the last tier is open."""

    shape: Literal["tiers"] = "tiers"
    mode: TierMode = Field(
        description="`marginal`: each slice at its own rate. `retroactive`: all at the rate reached."
    )
    by: TierScale = Field(description="`amount`: bounds in the measure's unit. `attainment`: shares of the quota.")
    tiers: list[TierContent] = Field(min_length=1, max_length=TIERS_MAX)


RateContent = Annotated[FlatRateContent | TieredRateContent, Field(discriminator="shape")]


def rate_of(content: FlatRateContent | TieredRateContent) -> Rate:
    """The rate that is meant, or InvalidInput that points into it."""
    if isinstance(content, FlatRateContent):
        return FlatRate(content.rate)
    return TieredRate(content.mode, content.by, tuple(Tier(tier.start, tier.rate) for tier in content.tiers))


def rate_content(rate: Rate) -> FlatRateContent | TieredRateContent:
    """The content that `rate_of` turns back into an equal rate."""
    if isinstance(rate, FlatRate):
        return FlatRateContent(rate=rate.rate)
    return TieredRateContent(
        mode=rate.mode, by=rate.scale, tiers=[TierContent(start=tier.start, rate=tier.rate) for tier in rate.tiers]
    )
