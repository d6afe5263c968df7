"""A deal as the rules see it: plain facts, the same for progress and for pay."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple
from uuid import UUID

from shared.kernel.filters import Catalogue, FieldType, Value
from shared.kernel.periods import FiscalCalendar


class DealKind(StrEnum):
    """What happened to the record as a whole, as a snapshot states it."""

    UPSERTED = "upserted"
    DELETED = "deleted"
    RESTORED = "restored"
    MERGED = "merged"


class DealStatus(StrEnum):
    """The canonical status every source's stages are mapped to."""

    OPEN = "open"
    WON = "won"
    LOST = "lost"


class DateField(StrEnum):
    """Which of a record's days a measure counts it on."""

    CLOSED = "closed"
    CREATED = "created"
    EXPECTED_CLOSE = "expected_close"
    PAID = "paid"
    """Of money: the day of each payment. Of what is counted otherwise: the day of the first."""
    INVOICED = "invoiced"
    """Of money: the day of each invoice. Of what is counted otherwise: the day of the first."""
    OCCURRED = "occurred"
    """The day an activity took place; the others are of deals."""


class RecordVersion(NamedTuple):
    """Total order of a record's snapshots: the source's modified time, then its sequence, then the delivery."""

    modified_at: datetime
    sequence: int
    delivery_id: UUID


@dataclass(frozen=True, slots=True)
class Split:
    """A share of a deal for one of the source's users. `percent` of 100."""

    owner_external_id: str
    percent: Decimal
    role: str = "owner"


@dataclass(frozen=True, slots=True)
class Instalment:
    """A payment or an invoice of a deal, in its currency; negative for money that went back and for a credit note.

    Where `at` is known, the tenant's calendar decides the day; `on` is the day by the source.
    """

    on: date
    amount: Decimal
    at: datetime | None = None


class DealFacts(NamedTuple):
    """One version of one deal. `quantity` is the sum over its products. Absent facts are None.

    `home_amount` is what the source itself makes of `amount` in `home_currency`.
    """

    deal_id: UUID
    source: str
    external_id: str
    version: RecordVersion
    kind: DealKind
    status: DealStatus
    owner_external_id: str | None = None
    name: str | None = None
    amount: Decimal | None = None
    currency: str | None = None
    quantity: Decimal | None = None
    created_at: datetime | None = None
    expected_close_on: date | None = None
    closed_at: datetime | None = None
    closed_on: date | None = None
    stage: str | None = None
    pipeline: str | None = None
    probability: Decimal | None = None
    type: str | None = None
    channel: str | None = None
    region: str | None = None
    account_id: str | None = None
    account_name: str | None = None
    custom: Mapping[str, str] = MappingProxyType({})
    splits: tuple[Split, ...] = ()
    home_amount: Decimal | None = None
    home_currency: str | None = None
    payments: tuple[Instalment, ...] = ()
    expected_close_at: datetime | None = None
    invoices: tuple[Instalment, ...] = ()

    @property
    def is_gone(self) -> bool:
        """Whether the source deleted the deal or merged it into another."""
        return self.kind is DealKind.DELETED or self.kind is DealKind.MERGED

    @property
    def is_merged(self) -> bool:
        """Whether the source merged the deal into another."""
        return self.kind is DealKind.MERGED

    @property
    def paid_amount(self) -> Decimal | None:
        """The sum of its payments, in its currency."""
        return _sum(self.payments)

    @property
    def invoiced_amount(self) -> Decimal | None:
        """The sum of its invoices, in its currency."""
        return _sum(self.invoices)

    def day(self, date_field: DateField, calendar: FiscalCalendar) -> date | None:
        """The business date: a date the source states as such, else the tenant's day at the instant it states."""
        if date_field is DateField.CLOSED:
            if self.closed_on is not None or self.closed_at is None:
                return self.closed_on
            return calendar.business_date(self.closed_at)
        if date_field is DateField.CREATED:
            return None if self.created_at is None else calendar.business_date(self.created_at)
        dated = self.dated(calendar)
        if date_field is DateField.EXPECTED_CLOSE:
            return dated.expected_close_on
        instalments = dated.payments if date_field is DateField.PAID else dated.invoices
        return min((each.on for each in instalments), default=None)

    def dated(self, calendar: FiscalCalendar) -> "DealFacts":
        """The facts with the days that filters need, and those of payments and invoices, as `day` decides them."""
        if self.expected_close_at is None and not self.payments and not self.invoices:
            return self
        facts = self
        if self.expected_close_at is not None and self.expected_close_on is None:
            facts = facts._replace(expected_close_on=calendar.business_date(self.expected_close_at))
        if any(each.at is not None for each in self.payments):
            facts = facts._replace(payments=_dated(self.payments, calendar))
        if any(each.at is not None for each in self.invoices):
            facts = facts._replace(invoices=_dated(self.invoices, calendar))
        return facts

    def value_of(self, name: str) -> Value | None:
        """The value of a field of DEAL_FIELDS, or None when the deal has none; of days as far as it is `dated`."""
        if name.startswith(CUSTOM_FAMILY):
            return self.custom.get(name[len(CUSTOM_FAMILY) :])
        value: Value | None = getattr(self, name)
        return value


def _sum(instalments: tuple[Instalment, ...]) -> Decimal | None:
    return sum((each.amount for each in instalments), Decimal(0)) if instalments else None


def _dated(instalments: tuple[Instalment, ...], calendar: FiscalCalendar) -> tuple[Instalment, ...]:
    return tuple(
        each if each.at is None else Instalment(calendar.business_date(each.at), each.amount) for each in instalments
    )


CUSTOM_FAMILY = "custom."
DEAL_FIELDS = Catalogue(
    {
        "name": FieldType.TEXT,
        "amount": FieldType.NUMBER,
        "currency": FieldType.TEXT,
        "home_currency": FieldType.TEXT,
        "paid_amount": FieldType.NUMBER,
        "invoiced_amount": FieldType.NUMBER,
        "quantity": FieldType.NUMBER,
        "status": FieldType.TEXT,
        "stage": FieldType.TEXT,
        "pipeline": FieldType.TEXT,
        "probability": FieldType.NUMBER,
        "type": FieldType.TEXT,
        "channel": FieldType.TEXT,
        "region": FieldType.TEXT,
        "source": FieldType.TEXT,
        "account_id": FieldType.TEXT,
        "account_name": FieldType.TEXT,
        "expected_close_on": FieldType.DATE,
    },
    text_families=(CUSTOM_FAMILY,),
)
"""Every deal field a filter may name, each a fact of that name."""
