"""An activity as the rules see it: what somebody did for a deal or an account, or is to do."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from operator import attrgetter
from uuid import UUID

from shared.kernel.filters import Catalogue, FieldType, Value


class ActivityType(StrEnum):
    """What somebody did, or is to do."""

    CALL = "call"
    MEETING = "meeting"
    EMAIL = "email"
    TASK = "task"


class ActivityStatus(StrEnum):
    """Whether it has been done."""

    PLANNED = "planned"
    DONE = "done"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True, order=True)
class ActivityVersion:
    """Total order of an activity's snapshots: the source's modified time, then its sequence, then the delivery."""

    modified_at: datetime
    sequence: int
    delivery_id: UUID


@dataclass(frozen=True, slots=True)
class ActivityFacts:
    """One version of one activity. Absent facts are None."""

    activity_id: UUID
    source: str
    external_id: str
    version: ActivityVersion
    is_gone: bool
    """Whether the source deleted it."""
    type: ActivityType
    status: ActivityStatus
    owner_external_id: str | None = None
    subject: str | None = None
    occurred_at: datetime | None = None
    """When it took place, or is to."""
    duration_seconds: Decimal | None = None
    outcome: str | None = None
    deal_external_id: str | None = None
    account_id: str | None = None
    custom: dict[str, str] = field(default_factory=dict)

    def value_of(self, name: str) -> Value | None:
        """The value of a field of ACTIVITY_FIELDS, or None when the activity has none."""
        return activity_field_reader(name)(self)


_CUSTOM_FAMILY = "custom."
_NUMBERS = frozenset({"duration_seconds"})
_FIELDS = (
    "type",
    "status",
    "subject",
    "outcome",
    "duration_seconds",
    "deal_external_id",
    "account_id",
    "source",
)


def activity_field_reader(name: str) -> Callable[[ActivityFacts], Value | None]:
    """`value_of` of one field, prepared for being asked of many activities."""
    if name.startswith(_CUSTOM_FAMILY):
        key = name[len(_CUSTOM_FAMILY) :]
        return lambda activity: activity.custom.get(key)
    return attrgetter(name)


ACTIVITY_FIELDS = Catalogue(
    {name: FieldType.NUMBER if name in _NUMBERS else FieldType.TEXT for name in _FIELDS},
    text_families=(_CUSTOM_FAMILY,),
)
"""Every activity field a filter may name."""

ACTIVITY_NUMBER_FIELDS = tuple(sorted(_NUMBERS))
"""The activity fields that can be summed."""
