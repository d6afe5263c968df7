"""An activity as the rules see it: what somebody did for a deal or an account, or is to do."""

from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple
from uuid import UUID

from shared.kernel.deals import CUSTOM_FAMILY, DateField, Instalment, RecordVersion, Split
from shared.kernel.filters import Catalogue, FieldType, Value
from shared.kernel.periods import FiscalCalendar


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


class ActivityFacts(NamedTuple):
    """One version of one activity. Absent facts are None."""

    activity_id: UUID
    source: str
    external_id: str
    version: RecordVersion
    is_deleted: bool
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
    custom: Mapping[str, str] = MappingProxyType({})

    @property
    def is_gone(self) -> bool:
        """Whether the source deleted it."""
        return self.is_deleted

    @property
    def currency(self) -> None:
        """There is no money in it."""

    @property
    def splits(self) -> tuple[Split, ...]:
        """Nobody shares in it."""
        return ()

    @property
    def payments(self) -> tuple[Instalment, ...]:
        """Nobody pays for it."""
        return ()

    @property
    def invoices(self) -> tuple[Instalment, ...]:
        """Nobody is invoiced for it."""
        return ()

    @property
    def is_merged(self) -> bool:
        """Sources merge deals only."""
        return False

    def day(self, date_field: DateField, calendar: FiscalCalendar) -> date | None:
        """The tenant's day at the moment it took place; it has no other day."""
        if date_field is not DateField.OCCURRED or self.occurred_at is None:
            return None
        return calendar.business_date(self.occurred_at)

    def dated(self, _: FiscalCalendar) -> "ActivityFacts":
        """The facts as they are: filters need no day of an activity."""
        return self

    def value_of(self, name: str) -> Value | None:
        """The value of a field of ACTIVITY_FIELDS, or None when the activity has none."""
        if name.startswith(CUSTOM_FAMILY):
            return self.custom.get(name[len(CUSTOM_FAMILY) :])
        value: Value | None = getattr(self, name)
        return value


ACTIVITY_FIELDS = Catalogue(
    {
        "type": FieldType.TEXT,
        "status": FieldType.TEXT,
        "subject": FieldType.TEXT,
        "outcome": FieldType.TEXT,
        "duration_seconds": FieldType.NUMBER,
        "deal_external_id": FieldType.TEXT,
        "account_id": FieldType.TEXT,
        "source": FieldType.TEXT,
    },
    text_families=(CUSTOM_FAMILY,),
)
"""Every activity field a filter may name, each a fact of that name."""
