"""The JSON form of plan terms and quotas: what is sent, stored, exported and compared.

Shapes are checked here, meaning by the domain; both say with a pointer what is wrong.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Annotated, Final, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, JsonValue, TypeAdapter

from services.incentives.plans.domain.assignments import Quota
from services.incentives.plans.domain.components import (
    COMPONENTS_MAX,
    TIERS_MAX,
    Basis,
    Component,
    FlatRate,
    Rate,
    Tier,
    TieredRate,
    TierMode,
    TierScale,
    check_components,
    check_rate_can_be_meant,
)
from shared.contracts.base import Amount, Currency
from shared.contracts.org import ExchangeRate
from shared.contracts.texts import COMPOSED
from shared.kernel.deals import DEAL_FIELDS, DateField
from shared.kernel.errors import InvalidInput
from shared.kernel.filters import filter_to_json, parse_filter
from shared.kernel.measures import (
    FIXED_RATES_MAX,
    Aggregate,
    Crediting,
    Measure,
    RatePolicy,
    default_rate_policy,
    fixed_rates_of,
)
from shared.kernel.vocabulary import check_terms_can_count


class _Content(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class MeasureContent(_Content):
    """Which deals count, on which day, and how much of each."""

    record: Literal["deal"] = Field("deal", description="Nothing is paid on activities.")
    aggregate: Literal[Aggregate.SUM, Aggregate.COUNT] = Field(
        description="`sum` of `value_field`, or `count` of deals."
    )
    value_field: str | None = Field(None, description="A number field of deals, for `sum`.", examples=["amount"])
    date_field: DateField = Field(DateField.CLOSED, description="The day of a deal that decides its period.")
    filter: dict[str, JsonValue] = Field(
        {"all": []},
        description="`all` or `any` of `{field, op, value}`.",
        examples=[{"all": [{"field": "status", "op": "eq", "value": "won"}]}],
    )
    currency: Currency | None = Field(None, description="The plan's currency, for a sum of money.")
    rate_policy: RatePolicy | None = Field(
        None,
        description="How deals in another currency count: `deal_date`, at what the CRM made of the amount, where that "
        "is in this currency, else at the exchange rate of the day the deal counts on; `fixed`, at `fixed_rates`; "
        "`none`, not at all. Left out: `deal_date` for a sum of money, else `none`.",
    )
    fixed_rates: dict[str, ExchangeRate] | None = Field(
        None,
        max_length=FIXED_RATES_MAX,
        description="With `fixed`, the plan's rates: units of its currency for one unit of each other one. Others do "
        "not count.",
        examples=[{"EUR": "1.10"}],
    )


class FlatRateContent(_Content):
    """One rate for everything."""

    shape: Literal["flat"] = "flat"
    rate: Amount = Field(description="Pay for each unit of the measure: 0.05 is 5 % of money.", examples=["0.05"])


class TierContent(_Content):
    """A tier: from its start on, up to the start of the next."""

    model_config = ConfigDict(populate_by_name=True)

    start: Amount = Field(alias="from", description="First value of the tier; 0 in the first.", examples=["100000"])
    rate: Amount = Field(description="Pay for each unit of the measure.", examples=["0.06"])


class TieredRateContent(_Content):
    """Rates by how much was reached; the last tier is open."""

    shape: Literal["tiers"] = "tiers"
    mode: TierMode = Field(
        description="`marginal`: each slice at its own rate. `retroactive`: all at the rate reached."
    )
    by: TierScale = Field(description="`amount`: bounds in the measure's unit. `attainment`: shares of the quota.")
    tiers: list[TierContent] = Field(min_length=1, max_length=TIERS_MAX)


RateContent = Annotated[FlatRateContent | TieredRateContent, Field(discriminator="shape")]


class CommissionContent(_Content):
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
    basis: Basis = Field(Basis.CUMULATIVE, description="The rate is looked up by the period's total or by each deal.")
    rate: RateContent


class QuotaContent(_Content):
    """Either an amount for every period, or goals: the target of the one whose period is the cell's."""

    amount: Amount | None = Field(None, examples=["250000"])
    goal_ids: tuple[UUID, ...] = Field(default=(), max_length=100)


ComponentsContent = Annotated[list[CommissionContent], Field(min_length=1, max_length=COMPONENTS_MAX)]
QuotasContent = dict[str, QuotaContent]

COMPONENTS: Final[TypeAdapter[list[CommissionContent]]] = TypeAdapter(ComponentsContent)
QUOTAS: Final[TypeAdapter[dict[str, QuotaContent]]] = TypeAdapter(QuotasContent)


def components_of(
    content: Sequence[CommissionContent], currency: str, *, is_stored: bool = False
) -> tuple[Component, ...]:
    """The checked components of a plan in `currency`, or InvalidInput that points into `/components`.

    What `is_stored` is read as it is; where it has no rate policy, it is from before other currencies could count.
    """
    components = tuple(
        _component(item, f"/components/{index}", is_stored=is_stored) for index, item in enumerate(content)
    )
    check_components(components, currency)
    return components


def components_content(components: Iterable[Component]) -> list[CommissionContent]:
    """The content that `components_of` turns back into equal components."""
    return [_component_content(component) for component in components]


def terms_content(effective_from: date, components: Iterable[Component], note: str | None) -> JsonValue:
    """Everything that is approved of a version, as one JSON document."""
    content: JsonValue = COMPONENTS.dump_python(components_content(components), mode="json", by_alias=True)
    return {"effective_from": str(effective_from), "components": content, "note": note}


def quotas_of(content: Mapping[str, QuotaContent]) -> dict[str, Quota]:
    """The checked quotas, or InvalidInput that points into `/quotas`."""
    quotas = {}
    for key, item in content.items():
        try:
            quotas[key] = Quota(item.amount, item.goal_ids)
        except InvalidInput as error:
            raise error.under(f"/quotas/{key}") from None
    return quotas


def quotas_content(quotas: Mapping[str, Quota]) -> dict[str, QuotaContent]:
    """The content that `quotas_of` turns back into equal quotas."""
    return {key: QuotaContent(amount=quota.amount, goal_ids=quota.goal_ids) for key, quota in quotas.items()}


def _component(content: CommissionContent, pointer: str, *, is_stored: bool) -> Component:
    measure = _located_measure(content.measure, f"{pointer}/measure", is_stored=is_stored)
    try:
        rate = _rate(content.rate)
        if not is_stored:
            check_rate_can_be_meant(rate)
    except InvalidInput as error:
        raise error.under(f"{pointer}/rate") from None
    try:
        return Component(
            content.key,
            content.name,
            replace(measure, crediting=content.crediting, role=content.role),
            rate,
            content.allocation_percent,
            content.basis,
        )
    except InvalidInput as error:
        raise error.under(pointer) from None


def _located_measure(content: MeasureContent, pointer: str, *, is_stored: bool) -> Measure:
    unsaid = RatePolicy.NONE if is_stored else default_rate_policy(content.aggregate, content.value_field)
    try:
        checked = parse_filter(content.filter, DEAL_FIELDS)
        measure = Measure(
            content.aggregate,
            content.value_field,
            content.date_field,
            checked,
            content.currency,
            content.rate_policy or unsaid,
            fixed_rates_of(content.fixed_rates),
        )
        if not is_stored:
            check_terms_can_count(measure)
    except InvalidInput as error:
        raise error.under(pointer) from None
    return measure


def _rate(content: FlatRateContent | TieredRateContent) -> Rate:
    if isinstance(content, FlatRateContent):
        return FlatRate(content.rate)
    return TieredRate(content.mode, content.by, tuple(Tier(tier.start, tier.rate) for tier in content.tiers))


def _component_content(component: Component) -> CommissionContent:
    rate: FlatRateContent | TieredRateContent
    if isinstance(component.rate, FlatRate):
        rate = FlatRateContent(rate=component.rate.rate)
    else:
        rate = TieredRateContent(
            mode=component.rate.mode,
            by=component.rate.scale,
            tiers=[TierContent(start=tier.start, rate=tier.rate) for tier in component.rate.tiers],
        )
    measure = component.measure
    return CommissionContent.model_validate(
        {
            "key": component.key,
            "name": component.name,
            "measure": {
                "aggregate": measure.aggregate,
                "value_field": measure.value_field,
                "date_field": measure.date_field,
                "filter": filter_to_json(measure.filter),
                "currency": measure.currency,
                "rate_policy": measure.rate_policy,
                "fixed_rates": dict(measure.fixed_rates) or None,
            },
            "crediting": measure.crediting,
            "role": measure.role,
            "allocation_percent": component.allocation_percent,
            "basis": component.basis,
            "rate": rate,
        }
    )
