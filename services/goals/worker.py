"""The worker process of the goals service, `python -m services.goals.worker`: publishes what its outbox holds."""

import sys

import uvloop
from aiokafka.errors import KafkaError

from services.goals.metadata import transport
from services.goals.settings import SERVICE, GoalsWorkerSettings
from shared.contracts.topics import TOPICS
from shared.db.database import Database
from shared.db.migration import require_current_schema
from shared.http.idempotency import IdempotencySweep
from shared.http.settings import read_settings
from shared.http.worker import run_worker
from shared.kafka.producer import Producer
from shared.kafka.settings import KafkaSettings
from shared.kafka.topics import TopicsUnusable, ensure_topics
from shared.kernel.errors import AttainError
from shared.outbox.relay import Relay
from shared.telemetry import logs, tracing

_log = logs.get_logger(__name__)


async def work(settings: GoalsWorkerSettings, kafka: KafkaSettings) -> int:
    """Run until a signal; the process's exit status: 1 when the database or the broker can not be used at the start."""
    database = Database(settings.database_url, service=SERVICE)
    producer = Producer(kafka, client_id=f"attain-{SERVICE}")
    try:
        await require_current_schema(database)
        await ensure_topics(kafka, [spec for spec in TOPICS.values() if spec.producer == SERVICE])
        await producer.start()
    except (AttainError, KafkaError, TopicsUnusable, OSError) as error:
        _log.error("cannot_start", reason=str(error))
        await database.close()
        return 1
    return await run_worker(
        {
            "relay": Relay(database, transport, producer, renderers={}),
            "idempotency": IdempotencySweep(database, transport),
        },
        settings=settings,
        readiness={"database": database.ready},
        closers=[producer.stop, database.close],
    )


def main() -> int:
    logs.configure(SERVICE)
    tracing.configure(SERVICE)
    settings, kafka = read_settings(GoalsWorkerSettings), read_settings(KafkaSettings)
    try:
        return uvloop.run(work(settings, kafka))
    finally:
        tracing.shutdown()


if __name__ == "__main__":
    sys.exit(main())
