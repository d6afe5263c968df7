"""Manual adjustments over HTTP."""

from typing import Annotated, Final
from uuid import UUID

from fastapi import APIRouter, Depends, Query

from services.incentives.credits.domain.credit import PersonNotInSight
from services.incentives.payouts.adjusting import Adjustments
from services.incentives.payouts.adjustment_schemas import AdjustmentAnswer, AdjustmentBody, AdjustmentDecisionBody
from services.incentives.payouts.api import Payer, Preparer
from services.incentives.payouts.domain.adjustments import (
    AdjustmentDecided,
    AdjustmentNotFound,
    AdjustmentStatus,
    NotTheProposer,
)
from services.incentives.plans.domain.versions import PlanNotFound
from shared.http.etag import Answered, ConditionalRead, ExpectedVersion
from shared.http.paging import Cursor, Page, Paging
from shared.http.problems import PreconditionRequired, responses
from shared.http.sight import CurrentCaller
from shared.http.wiring import handed
from shared.http.writer import RequestWriter
from shared.kernel.approvals import ApprovalNotIndependent, Decision, OwnInterest
from shared.kernel.errors import VersionMismatch

router = APIRouter(prefix="/v1/adjustments", tags=["adjustments"])

UseCases = Annotated[Adjustments, Depends(handed(Adjustments))]
_IDS: Final = Cursor(UUID)
_STEP: Final = (AdjustmentNotFound, AdjustmentDecided, VersionMismatch, PreconditionRequired)


@router.get("", summary="List adjustments")
async def list_adjustments(
    caller: CurrentCaller,
    adjustments: UseCases,
    paging: Paging,
    person_id: Annotated[UUID | None, Query(description="Only of this person's pay.")] = None,
    status: Annotated[AdjustmentStatus | None, Query(description="Only those in this state.")] = None,
) -> Page[AdjustmentAnswer]:
    """The oldest first. A rep sees those of its own pay, a manager those of its subtree."""
    async with caller.reading() as (tx, sight):
        found = await adjustments.list_adjustments(
            tx,
            caller.tenant_id,
            sight,
            person_id=person_id,
            status=status,
            after=_IDS.after(paging),
            limit=paging.fetch_limit,
        )
    return _IDS.page(paging, found, key=lambda each: each.id, item=AdjustmentAnswer.of)


@router.post(
    "",
    summary="Propose to pay somebody more or less",
    status_code=201,
    responses=responses(PlanNotFound, PersonNotInSight, OwnInterest),
)
async def create_adjustment(
    body: AdjustmentBody, preparer: Preparer, adjustments: UseCases, writer: RequestWriter
) -> Answered[AdjustmentAnswer]:
    """Not for oneself. Nothing is posted before somebody else approves it."""
    return await writer.because(body.reason).commit(
        lambda tx: adjustments.propose(
            tx,
            preparer.tenant_id,
            body.person_id,
            body.plan_id,
            body.amount,
            body.reason,
            actor=preparer.actor,
        ),
        AdjustmentAnswer.of,
        status=201,
        location=lambda each: f"/v1/adjustments/{each.id}",
    )


@router.get("/{adjustment_id}", summary="Read an adjustment", responses=responses(AdjustmentNotFound))
async def get_adjustment(
    adjustment_id: UUID, caller: CurrentCaller, adjustments: UseCases, read: ConditionalRead
) -> Answered[AdjustmentAnswer]:
    async with caller.reading() as (tx, sight):
        found = await adjustments.get_adjustment(tx, caller.tenant_id, adjustment_id, sight)
    return read.answer(AdjustmentAnswer.of(found))


@router.post(
    "/{adjustment_id}/approve",
    summary="Let an adjustment be paid",
    responses=responses(ApprovalNotIndependent, *_STEP),
)
async def approve_adjustment(
    adjustment_id: UUID,
    body: AdjustmentDecisionBody,
    payer: Payer,
    adjustments: UseCases,
    writer: RequestWriter,
    expected: ExpectedVersion,
) -> Answered[AdjustmentAnswer]:
    """By a person who did not propose it and is not paid by it. It is posted in today's pay period, or the first that
    still takes postings, and the next run pays it.
    """
    return await writer.commit(
        lambda tx: adjustments.approve(
            tx, payer.tenant_id, adjustment_id, expected, Decision(payer.actor, tx.now, body.reason)
        ),
        AdjustmentAnswer.of,
    )


@router.post("/{adjustment_id}/reject", summary="Decline an adjustment", responses=responses(OwnInterest, *_STEP))
async def reject_adjustment(
    adjustment_id: UUID,
    body: AdjustmentDecisionBody,
    payer: Payer,
    adjustments: UseCases,
    writer: RequestWriter,
    expected: ExpectedVersion,
) -> Answered[AdjustmentAnswer]:
    """Nothing is posted. Not by whoever's pay it is."""
    return await writer.commit(
        lambda tx: adjustments.reject(
            tx, payer.tenant_id, adjustment_id, expected, Decision(payer.actor, tx.now, body.reason)
        ),
        AdjustmentAnswer.of,
    )


@router.post(
    "/{adjustment_id}/withdraw", summary="Take back an adjustment", responses=responses(NotTheProposer, *_STEP)
)
async def withdraw_adjustment(
    adjustment_id: UUID,
    preparer: Preparer,
    adjustments: UseCases,
    writer: RequestWriter,
    expected: ExpectedVersion,
) -> Answered[AdjustmentAnswer]:
    """For whoever proposed it, until somebody has decided."""
    return await writer.commit(
        lambda tx: adjustments.withdraw(
            tx, preparer.tenant_id, adjustment_id, expected, Decision(preparer.actor, tx.now, None)
        ),
        AdjustmentAnswer.of,
    )
