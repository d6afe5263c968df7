"""Payout runs over HTTP."""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Annotated, Final
from uuid import UUID

from fastapi import APIRouter, Depends, Query
from starlette.responses import Response

from services.incentives.payouts.domain.runs import (
    Anomaly,
    Payout,
    PayoutRunCannotMove,
    PayoutRunNotFound,
    PayoutRunOutdated,
    PayoutRunOutOfTurn,
)
from services.incentives.payouts.schemas import (
    PayoutAnswer,
    PayoutRunAnswer,
    PayoutRunBody,
    RunChangeAnswer,
    RunStepBody,
    UncreditedDealAnswer,
)
from services.incentives.payouts.service import PayoutRuns
from services.incentives.periods.domain import (
    Mover,
    MoverNotAllowed,
    Office,
    PayPeriodCannotMove,
    PayPeriodNotFound,
    PayPeriodOutOfTurn,
)
from services.incentives.plans.service import Plans
from shared.http.auth import Principal, Role, require
from shared.http.etag import Answered, ConditionalRead, ExpectedVersion
from shared.http.paging import Cursor, Page, Paging
from shared.http.problems import PreconditionRequired, responses
from shared.http.reader import RequestReader
from shared.http.sight import Auditor
from shared.http.tables import TableFormat, described_file, table_answer, table_file
from shared.http.wiring import handed
from shared.http.writer import RequestWriter
from shared.kernel.approvals import ApprovalNotIndependent
from shared.kernel.errors import VersionMismatch
from shared.tables.columns import Column, Kind, Value

router = APIRouter(prefix="/v1/payout-runs", tags=["payout runs"])

UseCases = Annotated[PayoutRuns, Depends(handed(PayoutRuns))]
Preparer = Annotated[Principal, Depends(require(Role.ADMIN, Role.REVOPS, Role.FINANCE))]
"""The caller, who prepares what is paid. 403 for anybody else."""
Payer = Annotated[Principal, Depends(require(Role.ADMIN, Role.FINANCE))]
"""The caller, who approves what is paid. 403 for anybody else."""

_IDS: Final = Cursor(UUID)
_NUMBERS: Final = Cursor(int)
_STEP: Final = (PayoutRunNotFound, PayoutRunCannotMove, VersionMismatch, PreconditionRequired)
_COLUMNS: Final = (
    Column("payout_id", Kind.ID),
    Column("person_id", Kind.ID),
    Column("person", Kind.TEXT),
    Column("plan_id", Kind.ID),
    Column("currency", Kind.WORD),
    Column("earned", Kind.NUMBER),
    Column("paid", Kind.NUMBER),
    Column("carried", Kind.NUMBER),
    Column("anomalies", Kind.WORD),
)


@router.get("", summary="List payout runs")
async def list_payout_runs(
    auditor: Auditor, runs: UseCases, reader: RequestReader, paging: Paging
) -> Page[PayoutRunAnswer]:
    """By number."""
    async with reader.transaction() as tx:
        found = await runs.list_runs(tx, auditor.tenant_id)
    after = _NUMBERS.after(paging) or 0
    rest = [run for run in found if run.number > after][: paging.fetch_limit]
    return _NUMBERS.page(paging, rest, key=lambda run: run.number, item=PayoutRunAnswer.of)


@router.post(
    "",
    summary="Work out what everybody is paid for a pay period",
    status_code=201,
    responses=responses(PayPeriodNotFound, PayoutRunOutOfTurn),
)
async def create_payout_run(
    body: PayoutRunBody, preparer: Preparer, runs: UseCases, writer: RequestWriter
) -> Answered[PayoutRunAnswer]:
    """Everything that was posted since the run before, up to the end of the pay period, after the plans' rules. Nothing
    is posted before somebody else approves it.
    """
    return await writer.commit(
        lambda tx: runs.calculate(tx, preparer.tenant_id, body.pay_period_id, actor=preparer.actor, reason=body.reason),
        PayoutRunAnswer.of,
        status=201,
        location=lambda run: f"/v1/payout-runs/{run.id}",
    )


@router.get("/{run_id}", summary="Read a payout run", responses=responses(PayoutRunNotFound))
async def get_payout_run(
    run_id: UUID, auditor: Auditor, runs: UseCases, reader: RequestReader, read: ConditionalRead
) -> Answered[PayoutRunAnswer]:
    async with reader.transaction() as tx:
        found = await runs.get_run(tx, auditor.tenant_id, run_id)
    return read.answer(PayoutRunAnswer.of(found))


@router.get("/{run_id}/history", summary="Who took which step of a run", responses=responses(PayoutRunNotFound))
async def list_payout_run_changes(
    run_id: UUID, auditor: Auditor, runs: UseCases, reader: RequestReader, paging: Paging
) -> Page[RunChangeAnswer]:
    """Every step in order. Nobody can alter it."""
    async with reader.transaction() as tx:
        found = await runs.list_changes(
            tx, auditor.tenant_id, run_id, after=_NUMBERS.after(paging) or 0, limit=paging.fetch_limit
        )
    return _NUMBERS.page(paging, found, key=lambda change: change.version, item=RunChangeAnswer.of)


@router.get("/{run_id}/payouts", summary="What a run pays whom", responses=responses(PayoutRunNotFound))
async def list_payouts(
    run_id: UUID,
    auditor: Auditor,
    runs: UseCases,
    reader: RequestReader,
    paging: Paging,
    anomaly: Annotated[Anomaly | None, Query(description="Only those with this to be looked at.")] = None,
) -> Page[PayoutAnswer]:
    """Each with the lines that lead from what was earned to what is paid."""
    async with reader.transaction() as tx:
        found = await runs.list_payouts(
            tx,
            auditor.tenant_id,
            run_id=run_id,
            anomaly=anomaly,
            after=_IDS.after(paging),
            limit=paging.fetch_limit,
        )
    return _IDS.page(paging, found, key=lambda payout: payout.id, item=PayoutAnswer.of)


@router.get(
    "/{run_id}/uncredited-deals",
    summary="What a run credits to nobody",
    responses=responses(PayoutRunNotFound),
)
async def list_uncredited_deals(
    run_id: UUID, auditor: Auditor, runs: UseCases, reader: RequestReader, paging: Paging
) -> Page[UncreditedDealAnswer]:
    """Deals won in the days of the run that count for a plan and that nobody was credited with when it was calculated,
    in whole or in part. What is mapped or assigned since is credited: calculate the run anew to see what is left.
    """
    async with reader.transaction() as tx:
        found = await runs.list_uncredited(
            tx, auditor.tenant_id, run_id, after=_IDS.after(paging), limit=paging.fetch_limit
        )
    return _IDS.page(paging, found, key=lambda each: each.deal_id, item=UncreditedDealAnswer.of)


@router.get(
    "/{run_id}/table",
    summary="What a run pays, as a table",
    response_class=Response,
    responses={200: described_file(_COLUMNS), **responses(PayoutRunNotFound)},
)
async def export_payouts(
    run_id: UUID,
    auditor: Auditor,
    runs: UseCases,
    plans: Annotated[Plans, Depends(handed(Plans))],
    reader: RequestReader,
    table_format: Annotated[TableFormat, Query(alias="format", description="CSV in UTF-8, or a workbook.")] = (
        TableFormat.CSV
    ),
) -> Response:
    """One line for each person and plan. Reading it hands nothing over: that is `…/export`."""
    async with reader.snapshot() as tx:
        run = await runs.get_run(tx, auditor.tenant_id, run_id)
        found = await runs.list_payouts(tx, auditor.tenant_id, run_id=run_id, anomaly=None, after=None, limit=None)
        names = await plans.person_names(tx, auditor.tenant_id, [each.person_id for each in found])
    file, media_type = await table_file(_COLUMNS, table_format, _pages(found, names))
    return table_answer(file, media_type, f"payout-run-{run.number}.{table_format}")


@router.post(
    "/{run_id}/approve",
    summary="Let a run pay",
    responses=responses(PayoutRunOutOfTurn, PayoutRunOutdated, ApprovalNotIndependent, PayPeriodNotFound, *_STEP),
)
async def approve_payout_run(
    run_id: UUID,
    body: RunStepBody,
    payer: Payer,
    runs: UseCases,
    writer: RequestWriter,
    expected: ExpectedVersion,
) -> Answered[PayoutRunAnswer]:
    """By a person who did not calculate it and whom it does not pay, once its pay period is cut off."""
    return await writer.because(body.reason).commit(
        lambda tx: runs.approve(tx, payer.tenant_id, run_id, expected, actor=payer.actor, reason=body.reason),
        PayoutRunAnswer.of,
    )


@router.post(
    "/{run_id}/export",
    summary="Hand a run over to payroll",
    responses=responses(PayPeriodCannotMove, PayPeriodOutOfTurn, MoverNotAllowed, PayPeriodNotFound, *_STEP),
)
async def export_payout_run(
    run_id: UUID,
    body: RunStepBody,
    payer: Payer,
    runs: UseCases,
    writer: RequestWriter,
    expected: ExpectedVersion,
) -> Answered[PayoutRunAnswer]:
    """Each payout is published as `attain.payout.v1` in the transaction that marks the run exported: exactly once."""
    return await writer.because(body.reason).commit(
        lambda tx: runs.export(tx, payer.tenant_id, run_id, expected, mover=_mover(payer), reason=body.reason),
        PayoutRunAnswer.of,
    )


@router.post(
    "/{run_id}/paid",
    summary="Say that payroll has paid a run",
    responses=responses(PayPeriodCannotMove, PayPeriodOutOfTurn, MoverNotAllowed, PayPeriodNotFound, *_STEP),
)
async def mark_payout_run_paid(
    run_id: UUID,
    body: RunStepBody,
    payer: Payer,
    runs: UseCases,
    writer: RequestWriter,
    expected: ExpectedVersion,
) -> Answered[PayoutRunAnswer]:
    """Of a run that was exported."""
    return await writer.because(body.reason).commit(
        lambda tx: runs.mark_paid(tx, payer.tenant_id, run_id, expected, mover=_mover(payer), reason=body.reason),
        PayoutRunAnswer.of,
    )


@router.post("/{run_id}/cancel", summary="Drop a run that was not approved", responses=responses(*_STEP))
async def cancel_payout_run(
    run_id: UUID,
    body: RunStepBody,
    preparer: Preparer,
    runs: UseCases,
    writer: RequestWriter,
    expected: ExpectedVersion,
) -> Answered[PayoutRunAnswer]:
    """Another can be calculated then."""
    return await writer.because(body.reason).commit(
        lambda tx: runs.cancel(tx, preparer.tenant_id, run_id, expected, actor=preparer.actor, reason=body.reason),
        PayoutRunAnswer.of,
    )


@router.post(
    "/{run_id}/reverse",
    summary="Propose a run that undoes another",
    status_code=201,
    responses=responses(PayoutRunOutOfTurn, *_STEP),
)
async def reverse_payout_run(
    run_id: UUID,
    body: RunStepBody,
    preparer: Preparer,
    runs: UseCases,
    writer: RequestWriter,
    expected: ExpectedVersion,
) -> Answered[PayoutRunAnswer]:
    """Of the last run that counts. Once somebody else approves it, the exact opposite is posted."""
    return await writer.because(body.reason).commit(
        lambda tx: runs.reverse(tx, preparer.tenant_id, run_id, expected, actor=preparer.actor, reason=body.reason),
        PayoutRunAnswer.of,
        status=201,
    )


def _mover(principal: Principal) -> Mover:
    return Mover(principal.actor, frozenset(office for office in Office if office.value in principal.roles))


async def _pages(found: Sequence[Payout], names: Mapping[UUID, str]) -> AsyncIterator[Sequence[Mapping[str, Value]]]:
    yield [
        {
            "payout_id": each.id,
            "person_id": each.person_id,
            "person": names.get(each.person_id),
            "plan_id": each.plan_id,
            "currency": each.currency,
            "earned": each.earned,
            "paid": each.paid,
            "carried": each.state.carried,
            "anomalies": " ".join(each.anomalies) or None,
        }
        for each in found
    ]
