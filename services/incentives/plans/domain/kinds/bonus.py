"""Bonus: a reward when a condition holds."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from services.incentives.plans.domain.parameters import (
    MAIN,
    WHOLE_PERCENT,
    ComponentMeasure,
    check_allocation,
    check_credited,
    check_key,
)
from services.incentives.plans.domain.rates import TierScale, check_rising
from services.incentives.plans.domain.rewards import (
    POINTS_MAX,
    Bound,
    Reward,
    check_reached_scale,
    check_scale,
)
from shared.kernel.errors import InvalidInput
from shared.kernel.measures import Measure
from shared.kernel.money import format_amount


class Times(StrEnum):
    """How often a deal that meets the condition is rewarded in a period."""

    EVERY = "every"
    """Each of them."""
    ONCE = "once"
    """The first alone."""


@dataclass(frozen=True, slots=True)
class Milestone:
    """The period's total reaches `bound`; the reward is paid once a period."""

    bound: Bound
    scale: TierScale

    def __post_init__(self) -> None:
        check_reached_scale(self.bound.start, self.scale, "/from")
        if self.bound.start == 0:
            raise InvalidInput.field("/from", "is reached by nothing at all", "more than 0")


@dataclass(frozen=True, slots=True)
class EachDeal:
    """A deal by itself, with all that is credited of it in the period, reaches `bound`, in the measure's unit.

    A deal that is as much below zero takes one reward back.
    """

    bound: Bound
    times: Times = Times.EVERY

    def __post_init__(self) -> None:
        check_reached_scale(self.bound.start, TierScale.AMOUNT, "/from")
        if self.bound == Bound(Decimal(0)):
            raise InvalidInput.field("/from", "is reached by a deal of nothing", "more than 0, or exclusive")


@dataclass(frozen=True, slots=True)
class PerUnit:
    """The reward for every `unit` of the period's total that is whole; what is left pays nothing."""

    unit: Decimal = Decimal(1)

    def __post_init__(self) -> None:
        if self.unit <= 0:
            raise InvalidInput.field("/unit", f"is {format_amount(self.unit)}", "more than 0")


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """Reaching `at` pays `percent` of the reward."""

    at: Decimal
    percent: Decimal


@dataclass(frozen=True, slots=True)
class Curve:
    """The reward's percent is drawn as a line between points.

    Below the first point nothing is paid. Above the last its percent is, or, with `extrapolate`, the last line goes on.
    """

    scale: TierScale
    points: tuple[CurvePoint, ...]
    extrapolate: bool = False

    def __post_init__(self) -> None:
        if not 1 <= len(self.points) <= POINTS_MAX:
            raise InvalidInput.field("/points", f"has {len(self.points)} points", f"1 to {POINTS_MAX} points")
        starts = [point.at for point in self.points]
        check_rising(starts, "/points", "at")
        check_scale(starts, self.scale, "/points", "at")
        for index, point in enumerate(self.points):
            if point.percent < 0:
                raise InvalidInput.field(f"/points/{index}/percent", "is negative", "0 or more")
        if self.extrapolate and (len(self.points) < 2 or self.points[-1].percent < self.points[-2].percent):
            raise InvalidInput.field("/extrapolate", "has no line that rises", "a last point above the one before")


Condition = Milestone | EachDeal | PerUnit | Curve


@dataclass(frozen=True, slots=True)
class Bonus:
    """`pays` when `condition` holds of what `measure` counts and credits. `allocation_percent` scales every credit."""

    key: str
    name: str
    measure: Measure
    condition: Condition
    pays: Reward
    allocation_percent: Decimal = WHOLE_PERCENT

    def __post_init__(self) -> None:
        check_key(self.key)
        check_allocation(self.allocation_percent)
        check_credited(self.measure)

    @property
    def measures(self) -> Sequence[ComponentMeasure]:
        """What it counts by."""
        return (ComponentMeasure(MAIN, self.measure, self.allocation_percent),)

    @property
    def pays_once(self) -> bool:
        """Whether a period has one reward at most."""
        is_once = isinstance(self.condition, EachDeal) and self.condition.times is Times.ONCE
        return is_once or isinstance(self.condition, Milestone)

    @property
    def is_linked(self) -> bool:
        """Whether a cell depends on more than the total of its own credits, or its deals one by one."""
        return True

    @property
    def needs_quota(self) -> bool:
        """Whether nothing can be paid without a quota."""
        return isinstance(self.condition, Milestone | Curve) and self.condition.scale is TierScale.ATTAINMENT
