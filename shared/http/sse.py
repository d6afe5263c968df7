"""Event streams (SSE): bounded mailboxes between what happens and each client that watches.

FastAPI writes the stream: an endpoint with `response_class=EventSourceResponse` (from `fastapi.sse`) that yields
`ServerSentEvent`s; it sends a heartbeat comment every 15 seconds and cancels the endpoint when the client leaves. What
can fail (404, 403) belongs in a dependency, which runs before the stream starts; no transaction is held while it runs.

A route that streams:

    @router.get("/v1/goals/{goal_id}/progress/stream", response_class=EventSourceResponse)
    async def stream_progress(watch: Annotated[Watch, Depends(watched_goal)]) -> AsyncIterator[ServerSentEvent]:
        with watch.streams.open() as mailbox:
            yield ...                       # the value now
            async for event in mailbox:     # then every change
                yield event
"""

import asyncio
from collections.abc import AsyncIterator, Generator
from contextlib import contextmanager
from typing import Annotated, Final

from fastapi import Header
from fastapi.sse import ServerSentEvent

from shared.kernel.errors import Unavailable
from shared.telemetry.metrics import LIVE_STREAMS_DROPPED, LIVE_STREAMS_OPEN

LastEventId = Annotated[
    str | None,
    Header(alias="Last-Event-ID", max_length=200, description="The id of the last event seen; sent on reconnection."),
]

_SUBJECTS_MAX: Final = 1000
_STREAMS_MAX: Final = 2000


class TooManyStreams(Unavailable):
    """This process serves as many event streams as it takes."""

    code = "too_many_streams"


class Mailbox:
    """What one client has not been sent yet: the newest event of each subject, in the order they first changed.

    A client that reads slowly gets fewer, newer events. When more subjects wait than it may hold, the stream ends and
    the client comes back with Last-Event-ID.
    """

    def __init__(self, subjects_max: int) -> None:
        self._subjects_max = subjects_max
        self._waiting: dict[str, ServerSentEvent] = {}
        self._changed = asyncio.Event()
        self._closed = False

    def put(self, subject: str, event: ServerSentEvent) -> None:
        """Leave an event for the client, in place of an older one of the subject. Never waits."""
        if self._closed:
            return
        if subject not in self._waiting and len(self._waiting) >= self._subjects_max:
            LIVE_STREAMS_DROPPED.inc()
            self._waiting.clear()
            self.close()
            return
        self._waiting[subject] = event
        self._changed.set()

    def close(self) -> None:
        """End the stream once what waits has been sent."""
        self._closed = True
        self._changed.set()

    async def __aiter__(self) -> AsyncIterator[ServerSentEvent]:
        while True:
            while self._waiting:
                yield self._waiting.pop(next(iter(self._waiting)))
            if self._closed:
                return
            self._changed.clear()
            await self._changed.wait()


class Streams:
    """The event streams a process is serving, so that it can end them when it stops."""

    def __init__(self, *, streams_max: int = _STREAMS_MAX, subjects_max: int = _SUBJECTS_MAX) -> None:
        self._streams_max = streams_max
        self._subjects_max = subjects_max
        self._open: set[Mailbox] = set()
        self._closed = False

    def check_room(self) -> None:
        """For the dependency that runs before a stream. Raises TooManyStreams, also when the process is stopping."""
        if self._closed or len(self._open) >= self._streams_max:
            raise TooManyStreams("No more event streams can be served here.", retry_after_seconds=5)

    @contextmanager
    def open(self) -> Generator[Mailbox]:
        """A mailbox for one client, forgotten at the end of the block. Raises TooManyStreams."""
        self.check_room()
        mailbox = Mailbox(self._subjects_max)
        self._open.add(mailbox)
        LIVE_STREAMS_OPEN.inc()
        try:
            yield mailbox
        finally:
            self._open.discard(mailbox)
            LIVE_STREAMS_OPEN.dec()

    def close(self) -> None:
        """End every stream and take no more: the process is stopping."""
        self._closed = True
        for mailbox in self._open:
            mailbox.close()
