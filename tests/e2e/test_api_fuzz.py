"""Whatever is sent, the answer is never a server error, and a refusal is always a problem that says what is wrong."""

import json
import re
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator, Iterator
from typing import Final, NamedTuple
from urllib.parse import quote
from uuid import UUID, uuid4

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import JsonValue

from deploy.local.stack import Stack
from shared.http.auth import Role
from shared.http.problems import PROBLEM_MEDIA_TYPE, Problem
from shared.http.settings import HttpSettings
from tests.contract.operations import document, entry, example_of, members, replaced, takes_json
from tests.servers.callers import bearer

SERVICES: Final = ("goals", "tracking", "incentives")
NOWHERE: Final = UUID("01935a00-0000-7000-8000-0000000000ff")

MALFORMED: Final = (b"", b"{", b"null", b"[]", b'"text"', b"1e999", b"NaN", b"\xff\xfe", b'{"a":' * 5000, b"{}" * 2)
"""Bodies that are no object at all."""

HOSTILE: Final[tuple[JsonValue, ...]] = (
    None,
    True,
    0,
    -1,
    2**63,
    10**40,
    1.5,
    "",
    "\x00",
    "\ud800",
    " ",
    "x" * 5000,
    "NaN",
    "Infinity",
    "-1e400",
    "0001-01-01",
    "9999-12-31",
    "2026-02-30",
    "9999-12-31T23:59:59Z",
    "0001-01-01T00:00:00+14:00",
    str(NOWHERE),
    [],
    {},
    [None],
    {"all": [{"all": []}]},
    {"all": [{"field": "amount", "op": "gt", "value": "1e999999"}]},
    {"\x00": "\x00"},
)
"""Values put in the place of every member of an example, one at a time."""

PARAMETERS: Final = (
    "",
    "\x00",
    "nope",
    "-1",
    "99999999999999999999",
    "9999-12-31",
    "0001-01-01",
    str(NOWHERE),
    "é\u2028",
)


EDGES: Final = st.one_of(
    st.sampled_from(
        [
            *("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z"),
            *("0001-01-01", "9999-12-31", "10000-01-01", "-0001-01-01", "2026-02-30", "1e400", "NaN", "1_0", "１２"),
            *("\x00", "a\x00b", "[" * 5000, "9" * 5000, "\ufffe", "\u202e", "../..", "%", "{}", "'", '"1"', "*"),
            *("Fri, 31 Dec 99999999999 23:59:59 GMT", "01935a00-0000-7000-8000-0000000000ff:9" + "9" * 30),
        ]
    ),
    st.integers(-(2**70), 2**70).map(str),
    st.sampled_from([15, 31, 32, 53, 63, 64]).flatmap(
        lambda bits: st.integers(-1, 1).map(lambda beside: str(2**bits + beside))
    ),
    st.datetimes(timezones=st.timezones()).map(lambda moment: moment.isoformat()),
    st.builds(
        "{:%Y-%m-%dT%H:%M:%S}{}".format,
        st.datetimes(),
        st.sampled_from(["+23:59", "-23:59", "+14:00", "Z", ""]),
    ),
    st.dates().map(str),
    st.uuids().map(str),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=30),
)
"""What lies on the edge of what a type can hold, and just beyond it."""

NO_HEADER: Final = re.compile(r"[\x00-\x1f\x7f]")
"""Characters that no header has: what is sent with one is no HTTP."""

CURSORS: Final = st.one_of(
    EDGES,
    st.recursive(
        st.one_of(EDGES, st.none(), st.booleans(), st.integers(-(2**70), 2**70)),
        lambda inner: st.lists(inner, max_size=3),
        max_leaves=4,
    ).map(lambda key: urlsafe_b64encode(json.dumps(key).encode()).decode().rstrip("=")),
    st.integers(1, 760).map(lambda depth: urlsafe_b64encode(b"[" * depth).decode()),
    st.binary(max_size=40).map(lambda raw: urlsafe_b64encode(raw).decode()),
)
"""Cursors that no list gave out, of the shape that lists give out."""

NAMES: Final = {
    "person": "01935a00-0000-7000-8000-000000000011",
    "team": "01935a00-0000-7000-8000-000000000021",
    "goal": "01935a00-0000-7000-8000-000000000031",
    "connection": "01935a00-0000-7000-8000-000000000041",
    "plan": "01935a00-0000-7000-8000-000000000063",
}
"""What the documented examples call things; each is replaced by one that is there."""


class Body(NamedTuple):
    """An operation that takes a body, with a body it takes."""

    method: str
    url: str
    example: JsonValue


class Place(NamedTuple):
    """A parameter of a read, in its query or where its URL has a `{}`, and what the read cannot do without."""

    url: str
    name: str
    location: str
    required: dict[str, str]


class Company:
    """A tenant with one thing of each kind, so that what is sent gets as far as the database."""

    def __init__(self, stack: Stack, client: httpx.AsyncClient) -> None:
        self._stack = stack
        self.client = client
        self.held: dict[str, str] = {}

    async def set_up(self) -> None:
        await self._make("person", "goals", "/v1/people")
        await self._make("team", "goals", "/v1/teams", parent_id=None)
        await self._make("membership", "goals", "/v1/memberships")
        await self._make("identity", "goals", "/v1/identities")
        await self._make("goal", "goals", "/v1/goals")
        await self._make("connection", "tracking", "/v1/connections")
        await self._make("plan", "incentives", "/v1/plans")
        await self._make("number", "incentives", f"/v1/plans/{self.held['plan']}/versions")
        await self._make("assignment", "incentives", "/v1/assignments", quotas={"bookings": {"amount": "100000"}})

    def bodies(self, service: str) -> Iterator[Body]:
        """Every operation that takes a body, on things that are there."""
        described = document(service)
        for path, methods in entry(described["paths"]).items():
            for method, operation in entry(methods).items():
                if takes_json(operation) and not path.startswith("/hooks/"):
                    yield Body(
                        method.upper(), self.address(service, path), self._real(example_of(described, operation))
                    )

    def queries(self, service: str) -> Iterator[tuple[str, list[str]]]:
        """URL and names of the query parameters of every read that has some."""
        for path, methods in entry(document(service)["paths"]).items():
            listed = entry(entry(methods).get("get", {})).get("parameters", [])
            parameters = [entry(each) for each in listed] if isinstance(listed, list) else []
            if names := [str(each["name"]) for each in parameters if each["in"] == "query"]:
                yield self.address(service, path), names

    def places(self) -> list[Place]:
        """Every parameter of every read that answers and ends."""
        found = []
        for service in SERVICES:
            for path, methods in entry(document(service)["paths"]).items():
                if "get" not in entry(methods) or path.endswith("/stream"):
                    continue
                listed = entry(entry(methods)["get"]).get("parameters", [])
                parameters = [entry(each) for each in listed] if isinstance(listed, list) else []
                required = {
                    str(each["name"]): str(self._real(example_of_parameter(each)))
                    for each in parameters
                    if each["in"] == "query" and each.get("required")
                }
                for each in parameters:
                    name, location = str(each["name"]), str(each["in"])
                    if location == "query":
                        found.append(Place(self.address(service, path), name, location, required))
                    elif location == "path":
                        before, after = path.split(f"{{{name}}}")
                        address = self.address(service, before) + "{}" + self.address("", after)
                        found.append(Place(address, name, location, required))
        return found

    def everything(self) -> list[tuple[str, str, JsonValue]]:
        """Every operation on things that are there: a method, a URL and the body it takes."""
        found: list[tuple[str, str, JsonValue]] = [each for service in SERVICES for each in self.bodies(service)]
        for service in SERVICES:
            for path, methods in entry(document(service)["paths"]).items():
                if "get" in entry(methods):
                    found.append(("GET", self.address(service, path), None))
        return found

    async def version(self, url: str) -> str:
        """What If-Match has to say to change the thing at a URL now."""
        response = await self.client.get(url)
        return str(response.headers.get("etag", '"1"'))

    async def _make(self, name: str, service: str, path: str, **fields: JsonValue) -> None:
        (found,) = (
            each for each in self.bodies(service) if (each.method, each.url) == ("POST", self.address(service, path))
        )
        response = await self.client.post(found.url, json={**entry(found.example), **fields})
        assert response.status_code == 201, response.text
        made = response.json()
        self.held[name] = str(made["number"] if name == "number" else made["id"])

    def _real(self, example: JsonValue) -> JsonValue:
        text = json.dumps(example)
        for name, documented in NAMES.items():
            text = text.replace(documented, self.held.get(name, documented))
        real: JsonValue = json.loads(text)
        return real

    def address(self, service: str, path: str) -> str:
        """The URL of a path, with what is there in the place of its parameters."""
        parts = (
            self.held.get(part.strip("{}").removesuffix("_id"), str(NOWHERE)) if part.startswith("{") else part
            for part in path.split("/")
        )
        return (self._stack.url(f"{service}-api") if service else "") + "/".join(parts)


@pytest.fixture(scope="module")
async def company(stack: Stack) -> AsyncIterator[Company]:
    settings = HttpSettings(jwt_secret=stack.secrets.jwt_secret)
    headers = bearer(settings, uuid4(), Role.ADMIN) | {"content-type": "application/json"}
    async with httpx.AsyncClient(headers=headers, timeout=30.0, trust_env=False) as client:
        company = Company(stack, client)
        await company.set_up()
        yield company


@pytest.mark.parametrize("service", SERVICES)
async def test_a_body_of_any_shape_is_taken_or_refused(company: Company, service: str) -> None:
    sent = 0
    for method, url, body in company.bodies(service):
        version = await company.version(url)
        for content in [*MALFORMED, *(encoded(variant) for variant in variants(body))]:
            response = await company.client.request(method, url, content=content, headers={"if-match": version})
            assert_no_server_error(response, f"{method} {url} {content[:300]!r}")
            if response.is_success:
                version = response.headers.get("etag", version)
            sent += 1
    assert sent > 100


@pytest.mark.parametrize("service", SERVICES)
async def test_a_parameter_of_any_shape_is_taken_or_refused(company: Company, service: str) -> None:
    for url, names in company.queries(service):
        for name in names:
            for value in PARAMETERS:
                response = await company.client.get(url, params={name: value})
                assert_no_server_error(response, f"GET {url}?{name}={value!r}")


@pytest.mark.parametrize("service", SERVICES)
async def test_a_header_of_any_shape_is_taken_or_refused(company: Company, service: str) -> None:
    for method, url, body in company.bodies(service):
        for name in ("if-match", "idempotency-key", "authorization", "last-event-id", "x-request-id"):
            for value in (b"", b"\xff", b'W/"1"', b'"99999999999999999999"', b"*", b"x" * 3000, b"Bearer a.b.c"):
                response = await company.client.request(
                    method, url, content=encoded(body), headers={name.encode(): value}
                )
                assert_no_server_error(response, f"{method} {url} {name}: {value!r}")


async def test_a_csv_of_any_shape_is_taken_or_refused(company: Company) -> None:
    url = company.address("goals", "/v1/exchange-rates/import")
    texts = [str(value) for value in HOSTILE if isinstance(value, str | int | float)]
    rows = [f"{value},EUR,1.1" for value in texts] + [f"2026-03-02,{value},1.1" for value in texts]
    rows += [f"2026-03-02,EUR,{value}" for value in texts] + ['"', "a,b", "2026-03-02,EUR,1.1,", "," * 500, "\r\r"]
    files = [*MALFORMED, *(f"date,currency,rate\n{row}\n".encode("utf-8", "surrogatepass") for row in rows)]
    for content in [*files, b"date,currency,rate\n" * 2000, b"\xef\xbb\xbfdate,currency,rate\n2026-03-02,EUR,1.1"]:
        response = await company.client.post(url, content=content, headers={"content-type": "text/csv"})
        assert_no_server_error(response, f"{content[:300]!r}")


DEAL_NAMED_BY = ("external_id", "source")
"""Which name a deal together, so that one without the other is refused at the one that is missing."""


@settings(max_examples=150, deadline=None)
@given(data=st.data())
async def test_a_parameter_at_the_edge_of_its_type_is_taken_or_refused_by_its_name(
    company: Company, data: st.DataObject
) -> None:
    place = data.draw(st.sampled_from(company.places()))
    value = data.draw(CURSORS if place.name == "cursor" else EDGES)
    in_path = place.location == "path"
    url = place.url.format(quote(value, safe="")) if in_path else place.url
    params = place.required if in_path else {**place.required, place.name: value}
    response = await company.client.get(url, params=params)
    assert_no_server_error(response, f"GET {url} {place.name}={value!r}")
    if response.status_code == 422:
        refused = Problem.model_validate_json(response.content).errors
        sent = {("query", f"/{name}") for name in params} | {(place.location, f"/{place.name}")}
        if place.name in DEAL_NAMED_BY:
            sent |= {("query", f"/{name}") for name in DEAL_NAMED_BY}
        assert refused, f"{url} {value!r}"
        assert {(each.location, each.pointer) for each in refused} <= sent, f"{url} {value!r} {refused}"


@settings(max_examples=80, deadline=None)
@given(data=st.data())
async def test_a_header_at_the_edge_of_its_type_is_taken_or_refused_by_its_name(
    company: Company, data: st.DataObject
) -> None:
    method, url, body = data.draw(st.sampled_from(company.everything()))
    name = data.draw(st.sampled_from(["If-Match", "Idempotency-Key", "Last-Event-ID", "traceparent", "Accept"]))
    value = data.draw(EDGES.map(lambda text: NO_HEADER.sub("", text).encode().strip()))
    async with company.client.stream(
        method, url, content=None if body is None else encoded(body), headers={name.encode(): value}
    ) as response:
        if response.status_code >= 400:
            await response.aread()
            assert_no_server_error(response, f"{method} {url} {name}: {value!r}")


def assert_no_server_error(response: httpx.Response, what: str) -> None:
    assert response.status_code < 500, f"{what} → {response.status_code} {response.text}"
    if response.status_code >= 400:
        assert response.headers["content-type"] == PROBLEM_MEDIA_TYPE, what
        assert Problem.model_validate_json(response.content).status == response.status_code, what


def example_of_parameter(parameter: dict[str, JsonValue]) -> JsonValue:
    """The documented example of a required parameter; a person where it is an id."""
    schema = entry(parameter["schema"])
    examples = schema.get("examples")
    return examples[0] if isinstance(examples, list) else NAMES["person"]


def variants(body: JsonValue) -> Iterator[JsonValue]:
    """The body with each of its members, at any depth, replaced by each hostile value; and with one too many."""
    for pointer in pointers(body):
        for value in HOSTILE:
            yield replaced(body, pointer, value)
    if isinstance(body, dict):
        yield {**body, "unexpected": "\x00"}


def pointers(node: JsonValue) -> Iterator[tuple[str, ...]]:
    for key, value in members(node):
        yield (key,)
        for rest in pointers(value):
            yield (key, *rest)


def encoded(body: JsonValue) -> bytes:
    return json.dumps(body).encode()
