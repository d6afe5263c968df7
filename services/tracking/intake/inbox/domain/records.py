"""Records put together from what a source states of them: field by field the newest, in whatever order it comes.

Pure. Merging is commutative, associative and idempotent, so order, gaps filled later and repetition make no difference
to the fields; only `merges`, which orders what is made of the record, counts every change merged.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from services.tracking.intake.sources.domain import RecordChange

Key = tuple[UUID, UUID, str, str]
"""Tenant, connection, object and external id."""

Moment = tuple[datetime, int]


class Stamped(NamedTuple):
    """A field as it was at a moment."""

    value: object
    at: datetime
    sequence: int

    @property
    def moment(self) -> Moment:
        return (self.at, self.sequence)


@dataclass(frozen=True, slots=True)
class Record:
    """What is known of a record. Its presence is stored like a field of its own."""

    fields: Mapping[str, Stamped] = field(default_factory=dict)
    is_whole: bool = False
    merges: int = 0

    @property
    def values(self) -> dict[str, object]:
        """The fields that are not empty."""
        return {
            name: stamped.value
            for name, stamped in self.fields.items()
            if name != PRESENCE and stamped.value is not None
        }

    @property
    def is_deleted(self) -> bool:
        """Whether the newest that was stated of it is that it is gone."""
        presence = self.fields.get(PRESENCE)
        return presence is not None and presence.value is False

    @property
    def newest_at(self) -> datetime | None:
        """The time of what was stated last."""
        return max((stamped.at for stamped in self.fields.values()), default=None)

    def merged(self, change: RecordChange) -> "Record":
        """With a change. Of two values of one field the newer stays; of the same moment the one stated last."""
        fields = dict(self.fields)
        stated: dict[str, object] = {**change.values, PRESENCE: not change.is_deleted}
        for name, value in stated.items():
            known = fields.get(name)
            if known is None or known.moment <= (change.at, change.sequence):
                fields[name] = Stamped(value, change.at, change.sequence)
        return Record(fields, self.is_whole or change.is_whole, self.merges + 1)


PRESENCE = ""
"""The name under which it is stored whether the record is there: no field of a source has it."""
