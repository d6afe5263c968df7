"""What a change would post, before anybody makes it."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import date, timedelta
from decimal import Decimal
from itertools import groupby
from uuid import UUID

from services.incentives.earnings.domain.cells import Cell
from services.incentives.ledger.domain import PAYABLE, Posting, placed
from services.incentives.periods.domain import PayCalendar, PayPeriod
from shared.kernel.periods import Period
from shared.kernel.sight import Sight

_ZERO = Decimal(0)
_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Effect:
    """What would be posted for one earning of one origin; `due` is the pay period that is due in.

    `before` is what has been posted for it so far. An earning whose days a calendar cuts anew has an origin before,
    which comes to nothing, and one after.
    """

    person_id: UUID
    earning_id: UUID
    plan_id: UUID | None
    component: str | None
    origin: Period
    due: PayPeriod
    posted_in: Period
    before: Decimal
    amount: Decimal
    currency: str

    @property
    def after(self) -> Decimal:
        return self.before + self.amount

    @property
    def order(self) -> tuple[UUID, str, date, date, UUID]:
        """By person and currency, then in the order of time."""
        return self.person_id, self.currency, self.origin.end, self.origin.start, self.earning_id


@dataclass(frozen=True, slots=True)
class PersonEffect:
    """What would be posted for one person in one currency."""

    person_id: UUID
    currency: str
    effects: tuple[Effect, ...]

    @property
    def key(self) -> tuple[UUID, str]:
        return self.person_id, self.currency

    @property
    def before(self) -> Decimal:
        return sum((each.before for each in self.effects), _ZERO)

    @property
    def amount(self) -> Decimal:
        return sum((each.amount for each in self.effects), _ZERO)

    @property
    def after(self) -> Decimal:
        return self.before + self.amount


@dataclass(frozen=True, slots=True)
class PayPeriodEffect:
    """What would be posted in one pay period for what is due in one, in one currency, of so many people."""

    due: PayPeriod
    posted_in: Period
    currency: str
    people: int
    before: Decimal
    amount: Decimal

    @property
    def after(self) -> Decimal:
        return self.before + self.amount


@dataclass(frozen=True, slots=True)
class Preview:
    """Whom a change would move, and by how much, by person.

    `being_worked_out` counts assignments among these that other changes are still being worked out for: what those
    post is in it.
    """

    effects: tuple[Effect, ...]
    being_worked_out: int = 0

    def seen_by(self, sight: Sight) -> "Preview":
        """The same of the people in sight alone."""
        return replace(self, effects=tuple(each for each in self.effects if sight.sees_person(each.person_id)))

    def people(self) -> list[PersonEffect]:
        """By person and currency."""
        grouped = groupby(self.effects, key=lambda each: (each.person_id, each.currency))
        return [PersonEffect(person_id, currency, tuple(found)) for (person_id, currency), found in grouped]

    def pay_periods(self) -> list[PayPeriodEffect]:
        """By pay period that is due, the one posted in and currency, in the order of time."""
        grouped: dict[tuple[Period, Period, str], list[Effect]] = defaultdict(list)
        for each in self.effects:
            grouped[each.due.period, each.posted_in, each.currency].append(each)
        return [
            PayPeriodEffect(
                found[0].due,
                posted_in,
                currency,
                len({each.person_id for each in found}),
                sum((each.before for each in found), _ZERO),
                sum((each.amount for each in found), _ZERO),
            )
            for (_, posted_in, currency), found in sorted(grouped.items(), key=_order)
        ]


def effects(
    calendar: PayCalendar, opens: Period | None, postings: Iterable[Posting], cells: Iterable[Cell]
) -> list[Effect]:
    """What the postings come to, each placed where it would be posted now; without what comes to nothing.

    `opens` is the first pay period that takes postings; `cells` are as they are before.
    """
    before = {(cell.id, cell.key.period): cell.earned for cell in cells}
    found: dict[tuple[UUID, Period, Period, str], Effect] = {}
    for posting in postings:
        subject, origin, posted_in = posting.subject, posting.period, placed(posting, opens).posted_in
        if origin is None or posted_in is None:
            raise ValueError(f"a posting of the kind {posting.kind} has no period")
        for entry in posting.entries:
            if entry.account.kind == PAYABLE:
                key = subject.id, origin, posted_in, entry.currency
                known = found.get(key) or Effect(
                    subject.person_id,
                    subject.id,
                    subject.plan_id,
                    subject.component,
                    origin,
                    calendar.containing(origin.end - _DAY),
                    posted_in,
                    before.get((subject.id, origin), _ZERO),
                    _ZERO,
                    entry.currency,
                )
                found[key] = replace(known, amount=known.amount - entry.amount)
    return [each for each in found.values() if each.amount]


def _order(item: tuple[tuple[Period, Period, str], list[Effect]]) -> tuple[date, date, str]:
    (due, posted_in, currency), _ = item
    return due.end, posted_in.end, currency
