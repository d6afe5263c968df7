"""Where CRMs send to: verified on the raw bytes, stored, and only then answered."""

import re
from collections.abc import Mapping, Sequence
from hashlib import sha256
from time import time
from typing import Final

from fastapi import APIRouter, Request
from fastapi.routing import APIRoute
from pydantic.json_schema import models_json_schema
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from services.tracking.crm.adapter import Headers
from services.tracking.crm.directory import SenderDirectory, valid_secrets
from services.tracking.crm.domain import Rejection, Source
from services.tracking.crm.sources import ADAPTERS
from services.tracking.crm.standard_webhooks import DealBatch, DealEvent
from services.tracking.inbox.domain import InboxFull
from services.tracking.inbox.intake import Arrival, Intake
from shared.http.problems import responses
from shared.kernel.errors import TooLarge, Unauthenticated
from shared.telemetry import tracing
from shared.telemetry.metrics import WEBHOOK_REJECTED

_KEPT_HEADERS: Final = (
    b"content-type",
    b"user-agent",
    b"webhook-id",
    b"webhook-timestamp",
    b"webhook-signature",
)
_PLAIN_KEY: Final = re.compile(r"[\x21-\x7e]{1,200}\Z")
_HEADER_CHARACTERS_MAX: Final = 1000
_NOBODY: Final = (ADAPTERS[Source.STANDARD_WEBHOOKS].new_secret(bytes(32)),)
_COMPONENT: Final = "#/components/schemas/{model}"


class SenderNotRecognised(Unauthenticated):
    """No connection that takes deliveries has this id, or the delivery is not from its sender."""

    code = "sender_not_recognised"
    title = "Sender not recognised"


class BareRoute(APIRoute):
    """A route whose endpoint gets the request and its path parameters and nothing that has to be parsed first."""

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] not in (self.methods or ()):
            await super().handle(scope, receive, send)
            return
        response: Response = await self.endpoint(Request(scope, receive), **scope["path_params"])
        await response(scope, receive, send)


router: Final = APIRouter(tags=["hooks"], route_class=BareRoute)


@router.post(
    "/hooks/{connection_id}",
    status_code=202,
    response_class=Response,
    responses={
        200: {"description": "Stored, for sources that want a 200."},
        202: {"description": "Stored; a duplicate too. It is translated within moments."},
        **responses(SenderNotRecognised, TooLarge, InboxFull),
    },
    summary="Receive a webhook",
    openapi_extra={
        "requestBody": {
            "required": True,
            "description": "What the CRM sends. The schema is that of Standard Webhooks; other sources send their own.",
            "content": {
                "application/json": {
                    "schema": {
                        "oneOf": [{"$ref": _COMPONENT.format(model=model.__name__)} for model in (DealEvent, DealBatch)]
                    }
                }
            },
        }
    },
)
async def receive_delivery(request: Request, connection_id: str) -> Response:
    """Store a delivery of a connection's sender.

    A delivery that is stored is answered with success, also when it cannot be translated: it then waits in quarantine
    and can be replayed. An unknown connection and a wrong signature look the same.
    """
    body = await _body(request.receive)
    headers: Headers = dict(request.scope["headers"])
    directory: SenderDirectory = request.app.state.directory
    intake: Intake = request.app.state.intake
    now_seconds = time()
    sender = directory.find(connection_id)
    source = Source.STANDARD_WEBHOOKS if sender is None else sender.source
    adapter = ADAPTERS[source]
    secrets: Sequence[str] = _NOBODY if sender is None else valid_secrets(sender, now_seconds)
    rejection = adapter.verify(headers, body, secrets, now_seconds=int(now_seconds))
    if sender is None or rejection is not None:
        reason = rejection if sender is not None else Rejection.UNKNOWN_CONNECTION
        WEBHOOK_REJECTED.labels(source.value, str(reason)).inc()
        raise SenderNotRecognised("The delivery is not from a sender known here.")
    arrival = Arrival(
        sender=sender,
        dedupe_key=_bounded(adapter.dedupe_key(headers, body)),
        headers=_kept(headers),
        body=body,
        traceparent=None,
    )
    if tracing.enabled():
        await _store_traced(intake, arrival, headers)
    else:
        await intake.store(arrival)
    return Response(status_code=adapter.accepted_status)


def hook_schemas() -> Mapping[str, object]:
    """The schemas the documentation of the hook refers to, by the names of their components."""
    _, definitions = models_json_schema([(DealEvent, "validation"), (DealBatch, "validation")], ref_template=_COMPONENT)
    schemas: Mapping[str, object] = definitions["$defs"]
    return schemas


async def _store_traced(intake: Intake, arrival: Arrival, headers: Headers) -> None:
    given = headers.get(b"traceparent")
    with tracing.span("receive webhook", None if given is None else given.decode("latin-1")):
        await intake.store(
            Arrival(arrival.sender, arrival.dedupe_key, arrival.headers, arrival.body, tracing.current_traceparent())
        )


async def _body(receive: Receive) -> bytes:
    """The whole body; its size is limited where requests come in."""
    message = await receive()
    if message["type"] == "http.request" and not message.get("more_body"):
        whole: bytes = message.get("body", b"")
        return whole
    chunks = []
    while message["type"] == "http.request":
        chunks.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(chunks)
        message = await receive()
    raise ClientDisconnect


def _bounded(key: str) -> str:
    """Keys are told apart by their text, or by its digest when it is long or strange."""
    return key if _PLAIN_KEY.match(key) else f"sha256:{sha256(key.encode('utf-8', 'surrogatepass')).hexdigest()}"


def _kept(headers: Headers) -> Mapping[str, str]:
    """Those headers worth keeping; credentials are not among them."""
    return {
        name.decode(): headers[name].decode("latin-1")[:_HEADER_CHARACTERS_MAX]
        for name in _KEPT_HEADERS
        if name in headers
    }
