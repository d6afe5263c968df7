import asyncio
import json
import re
from collections.abc import AsyncIterator
from time import perf_counter
from typing import Annotated
from uuid import UUID

import httpx
import pytest
import structlog
from fastapi import APIRouter, Depends, Request
from prometheus_client import REGISTRY
from starlette.responses import Response
from structlog.testing import capture_logs

from shared.http import edge
from shared.http.auth import Principal, Role, require
from shared.http.edge import StrangersPace
from shared.http.problems import responses
from shared.kernel.errors import Conflict, InvalidInput, NotFound, Unavailable
from shared.telemetry.sampling import SampledLog
from tests.servers.api import NewDeal, check_problem, client_of, service


class DealNotFound(NotFound):
    """There is no such deal."""

    code = "deal_not_found"


class DealIsClosed(Conflict):
    """The deal is closed."""

    code = "deal_is_closed"


def deals_router() -> APIRouter:
    router = APIRouter(tags=["deals"])

    @router.post("/v1/deals", responses=responses(DealIsClosed))
    async def create_deal(body: NewDeal) -> NewDeal:
        return body

    @router.get("/v1/deals/{deal_id}", responses=responses(DealNotFound))
    async def get_deal(deal_id: UUID, limit: int = 1) -> dict[str, str]:
        raise DealNotFound(f"No deal {deal_id} with {limit}.")

    @router.get("/v1/broken")
    async def break_down() -> None:
        raise RuntimeError("the password is hunter2")

    @router.get("/v1/away")
    async def be_away() -> None:
        raise Unavailable("cannot connect to 10.0.0.7:5432", retry_after_seconds=7)

    @router.post("/hooks/{connection_id}", status_code=202)
    async def receive(connection_id: str, request: Request) -> Response:
        return Response(str(len(await request.body())), status_code=202)

    @router.get("/v1/payroll")
    async def read_payroll(principal: Annotated[Principal, Depends(require(Role.FINANCE))]) -> None:
        return None

    return router


async def no_content() -> None:
    """A route that answers with nothing."""


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(service(deals_router())) as connected:
        yield connected


async def test_an_error_of_a_room_is_answered_as_its_problem(client: httpx.AsyncClient) -> None:
    response = await client.get("/v1/deals/0199d5a2-5a0c-7c5e-9d0e-3f1f6a1f2b3c")
    problem = check_problem(response, 404, "deal_not_found")
    assert "0199d5a2" in str(problem["detail"])


async def test_a_refused_body_names_every_field_and_what_would_be_accepted(client: httpx.AsyncClient) -> None:
    body = {"owner_id": "x", "lines": [{"kind": "a", "rate": 1}, {"kind": "b", "rate": 0}], "colour/ink": 1}
    problem = check_problem(await client.post("/v1/deals", json=body), 422, "invalid_input")
    errors = problem["errors"]
    assert isinstance(errors, list)
    assert {error["pointer"] for error in errors} == {"/owner_id", "/amount", "/lines/1/rate", "/colour~1ink"}
    assert all(error["location"] == "body" and error["accepted"] for error in errors)
    by_pointer = {error["pointer"]: error for error in errors}
    assert by_pointer["/lines/1/rate"]["accepted"] == "greater than or equal to 1"
    assert by_pointer["/amount"]["message"] == "is required"


async def test_a_query_parameter_that_is_not_known_is_refused_with_the_names_there_are(
    client: httpx.AsyncClient,
) -> None:
    path = "/v1/deals/0199d5a2-5a0c-7c5e-9d0e-3f1f6a1f2b3c"
    problem = check_problem(await client.get(path, params={"Limits": "2", "a/b": ""}), 422, "unknown_parameter")
    assert problem["errors"] == [
        {
            "location": "query",
            "pointer": "/Limits",
            "message": "is not known",
            "accepted": "limit; known are limit",
        },
        {"location": "query", "pointer": "/a~1b", "message": "is not known", "accepted": "limit"},
    ]
    check_problem(await client.get("/v1/payroll?as_of=2026-01-01"), 422, "unknown_parameter")


async def test_a_query_parameter_of_one_value_is_refused_when_it_is_given_twice(client: httpx.AsyncClient) -> None:
    path = "/v1/deals/0199d5a2-5a0c-7c5e-9d0e-3f1f6a1f2b3c"
    problem = check_problem(await client.get(f"{path}?limit=1&limit=2"), 422, "unknown_parameter")
    assert problem["errors"] == [
        {"location": "query", "pointer": "/limit", "message": "is given 2 times", "accepted": "one value"}
    ]


async def test_whoever_sends_webhooks_may_add_parameters_of_its_own() -> None:
    app = service(open_routers=[deals_router()])
    async with client_of(app) as client:
        response = await client.post("/hooks/7?colour=red&colour=blue", content=b"{}")
    assert response.status_code == 202


@pytest.mark.parametrize(
    ("content", "content_type", "message"),
    [
        (b"{", "application/json", "is not JSON (at character 1)"),
        (b"[]", "application/json", "is not a JSON object"),
        (b"", "application/json", "is required"),
    ],
)
async def test_a_body_that_is_no_json_object_is_refused_as_a_whole(
    client: httpx.AsyncClient, content: bytes, content_type: str, message: str
) -> None:
    response = await client.post("/v1/deals", content=content, headers={"content-type": content_type})
    (error,) = response.json()["errors"]
    assert response.status_code == 422
    assert (error["pointer"], error["message"]) == ("", message)


async def test_refused_parameters_say_where_they_stand(client: httpx.AsyncClient) -> None:
    problem = check_problem(await client.get("/v1/deals/x?limit=y"), 422, "invalid_input")
    errors = problem["errors"]
    assert isinstance(errors, list)
    assert {(error["location"], error["pointer"]) for error in errors} == {("path", "/deal_id"), ("query", "/limit")}


async def test_an_unexpected_error_says_nothing_about_itself(client: httpx.AsyncClient) -> None:
    response = await client.get("/v1/broken")
    check_problem(response, 500, "internal_error")
    assert "hunter2" not in response.text


async def test_an_absent_dependency_is_a_503_with_retry_after_and_no_address(client: httpx.AsyncClient) -> None:
    response = await client.get("/v1/away")
    check_problem(response, 503, "unavailable")
    assert response.headers["retry-after"] == "7"
    assert "10.0.0.7" not in response.text


async def test_what_the_framework_refuses_is_a_problem_too(client: httpx.AsyncClient) -> None:
    check_problem(await client.get("/nowhere"), 404, "no_such_path")
    refused = await client.put("/v1/deals")
    check_problem(refused, 405, "method_not_allowed")
    assert refused.headers["allow"] == "POST"


async def test_a_body_within_the_limit_is_read(client: httpx.AsyncClient) -> None:
    response = await client.post("/hooks/1", content=b"x" * 1000)
    assert (response.status_code, response.text) == (202, "1000")


@pytest.mark.parametrize("path", ["/hooks/1", "/v1/deals"])
async def test_a_body_over_the_limit_is_refused_by_its_declared_length(client: httpx.AsyncClient, path: str) -> None:
    check_problem(await client.post(path, content=b"x" * 1001), 413, "too_large")


@pytest.mark.parametrize("path", ["/hooks/1", "/v1/deals"])
@pytest.mark.parametrize("declared", [None, "10"])
async def test_a_body_over_the_limit_is_refused_whatever_it_declares(
    client: httpx.AsyncClient, path: str, declared: str | None
) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(11):
            yield b"x" * 100

    headers = {"content-type": "application/json"} | ({} if declared is None else {"content-length": declared})
    check_problem(await client.post(path, content=chunks(), headers=headers), 413, "too_large")


async def test_a_compressed_body_is_refused(client: httpx.AsyncClient) -> None:
    response = await client.post("/hooks/1", content=b"x", headers={"content-encoding": "gzip"})
    check_problem(response, 415, "unsupported_content_encoding")
    plain = await client.post("/hooks/1", content=b"x", headers={"content-encoding": "identity"})
    assert plain.status_code == 202


async def test_a_sensible_request_id_is_kept_and_another_replaced(client: httpx.AsyncClient) -> None:
    kept = await client.get("/healthz", headers={"x-request-id": "abc-1.2"})
    assert kept.headers["x-request-id"] == "abc-1.2"
    replaced = await client.get("/healthz", headers={"x-request-id": 'a"b\\nc'})
    assert UUID(replaced.headers["x-request-id"]).version == 7


async def test_requests_are_counted_by_their_route_template(client: httpx.AsyncClient) -> None:
    def counted(route: str, status: str) -> float:
        labels = {"method": "POST", "route": route, "status": status}
        return REGISTRY.get_sample_value("attain_http_requests_total", labels) or 0.0

    before = counted("/hooks/{connection_id}", "202")
    await client.post("/hooks/17")
    await client.post("/hooks/18")
    assert counted("/hooks/{connection_id}", "202") == before + 2
    text = (await client.get("/metrics")).text
    assert 'attain_http_requests_total{method="POST",route="/hooks/{connection_id}",status="202"}' in text
    assert "attain_http_request_seconds_bucket" in text


async def test_a_prefixed_router_is_counted_under_its_whole_path() -> None:
    inner = APIRouter(tags=["inner"])

    @inner.get("/things/{thing_id}")
    async def read_thing(thing_id: int) -> int:
        return thing_id

    outer = APIRouter(prefix="/v1")
    outer.include_router(inner)
    async with client_of(service(outer)) as client:
        assert (await client.get("/v1/things/3")).status_code == 200
        assert 'route="/v1/things/{thing_id}"' in (await client.get("/metrics")).text


async def test_ready_means_every_check_passes() -> None:
    async def passes() -> None:
        return None

    async def fails() -> None:
        raise OSError("connect to 10.0.0.7 refused")

    async with client_of(service(readiness={"postgres": passes})) as client:
        assert (await client.get("/readyz")).json() == {"status": "ready", "checks": ["postgres"]}
    app = service(readiness={"postgres": passes, "kafka": fails})
    async with client_of(app) as client:
        response = await client.get("/readyz")
        check_problem(response, 503, "not_ready")
        assert "kafka" in response.text
        assert "10.0.0.7" not in response.text
        assert (await client.get("/healthz")).status_code == 200


async def test_a_process_that_drains_is_not_ready() -> None:
    app = service()
    async with client_of(app) as client:
        assert (await client.get("/readyz")).status_code == 200
        app.state.health.drain()
        assert (await client.get("/readyz")).status_code == 503


async def test_the_openapi_declares_every_error_with_the_shared_schema(client: httpx.AsyncClient) -> None:
    document = (await client.get("/openapi.json")).json()
    assert document["openapi"].startswith("3.1")
    assert document["servers"] == [{"url": "/"}]
    assert document["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"
    assert "HTTPValidationError" not in json.dumps(document)
    create = document["paths"]["/v1/deals"]["post"]
    assert create["operationId"] == "create_deal"
    assert create["tags"] == ["deals"]
    assert set(create["responses"]) == {"200", "409", "413", "415", "422", "500", "503"}
    declared = set(document["paths"]["/v1/payroll"]["get"]["responses"])
    assert declared == {"200", "401", "403", "406", "422", "500", "503"}
    for path in document["paths"].values():
        for operation in path.values():
            for status, response in operation["responses"].items():
                if status >= "4":
                    name = response["$ref"].removeprefix("#/components/responses/")
                    declared = document["components"]["responses"][name]["content"]["application/problem+json"]
                    assert declared["schema"] == {"$ref": "#/components/schemas/Problem"}
    assert create["responses"]["409"] == {"$ref": "#/components/responses/DealIsClosed"}
    examples = document["components"]["responses"]["DealIsClosed"]["content"]["application/problem+json"]["examples"]
    assert examples["deal_is_closed"]["value"]["type"] == "urn:attain:problem:deal_is_closed"
    assert (await client.get("/docs")).status_code == 200


async def test_the_documentation_page_has_no_script_of_its_own_and_loads_only_what_this_service_serves() -> None:
    async with client_of(service(deals_router())) as client:
        page = await client.get("/docs")
        policy = dict(part.strip().split(" ", 1) for part in page.headers["content-security-policy"].split(";"))
        assert (policy["default-src"], policy["script-src"], policy["style-src"]) == ("'none'", "'self'", "'self'")
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        scripts = re.findall(r"<script([^>]*)>(.*?)</script>", page.text, re.DOTALL)
        assert [inline for _, inline in scripts] == ["", ""]
        loaded = re.findall(r'(?:src|href)="([^"]*)"', page.text)
        assert len(loaded) == 4
        for address in loaded:
            assert (await client.get(f"/{address}")).status_code == 200, address
        assert 'data-tried="yes"' in page.text


async def test_errors_of_one_status_are_declared_together() -> None:
    class NoSuchOwner(InvalidInput):
        """The owner does not exist."""

        code = "no_such_owner"

    router = APIRouter(tags=["deals"])

    @router.post("/v1/deals", responses=responses(NoSuchOwner))
    async def create_deal(body: NewDeal) -> NewDeal:
        return body

    document = service(router).openapi()
    name = "InvalidInputOrNoSuchOwner"
    answers = document["paths"]["/v1/deals"]["post"]["responses"]
    assert answers["422"] == {"$ref": f"#/components/responses/{name}"}
    content = document["components"]["responses"][name]["content"]
    assert set(content["application/problem+json"]["examples"]) == {"no_such_owner", "invalid_input"}


async def test_problems_of_one_code_that_differ_are_not_declared_as_one() -> None:
    class DealIsShut(Conflict):
        """Another cause under the same code."""

        code = DealIsClosed.code

    router = deals_router()
    router.add_api_route("/v1/shut", no_content, methods=["DELETE"], responses=responses(DealIsShut))
    with pytest.raises(KeyError, match="DealIsClosed"):
        service(router).openapi()


def test_two_operations_may_not_share_a_name() -> None:
    with pytest.raises(ValueError, match="create_deal"):
        service(deals_router(), deals_router())


def test_an_operation_without_a_tag_is_refused() -> None:
    router = APIRouter()

    @router.get("/v1/loose")
    async def read_loose() -> None:
        return None

    with pytest.raises(ValueError, match="read_loose"):
        service(router)


async def test_a_flood_by_strangers_waits_for_itself_and_leaves_a_few_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    # A log of its own: the process's may have been used, and its lines used up, by a test before.
    monkeypatch.setattr(edge, "_sampled", SampledLog(structlog.get_logger()))
    with capture_logs() as logged:
        async with client_of(service(deals_router())) as client:
            started = perf_counter()
            for _ in range(200):
                assert (await client.get("/v1/nowhere")).status_code == 404
            prompt = perf_counter() - started
            slow = await asyncio.gather(*(client.get("/v1/nowhere") for _ in range(int(prompt * 100) + 50)))
            assert {answer.status_code for answer in slow} == {404}
            assert perf_counter() - started - prompt >= 1
            known = perf_counter()
            assert (await client.post("/v1/deals", json={"amount": "x"})).status_code == 422
            assert perf_counter() - known < 0.9
        seconds = perf_counter() - started
    lines = [line for line in logged if line.get("route") == "unmatched"]
    assert 1 <= len(lines) <= 20 * (1 + int(seconds) // 10)


def test_a_pace_recovers() -> None:
    now = [0.0]
    pace = StrangersPace(per_second=10, at_once=5, wait_seconds=2, clock=lambda: now[0])
    assert [pace.wait_seconds() for _ in range(6)] == [0, 0, 0, 0, 0, 2]
    now[0] = 0.2
    assert [pace.wait_seconds() for _ in range(3)] == [0, 0, 2]
