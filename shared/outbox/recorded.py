"""Versioned things that are not published, with every version on the audit trail."""

from collections.abc import Callable, Mapping
from typing import Generic
from uuid import UUID

from pydantic_core import to_json

from shared.db.database import Transaction
from shared.db.versioned import ThingT, VersionedTable
from shared.outbox.trail import Trail, Unpublished

StateOf = Callable[[Transaction, ThingT], Mapping[str, object]]
"""What a version says on the trail, of JSON, with its `id` and `version`."""


class Recorded(Generic[ThingT]):
    """The things of a table, recorded in the transaction that stores them as `<kind>/<id>`."""

    def __init__(self, kind: str, things: VersionedTable[ThingT], state_of: StateOf[ThingT], trail: Trail) -> None:
        self._kind = kind
        self._things = things
        self._state_of = state_of
        self._trail = trail

    async def add(self, tx: Transaction, tenant_id: UUID, added: ThingT) -> ThingT:
        """Store and record a new thing."""
        await self._things.add(tx, tenant_id, added)
        await self._record(tx, tenant_id, added)
        return added

    async def for_change(self, tx: Transaction, tenant_id: UUID, thing_id: UUID, expected_version: int) -> ThingT:
        """The thing to be changed, which nobody else changes. Raises the kind's NotFound, VersionMismatch."""
        stored = await self._things.for_change(tx, tenant_id, thing_id, expected_version)
        await self._trail.begin(tx, [self._entry(tx, tenant_id, stored)])
        return stored

    async def save(self, tx: Transaction, tenant_id: UUID, saved: ThingT) -> ThingT:
        """Store and record the next version of a thing. Raises VersionMismatch."""
        await self._things.save(tx, tenant_id, saved)
        await self._record(tx, tenant_id, saved)
        return saved

    async def _record(self, tx: Transaction, tenant_id: UUID, thing: ThingT) -> None:
        entry = self._entry(tx, tenant_id, thing)
        await self._trail.record(tx, [entry], [entry.document])

    def _entry(self, tx: Transaction, tenant_id: UUID, thing: ThingT) -> Unpublished:
        state = self._state_of(tx, thing)
        document = to_json({**state, "tenant_id": tenant_id})
        return Unpublished(tenant_id, f"{self._kind}/{state['id']}", thing.version, document)
