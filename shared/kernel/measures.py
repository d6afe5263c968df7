"""What one deal adds to a number: the rule that progress and pay share.

A measure is `sum` of a number field, `count` of deals, or `distinct` values of a text field, over the deals that pass a
filter, on the day a date field names.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import StrEnum
from typing import NamedTuple

from shared.kernel.deals import CUSTOM_FAMILY, DEAL_FIELDS, DEAL_NUMBER_FIELDS, DateField, DealFacts, field_reader
from shared.kernel.errors import InvalidInput
from shared.kernel.filters import EVERYTHING, FieldType, Filter, Value, first_failing
from shared.kernel.money import parse_currency
from shared.kernel.periods import FiscalCalendar

MONEY_FIELDS = frozenset({"amount", "paid_amount"})
_ONE = Decimal(1)


class Aggregate(StrEnum):
    """How deals become one number."""

    SUM = "sum"
    COUNT = "count"
    DISTINCT = "distinct"


class Exclusion(StrEnum):
    """Why a deal adds nothing. The words are part of the public interface of every `explain`."""

    DELETED = "deleted"
    MERGED = "merged"
    FILTER = "filter_not_met"
    NO_DATE = "no_date"
    NO_VALUE = "no_value"
    CURRENCY_DIFFERS = "currency_differs"
    OWNER_UNMAPPED = "owner_unmapped"
    OWNER_NOT_MEMBER = "owner_not_member_on_date"
    OUTSIDE_PERIOD = "outside_period"


@dataclass(frozen=True, slots=True)
class Counted:
    """What a deal adds: `value` (1 for count and distinct), the day it counts on, the value that makes it distinct."""

    value: Decimal
    day: date
    distinct_value: str | None = None


class Added(NamedTuple):
    """The part of `Counted` that does not depend on days."""

    value: Decimal
    distinct_value: str | None


_ONE_MORE = Added(_ONE, None)


@dataclass(frozen=True, slots=True)
class NotCounted:
    """Why a deal adds nothing; `failing` is the part of the filter it did not pass."""

    reason: Exclusion
    failing: Filter | None = None


@dataclass(frozen=True, slots=True)
class Measure:
    """A checked definition. `currency` is set exactly when the value is money."""

    aggregate: Aggregate
    value_field: str | None
    date_field: DateField
    filter: Filter = EVERYTHING
    currency: str | None = None

    def __post_init__(self) -> None:
        if self.aggregate is Aggregate.SUM and self.value_field not in DEAL_NUMBER_FIELDS:
            raise InvalidInput.field(
                "/value_field", f"{self.value_field!r} cannot be summed", ", ".join(DEAL_NUMBER_FIELDS)
            )
        if self.aggregate is Aggregate.DISTINCT and (
            self.value_field is None or DEAL_FIELDS.type_of(self.value_field) is not FieldType.TEXT
        ):
            raise InvalidInput.field(
                "/value_field", f"{self.value_field!r} has no distinct values", f"a text field or {CUSTOM_FAMILY}<name>"
            )
        if self.aggregate is Aggregate.COUNT and self.value_field is not None:
            raise InvalidInput.field("/value_field", "is not used by a count", "null")
        if self.is_money and self.currency is None:
            raise InvalidInput.field("/currency", "is missing for a sum of money", "an ISO 4217 code such as USD")
        if not self.is_money and self.currency is not None:
            raise InvalidInput.field("/currency", "is only for sums of money", "null")
        if self.currency is not None:
            parse_currency(self.currency)

    @property
    def is_money(self) -> bool:
        """Whether the number is an amount of money."""
        return self.aggregate is Aggregate.SUM and self.value_field in MONEY_FIELDS

    def count(self, deal: DealFacts, calendar: FiscalCalendar) -> Counted | NotCounted:
        """What `deal` adds on its own account, whoever owns it and whatever the period asked for."""
        if deal.is_gone:
            return NotCounted(Exclusion(deal.kind.value))
        failing = first_failing(self.filter, deal.value_of)
        if failing is not None:
            return NotCounted(Exclusion.FILTER, failing)
        day = deal.day(self.date_field, calendar)
        if day is None:
            return NotCounted(Exclusion.NO_DATE)
        if self.aggregate is Aggregate.COUNT:
            return Counted(_ONE, day)
        value = deal.value_of(self.value_field or "")
        if value is None:
            return NotCounted(Exclusion.NO_VALUE)
        if isinstance(value, Decimal):
            if self.is_money and deal.currency != self.currency:
                return NotCounted(Exclusion.CURRENCY_DIFFERS)
            return Counted(value, day)
        return Counted(_ONE, day, distinct_value=str(value))

    def reader(self) -> Callable[[DealFacts], Added | None]:
        """What a deal that is there, passes the filter and has a day adds, prepared for being asked of many deals.

        None where it has no such value, or one in another currency: together with those three it agrees with `count`.
        """
        if self.aggregate is Aggregate.COUNT:
            return lambda _: _ONE_MORE
        read = field_reader(self.value_field or "")
        if self.aggregate is Aggregate.DISTINCT:
            return lambda deal: None if (value := read(deal)) is None else Added(_ONE, str(value))
        if self.is_money:
            currency = self.currency
            return lambda deal: _added(read(deal)) if deal.currency == currency else None
        return lambda deal: _added(read(deal))


def _added(value: Value | None) -> Added | None:
    return Added(value, None) if isinstance(value, Decimal) else None
