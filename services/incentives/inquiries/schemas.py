"""Requests and answers of inquiries."""

from datetime import date
from typing import Annotated, Final, Self
from uuid import UUID

from pydantic import BaseModel, Field, JsonValue, StringConstraints

from services.incentives.inquiries.domain import (
    DealInQuestion,
    Entry,
    Inquiry,
    InquiryEntryKind,
    InquiryOutcome,
    InquiryReason,
    InquiryStatus,
    Resolution,
    Subject,
)
from shared.contracts.base import Day, Instant
from shared.contracts.texts import NO_NUL, Prose
from shared.http.audit import ActorAnswer
from shared.http.schemas import body_example, example
from shared.kernel.errors import InvalidInput

_PERSON: Final = "01935a00-0000-7000-8000-000000000011"
_FINANCE: Final = "01935a00-0000-7000-8000-000000000014"
_EARNING: Final = "01935a00-0000-7000-8000-000000000064"
_DEAL: Final[JsonValue] = {"source": "pipedrive", "external_id": "4711"}
_AUTHOR: Final[JsonValue] = {"kind": "person", "person_id": _PERSON}

InquiryText = Annotated[Prose, StringConstraints(max_length=4000)]
_Name = Annotated[str, StringConstraints(min_length=1, max_length=200), NO_NUL]


class DealInQuestionBody(BaseModel):
    """Which deal: by its id here, or by what the CRM calls it, also where it has never arrived."""

    model_config = body_example(source="pipedrive", external_id="4711")

    deal_id: UUID | None = None
    source: _Name | None = Field(None, description="The CRM it is in.", examples=["pipedrive"])
    external_id: _Name | None = Field(None, description="Its id in the CRM.", examples=["4711"])

    def deal(self) -> DealInQuestion:
        """Raises InvalidInput that points into `/deal`."""
        try:
            return DealInQuestion(self.deal_id, self.source, self.external_id)
        except InvalidInput as error:
            raise error.under("/deal") from None


class InquiryBody(BaseModel):
    """A question about somebody's pay."""

    model_config = body_example(
        person_id=_PERSON,
        earning_id=_EARNING,
        deal=_DEAL,
        reason="missing_deal",
        text="I closed this deal on 28 March and it is not on my statement",
    )

    person_id: UUID = Field(description="Whose pay.")
    earning_id: UUID | None = Field(None, description="The earning; with `deal` the line of it.")
    deal: DealInQuestionBody | None = Field(None, description="The deal; without `earning_id` one that is missing.")
    reason: InquiryReason
    text: InquiryText

    def subject(self) -> Subject:
        """Raises InvalidInput."""
        return Subject(self.earning_id, None if self.deal is None else self.deal.deal())


class InquiryMessageBody(BaseModel):
    """What there is to say."""

    model_config = body_example(text="The contract was signed on the 28th; I have sent it to you")

    text: InquiryText


class InquiryAssigneeBody(BaseModel):
    """Who is to work on it."""

    model_config = body_example(assignee_id=_FINANCE)

    assignee_id: UUID


class InquiryDueDayBody(BaseModel):
    """Another day, and why."""

    model_config = body_example(due_on="2026-04-30", text="Waiting for the signed contract")

    due_on: Day = Field(description="The last day on which an answer is in time: today or later.")
    text: InquiryText


class InquiryResolutionBody(BaseModel):
    """The answer."""

    model_config = body_example(
        outcome="explained", text="The deal was won on 2 April and counts in the second quarter"
    )

    outcome: InquiryOutcome
    text: InquiryText
    adjustment_id: UUID | None = Field(None, description="With `adjusted` the adjustment that makes up for it.")

    def resolution(self) -> Resolution:
        """Raises InvalidInput."""
        return Resolution(self.outcome, self.text, self.adjustment_id)


class DealInQuestionAnswer(BaseModel):
    """The deal in question."""

    deal_id: UUID | None = Field(description="Null where no such deal has arrived.")
    source: str | None
    external_id: str | None

    @classmethod
    def of(cls, deal: DealInQuestion) -> Self:
        return cls(deal_id=deal.deal_id, source=deal.source, external_id=deal.external_id)


class InquiryResolutionAnswer(BaseModel):
    """How it was answered."""

    outcome: InquiryOutcome
    text: str
    adjustment_id: UUID | None = Field(description="The adjustment that came of it.")

    @classmethod
    def of(cls, resolution: Resolution) -> Self:
        return cls(outcome=resolution.outcome, text=resolution.text, adjustment_id=resolution.adjustment_id)


class InquiryAnswer(BaseModel):
    """A question about somebody's pay, and how far it has come."""

    model_config = example(
        id="01935a00-0000-7000-8000-000000000081",
        version=2,
        person_id=_PERSON,
        earning_id=_EARNING,
        deal={"deal_id": None, "source": "pipedrive", "external_id": "4711"},
        reason="missing_deal",
        author=_AUTHOR,
        raised_at="2026-04-15T09:30:00Z",
        due_on="2026-04-22",
        status="in_progress",
        assignee_id=_FINANCE,
        resolution=None,
        overdue=False,
        explanation_url=f"/v1/earnings/{_EARNING}/explain",
    )

    id: UUID
    version: int = Field(ge=1, description="Grows with every step; its ETag goes into If-Match.")
    person_id: UUID
    earning_id: UUID | None
    deal: DealInQuestionAnswer | None
    reason: InquiryReason
    author: ActorAnswer
    raised_at: Instant
    due_on: date = Field(description="The last day on which an answer is in time.")
    status: InquiryStatus
    assignee_id: UUID | None
    resolution: InquiryResolutionAnswer | None = Field(description="Null until it is resolved.")
    overdue: bool = Field(description="Whether it should have been resolved by now.")
    explanation_url: str | None = Field(
        description="Where the earning is explained, and whether the deal counts in it; null without an earning."
    )

    @classmethod
    def of(cls, inquiry: Inquiry, today: date) -> Self:
        deal, resolution = inquiry.subject.deal, inquiry.resolution
        return cls(
            id=inquiry.id,
            version=inquiry.version,
            person_id=inquiry.person_id,
            earning_id=inquiry.subject.earning_id,
            deal=None if deal is None else DealInQuestionAnswer.of(deal),
            reason=inquiry.reason,
            author=ActorAnswer.of(inquiry.author),
            raised_at=inquiry.raised_at,
            due_on=inquiry.due_on,
            status=inquiry.status,
            assignee_id=inquiry.assignee_id,
            resolution=None if resolution is None else InquiryResolutionAnswer.of(resolution),
            overdue=inquiry.is_overdue(today),
            explanation_url=_explanation_url(inquiry.subject),
        )


class InquiryEntryAnswer(BaseModel):
    """An entry of the thread: a message, or a step and what it changed."""

    model_config = example(
        id="01935a00-0000-7000-8000-000000000082",
        kind="rescheduled",
        actor={"kind": "person", "person_id": _FINANCE},
        at="2026-04-16T08:00:00Z",
        text="Waiting for the signed contract",
        before="2026-04-22",
        after="2026-04-30",
    )

    id: UUID
    kind: InquiryEntryKind
    actor: ActorAnswer
    at: Instant
    text: str | None
    before: str | None = Field(description="What it was before this step: an assignee, a day, a status.")
    after: str | None

    @classmethod
    def of(cls, entry: Entry) -> Self:
        return cls(
            id=entry.id,
            kind=entry.kind,
            actor=ActorAnswer.of(entry.actor),
            at=entry.at,
            text=entry.text,
            before=entry.before,
            after=entry.after,
        )


def _explanation_url(subject: Subject) -> str | None:
    if subject.earning_id is None:
        return None
    path, deal = f"/v1/earnings/{subject.earning_id}/explain", subject.deal
    return path if deal is None or deal.deal_id is None else f"{path}?deal_id={deal.deal_id}"
