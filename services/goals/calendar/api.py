"""The calendar over HTTP."""

from typing import Annotated

from fastapi import APIRouter, Depends, Header, Query

from services.goals.calendar.domain import CalendarNotSet
from services.goals.calendar.national import Governments
from services.goals.calendar.schemas import CalendarAnswer, CalendarBody, CalendarYearAnswer, first_day
from services.goals.calendar.service import Calendars
from shared.contracts.base import Day
from shared.db.database import Transaction
from shared.http.audit import AuditedWriter
from shared.http.auth import CurrentPrincipal
from shared.http.etag import Answered, ConditionalRead, expected_version
from shared.http.problems import PreconditionRequired, responses
from shared.http.reader import RequestReader
from shared.http.sight import Editor
from shared.http.wiring import handed
from shared.kernel.errors import VersionMismatch

router = APIRouter(prefix="/v1")

UseCases = Annotated[Calendars, Depends(handed(Calendars))]


@router.get("/calendar", tags=["calendar"], summary="The fiscal calendar", responses=responses(CalendarNotSet))
async def get_calendar(
    principal: CurrentPrincipal, calendars: UseCases, reader: RequestReader, read: ConditionalRead
) -> Answered[CalendarAnswer]:
    """Everyone in the tenant may read it, as it is today and with its `history`.

    404 until it has been set; until then years start in January, in UTC.
    """
    async with reader.transaction() as tx:
        answer = CalendarAnswer.of(await calendars.get_calendar(tx, principal.tenant_id), tx.now)
    return read.answer(answer)


@router.get("/calendar/year", tags=["calendar"], summary="A fiscal year with its weeks and working days")
async def get_calendar_year(
    principal: CurrentPrincipal,
    calendars: UseCases,
    reader: RequestReader,
    containing: Annotated[Day | None, Query(description="A day of the year; left out, the tenant's today.")] = None,
) -> CalendarYearAnswer:
    """The year by the calendar as it is now; without one, from January, in weeks from Monday to Friday.

    What is not known for certain, since its public holidays are not published yet, is said to be a guess.
    """
    async with reader.transaction() as tx:
        fiscal = await calendars.fiscal_calendar(tx, principal.tenant_id)
        working = await calendars.working(tx, principal.tenant_id)
        return CalendarYearAnswer.of(fiscal, working, containing or fiscal.business_date(tx.now))


@router.put(
    "/calendar",
    tags=["calendar"],
    summary="Set the fiscal calendar",
    responses=responses(VersionMismatch, PreconditionRequired),
)
async def set_calendar(
    body: CalendarBody,
    editor: Editor,
    calendars: UseCases,
    governments: Annotated[Governments, Depends(handed(Governments))],
    writer: AuditedWriter,
    if_match: Annotated[
        str | None, Header(description="The ETag of the calendar that is changed; left out to set the first.")
    ] = None,
) -> Answered[CalendarAnswer]:
    """A change is in force from its `start` on, up to the next change; before that, days and periods stay as they are.

    Where years are cut in another way, the period the change falls into ends there. Where a zone changes, the first
    day begins when it begins in the zone before. Public holidays are taken over as they are known now, and
    refreshed by themselves with each year and each release that knows more.
    """
    terms, start = body.terms(), first_day(body.start)
    version = 0 if if_match is None else expected_version(if_match)

    async def set_it(tx: Transaction) -> CalendarAnswer:
        try:
            changed = await calendars.set_calendar(
                tx, editor.tenant_id, terms, start, governments.days, expected_version=version
            )
        except VersionMismatch:
            # One who named no version gets to hear that, and not that nothing is an old version.
            expected_version(if_match)
            raise
        return CalendarAnswer.of(changed, tx.now)

    return await writer.commit(set_it)
