"""A question about one's pay: why is this line so, why is this deal not there. It stays until somebody has answered.

An inquiry is about a line of an earning (the earning and a deal), about an earning as a whole, or about a deal that is
missing. It has a day by which it is to be resolved, somebody who works on it, and a thread; every step is an entry of
the thread, so the thread is its audit trail.
"""

from dataclasses import dataclass, replace
from datetime import date, datetime
from enum import StrEnum
from typing import Final
from uuid import UUID

from shared.kernel.approvals import Actor
from shared.kernel.errors import Conflict, Forbidden, InvalidInput, NotFound

DAYS_TO_RESOLVE: Final = 7
"""An inquiry is to be resolved so many days after it was raised, unless another day is set."""


class InquiryNotFound(NotFound):
    """There is no such inquiry, or the caller may not see the pay that it is about."""

    code = "inquiry_not_found"
    title = "Inquiry not found"


class InquiryEnded(Conflict):
    """The inquiry was resolved or withdrawn; it can be reopened."""

    code = "inquiry_ended"
    title = "Inquiry has ended"


class InquiryNotEnded(Conflict):
    """The inquiry is still open, so it cannot be reopened."""

    code = "inquiry_not_ended"
    title = "Inquiry has not ended"


class NotTheAuthor(Forbidden):
    """Only who raised an inquiry withdraws it; others resolve it."""

    code = "not_the_author"
    title = "Not the author"


class InquiryReason(StrEnum):
    """What seems wrong."""

    MISSING_DEAL = "missing_deal"
    WRONG_AMOUNT = "wrong_amount"
    WRONG_RATE = "wrong_rate"
    WRONG_SHARE = "wrong_share"
    WRONG_PERIOD = "wrong_period"
    OTHER = "other"


class InquiryStatus(StrEnum):
    """How far an inquiry has come."""

    OPEN = "open"
    IN_PROGRESS = "in_progress"
    """Somebody works on it."""
    RESOLVED = "resolved"
    WITHDRAWN = "withdrawn"


ENDED: Final = (InquiryStatus.RESOLVED, InquiryStatus.WITHDRAWN)


class InquiryOutcome(StrEnum):
    """How an inquiry was resolved."""

    EXPLAINED = "explained"
    """The pay is right, and the answer says why."""
    CORRECTED = "corrected"
    """The deal, the organisation or the terms were corrected, and the pay followed."""
    ADJUSTED = "adjusted"
    """An adjustment makes up for it."""
    DECLINED = "declined"


class InquiryEntryKind(StrEnum):
    """What an entry of the thread tells."""

    RAISED = "raised"
    MESSAGE = "message"
    ASSIGNED = "assigned"
    RESCHEDULED = "rescheduled"
    RESOLVED = "resolved"
    WITHDRAWN = "withdrawn"
    REOPENED = "reopened"


@dataclass(frozen=True, slots=True)
class DealInQuestion:
    """The deal an inquiry is about: its id where it is known here, else what the CRM calls it."""

    deal_id: UUID | None = None
    source: str | None = None
    external_id: str | None = None

    def __post_init__(self) -> None:
        if (self.source is None) != (self.external_id is None):
            missing = "/source" if self.source is None else "/external_id"
            raise InvalidInput.field(missing, "is missing", "source and external_id together")
        if self.deal_id is None and self.external_id is None:
            raise InvalidInput.field("/deal_id", "is missing", "deal_id, or source and external_id")


@dataclass(frozen=True, slots=True)
class Subject:
    """What an inquiry is about: an earning, a deal, or both."""

    earning_id: UUID | None
    deal: DealInQuestion | None

    def __post_init__(self) -> None:
        if self.earning_id is None and self.deal is None:
            raise InvalidInput.field("/earning_id", "is missing", "an earning, a deal, or both")


@dataclass(frozen=True, slots=True)
class Resolution:
    """The answer to an inquiry, and the adjustment that came of it."""

    outcome: InquiryOutcome
    text: str
    adjustment_id: UUID | None = None

    def __post_init__(self) -> None:
        if (self.outcome is InquiryOutcome.ADJUSTED) != (self.adjustment_id is not None):
            raise InvalidInput.field(
                "/adjustment_id",
                "is left out" if self.adjustment_id is None else f"is of no use with {self.outcome}",
                f"with {InquiryOutcome.ADJUSTED} the adjustment, else nothing",
            )


@dataclass(frozen=True, slots=True)
class Inquiry:
    """A question about the pay of `person_id`. `due_on` is the last day on which it is in time."""

    id: UUID
    version: int
    person_id: UUID
    subject: Subject
    reason: InquiryReason
    author: Actor
    raised_at: datetime
    due_on: date
    status: InquiryStatus = InquiryStatus.OPEN
    assignee_id: UUID | None = None
    resolution: Resolution | None = None
    overdue_since: datetime | None = None
    """When it was reported that it is overdue; None while it is not, or nobody has been told."""

    def is_overdue(self, today: date) -> bool:
        """Whether it should have been resolved by now."""
        return self.status not in ENDED and today > self.due_on


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of the thread. `before` and `after` are what a step changed, in words of the API."""

    id: UUID
    inquiry_id: UUID
    kind: InquiryEntryKind
    actor: Actor
    at: datetime
    text: str | None = None
    before: str | None = None
    after: str | None = None


def assigned(inquiry: Inquiry, assignee_id: UUID) -> Inquiry:
    """Somebody works on it from now on. Raises InquiryEnded."""
    _require_going_on(inquiry)
    return replace(inquiry, version=inquiry.version + 1, status=InquiryStatus.IN_PROGRESS, assignee_id=assignee_id)


def rescheduled(inquiry: Inquiry, due_on: date, today: date) -> Inquiry:
    """It is due on another day, today or later. Raises InquiryEnded, InvalidInput."""
    _require_going_on(inquiry)
    if due_on < today:
        raise InvalidInput.field("/due_on", f"{due_on} is over", f"{today} or later")
    return replace(inquiry, version=inquiry.version + 1, due_on=due_on, overdue_since=None)


def resolved(inquiry: Inquiry, resolution: Resolution) -> Inquiry:
    """It is answered. Raises InquiryEnded."""
    _require_going_on(inquiry)
    return replace(inquiry, version=inquiry.version + 1, status=InquiryStatus.RESOLVED, resolution=resolution)


def withdrawn(inquiry: Inquiry, actor: Actor) -> Inquiry:
    """Whoever raised it takes it back. Raises InquiryEnded, NotTheAuthor."""
    _require_going_on(inquiry)
    if actor != inquiry.author:
        raise NotTheAuthor("Only who raised an inquiry withdraws it; finance and RevOps resolve it.")
    return replace(inquiry, version=inquiry.version + 1, status=InquiryStatus.WITHDRAWN)


def reopened(inquiry: Inquiry, due_on: date) -> Inquiry:
    """The answer does not settle it: it is open again, until another day. Raises InquiryNotEnded."""
    if inquiry.status not in ENDED:
        raise InquiryNotEnded(f"The inquiry is {inquiry.status}; write a message instead.")
    return replace(
        inquiry,
        version=inquiry.version + 1,
        status=InquiryStatus.OPEN,
        resolution=None,
        due_on=due_on,
        overdue_since=None,
    )


def reported_overdue(inquiry: Inquiry, now: datetime) -> Inquiry:
    """The day it was due is over, and this is reported now."""
    return replace(inquiry, version=inquiry.version + 1, overdue_since=now)


def _require_going_on(inquiry: Inquiry) -> None:
    if inquiry.status in ENDED:
        raise InquiryEnded(f"The inquiry is {inquiry.status} already; reopen it first.")
