"""Event streams over real connections."""

import asyncio
from collections.abc import AsyncIterator, Callable

import httpx
import pytest
from fastapi import FastAPI
from fastapi.sse import ServerSentEvent

from shared.http.server import EmbeddedServer, listening_socket
from shared.http.sse import Mailbox
from tests.servers.api import streaming_app
from tests.servers.infrastructure import eventually


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
        opened[0].put("goal", ServerSentEvent(id="7", event="progress", data={"value": 7}))
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
