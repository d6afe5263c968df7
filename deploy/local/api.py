"""A client of Attain's three public APIs with development tokens, for what runs beside a local stack."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final, TypeVar
from uuid import UUID

import httpx
from pydantic import BaseModel, JsonValue, SecretStr, ValidationError

from deploy.local.errors import StackError
from deploy.local.ports import LOOPBACK, Ports
from shared.http.auth import Role, issue_token
from shared.http.problems import Problem
from shared.http.settings import HttpSettings

ModelT = TypeVar("ModelT", bound=BaseModel)
Query = str | int | bool | UUID | date | datetime | None
JsonObject = Mapping[str, JsonValue]

SERVICES: Final = ("goals", "tracking", "incentives")
_TIMEOUT_SECONDS: Final = 30.0
_TOKEN_TTL_SECONDS: Final = 86_400
_PAGE_ITEMS: Final = 200
_UNAVAILABLE_RETRIES_MAX: Final = 5
_UNAVAILABLE_WAIT_SECONDS_MAX: Final = 2.0
_HEARTBEAT_SECONDS_MAX: Final = 45.0


class Versioned(BaseModel):
    """What everything of the APIs that can be changed has."""

    version: int


class Resource(Versioned):
    """One thing of many."""

    id: UUID


@dataclass(frozen=True, slots=True)
class Caller:
    """Who a token speaks for. The default is a service, which may do everything in its tenant."""

    tenant_id: UUID
    person_id: UUID | None = None
    roles: frozenset[Role] = frozenset({Role.SERVICE})


@dataclass(frozen=True, slots=True)
class StreamedEvent:
    """One event of a live stream."""

    id: str
    name: str
    data: str


class ServiceApi:
    """One service as one caller sees it. What it refuses is a `StackError` with the reason in one sentence."""

    def __init__(self, client: httpx.AsyncClient, service: str, url: str, token: str) -> None:
        self.url = url
        self._client = client
        self._service = service
        self._headers = {"authorization": f"Bearer {token}"}

    async def get(self, path: str, model: type[ModelT], **query: Query) -> ModelT:
        """One thing, or one page of a list."""
        return self._read(model, path, await self._sent("GET", path, params=_texts(query)))

    async def document(self, path: str, **query: Query) -> bytes:
        """A file."""
        response = await self._sent("GET", path, params=_texts(query))
        self._require_success(response)
        return response.content

    async def items(self, path: str, model: type[ModelT], **query: Query) -> list[ModelT]:
        """A list to its last page."""
        found: list[ModelT] = []
        cursor: str | None = None
        while True:
            page = await self.get(path, _Page, **{"limit": _PAGE_ITEMS, **query, "cursor": cursor})
            found.extend(_parsed(model, item, f"{self._service} {path}") for item in page.items)
            cursor = page.next_cursor
            if cursor is None:
                return found

    async def post(
        self,
        path: str,
        model: type[ModelT],
        body: JsonObject | None = None,
        *,
        idempotency_key: str | None = None,
        version: int | None = None,
    ) -> ModelT:
        """Make something, or with the `version` it was read at, change its state."""
        return await self._change(model, "POST", path, body, version, idempotency_key)

    async def put(self, path: str, model: type[ModelT], body: JsonObject, *, version: int | None = None) -> ModelT:
        """Replace something; without a `version`, set it for the first time."""
        return await self._change(model, "PUT", path, body, version)

    async def absent(self, path: str) -> bool:
        """Whether there is no such thing for this caller."""
        response = await self._sent("GET", path)
        if response.status_code == httpx.codes.NOT_FOUND:
            return True
        self._require_success(response)
        return False

    async def events(self, path: str) -> AsyncGenerator[StreamedEvent]:
        """A live stream, until it ends; heartbeats are passed over."""
        timeout = httpx.Timeout(_TIMEOUT_SECONDS, read=_HEARTBEAT_SECONDS_MAX)
        try:
            async with self._client.stream("GET", self.url + path, headers=self._headers, timeout=timeout) as response:
                if not response.is_success:
                    await response.aread()
                    self._require_success(response)
                event: dict[str, str] = {}
                async for line in response.aiter_lines():
                    name, _, value = line.partition(":")
                    if name:
                        event[name] = value.removeprefix(" ")
                    elif not line and "data" in event:
                        yield StreamedEvent(event.get("id", ""), event.get("event", "message"), event["data"])
                        event = {}
        except httpx.TransportError as error:
            raise StackError(f"The stream {self.url}{path} broke off ({type(error).__name__}).") from error

    async def _change(
        self,
        model: type[ModelT],
        method: str,
        path: str,
        body: JsonObject | None,
        version: int | None,
        idempotency_key: str | None = None,
    ) -> ModelT:
        headers = {}
        if version is not None:
            headers["if-match"] = f'"{version}"'
        if idempotency_key is not None:
            headers["idempotency-key"] = idempotency_key
        return self._read(model, path, await self._sent(method, path, json=body, headers=headers))

    def _read(self, model: type[ModelT], path: str, response: httpx.Response) -> ModelT:
        self._require_success(response)
        return _parsed(model, response.json(), f"{self._service} {path}")

    async def _sent(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        json: JsonObject | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        """The answer; a service that is unavailable for a moment is called again."""
        for attempt in range(_UNAVAILABLE_RETRIES_MAX + 1):
            try:
                response = await self._client.request(
                    method, self.url + path, params=params, json=json, headers={**self._headers, **(headers or {})}
                )
            except httpx.TransportError as error:
                raise StackError(
                    f"{self._service} cannot be reached at {self.url} ({type(error).__name__}): is `attain up` running?"
                ) from error
            if response.status_code != httpx.codes.SERVICE_UNAVAILABLE or attempt == _UNAVAILABLE_RETRIES_MAX:
                break
            await asyncio.sleep(min(float(response.headers.get("retry-after", "1")), _UNAVAILABLE_WAIT_SECONDS_MAX))
        return response

    def _require_success(self, response: httpx.Response) -> None:
        if not response.is_success:
            request = response.request
            raise StackError(
                f"{self._service} answers {response.status_code} to {request.method} {request.url.path}: "
                f"{_reason(response)}"
            )


class AttainApi:
    """The three services as one caller sees them."""

    def __init__(
        self, client: httpx.AsyncClient, urls: Mapping[str, str], settings: HttpSettings, caller: Caller
    ) -> None:
        self.caller = caller
        self._client = client
        self._urls = urls
        self._settings = settings
        token = issue_token(
            settings,
            tenant_id=caller.tenant_id,
            person_id=caller.person_id,
            roles=caller.roles,
            ttl_seconds=_TOKEN_TTL_SECONDS,
        )
        self.goals, self.tracking, self.incentives = (
            ServiceApi(client, service, urls[service], token) for service in SERVICES
        )

    def acting_as(self, person_id: UUID, *roles: Role) -> "AttainApi":
        """The same services as a person of the tenant sees them."""
        caller = Caller(self.caller.tenant_id, person_id, frozenset(roles))
        return AttainApi(self._client, self._urls, self._settings, caller)


def service_urls(ports: Ports) -> dict[str, str]:
    """Where the APIs of a local stack are."""
    return {service: f"http://{LOOPBACK}:{getattr(ports, service)}" for service in SERVICES}


@asynccontextmanager
async def attain_api(urls: Mapping[str, str], *, jwt_secret: str, tenant_id: UUID) -> AsyncIterator[AttainApi]:
    """The APIs at `urls` (service → base URL), called as a service of the tenant; connections end with the block."""
    try:
        settings = HttpSettings(jwt_secret=SecretStr(jwt_secret))
    except ValidationError as error:
        raise StackError(
            f"Tokens cannot be signed with ATTAIN_JWT_SECRET: {error.errors(include_url=False)[0]['msg']}."
        ) from error
    async with httpx.AsyncClient(timeout=_TIMEOUT_SECONDS, trust_env=False) as client:
        yield AttainApi(client, urls, settings, Caller(tenant_id))


class _Page(BaseModel):
    items: list[JsonValue]
    next_cursor: str | None = None


def _parsed(model: type[ModelT], value: JsonValue, what: str) -> ModelT:
    try:
        return model.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = "/".join(str(part) for part in first["loc"])
        raise StackError(f"The answer of {what} is not what was expected: {where}: {first['msg']}.") from error


def _texts(query: Mapping[str, Query]) -> dict[str, str]:
    return {name: _text(value) for name, value in query.items() if value is not None}


def _text(value: Query) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value.isoformat() if isinstance(value, date) else str(value)


def _reason(response: httpx.Response) -> str:
    try:
        problem = Problem.model_validate_json(response.content)
    except ValidationError:
        return response.text[:200] or "no reason given."
    fields = "; ".join(f"{field.pointer} {field.message}" for field in problem.errors)
    return f"{problem.detail} ({fields})" if fields else problem.detail
