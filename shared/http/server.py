"""Serving an ASGI app with uvicorn, for API and worker processes.

Shutdown of an API process, on SIGTERM or SIGINT: not ready and event streams ended, no new connections, requests under
way finished within `DRAIN_SECONDS_MAX`, then the app's lifespan closes what it opened. A second SIGINT does not wait.
It is the same, with status 1, when the app's health has failed.
"""

import asyncio
import resource
import signal
import socket
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

import uvicorn
from fastapi import FastAPI
from starlette.types import ASGIApp

from shared.http.collector import relax_garbage_collection
from shared.http.connections import ConnectionLimits, LimitedConfig
from shared.http.settings import HttpSettings
from shared.telemetry.logs import get_logger

DRAIN_SECONDS_MAX: Final = 10
_BACKLOG_CONNECTIONS: Final = 2048
_OTHER_FILES: Final = 200
# A body in small chunks takes more bytes than it has.
_FRAMING_FACTOR: Final = 2
_FRAMING_BYTES: Final = 65_536
EMBEDDED_LIMITS: Final = ConnectionLimits(
    connections_max=200, connections_per_peer_max=100, buffered_bytes_max=4_194_304
)

_log = get_logger(__name__)


def listening_socket(host: str, port: int) -> socket.socket:
    """A socket that is listening on the port. OSError when it is taken or the host is not one of this machine."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=_BACKLOG_CONNECTIONS)


def server_config(app: ASGIApp, limits: ConnectionLimits) -> LimitedConfig:
    """How every process of the product serves HTTP."""
    return LimitedConfig(app, limits=limits, backlog=_BACKLOG_CONNECTIONS, timeout_graceful_shutdown=DRAIN_SECONDS_MAX)


def connection_limits(settings: HttpSettings) -> ConnectionLimits:
    """The limits by the settings, and by the files the process may open, of which it takes as many as it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = settings.connections_max + _OTHER_FILES
    if soft < wanted:
        allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
        soft = allowed
    connections_max = max(1, min(settings.connections_max, soft - _OTHER_FILES))
    if connections_max < settings.connections_max:
        _log.warning("fewer_connections", wanted=settings.connections_max, connections_max=connections_max, files=soft)
    return ConnectionLimits(
        connections_max=connections_max,
        connections_per_peer_max=min(settings.connections_per_peer_max, connections_max),
        message_bytes_max=_FRAMING_FACTOR * settings.body_bytes_max + _FRAMING_BYTES,
        buffered_bytes_max=settings.unfinished_bytes_max,
    )


class _ApiServer(uvicorn.Server):
    """Ends event streams before it waits for connections, and a signal it obeyed is not raised again."""

    def __init__(self, app: FastAPI, limits: ConnectionLimits, operations: "EmbeddedServer | None") -> None:
        super().__init__(server_config(app, limits))
        self._served = app
        self._operations = operations

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        if self._operations is None:
            await super().serve(sockets)
            return
        operating = asyncio.create_task(self._operations.run_until_stopped(), name="operations")
        try:
            await super().serve(sockets)
        finally:
            await self._operations.stop()
            await operating

    async def on_tick(self, counter: int) -> bool:
        return await super().on_tick(counter) or self._served.state.health.failed

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._served.state.health.drain()
        self._served.state.streams.close()
        await super().shutdown(sockets)

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        previous = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)


def serve_api(app: FastAPI, settings: HttpSettings, *, port: int) -> int:
    """Serve an app of `create_service_app` until a signal; the process's exit status."""
    operations = None
    listened = port
    try:
        listening = listening_socket(settings.host, port)
        if settings.operations_port is not None:
            listened = settings.operations_port
            operations = EmbeddedServer(app.state.operations, listening_socket(settings.host, listened))
    except OSError as error:
        _log.error("cannot_listen", host=settings.host, port=listened, error=str(error))
        return 1
    server = _ApiServer(app, connection_limits(settings), operations)
    relax_garbage_collection()
    try:
        server.run([listening])
    except KeyboardInterrupt:
        return 130
    return 0 if server.started and not app.state.health.failed else 1


class EmbeddedServer(uvicorn.Server):
    """A server inside a process that has its own signal handlers."""

    def __init__(self, app: ASGIApp, listening: socket.socket, limits: ConnectionLimits = EMBEDDED_LIMITS) -> None:
        config = server_config(app, limits)
        super().__init__(config)
        self.connection_table = config.connection_table
        self._listening = listening

    async def run_until_stopped(self) -> None:
        await self.serve([self._listening])

    async def stop(self) -> None:
        """No new connections; those open are closed."""
        self.should_exit = True
        await asyncio.sleep(0)

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        yield
