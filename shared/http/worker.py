"""Worker processes: components that run until a signal, watched over HTTP.

Shutdown, on SIGTERM or SIGINT: not ready; the components stopped one after another in their order (intake first), each
within a bounded time; then the resources closed in theirs. A component that ends by itself takes the process with it,
with a non-zero status, for the supervisor to start it afresh.
"""

import asyncio
import signal
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict
from starlette.applications import Starlette

from shared.http.collector import relax_garbage_collection
from shared.http.health import Health, ReadinessCheck
from shared.http.server import EmbeddedServer, listening_socket
from shared.telemetry.logs import get_logger
from shared.worker.components import Component, Components, report_ended

CLOSE_SECONDS_MAX: Final = 5.0

_log = get_logger(__name__)


class WorkerSettings(BaseSettings):
    """Where a worker can be watched."""

    model_config = SettingsConfigDict(env_prefix="ATTAIN_", extra="ignore")

    host: str = "127.0.0.1"
    worker_port: int = Field(ge=1, le=65535)


async def run_worker(
    components: Mapping[str, Component],
    *,
    settings: WorkerSettings,
    readiness: Mapping[str, ReadinessCheck],
    closers: Sequence[Callable[[], Awaitable[None]]] = (),
) -> int:
    """Run the components until SIGTERM or SIGINT; the process's exit status: 0, or 1 when a component ended by itself.

    `closers` close what the components share (producer, database), in their order, after the last component.
    """
    try:
        listening = listening_socket(settings.host, settings.worker_port)
    except OSError as error:
        _log.error("cannot_listen", host=settings.host, port=settings.worker_port, error=str(error))
        await _close(closers)
        return 1
    relax_garbage_collection()
    health = Health(readiness)
    server = EmbeddedServer(Starlette(routes=health.routes()), listening)
    serving = asyncio.create_task(server.run_until_stopped(), name="http")
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    running = Components(components)
    running.start()
    ending = asyncio.create_task(running.ended(), name="ended")
    stopping = asyncio.create_task(stop.wait(), name="stop")
    died: dict[str, str] = {}
    try:
        await asyncio.wait({ending, serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
        died = {**(ending.result() if ending.done() else {}), **report_ended({"http": serving})}
        if died:
            health.fail(f"{', '.join(died)} ended")
        health.drain()
        ending.cancel()
        await running.stop()
        return 1 if died else 0
    finally:
        stopping.cancel()
        ending.cancel()
        await running.cut_short()
        await _close(closers)
        await server.stop()
        await asyncio.gather(serving, stopping, ending, return_exceptions=True)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
        if died:
            # Once more, behind all that the others had to say as they were stopped.
            _log.error("worker_ended", components=died)


async def _close(closers: Sequence[Callable[[], Awaitable[None]]]) -> None:
    for close in closers:
        try:
            async with asyncio.timeout(CLOSE_SECONDS_MAX):
                await close()
        except Exception:
            _log.exception("close_failed", closer=getattr(close, "__qualname__", repr(close)))
