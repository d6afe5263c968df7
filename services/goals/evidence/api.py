"""What people reached, over HTTP."""

from datetime import date
from typing import Annotated, Final
from uuid import UUID

from fastapi import APIRouter, Depends, Query

from services.goals.evidence.schemas import ActualsAnswer, Month, first_day
from services.goals.evidence.service import Evidence
from shared.http.paging import Cursor, Page, Paging
from shared.http.sight import CurrentCaller
from shared.http.wiring import handed

router = APIRouter(prefix="/v1", tags=["actuals"])

UseCases = Annotated[Evidence, Depends(handed(Evidence))]
_KEYS: Final = Cursor(tuple[UUID, date])


@router.get("/actuals", summary="List what people won and have open by month")
async def list_actuals(
    caller: CurrentCaller,
    evidence: UseCases,
    paging: Paging,
    person_id: Annotated[UUID | None, Query(description="Only those of this person.")] = None,
    start: Annotated[Month | None, Query(alias="from", description="Only those of this month or a later one.")] = None,
    end: Annotated[Month | None, Query(alias="to", description="Only those of a month before this one.")] = None,
) -> Page[ActualsAnswer]:
    """By person and month, as tracking counts them: some seconds after the deals. Months without deals are left out.

    A rep sees its own, a manager those of whoever is in its subtree today.
    """
    async with caller.reading() as (tx, sight):
        found = await evidence.list_actuals(
            tx,
            caller.tenant_id,
            sight,
            person_id=person_id,
            start=first_day(start),
            end=first_day(end),
            after=_KEYS.after(paging),
            limit=paging.fetch_limit,
        )
    return _KEYS.page(paging, found, key=lambda each: (each.of.person_id, each.of.month), item=ActualsAnswer.of)
