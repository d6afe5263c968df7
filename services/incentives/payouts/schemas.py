"""Requests and answers of payout runs."""

from datetime import date
from decimal import Decimal
from typing import Annotated, Final, Self
from uuid import UUID

from pydantic import BaseModel, Field, JsonValue, StringConstraints

from services.incentives.payouts.domain.pay import LineKind
from services.incentives.payouts.domain.runs import (
    Anomaly,
    Payout,
    PayoutRun,
    RunChange,
    RunStatus,
    ToNobody,
    UncreditedDeal,
)
from shared.contracts.base import Currency, Exact, Instant, Posted
from shared.contracts.texts import Prose
from shared.http.audit import ActorAnswer
from shared.http.schemas import body_example, example
from shared.kernel.money import round_to_minor_unit

_RUN: Final = "01935a00-0000-7000-8000-000000000091"
_PERIOD: Final = "01935a00-0000-7000-8000-000000000093"
_ACTOR: Final[JsonValue] = {"kind": "person", "person_id": "01935a00-0000-7000-8000-000000000014"}

RunReason = Annotated[Prose, StringConstraints(max_length=1000)]


class PayoutRunBody(BaseModel):
    """For which pay period, and why, if there is something to say."""

    model_config = body_example(pay_period_id=_PERIOD)

    pay_period_id: UUID
    reason: RunReason | None = None


class RunStepBody(BaseModel):
    """Why this is done."""

    model_config = body_example(reason="Checked against the contracts")

    reason: RunReason


class RunTotalAnswer(BaseModel):
    """An amount in a currency."""

    currency: Currency
    amount: Posted


class ToNobodyAnswer(BaseModel):
    """What was won, counts for a plan in a currency, and is credited to nobody. `…/uncredited-deals` has the deals."""

    currency: Currency
    amount: Exact
    deals: int = Field(ge=1)
    share: Exact | None = Field(
        description="Of all that was won in its days and counts, four decimals; null where that is not above 0."
    )
    is_anomaly: bool = Field(description="More than a twentieth: to be looked at before the run is approved.")

    @classmethod
    def of(cls, found: ToNobody) -> Self:
        return cls(
            currency=found.currency,
            amount=found.amount,
            deals=found.deals,
            share=found.share,
            is_anomaly=found.is_anomaly,
        )


class PayoutRunAnswer(BaseModel):
    """What everybody is paid for a pay period, and how far that has come."""

    model_config = example(
        id=_RUN,
        version=2,
        number=3,
        pay_period_id=_PERIOD,
        start="2026-03-01",
        end="2026-04-01",
        status="approved",
        totals=[{"currency": "USD", "amount": "184210.55"}],
        payouts=42,
        author=_ACTOR,
        calculated_at="2026-04-03T09:30:00Z",
        reverses_run_id=None,
        to_nobody=[{"currency": "USD", "amount": "61200", "deals": 3, "share": "0.0642", "is_anomaly": True}],
    )

    id: UUID
    version: int = Field(ge=1, description="Grows with every step; its ETag goes into If-Match.")
    number: int
    pay_period_id: UUID
    start: date
    end: date = Field(description="First day after the pay period.")
    status: RunStatus
    totals: list[RunTotalAnswer] = Field(description="What it pays, by currency.")
    payouts: int = Field(description="How many people and plans it is about.")
    author: ActorAnswer
    calculated_at: Instant
    reverses_run_id: UUID | None = Field(description="The run whose opposite this is; null for any other.")
    to_nobody: list[ToNobodyAnswer] | None = Field(
        description="What is credited to nobody, by currency; none for a run that undoes another. Null where a release"
        " calculated it that did not look."
    )

    @classmethod
    def of(cls, run: PayoutRun) -> Self:
        return cls(
            id=run.id,
            version=run.version,
            number=run.number,
            pay_period_id=run.pay_period_id,
            start=run.period.start,
            end=run.period.end,
            status=run.status,
            totals=[
                RunTotalAnswer(currency=currency, amount=round_to_minor_unit(amount, currency))
                for currency, amount in sorted(run.totals.items())
            ],
            payouts=run.payouts,
            author=ActorAnswer.of(run.author),
            calculated_at=run.calculated_at,
            reverses_run_id=run.reverses,
            to_nobody=None if run.to_nobody is None else [ToNobodyAnswer.of(each) for each in run.to_nobody],
        )


class UncreditedDealAnswer(BaseModel):
    """A deal, or a share of one, that counts for a plan and was credited to nobody when the run was calculated."""

    model_config = example(
        deal_id="01935a00-0000-5000-8000-000000000031",
        plan_id="01935a00-0000-7000-8000-000000000063",
        source="pipedrive",
        external_id="4711",
        name="Orchard Retail, 40 seats",
        day="2026-03-17",
        amount="24000",
        currency="USD",
        reason="owner_unmapped",
    )

    deal_id: UUID
    plan_id: UUID = Field(description="The plan that it counts for.")
    source: str
    external_id: str
    name: str | None
    day: date = Field(description="The day that it counts on.")
    amount: Exact = Field(description="What nobody is credited with, in the plan's currency.")
    currency: Currency
    reason: str = Field(
        description="`owner_missing`, `owner_unmapped`, `house_account` or `no_assignment`. More may be added."
    )

    @classmethod
    def of(cls, found: UncreditedDeal) -> Self:
        return cls(
            deal_id=found.deal_id,
            plan_id=found.plan_id,
            source=found.source,
            external_id=found.external_id,
            name=found.name,
            day=found.day,
            amount=found.amount,
            currency=found.currency,
            reason=found.reason,
        )


class PayoutLineAnswer(BaseModel):
    """One step from what was earned to what is paid; above 0 it is in the person's favour."""

    kind: LineKind
    amount: Posted


class PayoutAnswer(BaseModel):
    """What a run pays a person by a plan. The lines add up to `paid`."""

    model_config = example(
        id="01935a00-0000-7000-8000-000000000092",
        person_id="01935a00-0000-7000-8000-000000000011",
        plan_id="01935a00-0000-7000-8000-000000000063",
        currency="USD",
        earned="1500.00",
        paid="2000.00",
        lines=[{"kind": "earned", "amount": "1500.00"}, {"kind": "advanced", "amount": "500.00"}],
        carried="-500.00",
        owed="500.00",
        held_back="0.00",
        anomalies=["new_payee"],
    )

    id: UUID
    person_id: UUID
    plan_id: UUID
    currency: Currency
    earned: Posted
    paid: Posted
    lines: list[PayoutLineAnswer]
    carried: Posted = Field(description="What the company owes the person after this; below 0 the person owes it.")
    owed: Posted = Field(description="What is owed of draws.")
    held_back: Posted
    anomalies: list[Anomaly]

    @classmethod
    def of(cls, payout: Payout) -> Self:
        def posted(amount: Decimal) -> Decimal:
            return round_to_minor_unit(amount, payout.currency)

        return cls(
            id=payout.id,
            person_id=payout.person_id,
            plan_id=payout.plan_id,
            currency=payout.currency,
            earned=posted(payout.earned),
            paid=posted(payout.paid),
            lines=[PayoutLineAnswer(kind=line.kind, amount=posted(line.amount)) for line in payout.lines],
            carried=posted(payout.state.carried),
            owed=posted(payout.state.owed),
            held_back=posted(payout.state.held_back),
            anomalies=list(payout.anomalies),
        )


class RunChangeAnswer(BaseModel):
    """One step of a run: who, when, why."""

    model_config = example(
        version=2, status="approved", actor=_ACTOR, at="2026-04-03T11:00:00Z", reason="Checked against the contracts"
    )

    version: int
    status: RunStatus
    actor: ActorAnswer
    at: Instant
    reason: str | None

    @classmethod
    def of(cls, change: RunChange) -> Self:
        return cls(
            version=change.version,
            status=change.status,
            actor=ActorAnswer.of(change.actor),
            at=change.at,
            reason=change.reason,
        )
