"""Background work: a round that fails comes again, and what ends all the same takes its process with it."""

import asyncio
import logging
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from fastapi import FastAPI

from shared.http.app import run_beside
from shared.http.health import Health
from shared.kernel.errors import Unavailable
from shared.telemetry import logs, metrics
from shared.worker.rounds import Rounds
from tests.servers.infrastructure import eventually


class Counting(Rounds):
    """Fails with each of the errors in turn, and then goes on well."""

    def __init__(self, *errors: Exception, every_seconds: float | None = 0.01, finishes: bool = False) -> None:
        super().__init__("counting", every_seconds=every_seconds)
        self.finishes = finishes  # type: ignore[misc]
        self.errors = list(errors)
        self.rounds = 0
        self.left_with: BaseException | None = None

    @asynccontextmanager
    async def during(self) -> AsyncIterator[None]:
        try:
            yield
        except BaseException as error:
            self.left_with = error
            raise

    async def round(self) -> bool:
        self.rounds += 1
        if self.errors:
            raise self.errors.pop(0)
        return False


@asynccontextmanager
async def running(rounds: Rounds) -> AsyncIterator[None]:
    task = asyncio.create_task(rounds.run())
    await asyncio.sleep(0)
    try:
        yield
    finally:
        await rounds.stop()
        await asyncio.wait_for(task, 5)


@pytest.mark.parametrize(
    "error", [Unavailable("later"), OSError(28, "No space left on device"), ZeroDivisionError(), MemoryError()]
)
async def test_a_round_that_fails_however_it_does_comes_again(error: Exception) -> None:
    rounds = Counting(error, error)
    before = metrics.ROUND_FAILURES.labels("counting")._value.get()
    async with running(rounds):
        await eventually(lambda: rounds.rounds >= 5)
        assert metrics.ROUNDS_FAILING.labels("counting")._value.get() == 0
    assert metrics.ROUND_FAILURES.labels("counting")._value.get() == before + 2
    assert rounds.left_with is None


class Lasting(Counting):
    """Its first round lasts until it may end."""

    def __init__(self) -> None:
        super().__init__(every_seconds=None)
        self.may_end = asyncio.Event()

    async def round(self) -> bool:
        await super().round()
        if self.rounds == 1:
            await self.may_end.wait()
        return False


async def test_a_wake_up_brings_a_round_at_once() -> None:
    rounds = Counting(every_seconds=None)
    async with running(rounds):
        await eventually(lambda: rounds.rounds == 1)
        rounds.wake()
        await eventually(lambda: rounds.rounds == 2)


async def test_a_wake_up_while_a_round_is_under_way_brings_one_more_and_no_other() -> None:
    rounds = Lasting()
    async with running(rounds):
        await eventually(lambda: rounds.rounds == 1)
        rounds.wake()
        rounds.wake()
        rounds.may_end.set()
        await eventually(lambda: rounds.rounds == 2)
        await asyncio.sleep(0.05)
        assert rounds.rounds == 2


async def test_a_round_can_say_when_the_next_is_to_come_for_this_once() -> None:
    class Timed(Counting):
        async def round(self) -> bool:
            if await super().round() or self.rounds < 3:
                self.come_again_in(0.01 if self.rounds == 1 else -1.0)
            return False

    rounds = Timed(every_seconds=None)
    async with running(rounds):
        await eventually(lambda: rounds.rounds == 3)
        await asyncio.sleep(0.1)
        assert rounds.rounds == 3, "of itself it comes no more"
    seldom = Timed(every_seconds=0.01)
    async with running(seldom):
        await eventually(lambda: seldom.rounds > 5)


async def test_a_round_comes_no_later_than_it_would_have_anyway() -> None:
    class Putting(Counting):
        async def round(self) -> bool:
            self.come_again_in(3600)
            return await super().round()

    rounds = Putting(every_seconds=0.01)
    async with running(rounds):
        await eventually(lambda: rounds.rounds > 3)


async def test_a_round_gets_each_notification_once_and_again_if_it_failed() -> None:
    rounds = Counting()
    with rounds.notifications() as payloads:
        assert payloads is None, "at the start nobody knows"
    rounds.on_notification("a")
    with pytest.raises(LookupError), rounds.notifications() as payloads:
        assert payloads == {"a"}
        rounds.on_notification("b")
        raise LookupError
    with rounds.notifications() as payloads:
        assert payloads == {"a", "b"}
    with rounds.notifications() as payloads:
        assert payloads == set()
    rounds.on_notification("c")
    rounds.on_notification(None)
    rounds.on_notification("d")
    with pytest.raises(LookupError), rounds.notifications() as payloads:
        assert payloads is None, "after a new connect anything may have been missed"
        raise LookupError
    with rounds.notifications() as payloads:
        assert payloads is None


async def test_a_round_comes_when_something_is_due_and_soon_again_while_another_is_at_it() -> None:
    now = datetime(2026, 3, 31, tzinfo=UTC)

    class Due(Counting):
        async def round(self) -> bool:
            await super().round()
            self.come_again_at(None if self.rounds > 2 else now + timedelta(seconds=0.01), now)
            return False

    rounds = Due(every_seconds=None)
    async with running(rounds):
        await eventually(lambda: rounds.rounds == 3)
        await asyncio.sleep(0.1)
        assert rounds.rounds == 3, "nothing is due any more"

    class HeldUp(Counting):
        async def round(self) -> bool:
            self.come_again_at(now - timedelta(hours=1), now)
            return await super().round()

    held_up = HeldUp(every_seconds=None)
    async with running(held_up):
        await eventually(lambda: held_up.rounds == 2)
        await asyncio.sleep(0.1)
        assert held_up.rounds == 2, "not at once"


async def test_a_pause_ends_with_the_stop() -> None:
    class Pausing(Counting):
        async def round(self) -> bool:
            await super().round()
            await self.pause(3600)
            return False

    rounds = Pausing()
    async with running(rounds):
        await eventually(lambda: rounds.rounds == 1)
    assert rounds.rounds == 1


async def test_the_stop_is_not_held_up_by_a_pause_and_one_round_more_follows_where_it_is_wanted() -> None:
    rounds = Counting(*[OSError()] * 20, finishes=True)
    async with running(rounds):
        await eventually(lambda: rounds.rounds >= 3)
    assert rounds.rounds >= 4
    assert not rounds.is_running


async def test_what_is_cancelled_leaves_by_the_cancellation() -> None:
    rounds = Counting(every_seconds=None)
    task = asyncio.create_task(rounds.run())
    await eventually(lambda: rounds.rounds == 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert isinstance(rounds.left_with, asyncio.CancelledError)


class Ending(Rounds):
    """Cannot come again."""

    def __init__(self) -> None:
        super().__init__("ending", every_seconds=1)

    @asynccontextmanager
    async def during(self) -> AsyncIterator[None]:
        raise RuntimeError("cannot begin")
        yield

    async def round(self) -> bool:
        return False


async def test_what_cannot_come_again_is_told_by_the_health_of_its_process() -> None:
    app = FastAPI()
    app.state.health = Health({})
    app.router.routes.extend(app.state.health.routes())
    async with (
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://app") as client,
        run_beside(app, {"ending": Ending(), "counting": Counting()}),
    ):
        await eventually(lambda: bool(app.state.health.failed))
        for path in ("/healthz", "/readyz"):
            answer = await client.get(path)
            assert answer.status_code == 503
            assert "ending ended" in answer.json()["detail"]


class FullDisk:
    """Every write fails as on a full disk, and every flush as on a closed pipe."""

    def write(self, text: str) -> int:
        raise OSError(28, "No space left on device")

    def flush(self) -> None:
        raise BrokenPipeError


@pytest.fixture
def log_to_a_full_disk(logs_to_configure: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", FullDisk())
    logs.configure("goals")


@pytest.mark.usefixtures("log_to_a_full_disk")
async def test_a_failing_log_ends_nothing_and_is_counted() -> None:
    lost = metrics.LOG_LINES_LOST._value.get()
    rounds = Counting(OSError(), ZeroDivisionError())
    async with running(rounds):
        await eventually(lambda: rounds.rounds >= 4)
    logging.getLogger("a.library").error("something")
    assert metrics.LOG_LINES_LOST._value.get() > lost
