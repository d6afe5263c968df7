"""Plan documents over HTTP, and who accepted them."""

from typing import Annotated, Final
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Query
from starlette.responses import Response

from services.incentives.credits.domain.credit import PersonNotInSight
from services.incentives.plans.domain.versions import PlanNotFound, PlanVersionNotFound
from services.incentives.statements.acceptance_schemas import AcceptanceBody, PlanAcceptanceAnswer
from services.incentives.statements.api import Rendering, document_answer
from services.incentives.statements.domain.acceptances import NotPaidByPlanVersion, PlanVersionNotActive
from services.incentives.statements.domain.plan_document import plan_document
from services.incentives.statements.plan_documents import PlanDocuments
from services.incentives.statements.rendering import DocumentFormat
from services.incentives.statements.schemas import Format, InLanguage, described_document, texts_in
from shared.http.etag import Answered
from shared.http.paging import Cursor, Page, Paging
from shared.http.problems import responses
from shared.http.sight import CurrentCaller
from shared.http.wiring import handed
from shared.http.writer import RequestWriter
from shared.kernel.language import Language

router = APIRouter(prefix="/v1/plans/{plan_id}/versions/{number}", tags=["plans"])

UseCases = Annotated[PlanDocuments, Depends(handed(PlanDocuments))]
Number = Annotated[int, Path(ge=1, le=2**31 - 1, description="Which version of the plan.")]
_IDS: Final = Cursor(UUID)


@router.get(
    "/document",
    summary="A version as a document",
    response_class=Response,
    responses={
        **responses(PlanNotFound, PlanVersionNotFound, PersonNotInSight, NotPaidByPlanVersion),
        200: described_document("The plan document."),
    },
)
async def get_plan_document(
    plan_id: UUID,
    number: Number,
    caller: CurrentCaller,
    documents: UseCases,
    renderer: Rendering,
    person_id: Annotated[
        UUID | None, Query(description="With this person's own quotas, target variable, ramp, leave and days.")
    ] = None,
    document_format: Format = DocumentFormat.PDF,
    language: InLanguage = Language.ENGLISH,
) -> Response:
    """What counts, how it pays with worked examples, and what becomes of what is earned, for whoever sees the version.

    The examples are worked out by the code that pays. Who accepted it finds the date on its copy. One for a person says
    so where the personal terms have changed since.
    """
    async with caller.reading() as (tx, sight):
        found = await documents.terms(tx, caller.tenant_id, sight, plan_id, number, person_id=person_id)
    content = await renderer.render(plan_document(found, texts_in(language)), document_format)
    return document_answer(content, document_format, f"plan_{plan_id}_{number}")


@router.post(
    "/accept",
    summary="Accept a version that pays oneself",
    responses=responses(PlanNotFound, PlanVersionNotFound, PlanVersionNotActive, NotPaidByPlanVersion),
)
async def accept_plan_version(
    plan_id: UUID,
    number: Number,
    body: AcceptanceBody,
    caller: CurrentCaller,
    documents: UseCases,
    writer: RequestWriter,
) -> Answered[PlanAcceptanceAnswer]:
    """By the person itself and nobody else. Kept for good with its day: accepting again changes nothing."""
    return await writer.commit(
        caller.seeing(
            lambda tx, sight: documents.accept(tx, caller.tenant_id, sight, plan_id, number, language=body.language)
        ),
        PlanAcceptanceAnswer.of,
    )


@router.get(
    "/acceptances", summary="Who has accepted a version", responses=responses(PlanNotFound, PlanVersionNotFound)
)
async def list_plan_acceptances(
    plan_id: UUID,
    number: Number,
    caller: CurrentCaller,
    documents: UseCases,
    paging: Paging,
    accepted: Annotated[bool | None, Query(description="Only who has, or only who has not accepted yet.")] = None,
) -> Page[PlanAcceptanceAnswer]:
    """Everybody in sight whom the version pays on some day: a rep itself, a manager its subtree, RevOps all."""
    async with caller.reading() as (tx, sight):
        found = await documents.list_accepting(tx, caller.tenant_id, sight, plan_id, number)
    after = _IDS.after(paging)
    rows = [
        each
        for each in found
        if (after is None or each.payee.person_id > after)
        and (accepted is None or accepted is (each.acceptance is not None))
    ]
    return _IDS.page(
        paging,
        rows[: paging.fetch_limit],
        key=lambda each: each.payee.person_id,
        item=PlanAcceptanceAnswer.of,
    )
