"""What the models of requests and answers have in common."""

from typing import Annotated, Final, Required
from uuid import UUID

from pydantic import ConfigDict, Field, JsonValue
from typing_extensions import TypedDict

ITEMS_MAX: Final = 1000
"""So many things of a kind one request creates, changes and so on, each."""


class VersionedItem(TypedDict, total=False):
    """One of many things that are changed, in the version the change is made from."""

    id: Required[UUID]
    version: Required[Annotated[int, Field(ge=1, description="The version the change is made from.")]]


def example(**members: JsonValue) -> ConfigDict:
    """The configuration of an answer's model, with an example of it."""
    return ConfigDict(json_schema_extra={"examples": [members]})


def body_example(**members: JsonValue) -> ConfigDict:
    """The configuration of a body's model, which refuses members that it does not know, with an example of it."""
    return ConfigDict(extra="forbid", json_schema_extra={"examples": [members]})
