"""The JSON form of a commission."""

from dataclasses import replace
from decimal import Decimal
from typing import Annotated, Final, Literal

from pydantic import ConfigDict, Field, JsonValue

from services.incentives.plans.content.base import Content, below
from services.incentives.plans.content.measures import MeasureContent, measure_content, measure_of
from services.incentives.plans.content.rates import RateContent, rate_content, rate_of
from services.incentives.plans.domain.kinds.commission import (
    GATE,
    MULTIPLIERS_MAX,
    Basis,
    Caps,
    Commission,
    Gate,
    Threshold,
)
from services.incentives.plans.domain.parameters import (
    ComponentMeasure,
    Multiplier,
    Windfall,
    WindfallCounts,
    check_allocation,
)
from services.incentives.plans.domain.rates import TierScale, check_attainment, check_rate_can_be_meant
from shared.contracts.base import Amount
from shared.contracts.texts import COMPOSED
from shared.kernel.deals import DEAL_FIELDS, DateField
from shared.kernel.errors import InvalidInput
from shared.kernel.filters import filter_to_json, parse_filter
from shared.kernel.measures import Aggregate, Crediting, Measure
from shared.kernel.periods import PeriodKind
from shared.kernel.vocabulary import check_terms_can_count

_NO_CAPS: Final = Caps()


class MultiplierContent(Content):
    """Deals that pass the filter count, or are paid, `factor` times."""

    model_config = ConfigDict(populate_by_name=True)

    name: Annotated[str, Field(min_length=1, max_length=100), COMPOSED] = Field(examples=["Multi-year"])
    filter: dict[str, JsonValue] = Field(
        description="Which deals.", examples=[{"all": [{"field": "custom.term_months", "op": "gte", "value": "24"}]}]
    )
    factor: Amount = Field(description="0 to 100, and not 1.", examples=["1.2"])
    multiplies: Literal["credit", "pay"] = Field(
        alias="as",
        description="`credit`: what counts, and with it what tiers, attainment and pay are of. `pay`: what the deal is "
        "paid, and nothing else.",
    )


class GateContent(Content):
    """A second condition of pay, by deals that are counted for it. One of `at_least` and `at_least_attainment`."""

    measure: MeasureContent
    crediting: Crediting = Crediting.OWNER
    role: str | None = Field(None, max_length=100, description="Only splits with this role count.")
    allocation_percent: Amount = Field(Decimal(100), description="Scales every credit.")
    period: Literal[PeriodKind.MONTH, PeriodKind.QUARTER, PeriodKind.HALF, PeriodKind.YEAR] | None = Field(
        None, description="How long its total runs: at least the plan's period, which it is where this is null."
    )
    at_least: Amount | None = Field(None, description="In the measure's unit.", examples=["3"])
    at_least_attainment: Amount | None = Field(
        None, description="Share of the quota that assignments have by the key `<component>.gate`.", examples=["0.8"]
    )


class ThresholdContent(Content):
    """What has to be reached before anything is paid. One of `amount` and `attainment`."""

    amount: Amount | None = Field(None, description="In the measure's unit.", examples=["40000"])
    attainment: Amount | None = Field(None, description="Share of the quota.", examples=["0.4"])
    pays: Literal["from_first", "only_above"] = Field(
        description="Once it is reached: all that was credited, or what is above it."
    )


class CapsContent(Content):
    """The most that is paid, in the plan's currency."""

    deal: Amount | None = Field(None, description="For one deal in a period.", examples=["5000"])
    period: Amount | None = Field(None, description="In a period of the plan.", examples=["10000"])
    year: Amount | None = Field(None, description="In a fiscal year.", examples=["100000"])
    carry_excess: bool = Field(
        False, description="Whether what the period's cap withholds is earned in the next ones of the fiscal year."
    )


class WindfallContent(Content):
    """What of a giant deal counts."""

    above: Amount = Field(description="Amount of one deal, before it is shared.", examples=["1000000"])
    counts: WindfallCounts = Field(
        description="Of what is above: `capped`, nothing; `share`, `percent` of it; `reviewed`, nothing until somebody "
        "has looked at it, and what is then paid is an adjustment."
    )
    percent: Amount | None = Field(None, description="With `share`.", examples=["25"])


class CommissionContent(Content):
    """A commission component."""

    kind: Literal["commission"] = "commission"
    key: str = Field(
        pattern=r"^[a-z][a-z0-9_]{0,39}$", description="Its name in quotas and earnings.", examples=["bookings"]
    )
    name: Annotated[str, Field(min_length=1, max_length=200), COMPOSED] = Field(examples=["New business"])
    measure: MeasureContent
    crediting: Crediting = Crediting.OWNER
    role: str | None = Field(None, max_length=100, description="Only splits with this role count.")
    allocation_percent: Amount = Field(Decimal(100), description="Scales every credit.", examples=["100"])
    basis: Basis = Field(
        Basis.CUMULATIVE,
        description="The rate is looked up by the period's total, by the fiscal year's so far (its quota is then the "
        "year's), or by each deal.",
    )
    restart: bool = Field(
        False, description="Whether running totals begin anew with this version; else they go on over its first day."
    )
    rate: RateContent
    multipliers: list[MultiplierContent] = Field(default=[], max_length=MULTIPLIERS_MAX)
    gate: GateContent | None = None
    threshold: ThresholdContent | None = None
    caps: CapsContent | None = None
    windfall: WindfallContent | None = None


def commission_of(content: CommissionContent, pointer: str, *, is_stored: bool) -> Commission:
    """The commission that is meant, or InvalidInput that points below `pointer`; `is_stored` as in `measure_of`."""
    with below(pointer):
        measure = measure_of(content.measure, "/measure", is_stored=is_stored)
        with below("/rate"):
            rate = rate_of(content.rate)
            if not is_stored:
                check_rate_can_be_meant(rate)
        multipliers = tuple(
            _multiplier(item, f"/multipliers/{index}") for index, item in enumerate(content.multipliers)
        )
        return Commission(
            content.key,
            content.name,
            replace(measure, crediting=content.crediting, role=content.role),
            rate,
            content.allocation_percent,
            content.basis,
            content.restart,
            multipliers,
            None if content.gate is None else _gate(content.gate, is_stored=is_stored),
            None if content.threshold is None else _threshold(content.threshold),
            _NO_CAPS if content.caps is None else _caps(content.caps),
            None if content.windfall is None else _windfall(content.windfall),
        )


def commission_content(component: Commission) -> CommissionContent:
    """The content that `commission_of` turns back into an equal commission."""
    caps = component.caps
    return CommissionContent(
        key=component.key,
        name=component.name,
        measure=measure_content(component.measure),
        crediting=component.measure.crediting,
        role=component.measure.role,
        allocation_percent=component.allocation_percent,
        basis=component.basis,
        restart=component.restart,
        rate=rate_content(component.rate),
        multipliers=[_multiplier_content(multiplier) for multiplier in component.multipliers],
        gate=None if component.gate is None else _gate_content(component.gate),
        threshold=None if component.threshold is None else _threshold_content(component.threshold),
        caps=None
        if caps == _NO_CAPS
        else CapsContent(deal=caps.deal, period=caps.period, year=caps.year, carry_excess=caps.carry_excess),
        windfall=None if component.windfall is None else _windfall_content(component.windfall),
    )


def _multiplier(content: MultiplierContent, pointer: str) -> Multiplier:
    with below(pointer):
        checked = parse_filter(content.filter, DEAL_FIELDS)
        check_terms_can_count(Measure(Aggregate.COUNT, None, DateField.CLOSED, checked))
        return Multiplier(content.name, checked, content.factor, content.multiplies == "credit")


def _multiplier_content(multiplier: Multiplier) -> MultiplierContent:
    return MultiplierContent.model_validate(
        {
            "name": multiplier.name,
            "filter": filter_to_json(multiplier.filter),
            "factor": multiplier.factor,
            "as": "credit" if multiplier.is_of_credit else "pay",
        }
    )


def _gate(content: GateContent, *, is_stored: bool) -> Gate:
    with below("/gate"):
        measure = measure_of(content.measure, "/measure", is_stored=is_stored)
        check_allocation(content.allocation_percent)
        if content.at_least_attainment is not None and not is_stored:
            check_attainment(content.at_least_attainment, "/at_least_attainment")
        credited = replace(measure, crediting=content.crediting, role=content.role)
        counted = ComponentMeasure(GATE, credited, content.allocation_percent, content.period)
        return Gate(counted, content.at_least, content.at_least_attainment)


def _gate_content(gate: Gate) -> GateContent:
    measure = gate.counted.measure
    return GateContent.model_validate(
        {
            "measure": measure_content(measure),
            "crediting": measure.crediting,
            "role": measure.role,
            "allocation_percent": gate.counted.allocation_percent,
            "period": gate.counted.period,
            "at_least": gate.at_least,
            "at_least_attainment": gate.at_least_attainment,
        }
    )


def _threshold(content: ThresholdContent) -> Threshold:
    with below("/threshold"):
        if (content.amount is None) == (content.attainment is None):
            raise InvalidInput.field(
                "", "names both or neither of an amount and an attainment", "either amount or attainment"
            )
        only_above = content.pays == "only_above"
        if content.amount is not None:
            return Threshold(TierScale.AMOUNT, content.amount, only_above)
        start = content.attainment or Decimal(0)
        check_attainment(start, "/attainment")
        return Threshold(TierScale.ATTAINMENT, start, only_above)


def _threshold_content(threshold: Threshold) -> ThresholdContent:
    is_amount = threshold.scale is TierScale.AMOUNT
    return ThresholdContent(
        amount=threshold.start if is_amount else None,
        attainment=None if is_amount else threshold.start,
        pays="only_above" if threshold.only_above else "from_first",
    )


def _caps(content: CapsContent) -> Caps:
    with below("/caps"):
        return Caps(content.deal, content.period, content.year, content.carry_excess)


def _windfall(content: WindfallContent) -> Windfall:
    with below("/windfall"):
        return Windfall(content.above, content.counts, content.percent or Decimal(0))


def _windfall_content(windfall: Windfall) -> WindfallContent:
    return WindfallContent(above=windfall.above, counts=windfall.counts, percent=windfall.percent or None)
