"""The ledger over HTTP: reading only."""

from typing import Annotated, Final
from uuid import UUID

from fastapi import APIRouter, Query

from services.incentives.access import Auditor, CurrentView
from services.incentives.ledger import service
from services.incentives.ledger.schemas import LedgerTransactionAnswer, LedgerVerification
from shared.http.auth import CurrentPrincipal
from shared.http.paging import Cursor, Page, Paging
from shared.http.reader import RequestReader

router = APIRouter(prefix="/v1")

_SEQUENCES: Final = Cursor(int)


@router.get("/ledger", tags=["ledger"], summary="List ledger transactions")
async def list_ledger(
    principal: CurrentPrincipal,
    view: CurrentView,
    reader: RequestReader,
    paging: Paging,
    person_id: Annotated[UUID | None, Query(description="Only what this person is owed.")] = None,
    plan_id: Annotated[UUID | None, Query(description="Only of this plan.")] = None,
    earning_id: Annotated[UUID | None, Query(description="Only of this earning.")] = None,
    deal_id: Annotated[UUID | None, Query(description="Only what a version of this deal caused.")] = None,
) -> Page[LedgerTransactionAnswer]:
    """In the order of posting. A rep sees its own, a manager those of its subtree."""
    async with reader.transaction() as tx:
        found = await service.transactions(
            tx,
            principal.tenant_id,
            after=_SEQUENCES.after(paging) or 0,
            limit=paging.fetch_limit,
            people=await view.narrowed(tx, person_id),
            plan_id=plan_id,
            cell_id=earning_id,
            deal_id=deal_id,
        )
    return _SEQUENCES.page(paging, found, key=lambda each: each.sequence, item=LedgerTransactionAnswer.of)


@router.get("/ledger/verify", tags=["ledger"], summary="Check that the ledger is what was posted")
async def verify_ledger(auditor: Auditor, reader: RequestReader) -> LedgerVerification:
    """Walks the tenant's whole hash chain and names the first transaction that was altered or is missing."""
    async with reader.transaction() as tx:
        await tx.lock_tenants_shared([auditor.tenant_id])
        return LedgerVerification.of(await service.verify(tx, auditor.tenant_id))
