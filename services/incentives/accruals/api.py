"""Accruals and budgets over HTTP."""

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import date
from enum import StrEnum
from typing import Annotated, Final
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Query
from starlette.responses import Response

from services.incentives.accruals.domain import Accrual, Budget
from services.incentives.accruals.schemas import (
    AccrualAnswer,
    AccrualsAnswer,
    BudgetAnswer,
    BudgetBody,
    CostCentreAnswer,
    CostCentreBody,
    PlanCostAnswer,
    PlanCostsAnswer,
)
from services.incentives.accruals.service import Accruals
from services.incentives.credits.domain.credit import TeamNotInSight
from services.incentives.plans.domain.versions import PlanNotFound
from services.incentives.plans.service import Plans
from shared.db.database import Transaction
from shared.http.auth import Principal, Role, require
from shared.http.etag import Answered
from shared.http.paging import Cursor, Page, Paging
from shared.http.problems import ParameterError, responses
from shared.http.reader import RequestReader
from shared.http.sight import Auditor
from shared.http.tables import TableFormat, table_answer, table_file
from shared.http.wiring import handed
from shared.http.writer import RequestWriter
from shared.kernel.errors import InvalidInput
from shared.kernel.sight import WHOLE_TENANT
from shared.tables.columns import Column, Kind, Value

router = APIRouter(prefix="/v1", tags=["accruals"])

UseCases = Annotated[Accruals, Depends(handed(Accruals))]
PlansOf = Annotated[Plans, Depends(handed(Plans))]
Controller = Annotated[Principal, Depends(require(Role.ADMIN, Role.REVOPS, Role.FINANCE))]
"""The caller, who says what plans may cost and where that is booked. 403 for anybody else."""
Start = Annotated[date, Query(description="First day.", examples=["2026-01-01"])]
End = Annotated[date, Query(description="First day after.", examples=["2026-04-01"])]

_KEYS: Final = Cursor(tuple[UUID, date])
_STARTS: Final = Cursor(date)
_COLUMNS: Final = (
    Column("start", Kind.DAY),
    Column("end", Kind.DAY),
    Column("account", Kind.WORD),
    Column("cost_centre", Kind.TEXT),
    Column("currency", Kind.WORD),
    Column("amount", Kind.NUMBER),
)


class AccrualsFormat(StrEnum):
    """What accruals are given as."""

    JSON = "json"
    CSV = "csv"
    XLSX = "xlsx"


@router.get(
    "/accruals", summary="What accounting books, by pay period, account and cost centre", response_model=AccrualsAnswer
)
async def get_accruals(
    auditor: Auditor,
    accruals: UseCases,
    reader: RequestReader,
    start: Start,
    end: End,
    file_format: Annotated[AccrualsFormat, Query(alias="format", description="`csv` and `xlsx` are a table.")] = (
        AccrualsFormat.JSON
    ),
) -> Response:
    """What was posted in the pay periods whose last day is in [start, end). The amounts are those of the ledger."""
    _require_order(start, end)
    async with reader.snapshot() as tx:
        found = await accruals.accruals(tx, auditor.tenant_id, start, end)
    if file_format is AccrualsFormat.JSON:
        answer = AccrualsAnswer(accruals=[AccrualAnswer.of(each) for each in found])
        return Response(answer.model_dump_json(), media_type="application/json")
    table_format = TableFormat(file_format.value)
    file, media_type = await table_file(_COLUMNS, table_format, _pages(found))
    return table_answer(file, media_type, f"accruals-{start}-{end}.{table_format}")


@router.get("/cost-centres", summary="List the cost centres of teams")
async def list_cost_centres(
    auditor: Auditor, accruals: UseCases, reader: RequestReader, paging: Paging
) -> Page[CostCentreAnswer]:
    """By team and day."""
    async with reader.transaction() as tx:
        found = await accruals.list_cost_centres(tx, auditor.tenant_id)
    after = _KEYS.after(paging)
    rest = [each for each in found if after is None or (each.team_id, each.start) > after]
    return _KEYS.page(
        paging, rest[: paging.fetch_limit], key=lambda each: (each.team_id, each.start), item=CostCentreAnswer.of
    )


@router.put(
    "/cost-centres/{team_id}/{date}", summary="Book a team on a cost centre", responses=responses(TeamNotInSight)
)
async def set_cost_centre(
    team_id: UUID,
    start: Annotated[date, Path(alias="date", description="From this day on.")],
    body: CostCentreBody,
    controller: Controller,
    accruals: UseCases,
    writer: RequestWriter,
) -> Answered[CostCentreAnswer]:
    """Teams below that have none of their own are booked with it. What was said last of a day counts."""
    return await writer.commit(
        lambda tx: accruals.set_cost_centre(tx, controller.tenant_id, team_id, start, body.code, controller.actor),
        CostCentreAnswer.of,
    )


@router.get("/plans/{plan_id}/budgets", summary="List the budgets of a plan", responses=responses(PlanNotFound))
async def list_plan_budgets(
    plan_id: UUID, auditor: Auditor, plans: PlansOf, accruals: UseCases, reader: RequestReader, paging: Paging
) -> Page[BudgetAnswer]:
    """In order."""
    async with reader.transaction() as tx:
        plan = await plans.get_plan(tx, auditor.tenant_id, plan_id, WHOLE_TENANT)
        found = await accruals.list_budgets(tx, auditor.tenant_id, plan)
    after = _STARTS.after(paging) or date.min
    rest = [each for each in found if each.start > after]
    return _STARTS.page(paging, rest[: paging.fetch_limit], key=lambda each: each.start, item=BudgetAnswer.of)


@router.put("/plans/{plan_id}/budgets/{date}", summary="Say what a plan may cost", responses=responses(PlanNotFound))
async def set_plan_budget(
    plan_id: UUID,
    start: Annotated[date, Path(alias="date", description="First day of a pay period.")],
    body: BudgetBody,
    controller: Controller,
    plans: PlansOf,
    accruals: UseCases,
    writer: RequestWriter,
) -> Answered[BudgetAnswer]:
    """In the pay period that starts on that day. What was said last of it counts."""

    async def say(tx: Transaction) -> Budget:
        plan = await plans.get_plan(tx, controller.tenant_id, plan_id, WHOLE_TENANT)
        return await accruals.set_budget(tx, controller.tenant_id, plan, start, body.amount, controller.actor)

    return await writer.commit(say, BudgetAnswer.of)


@router.get("/plans/{plan_id}/costs", summary="What a plan cost, and may", responses=responses(PlanNotFound))
async def get_plan_costs(
    plan_id: UUID,
    auditor: Auditor,
    plans: PlansOf,
    accruals: UseCases,
    reader: RequestReader,
    start: Start,
    end: End,
) -> PlanCostsAnswer:
    """In each pay period whose last day is in [start, end), with what was posted there for earlier periods."""
    _require_order(start, end)
    async with reader.snapshot() as tx:
        plan = await plans.get_plan(tx, auditor.tenant_id, plan_id, WHOLE_TENANT)
        found = await accruals.costs(tx, auditor.tenant_id, plan, start, end)
    return PlanCostsAnswer(
        plan_id=plan_id, currency=plan.currency, periods=[PlanCostAnswer.of(each, plan.currency) for each in found]
    )


def _require_order(start: date, end: date) -> None:
    if start >= end:
        raise InvalidInput(
            "/end is not after /start.",
            fields=[ParameterError("/end", f"{end} is not after {start}", "a later day", "query")],
        )


async def _pages(found: Sequence[Accrual]) -> AsyncIterator[Sequence[Mapping[str, Value]]]:
    yield [
        {
            "start": each.period.start,
            "end": each.period.end,
            "account": each.account,
            "cost_centre": each.cost_centre,
            "currency": each.currency,
            "amount": each.amount,
        }
        for each in found
    ]
