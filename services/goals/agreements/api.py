"""Proposals and comments over HTTP."""

from collections.abc import Mapping
from functools import partial
from typing import Annotated, Final
from uuid import UUID

from fastapi import APIRouter, Depends, Query

from services.goals.agreements.domain import (
    NotTheAuthor,
    ProposalDecided,
    ProposalNotFound,
    ProposalOutdated,
    ProposalState,
)
from services.goals.agreements.schemas import (
    ApprovalBody,
    CommentAnswer,
    CommentBody,
    GoalProposalAnswer,
    RejectionBody,
    read_changes,
    stored_changes,
)
from services.goals.agreements.service import Agreements
from services.goals.org.domain import UnknownPerson, UnknownTeam
from services.goals.targets.domain import (
    GoalCircle,
    GoalNotActive,
    GoalNotFound,
    GoalOutOfReach,
    GoalTermsRefused,
    UnknownParent,
)
from services.goals.targets.schemas import RevisionBody, changed_terms
from services.goals.targets.service import ChangeOf
from shared.http.etag import Answered, ExpectedVersion
from shared.http.paging import Cursor, Page, Paging
from shared.http.problems import PreconditionRequired, responses
from shared.http.sight import CurrentCaller
from shared.http.wiring import handed
from shared.http.writer import RequestWriter
from shared.kernel.approvals import ApprovalNotIndependent, OwnInterest
from shared.kernel.errors import VersionMismatch

router = APIRouter(prefix="/v1/goals", tags=["agreements"])

UseCases = Annotated[Agreements, Depends(handed(Agreements))]
_IDS: Final = Cursor(UUID)
_TERMS: Final = (GoalNotActive, GoalTermsRefused, GoalCircle, UnknownPerson, UnknownTeam, UnknownParent)
_DECISION: Final = (
    GoalNotFound,
    ProposalNotFound,
    ProposalDecided,
    GoalOutOfReach,
    OwnInterest,
    VersionMismatch,
    PreconditionRequired,
)


@router.get("/proposals", summary="What is proposed for goals in force")
async def list_goal_proposals(
    caller: CurrentCaller,
    agreements: UseCases,
    paging: Paging,
    goal_id: Annotated[UUID | None, Query(description="Only proposals for this goal.")] = None,
    state: Annotated[ProposalState | None, Query(description="Only proposals in this state.")] = None,
) -> Page[GoalProposalAnswer]:
    """For goals in sight, the oldest first."""
    async with caller.reading() as (tx, sight):
        found = await agreements.list_proposals(
            tx,
            caller.tenant_id,
            sight,
            goal_id=goal_id,
            state=state,
            after=_IDS.after(paging),
            limit=paging.fetch_limit,
        )
    return _IDS.page(paging, found, key=lambda proposal: proposal.id, item=GoalProposalAnswer.of)


@router.post(
    "/{goal_id}/proposals",
    summary="Propose other terms for an active goal",
    status_code=201,
    responses=responses(GoalNotFound, GoalOutOfReach, *_TERMS),
)
async def propose_goal_terms(
    goal_id: UUID, body: RevisionBody, caller: CurrentCaller, agreements: UseCases, writer: RequestWriter
) -> Answered[GoalProposalAnswer]:
    """Nothing changes before somebody else approves it. Everybody proposes for goals of their own, a manager for those
    of its subtree, RevOps for all.
    """
    return await writer.commit(
        caller.seeing(
            lambda tx, sight: agreements.propose(
                tx,
                caller.tenant_id,
                goal_id,
                stored_changes(body),
                partial(changed_terms, changes=body),
                reason=body["reason"],
                actor=caller.actor,
                sight=sight,
            )
        ),
        GoalProposalAnswer.of,
        status=201,
    )


@router.post(
    "/{goal_id}/proposals/{proposal_id}/approve",
    summary="Give a goal the terms that were proposed",
    responses=responses(ProposalOutdated, ApprovalNotIndependent, *_TERMS, *_DECISION),
)
async def approve_goal_proposal(
    goal_id: UUID,
    proposal_id: UUID,
    body: ApprovalBody,
    caller: CurrentCaller,
    agreements: UseCases,
    writer: RequestWriter,
    expected: ExpectedVersion,
) -> Answered[GoalProposalAnswer]:
    """The goal gets its next revision. A manager decides in its subtree, RevOps everywhere; nobody on what they
    proposed, or on a goal that measures them.
    """
    return await writer.commit(
        caller.seeing(
            lambda tx, sight: agreements.approve(
                tx,
                caller.tenant_id,
                goal_id,
                proposal_id,
                expected,
                _change_of,
                reason=body.reason,
                actor=caller.actor,
                sight=sight,
            )
        ),
        GoalProposalAnswer.of,
    )


@router.post("/{goal_id}/proposals/{proposal_id}/reject", summary="Decline a proposal", responses=responses(*_DECISION))
async def reject_goal_proposal(
    goal_id: UUID,
    proposal_id: UUID,
    body: RejectionBody,
    caller: CurrentCaller,
    agreements: UseCases,
    writer: RequestWriter,
    expected: ExpectedVersion,
) -> Answered[GoalProposalAnswer]:
    """The goal stays as it is. For whoever decides on the goal."""
    return await writer.commit(
        caller.seeing(
            lambda tx, sight: agreements.reject(
                tx,
                caller.tenant_id,
                goal_id,
                proposal_id,
                expected,
                reason=body.reason,
                actor=caller.actor,
                sight=sight,
            )
        ),
        GoalProposalAnswer.of,
    )


@router.post(
    "/{goal_id}/proposals/{proposal_id}/withdraw",
    summary="Take back a proposal of one's own",
    responses=responses(
        GoalNotFound, ProposalNotFound, ProposalDecided, NotTheAuthor, VersionMismatch, PreconditionRequired
    ),
)
async def withdraw_goal_proposal(
    goal_id: UUID,
    proposal_id: UUID,
    caller: CurrentCaller,
    agreements: UseCases,
    writer: RequestWriter,
    expected: ExpectedVersion,
) -> Answered[GoalProposalAnswer]:
    """For whoever made it, until somebody has decided."""
    return await writer.commit(
        caller.seeing(
            lambda tx, sight: agreements.withdraw(
                tx, caller.tenant_id, goal_id, proposal_id, expected, actor=caller.actor, sight=sight
            )
        ),
        GoalProposalAnswer.of,
    )


@router.post("/{goal_id}/comments", summary="Comment on a goal", status_code=201, responses=responses(GoalNotFound))
async def create_goal_comment(
    goal_id: UUID, body: CommentBody, caller: CurrentCaller, agreements: UseCases, writer: RequestWriter
) -> Answered[CommentAnswer]:
    """For everybody who sees the goal. A comment stays as it was written."""
    return await writer.commit(
        caller.seeing(
            lambda tx, sight: agreements.comment(
                tx, caller.tenant_id, goal_id, body.text, actor=caller.actor, sight=sight
            )
        ),
        CommentAnswer.of,
        status=201,
    )


@router.get("/{goal_id}/comments", summary="What was written about a goal", responses=responses(GoalNotFound))
async def list_goal_comments(
    goal_id: UUID, caller: CurrentCaller, agreements: UseCases, paging: Paging
) -> Page[CommentAnswer]:
    """The oldest first."""
    async with caller.reading() as (tx, sight):
        found = await agreements.list_comments(
            tx, caller.tenant_id, goal_id, sight, after=_IDS.after(paging), limit=paging.fetch_limit
        )
    return _IDS.page(paging, found, key=lambda comment: comment.id, item=CommentAnswer.of)


def _change_of(stored: Mapping[str, object]) -> ChangeOf:
    return partial(changed_terms, changes=read_changes(stored))
