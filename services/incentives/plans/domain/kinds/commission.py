"""Commission: a share of what deals bring in, paid at a rate."""

from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import Final

from services.incentives.plans.domain.parameters import (
    MAIN,
    WHOLE_PERCENT,
    ComponentMeasure,
    Multiplier,
    Windfall,
    check_allocation,
    check_credited,
    check_key,
)
from services.incentives.plans.domain.rates import (
    FlatRate,
    PointsPay,
    PointsRate,
    Rate,
    TieredRate,
    TierScale,
    rates_of,
)
from shared.kernel.errors import InvalidInput
from shared.kernel.measures import Aggregate, Measure
from shared.kernel.money import format_amount
from shared.kernel.periods import PeriodKind

GATE: Final = "gate"
"""The name of the measure that a gate looks at."""
QUANTITY: Final = "quantity"
"""The name of the measure that counts units beside money."""
MULTIPLIERS_MAX: Final = 20


class Basis(StrEnum):
    """What the rate is looked up with."""

    CUMULATIVE = "cumulative"
    """Everything credited in the period so far."""
    PER_DEAL = "per_deal"
    """Each deal by itself."""
    YEAR_TO_DATE = "year_to_date"
    """Everything credited in the fiscal year so far."""


@dataclass(frozen=True, slots=True)
class Gate:
    """A second condition: at least so much of another measure, or such a share of its own quota, in its own period.

    Exactly one of `at_least` and `at_least_attainment` is set. Without a period it is the plan's.
    """

    counted: ComponentMeasure
    at_least: Decimal | None = None
    at_least_attainment: Decimal | None = None

    def __post_init__(self) -> None:
        if (self.at_least is None) == (self.at_least_attainment is None):
            raise InvalidInput.field(
                "", "names both or neither of an amount and an attainment", "either at_least or at_least_attainment"
            )
        for name, bound in (("at_least", self.at_least), ("at_least_attainment", self.at_least_attainment)):
            if bound is not None and bound <= 0:
                raise InvalidInput.field(f"/{name}", f"is {format_amount(bound)}, which is always met", "more than 0")
        check_credited(self.counted.measure)


@dataclass(frozen=True, slots=True)
class Threshold:
    """What has to be reached before anything is paid: then all of it from the first on, or only what is above."""

    scale: TierScale
    start: Decimal
    only_above: bool = False

    def __post_init__(self) -> None:
        if self.start <= 0:
            raise InvalidInput.field(f"/{self.scale}", f"is {format_amount(self.start)}", "more than 0")


@dataclass(frozen=True, slots=True)
class Caps:
    """The most that is paid for a deal in a period, in a period, and in a fiscal year, in the plan's currency.

    With `carry_excess` what the cap of a period withholds is earned in the next ones of the fiscal year, as far as
    their cap has room.
    """

    deal: Decimal | None = None
    period: Decimal | None = None
    year: Decimal | None = None
    carry_excess: bool = False

    def __post_init__(self) -> None:
        for name, cap in (("deal", self.deal), ("period", self.period), ("year", self.year)):
            if cap is not None and cap <= 0:
                raise InvalidInput.field(f"/{name}", f"is {format_amount(cap)}", "more than 0")
        if self.carry_excess and self.period is None:
            raise InvalidInput.field("/carry_excess", "is true without a cap of a period", "a cap of a period")


@dataclass(frozen=True, slots=True)
class Commission:
    """A commission: a share of what `measure` counts and credits, paid at a rate.

    `allocation_percent` scales every credit of the component. With `restart` running totals begin anew on the first day
    of the version that says so; else they go on over it.
    """

    key: str
    name: str
    measure: Measure
    rate: Rate
    allocation_percent: Decimal = WHOLE_PERCENT
    basis: Basis = Basis.CUMULATIVE
    restart: bool = False
    multipliers: tuple[Multiplier, ...] = ()
    gate: Gate | None = None
    threshold: Threshold | None = None
    caps: Caps = field(default_factory=Caps)
    windfall: Windfall | None = None

    def __post_init__(self) -> None:
        check_key(self.key)
        check_allocation(self.allocation_percent)
        check_credited(self.measure)
        if self.needs_quota and self.basis is Basis.PER_DEAL:
            raise InvalidInput.field("/basis", "a single deal has no attainment", "cumulative, or bounds by amount")
        if self.restart and self.basis is Basis.PER_DEAL:
            raise InvalidInput.field("/restart", "is true where each deal is paid by itself", "false")
        if self.windfall is not None and not self.measure.is_money:
            raise InvalidInput.field("/windfall", "is for sums of money", "null")
        self._check_rates()
        self._check_points()
        self._check_quantity()
        self._check_multipliers()
        if self.has_gated_tiers and self.gate is None:
            index = next(index for index, tier in enumerate(rates_of(self.rate)) if tier.is_gated)
            raise InvalidInput.field(f"/rate/tiers/{index}/gate", "is true, and the component has no gate", "a gate")

    def __hash__(self) -> int:
        """Of its names alone: schedules are looked up by commissions, and all they are made of is much to hash."""
        return hash((self.key, self.name))

    @property
    def measures(self) -> tuple[ComponentMeasure, ...]:
        """What it counts by."""
        main = ComponentMeasure(
            MAIN,
            self.measure,
            self.allocation_percent,
            PeriodKind.YEAR if self.basis is Basis.YEAR_TO_DATE else None,
            multipliers=self.multipliers,
            windfall=self.windfall,
        )
        found = [main]
        if self.counts_units_beside_money:
            found.append(ComponentMeasure(QUANTITY, _units_of(self.measure), self.allocation_percent))
        if self.gate is not None:
            found.append(self.gate.counted)
        return tuple(found)

    @property
    def needs_quota(self) -> bool:
        """Whether nothing can be paid without a quota."""
        by_rate = not isinstance(self.rate, FlatRate) and self.rate.scale is TierScale.ATTAINMENT
        return by_rate or (self.threshold is not None and self.threshold.scale is TierScale.ATTAINMENT)

    @property
    def counts_units_beside_money(self) -> bool:
        """Whether the rate of money is looked up by the units sold."""
        by_units = not isinstance(self.rate, FlatRate) and self.rate.scale is TierScale.QUANTITY
        return by_units and self.measure.is_money

    @property
    def has_gated_tiers(self) -> bool:
        """Whether the gate is one of single tiers; else it is one of all of the pay."""
        return any(tier.is_gated for tier in rates_of(self.rate))

    @property
    def multiplies_pay(self) -> bool:
        """Whether what single deals are paid is multiplied."""
        return any(not multiplier.is_of_credit for multiplier in self.multipliers)

    @property
    def is_linked(self) -> bool:
        """Whether a cell depends on more than the total of its own credits, or its deals one by one."""
        return (
            self.basis is Basis.YEAR_TO_DATE
            or self.gate is not None
            or self.multiplies_pay
            or self.counts_units_beside_money
            or self.caps.period is not None
            or self.caps.year is not None
            or (self.caps.deal is not None and self.basis is not Basis.PER_DEAL)
        )

    def _check_rates(self) -> None:
        for index, tier in enumerate(rates_of(self.rate)):
            at = "/rate/rate" if isinstance(self.rate, FlatRate) else f"/rate/tiers/{index}/rate"
            self._check_rate(tier.rate, at)
        if isinstance(self.rate, PointsRate) and self.rate.pays is PointsPay.RATE:
            for index, point in enumerate(self.rate.points):
                self._check_rate(point.value, f"/rate/points/{index}/rate")

    def _check_rate(self, rate: Decimal, pointer: str) -> None:
        if rate < 0:
            raise InvalidInput.field(pointer, "is negative", "0 or more")
        if self.measure.is_money and rate > 1:
            raise InvalidInput.field(
                pointer, f"{format_amount(rate)} pays more than the deal", "0 to 1, such as 0.05 for 5 %"
            )

    def _check_points(self) -> None:
        if not isinstance(self.rate, PointsRate):
            return
        if self.threshold is not None:
            raise InvalidInput.field("/threshold", "is beside points, of which the first is one", "null")
        if self.rate.pays is PointsPay.TARGET_PERCENT and self.basis is not Basis.CUMULATIVE:
            raise InvalidInput.field(
                "/basis", "the target variable is that of a period of the plan", "cumulative, or points of rates"
            )

    def _check_quantity(self) -> None:
        if not self.counts_units_beside_money:
            return
        if isinstance(self.rate, TieredRate) and not self.rate.is_retroactive:
            raise InvalidInput.field(
                "/rate/mode",
                "cuts money at bounds that count units",
                "retroactive, bounds by amount, or a measure of units",
            )
        if isinstance(self.rate, PointsRate) and self.rate.pays is PointsPay.TARGET_PERCENT:
            raise InvalidInput.field("/rate/by", "counts units, and the measure money", "amount or attainment")
        if self.threshold is not None:
            raise InvalidInput.field("/threshold", "is beside bounds that count units", "null, or a first rate of 0")

    def _check_multipliers(self) -> None:
        if len(self.multipliers) > MULTIPLIERS_MAX:
            raise InvalidInput.field("/multipliers", f"has {len(self.multipliers)}", f"at most {MULTIPLIERS_MAX}")
        seen: set[str] = set()
        for index, multiplier in enumerate(self.multipliers):
            if multiplier.name in seen:
                raise InvalidInput.field(
                    f"/multipliers/{index}/name", f"{multiplier.name!r} is used twice", "a name of its own"
                )
            seen.add(multiplier.name)


def _units_of(measure: Measure) -> Measure:
    """The units of the deals whose money a measure counts, credited alike."""
    return Measure(
        Aggregate.SUM,
        "quantity",
        measure.date_field,
        measure.filter,
        crediting=measure.crediting,
        role=measure.role,
    )
