"""Serving an ASGI app with uvicorn, for API and worker processes.

Shutdown of an API process, on SIGTERM or SIGINT: not ready and event streams ended, no new connections, requests under
way finished within `DRAIN_SECONDS_MAX`, then the app's lifespan closes what it opened. A second SIGINT does not wait.
"""

import asyncio
import signal
import socket
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

import uvicorn
from fastapi import FastAPI
from starlette.types import ASGIApp

from shared.http.collector import relax_garbage_collection
from shared.http.settings import HttpSettings
from shared.telemetry.logs import get_logger

DRAIN_SECONDS_MAX: Final = 10
_BACKLOG_CONNECTIONS: Final = 2048

_log = get_logger(__name__)


def listening_socket(host: str, port: int) -> socket.socket:
    """A socket that is listening on the port. OSError when it is taken or the host is not one of this machine."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=_BACKLOG_CONNECTIONS)


def server_config(app: ASGIApp) -> uvicorn.Config:
    """How every process of the product serves HTTP."""
    return uvicorn.Config(
        app,
        loop="uvloop",
        http="httptools",
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        proxy_headers=False,
        backlog=_BACKLOG_CONNECTIONS,
        timeout_graceful_shutdown=DRAIN_SECONDS_MAX,
    )


class _ApiServer(uvicorn.Server):
    """Ends event streams before it waits for connections, and a signal it obeyed is not raised again."""

    def __init__(self, app: FastAPI) -> None:
        super().__init__(server_config(app))
        self._served = app

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._served.state.health.drain()
        self._served.state.streams.close()
        await super().shutdown(sockets)

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        kept = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in kept.items():
                signal.signal(number, handler)


def serve_api(app: FastAPI, settings: HttpSettings, *, port: int) -> int:
    """Serve an app of `create_service_app` until a signal; the process's exit status."""
    try:
        listening = listening_socket(settings.host, port)
    except OSError as error:
        _log.error("cannot_listen", host=settings.host, port=port, error=str(error))
        return 1
    server = _ApiServer(app)
    relax_garbage_collection()
    try:
        server.run([listening])
    except KeyboardInterrupt:
        return 130
    return 0 if server.started else 1


class EmbeddedServer(uvicorn.Server):
    """A server inside a process that has its own signal handlers."""

    def __init__(self, app: ASGIApp, listening: socket.socket) -> None:
        super().__init__(server_config(app))
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
