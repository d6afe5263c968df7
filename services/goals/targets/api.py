"""Goals over HTTP."""

from datetime import date
from functools import partial
from typing import Annotated, Final
from uuid import UUID

from fastapi import APIRouter, Depends, Query
from pydantic import conint

from services.goals.jobs.schemas import JobAnswer
from services.goals.org.domain import UnknownPerson, UnknownTeam
from services.goals.targets.activation import Activation
from services.goals.targets.domain import (
    CheckFailed,
    CheckUnacknowledged,
    Goal,
    GoalCircle,
    GoalEnded,
    GoalFilter,
    GoalNotActive,
    GoalNotDraft,
    GoalNotFound,
    GoalOutOfReach,
    GoalTermsRefused,
    NotAPart,
    Status,
    UnknownParent,
    UnknownTemplate,
    WeightsNotWhole,
)
from services.goals.targets.schemas import (
    ActivationBody,
    GoalAnswer,
    GoalBody,
    GoalChanges,
    GoalsAnswer,
    GoalsBody,
    RevisionAnswer,
    RevisionBody,
    ReweighingBody,
    changed_terms,
    template_ids,
)
from services.goals.targets.service import GoalChange, Goals, TemplateSource, Verb
from shared.db.database import Transaction
from shared.http.audit import AuditedWriter, AuditTrail, ChangeAnswer, after_change, page_of_changes
from shared.http.etag import Answered, ConditionalRead, ExpectedVersion
from shared.http.paging import Cursor, Page, Paging
from shared.http.problems import PreconditionRequired, responses
from shared.http.sight import CurrentCaller, Editor
from shared.http.wiring import handed
from shared.kernel.approvals import ApprovalNotIndependent, OwnInterest
from shared.kernel.errors import ItemsRefused, Refusals, VersionMismatch
from shared.outbox.trail import ChangeFilter

router = APIRouter(prefix="/v1/goals", tags=["goals"])

UseCases = Annotated[Goals, Depends(handed(Goals))]
Templates = Annotated[TemplateSource, Depends(handed(TemplateSource))]
ActivationUseCases = Annotated[Activation, Depends(handed(Activation))]
_IDS: Final = Cursor(UUID)
_REVISIONS: Final = Cursor(conint(ge=1, le=2**31 - 1))
_CHANGE: Final = (GoalNotFound, VersionMismatch, PreconditionRequired)
_REFERENCES: Final = (UnknownPerson, UnknownTeam, UnknownParent)
_DECISION: Final = (GoalOutOfReach, OwnInterest, ApprovalNotIndependent)


@router.get("", summary="List goals")
async def list_goals(
    caller: CurrentCaller,
    goals: UseCases,
    paging: Paging,
    status: Annotated[Status | None, Query(description="Only goals in this state.")] = None,
    owner_id: Annotated[UUID | None, Query(description="Only goals of this person or team.")] = None,
    parent_id: Annotated[UUID | None, Query(description="Only the parts of this goal.")] = None,
    on: Annotated[date | None, Query(description="Only goals whose period contains this day.")] = None,
) -> Page[GoalAnswer]:
    """A rep sees its own goals; a manager those of its teams and of whoever is in its subtree today."""
    async with caller.reading() as (tx, sight):
        found = await goals.list_goals(
            tx,
            caller.tenant_id,
            sight,
            GoalFilter(status, owner_id, parent_id, on),
            after=_IDS.after(paging),
            limit=paging.fetch_limit,
        )
    return _IDS.page(paging, found, key=lambda goal: goal.id, item=GoalAnswer.of)


@router.post(
    "", summary="Draft a goal", status_code=201, responses=responses(GoalOutOfReach, UnknownTemplate, *_REFERENCES)
)
async def create_goal(
    body: GoalBody, caller: CurrentCaller, goals: UseCases, templates: Templates, writer: AuditedWriter
) -> Answered[GoalAnswer]:
    """It counts nothing before it is activated. A template fills what is left out of what it has.

    Everybody drafts goals of their own, a manager those of its subtree, RevOps all.
    """

    async def create(tx: Transaction) -> Goal:
        filling = await templates.filling(tx, caller.tenant_id, template_ids([body]))
        terms_of = partial(body.terms, filling=filling)
        return await goals.create_goal(tx, caller.tenant_id, terms_of, await caller.sight(tx))

    return await writer.commit(create, GoalAnswer.of, status=201, location=lambda goal: f"/v1/goals/{goal.id}")


@router.post(
    "/bulk",
    summary="Draft, edit, activate, revise, close and cancel many",
    responses=responses(ItemsRefused, WeightsNotWhole),
)
async def put_goals(
    body: GoalsBody, caller: CurrentCaller, goals: UseCases, templates: Templates, writer: AuditedWriter
) -> Answered[GoalsAnswer]:
    """Up to 1,000 of each; all of it happens or nothing, and what is wrong is told of each."""
    changes = [
        *(
            GoalChange(
                f"/change/{index}", Verb.CHANGE, each["id"], each["version"], partial(changed_terms, changes=each)
            )
            for index, each in enumerate(body.change)
        ),
        *(
            GoalChange(
                f"/revise/{index}",
                Verb.REVISE,
                each["id"],
                each["version"],
                partial(changed_terms, changes=each),
                each["reason"],
                (caller.actor,),
            )
            for index, each in enumerate(body.revise)
        ),
        *(
            GoalChange(f"/{verb.value}/{index}", verb, each["id"], each["version"])
            for verb, items in (
                (Verb.ACTIVATE, body.activate),
                (Verb.CLOSE, body.close),
                (Verb.CANCEL, body.cancel),
            )
            for index, each in enumerate(items)
        ),
    ]

    async def put(tx: Transaction) -> GoalsAnswer:
        refusals, seen = Refusals(), await caller.sight(tx)
        filling = await templates.filling(tx, caller.tenant_id, template_ids(body.create))
        created = [(f"/create/{index}", partial(each.terms, filling=filling)) for index, each in enumerate(body.create)]
        new = await goals.create_goals(tx, caller.tenant_id, created, refusals, seen)
        changed = await goals.change_goals(tx, caller.tenant_id, changes, refusals, actor=caller.actor, sight=seen)
        return GoalsAnswer(
            created=[GoalAnswer.of(each) for each in new], changed=[GoalAnswer.of(each) for each in changed]
        )

    return await writer.commit(put)


@router.post("/activations", summary="Let all drafts of a filter count, as a job", status_code=202)
async def request_activation(
    body: ActivationBody, editor: Editor, activation: ActivationUseCases, writer: AuditedWriter
) -> Answered[JobAnswer]:
    """Drafts that cannot be activated, as those of the caller's own, stay drafts, and are listed by the job.

    Goals that are made of their parts come last, each once the weights of its parts that count come to 1.
    """
    return await writer.commit(
        lambda tx: activation.request_activation(tx, editor.tenant_id, body.wanted()),
        JobAnswer.of,
        status=202,
        location=lambda job: f"/v1/jobs/{job.id}",
    )


@router.get("/{goal_id}", summary="A goal", responses=responses(GoalNotFound))
async def get_goal(
    goal_id: UUID, caller: CurrentCaller, goals: UseCases, read: ConditionalRead
) -> Answered[GoalAnswer]:
    async with caller.reading() as (tx, sight):
        answer = GoalAnswer.of(await goals.get_goal(tx, caller.tenant_id, goal_id, sight))
    return read.answer(answer)


@router.get("/{goal_id}/revisions", summary="The terms a goal has had", responses=responses(GoalNotFound))
async def list_goal_revisions(
    goal_id: UUID, caller: CurrentCaller, goals: UseCases, paging: Paging
) -> Page[RevisionAnswer]:
    """The newest first. A goal that was never active has none."""
    async with caller.reading() as (tx, sight):
        found = await goals.list_revisions(
            tx, caller.tenant_id, goal_id, sight, after=_REVISIONS.after(paging), limit=paging.fetch_limit
        )
    return _REVISIONS.page(paging, found, key=lambda revision: revision.revision, item=RevisionAnswer.of)


@router.get("/{goal_id}/changes", summary="Who changed a goal, and why", responses=responses(GoalNotFound))
async def list_goal_changes(
    goal_id: UUID, caller: CurrentCaller, goals: UseCases, trail: AuditTrail, paging: Paging
) -> Page[ChangeAnswer]:
    """The newest first, for everyone who sees the goal."""
    async with caller.reading() as (tx, sight):
        goal = await goals.get_goal(tx, caller.tenant_id, goal_id, sight)
        wanted = ChangeFilter(subject=f"goal/{goal.id}")
        found = await trail.list_changes(
            tx, caller.tenant_id, wanted, after=after_change(paging), limit=paging.fetch_limit
        )
    return page_of_changes(paging, found)


@router.patch(
    "/{goal_id}",
    summary="Edit a draft",
    responses=responses(GoalNotDraft, GoalCircle, GoalOutOfReach, *_REFERENCES, *_CHANGE),
)
async def change_goal(
    goal_id: UUID,
    body: GoalChanges,
    caller: CurrentCaller,
    goals: UseCases,
    writer: AuditedWriter,
    expected: ExpectedVersion,
) -> Answered[GoalAnswer]:
    """An active goal is revised instead. Who may draft a goal may edit the draft."""

    async def change(tx: Transaction) -> Goal:
        change_of = partial(changed_terms, changes=body)
        return await goals.change_goal(tx, caller.tenant_id, goal_id, expected, change_of, await caller.sight(tx))

    return await writer.commit(change, GoalAnswer.of)


@router.post(
    "/{goal_id}/activate",
    summary="Approve a draft and let it count",
    responses=responses(
        GoalNotDraft,
        GoalTermsRefused,
        WeightsNotWhole,
        CheckFailed,
        CheckUnacknowledged,
        *_DECISION,
        *_REFERENCES,
        *_CHANGE,
    ),
)
async def activate_goal(
    goal_id: UUID, caller: CurrentCaller, goals: UseCases, writer: AuditedWriter, expected: ExpectedVersion
) -> Answered[GoalAnswer]:
    """Deals of its period that are known already count too. Of a goal that is made of its parts these
    count first: the weights of those that do come to 1. It is held to the checks of `GET /v1/goals/{id}/smart`: what
    fails has to be changed, and what warns is acknowledged there, or here by a `reason`.

    RevOps decides everywhere, a manager in its subtree; nobody on a goal that measures them or that they wrote a part
    of.
    """
    return await writer.commit(
        caller.seeing(
            lambda tx, sight: goals.activate_goal(
                tx, caller.tenant_id, goal_id, expected, actor=caller.actor, sight=sight
            )
        ),
        GoalAnswer.of,
    )


@router.post(
    "/{goal_id}/revise",
    summary="Give an active goal other terms",
    responses=responses(
        GoalNotActive, GoalTermsRefused, GoalCircle, WeightsNotWhole, *_DECISION, *_REFERENCES, *_CHANGE
    ),
)
async def revise_goal(
    goal_id: UUID,
    body: RevisionBody,
    caller: CurrentCaller,
    goals: UseCases,
    writer: AuditedWriter,
    expected: ExpectedVersion,
) -> Answered[GoalAnswer]:
    """The new terms are in force for the whole period; the old ones stay on record, with the reason.

    For a service whose change was approved elsewhere. A person proposes the change, and another one approves it.
    """
    return await writer.commit(
        caller.seeing(
            lambda tx, sight: goals.revise_goal(
                tx,
                caller.tenant_id,
                goal_id,
                expected,
                partial(changed_terms, changes=body),
                reason=body["reason"],
                authors=(caller.actor,),
                actor=caller.actor,
                sight=sight,
            )
        ),
        GoalAnswer.of,
    )


@router.post(
    "/{goal_id}/reweigh",
    summary="Give the parts of a goal other weights",
    responses=responses(NotAPart, GoalNotActive, GoalTermsRefused, WeightsNotWhole, *_DECISION, *_CHANGE),
)
async def reweigh_goal_parts(
    goal_id: UUID,
    body: ReweighingBody,
    caller: CurrentCaller,
    goals: UseCases,
    writer: AuditedWriter,
    expected: ExpectedVersion,
) -> Answered[GoalAnswer]:
    """All at once or none, as the weights of a goal that counts always come to 1; each part gets a revision.

    A part joins a goal that counts with the weight 0, and leaves it with that. For whoever decides on the goal.
    """
    weights = [each.new_weight() for each in body.weights]
    return await writer.commit(
        caller.seeing(
            lambda tx, sight: goals.reweigh_parts(
                tx, caller.tenant_id, goal_id, expected, weights, reason=body.reason, actor=caller.actor, sight=sight
            )
        ),
        GoalAnswer.of,
    )


@router.post("/{goal_id}/close", summary="End an active goal", responses=responses(GoalNotActive, *_DECISION, *_CHANGE))
async def close_goal(
    goal_id: UUID, caller: CurrentCaller, goals: UseCases, writer: AuditedWriter, expected: ExpectedVersion
) -> Answered[GoalAnswer]:
    """Its progress still follows late corrections of the deals that count."""
    return await writer.commit(
        caller.seeing(
            lambda tx, sight: goals.close_goal(tx, caller.tenant_id, goal_id, expected, actor=caller.actor, sight=sight)
        ),
        GoalAnswer.of,
    )


@router.post(
    "/{goal_id}/cancel",
    summary="Let a goal count nothing any more",
    responses=responses(GoalEnded, WeightsNotWhole, *_DECISION, *_CHANGE),
)
async def cancel_goal(
    goal_id: UUID, caller: CurrentCaller, goals: UseCases, writer: AuditedWriter, expected: ExpectedVersion
) -> Answered[GoalAnswer]:
    """For a draft that is not wanted, or an active goal that was a mistake."""
    return await writer.commit(
        caller.seeing(
            lambda tx, sight: goals.cancel_goal(
                tx, caller.tenant_id, goal_id, expected, actor=caller.actor, sight=sight
            )
        ),
        GoalAnswer.of,
    )
