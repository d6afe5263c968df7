"""Requests and answers of exchange rates."""

from datetime import datetime
from typing import Final, Self

from pydantic import BaseModel, Field, JsonValue

from services.goals.rates.domain import StatedRate, Statement, StoredRate
from shared.contracts.base import Currency, Day
from shared.contracts.org import ExchangeRate
from shared.http.schemas import body_example

RATES_MAX: Final = 5000
RATE_EXAMPLE: Final[dict[str, JsonValue]] = {"currency": "USD", "date": "2026-03-02", "rate": "7.2415"}
CSV_EXAMPLE: Final = "date,currency,rate\n2026-03-02,USD,7.2415\n2026-03-02,EUR,7.8541\n"


class ExchangeRateBody(BaseModel):
    """A rate to be stated."""

    model_config = body_example(**RATE_EXAMPLE)

    currency: Currency
    date: Day = Field(description="From this day on, up to the next one stated.")
    rate: ExchangeRate = Field(
        description="Units of the home currency for one unit: above 0, below 10^9, at most ten decimals."
    )

    def stated(self) -> StatedRate:
        return StatedRate(self.currency, self.date, self.rate)


class ExchangeRateAnswer(BaseModel):
    """A rate that was stated."""

    model_config = body_example(**RATE_EXAMPLE, base_currency="CNY", changed_at="2026-03-02T08:00:00Z")

    base_currency: Currency = Field(description="The home currency it was stated in.")
    currency: Currency
    date: Day
    rate: ExchangeRate = Field(description="Units of the base currency for one unit.")
    changed_at: datetime

    @classmethod
    def of(cls, rate: StoredRate) -> Self:
        stated = rate.stated
        return cls(
            base_currency=rate.base_currency,
            currency=stated.currency,
            date=stated.day,
            rate=stated.rate,
            changed_at=rate.changed_at,
        )


class StatementAnswer(BaseModel):
    """What became of stated rates."""

    model_config = body_example(base_currency="CNY", stated=2, changed=1)

    base_currency: Currency = Field(description="The home currency they are in.")
    stated: int = Field(description="Days and currencies a rate was stated for.")
    changed: int = Field(description="Those that had none or another one before.")

    @classmethod
    def of(cls, statement: Statement) -> Self:
        return cls(base_currency=statement.base_currency, stated=statement.stated, changed=statement.changed)
