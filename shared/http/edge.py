"""The one layer of middleware, plain ASGI and lean, as the webhook route goes through it too.

In this order: request id, metrics and access line, body limit, errors nobody handled.
"""

import asyncio
import re
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from time import monotonic, perf_counter
from typing import Final

import uuid_utils
from prometheus_client import Counter, Histogram
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared.http.problems import UnsupportedContentEncoding, error_response, unexpected_response
from shared.kernel.errors import TooLarge
from shared.telemetry.logs import get_logger, request_id
from shared.telemetry.metrics import HTTP_REFUSALS_DELAYED, HTTP_REQUEST_SECONDS, HTTP_REQUESTS
from shared.telemetry.sampling import SampledLog

_ACCEPTED_REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9._-]{1,64}\Z")
_CLIENT_WENT_AWAY: Final = 499

_STRANGERS_PER_SECOND: Final = 100
_STRANGERS_AT_ONCE: Final = 200
_STRANGERS_WAIT_SECONDS: Final = 1.0

_log = get_logger(__name__)
_sampled: Final = SampledLog(_log)


class StrangersPace:
    """Makes refusals of callers nobody knows slow once there are many, so that a flood of them waits for itself.

    A bucket of `at_once` refusals that fills again by `per_second`; when it is empty each waits `wait_seconds`, which
    costs a connection and no processor time.
    """

    def __init__(
        self,
        *,
        per_second: float = _STRANGERS_PER_SECOND,
        at_once: float = _STRANGERS_AT_ONCE,
        wait_seconds: float = _STRANGERS_WAIT_SECONDS,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._per_second = per_second
        self._at_once = at_once
        self._wait_seconds = wait_seconds
        self._clock = clock
        self._left = at_once
        self._filled_at = clock()

    def wait_seconds(self) -> float:
        """How long the refusal that is to be sent now waits."""
        now = self._clock()
        self._left = min(self._at_once, self._left + (now - self._filled_at) * self._per_second)
        self._filled_at = now
        if self._left < 1:
            return self._wait_seconds
        self._left -= 1
        return 0.0


class Edge:
    """Gives each request an id, counts and times it, limits its body and answers what no handler did.

    A sensible `X-Request-ID` of the caller is used, else one is made; the answer carries it. A request body may not be
    compressed and may not be larger than `body_bytes_max`, whatever length it declares. Requests under one of
    `unlogged_prefixes` get no access line, and of refused ones not all do. `path_templates` names the path of each
    endpoint. Answers to unknown callers, to paths that do not exist and to requests that cannot be served now are slow
    where there are many in a short time.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        body_bytes_max: int,
        path_templates: Mapping[object, str],
        unlogged_prefixes: Sequence[str],
    ) -> None:
        self._app = app
        self._body_bytes_max = body_bytes_max
        self._path_templates = path_templates
        self._unlogged_prefixes = tuple(unlogged_prefixes)
        self._pace = StrangersPace()
        # Looking a labelled metric up costs more than counting.
        self._counters: dict[tuple[str, str, int], Counter] = {}
        self._timers: dict[tuple[str, str], Histogram] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = perf_counter()
        declared_bytes = 0
        identity = ""
        compressed = False
        for header, value in scope["headers"]:
            if header == b"content-length":
                declared_bytes = int(value) if value.isdigit() else 0
            elif header == b"x-request-id":
                identity = value.decode() if _ACCEPTED_REQUEST_ID.match(value) else ""
            elif header == b"content-encoding":
                compressed = value.strip().lower() not in (b"", b"identity")
        if not identity:
            identity = str(uuid_utils.uuid7())
        limit = self._body_bytes_max
        received_bytes = 0
        status = 0
        timed = True

        async def counted_receive() -> Message:
            nonlocal received_bytes
            message = await receive()
            if message["type"] == "http.request":
                received_bytes += len(message.get("body", b""))
                if received_bytes > limit:
                    # The framework lets this kind of error through from wherever the body is read.
                    raise HTTPException(413, headers={"connection": "close"})
            return message

        async def identified_send(message: Message) -> None:
            nonlocal status, timed
            if message["type"] == "http.response.start":
                status = message["status"]
                if status >= HTTPStatus.BAD_REQUEST and _by_a_stranger(scope, status):
                    seconds = self._pace.wait_seconds()
                    if seconds:
                        HTTP_REFUSALS_DELAYED.inc()
                        await asyncio.sleep(seconds)
                headers = message["headers"]
                for name, value in headers:
                    if name == b"content-type" and value.startswith(b"text/event-stream"):
                        timed = False
                headers.append((b"x-request-id", identity.encode()))
            await send(message)

        token = request_id.set(identity)
        try:
            if compressed:
                refused = UnsupportedContentEncoding("Send the body without Content-Encoding.")
                await error_response(refused)(scope, receive, identified_send)
            elif declared_bytes > limit:
                too_large = error_response(TooLarge(f"The body may have {limit} bytes at most."))
                too_large.headers["connection"] = "close"
                await too_large(scope, receive, identified_send)
            else:
                await self._app(scope, counted_receive, identified_send)
        except ClientDisconnect:
            status = status or _CLIENT_WENT_AWAY
        except Exception:
            _log.exception("request_failed", method=scope["method"], path=scope["path"])
            if status:
                raise
            await unexpected_response()(scope, receive, identified_send)
        finally:
            self._count(scope, status or _CLIENT_WENT_AWAY, perf_counter() - started if timed else None)
            request_id.reset(token)

    def _count(self, scope: Scope, status: int, seconds: float | None) -> None:
        method = scope["method"]
        route = self._path_templates.get(scope.get("endpoint"), "unmatched")
        counter = self._counters.get((method, route, status))
        if counter is None:
            counter = HTTP_REQUESTS.labels(method, route, str(status))
            self._counters[method, route, status] = counter
        counter.inc()
        if seconds is not None:
            timer = self._timers.get((method, route))
            if timer is None:
                timer = HTTP_REQUEST_SECONDS.labels(method, route)
                self._timers[method, route] = timer
            timer.observe(seconds)
        if not scope["path"].startswith(self._unlogged_prefixes):
            fields = {"method": method, "route": route, "status": status, "seconds": round(seconds or 0, 6)}
            if status < HTTPStatus.BAD_REQUEST:
                _log.info("request", **fields)
            else:
                _sampled.info("request", kind=(route, status), **fields)


def _by_a_stranger(scope: Scope, status: int) -> bool:
    return status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.SERVICE_UNAVAILABLE) or "endpoint" not in scope
