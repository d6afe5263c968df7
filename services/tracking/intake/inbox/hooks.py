"""Where CRMs send to: verified on the raw bytes, stored, and only then answered."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from os import urandom
from time import time
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Request
from pydantic.json_schema import models_json_schema
from pydantic_core import to_json
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from services.tracking.intake.connections.directory import SenderDirectory, SendersUnknown
from services.tracking.intake.connections.domain import Sender
from services.tracking.intake.inbox.domain.deliveries import Arrival, InboxFull
from services.tracking.intake.inbox.hook_counts import HookCounter
from services.tracking.intake.inbox.intake import DeliveriesNotStored, Intake
from services.tracking.intake.sources.adapter import Adapter, Headers, Reply, SenderRules
from services.tracking.intake.sources.adapter import Request as Delivery
from services.tracking.intake.sources.domain import Rejection, Source
from services.tracking.intake.sources.registry import ADAPTERS
from services.tracking.intake.sources.standard_webhooks.adapter import ActivityEvent, DealBatch, DealEvent
from shared.http.problems import error_response, responses
from shared.http.wiring import handed
from shared.kernel.errors import AttainError, TooLarge, Unauthenticated
from shared.telemetry import tracing
from shared.telemetry.metrics import WEBHOOK_REJECTED

_PREFIX: Final = "/hooks/"
_STORED_HEADERS: Final = tuple(
    (name.encode(), name)
    for name in (
        "content-type",
        "user-agent",
        "webhook-id",
        "webhook-timestamp",
        "webhook-signature",
        "svix-id",
        "svix-timestamp",
        "svix-signature",
    )
)
_PLAIN_KEY: Final = re.compile(r"[\x21-\x7e]{1,200}\Z")
_HEADER_CHARACTERS_MAX: Final = 1000
_NOBODY: Final = SenderRules((ADAPTERS[Source.STANDARD_WEBHOOKS].new_secret(bytes(32)),))
_COMPONENT: Final = "#/components/schemas/{model}"
_SENT: Final = (DealEvent, DealBatch, ActivityEvent)


class SenderNotRecognised(Unauthenticated):
    """No connection that takes deliveries has this id, or the delivery is not from its sender."""

    code = "sender_not_recognised"
    title = "Sender not recognised"


@dataclass(frozen=True)
class Hooks:
    """Where deliveries come in, whichever way they take."""

    directory: SenderDirectory
    intake: Intake
    traffic: HookCounter
    base_url: str
    """The public address of this service, which some senders sign."""

    async def receive(self, scope: Scope, receive: Receive, connection_id: str, trail: str) -> Reply:
        """Verify a delivery and store it; what to answer. Raises SenderNotRecognised, InboxFull, Unavailable."""
        headers: Headers = dict(scope["headers"])
        body = await _body(receive)
        delivery = Delivery(scope["method"], self.base_url, _target(scope), trail, headers, body)
        now_seconds = time()
        sender = self.directory.find(connection_id)
        adapter, rules, rejection = _verified(sender, delivery, now_seconds)
        if sender is None or rejection is not None:
            # Another process may have made the connection or rotated its secret a moment ago. Also for what that does
            # not mend, so that every refusal costs the same.
            await self.directory.catch_up(connection_id)
            sender = self.directory.find(connection_id)
            adapter, rules, rejection = _verified(sender, delivery, now_seconds)
        if sender is None:
            WEBHOOK_REJECTED.labels(adapter.source.value, Rejection.UNKNOWN_CONNECTION.value).inc()
            raise SenderNotRecognised("The delivery is not from a sender known here.")
        if rejection is not None:
            WEBHOOK_REJECTED.labels(adapter.source.value, rejection.value).inc()
            self.traffic.rejected(sender, rejection)
            raise SenderNotRecognised("The delivery is not from a sender known here.")
        dedupe_key = _bounded(adapter.dedupe_key(delivery))
        body = adapter.body_to_store(delivery, rules)
        if tracing.enabled():
            given = headers.get(b"traceparent")
            with tracing.span("receive webhook", None if given is None else given.decode("latin-1")):
                await self.intake.store(
                    Arrival(sender, dedupe_key, _stored_headers(headers), body, tracing.current_traceparent())
                )
        else:
            await self.intake.store(Arrival(sender, dedupe_key, _stored_headers(headers), body))
        return adapter.reply(delivery, rules, now_ms=int(now_seconds * 1000), entropy=urandom)


class HookLane:
    """Takes deliveries past the routing, whose cost would be a large part of theirs, to where the route takes them too.

    It is inside the edge, which has given the request its id and enforces the limit of its body. What does not declare
    its length goes the long way.
    """

    def __init__(self, app: ASGIApp, *, hooks: Hooks) -> None:
        self._app = app
        self._hooks = hooks

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith(_PREFIX) or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        if all(name != b"content-length" for name, _ in scope["headers"]):
            await self._app(scope, receive, send)
            return
        scope["endpoint"] = receive_delivery
        connection_id, _, trail = scope["path"][len(_PREFIX) :].partition("/")
        try:
            reply = await self._hooks.receive(scope, receive, connection_id, trail)
        except AttainError as error:
            await error_response(error)(scope, receive, send)
            return
        answered = [(b"content-length", b"%d" % len(reply.body))]
        if reply.body:
            answered.append((b"content-type", reply.content_type.encode()))
        await send({"type": "http.response.start", "status": reply.status, "headers": answered})
        await send({"type": "http.response.body", "body": reply.body})


router: Final = APIRouter(tags=["hooks"])

TakesHooks = Annotated[Hooks, Depends(handed(Hooks))]

_ANSWERS: Final[dict[int | str, dict[str, object]]] = {
    200: {"description": "Stored, for sources that want a 200; with the body that the source expects, if it does."},
    202: {"description": "Stored; a duplicate too. It is translated within moments."},
    **responses(SenderNotRecognised, TooLarge, InboxFull, DeliveriesNotStored, SendersUnknown),
}


@router.post(
    "/hooks/{connection_id}",
    status_code=202,
    response_class=Response,
    responses=_ANSWERS,
    summary="Receive a webhook",
    openapi_extra={
        "requestBody": {
            "required": True,
            "description": "What the CRM sends. The schema is that of Standard Webhooks; other sources send their own.",
            "content": {
                "application/json": {
                    "schema": {"oneOf": [{"$ref": _COMPONENT.format(model=model.__name__)} for model in _SENT]}
                }
            },
        }
    },
)
async def receive_delivery(request: Request, connection_id: str, hooks: TakesHooks) -> Response:
    """Store a delivery of a connection's sender.

    A delivery that is stored is answered with success, also when it cannot be translated: it then waits in quarantine
    and can be replayed. An unknown connection and a wrong signature look the same.
    """
    return _answer(await hooks.receive(request.scope, request.receive, connection_id, ""))


@router.post(
    "/hooks/{connection_id}/{secret}",
    status_code=200,
    response_class=Response,
    responses=_ANSWERS,
    summary="Receive a webhook of a sender that can sign nothing",
    openapi_extra={
        "requestBody": {"required": True, "content": {"text/xml": {"schema": {"type": "string", "format": "binary"}}}}
    },
)
async def receive_delivery_by_address(request: Request, connection_id: str, secret: str, hooks: TakesHooks) -> Response:
    """The same for sources whose deliveries prove nothing: the address itself has the secret."""
    return _answer(await hooks.receive(request.scope, request.receive, connection_id, secret))


def _answer(reply: Reply) -> Response:
    return Response(reply.body or None, reply.status, media_type=reply.content_type if reply.body else None)


def _verified(
    sender: Sender | None, delivery: Delivery, now_seconds: float
) -> tuple[Adapter, SenderRules, Rejection | None]:
    """How the sender's source speaks, what is expected of it, and why the delivery is not from it, if so.

    For an unknown sender the same work is done, and nothing follows from it.
    """
    adapter = ADAPTERS[Source.STANDARD_WEBHOOKS if sender is None else sender.source]
    rules = _NOBODY if sender is None else SenderRules(sender.valid_secrets(now_seconds), sender.allowed)
    return adapter, rules, adapter.verify(delivery, rules, now_seconds=int(now_seconds))


def _target(scope: Scope) -> str:
    """The path and query as they were in the request."""
    path: bytes = scope.get("raw_path") or scope["path"].encode()
    query: bytes = scope["query_string"]
    return (path + b"?" + query if query else path).decode("latin-1")


def hook_schemas() -> Mapping[str, object]:
    """The schemas the documentation of the hook refers to, by the names of their components."""
    _, definitions = models_json_schema([(model, "validation") for model in _SENT], ref_template=_COMPONENT)
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
    """Keys are compared by their text, or by its digest when it is long or strange."""
    return key if _PLAIN_KEY.match(key) else f"sha256:{sha256(key.encode('utf-8', 'surrogatepass')).hexdigest()}"


def _stored_headers(headers: Headers) -> str:
    """Those headers worth storing, as JSON; credentials are not among them."""
    stored = {}
    for name, text in _STORED_HEADERS:
        value = headers.get(name)
        if value is not None:
            stored[text] = value.decode("latin-1")[:_HEADER_CHARACTERS_MAX]
    return to_json(stored).decode()
