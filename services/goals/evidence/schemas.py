"""Answers about what people reached."""

from datetime import date, datetime
from typing import Annotated, Self
from uuid import UUID

from pydantic import BaseModel, Field

from services.goals.evidence.domain import Actuals
from shared.contracts.base import Currency, Exact
from shared.http.schemas import body_example

Month = Annotated[str, Field(pattern=r"^(19|2[0-9])[0-9]{2}-(0[1-9]|1[0-2])$", examples=["2026-03"])]


def first_day(month: Month | None) -> date | None:
    """The first day of a month."""
    return None if month is None else date.fromisoformat(f"{month}-01")


class ActualsAnswer(BaseModel):
    """What somebody won in a calendar month, and has open that is expected to close in it."""

    model_config = body_example(
        person_id="01935a00-0000-7000-8000-000000000011",
        month="2026-03",
        currency="CNY",
        won_value="434388",
        won_number="1.5",
        open_value="96000",
        open_number="2",
        unconverted="0",
        changed_at="2026-03-31T18:40:03.120000Z",
    )

    person_id: UUID
    month: Month
    currency: Currency | None = Field(
        description="The home currency in force on the first day of the month; null until there is one."
    )
    won_value: Exact = Field(description="Of won deals, each at the rate of its day.")
    won_number: Exact = Field(description="How many won deals; a share of a deal is that fraction of one.")
    open_value: Exact
    open_number: Exact
    unconverted: Exact = Field(
        description="How many of these deals state an amount that is in neither value, for lack of a currency or rate."
    )
    changed_at: datetime

    @classmethod
    def of(cls, actuals: Actuals) -> Self:
        return cls(
            person_id=actuals.of.person_id,
            month=f"{actuals.of.month:%Y-%m}",
            currency=actuals.currency,
            won_value=actuals.won_value,
            won_number=actuals.won_number,
            open_value=actuals.open_value,
            open_number=actuals.open_number,
            unconverted=actuals.unconverted,
            changed_at=actuals.changed_at,
        )
