"""Long work on the event loop of a process that others wait for: in slices, with as long a rest behind each."""

import asyncio
from time import perf_counter
from typing import Final

_SLICE_SECONDS: Final = 0.003


class Turns:
    """The slices of one piece of work, which begins when this is made."""

    def __init__(self) -> None:
        self._began = perf_counter()

    async def give(self) -> None:
        """Rest, once the slice has lasted long enough."""
        took = perf_counter() - self._began
        if took >= _SLICE_SECONDS:
            await asyncio.sleep(took)
            self._began = perf_counter()
