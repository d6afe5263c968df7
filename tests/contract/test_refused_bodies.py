"""One wrong member at a time in the body of every operation: the refusal points at it and says what is accepted."""

import json
import re
from collections.abc import Callable, Iterator
from typing import NamedTuple
from uuid import uuid4

import httpx
import pytest
from cryptography.fernet import Fernet
from fastapi import FastAPI
from pydantic import JsonValue, SecretStr

from services.goals.app import create_app as goals
from services.incentives.app import create_app as incentives
from services.tracking.app import create_app as tracking
from shared.http.auth import Role
from shared.http.problems import Problem
from shared.http.settings import HttpSettings
from shared.kernel.errors import escaped
from tests.contract.operations import document, entry, example_of, replaced, takes_json
from tests.servers.callers import bearer

_SECRET = "only-for-signing-the-tokens-of-a-test"
_INTERNAL = re.compile(
    r"pydantic|input should|valid (uuid|string|decimal)|<\w+\.\w+|\bNone\b|\bTrue\b|\bFalse\b|\w+Error\b|\bdict\b"
    r"|services\.|shared\.|[a-z]+[A-Z][a-z]+[A-Z]?|discriminator|\bext?ra\b|function|regex|\^\[",
)
"""Words of how a body is checked, which tell a caller nothing."""


class Wrong(NamedTuple):
    """A body with one thing wrong: where, and a word that what is accepted has to name."""

    body: JsonValue
    pointer: tuple[str, ...]
    named: str


@pytest.mark.parametrize(("service", "create"), [("goals", goals), ("tracking", tracking), ("incentives", incentives)])
async def test_a_wrong_member_of_any_body_is_refused_at_its_pointer_with_what_is_accepted(
    service: str, create: Callable[[], FastAPI], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ATTAIN_DATABASE_URL", "postgresql://nobody@127.0.0.1:1/none")
    monkeypatch.setenv("ATTAIN_JWT_SECRET", _SECRET)
    monkeypatch.setenv("ATTAIN_SECRETS_KEY", Fernet.generate_key().decode())
    described, amiss, tried = document(service), [], 0
    headers = bearer(HttpSettings(jwt_secret=SecretStr(_SECRET)), uuid4(), Role.ADMIN) | {"if-match": '"1"'}
    transport = httpx.ASGITransport(create())
    async with httpx.AsyncClient(transport=transport, base_url="http://test", headers=headers) as client:
        for path, methods in entry(described["paths"]).items():
            for method, operation in entry(methods).items():
                if not takes_json(operation) or path.startswith("/hooks/"):
                    continue
                url = path.replace("{number}", "1").replace("{date}", "2026-01-01")
                url = re.sub(r"\{\w+\}", str(uuid4()), url)
                for wrong in wrongs(described, operation):
                    response = await client.request(method, url, json=wrong.body)
                    tried += 1
                    if why := _amiss(response, wrong):
                        amiss.append(f"{method} {path} {'/'.join(wrong.pointer)}: {why}")
    assert amiss == []
    assert tried > 50


def _amiss(response: httpx.Response, wrong: Wrong) -> str | None:
    if response.status_code != 422:
        return f"{response.status_code} for {json.dumps(wrong.body)[:300]}"
    refused = Problem.model_validate_json(response.content).errors
    pointer = "".join(f"/{escaped(token)}" for token in wrong.pointer)
    for each in refused:
        if each.location != "body" or each.pointer != pointer:
            return f"points at {each.pointer}: {each.message}, {each.accepted}"
        if not each.accepted or wrong.named not in each.accepted:
            return f"accepted is {each.accepted!r}, without {wrong.named!r}"
        if found := _INTERNAL.search(f"{each.message} {each.accepted}"):
            return f"tells {found[0]!r}: {each.message}, {each.accepted}"
    return None if refused else "names no member"


def wrongs(described: dict[str, JsonValue], operation: JsonValue) -> Iterator[Wrong]:
    """The documented body of an operation with one thing wrong, in turn."""
    body = example_of(described, operation)
    content = entry(entry(entry(entry(operation)["requestBody"])["content"])["application/json"])
    for pointer, value, schema in _places(described, body, entry(content["schema"]), ()):
        odd: JsonValue = 7 if isinstance(value, dict | list) else {"odd": []}
        yield Wrong(replaced(body, pointer, odd), pointer, "")
        if isinstance(value, dict) and schema.get("additionalProperties") is False:
            name = f"{min(value)}s" if value else "colour"
            wrong = replaced(body, pointer, {**value, name: "x"})
            yield Wrong(wrong, (*pointer, name), min(value) if value else "")
        choices = schema.get("enum")
        if isinstance(choices, list):
            yield Wrong(replaced(body, pointer, "nonsense"), pointer, str(choices[0]))
        if isinstance(longest := schema.get("maxLength"), int):
            yield Wrong(replaced(body, pointer, "x" * (longest + 1)), pointer, str(longest))
        for bound, step in (("minimum", -1), ("maximum", 1)):
            if isinstance(limit := schema.get(bound), int):
                yield Wrong(replaced(body, pointer, limit + step), pointer, str(limit))


def _places(
    described: dict[str, JsonValue], value: JsonValue, schema: dict[str, JsonValue], pointer: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], JsonValue, dict[str, JsonValue]]]:
    """Every part of a body, and the schema it is of."""
    meant = _schema_of(described, value, schema)
    yield pointer, value, meant
    if isinstance(value, dict):
        properties = entry(meant.get("properties", {}))
        rest = meant.get("additionalProperties")
        for name, inner in value.items():
            if name == "filter":
                # Read by the kernel with the currency of what it is for, which is in the database.
                continue
            known = properties.get(name, rest)
            yield from _places(described, inner, known if isinstance(known, dict) else {}, (*pointer, name))
    elif isinstance(value, list):
        items = meant.get("items")
        for at, inner in enumerate(value):
            yield from _places(described, inner, items if isinstance(items, dict) else {}, (*pointer, str(at)))


def _schema_of(described: dict[str, JsonValue], value: JsonValue, schema: dict[str, JsonValue]) -> dict[str, JsonValue]:
    """The schema behind references, and of several the one that a value is of."""
    if isinstance(reference := schema.get("$ref"), str):
        found = entry(entry(described["components"])["schemas"])[reference.rsplit("/", 1)[-1]]
        return _schema_of(described, value, entry(found))
    discriminator = schema.get("discriminator")
    if isinstance(discriminator, dict) and isinstance(value, dict):
        mapping = entry(discriminator["mapping"])
        told = value.get(str(discriminator["propertyName"]))
        if isinstance(reference := mapping.get(str(told)), str):
            return _schema_of(described, value, {"$ref": reference})
    for word in ("anyOf", "oneOf"):
        if isinstance(several := schema.get(word), list):
            each = [_schema_of(described, value, entry(one)) for one in several]
            fitting = [one for one in each if _fits(value, one)]
            return fitting[0] if len(fitting) == 1 else {}
    return schema


def _fits(value: JsonValue, schema: dict[str, JsonValue]) -> bool:
    match schema.get("type"):
        case "object":
            required = schema.get("required")
            return isinstance(value, dict) and all(
                name in value for name in (required if isinstance(required, list) else [])
            )
        case "array":
            return isinstance(value, list)
        case "null":
            return value is None
        case "string":
            return isinstance(value, str)
        case "integer" | "number":
            return isinstance(value, int | float) and not isinstance(value, bool)
        case "boolean":
            return isinstance(value, bool)
        case _:
            return False
