"""What became of what somebody earned: what payout runs paid, and what pay periods paid for others."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import Decimal
from uuid import UUID

from services.incentives.earnings.domain.comparison import CauseKind
from services.incentives.payouts.domain.pay import PayLine
from services.incentives.payouts.domain.runs import RunStatus
from shared.kernel.periods import Period


@dataclass(frozen=True, slots=True)
class StatedPayout:
    """What a payout run paid the person by a plan, step by step, and what it left for later.

    `paid_on` is the day on which payroll had paid it. `reverses` is the number of the run that this one undoes.
    """

    run_number: int
    status: RunStatus
    period: Period
    plan_name: str
    currency: str
    earned: Decimal
    paid: Decimal
    lines: Sequence[PayLine]
    carried: Decimal
    owed: Decimal
    held_back: Decimal
    paid_on: date | None
    reverses: int | None = None


@dataclass(frozen=True, slots=True)
class StatedDeal:
    """A deal by the ids and the name that people know it by."""

    id: UUID
    source: str | None = None
    external_id: str | None = None
    name: str | None = None


@dataclass(frozen=True, slots=True)
class StatedCorrection:
    """What was posted in a pay period for an earlier one: the period it belongs to, what made it and whose doing.

    Postings for the same reason are one. `changes` are as the ledger names them; `posted_at` is of the last.
    """

    earning_id: UUID
    plan_name: str
    component: str
    origin: Period
    posted_in: Period
    posted_at: datetime
    amount: Decimal
    currency: str
    cause: CauseKind
    deal: StatedDeal | None = None
    changes: Sequence[str] = ()
    by: str | None = None
    """Who approved it, or whoever did it last where nobody approves; None where it was not done here."""


@dataclass(frozen=True, slots=True)
class PaidTotal:
    """What a pay period paid in one currency for what was due in it and for earlier ones, and what the former is worth
    now."""

    currency: str
    for_due: Decimal
    for_earlier: Decimal
    as_recalculated: Decimal

    @property
    def as_paid(self) -> Decimal:
        """All that was posted in the pay period."""
        return self.for_due + self.for_earlier

    @property
    def difference(self) -> Decimal:
        """What was posted later for what was due in it."""
        return self.as_recalculated - self.for_due


@dataclass(frozen=True, slots=True)
class PeriodPay:
    """What a pay period paid a person: for what was due in it and for `earlier` ones; and what was posted `later`.

    `cut_off_at` is when it took its last posting; None while it still does. `digest` is that of the kept statement,
    and None where this one is not kept yet.
    """

    pay_period_id: UUID
    cut_off_at: datetime | None
    totals: Sequence[PaidTotal]
    earlier: Sequence[StatedCorrection]
    later: Sequence[StatedCorrection] = ()
    digest: str | None = None


def collected(corrections: Iterable[StatedCorrection]) -> list[StatedCorrection]:
    """Those of one earning for one reason in one pay period as one, in the order of their first posting; none of 0."""
    found: dict[tuple[object, ...], StatedCorrection] = {}
    amounts: defaultdict[tuple[object, ...], Decimal] = defaultdict(Decimal)
    for each in corrections:
        key = (each.earning_id, each.posted_in, each.currency, each.cause, each.deal, tuple(each.changes))
        amounts[key] += each.amount
        found[key] = replace(found.get(key, each), posted_at=each.posted_at, amount=amounts[key])
    return [each for each in found.values() if each.amount]
