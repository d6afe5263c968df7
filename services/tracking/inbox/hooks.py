"""Where CRMs send to: verified on the raw bytes, stored, and only then answered."""

import re
from collections.abc import Mapping
from hashlib import sha256
from json import dumps
from time import time
from typing import Final

from fastapi import APIRouter, Request
from pydantic.json_schema import models_json_schema
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from services.tracking.crm.adapter import Headers
from services.tracking.crm.directory import SenderDirectory
from services.tracking.crm.domain import Rejection, Source
from services.tracking.crm.sources import ADAPTERS
from services.tracking.crm.standard_webhooks import DealBatch, DealEvent
from services.tracking.inbox.domain import Arrival, InboxFull
from services.tracking.inbox.intake import DeliveriesNotStored, Intake
from shared.http.problems import error_response, responses
from shared.kernel.errors import AttainError, TooLarge, Unauthenticated
from shared.telemetry import tracing
from shared.telemetry.metrics import WEBHOOK_REJECTED

_PREFIX: Final = "/hooks/"
_KEPT_HEADERS: Final = tuple(
    (name.encode(), name)
    for name in ("content-type", "user-agent", "webhook-id", "webhook-timestamp", "webhook-signature")
)
_PLAIN_KEY: Final = re.compile(r"[\x21-\x7e]{1,200}\Z")
_HEADER_CHARACTERS_MAX: Final = 1000
_NOBODY: Final = (ADAPTERS[Source.STANDARD_WEBHOOKS].new_secret(bytes(32)),)
_COMPONENT: Final = "#/components/schemas/{model}"


class SenderNotRecognised(Unauthenticated):
    """No connection that takes deliveries has this id, or the delivery is not from its sender."""

    code = "sender_not_recognised"
    title = "Sender not recognised"


class HookLane:
    """Takes deliveries past the routing, whose cost would be a large part of theirs, to where the route takes them too.

    Stands inside the edge, which has given the request its id and holds the limit of its body. What does not declare
    its length goes the long way.
    """

    def __init__(self, app: ASGIApp, *, directory: SenderDirectory, intake: Intake) -> None:
        self._app = app
        self._directory = directory
        self._intake = intake

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith(_PREFIX) or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        headers: Headers = dict(scope["headers"])
        if b"content-length" not in headers:
            await self._app(scope, receive, send)
            return
        scope["endpoint"] = receive_delivery
        try:
            body = await _body(receive)
            status = await _accept(self._directory, self._intake, scope["path"][len(_PREFIX) :], headers, body)
        except AttainError as error:
            await error_response(error)(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": status, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})


router: Final = APIRouter(tags=["hooks"])


@router.post(
    "/hooks/{connection_id}",
    status_code=202,
    response_class=Response,
    responses={
        200: {"description": "Stored, for sources that want a 200."},
        202: {"description": "Stored; a duplicate too. It is translated within moments."},
        **responses(SenderNotRecognised, TooLarge, InboxFull, DeliveriesNotStored),
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
    state = request.app.state
    headers = dict(request.scope["headers"])
    status = await _accept(state.directory, state.intake, connection_id, headers, await _body(request.receive))
    return Response(status_code=status)


async def _accept(directory: SenderDirectory, intake: Intake, connection_id: str, headers: Headers, body: bytes) -> int:
    """Verify a delivery and store it; the status to answer. Raises SenderNotRecognised, InboxFull, Unavailable."""
    now_seconds = time()
    sender = directory.find(connection_id)
    source = Source.STANDARD_WEBHOOKS if sender is None else sender.source
    adapter = ADAPTERS[source]
    secrets = _NOBODY if sender is None else sender.valid_secrets(now_seconds)
    rejection = adapter.verify(headers, body, secrets, now_seconds=int(now_seconds))
    if sender is None or rejection is not None:
        reason = Rejection.UNKNOWN_CONNECTION if sender is None else rejection
        WEBHOOK_REJECTED.labels(source.value, str(reason)).inc()
        raise SenderNotRecognised("The delivery is not from a sender known here.")
    dedupe_key = _bounded(adapter.dedupe_key(headers, body))
    if tracing.enabled():
        given = headers.get(b"traceparent")
        with tracing.span("receive webhook", None if given is None else given.decode("latin-1")):
            await intake.store(Arrival(sender, dedupe_key, _kept(headers), body, tracing.current_traceparent()))
    else:
        await intake.store(Arrival(sender, dedupe_key, _kept(headers), body))
    return adapter.accepted_status


def hook_schemas() -> Mapping[str, object]:
    """The schemas the documentation of the hook refers to, by the names of their components."""
    _, definitions = models_json_schema([(DealEvent, "validation"), (DealBatch, "validation")], ref_template=_COMPONENT)
    schemas: Mapping[str, object] = definitions["$defs"]
    return schemas


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


def _kept(headers: Headers) -> str:
    """Those headers worth keeping, as JSON; credentials are not among them."""
    kept = {}
    for name, text in _KEPT_HEADERS:
        value = headers.get(name)
        if value is not None:
            kept[text] = value.decode("latin-1")[:_HEADER_CHARACTERS_MAX]
    return dumps(kept)
