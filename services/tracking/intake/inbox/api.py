"""Deliveries over HTTP."""

from typing import Annotated, Final
from uuid import UUID

from fastapi import APIRouter, Query

from services.tracking.intake.connections.domain import ConnectionNotFound
from services.tracking.intake.inbox import service
from services.tracking.intake.inbox.domain.deliveries import (
    BodyDropped,
    DeliveryDiscarded,
    DeliveryNotDiscarded,
    DeliveryNotFound,
    DeliveryNotQuarantined,
    DeliveryState,
    DeliveryWaiting,
)
from services.tracking.intake.inbox.schemas import (
    DeliveryAnswer,
    DeliveryDetail,
    DiscardBody,
    DiscardedAnswer,
    DiscardMany,
    PreviewAnswer,
    PreviewBody,
    RecordDeliveryAnswer,
    ReplayedAnswer,
    ReplayQuarantined,
    RestoredAnswer,
    RestoreDiscarded,
)
from services.tracking.records.domain.records import ActivityNotFound, DealNotFound
from shared.db.database import Transaction
from shared.http.etag import Answered
from shared.http.paging import Cursor, InvalidCursor, Page, Paging
from shared.http.problems import responses
from shared.http.reader import RequestReader
from shared.http.sight import CurrentCaller, Editor
from shared.http.writer import RequestWriter

router: Final = APIRouter(prefix="/v1/deliveries", tags=["deliveries"])
record_router: Final = APIRouter(prefix="/v1")

_PAGES: Final = Cursor(UUID)


@router.get("", responses=responses(InvalidCursor), summary="List deliveries")
async def list_deliveries(
    caller: Editor,
    reader: RequestReader,
    paging: Paging,
    state: Annotated[DeliveryState | None, Query(description="Only those in this state.")] = None,
    connection_id: Annotated[UUID | None, Query(description="Only those of this connection.")] = None,
) -> Page[DeliveryAnswer]:
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
    return _PAGES.page(paging, found, key=lambda each: each.id, item=DeliveryAnswer.from_delivery)


@router.get("/{delivery_id}", responses=responses(DeliveryNotFound), summary="Read a delivery")
async def get_delivery(delivery_id: UUID, caller: Editor, reader: RequestReader) -> DeliveryDetail:
    """With its headers and body as they were sent."""
    async with reader.transaction() as tx:
        return DeliveryDetail.from_delivery(await service.get(tx, caller.tenant_id, delivery_id))


@router.post(
    "/replay", status_code=202, responses=responses(ConnectionNotFound), summary="Replay what is in quarantine"
)
async def replay_quarantined(
    body: ReplayQuarantined, caller: Editor, writer: RequestWriter
) -> Answered[ReplayedAnswer]:
    """Translate every quarantined delivery of a connection again, with its mapping as it is now."""
    return await writer.commit(
        lambda tx: service.replay_quarantined(tx, caller.tenant_id, body.connection_id),
        lambda count: ReplayedAnswer(deliveries=count),
        status=202,
    )


@router.post("/discard", responses=responses(ConnectionNotFound), summary="Discard deliveries")
async def discard_deliveries(body: DiscardMany, caller: Editor, writer: RequestWriter) -> Answered[DiscardedAnswer]:
    """Take what will never be of use out of a connection's quarantine, with a reason.

    It stays stored, is listed with `state=discarded`, does not count in the connection's health any more and is not
    translated again. Taken back with `POST /v1/deliveries/restore`.
    """

    async def discard(tx: Transaction) -> DiscardedAnswer:
        discarded = await service.discard_chosen(
            tx, caller.tenant_id, body.chosen(), reason=body.reason, by=caller.person_id
        )
        return DiscardedAnswer(discard_id=discarded.discard_id, deliveries=discarded.deliveries, left=discarded.left)

    return await writer.commit(discard)


@router.post("/restore", summary="Restore discarded deliveries")
async def restore_deliveries(body: RestoreDiscarded, caller: Editor, writer: RequestWriter) -> Answered[RestoredAnswer]:
    """Put everything that one call discarded back in quarantine."""
    return await writer.commit(
        lambda tx: service.restore_discard(tx, caller.tenant_id, body.discard_id, by=caller.person_id),
        lambda count: RestoredAnswer(deliveries=count),
    )


@router.post(
    "/{delivery_id}/discard",
    responses=responses(DeliveryNotFound, DeliveryNotQuarantined),
    summary="Discard a delivery",
)
async def discard_delivery(
    delivery_id: UUID, body: DiscardBody, caller: Editor, writer: RequestWriter
) -> Answered[DeliveryAnswer]:
    """Take a delivery that will never be of use out of quarantine, with a reason. It can be restored."""
    return await writer.commit(
        lambda tx: service.discard(tx, caller.tenant_id, delivery_id, reason=body.reason, by=caller.person_id),
        DeliveryAnswer.from_delivery,
    )


@router.post(
    "/{delivery_id}/restore", responses=responses(DeliveryNotFound, DeliveryNotDiscarded), summary="Restore a delivery"
)
async def restore_delivery(delivery_id: UUID, caller: Editor, writer: RequestWriter) -> Answered[DeliveryAnswer]:
    """Put a discarded delivery back in quarantine."""
    return await writer.commit(
        lambda tx: service.restore(tx, caller.tenant_id, delivery_id, by=caller.person_id), DeliveryAnswer.from_delivery
    )


@router.post(
    "/{delivery_id}/replay",
    status_code=202,
    responses=responses(DeliveryNotFound, DeliveryWaiting, DeliveryDiscarded, BodyDropped),
    summary="Replay a delivery",
)
async def replay_delivery(delivery_id: UUID, caller: Editor, writer: RequestWriter) -> Answered[DeliveryAnswer]:
    """Translate a delivery again, with the connection's mapping as it is now.

    A quarantined one waits again itself. Of one that was translated before a copy is made and answered, so that what it
    says now counts as the newer version.
    """
    return await writer.commit(
        lambda tx: service.replay(tx, caller.tenant_id, delivery_id), DeliveryAnswer.from_delivery, status=202
    )


@router.post("/{delivery_id}/preview", responses=responses(DeliveryNotFound, BodyDropped), summary="Try a mapping")
async def preview_delivery(
    delivery_id: UUID, body: PreviewBody, caller: Editor, reader: RequestReader
) -> PreviewAnswer:
    """What a stored delivery would be translated to with a mapping that is not saved yet. Changes nothing."""
    mapping = None if body.mapping is None else body.mapping.mapping()
    async with reader.transaction() as tx:
        translation = await service.preview(tx, caller.tenant_id, delivery_id, mapping)
    return PreviewAnswer.from_translation(translation)


@record_router.get(
    "/deals/{deal_id}/deliveries/{delivery_id}",
    tags=["deals"],
    responses=responses(DealNotFound, DeliveryNotFound),
    summary="Read what a delivery stated of a deal",
)
async def get_deal_delivery(deal_id: UUID, delivery_id: UUID, caller: CurrentCaller) -> RecordDeliveryAnswer:
    """For whoever sees the deal: what came in its name, and nothing else of the delivery."""
    async with caller.reading() as (tx, sight):
        shown = await service.of_deal(tx, caller.tenant_id, sight, deal_id, delivery_id)
    return RecordDeliveryAnswer.of(shown)


@record_router.get(
    "/activities/{activity_id}/deliveries/{delivery_id}",
    tags=["activities"],
    responses=responses(ActivityNotFound, DeliveryNotFound),
    summary="Read what a delivery stated of an activity",
)
async def get_activity_delivery(activity_id: UUID, delivery_id: UUID, caller: CurrentCaller) -> RecordDeliveryAnswer:
    """For whoever sees the activity: what came in its name, and nothing else of the delivery."""
    async with caller.reading() as (tx, sight):
        shown = await service.of_activity(tx, caller.tenant_id, sight, activity_id, delivery_id)
    return RecordDeliveryAnswer.of(shown)
