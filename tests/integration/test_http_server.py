import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx

from tests.servers.infrastructure import eventually

SERVED = """
import asyncio, sys
from shared.http.server import serve_api
from shared.telemetry import logs
from tests.servers.api import SETTINGS, streaming_app

logs.configure("goals")
app = streaming_app([], [])

started = []

@app.get("/v1/slow")
async def slow() -> str:
    started.append(True)
    await asyncio.sleep(1)
    return "done"

@app.get("/v1/slow/started")
async def slow_started() -> bool:
    return bool(started)

sys.exit(serve_api(app, SETTINGS, port=int(sys.argv[1])))
"""
PROJECT = Path(__file__).parents[2]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@asynccontextmanager
async def served(port: int, script: str = SERVED, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        script,
        str(port),
        *arguments,
        cwd=PROJECT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def wait_until_ready(client: httpx.AsyncClient) -> None:
    async def ready() -> bool:
        try:
            return (await client.get("/readyz")).status_code == 200
        except httpx.TransportError:
            return False

    await eventually(ready, 60, expectation="a ready server")


async def test_a_signal_ends_streams_finishes_requests_and_exits_with_zero() -> None:
    port = free_port()
    async with (
        served(port) as process,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=20) as client,
    ):
        await wait_until_ready(client)

        async def slow_started() -> bool:
            return bool((await client.get("/v1/slow/started")).json())

        async with client.stream("GET", "/v1/stream") as stream:
            lines = stream.aiter_lines()
            await anext(lines)
            slow = asyncio.create_task(client.get("/v1/slow"))
            await eventually(slow_started, expectation="the slow request under way")
            process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(8):
                rest = [line async for line in lines]
                assert rest[-1] == ""
                assert (await slow).json() == "done"
                output, errors = await process.communicate()
    assert process.returncode == 0, errors
    assert errors == b""
    assert b"Traceback" not in output


async def test_a_taken_port_is_said_in_one_line_without_a_traceback() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        async with served(taken.getsockname()[1]) as process:
            output, errors = await process.communicate()
    assert process.returncode == 1
    assert errors == b""
    (line,) = output.decode().splitlines()
    assert '"cannot_listen"' in line


OPERATED = SERVED.replace("SETTINGS, port=", 'SETTINGS.model_copy(update={"operations_port": int(sys.argv[2])}), port=')


async def test_health_metrics_and_documentation_move_to_a_port_of_their_own() -> None:
    script = OPERATED.replace(
        "app = streaming_app([], [])",
        'import tests.servers.api as t\nt.SETTINGS = SETTINGS.model_copy(update={"operations_port": 1})\n'
        "app = streaming_app([], [])",
    )
    port, operations_port = free_port(), free_port()
    async with (
        served(port, script, str(operations_port)) as process,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=20) as public,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{operations_port}", timeout=20) as operations,
    ):
        await wait_until_ready(operations)
        for path in ("/healthz", "/readyz", "/metrics", "/docs", "/openapi.json"):
            assert (await public.get(path)).status_code == 404, path
            assert (await operations.get(path)).status_code == 200, path
        assert (await operations.get("/docs/assets/swagger-ui-bundle.js")).status_code == 200
        assert 'data-tried="no"' in (await operations.get("/docs")).text
        assert (await public.get("/v1/slow/started")).json() is False
        assert (await operations.get("/v1/slow/started")).status_code == 404
        process.send_signal(signal.SIGTERM)
        _, errors = await asyncio.wait_for(process.communicate(), 20)
    assert (process.returncode, errors) == (0, b"")


async def test_an_api_whose_background_work_ended_ends_with_a_failing_status() -> None:
    script = """
import sys
from contextlib import asynccontextmanager
from fastapi import FastAPI
from shared.http.app import run_beside
from shared.http.health import Health
from shared.http.server import serve_api
from shared.http.settings import HttpSettings
from shared.http.sse import StreamLimits, Streams
from shared.worker.rounds import Rounds

class Ending(Rounds):
    @asynccontextmanager
    async def during(self):
        raise RuntimeError("cannot begin")
        yield

    async def round(self):
        return False

@asynccontextmanager
async def lifespan(app):
    async with run_beside(app, {"ending": Ending("ending", every_seconds=1)}):
        yield

app = FastAPI(lifespan=lifespan)
app.state.health = Health({})
app.state.streams = Streams(StreamLimits(streams_max=1, per_tenant_max=1, per_person_max=1))
sys.exit(serve_api(app, HttpSettings(jwt_secret="x" * 32), port=0))
"""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, cwd=PROJECT, env={**os.environ, "ATTAIN_PUBLIC_URL": "http://localhost"}
    )
    assert await asyncio.wait_for(process.wait(), 30) == 1
