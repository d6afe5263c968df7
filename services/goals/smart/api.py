"""SMART checks over HTTP."""

from typing import Annotated, Final
from uuid import UUID

from fastapi import APIRouter, Depends

from services.goals.smart.schemas import AcknowledgementAnswer, AcknowledgementBody, SmartAnswer
from services.goals.smart.service import Smart
from services.goals.targets.domain import GoalNotDraft, GoalNotFound, GoalOutOfReach
from shared.http.etag import Answered, ExpectedVersion
from shared.http.paging import Cursor, Page, Paging
from shared.http.problems import PreconditionRequired, responses
from shared.http.sight import CurrentCaller
from shared.http.wiring import handed
from shared.http.writer import RequestWriter
from shared.kernel.approvals import OwnInterest
from shared.kernel.errors import VersionMismatch

router = APIRouter(prefix="/v1/goals/{goal_id}/smart", tags=["SMART checks"])

UseCases = Annotated[Smart, Depends(handed(Smart))]
_IDS: Final = Cursor(UUID)


@router.get("", summary="Whether a goal is SMART", responses=responses(GoalNotFound))
async def get_smart_checks(goal_id: UUID, caller: CurrentCaller, smart: UseCases) -> SmartAnswer:
    """Specific, measurable, achievable, relevant and time-bound, as of now: what fails, what warns, what would pass.

    Everybody who sees the goal sees them.
    """
    async with caller.reading() as (tx, sight):
        assessment = await smart.get_assessment(tx, caller.tenant_id, goal_id, sight, caller.actor)
    return SmartAnswer.of(assessment)


@router.post(
    "/acknowledge",
    summary="Acknowledge what warns of a draft",
    responses=responses(GoalNotFound, GoalNotDraft, GoalOutOfReach, OwnInterest, VersionMismatch, PreconditionRequired),
)
async def acknowledge_smart_checks(
    goal_id: UUID,
    body: AcknowledgementBody,
    caller: CurrentCaller,
    smart: UseCases,
    writer: RequestWriter,
    expected: ExpectedVersion,
) -> Answered[SmartAnswer]:
    """For whoever decides on the goal, of the version in If-Match; an edit of the draft needs it again."""
    return await writer.commit(
        caller.seeing(
            lambda tx, sight: smart.acknowledge(
                tx, caller.tenant_id, goal_id, expected, body.checks, body.reason, actor=caller.actor, sight=sight
            )
        ),
        SmartAnswer.of,
    )


@router.get("/acknowledgements", summary="What was acknowledged of a goal", responses=responses(GoalNotFound))
async def list_smart_acknowledgements(
    goal_id: UUID, caller: CurrentCaller, smart: UseCases, paging: Paging
) -> Page[AcknowledgementAnswer]:
    """Of every version of it, the oldest first; what a service activated was acknowledged by it."""
    async with caller.reading() as (tx, sight):
        found = await smart.list_acknowledgements(
            tx, caller.tenant_id, goal_id, sight, after=_IDS.after(paging), limit=paging.fetch_limit
        )
    return _IDS.page(paging, found, key=lambda each: each.id, item=AcknowledgementAnswer.of)
