"""The whole of progress on a real Postgres against the oracle: the service's own functions, in transactions."""

from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, date, datetime
from fractions import Fraction
from math import floor
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given, settings

from services.tracking.measure.actuals import store as actuals_store
from services.tracking.measure.actuals.service import render_actuals
from services.tracking.measure.progress import contributions, store
from services.tracking.measure.progress.definitions import DefinitionsCache
from services.tracking.measure.progress.service import ProgressTracker, progress_event, render_progress
from services.tracking.measure.progress.tables import ACTIVITIES_STRIPE
from services.tracking.measure.progress.verification import of_tenant
from services.tracking.metadata import transport
from services.tracking.records.service import ACTIVITIES, DEALS
from shared.contracts.activities import Activity
from shared.contracts.actuals import Actuals
from shared.contracts.deals import Deal
from shared.contracts.progress import Progress
from shared.db.database import Database, Scope
from shared.kernel.measures import Aggregate, Counted
from shared.kernel.records import RecordKind
from shared.outbox.outbox import Outbox
from tests.oracles import actuals as actuals_oracle
from tests.oracles import progress as oracle
from tests.stories.progress import Storyteller, actuals_of

_EVER = datetime.max.replace(tzinfo=UTC)


@pytest.fixture(scope="module")
async def database(module_database: str) -> AsyncIterator[Database]:
    database = Database(module_database, service="tracking")
    yield database
    await database.close()


class Service:
    """The service's functions for one tenant, each call a transaction."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.storyteller = Storyteller(uuid4())
        self.cache = DefinitionsCache()
        self.tracker = ProgressTracker(Outbox(transport), self.cache)
        self.scope = Scope.of(self.storyteller.tenant_id)

    async def follow(self, story: list[oracle.Step]) -> None:
        await self.hear(story)
        await self.rebuild()

    async def hear(self, story: list[oracle.Step]) -> None:
        for number, step in enumerate(story):
            match step:
                case oracle.Deals(batch):
                    deals = self.storyteller.deal_events(batch)
                    if number % 2:
                        await self.count(deals, ())
                    async with self.database.transaction(self.scope) as tx:
                        # Now and then a piece has only a part of the versions of a deal.
                        pieces = [deals[: len(deals) // 2], deals[len(deals) // 2 :]]
                        await self.tracker.apply(tx, [self.storyteller.tenant_id], pieces, stripe=number % 3)
                case oracle.Activities(batch):
                    activities = self.storyteller.activity_events(batch)
                    if number % 2:
                        await self.count((), activities)
                    halves = [activities[: len(activities) // 2], activities[len(activities) // 2 :]]
                    stripe = ACTIVITIES_STRIPE + number % 3
                    async with self.database.transaction(self.scope) as tx:
                        await self.tracker.apply_activities(tx, [self.storyteller.tenant_id], halves, stripe=stripe)
                case oracle.Definitions(batch):
                    definitions = self.storyteller.definition_events(batch)
                    async with self.database.transaction(self.scope) as tx:
                        await self.tracker.define(tx, definitions)
                case oracle.Rebuild():
                    await self.rebuild()

    async def count(self, deals: Sequence[Deal], activities: Sequence[Activity]) -> None:
        """Count as they are published what can be; all of it comes from its topic afterwards."""
        async with self.database.transaction(self.scope) as tx:
            await self.tracker.count(tx, deals, activities)

    async def rebuild(self) -> None:
        while True:
            async with self.database.transaction(self.scope) as tx:
                if not await self.tracker.rebuild(tx, self.storyteller.tenant_id):
                    return

    async def published(self, goals: list[int]) -> dict[int, Progress]:
        tenant_id = self.storyteller.tenant_id
        numbers = {self.storyteller.goal_id(number): number for number in goals}
        async with self.database.transaction(Scope.every()) as tx:
            messages = await render_progress(tx, [(tenant_id, f"goal/{goal_id}") for goal_id in numbers])
        events = [Progress.model_validate_json(message.value or b"") for message in messages]
        return {numbers[event.goal_id]: event for event in events}

    async def published_actuals(self) -> dict[tuple[int, int], Actuals]:
        """Every month of everybody, as it is published."""
        tenant_id = self.storyteller.tenant_id
        async with self.database.transaction(Scope.every()) as tx:
            keys = await actuals_store.next_keys(tx, (tenant_id, UUID(int=0)), people=oracle.PEOPLE)
            subjects = [(tenant, f"actuals/{person}/{month:%Y-%m}") for tenant, person, month in keys]
            own = [subject for subject in subjects if subject[0] == tenant_id]
            messages = await render_actuals(tx, own)
        events = [Actuals.model_validate_json(message.value or b"") for message in messages]
        return {self.storyteller.actuals_key(event.person_id, _first_day(event)): event for event in events}

    async def shown(self, goals: list[int]) -> dict[int, Progress]:
        """Where the goals stand for who asks, stale or not."""
        keys = [(self.storyteller.tenant_id, self.storyteller.goal_id(number)) for number in goals]
        numbers = {self.storyteller.goal_id(number): number for number in goals}
        async with self.database.transaction(self.scope) as tx:
            return {numbers[state.goal_id]: progress_event(state) for state in await store.states(tx, keys)}

    def standing(self, event: Progress, metric: str) -> oracle.Standing:
        if event.numerator is None or event.denominator is None:
            return oracle.Standing(self.storyteller.value(metric, event.value), event.deals)
        above = self.storyteller.value(metric, event.numerator)
        return oracle.Standing(above, event.deals, self.storyteller.below(metric, event.denominator))


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(oracle.stories())
async def test_any_story_ends_where_the_oracle_says(database: Database, story: list[oracle.Step]) -> None:
    await _check_story(database, story)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(oracle.stories(only_rates=True))
async def test_any_change_of_rates_ends_where_the_oracle_says(database: Database, story: list[oracle.Step]) -> None:
    await _check_story(database, story)


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(oracle.stories())
async def test_stale_goals_stand_still_however_many_there_are(database: Database, story: list[oracle.Step]) -> None:
    goals = list(oracle.expected(story))
    shown = []
    for stale_read_max in (500, 0):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(store, "_STALE_READ_MAX", stale_read_max)
            service = Service(database)
            await service.hear(story)
        found = await service.shown(goals)
        shown.append({number: (event.version, event.value, event.deals) for number, event in found.items()})
    assert shown[0] == shown[1]


async def _check_story(database: Database, story: list[oracle.Step]) -> None:
    service = Service(database)
    await service.follow(story)
    expected = oracle.expected(story)
    metrics = oracle.metrics(story)
    published = await service.published(list(expected))
    stands = {number: service.standing(event, metrics[number]) for number, event in published.items()}
    # A goal that was never more than a draft has no progress; it is expected to stand at zero.
    nothing = dict.fromkeys(expected, oracle.Standing(Fraction(0), 0))
    assert nothing | stands == expected
    assert [each async for each in of_tenant(database, service.storyteller.tenant_id, Counter())] == []
    months = {
        key: actuals_of(
            event.currency,
            event.won_value,
            event.won_number,
            event.open_value,
            event.open_number,
            event.unconverted,
        )
        for key, event in (await service.published_actuals()).items()
        if any((event.won_number, event.open_number, event.won_value, event.open_value, event.unconverted))
    }
    assert months == actuals_oracle.expected(story)
    await _check_readings(service, published)


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(oracle.stories())
async def test_hearing_a_story_again_changes_nothing(database: Database, story: list[oracle.Step]) -> None:
    service = Service(database)
    await service.follow(story)
    goals = list(oracle.expected(story))
    before = await service.published(goals), await service.published_actuals()
    await service.follow(story)
    assert (await service.published(goals), await service.published_actuals()) == before


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(oracle.stories())
async def test_a_version_is_a_state(database: Database, story: list[oracle.Step]) -> None:
    service = Service(database)
    goals = list(oracle.expected(story))
    seen: dict[tuple[int, int], Progress] = {}
    months: dict[tuple[tuple[int, int], int], Actuals] = {}
    for step in story:
        newest = dict(sorted(seen))
        await service.hear([step])
        for number, event in (await service.shown(goals)).items():
            assert seen.setdefault((number, event.version), event) == event
            assert event.version >= newest.get(number, 0)
        newest_months = dict(sorted(months))
        for key, month in (await service.published_actuals()).items():
            assert months.setdefault((key, month.version), month) == month
            assert month.version >= newest_months.get(key, 0)


def _first_day(event: Actuals) -> date:
    return date.fromisoformat(f"{event.month}-01")


async def _check_readings(service: Service, published: dict[int, Progress]) -> None:
    """The series, the explanation and the past each add up to the same."""
    tenant_id = service.storyteller.tenant_id
    async with service.database.transaction(service.scope) as tx:
        index = (await service.cache.current(tx, tenant_id)).index
        past = await contributions.totals(tx, tenant_id, index.rules, as_of=_EVER)
        for number, event in published.items():
            value = event.value if event.numerator is None else event.numerator
            _check_quotient(event)
            goal_id = service.storyteller.goal_id(number)
            rule = index.rules.get(goal_id)
            if rule is None:
                assert value == 0
                continue
            assert (past[goal_id].value, past[goal_id].denominator) == (value, event.denominator or 0)
            days = await contributions.series(tx, tenant_id, goal_id, rule)
            assert sum(Fraction(day.added) for day in days) == Fraction(value)
            assert sum(Fraction(day.denominator or 0) for day in days) == Fraction(event.denominator or 0)
            counting = await contributions.page(tx, tenant_id, goal_id, rule, after=None, limit=100)
            # A record whose payments lie on several days is one record and counts on each of them.
            assert len(counting) == past[goal_id].deals <= sum(day.deals for day in days)
            find = DEALS.newest if rule.measure.record is RecordKind.DEAL else ACTIVITIES.newest
            records = await find(tx, tenant_id, [record_id for _, record_id in counting])
            verdicts = [index.verdict(goal_id, records[record_id].facts()) for _, record_id in counting]
            outcomes = [verdict.outcome for verdict in verdicts if isinstance(verdict.outcome, Counted)]
            assert [outcome.day for outcome in outcomes] == [day for day, _ in counting]
            parts = [
                part.outcome for verdict in verdicts for part in verdict.parts if isinstance(part.outcome, Counted)
            ]
            if rule.measure.aggregate is Aggregate.DISTINCT:
                assert len({outcome.distinct_value for outcome in outcomes}) == value
                continue
            assert sum(Fraction(outcome.value) for outcome in outcomes) == Fraction(value)
            assert sum(Fraction(outcome.denominator or 0) for outcome in outcomes) == Fraction(event.denominator or 0)
            by_day: defaultdict[date, Fraction] = defaultdict(Fraction)
            for part in parts:
                by_day[part.day] += Fraction(part.value)
            assert by_day == {day.day: Fraction(day.added) for day in days}


def _check_quotient(event: Progress) -> None:
    """The value of a quotient is its two sides, to six decimals; and there is none of nothing."""
    if event.numerator is None or event.denominator is None:
        return
    if not event.denominator:
        assert not event.value
        assert event.attainment is None
        return
    exact = Fraction(event.numerator) / Fraction(event.denominator) * (100 if event.aggregate == "ratio" else 1)
    assert abs(Fraction(event.value) - exact) <= Fraction(1, 2 * 10**6)
    assert event.attainment is not None
    assert Fraction(event.attainment) == Fraction(floor(exact / Fraction(event.target) * 10**6), 10**6)
