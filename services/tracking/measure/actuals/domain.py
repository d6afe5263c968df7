"""What people won and have open, month by month: what a deal adds, what changed deals change, who is counted anew.

A month's numbers are a pure function of the organisation and the newest version of each deal. The incremental path adds
`new - old` of every changed deal; counting anew adds up all that are stored, by the same rule.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Context, Decimal, localcontext
from functools import lru_cache
from typing import Final, NamedTuple
from uuid import UUID

from services.tracking.records.domain.snapshots import Change
from shared.kernel.deals import DateField, DealFacts, DealStatus
from shared.kernel.measures import Added, Aggregate, Crediting, Measure, RatePolicy
from shared.kernel.org import OrgChart
from shared.kernel.parts import WHOLE_PERCENT, share_refusal, share_value
from shared.kernel.records import RecordFacts

_ZERO: Final = Decimal(0)
_ONE: Final = Decimal(1)
EXACT: Final = Context(prec=100)
"""Wide enough that a sum of converted shares loses nothing."""

BEGINNING: Final = date.min


class ActualsKey(NamedTuple):
    """Whose numbers, of which month, by its first day."""

    person_id: UUID
    month: date


@dataclass(slots=True)
class Sums:
    """What somebody won in a month and has open for it, or by how much that changes. Numbers are shares of deals."""

    won_value: Decimal = _ZERO
    won_number: Decimal = _ZERO
    open_value: Decimal = _ZERO
    open_number: Decimal = _ZERO
    unconverted: Decimal = _ZERO
    """How many of these deals state an amount that is in neither value."""

    def plus(self, other: "Sums") -> "Sums":
        """Both together; exact as `Counting.add` is."""
        return Sums(
            self.won_value + other.won_value,
            self.won_number + other.won_number,
            self.open_value + other.open_value,
            self.open_number + other.open_number,
            self.unconverted + other.unconverted,
        )

    def is_nil(self) -> bool:
        """Whether nothing is in it, or nothing changes."""
        return not (self.won_number or self.open_number or self.won_value or self.open_value or self.unconverted)


class _Month(NamedTuple):
    """How money counts in a month: as a measure in the home currency of its first day reads and converts it."""

    first_day: date
    currency: str | None
    read: Callable[[RecordFacts], Added | None]
    convert: Callable[[RecordFacts, date], Added | None]


class Counting:
    """What deals add by one organisation, added up."""

    def __init__(self, chart: OrgChart) -> None:
        self._chart = chart
        self._months: dict[date, _Month] = {}
        self._month_of_day: dict[date, _Month] = {}
        # By user, and then by month: that costs less with every deal than making a key and hashing a person's id.
        self._sums: dict[tuple[str, str], dict[date, Sums]] = {}

    def add(self, deal: DealFacts, sign: int) -> None:
        """Let a deal count (`sign` 1), or no longer (-1).

        A won one counts in the month it was won, an open one in the month it is expected to close. Nothing counts of
        one that is lost or gone, has no such day, or is nobody's. Exact in a decimal context as wide as the sums: see
        `EXACT`.
        """
        if deal.status is DealStatus.LOST or deal.is_gone:
            return
        people = self._chart.named_users
        shares: Sequence[tuple[tuple[str, str], Decimal]]
        if deal.splits:
            shares = [
                ((deal.source, split.owner_external_id), split.percent)
                for split in deal.splits
                if share_refusal(None, split.role, split.percent) is None
                and (deal.source, split.owner_external_id) in people
            ]
        else:
            user = (deal.source, deal.owner_external_id or "")
            if user not in people:
                return
            shares = ((user, WHOLE_PERCENT),)
        is_won = deal.status is DealStatus.WON
        day = deal.day(DateField.CLOSED if is_won else DateField.EXPECTED_CLOSE, self._chart.calendar)
        if day is None:
            return
        month = self._month_of_day.get(day) or self._month_of(day)
        worth: Decimal | None = _ZERO
        if deal.amount is not None:
            added = month.read(deal) or month.convert(deal, day)
            worth = None if added is None else added.value
        for user, percent in shares:
            self._add_share(user, month.first_day, is_won, worth, percent, sign)

    def add_all(self, deals: Iterable[DealFacts]) -> None:
        """Let all of these deals count."""
        with localcontext(EXACT):
            for deal in deals:
                self.add(deal, 1)

    def net(self) -> dict[ActualsKey, Sums]:
        """What that comes to, of everybody and every month of which it is something."""
        found: dict[ActualsKey, Sums] = {}
        with localcontext(EXACT):
            for user, by_month in self._sums.items():
                person_id = self._chart.named_users[user]
                for month, sums in by_month.items():
                    key = ActualsKey(person_id, month)
                    found[key] = found[key].plus(sums) if key in found else sums
        return {key: sums for key, sums in found.items() if not sums.is_nil()}

    def currency(self, month: date) -> str | None:
        """The currency of the values of a month; None as long as there is no home currency."""
        return self._month(month).currency

    def _add_share(
        self, user: tuple[str, str], month: date, is_won: bool, worth: Decimal | None, percent: Decimal, sign: int
    ) -> None:
        """Add a share of a deal and of what it is worth, if that is known, or take it away."""
        by_month = self._sums.get(user)
        if by_month is None:
            by_month = self._sums[user] = {}
        sums = by_month.get(month)
        if sums is None:
            sums = by_month[month] = Sums()
        number = share_value(_ONE, percent)
        value = _ZERO if worth is None else share_value(worth, percent)
        if sign < 0:
            number, value = -number, -value
        if worth is None:
            sums.unconverted += number
        if is_won:
            sums.won_number += number
            sums.won_value += value
        else:
            sums.open_number += number
            sums.open_value += value

    def _month_of(self, day: date) -> _Month:
        found = self._month_of_day[day] = self._month(day.replace(day=1))
        return found

    def _month(self, first_day: date) -> _Month:
        found = self._months.get(first_day)
        if found is None:
            currency = self._chart.rates.home_currency(first_day)
            found = _Month(first_day, None, _nothing, _nothing_on)
            if currency is not None:
                measure = _measure(currency)
                convert = measure.converter(self._chart.rates) or _nothing_on
                found = _Month(first_day, currency, measure.reader(), convert)
            self._months[first_day] = found
        return found


class Moves:
    """By how much changed deals change the numbers of some tenants, added in any number of pieces."""

    def __init__(self) -> None:
        self._by_tenant: dict[UUID, Counting] = {}

    def add(self, tenant_id: UUID, chart: OrgChart, changes: Iterable[Change[DealFacts]]) -> None:
        """Take changes of the tenant's deals into account; the chart is the same for all of a tenant."""
        counting = self._by_tenant.get(tenant_id)
        if counting is None:
            counting = self._by_tenant[tenant_id] = Counting(chart)
        with localcontext(EXACT):
            for change in changes:
                if change.before is not None:
                    counting.add(change.before, -1)
                counting.add(change.after, 1)

    def net(self) -> Iterator[tuple[UUID, ActualsKey, str | None, Sums]]:
        """Tenant, key, currency and change of whatever does not stand where it stood."""
        for tenant_id, counting in self._by_tenant.items():
            for key, moved in counting.net().items():
                yield tenant_id, key, counting.currency(key.month), moved


def outdated(before: OrgChart, after: OrgChart) -> Mapping[UUID, date]:
    """Whose months may have other numbers by one organisation than by the other, and from which month on."""
    everybody = {*before.identities.values(), *after.identities.values()}
    if before.calendar.days != after.calendar.days:
        return dict.fromkeys(everybody, BEGINNING)
    first_day = None if before.rates is after.rates else before.rates.first_difference(after.rates)
    found = {} if first_day is None else dict.fromkeys(everybody, first_day.replace(day=1))
    for user in before.identities.keys() | after.identities.keys():
        people = before.identities.get(user), after.identities.get(user)
        if people[0] != people[1]:
            found.update((person_id, BEGINNING) for person_id in people if person_id is not None)
    return found


@lru_cache(maxsize=64)
def _measure(currency: str) -> Measure:
    """How money counts in a home currency."""
    return Measure(
        Aggregate.SUM,
        "amount",
        DateField.CLOSED,
        currency=currency,
        rate_policy=RatePolicy.DEAL_DATE,
        crediting=Crediting.SPLIT,
    )


def _nothing(_: RecordFacts) -> None:
    """What any amount comes to while there is no home currency."""


def _nothing_on(_facts: RecordFacts, _day: date) -> None:
    """The same on a day."""
