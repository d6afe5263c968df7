"""The app factory of the services' API processes."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final, cast

from fastapi import APIRouter, Depends, FastAPI
from fastapi.routing import APIRoute, RouteContext, iter_route_contexts
from pydantic import JsonValue
from starlette.applications import Starlette

from shared.db.database import Database
from shared.db.tables import TransportTables
from shared.http.auth import Authenticator, RoleMissing, TokenMissing, TokenRefused
from shared.http.docs.page import PAGE_PATH, documentation_routes
from shared.http.documents import (
    describe_streams,
    name_components,
    require_discriminators,
    restore_nulls,
    share_answers,
)
from shared.http.edge import Edge
from shared.http.health import HEALTH_PATHS, Health, ReadinessCheck
from shared.http.idempotency import IdempotencyKeyReused
from shared.http.negotiation import negotiated
from shared.http.paging import InvalidCursor
from shared.http.problems import (
    NotAcceptable,
    Problem,
    UnsupportedContentEncoding,
    UnsupportedMediaType,
    add_problem_handlers,
    status_of,
    with_error,
)
from shared.http.query import UnknownParameter, check_query, declared_names
from shared.http.refused import declared_bodies
from shared.http.settings import HttpSettings
from shared.http.sse import StreamLimits, Streams
from shared.http.wiring import hand_over
from shared.http.writer import NulCharacter
from shared.kernel.errors import AttainError, InvalidInput, TooLarge, Unavailable
from shared.telemetry import tracing
from shared.worker.components import Component, Components

_UNLOGGED_PREFIXES: Final = (*HEALTH_PATHS, "/hooks/", PAGE_PATH, "/openapi.json")
_VERSION: Final = "1.0.0"
"""Of the APIs, the same for all services."""
_METHODS: Final = frozenset({"get", "put", "post", "patch", "delete"})


class InternalError(AttainError):
    """The request could not be completed; it has been logged under its request id."""

    code = "internal_error"
    title = "Internal error"


class ServiceApp(FastAPI):
    """FastAPI whose OpenAPI declares the errors every route can answer with."""

    def openapi(self) -> dict[str, object]:
        if self.openapi_schema:
            return self.openapi_schema
        document = cast(dict[str, object], super().openapi())
        components = cast(dict[str, dict[str, object]], document.setdefault("components", {}))
        schemas = components.setdefault("schemas", {})
        for unused in ("HTTPValidationError", "ValidationError"):
            schemas.pop(unused, None)
        problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas.update(cast(dict[str, object], problem.pop("$defs")))
        schemas["Problem"] = problem
        shared: dict[str, JsonValue] = {}
        paths = cast(dict[str, dict[str, dict[str, object]]], document.get("paths", {}))
        for path in paths.values():
            for method in _METHODS & path.keys():
                _declare_common_errors(path[method])
                share_answers(cast(dict[str, JsonValue], path[method]["responses"]), shared)
        components["responses"] = dict(sorted(shared.items()))
        finished, finished_schemas = cast(dict[str, JsonValue], document), cast(dict[str, JsonValue], schemas)
        name_components(finished, finished_schemas)
        restore_nulls(finished, finished_schemas)
        describe_streams(finished)
        require_discriminators(finished, finished_schemas)
        return document


def create_service_app(
    *,
    title: str,
    description: str,
    settings: HttpSettings,
    database: Database,
    transport_tables: TransportTables,
    routers: Sequence[APIRouter],
    open_routers: Sequence[APIRouter] = (),
    readiness: Mapping[str, ReadinessCheck],
    parts: Iterable[object] = (),
    beside: Mapping[str, Component] | None = None,
    closers: Sequence[Callable[[], Awaitable[None]]] = (),
) -> FastAPI:
    """An API process: the routers, `/docs`, `/openapi.json`, `/healthz`, `/readyz`, `/metrics` and problem details.

    Routers are tried in order: the hottest first. Of `open_routers`, which come before all others, callers may send
    query parameters that are not declared, as senders of webhooks do; of `routers` they may not. Operation ids are the
    names of the endpoint functions; two of the same name are a ValueError, as is a route without a tag. `beside` runs
    for as long as the app; `closers`, and then the database, are closed at its end. `parts` are
    what routes need of the process beside `streams`, each found by its class (`shared.http.wiring`). `app.state` holds
    `database`, `transport_tables`, `authenticator`, `streams` (event streams, ended at shutdown), `health`,
    `query_names`, `body_types`, and `operations`: an app of just the health and documentation, which this one has not
    where they have a port of their own.
    """
    tracing.configure(database.service)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with run_beside(app, beside or {}):
            yield
        for close in (*closers, database.close):
            await close()
        tracing.shutdown()

    app = ServiceApp(
        title=title,
        version=_VERSION,
        description=description,
        lifespan=lifespan,
        servers=[{"url": settings.public_url}],
        generate_unique_id_function=lambda route: route.name,
        docs_url=None,
        redoc_url=None,
        telemetry={"tracing": tracing.enabled(), "metrics": False, "logs": False, "operation_spans": False},
    )
    app.state.database = database
    app.state.transport_tables = transport_tables
    app.state.authenticator = Authenticator(settings)
    app.state.streams = Streams(
        StreamLimits(settings.streams_max, settings.streams_per_tenant_max, settings.streams_per_person_max)
    )
    app.state.health = Health(readiness)
    hand_over(app, [app.state.streams, *parts])
    # Routes are tried in order: the documentation's go behind the service's.
    beside_operations = settings.operations_port is None
    documentation = [*app.router.routes, *documentation_routes(title, beside_operations=beside_operations)]
    app.router.routes.clear()
    for router in open_routers:
        app.include_router(router)
    for router in routers:
        app.include_router(router, dependencies=[Depends(check_query), Depends(negotiated)])
    operations = [*app.state.health.routes(), *documentation]
    if beside_operations:
        app.router.routes.extend(operations)
    app.state.operations = Starlette(routes=operations)
    add_problem_handlers(app)
    contexts = list(iter_route_contexts(app.routes))
    _check_operations(contexts)
    app.state.query_names = declared_names(contexts)
    app.state.body_types = declared_bodies(contexts)
    app.add_middleware(
        Edge,
        body_bytes_max=settings.body_bytes_max,
        path_templates={
            context.endpoint: context.path_format
            for context in contexts
            if context.endpoint is not None and context.path_format is not None
        },
        unlogged_prefixes=_UNLOGGED_PREFIXES,
    )
    return app


@asynccontextmanager
async def run_beside(app: FastAPI, components: Mapping[str, Component]) -> AsyncIterator[None]:
    """Run these beside the app's requests, for as long as the block lasts; stopped in their order.

    One that ends by itself fails the app's health, and whoever serves the app then ends.
    """
    running = Components(components)
    running.start()
    health: Health = app.state.health

    async def watch() -> None:
        health.fail(f"{', '.join(await running.ended())} ended")

    watching = asyncio.create_task(watch(), name="components")
    try:
        yield
    finally:
        watching.cancel()
        await running.stop()


def _check_operations(contexts: Iterable[RouteContext]) -> None:
    names: set[str] = set()
    for context in contexts:
        if not isinstance(context.original_route, APIRoute) or not context.include_in_schema:
            continue
        name = context.name or ""
        if name in names:
            raise ValueError(f"two operations are called {name}")
        names.add(name)
        if not context.tags:
            raise ValueError(f"operation {name} has no tag")


def _declare_common_errors(operation: dict[str, object]) -> None:
    declared = cast(dict[str, dict[str, object]], operation["responses"])
    common: list[type[AttainError]] = [InternalError, Unavailable]
    if "security" in operation:
        common += [NotAcceptable, TokenMissing, TokenRefused, RoleMissing, UnknownParameter]
    if "requestBody" in operation:
        common += [TooLarge, UnsupportedContentEncoding, UnsupportedMediaType]
    if "422" in declared:
        parameters = cast(list[dict[str, str]], operation.get("parameters", []))
        names = {parameter["name"].lower() for parameter in parameters}
        common.append(InvalidInput)
        if "if-none-match" in names:
            _declare_not_modified(declared)
        if "cursor" in names:
            common.append(InvalidCursor)
        if "idempotency-key" in names:
            common.append(IdempotencyKeyReused)
            if "requestBody" in operation:
                common.append(NulCharacter)
    for error in common:
        status = str(status_of(error))
        declared[status] = with_error(declared.get(status), error)
    operation["responses"] = dict(sorted(declared.items()))


def _declare_not_modified(declared: dict[str, dict[str, object]]) -> None:
    tag = {"ETag": {"description": "Of this answer, for If-None-Match and If-Match.", "schema": {"type": "string"}}}
    declared["200"]["headers"] = tag
    declared["304"] = {"description": "The answer is one of those in If-None-Match.", "headers": tag}
