"""Tables of the organisation and of goals over HTTP: `GET /v1/people/table`, and so for each kind."""

from functools import partial
from typing import Annotated, Final, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Query, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from services.goals.files.domain import PARTS_MAX, UploadIncomplete, UploadNotFound
from services.goals.files.kinds import COLUMNS, Tables
from services.goals.files.schemas import TableAnswer
from services.goals.files.service import Uploads
from services.goals.jobs.schemas import JobAnswer
from shared.db.database import Transaction
from shared.http.audit import AuditedWriter
from shared.http.etag import Answered
from shared.http.problems import responses
from shared.http.reader import RequestReader
from shared.http.schemas import body_example
from shared.http.sight import CurrentCaller, Editor
from shared.http.tables import (
    MEDIA_TYPES,
    TableFormat,
    Uploaded,
    all_rows,
    described_file,
    described_upload,
    table_answer,
    table_file,
)
from shared.http.wiring import handed
from shared.http.writer import RequestWriter
from shared.tables.cells import InvalidTable
from shared.tables.xlsx_writing import TableDoesNotFit

router = APIRouter(prefix="/v1")

AllUploads = Annotated[Uploads, Depends(handed(Uploads))]
AllTables = Annotated[Tables, Depends(handed(Tables))]
ROWS_MAX: Final = 5000
_FORMAT: Final = Query(alias="format", description="CSV in UTF-8, or a workbook.")


_EXAMPLES: Final = {
    "people": "name,email,employee_number\nDarcel Schlecht,darcel@example.com,E-1042\n",
    "teams": "name,parent_id\nCentral,\n",
    "memberships": "person_id,team_id,start,end\n"
    "01935a00-0000-7000-8000-000000000011,01935a00-0000-7000-8000-000000000021,2026-01-01,\n",
    "identities": "source,external_user_id,person_id\npipedrive,12345678,01935a00-0000-7000-8000-000000000011\n",
    "goals": "name,owner_kind,owner_id,target,start,end,metric_aggregate,metric_value_field,metric_currency\n"
    '"Bookings, Q1",person,01935a00-0000-7000-8000-000000000011,250000,2026-01-01,2026-04-01,sum,amount,USD\n',
}


class _Checked(Exception):
    """Undoes what was done to see what would become of it."""

    def __init__(self, answer: TableAnswer) -> None:
        super().__init__()
        self.answer = answer


def _add_routes(kind: str) -> None:
    columns = COLUMNS[kind]

    async def export_table(
        caller: CurrentCaller,
        tables: AllTables,
        reader: RequestReader,
        table_format: Annotated[TableFormat, _FORMAT] = TableFormat.CSV,
    ) -> Response:
        """Everything in view as of one moment, a row each, by id. What it gives can be changed and sent back."""
        async with reader.snapshot() as tx:
            pages = tables.kinds[kind].pages(tx, caller.tenant_id, await caller.sight(tx))
            file, media_type = await table_file(columns, table_format, pages)
        return table_answer(file, media_type, f"{kind}.{table_format}")

    async def import_table(
        upload: Uploaded,
        editor: Editor,
        tables: AllTables,
        writer: AuditedWriter,
        check: Annotated[bool, Query(description="Only say what would become of each line.")] = False,
    ) -> Answered[TableAnswer]:
        """All lines are stored or none: what is wrong is named by line and column.

        A line without an `id` makes something new. One with an `id` changes that, and names the `version` it was made
        from, unless it states what is so anyway. What the file has no column for stays. Lines may refer to one another.
        """
        rows = await upload.read(partial(all_rows, columns, rows_max=ROWS_MAX))

        async def put(tx: Transaction) -> TableAnswer:
            answer = TableAnswer.of(await tables.kinds[kind].put(tx, editor.tenant_id, rows), stored=not check)
            if check:
                raise _Checked(answer)
            return answer

        try:
            return await writer.commit(put)
        except _Checked as checked:
            return Answered(checked.answer.model_dump_json(), media_type="application/json")

    router.add_api_route(
        f"/{kind}/table",
        import_table,
        methods=["POST"],
        name=f"import_{kind}",
        tags=[kind],
        summary=f"Take a table of {kind}",
        responses=responses(InvalidTable),
        openapi_extra=described_upload(columns, _EXAMPLES[kind]),
    )
    router.add_api_route(
        f"/{kind}/table",
        export_table,
        methods=["GET"],
        name=f"export_{kind}",
        tags=[kind],
        summary=f"The table of {kind}",
        response_class=Response,
        responses={**responses(TableDoesNotFit), 200: described_file(columns)},
    )


for _kind in COLUMNS:
    _add_routes(_kind)


class UploadBody(BaseModel):
    """A file that is sent in parts."""

    model_config = body_example(kind="people", format="csv")

    kind: Literal["people", "teams", "memberships", "identities", "goals"]
    format: TableFormat = Field(TableFormat.CSV, description="CSV in UTF-8, or a workbook with one sheet.")


class UploadAnswer(BaseModel):
    """A file that is sent in parts."""

    model_config = body_example(id="01935a00-0000-7000-8000-000000000091", kind="people")

    id: UUID
    kind: str


@router.post("/uploads", tags=["jobs"], summary="Begin to send a table in parts", status_code=201)
async def create_upload(
    body: UploadBody, editor: Editor, uploads: AllUploads, writer: RequestWriter
) -> Answered[UploadAnswer]:
    """For a table that is larger than one request may be. It is forgotten after seven days."""
    return await writer.commit(
        lambda tx: uploads.create_upload(tx, editor.tenant_id, kind=body.kind, media_type=MEDIA_TYPES[body.format]),
        lambda upload: UploadAnswer(id=upload.id, kind=upload.kind),
        status=201,
        location=lambda upload: f"/v1/uploads/{upload.id}",
    )


@router.put(
    "/uploads/{upload_id}/parts/{number}",
    tags=["jobs"],
    summary="Send a part of a table",
    status_code=204,
    responses=responses(UploadNotFound),
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
        }
    },
)
async def set_upload_part(
    upload_id: UUID,
    number: Annotated[int, Path(ge=1, le=PARTS_MAX, description="From 1 on, without a gap at the end.")],
    request: Request,
    editor: Editor,
    uploads: AllUploads,
    writer: RequestWriter,
) -> Response:
    """In any order; a part that is sent again replaces the one before."""
    content = await request.body()
    return await writer.commit(
        lambda tx: uploads.set_part(tx, editor.tenant_id, upload_id, number, content), status=204
    )


@router.post(
    "/uploads/{upload_id}/import",
    tags=["jobs"],
    summary="Take a table that was sent in parts",
    status_code=202,
    responses=responses(UploadNotFound, UploadIncomplete),
)
async def import_upload(
    upload_id: UUID,
    editor: Editor,
    uploads: AllUploads,
    writer: AuditedWriter,
    check: Annotated[bool, Query(description="Only say how many lines would do what.")] = False,
) -> Answered[JobAnswer]:
    """A job: it looks at every line and then stores all at once. A line may refer to what lines before it make.

    What is wrong, by line and column, is the failure of the job, and nothing is stored then. Its `counts` say how many
    lines have created, changed and left something unchanged.
    """
    return await writer.commit(
        lambda tx: uploads.request_import(tx, editor.tenant_id, upload_id, check=check),
        JobAnswer.of,
        status=202,
        location=lambda job: f"/v1/jobs/{job.id}",
    )
