"""Snapshots of records, reported in any order, repeated or not: which is newest, and what that changes. Pure.

What deals and activities have in common.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Final, Generic, NamedTuple, Protocol, TypeVar
from uuid import UUID

from shared.kernel.deals import RecordVersion
from shared.kernel.records import RecordFacts

FactsT = TypeVar("FactsT", bound=RecordFacts)
FactsT_co = TypeVar("FactsT_co", bound=RecordFacts, covariant=True)


class Snapshot(Protocol):
    """One version of one record as its event states it, and which version that is."""

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
    def version(self) -> RecordVersion: ...


SnapshotT = TypeVar("SnapshotT", bound=Snapshot)


class CountedLater(Exception):
    """What was to be counted as it is published cannot be, and that was seen after it was recorded.

    Whoever publishes rolls back, and does it again without counting.
    """


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
    """What became of versions of records that were reported in some order."""

    changes: tuple[Change[FactsT_co], ...]
    """In the order of tenant and record, one for a record."""
    superseded: frozenset[tuple[UUID, UUID]]
    """The records (tenant, id) whose version reported last is older than the newest, or may be."""


class Superseded(NamedTuple):
    """The records (tenant, id) of which something newer is stored than what was reported last."""

    deals: Collection[tuple[UUID, UUID]]
    activities: Collection[tuple[UUID, UUID]]


NOTHING_SUPERSEDED: Final = Superseded((), ())


def distinct(reported: Sequence[SnapshotT]) -> list[SnapshotT]:
    """Each version once, in the order of tenant, record and version."""
    versions = {
        (
            each.tenant_id.int,
            each.id.int,
            each.modified_at,
            each.sequence,
            each.delivery_id.int,
        ): each
        for each in reported
    }
    return [versions[key] for key in sorted(versions)]


def newest_of_each(versions: Sequence[SnapshotT]) -> list[bool]:
    """Which of `distinct` versions are the newest of their record among them."""
    records = [(each.tenant_id.int, each.id.int) for each in versions]
    return [one != after for one, after in pairwise(records)] + [True]


def recorded(
    reported: Sequence[SnapshotT],
    newest: Sequence[tuple[SnapshotT, FactsT | None]],
    facts_of: Callable[[SnapshotT], FactsT],
    *,
    reported_beside: bool = False,
) -> Recorded[FactsT]:
    """What became of snapshots reported in this order.

    `newest` has the newest of each record among them, each with what was stored of the record before.
    `reported_beside`: what was stored before may have been reported before these or behind them.
    """
    # Numbers are hashed and compared several times as fast as UUIDs.
    reported_last = {(each.tenant_id.int, each.id.int): each for each in reported}
    changes: list[Change[FactsT]] = []
    superseded: set[tuple[UUID, UUID]] = set()
    for snapshot, before in newest:
        last = reported_last[snapshot.tenant_id.int, snapshot.id.int]
        if before is None or before.version < snapshot.version:
            facts = facts_of(snapshot)
            changes.append(Change(snapshot.tenant_id, before, facts, snapshot.received_at, snapshot.connection_id))
            is_superseded = (last is not snapshot and last.version < snapshot.version) or (
                reported_beside and before is not None
            )
        else:
            is_superseded = last.version < before.version
        if is_superseded:
            superseded.add((snapshot.tenant_id, snapshot.id))
    return Recorded(tuple(changes), frozenset(superseded))
