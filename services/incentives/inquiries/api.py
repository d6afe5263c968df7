"""Inquiries over HTTP."""

from collections.abc import Awaitable, Callable
from typing import Annotated, Final
from uuid import UUID

from fastapi import APIRouter, Depends, Query

from services.incentives.credits.domain.credit import PersonNotInSight
from services.incentives.earnings.explaining import EarningNotFound
from services.incentives.inquiries.domain import (
    Inquiry,
    InquiryEnded,
    InquiryNotEnded,
    InquiryNotFound,
    InquiryStatus,
    NotTheAuthor,
)
from services.incentives.inquiries.schemas import (
    InquiryAnswer,
    InquiryAssigneeBody,
    InquiryBody,
    InquiryDueDayBody,
    InquiryEntryAnswer,
    InquiryMessageBody,
    InquiryResolutionBody,
)
from services.incentives.inquiries.service import Inquiries
from shared.db.database import Transaction
from shared.http.auth import Principal, Role, require
from shared.http.etag import Answered, ConditionalRead, ExpectedVersion
from shared.http.paging import Cursor, Page, Paging
from shared.http.problems import PreconditionRequired, responses
from shared.http.sight import CurrentCaller
from shared.http.wiring import handed
from shared.http.writer import RequestWriter, Writer
from shared.kernel.approvals import OwnInterest
from shared.kernel.errors import VersionMismatch
from shared.kernel.sight import Sight

router = APIRouter(prefix="/v1/inquiries", tags=["inquiries"])

UseCases = Annotated[Inquiries, Depends(handed(Inquiries))]
PayClerk = Annotated[Principal, Depends(require(Role.ADMIN, Role.REVOPS, Role.FINANCE))]
"""The caller, who answers questions about pay. 403 for anybody else."""

_IDS: Final = Cursor(UUID)
_STEP: Final = (InquiryNotFound, InquiryEnded, VersionMismatch, PreconditionRequired)


@router.get("", summary="List inquiries")
async def list_inquiries(
    caller: CurrentCaller,
    inquiries: UseCases,
    paging: Paging,
    person_id: Annotated[UUID | None, Query(description="Only about this person's pay.")] = None,
    status: Annotated[InquiryStatus | None, Query(description="Only those in this state.")] = None,
    assignee_id: Annotated[UUID | None, Query(description="Only those this person works on.")] = None,
    earning_id: Annotated[UUID | None, Query(description="Only about this earning.")] = None,
    overdue: Annotated[bool, Query(description="Only those that should have been resolved by now.")] = False,
) -> Page[InquiryAnswer]:
    """The oldest first. A rep sees those about its own pay, a manager those of its subtree."""
    async with caller.reading() as (tx, sight):
        today = await inquiries.today(tx, caller.tenant_id)
        found = await inquiries.list_inquiries(
            tx,
            caller.tenant_id,
            sight,
            person_id=person_id,
            status=status,
            assignee_id=assignee_id,
            earning_id=earning_id,
            is_overdue=overdue,
            after=_IDS.after(paging),
            limit=paging.fetch_limit,
        )
    return _IDS.page(paging, found, key=lambda each: each.id, item=lambda each: InquiryAnswer.of(each, today))


@router.post(
    "", summary="Ask about somebody's pay", status_code=201, responses=responses(PersonNotInSight, EarningNotFound)
)
async def create_inquiry(
    body: InquiryBody, caller: CurrentCaller, inquiries: UseCases, writer: RequestWriter
) -> Answered[InquiryAnswer]:
    """About a line (an earning and a deal), a whole earning, or a deal that is missing. It is due in seven days."""

    async def ask(tx: Transaction, sight: Sight) -> InquiryAnswer:
        raised = await inquiries.raise_inquiry(
            tx,
            caller.tenant_id,
            body.person_id,
            body.subject(),
            body.reason,
            body.text,
            actor=caller.actor,
            sight=sight,
        )
        return InquiryAnswer.of(raised, await inquiries.today(tx, caller.tenant_id))

    return await writer.commit(caller.seeing(ask), status=201, location=lambda each: f"/v1/inquiries/{each.id}")


@router.get("/{inquiry_id}", summary="Read an inquiry", responses=responses(InquiryNotFound))
async def get_inquiry(
    inquiry_id: UUID,
    caller: CurrentCaller,
    inquiries: UseCases,
    read: ConditionalRead,
) -> Answered[InquiryAnswer]:
    async with caller.reading() as (tx, sight):
        found = await inquiries.get_inquiry(tx, caller.tenant_id, inquiry_id, sight)
        answer = InquiryAnswer.of(found, await inquiries.today(tx, caller.tenant_id))
    return read.answer(answer)


@router.get("/{inquiry_id}/entries", summary="The thread of an inquiry", responses=responses(InquiryNotFound))
async def list_inquiry_entries(
    inquiry_id: UUID,
    caller: CurrentCaller,
    inquiries: UseCases,
    paging: Paging,
) -> Page[InquiryEntryAnswer]:
    """Everything that was written and done, the oldest first."""
    async with caller.reading() as (tx, sight):
        found = await inquiries.list_entries(
            tx,
            caller.tenant_id,
            inquiry_id,
            sight,
            after=_IDS.after(paging),
            limit=paging.fetch_limit,
        )
    return _IDS.page(paging, found, key=lambda entry: entry.id, item=InquiryEntryAnswer.of)


@router.post(
    "/{inquiry_id}/messages",
    summary="Write into the thread",
    status_code=201,
    responses=responses(InquiryNotFound),
)
async def create_inquiry_message(
    inquiry_id: UUID,
    body: InquiryMessageBody,
    caller: CurrentCaller,
    inquiries: UseCases,
    writer: RequestWriter,
) -> Answered[InquiryEntryAnswer]:
    """For everybody who sees the inquiry. A message stays as it was written."""
    return await writer.commit(
        caller.seeing(
            lambda tx, sight: inquiries.write(
                tx, caller.tenant_id, inquiry_id, body.text, actor=caller.actor, sight=sight
            )
        ),
        InquiryEntryAnswer.of,
        status=201,
    )


@router.post("/{inquiry_id}/assign", summary="Have somebody work on an inquiry", responses=responses(*_STEP))
async def assign_inquiry(
    inquiry_id: UUID,
    body: InquiryAssigneeBody,
    clerk: PayClerk,
    inquiries: UseCases,
    writer: RequestWriter,
    expected: ExpectedVersion,
) -> Answered[InquiryAnswer]:
    """Not whoever's pay it is about."""
    return await _step(
        writer,
        inquiries,
        clerk.tenant_id,
        lambda tx: inquiries.assign(tx, clerk.tenant_id, inquiry_id, expected, body.assignee_id, clerk.actor),
    )


@router.post(
    "/{inquiry_id}/reschedule", summary="Set the day an inquiry is due", responses=responses(*_STEP, OwnInterest)
)
async def reschedule_inquiry(
    inquiry_id: UUID,
    body: InquiryDueDayBody,
    clerk: PayClerk,
    inquiries: UseCases,
    writer: RequestWriter,
    expected: ExpectedVersion,
) -> Answered[InquiryAnswer]:
    """Not by whoever's pay it is about."""
    return await _step(
        writer,
        inquiries,
        clerk.tenant_id,
        lambda tx: inquiries.reschedule(tx, clerk.tenant_id, inquiry_id, expected, body.due_on, body.text, clerk.actor),
    )


@router.post("/{inquiry_id}/resolve", summary="Answer an inquiry", responses=responses(*_STEP, OwnInterest))
async def resolve_inquiry(
    inquiry_id: UUID,
    body: InquiryResolutionBody,
    clerk: PayClerk,
    inquiries: UseCases,
    writer: RequestWriter,
    expected: ExpectedVersion,
) -> Answered[InquiryAnswer]:
    """Not by whoever's pay it is about."""
    return await _step(
        writer,
        inquiries,
        clerk.tenant_id,
        lambda tx: inquiries.resolve(tx, clerk.tenant_id, inquiry_id, expected, body.resolution(), clerk.actor),
    )


@router.post(
    "/{inquiry_id}/withdraw", summary="Take back an inquiry of one's own", responses=responses(*_STEP, NotTheAuthor)
)
async def withdraw_inquiry(
    inquiry_id: UUID,
    caller: CurrentCaller,
    inquiries: UseCases,
    writer: RequestWriter,
    expected: ExpectedVersion,
) -> Answered[InquiryAnswer]:
    """For whoever raised it, until it has ended."""
    return await _step(
        writer,
        inquiries,
        caller.tenant_id,
        caller.seeing(
            lambda tx, sight: inquiries.withdraw(
                tx, caller.tenant_id, inquiry_id, expected, actor=caller.actor, sight=sight
            )
        ),
    )


@router.post(
    "/{inquiry_id}/reopen",
    summary="Say why an answer does not settle it",
    responses=responses(InquiryNotFound, InquiryNotEnded, VersionMismatch, PreconditionRequired),
)
async def reopen_inquiry(
    inquiry_id: UUID,
    body: InquiryMessageBody,
    caller: CurrentCaller,
    inquiries: UseCases,
    writer: RequestWriter,
    expected: ExpectedVersion,
) -> Answered[InquiryAnswer]:
    """For everybody who sees the inquiry. It is due in seven days."""
    return await _step(
        writer,
        inquiries,
        caller.tenant_id,
        caller.seeing(
            lambda tx, sight: inquiries.reopen(
                tx, caller.tenant_id, inquiry_id, expected, body.text, actor=caller.actor, sight=sight
            )
        ),
    )


async def _step(
    writer: Writer, inquiries: Inquiries, tenant_id: UUID, step: Callable[[Transaction], Awaitable[Inquiry]]
) -> Answered[InquiryAnswer]:
    """Take a step of an inquiry, and answer with how it is now."""

    async def taken(tx: Transaction) -> InquiryAnswer:
        return InquiryAnswer.of(await step(tx), await inquiries.today(tx, tenant_id))

    return await writer.commit(taken)
