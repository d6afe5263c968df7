"""The query parameters of a request are those that its route declares, each once.

What a route does not know would change nothing about the answer, and whoever sent it would take the wrong rows for the
right ones: it is refused, with the names there are.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final
from urllib.parse import parse_qsl

from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute, RouteContext
from starlette.requests import Request

from shared.http.problems import ParameterError
from shared.kernel.errors import InvalidInput, escaped
from shared.kernel.words import accepted_names

_REFUSED_MAX: Final = 20


class UnknownParameter(InvalidInput):
    """The route takes no query parameter of this name, or takes it once."""

    code = "unknown_parameter"
    title = "Unknown query parameter"


def declared_names(contexts: Iterable[RouteContext]) -> dict[object, frozenset[str]]:
    """The names of the query parameters of each endpoint."""
    return {
        context.endpoint: frozenset(_names(context.original_route.dependant))
        for context in contexts
        if isinstance(context.original_route, APIRoute)
    }


async def check_query(request: Request) -> None:
    """Dependency of every route that has no callers with parameters of their own. Raises UnknownParameter."""
    query: bytes = request.scope["query_string"]
    if not query:
        return
    names: Mapping[object, frozenset[str]] = request.app.state.query_names
    known = names[request.scope["endpoint"]]
    given = Counter(name for name, _ in parse_qsl(query.decode("latin-1"), keep_blank_values=True))
    refused = [
        ParameterError(f"/{escaped(name)}", "is not known", accepted_names(name, known))
        for name in given
        if name not in known
    ] + [
        ParameterError(f"/{name}", f"is given {times} times", "one value")
        for name, times in given.items()
        if times > 1 and name in known
    ]
    if refused:
        listed = ", ".join(field.pointer for field in refused[:5])
        raise UnknownParameter(f"Not accepted: {listed}.", fields=refused[:_REFUSED_MAX])


def _names(dependant: Dependant) -> Iterable[str]:
    for field in dependant.query_params:
        yield field.alias
    for inner in dependant.dependencies:
        yield from _names(inner)
