"""Goals made of their parts, and goals on stated values, on a real Postgres, against an oracle in plain fractions."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from copy import deepcopy
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from random import Random
from uuid import UUID, uuid5

import pytest
from sqlalchemy import text

from services.tracking.measure.progress import store
from services.tracking.measure.progress.reading import ProgressReader
from services.tracking.measure.progress.schemas import ExplainedGoal, ExplainedValue
from services.tracking.measure.progress.service import progress_event, render_progress
from services.tracking.measure.progress.verification import of_tenant
from shared.contracts import deals, goals, org
from shared.contracts.progress import Progress
from shared.db.database import Database, Scope
from shared.kernel.sight import Breadth, Viewer
from tests.oracles.parts import Deal, Goal, Value, World, millionths_down, millionths_half_up, newest
from tests.stories.june import NOW, Tenant, won

USERS, GOALS, VALUES, DEALS = 3, 9, 8, 10
KINDS = ("sum", "average", "latest", "sum of stated", "average of stated")
JUNE_15 = datetime(2026, 6, 15, tzinfo=UTC)
STARTED = date(2026, 5, 31)
WHOLE = Viewer(None, Breadth.TENANT, edits=True)


@pytest.fixture(scope="module")
async def database(module_database: str) -> AsyncIterator[Database]:
    database = Database(module_database, service="tracking", pool_size=4)
    yield database
    await database.close()


class Company(Tenant):
    """A tenant with a person a user, goals of every kind, and the relay's part of publishing played."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.world = World()
        self.versions: Counter[str] = Counter()
        self.sent: dict[int, Progress] = {}
        self.seen: dict[tuple[UUID, int], dict[str, object]] = {}

    def id_of(self, kind: str, number: int) -> UUID:
        return uuid5(self.id, f"{kind}/{number}")

    async def open(self) -> "Company":
        people = [
            org.Identity(
                tenant_id=self.id,
                id=self.id_of("identity", user),
                version=1,
                source="crm",
                external_user_id=f"u{user}",
                person_id=self.id_of("person", user),
                deleted=False,
            )
            for user in range(USERS)
        ]
        await self.define(*people)
        return self

    def goal_event(self, number: int) -> goals.Goal:
        terms = self.world.goals[number]
        self.versions[f"goal/{number}"] += 1
        metric: dict[str, object] = {
            "aggregate": "count",
            "value_field": None,
            "date_field": "closed",
            "currency": None,
        }
        metric["filter"] = {"all": []}
        if terms.kind in ("sum", "average"):
            metric |= {"aggregate": "sum", "value_field": "amount", "currency": "EUR"}
        if terms.kind == "average":
            metric["later_aggregate"] = "average"
        elif terms.kind == "parts":
            metric["later_aggregate"] = "children"
        elif terms.kind != "sum":
            metric |= {"later_aggregate": "stated", "combine": terms.kind.split()[0]}
        return goals.Goal.model_validate(
            {
                "tenant_id": self.id,
                "id": self.id_of("goal", number),
                "version": self.versions[f"goal/{number}"],
                "revision": 1,
                "status": "active" if terms.counts else "cancelled",
                "name": f"Goal {number}",
                "owner": {"kind": "person", "id": self.id_of("person", terms.user)},
                "metric": metric,
                "target": Decimal(terms.target),
                "baseline": Decimal(terms.baseline),
                "unit": "x",
                "direction": "lower" if terms.lower else "higher",
                "start": date(2026, 6, 1),
                "end": date(2026, 7, 1),
                "parent_id": None if terms.parent is None else self.id_of("goal", terms.parent),
                "weight": Decimal(terms.weight.numerator) / Decimal(terms.weight.denominator),
            }
        )

    def deal_event(self, number: int) -> deals.Deal:
        deal = self.world.deals[number]
        self.versions[f"deal/{number}"] += 1
        version = self.versions[f"deal/{number}"]
        return won(self.id, number, JUNE_15, amount=deal.amount).model_copy(
            update={"modified_at": NOW + timedelta(seconds=version), "owner_external_id": f"u{deal.user}"}
        )

    def value_event(self, number: int, value: Value) -> goals.StatedValue:
        return goals.StatedValue(
            tenant_id=self.id,
            id=UUID(int=self.id.int ^ number),
            version=value.version,
            goal_id=self.id_of("goal", value.goal),
            day=STARTED + timedelta(days=value.day),
            value=Decimal(value.value.numerator) / Decimal(value.value.denominator),
            source=goals.ValueSource.HAND,
            note=None,
            stated_by=None,
            stated_at=NOW,
            deleted=value.deleted,
        )

    async def events(self) -> dict[int, Progress | None]:
        """Where every goal stands; None for one that waits to be rebuilt."""
        numbers = {self.id_of("goal", number): number for number in self.world.goals}
        async with self.database.transaction(self.scope) as tx:
            states = await store.states(tx, [(self.id, each) for each in numbers])
        for state in states:
            event = progress_event(state).model_dump()
            assert self.seen.setdefault((state.goal_id, state.version), event) == event, "equal versions, equal states"
        return {numbers[state.goal_id]: None if state.is_stale else progress_event(state) for state in states}

    async def relay(self) -> None:
        """Publish what is marked."""
        numbers = {self.id_of("goal", number): number for number in self.world.goals}
        async with self.database.transaction(Scope.every()) as tx:
            marks = await tx.rows(
                text("DELETE FROM tracking.outbox_marks WHERE tenant_id = :id RETURNING subject"), {"id": self.id}
            )
            for message in await render_progress(tx, [(self.id, each) for each in {row["subject"] for row in marks}]):
                event = Progress.from_json(message.value or b"")
                number = numbers[event.goal_id]
                assert number not in self.sent or self.sent[number].version <= event.version
                self.sent[number] = event

    async def check(self) -> None:
        """Everything stands where the oracle says, everything is published, and `verify` agrees."""
        await self.relay()
        for number, event in (await self.events()).items():
            assert event is not None
            value, attained = self.world.number(number), self.world.attained(number)
            assert event.value * 10**6 == (0 if value is None else millionths_half_up(value)), number
            expected = None if attained is None else millionths_down(attained)
            assert (None if event.attainment is None else event.attainment * 10**6) == expected, number
            assert self.sent[number] == event
        assert [each async for each in of_tenant(self.database, self.id, Counter())] == []

    async def now(self) -> datetime:
        async with self.database.transaction(self.scope) as tx:
            return tx.now


@pytest.fixture
async def company(database: Database) -> Company:
    return await Company(database).open()


def some_goal(random: Random, number: int) -> Goal:
    """A goal, made of parts more often the lower its number, and a part of one with a lower number."""
    kind = "parts" if random.random() < 0.8 - number * 0.12 else random.choice(KINDS)
    lower = kind != "parts" and random.random() < 0.2
    return Goal(
        kind,
        random.randrange(USERS),
        random.choice((3, 7, 100)),
        baseline=500 if lower else 0,
        lower=lower,
        counts=random.random() < 0.9,
        parent=None if not number or random.random() < 0.1 else random.randrange(number),
        weight=Fraction(random.choice((0, 25, 30, 50, 75, 100)), 100),
    )


async def happen(company: Company, random: Random) -> None:
    """One batch of something."""
    world = company.world
    match random.choice(("deals", "deals", "goals", "values")):
        case "deals":
            changed = random.sample(range(1, DEALS + 1), random.randint(1, 3))
            world.deals |= {each: Deal(random.randrange(USERS), random.randint(-20, 90)) for each in changed}
            await company.take([company.deal_event(each) for each in changed])
        case "goals":
            changed = random.sample(range(GOALS), random.randint(1, 3))
            world.goals |= {each: some_goal(random, each) for each in changed}
            await company.define(*(company.goal_event(each) for each in changed))
        case _:
            await state_values(company, random)


async def state_values(company: Company, random: Random) -> None:
    """Versions of values, some of them late or once more."""
    events = []
    for number in random.sample(range(1, VALUES + 1), random.randint(1, 3)):
        known = company.world.values.get(number)
        value = Value(
            max(1, (known.version if known else 0) + random.choice((1, 1, 1, 2, 0))),
            number % GOALS if known is None else known.goal,
            random.randint(0, 31),
            Fraction(random.randint(-50, 120), 10),
            random.random() < 0.2,
        )
        if known is not None and known.version == value.version:
            value = known
        if newest(company.world.values, value, number):
            company.world.values[number] = value
        events.append(company.value_event(number, value))
    await company.define(*events)


@pytest.mark.parametrize("seed", range(4))
async def test_whatever_happens_goals_stand_where_their_parts_and_values_say(company: Company, seed: int) -> None:
    random = Random(seed)
    company.world.goals = {number: some_goal(random, number) for number in range(GOALS)}
    first = list(range(GOALS))
    random.shuffle(first)
    await company.define(*(company.goal_event(number) for number in first))
    past: list[tuple[datetime, World]] = []
    for _ in range(25):
        await happen(company, random)
        if random.random() < 0.3:
            await company.relay()
        if random.random() < 0.6:
            await company.rebuild()
            await company.check()
            past.append((await company.now(), deepcopy(company.world)))
    await company.rebuild()
    await company.check()
    async with company.database.transaction(company.scope) as tx:
        reader = ProgressReader(tx, company.definitions, company.id, WHOLE)
        for moment, world in random.sample(past, 3):
            world.goals = company.world.goals
            for number in company.sent:
                stood = await reader.goal_as_of(company.id_of("goal", number), moment)
                attained = world.attained(number)
                expected = None if attained is None else millionths_down(attained)
                assert (None if stood.attainment is None else stood.attainment * 10**6) == expected
        for number in company.sent:
            terms = company.world.goals[number]
            goal_id, value = company.id_of("goal", number), company.world.number(number)
            days = (await reader.series(goal_id)).days
            if days:
                assert days[-1].cumulative * 10**6 == (0 if value is None else millionths_half_up(value))
            explained = [each.root for _, each in await reader.counting(goal_id, after=None, limit=100)]
            if terms.kind == "parts" and terms.counts:
                parts = {each: goal for each, goal in company.world.goals.items() if goal.parent == number}
                assert {each.goal_id: each.attainment for each in explained if isinstance(each, ExplainedGoal)} == {
                    company.id_of("goal", each): company.sent[each].attainment
                    for each, goal in parts.items()
                    if goal.counts
                }
            if terms.kind == "sum of stated" and terms.counts:
                assert sum(each.value for each in explained if isinstance(each, ExplainedValue)) == value


async def grown(company: Company, parts: dict[int, Goal]) -> None:
    company.world.goals = parts
    await company.define(*(company.goal_event(number) for number in parts))
    await company.rebuild()
    await company.check()


async def test_parts_of_80_and_120_percent_at_three_quarters_and_one_are_90_percent(company: Company) -> None:
    await grown(
        company,
        {
            0: Goal("parts", 0, 100),
            1: Goal("sum", 1, 100, parent=0, weight=Fraction(3, 4)),
            2: Goal("sum", 2, 100, parent=0, weight=Fraction(1, 4)),
        },
    )
    company.world.deals = {1: Deal(1, 80), 2: Deal(2, 120)}
    await company.take([company.deal_event(1), company.deal_event(2)])
    await company.check()
    assert (company.sent[0].value, company.sent[0].attainment) == (Decimal(90), Decimal("0.9"))


async def test_what_is_a_third_twice_over_comes_to_exactly_one(company: Company) -> None:
    await grown(
        company,
        {
            0: Goal("parts", 0, 100),
            1: Goal("parts", 0, 100, parent=0, weight=Fraction(1, 2)),
            2: Goal("sum", 1, 3, parent=1, weight=Fraction(1)),
            3: Goal("parts", 0, 100, parent=0, weight=Fraction(1, 2)),
            4: Goal("sum", 2, 3, parent=3, weight=Fraction(1)),
        },
    )
    company.world.deals = {1: Deal(1, 1), 2: Deal(2, 5)}
    await company.take([company.deal_event(1), company.deal_event(2)])
    await company.check()
    assert company.sent[0].attainment == 1


async def test_a_part_of_which_nothing_can_be_told_leaves_no_number(company: Company) -> None:
    await grown(
        company,
        {
            0: Goal("parts", 0, 100),
            1: Goal("sum", 1, 100, parent=0, weight=Fraction(3, 4)),
            2: Goal("latest", 2, 10, parent=0, weight=Fraction(1, 4)),
        },
    )
    company.world.deals = {1: Deal(1, 80)}
    await company.take([company.deal_event(1)])
    await company.check()
    assert (company.sent[0].attainment, str(company.sent[0].denominator)) == (None, "0")
    company.world.values = {1: Value(1, 2, 10, Fraction(12), deleted=False)}
    await company.define(company.value_event(1, company.world.values[1]))
    await company.rebuild()
    await company.check()
    assert company.sent[0].attainment == Decimal("0.9")


THREE_LEVELS = {
    0: Goal("parts", 0, 100),
    1: Goal("parts", 0, 100, parent=0, weight=Fraction(1)),
    2: Goal("sum", 1, 100, parent=1, weight=Fraction(1, 2)),
    3: Goal("latest", 2, 10, parent=1, weight=Fraction(1, 2)),
}


async def test_another_target_or_weight_of_a_part_is_published_with_all_above_it(company: Company) -> None:
    await grown(company, dict(THREE_LEVELS))
    company.world.deals = {1: Deal(1, 80)}
    company.world.values = {1: Value(1, 3, 10, Fraction(9), deleted=False)}
    await company.take([company.deal_event(1)])
    await company.define(company.value_event(1, company.world.values[1]))
    await company.rebuild()
    await company.check()
    assert int(company.sent[0].value) == 85
    part = THREE_LEVELS[2]
    for changed, expected in ((part._replace(target=160), 70), (part._replace(weight=Fraction(1)), 125)):
        company.world.goals[2] = changed
        await company.define(company.goal_event(2))
        await company.check()
        assert int(company.sent[0].value) == expected


async def test_while_a_part_waits_to_be_rebuilt_nothing_above_it_is_published(company: Company) -> None:
    await grown(company, dict(THREE_LEVELS))
    company.world.values = {1: Value(1, 3, 10, Fraction(9), deleted=False)}
    await company.define(company.value_event(1, company.world.values[1]))
    company.world.deals = {1: Deal(1, 80)}
    await company.take([company.deal_event(1)])
    before = company.sent[0]
    await company.relay()
    assert company.sent[0] == before
    events = await company.events()
    assert [events[number] is None for number in range(4)] == [True, True, False, True]
    await company.rebuild()
    await company.check()
    assert int(company.sent[0].value) == 85


async def test_parts_that_are_not_the_goals_are_a_difference(company: Company) -> None:
    await grown(company, dict(THREE_LEVELS))
    async with company.database.transaction(company.scope) as tx:
        await tx.execute(
            text("DELETE FROM tracking.progress_parts WHERE goal_id = :goal"), {"goal": company.id_of("goal", 2)}
        )
    [found] = [each async for each in of_tenant(company.database, company.id, Counter())]
    assert found.subject == f"goal/{company.id_of('goal', 1)}"
    taken = str(company.id_of("goal", 2))
    assert taken not in found.stored
    assert taken in found.recomputed


async def test_two_who_move_parts_of_one_goal_do_not_wait_for_each_other(company: Company) -> None:
    await grown(
        company,
        {
            0: Goal("parts", 0, 100),
            1: Goal("parts", 0, 100, parent=0, weight=Fraction(1)),
            2: Goal("sum", 1, 100, parent=1, weight=Fraction(1, 2)),
            3: Goal("sum", 2, 100, parent=1, weight=Fraction(1, 2)),
        },
    )
    before = company.sent[0].version
    company.world.deals = {1: Deal(1, 80), 2: Deal(2, 100)}
    async with company.database.transaction(company.scope) as first:
        await company.tracker.count(first, [company.deal_event(1)], [])
        async with asyncio.timeout(5), company.database.transaction(company.scope) as second:
            await company.tracker.count(second, [company.deal_event(2)], [])
        await company.relay()
        assert company.sent[0].value == 50
    await company.check()
    assert (int(company.sent[0].value), company.sent[0].version) == (90, before + 2)


async def test_goals_that_for_a_moment_seem_to_be_above_themselves_have_a_number_all_the_same(company: Company) -> None:
    company.world.goals = {0: Goal("parts", 0, 100, parent=1), 1: Goal("parts", 0, 100, parent=0)}
    await company.define(company.goal_event(0), company.goal_event(1))
    await company.rebuild()
    await company.relay()
    assert {event.value for event in company.sent.values()} == {0}
    company.world.goals[1] = Goal("parts", 0, 100)
    await company.define(company.goal_event(1))
    await company.rebuild()
    await company.check()
