"""Goal templates over HTTP. Everybody in the tenant reads them; who may edit the tenant's goals changes them."""

from functools import partial
from typing import Annotated, Final
from uuid import UUID

from fastapi import APIRouter, Depends
from starlette.responses import Response

from services.goals.targets.domain import GoalTemplate
from services.goals.templates.domain import TemplateNotFound
from services.goals.templates.schemas import TemplateAnswer, TemplateBody, TemplateChanges, changed_template
from services.goals.templates.service import GoalTemplates
from shared.db.database import Transaction
from shared.http.audit import AuditedWriter
from shared.http.auth import CurrentPrincipal
from shared.http.etag import Answered, ConditionalRead, ExpectedVersion
from shared.http.paging import Cursor, Page, Paging
from shared.http.problems import PreconditionRequired, responses
from shared.http.reader import RequestReader
from shared.http.sight import Editor
from shared.http.wiring import handed
from shared.kernel.errors import VersionMismatch

router = APIRouter(prefix="/v1/goal-templates", tags=["goal templates"])

UseCases = Annotated[GoalTemplates, Depends(handed(GoalTemplates))]
_IDS: Final = Cursor(UUID)
_CHANGE: Final = (TemplateNotFound, VersionMismatch, PreconditionRequired)


@router.get("", summary="List goal templates")
async def list_goal_templates(
    principal: CurrentPrincipal, templates: UseCases, reader: RequestReader, paging: Paging
) -> Page[TemplateAnswer]:
    """In the order they were made. For everybody, as everybody drafts goals."""
    async with reader.transaction() as tx:
        found = await templates.list_templates(
            tx, principal.tenant_id, after=_IDS.after(paging), limit=paging.fetch_limit
        )
    return _IDS.page(paging, found, key=lambda template: template.id, item=TemplateAnswer.of)


@router.post("", summary="Make a goal template", status_code=201)
async def create_goal_template(
    body: TemplateBody, editor: Editor, templates: UseCases, writer: AuditedWriter
) -> Answered[TemplateAnswer]:
    """`POST /v1/goals` with its id as `template_id` may leave out what it has."""

    async def create(tx: Transaction) -> GoalTemplate:
        return await templates.create_template(tx, editor.tenant_id, body.template)

    return await writer.commit(
        create, TemplateAnswer.of, status=201, location=lambda template: f"/v1/goal-templates/{template.id}"
    )


@router.get("/{template_id}", summary="A goal template", responses=responses(TemplateNotFound))
async def get_goal_template(
    template_id: UUID,
    principal: CurrentPrincipal,
    templates: UseCases,
    reader: RequestReader,
    read: ConditionalRead,
) -> Answered[TemplateAnswer]:
    async with reader.transaction() as tx:
        answer = TemplateAnswer.of(await templates.get_template(tx, principal.tenant_id, template_id))
    return read.answer(answer)


@router.patch("/{template_id}", summary="Change a goal template", responses=responses(*_CHANGE))
async def change_goal_template(
    template_id: UUID,
    body: TemplateChanges,
    editor: Editor,
    templates: UseCases,
    writer: AuditedWriter,
    expected: ExpectedVersion,
) -> Answered[TemplateAnswer]:
    """For goals to come: those made from it stay as they are."""

    async def change(tx: Transaction) -> GoalTemplate:
        change_of = partial(changed_template, changes=body)
        return await templates.change_template(tx, editor.tenant_id, template_id, expected, change_of)

    return await writer.commit(change, TemplateAnswer.of)


@router.delete("/{template_id}", summary="Delete a goal template", status_code=204, responses=responses(*_CHANGE))
async def delete_goal_template(
    template_id: UUID, editor: Editor, templates: UseCases, writer: AuditedWriter, expected: ExpectedVersion
) -> Response:
    """Goals made from it stay as they are."""

    async def delete(tx: Transaction) -> None:
        await templates.delete_template(tx, editor.tenant_id, template_id, expected)

    return await writer.commit(delete, status=204)
