"""The JSON form of what a component counts by."""

from dataclasses import replace
from typing import Literal

from pydantic import Field, JsonValue

from services.incentives.plans.content.base import Content
from shared.contracts.base import Currency
from shared.contracts.org import ExchangeRate
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


class MeasureContent(Content):
    """Which deals count, on which day, and how much of each."""

    record: Literal["deal"] = Field("deal", description="Nothing is paid on activities.")
    aggregate: Literal[Aggregate.SUM, Aggregate.COUNT] = Field(
        description="`sum` of `value_field`, or `count` of deals."
    )
    value_field: str | None = Field(None, description="A number field of deals, for `sum`.", examples=["amount"])
    date_field: DateField = Field(
        DateField.CLOSED,
        description="The day of a deal that decides its period: when it is recognised. With `invoiced` money counts "
        "invoice by invoice, with `paid` payment by payment, each on its own day.",
    )
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


class CreditedContent(Content):
    """A measure, and whose credits they are."""

    measure: MeasureContent
    crediting: Crediting = Crediting.OWNER
    role: str | None = Field(None, max_length=100, description="Only splits with this role count.")


def measure_of(content: MeasureContent, pointer: str, *, is_stored: bool) -> Measure:
    """The measure that is meant, or InvalidInput that points below `pointer`.

    What `is_stored` is read as it is; where it has no rate policy, it is from before other currencies could count.
    """
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


def measure_content(measure: Measure) -> MeasureContent:
    """The content that `measure_of` turns back into an equal measure, but for whose credits they are."""
    return MeasureContent.model_validate(
        {
            "aggregate": measure.aggregate,
            "value_field": measure.value_field,
            "date_field": measure.date_field,
            "filter": filter_to_json(measure.filter),
            "currency": measure.currency,
            "rate_policy": measure.rate_policy,
            "fixed_rates": dict(measure.fixed_rates) or None,
        }
    )


def credited_of(content: CreditedContent, pointer: str, *, is_stored: bool) -> Measure:
    """The measure that is meant and whose credits they are; raises as `measure_of` does, for what is at `pointer`."""
    measure = measure_of(content.measure, f"{pointer}/measure", is_stored=is_stored)
    try:
        return replace(measure, crediting=content.crediting, role=content.role)
    except InvalidInput as error:
        raise error.under(pointer) from None
