"""Answers of statements with what was paid."""

from collections.abc import Mapping
from hashlib import sha256
from typing import Final, Self
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, Field, JsonValue

from services.incentives.earnings.schemas import StatementAnswer
from services.incentives.payouts.domain.pay import LineKind
from services.incentives.payouts.domain.runs import RunStatus
from services.incentives.statements.content import (
    PayeeContent,
    StatedCorrectionContent,
    StatedDays,
    StatedEarningContent,
    StatedPayoutContent,
)
from services.incentives.statements.domain.keeping import KeptPart, KeptPeriod, KeptStatement
from services.incentives.statements.domain.pay import PaidTotal
from services.incentives.statements.domain.statement import Payee, PersonStatement
from services.incentives.statements.service import StatedPerson
from shared.contracts.base import Currency, Posted
from shared.http.schemas import example
from shared.kernel.money import round_to_minor_unit

_PERSON: Final = "01935a00-0000-7000-8000-000000000011"
_PERIOD: Final = "01935a00-0000-7000-8000-000000000081"
_DIGEST: Final = "5f0c7c3a9a1c8f2b6d1e4a7b9c0d3e5f60718293a4b5c6d7e8f9012345678abc"
_KEPT_AT: Final = "2026-05-02T08:00:09Z"
_APRIL: Final[JsonValue] = {"start": "2026-04-01", "end": "2026-05-01"}
_PAYOUT: Final[dict[str, JsonValue]] = {
    "run_number": 4,
    "status": RunStatus.PAID.value,
    "period": _APRIL,
    "plan_name": "Account executives",
    "currency": "USD",
    "earned": "1500",
    "paid": "2000",
    "lines": [
        {"kind": LineKind.EARNED.value, "amount": "1500"},
        {"kind": LineKind.ADVANCED.value, "amount": "500"},
    ],
    "carried": "-500",
    "owed": "500",
    "held_back": "0",
    "paid_on": "2026-05-06",
    "reverses": None,
}
_TOTAL: Final[dict[str, JsonValue]] = {
    "currency": "USD",
    "as_paid": "4120.00",
    "for_due": "4000.00",
    "for_earlier": "120.00",
    "as_recalculated": "3880.00",
    "difference": "-120.00",
}
_CORRECTION: Final[dict[str, JsonValue]] = {
    "earning_id": "01935a00-0000-7000-8000-000000000061",
    "plan_name": "Account executives",
    "component": "New business",
    "origin": {"start": "2026-01-01", "end": "2026-04-01"},
    "posted_in": _APRIL,
    "posted_at": "2026-04-12T09:30:00Z",
    "amount": "-120",
    "currency": "USD",
    "cause": "deal",
    "deal": {
        "id": "01935a00-0000-7000-8000-000000000021",
        "source": "pipedrive",
        "external_id": "746",
        "name": "Acme renewal",
    },
    "changes": [],
    "by": None,
}


class PersonStatementAnswer(StatementAnswer):
    """What a person earned in the periods within [start, end), and what was paid."""

    model_config = example(
        person_id=_PERSON,
        person_name="Darcel Schlecht",
        employee_number="E-1042",
        start="2026-04-01",
        end="2026-05-01",
        earnings=[],
        component_totals=[],
        totals=[],
        deal=None,
        payouts=[_PAYOUT],
    )

    payouts: list[StatedPayoutContent] = Field(
        description="What payout runs for the pay periods within these days paid, run by run; those that were reversed"
        " are among them, and their reversals."
    )

    @classmethod
    def of_person(cls, found: StatedPerson) -> Self:
        """The statement with its payouts."""
        members = {name: getattr(StatementAnswer.of(found.statement), name) for name in StatementAnswer.model_fields}
        payouts = [StatedPayoutContent.model_validate(each, from_attributes=True) for each in found.payouts]
        return cls(**members, payouts=payouts)


class PaidTotalAnswer(BaseModel):
    """What the pay period paid in one currency, beside what that is worth now."""

    model_config = example(**_TOTAL)

    currency: Currency
    as_paid: Posted = Field(description="`for_due` + `for_earlier`.")
    for_due: Posted = Field(description="For what was due in it.")
    for_earlier: Posted = Field(description="For what was due in earlier ones.")
    as_recalculated: Posted = Field(description="What was due in it is worth now.")
    difference: Posted = Field(description="`as_recalculated` − `for_due`: what was posted for it later.")

    @classmethod
    def of(cls, total: PaidTotal) -> Self:
        currency = total.currency
        return cls(
            currency=currency,
            as_paid=round_to_minor_unit(total.as_paid, currency),
            for_due=round_to_minor_unit(total.for_due, currency),
            for_earlier=round_to_minor_unit(total.for_earlier, currency),
            as_recalculated=round_to_minor_unit(total.as_recalculated, currency),
            difference=round_to_minor_unit(total.difference, currency),
        )


class PayStatementAnswer(BaseModel):
    """A person's statement of a pay period."""

    model_config = example(
        pay_period_id=_PERIOD,
        period=_APRIL,
        payee={"person_id": _PERSON, "name": "Darcel Schlecht", "employee_number": "E-1042"},
        cut_off_at="2026-05-02T08:00:00Z",
        digest=_DIGEST,
        totals=[_TOTAL],
        earnings=[],
        earlier=[_CORRECTION],
        payouts=[_PAYOUT],
        later=[],
    )

    pay_period_id: UUID
    period: StatedDays
    payee: PayeeContent
    cut_off_at: AwareDatetime | None = Field(description="Null while the pay period takes postings.")
    digest: str | None = Field(
        description="SHA-256 of the last part that was kept. Null while nothing is, and all of it may change."
    )
    totals: list[PaidTotalAnswer] = Field(description="As paid and as recalculated, by currency.")
    earnings: list[StatedEarningContent] = Field(description="What was due in it, line by line, as it was kept.")
    earlier: list[StatedCorrectionContent] = Field(description="What it paid for earlier ones.")
    payouts: list[StatedPayoutContent] = Field(description="What payout runs made of it.")
    later: list[StatedCorrectionContent] = Field(description="What was posted later for what was due in it.")

    @classmethod
    def of(cls, statement: PersonStatement) -> Self:
        pay = statement.pay
        if pay is None:
            raise ValueError("this statement is of no pay period")
        return cls.model_validate(
            {
                "pay_period_id": pay.pay_period_id,
                "period": StatedDays(start=statement.start, end=statement.end),
                "payee": statement.payee,
                "cut_off_at": pay.cut_off_at,
                "digest": pay.digest,
                "totals": [PaidTotalAnswer.of(each) for each in pay.totals],
                "earnings": statement.earnings,
                "earlier": pay.earlier,
                "payouts": statement.payouts,
                "later": pay.later,
            },
            from_attributes=True,
        )


class PayeeStatementAnswer(BaseModel):
    """Whose statement of a pay period there is, and the digests of what is kept of it."""

    model_config = example(
        person_id=_PERSON,
        person_name="Darcel Schlecht",
        employee_number="E-1042",
        earned=_DIGEST,
        paid=None,
    )

    person_id: UUID
    person_name: str | None = Field(description="Null while the organisation has not published the person.")
    employee_number: str | None
    earned: str | None = Field(description="Of what was kept at the cut-off. Null while it is not.")
    paid: str | None = Field(description="Of what was kept at the closing. Null while it is not.")

    @classmethod
    def of(cls, payee: Payee, digests: Mapping[KeptPart, Mapping[UUID, str]]) -> Self:
        return cls(
            person_id=payee.person_id,
            person_name=payee.name,
            employee_number=payee.employee_number,
            earned=digests[KeptPart.EARNED].get(payee.person_id),
            paid=digests[KeptPart.PAID].get(payee.person_id),
        )


class KeptContentAnswer(BaseModel):
    """A part of a statement as it was written."""

    part: KeptPart
    content: str = Field(description="JSON: its characters are those that were written.")
    digest: str = Field(description="SHA-256 of the content in UTF-8. That of `paid` covers `earned` too: it names it.")
    kept_at: AwareDatetime


class KeptStatementAnswer(BaseModel):
    """What was kept of a statement."""

    model_config = example(
        parts=[{"part": "earned", "content": "{}", "digest": sha256(b"{}").hexdigest(), "kept_at": _KEPT_AT}]
    )

    parts: list[KeptContentAnswer] = Field(description="Empty before the cut-off.")

    @classmethod
    def of(cls, kept: Mapping[KeptPart, KeptStatement]) -> Self:
        return cls(
            parts=[
                KeptContentAnswer(part=part, content=each.content, digest=each.digest, kept_at=each.kept_at)
                for part in KeptPart
                if (each := kept.get(part)) is not None
            ]
        )


class KeptPartAnswer(BaseModel):
    """A part that is kept of everybody's statement."""

    part: KeptPart
    statements: int
    digest: str = Field(
        description="SHA-256 of the lines `<person id> <digest>`, each with a line feed, in the order of the ids."
    )
    kept_at: AwareDatetime


class KeptVerificationAnswer(BaseModel):
    """Whether the kept statements of a pay period are what was written, and what the ledger has."""

    model_config = example(
        intact=True,
        parts=[{"part": "earned", "statements": 212, "digest": _DIGEST, "kept_at": _KEPT_AT}],
        differences=[],
    )

    intact: bool
    parts: list[KeptPartAnswer] = Field(description="What is kept of everybody; empty before the cut-off.")
    differences: list[str]

    @classmethod
    def of(cls, parts: list[KeptPeriod], differences: list[str]) -> Self:
        ordered = sorted(parts, key=lambda each: list(KeptPart).index(each.part))
        return cls(
            intact=not differences,
            parts=[
                KeptPartAnswer(part=each.part, statements=each.statements, digest=each.digest, kept_at=each.kept_at)
                for each in ordered
            ],
            differences=differences,
        )
