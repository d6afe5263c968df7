"""Played CRMs: each holds deals, answers its API as documented, failures included, as a real HTTP server or within the
process of the test, and tells of changes by webhooks in its own way."""

import asyncio
import socket
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from email.utils import formatdate
from typing import ClassVar, Literal

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tests.servers.infrastructure import eventually


@dataclass(frozen=True, slots=True)
class PlainDeal:
    """A deal as any CRM could have it. The version is `modified_at`; every change moves it on."""

    id: str
    """Of digits; a CRM with ids of another form makes them of it."""
    name: str
    amount: Decimal
    currency: str
    status: Literal["open", "won", "lost"]
    owner_id: str
    created_at: datetime
    modified_at: datetime
    closed_on: date | None = None
    expected_close_on: date | None = None


@dataclass(frozen=True, slots=True)
class Webhook:
    """A request that a CRM sends to the address it was given."""

    method: str
    path: str
    """What follows the hook's address, such as a secret; empty for most."""
    headers: Mapping[str, str]
    body: bytes
    about: frozenset[str] = frozenset()
    """The ids of the deals that it is about."""


@dataclass
class Failure:
    """Answers to give instead of the real ones: to the next calls whose path holds `path`."""

    answer: Callable[[], Response]
    times: int = 1
    path: str = ""


@dataclass
class PlayedCrm(ABC):
    """One CRM. Its clock is the caller's: records are modified when the plain deals say."""

    patience_seconds: ClassVar[float] = 30.0
    """How long an answer to a webhook may take."""

    hook_url: str = ""
    """The public address of the connection's hook, for those that sign it or are told it by a subscription."""
    secret: str = ""
    deals: dict[str, PlainDeal] = field(default_factory=dict)
    deleted: dict[str, datetime] = field(default_factory=dict)
    webhooks: deque[Webhook] = field(default_factory=deque)
    """What is still to be sent, in the order it came about."""
    calls: list[Request] = field(default_factory=list)
    """Every API call that came, failed ones too."""
    failures: list[Failure] = field(default_factory=list)
    address: str = "http://crm.example"
    """Where the API is; a free port of the loopback while it is served."""

    @abstractmethod
    def connection(self) -> dict[str, object]:
        """The body of `POST /v1/connections` that connects this CRM: source, mapping of stages, allow-list."""

    @abstractmethod
    def access(self) -> dict[str, object]:
        """The body of `PUT /v1/connections/{id}/api-access`."""

    @abstractmethod
    def routes(self) -> list[Route]:
        """The API."""

    @abstractmethod
    def told(self, deal: PlainDeal, before: PlainDeal | None) -> list[Webhook]:
        """The webhooks that this change makes the CRM send."""

    @abstractmethod
    def told_deleted(self, deal: PlainDeal, at: datetime) -> list[Webhook]:
        """The webhooks that a deletion makes the CRM send; none for one that says nothing of it."""

    def user(self, owner_id: str) -> str:
        """The id by which deals name an owner."""
        return owner_id

    def put(self, deal: PlainDeal) -> None:
        """Make or change a deal."""
        before = self.deals.get(deal.id)
        self.deals[deal.id] = deal
        self.deleted.pop(deal.id, None)
        self.webhooks.extend(self.told(deal, before))

    def delete(self, deal_id: str, at: datetime) -> None:
        """Delete a deal."""
        deal = self.deals.pop(deal_id)
        self.deleted[deal_id] = at
        self.webhooks.extend(self.told_deleted(deal, at))

    def is_taken(self, status: int, content_type: str, body: bytes) -> bool:
        """Whether the CRM counts this answer as its webhook having been taken."""
        return 200 <= status < 300

    def again(self, webhook: Webhook) -> Webhook | None:
        """What the CRM sends after this one was not taken; None when it gives up."""
        return webhook

    async def send(self, client: httpx.AsyncClient, hook: str) -> int:
        """Send all that waits to the hook's address, each once; how many were taken. The rest waits as `again` says."""
        taken = 0
        for webhook in self.drained():
            is_taken = False
            with suppress(httpx.TransportError):
                response = await client.request(
                    webhook.method,
                    hook + webhook.path,
                    headers=dict(webhook.headers),
                    content=webhook.body,
                    timeout=self.patience_seconds,
                )
                content_type = response.headers.get("content-type", "")
                is_taken = self.is_taken(response.status_code, content_type, response.content)
            if is_taken:
                taken += 1
            elif (repeated := self.again(webhook)) is not None:
                self.webhooks.append(repeated)
        return taken

    def fail(self, answer: Callable[[], Response], *, times: int = 1, path: str = "") -> None:
        """Give this answer to the next calls whose path holds `path`."""
        self.failures.append(Failure(answer, times, path))

    def drained(self) -> list[Webhook]:
        """What was still to be sent; afterwards nothing is."""
        waiting = list(self.webhooks)
        self.webhooks.clear()
        return waiting

    def client(self) -> httpx.AsyncClient:
        """Its requests to the CRM's address are answered within the process, others to anywhere fail."""
        return httpx.AsyncClient(
            transport=httpx.MockTransport(_unreachable), mounts={self.address: httpx.ASGITransport(self._app())}
        )

    @asynccontextmanager
    async def served(self) -> AsyncIterator[str]:
        """Answer on a free port of the loopback while the block runs; the address."""
        # Of sockets that do not name their protocol, asyncio lets answers in two pieces wait 40 ms for each other.
        with socket.socket(proto=socket.IPPROTO_TCP) as listening:
            listening.bind(("127.0.0.1", 0))
            self.address = f"http://127.0.0.1:{listening.getsockname()[1]}"
            server = uvicorn.Server(uvicorn.Config(self._app(), log_level="warning", lifespan="off", date_header=False))
            serving = asyncio.create_task(server.serve(sockets=[listening]))
            try:
                await eventually(lambda: server.started, expectation="the CRM to listen")
                yield self.address
            finally:
                server.should_exit = True
                await serving

    def _app(self) -> Starlette:
        return Starlette(routes=[_watched(self, route) for route in self.routes()])


def _unreachable(request: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError(f"nothing answers at {request.url}")


def _watched(crm: PlayedCrm, route: Route) -> Route:
    """The route, its calls noted and failing when they are to."""

    async def answer(request: Request) -> Response:
        await request.body()
        crm.calls.append(request)
        for failure in crm.failures:
            if failure.times and failure.path in request.url.path:
                failure.times -= 1
                return failure.answer()
        response: Response = await route.endpoint(request)
        # The server's own would be of up to a second ago.
        response.headers["date"] = formatdate(usegmt=True)
        return response

    return Route(route.path, answer, methods=list(route.methods or ()))
