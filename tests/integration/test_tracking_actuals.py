"""What people won and have open, on a real Postgres: counted with progress, counted anew, published once a change."""

from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime
from decimal import Decimal
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from deploy.local.commands.republish import republished
from services.tracking.measure.actuals import service, store
from services.tracking.measure.actuals.service import actuals_event, render_actuals
from services.tracking.measure.progress.verification import of_tenant
from services.tracking.metadata import transport
from shared.contracts import org
from shared.contracts.actuals import TOPIC, Actuals
from shared.contracts.deals import Deal, Split
from shared.db.database import Database, Scope
from shared.kernel.deals import DealKind, DealStatus
from shared.kernel.money import format_amount
from shared.outbox.outbox import Outbox
from tests.stories.june import NOW, Tenant, won

JUNE_15 = datetime(2026, 6, 15, tzinfo=UTC)
JUNE, JULY = "2026-06", "2026-07"


@pytest.fixture(scope="module")
async def database(module_database: str) -> AsyncIterator[Database]:
    database = Database(module_database, service="tracking")
    yield database
    await database.close()


class Company(Tenant):
    """One whose home currency is the euro, with two sellers, and dollars at 0.9 euros from 10 June on."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.other = uuid4()
        self.identity = self.mapped()

    async def open(self) -> "Company":
        await self.found("UTC")
        other = self.identity.model_copy(
            update={"id": uuid4(), "external_user_id": "u2", "person_id": self.other, "version": 1}
        )
        await self.define(self.identity, other, self.rates("0.9"))
        await self.rebuild()
        return self

    def rates(self, rate: str, *, version: int = 1) -> org.ExchangeRates:
        dated = (org.DatedRate(date=date(2026, 6, 10), rate=Decimal(rate)),)
        return org.ExchangeRates(
            tenant_id=self.id, version=version, base_currency="EUR", currency="USD", month=JUNE, rates=dated
        )

    async def count(self, *deals: Deal) -> None:
        """As they are published."""
        async with self.database.transaction(self.scope) as tx:
            assert len((await self.tracker.count(tx, deals, ())).accepted) == len(deals)

    async def months(self, person: UUID | None = None) -> dict[str, tuple[str, ...]]:
        """Currency, won value and number, open value and number, unconverted, by month."""
        async with self.database.transaction(self.scope) as tx:
            events = [actuals_event(each) for each in await store.states_of(tx, self.id, [person or self.person])]
        return {
            event.month: (
                str(event.currency),
                *(
                    format_amount(each)
                    for each in (event.won_value, event.won_number, event.open_value, event.open_number)
                ),
                format_amount(event.unconverted),
            )
            for event in events
        }

    async def due(self) -> list[Actuals]:
        """What one round of the publisher has published."""
        async with self.database.transaction(Scope.every()) as tx:
            await service.mark_due(tx, Outbox(transport), limit=1000)
        return await self.marked()

    async def marked(self) -> list[Actuals]:
        """What the relay would publish now; afterwards nothing waits."""
        async with self.database.transaction(Scope.every()) as tx:
            rows = await tx.rows(
                text("DELETE FROM tracking.outbox_marks WHERE tenant_id = :id AND topic = :topic RETURNING subject"),
                {"id": self.id, "topic": TOPIC},
            )
            messages = await render_actuals(tx, [(self.id, row["subject"]) for row in rows])
        return [Actuals.model_validate_json(message.value or b"") for message in messages]

    async def differences(self) -> list[str]:
        return [each.kind async for each in of_tenant(self.database, self.id, Counter())]


@pytest.fixture
async def company(database: Database) -> Company:
    return await Company(database).open()


async def test_won_and_open_deals_count_in_their_months_by_shares_and_in_the_home_currency(company: Company) -> None:
    shared = {
        "splits": (
            Split(owner_external_id="u1", percent=Decimal(75), role="owner"),
            Split(owner_external_id="u2", percent=Decimal(25), role="owner"),
        )
    }

    def expected(number: int, **fields: object) -> Deal:
        """An open deal of 1,000 euros."""
        deal = won(company.id, number, None, amount=1000)
        return deal.model_copy(update={"status": DealStatus.OPEN, **fields})

    await company.count(
        won(company.id, 1, JUNE_15, amount=200),
        won(company.id, 2, JUNE_15, amount=100).model_copy(update={"currency": "USD"}),
        # There is no rate of pounds, and none of dollars before 10 June.
        won(company.id, 3, JUNE_15, amount=100).model_copy(update={"currency": "GBP"}),
        won(company.id, 4, datetime(2026, 6, 9, tzinfo=UTC), amount=100).model_copy(update={"currency": "USD"}),
        won(company.id, 5, JUNE_15, amount=400).model_copy(update=shared),
        won(company.id, 6, JUNE_15).model_copy(update={"amount": None}),
        expected(7, expected_close_on=date(2026, 7, 31)),
        expected(8, expected_close_at=datetime(2026, 7, 31, 23, 59, tzinfo=UTC), **shared),
        # Nobody knows when, it is lost, it is gone, it is nobody's.
        expected(9),
        expected(10, expected_close_on=date(2026, 7, 1)).model_copy(update={"status": DealStatus.LOST}),
        expected(11, expected_close_on=date(2026, 7, 1)).model_copy(update={"kind": DealKind.DELETED}),
        expected(12, expected_close_on=date(2026, 7, 1)).model_copy(update={"owner_external_id": "u3"}),
    )
    assert await company.months() == {
        JUNE: ("EUR", "590", "5.75", "0", "0", "2"),
        JULY: ("EUR", "0", "0", "1750", "1.75", "0"),
    }
    assert await company.months(company.other) == {
        JUNE: ("EUR", "100", "0.25", "0", "0", "0"),
        JULY: ("EUR", "0", "0", "250", "0.25", "0"),
    }
    assert await company.differences() == []


async def test_an_open_deal_that_is_won_leaves_its_expected_month_for_the_one_it_was_won_in(company: Company) -> None:
    opened = won(company.id, 1, None, amount=500).model_copy(
        update={"status": DealStatus.OPEN, "expected_close_on": date(2026, 7, 20)}
    )
    await company.count(opened)
    assert await company.months() == {JULY: ("EUR", "0", "0", "500", "1", "0")}
    await company.take([won(company.id, 2, JUNE_15, amount=300).model_copy(update={"id": opened.id})])
    assert await company.months() == {
        JULY: ("EUR", "0", "0", "0", "0", "0"),
        JUNE: ("EUR", "300", "1", "0", "0", "0"),
    }


async def test_what_changed_is_published_once_a_round_with_its_newest_state(company: Company) -> None:
    for number in range(3):
        await company.count(won(company.id, number, JUNE_15, amount=10))
    (event,) = await company.due()
    assert (event.person_id, event.month, event.version) == (company.person, JUNE, 3)
    assert (event.won_value, event.won_number) == (Decimal(30), Decimal(3))
    assert await company.due() == []
    await company.take([won(company.id, 3, JUNE_15, amount=10)])
    assert [(event.version, event.won_value) for event in await company.due()] == [(4, Decimal(40))]


async def test_an_identity_that_turns_out_to_be_somebody_else_moves_all_there_is(company: Company) -> None:
    await company.count(won(company.id, 1, JUNE_15, amount=200))
    (before,) = await company.due()
    await company.define(company.identity.model_copy(update={"version": 2, "person_id": company.other}))
    # Nothing that waits to be counted anew is published, neither by itself nor because somebody wants it again.
    await company.count(won(company.id, 2, JUNE_15, amount=50))
    assert await company.due() == []
    assert "actuals" in await company.differences()
    await republished(company.database, TOPIC)
    assert await company.marked() == []
    await company.rebuild()
    assert await company.months() == {JUNE: ("EUR", "0", "0", "0", "0", "0")}
    assert await company.months(company.other) == {JUNE: ("EUR", "250", "2", "0", "0", "0")}
    after = {event.person_id: event for event in await company.due()}
    assert after[company.person].version > before.version
    assert await company.differences() == []


async def test_a_rate_that_changes_counts_anew_from_its_month_on_and_leaves_what_lies_before(company: Company) -> None:
    may = datetime(2026, 5, 31, tzinfo=UTC)
    dollars = {"currency": "USD"}
    await company.count(
        won(company.id, 1, may, amount=100), won(company.id, 2, JUNE_15, amount=100).model_copy(update=dollars)
    )
    await company.due()
    await company.define(company.rates("0.8", version=2))
    await company.rebuild()
    assert await company.months() == {
        "2026-05": ("EUR", "100", "1", "0", "0", "0"),
        JUNE: ("EUR", "80", "1", "0", "0", "0"),
    }
    assert [event.month for event in await company.due()] == [JUNE]


async def test_a_home_currency_is_that_of_months_that_begin_with_it(company: Company) -> None:
    await company.count(won(company.id, 1, JUNE_15, amount=90), won(company.id, 2, NOW, amount=90))
    states = [
        org.CalendarState(start=start, start_month=1, time_zone="UTC", currency=currency)
        for start, currency in ((None, "EUR"), (date(2026, 6, 20), "USD"))
    ]
    await company.define(
        org.Calendar(
            tenant_id=company.id,
            version=2,
            start_month=1,
            time_zone="UTC",
            currency="USD",
            history=tuple(states),
        )
    )
    await company.rebuild()
    assert await company.months() == {
        JUNE: ("EUR", "90", "1", "0", "0", "0"),
        # At 1 ÷ 0.9 in sixteen decimals.
        JULY: ("USD", "99.999999999999999", "1", "0", "0", "0"),
    }
    assert await company.differences() == []


async def test_a_later_zone_moves_a_deal_to_the_month_it_was_won_in_there(company: Company) -> None:
    await company.count(won(company.id, 1, datetime(2026, 6, 30, 20, tzinfo=UTC), amount=70))
    await company.define(
        org.Calendar(tenant_id=company.id, version=2, start_month=1, time_zone="Asia/Shanghai", currency="EUR")
    )
    await company.rebuild()
    assert await company.months() == {
        JUNE: ("EUR", "0", "0", "0", "0", "0"),
        JULY: ("EUR", "70", "1", "0", "0", "0"),
    }


async def test_republishing_publishes_every_month_again_at_its_version(company: Company) -> None:
    await company.count(won(company.id, 1, JUNE_15), won(company.id, 2, NOW))
    published = sorted(await company.due(), key=lambda event: event.month)
    assert await republished(company.database, TOPIC) >= 2
    assert sorted(await company.marked(), key=lambda event: event.month) == published


async def test_a_month_that_is_not_what_its_deals_say_is_found(company: Company) -> None:
    await company.count(won(company.id, 1, JUNE_15, amount=10))
    assert await company.differences() == []
    async with company.database.transaction(company.scope) as tx:
        await tx.execute(text("UPDATE tracking.actuals_stripes SET won_value = won_value + 0.01"))
    found = [each async for each in of_tenant(company.database, company.id, Counter())]
    assert [(each.kind, each.subject, each.is_passing) for each in found] == [
        ("actuals", f"person/{company.person} in {JUNE}", False)
    ]
    assert found[0].stored.startswith("EUR: 10.01 won by 1")


async def test_only_what_is_due_is_counted_anew(company: Company) -> None:
    """As after an upgrade, which has everybody counted at once, and again when the release before is gone."""
    await company.count(won(company.id, 1, JUNE_15, amount=10))
    async with company.database.transaction(company.scope) as tx:
        await tx.execute(text("UPDATE tracking.actuals_stripes SET won_value = 0"))
        await tx.execute(
            text(
                "INSERT INTO tracking.actuals_outdated VALUES (:tenant, :person, now() + interval '1 hour',"
                " DATE '0001-01-01')"
            ),
            {"tenant": company.id, "person": company.person},
        )
    await company.rebuild()
    assert (await company.months())[JUNE][1] == "0"
    async with company.database.transaction(company.scope) as tx:
        await tx.execute(text("UPDATE tracking.actuals_outdated SET due_at = now() - interval '1 second'"))
    await company.rebuild()
    assert (await company.months())[JUNE][1] == "10"
    async with company.database.transaction(company.scope) as tx:
        assert await tx.rows(text("SELECT person_id FROM tracking.actuals_outdated")) == []
