"""What a pay period paid, beside what the same is worth now.

Of each earning that was due in the pay period: what was posted for it there, and what was posted later, where and how
much. Together that is what it is worth now. And what the pay period paid for earlier ones.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from enum import StrEnum
from itertools import groupby
from uuid import UUID

from services.incentives.ledger.domain import Cause, Posted
from services.incentives.periods.domain import PayCalendar, PayPeriod
from shared.kernel.periods import Period

_ZERO = Decimal(0)
_DAY = timedelta(days=1)


class CauseKind(StrEnum):
    """What made the ledger move."""

    DEAL = "deal"
    PLAN_VERSION = "plan_version"
    ASSIGNMENT = "assignment"
    """Its days, quotas, target variable, ramp or leave."""
    GOAL = "goal"
    """One that is a quota."""
    CALENDAR = "calendar"
    EXCHANGE_RATE = "exchange_rate"
    ORGANISATION = "organisation"
    """Who is in which team, who manages it, or who a CRM's user is."""
    OTHER = "other"


_KINDS = {
    "plan": CauseKind.PLAN_VERSION,
    "assignment": CauseKind.ASSIGNMENT,
    "goal": CauseKind.GOAL,
    "calendar": CauseKind.CALENDAR,
    "exchange-rates": CauseKind.EXCHANGE_RATE,
    "team": CauseKind.ORGANISATION,
    "membership": CauseKind.ORGANISATION,
    "identity": CauseKind.ORGANISATION,
}


def kinds_of(cause: Cause) -> list[CauseKind]:
    """The kinds of what a cause names, each once."""
    if cause.deal_id is not None:
        return [CauseKind.DEAL]
    subjects = (change.split(" ")[0].split("/")[0] for change in cause.changes)
    return list(dict.fromkeys(_KINDS.get(subject, CauseKind.OTHER) for subject in subjects)) or [CauseKind.OTHER]


@dataclass(frozen=True, slots=True)
class Later:
    """What was posted in a later pay period."""

    posted_in: Period
    amount: Decimal


@dataclass(frozen=True, slots=True)
class ComparedEarning:
    """What was posted for one earning in the pay period, and what came to it later."""

    earning_id: UUID
    plan_id: UUID | None
    component: str | None
    origin: Period
    as_paid: Decimal
    later: tuple[Later, ...] = ()

    @property
    def difference(self) -> Decimal:
        return sum((each.amount for each in self.later), _ZERO)

    @property
    def as_recalculated(self) -> Decimal:
        return self.as_paid + self.difference


@dataclass(frozen=True, slots=True)
class PersonComparison:
    """One person's, in one currency: `due` are the earnings due in the pay period, `earlier` others that it paid."""

    person_id: UUID
    currency: str
    due: tuple[ComparedEarning, ...]
    earlier: tuple[ComparedEarning, ...]

    @property
    def paid_for_earlier(self) -> Decimal:
        return sum((each.as_paid for each in self.earlier), _ZERO)

    @property
    def paid_for_due(self) -> Decimal:
        return sum((each.as_paid for each in self.due), _ZERO)

    @property
    def as_paid(self) -> Decimal:
        """All that was posted in the pay period."""
        return self.paid_for_due + self.paid_for_earlier

    @property
    def as_recalculated(self) -> Decimal:
        """What the earnings that were due in it are worth now."""
        return sum((each.as_recalculated for each in self.due), _ZERO)

    @property
    def difference(self) -> Decimal:
        """What was posted later for them."""
        return self.as_recalculated - self.paid_for_due


def compared(calendar: PayCalendar, pay_period: PayPeriod, posted: Iterable[Posted]) -> list[PersonComparison]:
    """By person and currency; `posted` is everything that was posted in the pay period and in later ones."""
    span = calendar.span(pay_period)
    ordered = sorted(posted, key=lambda each: (each.person_id, each.currency, each.origin, each.subject_id))
    found = []
    for (person_id, currency), of_person in groupby(ordered, key=lambda each: (each.person_id, each.currency)):
        due: list[ComparedEarning] = []
        earlier: list[ComparedEarning] = []
        for _, of_earning in groupby(of_person, key=lambda each: (each.origin, each.subject_id)):
            rows = list(of_earning)
            is_due = rows[0].origin.end - _DAY in span
            if is_due or any(row.posted_until - _DAY in span for row in rows):
                earning = _compared(calendar, span, rows, is_due=is_due)
                (due if is_due else earlier).append(earning)
        if due or earlier:
            found.append(PersonComparison(person_id, currency, tuple(due), tuple(earlier)))
    return found


def _compared(calendar: PayCalendar, span: Period, rows: list[Posted], *, is_due: bool) -> ComparedEarning:
    later: dict[Period, Decimal] = defaultdict(Decimal)
    as_paid = _ZERO
    for row in rows:
        last_day = row.posted_until - _DAY
        if last_day in span:
            as_paid += row.amount
        elif is_due:
            later[calendar.containing(last_day).period] += row.amount
    first = rows[0]
    return ComparedEarning(
        first.subject_id,
        first.plan_id,
        first.component,
        first.origin,
        as_paid,
        tuple(Later(posted_in, amount) for posted_in, amount in sorted(later.items()) if amount),
    )
