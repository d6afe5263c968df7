"""Pay periods over HTTP."""

from datetime import date
from typing import Annotated, Final
from uuid import UUID

from fastapi import APIRouter, Depends, Query

from services.incentives.periods.domain import (
    Mover,
    MoverNotAllowed,
    Office,
    PayPeriodCannotMove,
    PayPeriodNotFound,
    PayPeriodOutOfTurn,
)
from services.incentives.periods.schemas import MoveAnswer, MoveBody, PayPeriodAnswer
from services.incentives.periods.service import PayPeriods
from shared.db.database import Transaction
from shared.http.etag import Answered, ConditionalRead, ExpectedVersion
from shared.http.paging import Cursor, Page, Paging
from shared.http.problems import PreconditionRequired, responses
from shared.http.reader import RequestReader
from shared.http.sight import Auditor, CurrentCaller, ReadsOrganisation
from shared.http.wiring import handed
from shared.http.writer import RequestWriter
from shared.kernel.approvals import ApprovalNotIndependent
from shared.kernel.errors import VersionMismatch

router = APIRouter(prefix="/v1")

UseCases = Annotated[PayPeriods, Depends(handed(PayPeriods))]
_STARTS: Final = Cursor(date)
_VERSIONS: Final = Cursor(int)


@router.get("/pay-periods", tags=["pay periods"], summary="List pay periods")
async def list_pay_periods(
    caller: CurrentCaller,
    pay_periods: UseCases,
    organisation: ReadsOrganisation,
    paging: Paging,
    containing: Annotated[date | None, Query(description="Only the one with this day.")] = None,
) -> Page[PayPeriodAnswer]:
    """In order, up to today's: from the first that was ever moved; where none was, from the start of the fiscal year or
    the first in which anything was posted.
    """
    async with caller.reading() as (tx, sight):
        fiscal = (await organisation.chart(tx, caller.tenant_id)).calendar
        calendar = await pay_periods.calendar(tx, caller.tenant_id, fiscal)
    after = _STARTS.after(paging) or date.min
    found = [
        each
        for each in calendar.until(fiscal.business_date(tx.now))
        if each.period.start > after and (containing is None or containing in each.period)
    ]
    return _STARTS.page(
        paging,
        found[: paging.fetch_limit],
        key=lambda each: each.period.start,
        item=lambda each: PayPeriodAnswer.of(each, with_totals=sight.is_whole),
    )


@router.get(
    "/pay-periods/{pay_period_id}",
    tags=["pay periods"],
    summary="Read a pay period",
    responses=responses(PayPeriodNotFound),
)
async def get_pay_period(
    pay_period_id: UUID,
    caller: CurrentCaller,
    pay_periods: UseCases,
    organisation: ReadsOrganisation,
    read: ConditionalRead,
) -> Answered[PayPeriodAnswer]:
    async with caller.reading() as (tx, sight):
        fiscal = (await organisation.chart(tx, caller.tenant_id)).calendar
        found = (await pay_periods.calendar(tx, caller.tenant_id, fiscal)).named(
            pay_period_id, fiscal.business_date(tx.now)
        )
    return read.answer(PayPeriodAnswer.of(found, with_totals=sight.is_whole))


@router.get(
    "/pay-periods/{pay_period_id}/history",
    tags=["pay periods"],
    summary="Who moved a pay period",
    responses=responses(PayPeriodNotFound),
)
async def list_pay_period_moves(
    pay_period_id: UUID,
    auditor: Auditor,
    pay_periods: UseCases,
    organisation: ReadsOrganisation,
    reader: RequestReader,
    paging: Paging,
) -> Page[MoveAnswer]:
    """Every step in order. Nobody can alter it."""
    tenant_id = auditor.tenant_id
    async with reader.transaction() as tx:
        fiscal = (await organisation.chart(tx, tenant_id)).calendar
        found = (await pay_periods.calendar(tx, tenant_id, fiscal)).named(pay_period_id, fiscal.business_date(tx.now))
        moves = await pay_periods.moves(
            tx, tenant_id, found.id, after=_VERSIONS.after(paging) or 0, limit=paging.fetch_limit
        )
    return _VERSIONS.page(paging, moves, key=lambda move: move.version, item=MoveAnswer.of)


@router.post(
    "/pay-periods/{pay_period_id}/move",
    tags=["pay periods"],
    summary="Bring a pay period to its next state",
    responses=responses(
        PayPeriodNotFound,
        PayPeriodCannotMove,
        PayPeriodOutOfTurn,
        MoverNotAllowed,
        ApprovalNotIndependent,
        VersionMismatch,
        PreconditionRequired,
    ),
)
async def move_pay_period(
    pay_period_id: UUID,
    body: MoveBody,
    auditor: Auditor,
    pay_periods: UseCases,
    organisation: ReadsOrganisation,
    writer: RequestWriter,
    expected: ExpectedVersion,
) -> Answered[PayPeriodAnswer]:
    """Finance, revops and admins prepare it; finance and admins approve and close it; its payout run pays it.

    It is approved by a person who did not prepare it and whom it does not pay. That is its cut-off: from then on,
    whatever changes, nothing is posted in it.
    """
    mover = Mover(auditor.actor, frozenset(office for office in Office if office.value in auditor.roles))

    async def move(tx: Transaction) -> PayPeriodAnswer:
        fiscal = (await organisation.chart(tx, auditor.tenant_id)).calendar
        moved = await pay_periods.move(
            tx,
            auditor.tenant_id,
            fiscal,
            pay_period_id,
            body.state,
            mover=mover,
            reason=body.reason,
            expected_version=expected,
        )
        return PayPeriodAnswer.of(moved)

    return await writer.because(body.reason).commit(move)
