"""The worker process of the tracking service, `python -m services.tracking.worker`.

Translates deliveries, applies deals, activities and definitions to goals, rebuilds what definitions change, raises
alerts, and publishes.
"""

import sys
from typing import Final

from services.tracking.intake.calling.caller import ApiCaller, source_client
from services.tracking.intake.connections import service as crm
from services.tracking.intake.connections.service import Connections
from services.tracking.intake.inbox.publishing import Publisher
from services.tracking.intake.inbox.work import InboxProcessor, Retention, Retranslator
from services.tracking.intake.sync.work.channels import ChannelRenewer
from services.tracking.intake.sync.work.fetcher import Fetcher
from services.tracking.intake.sync.work.synchroniser import Synchroniser
from services.tracking.intake.upkeep import service as upkeep
from services.tracking.measure.actuals.service import render_actuals
from services.tracking.measure.actuals.work import ActualsPublisher
from services.tracking.measure.progress.consumer import (
    ACTIVITIES_GROUP,
    DEFINITIONS_GROUP,
    DEFINITIONS_MAX,
    DEFINITIONS_TOPICS,
    PROGRESS_GROUP,
    ActivitiesHandler,
    DealsHandler,
    DefinitionsHandler,
)
from services.tracking.measure.progress.counting import DefinitionsReader, RecordCounter
from services.tracking.measure.progress.definitions import DefinitionsCache
from services.tracking.measure.progress.service import ProgressTracker, render_progress
from services.tracking.measure.progress.work import Rebuilder
from services.tracking.metadata import transport
from services.tracking.settings import SERVICE, TrackingWorkerSettings
from services.tracking.tell.alerts.service import Checks
from services.tracking.tell.alerts.work import AlertWatcher, DeadLettersWatcher
from services.tracking.tell.channels.consumer import OUTGOING_GROUP, OUTGOING_TOPICS, OutgoingHandler
from services.tracking.tell.channels.mailer import Mailer, MailSettings
from services.tracking.tell.channels.people import People
from services.tracking.tell.channels.service import Subscriptions
from services.tracking.tell.channels.work import Deliverer, OutgoingRetention, subscriber_client
from services.tracking.tell.dead_letters.consumer import DEAD_LETTERS_GROUP, DEAD_LETTERS_TOPICS, DeadLettersHandler
from shared.contracts import activities, actuals, deals, progress
from shared.contracts.topics import TOPICS
from shared.db.sealing import SecretsBox
from shared.http.outbound import OutboundSettings
from shared.http.settings import read_settings
from shared.worker.process import WorkerProcess, run_service_worker

CONNECTION_CHECKS: Final = Checks(crm.active, upkeep.findings)
_POOL_SIZE: Final = 12
# Most of what these read was counted as it was published: few large batches cost less than many small ones.
_COUNTED_GATHER_SECONDS: Final = 0.05
# Some as long as a batch takes, in which its tenants' deals have their turn.
_DEFINITIONS_GATHER_SECONDS: Final = 0.01
# It reads along with everything that is published, mostly for nobody: few large batches cost less than many small ones.
_OUTGOING_GATHER_SECONDS: Final = 0.2


async def work(process: WorkerProcess[TrackingWorkerSettings]) -> int:
    """Run until a signal; the process's exit status."""
    settings, database, outbox = process.settings, process.database, process.outbox
    definitions = DefinitionsCache()
    tracker = ProgressTracker(outbox, definitions)
    reader = DefinitionsReader(database, definitions)
    publisher = Publisher(outbox, RecordCounter(tracker, reader))
    rebuilder = Rebuilder(database, tracker)
    outbound = read_settings(OutboundSettings)
    sources = source_client(outbound)
    connections = Connections(SecretsBox(settings.secrets_key.get_secret_value()))
    caller = ApiCaller(database, connections.box, sources)
    subscribers = subscriber_client(outbound, connections_max=settings.outgoing_concurrency)
    return await process.run(
        {
            "retranslator": Retranslator(database, publisher),
            "inbox": InboxProcessor(database, publisher),
            "fetcher": Fetcher(database, caller),
            "synchroniser": Synchroniser(database, caller, connections),
            "channels": ChannelRenewer(database, caller, connections, public_url=settings.public_url),
            "alerts": AlertWatcher(database, outbox, CONNECTION_CHECKS, look_seconds=settings.alert_look_seconds),
            "dead_letter_alerts": DeadLettersWatcher(database, outbox),
            "deals": process.consumer(
                "deals", PROGRESS_GROUP, [deals.TOPIC], DealsHandler(tracker), gather_seconds=_COUNTED_GATHER_SECONDS
            ),
            "activities": process.consumer(
                "activities",
                ACTIVITIES_GROUP,
                [activities.TOPIC],
                ActivitiesHandler(tracker),
                gather_seconds=_COUNTED_GATHER_SECONDS,
            ),
            "definitions": process.consumer(
                "definitions",
                DEFINITIONS_GROUP,
                DEFINITIONS_TOPICS,
                DefinitionsHandler(tracker, rebuilder),
                gather_seconds=_DEFINITIONS_GATHER_SECONDS,
                max_records=DEFINITIONS_MAX,
            ),
            "rebuilder": rebuilder,
            "actuals": ActualsPublisher(database, outbox),
            "definitions_reader": reader,
            "dead_letters": process.consumer(
                "dead_letters", DEAD_LETTERS_GROUP, DEAD_LETTERS_TOPICS, DeadLettersHandler()
            ),
            "outgoing": process.consumer(
                "outgoing",
                OUTGOING_GROUP,
                OUTGOING_TOPICS,
                OutgoingHandler(People(definitions)),
                gather_seconds=_OUTGOING_GATHER_SECONDS,
            ),
            "deliverer": Deliverer(
                database,
                Subscriptions(connections.box),
                subscribers,
                Mailer(read_settings(MailSettings)),
                concurrency=settings.outgoing_concurrency,
                concurrency_each=settings.outgoing_concurrency_each,
            ),
            "outgoing_retention": OutgoingRetention(database, retention_days=settings.outgoing_log_days),
            "retention": Retention(database, retention_days=settings.delivery_retention_days),
        },
        closers=[sources.aclose, subscribers.aclose],
    )


def main() -> int:
    return run_service_worker(
        SERVICE,
        TrackingWorkerSettings,
        work,
        tables=transport,
        topics=TOPICS.values(),
        renderers={progress.TOPIC: render_progress, actuals.TOPIC: render_actuals},
        pool_size=_POOL_SIZE,
    )


if __name__ == "__main__":
    sys.exit(main())
