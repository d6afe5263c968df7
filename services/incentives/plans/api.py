"""Plans, their versions and assignments over HTTP."""

from typing import Annotated, Final
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Response
from pydantic import JsonValue

from services.incentives.access import CurrentView, Editor
from services.incentives.plans import service
from services.incentives.plans.content import COMPONENTS, components_content, components_of, differences, quotas_of
from services.incentives.plans.domain.assignments import Assignment, AssignmentNotFound, AssignmentOverlaps
from services.incentives.plans.domain.versions import (
    ApprovalNotIndependent,
    PlanNotFound,
    PlanVersion,
    PlanVersionNotApproved,
    PlanVersionNotDraft,
    PlanVersionNotFound,
    effective_until,
)
from services.incentives.plans.schemas import (
    AssignmentAnswer,
    AssignmentBody,
    AssignmentChanges,
    ChangeAnswer,
    PlanAnswer,
    PlanBody,
    PlanChanges,
    PlanVersionAnswer,
    PlanVersionBody,
    PlanVersionDiff,
)
from shared.db.database import Transaction
from shared.http.auth import CurrentPrincipal, current_principal
from shared.http.etag import ExpectedVersion, set_etag
from shared.http.paging import Cursor, Page, Paging
from shared.http.problems import PreconditionRequired, responses
from shared.http.reader import RequestReader
from shared.http.writer import RequestWriter
from shared.kernel.errors import VersionMismatch
from shared.kernel.periods import DatedRange

router = APIRouter(prefix="/v1")

_IDS: Final = Cursor(UUID)
_NUMBERS: Final = Cursor(int)
_CHANGE: Final = (VersionMismatch, PreconditionRequired)


@router.get("/plans", tags=["plans"], summary="List plans")
async def list_plans(principal: CurrentPrincipal, reader: RequestReader, paging: Paging) -> Page[PlanAnswer]:
    """Everyone in the tenant may read plans."""
    async with reader.transaction() as tx:
        found = await service.list_plans(tx, principal.tenant_id, after=_IDS.after(paging), limit=paging.fetch_limit)
    return _IDS.page(paging, found, key=lambda plan: plan.id, item=PlanAnswer.of)


@router.post("/plans", tags=["plans"], summary="Make a plan", status_code=201, response_model=PlanAnswer)
async def create_plan(body: PlanBody, editor: Editor, writer: RequestWriter) -> Response:
    """It pays nothing until one of its versions is active."""

    async def create(tx: Transaction) -> PlanAnswer:
        return PlanAnswer.of(await service.create_plan(tx, editor.tenant_id, body.name, body.currency, body.period))

    return await writer.commit(create, status=201, location=lambda plan: f"/v1/plans/{plan.id}")


@router.get(
    "/plans/schema",
    tags=["plans"],
    summary="JSON Schema of a version's components",
    responses={200: {"content": {"application/json": {"example": {"type": "array", "minItems": 1}}}}},
    dependencies=[Depends(current_principal)],
)
async def get_plan_schema() -> dict[str, JsonValue]:
    """What `components` may hold, for editors and for checking an exported plan."""
    schema: dict[str, JsonValue] = COMPONENTS.json_schema(by_alias=True)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Components of a plan", **schema}


@router.get("/plans/{plan_id}", tags=["plans"], summary="Read a plan", responses=responses(PlanNotFound))
async def get_plan(plan_id: UUID, principal: CurrentPrincipal, reader: RequestReader, response: Response) -> PlanAnswer:
    async with reader.transaction() as tx:
        answer = PlanAnswer.of(await service.plan(tx, principal.tenant_id, plan_id))
    set_etag(response, answer)
    return answer


@router.patch(
    "/plans/{plan_id}",
    tags=["plans"],
    summary="Rename a plan",
    response_model=PlanAnswer,
    responses=responses(PlanNotFound, *_CHANGE),
)
async def rename_plan(
    plan_id: UUID, body: PlanChanges, editor: Editor, writer: RequestWriter, expected: ExpectedVersion
) -> Response:
    async def rename(tx: Transaction) -> PlanAnswer:
        renamed = await service.rename_plan(tx, editor.tenant_id, plan_id, body.name, expected_version=expected)
        return PlanAnswer.of(renamed)

    return await writer.commit(rename)


@router.get(
    "/plans/{plan_id}/versions", tags=["plans"], summary="List a plan's versions", responses=responses(PlanNotFound)
)
async def list_plan_versions(
    plan_id: UUID, principal: CurrentPrincipal, reader: RequestReader, paging: Paging
) -> Page[PlanVersionAnswer]:
    async with reader.transaction() as tx:
        _, held = await service.versions(tx, principal.tenant_id, plan_id)
    after = _NUMBERS.after(paging) or 0
    rows = [version for version in held if version.number > after][: paging.fetch_limit]

    def answer(version: PlanVersion) -> PlanVersionAnswer:
        return PlanVersionAnswer.of(version, effective_until(version, held))

    return _NUMBERS.page(paging, rows, key=lambda version: version.number, item=answer)


@router.post(
    "/plans/{plan_id}/versions",
    tags=["plans"],
    summary="Draft a version",
    status_code=201,
    response_model=PlanVersionAnswer,
    responses=responses(PlanNotFound),
)
async def create_plan_version(plan_id: UUID, body: PlanVersionBody, editor: Editor, writer: RequestWriter) -> Response:
    """New terms, to be approved by another person and then activated."""

    async def create(tx: Transaction) -> PlanVersionAnswer:
        plan = await service.plan(tx, editor.tenant_id, plan_id)
        draft = await service.draft_version(
            tx,
            editor.tenant_id,
            plan_id,
            effective_from=body.effective_from,
            components=components_of(body.components, plan.currency),
            note=body.note,
            author_id=editor.person_id,
        )
        return PlanVersionAnswer.of(draft)

    return await writer.commit(
        create, status=201, location=lambda version: f"/v1/plans/{plan_id}/versions/{version.number}"
    )


@router.get(
    "/plans/{plan_id}/versions/{number}",
    tags=["plans"],
    summary="Read a version",
    responses=responses(PlanNotFound, PlanVersionNotFound),
)
async def get_plan_version(
    plan_id: UUID, number: int, principal: CurrentPrincipal, reader: RequestReader, response: Response
) -> PlanVersionAnswer:
    async with reader.transaction() as tx:
        version = await service.version(tx, principal.tenant_id, plan_id, number)
        _, held = await service.versions(tx, principal.tenant_id, plan_id)
    answer = PlanVersionAnswer.of(version, effective_until(version, held))
    set_etag(response, answer)
    return answer


@router.put(
    "/plans/{plan_id}/versions/{number}",
    tags=["plans"],
    summary="Put other terms into a draft",
    response_model=PlanVersionAnswer,
    responses=responses(PlanNotFound, PlanVersionNotFound, PlanVersionNotDraft, *_CHANGE),
)
async def edit_plan_version(
    plan_id: UUID,
    number: int,
    body: PlanVersionBody,
    editor: Editor,
    writer: RequestWriter,
    expected: ExpectedVersion,
) -> Response:
    async def edit(tx: Transaction) -> PlanVersionAnswer:
        plan = await service.plan(tx, editor.tenant_id, plan_id)
        edited = await service.edit_version(
            tx,
            editor.tenant_id,
            plan_id,
            number,
            effective_from=body.effective_from,
            components=components_of(body.components, plan.currency),
            note=body.note,
            expected_version=expected,
        )
        return PlanVersionAnswer.of(edited)

    return await writer.commit(edit)


@router.get(
    "/plans/{plan_id}/versions/{number}/diff",
    tags=["plans"],
    summary="What a version changes",
    responses=responses(PlanNotFound, PlanVersionNotFound),
)
async def diff_plan_version(
    plan_id: UUID,
    number: int,
    principal: CurrentPrincipal,
    reader: RequestReader,
    against: Annotated[int | None, Query(ge=1, description="The version to compare with; the one before it.")] = None,
) -> PlanVersionDiff:
    before = number - 1 if against is None else against
    async with reader.transaction() as tx:
        old = await service.version(tx, principal.tenant_id, plan_id, before)
        new = await service.version(tx, principal.tenant_id, plan_id, number)
    changes = differences(_document(old), _document(new))
    return PlanVersionDiff(
        plan_id=plan_id,
        before=before,
        after=number,
        changes=[ChangeAnswer(pointer=at, before=was, after=now) for at, was, now in changes],
    )


@router.post(
    "/plans/{plan_id}/versions/{number}/approve",
    tags=["plans"],
    summary="Approve a version",
    response_model=PlanVersionAnswer,
    responses=responses(PlanNotFound, PlanVersionNotFound, PlanVersionNotDraft, ApprovalNotIndependent, *_CHANGE),
)
async def approve_plan_version(
    plan_id: UUID, number: int, editor: Editor, writer: RequestWriter, expected: ExpectedVersion
) -> Response:
    """By a person who is not its author. The terms cannot change any more."""

    async def approve(tx: Transaction) -> PlanVersionAnswer:
        approved = await service.approve_version(
            tx, editor.tenant_id, plan_id, number, approver_id=editor.person_id, expected_version=expected
        )
        return PlanVersionAnswer.of(approved)

    return await writer.commit(approve)


@router.post(
    "/plans/{plan_id}/versions/{number}/activate",
    tags=["plans"],
    summary="Activate a version",
    response_model=PlanVersionAnswer,
    responses=responses(PlanNotFound, PlanVersionNotFound, PlanVersionNotApproved, *_CHANGE),
)
async def activate_plan_version(
    plan_id: UUID, number: int, editor: Editor, writer: RequestWriter, expected: ExpectedVersion
) -> Response:
    """Everyone on the plan is paid by these terms from `effective_from` on; earnings follow within moments."""

    async def activate(tx: Transaction) -> PlanVersionAnswer:
        activated = await service.activate_version(tx, editor.tenant_id, plan_id, number, expected_version=expected)
        return PlanVersionAnswer.of(activated)

    return await writer.commit(activate)


@router.get("/assignments", tags=["assignments"], summary="List assignments")
async def list_assignments(
    principal: CurrentPrincipal,
    view: CurrentView,
    reader: RequestReader,
    paging: Paging,
    person_id: Annotated[UUID | None, Query(description="Only this person's.")] = None,
    plan_id: Annotated[UUID | None, Query(description="Only to this plan.")] = None,
) -> Page[AssignmentAnswer]:
    """A rep sees its own, a manager those of its subtree."""
    tenant_id = principal.tenant_id
    async with reader.transaction() as tx:
        found = await service.list_assignments(
            tx,
            tenant_id,
            people=await view.narrowed(tx, person_id),
            plan_id=plan_id,
            after=_IDS.after(paging),
            limit=paging.fetch_limit,
        )
        names = await service.person_names(tx, tenant_id, {assignment.person_id for assignment in found})

    def answer(assignment: Assignment) -> AssignmentAnswer:
        return AssignmentAnswer.of(assignment, names.get(assignment.person_id))

    return _IDS.page(paging, found, key=lambda assignment: assignment.id, item=answer)


@router.post(
    "/assignments",
    tags=["assignments"],
    summary="Put a person on a plan",
    status_code=201,
    response_model=AssignmentAnswer,
    responses=responses(PlanNotFound, AssignmentOverlaps),
)
async def create_assignment(body: AssignmentBody, editor: Editor, writer: RequestWriter) -> Response:
    """Deals that are already there are credited within moments."""
    dated, quotas = body.dated(), quotas_of(body.quotas)

    async def create(tx: Transaction) -> AssignmentAnswer:
        assigned = await service.assign(
            tx, editor.tenant_id, person_id=body.person_id, plan_id=body.plan_id, dated=dated, quotas=quotas
        )
        return await _named(tx, editor.tenant_id, assigned)

    return await writer.commit(create, status=201, location=lambda made: f"/v1/assignments/{made.id}")


@router.get(
    "/assignments/{assignment_id}",
    tags=["assignments"],
    summary="Read an assignment",
    responses=responses(AssignmentNotFound),
)
async def get_assignment(
    assignment_id: UUID, principal: CurrentPrincipal, view: CurrentView, reader: RequestReader, response: Response
) -> AssignmentAnswer:
    async with reader.transaction() as tx:
        held = await service.assignment(tx, principal.tenant_id, assignment_id)
        if not await view.shows(tx, held.person_id):
            raise AssignmentNotFound(f"There is no assignment {assignment_id}.")
        answer = await _named(tx, principal.tenant_id, held)
    set_etag(response, answer)
    return answer


@router.patch(
    "/assignments/{assignment_id}",
    tags=["assignments"],
    summary="Change days or quotas",
    response_model=AssignmentAnswer,
    responses=responses(AssignmentNotFound, AssignmentOverlaps, *_CHANGE),
)
async def change_assignment(
    assignment_id: UUID, body: AssignmentChanges, editor: Editor, writer: RequestWriter, expected: ExpectedVersion
) -> Response:
    """What it earned is worked out anew; the differences are posted."""
    quotas = quotas_of(body["quotas"]) if "quotas" in body else None

    async def change(tx: Transaction) -> AssignmentAnswer:
        held = await service.assignment(tx, editor.tenant_id, assignment_id)
        dated = DatedRange(body.get("start", held.range.start), body.get("end", held.range.end))
        changed = await service.change_assignment(
            tx, editor.tenant_id, assignment_id, dated=dated, quotas=quotas, expected_version=expected
        )
        return await _named(tx, editor.tenant_id, changed)

    return await writer.commit(change)


@router.delete(
    "/assignments/{assignment_id}",
    tags=["assignments"],
    summary="Take an assignment back",
    status_code=204,
    responses=responses(AssignmentNotFound, *_CHANGE),
)
async def delete_assignment(
    assignment_id: UUID, editor: Editor, writer: RequestWriter, expected: ExpectedVersion
) -> Response:
    """As if it had never been made: the ledger takes back what it earned. To end one, set its `end`."""

    async def delete(tx: Transaction) -> None:
        await service.delete_assignment(tx, editor.tenant_id, assignment_id, expected_version=expected)

    return await writer.commit(delete, status=204)


async def _named(tx: Transaction, tenant_id: UUID, assignment: Assignment) -> AssignmentAnswer:
    names = await service.person_names(tx, tenant_id, [assignment.person_id])
    return AssignmentAnswer.of(assignment, names.get(assignment.person_id))


def _document(version: PlanVersion) -> JsonValue:
    components: JsonValue = COMPONENTS.dump_python(components_content(version.components), mode="json", by_alias=True)
    return {"effective_from": str(version.effective_from), "components": components}
