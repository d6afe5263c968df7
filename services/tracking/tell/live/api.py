"""Live streams over HTTP."""

from collections.abc import AsyncGenerator, AsyncIterator, Collection, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Annotated, Protocol
from uuid import UUID

from fastapi import APIRouter, Depends
from fastapi.sse import EventSourceResponse, ServerSentEvent

from services.tracking.tell.live.hub import LiveHub, LiveNotReady, seen_version, sse
from services.tracking.tell.live.rights import StreamRights, Watchable
from shared.contracts.progress import Progress
from shared.db.database import Transaction
from shared.http.auth import CurrentPrincipal, Principal
from shared.http.problems import responses
from shared.http.reader import Reader, RequestReader
from shared.http.sse import (
    ENDED,
    LastEventId,
    Mailbox,
    Streams,
    TooManyStreams,
    TooManyStreamsOfPerson,
    TooManyStreamsOfTenant,
)
from shared.http.wiring import handed
from shared.kernel.errors import NotFound

router = APIRouter(prefix="/v1", tags=["live"])


class ProgressSource(Protocol):
    """Who may watch what, and its progress now. What a caller may not see raises a NotFound."""

    async def watched_goal(self, tx: Transaction, principal: Principal, goal_id: UUID) -> frozenset[UUID]:
        """The ids of goals and owners to watch to see a goal."""

    async def watched_person(self, tx: Transaction, principal: Principal, person_id: UUID) -> frozenset[UUID]:
        """Those to watch to see a person's goals."""

    async def watched_team(self, tx: Transaction, principal: Principal, team_id: UUID) -> frozenset[UUID]:
        """Those to watch to see a team's goals and those of everyone in it."""

    async def current(self, tx: Transaction, principal: Principal, watched: frozenset[UUID]) -> Sequence[Progress]:
        """The progress of the watched goals now."""

    async def revisions(self, tx: Transaction, tenant_ids: Collection[UUID]) -> Mapping[UUID, int]:
        """A number for each tenant that grows whenever who may watch what may have changed."""


@dataclass(frozen=True)
class LiveStreams:
    """What the streams of a process are made of."""

    hub: LiveHub
    source: ProgressSource
    rights: StreamRights


@dataclass(frozen=True)
class Watch:
    """What one client watches."""

    live: LiveStreams
    mailbox: Mailbox
    reader: Reader
    principal: Principal
    watched: frozenset[UUID]
    watchable: Watchable

    async def events(self, last_event_id: str | None) -> AsyncGenerator[ServerSentEvent]:
        """The progress of the goals now, then every change; of the goal in `last_event_id` only what is newer."""
        seen = seen_version(last_event_id)
        sent: dict[UUID, int] = {} if seen is None else dict([seen])
        # Listening starts before reading, so nothing that happens in between is missed.
        with (
            self.live.hub.watching(self.mailbox, ((self.principal.tenant_id, each) for each in self.watched)),
            self.live.rights.checking(self.principal.tenant_id, self.watched, self.watchable, self.mailbox),
        ):
            async with self.reader.transaction() as tx:
                current = await self.live.source.current(tx, self.principal, self.watched)
            for event in current:
                if event.version > sent.get(event.goal_id, 0):
                    sent[event.goal_id] = event.version
                    yield sse(event)
            async for message in self.mailbox:
                goal_version = seen_version(message.id)
                if message.event == ENDED:
                    yield message
                elif goal_version is not None and goal_version[1] > sent.get(goal_version[0], 0):
                    sent[goal_version[0]] = goal_version[1]
                    yield message


@dataclass(frozen=True)
class Opening:
    """A stream that has its place and not yet what to watch."""

    live: LiveStreams
    mailbox: Mailbox
    reader: Reader
    principal: Principal

    async def watch(self, watchable: Watchable) -> Watch:
        async with self.reader.transaction() as tx:
            watched = await watchable(tx)
        return Watch(self.live, self.mailbox, self.reader, self.principal, watched, watchable)


async def opening(
    live: Annotated[LiveStreams, Depends(handed(LiveStreams))],
    streams: Annotated[Streams, Depends(handed(Streams))],
    reader: RequestReader,
    principal: CurrentPrincipal,
) -> AsyncIterator[Opening]:
    """Dependency: a place among the process's streams, until the answer, which is the stream, has ended.

    Raises LiveNotReady, TooManyStreams, TooManyStreamsOfTenant and TooManyStreamsOfPerson.
    """
    await live.hub.ready()
    with streams.open(principal) as mailbox:
        yield Opening(live, mailbox, reader, principal)


OpeningStream = Annotated[Opening, Depends(opening)]


async def watched_goal(goal_id: UUID, stream: OpeningStream) -> Watch:
    """Dependency: one goal. 404 for one the caller may not see."""
    return await stream.watch(lambda tx: stream.live.source.watched_goal(tx, stream.principal, goal_id))


async def watched_person(person_id: UUID, stream: OpeningStream) -> Watch:
    """Dependency: the goals of one person. 404 for one the caller may not see."""
    return await stream.watch(lambda tx: stream.live.source.watched_person(tx, stream.principal, person_id))


async def watched_team(team_id: UUID, stream: OpeningStream) -> Watch:
    """Dependency: the goals of one team and of everyone in it. 404 for one the caller may not see."""
    return await stream.watch(lambda tx: stream.live.source.watched_team(tx, stream.principal, team_id))


_ERRORS = responses(NotFound, LiveNotReady, TooManyStreams, TooManyStreamsOfTenant, TooManyStreamsOfPerson)


@router.get(
    "/goals/{goal_id}/progress/stream",
    summary="A goal's progress, live",
    response_class=EventSourceResponse,
    responses=_ERRORS,
)
async def stream_goal_progress(
    watch: Annotated[Watch, Depends(watched_goal)], last_event_id: LastEventId = None
) -> AsyncIterator[ServerSentEvent]:
    """The progress of the goal now, then every change, as events `progress` whose id is `<goal id>:<version>`."""
    async with aclosing(watch.events(last_event_id)) as events:
        async for event in events:
            yield event


@router.get(
    "/people/{person_id}/progress/stream",
    summary="The progress of a person's goals, live",
    response_class=EventSourceResponse,
    responses=_ERRORS,
)
async def stream_person_progress(
    watch: Annotated[Watch, Depends(watched_person)], last_event_id: LastEventId = None
) -> AsyncIterator[ServerSentEvent]:
    """The progress of each goal of the person now, then every change; goals that become active appear."""
    async with aclosing(watch.events(last_event_id)) as events:
        async for event in events:
            yield event


@router.get(
    "/teams/{team_id}/progress/stream",
    summary="The progress of a team's goals and its people's, live",
    response_class=EventSourceResponse,
    responses=_ERRORS,
)
async def stream_team_progress(
    watch: Annotated[Watch, Depends(watched_team)], last_event_id: LastEventId = None
) -> AsyncIterator[ServerSentEvent]:
    """The goals of the team, of the teams below it, and of everyone who was in one of them when the stream began."""
    async with aclosing(watch.events(last_event_id)) as events:
        async for event in events:
            yield event
