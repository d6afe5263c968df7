"""What the checked-in OpenAPI documents offer, for those who count what a generated client has of it."""

import json
from pathlib import Path
from typing import Final

from tests.servers.infrastructure import PROJECT_FOLDER

SERVICES: Final = ("goals", "tracking", "incentives")
METHODS: Final = frozenset({"get", "put", "post", "patch", "delete"})


def document_path(service: str) -> Path:
    """Where the OpenAPI document of a service is."""
    return PROJECT_FOLDER / "services" / service / "openapi.json"


def operation_ids(service: str) -> list[str]:
    """The ids of all operations of a service, sorted."""
    paths = json.loads(document_path(service).read_text())["paths"].values()
    return sorted(methods[method]["operationId"] for methods in paths for method in METHODS & methods.keys())
