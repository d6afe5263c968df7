"""What a client takes and what it sends: Accept and Content-Type (RFC 9110), checked before anything is done."""

from typing import Final

from fastapi import Request
from fastapi.routing import APIRoute
from fastapi.sse import EventSourceResponse
from starlette.responses import JSONResponse, Response

from shared.http.problems import NotAcceptable, UnsupportedMediaType

_JSON: Final = "application/json"
_EVENTS: Final = "text/event-stream"
_ELEMENTS_MAX: Final = 100


async def negotiated(request: Request) -> None:
    """Dependency of every route. Raises NotAcceptable and UnsupportedMediaType."""
    route = request.scope.get("route")
    if not isinstance(route, APIRoute):
        return
    offered = _offered(route)
    accept = request.headers.get("accept")
    if offered is not None and accept is not None and not accepts(accept, offered):
        raise NotAcceptable(f"This is served as {offered}; Accept names nothing that it is.")
    sent = request.headers.get("content-type")
    if route.body_field is not None and sent is not None and not _is_json(sent):
        raise UnsupportedMediaType("Send the body as application/json.")


def accepts(accept: str, offered: str) -> bool:
    """Whether an Accept header admits a media type: the entry that names it most exactly has a weight above 0."""
    if not accept.strip():
        return True
    kind, _, _ = offered.partition("/")
    weights: dict[str, float] = {}
    for element in accept.split(",")[:_ELEMENTS_MAX]:
        media, *parameters = (part.strip().lower() for part in element.split(";"))
        weights[media] = max(weights.get(media, 0.0), _weight(parameters))
    for media in (offered, f"{kind}/*", "*/*"):
        if media in weights:
            return weights[media] > 0
    return False


def _weight(parameters: list[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                return float(value)
            except ValueError:
                return 0.0
    return 1.0


def _offered(route: APIRoute) -> str | None:
    """What a route answers with; None where it depends on the caller."""
    kind = route.response_class
    response = kind if isinstance(kind, type) else getattr(kind, "value", JSONResponse)
    if issubclass(response, EventSourceResponse):
        return _EVENTS
    if response is Response:
        return None
    return _JSON


def _is_json(content_type: str) -> bool:
    media = content_type.partition(";")[0].strip().lower()
    return media == _JSON or (media.startswith("application/") and media.endswith("+json"))
