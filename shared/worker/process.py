"""How a worker process of a service starts and ends: schema and topics there, producer up, outbox relayed."""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

import uvloop
from aiokafka.errors import KafkaError

from shared.contracts.topics import TopicSpec
from shared.db.database import Database
from shared.db.migration import require_current_schema
from shared.db.settings import DatabaseSettings
from shared.db.tables import TransportTables
from shared.http.idempotency import IdempotencySweep
from shared.http.settings import read_settings
from shared.http.worker import WorkerSettings, run_worker
from shared.kafka.application import Handler
from shared.kafka.consumer import MAX_RECORDS, Consumer
from shared.kafka.producer import Producer
from shared.kafka.settings import KafkaSettings
from shared.kafka.topics import TopicsUnusable, ensure_topics
from shared.kernel.errors import AttainError
from shared.outbox.outbox import Outbox
from shared.outbox.relay import Relay, Renderer
from shared.telemetry import logs, tracing
from shared.worker.components import Component

_POOL_SIZE: Final = 5
_log = logs.get_logger(__name__)


class ServiceWorkerSettings(WorkerSettings, DatabaseSettings):
    """Of any service's worker; those of Kafka are in `KafkaSettings`."""


SettingsT = TypeVar("SettingsT", bound=ServiceWorkerSettings)


@dataclass(frozen=True)
class WorkerProcess(Generic[SettingsT]):
    """What the components of a service's worker share."""

    service: str
    settings: SettingsT
    kafka: KafkaSettings
    tables: TransportTables
    database: Database
    producer: Producer
    outbox: Outbox
    relay: Relay
    _consumers: dict[str, Consumer] = field(default_factory=dict)

    def consumer(
        self,
        name: str,
        group: str,
        topics: Sequence[str],
        handler: Handler,
        *,
        gather_seconds: float = 0.0,
        max_records: int = MAX_RECORDS,
    ) -> Consumer:
        """A consumer of this service, which the process is not ready without.

        Records gather for `gather_seconds` between two batches: so much later each may be, and so many fewer there are.
        A batch, which is a transaction, has `max_records` at most.
        """
        made = Consumer(
            settings=self.kafka,
            database=self.database,
            tables=self.tables,
            outbox=self.outbox,
            group=group,
            topics=topics,
            handler=handler,
            gather_seconds=gather_seconds,
            max_records=max_records,
        )
        self._consumers[name] = made
        return made

    async def run(
        self, components: Mapping[str, Component], *, closers: Sequence[Callable[[], Awaitable[None]]] = ()
    ) -> int:
        """Run these until a signal, with what every worker has; the process's exit status.

        They are stopped in their order, so what takes in comes before what gives out; the relay is the last. `closers`
        close what else the components share.
        """
        return await run_worker(
            {**components, "idempotency": IdempotencySweep(self.database, self.tables), "relay": self.relay},
            settings=self.settings,
            readiness={
                "database": self.database.ready,
                **{name: consumer.ready for name, consumer in self._consumers.items()},
            },
            closers=[*closers, self.producer.stop, self.database.close],
        )


def run_service_worker(
    service: str,
    settings_kind: type[SettingsT],
    work: Callable[[WorkerProcess[SettingsT]], Awaitable[int]],
    *,
    tables: TransportTables,
    topics: Iterable[TopicSpec],
    renderers: Mapping[str, Renderer],
    pool_size: int = _POOL_SIZE,
) -> int:
    """Do a worker's work until a signal; the process's exit status.

    1 when the database or the broker can not be used at the start, or a component ended by itself.
    """
    logs.configure(service)
    tracing.configure(service)
    settings, kafka = read_settings(settings_kind), read_settings(KafkaSettings)

    async def start_and_work() -> int:
        database = Database(settings.database_url, service=service, pool_size=pool_size)
        producer = Producer(kafka, client_id=f"attain-{service}")
        try:
            await require_current_schema(database)
            await database.require_plain_login()
            await ensure_topics(kafka, topics)
            await producer.start()
        except (AttainError, KafkaError, TopicsUnusable, OSError) as error:
            _log.error("cannot_start", reason=str(error))
            await database.close()
            return 1
        relay = Relay(database, tables, producer, renderers)
        outbox = Outbox(tables, relay=relay)
        return await work(WorkerProcess(service, settings, kafka, tables, database, producer, outbox, relay))

    try:
        return uvloop.run(start_and_work())
    finally:
        tracing.shutdown()
