"""What a change would post, before anybody makes it."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from uuid import UUID

from services.incentives.ledger.domain import PAYABLE, Posting, placed
from services.incentives.periods.domain import PayCalendar, PayPeriod
from shared.kernel.periods import Period


@dataclass(frozen=True, slots=True)
class Effect:
    """What would be posted for one earning in one pay period; `due` is the pay period its origin is due in."""

    person_id: UUID
    earning_id: UUID
    component: str | None
    origin: Period
    due: PayPeriod
    posted_in: Period
    amount: Decimal
    currency: str

    @property
    def order(self) -> tuple[UUID, UUID, date, date]:
        """By person, then by earning, each once in an origin and pay period."""
        return self.person_id, self.earning_id, self.origin.end, self.posted_in.end


def effects(calendar: PayCalendar, opens: Period | None, postings: Iterable[Posting]) -> list[Effect]:
    """What the postings come to, each placed where it would be posted now; without what comes to nothing.

    `opens` is the first pay period that takes postings.
    """
    sums: dict[tuple[UUID, UUID, str | None, Period, Period, str], Decimal] = defaultdict(Decimal)
    for posting in postings:
        found = placed(posting, opens)
        subject, origin, posted_in = found.subject, found.period, found.posted_in
        if origin is None or posted_in is None:
            raise ValueError(f"a posting of the kind {found.kind} has no period")
        for entry in found.entries:
            if entry.account.kind == PAYABLE:
                key = subject.person_id, subject.id, subject.component, origin, posted_in, entry.currency
                sums[key] -= entry.amount
    made = [
        Effect(
            person_id,
            earning_id,
            component,
            origin,
            calendar.containing(origin.end - timedelta(days=1)),
            posted_in,
            amount,
            currency,
        )
        for (person_id, earning_id, component, origin, posted_in, currency), amount in sums.items()
        if amount
    ]
    return sorted(made, key=lambda effect: effect.order)
