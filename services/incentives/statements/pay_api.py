"""Statements of pay periods over HTTP: as they were paid, beside what the same is worth now."""

from collections.abc import AsyncIterator, Sequence
from typing import Annotated, Final
from uuid import UUID

from fastapi import APIRouter, Depends, Query
from starlette.responses import Response

from services.incentives.credits.domain.credit import PersonNotInSight, TeamNotInSight
from services.incentives.earnings.comparing import Comparisons
from services.incentives.earnings.explaining import StatementTooLong
from services.incentives.periods.domain import PayPeriodNotFound
from services.incentives.statements.api import (
    Rendering,
    archive_answer,
    check_one_of,
    document_answer,
    rows_in,
)
from services.incentives.statements.archive import archive, file_name
from services.incentives.statements.columns import COLUMNS
from services.incentives.statements.domain.statement import (
    DocumentTooLong,
    Payee,
    PersonStatement,
    statement_document,
)
from services.incentives.statements.keeping import PayStatements
from services.incentives.statements.pay_schemas import (
    KeptStatementAnswer,
    KeptVerificationAnswer,
    PayeeStatementAnswer,
    PayStatementAnswer,
)
from services.incentives.statements.rendering import DocumentFormat
from services.incentives.statements.schemas import (
    Format,
    InLanguage,
    described_archive,
    described_document,
    texts_in,
)
from services.incentives.statements.service import Statements, TooManyPeople
from shared.http.paging import Cursor, Page, Paging
from shared.http.problems import responses
from shared.http.reader import RequestReader
from shared.http.sight import Auditor, Caller, CurrentCaller
from shared.http.tables import TableFormat, described_file, table_answer, table_file
from shared.http.wiring import handed
from shared.kernel.language import Language
from shared.tables.xlsx_writing import TableDoesNotFit

router = APIRouter(prefix="/v1/pay-periods/{pay_period_id}/statements", tags=["statements"])

UseCases = Annotated[PayStatements, Depends(handed(PayStatements))]
KnowsPeople = Annotated[Statements, Depends(handed(Statements))]
KnowsPeriods = Annotated[Comparisons, Depends(handed(Comparisons))]
TeamId = Annotated[
    UUID | None,
    Query(
        description="Only of who is in this team or one below it on the last day of the pay period. Left out: of "
        "everybody in sight."
    ),
]
Later = Annotated[
    bool,
    Query(
        description="What was posted later for the pay period too, as recalculated beside as paid. Such a document "
        "changes with what is posted; without it, it stays as it was kept."
    ),
]
_IDS: Final = Cursor(tuple[str, UUID])
_ONE: Final = responses(PayPeriodNotFound, PersonNotInSight, StatementTooLong)


@router.get(
    "",
    summary="Whose statements of a pay period there are",
    responses=responses(PayPeriodNotFound, TeamNotInSight, TooManyPeople),
)
async def list_pay_statements(
    pay_period_id: UUID,
    caller: CurrentCaller,
    statements: UseCases,
    people: KnowsPeople,
    paging: Paging,
    team_id: TeamId = None,
) -> Page[PayeeStatementAnswer]:
    """Everybody in sight who was on a plan in it, has something due in it or was paid by it, by name."""
    async with caller.reading() as (tx, sight):
        payees = await people.due_payees(tx, caller.tenant_id, sight, team_id, pay_period_id)
        digests = await statements.digests(tx, caller.tenant_id, pay_period_id)
    after = _IDS.after(paging)
    rest = [payee for payee in payees if after is None or _key(payee) > after][: paging.fetch_limit]
    return _IDS.page(paging, rest, key=_key, item=lambda payee: PayeeStatementAnswer.of(payee, digests))


@router.get(
    "/documents",
    summary="The statements of a pay period of many people",
    response_class=Response,
    responses={
        **responses(PayPeriodNotFound, TeamNotInSight, TooManyPeople),
        200: described_archive(
            "A document for each person, and `index.csv` with the totals and the file of each. Who has more than 2,000 "
            "lines has a table instead."
        ),
    },
)
async def get_pay_statement_documents(
    pay_period_id: UUID,
    caller: CurrentCaller,
    statements: UseCases,
    people: KnowsPeople,
    renderer: Rendering,
    team_id: TeamId = None,
    document_format: Format = DocumentFormat.PDF,
    language: InLanguage = Language.ENGLISH,
) -> Response:
    """It is sent while it is made; a connection that ends early leaves a file without an end, which nothing opens."""
    async with caller.reading() as (tx, sight):
        payees = await people.due_payees(tx, caller.tenant_id, sight, team_id, pay_period_id)
    texts = texts_in(language)
    found = _statements(caller, statements, pay_period_id, payees)
    return archive_answer(archive(found, renderer, document_format, texts), f"statements_{pay_period_id}.zip")


@router.get(
    "/table",
    summary="The lines of statements of a pay period as a table",
    response_class=Response,
    responses={
        **responses(PayPeriodNotFound, PersonNotInSight, TeamNotInSight, TooManyPeople, TableDoesNotFit),
        200: described_file(COLUMNS),
    },
)
async def get_pay_statement_table(
    pay_period_id: UUID,
    caller: CurrentCaller,
    statements: UseCases,
    people: KnowsPeople,
    person_id: Annotated[UUID | None, Query(description="Only this person's.")] = None,
    team_id: TeamId = None,
    table_format: Annotated[
        TableFormat, Query(alias="format", description="CSV in UTF-8, or a workbook.")
    ] = TableFormat.CSV,
) -> Response:
    """The `amount` of all rows of a person adds up to what the pay period paid, `pay_amount` to what runs paid."""
    check_one_of(person_id, team_id)
    payees: Sequence[Payee]
    if person_id is None:
        async with caller.reading() as (tx, sight):
            payees = await people.due_payees(tx, caller.tenant_id, sight, team_id, pay_period_id)
    else:
        payees = [Payee(person_id)]
    found = _statements(caller, statements, pay_period_id, payees)
    file, media_type = await table_file(COLUMNS, table_format, rows_in(found))
    return table_answer(file, media_type, f"statements_{pay_period_id}.{table_format}")


@router.get(
    "/verification",
    summary="Whether the kept statements of a pay period are what was written",
    responses=responses(PayPeriodNotFound),
)
async def verify_pay_statements(
    pay_period_id: UUID, auditor: Auditor, statements: UseCases, periods: KnowsPeriods, reader: RequestReader
) -> KeptVerificationAnswer:
    """Every digest is worked out anew, and what the statements say was paid is compared with the ledger."""
    async with reader.transaction() as tx:
        _, pay_period = await periods.found(tx, auditor.tenant_id, pay_period_id)
        differences = await statements.check(tx, auditor.tenant_id, pay_period)
        parts = await statements.kept_periods(tx, auditor.tenant_id)
    return KeptVerificationAnswer.of(
        [each for each in parts if each.pay_period_id == pay_period_id], [str(each) for each in differences]
    )


@router.get("/{person_id}", summary="A person's statement of a pay period", responses=_ONE)
async def get_pay_statement(
    pay_period_id: UUID, person_id: UUID, caller: CurrentCaller, statements: UseCases
) -> PayStatementAnswer:
    """As it was paid, from the cut-off on; beside it what was posted later, and what it is worth now."""
    async with caller.reading() as (tx, sight):
        found = await statements.get(tx, caller.tenant_id, sight, pay_period_id, person_id, later=True)
    return PayStatementAnswer.of(found)


@router.get(
    "/{person_id}/document",
    summary="A person's statement of a pay period as a document",
    response_class=Response,
    responses={
        **responses(PayPeriodNotFound, PersonNotInSight, StatementTooLong, DocumentTooLong),
        200: described_document("The statement."),
    },
)
async def get_pay_statement_document(
    pay_period_id: UUID,
    person_id: UUID,
    caller: CurrentCaller,
    statements: UseCases,
    renderer: Rendering,
    later: Later = False,
    document_format: Format = DocumentFormat.PDF,
    language: InLanguage = Language.ENGLISH,
) -> Response:
    """Made of what was kept, and so the same document whenever it is asked for, by the same release."""
    async with caller.reading() as (tx, sight):
        statement = await statements.get(tx, caller.tenant_id, sight, pay_period_id, person_id, later=later)
    statement.check_length()
    content = await renderer.render(statement_document(statement, texts_in(language)), document_format)
    return document_answer(content, document_format, f"{file_name(statement.payee)}_{statement.start}")


@router.get(
    "/{person_id}/kept",
    summary="What was kept of a statement, byte for byte",
    responses=responses(PayPeriodNotFound, PersonNotInSight),
)
async def get_kept_statement(
    pay_period_id: UUID, person_id: UUID, caller: CurrentCaller, statements: UseCases
) -> KeptStatementAnswer:
    """As it was written, with its digest: `earned` since the cut-off, `paid` since the closing."""
    async with caller.reading() as (tx, sight):
        kept = await statements.kept(tx, caller.tenant_id, sight, pay_period_id, person_id)
    return KeptStatementAnswer.of(kept)


async def _statements(
    caller: Caller, statements: PayStatements, pay_period_id: UUID, payees: Sequence[Payee]
) -> AsyncIterator[PersonStatement]:
    """Each in a transaction of its own, so that nobody's deals wait for a file."""
    for payee in payees:
        async with caller.reading() as (tx, sight):
            found = await statements.get(tx, caller.tenant_id, sight, pay_period_id, payee.person_id, later=False)
        yield found


def _key(payee: Payee) -> tuple[str, UUID]:
    return payee.name or "", payee.person_id
