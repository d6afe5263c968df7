"""Subscriptions of other systems over HTTP."""

from collections.abc import Callable
from typing import Annotated, Final
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Response

from services.tracking.tell.channels import service
from services.tracking.tell.channels.domain import mail
from services.tracking.tell.channels.domain.deliveries import (
    Channel,
    LastSigningSecret,
    SignedByRobot,
    SigningRotationUnderWay,
    SigningSecretNotFound,
    Subscription,
    SubscriptionDeliveryNotFound,
    SubscriptionDeliveryState,
    SubscriptionNotFound,
)
from services.tracking.tell.channels.schemas import (
    ReplayedFailed,
    ReplayFailed,
    SigningRotation,
    SubscriptionAnswer,
    SubscriptionBody,
    SubscriptionChanges,
    SubscriptionDeliveryAnswer,
    SubscriptionDeliveryDetail,
    SubscriptionWithSecret,
    TemplatePreview,
    TemplatePreviewBody,
    wanted,
)
from services.tracking.tell.channels.service import REPLAYED_MAX, Subscriptions
from shared.http.auth import require
from shared.http.etag import Answered, ConditionalRead, ExpectedVersion
from shared.http.outbound import OutboundSettings, UrlRefused, check_url
from shared.http.paging import Cursor, InvalidCursor, Page, Paging
from shared.http.problems import PreconditionRequired, responses
from shared.http.reader import RequestReader
from shared.http.sight import EDITS, Editor
from shared.http.wiring import handed
from shared.http.writer import RequestWriter
from shared.kernel.errors import VersionMismatch

router: Final = APIRouter(prefix="/v1/subscriptions", tags=["subscriptions"])

UseCases = Annotated[Subscriptions, Depends(handed(Subscriptions))]
Outbound = Annotated[OutboundSettings, Depends(handed(OutboundSettings))]
_PAGES: Final = Cursor(UUID)
_CHANGE: Final = (VersionMismatch, PreconditionRequired)


@router.post("", status_code=201, responses=responses(UrlRefused), summary="Subscribe to events")
async def create_subscription(
    body: SubscriptionBody, caller: Editor, writer: RequestWriter, subscriptions: UseCases, outbound: Outbound
) -> Answered[SubscriptionWithSecret]:
    """Send what happens from now on to a URL, as Standard Webhooks or as messages of a chat robot.

    The answer has the signing secret of a webhook, this once.
    """
    _check_address(body.channel, body.url, outbound)
    events = wanted(body.events)
    service.check_events(body.channel, events)
    chat = body.chat_of(subscriptions.box.seal)

    return await writer.commit(
        lambda tx: subscriptions.create(
            tx, caller.tenant_id, name=body.name, url=body.url, events=events, channel=body.channel, chat=chat
        ),
        lambda made: SubscriptionWithSecret.from_result(made, subscriptions.url(made.subscription)),
        status=201,
        location=lambda made: f"/v1/subscriptions/{made.subscription.id}",
        seal=subscriptions.box,
    )


@router.post("/preview", dependencies=[Depends(require(*EDITS))], summary="Preview a template")
async def preview_template(body: TemplatePreviewBody) -> TemplatePreview:
    """What a group would read of an example of such an event. Nothing is sent."""
    service.check_told(body.channel, body.type)
    template = None if body.template is None else body.template.template(body.type, "/template")
    message, request = service.preview(body.channel, body.type, body.language, template)
    return TemplatePreview(text=message.plain, request=request)


@router.get("", responses=responses(InvalidCursor), summary="List subscriptions")
async def list_subscriptions(
    caller: Editor, reader: RequestReader, paging: Paging, subscriptions: UseCases
) -> Page[SubscriptionAnswer]:
    """In the order they were made."""
    async with reader.transaction() as tx:
        found = await service.page(tx, caller.tenant_id, after=_PAGES.after(paging), limit=paging.fetch_limit)
    return _PAGES.page(paging, found, key=lambda each: each.id, item=_shown_by(subscriptions))


@router.get("/{subscription_id}", responses=responses(SubscriptionNotFound), summary="Read a subscription")
async def get_subscription(
    subscription_id: UUID, caller: Editor, reader: RequestReader, subscriptions: UseCases, read: ConditionalRead
) -> Answered[SubscriptionAnswer]:
    """A subscription, and why it is disabled if nobody disabled it."""
    async with reader.transaction() as tx:
        found = await service.get(tx, caller.tenant_id, subscription_id)
    return read.answer(_shown_by(subscriptions)(found))


@router.patch(
    "/{subscription_id}",
    responses=responses(SubscriptionNotFound, *_CHANGE, UrlRefused),
    summary="Change a subscription",
)
async def change_subscription(
    subscription_id: UUID,
    body: SubscriptionChanges,
    caller: Editor,
    writer: RequestWriter,
    version: ExpectedVersion,
    subscriptions: UseCases,
    outbound: Outbound,
) -> Answered[SubscriptionAnswer]:
    """Its name, URL, events, status or what a group reads. What waits already is sent to the URL as it is then."""
    events = None if body.events is None else wanted(body.events)
    chat = body.chat

    return await writer.commit(
        lambda tx: subscriptions.edit(
            tx,
            caller.tenant_id,
            subscription_id,
            expected_version=version,
            name=body.name,
            url=body.url,
            check_address=lambda channel, url: _check_address(channel, url, outbound),
            events=events,
            status=body.status,
            chat=None if chat is None else lambda before: chat.changed(before, subscriptions.box.seal),
        ),
        _shown_by(subscriptions),
        seal=subscriptions.box,
    )


@router.delete(
    "/{subscription_id}",
    status_code=204,
    responses=responses(SubscriptionNotFound, *_CHANGE),
    summary="Delete a subscription",
)
async def delete_subscription(
    subscription_id: UUID, caller: Editor, writer: RequestWriter, version: ExpectedVersion
) -> Response:
    """Nothing is sent any more, and its log cannot be read."""
    return await writer.commit(
        lambda tx: service.remove(tx, caller.tenant_id, subscription_id, expected_version=version), status=204
    )


@router.post(
    "/{subscription_id}/secrets",
    status_code=201,
    responses=responses(SubscriptionNotFound, *_CHANGE, SigningRotationUnderWay, SignedByRobot),
    summary="Rotate the signing secret",
)
async def rotate_subscription_secret(
    subscription_id: UUID,
    body: SigningRotation,
    caller: Editor,
    writer: RequestWriter,
    version: ExpectedVersion,
    subscriptions: UseCases,
) -> Answered[SubscriptionWithSecret]:
    """A new secret; deliveries carry a signature of each until the old one expires or is retired."""
    return await writer.commit(
        lambda tx: subscriptions.rotate(
            tx, caller.tenant_id, subscription_id, expected_version=version, overlap=body.overlap
        ),
        lambda rotated: SubscriptionWithSecret.from_result(rotated, subscriptions.url(rotated.subscription)),
        status=201,
        seal=subscriptions.box,
    )


@router.delete(
    "/{subscription_id}/secrets/{secret_id}",
    responses=responses(SubscriptionNotFound, SigningSecretNotFound, *_CHANGE, LastSigningSecret, SignedByRobot),
    summary="Retire a signing secret",
)
async def retire_subscription_secret(
    subscription_id: UUID,
    secret_id: UUID,
    caller: Editor,
    writer: RequestWriter,
    version: ExpectedVersion,
    subscriptions: UseCases,
) -> Answered[SubscriptionAnswer]:
    """Sign with it no more."""
    return await writer.commit(
        lambda tx: service.retire_secret(tx, caller.tenant_id, subscription_id, secret_id, expected_version=version),
        _shown_by(subscriptions),
        seal=subscriptions.box,
    )


@router.post(
    "/{subscription_id}/test", status_code=201, responses=responses(SubscriptionNotFound), summary="Send a test event"
)
async def test_subscription(
    subscription_id: UUID, caller: Editor, writer: RequestWriter
) -> Answered[SubscriptionDeliveryDetail]:
    """An event of type `attain.test.v1`, sent at once if the subscription is active: read the delivery to see how."""
    return await writer.commit(
        lambda tx: service.send_test(tx, caller.tenant_id, subscription_id),
        SubscriptionDeliveryDetail.from_detail,
        status=201,
        location=lambda made: f"/v1/subscriptions/{subscription_id}/deliveries/{made.id}",
    )


@router.get(
    "/{subscription_id}/deliveries",
    responses=responses(SubscriptionNotFound, InvalidCursor),
    summary="List deliveries of a subscription",
)
async def list_subscription_deliveries(
    subscription_id: UUID,
    caller: Editor,
    reader: RequestReader,
    paging: Paging,
    state: Annotated[SubscriptionDeliveryState | None, Query(description="Only those in this state.")] = None,
) -> Page[SubscriptionDeliveryAnswer]:
    """Newest first, with every attempt that was made."""
    async with reader.transaction() as tx:
        found = await service.log(
            tx,
            caller.tenant_id,
            subscription_id,
            state=state,
            before=_PAGES.after(paging),
            limit=paging.fetch_limit,
        )
    return _PAGES.page(paging, found, key=lambda each: each.id, item=SubscriptionDeliveryAnswer.from_delivery)


@router.get(
    "/{subscription_id}/deliveries/{delivery_id}",
    responses=responses(SubscriptionNotFound, SubscriptionDeliveryNotFound),
    summary="Read a delivery of a subscription",
)
async def get_subscription_delivery(
    subscription_id: UUID, delivery_id: UUID, caller: Editor, reader: RequestReader
) -> SubscriptionDeliveryDetail:
    """With its body."""
    async with reader.transaction() as tx:
        delivery = await service.get_delivery(tx, caller.tenant_id, subscription_id, delivery_id)
    return SubscriptionDeliveryDetail.from_detail(delivery)


@router.post(
    "/{subscription_id}/deliveries/replay",
    status_code=202,
    responses=responses(SubscriptionNotFound),
    summary="Replay what failed",
)
async def replay_failed_deliveries(
    subscription_id: UUID, body: ReplayFailed, caller: Editor, writer: RequestWriter
) -> Answered[ReplayedFailed]:
    """Send everything again that failed since a moment, oldest first, under the same ids."""
    return await writer.commit(
        lambda tx: service.replay_failed(tx, caller.tenant_id, subscription_id, since=body.since),
        lambda replayed: ReplayedFailed(deliveries=replayed, more=replayed == REPLAYED_MAX),
        status=202,
    )


@router.post(
    "/{subscription_id}/deliveries/{delivery_id}/replay",
    status_code=202,
    responses=responses(SubscriptionNotFound, SubscriptionDeliveryNotFound),
    summary="Replay a delivery of a subscription",
)
async def replay_subscription_delivery(
    subscription_id: UUID, delivery_id: UUID, caller: Editor, writer: RequestWriter
) -> Answered[SubscriptionDeliveryDetail]:
    """Send a delivery again, whatever became of it, under the same id; one that waits is sent now."""
    return await writer.commit(
        lambda tx: service.replay(tx, caller.tenant_id, subscription_id, delivery_id),
        SubscriptionDeliveryDetail.from_detail,
        status=202,
    )


def _shown_by(subscriptions: Subscriptions) -> Callable[[Subscription], SubscriptionAnswer]:
    return lambda each: SubscriptionAnswer.from_subscription(each, subscriptions.url(each))


def _check_address(channel: Channel, url: str, outbound: OutboundSettings) -> None:
    if channel is Channel.EMAIL:
        mail.recipients(url)
    else:
        check_url(url, outbound)
