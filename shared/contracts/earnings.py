"""`attain.earnings.v1`: what each person has earned on each component in each period, after every change."""

from datetime import date
from typing import ClassVar
from uuid import UUID

from pydantic import Field

from shared.contracts.base import Currency, Event, Exact, Instant, Posted, Version

TOPIC = "attain.earnings.v1"


class Earning(Event):
    """The state of one cell: an assignment's component in a period. `earned` equals the sum of its ledger entries."""

    event_type: ClassVar[str] = "attain.earning.v1"
    topic: ClassVar[str] = TOPIC

    id: UUID
    version: Version
    person_id: UUID
    assignment_id: UUID
    plan_id: UUID
    plan_version: int = Field(ge=1)
    component: str
    start: date
    end: date = Field(description="First day after the period.")
    measure: Exact = Field(description="What was credited, in the measure's unit.")
    quota: Exact | None
    attainment: Exact | None = Field(
        description="measure ÷ quota, unclamped, six decimals, rounded down; null without a quota, or with one of 0."
    )
    earned: Posted = Field(description="In units of `currency`, with all its decimals: 2.50, or 2 in JPY.")
    currency: Currency
    credits: int = Field(ge=0, description="How many credits count.")
    changed_at: Instant

    @property
    def subject(self) -> str:
        return f"earning/{self.id}"
