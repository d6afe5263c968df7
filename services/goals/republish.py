"""Filling a lost topic again from what Postgres holds."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Final
from uuid import UUID

from services.goals.org import events as org_events
from services.goals.org import store as org
from services.goals.publishing import publish
from services.goals.rates import store as rates
from services.goals.rates.events import month_event
from services.goals.targets import store as targets
from services.goals.targets.events import goal_event
from shared.contracts.base import Event
from shared.contracts.goals import TOPIC as GOALS
from shared.contracts.goals import Goal
from shared.contracts.org import TOPIC as ORG
from shared.contracts.org import Calendar, ExchangeRates, Identity, Membership, Person, Team
from shared.db.database import Database, Scope, Transaction
from shared.kernel.periods import FiscalCalendar

_CHUNK: Final = 500
_VERSIONED: Final = (Calendar, ExchangeRates, Goal, Identity, Membership, Person, Team)

Key = tuple[UUID, UUID]
Chunk = tuple[Sequence[Event], Key | None]
"""The events of some things, and the key to go on after; None after the last."""

ReadChunk = Callable[[Transaction, Key | None], Awaitable[Chunk]]


async def republish(database: Database, topic: str) -> int:
    """Publish the newest snapshot of every subject of the topic again, of all tenants; how many there were.

    Versions stay as they are, so readers that have them take no notice. Each chunk is a transaction that keeps its
    things from changing, so that no old snapshot can follow a newer one into the topic. ValueError for a topic that is
    not this service's.
    """
    if topic not in _READERS:
        raise ValueError(f"{topic} is not published by goals; expected one of {', '.join(sorted(_READERS))}")
    count = 0
    for read in _READERS[topic]:
        after: Key | None = None
        while True:
            published, after = await database.run(Scope.every(), _publishing(read, after))
            count += published
            if after is None:
                break
    return count


async def versions(database: Database, topic: str) -> AsyncIterator[Mapping[tuple[UUID, str], int]]:
    """The version of every subject of the topic by tenant and subject, chunk by chunk, as they stand when read."""
    for read in _READERS[topic]:
        after: Key | None = None
        while True:
            async with database.transaction(Scope.every()) as tx:
                events, after = await read(tx, after)
            yield {(event.tenant_id, event.subject): event.version for event in events if isinstance(event, _VERSIONED)}
            if after is None:
                break


def _publishing(read: ReadChunk, after: Key | None) -> Callable[[Transaction], Awaitable[tuple[int, Key | None]]]:
    async def publish_chunk(tx: Transaction) -> tuple[int, Key | None]:
        events, last = await read(tx, after)
        await publish(tx, events)
        return len(events), last

    return publish_chunk


async def _calendars(tx: Transaction, _: Key | None) -> Chunk:
    return [org_events.calendar_event(tenant, held, tx.now) for tenant, held in await org.every_calendar(tx)], None


async def _people(tx: Transaction, after: Key | None) -> Chunk:
    found = await org.every_person(tx, after, _CHUNK)
    return [org_events.person_event(tenant, each) for tenant, each in found], _last([(t, e.id) for t, e in found])


async def _teams(tx: Transaction, after: Key | None) -> Chunk:
    found = await org.every_team(tx, after, _CHUNK)
    calendars = await org.calendars_of(tx, {tenant for tenant, _ in found})
    days = {tenant: held.fiscal.business_date(tx.now) for tenant, held in calendars.items()}
    without_calendar = FiscalCalendar().business_date(tx.now)
    events = [org_events.team_event(tenant, each, days.get(tenant, without_calendar)) for tenant, each in found]
    return events, _last([(t, e.id) for t, e in found])


async def _memberships(tx: Transaction, after: Key | None) -> Chunk:
    found = await org.every_membership(tx, after, _CHUNK)
    return [org_events.membership_event(tenant, each) for tenant, each in found], _last([(t, e.id) for t, e in found])


async def _identities(tx: Transaction, after: Key | None) -> Chunk:
    found = await org.every_identity(tx, after, _CHUNK)
    return [org_events.identity_event(tenant, each) for tenant, each in found], _last([(t, e.id) for t, e in found])


async def _rates(tx: Transaction, after: Key | None) -> Chunk:
    found = await rates.every_month(tx, after, _CHUNK)
    return [month_event(tenant, month) for tenant, _, month in found], _last(
        [(t, month_id) for t, month_id, _ in found]
    )


async def _goals(tx: Transaction, after: Key | None) -> Chunk:
    found = await targets.every_goal(tx, after, _CHUNK)
    return [goal_event(tenant, each) for tenant, each in found], _last([(t, e.id) for t, e in found])


def _last(keys: Sequence[Key]) -> Key | None:
    return keys[-1] if len(keys) == _CHUNK else None


_READERS: Final[Mapping[str, Sequence[ReadChunk]]] = {
    ORG: (_calendars, _people, _teams, _memberships, _identities, _rates),
    GOALS: (_goals,),
}
