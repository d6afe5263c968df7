"""What people reached, as goals stores it of what tracking publishes: newest only, read by who may see the people."""

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from uuid import UUID, uuid4

import pytest

from services.goals.evidence.consumer import ActualsHandler
from services.goals.evidence.domain import MonthOfPerson
from services.goals.evidence.service import Evidence
from shared.contracts.actuals import Actuals
from shared.contracts.envelope import to_message
from shared.db.database import Database
from shared.http.auth import Role
from shared.kafka.domain import Poison, Record
from tests.stories.goals import Caller, Service, pointers, running_goals

MOMENT = datetime(2026, 4, 1, 8, tzinfo=UTC)
PATH = "/v1/actuals"
MARCH, APRIL = date(2026, 3, 1), date(2026, 4, 1)


@pytest.fixture(scope="module")
async def service(module_database: str) -> AsyncIterator[Service]:
    async with running_goals(module_database) as running:
        yield running


class Office:
    """A tenant in which Grace manages Ada; Bob is in no team of hers."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.tenant = uuid4()
        self.admin = Caller(service, self.tenant, Role.SERVICE)
        self.ada, self.bob, self.grace = "", "", ""

    async def open(self) -> "Office":
        self.ada, self.bob, self.grace = [await self.admin.person(name) for name in ("Ada", "Bob", "Grace")]
        team = await self.admin.team(manager_id=self.grace)
        await self.admin.member(self.ada, team)
        return self

    def actuals(self, person: str, month: str = "2026-03", *, version: int = 1, won: str = "1000.50") -> Actuals:
        return Actuals(
            tenant_id=self.tenant,
            person_id=UUID(person),
            month=month,
            version=version,
            currency="CNY",
            won_value=Decimal(won),
            won_number=Decimal("1.5"),
            open_value=Decimal(96000),
            open_number=Decimal(2),
            unconverted=Decimal("0.25"),
            changed_at=MOMENT,
        )

    async def hear(self, *events: Actuals) -> None:
        database = Database(self.service.database_url, service="goals")
        handler = ActualsHandler(Evidence())
        batch = records(events)
        async with database.transaction(handler.scope(batch)) as tx:
            await handler.apply(tx, batch)
        await database.close()

    async def listed(self, *roles: Role, person: str | None = None, query: str = "") -> list[tuple[str, str, str]]:
        caller = Caller(self.service, self.tenant, *roles, person=uuid4() if person is None else UUID(person))
        answer = await caller.send("GET", f"{PATH}{query}")
        assert answer.status_code == 200, answer.text
        return [(item["person_id"], item["month"], item["won_value"]) for item in answer.json()["items"]]


def records(events: Sequence[Actuals]) -> list[Record]:
    messages = [to_message(event, event_id=uuid4(), source="tracking", time=MOMENT) for event in events]
    return [
        Record(message.topic, 0, offset, message.key, dict(message.headers), message.value, 0)
        for offset, message in enumerate(messages)
    ]


@pytest.fixture
async def office(service: Service) -> Office:
    return await Office(service).open()


async def test_the_newest_state_of_each_month_is_stored_whatever_comes_twice_or_late(office: Office) -> None:
    newest = office.actuals(office.ada, version=3, won="30")
    await office.hear(office.actuals(office.ada, version=1, won="10"), newest, office.actuals(office.ada, version=2))
    await office.hear(office.actuals(office.ada, version=2, won="20"), newest)
    await office.hear(office.actuals(office.ada, "2026-04", won="40"), office.actuals(office.bob, won="50"))
    database = Database(office.service.database_url, service="goals")
    async with database.transaction(ActualsHandler(Evidence()).scope(records([newest]))) as tx:
        found = await Evidence().of(tx, office.tenant, [UUID(office.ada), uuid4()], [MARCH, APRIL, date(2026, 5, 1)])
        of_others = await Evidence().of(tx, uuid4(), [UUID(office.ada)], [MARCH])
    await database.close()
    ada = UUID(office.ada)
    assert {tuple(key): (each.version, each.won_value) for key, each in found.items()} == {
        (ada, MARCH): (3, Decimal(30)),
        (ada, APRIL): (1, Decimal(40)),
    }
    assert of_others == {}
    march = found[MonthOfPerson(ada, MARCH)]
    assert (march.currency, march.won_number, march.unconverted) == ("CNY", Decimal("1.5"), Decimal("0.25"))
    assert (march.open_value, march.open_number, march.changed_at) == (Decimal(96000), Decimal(2), MOMENT)


async def test_a_rep_sees_its_own_a_manager_its_people_and_who_sees_the_tenant_all(office: Office) -> None:
    ada, bob = (office.ada, "2026-03", "1000.5"), (office.bob, "2026-03", "7")
    await office.hear(office.actuals(office.ada), office.actuals(office.bob, won="7"))
    assert await office.listed(Role.REP, person=office.ada) == [ada]
    assert await office.listed(Role.REP, person=office.grace) == []
    assert await office.listed(Role.MANAGER, person=office.grace) == [ada]
    assert await office.listed(Role.MANAGER, person=office.grace, query=f"?person_id={office.bob}") == []
    for role in (Role.ADMIN, Role.REVOPS, Role.FINANCE, Role.SERVICE):
        assert sorted(await office.listed(role)) == sorted([ada, bob])
    stranger = Caller(office.service, uuid4(), Role.SERVICE)
    assert (await stranger.send("GET", PATH)).json()["items"] == []


async def test_months_are_listed_by_person_and_month_page_by_page(office: Office) -> None:
    months = ["2025-12", "2026-01", "2026-02", "2026-03"]
    await office.hear(*(office.actuals(office.ada, month, won="1") for month in reversed(months)))
    path, seen = f"{PATH}?limit=3&person_id={office.ada}", []
    while path:
        page = (await office.admin.send("GET", path)).json()
        seen += [item["month"] for item in page["items"]]
        path = page["next_cursor"] and f"{PATH}?limit=3&person_id={office.ada}&cursor={page['next_cursor']}"
    assert seen == months
    between = await office.listed(Role.ADMIN, query="?from=2026-01&to=2026-03")
    assert [month for _, month, _ in between] == ["2026-01", "2026-02"]


@pytest.mark.parametrize(("name", "value"), [("from", "2026-13"), ("to", "2026-3"), ("from", "0000-01")])
async def test_what_is_no_month_is_refused_by_its_name(office: Office, name: str, value: str) -> None:
    answer = await office.admin.send("GET", f"{PATH}?{name}={value}")
    assert answer.status_code == 422
    assert pointers(answer) == [f"/{name}"]


async def test_a_record_that_is_none_is_refused_as_poison(office: Office) -> None:
    (record,) = records([office.actuals(office.ada)])
    database = Database(office.service.database_url, service="goals")
    with pytest.raises(Poison):
        async with database.transaction(ActualsHandler(Evidence()).scope([record])) as tx:
            await ActualsHandler(Evidence()).apply(tx, [record._replace(value=b'{"tenant_id": 1}')])
    await database.close()
