"""Work that comes again and again beside everything else: the one way a process does it.

To declare such work, derive from `Rounds` in the room's `work.py`. State in `__init__` its name, how long it may rest
(`every_seconds`; None where something always wakes it) and what wakes it (`woken_by`: the channels that whoever makes
work for it notifies in its transaction); do in `round` what there is to do. A round that knows when the next thing is
due calls `come_again_in`; one that takes long looks at `is_stopping` between its steps and waits with `pause`. The
process lists it among its components. One connection of a process listens to all its channels; at the start, and after
that connection was lost, every round comes once, as nobody knows what was missed. A stop ends every rest and pause at
once.

A round that fails, for whatever reason, is logged, counted and comes again after a pause that grows to a few seconds:
no error that nobody foresaw ends such work while its process looks alive. What ends all the same (`run` returns or
raises before `stop`) takes the process with it: see `shared.worker.components`.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Iterator, Set
from contextlib import AbstractAsyncContextManager, contextmanager, nullcontext, suppress
from datetime import datetime
from random import SystemRandom
from time import monotonic
from typing import ClassVar, Final

from shared.db.listening import Channels
from shared.kernel.errors import Unavailable
from shared.outbox.domain import Backoff
from shared.telemetry import metrics
from shared.telemetry.logs import get_logger

_log = get_logger(__name__)
_chance: Final = SystemRandom()
_CONTENDED_SECONDS: Final = 1.0
_BACKOFF: Final = Backoff(first_seconds=0.2, longest_seconds=5.0)


class Rounds(ABC):
    """A component whose work is done in rounds, one at a time. Run it once."""

    finishes: ClassVar[bool] = False
    """Whether one more round follows the stop, for what came in before it."""

    def __init__(self, name: str, *, every_seconds: float | None, woken_by: Channels | None = None) -> None:
        """`name` is used in logs and metrics. Without being woken a round comes `every_seconds`; None: only then."""
        self._name = name
        self._woken_by = woken_by
        self._every_seconds = every_seconds
        self._rest_seconds = every_seconds
        self._stopping = asyncio.Event()
        self.woken = asyncio.Event()
        """Set it for a round to come now; one is under way or follows when it is cleared."""
        self.is_running = False
        self._payloads: set[str] | None = None

    @abstractmethod
    async def round(self) -> bool:
        """Do what there is to do; whether to come again at once. Whatever it raises, it is called again."""

    def during(self) -> AbstractAsyncContextManager[object]:
        """What is entered before the first round and left behind the last one; with the error if there is one."""
        return nullcontext()

    @property
    def is_stopping(self) -> bool:
        """Whether the round under way is to be the last: one that takes long ends early then."""
        return self._stopping.is_set()

    async def run(self) -> None:
        """Do rounds until `stop`."""
        self.is_running = True
        failures = 0
        try:
            async with self._listening(), self.during():
                while not self.is_stopping:
                    self.woken.clear()
                    self._rest_seconds = self._every_seconds
                    began = monotonic()
                    try:
                        comes_again = await self.round()
                    except Exception as error:
                        ran_long = monotonic() - began > _BACKOFF.longest_seconds
                        failures = 1 if ran_long else failures + 1
                        self._report(error, failures)
                        await self.pause(_BACKOFF.pause_seconds(failures, _chance.random()))
                        continue
                    if failures:
                        failures = 0
                        _log.info("round_succeeds_again", round=self._name)
                        metrics.ROUNDS_FAILING.labels(self._name).set(0)
                    if not comes_again:
                        await self._rest()
                if self.finishes:
                    await self._finish()
        finally:
            self.is_running = False

    async def stop(self) -> None:
        """Finish the round under way; `run` returns soon after."""
        self._stopping.set()
        self.woken.set()

    def wake(self) -> None:
        """Have a round come now."""
        self.woken.set()

    def on_notification(self, payload: str | None) -> None:
        """Called with what was notified on its channels; with None at every connect, as any number may be missed."""
        if not payload:
            self._payloads = None
        elif self._payloads is not None:
            self._payloads.add(payload)
        self.wake()

    @contextmanager
    def notifications(self) -> Iterator[Set[str] | None]:
        """What was notified since the last such block, None: anything, as at the start. Again if the block fails."""
        payloads, self._payloads = self._payloads, set()
        try:
            yield payloads
        except BaseException:
            self._payloads = None if payloads is None or self._payloads is None else payloads | self._payloads
            raise

    def come_again_in(self, seconds: float) -> None:
        """Have the round after this one come in so long, unless something wakes it or it would come sooner anyway."""
        longest = seconds if self._rest_seconds is None else min(seconds, self._rest_seconds)
        self._rest_seconds = max(0.0, longest)

    def come_again_at(self, due_at: datetime | None, now: datetime) -> None:
        """The same for when something is due, if anything is; in a moment where it was and somebody else is at it."""
        if due_at is not None:
            seconds = (due_at - now).total_seconds()
            self.come_again_in(seconds if seconds > 0 else _CONTENDED_SECONDS)

    async def pause(self, seconds: float) -> None:
        """Wait, but not longer than until the stop."""
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            return

    def _listening(self) -> AbstractAsyncContextManager[None]:
        return nullcontext() if self._woken_by is None else self._woken_by.listening(self.on_notification)

    async def _rest(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(self._rest_seconds):
                await self.woken.wait()

    async def _finish(self) -> None:
        try:
            await self.round()
        except Exception as error:
            self._report(error, 1)

    def _report(self, error: Exception, failures: int) -> None:
        metrics.ROUND_FAILURES.labels(self._name).inc()
        metrics.ROUNDS_FAILING.labels(self._name).set(failures)
        if isinstance(error, Unavailable):
            _log.warning("round_interrupted", round=self._name, reason=error.detail, failures=failures)
        else:
            _log.error("round_failed", round=self._name, failures=failures, exc_info=error)
