"""Stated values over HTTP."""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Annotated, Final
from uuid import UUID

from fastapi import APIRouter, Depends, Query
from starlette.responses import Response

from services.goals.stated.columns import VALUES, StatedValueRow, value_row
from services.goals.stated.domain import GoalNotStated, StatedValue, StatedValueNotFound
from services.goals.stated.schemas import (
    StatedTableAnswer,
    StatedValueAnswer,
    StatedValueBody,
    StatedValueChanges,
    changed_statement,
)
from services.goals.stated.service import StatedValues
from services.goals.targets.domain import GoalNotFound
from shared.db.database import Transaction
from shared.http.audit import AuditedWriter
from shared.http.auth import Principal, Role, require
from shared.http.etag import Answered, ConditionalRead, ExpectedVersion
from shared.http.paging import Cursor, Page, Paging
from shared.http.problems import PreconditionRequired, responses
from shared.http.reader import RequestReader
from shared.http.sight import EDITS, CurrentCaller
from shared.http.tables import (
    TableFormat,
    Uploaded,
    described_file,
    described_upload,
    read_bodies,
    table_answer,
    table_file,
)
from shared.http.wiring import handed
from shared.kernel.approvals import OwnInterest
from shared.kernel.errors import ItemsRefused, Refusals, VersionMismatch
from shared.tables.cells import InvalidTable, place
from shared.tables.columns import Value

router = APIRouter(prefix="/v1/goals/{goal_id}/values", tags=["stated values"])

UseCases = Annotated[StatedValues, Depends(handed(StatedValues))]
ValueEditor = Annotated[Principal, Depends(require(*EDITS, Role.MANAGER))]
"""The caller, who may state values of the goals it sees. 403 for anybody else."""

TABLE_ROWS_MAX: Final = 5_000
_PAGE: Final = 1_000
_IDS: Final = Cursor(UUID)
_STATING: Final = (GoalNotFound, GoalNotStated, OwnInterest)
_CHANGE: Final = (StatedValueNotFound, VersionMismatch, PreconditionRequired)


@router.get("", summary="List the values stated of a goal", responses=responses(GoalNotFound))
async def list_stated_values(
    goal_id: UUID, caller: CurrentCaller, values: UseCases, paging: Paging
) -> Page[StatedValueAnswer]:
    """In the order they were stated. Everybody who sees the goal sees them."""
    async with caller.reading() as (tx, sight):
        found = await values.list_values(
            tx, caller.tenant_id, goal_id, sight, after=_IDS.after(paging), limit=paging.fetch_limit
        )
    return _IDS.page(paging, found, key=lambda value: value.id, item=StatedValueAnswer.of)


@router.post("", summary="State a value of a goal", status_code=201, responses=responses(*_STATING))
async def create_stated_value(
    goal_id: UUID,
    body: StatedValueBody,
    editor: ValueEditor,
    caller: CurrentCaller,
    values: UseCases,
    writer: AuditedWriter,
) -> Answered[StatedValueAnswer]:
    """For goals with the aggregate `stated`. A manager states values in its subtree; nobody of a goal of their own."""
    return await writer.commit(
        caller.seeing(
            lambda tx, sight: values.state_value(tx, editor.tenant_id, goal_id, sight, body.statement(), editor.actor)
        ),
        StatedValueAnswer.of,
        status=201,
        location=lambda value: f"/v1/goals/{goal_id}/values/{value.id}",
    )


@router.get(
    "/table",
    summary="The values stated of a goal as a table",
    response_class=Response,
    responses={200: described_file(VALUES), **responses(GoalNotFound)},
)
async def export_stated_values(
    goal_id: UUID,
    caller: CurrentCaller,
    values: UseCases,
    reader: RequestReader,
    table_format: Annotated[TableFormat, Query(alias="format", description="CSV in UTF-8, or a workbook.")] = (
        TableFormat.CSV
    ),
) -> Response:
    """In the order they were stated."""
    found: list[StatedValue] = []
    async with reader.snapshot() as tx:
        sight = await caller.sight(tx)
        while True:
            after = found[-1].id if found else None
            page = await values.list_values(tx, caller.tenant_id, goal_id, sight, after=after, limit=_PAGE)
            found += page
            if len(page) < _PAGE:
                break

    async def pages() -> AsyncIterator[Sequence[Mapping[str, Value]]]:
        yield [value_row(value.statement) for value in found]

    file, media_type = await table_file(VALUES, table_format, pages())
    return table_answer(file, media_type, f"values-{goal_id}.{table_format}")


@router.post(
    "/table",
    summary="State the values of a table",
    responses=responses(InvalidTable, ItemsRefused, *_STATING),
    openapi_extra=described_upload(VALUES, "day,value\n2026-02-28,8.4"),
)
async def import_stated_values(
    goal_id: UUID,
    uploaded: Uploaded,
    editor: ValueEditor,
    caller: CurrentCaller,
    values: UseCases,
    writer: AuditedWriter,
) -> Answered[StatedTableAnswer]:
    """All lines or none; what is stated in the same words already is not stated again, so a file may be sent twice.

    Without a column `source` they are of a `file`.
    """
    async with caller.reading() as (tx, sight):
        await values.require_seen(tx, editor.tenant_id, goal_id, sight)
    read = await uploaded.read(lambda rows: read_bodies(StatedValueRow, VALUES, rows, rows_max=TABLE_ROWS_MAX))
    stated = [(place(number), row.statement()) for number, row in read]

    async def state(tx: Transaction) -> StatedTableAnswer:
        sight = await caller.sight(tx)
        new = await values.state_values(tx, editor.tenant_id, goal_id, sight, stated, Refusals(), editor.actor)
        return StatedTableAnswer(stated=new, known=len(stated) - new)

    return await writer.commit(state)


@router.get("/{value_id}", summary="A stated value", responses=responses(GoalNotFound, StatedValueNotFound))
async def get_stated_value(
    goal_id: UUID, value_id: UUID, caller: CurrentCaller, values: UseCases, read: ConditionalRead
) -> Answered[StatedValueAnswer]:
    async with caller.reading() as (tx, sight):
        found = await values.get_value(tx, caller.tenant_id, goal_id, value_id, sight)
    return read.answer(StatedValueAnswer.of(found))


@router.patch("/{value_id}", summary="Correct a stated value", responses=responses(*_STATING, *_CHANGE))
async def change_stated_value(
    goal_id: UUID,
    value_id: UUID,
    body: StatedValueChanges,
    editor: ValueEditor,
    caller: CurrentCaller,
    values: UseCases,
    writer: AuditedWriter,
    expected: ExpectedVersion,
) -> Answered[StatedValueAnswer]:
    """What was stated before stays on the audit trail, and is what a past moment of the goal's progress goes by."""
    return await writer.commit(
        caller.seeing(
            lambda tx, sight: values.change_value(
                tx,
                editor.tenant_id,
                goal_id,
                value_id,
                expected,
                sight,
                lambda statement: changed_statement(statement, body),
                editor.actor,
            )
        ),
        StatedValueAnswer.of,
    )


@router.delete(
    "/{value_id}",
    summary="Take a stated value back as if never stated",
    status_code=204,
    responses=responses(*_STATING, *_CHANGE),
)
async def delete_stated_value(
    goal_id: UUID,
    value_id: UUID,
    editor: ValueEditor,
    caller: CurrentCaller,
    values: UseCases,
    writer: AuditedWriter,
    expected: ExpectedVersion,
) -> Response:
    async def taken_back(tx: Transaction) -> None:
        sight = await caller.sight(tx)
        await values.delete_value(tx, editor.tenant_id, goal_id, value_id, expected, sight, editor.actor)

    return await writer.commit(taken_back, status=204)
