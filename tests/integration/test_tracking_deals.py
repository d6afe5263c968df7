"""Storing deals on a real Postgres."""

import asyncio
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from services.tracking.measure.progress.definitions import DefinitionsCache
from services.tracking.measure.progress.service import ProgressTracker
from services.tracking.metadata import transport
from services.tracking.records.domain.records import DealFilter, DealNotFound
from services.tracking.records.domain.snapshots import Change, Recorded
from services.tracking.records.service import DEALS
from services.tracking.records.store.records import RecordedTogether
from shared.contracts.deals import Deal, Invoice, Payment, Product, Split
from shared.db.database import Database, Scope
from shared.kernel.deals import DealFacts, DealKind, DealStatus, Instalment
from shared.kernel.ids import deal_id
from shared.kernel.org import CrmUser, OrgChart
from shared.kernel.sight import WHOLE_TENANT, Breadth, Sight, Viewer
from shared.outbox.outbox import Outbox
from tests.servers.infrastructure import eventually

START = datetime(2026, 1, 5, 9, tzinfo=UTC)


@pytest.fixture(scope="module")
async def database(module_database: str) -> AsyncIterator[Database]:
    opened = Database(module_database, service="tracking")
    yield opened
    await opened.close()


@dataclass(frozen=True)
class Book:
    """One tenant's deals."""

    database: Database
    tenant_id: UUID
    connection_id: UUID

    def deal(
        self,
        external_id: str = "A1",
        *,
        minute: int = 0,
        sequence: int = 0,
        delivery: int = 1,
        status: DealStatus = DealStatus.WON,
        owner: str | None = "ann",
        amount: Decimal | None = Decimal("1200.5"),
        kind: DealKind = DealKind.UPSERTED,
    ) -> Deal:
        return Deal(
            tenant_id=self.tenant_id,
            id=deal_id(self.connection_id, external_id),
            connection_id=self.connection_id,
            source="crm",
            external_id=external_id,
            kind=kind,
            modified_at=START + timedelta(minutes=minute),
            sequence=sequence,
            delivery_id=UUID(int=delivery),
            received_at=START + timedelta(days=1),
            status=status,
            owner_external_id=owner,
            name="Acme",
            amount=amount,
            currency="USD",
            created_at=START,
            expected_close_on=date(2026, 3, 31),
            closed_at=START,
            closed_on=None,
            stage="5",
            pipeline="1",
            probability=Decimal(50),
            type="new",
            channel="Partner",
            region="West",
            account_id="7",
            account_name="Acme Inc",
            merged_into=None,
            splits=(Split(owner_external_id="bob", role="engineer", percent=Decimal("40.5")),),
            products=(Product(sku="GTX", quantity=Decimal(3), amount=None),),
            custom={"competitor": "Initech"},
            home_amount=Decimal("1100.25"),
            home_currency="EUR",
            payments=(
                Payment(paid_on=date(2026, 2, 1), amount=Decimal("700.5")),
                Payment(paid_on=date(2026, 1, 9), amount=Decimal(-100)),
            ),
            invoices=(
                Invoice(
                    invoiced_on=date(2026, 1, 31),
                    amount=Decimal(1000),
                    invoiced_at=datetime(2026, 1, 30, 16, tzinfo=UTC),
                ),
                Invoice(invoiced_on=date(2026, 2, 3), amount=Decimal(-100)),
            ),
        )

    async def record(self, *deals: Deal) -> list[Change[DealFacts]]:
        return list((await self.recorded(*deals)).changes)

    async def recorded(self, *deals: Deal) -> Recorded[DealFacts]:
        async with self.database.transaction(Scope.of(self.tenant_id)) as tx:
            return await DEALS.record(tx, deals)

    async def listed(self, wanted: DealFilter | None = None, sight: Sight = WHOLE_TENANT) -> list[str]:
        async with self.database.transaction(Scope.of(self.tenant_id)) as tx:
            found = await DEALS.page(tx, self.tenant_id, sight, wanted or DealFilter(), after=None, limit=100)
        return sorted(deal.external_id for deal in found)

    async def newest(self, external_id: str = "A1") -> Deal:
        async with self.database.transaction(Scope.of(self.tenant_id)) as tx:
            return await DEALS.get(tx, self.tenant_id, WHOLE_TENANT, deal_id(self.connection_id, external_id))

    async def versions(self, external_id: str = "A1") -> list[Deal]:
        async with self.database.transaction(Scope.of(self.tenant_id)) as tx:
            found = await DEALS.versions(
                tx, self.tenant_id, WHOLE_TENANT, deal_id(self.connection_id, external_id), before=None, limit=1000
            )
        return [version.event for version in found]


@pytest.fixture
def book(database: Database) -> Book:
    return Book(database, uuid4(), uuid4())


async def test_a_new_deal_is_a_change_from_nothing(book: Book) -> None:
    deal = book.deal()
    (change,) = await book.record(deal)
    assert change == Change(book.tenant_id, None, deal.facts(), deal.received_at, deal.connection_id)


async def test_a_deal_is_read_back_as_it_was_recorded(book: Book) -> None:
    deal = book.deal()
    await book.record(deal)
    assert await book.newest() == deal


async def test_the_payments_of_a_deal_are_read_back_as_they_came_in(book: Book) -> None:
    (change,) = await book.record(book.deal())
    paid = change.after.payments
    assert change.after.paid_amount == Decimal("600.5")
    assert paid == (Instalment(date(2026, 2, 1), Decimal("700.5")), Instalment(date(2026, 1, 9), Decimal(-100)))
    assert change.after.invoiced_amount == Decimal(900)
    assert change.after.invoices == (
        Instalment(date(2026, 1, 31), Decimal(1000), datetime(2026, 1, 30, 16, tzinfo=UTC)),
        Instalment(date(2026, 2, 3), Decimal(-100)),
    )
    (change,) = await book.record(book.deal(minute=1).model_copy(update={"payments": ()}))
    assert change.before is not None
    assert change.before.payments == paid
    assert (change.after.paid_amount, change.after.payments) == (None, ())


async def test_a_newer_version_is_a_change_from_all_that_was_stored(book: Book) -> None:
    old, new = book.deal(), book.deal(minute=1, owner="bob", amount=None)
    await book.record(old)
    (change,) = await book.record(new)
    assert (change.before, change.after) == (old.facts(), new.facts())


async def test_the_same_version_again_is_no_change(book: Book) -> None:
    await book.record(book.deal())
    assert await book.record(book.deal(), book.deal()) == []
    assert len(await book.versions()) == 1


async def test_an_older_version_is_stored_and_changes_nothing(book: Book) -> None:
    new, old = book.deal(minute=2), book.deal(minute=1)
    await book.record(new)
    assert await book.record(old) == []
    assert await book.newest() == new
    assert await book.versions() == [new, old]


@pytest.mark.parametrize(
    ("lower", "higher"),
    [
        ({"minute": 0, "sequence": 9, "delivery": 9}, {"minute": 1, "sequence": 0, "delivery": 1}),
        ({"sequence": 1, "delivery": 9}, {"sequence": 2, "delivery": 1}),
        ({"delivery": 1}, {"delivery": 2}),
    ],
)
async def test_modified_time_then_sequence_then_delivery_decide(
    book: Book, lower: dict[str, int], higher: dict[str, int]
) -> None:
    old, new = (
        book.deal(minute=each.get("minute", 0), sequence=each.get("sequence", 0), delivery=each.get("delivery", 1))
        for each in (lower, higher)
    )
    await book.record(new)
    assert await book.record(old) == []
    assert await book.newest() == new


async def test_several_versions_in_one_batch_are_one_change_to_the_newest(book: Book) -> None:
    versions = [book.deal(minute=minute, amount=Decimal(minute)) for minute in range(5)]
    await book.record(versions[1])
    (change,) = await book.record(versions[3], versions[0], versions[4], versions[2], versions[4])
    assert (change.before, change.after) == (versions[1].facts(), versions[4].facts())
    assert await book.versions() == versions[::-1]


@pytest.mark.parametrize(
    ("stored", "reported", "is_superseded"),
    [
        ([], [0], False),
        ([], [0, 1], False),
        ([], [1, 0], True),
        ([], [1, 0, 1], False),
        ([1], [0], True),
        ([1], [1], False),
        ([1], [0, 1], False),
        ([1], [2, 0], True),
        ([0, 1], [2], False),
    ],
)
async def test_a_deal_whose_newest_version_was_not_reported_last_is_superseded(
    book: Book, stored: list[int], reported: list[int], is_superseded: bool
) -> None:
    for minute in stored:
        await book.record(book.deal(minute=minute))
    key = (book.tenant_id, deal_id(book.connection_id, "A1"))
    recorded = await book.recorded(*(book.deal(minute=minute) for minute in reported))
    assert recorded.superseded == ({key} if is_superseded else set())


async def test_after_an_old_version_the_newest_is_published_again_and_only_once(book: Book) -> None:
    tracker = ProgressTracker(Outbox(transport), DefinitionsCache())
    newest, old = book.deal(minute=2), book.deal(minute=1)

    async def apply(*deals: Deal) -> list[Deal]:
        async with book.database.transaction(Scope.of(book.tenant_id)) as tx:
            await tracker.apply(tx, {book.tenant_id}, [deals], stripe=0)
            rows = await tx.rows(
                text("DELETE FROM tracking.outbox WHERE tenant_id = :tenant_id AND topic = :topic RETURNING value"),
                {"tenant_id": book.tenant_id, "topic": Deal.topic},
            )
        return [Deal.model_validate_json(row["value"]) for row in rows]

    assert await apply(newest) == []
    assert await apply(old) == [newest]
    assert await apply(newest) == []


async def test_any_order_in_any_batches_ends_in_the_same_deals(book: Book) -> None:
    versions = [
        book.deal(f"D{number % 7}", minute=number // 7, status=list(DealStatus)[number % 3]) for number in range(60)
    ]
    for seed in range(4):
        shuffled = Book(book.database, book.tenant_id, uuid4())
        events = [
            event.model_copy(
                update={
                    "connection_id": shuffled.connection_id,
                    "id": deal_id(shuffled.connection_id, event.external_id),
                }
            )
            for event in versions * 2
        ]
        random.Random(seed).shuffle(events)
        state: dict[UUID, object] = {}
        for start in range(0, len(events), 11):
            for change in await shuffled.record(*events[start : start + 11]):
                assert state.get(change.after.deal_id) == change.before
                state[change.after.deal_id] = change.after
        for number in range(7):
            newest = max((event for event in events if event.external_id == f"D{number}"), key=lambda e: e.version)
            assert await shuffled.newest(f"D{number}") == newest
            assert state[newest.id] == newest.facts()
            assert len(await shuffled.versions(f"D{number}")) == len({e.version for e in events if e.id == newest.id})


async def test_two_tenants_do_not_see_each_others_deals(book: Book) -> None:
    await book.record(book.deal())
    stranger = Book(book.database, uuid4(), book.connection_id)
    assert await stranger.listed() == []
    with pytest.raises(DealNotFound):
        await stranger.newest()
    async with book.database.transaction(Scope.of(stranger.tenant_id)) as tx:
        for table in ("deals", "deal_versions"):
            assert await tx.rows(text(f"SELECT 1 FROM tracking.{table}")) == []


async def test_two_who_record_one_deal_at_once_are_told(book: Book) -> None:
    await book.record(book.deal())
    scope = Scope.of(book.tenant_id)
    async with book.database.transaction(scope) as late:
        late_pid = (await late.rows(text("SELECT pg_backend_pid() AS pid")))[0]["pid"]
        async with book.database.transaction(scope) as early:
            await DEALS.record(early, [book.deal(sequence=5)])
            waiting: asyncio.Task[Recorded[DealFacts]] = asyncio.create_task(
                DEALS.record(late, [book.deal(sequence=4)])
            )
            await eventually(lambda: _waits_for_a_lock(book.database, late_pid), expectation="a wait for the row")
        with pytest.raises(RecordedTogether):
            await waiting


async def _waits_for_a_lock(database: Database, pid: int) -> bool:
    async with database.transaction(Scope.of()) as tx:
        return bool(await tx.rows(text("SELECT 1 FROM pg_locks WHERE pid = :pid AND NOT granted"), {"pid": pid}))


async def test_deals_are_listed_by_what_is_asked_for(book: Book) -> None:
    await book.record(
        book.deal("won"),
        book.deal("open", status=DealStatus.OPEN),
        book.deal("bobs", owner="bob"),
        book.deal("nobodys", owner=None),
    )
    assert await book.listed(DealFilter(status=DealStatus.OPEN)) == ["open"]
    assert await book.listed(DealFilter(owner_external_id="bob")) == ["bobs"]
    assert await book.listed(DealFilter(source="other")) == []
    mapped = frozenset({CrmUser("crm", "ann"), CrmUser("other", "bob")})
    everybody = mapped | {CrmUser("crm", "bob")}
    assert await book.listed(DealFilter(unmapped=True, mapped=everybody)) == ["nobodys"]
    shared_with_bob = ["bobs", "nobodys", "open", "won"]
    assert await book.listed(DealFilter(unmapped=True, mapped=mapped)) == shared_with_bob


async def test_a_deal_is_seen_by_its_owner_and_by_who_shares_in_it(book: Book) -> None:
    shared = {"splits": (Split(owner_external_id="ann", percent=Decimal(40), role="owner"),)}
    await book.record(
        book.deal("anns"),
        book.deal("bobs", owner="bob"),
        book.deal("nobodys", owner=None),
        book.deal("shared", owner="bob").model_copy(update=shared),
        book.deal("elsewhere", owner="bob").model_copy(update={**shared, "source": "other"}),
    )
    ann, today = uuid4(), date(2026, 3, 31)
    chart = OrgChart(identities={CrmUser("crm", "ann"): ann})
    sight = Sight(Viewer(ann, Breadth.ITSELF), chart, today)
    assert await book.listed(sight=sight) == ["anns", "shared"]
    of_many = OrgChart(identities={CrmUser("crm", name): ann for name in ("ann", *map(str, range(200)))})
    assert await book.listed(sight=Sight(Viewer(ann, Breadth.ITSELF), of_many, today)) == ["anns", "shared"]
    # It names whoever was on a deal's splits at some time: whose they are says the deal.
    unshared = book.deal("shared", owner="bob", minute=1)
    await book.record(unshared)
    assert await book.listed(sight=sight) == ["anns"]
    await book.record(book.deal("shared", owner="bob", minute=2).model_copy(update=shared))
    async with book.database.transaction(Scope.of(book.tenant_id)) as tx:
        for seen in ("anns", "shared"):
            await DEALS.get(tx, book.tenant_id, sight, deal_id(book.connection_id, seen))
        for unseen in ("bobs", "nobodys", "elsewhere"):
            with pytest.raises(DealNotFound):
                await DEALS.get(tx, book.tenant_id, sight, deal_id(book.connection_id, unseen))


async def test_the_closed_day_is_the_stated_date_or_the_utc_day(book: Book) -> None:
    late = datetime(2026, 3, 31, 23, 30, tzinfo=UTC)
    await book.record(
        book.deal("instant").model_copy(update={"closed_at": late}),
        book.deal("date").model_copy(update={"closed_at": late, "closed_on": date(2026, 4, 2)}),
        book.deal("neither").model_copy(update={"closed_at": None}),
    )
    async with book.database.transaction(Scope.of(book.tenant_id)) as tx:
        rows = await tx.rows(
            text("SELECT external_id, closed_day FROM tracking.deals WHERE tenant_id = :t"), {"t": book.tenant_id}
        )
    assert {row["external_id"]: row["closed_day"] for row in rows} == {
        "instant": date(2026, 3, 31),
        "date": date(2026, 4, 2),
        "neither": None,
    }
