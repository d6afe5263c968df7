"""What a route needs of its process: handed to the app where the process is wired, and found there by its class."""

from collections.abc import Awaitable, Callable, Iterable
from functools import cache
from typing import TypeVar

from fastapi import FastAPI, Request

PartT = TypeVar("PartT")


def hand_over(app: FastAPI, parts: Iterable[object]) -> None:
    """Give these to the app's routes. ValueError for two of one class: a route could not name the one it needs."""
    handed_over: dict[type, object] = {}
    for part in parts:
        if type(part) in handed_over:
            raise ValueError(f"two parts of class {type(part).__name__} were handed over")
        handed_over[type(part)] = part
    app.state.parts = handed_over


@cache
def handed(kind: type[PartT]) -> Callable[[Request], Awaitable[PartT]]:
    """The dependency of a route on the one part of this class: `Annotated[Goals, Depends(handed(Goals))]`."""

    async def part(request: Request) -> PartT:
        found: PartT = request.app.state.parts[kind]
        return found

    return part
