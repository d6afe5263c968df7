"""The pure engine against the oracle: whatever arrives in whatever order, progress ends where it must."""

from collections import Counter
from collections.abc import Collection
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from hypothesis import HealthCheck, given, settings

from services.tracking.measure.progress.definitions import NOTHING_DEFINED, Definitions, snapshot_of
from services.tracking.measure.progress.domain import EXACT, GoalIndex, Movements
from services.tracking.records.domain.snapshots import Change
from shared.contracts.activities import Activity
from shared.contracts.base import Event
from shared.contracts.deals import Deal
from shared.kernel.activities import ActivityFacts
from shared.kernel.deals import DealFacts, RecordVersion
from shared.kernel.measures import Counted
from tests.oracles import progress as oracle
from tests.stories.progress import Storyteller

TENANT = UUID(int=7)
STORYTELLER = Storyteller(TENANT)


class Engine:
    """The least that must be kept around the pure rules: newest versions, sums, and the stale goals."""

    def __init__(self) -> None:
        self.records: dict[UUID, DealFacts | ActivityFacts] = {}
        self.events: dict[str, Event] = {}
        self.values: dict[UUID, Decimal] = {}
        self.denominators: dict[UUID, Decimal] = {}
        self.counts: Counter[UUID] = Counter()
        self.distinct: dict[UUID, Counter[str]] = {}
        self.stale: set[UUID] = set()
        self.definitions = NOTHING_DEFINED

    def record(self, batch: Collection[Deal] | Collection[Activity]) -> None:
        newest: dict[UUID, Deal | Activity] = {}
        for event in batch:
            if event.id not in newest or _order(newest[event.id]) < _order(event):
                newest[event.id] = event
        changes = []
        for record_id, event in newest.items():
            before = self.records.get(record_id)
            if before is None or _order(before.version) < _order(event):
                changes.append(Change(TENANT, before, event.facts(), event.received_at, event.connection_id))
                self.records[record_id] = event.facts()
        self._add(self.definitions.index, changes, skipped=self.stale)

    def define(self, batch: Collection[Event]) -> None:
        newer: dict[str, Event] = {}
        for event in batch:
            held = newer.get(event.subject) or self.events.get(event.subject)
            if held is None or _version(held) < _version(event):
                newer[event.subject] = event
        self.events |= newer
        after, stale = self.definitions.changed(newer.values())
        self._check_against_afresh(after, stale)
        self.stale |= stale
        self.definitions = after

    def _check_against_afresh(self, after: Definitions, stale: Collection[UUID]) -> None:
        """What has grown change by change is what is made of all definitions at once."""
        afresh, _ = NOTHING_DEFINED.changed(self.events.values())
        before = self.definitions.index.rules
        assert dict(after.index.rules) == dict(afresh.index.rules)
        every = before.keys() | after.index.rules.keys()
        assert stale == {goal_id for goal_id in every if before.get(goal_id) != after.index.rules.get(goal_id)}
        assert replace(after.chart, rates=afresh.chart.rates) == afresh.chart
        assert dict(after.goals) == dict(afresh.goals)
        assert {owner: goals for owner, goals in after.goals_of.items() if goals} == dict(afresh.goals_of)
        for facts in self.records.values():
            assert sorted(after.index.contributions(facts)) == sorted(afresh.index.contributions(facts))

    def rebuild(self) -> None:
        for goal_id in self.stale:
            self.values.pop(goal_id, None)
            self.denominators.pop(goal_id, None)
            self.counts.pop(goal_id, None)
            self.distinct.pop(goal_id, None)
        everything = [Change(TENANT, None, facts, facts.version.modified_at, TENANT) for facts in self.records.values()]
        self._add(self.definitions.index, everything, skipped=self.definitions.index.rules.keys() - self.stale)
        self.stale.clear()

    def standing(self, goal_id: UUID, metric: str) -> oracle.Standing:
        value = self.values.get(goal_id, Decimal(0))
        if goal_id in self.distinct:
            value += sum(1 for deals in self.distinct[goal_id].values() if deals > 0)
        below = STORYTELLER.below(metric, self.denominators.get(goal_id, Decimal(0)))
        return oracle.Standing(STORYTELLER.value(metric, value), self.counts[goal_id], below)

    def _add(
        self, index: GoalIndex, changes: Collection[Change[DealFacts | ActivityFacts]], *, skipped: Collection[UUID]
    ) -> None:
        movements = Movements(index, skipped)
        movements.add(changes)
        for goal_id, movement in movements.net().items():
            self.values[goal_id] = EXACT.add(self.values.get(goal_id, Decimal(0)), movement.value)
            before = self.denominators.get(goal_id, Decimal(0))
            self.denominators[goal_id] = EXACT.add(before, movement.denominator)
            self.counts[goal_id] += movement.deals
            if movement.distinct:
                self.distinct.setdefault(goal_id, Counter()).update(movement.distinct)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(oracle.stories())
def test_any_story_ends_where_the_oracle_says(story: list[oracle.Step]) -> None:
    _follow(story)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(oracle.stories(only_rates=True))
def test_any_change_of_rates_ends_where_the_oracle_says(story: list[oracle.Step]) -> None:
    _follow(story)


def _follow(story: list[oracle.Step]) -> None:
    engine = Engine()
    for step in story:
        match step:
            case oracle.Deals(batch):
                engine.record(STORYTELLER.deal_events(batch))
            case oracle.Activities(batch):
                engine.record(STORYTELLER.activity_events(batch))
            case oracle.Definitions(batch):
                engine.define(STORYTELLER.definition_events(batch))
            case oracle.Rebuild():
                engine.rebuild()
    engine.rebuild()
    metrics = oracle.metrics(story)
    stands = {number: engine.standing(STORYTELLER.goal_id(number), metric) for number, metric in metrics.items()}
    assert stands == oracle.expected(story)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(oracle.stories())
def test_a_verdict_agrees_with_what_is_counted(story: list[oracle.Step]) -> None:
    engine = Engine()
    for step in story:
        if isinstance(step, oracle.Deals):
            engine.record(STORYTELLER.deal_events(step.batch))
        elif isinstance(step, oracle.Activities):
            engine.record(STORYTELLER.activity_events(step.batch))
        elif isinstance(step, oracle.Definitions):
            engine.define(STORYTELLER.definition_events(step.batch))
    index = engine.definitions.index
    for facts in engine.records.values():
        counting = {goal_id: tuple(added) for goal_id, added in index.contributions(facts)}
        for goal_id, rule in index.rules.items():
            counted = None
            if isinstance(facts, rule.measure.record_type.facts):
                outcome = index.verdict(goal_id, facts).outcome
                if isinstance(outcome, Counted):
                    counted = (outcome.value, outcome.distinct_value, outcome.denominator)
            assert counting.get(goal_id) == counted


def _order(version: Deal | Activity | RecordVersion) -> tuple[datetime, int, UUID]:
    return version.modified_at, version.sequence, version.delivery_id


def _version(event: Event) -> int:
    return snapshot_of(event).version
