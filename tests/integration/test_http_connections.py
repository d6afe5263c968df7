"""What a server takes before there is a request: over real sockets, with small limits."""

import asyncio
import gc
import json
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Final
from weakref import ref

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from shared.http.connections import ConnectionLimits, ConnectionTable, LimitedProtocol
from shared.http.server import EmbeddedServer, listening_socket
from tests.servers.infrastructure import eventually

LIMITS: Final = ConnectionLimits(
    connections_max=50,
    connections_per_peer_max=20,
    head_bytes_max=4096,
    headers_max=20,
    url_bytes_max=1000,
    head_seconds_max=1.5,
    message_bytes_max=100_000,
    body_seconds_max=2.0,
    buffered_bytes_max=200_000,
    pipelined_max=8,
    unread_answer_seconds_max=0.5,
)
ENDLESS_BYTES: Final = 40_000_000
GET: Final = b"GET /quick HTTP/1.1\r\nhost: attain\r\n\r\n"
SLOW: Final = GET.replace(b"/quick", b"/slow")
POST: Final = b"POST /body HTTP/1.1\r\nhost: attain\r\ncontent-length: 1000\r\n\r\n"


class Served:
    """A server on loopback and what its app has been asked."""

    def __init__(self, limits: ConnectionLimits) -> None:
        listening = listening_socket("127.0.0.1", 0)
        self.port: int = listening.getsockname()[1]
        self.answered: list[str] = []
        self.release = asyncio.Event()
        app = Starlette(
            routes=[
                Route("/quick", self._quick),
                Route("/slow", self._slow),
                Route("/body", self._body, methods=["POST"]),
                Route("/unread", self._unread, methods=["POST"]),
                Route("/large", self._large),
            ]
        )
        self.server = EmbeddedServer(app, listening, limits)
        self.table: ConnectionTable = self.server.connection_table

    @property
    def ahead(self) -> list[int]:
        """How many requests wait behind the one being answered, by connection."""
        connections = self.server.server_state.connections
        return [len(each.pipeline) for each in connections if isinstance(each, LimitedProtocol)]

    async def _quick(self, request: Request) -> Response:
        self.answered.append(request.url.path)
        return PlainTextResponse("quick")

    async def _slow(self, request: Request) -> Response:
        await self.release.wait()
        self.answered.append(request.url.path)
        return PlainTextResponse("slow")

    async def _body(self, request: Request) -> Response:
        try:
            return PlainTextResponse(str(len(await request.body())))
        except ClientDisconnect:
            return PlainTextResponse("left")

    async def _unread(self, request: Request) -> Response:
        return PlainTextResponse("unread", 401)

    async def _large(self, request: Request) -> Response:
        return PlainTextResponse("x" * 50_000_000)


@asynccontextmanager
async def serving(limits: ConnectionLimits = LIMITS) -> AsyncIterator[Served]:
    served = Served(limits)
    running = asyncio.create_task(served.server.run_until_stopped())
    await eventually(lambda: served.server.started)
    try:
        yield served
        served.release.set()
        assert await honest(served, "127.0.0.3") == "quick"
        await eventually(lambda: served.table.buffered_bytes == 0, expectation="nothing held for anybody")
    finally:
        await served.server.stop()
        await running


async def honest(served: Served, peer: str) -> str:
    transport = httpx.AsyncHTTPTransport(local_address=peer)
    async with httpx.AsyncClient(transport=transport, base_url=f"http://127.0.0.1:{served.port}") as client:
        return (await client.get("/quick")).text


class Stranger:
    """A raw connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> bool:
        """False once the server does not take it any more."""
        try:
            self.writer.write(data)
            await self.writer.drain()
        except ConnectionError:
            return False
        return True

    def reset(self) -> None:
        """Leave without a word."""
        raw = self.writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.close()

    async def everything(self) -> bytes:
        """What the server says until it closes."""
        got = b""
        try:
            async with asyncio.timeout(10):
                while piece := await self.reader.read(65536):
                    got += piece
        except ConnectionError:
            pass
        return got


@asynccontextmanager
async def stranger(served: Served, peer: str = "127.0.0.2") -> AsyncIterator[Stranger]:
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port, local_addr=(peer, 0))
    try:
        yield Stranger(reader, writer)
    finally:
        writer.transport.abort()


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


def code(answer: bytes) -> str:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"content-type: application/problem+json" in head.lower()
    assert b"connection: close" in head.lower()
    return str(json.loads(body)["code"])


@pytest.mark.parametrize(
    ("start", "repeated"),
    [
        (b"GET /quick HTTP/1.1\r\nx-endless: ", b"a" * 1000),
        (b"GET /quick HTTP/1.1\r\n", b"x-one-more: of many\r\n" * 50),
        (b"GET /quick?", b"a" * 1000),
        (b"GET /quick HTTP/1.1\r\n", b"x" * 1000),
        (GET + b"GET /quick HTTP/1.1\r\nx-endless: ", b"a" * 1000),
        (b"", b"\r\n" * 500),
    ],
    ids=["header", "headers", "url", "name", "second", "blank"],
)
async def test_an_endless_head_is_refused_after_its_limit(start: bytes, repeated: bytes) -> None:
    async with serving() as served, stranger(served) as attacker:
        await attacker.send(start)
        sent = 0
        while sent < ENDLESS_BYTES and await attacker.send(repeated):
            sent += len(repeated)
            assert served.table.buffered_bytes <= LIMITS.head_bytes_max + 262_144
        answer = await attacker.everything()
        assert sent < ENDLESS_BYTES
        # The answer may be lost when the client never looks for it.
        assert answer == b"" or b" 431 " in answer


async def test_a_head_that_is_too_large_or_has_too_many_headers_gets_431_and_a_long_url_414() -> None:
    async with serving() as served:
        for head, expected in (
            (b"GET /quick HTTP/1.1\r\nx: " + b"a" * 5000 + b"\r\n\r\n", (431, "head_too_large")),
            (b"GET /quick HTTP/1.1\r\n" + b"x: y\r\n" * 21 + b"\r\n", (431, "head_too_large")),
            (b"GET /quick?" + b"a" * 1001 + b" HTTP/1.1\r\n\r\n", (414, "url_too_long")),
            (b"NONSENSE\r\n\r\n", (400, "malformed_request")),
        ):
            async with stranger(served) as attacker:
                await attacker.send(head)
                answer = await attacker.everything()
                assert (status(answer), code(answer)) == expected
        assert served.answered == []


async def test_a_slow_head_and_a_slow_body_get_408() -> None:
    async with serving() as served, stranger(served) as head, stranger(served) as body, stranger(served) as silent:

        async def drip(attacker: Stranger, start: bytes) -> bytes:
            await attacker.send(start)
            answering = asyncio.create_task(attacker.everything())
            for _ in range(100):
                await asyncio.wait({answering}, timeout=0.1)
                if answering.done() or not await attacker.send(b"a"):
                    break
            return await answering

        answers = await asyncio.gather(
            drip(head, b"GET /quick HTTP/1.1\r\nx: "),
            drip(body, b"POST /body HTTP/1.1\r\ncontent-length: 1000\r\n\r\n"),
            silent.everything(),
        )
        assert [(status(answer), code(answer)) for answer in answers[:2]] == [(408, "request_timeout")] * 2
        assert answers[2] == b""


async def test_a_body_nobody_reads_ends_with_its_limit() -> None:
    async with serving() as served, stranger(served) as endless:
        await endless.send(b"POST /unread HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n")
        sent = 0
        while sent < ENDLESS_BYTES and await endless.send(b"1000\r\n" + b"a" * 4096 + b"\r\n"):
            sent += 4096
        assert sent < ENDLESS_BYTES
        async with stranger(served) as slow:
            await slow.send(b"POST /unread HTTP/1.1\r\ncontent-length: 100000\r\n\r\n")
            answer = await slow.everything()
        assert answer.count(b"HTTP/1.1") == 1
        assert status(answer) == 401


async def test_chunk_extensions_and_trailers_without_end_are_refused() -> None:
    for endless in (b"5;", b"0\r\nx-trailer: "):
        async with serving() as served, stranger(served) as attacker:
            await attacker.send(b"POST /body HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n" + endless)
            sent = 0
            while sent < ENDLESS_BYTES and await attacker.send(b"a" * 4096):
                sent += 4096
            assert sent < ENDLESS_BYTES


async def test_requests_sent_ahead_are_answered_in_order_up_to_a_number() -> None:
    async with serving() as served, stranger(served) as attacker:
        await attacker.send(SLOW + GET * 5000)
        await asyncio.sleep(0.2)
        assert served.ahead == [8]
        served.release.set()
        answer = await attacker.everything()
        assert answer.count(b"HTTP/1.1 200") == 9
        assert served.answered == ["/slow"] + ["/quick"] * 8
        assert b"connection: close" in answer.rpartition(b"HTTP/1.1")[2]


async def test_a_modest_pipeline_is_answered_whole() -> None:
    async with serving() as served, stranger(served) as client:
        for _ in range(20):
            await client.send(GET * 8)
            for _ in range(8):
                assert (await client.reader.readuntil(b"quick")).startswith(b"HTTP/1.1 200")


async def test_unfinished_bodies_hold_a_bounded_sum_and_the_largest_goes_first() -> None:
    async with serving() as served, stranger(served, "127.0.0.4") as small:
        await small.send(b"POST /body HTTP/1.1\r\ncontent-length: 10\r\n\r\n12345")
        attackers = []
        for _ in range(8):
            reader, writer = await asyncio.open_connection("127.0.0.1", served.port, local_addr=("127.0.0.2", 0))
            attackers.append(Stranger(reader, writer))
        for attacker in attackers:
            await attacker.send(b"POST /body HTTP/1.1\r\ncontent-length: 90000\r\n\r\n" + b"a" * 50_000)
        await eventually(lambda: 0 < served.table.buffered_bytes <= LIMITS.buffered_bytes_max)
        await small.send(b"67890")
        assert (await small.reader.readuntil(b"\r\n\r\n10")).startswith(b"HTTP/1.1 200")
        answers = await asyncio.gather(*(attacker.everything() for attacker in attackers))
        refused = [answer for answer in answers if answer and status(answer) == 503]
        assert refused
        assert {code(answer) for answer in refused} == {"too_much_unfinished"}
        assert all(b"retry-after: 1" in answer for answer in refused)
        for attacker in attackers:
            attacker.writer.transport.abort()


async def test_one_address_has_a_number_of_connections_and_those_that_wait_make_room() -> None:
    async with serving() as served:
        opened = []
        for _ in range(60):
            reader, writer = await asyncio.open_connection("127.0.0.1", served.port, local_addr=("127.0.0.2", 0))
            opened.append(Stranger(reader, writer))
            await opened[-1].send(b"GET /quick HTTP/1.1\r\n")
        assert await honest(served, "127.0.0.3") == "quick"
        await eventually(lambda: len(served.server.server_state.connections) <= LIMITS.connections_per_peer_max)
        for client in opened:
            client.writer.transport.abort()


async def test_connections_that_are_being_answered_are_not_closed_for_others() -> None:
    async with serving() as served:
        busy = []
        for _ in range(LIMITS.connections_per_peer_max):
            reader, writer = await asyncio.open_connection("127.0.0.1", served.port, local_addr=("127.0.0.2", 0))
            busy.append(Stranger(reader, writer))
            await busy[-1].send(SLOW)
        async with stranger(served) as one_more:
            answer = await one_more.everything()
            assert (status(answer), code(answer)) == (429, "too_many_connections")
            assert b"retry-after: 5" in answer
        served.release.set()
        for client in busy:
            assert (await client.reader.readuntil(b"slow")).startswith(b"HTTP/1.1 200")
            client.writer.transport.abort()


async def test_a_server_that_is_full_of_busy_connections_says_so() -> None:
    async with serving(replace(LIMITS, connections_max=3)) as served:
        busy = []
        for number in range(3):
            peer = f"127.0.0.{10 + number}"
            reader, writer = await asyncio.open_connection("127.0.0.1", served.port, local_addr=(peer, 0))
            busy.append(Stranger(reader, writer))
            await busy[-1].send(SLOW)
        async with stranger(served) as one_more:
            answer = await one_more.everything()
            assert (status(answer), code(answer)) == (503, "too_many_connections")
        served.release.set()
        for client in busy:
            await client.reader.readuntil(b"slow")
            client.writer.transport.abort()


async def test_a_client_that_does_not_read_its_answer_is_left() -> None:
    async with serving() as served, stranger(served) as attacker:
        attacker.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await attacker.send(GET.replace(b"/quick", b"/large"))
        await eventually(lambda: bool(served.server.server_state.connections))
        await eventually(lambda: not served.server.server_state.connections, expectation="the connection to be left")


@pytest.mark.parametrize(
    "sent",
    [GET[:-5], POST + b"abc", GET, SLOW, SLOW + GET * 3, b"nonsense\r\n\r\n"],
    ids=["a head", "a body", "answered", "being answered", "sent ahead", "refused"],
)
@pytest.mark.parametrize("is_reset", [False, True], ids=["closed", "reset"])
async def test_a_connection_that_has_ended_leaves_nothing_for_the_collector(sent: bytes, is_reset: bool) -> None:
    """Not for the time of keeping it alive either."""
    async with serving() as served, stranger(served) as client:
        await client.send(sent)
        connections = served.server.server_state.connections
        await eventually(lambda: len(connections) == 1)
        await asyncio.sleep(0.1)
        ended = [ref(connection) for connection in connections]
        gc.collect()
        gc.disable()
        try:
            if is_reset:
                client.reset()
            else:
                client.writer.close()
            served.release.set()
            await eventually(
                lambda: [each() for each in ended] == [None], 2, expectation="the connection to be gone from memory"
            )
        finally:
            gc.enable()


async def test_what_is_answered_when_the_connection_has_ended_ends_quietly(caplog: pytest.LogCaptureFixture) -> None:
    async with serving() as served, stranger(served) as client:
        await client.send(SLOW + GET * 3)
        await eventually(lambda: served.ahead == [3])
        (connection,) = served.server.server_state.connections
        assert isinstance(connection, LimitedProtocol)
        # As it is for one who does not read: of those sent ahead it is not told which was being answered.
        connection.transport.abort()
        await eventually(lambda: not served.server.server_state.connections)
        served.release.set()
        await eventually(lambda: served.answered == ["/slow"])
        assert await honest(served, "127.0.0.3") == "quick"
    assert [record for record in caplog.records if record.name.startswith("uvicorn")] == []


async def test_a_request_that_asks_for_an_upgrade_is_answered_as_it_is() -> None:
    async with serving() as served, stranger(served) as client:
        await client.send(GET.replace(b"\r\n\r\n", b"\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n"))
        assert (await client.reader.readuntil(b"quick")).startswith(b"HTTP/1.1 200")


async def test_a_slow_answer_and_an_idle_connection_outlive_the_times_of_heads_and_bodies() -> None:
    async with serving() as served, stranger(served) as client:
        await client.send(SLOW)
        await asyncio.sleep(2.6)
        served.release.set()
        assert (await client.reader.readuntil(b"slow")).startswith(b"HTTP/1.1 200")
        await asyncio.sleep(1.8)
        await client.send(GET)
        assert (await client.reader.readuntil(b"quick")).startswith(b"HTTP/1.1 200")
