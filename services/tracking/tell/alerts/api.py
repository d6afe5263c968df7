"""Alerts over HTTP."""

from datetime import datetime
from typing import Annotated, Final
from uuid import UUID

from fastapi import APIRouter, Query

from services.tracking.tell.alerts import service
from services.tracking.tell.alerts.domain import AlertNotFound
from services.tracking.tell.alerts.schemas import ALERT_EXAMPLE
from shared.contracts.alerts import Alert
from shared.http.paging import Cursor, InvalidCursor, Page, Paging
from shared.http.problems import responses
from shared.http.reader import RequestReader
from shared.http.sight import Editor
from shared.kernel.alerts import AlertState

router: Final = APIRouter(prefix="/v1/alerts", tags=["alerts"])

_PAGES: Final = Cursor(tuple[datetime, UUID])
_ANSWERED: Final[dict[int | str, dict[str, object]]] = {
    200: {"content": {"application/json": {"example": ALERT_EXAMPLE}}}
}
_PAGE_ANSWERED: Final[dict[int | str, dict[str, object]]] = {
    200: {"content": {"application/json": {"example": {"items": [ALERT_EXAMPLE], "next_cursor": None}}}}
}


@router.get("", responses={**_PAGE_ANSWERED, **responses(InvalidCursor)}, summary="List alerts")
async def list_alerts(
    caller: Editor,
    reader: RequestReader,
    paging: Paging,
    state: Annotated[AlertState | None, Query(description="Only those raised now, or only those cleared.")] = None,
    subject_id: Annotated[UUID | None, Query(description="Only those about this thing, such as a connection.")] = None,
) -> Page[Alert]:
    """Those raised last first, each as it was last published."""
    async with reader.transaction() as tx:
        found = await service.page(
            tx,
            caller.tenant_id,
            state=state,
            subject_id=subject_id,
            before=_PAGES.after(paging),
            limit=paging.fetch_limit,
        )
    return _PAGES.page(paging, found, key=lambda alert: (alert.raised_at, alert.id), item=lambda alert: alert)


@router.get("/{alert_id}", responses={**_ANSWERED, **responses(AlertNotFound)}, summary="Read an alert")
async def get_alert(alert_id: UUID, caller: Editor, reader: RequestReader) -> Alert:
    """As it was last published."""
    async with reader.transaction() as tx:
        return await service.get(tx, caller.tenant_id, alert_id)
