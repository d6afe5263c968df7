"""Plans and their versions over HTTP."""

from typing import Annotated, Final
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Query
from pydantic import JsonValue, conint

from services.incentives.plans.content.components import COMPONENTS
from services.incentives.plans.content.terms import (
    TermsDocument,
    check_same_plan,
    terms_document,
    terms_json,
    terms_of,
    terms_schema,
)
from services.incentives.plans.domain.history import VersionChange, differences
from services.incentives.plans.domain.versions import (
    PlanNotFound,
    PlanVersion,
    PlanVersionNotApproved,
    PlanVersionNotDraft,
    PlanVersionNotFound,
    effective_until,
    numbered,
)
from services.incentives.plans.domain.wording import changes_in_words
from services.incentives.plans.schemas import (
    ChangeAnswer,
    PlanAnswer,
    PlanBody,
    PlanChanges,
    PlanVersionAnswer,
    PlanVersionBody,
    PlanVersionChangeAnswer,
    PlanVersionDiffAnswer,
)
from services.incentives.plans.service import Plans
from shared.contracts.reasons import WordsAnswer
from shared.db.database import Transaction
from shared.http.auth import current_principal
from shared.http.etag import Answered, ConditionalRead, ExpectedVersion
from shared.http.paging import Cursor, Page, Paging
from shared.http.problems import PreconditionRequired, responses
from shared.http.sight import Auditor, CurrentCaller, Editor
from shared.http.wiring import handed
from shared.http.writer import RequestWriter
from shared.kernel.approvals import ApprovalNotIndependent
from shared.kernel.errors import VersionMismatch
from shared.kernel.sight import WHOLE_TENANT

router = APIRouter(prefix="/v1")

UseCases = Annotated[Plans, Depends(handed(Plans))]
_NUMBER_MAX: Final = 2**31 - 1
_IDS: Final = Cursor(UUID)
_NUMBERS: Final = Cursor(conint(ge=1, le=_NUMBER_MAX))
Number = Annotated[int, Path(ge=1, le=_NUMBER_MAX, description="Which version of the plan.")]
_CHANGE: Final = (VersionMismatch, PreconditionRequired)


@router.get("/plans", tags=["plans"], summary="List plans")
async def list_plans(caller: CurrentCaller, plans: UseCases, paging: Paging) -> Page[PlanAnswer]:
    """A rep sees the plans it is or was on, a manager also those of its subtree."""
    async with caller.reading() as (tx, sight):
        found = await plans.list_plans(tx, caller.tenant_id, sight, after=_IDS.after(paging), limit=paging.fetch_limit)
    return _IDS.page(paging, found, key=lambda plan: plan.id, item=PlanAnswer.of)


@router.post("/plans", tags=["plans"], summary="Make a plan", status_code=201)
async def create_plan(body: PlanBody, editor: Editor, plans: UseCases, writer: RequestWriter) -> Answered[PlanAnswer]:
    """It pays nothing until one of its versions is active."""
    return await writer.commit(
        lambda tx: plans.create_plan(tx, editor.tenant_id, body.name, body.currency, body.period),
        PlanAnswer.of,
        status=201,
        location=lambda plan: f"/v1/plans/{plan.id}",
    )


@router.get(
    "/plans/schema",
    tags=["plans"],
    summary="JSON Schema of a version's components",
    responses={200: {"content": {"application/json": {"example": {"type": "array", "minItems": 1}}}}},
    dependencies=[Depends(current_principal)],
)
async def get_plan_schema() -> dict[str, JsonValue]:
    """What `components` may contain, for editors and for checking an exported plan."""
    schema: dict[str, JsonValue] = COMPONENTS.json_schema(by_alias=True)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Components of a plan", **schema}


@router.get(
    "/plans/terms-schema",
    tags=["plans"],
    summary="JSON Schema of exported terms",
    responses={200: {"content": {"application/json": {"example": {"type": "object", "title": "Terms of a plan"}}}}},
    dependencies=[Depends(current_principal)],
)
async def get_terms_schema() -> dict[str, JsonValue]:
    """What a document of terms may contain, for editors and for checking one before it is imported."""
    return terms_schema()


@router.get("/plans/{plan_id}", tags=["plans"], summary="Read a plan", responses=responses(PlanNotFound))
async def get_plan(
    plan_id: UUID, caller: CurrentCaller, plans: UseCases, read: ConditionalRead
) -> Answered[PlanAnswer]:
    async with caller.reading() as (tx, sight):
        answer = PlanAnswer.of(await plans.get_plan(tx, caller.tenant_id, plan_id, sight))
    return read.answer(answer)


@router.patch("/plans/{plan_id}", tags=["plans"], summary="Rename a plan", responses=responses(PlanNotFound, *_CHANGE))
async def change_plan(
    plan_id: UUID, body: PlanChanges, editor: Editor, plans: UseCases, writer: RequestWriter, expected: ExpectedVersion
) -> Answered[PlanAnswer]:
    return await writer.commit(
        lambda tx: plans.change_plan(tx, editor.tenant_id, plan_id, body.name, expected_version=expected), PlanAnswer.of
    )


@router.get(
    "/plans/{plan_id}/versions", tags=["plans"], summary="List a plan's versions", responses=responses(PlanNotFound)
)
async def list_plan_versions(
    plan_id: UUID, caller: CurrentCaller, plans: UseCases, paging: Paging
) -> Page[PlanVersionAnswer]:
    """Drafts are shown to those who may change plans, approved ones to finance too, those in effect to all it pays."""
    async with caller.reading() as (tx, sight):
        stored = await plans.list_versions(tx, caller.tenant_id, plan_id, sight)
    after = _NUMBERS.after(paging) or 0
    rows = [version for version in stored if version.number > after][: paging.fetch_limit]

    def answer(version: PlanVersion) -> PlanVersionAnswer:
        return PlanVersionAnswer.of(version, effective_until(version, stored))

    return _NUMBERS.page(paging, rows, key=lambda version: version.number, item=answer)


@router.post(
    "/plans/{plan_id}/versions",
    tags=["plans"],
    summary="Draft a version",
    status_code=201,
    responses=responses(PlanNotFound),
)
async def create_plan_version(
    plan_id: UUID, body: PlanVersionBody, editor: Editor, plans: UseCases, writer: RequestWriter
) -> Answered[PlanVersionAnswer]:
    """New terms, to be approved by another person and then activated."""

    async def create(tx: Transaction) -> PlanVersionAnswer:
        plan = await plans.get_plan(tx, editor.tenant_id, plan_id, WHOLE_TENANT)
        components, rules = terms_of(body.components, body.rules, plan.currency)
        draft = await plans.create_version(
            tx,
            editor.tenant_id,
            plan_id,
            effective_from=body.effective_from,
            components=components,
            rules=rules,
            note=body.note,
            author=editor.actor,
        )
        return PlanVersionAnswer.of(draft)

    return await writer.commit(
        create, status=201, location=lambda version: f"/v1/plans/{plan_id}/versions/{version.number}"
    )


@router.post(
    "/plans/{plan_id}/versions/import",
    tags=["plans"],
    summary="Draft a version from exported terms",
    status_code=201,
    responses=responses(PlanNotFound),
)
async def import_plan_version(
    plan_id: UUID, body: TermsDocument, editor: Editor, plans: UseCases, writer: RequestWriter
) -> Answered[PlanVersionAnswer]:
    """The terms become a draft, whoever approved them elsewhere. The plan must have their currency and period."""

    async def draft(tx: Transaction) -> PlanVersionAnswer:
        plan = await plans.get_plan(tx, editor.tenant_id, plan_id, WHOLE_TENANT)
        check_same_plan(body, plan)
        components, rules = terms_of(body.components, body.rules, plan.currency)
        drafted = await plans.create_version(
            tx,
            editor.tenant_id,
            plan_id,
            effective_from=body.effective_from,
            components=components,
            rules=rules,
            note=body.note,
            author=editor.actor,
        )
        return PlanVersionAnswer.of(drafted)

    return await writer.commit(
        draft, status=201, location=lambda version: f"/v1/plans/{plan_id}/versions/{version.number}"
    )


@router.get(
    "/plans/{plan_id}/versions/{number}/export",
    tags=["plans"],
    summary="Export the terms of a version",
    responses=responses(PlanNotFound, PlanVersionNotFound),
)
async def export_plan_version(plan_id: UUID, number: Number, caller: CurrentCaller, plans: UseCases) -> TermsDocument:
    """One JSON document, which can be imported as a draft of this plan or of another one, here or elsewhere."""
    async with caller.reading() as (tx, sight):
        plan = await plans.get_plan(tx, caller.tenant_id, plan_id, sight)
        version = numbered(await plans.list_versions(tx, caller.tenant_id, plan_id, sight), number)
    return terms_document(plan, version)


@router.get(
    "/plans/{plan_id}/versions/{number}",
    tags=["plans"],
    summary="Read a version",
    responses=responses(PlanNotFound, PlanVersionNotFound),
)
async def get_plan_version(
    plan_id: UUID, number: Number, caller: CurrentCaller, plans: UseCases, read: ConditionalRead
) -> Answered[PlanVersionAnswer]:
    async with caller.reading() as (tx, sight):
        stored = await plans.list_versions(tx, caller.tenant_id, plan_id, sight)
    version = numbered(stored, number)
    return read.answer(PlanVersionAnswer.of(version, effective_until(version, stored)))


@router.put(
    "/plans/{plan_id}/versions/{number}",
    tags=["plans"],
    summary="Put other terms into a draft",
    responses=responses(PlanNotFound, PlanVersionNotFound, PlanVersionNotDraft, *_CHANGE),
)
async def change_plan_version(
    plan_id: UUID,
    number: Number,
    body: PlanVersionBody,
    editor: Editor,
    plans: UseCases,
    writer: RequestWriter,
    expected: ExpectedVersion,
) -> Answered[PlanVersionAnswer]:
    async def change(tx: Transaction) -> PlanVersionAnswer:
        plan = await plans.get_plan(tx, editor.tenant_id, plan_id, WHOLE_TENANT)
        components, rules = terms_of(body.components, body.rules, plan.currency)
        changed = await plans.change_version(
            tx,
            editor.tenant_id,
            plan_id,
            number,
            effective_from=body.effective_from,
            components=components,
            rules=rules,
            note=body.note,
            editor=editor.actor,
            expected_version=expected,
        )
        return PlanVersionAnswer.of(changed)

    return await writer.commit(change)


@router.get(
    "/plans/{plan_id}/versions/{number}/diff",
    tags=["plans"],
    summary="What a version changes",
    responses=responses(PlanNotFound, PlanVersionNotFound),
)
async def diff_plan_version(
    plan_id: UUID,
    number: Number,
    caller: CurrentCaller,
    plans: UseCases,
    against: Annotated[
        int | None, Query(ge=1, le=_NUMBER_MAX, description="The version to compare with; the one before it.")
    ] = None,
) -> PlanVersionDiffAnswer:
    before = number - 1 if against is None else against
    async with caller.reading() as (tx, sight):
        stored = await plans.list_versions(tx, caller.tenant_id, plan_id, sight)
    old, new = numbered(stored, before), numbered(stored, number)
    was_terms = terms_json(old.effective_from, old.components, old.rules, None)
    new_terms = terms_json(new.effective_from, new.components, new.rules, None)
    changes = differences(was_terms, new_terms)
    return PlanVersionDiffAnswer(
        plan_id=plan_id,
        before=before,
        after=number,
        changes=[ChangeAnswer(pointer=at, before=was, after=now) for at, was, now in changes],
        words=[WordsAnswer.of(words) for words in changes_in_words(was_terms, new_terms)],
    )


@router.get(
    "/plans/{plan_id}/versions/{number}/history",
    tags=["plans"],
    summary="Who wrote, approved and activated a version",
    responses=responses(PlanNotFound, PlanVersionNotFound),
)
async def list_plan_version_changes(
    plan_id: UUID, number: Number, auditor: Auditor, plans: UseCases, caller: CurrentCaller, paging: Paging
) -> Page[PlanVersionChangeAnswer]:
    """Every step in order, with what it changed in the terms. Nobody can alter it."""
    tenant_id = auditor.tenant_id
    async with caller.reading() as (tx, sight):
        numbered(await plans.list_versions(tx, tenant_id, plan_id, sight), number)
        found = await plans.list_version_changes(
            tx, tenant_id, plan_id, number, after=_NUMBERS.after(paging) or 0, limit=paging.fetch_limit
        )
        people = {change.actor.person_id for change in found if change.actor.person_id is not None}
        names = await plans.person_names(tx, tenant_id, people)

    def answer(change: VersionChange) -> PlanVersionChangeAnswer:
        return PlanVersionChangeAnswer.of(change, names)

    return _NUMBERS.page(paging, found, key=lambda change: change.revision, item=answer)


@router.post(
    "/plans/{plan_id}/versions/{number}/approve",
    tags=["plans"],
    summary="Approve a version",
    responses=responses(PlanNotFound, PlanVersionNotFound, PlanVersionNotDraft, ApprovalNotIndependent, *_CHANGE),
)
async def approve_plan_version(
    plan_id: UUID, number: Number, editor: Editor, plans: UseCases, writer: RequestWriter, expected: ExpectedVersion
) -> Answered[PlanVersionAnswer]:
    """By a person who wrote no part of it and is not on the plan. The terms cannot change any more."""
    return await writer.commit(
        lambda tx: plans.approve_version(
            tx, editor.tenant_id, plan_id, number, approver=editor.actor, expected_version=expected
        ),
        PlanVersionAnswer.of,
    )


@router.post(
    "/plans/{plan_id}/versions/{number}/activate",
    tags=["plans"],
    summary="Activate a version",
    responses=responses(PlanNotFound, PlanVersionNotFound, PlanVersionNotApproved, ApprovalNotIndependent, *_CHANGE),
)
async def activate_plan_version(
    plan_id: UUID, number: Number, editor: Editor, plans: UseCases, writer: RequestWriter, expected: ExpectedVersion
) -> Answered[PlanVersionAnswer]:
    """Everyone on the plan is paid by these terms from `effective_from` on; earnings follow within moments.

    Refused when who approved it was put on the plan since: somebody else then approves a version with the same terms.
    """
    return await writer.commit(
        lambda tx: plans.activate_version(
            tx, editor.tenant_id, plan_id, number, actor=editor.actor, expected_version=expected
        ),
        PlanVersionAnswer.of,
    )
