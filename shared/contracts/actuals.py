"""`attain.actuals.v1`: what each person won in each month, and what is open to be closed in it."""

from typing import ClassVar
from uuid import UUID

from pydantic import Field

from shared.contracts.base import Currency, Event, Exact, Instant, Version

TOPIC = "attain.actuals.v1"


class Actuals(Event):
    """One person's won and open deals of one month. `version` grows with every change; equal versions are equal states.

    A deal on whose splits somebody is counts with their share, any other for its owner. What is open now counts in the
    month in which it is expected to close; so `open_value` of a month that is over is what should have been closed by
    then.
    """

    event_type: ClassVar[str] = "attain.actuals.v1"
    topic: ClassVar[str] = TOPIC

    person_id: UUID
    month: str = Field(
        pattern=r"^[0-9]{4}-[0-9]{2}$",
        examples=["2026-03"],
        description="The calendar month of the day a deal was won, or is expected to close, in the tenant's time zone.",
    )
    version: Version
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
    changed_at: Instant

    @property
    def subject(self) -> str:
        return f"actuals/{self.person_id}/{self.month}"
