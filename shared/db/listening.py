"""Being woken by NOTIFY: one connection a process listens to every channel that something in it subscribes to."""

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
OnNotification = Callable[[str | None], None]
"""Called with a notification's payload; with None when any number may have been missed, as after every connect."""


@dataclass(frozen=True, eq=False, slots=True)
class _Subscriber:
    channels: tuple[str, ...]
    on_notification: OnNotification


class Listener:
    """The one connection. It is there while there are subscribers, and is made anew whenever it is lost."""

    def __init__(self, connect: Connect) -> None:
        self._connect = connect
        self._subscribers: set[_Subscriber] = set()
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def listening(self, channels: tuple[str, ...], on_notification: OnNotification) -> AsyncIterator[None]:
        """Call `on_notification` for as long as the block lasts, first with None once the channels are listened to.

        Never fails because the server is away.
        """
        subscriber = _Subscriber(channels, on_notification)
        self._subscribers.add(subscriber)
        self._changed.set()
        if self._task is None:
            self._task = asyncio.create_task(self._keep_listening(), name="listen")
        try:
            yield
        finally:
            self._subscribers.discard(subscriber)
            if not self._subscribers:
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
        connected: set[_Subscriber] = set()
        try:
            while not connection.is_closed():
                self._changed.clear()
                connected &= self._subscribers
                for subscriber in self._subscribers - connected:
                    for channel in subscriber.channels:
                        if channel not in listened:
                            await connection.add_listener(channel, self._dispatch)
                            listened.add(channel)
                    connected.add(subscriber)
                    subscriber.on_notification(None)
                await self._changed.wait()
        finally:
            with suppress(Exception):
                await connection.close(timeout=_CLOSE_SECONDS_MAX)

    def _dispatch(self, *notified: object) -> None:
        channel, payload = str(notified[2]), str(notified[3])
        for subscriber in tuple(self._subscribers):
            if channel in subscriber.channels:
                subscriber.on_notification(payload)


class Channels:
    """Some channels of a process's listener."""

    def __init__(self, listener: Listener, names: tuple[str, ...]) -> None:
        self._listener = listener
        self._names = names

    def listening(self, on_notification: OnNotification) -> AbstractAsyncContextManager[None]:
        """Call `on_notification` with what is notified on them, for as long as the block lasts."""
        return self._listener.listening(self._names, on_notification)
