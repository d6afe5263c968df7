"""Snapshots of records, told in any order, repeated or not: which is newest, and what that changes. Pure.

What deals and activities have in common.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Generic, NamedTuple, Protocol, Self, TypeVar
from uuid import UUID


class Version(Protocol):
    """Where a snapshot stands among those of the same record."""

    def __lt__(self, other: Self, /) -> bool: ...


class Facts(Protocol):
    """A record as the rules see it."""

    @property
    def version(self) -> Version: ...


FactsT = TypeVar("FactsT", bound=Facts)
FactsT_co = TypeVar("FactsT_co", bound=Facts, covariant=True)


class Snapshot(Protocol[FactsT_co]):
    """One version of one record as its event says it, and which."""

    @property
    def tenant_id(self) -> UUID: ...
    @property
    def id(self) -> UUID: ...
    @property
    def modified_at(self) -> datetime: ...
    @property
    def sequence(self) -> int: ...
    @property
    def delivery_id(self) -> UUID: ...
    @property
    def received_at(self) -> datetime: ...
    @property
    def connection_id(self) -> UUID: ...
    @property
    def version(self) -> Version: ...

    def facts(self) -> FactsT_co: ...


SnapshotT = TypeVar("SnapshotT", bound=Snapshot[Facts])


class Change(NamedTuple, Generic[FactsT_co]):
    """A record whose newest version is another one now. `before` is None for a record that was not known."""

    tenant_id: UUID
    before: FactsT_co | None
    after: FactsT_co
    received_at: datetime
    """When the delivery that brought the new version was accepted."""
    connection_id: UUID
    """The connection that the record is of, for ever."""


@dataclass(frozen=True)
class Recorded(Generic[FactsT_co]):
    """What became of versions of records that were told in some order."""

    changes: tuple[Change[FactsT_co], ...]
    """In the order of tenant and record, one for a record."""
    overtaken: frozenset[tuple[UUID, UUID]]
    """The records (tenant, id) whose version told last is older than the newest."""


def distinct(told: Sequence[SnapshotT]) -> list[SnapshotT]:
    """Each version once, in the order of tenant, record and version."""
    versions = {
        (
            each.tenant_id.int,
            each.id.int,
            each.modified_at,
            each.sequence,
            each.delivery_id.int,
        ): each
        for each in told
    }
    return [versions[key] for key in sorted(versions)]


def newest_of_each(versions: Sequence[SnapshotT]) -> list[bool]:
    """Which of `distinct` versions are the newest of their record among them."""
    records = [(each.tenant_id.int, each.id.int) for each in versions]
    return [one != after for one, after in pairwise(records)] + [True]


def recorded(
    told: Sequence[Snapshot[FactsT]], newest: Sequence[tuple[Snapshot[FactsT], FactsT | None]]
) -> Recorded[FactsT]:
    """What became of snapshots told in this order.

    `newest` has the newest of each record among them, each with what was held of the record before.
    """
    # Numbers are hashed and compared several times as fast as UUIDs.
    told_last = {(each.tenant_id.int, each.id.int): each for each in told}
    changes: list[Change[FactsT]] = []
    overtaken: set[tuple[UUID, UUID]] = set()
    for snapshot, before in newest:
        last = told_last[snapshot.tenant_id.int, snapshot.id.int]
        if before is None or before.version < snapshot.version:
            change = Change(snapshot.tenant_id, before, snapshot.facts(), snapshot.received_at, snapshot.connection_id)
            changes.append(change)
            is_overtaken = last is not snapshot and last.version < snapshot.version
        else:
            is_overtaken = last.version < before.version
        if is_overtaken:
            overtaken.add((snapshot.tenant_id, snapshot.id))
    return Recorded(tuple(changes), frozenset(overtaken))
