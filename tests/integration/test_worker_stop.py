"""Every component of every worker, at rest, stops at once, whatever it waits for."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from time import monotonic
from typing import TypeVar

import pytest
from cryptography.fernet import Fernet
from pydantic import SecretStr

from services.goals import worker as goals
from services.goals.metadata import transport as goals_tables
from services.incentives import worker as incentives
from services.incentives.metadata import transport as incentives_tables
from services.tracking import worker as tracking
from services.tracking.metadata import transport as tracking_tables
from services.tracking.settings import TrackingWorkerSettings
from shared.contracts.topics import TOPICS
from shared.db.database import Database
from shared.db.tables import TransportTables
from shared.http.health import ReadinessCheck
from shared.kafka.producer import Producer
from shared.kafka.settings import KafkaSettings
from shared.kafka.topics import ensure_topics
from shared.kernel.errors import Unavailable
from shared.outbox.outbox import Outbox
from shared.outbox.relay import Relay
from shared.worker import process
from shared.worker.components import Component
from shared.worker.process import ServiceWorkerSettings, WorkerProcess
from tests.servers.infrastructure import eventually

STOP_SECONDS_MAX = 1.0
AT_REST_SECONDS = 3.0
"""After so long the first rounds are over, and the outcomes of the first wake-ups."""

SettingsT = TypeVar("SettingsT", bound=ServiceWorkerSettings)


async def stop_seconds(
    components: Mapping[str, Component], readiness: Mapping[str, ReadinessCheck]
) -> dict[str, float]:
    """Run the components until they are at rest, then stop them one after another: how long each takes."""
    running = {name: asyncio.create_task(component.run()) for name, component in components.items()}

    async def is_ready() -> bool:
        try:
            await asyncio.gather(*(check() for check in readiness.values()))
        except Unavailable:
            return False
        return True

    await eventually(is_ready, 60, expectation="the worker is ready")
    await asyncio.sleep(AT_REST_SECONDS)
    assert [name for name, task in running.items() if task.done()] == []
    seconds = {}
    for name, component in components.items():
        began = monotonic()
        try:
            async with asyncio.timeout(10 * STOP_SECONDS_MAX):
                await component.stop()
                await running[name]
        except TimeoutError:
            running[name].cancel()
        seconds[name] = monotonic() - began
    return seconds


async def stopping(
    work: Callable[[WorkerProcess[SettingsT]], Awaitable[int]],
    settings: SettingsT,
    tables: TransportTables,
    kafka: KafkaSettings,
    monkeypatch: pytest.MonkeyPatch,
) -> dict[str, float]:
    """The seconds it takes to stop each component of a worker's process."""
    seconds: dict[str, float] = {}

    async def run_and_stop(
        components: Mapping[str, Component],
        *,
        settings: object,
        readiness: Mapping[str, ReadinessCheck],
        closers: object,
    ) -> int:
        seconds.update(await stop_seconds(components, readiness))
        return 0

    monkeypatch.setattr(process, "run_worker", run_and_stop)
    await ensure_topics(kafka, TOPICS.values())
    database = Database(settings.database_url, service=tables.service, pool_size=12)
    producer = Producer(kafka, client_id="test")
    await producer.start()
    relay = Relay(database, tables, producer, {})
    outbox = Outbox(tables, relay=relay)
    await work(WorkerProcess(tables.service, settings, kafka, tables, database, producer, outbox, relay))
    await producer.stop()
    await database.close()
    return seconds


async def test_every_component_of_a_worker_at_rest_stops_at_once(
    fresh_database: str, kafka_bootstrap: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kafka = KafkaSettings(bootstrap=kafka_bootstrap)
    plain = ServiceWorkerSettings(database_url=fresh_database, worker_port=1)
    sealing = TrackingWorkerSettings(
        database_url=fresh_database,
        worker_port=1,
        secrets_key=SecretStr(Fernet.generate_key().decode()),
        public_url="http://localhost",
    )
    seconds = {
        "goals": await stopping(goals.work, plain, goals_tables, kafka, monkeypatch),
        "incentives": await stopping(incentives.work, plain, incentives_tables, kafka, monkeypatch),
        "tracking": await stopping(tracking.work, sealing, tracking_tables, kafka, monkeypatch),
    }
    slow = {
        f"{service} {name}": taken
        for service, components in seconds.items()
        for name, taken in components.items()
        if taken > STOP_SECONDS_MAX
    }
    assert slow == {}
    assert len(seconds["tracking"]) >= 17
