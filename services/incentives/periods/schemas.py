"""Requests and answers of pay periods."""

from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import Annotated, Self
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, Field, StringConstraints

from services.incentives.periods.domain import STEPS, Move, PayPeriod, PayState
from shared.contracts.base import Currency, Posted
from shared.contracts.texts import Prose
from shared.http.audit import ActorAnswer
from shared.http.schemas import body_example, example
from shared.kernel.money import round_to_minor_unit

Reason = Annotated[Prose, StringConstraints(max_length=1000)]
_DAYS = {"start": "2026-03-01", "end": "2026-04-01"}


class MoveBody(BaseModel):
    """Where a pay period is to come to, and why."""

    model_config = body_example(state="calculating", reason="The month is over and every deal of it is in")

    state: PayState
    reason: Reason


class AmountAnswer(BaseModel):
    """An amount of a currency."""

    amount: Posted
    currency: Currency

    @classmethod
    def of(cls, amounts: Mapping[str, Decimal]) -> list[Self]:
        """By currency."""
        return [
            cls(amount=round_to_minor_unit(amount, currency), currency=currency)
            for currency, amount in sorted(amounts.items())
        ]


class PayPeriodAnswer(BaseModel):
    """A pay period."""

    model_config = example(
        id="01935a00-0000-5000-8000-000000000081",
        **_DAYS,
        state="approved",
        next_states=["exported"],
        cut_off_at="2026-04-03T09:30:00Z",
        cut_off_sequence=4238,
        as_paid=[{"amount": "48210.50", "currency": "USD"}],
        version=3,
    )

    id: UUID
    start: date
    end: date = Field(description="First day after the pay period.")
    state: PayState
    next_states: list[PayState] = Field(
        description="Where it may come to from here: to `exported` and `paid` with its payout run, else by a move."
    )
    cut_off_at: AwareDatetime | None = Field(
        description="When it was approved: what changes later is posted in the first one that still takes postings."
    )
    cut_off_sequence: int | None = Field(description="The last ledger transaction before that.")
    as_paid: list[AmountAnswer] | None = Field(
        description="What had been posted in it by then of what people earned; it never changes. Null before the"
        " cut-off, and for who does not see the whole tenant."
    )
    version: int = Field(ge=0, description="Grows with every step; its ETag goes into If-Match. 0 before the first.")

    @classmethod
    def of(cls, found: PayPeriod, *, with_totals: bool = True) -> Self:
        cut_off = found.cut_off
        return cls(
            id=found.id,
            start=found.period.start,
            end=found.period.end,
            state=found.state,
            next_states=[after for before, after in STEPS if before is found.state],
            cut_off_at=None if cut_off is None else cut_off.at,
            cut_off_sequence=None if cut_off is None else cut_off.sequence,
            as_paid=None if cut_off is None or not with_totals else AmountAnswer.of(cut_off.as_paid),
            version=found.version,
        )


class MoveAnswer(BaseModel):
    """One step of a pay period: who took it, when and why."""

    model_config = example(
        version=3,
        before="in_review",
        after="approved",
        actor={"kind": "person", "person_id": "01935a00-0000-7000-8000-000000000012"},
        at="2026-04-03T09:30:00Z",
        reason="Checked against the contract changes of March",
    )

    version: int
    before: PayState
    after: PayState
    actor: ActorAnswer
    at: AwareDatetime
    reason: str

    @classmethod
    def of(cls, move: Move) -> Self:
        return cls(
            version=move.version,
            before=move.before,
            after=move.after,
            actor=ActorAnswer.of(move.actor),
            at=move.at,
            reason=move.reason,
        )
