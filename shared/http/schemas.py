"""What the models of requests and answers have in common."""

from pydantic import ConfigDict, JsonValue


def example(**members: JsonValue) -> ConfigDict:
    """The configuration of an answer's model, with an example of it."""
    return ConfigDict(json_schema_extra={"examples": [members]})


def body_example(**members: JsonValue) -> ConfigDict:
    """The configuration of a body's model, which refuses members that it does not know, with an example of it."""
    return ConfigDict(extra="forbid", json_schema_extra={"examples": [members]})
