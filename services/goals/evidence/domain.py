"""What people reached: the evidence that targets are set by."""

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import NamedTuple
from uuid import UUID


class MonthOfPerson(NamedTuple):
    """Whose numbers, of which calendar month, by its first day."""

    person_id: UUID
    month: date


@dataclass(frozen=True, slots=True)
class Actuals:
    """What somebody won in a month, and has open that is expected to close in it, as tracking counts it.

    Values are in `currency`, the home currency in force on the month's first day; None where there was none, and then
    both are 0. A share of a deal is that fraction of one; of `unconverted` ones the amount is in neither value.
    """

    of: MonthOfPerson
    version: int
    currency: str | None
    won_value: Decimal
    won_number: Decimal
    open_value: Decimal
    open_number: Decimal
    unconverted: Decimal
    changed_at: datetime


@dataclass(frozen=True, slots=True)
class ActualsFilter:
    """Which to list; what is None does not restrict. Months by their first days, from `start` up to before `end`."""

    people: frozenset[UUID] | None = None
    start: date | None = None
    end: date | None = None
