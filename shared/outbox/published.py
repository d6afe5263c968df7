"""Versioned things of which every version is published."""

from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic
from uuid import UUID

from shared.contracts.base import Event
from shared.db.database import Transaction
from shared.db.versioned import Key, ThingT, VersionedTable
from shared.kernel.errors import InvalidInput, Refusals, check_version
from shared.outbox.outbox import Outbox
from shared.outbox.republishing import Newest

EventsOf = Callable[[Transaction, Sequence[tuple[UUID, ThingT]]], Awaitable[Sequence[Event]]]
"""What is published of things, each with its tenant: an event each, in their order."""


def each(event_of: Callable[[UUID, ThingT], Event]) -> EventsOf[ThingT]:
    """Makes the event of each thing of its tenant and itself alone."""

    async def events_of(_: Transaction, things: Sequence[tuple[UUID, ThingT]]) -> Sequence[Event]:
        return [event_of(tenant_id, thing) for tenant_id, thing in things]

    return events_of


@dataclass(frozen=True, slots=True)
class Change(Generic[ThingT]):
    """How one of many things is to change: from which version, and to what.

    `pointer` is where the request that wants it has it.
    """

    pointer: str
    thing_id: UUID
    expected_version: int
    change: Callable[[ThingT], ThingT]


class Published(Generic[ThingT]):
    """The things of a table, published in the transaction that stores them, under their tenant's lock.

    So what was checked under the lock is still true at the commit, and the snapshots of a thing are published in the
    order of its versions.
    """

    def __init__(self, things: VersionedTable[ThingT], events_of: EventsOf[ThingT], outbox: Outbox) -> None:
        self._things = things
        self._events_of = events_of
        self._outbox = outbox

    async def for_change(self, tx: Transaction, tenant_id: UUID, thing_id: UUID, expected_version: int) -> ThingT:
        """The thing to be changed, the tenant locked. Raises the kind's NotFound, VersionMismatch."""
        await tx.lock_tenants_exclusive([tenant_id])
        stored = await self._things.for_change(tx, tenant_id, thing_id, expected_version)
        await self._begin_trail(tx, tenant_id, [stored])
        return stored

    async def for_change_many(
        self, tx: Transaction, tenant_id: UUID, thing_ids: Collection[UUID]
    ) -> dict[UUID, ThingT]:
        """Those of these things that there are, by id, to be changed, in whatever version; the tenant is locked."""
        await tx.lock_tenants_exclusive([tenant_id])
        stored = await self._things.locked_many(tx, tenant_id, thing_ids)
        await self._begin_trail(tx, tenant_id, stored.values())
        return stored

    async def find_many(
        self, tx: Transaction, tenant_id: UUID, thing_ids: Collection[UUID]
    ) -> dict[UUID, ThingT | None]:
        """The same for those that there are or were; None is one that was deleted."""
        found = await self.for_change_many(tx, tenant_id, thing_ids)
        return {**dict.fromkeys(await self._things.used_ids(tx, tenant_id, thing_ids)), **found}

    async def for_changes(
        self, tx: Transaction, tenant_id: UUID, changes: Sequence[Change[ThingT]], refusals: Refusals
    ) -> list[tuple[Change[ThingT], ThingT]]:
        """Each change with its thing, the tenant locked; without those that are refused.

        Refused are a thing that there is not (the kind's NotFound), one in another version than a change was made from
        (VersionMismatch), and a second change of a thing (InvalidInput).
        """
        stored = await self.for_change_many(tx, tenant_id, {change.thing_id for change in changes})
        found: dict[UUID, tuple[Change[ThingT], ThingT]] = {}
        for change in changes:
            with refusals.at(change.pointer):
                thing = self._things.found(change.thing_id, stored.get(change.thing_id))
                check_version(thing.version, change.expected_version)
                if change.thing_id in found:
                    first = found[change.thing_id][0].pointer
                    raise InvalidInput.field("/id", f"is changed by {first} already", "each thing once")
                found[change.thing_id] = (change, thing)
        return list(found.values())

    async def add(self, tx: Transaction, tenant_id: UUID, added: ThingT) -> ThingT:
        """Store and publish a new thing; the caller has locked the tenant."""
        await self.add_many(tx, tenant_id, [added])
        return added

    async def add_many(self, tx: Transaction, tenant_id: UUID, added: Sequence[ThingT]) -> None:
        """Store and publish new things; the caller has locked the tenant."""
        await self._things.add_many(tx, tenant_id, added)
        await self._publish(tx, tenant_id, added)

    async def save(self, tx: Transaction, tenant_id: UUID, saved: ThingT) -> ThingT:
        """Store and publish the next version of a thing from `for_change`."""
        await self.save_many(tx, tenant_id, [saved])
        return saved

    async def save_many(self, tx: Transaction, tenant_id: UUID, saved: Sequence[ThingT]) -> None:
        """Store and publish the next version of each of several things from `for_change_many`."""
        await self._things.save_many(tx, tenant_id, saved)
        await self._publish(tx, tenant_id, saved)

    async def read_next(self, tx: Transaction, after: Key, limit: int) -> Sequence[Newest]:
        """The things that follow a key, to be published again."""
        found = await self._things.every(tx, after, limit)
        events = await self._events_of(tx, [(tenant_id, thing) for (tenant_id, _), thing in found])
        return [Newest(key, thing.version, event) for (key, thing), event in zip(found, events, strict=True)]

    async def _begin_trail(self, tx: Transaction, tenant_id: UUID, things: Iterable[ThingT]) -> None:
        if (trail := self._outbox.trail) is not None:
            await trail.begin(tx, await self._events_of(tx, [(tenant_id, thing) for thing in things]))

    async def _publish(self, tx: Transaction, tenant_id: UUID, things: Sequence[ThingT]) -> None:
        await self._outbox.publish(tx, await self._events_of(tx, [(tenant_id, thing) for thing in things]))
