"""Versions counted in the transaction that publishes them, and what is left to their topic, on a real Postgres."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from services.tracking.intake.inbox.publishing import Publisher, Stated
from services.tracking.measure.progress import store
from services.tracking.measure.progress.consumer import ActivitiesHandler, DealsHandler
from services.tracking.measure.progress.counting import DefinitionsReader, RecordCounter
from services.tracking.measure.progress.tables import COUNTING_STRIPES_MAX
from services.tracking.measure.progress.verification import of_tenant
from services.tracking.metadata import transport
from services.tracking.records.domain.snapshots import Superseded
from services.tracking.records.service import ACTIVITIES, DEALS
from shared.contracts.activities import Activity
from shared.contracts.deals import Deal
from shared.contracts.envelope import from_record, record_version, to_message
from shared.contracts.examples import EXAMPLES
from shared.contracts.goals import Goal, GoalStatus
from shared.db.database import Database, Scope, Transaction
from shared.kafka.domain import Poison, Record
from shared.kafka.events import version_of
from shared.outbox.outbox import Outbox, decode_headers
from tests.servers.infrastructure import eventually
from tests.stories.june import JUNE, NOW, Tenant, won

JUNE_15 = datetime(2026, 6, 15, tzinfo=UTC)


@pytest.fixture(scope="module")
async def database(module_database: str) -> AsyncIterator[Database]:
    database = Database(module_database, service="tracking", pool_size=COUNTING_STRIPES_MAX + 4)
    yield database
    await database.close()


class Site(Tenant):
    """A tenant with a goal for June, a publisher that counts, and what its topic brings."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.reader = DefinitionsReader(database, self.definitions)
        self.publisher = Publisher(Outbox(transport), RecordCounter(self.tracker, self.reader))
        self.uncounting = Publisher(Outbox(transport))

    async def open(self) -> "Site":
        await self.found("UTC")
        await self.define(self.mapped())
        await self.rebuild()
        return self

    async def publish(self, *deals: Deal, publisher: Publisher | None = None) -> None:
        stated = [Stated(deal, None) for deal in deals]
        chosen = publisher or self.publisher
        await chosen.run(self.database, self.scope, lambda tx, counting: counting.publish(tx, stated))

    async def published(self) -> list[Record]:
        """What is published of this tenant's deals and activities, in its order."""
        async with self.database.transaction(self.scope) as tx:
            rows = await tx.rows(
                text("SELECT id, topic, key, headers, value FROM tracking.outbox WHERE tenant_id = :id ORDER BY id"),
                {"id": self.id},
            )
        return [
            Record(row["topic"], 0, row["id"], row["key"], dict(decode_headers(row["headers"])), row["value"], 0)
            for row in rows
        ]

    async def deals_published(self) -> list[int]:
        """The amounts of the deals that are published, in their order."""
        events = [from_record(record.headers, record.value) for record in await self.published()]
        return [int(event.amount or 0) for event in events if isinstance(event, Deal)]

    async def hear(self, records: Sequence[Record] | None = None) -> None:
        """What the topic brings: all that is published, unless it is given."""
        batch = await self.published() if records is None else records
        await self.database.run(self.scope, lambda tx: DealsHandler(self.tracker).apply(tx, batch))

    async def value(self) -> str:
        return (await self.values())[0]

    async def version(self) -> int:
        async with self.database.transaction(self.scope) as tx:
            rows = await tx.rows(
                text("SELECT sum(version) AS version FROM tracking.progress_stripes WHERE tenant_id = :id"),
                {"id": self.id},
            )
        return int(rows[0]["version"] or 0)

    async def stripes(self) -> set[int]:
        async with self.database.transaction(self.scope) as tx:
            rows = await tx.rows(
                text("SELECT DISTINCT stripe FROM tracking.progress_stripes WHERE tenant_id = :id"), {"id": self.id}
            )
        return {row["stripe"] for row in rows}

    async def is_right(self) -> bool:
        """Whether all goals stand where the stored deals say."""
        return [each async for each in of_tenant(self.database, self.id, Counter())] == []


@pytest.fixture
async def site(database: Database) -> Site:
    return await Site(database).open()


def deal(site: Site, number: int, amount: int, *, version: int = 0) -> Deal:
    """A version of a deal won in June."""
    return won(site.id, number, JUNE_15, amount=amount).model_copy(
        update={"modified_at": NOW + timedelta(minutes=version), "delivery_id": uuid4()}
    )


async def test_a_deal_is_counted_when_it_is_published_and_not_again_when_its_topic_brings_it(site: Site) -> None:
    await site.publish(deal(site, 1, 100), deal(site, 2, 20))
    assert await site.value() == "120"
    version = await site.version()
    await site.hear()
    assert (await site.value(), await site.version()) == ("120", version)
    await site.publish(deal(site, 1, 50, version=1))
    assert await site.value() == "70"
    await site.hear()
    assert await site.deals_published() == [100, 20, 50]
    assert await site.value() == "70"
    assert await site.is_right()


async def test_what_is_counted_already_is_not_even_decoded(site: Site) -> None:
    await site.publish(deal(site, 1, 100))
    (record,) = await site.published()
    await site.hear([record._replace(value=b"{}")])
    unheard = record._replace(headers={**record.headers, "ce_recordversion": b"2026-07-15T00:00:01Z/1/" + b"0" * 32})
    with pytest.raises(Poison):
        await site.hear([unheard._replace(value=b"{}")])
    assert await site.value() == "100"


async def test_what_was_not_counted_is_counted_once_when_its_topic_brings_it(site: Site) -> None:
    await site.publish(deal(site, 1, 100), publisher=site.uncounting)
    await site.publish(deal(site, 2, 20))
    assert await site.value() == "20"
    await site.hear()
    await site.hear()
    assert await site.value() == "120"
    assert await site.is_right()


async def test_what_names_no_version_is_counted_by_its_topic_as_before(site: Site) -> None:
    event = deal(site, 1, 100)
    message = to_message(event, event_id=uuid4(), source="tracking", time=NOW)
    record = Record(message.topic, 0, 0, message.key, dict(message.headers), message.value, 0)
    assert version_of(record) is None
    await site.hear([record])
    await site.hear([record])
    assert await site.value() == "100"


async def test_a_tombstone_is_passed_over_and_what_names_no_version_right_is_refused(site: Site) -> None:
    await site.publish(deal(site, 1, 100))
    (record,) = await site.published()
    await site.hear([record._replace(value=None)])
    for wrong in (b"", b"/1/", b"yesterday/1/" + str(uuid4()).encode(), b"2026-07-15T00:00:00Z/x/y", b"\xff"):
        with pytest.raises(Poison) as poison:
            await site.hear([record._replace(headers={**record.headers, "ce_recordversion": wrong})])
        assert "ce_recordversion" in poison.value.detail


async def test_the_header_names_the_version(site: Site) -> None:
    event = deal(site, 1, 100)
    await site.publish(event)
    (record,) = await site.published()
    assert record_version(record.headers) == (event.id, event.version)
    assert version_of(record) == ((site.id, event.id), event.version)


async def test_a_tenant_that_is_rebuilt_is_left_to_the_topic_and_others_are_counted(
    site: Site, database: Database
) -> None:
    other = await Site(database).open()
    # One publisher, with the definitions of both.
    async with database.transaction(other.scope) as tx:
        await site.definitions.current(tx, other.id)
    both = Scope.of(site.id, other.id)
    stated = [Stated(deal(each, 1, 100), None) for each in (site, other)]
    async with database.transaction(site.scope) as rebuild:
        await rebuild.lock_tenants_exclusive([site.id])
        async with asyncio.timeout(5):
            await site.publisher.run(database, both, lambda tx, publisher: publisher.publish(tx, stated))
    assert (await site.value(), await other.value()) == ("0", "100")
    await site.hear()
    assert (await site.value(), await other.value()) == ("100", "100")
    assert await site.is_right()
    assert await other.is_right()


async def test_a_rebuild_does_not_wait_behind_those_who_count(site: Site) -> None:
    async with AsyncExitStack() as stack:
        counting = await stack.enter_async_context(site.database.transaction(site.scope))
        await site.publisher.publish(counting, [Stated(deal(site, 1, 100), None)])
        rebuild = asyncio.create_task(site.define(site.mapped()))
        await eventually(lambda: _somebody_waits(site.database), expectation="the rebuild waits for the first")
        async with asyncio.timeout(5):
            await site.publish(deal(site, 2, 20))
        assert not rebuild.done()
    await rebuild
    await site.rebuild()
    assert await site.value() == "100"
    await site.hear()
    assert await site.value() == "120"
    assert await site.is_right()


async def test_definitions_that_are_not_in_memory_are_read_beside_and_not_in_the_way(site: Site) -> None:
    later = Site(site.database)
    later.id, later.scope = site.id, site.scope
    assert not later.publisher.leaves([site.id])
    await later.publish(deal(site, 1, 100))
    assert await site.value() == "0"
    assert later.publisher.leaves([site.id]), "others count until its definitions are read"
    running = asyncio.create_task(later.reader.run())
    await eventually(lambda: _has_read(later), expectation="the definitions are read")
    await eventually(lambda: _leaves_nothing(later), expectation="they are not missing any more")
    await later.publish(deal(site, 2, 20))
    assert await site.value() == "20"
    # Somebody else changes them.
    await site.define(site.mapped().model_copy(update={"external_user_id": "u2"}))
    await site.rebuild()
    await later.publish(deal(site, 3, 3))
    assert await site.value() == "20"
    await eventually(lambda: _has_read(later), expectation="what changed is read")
    await later.publish(deal(site, 4, 4))
    assert await site.value() == "24"
    await later.reader.stop()
    await running
    await site.hear()
    assert await site.value() == "127"
    assert await site.is_right()


async def behind(site: Site) -> Site:
    """A process that holds the site's definitions as they are, and reads nothing newer."""
    held = Site(site.database)
    held.id, held.scope, held.person, held.june = site.id, site.scope, site.person, site.june
    async with site.database.transaction(site.scope) as tx:
        await held.definitions.current(tx, site.id)
    return held


def goal_of(site: Site, person: UUID) -> Goal:
    """One more goal for June."""
    goal = site.goal(uuid4(), JUNE)
    return goal.model_copy(update={"owner": goal.owner.model_copy(update={"id": person})})


async def test_older_definitions_do_for_whoever_nothing_newer_is_about(site: Site) -> None:
    other = uuid4()
    await site.define(site.mapped().model_copy(update={"external_user_id": "u2", "person_id": other}))
    held = await behind(site)
    mine, theirs = goal_of(site, site.person), goal_of(site, other)
    await site.define(theirs)
    await site.define(mine.model_copy(update={"status": GoalStatus.DRAFT}))
    await held.publish(deal(site, 1, 100))
    assert await site.value() == "100"
    assert not held.publisher.leaves([site.id])
    # A deal of theirs, and one that was theirs, are left to the topic, which is heard by newer definitions.
    await held.publish(deal(site, 2, 20).model_copy(update={"owner_external_id": "u2"}))
    await site.publish(deal(site, 3, 3).model_copy(update={"owner_external_id": "u2"}))
    await held.publish(deal(site, 3, 4, version=1))
    assert held.publisher.leaves([site.id])
    assert await site.value() == "100"
    assert await site.is_right()
    await site.define(mine.model_copy(update={"version": 2}))
    await held.publish(deal(site, 4, 1000))
    assert await site.value() == "100"
    await site.hear()
    assert await site.value() == "1104"
    # What was counted as its first version was published goes out once more behind the second.
    assert await site.deals_published() == [100, 20, 3, 4, 1000, 4]
    assert await site.is_right()


async def test_older_definitions_do_not_do_for_whoever_had_a_goal_that_has_ended(site: Site) -> None:
    other = uuid4()
    goal = goal_of(site, other)
    await site.define(site.mapped().model_copy(update={"external_user_id": "u2", "person_id": other}), goal)
    held = await behind(site)
    await site.define(goal.model_copy(update={"version": 2, "status": GoalStatus.CANCELLED}))
    await site.rebuild()
    for number, user in enumerate(("u1", "u2")):
        await held.publish(deal(site, number, 100).model_copy(update={"owner_external_id": user}))
    assert await site.value() == "100"
    async with site.database.transaction(site.scope) as tx:
        assert [state.value for state in await store.states(tx, [(site.id, goal.id)])] == [0]
    await site.hear()
    assert await site.is_right()


@pytest.mark.parametrize("change", ["organisation", "parts", "untold"])
async def test_older_definitions_do_for_nobody_where_something_newer_may_be_about_anybody(
    site: Site, change: str
) -> None:
    part = goal_of(site, site.person).model_copy(update={"parent_id": uuid4()})
    await site.define(part)
    held = await behind(site)
    if change == "parts":
        made_of_parts = goal_of(site, uuid4()).model_dump(mode="json")
        metric: dict[str, object] = {"aggregate": "count", "later_aggregate": "children", "date_field": "closed"}
        metric |= {"value_field": None, "currency": None, "filter": {"all": []}}
        await site.define(Goal.model_validate({**made_of_parts, "id": part.parent_id, "metric": metric}))
    elif change == "organisation":
        await site.define(site.mapped().model_copy(update={"external_user_id": "u3", "person_id": uuid4()}))
    else:
        await site.define(goal_of(site, uuid4()))
        async with site.database.transaction(site.scope) as tx:
            await tx.execute(text("DELETE FROM tracking.definition_changes WHERE tenant_id = :id"), {"id": site.id})
    await site.rebuild()
    await held.publish(deal(site, 1, 100))
    assert (await site.value(), await site.deals_published()) == ("0", [100])
    await site.hear()
    assert await site.value() == "100"
    assert await site.is_right()


async def test_two_who_count_one_deal_at_once_count_it_once(site: Site) -> None:
    await site.publish(deal(site, 1, 1))
    started = asyncio.Event()
    tasks: list[asyncio.Task[None]] = []
    async with site.database.transaction(site.scope) as first:
        await site.publisher.publish(first, [Stated(deal(site, 1, 100, version=1), None)])

        async def second() -> None:
            started.set()
            await site.publish(deal(site, 1, 50, version=2), deal(site, 2, 7))

        tasks.append(asyncio.create_task(second()))
        await started.wait()
        await eventually(lambda: _somebody_waits(site.database), expectation="the second waits for the deal")
    await asyncio.gather(*tasks)
    assert await site.value() == "57"
    assert await site.deals_published() == [1, 100, 50, 7]
    assert await site.is_right()


async def test_two_who_count_a_new_deal_at_once_count_it_once(site: Site) -> None:
    tasks: list[asyncio.Task[None]] = []
    async with site.database.transaction(site.scope) as first:
        await site.publisher.publish(first, [Stated(deal(site, 1, 100), None)])
        tasks.append(asyncio.create_task(site.publish(deal(site, 1, 50, version=1))))
        await eventually(lambda: _somebody_waits(site.database), expectation="the second waits for the deal")
    await asyncio.gather(*tasks)
    assert await site.value() == "50"
    assert await site.is_right()


async def test_many_who_publish_the_same_deals_at_once_end_where_the_newest_are(site: Site) -> None:
    async def publisher(number: int) -> None:
        for version in range(6):
            deals = [deal(site, each, 100 * each + number, version=7 * version + number) for each in (3, 1, 2)]
            await site.publish(*deals, publisher=site.uncounting if version % 3 == number % 3 else None)

    await asyncio.gather(*(publisher(number) for number in range(7)))
    assert await site.is_right()
    records = await site.published()
    for first in range(0, len(records), 5):
        await site.hear(records[first : first + 5])
    assert await site.value() == str(100 + 200 + 300 + 3 * 6)
    assert await site.is_right()
    ends = {event.id: event for event in await _events(site)}
    assert {int(event.amount or 0) for event in ends.values()} == {106, 206, 306}


async def test_an_older_version_that_is_counted_later_is_not_what_its_topic_ends_with(site: Site) -> None:
    await site.publish(deal(site, 1, 100, version=2))
    await site.publish(deal(site, 1, 50, version=1))
    assert await site.value() == "100"
    assert await site.deals_published() == [100, 50, 100]
    await site.hear()
    assert await site.deals_published() == [100, 50, 100]


async def test_what_its_topic_brings_late_is_published_again_behind_what_was_counted_meanwhile(site: Site) -> None:
    await site.publish(deal(site, 1, 100, version=2), publisher=site.uncounting)
    await site.publish(deal(site, 1, 50, version=1))
    assert await site.value() == "50"
    assert await site.deals_published() == [100, 50]
    await site.hear((await site.published())[:1])
    assert await site.value() == "100"
    assert await site.deals_published() == [100, 50, 100]
    await site.hear()
    assert await site.deals_published() == [100, 50, 100]
    assert await site.is_right()


class Failing:
    """A counter with a fault, which has already done something when it fails."""

    def __init__(self, counter: RecordCounter) -> None:
        self._counter = counter
        self.calls = 0

    async def count(self, tx: Transaction, deals: Sequence[Deal], activities: Sequence[Activity]) -> Superseded:
        self.calls += 1
        await self._counter.count(tx, deals, activities)
        raise KeyError("a fault")

    def leaves(self, tenant_ids: Collection[UUID]) -> bool:
        return self._counter.leaves(tenant_ids)


async def test_what_cannot_be_counted_is_published_all_the_same(site: Site) -> None:
    counter = Failing(RecordCounter(site.tracker, site.reader))
    await site.publish(deal(site, 1, 100), publisher=Publisher(Outbox(transport), counter))
    assert counter.calls == 1
    assert (await site.value(), await site.deals_published()) == ("0", [100])
    await site.hear()
    assert await site.value() == "100"
    assert await site.is_right()


async def test_those_who_count_at_once_write_stripes_of_their_own_and_wait_for_nobody(site: Site) -> None:
    async with AsyncExitStack() as stack:
        for number in range(1, COUNTING_STRIPES_MAX + 1):
            tx = await stack.enter_async_context(site.database.transaction(site.scope))
            async with asyncio.timeout(5):
                await site.publisher.publish(tx, [Stated(deal(site, number, 1), None)])
        # No stripe is left.
        async with asyncio.timeout(5):
            await site.publish(deal(site, 1000, 1000))
        assert await site.value() == "0"
    assert await site.value() == str(COUNTING_STRIPES_MAX)
    assert len(await site.stripes()) == COUNTING_STRIPES_MAX + 1
    await site.publish(deal(site, 1001, 500))
    assert len(await site.stripes()) == COUNTING_STRIPES_MAX + 1
    await site.hear()
    assert await site.value() == str(COUNTING_STRIPES_MAX + 1500)
    assert await site.is_right()


async def test_an_activity_is_counted_when_it_is_published_too(site: Site) -> None:
    example = EXAMPLES["attain.activity.v1"]
    assert isinstance(example, Activity)
    activity = example.model_copy(update={"tenant_id": site.id, "id": uuid4()})
    async with site.database.transaction(site.scope) as tx:
        await site.publisher.publish(tx, [Stated(activity, None), Stated(deal(site, 1, 100), None)])
    key = (site.id, activity.id)
    async with site.database.transaction(site.scope) as tx:
        assert (await ACTIVITIES.newest_versions(tx, [key])) == {key: activity.version}
        assert await ACTIVITIES.unrecorded(tx, [(key, activity.version), (key, deal(site, 1, 1).version)]) == [1]
    records = [record for record in await site.published() if record.topic == Activity.topic]
    async with site.database.transaction(site.scope) as tx:
        await ActivitiesHandler(site.tracker).apply(tx, [records[0]._replace(value=b"{}")])
    assert await site.value() == "100"


async def test_a_version_of_another_tenants_deal_of_the_same_id_is_not_taken_for_recorded(
    site: Site, database: Database
) -> None:
    await site.publish(event := deal(site, 1, 100))
    async with database.transaction(Scope.every()) as tx:
        versions = [((site.id, event.id), event.version), ((uuid4(), event.id), event.version)]
        assert await DEALS.unrecorded(tx, versions) == [1]
        assert await DEALS.unrecorded(tx, [((site.id, UUID(int=9)), event.version)]) == [0]
        assert await DEALS.unrecorded(tx, []) == ()


async def _events(site: Site) -> list[Deal]:
    events = [from_record(record.headers, record.value) for record in await site.published()]
    return [event for event in events if isinstance(event, Deal)]


async def _has_read(site: Site) -> bool:
    async with site.database.transaction(site.scope) as tx:
        revision = (await site.definitions.revisions(tx, [site.id]))[site.id]
    return site.definitions.has(site.id, revision)


async def _leaves_nothing(site: Site) -> bool:
    return not site.publisher.leaves([site.id])


async def _somebody_waits(database: Database) -> bool:
    async with database.transaction(Scope.of()) as tx:
        return bool(await tx.rows(text("SELECT 1 FROM pg_locks WHERE NOT granted")))
