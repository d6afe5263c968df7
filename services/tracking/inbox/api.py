"""Deliveries over HTTP."""

from typing import Annotated, Final
from uuid import UUID

from fastapi import APIRouter, Query, Response

from services.tracking.crm.api import Operator
from services.tracking.crm.domain import ConnectionNotFound, Untranslatable
from services.tracking.inbox import service
from services.tracking.inbox.domain import BodyDropped, DeliveryNotFound, DeliveryState, DeliveryWaiting
from services.tracking.inbox.schemas import (
    DeliveryDetail,
    DeliveryOut,
    PreviewOut,
    PreviewRequest,
    QuarantineOut,
    ReplayedOut,
    ReplayQuarantined,
)
from shared.db.database import Transaction
from shared.http.paging import Cursor, InvalidCursor, Page, Paging
from shared.http.problems import responses
from shared.http.reader import RequestReader
from shared.http.writer import RequestWriter

router: Final = APIRouter(prefix="/v1/deliveries", tags=["deliveries"])

_PAGES: Final = Cursor(UUID)


@router.get("", responses=responses(InvalidCursor), summary="List deliveries")
async def list_deliveries(
    caller: Operator,
    reader: RequestReader,
    paging: Paging,
    state: Annotated[DeliveryState | None, Query(description="Only those in this state.")] = None,
    connection_id: Annotated[UUID | None, Query(description="Only those of this connection.")] = None,
) -> Page[DeliveryOut]:
    """Newest first."""
    async with reader.transaction() as tx:
        found = await service.page(
            tx,
            caller.tenant_id,
            state=state,
            connection_id=connection_id,
            before=_PAGES.after(paging),
            limit=paging.fetch_limit,
        )
    return _PAGES.page(paging, found, key=lambda each: each.id, item=DeliveryOut.from_delivery)


@router.get("/{delivery_id}", responses=responses(DeliveryNotFound), summary="Read a delivery")
async def read_delivery(delivery_id: UUID, caller: Operator, reader: RequestReader) -> DeliveryDetail:
    """With its headers and body as they were sent."""
    async with reader.transaction() as tx:
        return DeliveryDetail.from_delivery(await service.get(tx, caller.tenant_id, delivery_id))


@router.post(
    "/replay",
    status_code=202,
    response_model=ReplayedOut,
    responses=responses(ConnectionNotFound),
    summary="Replay what is in quarantine",
)
async def replay_quarantined(body: ReplayQuarantined, caller: Operator, writer: RequestWriter) -> Response:
    """Translate every quarantined delivery of a connection again, with its mapping as it is now."""

    async def replay(tx: Transaction) -> ReplayedOut:
        return ReplayedOut(deliveries=await service.replay_quarantined(tx, caller.tenant_id, body.connection_id))

    return await writer.commit(replay, status=202)


@router.post(
    "/{delivery_id}/replay",
    status_code=202,
    response_model=DeliveryOut,
    responses=responses(DeliveryNotFound, DeliveryWaiting, BodyDropped),
    summary="Replay a delivery",
)
async def replay_delivery(delivery_id: UUID, caller: Operator, writer: RequestWriter) -> Response:
    """Translate a delivery again, with the connection's mapping as it is now.

    A quarantined one waits again itself. Of one that was translated before a copy is made and answered, so that what it
    says now counts as the newer version.
    """

    async def replay(tx: Transaction) -> DeliveryOut:
        return DeliveryOut.from_delivery(await service.replay(tx, caller.tenant_id, delivery_id))

    return await writer.commit(replay, status=202)


@router.post(
    "/{delivery_id}/preview",
    responses=responses(DeliveryNotFound, BodyDropped),
    summary="Try a mapping",
)
async def preview_delivery(
    delivery_id: UUID, body: PreviewRequest, caller: Operator, reader: RequestReader
) -> PreviewOut:
    """What a stored delivery would be translated to with a mapping that is not saved yet. Changes nothing."""
    mapping = None if body.mapping is None else body.mapping.mapping()
    async with reader.transaction() as tx:
        try:
            translation = await service.preview(tx, caller.tenant_id, delivery_id, mapping)
        except Untranslatable as error:
            return PreviewOut(deals=[], activities=[], quarantine=QuarantineOut.from_error(error))
    return PreviewOut(deals=translation.deals, activities=translation.activities, quarantine=None)
