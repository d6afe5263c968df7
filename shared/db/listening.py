"""Being woken by NOTIFY: one connection a process hears every channel that somebody in it listens to."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Final

import asyncpg

from shared.telemetry.logs import get_logger

_log = get_logger(__name__)
_RECONNECT_SECONDS: Final = 1.0
_CLOSE_SECONDS_MAX: Final = 2.0

Connect = Callable[[], Awaitable["asyncpg.Connection[asyncpg.Record]"]]
Heard = Callable[[str | None], None]
"""Called with what a notification says; with None when any number may have gone unheard, as after every connect."""


@dataclass(frozen=True, eq=False, slots=True)
class _Ear:
    channels: tuple[str, ...]
    heard: Heard


class Listener:
    """The one connection. It is there while somebody listens, and is made anew whenever it is lost."""

    def __init__(self, connect: Connect) -> None:
        self._connect = connect
        self._ears: set[_Ear] = set()
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def listening(self, channels: tuple[str, ...], heard: Heard) -> AsyncIterator[None]:
        """Have `heard` called for as long as the block lasts, first with None once the channels are listened to.

        Never fails because the server is away.
        """
        ear = _Ear(channels, heard)
        self._ears.add(ear)
        self._changed.set()
        if self._task is None:
            self._task = asyncio.create_task(self._keep_listening(), name="listen")
        try:
            yield
        finally:
            self._ears.discard(ear)
            if not self._ears:
                task, self._task = self._task, None
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task

    async def _keep_listening(self) -> None:
        while True:
            try:
                await self._listen_until_lost()
            except Exception as error:
                # Whatever it is: who listens would wait for ever and unseen.
                _log.warning("listen_interrupted", reason=type(error).__name__)
                await asyncio.sleep(_RECONNECT_SECONDS)

    async def _listen_until_lost(self) -> None:
        connection = await self._connect()
        connection.add_termination_listener(lambda _: self._changed.set())
        listened: set[str] = set()
        told: set[_Ear] = set()
        try:
            while not connection.is_closed():
                self._changed.clear()
                told &= self._ears
                for ear in self._ears - told:
                    for channel in ear.channels:
                        if channel not in listened:
                            await connection.add_listener(channel, self._hear)
                            listened.add(channel)
                    told.add(ear)
                    ear.heard(None)
                await self._changed.wait()
        finally:
            with suppress(Exception):
                await connection.close(timeout=_CLOSE_SECONDS_MAX)

    def _hear(self, *notified: object) -> None:
        channel, said = str(notified[2]), str(notified[3])
        for ear in tuple(self._ears):
            if channel in ear.channels:
                ear.heard(said)


class Channels:
    """Some channels of a process's listener."""

    def __init__(self, listener: Listener, names: tuple[str, ...]) -> None:
        self._listener = listener
        self._names = names

    def listening(self, heard: Heard) -> AbstractAsyncContextManager[None]:
        """Have `heard` called with what is notified on them, for as long as the block lasts."""
        return self._listener.listening(self._names, heard)
