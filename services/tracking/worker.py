"""The worker process of the tracking service, `python -m services.tracking.worker`.

Translates deliveries, applies deals, activities and definitions to goals, rebuilds what definitions change, raises
alerts, and publishes.
"""

import sys
from collections.abc import Sequence
from typing import Final

import uvloop
from aiokafka.errors import KafkaError

from services.tracking.alerts.watcher import AlertWatcher
from services.tracking.crm.calling import ApiCaller, source_client
from services.tracking.crm.encryption import SecretsBox
from services.tracking.crm.service import Connections
from services.tracking.inbox.processor import InboxProcessor, Retention
from services.tracking.inbox.retranslation import Retranslator
from services.tracking.metadata import transport
from services.tracking.outgoing.consumer import OUTGOING_GROUP, OUTGOING_TOPICS, OutgoingHandler
from services.tracking.outgoing.deliverer import Deliverer, OutgoingRetention, subscriber_client
from services.tracking.outgoing.service import Subscriptions
from services.tracking.progress.consumer import (
    ACTIVITIES_GROUP,
    DEFINITIONS_GROUP,
    DEFINITIONS_TOPICS,
    PROGRESS_GROUP,
    ActivitiesHandler,
    DealsHandler,
    DefinitionsHandler,
    Rebuilder,
)
from services.tracking.progress.definitions import DefinitionsCache
from services.tracking.progress.service import ProgressTracker, render_progress
from services.tracking.settings import SERVICE, TrackingWorkerSettings
from services.tracking.sync.channels import ChannelKeeper
from services.tracking.sync.fetcher import Fetcher
from services.tracking.sync.synchroniser import Synchroniser
from shared.contracts import activities, deals, progress
from shared.contracts.topics import TOPICS
from shared.db.database import Database
from shared.db.migration import require_current_schema
from shared.http.idempotency import IdempotencySweep
from shared.http.outbound import OutboundSettings
from shared.http.settings import read_settings
from shared.http.worker import run_worker
from shared.kafka.consumer import Consumer, Handler
from shared.kafka.producer import Producer
from shared.kafka.settings import KafkaSettings
from shared.kafka.topics import TopicsUnusable, ensure_topics
from shared.kernel.errors import AttainError
from shared.outbox.outbox import Outbox
from shared.outbox.relay import Relay
from shared.telemetry import logs, tracing

_POOL_SIZE: Final = 12

_log = logs.get_logger(__name__)


async def work(settings: TrackingWorkerSettings, kafka: KafkaSettings) -> int:
    """Run until a signal; the process's exit status: 1 when the database or the broker can not be used at the start."""
    database = Database(settings.database_url, service=SERVICE, pool_size=_POOL_SIZE)
    producer = Producer(kafka, client_id=f"attain-{SERVICE}")
    try:
        await require_current_schema(database)
        await ensure_topics(kafka, TOPICS.values())
        await producer.start()
    except (AttainError, KafkaError, TopicsUnusable, OSError) as error:
        _log.error("cannot_start", reason=str(error))
        await database.close()
        return 1
    outbox = Outbox(transport)
    relay = Relay(database, transport, producer, {progress.TOPIC: render_progress})
    tracker = ProgressTracker(outbox, DefinitionsCache())
    rebuilder = Rebuilder(database, tracker)

    def consumer(group: str, topics: Sequence[str], handler: Handler) -> Consumer:
        return Consumer(
            settings=kafka,
            database=database,
            tables=transport,
            outbox=outbox,
            group=group,
            topics=topics,
            handler=handler,
            after_commit=relay.wake,
        )

    deals_consumer = consumer(PROGRESS_GROUP, [deals.TOPIC], DealsHandler(tracker))
    activities_consumer = consumer(ACTIVITIES_GROUP, [activities.TOPIC], ActivitiesHandler(tracker))
    definitions_consumer = consumer(DEFINITIONS_GROUP, DEFINITIONS_TOPICS, DefinitionsHandler(tracker, rebuilder))
    outgoing_consumer = consumer(OUTGOING_GROUP, OUTGOING_TOPICS, OutgoingHandler())
    outbound = read_settings(OutboundSettings)
    sources = source_client(outbound)
    connections = Connections(SecretsBox(settings.secrets_key.get_secret_value()))
    caller = ApiCaller(database, connections.box, sources)
    subscribers = subscriber_client(outbound, connections_max=settings.outgoing_concurrency)
    return await run_worker(
        # In the order they are stopped in: what takes in before what gives out.
        {
            "retranslator": Retranslator(database),
            "inbox": InboxProcessor(database, outbox, published=relay.wake),
            "fetcher": Fetcher(database, caller),
            "synchroniser": Synchroniser(database, caller, connections),
            "channels": ChannelKeeper(database, caller, connections, public_url=settings.public_url),
            "alerts": AlertWatcher(database, outbox, look_seconds=settings.alert_look_seconds),
            "deals": deals_consumer,
            "activities": activities_consumer,
            "definitions": definitions_consumer,
            "rebuilder": rebuilder,
            "outgoing": outgoing_consumer,
            "deliverer": Deliverer(
                database,
                Subscriptions(connections.box),
                subscribers,
                concurrency=settings.outgoing_concurrency,
                concurrency_each=settings.outgoing_concurrency_each,
            ),
            "outgoing_retention": OutgoingRetention(database, keep_days=settings.outgoing_log_days),
            "retention": Retention(database, keep_days=settings.delivery_retention_days),
            "idempotency": IdempotencySweep(database, transport),
            "relay": relay,
        },
        settings=settings,
        readiness={
            "database": database.ready,
            "deals": deals_consumer.ready,
            "activities": activities_consumer.ready,
            "definitions": definitions_consumer.ready,
            "outgoing": outgoing_consumer.ready,
        },
        closers=[sources.aclose, subscribers.aclose, producer.stop, database.close],
    )


def main() -> int:
    logs.configure(SERVICE)
    tracing.configure(SERVICE)
    settings, kafka = read_settings(TrackingWorkerSettings), read_settings(KafkaSettings)
    try:
        return uvloop.run(work(settings, kafka))
    finally:
        tracing.shutdown()


if __name__ == "__main__":
    sys.exit(main())
