"""Moves over HTTP."""

from typing import Annotated, Final
from uuid import UUID

from fastapi import APIRouter, Depends, Query

from services.goals.moves.domain.move import (
    MoveEnded,
    MoveFilter,
    MoveKind,
    MoveNotFound,
    MoveOutdated,
    MoveOutOfReach,
    MoveRefused,
    MoveState,
)
from services.goals.moves.schemas import MoveAnswer, MoveBody, MoveDecisionBody
from services.goals.moves.service import Moves
from services.goals.org.domain import MembershipOverlaps, UnknownPerson, UnknownTeam
from services.goals.targets.domain import CheckFailed, GoalOutOfReach, WeightsNotWhole
from shared.http.etag import Answered, ConditionalRead, ExpectedVersion
from shared.http.paging import Cursor, Page, Paging
from shared.http.problems import PreconditionRequired, responses
from shared.http.sight import CurrentCaller
from shared.http.wiring import handed
from shared.http.writer import RequestWriter
from shared.kernel.approvals import ApprovalNotIndependent, OwnInterest
from shared.kernel.errors import VersionMismatch

router = APIRouter(prefix="/v1/moves", tags=["moves"])

UseCases = Annotated[Moves, Depends(handed(Moves))]
_IDS: Final = Cursor(UUID)
_REFUSED: Final = (MoveRefused, MembershipOverlaps, MoveOutOfReach)
_DECISION: Final = (MoveNotFound, MoveEnded, OwnInterest, VersionMismatch, PreconditionRequired)


@router.get("", summary="List moves")
async def list_moves(
    caller: CurrentCaller,
    moves: UseCases,
    paging: Paging,
    person_id: Annotated[UUID | None, Query(description="Only moves of this person.")] = None,
    kind: Annotated[MoveKind | None, Query(description="Only moves of this kind.")] = None,
    state: Annotated[MoveState | None, Query(description="Only moves in this state.")] = None,
) -> Page[MoveAnswer]:
    """Those of which everybody and every team concerned is in sight, the oldest first.

    A draft that somebody else made of the caller's own move is not shown.
    """
    async with caller.reading() as (tx, sight):
        found = await moves.list_moves(
            tx,
            caller.tenant_id,
            sight,
            MoveFilter(person_id, kind, state),
            after=_IDS.after(paging),
            limit=paging.fetch_limit,
        )
    return _IDS.page(paging, found, key=lambda move: move.id, item=MoveAnswer.of)


@router.post(
    "",
    summary="Draft a move and see what it would do",
    status_code=201,
    responses=responses(UnknownPerson, UnknownTeam, *_REFUSED),
)
async def create_move(
    body: MoveBody, caller: CurrentCaller, moves: UseCases, writer: RequestWriter
) -> Answered[MoveAnswer]:
    """Nothing changes before somebody else applies it.

    What is handed on goes to the successor's goal that is the same but for its target, else to a new one for the days
    that are handed on; it and what is kept come to the target there was. A goal of which nothing is left is cancelled.

    RevOps drafts moves of everybody, a manager those within its subtree.
    """
    terms = body.terms()
    return await writer.commit(
        caller.seeing(
            lambda tx, sight: moves.create_move(
                tx, caller.tenant_id, terms, reason=body.reason, actor=caller.actor, sight=sight
            )
        ),
        MoveAnswer.of,
        status=201,
        location=lambda move: f"/v1/moves/{move.id}",
    )


@router.get("/{move_id}", summary="A move and what it does", responses=responses(MoveNotFound))
async def get_move(
    move_id: UUID, caller: CurrentCaller, moves: UseCases, read: ConditionalRead
) -> Answered[MoveAnswer]:
    async with caller.reading() as (tx, sight):
        answer = MoveAnswer.of(await moves.get_move(tx, caller.tenant_id, move_id, sight))
    return read.answer(answer)


@router.post(
    "/{move_id}/apply",
    summary="Approve a move and do it",
    responses=responses(
        MoveOutdated, GoalOutOfReach, WeightsNotWhole, CheckFailed, ApprovalNotIndependent, *_REFUSED, *_DECISION
    ),
)
async def apply_move(
    move_id: UUID,
    body: MoveDecisionBody,
    caller: CurrentCaller,
    moves: UseCases,
    writer: RequestWriter,
    expected: ExpectedVersion,
) -> Answered[MoveAnswer]:
    """All of what was shown, or nothing: where memberships or goals have changed since, it is drafted anew.

    RevOps decides everywhere, a manager in its subtree; nobody on what they drafted, on a move of their own or to
    themselves, or into or out of a team they manage.
    """
    return await writer.commit(
        caller.seeing(
            lambda tx, sight: moves.apply_move(
                tx, caller.tenant_id, move_id, expected, reason=body.reason, actor=caller.actor, sight=sight
            )
        ),
        MoveAnswer.of,
    )


@router.post(
    "/{move_id}/cancel",
    summary="Take back or refuse a draft of a move",
    responses=responses(MoveOutOfReach, *_DECISION),
)
async def cancel_move(
    move_id: UUID,
    body: MoveDecisionBody,
    caller: CurrentCaller,
    moves: UseCases,
    writer: RequestWriter,
    expected: ExpectedVersion,
) -> Answered[MoveAnswer]:
    """For whoever drafted it, or who decides on it."""
    return await writer.commit(
        caller.seeing(
            lambda tx, sight: moves.cancel_move(
                tx, caller.tenant_id, move_id, expected, reason=body.reason, actor=caller.actor, sight=sight
            )
        ),
        MoveAnswer.of,
    )
