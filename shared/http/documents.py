"""What FastAPI makes of the OpenAPI, mended: a valid document of its version that means what the routes do.

FastAPI leaves nulls out of the whole document, examples included, so an example of an answer that has a null would no
longer be one its own schema accepts. It describes event streams in a word of OpenAPI 3.2 that validators of 3.1 refuse.
And a discriminator has a default in our models, which makes it look like a member that may be left out.
`schemas` are the components of the document. Those of generic models get names that are none in any language, and what
is no success is written out at every operation.
"""

import re
from collections.abc import Iterator, Mapping

from pydantic import JsonValue

_REFERENCE = "#/components/schemas/"
_PLAIN_NAME = re.compile(r"[A-Za-z0-9]+")


def share_answers(answers: dict[str, JsonValue], shared: dict[str, JsonValue]) -> None:
    """Move those of an operation that are no success to `shared`, and refer to them there.

    They are called by the codes of their problems. KeyError for two of one name that differ.
    """
    for status, answer in answers.items():
        if status >= "300":
            codes = [
                code
                for each in _objects(answer)
                if isinstance(problems := each.get("examples"), dict)
                for code in problems
            ]
            name = "Or".join(code.title().replace("_", "") for code in codes) or "NotModified"
            if shared.setdefault(name, answer) != answer:
                raise KeyError(f"two answers are called {name}")
            answers[status] = {"$ref": f"#/components/responses/{name}"}


def restore_nulls(document: dict[str, JsonValue], schemas: dict[str, JsonValue]) -> None:
    """Put null back wherever an example of a component or of a content lacks a required member that may be null."""
    for schema in schemas.values():
        if isinstance(schema, dict) and isinstance(examples := schema.get("examples"), list):
            schema["examples"] = [_completed(example, schema, schemas) for example in examples]
    for content in _contents(document.get("paths")):
        content["example"] = _completed(content["example"], content["schema"], schemas)


def name_components(document: dict[str, JsonValue], schemas: dict[str, JsonValue]) -> None:
    """Call the component of a `Page[Goal]` a `GoalPage`, everywhere. KeyError if another one is called that."""
    names = {name: name if _PLAIN_NAME.fullmatch(name) else _generic_name(schemas[name]) for name in schemas}
    if len(set(names.values())) < len(names):
        raise KeyError(f"two components of the same name: {sorted(names.values())}")
    renamed = {name: schemas[old] for old, name in sorted(names.items(), key=lambda item: item[1])}
    schemas.clear()
    schemas.update(renamed)
    for node in _objects(document):
        if isinstance(reference := node.get("$ref"), str) and reference.startswith(_REFERENCE):
            name = reference.removeprefix(_REFERENCE)
            node["$ref"] = _REFERENCE + names.get(name, name)


def _generic_name(schema: JsonValue) -> str:
    title = str(schema["title"]) if isinstance(schema, dict) else ""
    generic, _, argument = title.removesuffix("]").partition("[")
    return argument + generic


def describe_streams(document: dict[str, JsonValue]) -> None:
    """Say in every content that is a stream of events that it is text."""
    for content in _objects(document.get("paths")):
        if content.pop("itemSchema", None) is not None:
            content["schema"] = {"type": "string"}


def require_discriminators(document: dict[str, JsonValue], schemas: dict[str, JsonValue]) -> None:
    """Make the discriminator of some schemas a required member of each of them."""
    for schema in list(_objects(document)):
        discriminator = schema.get("discriminator")
        mapping = discriminator.get("mapping") if isinstance(discriminator, dict) else None
        if not isinstance(discriminator, dict) or not isinstance(mapping, dict):
            continue
        for reference in mapping.values():
            alternative = schemas[str(reference).removeprefix(_REFERENCE)]
            if isinstance(alternative, dict):
                required = alternative.get("required")
                others = required if isinstance(required, list) else []
                name = str(discriminator["propertyName"])
                alternative["required"] = others if name in others else [name, *others]


def _objects(node: JsonValue) -> Iterator[dict[str, JsonValue]]:
    """Every object in a document, the outer one first."""
    if isinstance(node, dict):
        yield node
    for inner in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from _objects(inner)


def _contents(node: JsonValue) -> Iterator[dict[str, JsonValue]]:
    if isinstance(node, dict):
        if "example" in node and "schema" in node:
            yield node
        else:
            for value in node.values():
                yield from _contents(value)


def _completed(example: JsonValue, schema: JsonValue, schemas: Mapping[str, JsonValue]) -> JsonValue:
    meant = _alternative_of(example, _only_alternative(schema, schemas), schemas)
    if isinstance(example, list):
        return [_completed(each, meant.get("items"), schemas) for each in example]
    properties, required = meant.get("properties"), meant.get("required")
    if not isinstance(example, dict) or not isinstance(properties, dict):
        return example
    completed: dict[str, JsonValue] = {}
    for name, described in properties.items():
        if name in example:
            completed[name] = _completed(example[name], described, schemas)
        elif isinstance(required, list) and name in required and _may_be_null(described, schemas):
            completed[name] = None
    return {**completed, **{name: value for name, value in example.items() if name not in completed}}


def _only_alternative(schema: JsonValue, schemas: Mapping[str, JsonValue]) -> Mapping[str, JsonValue]:
    """The schema behind a reference, or the one a value has if it is not null; nothing where there are several."""
    if not isinstance(schema, dict):
        return {}
    if isinstance(reference := schema.get("$ref"), str):
        return _only_alternative(schemas[reference.removeprefix(_REFERENCE)], schemas)
    if isinstance(alternatives := schema.get("anyOf"), list):
        others = [each for each in alternatives if each != {"type": "null"}]
        return _only_alternative(others[0], schemas) if len(others) == 1 else {}
    return schema


def _alternative_of(
    example: JsonValue, schema: Mapping[str, JsonValue], schemas: Mapping[str, JsonValue]
) -> Mapping[str, JsonValue]:
    """Of schemas with a discriminator, the one that the example is of."""
    discriminator = schema.get("discriminator")
    if not isinstance(example, dict) or not isinstance(discriminator, dict):
        return schema
    mapping, value = discriminator.get("mapping"), example.get(str(discriminator.get("propertyName")))
    reference = mapping.get(value) if isinstance(mapping, dict) and isinstance(value, str) else None
    return schema if reference is None else _only_alternative({"$ref": reference}, schemas)


def _may_be_null(schema: JsonValue, schemas: Mapping[str, JsonValue]) -> bool:
    if not isinstance(schema, dict):
        return False
    if isinstance(reference := schema.get("$ref"), str):
        return _may_be_null(schemas[reference.removeprefix(_REFERENCE)], schemas)
    if isinstance(alternatives := schema.get("anyOf"), list):
        return {"type": "null"} in alternatives
    return "type" not in schema and "oneOf" not in schema
