"""What a process runs beside its requests: started together, watched, and stopped in order.

A component that ends by itself ends the process: its health reports it at once, and whoever serves stops serving with a
non-zero status, for the supervisor to start it afresh.
"""

import asyncio
from collections.abc import Mapping
from typing import Final, Protocol

from shared.telemetry.logs import get_logger

COMPONENT_DRAIN_SECONDS_MAX: Final = 10.0
_log = get_logger(__name__)


class Component(Protocol):
    """Something that runs for as long as the process."""

    async def run(self) -> None:
        """Work until stopped. Returning or raising before that ends the process."""
        ...

    async def stop(self) -> None:
        """Finish what is under way; `run` returns soon after."""
        ...


class Components:
    """The components of a process, by name, in the order in which they are stopped. Use once."""

    def __init__(self, components: Mapping[str, Component]) -> None:
        self._components = dict(components)
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def start(self) -> None:
        """Run them from now on."""
        self._tasks = {
            name: asyncio.create_task(component.run(), name=name) for name, component in self._components.items()
        }

    async def ended(self) -> Mapping[str, str]:
        """Return once one has ended that nobody has stopped: how those have that have, by name. Each is logged."""
        if not self._tasks:
            await asyncio.Event().wait()
        await asyncio.wait(self._tasks.values(), return_when=asyncio.FIRST_COMPLETED)
        return report_ended(self._tasks)

    async def stop(self) -> None:
        """Stop one after another, each within a bounded time, and cut short what then still runs."""
        try:
            for name, component in self._components.items():
                await _drain(name, component, self._tasks[name])
        finally:
            await self.cut_short()

    async def cut_short(self) -> None:
        """End them where they are."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)


def report_ended(tasks: Mapping[str, "asyncio.Task[None]"]) -> Mapping[str, str]:
    """How the tasks ended that are done, by name; each is logged with its error."""
    dead = {name: task for name, task in tasks.items() if task.done()}
    for name, task in dead.items():
        _log.error("component_died", component=name, exc_info=None if task.cancelled() else task.exception())
    return {name: _how_ended(task) for name, task in dead.items()}


def _how_ended(task: "asyncio.Task[None]") -> str:
    if task.cancelled():
        return "cancelled from within"
    error = task.exception()
    return "returned" if error is None else f"{type(error).__qualname__}: {error}"


async def _drain(name: str, component: Component, task: "asyncio.Task[None]") -> None:
    if task.done():
        return
    try:
        async with asyncio.timeout(COMPONENT_DRAIN_SECONDS_MAX):
            await component.stop()
            await asyncio.wait([task])
    except TimeoutError:
        _log.warning("component_drain_cut_short", component=name, seconds=COMPONENT_DRAIN_SECONDS_MAX)
    except Exception:
        _log.exception("component_stop_failed", component=name)
    if task.done() and (task.cancelled() or task.exception() is not None):
        _log.error("component_ended_badly", component=name, reason=_how_ended(task))
