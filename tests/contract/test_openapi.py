"""The three OpenAPI documents: what a front-end team and its generated client can rely on."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import unquote

import pytest
from cryptography.fernet import Fernet
from jsonschema import Draft202012Validator
from jsonschema_specifications import REGISTRY as SPECIFICATIONS
from openapi_spec_validator import OpenAPIV31SpecValidator
from pydantic import JsonValue
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from deploy.local.commands.openapi import openapi
from shared.http.problems import PROBLEM_MEDIA_TYPE, Problem
from shared.tables import comma_separated, xlsx

PROJECT: Final = Path(__file__).parents[2]
SERVICES: Final = ("goals", "tracking", "incentives")
METHODS: Final = ("get", "put", "post", "patch", "delete")
JSON: Final = "application/json"
FILES: Final = (comma_separated.MEDIA_TYPE, xlsx.MEDIA_TYPE, "application/pdf", "text/html", "application/zip")

PUBLIC_PATHS: Final[Mapping[str, Mapping[str, str]]] = {
    "goals": {
        "/v1/people": "get post",
        "/v1/teams": "get post",
        "/v1/memberships": "get post",
        "/v1/identities": "get post",
        "/v1/calendar": "get put",
        "/v1/exchange-rates": "get put",
        "/v1/exchange-rates/import": "post",
        "/v1/goals": "get post",
        "/v1/goals/{goal_id}/activate": "post",
        "/v1/goals/{goal_id}/revise": "post",
        "/v1/goals/{goal_id}/close": "post",
    },
    "tracking": {
        "/hooks/{connection_id}": "post",
        "/v1/connections": "get post",
        "/v1/connections/{connection_id}/health": "get",
        "/v1/connections/{connection_id}/unmapped": "get",
        "/v1/connections/{connection_id}/mapping/test": "post",
        "/v1/connections/{connection_id}/repairs": "post",
        "/v1/alerts": "get",
        "/v1/deliveries": "get",
        "/v1/deliveries/{delivery_id}/replay": "post",
        "/v1/subscriptions": "get post",
        "/v1/subscriptions/{subscription_id}/deliveries": "get",
        "/v1/subscriptions/{subscription_id}/deliveries/{delivery_id}/replay": "post",
        "/v1/deals": "get",
        "/v1/activities": "get",
        "/v1/goals/{goal_id}/progress": "get",
        "/v1/goals/{goal_id}/progress/series": "get",
        "/v1/goals/{goal_id}/progress/explain": "get",
        "/v1/goals/{goal_id}/progress/stream": "get",
    },
    "incentives": {
        "/v1/plans": "get post",
        "/v1/plans/terms-schema": "get",
        "/v1/plans/{plan_id}/versions": "get post",
        "/v1/plans/{plan_id}/versions/import": "post",
        "/v1/plans/{plan_id}/versions/{number}/export": "get",
        "/v1/assignments": "get post",
        "/v1/assignments/bulk": "post",
        "/v1/assignments/import": "post",
        "/v1/assignments/quotas/import": "post",
        "/v1/assignments/{assignment_id}/approve": "post",
        "/v1/assignments/{assignment_id}/history": "get",
        "/v1/assignments/{assignment_id}/scores": "get post",
        "/v1/assignments/{assignment_id}/scores/history": "get",
        "/v1/earnings": "get",
        "/v1/earnings/{earning_id}/explain": "get",
        "/v1/statements": "get",
        "/v1/ledger": "get",
        "/v1/re-earnings": "get",
        "/v1/re-earnings/{re_earning_id}": "get",
    },
}

PLAIN_NAME: Final = re.compile(r"[A-Z][A-Za-z0-9]*")
"""No module, no direction and no punctuation: generators make the names of classes and files out of it."""

WORDS_OF_SCHEMAS: Final = frozenset(
    word
    for vocabulary in ("core", "applicator", "unevaluated", "validation", "format-annotation", "content", "meta-data")
    for word in SPECIFICATIONS.contents(f"https://json-schema.org/draft/2020-12/meta/{vocabulary}")["properties"]
) | {"discriminator"}
"""The vocabularies of JSON Schema 2020-12, and the word that OpenAPI 3.1 adds and these documents use."""

LIMITS_OF_INTEGERS: Final = {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"}

WITHOUT_TOKEN: Final = {"receive_delivery", "receive_delivery_by_address"}
"""Signed by its sender, with a key of its own kind."""

WITHOUT_IDEMPOTENCY_KEY: Final = {
    *WITHOUT_TOKEN,
    "preview_delivery",
    "preview_template",
    "check_api_access",
    "try_mapping",
    "simulate_earnings",
    "preview_change",
    "preview_change_table",
}
"""The first knows a repetition by the sender's own id; the others change nothing."""

CHANGES_ONLY_BY_ADDING: Final = {
    "accept_plan_version",
    "import_stated_values",
    "import_upload",
    "replay_delivery",
    "replay_subscription_delivery",
    "replay_failed_deliveries",
    "reconcile_connection",
    "discard_delivery",
    "discard_deliveries",
    "restore_delivery",
    "restore_deliveries",
}
"""Puts work on a thing's queue, or takes a delivery out of quarantine or back, which its state allows once, or adds an
acceptance of terms that cannot change; there is no older version it could be based on."""

STATES_WHAT_HOLDS: Final = {
    "set_exchange_rates",
    "delete_exchange_rate",
    "set_upload_part",
    "set_cost_centre",
    "set_plan_budget",
}
"""Says what a day's rate, a part of a file, a cost centre or a budget is, whatever it was.

The last word counts, and loses nothing earlier.
"""


class Operation(NamedTuple):
    """One operation of a document."""

    id: str
    method: str
    path: str
    described: dict[str, JsonValue]

    def headers(self) -> dict[str, dict[str, JsonValue]]:
        """Its header parameters by name, in lower case."""
        parameters = [entry(each) for each in items(self.described.get("parameters", []))]
        return {str(each["name"]).lower(): each for each in parameters if each["in"] == "header"}

    def responses(self) -> dict[int, dict[str, JsonValue]]:
        return {int(status): entry(answer) for status, answer in entry(self.described["responses"]).items()}

    def takes_something(self) -> bool:
        return bool(self.described.get("parameters") or self.described.get("requestBody"))


def entry(node: JsonValue) -> dict[str, JsonValue]:
    assert isinstance(node, dict)
    return node


def items(node: JsonValue) -> list[JsonValue]:
    assert isinstance(node, list)
    return node


@pytest.fixture(params=SERVICES)
def service(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def document(service: str) -> dict[str, JsonValue]:
    return entry(json.loads((PROJECT / "services" / service / "openapi.json").read_text()))


@pytest.fixture
def operations(document: dict[str, JsonValue]) -> list[Operation]:
    return [
        Operation(str(entry(described).get("operationId")), method, path, with_answers(document, entry(described)))
        for path, methods in entry(document["paths"]).items()
        for method, described in entry(methods).items()
        if method in METHODS
    ]


def test_the_checked_in_documents_are_the_ones_the_code_generates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATTAIN_DATABASE_URL", "postgresql://localhost/attain")
    monkeypatch.setenv("ATTAIN_JWT_SECRET", "only-for-generating-the-documents")
    monkeypatch.setenv("ATTAIN_SECRETS_KEY", Fernet.generate_key().decode())
    openapi(check=True)


def test_a_document_is_openapi_3_1_and_says_what_the_service_is_for(document: dict[str, JsonValue]) -> None:
    assert str(document["openapi"]).startswith("3.1.")
    info = entry(document["info"])
    assert info["title"]
    assert info["version"]
    assert info["description"]


def test_an_independent_validator_accepts_a_document(document: dict[str, JsonValue]) -> None:
    OpenAPIV31SpecValidator(document).validate()


def test_a_schema_says_nothing_that_json_schema_does_not_know(document: dict[str, JsonValue]) -> None:
    unknown = [
        f"{pointer}/{word}" for pointer, schema in schemas_of(document) for word in schema.keys() - WORDS_OF_SCHEMAS
    ]
    assert unknown == []


def test_components_are_called_by_plain_names_and_no_two_alike(document: dict[str, JsonValue]) -> None:
    for kind in ("schemas", "responses"):
        names = list(entry(entry(document["components"])[kind]))
        assert [name for name in names if not PLAIN_NAME.fullmatch(name)] == []
        assert len({name.lower() for name in names}) == len(names)


def test_what_is_no_success_is_written_once_and_referred_to(document: dict[str, JsonValue]) -> None:
    answers = entry(entry(document["components"])["responses"])
    referred_to = set()
    for methods in entry(document["paths"]).values():
        for described in entry(methods).values():
            for status, answer in entry(entry(described)["responses"]).items():
                if int(status) >= 300:
                    assert list(entry(answer)) == ["$ref"], entry(described)["operationId"]
                    referred_to.add(str(entry(answer)["$ref"]))
    assert referred_to == {f"#/components/responses/{name}" for name in answers}
    assert len({json.dumps(answer) for answer in answers.values()}) == len(answers)


def test_what_tells_schemas_apart_is_required_in_each(document: dict[str, JsonValue]) -> None:
    found = 0
    for _, schema in schemas_of(document):
        if "discriminator" in schema:
            discriminator = entry(schema["discriminator"])
            for reference in entry(discriminator["mapping"]).values():
                found += 1
                told_apart = entry(resolved(document, str(reference)))
                assert discriminator["propertyName"] in items(told_apart["required"]), reference
    assert found or entry(document["info"])["title"] == "Attain goals"


def test_every_public_path_is_there(service: str, operations: list[Operation]) -> None:
    offered = {(operation.path, operation.method) for operation in operations}
    promised = {(path, method) for path, methods in PUBLIC_PATHS[service].items() for method in methods.split()}
    assert promised - offered == set()


def test_an_operation_has_a_name_of_its_own_a_summary_and_a_tag(operations: list[Operation]) -> None:
    names = [operation.id for operation in operations]
    assert len(set(names)) == len(names)
    for operation in operations:
        assert operation.id.isidentifier(), operation.path
        assert operation.described.get("summary"), operation.id
        assert operation.described.get("tags"), operation.id


def test_operation_ids_are_unique_across_the_services() -> None:
    names = [
        str(entry(described)["operationId"])
        for service in SERVICES
        for methods in entry(
            json.loads((PROJECT / "services" / service / "openapi.json").read_text())["paths"]
        ).values()
        for described in entry(methods).values()
    ]
    assert sorted(set(names)) == sorted(names)


def test_every_reference_leads_somewhere(document: dict[str, JsonValue]) -> None:
    for reference in references(document):
        assert resolved(document, reference) is not None, reference


def test_an_operation_says_what_success_looks_like(operations: list[Operation]) -> None:
    for operation in operations:
        successes = {status: answer for status, answer in operation.responses().items() if status < 300}
        assert successes, operation.id
        for status, answer in successes.items():
            if status == 204 or operation.id in WITHOUT_TOKEN:
                assert "content" not in answer, operation.id
                continue
            for media_type, content in entry(answer["content"]).items():
                schema = entry(content).get("schema")
                if media_type in FILES:
                    assert schema == {"type": "string", "format": "binary"}, operation.id
                    continue
                assert media_type in (JSON, "text/event-stream"), operation.id
                assert schema, operation.id


def test_every_error_is_a_problem_with_an_example(document: dict[str, JsonValue], operations: list[Operation]) -> None:
    problems = entry(entry(document["components"])["schemas"])
    shared = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    assert problems["Problem"] == {key: value for key, value in shared.items() if key != "$defs"}
    for operation in operations:
        for status, answer in operation.responses().items():
            if status < 400:
                continue
            assert list(entry(answer["content"])) == [PROBLEM_MEDIA_TYPE], (operation.id, status)
            problem = entry(entry(answer["content"])[PROBLEM_MEDIA_TYPE])
            assert problem["schema"] == {"$ref": "#/components/schemas/Problem"}, (operation.id, status)
            assert problem["examples"], (operation.id, status)
            for code, example in entry(problem["examples"]).items():
                value = Problem.model_validate(entry(example)["value"])
                assert (value.status, value.code) == (status, code), operation.id


def test_every_operation_declares_the_errors_anyone_can_get(operations: list[Operation]) -> None:
    for operation in operations:
        expected = {500, 503}
        expected |= {401} if operation.id in WITHOUT_TOKEN else {401, 403}
        if operation.takes_something() and operation.id not in WITHOUT_TOKEN:
            expected.add(422)
        if "requestBody" in operation.described:
            expected |= {413, 415}
        if "{" in operation.path and operation.id not in WITHOUT_TOKEN:
            expected.add(404)
        assert expected - set(operation.responses()) == set(), operation.id


def test_what_a_parameter_can_be_refused_for_is_declared(operations: list[Operation]) -> None:
    refused_for = {
        "idempotency-key": (422, "idempotency_key_reused"),
        "cursor": (422, "invalid_cursor"),
        "if-match": (428, "if_match_required"),
    }
    for operation in operations:
        for parameter in items(operation.described.get("parameters", [])):
            name = str(entry(parameter)["name"]).lower()
            if name in refused_for:
                status, code = refused_for[name]
                answer = entry(entry(operation.responses()[status]["content"])[PROBLEM_MEDIA_TYPE])
                assert code in entry(answer["examples"]), (operation.id, name)


def test_every_operation_asks_for_a_token(document: dict[str, JsonValue], operations: list[Operation]) -> None:
    schemes = entry(entry(document["components"])["securitySchemes"])
    for operation in operations:
        if operation.id not in WITHOUT_TOKEN:
            required = [name for each in items(operation.described.get("security", [])) for name in entry(each)]
            assert required, operation.id
            assert {entry(schemes[name])["scheme"] for name in required} == {"bearer"}, operation.id


def test_every_post_can_safely_be_sent_again(operations: list[Operation]) -> None:
    for operation in operations:
        if operation.method == "post" and operation.id not in WITHOUT_IDEMPOTENCY_KEY:
            assert "idempotency-key" in operation.headers(), operation.id


def test_every_change_says_which_version_it_was_made_from(operations: list[Operation]) -> None:
    creates = {operation.id for operation in operations if operation.method == "post" and adds(operation)}
    for operation in operations:
        if (
            operation.method == "get"
            or operation.id in creates | WITHOUT_TOKEN | CHANGES_ONLY_BY_ADDING | STATES_WHAT_HOLDS
        ):
            continue
        if operation.id in WITHOUT_IDEMPOTENCY_KEY:
            continue
        assert "if-match" in operation.headers(), operation.id
        assert {412, 428} <= set(operation.responses()), operation.id


def test_every_operation_stands_once_in_the_documentation(operations: list[Operation]) -> None:
    for operation in operations:
        assert len(items(operation.described["tags"])) == 1, operation.id


def test_every_list_is_paged(operations: list[Operation]) -> None:
    for operation in operations:
        if operation.id.startswith("list_"):
            names = {entry(each)["name"] for each in items(operation.described["parameters"])}
            assert {"limit", "cursor"} <= names, operation.id


def test_every_body_and_every_answer_has_an_example_that_its_schema_accepts(
    document: dict[str, JsonValue], operations: list[Operation]
) -> None:
    resource: Resource[JsonValue] = DRAFT202012.create_resource(document)
    registry = Registry[JsonValue]().with_resource("urn:document", resource)
    lacking = []
    for operation in operations:
        for where, content in json_contents(operation):
            examples = list(examples_of(document, content))
            if not examples:
                lacking.append(f"{operation.id} {where}: {json.dumps(content.get('schema'))}")
            validator = Draft202012Validator(
                absolute(entry(content["schema"])),
                registry=registry,
                format_checker=Draft202012Validator.FORMAT_CHECKER,
            )
            for example in examples:
                lacking.extend(
                    f"{operation.id} {where}: {error.json_path} {error.message}"
                    for error in validator.iter_errors(example)
                )
    assert lacking == []


def test_numbers_with_a_fraction_are_strings_everywhere(document: dict[str, JsonValue]) -> None:
    assert list(binary_fractions(document)) == []


def test_every_amount_is_a_string(document: dict[str, JsonValue]) -> None:
    money = {"amount", "target", "baseline", "value", "earned", "quota", "measure_total", "balance", "ledger_balance"}
    found = 0
    for name, schema in entry(entry(document["components"])["schemas"]).items():
        for field, described in entry(entry(schema).get("properties", {})).items():
            if field in money and "$ref" not in entry(described):
                found += 1
                assert types_of(described) <= {"string", "null"}, (name, field)
    assert found > 3


def with_answers(document: dict[str, JsonValue], described: dict[str, JsonValue]) -> dict[str, JsonValue]:
    """An operation with the components that its answers refer to in their places."""
    answers: dict[str, JsonValue] = {
        status: resolved(document, str(entry(answer)["$ref"])) if "$ref" in entry(answer) else answer
        for status, answer in entry(described["responses"]).items()
    }
    return described | {"responses": answers}


def adds(operation: Operation) -> bool:
    """Whether a POST makes a new thing instead of changing the one its path names, as a connection by its secrets."""
    return "{" not in operation.path or (201 in operation.responses() and not operation.path.endswith("/secrets"))


def json_contents(operation: Operation) -> Iterator[tuple[str, dict[str, JsonValue]]]:
    """The JSON a request sends and those a success answers."""
    if "requestBody" in operation.described:
        content = entry(entry(operation.described["requestBody"])["content"])
        if JSON in content:
            yield "body", entry(content[JSON])
    for status, answer in operation.responses().items():
        content = entry(answer.get("content", {}))
        if status < 300 and JSON in content:
            yield str(status), entry(content[JSON])


def examples_of(document: dict[str, JsonValue], content: dict[str, JsonValue]) -> Iterator[JsonValue]:
    """Those given beside the schema, and those of the schema itself."""
    if "example" in content:
        yield content["example"]
    for example in entry(content.get("examples", {})).values():
        yield entry(example)["value"]
    schema = entry(content["schema"])
    if "$ref" in schema:
        schema = entry(resolved(document, str(schema["$ref"])))
    yield from items(schema.get("examples", []))
    for alternative in items(schema.get("oneOf", [])):
        yield from items(entry(resolved(document, str(entry(alternative)["$ref"]))).get("examples", []))


def absolute(node: JsonValue) -> dict[str, JsonValue]:
    """A schema whose references into the document can be followed from outside it."""
    text = json.dumps(node).replace('"#/components/', '"urn:document#/components/')
    return entry(json.loads(text))


def schemas_of(document: dict[str, JsonValue]) -> Iterator[tuple[str, dict[str, JsonValue]]]:
    """Every schema of a document, at any depth, with its place."""
    for name, schema in entry(entry(document["components"])["schemas"]).items():
        yield from schemas_within(schema, f"/components/schemas/{name}")
    answers = entry(document["components"])["responses"]
    for pointer, node in [*objects(document["paths"], "/paths"), *objects(answers, "/components/responses")]:
        if "schema" in node and ("examples" not in pointer.split("/")):
            yield from schemas_within(node["schema"], f"{pointer}/schema")


def schemas_within(schema: JsonValue, pointer: str) -> Iterator[tuple[str, dict[str, JsonValue]]]:
    if not isinstance(schema, dict):
        return
    yield pointer, schema
    for word, value in schema.items():
        if word in ("properties", "patternProperties", "$defs"):
            for name, inner in entry(value).items():
                yield from schemas_within(inner, f"{pointer}/{word}/{name}")
        elif word in ("anyOf", "oneOf", "allOf", "prefixItems"):
            for index, inner in enumerate(items(value)):
                yield from schemas_within(inner, f"{pointer}/{word}/{index}")
        elif word in ("items", "additionalProperties", "propertyNames", "contentSchema", "not"):
            yield from schemas_within(value, f"{pointer}/{word}")


def objects(node: JsonValue, pointer: str) -> Iterator[tuple[str, dict[str, JsonValue]]]:
    if isinstance(node, dict):
        yield pointer, node
        for key, value in node.items():
            yield from objects(value, f"{pointer}/{key}")
    if isinstance(node, list):
        for index, value in enumerate(node):
            yield from objects(value, f"{pointer}/{index}")


def references(node: JsonValue) -> Iterator[str]:
    if isinstance(node, dict):
        reference = node.get("$ref")
        if isinstance(reference, str):
            yield reference
        for value in node.values():
            yield from references(value)
    if isinstance(node, list):
        for value in node:
            yield from references(value)


def resolved(document: dict[str, JsonValue], reference: str) -> JsonValue:
    node: JsonValue = document
    for part in reference.removeprefix("#/").split("/"):
        node = entry(node).get(unquote(part))
    return node


def binary_fractions(node: JsonValue, pointer: str = "") -> Iterator[str]:
    """Where a schema allows a JSON number that is no integer, or an example has one."""
    if isinstance(node, dict):
        if node.get("type") == "number":
            yield pointer
        for key, value in node.items():
            if key not in LIMITS_OF_INTEGERS:
                yield from binary_fractions(value, f"{pointer}/{key}")
    if isinstance(node, list):
        for index, value in enumerate(node):
            yield from binary_fractions(value, f"{pointer}/{index}")
    if isinstance(node, float):
        yield pointer


def types_of(schema: JsonValue) -> set[str]:
    if not isinstance(schema, dict):
        return set()
    own = {str(schema["type"])} if "type" in schema else set()
    return own.union(*(types_of(each) for each in items(schema.get("anyOf", []))))
