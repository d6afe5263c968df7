"""What the checked-in OpenAPI documents offer, for those who count it and for those who send what it offers changed."""

import json
from functools import cache
from pathlib import Path
from typing import Final

from pydantic import JsonValue

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


def entry(node: JsonValue) -> dict[str, JsonValue]:
    assert isinstance(node, dict)
    return node


@cache
def document(service: str) -> dict[str, JsonValue]:
    return entry(json.loads(document_path(service).read_text()))


def takes_json(operation: JsonValue) -> bool:
    return "application/json" in entry(entry(entry(operation).get("requestBody", {})).get("content", {}))


def example_of(described: dict[str, JsonValue], operation: JsonValue) -> JsonValue:
    """The first example of the body, with its schema or, where that is none of its own, beside it."""
    content = entry(entry(entry(entry(operation)["requestBody"])["content"])["application/json"])
    schema = entry(content["schema"])
    if "$ref" in schema:
        schema = entry(entry(entry(described["components"])["schemas"])[str(schema["$ref"]).rsplit("/", 1)[-1]])
    if "examples" in content:
        return entry(next(iter(entry(content["examples"]).values())))["value"]
    examples = schema["examples"]
    assert isinstance(examples, list)
    return examples[0]


def replaced(node: JsonValue, pointer: tuple[str, ...], value: JsonValue) -> JsonValue:
    if not pointer:
        return value
    changed = {key: replaced(held, pointer[1:], value) if key == pointer[0] else held for key, held in members(node)}
    return list(changed.values()) if isinstance(node, list) else changed


def members(node: JsonValue) -> list[tuple[str, JsonValue]]:
    if isinstance(node, dict):
        return list(node.items())
    return [(str(index), value) for index, value in enumerate(node)] if isinstance(node, list) else []
