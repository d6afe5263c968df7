"""The API process of the tracking service: `python -m deploy.api_process services.tracking.app:create_app PORT`."""

from collections.abc import Mapping
from functools import partial
from typing import Final, cast
from uuid import UUID

from fastapi import FastAPI
from starlette.middleware import Middleware

from services.tracking.intake.calling.caller import ApiCaller, source_client
from services.tracking.intake.connections import service as crm
from services.tracking.intake.connections.api import router as crm_router
from services.tracking.intake.connections.directory import SenderDirectory
from services.tracking.intake.connections.service import Connections
from services.tracking.intake.inbox import retranslation
from services.tracking.intake.inbox.api import record_router as inbox_record_router
from services.tracking.intake.inbox.api import router as inbox_router
from services.tracking.intake.inbox.hook_counts import HookCounter
from services.tracking.intake.inbox.hooks import HookLane, Hooks, hook_schemas
from services.tracking.intake.inbox.hooks import router as hooks_router
from services.tracking.intake.inbox.intake import Intake
from services.tracking.intake.inbox.publishing import Publisher
from services.tracking.intake.sync.api import router as sync_router
from services.tracking.intake.upkeep.api import of_tenant as tenant_health_router
from services.tracking.intake.upkeep.api import router as upkeep_router
from services.tracking.measure.progress.api import ProgressSource
from services.tracking.measure.progress.api import router as progress_router
from services.tracking.measure.progress.counting import DefinitionsReader, RecordCounter
from services.tracking.measure.progress.definitions import DefinitionsCache
from services.tracking.measure.progress.service import ProgressTracker
from services.tracking.metadata import transport
from services.tracking.records.api import activities_router, deals_router
from services.tracking.records.service import DEALS
from services.tracking.settings import SERVICE, ApiSettings
from services.tracking.tell.alerts.api import router as alerts_router
from services.tracking.tell.channels.api import router as outgoing_router
from services.tracking.tell.channels.service import Subscriptions
from services.tracking.tell.live.api import LiveStreams
from services.tracking.tell.live.api import router as live_router
from services.tracking.tell.live.hub import LiveHub
from services.tracking.tell.live.rights import StreamRights
from shared.db.database import Database, Transaction
from shared.db.migration import require_current_schema
from shared.db.sealing import SecretsBox
from shared.http.app import create_service_app
from shared.http.named_deals import DealFinder
from shared.http.outbound import OutboundSettings
from shared.http.settings import read_settings
from shared.http.sight import Organisation
from shared.kafka.settings import KafkaSettings
from shared.kernel.org import OrgChart
from shared.outbox.outbox import Outbox

_RESERVED_POOL_SIZE: Final = 3
_DESCRIPTION = """\
What CRMs say about deals, and what that makes of every goal.

A CRM sends to `/hooks/{connection_id}`. What it sends is stored as it is, translated into canonical deals, published on
`attain.deals.v1` and added up: each goal's progress is read here, explained deal by deal, and streamed live.

What is set up has an `ETag`; a change sends it back in `If-Match` and loses with 412 when someone else was faster; in
`If-None-Match` it spares reading the same again (304).
"""


def create_app() -> FastAPI:
    """The app, by the settings of the environment; connects to database and broker when it is started."""
    settings = read_settings(ApiSettings)
    kafka = read_settings(KafkaSettings)
    database = Database(settings.database_url, service=SERVICE)
    # So that no number of readers and streams delays the webhooks, or makes the process look unready.
    reserved = Database(settings.database_url, service=SERVICE, pool_size=_RESERVED_POOL_SIZE)
    connections = Connections(SecretsBox(settings.secrets_key.get_secret_value()), on_mapping_saved=retranslation.begin)
    directory = SenderDirectory(reserved, connections)
    traffic = HookCounter(reserved)
    definitions = DefinitionsCache()
    outbox = Outbox(transport)
    reader = DefinitionsReader(database, definitions)
    counter = RecordCounter(ProgressTracker(outbox, definitions), reader)
    intake = Intake(reserved, Publisher(outbox, counter), traffic)
    hooks = Hooks(directory, intake, traffic, settings.public_url.rstrip("/"))
    progress = ProgressSource(definitions)
    live = LiveStreams(LiveHub(kafka), progress, StreamRights(reserved, progress.revisions))
    outbound = read_settings(OutboundSettings)
    sources = source_client(outbound)

    async def organisation(tx: Transaction, tenant_id: UUID) -> OrgChart:
        return (await definitions.current(tx, tenant_id)).chart

    app = create_service_app(
        title="Attain tracking",
        description=_DESCRIPTION,
        settings=settings,
        database=database,
        transport_tables=transport,
        open_routers=[hooks_router],
        routers=[
            live_router,
            progress_router,
            deals_router,
            activities_router,
            inbox_router,
            inbox_record_router,
            crm_router,
            sync_router,
            upkeep_router,
            tenant_health_router,
            alerts_router,
            outgoing_router,
        ],
        readiness={"schema": partial(require_current_schema, reserved), "connections": directory.ready},
        parts=[
            Organisation(organisation),
            DealFinder(crm.ids_of_source, DEALS.facts),
            connections,
            directory,
            hooks,
            ApiCaller(database, connections.box, sources),
            Subscriptions(connections.box),
            outbound,
            definitions,
            live,
        ],
        beside={
            "intake": intake,
            "traffic": traffic,
            "live": live.hub,
            "stream_rights": live.rights,
            "directory": directory,
            "definitions_reader": reader,
        },
        closers=[sources.aclose, reserved.close],
    )
    # Innermost: within the edge that the factory has put around everything.
    app.user_middleware.append(Middleware(HookLane, hooks=hooks))
    _document_hooks(app)
    return app


def _document_hooks(app: FastAPI) -> None:
    """Add what a hook's body looks like, which its route does not parse, to the OpenAPI."""
    generate = app.openapi

    def with_hook_schemas() -> dict[str, object]:
        document: dict[str, object] = generate()
        components = cast(dict[str, dict[str, object]], document["components"])
        schemas: Mapping[str, object] = hook_schemas()
        components["schemas"] = dict(sorted({**schemas, **components["schemas"]}.items()))
        return document

    app.openapi = with_hook_schemas  # type: ignore[method-assign]
