"""Tables of the organisation and of goals over HTTP: `GET /v1/people/table`, and so for each kind."""

from typing import Annotated, Final

from fastapi import APIRouter, Depends, Query
from starlette.responses import Response

from services.goals.files.kinds import COLUMNS, Tables
from shared.http.auth import CurrentPrincipal
from shared.http.problems import responses
from shared.http.reader import RequestReader
from shared.http.sight import CurrentSight
from shared.http.tables import TableFormat, described_file, table_answer, table_file
from shared.http.wiring import handed
from shared.tables.xlsx_writing import TableDoesNotFit

router = APIRouter(prefix="/v1")

AllTables = Annotated[Tables, Depends(handed(Tables))]
_FORMAT: Final = Query(alias="format", description="CSV in UTF-8, or a workbook.")


def _add_routes(kind: str) -> None:
    columns = COLUMNS[kind]

    async def export_table(
        principal: CurrentPrincipal,
        sight: CurrentSight,
        tables: AllTables,
        reader: RequestReader,
        table_format: Annotated[TableFormat, _FORMAT] = TableFormat.CSV,
    ) -> Response:
        """Everything in view as of one moment, a row each, by id. What it gives can be changed and sent back."""
        async with reader.snapshot() as tx:
            pages = tables.kinds[kind].pages(tx, principal.tenant_id, await sight.today(tx))
            file, media_type = await table_file(columns, table_format, pages)
        return table_answer(file, media_type, f"{kind}.{table_format}")

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
