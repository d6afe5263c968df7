"""What measures count: deals or activities, and what they have in common."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum
from operator import attrgetter
from typing import Final, Protocol, Self

from shared.kernel.activities import ACTIVITY_FIELDS, ActivityFacts
from shared.kernel.deals import CUSTOM_FAMILY, DEAL_FIELDS, DateField, DealFacts, Instalment, RecordVersion, Split
from shared.kernel.filters import Catalogue, Value
from shared.kernel.periods import FiscalCalendar

AHEAD_MAX: Final = timedelta(minutes=5)
"""How far ahead of ours a source's clock may be."""


def is_ahead(modified_at: datetime, received_at: datetime) -> bool:
    """Whether a record was modified later than the delivery that states it can have been sent."""
    return modified_at - received_at > AHEAD_MAX


def ordered_at(modified_at: datetime, received_at: datetime) -> datetime:
    """What a version of a record is ordered by: when its source modified it, or when it was received if that is ahead.

    So no version, however wrong the clock it was dated by, is newer than all that will ever follow.
    """
    return received_at if is_ahead(modified_at, received_at) else modified_at


class RecordKind(StrEnum):
    """What is counted."""

    DEAL = "deal"
    ACTIVITY = "activity"


class RecordFacts(Protocol):
    """One version of one record, as the rules see it."""

    @property
    def version(self) -> RecordVersion: ...
    @property
    def source(self) -> str: ...
    @property
    def owner_external_id(self) -> str | None: ...
    @property
    def currency(self) -> str | None:
        """Of its money, where it has some."""
        ...

    @property
    def splits(self) -> Sequence[Split]:
        """Who has which share of it, where the source shares it out."""
        ...

    @property
    def payments(self) -> Sequence[Instalment]:
        """What came in for it."""
        ...

    @property
    def invoices(self) -> Sequence[Instalment]:
        """What was invoiced of it."""
        ...

    @property
    def custom(self) -> Mapping[str, str]: ...
    @property
    def is_gone(self) -> bool:
        """Whether the source deleted the record or merged it into another."""
        ...

    @property
    def is_merged(self) -> bool:
        """Whether it is gone because it was merged."""
        ...

    def day(self, date_field: DateField, calendar: FiscalCalendar) -> date | None:
        """The day it counts on by one of the days of its kind, where it has that."""
        ...

    def dated(self, calendar: FiscalCalendar, /) -> Self:
        """The record with the days of what it states as instants: for `value_of`, `payments` and `invoices`."""
        ...

    def value_of(self, name: str) -> Value | None:
        """The value of a field of its kind, or None when the record has none."""
        ...


@dataclass(frozen=True, slots=True)
class RecordType:
    """One kind of record: what can be read of it."""

    facts: type[RecordFacts]
    fields: Catalogue
    """Every field a filter may name."""
    days: tuple[DateField, ...]
    """The days a measure may count it on, the usual one first."""

    def reader(self, name: str) -> Callable[[RecordFacts], Value | None]:
        """`value_of` of one field, prepared once for many records of this kind."""
        if name.startswith(CUSTOM_FAMILY):
            key = name[len(CUSTOM_FAMILY) :]
            return lambda facts: facts.custom.get(key)
        return attrgetter(name)


RECORD_TYPES: Mapping[RecordKind, RecordType] = {
    RecordKind.DEAL: RecordType(
        DealFacts,
        DEAL_FIELDS,
        (DateField.CLOSED, DateField.CREATED, DateField.EXPECTED_CLOSE, DateField.PAID, DateField.INVOICED),
    ),
    RecordKind.ACTIVITY: RecordType(ActivityFacts, ACTIVITY_FIELDS, (DateField.OCCURRED,)),
}
