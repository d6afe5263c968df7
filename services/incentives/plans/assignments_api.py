"""Assignments over HTTP."""

from collections.abc import Sequence
from functools import partial
from typing import Annotated, Final
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Response
from pydantic import conint

from services.incentives.plans.assigning import Act, AssignmentRequest, Assignments
from services.incentives.plans.assignment_columns import (
    ASSIGNMENTS,
    ASSIGNMENTS_EXAMPLE,
    QUOTAS,
    QUOTAS_EXAMPLE,
    InvalidAssignmentsFile,
    created_of,
    requests_of,
)
from services.incentives.plans.assignment_schemas import (
    AssignmentAnswer,
    AssignmentBody,
    AssignmentChangeAnswer,
    AssignmentChanges,
    AssignmentsAnswer,
    AssignmentsBody,
    edited,
)
from services.incentives.plans.domain.assignments import (
    Assignment,
    AssignmentNotFound,
    AssignmentNotProposed,
    AssignmentOverlaps,
    AssignmentPaysApprover,
    AssignmentStatus,
)
from services.incentives.plans.domain.history import AssignmentChange
from services.incentives.plans.domain.versions import PlanNotFound
from services.incentives.plans.service import Plans
from shared.db.database import Transaction
from shared.http.audit import AuditedWriter
from shared.http.etag import Answered, ConditionalRead, ExpectedVersion
from shared.http.paging import Cursor, Page, Paging
from shared.http.problems import PreconditionRequired, responses
from shared.http.sight import Auditor, CurrentCaller, Editor
from shared.http.tables import Uploaded, described_upload
from shared.http.wiring import handed
from shared.kernel.approvals import ApprovalNotIndependent, OwnInterest
from shared.kernel.errors import ItemsRefused, Refusals, VersionMismatch

router = APIRouter(prefix="/v1", tags=["assignments"])

UseCases = Annotated[Assignments, Depends(handed(Assignments))]
KnowsPlans = Annotated[Plans, Depends(handed(Plans))]
_IDS: Final = Cursor(UUID)
_VERSIONS: Final = Cursor(conint(ge=1, le=2**31 - 1))
_CHANGE: Final = (VersionMismatch, PreconditionRequired)
_TERMS: Final = (AssignmentOverlaps, AssignmentPaysApprover)


@router.get("/assignments", summary="List assignments")
async def list_assignments(
    caller: CurrentCaller,
    assignments: UseCases,
    plans: KnowsPlans,
    paging: Paging,
    person_id: Annotated[UUID | None, Query(description="Only this person's.")] = None,
    plan_id: Annotated[UUID | None, Query(description="Only to this plan.")] = None,
    pending: Annotated[
        bool | None, Query(description="Only those of which something waits for an approval, or only the others.")
    ] = None,
) -> Page[AssignmentAnswer]:
    """A rep sees its own, a manager those of its subtree, both as they are in force."""
    async with caller.reading() as (tx, sight):
        found = await assignments.page(
            tx,
            caller.tenant_id,
            people=sight.narrowed(person_id),
            plan_id=plan_id,
            is_pending=pending,
            in_force=not sight.is_whole,
            after=_IDS.after(paging),
            limit=paging.fetch_limit,
        )
        answers = await _answers(plans, tx, caller.tenant_id, found, with_change=sight.is_whole)
    by_id = {answer.id: answer for answer in answers}
    return _IDS.page(paging, found, key=lambda each: each.id, item=lambda each: by_id[each.id])


@router.post(
    "/assignments",
    summary="Propose to put a person on a plan",
    status_code=201,
    responses=responses(PlanNotFound, OwnInterest, *_TERMS),
)
async def create_assignment(
    body: AssignmentBody, editor: Editor, assignments: UseCases, plans: KnowsPlans, writer: AuditedWriter
) -> Answered[AssignmentAnswer]:
    """It pays nothing until another person has approved it. Nobody puts themselves on a plan."""

    async def create(tx: Transaction) -> AssignmentAnswer:
        made = await assignments.create(tx, editor.tenant_id, body.made, editor.actor)
        return await _answer(plans, tx, editor.tenant_id, made)

    return await writer.commit(create, status=201, location=lambda made: f"/v1/assignments/{made.id}")


@router.post("/assignments/bulk", summary="Propose and approve many assignments", responses=responses(ItemsRefused))
async def put_assignments(
    body: AssignmentsBody, editor: Editor, assignments: UseCases, plans: KnowsPlans, writer: AuditedWriter
) -> Answered[AssignmentsAnswer]:
    """Up to 1,000 of each; all of it happens or nothing, and what is wrong is told of each.

    What is created, changed or deleted is proposed; what others proposed is approved.
    """

    async def put(tx: Transaction) -> AssignmentsAnswer:
        new, changed = await assignments.put(
            tx, editor.tenant_id, editor.actor, body.created(), body.requests(), Refusals()
        )
        present = [each for each in changed if not each.deleted]
        return AssignmentsAnswer(
            created=await _answers(plans, tx, editor.tenant_id, new),
            changed=await _answers(plans, tx, editor.tenant_id, present),
        )

    return await writer.commit(put)


@router.post(
    "/assignments/import",
    summary="Propose the assignments of a table",
    responses=responses(ItemsRefused, InvalidAssignmentsFile),
    openapi_extra=described_upload(ASSIGNMENTS, ASSIGNMENTS_EXAMPLE),
)
async def import_assignments(
    upload: Uploaded, editor: Editor, assignments: UseCases, plans: KnowsPlans, writer: AuditedWriter
) -> Answered[AssignmentsAnswer]:
    """One line for each quota, up to 5,000; those of the same person, plan and first day are one assignment.

    All are proposed or none: what is wrong is told of each line.
    """
    created = await upload.read(created_of)

    async def put(tx: Transaction) -> AssignmentsAnswer:
        new, _ = await assignments.put(tx, editor.tenant_id, editor.actor, created, [], Refusals())
        return AssignmentsAnswer(created=await _answers(plans, tx, editor.tenant_id, new), changed=[])

    return await writer.commit(put)


@router.post(
    "/assignments/quotas/import",
    summary="Propose the quotas of a table",
    responses=responses(ItemsRefused, InvalidAssignmentsFile),
    openapi_extra=described_upload(QUOTAS, QUOTAS_EXAMPLE),
)
async def import_quotas(
    upload: Uploaded, editor: Editor, assignments: UseCases, plans: KnowsPlans, writer: AuditedWriter
) -> Answered[AssignmentsAnswer]:
    """Amounts of assignments that are there, up to 5,000 lines, each from its first day on or from the beginning.

    All are proposed or none: what is wrong is told of each line.
    """
    requests = await upload.read(requests_of)

    async def put(tx: Transaction) -> AssignmentsAnswer:
        _, changed = await assignments.put(tx, editor.tenant_id, editor.actor, [], requests, Refusals())
        return AssignmentsAnswer(created=[], changed=await _answers(plans, tx, editor.tenant_id, changed))

    return await writer.commit(put)


@router.get("/assignments/{assignment_id}", summary="Read an assignment", responses=responses(AssignmentNotFound))
async def get_assignment(
    assignment_id: UUID, caller: CurrentCaller, assignments: UseCases, plans: KnowsPlans, read: ConditionalRead
) -> Answered[AssignmentAnswer]:
    async with caller.reading() as (tx, sight):
        stored = await assignments.get(tx, caller.tenant_id, assignment_id)
        is_seen = sight.is_whole or stored.status is AssignmentStatus.APPROVED
        if not is_seen or not sight.sees_person(stored.person_id):
            raise AssignmentNotFound(f"There is no assignment {assignment_id}.")
        answer = await _answer(plans, tx, caller.tenant_id, stored, with_change=sight.is_whole)
    return read.answer(answer)


@router.get(
    "/assignments/{assignment_id}/history",
    summary="Who proposed and approved what of an assignment, when and why",
    responses=responses(AssignmentNotFound),
)
async def list_assignment_changes(
    assignment_id: UUID,
    auditor: Auditor,
    caller: CurrentCaller,
    assignments: UseCases,
    plans: KnowsPlans,
    paging: Paging,
) -> Page[AssignmentChangeAnswer]:
    """Every step in order, also of an assignment that was deleted. Nobody can alter it."""
    async with caller.reading() as (tx, _):
        found = await assignments.list_changes(
            tx, auditor.tenant_id, assignment_id, after=_VERSIONS.after(paging) or 0, limit=paging.fetch_limit
        )
        people = {change.actor.person_id for change in found if change.actor.person_id is not None}
        names = await plans.person_names(tx, auditor.tenant_id, people)

    def answer(change: AssignmentChange) -> AssignmentChangeAnswer:
        return AssignmentChangeAnswer.of(change, names)

    return _VERSIONS.page(paging, found, key=lambda change: change.version, item=answer)


@router.patch(
    "/assignments/{assignment_id}",
    summary="Propose a change of days, quotas or other terms",
    responses=responses(AssignmentNotFound, OwnInterest, *_TERMS, *_CHANGE),
)
async def change_assignment(
    assignment_id: UUID,
    body: AssignmentChanges,
    editor: Editor,
    assignments: UseCases,
    plans: KnowsPlans,
    writer: AuditedWriter,
    expected: ExpectedVersion,
) -> Answered[AssignmentAnswer]:
    """Until another person has approved it the terms in force go on. Nobody changes their own.

    What was proposed before and is not approved yet is changed further; its authors stay authors.
    """
    return await _act(
        AssignmentRequest("", assignment_id, expected, Act.PROPOSE, partial(edited, changes=body)),
        editor,
        assignments,
        plans,
        writer,
    )


@router.post(
    "/assignments/{assignment_id}/approve",
    summary="Approve what is proposed of an assignment",
    responses=responses(AssignmentNotFound, AssignmentNotProposed, ApprovalNotIndependent, *_TERMS, *_CHANGE),
)
async def approve_assignment(
    assignment_id: UUID,
    editor: Editor,
    assignments: UseCases,
    plans: KnowsPlans,
    writer: AuditedWriter,
    expected: ExpectedVersion,
) -> Answered[AssignmentAnswer]:
    """By a person who wrote no part of it and is not paid by it. What it earns is worked out within moments.

    Deals that are already there are credited, and differences are posted.
    """
    return await _act(AssignmentRequest("", assignment_id, expected, Act.APPROVE), editor, assignments, plans, writer)


@router.post(
    "/assignments/{assignment_id}/withdraw",
    summary="Withdraw a proposed change",
    responses=responses(AssignmentNotFound, AssignmentNotProposed, OwnInterest, *_CHANGE),
)
async def withdraw_assignment_change(
    assignment_id: UUID,
    editor: Editor,
    assignments: UseCases,
    plans: KnowsPlans,
    writer: AuditedWriter,
    expected: ExpectedVersion,
) -> Answered[AssignmentAnswer]:
    """The terms in force stay. An assignment that was never approved is deleted instead."""
    return await _act(AssignmentRequest("", assignment_id, expected, Act.WITHDRAW), editor, assignments, plans, writer)


@router.delete(
    "/assignments/{assignment_id}",
    summary="Propose to take an assignment back",
    status_code=204,
    responses=responses(AssignmentNotFound, OwnInterest, *_CHANGE),
)
async def delete_assignment(
    assignment_id: UUID,
    editor: Editor,
    assignments: UseCases,
    writer: AuditedWriter,
    expected: ExpectedVersion,
) -> Response:
    """As if it had never been made: once approved, the ledger takes back what it earned. To end one, set its `end`.

    One that was never approved is gone at once.
    """

    async def take_back(tx: Transaction) -> None:
        request = AssignmentRequest("", assignment_id, expected, Act.TAKE_BACK)
        await assignments.act(tx, editor.tenant_id, request, editor.actor)

    return await writer.commit(take_back, status=204)


async def _act(
    request: AssignmentRequest, editor: Editor, assignments: Assignments, plans: Plans, writer: AuditedWriter
) -> Answered[AssignmentAnswer]:
    async def act(tx: Transaction) -> AssignmentAnswer:
        acted = await assignments.act(tx, editor.tenant_id, request, editor.actor)
        return await _answer(plans, tx, editor.tenant_id, acted)

    return await writer.commit(act)


async def _answer(
    plans: Plans, tx: Transaction, tenant_id: UUID, assignment: Assignment, *, with_change: bool = True
) -> AssignmentAnswer:
    [answer] = await _answers(plans, tx, tenant_id, [assignment], with_change=with_change)
    return answer


async def _answers(
    plans: Plans, tx: Transaction, tenant_id: UUID, found: Sequence[Assignment], *, with_change: bool = True
) -> list[AssignmentAnswer]:
    names = await plans.person_names(tx, tenant_id, {each.person_id for each in found})
    goals = await plans.quota_goals(tx, tenant_id, found)
    inactive = await plans.inactive_people(tx, tenant_id, {each.person_id for each in found})
    return [
        AssignmentAnswer.of(
            each,
            names.get(each.person_id),
            goals,
            with_change=with_change,
            is_active=each.person_id not in inactive,
        )
        for each in found
    ]
