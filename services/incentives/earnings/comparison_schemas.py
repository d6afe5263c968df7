"""Answers of pay periods as paid beside as recalculated."""

from collections.abc import Mapping
from typing import Self
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, Field, JsonValue

from services.incentives.earnings.comparing import Correction, Doing
from services.incentives.earnings.domain.comparison import CauseKind, ComparedEarning, PersonComparison, kinds_of
from services.incentives.ledger.schemas import TRANSACTION, LedgerTransactionAnswer, PostedPeriodAnswer
from shared.contracts.base import Currency, Posted
from shared.http.audit import ActorAnswer
from shared.http.schemas import example
from shared.kernel.money import round_to_minor_unit

_QUARTER: JsonValue = {"start": "2026-01-01", "end": "2026-04-01"}
_APRIL: JsonValue = {"start": "2026-04-01", "end": "2026-05-01"}
_PERSON = "01935a00-0000-7000-8000-000000000011"
_LINE: dict[str, JsonValue] = {
    "earning_id": "01935a00-0000-7000-8000-000000000061",
    "plan_id": "01935a00-0000-7000-8000-000000000063",
    "component": "bookings",
    "origin": _QUARTER,
    "as_paid": "4000.00",
    "as_recalculated": "2400.00",
    "difference": "-1600.00",
    "later": [{"posted_in": _APRIL, "amount": "-1600.00"}],
}


class LaterAnswer(BaseModel):
    """What was posted for it in a later pay period."""

    posted_in: PostedPeriodAnswer
    amount: Posted


class ComparedEarningAnswer(BaseModel):
    """One earning: what the pay period paid for it, and what it is worth now."""

    model_config = example(**_LINE)

    earning_id: UUID
    plan_id: UUID | None
    component: str | None
    origin: PostedPeriodAnswer = Field(description="The period it belongs to.")
    as_paid: Posted
    as_recalculated: Posted = Field(description="`as_paid` and everything in `later`.")
    difference: Posted
    later: list[LaterAnswer] = Field(description="In which later pay periods the difference was posted.")

    @classmethod
    def of(cls, found: ComparedEarning, currency: str) -> Self:
        return cls(
            earning_id=found.earning_id,
            plan_id=found.plan_id,
            component=found.component,
            origin=PostedPeriodAnswer(start=found.origin.start, end=found.origin.end),
            as_paid=round_to_minor_unit(found.as_paid, currency),
            as_recalculated=round_to_minor_unit(found.as_recalculated, currency),
            difference=round_to_minor_unit(found.difference, currency),
            later=[
                LaterAnswer(
                    posted_in=PostedPeriodAnswer(start=each.posted_in.start, end=each.posted_in.end),
                    amount=round_to_minor_unit(each.amount, currency),
                )
                for each in found.later
            ],
        )


class ComparisonAnswer(BaseModel):
    """A pay period for one person and currency: as paid, and as it would be paid now."""

    model_config = example(
        person_id=_PERSON,
        person_name="Darcel Schlecht",
        currency="USD",
        as_paid="4120.00",
        paid_for_due="4000.00",
        paid_for_earlier="120.00",
        as_recalculated="2400.00",
        difference="-1600.00",
        due=[_LINE],
        earlier=[],
    )

    person_id: UUID
    person_name: str | None = Field(description="Null while the organisation has not published the person.")
    currency: Currency
    as_paid: Posted = Field(description="All that was posted in the pay period: `paid_for_due` + `paid_for_earlier`.")
    paid_for_due: Posted = Field(description="For what was due in it.")
    paid_for_earlier: Posted = Field(description="For what was due in earlier pay periods.")
    as_recalculated: Posted = Field(description="What was due in it is worth now.")
    difference: Posted = Field(description="`as_recalculated` − `paid_for_due`: what was posted for it later.")
    due: list[ComparedEarningAnswer] = Field(description="The earnings that were due in the pay period.")
    earlier: list[ComparedEarningAnswer] = Field(description="Those of earlier ones that it paid something for.")

    @classmethod
    def of(cls, found: PersonComparison, names: Mapping[UUID, str]) -> Self:
        currency = found.currency
        return cls(
            person_id=found.person_id,
            person_name=names.get(found.person_id),
            currency=currency,
            as_paid=round_to_minor_unit(found.as_paid, currency),
            paid_for_due=round_to_minor_unit(found.paid_for_due, currency),
            paid_for_earlier=round_to_minor_unit(found.paid_for_earlier, currency),
            as_recalculated=round_to_minor_unit(found.as_recalculated, currency),
            difference=round_to_minor_unit(found.difference, currency),
            due=[ComparedEarningAnswer.of(each, currency) for each in found.due],
            earlier=[ComparedEarningAnswer.of(each, currency) for each in found.earlier],
        )


class DoingAnswer(BaseModel):
    """Who did what of a change, when and why."""

    change: str = Field(examples=["plan/01935a00-0000-7000-8000-000000000063 v2"])
    act: str = Field(
        description="`drafted`, `edited`, `approved`, `activated` of a version; of an assignment `proposed`,"
        " `approved`, `withdrawn`. More may be added."
    )
    actor: ActorAnswer
    person_name: str | None = Field(description="Null while the organisation has not published the person.")
    at: AwareDatetime | None = Field(description="Null where the moment was not recorded.")
    reason: str | None

    @classmethod
    def of(cls, doing: Doing, names: Mapping[UUID, str]) -> Self:
        person_id = doing.actor.person_id
        return cls(
            change=doing.change,
            act=doing.act,
            actor=ActorAnswer.of(doing.actor),
            person_name=None if person_id is None else names.get(person_id),
            at=doing.at,
            reason=doing.reason,
        )


class CorrectionAnswer(BaseModel):
    """What was posted in a later pay period for one that took no postings any more."""

    model_config = example(
        transaction=TRANSACTION,
        kinds=["plan_version"],
        doings=[
            {
                "change": "plan/01935a00-0000-7000-8000-000000000063 v2",
                "act": "approved",
                "actor": {"kind": "person", "person_id": "01935a00-0000-7000-8000-000000000012"},
                "person_name": "Hana Kovač",
                "at": "2026-04-12T09:30:00Z",
                "reason": None,
            }
        ],
    )

    transaction: LedgerTransactionAnswer
    kinds: list[CauseKind] = Field(description="What made it: a late deal, or changes of these kinds.")
    doings: list[DoingAnswer] = Field(
        description="Whose doing the changes are that were made here: of plan versions and assignments."
    )

    @classmethod
    def of(cls, found: Correction, names: Mapping[UUID, str]) -> Self:
        return cls(
            transaction=LedgerTransactionAnswer.of(found.transaction),
            kinds=kinds_of(found.transaction.posting.cause),
            doings=[DoingAnswer.of(each, names) for each in found.doings],
        )
