"""Versions on the wire: an ETag on what is read, `If-Match` on what is changed, `If-None-Match` on what is read again.

An ETag is the version and, behind a dot, a digest of the answer: `"7.1f0c2ab34d5e6f70"`. A change is compared by the
version alone, as an answer may be another one without a change: of a team, whose manager is another person today.
A change made from an old version loses (412); one that does not say its version is refused (428). As RFC 9110 has it,
`*` is whichever version there is, a list is any of its versions, and a weak or foreign ETag is never the current one.
Version `"0"` stands for a thing that is made by its first change.
"""

import re
from hashlib import blake2b
from typing import Annotated, Final, Generic, Protocol, TypeVar, get_args, runtime_checkable

from fastapi import Depends, Header
from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema
from starlette.responses import Response

from shared.http.problems import ParameterError, PreconditionRequired
from shared.kernel.errors import AnyVersionOf, InvalidInput

_VERSION: Final = re.compile(r"(0|[1-9][0-9]{0,17})(?:\.[0-9a-f]{16})?\Z")
_DIGEST_BYTES: Final = 8
_TAG: Final = re.compile(r'(W/)?"([\x21\x23-\x7e\x80-\xff]*)"\Z')
# A comma may be part of a tag.
_SEPARATED: Final = re.compile(r'[ \t]*((?:[^",]|"[^"]*")*)(?:,|\Z)')


@runtime_checkable
class Versioned(Protocol):
    """An answer whose `version` grows with every change."""

    @property
    def version(self) -> int: ...

    def model_dump_json(self, *, by_alias: bool) -> str: ...


AnswerT = TypeVar("AnswerT")
VersionedT = TypeVar("VersionedT", bound=Versioned)


class Answered(Response, Generic[AnswerT]):
    """An answer, written down; in the OpenAPI it is what it was written from."""

    @classmethod
    def __get_pydantic_core_schema__(cls, written: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        return handler.generate_schema(get_args(written)[0])


def etag(version: int, body: bytes) -> str:
    """The ETag of an answer: of its version and its body."""
    return f'"{version}.{blake2b(body, digest_size=_DIGEST_BYTES).hexdigest()}"'


class Condition:
    """What the caller of a read has of it already."""

    def __init__(self, if_none_match: str | None) -> None:
        self._if_none_match = if_none_match

    def answer(self, answer: VersionedT) -> Answered[VersionedT]:
        """The answer with its ETag, or 304 without a body when the caller has it. Raises InvalidInput."""
        body = answer.model_dump_json(by_alias=True).encode()
        tag = etag(answer.version, body)
        if self._if_none_match is not None and _none_match_refuses(self._if_none_match, tag):
            return Answered(status_code=304, headers={"etag": tag})
        return Answered(body, headers={"etag": tag}, media_type="application/json")


def condition(
    if_none_match: Annotated[
        str | None,
        Header(
            description="ETags of the answers you have: 304 without a body when this would be one of them. `*` is any.",
            examples=['"7.1f0c2ab34d5e6f70"'],
        ),
    ] = None,
) -> Condition:
    """Dependency behind `ConditionalRead`."""
    return Condition(if_none_match)


def _none_match_refuses(field: str, tag: str) -> bool:
    """Whether If-None-Match names the tag, compared weakly: a proxy may have weakened it. Raises InvalidInput."""
    if field.strip() == "*":
        return True
    tags = entity_tags(field)
    if not tags:
        raise InvalidInput(
            "If-None-Match is neither a list of ETags nor *.",
            fields=[ParameterError("/If-None-Match", "is no ETag", "the ETag of what you read before, or *", "header")],
        )
    return any(f'"{each}"' == tag for _, each in tags)


def expected_version(
    if_match: Annotated[
        str | None,
        Header(description="The ETag of the version the change was made from.", examples=['"7"']),
    ] = None,
) -> int:
    """Dependency behind `ExpectedVersion`."""
    if if_match is None:
        raise PreconditionRequired(
            "Say which version the change was made from.",
            fields=[ParameterError("/If-Match", "is required", 'the ETag of what you read, such as "7"', "header")],
        )
    if if_match.strip() == "*":
        return AnyVersionOf(None)
    tags = entity_tags(if_match)
    if not tags:
        raise InvalidInput(
            "If-Match is neither a list of ETags nor *.",
            fields=[ParameterError("/If-Match", "is no ETag", 'the ETag of what you read, such as "7"', "header")],
        )
    # Compared strongly: a weak one never matches, nor does one that this service never gave out.
    strong = (_VERSION.match(tag) for weak, tag in tags if not weak)
    versions = frozenset(int(found[1]) for found in strong if found is not None)
    return next(iter(versions)) if len(versions) == 1 else AnyVersionOf(versions)


def entity_tags(field: str) -> list[tuple[bool, str]]:
    """The entity tags of a list, each with whether it is weak; none when it is not such a list (RFC 9110, 8.8.3)."""
    tags = []
    for element in (match[1].strip(" \t") for match in _SEPARATED.finditer(field)):
        if element:
            match = _TAG.match(element)
            if match is None:
                return []
            tags.append((match[1] is not None, match[2]))
    return tags


ConditionalRead = Annotated[Condition, Depends(condition)]
"""Answers a read with its ETag, or that the caller has it. 422 for an If-None-Match that is no list of ETags."""

ExpectedVersion = Annotated[int, Depends(expected_version)]
"""The version a change was made from, out of If-Match. 428 when it is missing."""
