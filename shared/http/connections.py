"""Limits on what is not a request yet: connections, heads, bodies under way, requests sent ahead of their answers.

Everything behind the parser sees a whole head and a body as it comes, and limits that; here is what it never sees. All
of it is counted for one server, so a stranger can cost a bounded amount of memory however many connections he opens:

- a connection too many takes the place of those that have waited longest for a request, and is refused if none waits;
- a head has a length, a number of headers and a time; so has a body, whether or not anybody reads it;
- bytes that are held for unfinished requests have a sum; near it large bodies are read by turns, and beyond it the
  unfinished request that holds most goes;
- requests sent ahead are answered in order up to a number, then the connection closes (RFC 9112, 9.3.2);
- a client that does not read its answer is left after a while.

A refusal is a problem like any other where the client can still read one. It is counted in the metrics by its reason
and sampled in the log.
"""

import asyncio
import heapq
from collections import deque
from dataclasses import dataclass
from typing import Final

import httptools
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from shared.http.problems import PROBLEM_MEDIA_TYPE, problem_response
from shared.telemetry.logs import get_logger
from shared.telemetry.metrics import HTTP_CONNECTIONS_OPEN, HTTP_CONNECTIONS_REFUSED
from shared.telemetry.sampling import SampledLog

_SWEEP_SECONDS: Final = 0.5
_LINGER_SECONDS: Final = 2.0
_LINGER_BYTES_MAX: Final = 1_048_576
_SMALL_BYTES: Final = 4096
_EVICTED_SHARE: Final = 32
_FULL_SECONDS: Final = 0.25
_LARGE_BYTES: Final = 65_536
_TURNS_SHARE: Final = 4
_TURNS_AT_ONCE: Final = 32

_sampled: Final = SampledLog(get_logger(__name__))


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """What a server takes from strangers.

    `message_bytes_max` limits a request as it is sent, framing included, also when nobody reads it; how large a body
    may be is for the app. `held_bytes_max` is the sum over all requests that are not answered yet.
    """

    connections_max: int
    connections_per_peer_max: int
    buffered_bytes_max: int
    head_bytes_max: int = 32_768
    headers_max: int = 100
    url_bytes_max: int = 8192
    head_seconds_max: float = 10.0
    message_bytes_max: int = 4_194_304
    body_seconds_max: float = 30.0
    pipelined_max: int = 32
    unread_answer_seconds_max: float = 60.0


# What a connection waits for. Plain numbers: these are compared at every request. After _ENDING nothing more is taken:
# the requests received whole are answered, then it closes; _REFUSED: the client may read why, then it closes.
_IDLE: Final = 0
_HEAD: Final = 1
_BODY: Final = 2
_ENDING: Final = 3
_REFUSED: Final = 4


@dataclass(frozen=True, slots=True)
class _Refusal:
    reason: str
    answer: bytes


def _refusal(status: int, reason: str, title: str, detail: str, *, retry_after_seconds: int | None = None) -> _Refusal:
    body = bytes(problem_response(status=status, code=reason, title=title, detail=detail).body)
    retry = b"" if retry_after_seconds is None else b"retry-after: %d\r\n" % retry_after_seconds
    head = b"%scontent-type: %s\r\ncontent-length: %d\r\n%sconnection: close\r\n\r\n"
    return _Refusal(reason, head % (STATUS_LINE[status], PROBLEM_MEDIA_TYPE.encode(), len(body), retry) + body)


_MALFORMED: Final = _refusal(400, "malformed_request", "Malformed request", "This is not an HTTP/1.1 request.")
_HEAD_TOO_LATE: Final = _refusal(408, "request_timeout", "Request timeout", "The head of the request took too long.")
_BODY_TOO_LATE: Final = _refusal(408, "request_timeout", "Request timeout", "The body of the request took too long.")
_TOO_LARGE: Final = _refusal(413, "too_large", "Too large", "The request is larger than this service accepts.")
_URL_TOO_LONG: Final = _refusal(414, "url_too_long", "URL too long", "The URL is longer than this service accepts.")
_HEAD_TOO_LARGE: Final = _refusal(
    431, "head_too_large", "Head too large", "The head of the request has more bytes or headers than accepted."
)
_TOO_MANY_OF_PEER: Final = _refusal(
    429,
    "too_many_connections",
    "Too many connections",
    "Your address has as many connections as this process gives one address; use fewer, or those you have.",
    retry_after_seconds=5,
)
_TOO_MANY: Final = _refusal(
    503,
    "too_many_connections",
    "Too many connections",
    "This process has as many connections as it takes; try again.",
    retry_after_seconds=5,
)
_NO_ROOM: Final = _refusal(
    503,
    "too_much_unfinished",
    "Too much unfinished",
    "The requests being received fill the room this process has for them; send this one again.",
    retry_after_seconds=1,
)
_PIPELINED: Final = _Refusal("pipelined", b"")
_NOTHING_SENT: Final = _Refusal("nothing_sent", b"")
_MADE_ROOM: Final = _Refusal("made_room", b"")
_ANSWER_UNREAD: Final = _Refusal("answer_unread", b"")


class _RefusedWhileParsing(Exception):
    """Ends the parsing of what has been received."""


class ConnectionTable:
    """The connections of one server, and what they buffer together."""

    def __init__(self, limits: ConnectionLimits) -> None:
        self.limits = limits
        self.buffered_bytes = 0
        # By the clock of the loop, as of the last sweep: cheap to look at, and late by half a second at most.
        self.now = 0.0
        self._open: set[LimitedProtocol] = set()
        self._by_peer: dict[str, set[LimitedProtocol]] = {}
        self._full_until: dict[str | None, float] = {}
        self._sweeping: asyncio.TimerHandle | None = None
        self._in_turn: deque[LimitedProtocol] = deque()

    @property
    def is_crowded(self) -> bool:
        """Whether large bodies are read by turns."""
        return self.buffered_bytes > self.limits.buffered_bytes_max // _TURNS_SHARE

    def await_turn(self, connection: "LimitedProtocol") -> None:
        """Wake it when it may go on reading."""
        self._in_turn.append(connection)

    def admit(self, connection: "LimitedProtocol", peer: str, loop: asyncio.AbstractEventLoop) -> _Refusal | None:
        """Take a connection in, or say why not."""
        of_peer = self._by_peer.setdefault(peer, set())
        now = loop.time()
        if len(of_peer) >= self.limits.connections_per_peer_max and not self._make_room(of_peer, peer, now):
            return _TOO_MANY_OF_PEER
        if len(self._open) >= self.limits.connections_max and not self._make_room(self._open, None, now):
            if not of_peer:
                del self._by_peer[peer]
            return _TOO_MANY
        of_peer.add(connection)
        self._open.add(connection)
        HTTP_CONNECTIONS_OPEN.inc()
        if self._sweeping is None:
            self.now = now
            self._sweeping = loop.call_later(_SWEEP_SECONDS, self._sweep, loop)
        return None

    def forget(self, connection: "LimitedProtocol", peer: str) -> None:
        """A connection is closed or closing; once is enough."""
        if connection not in self._open:
            return
        self._open.discard(connection)
        HTTP_CONNECTIONS_OPEN.dec()
        of_peer = self._by_peer[peer]
        of_peer.discard(connection)
        if not of_peer:
            del self._by_peer[peer]

    def relieve(self) -> None:
        """Buffer no more than the limit: refuse the unfinished requests that buffer most."""
        while self.buffered_bytes > self.limits.buffered_bytes_max:
            unfinished = [
                connection for connection in self._open if connection.is_unfinished and connection.buffered_bytes
            ]
            if not unfinished:
                return
            max(unfinished, key=lambda connection: connection.buffered_bytes).refuse(_NO_ROOM)

    def _make_room(self, among: set["LimitedProtocol"], peer: str | None, now: float) -> bool:
        """Close the connections that have waited longest for a request, a few at a time."""
        if self._full_until.get(peer, now) > now:
            return False
        self._full_until.clear()
        waiting = [connection for connection in among if connection.is_waiting]
        for connection in heapq.nsmallest(
            1 + len(among) // _EVICTED_SHARE, waiting, key=lambda connection: connection.waiting_since
        ):
            connection.refuse(_MADE_ROOM)
        if not waiting:
            self._full_until[peer] = now + _FULL_SECONDS
        return bool(waiting)

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        self.now = loop.time()
        for connection in tuple(self._open):
            connection.check(self.now)
        for _ in range(min(len(self._in_turn), _TURNS_AT_ONCE)):
            self._in_turn.popleft().go_on()
        self._sweeping = loop.call_later(_SWEEP_SECONDS, self._sweep, loop) if self._open else None


class LimitedConfig(uvicorn.Config):
    """A configuration whose connections are limited together."""

    def __init__(self, app: ASGIApp, *, limits: ConnectionLimits, backlog: int, timeout_graceful_shutdown: int) -> None:
        super().__init__(
            app,
            loop="uvloop",
            http=LimitedProtocol,
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=False,
            proxy_headers=False,
            backlog=backlog,
            timeout_graceful_shutdown=timeout_graceful_shutdown,
        )
        self.connection_table = ConnectionTable(limits)


class _Flow(FlowControl):
    """Does not go on reading while requests wait that were sent ahead, or others are first, whatever the app wants."""

    def __init__(self, transport: asyncio.Transport, protocol: "LimitedProtocol") -> None:
        super().__init__(transport)
        self._protocol = protocol

    def resume_reading(self) -> None:
        if self.read_paused and not self._protocol.pipeline and not self._protocol.waits_its_turn:
            super().resume_reading()


class LimitedProtocol(HttpToolsProtocol):
    """uvicorn's protocol, within the limits of its configuration. Lean, as every webhook goes through it."""

    def __init__(
        self,
        config: LimitedConfig,
        server_state: ServerState,
        app_state: dict[str, object],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.buffered_bytes = 0
        self.waits_its_turn = False
        self._table = config.connection_table
        self._limits = config.connection_table.limits
        self._peer = ""
        self._phase = _HEAD
        self._since = 0.0
        self._received_bytes = 0
        self._writing_paused_since = 0.0
        self._refusal: _Refusal | None = None
        # The one being answered: `cycle` is the last of those sent ahead.
        self._first_cycle: RequestResponseCycle | None = None

    @property
    def is_waiting(self) -> bool:
        """Whether nothing is being answered and no head is complete."""
        return self._phase <= _HEAD and not self._answering

    @property
    def is_unfinished(self) -> bool:
        """Whether a request is being received."""
        return self._phase == _HEAD or self._phase == _BODY

    @property
    def waiting_since(self) -> float:
        """When it began to wait, by the clock of the loop."""
        return self._since

    @property
    def _answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.flow = _Flow(transport, self)
        self._peer = self.client[0] if self.client else ""
        self._since = self.loop.time()
        refused = self._table.admit(self, self._peer, self.loop)
        if refused is not None:
            self._count(refused)
            self._phase = _REFUSED
            transport.write(refused.answer)
            transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._table.forget(self, self._peer)
        self._release(0)
        self._phase = _REFUSED
        first = self._first_cycle
        if first is not None and not first.response_complete:
            first.disconnected = True
            first.message_event.set()
        super().connection_lost(exc)
        self._unset_keepalive_if_required()
        # These refer to this connection in turn: left to the collector, those of thousands would fill memory until it
        # comes. Nothing needs them any more, and a request that is still worked on has them of its own.
        del self.transport, self.flow, self.parser, self.cycle, self._first_cycle
        self.pipeline.clear()

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        size_bytes = len(data)
        if self._phase == _IDLE and size_bytes <= _SMALL_BYTES:
            # As most come: a whole request at once, which need not be accounted for.
            self._phase = _HEAD
            self._since = self._table.now
            self._received_bytes = size_bytes
            self._parse(data)
            if self._phase == _HEAD or self._phase == _BODY:
                self._buffer(size_bytes)
            return
        # In pieces, so that what the parser has been given beyond a limit is small.
        for start in range(0, size_bytes, self._limits.head_bytes_max):
            self._feed(data[start : start + self._limits.head_bytes_max])

    def on_headers_complete(self) -> None:
        limits = self._limits
        refused = None
        if len(self.headers) > limits.headers_max:
            refused = _HEAD_TOO_LARGE
        elif len(self.url) > limits.url_bytes_max:
            refused = _URL_TOO_LONG
        elif len(self.pipeline) >= limits.pipelined_max:
            refused = _PIPELINED
        if refused is not None:
            self._refusal = refused
            raise _RefusedWhileParsing
        HttpToolsProtocol.on_headers_complete(self)
        if not self.pipeline:
            self._first_cycle = self.cycle
        self._phase = _BODY
        self._since = self._table.now

    def on_message_complete(self) -> None:
        HttpToolsProtocol.on_message_complete(self)
        self._phase = _IDLE

    def on_response_complete(self) -> None:
        sent_ahead = bool(self.pipeline)
        if sent_ahead:
            self._first_cycle = self.pipeline[-1][0]
        HttpToolsProtocol.on_response_complete(self)
        if self.pipeline:
            return
        if sent_ahead:
            # What came while the last of those sent ahead still waited.
            self.flow.resume_reading()
        if self.buffered_bytes:
            self._release(self._received_bytes if self.is_unfinished else 0)
        if self._phase == _IDLE:
            self._since = self._table.now

    def pause_writing(self) -> None:
        super().pause_writing()
        self._writing_paused_since = self._table.now

    def go_on(self) -> None:
        """Read on: it is its turn."""
        self.waits_its_turn = False
        if self._phase < _ENDING:
            self.flow.resume_reading()

    def check(self, now: float) -> None:
        """Give up on what takes too long."""
        waited = now - self._since
        if self._phase == _REFUSED:
            if waited > _LINGER_SECONDS:
                self.transport.abort()
        elif self.flow.write_paused and now - self._writing_paused_since > self._limits.unread_answer_seconds_max:
            self._count(_ANSWER_UNREAD)
            self.transport.abort()
        elif self.flow.read_paused:
            # It is waited for the app, not for the client.
            self._since = now
        elif self._phase == _HEAD and waited > self._limits.head_seconds_max:
            self.refuse(_HEAD_TOO_LATE if self._received_bytes else _NOTHING_SENT)
        elif self._phase == _BODY and waited > self._limits.body_seconds_max:
            self.refuse(_BODY_TOO_LATE)

    def refuse(self, refusal: _Refusal) -> None:
        """Receive nothing more; answer why, if that is still possible, after the requests before."""
        if self._phase >= _ENDING:
            return
        self._count(refusal)
        receiving_body = self._phase == _BODY
        self._phase = _REFUSED
        self._since = self._table.now
        self._received_bytes = 0
        self._release(0)
        if self._answering and not receiving_body:
            self._phase = _ENDING
            self.cycle.keep_alive = False
            return
        answered_already = receiving_body and not self._answering
        if self._answering:
            begun = self.cycle.response_started or bool(self.pipeline)
            self.cycle.disconnected = True
            self.cycle.message_event.set()
            if begun:
                self.transport.abort()
                return
        if not refusal.answer or answered_already or self.transport.is_closing():
            self._table.forget(self, self._peer)
            self.transport.close()
            return
        self.transport.write(refusal.answer)
        if refusal is _NO_ROOM:
            # There is no time to look at what still comes either.
            self.flow.pause_reading()
        else:
            self.flow.resume_reading()
        # Closing at once would reset the connection under what still comes, and the answer could not be read.
        if self.transport.can_write_eof():
            self.transport.write_eof()
        else:
            self.transport.close()

    def _feed(self, data: bytes) -> None:
        size_bytes = len(data)
        self._received_bytes += size_bytes
        if self._phase >= _ENDING:
            if self._received_bytes > _LINGER_BYTES_MAX:
                self.transport.abort()
            return
        if self._phase == _IDLE:
            self._phase = _HEAD
            self._since = self._table.now
            self._received_bytes = size_bytes
        if self._phase == _HEAD and self._received_bytes > self._limits.head_bytes_max:
            self.refuse(_HEAD_TOO_LARGE)
        elif self._received_bytes > self._limits.message_bytes_max:
            self.refuse(_TOO_LARGE)
        elif self._buffer(size_bytes):
            self._parse(data)
            if self._phase == _BODY and self.buffered_bytes > _LARGE_BYTES and self._table.is_crowded:
                self._wait_turn()

    def _wait_turn(self) -> None:
        if not self.waits_its_turn:
            self.waits_its_turn = True
            self.flow.pause_reading()
            self._table.await_turn(self)

    def _parse(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # There is nothing to upgrade to: the request is answered as if it had no Upgrade header.
            pass
        except httptools.HttpParserError:
            self.refuse(self._refusal or _MALFORMED)

    def _buffer(self, size_bytes: int) -> bool:
        """Account for bytes of a request that is not answered yet; whether it may still be received."""
        self.buffered_bytes += size_bytes
        self._table.buffered_bytes += size_bytes
        if self._table.buffered_bytes > self._limits.buffered_bytes_max:
            self._table.relieve()
        return self._phase < _ENDING

    def _release(self, remaining_bytes: int) -> None:
        self._table.buffered_bytes += remaining_bytes - self.buffered_bytes
        self.buffered_bytes = remaining_bytes

    def _count(self, refusal: _Refusal) -> None:
        HTTP_CONNECTIONS_REFUSED.labels(refusal.reason).inc()
        _sampled.warning("connection_refused", kind=refusal.reason, reason=refusal.reason, peer=self._peer)
