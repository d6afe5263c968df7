"""Finishing what must be finished even when the caller is cancelled."""

import asyncio
from collections.abc import Coroutine
from typing import TypeVar

import anyio

T = TypeVar("T")


async def to_the_end(work: Coroutine[object, object, T]) -> T:
    """Await `work` to its end whatever cancels the caller, then let the cancellation through.

    anyio's shield holds off cancel scopes; a bare `Task.cancel` is held off by running the work in a task of its own.
    The work must bound its own time.
    """
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    with anyio.CancelScope(shield=True):
        while not task.done():
            try:
                await asyncio.wait([task])
            except asyncio.CancelledError as error:
                cancelled = error
    result = task.result()
    if cancelled is not None:
        raise cancelled
    return result
