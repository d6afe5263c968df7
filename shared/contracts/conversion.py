"""How money in another currency was converted, as every `explain` states it."""

from datetime import date
from typing import Self

from pydantic import BaseModel, Field

from shared.contracts.base import Currency, Exact
from shared.kernel.measures import Conversion
from shared.kernel.rates import RateOrigin


class ConversionAnswer(BaseModel):
    """How money in another currency than the measure's was converted."""

    amount: Exact = Field(description="The deal's own amount.")
    currency: Currency | None = Field(description="The deal's own currency.")
    rate: Exact | None = Field(
        description="The measure's currency for one unit of it. Of a `crm` rate, what the CRM's two amounts come down "
        "to, rounded to ten decimals; null for an amount of 0."
    )
    stated_on: date | None = Field(description="The day a `daily` rate was stated for; of a cross rate, the older one.")
    origin: RateOrigin = Field(
        description="`crm`: the CRM converted the amount itself. `daily`: the tenant's rate in force on the day. "
        "`fixed`: the measure's own."
    )

    @classmethod
    def of(cls, conversion: Conversion | None) -> Self | None:
        """The answer, where there was something to convert."""
        if conversion is None:
            return None
        return cls(
            amount=conversion.amount,
            currency=conversion.currency,
            rate=conversion.rate,
            stated_on=conversion.stated_on,
            origin=conversion.origin,
        )
