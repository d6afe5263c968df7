import asyncio
import os
import signal
import socket

import httpx
import pytest
from structlog.testing import capture_logs

from shared.http.worker import WorkerSettings, run_worker
from shared.telemetry import metrics
from shared.worker import components
from tests.servers.infrastructure import eventually


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


class Recorder:
    """A component that notes what happens to it in a common journal."""

    def __init__(
        self, name: str, journal: list[str], *, fails: bool = False, hangs: bool = False, breaks_off: bool = False
    ) -> None:
        self.name = name
        self.journal = journal
        self.fails = fails
        self.hangs = hangs
        self.breaks_off = breaks_off
        self._stopped = asyncio.Event()

    async def run(self) -> None:
        self.journal.append(f"{self.name} runs")
        if self.fails:
            raise OSError("broker gone")
        await self._stopped.wait()
        if self.hangs:
            await asyncio.Event().wait()
        if self.breaks_off:
            raise asyncio.CancelledError
        self.journal.append(f"{self.name} ended")

    async def stop(self) -> None:
        self.journal.append(f"{self.name} stops")
        self._stopped.set()


async def wait_until_served(port: int) -> None:
    async with httpx.AsyncClient() as client:

        async def served() -> bool:
            try:
                return (await client.get(f"http://127.0.0.1:{port}/readyz")).status_code == 200
            except httpx.TransportError:
                return False

        await eventually(served, expectation="a ready worker")


async def test_a_signal_stops_components_in_order_and_then_closes() -> None:
    journal: list[str] = []
    port = free_port()

    async def close() -> None:
        journal.append("closed")

    running = asyncio.create_task(
        run_worker(
            {"consumer": Recorder("consumer", journal), "relay": Recorder("relay", journal)},
            settings=WorkerSettings(worker_port=port),
            readiness={},
            closers=[close],
        )
    )
    await wait_until_served(port)
    metrics.OUTBOX_ROWS.labels("test", "appended").set(1)
    async with httpx.AsyncClient() as client:
        assert "attain_outbox_rows" in (await client.get(f"http://127.0.0.1:{port}/metrics")).text
        assert (await client.get(f"http://127.0.0.1:{port}/healthz")).status_code == 200
    os.kill(os.getpid(), signal.SIGTERM)
    assert await running == 0
    assert journal == [
        "consumer runs",
        "relay runs",
        "consumer stops",
        "consumer ended",
        "relay stops",
        "relay ended",
        "closed",
    ]


async def test_a_component_that_dies_takes_the_process_with_it() -> None:
    journal: list[str] = []
    with capture_logs() as logged:
        status = await run_worker(
            {"consumer": Recorder("consumer", journal, fails=True), "relay": Recorder("relay", journal)},
            settings=WorkerSettings(worker_port=free_port()),
            readiness={},
        )
    assert status == 1
    assert journal[-2:] == ["relay stops", "relay ended"]
    assert logged[-1]["event"] == "worker_ended"
    assert logged[-1]["components"] == {"consumer": "OSError: broker gone"}


async def test_a_component_that_ends_as_cancelled_when_it_is_stopped_does_not_keep_the_others_from_their_end() -> None:
    journal: list[str] = []
    port = free_port()
    running = asyncio.create_task(
        run_worker(
            {"consumer": Recorder("consumer", journal, breaks_off=True), "relay": Recorder("relay", journal)},
            settings=WorkerSettings(worker_port=port),
            readiness={},
        )
    )
    await wait_until_served(port)
    os.kill(os.getpid(), signal.SIGTERM)
    assert await running == 0
    assert journal[-3:] == ["consumer stops", "relay stops", "relay ended"]


async def test_a_component_that_does_not_drain_is_cut_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(components, "COMPONENT_DRAIN_SECONDS_MAX", 0.05)
    journal: list[str] = []
    port = free_port()
    running = asyncio.create_task(
        run_worker(
            {"consumer": Recorder("consumer", journal, hangs=True), "relay": Recorder("relay", journal)},
            settings=WorkerSettings(worker_port=port),
            readiness={},
        )
    )
    await wait_until_served(port)
    os.kill(os.getpid(), signal.SIGINT)
    assert await running == 0
    assert "consumer ended" not in journal
    assert journal[-1] == "relay ended"


async def test_a_taken_port_is_a_non_zero_exit() -> None:
    journal: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as taken:
        status = await run_worker(
            {"relay": Recorder("relay", journal)},
            settings=WorkerSettings(worker_port=taken.getsockname()[1]),
            readiness={},
        )
    assert (status, journal) == (1, [])
