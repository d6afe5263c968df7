"""The JSON form of a bonus."""

from decimal import Decimal
from typing import Annotated, Literal

from pydantic import Field

from services.incentives.plans.content.base import Content, Key, Title
from services.incentives.plans.content.measures import CreditedContent, credited_of, measure_content
from services.incentives.plans.content.rewards import (
    BoundContent,
    RewardContent,
    bound_of,
    reward_content,
    reward_of,
)
from services.incentives.plans.domain.kinds.bonus import (
    Bonus,
    Condition,
    Curve,
    CurvePoint,
    EachDeal,
    Milestone,
    PerUnit,
    Times,
)
from services.incentives.plans.domain.rates import TierScale
from services.incentives.plans.domain.rewards import POINTS_MAX
from shared.contracts.base import Amount
from shared.kernel.errors import InvalidInput

By = Annotated[TierScale, Field(description="`amount`: in the measure's unit. `attainment`: shares of the quota.")]


class MilestoneContent(BoundContent):
    """The total of the period reaches a value; paid once a period."""

    when: Literal["milestone"]
    by: By


class EachDealContent(BoundContent):
    """A deal by itself reaches a value, in the measure's unit; one that is as much below zero takes a reward back."""

    when: Literal["each_deal"]
    times: Times = Field(Times.EVERY, description="`every` such deal is rewarded, or the first of a period `once`.")


class PerUnitContent(Content):
    """Each whole unit of the period's total."""

    when: Literal["per_unit"]
    unit: Amount = Field(Decimal(1), description="How much of the measure one is.", examples=["10"])


class CurvePointContent(Content):
    """A point of a curve."""

    at: Amount = Field(examples=["0.8"])
    percent: Amount = Field(description="Percent of the reward.", examples=["50"])


class CurveContent(Content):
    """The percent of the reward is a line between points: below the first nothing, above the last its percent."""

    when: Literal["curve"]
    by: By
    points: list[CurvePointContent] = Field(min_length=1, max_length=POINTS_MAX)
    extrapolate: bool = Field(False, description="Above the last point the last line goes on.")


ConditionContent = Annotated[
    MilestoneContent | EachDealContent | PerUnitContent | CurveContent, Field(discriminator="when")
]


class BonusContent(CreditedContent):
    """A bonus component: a reward when a condition holds."""

    kind: Literal["bonus"]
    key: Key = Field(examples=["spif"])
    name: Title = Field(examples=["Contest"])
    allocation_percent: Amount = Field(Decimal(100), description="Scales every credit.", examples=["100"])
    condition: ConditionContent
    pays: RewardContent


def bonus_of(content: BonusContent, pointer: str, *, is_stored: bool) -> Bonus:
    """The bonus that is meant, or InvalidInput that points below `pointer`; `is_stored` as in `measure_of`."""
    measure = credited_of(content, pointer, is_stored=is_stored)
    try:
        condition = _condition(content.condition)
    except InvalidInput as error:
        raise error.under(f"{pointer}/condition") from None
    pays = reward_of(content.pays, f"{pointer}/pays")
    try:
        return Bonus(content.key, content.name, measure, condition, pays, content.allocation_percent)
    except InvalidInput as error:
        raise error.under(pointer) from None


def bonus_content(component: Bonus) -> BonusContent:
    """The content that `bonus_of` turns back into an equal bonus."""
    return BonusContent(
        kind="bonus",
        key=component.key,
        name=component.name,
        measure=measure_content(component.measure),
        crediting=component.measure.crediting,
        role=component.measure.role,
        allocation_percent=component.allocation_percent,
        condition=_condition_content(component.condition),
        pays=reward_content(component.pays),
    )


def _condition(content: MilestoneContent | EachDealContent | PerUnitContent | CurveContent) -> Condition:
    match content:
        case MilestoneContent():
            return Milestone(bound_of(content), content.by)
        case EachDealContent():
            return EachDeal(bound_of(content), content.times)
        case PerUnitContent():
            return PerUnit(content.unit)
        case CurveContent():
            points = tuple(CurvePoint(point.at, point.percent) for point in content.points)
            return Curve(content.by, points, content.extrapolate)


def _condition_content(
    condition: Condition,
) -> MilestoneContent | EachDealContent | PerUnitContent | CurveContent:
    match condition:
        case Milestone():
            bound = condition.bound
            return MilestoneContent(
                when="milestone", start=bound.start, from_exclusive=bound.is_exclusive, by=condition.scale
            )
        case EachDeal():
            bound = condition.bound
            return EachDealContent(
                when="each_deal", start=bound.start, from_exclusive=bound.is_exclusive, times=condition.times
            )
        case PerUnit():
            return PerUnitContent(when="per_unit", unit=condition.unit)
        case Curve():
            points = [CurvePointContent(at=point.at, percent=point.percent) for point in condition.points]
            return CurveContent(when="curve", by=condition.scale, points=points, extrapolate=condition.extrapolate)
