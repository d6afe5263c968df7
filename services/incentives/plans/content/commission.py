"""The JSON form of a commission."""

from dataclasses import replace
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import Field

from services.incentives.plans.content.base import Content
from services.incentives.plans.content.measures import MeasureContent, measure_content, measure_of
from services.incentives.plans.content.rates import RateContent, rate_content, rate_of
from services.incentives.plans.domain.kinds.commission import Basis, Commission
from services.incentives.plans.domain.rates import check_rate_can_be_meant
from shared.contracts.base import Amount
from shared.contracts.texts import COMPOSED
from shared.kernel.errors import InvalidInput
from shared.kernel.measures import Crediting


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
    basis: Basis = Field(Basis.CUMULATIVE, description="The rate is looked up by the period's total or by each deal.")
    rate: RateContent


def commission_of(content: CommissionContent, pointer: str, *, is_stored: bool) -> Commission:
    """The commission that is meant, or InvalidInput that points below `pointer`; `is_stored` as in `measure_of`."""
    measure = measure_of(content.measure, f"{pointer}/measure", is_stored=is_stored)
    try:
        rate = rate_of(content.rate)
        if not is_stored:
            check_rate_can_be_meant(rate)
    except InvalidInput as error:
        raise error.under(f"{pointer}/rate") from None
    try:
        return Commission(
            content.key,
            content.name,
            replace(measure, crediting=content.crediting, role=content.role),
            rate,
            content.allocation_percent,
            content.basis,
        )
    except InvalidInput as error:
        raise error.under(pointer) from None


def commission_content(component: Commission) -> CommissionContent:
    """The content that `commission_of` turns back into an equal commission."""
    return CommissionContent(
        key=component.key,
        name=component.name,
        measure=measure_content(component.measure),
        crediting=component.measure.crediting,
        role=component.measure.role,
        allocation_percent=component.allocation_percent,
        basis=component.basis,
        rate=rate_content(component.rate),
    )
