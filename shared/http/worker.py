"""Worker processes: components that run until a signal, watched over HTTP.

Shutdown, on SIGTERM or SIGINT: not ready; the components stopped one after another in their order (intake first), each
within a bounded time; then the resources closed in theirs. A component that ends by itself takes the process with it,
with a non-zero status, for the supervisor to start it afresh.
"""

import asyncio
import signal
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, Protocol

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict
from starlette.applications import Starlette

from shared.http.collector import relax_garbage_collection
from shared.http.health import Health, ReadinessCheck
from shared.http.server import EmbeddedServer, listening_socket
from shared.telemetry.logs import get_logger

COMPONENT_DRAIN_SECONDS_MAX: Final = 10.0
CLOSE_SECONDS_MAX: Final = 5.0

_log = get_logger(__name__)


class WorkerSettings(BaseSettings):
    """Where a worker can be watched."""

    model_config = SettingsConfigDict(env_prefix="ATTAIN_", extra="ignore")

    host: str = "127.0.0.1"
    worker_port: int = Field(ge=1, le=65535)


class Component(Protocol):
    """Something that runs for as long as the process."""

    async def run(self) -> None:
        """Work until stopped. Returning or raising before that ends the process."""
        ...

    async def stop(self) -> None:
        """Finish what is under way; `run` returns soon after."""
        ...


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
    running = {name: asyncio.create_task(component.run(), name=name) for name, component in components.items()}
    stopping = asyncio.create_task(stop.wait(), name="stop")
    try:
        await asyncio.wait({*running.values(), serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
        died = _died(running | {"http": serving})
        health.drain()
        for name, component in components.items():
            await _drain(name, component, running[name])
        return 1 if died else 0
    finally:
        stopping.cancel()
        for task in running.values():
            task.cancel()
        await asyncio.gather(*running.values(), return_exceptions=True)
        await _close(closers)
        await server.stop()
        await asyncio.gather(serving, stopping, return_exceptions=True)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


def _died(tasks: Mapping[str, asyncio.Task[None]]) -> bool:
    dead = {name: task for name, task in tasks.items() if task.done()}
    for name, task in dead.items():
        _log.error("component_died", component=name, exc_info=None if task.cancelled() else task.exception())
    return bool(dead)


async def _drain(name: str, component: Component, task: asyncio.Task[None]) -> None:
    if task.done():
        return
    try:
        async with asyncio.timeout(COMPONENT_DRAIN_SECONDS_MAX):
            await component.stop()
            await asyncio.shield(task)
    except TimeoutError:
        _log.warning("component_drain_cut_short", component=name, seconds=COMPONENT_DRAIN_SECONDS_MAX)
    except Exception:
        _log.exception("component_stop_failed", component=name)


async def _close(closers: Sequence[Callable[[], Awaitable[None]]]) -> None:
    for close in closers:
        try:
            async with asyncio.timeout(CLOSE_SECONDS_MAX):
                await close()
        except Exception:
            _log.exception("close_failed", closer=getattr(close, "__qualname__", repr(close)))
