"""What the framework refuses of a request, in our words: where it is, what is wrong, what would be accepted.

Nothing of how it is checked shows: no name of a class, no tag of a union, no word of a parser.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Final, Literal, TypeAlias, get_args, get_origin, get_type_hints

from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute, RouteContext
from pydantic import BaseModel, Field
from typing_extensions import is_typeddict

from shared.kernel.errors import escaped
from shared.kernel.words import accepted_names, refusal

Location: TypeAlias = Literal["body", "query", "path", "header", "cookie"]


class ProblemField(BaseModel):
    """One refused field."""

    location: Location = Field("body", description="The part of the request the pointer is into.")
    pointer: str = Field(description="JSON pointer to the field.", examples=["/target/amount"])
    message: str = Field(description="What is wrong.", examples=["is required"])
    accepted: str | None = Field(None, description="What would be accepted.", examples=["a decimal in a string"])


_LOCATIONS: Final[Mapping[object, Location]] = {
    "body": "body",
    "query": "query",
    "path": "path",
    "header": "header",
    "cookie": "cookie",
}


def refused_field(item: Mapping[str, object], body: object, body_type: object) -> ProblemField:
    """One error of the framework about a request with this body, which is to be of `body_type`."""
    where, context = item["loc"], item.get("ctx")
    parts: tuple[object, ...] = where if isinstance(where, tuple) else ()
    about: Mapping[str, object] = context if isinstance(context, dict) else {}
    location = _LOCATIONS.get(parts[0] if parts else "body", "body")
    kind, original = str(item["type"]), str(item["msg"])
    if kind == "json_invalid":
        return ProblemField(
            location="body", pointer="", message=f"is not JSON (at character {parts[-1]})", accepted="a JSON document"
        )
    in_body = location == "body"
    tokens = _tokens(parts[1:], body, may_be_absent=kind == "missing") if in_body else [str(part) for part in parts[1:]]
    match kind:
        case "missing":
            message, accepted = "is required", "a value of its schema"
        case "extra_forbidden":
            message, accepted = "is not known", accepted_names(tokens[-1], _names_at(body_type, tokens[:-1]))
        case "union_tag_invalid" | "union_tag_not_found":
            tokens.append(str(about["discriminator"]).strip("'"))
            tags = str(about.get("expected_tags", "")).replace("'", "")
            message = "is not known" if tags else "is required"
            accepted = tags or "the word that tells which kind it is"
        case "model_attributes_type" if not tokens:
            message, accepted = "is not a JSON object", "a JSON object, sent as application/json"
        case _:
            message, accepted = refusal(kind, original, about)
    pointer = "".join(f"/{escaped(token)}" for token in tokens)
    return ProblemField(location=location, pointer=pointer, message=message, accepted=accepted or None)


def declared_bodies(contexts: Iterable[RouteContext]) -> dict[object, object]:
    """The type of the body of each endpoint that takes one."""
    found: dict[object, object] = {}
    for context in contexts:
        if isinstance(context.original_route, APIRoute):
            bodies = list(_bodies(context.original_route.dependant))
            if len(bodies) == 1:
                found[context.endpoint] = bodies[0]
    return found


def _bodies(dependant: Dependant) -> Iterator[object]:
    for field in dependant.body_params:
        yield field.field_info.annotation
    for inner in dependant.dependencies:
        yield from _bodies(inner)


def _tokens(parts: Sequence[object], body: object, *, may_be_absent: bool) -> list[str]:
    """The steps from a body that was sent to the part of it that is meant.

    Among the parts are names of the members of unions that were tried; one may even be called like a member of the
    body. Of all ways to leave parts out, the first that leads through the body to the last part is taken; where none
    does, as when the last part is such a name itself, the one that leads furthest.
    """
    whole = _led(list(parts), body, may_be_absent)
    if whole is not None:
        return whole
    return _tokens(parts[:-1], body, may_be_absent=False) if parts else []


def _led(parts: list[object], here: object, may_be_absent: bool) -> list[str] | None:
    if not parts:
        return []
    first, rest = parts[0], parts[1:]
    is_inside = (isinstance(here, dict) and first in here) or (
        isinstance(here, list) and isinstance(first, int) and first < len(here)
    )
    if is_inside and (led := _led(rest, here[first], may_be_absent)) is not None:  # type: ignore[index]
        return [str(first), *led]
    if not rest:
        return [str(first)] if may_be_absent and isinstance(here, dict) and not is_inside else None
    return _led(rest, here, may_be_absent)


def _names_at(annotation: object, tokens: Sequence[str]) -> set[str]:
    """The members that an object at this place of a body of a type may have."""
    objects = list(_objects(annotation))
    for token in tokens:
        inner = [found for members in objects if token in members for found in _objects(members[token])]
        # What is no member is a key or a position, which changes nothing about the type.
        objects = inner or objects
    return {name for members in objects for name in members}


def _objects(annotation: object) -> Iterator[Mapping[str, object]]:
    """The members, by name, of each kind of object that a value of this type may be or contain."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield {field.alias or name: field.annotation for name, field in annotation.model_fields.items()}
    elif is_typeddict(annotation):
        yield get_type_hints(annotation)
    elif get_origin(annotation) is Annotated:
        yield from _objects(get_args(annotation)[0])
    else:
        for argument in get_args(annotation):
            yield from _objects(argument)
