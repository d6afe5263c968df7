"""The worker process of the incentives service, `python -m services.incentives.worker`.

Credits deals, follows definitions, works stale assignments out anew, and publishes earnings.
"""

import sys
from collections.abc import Sequence

import uvloop
from aiokafka.errors import KafkaError

from services.incentives.earnings.consumer import DEALS_GROUP, DEFINITIONS_GROUP, DealsHandler, DefinitionsHandler
from services.incentives.earnings.publishing import render
from services.incentives.earnings.rebuilding import Rebuilder
from services.incentives.metadata import transport
from services.incentives.publishing import OUTBOX
from services.incentives.settings import SERVICE, IncentivesWorkerSettings
from shared.contracts import deals, earnings, goals, org
from shared.contracts.topics import TOPICS
from shared.db.database import Database
from shared.db.migration import require_current_schema
from shared.http.idempotency import IdempotencySweep
from shared.http.settings import read_settings
from shared.http.worker import run_worker
from shared.kafka.consumer import Consumer, Handler
from shared.kafka.producer import Producer
from shared.kafka.settings import KafkaSettings
from shared.kafka.topics import TopicsUnusable, ensure_topics
from shared.kernel.errors import AttainError
from shared.outbox.relay import Relay
from shared.telemetry import logs, tracing

_log = logs.get_logger(__name__)


async def work(settings: IncentivesWorkerSettings, kafka: KafkaSettings) -> int:
    """Run until a signal; the process's exit status: 1 when the database or the broker can not be used at the start."""
    database = Database(settings.database_url, service=SERVICE)
    producer = Producer(kafka, client_id=f"attain-{SERVICE}")
    try:
        await require_current_schema(database)
        await ensure_topics(kafka, TOPICS.values())
        await producer.start()
    except (AttainError, KafkaError, TopicsUnusable, OSError) as error:
        _log.error("cannot_start", reason=str(error))
        await database.close()
        return 1
    relay = Relay(database, transport, producer, {earnings.TOPIC: render})

    def consumer(group: str, topics: Sequence[str], handler: Handler) -> Consumer:
        return Consumer(
            settings=kafka,
            database=database,
            tables=transport,
            outbox=OUTBOX,
            group=group,
            topics=topics,
            handler=handler,
            after_commit=relay.wake,
        )

    deals_consumer = consumer(DEALS_GROUP, [deals.TOPIC], DealsHandler())
    definitions_consumer = consumer(DEFINITIONS_GROUP, [org.TOPIC, goals.TOPIC], DefinitionsHandler())
    return await run_worker(
        # In the order they are stopped in: what takes in before what gives out.
        {
            "deals": deals_consumer,
            "definitions": definitions_consumer,
            "rebuilder": Rebuilder(database),
            "idempotency": IdempotencySweep(database, transport),
            "relay": relay,
        },
        settings=settings,
        readiness={
            "database": database.ready,
            "deals": deals_consumer.ready,
            "definitions": definitions_consumer.ready,
        },
        closers=[producer.stop, database.close],
    )


def main() -> int:
    logs.configure(SERVICE)
    tracing.configure(SERVICE)
    settings, kafka = read_settings(IncentivesWorkerSettings), read_settings(KafkaSettings)
    try:
        return uvloop.run(work(settings, kafka))
    finally:
        tracing.shutdown()


if __name__ == "__main__":
    sys.exit(main())
