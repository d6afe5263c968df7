"""Statements over HTTP: as JSON, as documents to be read, as tables."""

from collections.abc import AsyncIterator, Sequence
from datetime import date
from typing import Annotated, Final
from urllib.parse import quote
from uuid import UUID

from fastapi import APIRouter, Depends, Query
from starlette.responses import Response, StreamingResponse

from services.incentives.credits.domain.credit import PersonNotInSight, TeamNotInSight
from services.incentives.earnings.explaining import StatementTooLong
from services.incentives.statements.archive import archive, file_name
from services.incentives.statements.columns import COLUMNS, rows_of
from services.incentives.statements.domain.statement import (
    DocumentTooLong,
    Payee,
    PersonStatement,
    statement_document,
)
from services.incentives.statements.domain.texts import Texts
from services.incentives.statements.pay_schemas import PersonStatementAnswer
from services.incentives.statements.rendering import MEDIA_TYPES, DocumentFormat, Renderer
from services.incentives.statements.schemas import (
    ZIP,
    Format,
    InLanguage,
    described_archive,
    described_document,
    texts_in,
)
from services.incentives.statements.service import Statements, TooManyPeople
from services.incentives.statements.stating import stated
from shared.http.named_deals import NamedDeal, named_deal
from shared.http.problems import ParameterError, responses
from shared.http.sight import Caller, CurrentCaller
from shared.http.tables import TableFormat, described_file, table_answer, table_file
from shared.http.wiring import handed
from shared.kernel.errors import InvalidInput
from shared.kernel.language import Language
from shared.tables.columns import Value
from shared.tables.xlsx_writing import TableDoesNotFit

router = APIRouter(prefix="/v1", tags=["statements"])

UseCases = Annotated[Statements, Depends(handed(Statements))]
Rendering = Annotated[Renderer, Depends(handed(Renderer))]
_ONE_PERSON: Final = "Whose."
_TEAM: Final = (
    "Only of who is in this team or one below it on the last of these days, or today while that lies ahead. Left out: "
    "of everybody in sight."
)
Start = Annotated[date, Query(description="First day.", examples=["2026-01-01"])]
End = Annotated[date, Query(description="First day after.", examples=["2026-04-01"])]
TeamId = Annotated[UUID | None, Query(description=_TEAM)]
Named = Annotated[NamedDeal, Depends(named_deal("Say too why this deal is, or is not, on the statement."))]
_PERSON_ERRORS: Final = responses(PersonNotInSight, StatementTooLong)


@router.get("/statements", summary="A person's statement", responses=_PERSON_ERRORS)
async def get_statement(
    caller: CurrentCaller,
    statements: UseCases,
    person_id: Annotated[UUID, Query(description=_ONE_PERSON)],
    start: Start,
    end: End,
    named: Named,
) -> PersonStatementAnswer:
    """Every line of every earning whose period lies within [start, end), with totals that equal the ledger.

    And what payout runs for the pay periods within these days paid.
    """
    _check_days(start, end)
    async with caller.reading() as (tx, sight):
        deal_id = await named.id(tx)
        found = await statements.get(tx, caller.tenant_id, sight, person_id, start, end, deal_id)
    return PersonStatementAnswer.of_person(found)


@router.get(
    "/statements/document",
    summary="A person's statement as a document",
    response_class=Response,
    responses={
        **responses(PersonNotInSight, StatementTooLong, DocumentTooLong),
        200: described_document("The statement."),
    },
)
async def get_statement_document(
    caller: CurrentCaller,
    statements: UseCases,
    renderer: Rendering,
    person_id: Annotated[UUID, Query(description=_ONE_PERSON)],
    start: Start,
    end: End,
    named: Named,
    document_format: Format = DocumentFormat.PDF,
    language: InLanguage = Language.ENGLISH,
) -> Response:
    """What finance hands out: the totals by component, then each deal with the rate of each slice.

    The same statement is the same file. One of more than 2,000 lines is no document: take the table.
    """
    _check_days(start, end)
    texts = texts_in(language)
    async with caller.reading() as (tx, sight):
        deal_id = await named.id(tx)
        found = await statements.get(tx, caller.tenant_id, sight, person_id, start, end, deal_id)
    statement = stated(found, texts)
    statement.check_length()
    content = await renderer.render(statement_document(statement, texts), document_format)
    return document_answer(content, document_format, f"{file_name(statement.payee)}_{start}")


@router.get(
    "/statements/documents",
    summary="The statements of many people",
    response_class=Response,
    responses={
        **responses(TeamNotInSight, TooManyPeople),
        200: described_archive(
            "A document for each person, and `index.csv` with the totals and the file of each. Who has more than 2,000 "
            "lines has a table instead."
        ),
    },
)
async def get_statement_documents(
    caller: CurrentCaller,
    statements: UseCases,
    renderer: Rendering,
    start: Start,
    end: End,
    team_id: TeamId = None,
    document_format: Format = DocumentFormat.PDF,
    language: InLanguage = Language.ENGLISH,
) -> Response:
    """Of a team or of everybody in sight who was on a plan or has an earning there: up to 5,000 people.

    It is sent while it is made. Each statement is of one moment; a connection that ends early leaves a broken file.
    """
    _check_days(start, end)
    texts = texts_in(language)
    payees = await _payees(caller, statements, team_id, start, end)
    pieces = archive(_statements(caller, statements, payees, start, end, texts), renderer, document_format, texts)
    return archive_answer(pieces, f"statements_{start}.zip")


@router.get(
    "/statements/table",
    summary="The lines of statements as a table",
    response_class=Response,
    responses={
        **responses(PersonNotInSight, TeamNotInSight, TooManyPeople, TableDoesNotFit),
        200: described_file(COLUMNS),
    },
)
async def get_statement_table(
    caller: CurrentCaller,
    statements: UseCases,
    start: Start,
    end: End,
    person_id: Annotated[UUID | None, Query(description="Only this person's.")] = None,
    team_id: TeamId = None,
    table_format: Annotated[
        TableFormat, Query(alias="format", description="CSV in UTF-8, or a workbook.")
    ] = TableFormat.CSV,
) -> Response:
    """A row for each line, and one for what no single deal brought in: the amounts add up to the ledger.

    What payout runs paid has rows of its own, with `pay_amount`.
    """
    _check_days(start, end)
    check_one_of(person_id, team_id)
    if person_id is None:
        payees: Sequence[Payee] = await _payees(caller, statements, team_id, start, end)
    else:
        payees = [Payee(person_id)]
    found = _statements(caller, statements, payees, start, end, texts_in(Language.ENGLISH))
    file, media_type = await table_file(COLUMNS, table_format, rows_in(found))
    return table_answer(file, media_type, f"statements_{start}.{table_format}")


def document_answer(content: bytes, document_format: DocumentFormat, name: str) -> Response:
    """A document to be shown, or stored as a file of this name. A page runs and fetches nothing."""
    headers = _headers(f"{name}.{document_format}")
    if document_format is DocumentFormat.HTML:
        headers["content-security-policy"] = "default-src 'none'; style-src 'unsafe-inline'; sandbox"
    return Response(content, media_type=MEDIA_TYPES[document_format], headers=headers)


def archive_answer(pieces: AsyncIterator[bytes], name: str) -> Response:
    """A ZIP that is sent while it is made. What fails midway breaks the connection off, and the ZIP has no end."""
    return StreamingResponse(pieces, media_type=ZIP, headers=_headers(name))


def check_one_of(person_id: UUID | None, team_id: UUID | None) -> None:
    """Raises InvalidInput where both are given."""
    if person_id is not None and team_id is not None:
        raise InvalidInput(
            "/person_id and /team_id are both given.",
            fields=[ParameterError("/team_id", "is given beside /person_id", "one of the two", "query")],
        )


async def rows_in(statements: AsyncIterator[PersonStatement]) -> AsyncIterator[Sequence[dict[str, Value]]]:
    """The rows of a table, one statement at a time."""
    async for statement in statements:
        yield [dict(row) for row in rows_of(statement)]


def _headers(name: str) -> dict[str, str]:
    plain = name.encode("ascii", "replace").decode().replace("?", "_")
    disposition = f"inline; filename=\"{plain}\"; filename*=UTF-8''{quote(name)}"
    return {"content-disposition": disposition, "cache-control": "no-store"}


def _check_days(start: date, end: date) -> None:
    if start >= end:
        raise InvalidInput(
            "/end is not after /start.",
            fields=[ParameterError("/end", f"{end} is not after {start}", "a later day", "query")],
        )


async def _payees(
    caller: Caller, statements: Statements, team_id: UUID | None, start: date, end: date
) -> Sequence[Payee]:
    async with caller.reading() as (tx, sight):
        return await statements.payees(tx, caller.tenant_id, sight, team_id, start, end)


async def _statements(
    caller: Caller, statements: Statements, payees: Sequence[Payee], start: date, end: date, texts: Texts
) -> AsyncIterator[PersonStatement]:
    """Each in a transaction of its own, so that nobody's deals wait for a file."""
    for payee in payees:
        async with caller.reading() as (tx, sight):
            found = await statements.get(tx, caller.tenant_id, sight, payee.person_id, start, end)
        yield stated(found, texts)
