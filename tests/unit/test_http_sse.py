import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from uuid import UUID, uuid4

import httpx
import pytest
from fastapi import APIRouter, FastAPI, Request
from fastapi.sse import EventSourceResponse, ServerSentEvent

from shared.http.auth import Principal, Role
from shared.http.server import EmbeddedServer, listening_socket
from shared.http.sse import (
    LastEventId,
    Mailbox,
    StreamLimits,
    Streams,
    TooManyStreams,
    TooManyStreamsOfPerson,
    TooManyStreamsOfTenant,
)
from tests.servers.infrastructure import eventually
from tests.unit.test_http_app import service

TENANT = uuid4()


def principal(tenant: UUID = TENANT) -> Principal:
    return Principal(tenant, uuid4(), frozenset({Role.REP}))


def event(value: int) -> ServerSentEvent:
    return ServerSentEvent(id=str(value), event="progress", data={"value": value})


async def read(mailbox: Mailbox) -> list[str | None]:
    mailbox.close()
    return [waiting.id async for waiting in mailbox]


async def test_a_slow_reader_gets_the_newest_event_of_each_subject() -> None:
    mailbox = Mailbox(subjects_max=10)
    for value in range(100):
        mailbox.put(f"goal-{value % 2}", event(value))
    assert await read(mailbox) == ["98", "99"]


async def test_a_mailbox_ends_the_stream_rather_than_grow() -> None:
    mailbox = Mailbox(subjects_max=2)
    for value in range(3):
        mailbox.put(f"goal-{value}", event(value))
    async with asyncio.timeout(5):
        assert [waiting.id async for waiting in mailbox] == []


async def test_a_waiting_reader_is_woken_by_an_event() -> None:
    mailbox = Mailbox(subjects_max=2)
    received: list[str | None] = []

    async def watch() -> None:
        async for waiting in mailbox:
            received.append(waiting.id)

    def has_received(identity: str) -> bool:
        return received[-1:] == [identity]

    watching = asyncio.create_task(watch())
    for value in range(3):
        mailbox.put("goal", event(value))
        await eventually(partial(has_received, str(value)))
    mailbox.close()
    await watching


def test_a_process_serves_a_bounded_number_of_streams() -> None:
    streams = Streams(StreamLimits(streams_max=1, per_tenant_max=2, per_person_max=2))
    with streams.open(principal()), pytest.raises(TooManyStreams), streams.open(principal()):
        pass
    with streams.open(principal()):
        pass
    streams.close()
    with pytest.raises(TooManyStreams), streams.open(principal()):
        pass


def test_one_person_and_one_tenant_do_not_take_the_streams_of_others() -> None:
    streams = Streams(StreamLimits(streams_max=10, per_tenant_max=4, per_person_max=2))
    greedy, colleague, stranger = principal(), principal(), principal(tenant=uuid4())
    machine = Principal(TENANT, None, frozenset({Role.SERVICE}))
    with ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(streams.open(greedy))
        with pytest.raises(TooManyStreamsOfPerson, match="2 event streams"), streams.open(greedy):
            pass
        stack.enter_context(streams.open(colleague))
        stack.enter_context(streams.open(machine))
        with pytest.raises(TooManyStreamsOfTenant, match="4 event streams"), streams.open(colleague):
            pass
        stack.enter_context(streams.open(stranger))
    for each in (greedy, colleague, stranger):
        with streams.open(each):
            pass


async def test_a_stream_ends_when_its_token_expires_and_says_why() -> None:
    streams = Streams(StreamLimits(streams_max=1, per_tenant_max=2, per_person_max=2))
    expiring = replace(principal(), expires_at=datetime.now(UTC) + timedelta(seconds=0.2))
    with streams.open(expiring) as mailbox:
        mailbox.put("goal", event(1))
        async with asyncio.timeout(5):
            received = [each async for each in mailbox]
    assert [each.event for each in received] == ["progress", "ended"]
    assert "token_expired" in str(received[-1].raw_data)


def streaming_app(opened: list[Mailbox], seen_ids: list[str | None]) -> FastAPI:
    router = APIRouter(tags=["live"])

    @router.get("/v1/stream", response_class=EventSourceResponse)
    async def stream(request: Request, last_event_id: LastEventId = None) -> AsyncIterator[ServerSentEvent]:
        seen_ids.append(last_event_id)
        streams: Streams = request.app.state.streams
        with streams.open(principal()) as mailbox:
            opened.append(mailbox)
            try:
                yield event(0)
                async for waiting in mailbox:
                    yield waiting
            finally:
                opened.remove(mailbox)

    return service(router)


@pytest.fixture
async def served() -> AsyncIterator[Callable[[FastAPI], str]]:
    servers: list[tuple[EmbeddedServer, asyncio.Task[None]]] = []

    def serve(app: FastAPI) -> str:
        listening = listening_socket("127.0.0.1", 0)
        server = EmbeddedServer(app, listening)
        servers.append((server, asyncio.create_task(server.run_until_stopped())))
        return f"http://127.0.0.1:{listening.getsockname()[1]}"

    yield serve
    for server, task in servers:
        await server.stop()
        await task


async def test_a_stream_carries_events_and_ends_when_the_client_leaves(served: Callable[[FastAPI], str]) -> None:
    opened: list[Mailbox] = []
    seen_ids: list[str | None] = []
    url = served(streaming_app(opened, seen_ids))
    last_seen = {"last-event-id": "41"}
    async with httpx.AsyncClient() as client, client.stream("GET", f"{url}/v1/stream", headers=last_seen) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        lines = response.aiter_lines()
        first = [await anext(lines) for _ in range(4)]
        assert set(first) == {"event: progress", 'data: {"value": 0}', "id: 0", ""}
        opened[0].put("goal", event(7))
        second = [await anext(lines) for _ in range(4)]
        assert 'data: {"value": 7}' in second
    await eventually(lambda: not opened, expectation="the end of the stream's endpoint")
    assert seen_ids == ["41"]


async def test_streams_end_when_the_process_stops(served: Callable[[FastAPI], str]) -> None:
    opened: list[Mailbox] = []
    app = streaming_app(opened, [])
    url = served(app)
    async with httpx.AsyncClient() as client, client.stream("GET", f"{url}/v1/stream") as response:
        lines = response.aiter_lines()
        await anext(lines)
        app.state.streams.close()
        async with asyncio.timeout(5):
            rest = [line async for line in lines]
        assert rest[-1] == ""
    assert not opened
