"""How records move goals: which reach which goal, what a changed one changes, and why one does not count.

A record is a deal or an activity, and a goal counts one of the two. Its number is a pure function of its rule and the
records. The incremental path adds `new - old` of every changed record; a rebuild evaluates the same rule over all that
are stored; both end in the same number.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from decimal import Context, Decimal, localcontext
from functools import cached_property
from itertools import groupby
from typing import NamedTuple
from uuid import UUID

from services.tracking.records.domain.snapshots import Change
from shared.kernel.activities import ActivityFacts
from shared.kernel.deals import DateField, DealFacts
from shared.kernel.errors import NotFound
from shared.kernel.filters import Filter, predicate
from shared.kernel.layers import Layered
from shared.kernel.measures import (
    Added,
    Aggregate,
    Combine,
    Counted,
    Crediting,
    Exclusion,
    Measure,
    NotCounted,
    RatePolicy,
)
from shared.kernel.org import CrmUser, OrgChart, OwnerKind
from shared.kernel.parts import WHOLE_PERCENT, Part, parts_of, share_refusal, share_value
from shared.kernel.periods import BusinessDays, Period
from shared.kernel.rates import NO_RATES_INTO, ExchangeRates, RatesInto
from shared.kernel.reasons import Circumstances, Reason, reason_of, unknown_users
from shared.kernel.records import RECORD_TYPES, RecordFacts, RecordType

_ZERO = Decimal(0)
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
    parent_id: UUID | None = None
    children: tuple[UUID, ...] = ()
    """Of a goal that is made of its parts: those that count, by id."""

    @property
    def has_parts(self) -> bool:
        """Whether the goal's number is made of what its parts have attained."""
        return self.measure.aggregate is Aggregate.CHILDREN


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """The records of one CRM user count on the days of one period."""

    user: CrmUser
    period: Period


@dataclass(frozen=True, slots=True)
class Rule:
    """Everything a goal's number depends on beside the records: equal rules give equal numbers."""

    measure: Measure
    days: BusinessDays
    spans: tuple[Span, ...]
    rates: RatesInto = NO_RATES_INTO
    """The daily rates of the goal's days, where the measure converts at them."""
    children: tuple[UUID, ...] = ()
    """The goals whose attainment the number is made of, where it is made of that."""
    stated_in: Period | None = None
    """Where the number is made of stated values: that of the days whose values count."""


class Stated(NamedTuple):
    """A value that somebody stated of a goal, in one version."""

    value_id: UUID
    day: date
    value: Decimal
    source: str
    note: str | None
    stated_by: UUID | None
    stated_at: datetime


@dataclass(frozen=True, slots=True)
class PartVerdict:
    """Whether and how one part of a record counts for one goal."""

    part: Part
    outcome: Counted | NotCounted
    person_id: UUID | None
    """Whose part it is, where an identity names them."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether and how one record counts for one goal."""

    outcome: Counted | NotCounted
    """All that counts of it together, from its first day on; or why nothing of it does."""
    day: date | None
    """The day the record counts on, the first if there are several; where it has one, whether it counts or not."""
    person_id: UUID | None
    """Who owns the record, where an identity names them."""
    parts: tuple[PartVerdict, ...]
    """Empty for a record that adds nothing whoever has it."""


@dataclass(slots=True)
class Movement:
    """The net change of one goal by some changed records."""

    value: Decimal = _ZERO
    """Of a sum, a count or a numerator; a distinct goal's value follows from `distinct`."""
    denominator: Decimal = _ZERO
    deals: int = 0
    """By how many records more or fewer; named as on the wire, from when only deals counted."""
    distinct: dict[str, int] = field(default_factory=dict)
    """For a distinct goal, by how many records each value is had more or fewer."""
    received_at: datetime | None = None
    """When the newest delivery that took part was accepted."""

    def add(self, added: Added, deals: int, received_at: datetime) -> None:
        """Let one record more (`deals` 1) or one fewer (-1) count with what it adds.

        Exact in a decimal context as wide as the sum: see `EXACT`.
        """
        value, distinct_value, denominator = added
        self.deals += deals
        if distinct_value is not None:
            self.distinct[distinct_value] = self.distinct.get(distinct_value, 0) + deals
        elif deals > 0:
            self.value += value
            if denominator is not None:
                self.denominator += denominator
        else:
            self.value -= value
            if denominator is not None:
                self.denominator -= denominator
        if self.received_at is None or received_at > self.received_at:
            self.received_at = received_at

    def join(self, other: "Movement") -> None:
        """Let all that another movement counts count here too; exact as `add` is."""
        self.deals += other.deals
        self.value += other.value
        self.denominator += other.denominator
        for distinct_value, deals in other.distinct.items():
            self.distinct[distinct_value] = self.distinct.get(distinct_value, 0) + deals
        if other.received_at is not None and (self.received_at is None or other.received_at > self.received_at):
            self.received_at = other.received_at

    def is_nil(self) -> bool:
        """Whether the goal stands where it stood."""
        return not self.deals and not self.value and not self.denominator and not any(self.distinct.values())


# In the order in which they are checked for one part.
_PART_REASONS = (
    Exclusion.NO_VALUE,
    Exclusion.NO_CURRENCY,
    Exclusion.CURRENCY_DIFFERS,
    Exclusion.NO_EXCHANGE_RATE,
    Exclusion.OTHER_ROLE,
    Exclusion.NO_SHARE,
    Exclusion.OWNER_MISSING,
    Exclusion.OWNER_UNMAPPED,
    Exclusion.OUTSIDE_PERIOD,
    Exclusion.OWNER_NOT_MEMBER,
)


class _Interval(NamedTuple):
    start: date
    end: date
    goals: tuple[int, ...]
    """Numbers of goals in the index: hashing one costs nothing beside hashing an id."""


_Reader = Callable[[RecordFacts], Added | None]
_Converter = Callable[[RecordFacts, date], Added | None]


class _Watch(NamedTuple):
    """The goals that look at one user's records of one kind through the same filter and on the same days."""

    matches: Callable[[RecordFacts], bool]
    date_field: DateField
    role: str | None
    measures: tuple[tuple[_Reader, _Converter | None, tuple[_Interval, ...], Measure], ...]


class _OfUser:
    """The goals that count records of one kind of one user, on which of the user's days; arranged when first needed."""

    def __init__(
        self, record: RecordType, rates: ExchangeRates, goals: Mapping[int, tuple[Measure, tuple[Period, ...]]]
    ):
        self.goals = goals
        """By the goal's number."""
        self._record = record
        self._rates = rates

    @cached_property
    def whole(self) -> tuple[_Watch, ...]:
        """Every goal, for a record that is the user's alone."""
        return self._watches(tuple(Crediting))

    @cached_property
    def owned(self) -> tuple[_Watch, ...]:
        """The goals that count by owner, for a record of the user's that has splits."""
        return self._watches((Crediting.OWNER,))

    @cached_property
    def shared(self) -> tuple[_Watch, ...]:
        """The goals that count by splits, for a record on whose splits the user is."""
        return self._watches((Crediting.SPLIT,))

    def _watches(self, crediting: Collection[Crediting]) -> tuple[_Watch, ...]:
        measures: dict[Measure, dict[Period, list[int]]] = {}
        for goal, (measure, periods) in self.goals.items():
            for period in periods if measure.crediting in crediting else ():
                measures.setdefault(measure, {}).setdefault(period, []).append(goal)
        return _watches(measures, self._record, self._rates)


_User = tuple[str, str | None]
"""Source and user."""
_Watched = Layered[_User, _OfUser]
"""The goals that count one kind of record, by whom they look at."""


class Contribution(NamedTuple):
    """What a record adds to a goal."""

    goal_id: UUID
    added: Added


class GoalIndex:
    """The counting goals of one tenant, arranged by which records of whom they count.

    Goals of equal measures share its evaluation. Never changed: `changed` makes another one, at the cost of what is
    another one in it.
    """

    def __init__(
        self,
        chart: OrgChart,
        terms: Layered[UUID, GoalTerms],
        rules: Layered[UUID, Rule],
        goal_ids: list[UUID],
        numbers: Layered[UUID, int],
        watched: Mapping[type[RecordFacts], _Watched],
        above: Layered[UUID, UUID],
    ) -> None:
        """`goal_ids` is shared by all indexes made of one another, and only grows."""
        self.chart = chart
        self.terms = terms
        self.rules = rules
        self.goal_ids = goal_ids
        """The goals by number."""
        self._numbers = numbers
        self._watched = watched
        self._above = above
        """The goal that each is a weighted part of."""

    @classmethod
    def of(cls, chart: OrgChart, goals: Iterable[GoalTerms]) -> "GoalIndex":
        """The index of these goals."""
        watched: dict[type[RecordFacts], _Watched] = {record.facts: Layered() for record in RECORD_TYPES.values()}
        return cls(chart, Layered(), Layered(), [], Layered(), watched, Layered()).changed(chart, goals, ())

    def changed(self, chart: OrgChart, goals: Iterable[GoalTerms], removed: Collection[UUID]) -> "GoalIndex":
        """With these goals, new or as they are now, and without some.

        Every goal that the difference between the charts is about has to be among them: see `affected_owners`.
        """
        terms = {each.goal_id: each for each in goals}
        reached: dict[tuple[OwnerKind, UUID, Period], tuple[Span, ...]] = {}
        rules: dict[UUID, Rule] = {}
        for goal_id, each in terms.items():
            key = (each.owner_kind, each.owner_id, each.period)
            if key not in reached:
                reached[key] = _spans(chart, *key)
            reach = reached[key] if each.measure.aggregate.counts_records else ()
            stated_in = each.period if each.measure.aggregate is Aggregate.STATED else None
            rates = _rates(chart, each)
            rules[goal_id] = Rule(each.measure, chart.calendar.days, reach, rates, each.children, stated_in)
        added = [goal_id for goal_id in terms if goal_id not in self._numbers]
        numbers = self._numbers.changed({goal_id: len(self.goal_ids) + nth for nth, goal_id in enumerate(added)})
        self.goal_ids.extend(added)
        moves: dict[type[RecordFacts], dict[_User, _Move]] = {facts: {} for facts in self._watched}
        for goal_id in {*terms, *removed}:
            number = numbers[goal_id]
            if (before := self.rules.get(goal_id)) is not None:
                for user in {span.user for span in before.spans}:
                    _move(moves, before, user).removed.add(number)
            if (after := rules.get(goal_id)) is not None:
                for user, spans in groupby(after.spans, key=lambda span: span.user):
                    _move(moves, after, user).put[number] = (after.measure, tuple(span.period for span in spans))
        watched = {
            record.facts: _moved(self._watched[record.facts], moves[record.facts], record, chart.rates)
            for record in RECORD_TYPES.values()
        }
        return GoalIndex(
            chart,
            self.terms.changed(terms, removed),
            self.rules.changed(rules, removed),
            self.goal_ids,
            numbers,
            watched,
            self._above_after(rules, {*terms, *removed}),
        )

    def _above_after(self, rules: Mapping[UUID, Rule], changed: Collection[UUID]) -> Layered[UUID, UUID]:
        before = [(each, child) for each in changed if each in self.rules for child in self.rules[each].children]
        put = {child: goal_id for goal_id, rule in rules.items() for child in rule.children}
        if not before and not put:
            return self._above
        return self._above.changed(put, [child for goal_id, child in before if self._above.get(child) == goal_id])

    def above(self, goal_ids: Iterable[UUID]) -> frozenset[UUID]:
        """The goals whose number follows from one of these: those it is a weighted part of, and those above them."""
        found: set[UUID] = set()
        if self._above:
            for goal_id in goal_ids:
                parent = self._above.get(goal_id)
                # What has been found has all above it found, also where goals that arrive one by one make a circle.
                while parent is not None and parent not in found:
                    found.add(parent)
                    parent = self._above.get(parent)
        return frozenset(found)

    def contributions(self, facts: RecordFacts) -> list[Contribution]:
        """What the record adds to each goal it counts for, each goal once."""
        return [Contribution(self.goal_ids[goal], added) for added, goals in self.counting(facts) for goal in goals]

    def counting(self, facts: RecordFacts) -> Iterable[tuple[Added, tuple[int, ...]]]:
        """What the record adds, and the numbers of the goals it adds that to; each goal once."""
        if facts.is_gone:
            return ()
        watched = self._watched[type(facts)]
        if facts.splits or len(facts.payments) > 1 or len(facts.invoices) > 1:
            return self._counting_parts(facts.dated(self.chart.calendar), watched)
        of_owner = watched.get((facts.source, facts.owner_external_id))
        return () if of_owner is None else self._counting_whole(facts.dated(self.chart.calendar), of_owner.whole)

    def _counting_whole(self, facts: RecordFacts, watches: Iterable[_Watch]) -> Iterator[tuple[Added, tuple[int, ...]]]:
        """Of a record of one part, which lies on one day: in at most one interval of a goal."""
        for matches, date_field, _, measures in watches:
            if not matches(facts) or (day := facts.day(date_field, self.chart.calendar)) is None:
                continue
            for read, convert, intervals, _ in measures:
                added = read(facts)
                if added is None and (convert is None or (added := convert(facts, day)) is None):
                    continue
                for start, end, goals in intervals:
                    if start <= day < end:
                        yield added, goals

    def _counting_parts(self, facts: RecordFacts, watched: _Watched) -> Iterator[tuple[Added, tuple[int, ...]]]:
        """Of a record of several parts, summed by goal."""
        of_owner = watched.get((facts.source, facts.owner_external_id))
        sums: dict[int, Added] = {}
        if not facts.splits:
            self._add_share(sums, facts, () if of_owner is None else of_owner.whole, WHOLE_PERCENT)
        else:
            self._add_share(sums, facts, () if of_owner is None else of_owner.owned, WHOLE_PERCENT)
            for split in facts.splits:
                of_split = watched.get((facts.source, split.owner_external_id))
                watches = () if of_split is None else of_split.shared
                counting = [each for each in watches if share_refusal(each.role, split.role, split.percent) is None]
                self._add_share(sums, facts, counting, split.percent)
        for goal, added in sums.items():
            yield added, (goal,)

    def _add_share(
        self, sums: dict[int, Added], facts: RecordFacts, watches: Iterable[_Watch], percent: Decimal
    ) -> None:
        for matches, date_field, _, measures in watches:
            if not matches(facts):
                continue
            first_day = facts.day(date_field, self.chart.calendar)
            for read, convert, intervals, measure in measures:
                for day, added in self._wholes(facts, first_day, read, convert, measure):
                    for start, end, goals in intervals:
                        if start <= day < end:
                            for goal in goals:
                                sums[goal] = _with_share(sums.get(goal), added, percent)

    def _wholes(
        self, facts: RecordFacts, day: date | None, read: _Reader, convert: _Converter | None, measure: Measure
    ) -> Iterable[tuple[date, Added]]:
        """What a record that passes the filter adds before anybody takes a share, by instalment where those count."""
        if measure.by_instalment:
            return measure.counting_instalments(facts, self.chart.rates)
        if day is None:
            return ()
        added = read(facts)
        if added is None and (convert is None or (added := convert(facts, day)) is None):
            return ()
        return ((day, added),)

    def verdict(self, goal_id: UUID, facts: RecordFacts) -> Verdict:
        """Whether a record of the kind that a goal of this index counts does count and, if not, the first reason.

        They come in a fixed order: the record is gone; the filter; no day; no value; another currency or no rate for
        it; the split does not count; nobody has the part; its day is outside the goal's period; whose it is was, on
        that day, not the person or not in the team's subtree. Where several parts all do not count, the verdict has the
        reason of the part that came furthest; an unknown user comes before somebody who is not a member.
        """
        terms = self.terms[goal_id]
        found = parts_of(terms.measure, facts, self.chart.calendar, self.chart.rates)
        day = facts.day(terms.measure.date_field, self.chart.calendar)
        person_id = self.chart.person_of(facts.source, facts.owner_external_id)
        if isinstance(found, NotCounted):
            return Verdict(found, day, person_id, ())
        parts = tuple(self._part_verdict(goal_id, part) for part in found)
        counted = [part.outcome for part in parts if isinstance(part.outcome, Counted)]
        if counted:
            outcome = together(counted)
            return Verdict(outcome, outcome.day, person_id, parts)
        refusals = [part.outcome for part in parts if isinstance(part.outcome, NotCounted)]
        furthest = max(refusals, key=lambda each: _PART_REASONS.index(each.reason))
        is_unknown = any(refused.reason is Exclusion.OWNER_UNMAPPED for refused in refusals)
        if furthest.reason is Exclusion.OWNER_NOT_MEMBER and is_unknown:
            furthest = NotCounted(Exclusion.SPLIT_UNMAPPED)
        return Verdict(furthest, day, person_id, parts)

    def reason(self, goal_id: UUID, facts: RecordFacts, verdict: Verdict) -> Reason | None:
        """The verdict's reason in words; None for a record that counts."""
        if isinstance(verdict.outcome, Counted):
            return None
        terms = self.terms[goal_id]
        return reason_of(
            verdict.outcome.reason,
            Circumstances(
                facts=facts.dated(self.chart.calendar),
                measure=terms.measure,
                failing=verdict.outcome.failing,
                day=verdict.day,
                period=terms.period,
                unknown_users=unknown_users((part.part, part.person_id) for part in verdict.parts),
                roles=tuple(dict.fromkeys(part.part.share.role for part in verdict.parts)),
                role=terms.measure.role,
            ),
        )

    def _part_verdict(self, goal_id: UUID, part: Part) -> PartVerdict:
        user, outcome = part.share.user, part.outcome
        person_id = None if user is None else self.chart.person_of(user.source, user.external_id)
        if isinstance(outcome, Counted):
            if person_id is None:
                outcome = NotCounted(Exclusion.OWNER_MISSING if user is None else Exclusion.OWNER_UNMAPPED)
            elif outcome.day not in self.terms[goal_id].period:
                outcome = NotCounted(Exclusion.OUTSIDE_PERIOD)
            elif not any(span.user == user and outcome.day in span.period for span in self.rules[goal_id].spans):
                outcome = NotCounted(Exclusion.OWNER_NOT_MEMBER)
        return PartVerdict(part, outcome, person_id)


class Movements:
    """The net change of a tenant's goals by any number of changed records, added in any number of pieces."""

    def __init__(self, index: GoalIndex, skipped: Collection[UUID] = ()) -> None:
        """Goals in `skipped` are left out."""
        self._index = index
        self._skipped = skipped
        # By goals that move alike: those above a seller are many, and each record moves all of them.
        self._moved: defaultdict[tuple[int, ...], Movement] = defaultdict(Movement)

    @property
    def chart(self) -> OrgChart:
        """The tenant's organisation."""
        return self._index.chart

    def add(self, changes: Iterable[Change[DealFacts | ActivityFacts]]) -> None:
        """Take these changes into account."""
        counting, moved = self._index.counting, self._moved
        with localcontext(EXACT):
            for change in changes:
                received_at = change.received_at
                if change.before is not None:
                    for added, goals in counting(change.before):
                        moved[goals].add(added, -1, received_at)
                for added, goals in counting(change.after):
                    moved[goals].add(added, 1, received_at)

    def net(self) -> dict[UUID, Movement]:
        """The movement of every goal that does not stand where it stood, those made of it among them."""
        by_goal: defaultdict[int, Movement] = defaultdict(Movement)
        with localcontext(EXACT):
            for goals, movement in self._moved.items():
                for goal in goals:
                    by_goal[goal].join(movement)
        net = {self._index.goal_ids[goal]: movement for goal, movement in by_goal.items() if not movement.is_nil()}
        # Its number is another one too. It is worked out where it is read; here it only gets its next version.
        net.update((goal_id, Movement()) for goal_id in self._index.above(net))
        return {goal_id: movement for goal_id, movement in net.items() if goal_id not in self._skipped}


def combined(combine: Combine, values: Sequence[Stated]) -> tuple[Decimal, Decimal, int]:
    """What stated values in the order of their days come to: numerator, denominator, and how many count."""
    if combine is Combine.LATEST:
        return (values[-1].value, Decimal(1), 1) if values else (_ZERO, _ZERO, 0)
    total = _ZERO
    for each in values:
        total = EXACT.add(total, each.value)
    return total, Decimal(1) if combine is Combine.SUM else Decimal(len(values)), len(values)


def changed_rules(before: GoalIndex, after: GoalIndex, among: Iterable[UUID]) -> frozenset[UUID]:
    """Those of these goals whose number may be another one: changed, new, or no longer counting."""
    return frozenset(goal_id for goal_id in among if before.rules.get(goal_id) != after.rules.get(goal_id))


def affected_owners(before: OrgChart, after: OrgChart) -> frozenset[UUID] | None:
    """The people and teams whose goals may reach other records by one chart than by the other; None for all of them.

    A person by its CRM users; a team by whoever was ever in it or below it.
    """
    if before.calendar != after.calendar or before.rates is not after.rates:
        return None
    people = {
        person
        for user in before.identities.keys() | after.identities.keys()
        if before.identities.get(user) != after.identities.get(user)
        for person in (before.identities.get(user), after.identities.get(user))
        if person is not None
    }
    teams = {member.team_id for member in {*before.memberships} ^ {*after.memberships}}
    teams |= {member.team_id for chart in (before, after) for member in chart.memberships if member.person_id in people}
    changed_nodes = {
        team for team in before.teams.keys() | after.teams.keys() if before.teams.get(team) != after.teams.get(team)
    }
    return frozenset(people) | _with_teams_above(teams | changed_nodes, before, after)


def _with_teams_above(teams: set[UUID], *charts: OrgChart) -> frozenset[UUID]:
    """These teams, and every team that one of them ever stood below."""
    found, waiting = set(teams), list(teams)
    while waiting:
        team = waiting.pop()
        for chart in charts:
            node = chart.teams.get(team)
            for _, parent_id, _ in () if node is None else node.states():
                if parent_id is not None and parent_id not in found:
                    found.add(parent_id)
                    waiting.append(parent_id)
    return frozenset(found)


def together(counted: Sequence[Counted]) -> Counted:
    """Some parts of one record as one: what they add, from the first day on."""
    one = min(counted, key=lambda each: each.day)
    if len(counted) == 1 or one.distinct_value is not None:
        return one
    value, below = _ZERO, None if one.denominator is None else _ZERO
    for each in counted:
        value = EXACT.add(value, each.value)
        if below is not None:
            below = EXACT.add(below, each.denominator or _ZERO)
    same = all(each.conversion == one.conversion for each in counted)
    return replace(one, value=value, denominator=below, conversion=one.conversion if same else None)


def team_owners(chart: OrgChart, team_id: UUID, today: date) -> frozenset[UUID]:
    """The team, the teams below it, and whoever is in one of them today."""
    teams = chart.subtree(team_id, today)
    return teams | {m.person_id for m in chart.memberships if m.team_id in teams and today in m.range}


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


class _Move(NamedTuple):
    """What becomes other goals of one user."""

    put: dict[int, tuple[Measure, tuple[Period, ...]]]
    removed: set[int]


def _move(moves: Mapping[type[RecordFacts], dict[_User, _Move]], rule: Rule, user: CrmUser) -> _Move:
    """The move of a user's goals that count what the rule counts."""
    by_user = moves[rule.measure.record_type.facts]
    return by_user.setdefault((user.source, user.external_id), _Move({}, set()))


def _moved(watched: _Watched, moves: Mapping[_User, _Move], record: RecordType, rates: ExchangeRates) -> _Watched:
    put: dict[_User, _OfUser] = {}
    for user, move in moves.items():
        known = watched.get(user)
        others = {} if known is None else {n: goal for n, goal in known.goals.items() if n not in move.removed}
        put[user] = _OfUser(record, rates, {**others, **move.put})
    return watched.changed(put)


def _watches(
    measures: Mapping[Measure, Mapping[Period, Sequence[int]]], record: RecordType, rates: ExchangeRates
) -> tuple[_Watch, ...]:
    alike: defaultdict[tuple[Filter, DateField, str | None], list[Measure]] = defaultdict(list)
    for measure in measures:
        alike[measure.filter, measure.date_field, measure.role].append(measure)
    return tuple(
        _Watch(
            predicate(node, record.reader),
            date_field,
            role,
            tuple(
                (measure.reader(), measure.converter(rates), _intervals(measures[measure]), measure)
                for measure in members
            ),
        )
        for (node, date_field, role), members in alike.items()
    )


def _intervals(periods: Mapping[Period, Sequence[int]]) -> tuple[_Interval, ...]:
    return tuple(_Interval(period.start, period.end, tuple(periods[period])) for period in sorted(periods))


def _with_share(before: Added | None, added: Added, percent: Decimal) -> Added:
    """What a goal has of a record, with one part more. A distinct value is had, not shared."""
    if added.distinct_value is not None:
        return added
    value = share_value(added.value, percent)
    below = None if added.denominator is None else share_value(added.denominator, percent)
    if before is None:
        return Added(value, None, below)
    return Added(
        EXACT.add(before.value, value),
        None,
        None if below is None or before.denominator is None else EXACT.add(before.denominator, below),
    )
