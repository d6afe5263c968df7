"""What a goal's owner and its peers reached in earlier periods of the same length, as actuals tell it.

Actuals have what people won, and have open, by calendar month. So they tell of goals on won deals, by number or by
value in the home currency, over whole months. People are those of today: what a team reached is what those in it did.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from functools import cached_property, lru_cache
from typing import Final
from uuid import UUID

from services.goals.evidence.domain import Actuals, MonthOfPerson
from services.goals.targets.domain import Direction, GoalTerms, Owner
from shared.kernel.deals import DateField, DealStatus
from shared.kernel.filters import Condition, Operator, conditions_of
from shared.kernel.measures import Aggregate, Measure
from shared.kernel.org import OrgChart, OwnerKind
from shared.kernel.periods import Period
from shared.kernel.records import RecordKind

PERIODS_MAX: Final = 12
_EARLIEST_YEAR: Final = 1900


@dataclass(frozen=True, slots=True)
class Track:
    """What is `reached` and `open` in a goal's period, the share of it that is `ahead`, and how it went before.

    `history` has the owner's periods, the newest first; `peers` the numbers of each peer's.
    """

    reached: Decimal
    open: Decimal
    ahead: Fraction
    history: tuple[tuple[Period, Decimal], ...]
    peers: tuple[tuple[Decimal, ...], ...]

    @property
    def numbers(self) -> tuple[Decimal, ...]:
        """The owner's, the newest first."""
        return tuple(number for _, number in self.history)


@dataclass(frozen=True)
class Surroundings:
    """Whose records count for each owner on a day, and who its peers are."""

    chart: OrgChart
    day: date

    def people_of(self, owner: Owner) -> frozenset[UUID]:
        """Whose records count for an owner."""
        reach = self.chart.reach(owner.kind, owner.id, Period(self.day, self.day + timedelta(1)))
        return frozenset(each.person_id for each in reach)

    def peers_of(self, owner: Owner) -> tuple[frozenset[UUID], ...]:
        """Of a person each of those who are in a team with it; of a team the people of each team beside it."""
        if owner.kind is OwnerKind.PERSON:
            others = {other for team_id in self._teams[owner.id] for other in self._members[team_id]} - {owner.id}
            return tuple(frozenset({person_id}) for person_id in sorted(others))
        node = self.chart.teams.get(owner.id)
        parent_id = None if node is None else node.on(self.day)[0]
        beside = sorted(set(self._below[parent_id]) - {owner.id}) if parent_id else ()
        return tuple(self.people_of(Owner(OwnerKind.TEAM, team_id)) for team_id in beside)

    @cached_property
    def _members(self) -> Mapping[UUID, list[UUID]]:
        members: defaultdict[UUID, list[UUID]] = defaultdict(list)
        for stay in self.chart.memberships:
            if self.day in stay.range:
                members[stay.team_id].append(stay.person_id)
        return members

    @cached_property
    def _teams(self) -> Mapping[UUID, list[UUID]]:
        teams: defaultdict[UUID, list[UUID]] = defaultdict(list)
        for team_id, people in self._members.items():
            for person_id in people:
                teams[person_id].append(team_id)
        return teams

    @cached_property
    def _below(self) -> Mapping[UUID | None, list[UUID]]:
        below: defaultdict[UUID | None, list[UUID]] = defaultdict(list)
        for team in self.chart.teams.values():
            below[team.on(self.day)[0]].append(team.id)
        return below


def untold_by_actuals(terms: GoalTerms) -> str | None:
    """Why actuals do not tell how such a goal went before; None where they do."""
    measure, period = terms.measure, terms.period
    is_counted = measure.aggregate is Aggregate.COUNT or (measure.aggregate is Aggregate.SUM and measure.is_money)
    counts_won = measure.value_field in (None, "amount") and _is_won_alone(measure)
    if measure.record is not RecordKind.DEAL or not is_counted or not counts_won or terms.direction is Direction.LOWER:
        return "Actuals have won deals, by number and by value; what this metric counts is not among them."
    if period.start.day != 1 or period.end.day != 1:
        return "Actuals are by calendar month, and the period is not made of whole ones."
    return None


def months_told(terms: GoalTerms, today: date) -> frozenset[date]:
    """The months, by their first days, that a goal's track is made of."""
    return frozenset(month for period in (terms.period, *_periods_before(terms, today)) for month in _months(period))


def track_of(
    terms: GoalTerms,
    people: Collection[UUID],
    peers: Collection[Collection[UUID]],
    actuals: Mapping[MonthOfPerson, Actuals],
    today: date,
) -> Track:
    """The track of a goal whose owner is these people and whose peers are each some others."""
    period = terms.period
    present = _numbers(terms.measure, people, _months(period), actuals)
    days_ahead = max(0, (period.end - max(period.start, today)).days)
    before = _periods_before(terms, today)
    return Track(
        reached=sum((won for won, _ in present.values()), Decimal(0)),
        open=sum((still_open for _, still_open in present.values()), Decimal(0)),
        ahead=Fraction(days_ahead, (period.end - period.start).days),
        history=_history(terms.measure, people, before, actuals),
        peers=tuple(tuple(n for _, n in _history(terms.measure, peer, before, actuals)) for peer in peers),
    )


# Thousands of goals have equal measures.
@lru_cache(maxsize=1024)
def _is_won_alone(measure: Measure) -> bool:
    conditions = list(conditions_of(measure.filter))
    return (
        len(conditions) == 1
        and conditions[0] in (_won(Operator.EQ), _won(Operator.IN))
        and measure.date_field is DateField.CLOSED
        and measure.role is None
    )


def _won(operator: Operator) -> Condition:
    return Condition("status", operator, (DealStatus.WON.value,))


def _history(
    measure: Measure, people: Collection[UUID], periods: Collection[Period], actuals: Mapping[MonthOfPerson, Actuals]
) -> tuple[tuple[Period, Decimal], ...]:
    """What these people won in each of the periods since the first month in which anything is known of them.

    A period with money in another currency than the measure's is left out.
    """
    months = [month for period in periods for month in _months(period)]
    known = _numbers(measure, people, months, actuals)
    foreign = {
        month
        for month in known
        if measure.is_money
        and any(_is_foreign(actuals.get(MonthOfPerson(person_id, month)), measure) for person_id in people)
    }
    first = min(known, default=date.max)
    return tuple(
        (period, sum((known[month][0] for month in _months(period) if month in known), Decimal(0)))
        for period in periods
        if period.start >= first and foreign.isdisjoint(_months(period))
    )


def _numbers(
    measure: Measure, people: Collection[UUID], months: Collection[date], actuals: Mapping[MonthOfPerson, Actuals]
) -> dict[date, tuple[Decimal, Decimal]]:
    """What these people won and have open in each of the months of which something is known."""
    found: dict[date, tuple[Decimal, Decimal]] = {}
    for month in months:
        for person_id in people:
            each = actuals.get(MonthOfPerson(person_id, month))
            if each is not None:
                won, still_open = found.get(month, (Decimal(0), Decimal(0)))
                if not measure.is_money:
                    found[month] = won + each.won_number, still_open + each.open_number
                elif _is_foreign(each, measure):
                    found[month] = won, still_open
                else:
                    found[month] = won + each.won_value, still_open + each.open_value
    return found


def _is_foreign(actuals: Actuals | None, measure: Measure) -> bool:
    return actuals is not None and actuals.currency not in (None, measure.currency)


def _periods_before(terms: GoalTerms, today: date) -> tuple[Period, ...]:
    """The last periods of the length of the goal's that are over, the newest first."""
    period = terms.period
    length = len(_months(period))
    found: list[Period] = []
    end = period.start
    while len(found) < PERIODS_MAX and end.year > _EARLIEST_YEAR:
        start = _shifted(end, -length)
        if end <= today:
            found.append(Period(start, end))
        end = start
    return tuple(found)


def _months(period: Period) -> tuple[date, ...]:
    """The first days of the calendar months of a period of whole ones."""
    count = (period.end.year - period.start.year) * 12 + period.end.month - period.start.month
    return tuple(_shifted(period.start, number) for number in range(count))


def _shifted(month: date, months: int) -> date:
    years, number = divmod(month.year * 12 + month.month - 1 + months, 12)
    return date(years, number + 1, 1)
