"""Earnings and their explanation over HTTP."""

from datetime import date
from typing import Annotated, Final
from uuid import UUID

from fastapi import APIRouter, Depends, Query

from services.incentives.credits.service import Credits
from services.incentives.earnings.domain.cells import StoredCell
from services.incentives.earnings.domain.inputs import exact_sum
from services.incentives.earnings.explaining import EarningNotFound, Explanations
from services.incentives.earnings.schemas import (
    DealAnswer,
    EarningAnswer,
    ExpectedAnswer,
    ExplanationAnswer,
    LineAnswer,
    before_of,
    quota_gap,
    rerated_before,
    steps_of,
    terms_content,
    tiers_of,
)
from services.incentives.ledger import service as ledger
from services.incentives.ledger.schemas import LedgerTransactionAnswer
from shared.db.database import Transaction
from shared.http.etag import Answered, ConditionalRead
from shared.http.named_deals import NamedDeal, named_deal
from shared.http.paging import Cursor, Page, Paging
from shared.http.problems import responses
from shared.http.sight import CurrentCaller
from shared.http.wiring import handed
from shared.kernel.money import round_to_minor_unit
from shared.kernel.sight import Sight

router = APIRouter(prefix="/v1")

UseCases = Annotated[Explanations, Depends(handed(Explanations))]
_CELLS: Final = Cursor(tuple[date, UUID])
_LINES: Final = Cursor(tuple[date, UUID])
_LEDGER_LINES: Final = 50


@router.get("/earnings", tags=["earnings"], summary="List earnings")
async def list_earnings(
    caller: CurrentCaller,
    explanations: UseCases,
    paging: Paging,
    person_id: Annotated[UUID | None, Query(description="Only this person's.")] = None,
    plan_id: Annotated[UUID | None, Query(description="Only of this plan.")] = None,
    start: Annotated[date | None, Query(description="Only periods that start on this day or later.")] = None,
    end: Annotated[date | None, Query(description="Only periods that are over on this day.")] = None,
) -> Page[EarningAnswer]:
    """By period. A rep sees its own, a manager those of its subtree."""
    async with caller.reading() as (tx, sight):
        found = await explanations.list_earnings(
            tx,
            caller.tenant_id,
            people=sight.narrowed(person_id),
            plan_id=plan_id,
            within=(start, end),
            after=_CELLS.after(paging),
            limit=paging.fetch_limit,
        )
    return _CELLS.page(
        paging, found, key=lambda each: (each.cell.key.period.start, each.cell.id), item=EarningAnswer.of
    )


@router.get(
    "/earnings/{earning_id}", tags=["earnings"], summary="Read an earning", responses=responses(EarningNotFound)
)
async def get_earning(
    earning_id: UUID, caller: CurrentCaller, explanations: UseCases, read: ConditionalRead
) -> Answered[EarningAnswer]:
    async with caller.reading() as (tx, sight):
        stored = await _in_sight(explanations, tx, caller.tenant_id, sight, earning_id)
    return read.answer(EarningAnswer.of(stored))


@router.get(
    "/earnings/{earning_id}/explain",
    tags=["earnings"],
    summary="Where an earning comes from",
    responses=responses(EarningNotFound),
)
async def explain_earning(
    earning_id: UUID,
    caller: CurrentCaller,
    explanations: UseCases,
    credits: Annotated[Credits, Depends(handed(Credits))],
    paging: Paging,
    named: Annotated[NamedDeal, Depends(named_deal("Say too whether this deal counts, and why not."))],
) -> ExplanationAnswer:
    """From the amount over rate and tiers to each credit, its deal version and the delivery that brought it."""
    tenant_id = caller.tenant_id
    async with caller.reading() as (tx, sight):
        stored = await _in_sight(explanations, tx, tenant_id, sight, earning_id)
        found = await explanations.explain_earning(tx, tenant_id, earning_id)
        deal_id = await named.id(tx)
        deal = None if deal_id is None else await explanations.explain_deal(tx, tenant_id, sight, stored, deal_id)
        after = _LINES.after(paging)
        rest = [line for line in found.lines if after is None or line.credit.order > after][: paging.fetch_limit]
        deals = await credits.deals(tx, tenant_id, [line.credit.deal_id for line in rest])
        posted = await ledger.transactions(tx, tenant_id, after=0, limit=_LEDGER_LINES, subject_id=earning_id)
    page = _LINES.page(
        paging,
        rest,
        key=lambda line: line.credit.order,
        item=lambda line: LineAnswer.of(found, line, deals.get(line.credit.deal_id)),
    )
    return ExplanationAnswer(
        earning=EarningAnswer.of(found.stored),
        recalculating=found.stale,
        terms=terms_content(found),
        quota_gap=quota_gap(found),
        quota=None if found.expected is None else ExpectedAnswer.of(found.expected.quota),
        target_variable=None if found.expected is None else ExpectedAnswer.of(found.expected.target_variable),
        before=before_of(found),
        tiers=tiers_of(found),
        rerated_before=rerated_before(found),
        steps=steps_of(found),
        rerated=exact_sum(line.rerated for line in found.lines),
        ledger_balance=round_to_minor_unit(found.owed, found.stored.cell.currency),
        lines=page.items,
        next_cursor=page.next_cursor,
        ledger=[LedgerTransactionAnswer.of(each) for each in posted],
        ledger_url=f"/v1/ledger?earning_id={earning_id}",
        deal=None if deal is None else DealAnswer.of(deal),
    )


async def _in_sight(
    explanations: Explanations, tx: Transaction, tenant_id: UUID, sight: Sight, earning_id: UUID
) -> StoredCell:
    stored = await explanations.get_earning(tx, tenant_id, earning_id)
    if not sight.sees_person(stored.cell.person_id):
        raise EarningNotFound(f"There is no earning {earning_id}.")
    return stored
