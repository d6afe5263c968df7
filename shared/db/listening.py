"""Being woken by NOTIFY."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final

import asyncpg

from shared.telemetry.logs import get_logger

_log = get_logger(__name__)
_RECONNECT_SECONDS: Final = 1.0
_CLOSE_SECONDS_MAX: Final = 2.0

Connect = Callable[[], Awaitable["asyncpg.Connection[asyncpg.Record]"]]


class Notifications:
    """The wake-ups of one channel. Many that come together count as one."""

    def __init__(self, connect: Connect, channel: str, woken: asyncio.Event) -> None:
        self._connect = connect
        self._channel = channel
        self._woken = woken

    @classmethod
    @asynccontextmanager
    async def listening(
        cls, connect: Connect, channel: str, woken: asyncio.Event | None = None
    ) -> "AsyncIterator[Notifications]":
        """Listen for as long as the block lasts; a wake-up sets `woken`, if given."""
        notifications = cls(connect, channel, woken or asyncio.Event())
        listener = asyncio.create_task(notifications._keep_listening(), name=f"listen-{channel}")
        try:
            yield notifications
        finally:
            listener.cancel()
            with suppress(asyncio.CancelledError):
                await listener

    async def wait(self, timeout_seconds: float) -> bool:
        """Wait for a wake-up since the last call; False when none came in time, which is the moment to poll."""
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._woken.wait()
        except TimeoutError:
            return False
        self._woken.clear()
        return True

    async def _keep_listening(self) -> None:
        while True:
            try:
                await self._listen_once()
            except Exception as error:
                # Whatever it is: who listens would wait for the next poll, for ever and unseen.
                _log.warning("listen_interrupted", channel=self._channel, reason=type(error).__name__)
                await asyncio.sleep(_RECONNECT_SECONDS)

    async def _listen_once(self) -> None:
        connection = await self._connect()
        lost = asyncio.Event()
        connection.add_termination_listener(lambda _: lost.set())
        try:
            await connection.add_listener(self._channel, lambda *_: self._woken.set())
            self._woken.set()
            await lost.wait()
        finally:
            with suppress(Exception):
                await connection.close(timeout=_CLOSE_SECONDS_MAX)
