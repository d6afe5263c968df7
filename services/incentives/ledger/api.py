"""The ledger over HTTP: reading only."""

from datetime import date
from typing import Annotated, Final
from uuid import UUID

from fastapi import APIRouter, Depends, Query

from services.incentives.ledger import service
from services.incentives.ledger.schemas import LedgerTransactionAnswer, LedgerVerificationAnswer
from shared.http.named_deals import NamedDeal, named_deal
from shared.http.paging import Cursor, Page, Paging
from shared.http.reader import RequestReader
from shared.http.sight import Auditor, CurrentCaller

router = APIRouter(prefix="/v1")

_SEQUENCES: Final = Cursor(int)


@router.get("/ledger", tags=["ledger"], summary="List ledger transactions")
async def list_ledger(
    caller: CurrentCaller,
    paging: Paging,
    named: Annotated[NamedDeal, Depends(named_deal("Only what a version of this deal caused."))],
    person_id: Annotated[UUID | None, Query(description="Only what this person is owed.")] = None,
    plan_id: Annotated[UUID | None, Query(description="Only of this plan.")] = None,
    earning_id: Annotated[UUID | None, Query(description="Only of this earning.")] = None,
    posted_in: Annotated[date | None, Query(description="Only what is posted in the pay period with this day.")] = None,
    origin: Annotated[date | None, Query(description="Only what belongs to a period with this day.")] = None,
) -> Page[LedgerTransactionAnswer]:
    """In the order of posting. A rep sees its own, a manager those of its subtree."""
    async with caller.reading() as (tx, sight):
        found = await service.transactions(
            tx,
            caller.tenant_id,
            after=_SEQUENCES.after(paging) or 0,
            limit=paging.fetch_limit,
            people=sight.narrowed(person_id),
            plan_id=plan_id,
            subject_id=earning_id,
            deal_id=await named.id(tx),
            posted_in=posted_in,
            origin=origin,
        )
    return _SEQUENCES.page(paging, found, key=lambda each: each.sequence, item=LedgerTransactionAnswer.of)


@router.get("/ledger/verify", tags=["ledger"], summary="Check that the ledger is what was posted")
async def verify_ledger(auditor: Auditor, reader: RequestReader) -> LedgerVerificationAnswer:
    """Walks the tenant's whole hash chain and names the first transaction that was altered or is missing."""
    async with reader.snapshot() as tx:
        return LedgerVerificationAnswer.of(await service.verify(tx, auditor.tenant_id))
