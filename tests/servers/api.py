"""APIs as the services make them, of routes that a test brings along."""

from collections.abc import AsyncIterator, Sequence
from uuid import UUID, uuid4

import httpx
from fastapi import APIRouter, FastAPI, Request
from fastapi.sse import EventSourceResponse, ServerSentEvent
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from shared.db.database import Database
from shared.db.tables import service_metadata, transport_tables
from shared.http.app import create_service_app
from shared.http.auth import Principal, Role
from shared.http.health import ReadinessCheck
from shared.http.settings import HttpSettings
from shared.http.sse import LastEventId, Mailbox, Streams

SETTINGS = HttpSettings(jwt_secret=SecretStr("0123456789abcdef0123456789abcdef0123456789abcdef"), body_bytes_max=1000)


class Flat(BaseModel):
    kind: str
    rate: int = Field(ge=1)


class NewDeal(BaseModel):
    model_config = ConfigDict(extra="forbid")

    owner_id: UUID
    amount: int = Field(gt=0)
    lines: list[Flat] = []


def service(
    *routers: APIRouter,
    open_routers: Sequence[APIRouter] = (),
    readiness: dict[str, ReadinessCheck] | None = None,
) -> FastAPI:
    return create_service_app(
        title="Unit",
        description="For tests.",
        settings=SETTINGS,
        database=Database("postgresql://nobody@127.0.0.1:1/none", service="goals"),
        transport_tables=transport_tables(service_metadata("goals")),
        routers=routers,
        open_routers=open_routers,
        readiness=readiness or {},
    )


def client_of(app: FastAPI) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test")


def check_problem(response: httpx.Response, status: int, code: str) -> dict[str, object]:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    problem: dict[str, object] = response.json()
    assert problem["type"] == f"urn:attain:problem:{code}"
    assert problem["code"] == code
    assert problem["status"] == status
    assert problem["request_id"] == response.headers["x-request-id"]
    return problem


def streaming_app(opened: list[Mailbox], seen_ids: list[str | None]) -> FastAPI:
    router = APIRouter(tags=["live"])

    @router.get("/v1/stream", response_class=EventSourceResponse)
    async def stream(request: Request, last_event_id: LastEventId = None) -> AsyncIterator[ServerSentEvent]:
        seen_ids.append(last_event_id)
        streams: Streams = request.app.state.streams
        with streams.open(Principal(uuid4(), uuid4(), frozenset({Role.REP}))) as mailbox:
            opened.append(mailbox)
            try:
                yield ServerSentEvent(id="0", event="progress", data={"value": 0})
                async for waiting in mailbox:
                    yield waiting
            finally:
                opened.remove(mailbox)

    return service(router)
