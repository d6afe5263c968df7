"""How records move goals: which reach which goal, what a changed one changes, and why one does not count.

A record is a deal or an activity, and a goal counts one of the two. Its number is a pure function of its rule and the
records. The incremental path adds `new - old` of every changed record; a rebuild evaluates the same rule over all that
are stored; both end in the same number.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import ROUND_HALF_UP, Context, Decimal, localcontext
from typing import NamedTuple
from uuid import UUID

from services.tracking.snapshots import Change
from shared.kernel.activities import ActivityFacts
from shared.kernel.deals import DateField, DealFacts
from shared.kernel.errors import NotFound
from shared.kernel.filters import Filter, predicate
from shared.kernel.measures import Added, Counted, Exclusion, Measure, NotCounted, RatePolicy
from shared.kernel.org import CrmUser, OrgChart, OwnerKind
from shared.kernel.periods import Period
from shared.kernel.rates import NO_RATES_INTO, ExchangeRates, RatesInto
from shared.kernel.records import RECORD_TYPES, RecordFacts, RecordKind, RecordType

_ZERO = Decimal(0)
_ATTAINMENT_UNIT = Decimal("0.000001")
_ATTAINMENT_DIGITS = 60
EXACT = Context(prec=100)
"""Wide enough that a sum of converted amounts loses nothing."""


class GoalNotTracked(NotFound):
    """There is no such goal, the caller may not see it, or it is a draft and so has no progress yet."""

    code = "goal_not_tracked"
    title = "Goal not tracked"


class DealNotKnown(NotFound):
    """No delivery has brought a deal of that id."""

    code = "deal_not_known"
    title = "Deal not known"


class ActivityNotKnown(NotFound):
    """No delivery has brought an activity of that id."""

    code = "activity_not_known"
    title = "Activity not known"


class OwnerNotSeen(NotFound):
    """There is no such person or team, or the caller may not see its goals."""

    code = "owner_not_seen"
    title = "Owner not seen"


@dataclass(frozen=True, slots=True)
class GoalTerms:
    """What of a goal decides which records count."""

    goal_id: UUID
    owner_kind: OwnerKind
    owner_id: UUID
    measure: Measure
    period: Period


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """The records of one CRM user count on the days of one period."""

    user: CrmUser
    period: Period


@dataclass(frozen=True, slots=True)
class Rule:
    """Everything a goal's number depends on beside the records: equal rules give equal numbers."""

    measure: Measure
    time_zone: str
    spans: tuple[Span, ...]
    rates: RatesInto = NO_RATES_INTO
    """The daily rates of the goal's days, where the measure converts at them."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether and how one record counts for one goal."""

    outcome: Counted | NotCounted
    day: date | None
    """The day the record counts on by the goal's date field, where it has one."""
    person_id: UUID | None
    """Who owns the record, where somebody has said so."""


@dataclass(slots=True)
class Movement:
    """The net change of one goal by some changed records."""

    value: Decimal = _ZERO
    """Of a sum or a count; a distinct goal's value follows from `distinct`."""
    deals: int = 0
    """By how many records more or fewer; named as on the wire, from when only deals counted."""
    distinct: dict[str, int] = field(default_factory=dict)
    """For a distinct goal, by how many records each value is had more or fewer."""
    received_at: datetime | None = None
    """When the newest delivery that took part was accepted."""

    def add(self, value: Decimal, distinct_value: str | None, deals: int, received_at: datetime) -> None:
        """Let one record more (`deals` 1) or one fewer (-1, and `value` negative) count.

        Exact in a decimal context as wide as the sum: see `EXACT`.
        """
        self.deals += deals
        if distinct_value is None:
            self.value += value
        else:
            self.distinct[distinct_value] = self.distinct.get(distinct_value, 0) + deals
        if self.received_at is None or received_at > self.received_at:
            self.received_at = received_at

    def is_nil(self) -> bool:
        """Whether the goal stands where it stood."""
        return not self.deals and not self.value and not any(self.distinct.values())


@dataclass(frozen=True, slots=True)
class Viewer:
    """Who is looking: everyone in the tenant, a subtree, or only itself."""

    person_id: UUID | None
    sees_tenant: bool
    sees_subtree: bool


class _Interval(NamedTuple):
    start: date
    end: date
    goals: tuple[int, ...]
    """Numbers of goals in the index: hashing one costs nothing beside hashing an id."""


_Reader = Callable[[RecordFacts], Added | None]
_Converter = Callable[[RecordFacts, date], Added | None]


class _Watch(NamedTuple):
    """The goals that look at one user's records of one kind through the same filter and on the same days."""

    holds: Callable[[RecordFacts], bool]
    date_field: DateField
    measures: tuple[tuple[_Reader, _Converter | None, tuple[_Interval, ...]], ...]


_Watched = dict[tuple[str, str | None], tuple[_Watch, ...]]
"""By whose records they are."""


class Contribution(NamedTuple):
    """What a record adds to a goal."""

    goal_id: UUID
    value: Decimal
    distinct_value: str | None


class GoalIndex:
    """The counting goals of one tenant, arranged by which records of whom they count.

    Goals of equal measures share its evaluation. Built anew whenever a definition changes; never changed.
    """

    def __init__(self, chart: OrgChart, goals: Iterable[GoalTerms]) -> None:
        self.chart = chart
        self.terms: Mapping[UUID, GoalTerms] = {terms.goal_id: terms for terms in goals}
        spans: dict[tuple[OwnerKind, UUID, Period], tuple[Span, ...]] = {}
        self.rules: dict[UUID, Rule] = {}
        for goal_id, terms in self.terms.items():
            reached = (terms.owner_kind, terms.owner_id, terms.period)
            if reached not in spans:
                spans[reached] = _spans(chart, *reached)
            self.rules[goal_id] = Rule(terms.measure, chart.calendar.time_zone, spans[reached], _rates(chart, terms))
        self.goal_ids: Sequence[UUID] = tuple(self.rules)
        """The goals by number."""
        self._watched: dict[type[RecordFacts], _Watched] = {
            record.facts: _by_user(tuple(self.rules.values()), kind, chart.rates)
            for kind, record in RECORD_TYPES.items()
        }

    def contributions(self, facts: RecordFacts) -> list[Contribution]:
        """What the record adds to each goal it counts for, each goal once."""
        return [
            Contribution(self.goal_ids[goal], value, distinct_value)
            for value, distinct_value, goals in self.counting(facts)
            for goal in goals
        ]

    def counting(self, facts: RecordFacts) -> Iterator[tuple[Decimal, str | None, tuple[int, ...]]]:
        """What the record adds, and the numbers of the goals it adds that to."""
        watches = self._watched[type(facts)].get((facts.source, facts.owner_external_id))
        if watches is None or facts.is_gone:
            return
        for holds, date_field, measures in watches:
            if not holds(facts) or (day := facts.day(date_field, self.chart.calendar)) is None:
                continue
            for read, convert, intervals in measures:
                added = read(facts)
                if added is None and (convert is None or (added := convert(facts, day)) is None):
                    continue
                for start, end, goals in intervals:
                    if start <= day < end:
                        yield added.value, added.distinct_value, goals

    def verdict(self, goal_id: UUID, facts: RecordFacts) -> Verdict:
        """Whether a record of the kind that a goal of this index counts does count and, if not, the first reason.

        They come in a fixed order: the record is gone; the filter; no day; no value; another currency or no rate for
        it; nobody owns it; its day is outside the goal's period; its owner was, on that day, not the person or not in
        the team's subtree.
        """
        terms, rule = self.terms[goal_id], self.rules[goal_id]
        outcome = terms.measure.count(facts, self.chart.calendar, self.chart.rates)
        day = facts.day(terms.measure.date_field, self.chart.calendar)
        person_id = self.chart.person_of(facts.source, facts.owner_external_id)
        if isinstance(outcome, Counted):
            if person_id is None:
                outcome = NotCounted(Exclusion.OWNER_UNMAPPED)
            elif outcome.day not in terms.period:
                outcome = NotCounted(Exclusion.OUTSIDE_PERIOD)
            else:
                user = CrmUser(facts.source, facts.owner_external_id or "")
                if not any(span.user == user and outcome.day in span.period for span in rule.spans):
                    outcome = NotCounted(Exclusion.OWNER_NOT_MEMBER)
        return Verdict(outcome, day, person_id)


class Movements:
    """The net change of a tenant's goals by any number of changed records, told in any number of pieces."""

    def __init__(self, index: GoalIndex, skipped: Collection[UUID] = ()) -> None:
        """Goals in `skipped` are left out."""
        self._index = index
        self._skipped = skipped
        self._moved: defaultdict[int, Movement] = defaultdict(Movement)

    def add(self, changes: Iterable[Change[DealFacts | ActivityFacts]]) -> None:
        """Take these changes into account."""
        counting, moved = self._index.counting, self._moved
        with localcontext(EXACT):
            for change in changes:
                received_at = change.received_at
                if change.before is not None:
                    for value, distinct_value, goals in counting(change.before):
                        for goal in goals:
                            moved[goal].add(-value, distinct_value, -1, received_at)
                for value, distinct_value, goals in counting(change.after):
                    for goal in goals:
                        moved[goal].add(value, distinct_value, 1, received_at)

    def net(self) -> dict[UUID, Movement]:
        """The movement of every goal that does not stand where it stood."""
        net = {self._index.goal_ids[goal]: movement for goal, movement in self._moved.items() if not movement.is_nil()}
        return {goal_id: movement for goal_id, movement in net.items() if goal_id not in self._skipped}


def changed_rules(before: GoalIndex, after: GoalIndex) -> frozenset[UUID]:
    """The goals of either index whose number may be another one: changed, new, or no longer counting."""
    return frozenset(
        goal_id
        for goal_id in before.rules.keys() | after.rules.keys()
        if before.rules.get(goal_id) != after.rules.get(goal_id)
    )


def visible_owners(viewer: Viewer, chart: OrgChart, today: date) -> frozenset[UUID] | None:
    """The people and teams whose goals a viewer sees; None means all of the tenant.

    A manager sees itself, the teams it manages with those below, and whoever is in them today; anybody else itself.
    """
    if viewer.sees_tenant:
        return None
    if viewer.person_id is None:
        return frozenset()
    owners = frozenset({viewer.person_id})
    if viewer.sees_subtree:
        owners |= chart.managed_people(viewer.person_id, today) | chart.managed_teams(viewer.person_id)
    return owners


def team_owners(chart: OrgChart, team_id: UUID, today: date) -> frozenset[UUID]:
    """The team, the teams below it, and whoever is in one of them today."""
    teams = chart.subtree(team_id)
    return teams | {m.person_id for m in chart.memberships if m.team_id in teams and today in m.range}


def attainment(value: Decimal, *, target: Decimal, baseline: Decimal, lower_is_better: bool) -> Decimal | None:
    """value ÷ target, or (baseline - value) ÷ (baseline - target) where lower is better; unclamped.

    Rounded half-up to six decimals; None when that divides by zero.
    """
    above, below = (baseline - value, baseline - target) if lower_is_better else (value, target)
    if not below:
        return None
    with localcontext() as context:
        context.prec = _ATTAINMENT_DIGITS
        return (above / below).quantize(_ATTAINMENT_UNIT, rounding=ROUND_HALF_UP)


def _spans(chart: OrgChart, kind: OwnerKind, owner_id: UUID, period: Period) -> tuple[Span, ...]:
    return tuple(
        sorted(
            Span(user, reach.period)
            for reach in chart.reach(kind, owner_id, period)
            for user in chart.users_of(reach.person_id)
        )
    )


def _rates(chart: OrgChart, terms: GoalTerms) -> RatesInto:
    measure = terms.measure
    if measure.rate_policy is not RatePolicy.DEAL_DATE or measure.currency is None:
        return NO_RATES_INTO
    return chart.rates.into(measure.currency, terms.period)


def _by_user(rules: Sequence[Rule], record: RecordKind, rates: ExchangeRates) -> _Watched:
    """The goals that count one kind of record."""
    found: dict[tuple[str, str | None], dict[Measure, dict[Period, list[int]]]] = {}
    for goal, rule in enumerate(rules):
        for span in rule.spans if rule.measure.record is record else ():
            measures = found.setdefault((span.user.source, span.user.external_id), {})
            measures.setdefault(rule.measure, {}).setdefault(span.period, []).append(goal)
    return {user: _watches(measures, RECORD_TYPES[record], rates) for user, measures in found.items()}


def _watches(
    measures: Mapping[Measure, Mapping[Period, Sequence[int]]], record: RecordType, rates: ExchangeRates
) -> tuple[_Watch, ...]:
    alike: defaultdict[tuple[Filter, DateField], list[Measure]] = defaultdict(list)
    for measure in measures:
        alike[measure.filter, measure.date_field].append(measure)
    return tuple(
        _Watch(
            predicate(node, record.reader),
            date_field,
            tuple((measure.reader(), measure.converter(rates), _intervals(measures[measure])) for measure in members),
        )
        for (node, date_field), members in alike.items()
    )


def _intervals(periods: Mapping[Period, Sequence[int]]) -> tuple[_Interval, ...]:
    return tuple(_Interval(period.start, period.end, tuple(periods[period])) for period in sorted(periods))
