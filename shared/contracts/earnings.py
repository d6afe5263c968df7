"""`attain.earnings.v1`: what each person has earned on each component in each period, and how far pay periods are."""

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
    posted: Posted | None = Field(
        default=None,
        description="What the change to this version posted: by how much `earned` grew, or below 0 shrank; 0 where only"
        " the measure moved. A version that was superseded before it was published is not among those you get: the"
        " ledger has every posting. Null where it is not known.",
    )
    currency: Currency
    credits: int = Field(ge=0, description="How many credits count.")
    changed_at: Instant

    @property
    def subject(self) -> str:
        return f"earning/{self.id}"


class Inquiry(Event):
    """The state of a question about somebody's pay. What is written in it stays where it was written."""

    event_type: ClassVar[str] = "attain.inquiry.v1"
    topic: ClassVar[str] = TOPIC

    id: UUID
    version: Version
    person_id: UUID = Field(description="Whose pay it is about.")
    earning_id: UUID | None
    deal_id: UUID | None = Field(description="The deal in question, where it is known here.")
    reason: str = Field(
        description="What seems wrong: `missing_deal`, `wrong_amount`, `wrong_rate`, `wrong_share`, `wrong_period`, "
        "`other`. There may be more: pass over those you do not know.",
        examples=["missing_deal"],
    )
    status: str = Field(description="`open`, `in_progress`, `resolved` or `withdrawn`.", examples=["open"])
    assignee_id: UUID | None = Field(description="Who works on it.")
    outcome: str | None = Field(
        description="How it was resolved: `explained`, `corrected`, `adjusted` or `declined`; null until it is."
    )
    raised_at: Instant
    due_on: date = Field(description="The last day, in the tenant's time zone, on which an answer is in time.")
    overdue_since: Instant | None = Field(description="When that day was over without an answer; null before.")

    @property
    def subject(self) -> str:
        return f"inquiry/{self.id}"


class PayPeriod(Event):
    """How far a pay period has come: the fiscal month in which what is earned is paid.

    Published from the first time somebody works it out. Once it is approved nothing that changes is posted in it.
    """

    event_type: ClassVar[str] = "attain.pay-period.v1"
    topic: ClassVar[str] = TOPIC

    version: Version
    start: date
    end: date = Field(description="First day after the pay period.")
    state: str = Field(
        description="`open`, `calculating`, `in_review`, `approved`, `exported`, `paid` or `closed`. More may be added."
    )
    cut_off_at: Instant | None = Field(
        default=None, description="When it was approved: what changed later is posted in a later pay period."
    )

    @property
    def subject(self) -> str:
        return f"pay-period/{self.start}"


class Payout(Event):
    """What a payout run pays a person by a plan, handed over to payroll once. A reversal has the opposite amount."""

    event_type: ClassVar[str] = "attain.payout.v1"
    topic: ClassVar[str] = TOPIC

    id: UUID
    version: Version
    run_id: UUID
    run_number: int = Field(ge=1)
    reverses_run_id: UUID | None = Field(description="The run whose opposite this is; null for any other.")
    person_id: UUID
    plan_id: UUID
    start: date
    end: date = Field(description="First day after the pay period.")
    amount: Posted = Field(description="What is to be paid, in units of `currency` with all its decimals.")
    currency: Currency

    @property
    def subject(self) -> str:
        return f"payout/{self.id}"
