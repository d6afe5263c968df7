"""Errors on the wire: RFC 9457 problem details, and the one table from kinds of error to statuses.

Every problem has a stable `type` (`urn:attain:problem:<code>`). What went wrong inside is logged, never answered.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final, TypeAlias, cast

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from shared.http.refused import Location, ProblemField, refused_field
from shared.kernel.errors import (
    AttainError,
    Conflict,
    FieldError,
    Forbidden,
    InvalidInput,
    NotFound,
    PreconditionFailed,
    TooLarge,
    TooManyRequests,
    Unauthenticated,
    Unavailable,
)
from shared.telemetry.logs import get_logger, request_id
from shared.telemetry.sampling import SampledLog

PROBLEM_MEDIA_TYPE: Final = "application/problem+json"

_log = get_logger(__name__)
_sampled: Final = SampledLog(_log)


Examples: TypeAlias = Mapping[str, Mapping[str, Mapping[str, object]]]
"""The problems of a response object, each the `value` under its code."""


class PreconditionRequired(AttainError):
    """A change came without the If-Match that names the version it was made from."""

    code = "if_match_required"
    title = "If-Match is required"


class UnsupportedContentEncoding(AttainError):
    """The body is compressed."""

    code = "unsupported_content_encoding"
    title = "Unsupported content encoding"


class UnsupportedMediaType(AttainError):
    """The body is not JSON."""

    code = "unsupported_media_type"
    title = "Unsupported media type"


class NotAcceptable(AttainError):
    """What is served here is of no media type that Accept names."""

    code = "not_acceptable"
    title = "Not acceptable"


_STATUS: Final[Mapping[type[AttainError], int]] = {
    InvalidInput: 422,
    Unauthenticated: 401,
    Forbidden: 403,
    NotFound: 404,
    NotAcceptable: 406,
    Conflict: 409,
    PreconditionFailed: 412,
    TooLarge: 413,
    UnsupportedContentEncoding: 415,
    UnsupportedMediaType: 415,
    PreconditionRequired: 428,
    TooManyRequests: 429,
    Unavailable: 503,
    AttainError: 500,
}

# What the framework raises by itself. Any other status becomes `http_<status>`.
_FRAMEWORK_PROBLEMS: Final[Mapping[int, tuple[str, str, str]]] = {
    400: ("malformed_request", "Malformed request", "The request could not be read."),
    404: ("no_such_path", "No such path", "Nothing is served at this path."),
    405: ("method_not_allowed", "Method not allowed", "The path does not take this method; see Allow."),
    413: ("too_large", "Too large", "The body is larger than this service accepts."),
}


@dataclass(frozen=True, slots=True)
class ParameterError(FieldError):
    """A refused parameter outside the body; `pointer` is `/<name>`."""

    location: Location = "query"


class Problem(BaseModel):
    """RFC 9457 problem details."""

    type: str = Field(description="Stable name of the kind of problem.", examples=["urn:attain:problem:not_found"])
    title: str = Field(description="The kind of problem in words.", examples=["Not found"])
    status: int = Field(description="The HTTP status, repeated.", examples=[404])
    detail: str = Field(description="This occurrence in words.")
    code: str = Field(description="The last part of `type`.", examples=["not_found"])
    request_id: str | None = Field(None, description="Quote it when asking for support.")
    errors: list[ProblemField] = Field(default_factory=list, description="The refused fields, if that is the cause.")


def status_of(error: type[AttainError]) -> int:
    """The HTTP status of a kind of error."""
    return next(_STATUS[kind] for kind in error.__mro__ if kind in _STATUS)


def problem_response(
    *,
    status: int,
    code: str,
    title: str,
    detail: str,
    errors: Sequence[ProblemField] = (),
    headers: Mapping[str, str] | None = None,
) -> Response:
    """A problem, ready to send."""
    problem = Problem(
        type=f"urn:attain:problem:{code}",
        title=title,
        status=status,
        detail=_sendable(detail),
        code=code,
        request_id=request_id.get(),
        errors=[
            ProblemField(**{name: _sendable(value) for name, value in each.model_dump(exclude_none=True).items()})
            for each in errors
        ],
    )
    return Response(
        problem.model_dump_json(exclude_none=True),
        status_code=status,
        headers={**(headers or {}), "content-type": PROBLEM_MEDIA_TYPE},
    )


def _sendable(text: str) -> str:
    """The text with what UTF-8 has no bytes for, half of a surrogate pair out of a request, spelt out."""
    return text.encode("utf-8", "backslashreplace").decode()


def error_response(error: AttainError) -> Response:
    """The problem for an error."""
    status = status_of(type(error))
    headers: dict[str, str] = {}
    detail = error.detail
    match error:
        case Unavailable():
            # The detail names hosts and ports.
            _sampled.warning("dependency_unavailable", kind=error.code, detail=detail, code=error.code)
            headers["retry-after"] = str(error.retry_after_seconds)
            detail = "Something this request needs is not available for the moment; try again."
        case TooManyRequests():
            headers["retry-after"] = str(error.retry_after_seconds)
        case Unauthenticated():
            headers["www-authenticate"] = "Bearer"
    if status == HTTPStatus.INTERNAL_SERVER_ERROR:
        _log.error("request_failed", exc_info=error)
        return unexpected_response()
    return problem_response(
        status=status,
        code=error.code,
        title=error.title,
        detail=detail,
        errors=[_problem_field(field) for field in error.fields],
        headers=headers,
    )


def unexpected_response() -> Response:
    """The answer to what should not have happened; it has nothing about it."""
    return problem_response(
        status=500,
        code="internal_error",
        title="Internal error",
        detail="The request could not be completed. It has been logged under this request id.",
    )


def responses(*errors: type[AttainError]) -> dict[int | str, dict[str, object]]:
    """Declare the errors of a route: `@router.post(..., responses=responses(GoalNotFound, GoalIsClosed))`.

    What every route can answer (401, 403, 413, 415, 422, 500, 503) is declared by the app factory.
    """
    declared: dict[int | str, dict[str, object]] = {}
    for error in errors:
        status = status_of(error)
        declared[status] = with_error(declared.get(status), error)
    return declared


def with_error(declared: Mapping[str, object] | None, error: type[AttainError]) -> dict[str, object]:
    """The OpenAPI response object for this error and the problems that one of the same status declares already."""
    content = cast(Mapping[str, Mapping[str, Examples]], {} if declared is None else declared.get("content", {}))
    problems = {**content.get(PROBLEM_MEDIA_TYPE, {}).get("examples", {}), error.code: {"value": _example(error)}}
    problems = {code: problems[code] for code in sorted(problems)}
    return {
        "description": " · ".join(f"{problem['value']['title']} (`{code}`)" for code, problem in problems.items()),
        "content": {
            PROBLEM_MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}, "examples": problems},
        },
    }


def add_problem_handlers(app: FastAPI) -> None:
    """Answer every error of the app with a problem."""
    app.exception_handler(AttainError)(_attain_error)
    app.exception_handler(RequestValidationError)(_validation_error)
    app.exception_handler(HTTPException)(_http_exception)


async def _attain_error(_: Request, error: AttainError) -> Response:
    return error_response(error)


async def _http_exception(_: Request, error: HTTPException) -> Response:
    phrase = HTTPStatus(error.status_code).phrase
    code, title, detail = _FRAMEWORK_PROBLEMS.get(error.status_code, (f"http_{error.status_code}", phrase, phrase))
    return problem_response(status=error.status_code, code=code, title=title, detail=detail, headers=error.headers)


async def _validation_error(request: Request, error: RequestValidationError) -> Response:
    body_type = request.app.state.body_types.get(request.scope["endpoint"])
    fields = [refused_field(item, error.body, body_type) for item in error.errors()]
    named = ", ".join(field.pointer or field.location for field in fields[:5])
    return problem_response(
        status=422,
        code=InvalidInput.code,
        title=InvalidInput.title,
        detail=f"Not accepted: {named}.",
        errors=fields,
    )


def _example(error: type[AttainError]) -> dict[str, object]:
    problem = Problem(
        type=f"urn:attain:problem:{error.code}",
        title=error.title,
        status=status_of(error),
        detail=(error.__doc__ or error.title).strip().splitlines()[0],
        code=error.code,
        request_id="0199d5a2-5a0c-7c5e-9d0e-3f1f6a1f2b3c",
    )
    return problem.model_dump(mode="json", exclude={"errors"})


def _problem_field(field: FieldError) -> ProblemField:
    location: Location = field.location if isinstance(field, ParameterError) else "body"
    return ProblemField(location=location, pointer=field.pointer, message=field.message, accepted=field.accepted)
