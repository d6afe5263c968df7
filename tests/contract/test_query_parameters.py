"""No route of any service takes a query parameter that it does not know, or one that it knows twice."""

import json
from collections.abc import Callable

import httpx
import pytest
from cryptography.fernet import Fernet
from fastapi import FastAPI

from services.goals.app import create_app as goals
from services.incentives.app import create_app as incentives
from services.tracking.app import create_app as tracking
from shared.http.problems import Problem
from tests.contract.operations import METHODS, document_path


@pytest.mark.parametrize(("service", "create"), [("goals", goals), ("tracking", tracking), ("incentives", incentives)])
async def test_every_route_refuses_a_parameter_it_does_not_know_and_a_repeated_one_by_name(
    service: str, create: Callable[[], FastAPI], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ATTAIN_DATABASE_URL", "postgresql://nobody@127.0.0.1:1/none")
    monkeypatch.setenv("ATTAIN_JWT_SECRET", "only-for-routing-the-requests-of-a-test")
    monkeypatch.setenv("ATTAIN_SECRETS_KEY", Fernet.generate_key().decode())
    paths = json.loads(document_path(service).read_text())["paths"]
    tried = 0
    async with httpx.AsyncClient(transport=httpx.ASGITransport(create()), base_url="http://test") as client:
        for path, methods in paths.items():
            if path.startswith("/hooks/"):
                continue
            for method in METHODS & methods.keys():
                known = [each["name"] for each in methods[method].get("parameters", []) if each["in"] == "query"]
                query = "&".join(["colour=red", *(f"{name}=1&{name}=1" for name in known)])
                response = await client.request(method, f"{path}?{query}")
                problem = Problem.model_validate_json(response.content)
                assert (problem.status, problem.code) == (422, "unknown_parameter"), f"{method} {path}"
                assert {each.pointer for each in problem.errors} == {"/colour", *(f"/{name}" for name in known)}
                assert {each.location for each in problem.errors} == {"query"}
                for name in known:
                    assert name in (problem.errors[0].accepted or "")
                tried += 1
    assert tried > 20
