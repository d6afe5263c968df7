"""Versions on the wire: `ETag: "7"` on what is read, `If-Match: "7"` on what is changed.

A change made from an old version loses (412); one that does not say its version is refused (428).
Version `"0"` stands for a thing that is made by its first change.
"""

import re
from typing import Annotated, Final, Protocol, runtime_checkable

from fastapi import Depends, Header
from starlette.responses import Response

from shared.http.problems import ParameterError, PreconditionRequired
from shared.kernel.errors import InvalidInput

_ETAG: Final = re.compile(r'"(0|[1-9][0-9]{0,17})"\Z')


@runtime_checkable
class Versioned(Protocol):
    """An answer whose `version` grows with every change."""

    @property
    def version(self) -> int: ...


def etag(version: int) -> str:
    """The ETag of a version."""
    return f'"{version}"'


def set_etag(response: Response, answer: Versioned) -> None:
    """Put the ETag of what is answered on the response of a read."""
    response.headers["etag"] = etag(answer.version)


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
    match = _ETAG.match(if_match.strip())
    if match is None:
        raise InvalidInput(
            "If-Match is not an ETag of this service.",
            fields=[ParameterError("/If-Match", "is not one ETag", 'the ETag of what you read, such as "7"', "header")],
        )
    return int(match[1])


ExpectedVersion = Annotated[int, Depends(expected_version)]
"""The version a change was made from, out of If-Match. 428 when it is missing."""
