"""Actuals that deals move and organisations outdate, against the oracle: whatever arrives in whatever order."""

from collections import defaultdict
from collections.abc import Collection
from datetime import date
from fractions import Fraction
from uuid import UUID

from hypothesis import HealthCheck, given, settings

from services.tracking.measure.actuals.domain import ActualsKey, Counting, Moves, Sums, outdated
from services.tracking.measure.progress.definitions import NOTHING_DEFINED, snapshot_of
from services.tracking.records.domain.snapshots import Change
from shared.contracts.base import Event
from shared.contracts.deals import Deal
from shared.kernel.deals import DealFacts
from tests.oracles import actuals, progress
from tests.stories.progress import Storyteller, actuals_of

TENANT = UUID(int=7)
STORYTELLER = Storyteller(TENANT)


class Engine:
    """The least that must be kept around the pure rules: newest versions, sums, and who is to be counted anew."""

    def __init__(self) -> None:
        self.deals: dict[UUID, DealFacts] = {}
        self.versions: dict[str, int] = {}
        self.definitions = NOTHING_DEFINED
        self.sums: defaultdict[ActualsKey, list[Fraction]] = defaultdict(lambda: [Fraction(0)] * 5)
        self.currencies: dict[ActualsKey, str | None] = {}
        self.outdated: dict[UUID, date] = {}

    def record(self, batch: Collection[Deal]) -> None:
        moves = Moves()
        for event in batch:
            facts, before = event.facts(), self.deals.get(event.id)
            if before is None or before.version < facts.version:
                change = Change(TENANT, before, facts, event.received_at, event.connection_id)
                moves.add(TENANT, self.definitions.chart, [change])
                self.deals[event.id] = facts
        for _, key, currency, moved in moves.net():
            self._add(key, currency, moved)

    def define(self, batch: Collection[Event]) -> None:
        newer: dict[str, Event] = {}
        for event in batch:
            version = snapshot_of(event).version
            if self.versions.get(event.subject, 0) < version:
                self.versions[event.subject] = version
                newer[event.subject] = event
        after, _ = self.definitions.changed(newer.values())
        for person_id, month in outdated(self.definitions.chart, after.chart).items():
            self.outdated[person_id] = min(month, self.outdated.get(person_id, date.max))
        self.definitions = after

    def recount(self) -> None:
        counting = Counting(self.definitions.chart)
        for key in [key for key in self.sums if key.month >= self.outdated.get(key.person_id, date.max)]:
            del self.sums[key]
        counting.add_all(self.deals.values())
        for key, sums in counting.net().items():
            if key.month >= self.outdated.get(key.person_id, date.max):
                self._add(key, counting.currency(key.month), sums)
        self.outdated.clear()

    def _add(self, key: ActualsKey, currency: str | None, moved: Sums) -> None:
        change = (moved.won_value, moved.won_number, moved.open_value, moved.open_number, moved.unconverted)
        self.sums[key] = [before + Fraction(each) for before, each in zip(self.sums[key], change, strict=True)]
        self.currencies[key] = currency

    def stands(self) -> dict[tuple[int, int], actuals.Actuals]:
        return {
            STORYTELLER.actuals_key(key.person_id, key.month): actuals_of(self.currencies[key], *sums)
            for key, sums in self.sums.items()
            if any(sums)
        }


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(progress.stories(activities_max=0))
def test_any_story_ends_where_the_oracle_says(story: list[progress.Step]) -> None:
    _follow(story)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(progress.stories(only_rates=True))
def test_any_change_of_rates_ends_where_the_oracle_says(story: list[progress.Step]) -> None:
    _follow(story)


def _follow(story: list[progress.Step]) -> None:
    engine = Engine()
    for step in story:
        match step:
            case progress.Deals(batch):
                engine.record(STORYTELLER.deal_events(batch))
            case progress.Definitions(batch):
                engine.define(STORYTELLER.definition_events(batch))
            case progress.Rebuild():
                engine.recount()
    engine.recount()
    assert engine.stands() == actuals.expected(story)
