"""The JSON form of an override."""

from dataclasses import replace
from decimal import Decimal
from typing import Literal

from pydantic import Field

from services.incentives.plans.content.base import Content, Key, Title
from services.incentives.plans.content.measures import MeasureContent, measure_content, measure_of
from services.incentives.plans.content.rates import RateContent, rate_content, rate_of
from services.incentives.plans.domain.kinds.commission import Basis
from services.incentives.plans.domain.kinds.override import DEPTH_MAX, Override
from services.incentives.plans.domain.rates import check_rate_can_be_meant
from shared.contracts.base import Amount
from shared.kernel.errors import InvalidInput
from shared.kernel.measures import Crediting


class OverrideContent(Content):
    """An override component: a rate on what everybody brings in who was below the person on the deal's day."""

    kind: Literal["override"]
    key: Key = Field(examples=["override"])
    name: Title = Field(examples=["Team override"])
    measure: MeasureContent
    role: str | None = Field(None, max_length=100, description="Only splits with this role count.")
    depth: int | None = Field(
        None,
        ge=1,
        le=DEPTH_MAX,
        description="How many levels of teams count: 1 is the teams the person manages, 2 also those right below "
        "them. Left out: all.",
    )
    allocation_percent: Amount = Field(Decimal(100), description="Scales every credit.", examples=["100"])
    basis: Basis = Field(Basis.CUMULATIVE, description="The rate is looked up by the period's total or by each deal.")
    rate: RateContent


def override_of(content: OverrideContent, pointer: str, *, is_stored: bool) -> Override:
    """The override that is meant, or InvalidInput that points below `pointer`; `is_stored` as in `measure_of`."""
    measure = measure_of(content.measure, f"{pointer}/measure", is_stored=is_stored)
    try:
        rate = rate_of(content.rate)
        if not is_stored:
            check_rate_can_be_meant(rate)
    except InvalidInput as error:
        raise error.under(f"{pointer}/rate") from None
    try:
        return Override(
            content.key,
            content.name,
            replace(measure, crediting=Crediting.ROLLUP, role=content.role),
            rate,
            content.depth,
            content.allocation_percent,
            content.basis,
        )
    except InvalidInput as error:
        raise error.under(pointer) from None


def override_content(component: Override) -> OverrideContent:
    """The content that `override_of` turns back into an equal override."""
    return OverrideContent(
        kind="override",
        key=component.key,
        name=component.name,
        measure=measure_content(component.measure),
        role=component.measure.role,
        depth=component.depth,
        allocation_percent=component.allocation_percent,
        basis=component.basis,
        rate=rate_content(component.rate),
    )
