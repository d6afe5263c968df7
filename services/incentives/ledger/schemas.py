"""Answers of the ledger."""

from datetime import date, datetime
from typing import Literal, Self
from uuid import UUID

from pydantic import BaseModel, Field, JsonValue

from services.incentives.ledger.domain import EARNING, Flaw, LedgerTransaction
from services.incentives.ledger.service import Verification
from shared.contracts.base import Currency, Posted
from shared.http.schemas import example
from shared.kernel.money import round_to_minor_unit
from shared.kernel.periods import Period

TRANSACTION: dict[str, JsonValue] = {
    "sequence": 1,
    "posted_at": "2026-03-31T18:40:03.4Z",
    "kind": "earned",
    "subject": {"kind": "earning", "id": "01935a00-0000-7000-8000-000000000061"},
    "period": {"start": "2026-01-01", "end": "2026-04-01"},
    "posted_in": {"start": "2026-03-01", "end": "2026-04-01"},
    "earning_id": "01935a00-0000-7000-8000-000000000061",
    "person_id": "01935a00-0000-7000-8000-000000000011",
    "plan_id": "01935a00-0000-7000-8000-000000000063",
    "component": "bookings",
    "cause": {
        "kind": "deal",
        "deal_id": "6f1a2c94-40c5-5a7e-9b7e-0c9d3f0e2b11",
        "modified_at": "2026-03-31T18:40:02Z",
        "sequence": 0,
        "delivery_id": "01935a00-0000-7000-8000-000000000051",
        "delivery_url": "/v1/deals/6f1a2c94-40c5-5a7e-9b7e-0c9d3f0e2b11"
        "/deliveries/01935a00-0000-7000-8000-000000000051",
        "changes": [],
    },
    "entries": [
        {
            "account": "expense:commission:01935a00-0000-7000-8000-000000000063",
            "amount": "3000.00",
            "currency": "USD",
        },
        {"account": "payable:01935a00-0000-7000-8000-000000000011", "amount": "-3000.00", "currency": "USD"},
    ],
    "hash": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
}


class EntryAnswer(BaseModel):
    """One side of a transaction. The entries of a transaction sum to zero in every currency."""

    account: str = Field(examples=["payable:01935a00-0000-7000-8000-000000000011"])
    amount: Posted = Field(description="Signed, in units of `currency` with all its decimals.", examples=["-1100.00"])
    currency: Currency


class CauseAnswer(BaseModel):
    """Why it was posted: a version of a deal, or changes of definitions."""

    kind: str = Field(description="`deal` or `definitions`; other kinds may come.", examples=["deal"])
    deal_id: UUID | None = None
    modified_at: datetime | None = Field(None, description="The deal version's time at its source.")
    sequence: int | None = None
    delivery_id: UUID | None = Field(None, description="The delivery that brought the deal version.")
    delivery_url: str | None = Field(
        None, description="Where the tracking service shows what that delivery stated of the deal."
    )
    changes: list[str] = Field(default_factory=list, examples=[["goal/01935a00-0000-7000-8000-000000000031 v4"]])


class SubjectAnswer(BaseModel):
    """The thing a transaction is about."""

    kind: str = Field(description="`earning`; other kinds may come.", examples=["earning"])
    id: UUID


class PostedPeriodAnswer(BaseModel):
    """The period a transaction belongs to, or the pay period it is posted in."""

    start: date
    end: date = Field(description="First day after the period.")

    @classmethod
    def of(cls, period: Period | None) -> Self | None:
        return None if period is None else cls(start=period.start, end=period.end)


class LedgerTransactionAnswer(BaseModel):
    """A transaction as it was posted; it is never changed or removed."""

    model_config = example(**TRANSACTION)

    sequence: int = Field(description="Counts the tenant's transactions from 1 without a gap.")
    posted_at: datetime
    kind: str = Field(description="`earned`: a commission grew or shrank. Other kinds may come.", examples=["earned"])
    subject: SubjectAnswer
    period: PostedPeriodAnswer | None = Field(
        description="Null for what was posted before transactions named their period."
    )
    posted_in: PostedPeriodAnswer | None = Field(
        None,
        description="The pay period that pays it: the one with the last day of `period`, or where that took no more"
        " postings the first that did. Null for what was posted before transactions named it.",
    )
    earning_id: UUID | None = Field(description="The subject, where it is an earning.")
    person_id: UUID
    plan_id: UUID | None = Field(description="Null where it is about no plan.")
    component: str | None = Field(description="Null where it is about no component of a plan.")
    cause: CauseAnswer
    entries: list[EntryAnswer]
    hash: str = Field(description="SHA-256, in hex, over the hash before and this transaction.")

    @classmethod
    def of(cls, transaction: LedgerTransaction) -> Self:
        posting = transaction.posting
        subject, cause, version = posting.subject, posting.cause, posting.cause.deal_version
        return cls(
            sequence=transaction.sequence,
            posted_at=transaction.posted_at,
            kind=posting.kind,
            subject=SubjectAnswer(kind=subject.kind, id=subject.id),
            period=PostedPeriodAnswer.of(posting.period),
            posted_in=PostedPeriodAnswer.of(posting.posted_in),
            earning_id=subject.id if subject.kind == EARNING else None,
            person_id=subject.person_id,
            plan_id=subject.plan_id,
            component=subject.component,
            cause=CauseAnswer(
                kind=cause.kind,
                deal_id=cause.deal_id,
                modified_at=None if version is None else version.modified_at,
                sequence=None if version is None else version.sequence,
                delivery_id=None if version is None else version.delivery_id,
                delivery_url=None
                if version is None or cause.deal_id is None
                else delivery_url(cause.deal_id, version.delivery_id),
                changes=list(cause.changes),
            ),
            entries=[
                EntryAnswer(
                    account=str(entry.account),
                    amount=round_to_minor_unit(entry.amount, entry.currency),
                    currency=entry.currency,
                )
                for entry in posting.entries
            ],
            hash=transaction.hash.hex(),
        )


class BreakAnswer(BaseModel):
    """The first transaction that is not what was posted."""

    sequence: int
    flaw: Flaw


class LedgerVerificationAnswer(BaseModel):
    """What walking the whole chain found."""

    model_config = example(status="intact", transactions=4238, head="9f86d081884c7d659a2feaa0c55ad015", broken_at=None)

    status: Literal["intact", "broken"]
    transactions: int
    head: str = Field(description="The hash the chain ends with. Store it elsewhere to notice a cut-off end.")
    broken_at: BreakAnswer | None

    @classmethod
    def of(cls, found: Verification) -> Self:
        first = found.first_break
        return cls(
            status="intact" if first is None else "broken",
            transactions=found.transactions,
            head=found.head.hash.hex(),
            broken_at=None if first is None else BreakAnswer(sequence=first.sequence, flaw=first.flaw),
        )


def delivery_url(deal_id: UUID, delivery_id: UUID) -> str:
    """The path, on the tracking service, of what a delivery stated of a deal; open to whoever sees the deal."""
    return f"/v1/deals/{deal_id}/deliveries/{delivery_id}"
