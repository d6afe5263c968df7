"""Event streams (SSE): bounded mailboxes between what happens and each client that watches.

FastAPI writes the stream: an endpoint with `response_class=EventSourceResponse` (from `fastapi.sse`) that yields
`ServerSentEvent`s; it sends a heartbeat comment every 15 seconds and cancels the endpoint when the client leaves. What
can fail (404, 403, no room for another stream) belongs in a dependency, which runs before the stream starts and is left
when it has ended; no transaction is held while it runs.
"""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Generator, Hashable
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Final, TypeVar
from uuid import UUID

from fastapi import Header
from fastapi.sse import ServerSentEvent

from shared.http.auth import Principal
from shared.kernel.errors import TooManyRequests, Unavailable
from shared.telemetry.metrics import LIVE_STREAMS_DROPPED, LIVE_STREAMS_OPEN

KeyT = TypeVar("KeyT", bound=Hashable)

LastEventId = Annotated[
    str | None,
    Header(alias="Last-Event-ID", max_length=200, description="The id of the last event seen; sent on reconnection."),
]

_SUBJECTS_MAX: Final = 1000
_RETRY_SECONDS: Final = 5
ENDED: Final = "ended"
"""The name of the last event of a stream that its client did not end; its data has the reason."""


class TooManyStreams(Unavailable):
    """This process serves as many event streams as it takes."""

    code = "too_many_streams"


class TooManyStreamsOfTenant(TooManyRequests):
    """The tenant has as many event streams as this process gives one tenant."""

    code = "too_many_streams_of_tenant"
    title = "Too many streams of the tenant"


class TooManyStreamsOfPerson(TooManyRequests):
    """The person has as many event streams as this process gives one person."""

    code = "too_many_streams_of_person"
    title = "Too many streams of the person"


class EndReason(StrEnum):
    """Why a stream ends that its client did not end."""

    TOKEN_EXPIRED = "token_expired"  # noqa: S105
    RIGHTS_CHANGED = "rights_changed"
    ORGANISATION_CHANGED = "organisation_changed"


_END_MESSAGES: Final = {
    EndReason.TOKEN_EXPIRED: "The token has expired; connect again with a new one.",
    EndReason.RIGHTS_CHANGED: "You may not see this any more.",
    EndReason.ORGANISATION_CHANGED: "The organisation has changed; connect again to see it as it is now.",
}


def ended(reason: EndReason) -> ServerSentEvent:
    """The last event of a stream."""
    return ServerSentEvent(event=ENDED, raw_data=json.dumps({"reason": reason, "message": _END_MESSAGES[reason]}))


@dataclass(frozen=True, slots=True)
class StreamLimits:
    """How many event streams a process serves: in all, of one tenant, and of one person."""

    streams_max: int
    per_tenant_max: int
    per_person_max: int


class Mailbox:
    """What one client has not been sent yet: the newest event of each subject, in the order they first changed.

    A client that reads slowly gets fewer, newer events. When more than `subjects_max` subjects wait, the stream ends
    and the client comes back with Last-Event-ID.
    """

    def __init__(self, subjects_max: int) -> None:
        self._subjects_max = subjects_max
        self._waiting: dict[str, ServerSentEvent] = {}
        self._changed = asyncio.Event()
        self._closed = False
        self._last: ServerSentEvent | None = None

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

    def close(self, last: ServerSentEvent | None = None) -> None:
        """End the stream once what waits has been sent, with a last event that has the reason if there is one."""
        if not self._closed:
            self._last = last
        self._closed = True
        self._changed.set()

    async def __aiter__(self) -> AsyncIterator[ServerSentEvent]:
        while True:
            while self._waiting:
                yield self._waiting.pop(next(iter(self._waiting)))
            if self._closed:
                if self._last is not None:
                    yield self._last
                return
            self._changed.clear()
            await self._changed.wait()


class Streams:
    """The event streams a process is serving: so many, and ended when it stops or their tokens do."""

    def __init__(self, limits: StreamLimits) -> None:
        self._limits = limits
        self._open: set[Mailbox] = set()
        self._by_tenant: Counter[UUID] = Counter()
        self._by_person: Counter[tuple[UUID, UUID]] = Counter()
        self._closed = False

    def _check_room(self, principal: Principal) -> None:
        limits = self._limits
        person = _person(principal)
        if person is not None and self._by_person[person] >= limits.per_person_max:
            raise TooManyStreamsOfPerson(
                f"You have {limits.per_person_max} event streams open, as many as one person may have; close one.",
                retry_after_seconds=_RETRY_SECONDS,
            )
        if self._by_tenant[principal.tenant_id] >= limits.per_tenant_max:
            raise TooManyStreamsOfTenant(
                f"Your company has {limits.per_tenant_max} event streams open here, as many as one tenant may have.",
                retry_after_seconds=_RETRY_SECONDS,
            )
        if self._closed or len(self._open) >= limits.streams_max:
            raise TooManyStreams("No more event streams can be served here.", retry_after_seconds=_RETRY_SECONDS)

    @contextmanager
    def open(self, principal: Principal) -> Generator[Mailbox]:
        """A mailbox for one client, closed when its token expires, forgotten at the end of the block.

        Raises TooManyStreamsOfPerson, TooManyStreamsOfTenant, and TooManyStreams, also when the process is stopping.
        """
        self._check_room(principal)
        mailbox = Mailbox(_SUBJECTS_MAX)
        person = _person(principal)
        self._open.add(mailbox)
        self._by_tenant[principal.tenant_id] += 1
        if person is not None:
            self._by_person[person] += 1
        LIVE_STREAMS_OPEN.inc()
        expiry = None
        if principal.expires_at is not None:
            seconds = max(0.0, (principal.expires_at - datetime.now(UTC)).total_seconds())
            expiry = asyncio.get_running_loop().call_later(seconds, mailbox.close, ended(EndReason.TOKEN_EXPIRED))
        try:
            yield mailbox
        finally:
            if expiry is not None:
                expiry.cancel()
            self._open.discard(mailbox)
            _less(self._by_tenant, principal.tenant_id)
            if person is not None:
                _less(self._by_person, person)
            LIVE_STREAMS_OPEN.dec()

    def close(self) -> None:
        """End every stream and take no more: the process is stopping."""
        self._closed = True
        for mailbox in self._open:
            mailbox.close()


def _person(principal: Principal) -> tuple[UUID, UUID] | None:
    return None if principal.person_id is None else (principal.tenant_id, principal.person_id)


def _less(counts: Counter[KeyT], key: KeyT) -> None:
    counts[key] -= 1
    if not counts[key]:
        del counts[key]
