"""Changes of the organisation with a first day: from the API of goals over its topics to progress and to pay."""

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from uuid import UUID, uuid4

import asyncpg
import httpx
import pytest

from services.goals.app import create_app as create_goals
from services.incentives.app import create_app as create_incentives
from services.incentives.credits.domain.credit import ReceivedDeal
from services.incentives.earnings import consumer as incentives
from services.tracking.measure.progress import consumer as progress
from services.tracking.measure.progress import store, verification
from services.tracking.measure.progress import work as progress_work
from services.tracking.measure.progress.definitions import DefinitionsCache
from services.tracking.measure.progress.service import ProgressTracker
from services.tracking.metadata import transport
from shared.contracts.deals import Deal
from shared.db.database import Database, Scope, Transaction
from shared.http.auth import Role
from shared.http.settings import HttpSettings
from shared.kafka.domain import Record
from shared.kernel.money import format_amount
from shared.outbox.outbox import Outbox, decode_headers
from tests.servers.callers import bearer
from tests.stories.june import won
from tests.stories.pay import EARNINGS, VERIFICATION, rebuilder

WON = {"all": [{"field": "status", "op": "eq", "value": "won"}]}
BOOKINGS = {"aggregate": "sum", "value_field": "amount", "date_field": "closed", "filter": WON, "currency": "USD"}
AUTHOR, APPROVER = uuid4(), uuid4()


class Company:
    """One tenant: everything it says goes over the goals API and, as the outbox holds it, to both readers."""

    def __init__(self, url: str, goals: httpx.AsyncClient, incentives_http: httpx.AsyncClient) -> None:
        self.tenant = uuid4()
        self.url = url
        self.goals = goals
        self.incentives = incentives_http
        self.tracking = Database(url, service="tracking")
        self.pay = Database(url, service="incentives")
        self.tracker = ProgressTracker(Outbox(transport), DefinitionsCache())
        self.rebuilder = progress_work.Rebuilder(self.tracking, self.tracker)
        self.heard = 0

    async def close(self) -> None:
        await self.tracking.close()
        await self.pay.close()

    async def call(
        self,
        http: httpx.AsyncClient,
        method: str,
        path: str,
        body: object = None,
        *,
        person: UUID | None = AUTHOR,
        version: int = 0,
    ) -> dict[str, object]:
        role = Role.SERVICE if person is None else Role.ADMIN
        headers = bearer(HttpSettings(), self.tenant, role, person=person)
        headers |= {"if-match": f'"{version}"'} if version else {}
        response = await http.request(method, path, json=body, headers=headers)
        assert response.is_success, response.text
        found: dict[str, object] = response.json()
        return found

    async def made(self, path: str, body: object) -> str:
        return str((await self.call(self.goals, "POST", path, body))["id"])

    async def seller(self, user: str, team: str) -> str:
        person = await self.made("/v1/people", {"name": user})
        await self.made("/v1/memberships", {"person_id": person, "team_id": team, "start": "2020-01-01"})
        await self.made("/v1/identities", {"source": "crm", "external_user_id": user, "person_id": person})
        return person

    async def goal(self, team: str, start: str, end: str) -> str:
        goal = await self.made(
            "/v1/goals",
            {
                "name": "Bookings",
                "owner": {"kind": "team", "id": team},
                "metric": BOOKINGS,
                "target": "1000",
                "period": {"start": start, "end": end},
            },
        )
        await self.call(self.goals, "POST", f"/v1/goals/{goal}/activate", person=None, version=1)
        return goal

    async def paid_on_rollup(self, *people: str, period: str = "quarter") -> None:
        """Ten percent of whatever is won below each of these managers."""
        plan = await self.call(
            self.incentives, "POST", "/v1/plans", {"name": "Managers", "currency": "USD", "period": period}
        )
        versions = f"/v1/plans/{plan['id']}/versions"
        component = {
            "kind": "commission",
            "key": "below",
            "name": "Below",
            "measure": BOOKINGS,
            "crediting": "rollup",
            "rate": {"shape": "flat", "rate": "0.1"},
        }
        body = {"effective_from": "2026-01-01", "components": [component]}
        await self.call(self.incentives, "POST", versions, body)
        await self.call(self.incentives, "POST", f"{versions}/1/approve", person=APPROVER, version=1)
        await self.call(self.incentives, "POST", f"{versions}/1/activate", version=2)
        for person in people:
            assigned = {"person_id": person, "plan_id": plan["id"], "start": "2026-01-01"}
            made = await self.call(self.incentives, "POST", "/v1/assignments", assigned)
            path = f"/v1/assignments/{made['id']}/approve"
            await self.call(self.incentives, "POST", path, person=APPROVER, version=1)

    async def settle(self) -> None:
        """Both readers hear what the topics have got since, and rebuild."""
        connection = await asyncpg.connect(self.url)
        try:
            rows = await connection.fetch(
                "SELECT id, topic, key, headers, value FROM goals.outbox WHERE tenant_id = $1 AND id > $2 ORDER BY id",
                self.tenant,
                self.heard,
            )
        finally:
            await connection.close()
        batch = [
            Record(row["topic"], 0, row["id"], row["key"], dict(decode_headers(row["headers"])), row["value"], 0)
            for row in rows
        ]
        self.heard = max((row["id"] for row in rows), default=self.heard)
        scope = Scope.of(self.tenant)

        async def to_progress(tx: Transaction) -> None:
            await progress.DefinitionsHandler(self.tracker, self.rebuilder).apply(tx, batch)

        async def to_pay(tx: Transaction) -> None:
            await incentives.DefinitionsHandler(EARNINGS).apply(tx, batch)

        await self.tracking.run(scope, to_progress)
        await self.pay.run(scope, to_pay)
        await self.rebuilder.rebuild_all()
        await rebuilder(self.pay).rebuild_all()

    async def take(self, *batch: Deal) -> None:
        scope = Scope.of(self.tenant)

        async def to_progress(tx: Transaction) -> None:
            await self.tracker.apply(tx, [self.tenant], [batch], stripe=0)

        async def to_pay(tx: Transaction) -> None:
            stored = [
                ReceivedDeal(self.tenant, deal.facts(), deal.model_dump_json(), deal.connection_id) for deal in batch
            ]
            await EARNINGS.apply_deals(tx, [self.tenant], stored)

        await self.tracking.run(scope, to_progress)
        await self.pay.run(scope, to_pay)

    def won(self, number: int, user: str, amount: int, *, on: date | None = None, at: datetime | None = None) -> Deal:
        said = {"owner_external_id": user, "currency": "USD", "closed_on": on}
        return won(self.tenant, number, at, amount=amount).model_copy(update=said)

    async def values(self, *goals: str) -> list[str]:
        async with self.tracking.transaction(Scope.of(self.tenant)) as tx:
            states = await store.states(tx, [(self.tenant, UUID(goal)) for goal in goals])
        assert not any(state.stale for state in states)
        values = {str(state.goal_id): format_amount(state.value) for state in states}
        return [values[goal] for goal in goals]

    async def earned(self, person: str) -> dict[tuple[str, str], str]:
        """By first day and end of the period, where it is anything."""
        answer = await self.call(self.incentives, "GET", f"/v1/earnings?person_id={person}")
        items = answer["items"]
        assert isinstance(items, list)
        return {
            (item["start"], item["end"]): format_amount(Decimal(item["earned"]))
            for item in items
            if Decimal(item["earned"])
        }

    async def differences(self) -> Sequence[object]:
        of_progress = [each async for each in verification.of_tenant(self.tracking, self.tenant, Counter())]
        of_pay = [each async for each in VERIFICATION.of_tenant(self.pay, self.tenant, Counter())]
        return [*of_progress, *of_pay]


@pytest.fixture
async def company(module_database: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Company]:
    monkeypatch.setenv("ATTAIN_DATABASE_URL", module_database)
    monkeypatch.setenv("ATTAIN_JWT_SECRET", "a secret of at least thirty-two characters")
    goals, pay = create_goals(), create_incentives()
    async with (
        httpx.AsyncClient(transport=httpx.ASGITransport(goals), base_url="http://goals") as goals_http,
        httpx.AsyncClient(transport=httpx.ASGITransport(pay), base_url="http://incentives") as pay_http,
    ):
        opened = Company(module_database, goals_http, pay_http)
        yield opened
        await opened.close()
    await goals.state.database.close()
    await pay.state.database.close()


Q2, Q3 = ("2026-04-01", "2026-07-01"), ("2026-07-01", "2026-10-01")


async def test_a_team_moved_on_the_first_of_july_moves_nothing_before_it(company: Company) -> None:
    max_, nia = [await company.made("/v1/people", {"name": name}) for name in ("Max", "Nia")]
    top = await company.made("/v1/teams", {"name": "Company"})
    east = await company.made("/v1/teams", {"name": "East", "parent_id": top, "manager_id": max_})
    west = await company.made("/v1/teams", {"name": "West", "parent_id": top, "manager_id": nia})
    desk = await company.made("/v1/teams", {"name": "Desk", "parent_id": east})
    await company.seller("ann", desk)
    goals = [await company.goal(team, "2026-01-01", "2027-01-01") for team in (top, east, west)]
    await company.settle()
    await company.paid_on_rollup(max_, nia)
    await company.settle()
    june, july = date(2026, 6, 30), date(2026, 7, 1)
    await company.take(company.won(1, "ann", 1000, on=june), company.won(2, "ann", 20, on=july))
    assert await company.values(*goals) == ["1020", "1020", "0"]
    assert (await company.earned(max_), await company.earned(nia)) == ({Q2: "100", Q3: "2"}, {})

    moved = {"parent_id": west, "start": "2026-07-01"}
    answer = await company.call(company.goals, "PATCH", f"/v1/teams/{desk}", moved, version=1)
    assert answer["history"] == [
        {"start": None, "parent_id": east, "manager_id": None},
        {"start": "2026-07-01", "parent_id": west, "manager_id": None},
    ]
    await company.settle()
    assert await company.values(*goals) == ["1020", "1000", "20"]
    assert (await company.earned(max_), await company.earned(nia)) == ({Q2: "100"}, {Q3: "2"})
    # What comes afterwards counts live as what came before was counted again.
    await company.take(company.won(3, "ann", 300, on=june), company.won(4, "ann", 4, on=july))
    assert await company.values(*goals) == ["1324", "1300", "24"]
    assert (await company.earned(max_), await company.earned(nia)) == ({Q2: "130"}, {Q3: "2.4"})

    # Another manager from the middle of the year on earns from then on.
    await company.call(
        company.goals, "PATCH", f"/v1/teams/{west}", {"manager_id": max_, "start": "2026-07-01"}, version=1
    )
    await company.settle()
    assert (await company.earned(max_), await company.earned(nia)) == ({Q2: "130", Q3: "2.4"}, {})

    # The change is taken back by saying for its day what was in force before.
    back = {"parent_id": east, "start": "2026-07-01"}
    answer = await company.call(company.goals, "PATCH", f"/v1/teams/{desk}", back, version=2)
    assert answer["history"] == [{"start": None, "parent_id": east, "manager_id": None}]
    await company.settle()
    assert await company.values(*goals) == ["1324", "1324", "0"]
    assert await company.differences() == []


async def test_another_zone_and_another_start_of_the_year_move_nothing_before_their_first_day(company: Company) -> None:
    calendar = {"start_month": 1, "time_zone": "UTC", "currency": "USD"}
    await company.call(company.goals, "PUT", "/v1/calendar", calendar)
    max_ = await company.made("/v1/people", {"name": "Max"})
    team = await company.made("/v1/teams", {"name": "Company", "manager_id": max_})
    await company.seller("ann", team)
    goals = [await company.goal(team, "2026-07-01", "2026-08-01"), await company.goal(team, "2026-08-01", "2026-09-01")]
    await company.settle()
    await company.paid_on_rollup(max_, period="year")
    await company.settle()
    # Late in the evening of the last of July and of August in UTC: early the next day in Shanghai.
    july, august = (datetime(2026, month, 31, 16, 30, tzinfo=UTC) for month in (7, 8))
    await company.take(company.won(1, "ann", 1000, at=july), company.won(2, "ann", 20, at=august))
    year = ("2026-01-01", "2027-01-01")
    assert (await company.values(*goals), await company.earned(max_)) == (["1000", "20"], {year: "102"})

    changed = {**calendar, "time_zone": "Asia/Shanghai", "start_month": 4, "start": "2026-08-01"}
    answer = await company.call(company.goals, "PUT", "/v1/calendar", changed, version=1)
    history = answer["history"]
    assert isinstance(history, list)
    assert [(state["start"], state["time_zone"], state["start_month"]) for state in history] == [
        (None, "UTC", 1),
        ("2026-08-01", "Asia/Shanghai", 4),
    ]
    await company.settle()
    assert await company.values(*goals) == ["1000", "0"]
    short, rest = ("2026-01-01", "2026-08-01"), ("2026-08-01", "2027-04-01")
    assert await company.earned(max_) == {short: "100", rest: "2"}
    await company.take(company.won(3, "ann", 300, at=july), company.won(4, "ann", 4, at=august))
    assert (await company.values(*goals), await company.earned(max_)) == (["1300", "0"], {short: "130", rest: "2.4"})
    assert await company.differences() == []


async def test_a_year_of_weeks_cuts_what_is_paid_and_moves_no_deal(company: Company) -> None:
    calendar = {"start_month": 1, "time_zone": "UTC", "currency": "USD"}
    await company.call(company.goals, "PUT", "/v1/calendar", calendar)
    max_ = await company.made("/v1/people", {"name": "Max"})
    team = await company.made("/v1/teams", {"name": "Company", "manager_id": max_})
    await company.seller("ann", team)
    goal = await company.goal(team, "2026-01-01", "2027-01-01")
    await company.settle()
    await company.paid_on_rollup(max_, period="month")
    await company.settle()
    # The last of February of 2026 by the month, and by the retail year two days of one calendar month apart.
    days = [datetime(2026, 2, 28, 12, tzinfo=UTC), *(datetime(2026, 4, day, 12, tzinfo=UTC) for day in (4, 5))]
    await company.take(*(company.won(number, "ann", 1000 + number, at=day) for number, day in enumerate(days)))
    february, april = ("2026-02-01", "2026-03-01"), ("2026-04-01", "2026-05-01")
    assert await company.earned(max_) == {february: "100", april: "200.3"}

    retail = {"pattern": "4-5-4", "week_start": "sunday", "year_end": "nearest", "start_month": 2}
    await company.call(company.goals, "PUT", "/v1/calendar", {**calendar, **retail, "start": "2026-02-01"}, version=1)
    await company.settle()
    assert await company.values(goal) == ["3003"]
    earned = {february: "100", ("2026-03-01", "2026-04-05"): "100.1", ("2026-04-05", "2026-05-03"): "100.2"}
    assert await company.earned(max_) == earned
    await company.take(company.won(9, "ann", 10, at=days[1]))
    assert await company.earned(max_) == {**earned, ("2026-03-01", "2026-04-05"): "101.1"}
    assert await company.differences() == []
