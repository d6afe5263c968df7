"""Goals over HTTP."""

from datetime import date
from typing import Annotated, Final
from uuid import UUID

from fastapi import APIRouter, Depends, Query
from pydantic import conint

from services.goals.org.domain import UnknownPerson, UnknownTeam
from services.goals.targets.domain import (
    GoalCircle,
    GoalEnded,
    GoalFilter,
    GoalNotActive,
    GoalNotDraft,
    GoalNotFound,
    GoalTermsRefused,
    NotAPart,
    Status,
    UnknownParent,
    WeightsNotWhole,
)
from services.goals.targets.schemas import (
    GoalAnswer,
    GoalBody,
    GoalChanges,
    RevisionAnswer,
    RevisionBody,
    ReweighingBody,
    changed_terms,
)
from services.goals.targets.service import Goals
from shared.http.audit import AuditedWriter, AuditTrail, ChangeAnswer, after_change, page_of_changes
from shared.http.auth import CurrentPrincipal
from shared.http.etag import Answered, ConditionalRead, ExpectedVersion
from shared.http.paging import Cursor, Page, Paging
from shared.http.problems import PreconditionRequired, responses
from shared.http.reader import RequestReader
from shared.http.sight import CurrentSight, Editor
from shared.http.wiring import handed
from shared.http.writer import RequestWriter
from shared.kernel.approvals import OwnInterest
from shared.kernel.errors import VersionMismatch
from shared.outbox.trail import ChangeFilter

router = APIRouter(prefix="/v1/goals", tags=["goals"])

UseCases = Annotated[Goals, Depends(handed(Goals))]
_IDS: Final = Cursor(UUID)
_REVISIONS: Final = Cursor(conint(ge=1, le=2**31 - 1))
_CHANGE: Final = (GoalNotFound, VersionMismatch, PreconditionRequired)
_REFERENCES: Final = (UnknownPerson, UnknownTeam, UnknownParent)


@router.get("", summary="List goals")
async def list_goals(
    principal: CurrentPrincipal,
    sight: CurrentSight,
    goals: UseCases,
    reader: RequestReader,
    paging: Paging,
    status: Annotated[Status | None, Query(description="Only goals in this state.")] = None,
    owner_id: Annotated[UUID | None, Query(description="Only goals of this person or team.")] = None,
    parent_id: Annotated[UUID | None, Query(description="Only the parts of this goal.")] = None,
    on: Annotated[date | None, Query(description="Only goals whose period contains this day.")] = None,
) -> Page[GoalAnswer]:
    """A rep sees its own goals; a manager those of its teams and of whoever is in its subtree today."""
    async with reader.transaction() as tx:
        found = await goals.list_goals(
            tx,
            principal.tenant_id,
            await sight.today(tx),
            GoalFilter(status, owner_id, parent_id, on),
            after=_IDS.after(paging),
            limit=paging.fetch_limit,
        )
    return _IDS.page(paging, found, key=lambda goal: goal.id, item=GoalAnswer.of)


@router.post("", summary="Draft a goal", status_code=201, responses=responses(*_REFERENCES))
async def create_goal(body: GoalBody, editor: Editor, goals: UseCases, writer: AuditedWriter) -> Answered[GoalAnswer]:
    """It counts nothing before it is activated."""
    return await writer.commit(
        lambda tx: goals.create_goal(tx, editor.tenant_id, body.terms),
        GoalAnswer.of,
        status=201,
        location=lambda goal: f"/v1/goals/{goal.id}",
    )


@router.get("/{goal_id}", summary="A goal", responses=responses(GoalNotFound))
async def get_goal(
    goal_id: UUID,
    principal: CurrentPrincipal,
    sight: CurrentSight,
    goals: UseCases,
    reader: RequestReader,
    read: ConditionalRead,
) -> Answered[GoalAnswer]:
    async with reader.transaction() as tx:
        answer = GoalAnswer.of(await goals.get_goal(tx, principal.tenant_id, goal_id, await sight.today(tx)))
    return read.answer(answer)


@router.get("/{goal_id}/revisions", summary="The terms a goal has had", responses=responses(GoalNotFound))
async def list_goal_revisions(
    goal_id: UUID,
    principal: CurrentPrincipal,
    sight: CurrentSight,
    goals: UseCases,
    reader: RequestReader,
    paging: Paging,
) -> Page[RevisionAnswer]:
    """The newest first. A goal that was never active has none."""
    async with reader.transaction() as tx:
        found = await goals.list_revisions(
            tx,
            principal.tenant_id,
            goal_id,
            await sight.today(tx),
            after=_REVISIONS.after(paging),
            limit=paging.fetch_limit,
        )
    return _REVISIONS.page(paging, found, key=lambda revision: revision.revision, item=RevisionAnswer.of)


@router.get("/{goal_id}/changes", summary="Who changed a goal, and why", responses=responses(GoalNotFound))
async def list_goal_changes(
    goal_id: UUID,
    principal: CurrentPrincipal,
    sight: CurrentSight,
    goals: UseCases,
    trail: AuditTrail,
    reader: RequestReader,
    paging: Paging,
) -> Page[ChangeAnswer]:
    """The newest first, for everyone who sees the goal."""
    async with reader.transaction() as tx:
        goal = await goals.get_goal(tx, principal.tenant_id, goal_id, await sight.today(tx))
        wanted = ChangeFilter(subject=f"goal/{goal.id}")
        found = await trail.list_changes(
            tx, principal.tenant_id, wanted, after=after_change(paging), limit=paging.fetch_limit
        )
    return page_of_changes(paging, found)


@router.patch(
    "/{goal_id}", summary="Edit a draft", responses=responses(GoalNotDraft, GoalCircle, *_REFERENCES, *_CHANGE)
)
async def change_goal(
    goal_id: UUID, body: GoalChanges, editor: Editor, goals: UseCases, writer: AuditedWriter, expected: ExpectedVersion
) -> Answered[GoalAnswer]:
    """An active goal is revised instead."""
    return await writer.commit(
        lambda tx: goals.change_goal(
            tx, editor.tenant_id, goal_id, expected, lambda terms, calendar: changed_terms(terms, body, calendar)
        ),
        GoalAnswer.of,
    )


@router.post(
    "/{goal_id}/activate",
    summary="Let a draft count",
    responses=responses(GoalNotDraft, GoalTermsRefused, WeightsNotWhole, OwnInterest, *_REFERENCES, *_CHANGE),
)
async def activate_goal(
    goal_id: UUID, editor: Editor, goals: UseCases, writer: AuditedWriter, expected: ExpectedVersion
) -> Answered[GoalAnswer]:
    """Deals of its period that are known already count too. Nobody activates a goal of their own.

    Of a goal that is made of its parts these count first: the weights of those that do come to 1.
    """
    return await writer.commit(
        lambda tx: goals.activate_goal(tx, editor.tenant_id, goal_id, expected, actor=editor.actor), GoalAnswer.of
    )


@router.post(
    "/{goal_id}/revise",
    summary="Give an active goal other terms",
    responses=responses(
        GoalNotActive, GoalTermsRefused, GoalCircle, WeightsNotWhole, OwnInterest, *_REFERENCES, *_CHANGE
    ),
)
async def revise_goal(
    goal_id: UUID, body: RevisionBody, editor: Editor, goals: UseCases, writer: AuditedWriter, expected: ExpectedVersion
) -> Answered[GoalAnswer]:
    """The new terms are in force for the whole period; the old ones stay on record, with the reason.

    Nobody revises a goal of their own.
    """
    return await writer.commit(
        lambda tx: goals.revise_goal(
            tx,
            editor.tenant_id,
            goal_id,
            expected,
            lambda terms, calendar: changed_terms(terms, body, calendar),
            reason=body["reason"],
            actor=editor.actor,
        ),
        GoalAnswer.of,
    )


@router.post(
    "/{goal_id}/reweigh",
    summary="Give the parts of a goal other weights",
    responses=responses(NotAPart, GoalNotActive, GoalTermsRefused, WeightsNotWhole, OwnInterest, *_CHANGE),
)
async def reweigh_goal_parts(
    goal_id: UUID,
    body: ReweighingBody,
    editor: Editor,
    goals: UseCases,
    writer: RequestWriter,
    expected: ExpectedVersion,
) -> Answered[GoalAnswer]:
    """All at once or none, as the weights of a goal that counts always come to 1; each part gets a revision.

    A part joins a goal that counts with the weight 0, and leaves it with that. Nobody does this to a goal of their own.
    """
    weights = [each.new_weight() for each in body.weights]
    return await writer.commit(
        lambda tx: goals.reweigh_parts(
            tx, editor.tenant_id, goal_id, expected, weights, reason=body.reason, actor=editor.actor
        ),
        GoalAnswer.of,
    )


@router.post("/{goal_id}/close", summary="End an active goal", responses=responses(GoalNotActive, *_CHANGE))
async def close_goal(
    goal_id: UUID, editor: Editor, goals: UseCases, writer: AuditedWriter, expected: ExpectedVersion
) -> Answered[GoalAnswer]:
    """Its progress still follows late corrections of the deals that count."""
    return await writer.commit(lambda tx: goals.close_goal(tx, editor.tenant_id, goal_id, expected), GoalAnswer.of)


@router.post(
    "/{goal_id}/cancel",
    summary="Let a goal count nothing any more",
    responses=responses(GoalEnded, WeightsNotWhole, *_CHANGE),
)
async def cancel_goal(
    goal_id: UUID, editor: Editor, goals: UseCases, writer: AuditedWriter, expected: ExpectedVersion
) -> Answered[GoalAnswer]:
    """For a draft that is not wanted, or an active goal that was a mistake."""
    return await writer.commit(lambda tx: goals.cancel_goal(tx, editor.tenant_id, goal_id, expected), GoalAnswer.of)
