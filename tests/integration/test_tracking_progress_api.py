"""Progress over HTTP with real Postgres and Kafka: where goals stand, why, who may see it, and the live streams."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID, uuid4

import httpx
import pytest

from services.tracking.measure.progress.api import ProgressSource
from services.tracking.measure.progress.api import router as progress_router
from services.tracking.measure.progress.definitions import DefinitionsCache
from services.tracking.measure.progress.service import ProgressTracker, render_progress
from services.tracking.measure.progress.tables import ACTIVITIES_STRIPE
from services.tracking.measure.progress.verification import of_tenant
from services.tracking.metadata import transport
from services.tracking.records.service import DEALS
from services.tracking.tell.live.api import LiveStreams
from services.tracking.tell.live.api import router as live_router
from services.tracking.tell.live.hub import LiveHub
from services.tracking.tell.live.rights import StreamRights
from shared.contracts.goals import Direction, StretchLevel
from shared.contracts.org import Team
from shared.contracts.topics import TOPICS
from shared.db.database import Database, Scope, Transaction
from shared.http.app import create_service_app
from shared.http.auth import Role
from shared.http.named_deals import DealFinder
from shared.http.server import EmbeddedServer, listening_socket
from shared.http.settings import HttpSettings
from shared.http.sight import Organisation
from shared.kafka.producer import Producer
from shared.kafka.settings import KafkaSettings
from shared.kafka.topics import ensure_topics
from shared.kernel.org import OrgChart
from shared.outbox.outbox import Outbox
from tests.oracles import progress as oracle
from tests.servers.callers import TRUSTING_NOBODY, bearer
from tests.servers.infrastructure import eventually
from tests.stories.progress import Storyteller

JWT_SECRET = "0123456789abcdef0123456789abcdef0123456789abcdef"
START = datetime(2026, 2, 1, tzinfo=UTC)
ADA, BEN, EVE = 0, 1, 2
COMPANY, EAST = 0, 1
WON = oracle.Deal(
    number=0,
    version=1,
    kind="upserted",
    status="won",
    user=ADA,
    cents=10050,
    currency="USD",
    quantity=None,
    account="Acme",
    created_hour=0,
    expected_day=None,
    closed_hour=None,
    closed_day=5,
    home_cents=None,
    home_currency=None,
    payments=(),
)
ADAS, COMPANYS, EVES = 0, 1, 2


class Clock:
    """A clock that stands until it is told."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now


class Site:
    """A running API process and the functions a worker would call."""

    def __init__(self, url: str, database: Database, clock: Clock, settings: HttpSettings, producer: Producer) -> None:
        self.url = url
        self.database = database
        self.clock = clock
        self.settings = settings
        self.producer = producer
        self.tracker = ProgressTracker(Outbox(transport), DefinitionsCache())

    async def company(self) -> "Tenant":
        """Ada in the east, which Eve manages, below the company; Ben in the company alone; three goals of won money."""
        tenant = Tenant(self)
        tell = tenant.storyteller
        definitions = tell.definition_events(
            (
                oracle.Calendar(1, 8, "CNY"),
                oracle.Team(COMPANY, 1, None),
                oracle.Team(EAST, 1, COMPANY),
                oracle.Membership(0, 1, ADA, EAST, 0, None, False),
                oracle.Membership(1, 1, BEN, COMPANY, 0, 8, False),
                *(oracle.Identity(user, 1, user, False) for user in (ADA, BEN, EVE)),
                oracle.Goal(ADAS, 1, "active", False, ADA, "won amount", 0, 10),
                oracle.Goal(COMPANYS, 1, "active", True, COMPANY, "won amount", 0, 10),
                oracle.Goal(EVES, 1, "active", False, EVE, "won amount", 0, 10),
            )
        )
        managed = Team(
            tenant_id=tell.tenant_id,
            id=tell.id_of("team", EAST),
            version=2,
            name="East",
            parent_id=tell.id_of("team", COMPANY),
            manager_id=tell.id_of("person", EVE),
        )
        async with self.database.transaction(tenant.scope) as tx:
            await self.tracker.define(tx, [*definitions, managed])
        await tenant.rebuild()
        return tenant


class Tenant:
    """A tenant of the site, and the ways to speak with it."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.storyteller = Storyteller(uuid4())
        self.scope = Scope.of(self.storyteller.tenant_id)

    async def deals(self, *deals: oracle.Deal) -> None:
        async with self.site.database.transaction(self.scope) as tx:
            pieces = [self.storyteller.deal_events(deals)]
            await self.site.tracker.apply(tx, [self.storyteller.tenant_id], pieces, stripe=0)

    async def defined(self, *definitions: oracle.Definition) -> None:
        async with self.site.database.transaction(self.scope) as tx:
            await self.site.tracker.define(tx, self.storyteller.definition_events(definitions))
        await self.rebuild()

    async def redefined(self, *goals: oracle.Goal, **terms: object) -> None:
        """Goals with other terms than those of stories."""
        events = [each.model_copy(update=terms) for each in self.storyteller.definition_events(goals)]
        async with self.site.database.transaction(self.scope) as tx:
            await self.site.tracker.define(tx, events)
        await self.rebuild()

    async def counted(self, *deals: oracle.Deal) -> None:
        """Deals that are counted as they are published."""
        async with self.site.database.transaction(self.scope) as tx:
            counted = await self.site.tracker.count(tx, self.storyteller.deal_events(deals), ())
        assert len(counted.accepted) == len(deals)

    async def conversions(self, goal: int) -> dict[str, tuple[str, object]]:
        """By deal: what it adds to a goal and how it was converted; told alike of all deals and of each."""
        told = {}
        for item in (await self.get(self.goal(goal, "explain"))).json()["items"]:
            [single] = (await self.get(self.goal(goal, "explain"), {"deal_id": item["deal_id"]})).json()["items"]
            assert single == item
            told[item["external_id"]] = item["value"], item["conversion"]
        return told

    async def activities(self, *activities: oracle.Activity) -> None:
        async with self.site.database.transaction(self.scope) as tx:
            pieces = [self.storyteller.activity_events(activities)]
            await self.site.tracker.apply_activities(tx, [self.storyteller.tenant_id], pieces, stripe=ACTIVITIES_STRIPE)

    async def rebuild(self) -> None:
        more = 1
        while more:
            async with self.site.database.transaction(self.scope) as tx:
                more = await self.site.tracker.rebuild(tx, self.storyteller.tenant_id)

    async def managed(self, team: int, version: int, manager: int) -> None:
        """Give a team below the company another manager."""
        tell = self.storyteller
        changed = Team(
            tenant_id=tell.tenant_id,
            id=tell.id_of("team", team),
            version=version,
            name="Team",
            parent_id=tell.id_of("team", COMPANY),
            manager_id=tell.id_of("person", manager),
        )
        async with self.site.database.transaction(self.scope) as tx:
            await self.site.tracker.define(tx, [changed])
        await self.rebuild()

    async def publish(self, *goals: int) -> None:
        subjects = [(self.storyteller.tenant_id, f"goal/{self.storyteller.goal_id(goal)}") for goal in goals]
        async with self.site.database.transaction(Scope.every()) as tx:
            messages = await render_progress(tx, subjects)
        assert await self.site.producer.send_many(messages) == [None] * len(messages)

    def headers(self, role: Role, person: int | None) -> dict[str, str]:
        person_id = None if person is None else self.storyteller.id_of("person", person)
        return bearer(self.site.settings, self.storyteller.tenant_id, role, person=person_id)

    async def get(
        self, path: str, query: Mapping[str, str] | None = None, *, role: Role = Role.SERVICE, person: int | None = None
    ) -> httpx.Response:
        async with httpx.AsyncClient(base_url=self.site.url, verify=TRUSTING_NOBODY) as client:
            return await client.get(path, params=query, headers=self.headers(role, person))

    def goal(self, number: int, *parts: str) -> str:
        return "/".join([f"/v1/goals/{self.storyteller.goal_id(number)}/progress", *parts])

    @asynccontextmanager
    async def stream(
        self, path: str, last_event_id: str | None = None, *, role: Role = Role.SERVICE, person: int | None = None
    ) -> AsyncIterator["Stream"]:
        headers = self.headers(role, person)
        if last_event_id is not None:
            headers["last-event-id"] = last_event_id
        async with (
            httpx.AsyncClient(base_url=self.site.url, timeout=30, verify=TRUSTING_NOBODY) as client,
            client.stream("GET", path, headers=headers) as response,
        ):
            assert response.status_code == 200, await response.aread()
            yield Stream(response.aiter_lines())


class Stream:
    """The events of one stream, as they come."""

    def __init__(self, lines: AsyncIterator[str]) -> None:
        self._lines = lines

    async def event(self) -> tuple[str, dict[str, object]]:
        """The id and data of the next event."""
        identity, data = "", ""
        async with asyncio.timeout(20):
            while True:
                line = await anext(self._lines)
                if line.startswith("id: "):
                    identity = line.removeprefix("id: ")
                elif line.startswith("data: "):
                    data = line.removeprefix("data: ")
                elif not line and data:
                    return identity, json.loads(data)


@pytest.fixture(scope="module")
async def site(module_database: str, kafka_bootstrap: str) -> AsyncIterator[Site]:
    clock = Clock()
    database = Database(module_database, service="tracking", clock=clock)
    settings = HttpSettings(jwt_secret=JWT_SECRET)
    kafka = KafkaSettings(bootstrap=kafka_bootstrap)
    await ensure_topics(kafka, TOPICS.values())
    producer = Producer(kafka, client_id="test")
    await producer.start()

    cache = DefinitionsCache()
    hub, source = LiveHub(kafka), ProgressSource(cache)
    rights = StreamRights(database, source.revisions, check_seconds=0.1)

    async def organisation(tx: Transaction, tenant_id: UUID) -> OrgChart:
        return (await cache.current(tx, tenant_id)).chart

    async def no_connections(tx: Transaction, tenant_id: UUID, source: str) -> list[UUID]:
        return []

    app = create_service_app(
        title="Test",
        description="Progress alone.",
        settings=settings,
        database=database,
        transport_tables=transport,
        routers=[live_router, progress_router],
        readiness={},
        parts=[
            Organisation(organisation),
            DealFinder(no_connections, DEALS.facts),
            cache,
            LiveStreams(hub, source, rights),
        ],
    )
    reading = asyncio.create_task(hub.run())
    checking = asyncio.create_task(rights.run())
    listening = listening_socket("127.0.0.1", 0)
    server = EmbeddedServer(app, listening)
    serving = asyncio.create_task(server.run_until_stopped())
    await eventually(lambda: _is_ready(hub), 30, expectation="the tail of progress")
    yield Site(f"http://127.0.0.1:{listening.getsockname()[1]}", database, clock, settings, producer)
    app.state.streams.close()
    await server.stop()
    await serving
    checking.cancel()
    await hub.stop()
    await reading
    await producer.stop()
    await database.close()


async def _is_ready(hub: LiveHub) -> bool:
    with suppress(Exception):
        await hub.ready()
        return True
    return False


async def test_a_goal_stands_where_its_deals_put_it_now_and_at_any_past_moment(site: Site) -> None:
    tenant = await site.company()
    site.clock.now = START
    await tenant.deals(WON)
    site.clock.now = START + timedelta(hours=1)
    await tenant.deals(WON._replace(version=2, cents=5000), WON._replace(number=1, cents=1, user=BEN))
    now = (await tenant.get(tenant.goal(ADAS))).json()
    assert (now["value"], now["deals"], now["attainment"], now["status"]) == ("50", 1, "0.05", "active")
    assert (await tenant.get(tenant.goal(COMPANYS))).json()["value"] == "50.01"
    then = (await tenant.get(tenant.goal(ADAS), {"as_of": START.isoformat()})).json()
    assert (then["value"], then["deals"], then["version"]) == ("100.5", 1, None)
    before = START - timedelta(seconds=1)
    assert (await tenant.get(tenant.goal(ADAS), {"as_of": before.isoformat()})).json()["value"] == "0"


async def test_the_series_adds_up_day_by_day(site: Site) -> None:
    tenant = await site.company()
    await tenant.deals(
        WON,
        WON._replace(number=1, closed_day=2),
        WON._replace(number=2, cents=-50),
        WON._replace(number=3, closed_day=10),
    )
    series = (await tenant.get(tenant.goal(ADAS, "series"))).json()
    assert [(day["date"], day["added"], day["cumulative"], day["deals"]) for day in series["days"]] == [
        ("2025-12-28", "100.5", "100.5", 1),
        ("2025-12-31", "100", "200.5", 2),
    ]


async def test_the_explanation_lists_what_counts_page_by_page(site: Site) -> None:
    tenant = await site.company()
    await tenant.deals(*(WON._replace(number=number, closed_day=9 - number) for number in range(5)))
    seen: list[dict[str, object]] = []
    cursor: dict[str, str] = {}
    while True:
        page = (await tenant.get(tenant.goal(COMPANYS, "explain"), {"limit": "2", **cursor})).json()
        seen += page["items"]
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}
    assert [item["external_id"] for item in seen] == ["D-4", "D-3", "D-2", "D-1", "D-0"]
    assert {(item["counts"], item["value"]) for item in seen} == {(True, "100.5")}
    assert {item["delivery_id"] for item in seen} == {str(UUID(int=1))}


@pytest.mark.parametrize(
    ("change", "goal", "reason"),
    [
        ({}, COMPANYS, None),
        ({"kind": "deleted"}, COMPANYS, "deleted"),
        ({"kind": "merged"}, COMPANYS, "merged"),
        ({"status": "open"}, COMPANYS, "filter_not_met"),
        ({"closed_day": None}, COMPANYS, "no_date"),
        ({"cents": None}, COMPANYS, "no_value"),
        ({"currency": "EUR"}, COMPANYS, "currency_differs"),
        ({"currency": None}, COMPANYS, "no_currency"),
        ({"user": 3}, COMPANYS, "owner_unmapped"),
        ({"user": None}, COMPANYS, "owner_missing"),
        ({"closed_day": 10}, COMPANYS, "outside_period"),
        ({"user": BEN, "closed_day": 8}, COMPANYS, "owner_not_member_on_date"),
        ({"user": BEN}, ADAS, "owner_not_member_on_date"),
    ],
)
async def test_a_deal_that_does_not_count_says_why(
    site: Site, change: dict[str, object], goal: int, reason: str | None
) -> None:
    tenant = await site.company()
    deal = WON._replace(**change)  # type: ignore[arg-type]
    await tenant.deals(deal)
    deal_id = str(tenant.storyteller.deal_events([deal])[0].id)
    page = await tenant.get(tenant.goal(goal, "explain"), {"deal_id": deal_id})
    assert page.status_code == 200, page.text
    [item] = page.json()["items"]
    assert (item["counts"], item["reason"]) == (reason is None, reason)
    assert (item["why"] or {}).get("code") == reason
    if reason == "filter_not_met":
        assert (item["why"]["found"], item["why"]["expected"]["zh"]) == ("status: open", "状态为 won")
        assert item["failing"] == {"field": "status", "op": "eq", "value": "won"}
    stands = (await tenant.get(tenant.goal(goal))).json()
    assert stands["deals"] == (1 if reason is None else 0)


async def test_money_of_other_currencies_counts_at_the_rates_it_says_and_again_when_they_are_corrected(
    site: Site,
) -> None:
    tenant = await site.company()
    converting, at_plan_rates = 3, 4
    euros = WON._replace(currency="EUR", cents=100_000)
    await tenant.defined(
        oracle.Goal(converting, 1, "active", False, ADA, "won dollars of all", 0, 10),
        oracle.Goal(at_plan_rates, 1, "active", False, ADA, "created euros at plan rates", 0, 10),
        oracle.Rates(0, 1, ((0, 70_000),)),
        oracle.Rates(2, 1, ((3, 77_000),)),
    )
    await tenant.deals(
        euros,
        euros._replace(number=1, home_cents=120_000, home_currency="USD"),
        WON._replace(number=2, cents=1000),
        euros._replace(number=3, currency="GBP"),
    )
    stands = (await tenant.get(tenant.goal(converting))).json()
    assert (stands["value"], stands["deals"]) == ("2310", 3)
    daily = {"amount": "1000", "currency": "EUR", "rate": "1.1", "stated_on": "2025-12-26", "origin": "daily"}
    crm = {"amount": "1000", "currency": "EUR", "rate": "1.2", "stated_on": None, "origin": "crm"}
    fixed = {"amount": "10", "currency": "USD", "rate": "0.91", "stated_on": None, "origin": "fixed"}
    assert await tenant.conversions(converting) == {
        "D-0": ("1100", daily),
        "D-1": ("1200", crm),
        "D-2": ("10", None),
    }
    assert await tenant.conversions(at_plan_rates) == {
        "D-0": ("1000", None),
        "D-1": ("1000", None),
        "D-2": ("9.1", fixed),
    }
    pounds = str(tenant.storyteller.deal_events([euros._replace(number=3)])[0].id)
    [item] = (await tenant.get(tenant.goal(converting, "explain"), {"deal_id": pounds})).json()["items"]
    assert (item["counts"], item["reason"], item["conversion"]) == (False, "no_exchange_rate", None)

    async with site.database.transaction(tenant.scope) as tx:
        corrected = tenant.storyteller.definition_events([oracle.Rates(2, 2, ((3, 84_000),))])
        await site.tracker.define(tx, corrected)
    assert (await tenant.get(tenant.goal(converting))).json()["stale"]
    assert not (await tenant.get(tenant.goal(at_plan_rates))).json()["stale"]
    await tenant.rebuild()
    stands = (await tenant.get(tenant.goal(converting))).json()
    assert (stands["value"], stands["deals"], stands["stale"]) == ("2410", 3, False)


async def test_what_is_paid_moves_a_goal_with_every_payment(site: Site) -> None:
    tenant = await site.company()
    booked, received = 3, 4
    await tenant.defined(
        oracle.Goal(booked, 1, "active", False, ADA, "won and paid", 0, 6),
        oracle.Goal(received, 1, "active", False, ADA, "paid", 6, 10),
    )
    signed = WON._replace(currency="CNY", cents=1_000_000)
    euros = WON._replace(number=1, currency="EUR", payments=((7, 4000),))
    seen = []
    for version, payments in enumerate(((), ((6, 500_000),), ((6, 500_000), (8, 500_000))), start=1):
        await tenant.deals(signed._replace(version=version, payments=payments))
        seen.append((await tenant.get(tenant.goal(booked))).json()["value"])
    assert seen == ["0", "5000", "10000"]
    assert (await tenant.get(tenant.goal(received))).json()["value"] == "0"
    await tenant.deals(euros)
    assert (await tenant.get(tenant.goal(received))).json()["value"] == "40"
    series = (await tenant.get(tenant.goal(received, "series"))).json()
    assert [(day["date"], day["added"]) for day in series["days"]] == [("2026-01-02", "40")]


async def test_a_goal_by_splits_tells_what_each_share_of_each_payment_adds_and_why_one_does_not(site: Site) -> None:
    tenant = await site.company()
    adas, companys = 3, 4
    await tenant.defined(
        oracle.Goal(adas, 1, "active", False, ADA, "dollars as paid", 0, 5, by_splits=True),
        oracle.Goal(companys, 1, "active", True, COMPANY, "dollars as paid", 0, 5, by_splits=True),
    )
    shared = WON._replace(
        user=3,
        payments=((4, 20000), (6, 10000)),
        splits=((ADA, 500, "owner"), (BEN, 300, "owner"), (3, 200, "overlay")),
    )
    await tenant.deals(shared)
    assert (await tenant.get(tenant.goal(adas))).json()["value"] == "100"
    stands = (await tenant.get(tenant.goal(companys))).json()
    assert (stands["value"], stands["deals"]) == ("160", 1)
    [item] = (await tenant.get(tenant.goal(companys, "explain"))).json()["items"]
    assert (item["counts"], item["value"], item["day"]) == (True, "160", "2025-12-30")
    assert [
        (part["external_id"], part["paid_on"], part["percent"], part["value"], part["reason"]) for part in item["parts"]
    ] == [
        ("u0", "2025-12-30", "50", "100", None),
        ("u1", "2025-12-30", "30", "60", None),
        ("u3", "2025-12-30", "20", None, "owner_unmapped"),
        ("u0", "2026-01-01", "50", None, "outside_period"),
        ("u1", "2026-01-01", "30", None, "outside_period"),
        ("u3", "2026-01-01", "20", None, "owner_unmapped"),
    ]
    # Whoever is taken off the splits loses its share, also by a recount.
    await tenant.deals(shared._replace(version=2, splits=((BEN, 1000, "owner"),)))
    assert (await tenant.get(tenant.goal(adas))).json()["value"] == "0"
    await tenant.defined(oracle.Goal(companys, 2, "active", True, COMPANY, "dollars as paid", 0, 10, by_splits=True))
    assert (await tenant.get(tenant.goal(companys))).json()["value"] == "300"
    series = (await tenant.get(tenant.goal(companys, "series"))).json()
    assert [(day["date"], day["added"], day["deals"]) for day in series["days"]] == [
        ("2025-12-30", "200", 1),
        ("2026-01-01", "100", 1),
    ]
    then = (await tenant.get(tenant.goal(adas), {"as_of": START.isoformat()})).json()
    assert then["value"] == "0"


async def test_a_goal_of_activities_tells_as_much_as_one_of_deals(site: Site) -> None:
    tenant = await site.company()
    called, talked, met = 3, 4, 5
    await tenant.defined(
        oracle.Goal(called, 1, "active", False, ADA, "done calls", 0, 10),
        oracle.Goal(talked, 1, "active", True, EAST, "seconds talked", 0, 10),
        oracle.Goal(met, 1, "active", False, ADA, "met accounts", 0, 10),
    )
    call = oracle.Activity(0, 1, False, "call", "done", ADA, 30, 600, None, "1")
    planned = call._replace(number=1, status="planned", account="1")
    bens = call._replace(number=2, user=BEN)
    late = call._replace(number=3, occurred_hour=240, account="2")
    gone = call._replace(number=4, deleted=True)
    await tenant.deals(WON)
    before = site.clock.now
    site.clock.now += timedelta(hours=1)
    await tenant.activities(call, planned, bens, late, gone)
    told = {}
    for goal in (called, talked, met):
        stands = (await tenant.get(tenant.goal(goal))).json()
        series = (await tenant.get(tenant.goal(goal, "series"))).json()["days"]
        explained = (await tenant.get(tenant.goal(goal, "explain"))).json()["items"]
        past = (await tenant.get(tenant.goal(goal), {"as_of": before.isoformat()})).json()
        assert (past["value"], past["deals"]) == ("0", 0)
        assert {item["record"] for item in explained} == {"activity"}
        for item in explained:
            query = {"activity_id": item["activity_id"]}
            assert (await tenant.get(tenant.goal(goal, "explain"), query)).json()["items"] == [item]
        told[goal] = (stands["value"], stands["deals"], series[-1]["cumulative"], len(explained))
    assert told == {called: ("1", 1, "1", 1), talked: ("1200", 2, "1200", 2), met: ("1", 2, "1", 2)}

    async def reason(goal: int, activity: oracle.Activity, person: int) -> tuple[object, object]:
        (event,) = tenant.storyteller.activity_events([activity])
        query = {"activity_id": str(event.id)}
        answer = await tenant.get(tenant.goal(goal, "explain"), query, role=Role.REP, person=person)
        (item,) = answer.json()["items"]
        return item["reason"], item["owner_external_id"]

    assert await reason(called, planned, ADA) == ("filter_not_met", "u0")
    assert await reason(called, gone, ADA) == ("deleted", "u0")
    assert await reason(called, late, ADA) == ("outside_period", "u0")
    (stranger,) = tenant.storyteller.activity_events([bens])
    await answered_as_unknown(tenant, called, "activity_id", stranger.id)
    deal = str(tenant.storyteller.deal_events([WON])[0].id)
    refused = await tenant.get(tenant.goal(called, "explain"), {"deal_id": deal})
    assert (refused.status_code, refused.json()["code"]) == (404, "deal_not_known")
    (event,) = tenant.storyteller.activity_events([call])
    refused = await tenant.get(tenant.goal(ADAS, "explain"), {"activity_id": str(event.id)})
    assert (refused.status_code, refused.json()["code"]) == (404, "activity_not_known")

    await tenant.defined(oracle.Goal(called, 2, "active", False, ADA, "won deals", 0, 10))
    stands = (await tenant.get(tenant.goal(called))).json()
    assert (stands["value"], stands["deals"]) == ("1", 1)
    assert (await tenant.get(tenant.goal(called, "explain"))).json()["items"][0]["record"] == "deal"


async def test_a_win_rate_is_three_of_twelve_then_four_of_thirteen_and_never_an_average_of_averages(site: Site) -> None:
    tenant = await site.company()
    adas, bens, companys = 3, 4, 5
    rates = (
        oracle.Goal(adas, 1, "active", False, ADA, "win rate", 0, 10),
        oracle.Goal(bens, 1, "active", False, BEN, "win rate", 0, 10),
        oracle.Goal(companys, 1, "active", True, COMPANY, "win rate", 0, 10),
    )
    club = StretchLevel(name="Club", target=Decimal("30.769230"))
    top = StretchLevel(name="Top", target=Decimal("30.769231"))
    terms = {"target": Decimal(30), "unit": "%", "stretch": (club, top)}
    await tenant.redefined(*rates, **terms)
    nothing = (await tenant.get(tenant.goal(companys))).json()
    assert (nothing["value"], nothing["denominator"], nothing["attainment"]) == ("0", "0", None)
    lost = WON._replace(status="lost")
    decided = [(WON if number < 3 else lost)._replace(number=number, closed_day=number % 5) for number in range(12)]
    site.clock.now += timedelta(hours=1)
    async with tenant.stream(tenant.goal(companys, "stream")) as stream:
        await stream.event()
        await tenant.deals(*(deal._replace(user=ADA if deal.number < 2 else BEN) for deal in decided))
        await tenant.publish(companys)
        _, pushed = await stream.event()
    assert (pushed["value"], pushed["numerator"], pushed["denominator"]) == ("25", "3", "12")
    told = [(await tenant.get(tenant.goal(goal))).json() for goal in (adas, bens, companys)]
    # The average of the two people's rates would be 55 %.
    assert [(each["value"], each["deals"]) for each in told] == [("100", 2), ("10", 10), ("25", 12)]
    assert (told[2]["attainment"], told[2]["stretch_reached"], told[2]["currency"]) == ("0.833333", None, None)
    between = site.clock.now
    site.clock.now += timedelta(hours=1)
    await tenant.counted(WON._replace(number=12, user=BEN, closed_day=6), WON._replace(number=13, status="open"))
    now = (await tenant.get(tenant.goal(companys))).json()
    assert (now["value"], now["numerator"], now["denominator"], now["attainment"]) == (
        "30.769231",
        "4",
        "13",
        "1.025641",
    )
    # 4 of 13 is less than what it is rounded to.
    assert now["stretch_reached"] == {"name": "Club", "target": "30.76923"}
    past = (await tenant.get(tenant.goal(companys), {"as_of": between.isoformat()})).json()
    assert (past["value"], past["numerator"], past["denominator"]) == ("25", "3", "12")
    days = (await tenant.get(tenant.goal(companys, "series"))).json()["days"]
    assert [(day["added"], day["added_denominator"]) for day in days][:3] == [("1", "3"), ("1", "3"), ("1", "2")]
    assert [day["cumulative"] for day in days] == ["33.333333", "33.333333", "37.5", "30", "25", "30.769231"]
    explained = (await tenant.get(tenant.goal(companys, "explain"))).json()["items"]
    assert (len(explained), sum(int(item["value"]) for item in explained)) == (13, 4)
    assert {item["denominator"] for item in explained} == {"1"}
    (missed,) = {json.dumps(item["failing"]) for item in explained if item["value"] == "0"}
    assert json.loads(missed) == {"field": "status", "op": "eq", "value": "won"}
    await tenant.redefined(*(goal._replace(version=2) for goal in rates), **terms)
    assert (await tenant.get(tenant.goal(companys))).json()["value"] == "30.769231"
    tenant_id = tenant.storyteller.tenant_id
    assert [each async for each in of_tenant(site.database, tenant_id, Counter())] == []


async def test_where_lower_is_better_an_average_of_seven_on_the_way_from_ten_to_six_is_75_percent(site: Site) -> None:
    tenant = await site.company()
    days = oracle.Goal(3, 1, "active", False, ADA, "average seconds of calls", 0, 10)
    terms = {"target": Decimal(6), "baseline": Decimal(10), "direction": Direction.LOWER, "unit": "days"}
    stretch = StretchLevel(name="Fast", target=Decimal(5)), StretchLevel(name="At once", target=Decimal(1))
    await tenant.redefined(days, **terms, stretch=stretch)
    call = oracle.Activity(0, 1, False, "call", "done", ADA, 30, 6, None, "1")
    await tenant.activities(call, call._replace(number=1, seconds=8))
    told = (await tenant.get(tenant.goal(3))).json()
    assert (told["value"], told["denominator"], told["attainment"], told["stretch_reached"]) == ("7", "2", "0.75", None)
    await tenant.activities(call._replace(number=2, seconds=1), call._replace(number=1, version=2, seconds=None))
    told = (await tenant.get(tenant.goal(3))).json()
    assert (told["value"], told["denominator"], told["attainment"]) == ("3.5", "2", "1.625")
    assert told["stretch_reached"]["name"] == "Fast"
    await tenant.activities(call._replace(number=3, seconds=2))
    told = (await tenant.get(tenant.goal(3))).json()
    assert (told["value"], told["denominator"], told["attainment"]) == ("3", "3", "1.75")
    assert [each async for each in of_tenant(site.database, tenant.storyteller.tenant_id, Counter())] == []


async def test_a_share_of_a_deal_is_the_same_share_of_both_sides(site: Site) -> None:
    tenant = await site.company()
    goals = [
        oracle.Goal(3, 1, "active", False, ADA, "win rate", 0, 10, by_splits=True),
        oracle.Goal(4, 1, "active", False, ADA, "average won dollars", 0, 10, by_splits=True),
    ]
    await tenant.defined(*goals)
    halves = ((ADA, 500, "owner"), (BEN, 500, "owner"))
    await tenant.deals(
        WON._replace(splits=halves, cents=10000),
        WON._replace(number=1, status="lost"),
        WON._replace(number=2, cents=40000),
    )
    rate, average = [(await tenant.get(tenant.goal(goal))).json() for goal in (3, 4)]
    assert (rate["value"], rate["numerator"], rate["denominator"], rate["deals"]) == ("60", "1.5", "2.5", 3)
    assert (average["value"], average["numerator"], average["denominator"], average["deals"]) == (
        "300",
        "450",
        "1.5",
        2,
    )
    items = (await tenant.get(tenant.goal(4, "explain"))).json()["items"]
    assert {(item["value"], item["denominator"]) for item in items} == {("50", "0.5"), ("400", "1")}
    assert [(part["value"], part["denominator"]) for part in items[0]["parts"] if part["counts"]] in (
        [("50", "0.5")],
        [("400", "1")],
    )


async def answered_as_unknown(tenant: Tenant, goal: int, parameter: str, record_id: UUID) -> None:
    """Ada, who asks about a record on her goal, is answered as if it did not exist."""
    answers = [
        await tenant.get(tenant.goal(goal, "explain"), {parameter: str(each)}, role=Role.REP, person=ADA)
        for each in (record_id, UUID(int=7))
    ]
    hidden, missing = ({**answer.json(), "request_id": None} for answer in answers)
    assert [answer.status_code for answer in answers] == [404, 404]
    assert hidden == {**missing, "detail": missing["detail"].replace(str(UUID(int=7)), str(record_id))}


async def test_a_strangers_deal_is_explained_as_one_that_does_not_exist(site: Site) -> None:
    tenant = await site.company()
    bens, nobodys = WON._replace(user=BEN, number=1), WON._replace(user=None, number=2)
    await tenant.deals(WON, bens, nobodys)
    for deal in tenant.storyteller.deal_events([bens, nobodys]):
        await answered_as_unknown(tenant, ADAS, "deal_id", deal.id)
    own = str(tenant.storyteller.deal_events([WON])[0].id)
    page = await tenant.get(tenant.goal(ADAS, "explain"), {"deal_id": own}, role=Role.REP, person=ADA)
    assert page.json()["items"][0]["counts"] is True


async def test_a_rep_sees_itself_a_manager_its_subtree_and_another_tenant_nothing(site: Site) -> None:
    tenant, other = await site.company(), await site.company()
    goals = {str(tenant.storyteller.goal_id(number)): number for number in (ADAS, COMPANYS, EVES)}

    async def seen(role: Role, person: int | None) -> set[int]:
        page = (await tenant.get("/v1/progress", role=role, person=person)).json()
        single = {
            number
            for number in goals.values()
            if (await tenant.get(tenant.goal(number), role=role, person=person)).status_code == 200
        }
        listed = {goals[item["goal_id"]] for item in page["items"]}
        assert listed == single
        return listed

    assert await seen(Role.REP, ADA) == {ADAS}
    assert await seen(Role.REP, BEN) == set()
    assert await seen(Role.MANAGER, EVE) == {ADAS, EVES}
    assert await seen(Role.FINANCE, BEN) == {ADAS, COMPANYS, EVES}
    stranger = await other.get(tenant.goal(ADAS))
    assert (stranger.status_code, stranger.json()["code"]) == (404, "goal_not_tracked")
    for part in ("series", "explain", "stream"):
        assert (await tenant.get(tenant.goal(COMPANYS, part), role=Role.REP, person=ADA)).status_code == 404
    path = f"/v1/people/{tenant.storyteller.id_of('person', BEN)}/progress/stream"
    assert (await tenant.get(path, role=Role.MANAGER, person=EVE)).json()["code"] == "owner_not_seen"


async def test_the_list_is_filtered_and_paged(site: Site) -> None:
    tenant = await site.company()
    every = [str(tenant.storyteller.goal_id(number)) for number in (ADAS, COMPANYS, EVES)]

    async def ids(**query: str) -> list[str]:
        page = await tenant.get("/v1/progress", query)
        assert page.status_code == 200, page.text
        return [item["goal_id"] for item in page.json()["items"]]

    assert await ids() == sorted(every)
    assert await ids(person_id=str(tenant.storyteller.id_of("person", ADA))) == [every[ADAS]]
    assert await ids(team_id=str(tenant.storyteller.id_of("team", COMPANY))) == [every[COMPANYS]]
    assert await ids(on="2026-01-05") == await ids(status="closed") == []
    assert await ids(on="2026-01-04", status="active") == sorted(every)
    first = (await tenant.get("/v1/progress", {"limit": "2"})).json()
    assert await ids(cursor=first["next_cursor"]) == sorted(every)[2:]


async def test_a_goal_that_was_cancelled_stands_at_zero_and_a_draft_has_no_progress(site: Site) -> None:
    tenant = await site.company()
    await tenant.deals(WON)
    changes = tenant.storyteller.definition_events(
        [
            oracle.Goal(ADAS, 2, "cancelled", False, ADA, "won amount", 0, 10),
            oracle.Goal(4, 1, "draft", False, ADA, "won amount", 0, 10),
        ]
    )
    async with site.database.transaction(tenant.scope) as tx:
        await site.tracker.define(tx, changes)
    stale = (await tenant.get(tenant.goal(ADAS))).json()
    assert (stale["stale"], stale["value"]) == (True, "100.5")
    await tenant.rebuild()
    cancelled = (await tenant.get(tenant.goal(ADAS))).json()
    assert (cancelled["status"], cancelled["value"], cancelled["deals"], cancelled["stale"]) == (
        "cancelled",
        "0",
        0,
        False,
    )
    assert (await tenant.get(tenant.goal(4))).status_code == 404


async def test_a_stream_starts_with_where_the_goal_stands_and_brings_every_change(site: Site) -> None:
    tenant = await site.company()
    await tenant.deals(WON)
    async with tenant.stream(tenant.goal(ADAS, "stream")) as stream:
        first_id, first = await stream.event()
        assert first["value"] == "100.5"
        assert first_id == f"{first['goal_id']}:{first['version']}"
        await tenant.publish(ADAS)
        await tenant.deals(WON._replace(version=2, cents=20000))
        await tenant.publish(ADAS, COMPANYS)
        second_id, second = await stream.event()
        assert second["value"] == "200"
    await tenant.deals(WON._replace(version=3, cents=30000))
    async with tenant.stream(tenant.goal(ADAS, "stream"), last_event_id=second_id) as stream:
        assert (await stream.event())[1]["value"] == "300"
    newest = (await tenant.get(tenant.goal(ADAS))).json()
    async with tenant.stream(
        tenant.goal(ADAS, "stream"), last_event_id=f"{newest['goal_id']}:{newest['version']}"
    ) as stream:
        await tenant.deals(WON._replace(version=4, cents=40000))
        await tenant.publish(ADAS)
        assert (await stream.event())[1]["value"] == "400"


async def test_a_stream_ends_with_the_rights_of_the_one_who_opened_it(site: Site) -> None:
    tenant = await site.company()
    async with (
        tenant.stream(tenant.goal(ADAS, "stream"), role=Role.MANAGER, person=EVE) as managers,
        tenant.stream(tenant.goal(ADAS, "stream"), role=Role.REP, person=ADA) as own,
    ):
        await managers.event()
        await own.event()
        await tenant.managed(EAST, version=3, manager=BEN)
        _, last = await managers.event()
        assert last["reason"] == "rights_changed"
        with pytest.raises(StopAsyncIteration):
            await managers.event()
        await tenant.deals(WON)
        await tenant.publish(ADAS)
        assert (await own.event())[1]["value"] == "100.5"
    refused = await tenant.get(tenant.goal(ADAS, "stream"), role=Role.MANAGER, person=EVE)
    assert refused.status_code == 404


async def test_a_team_stream_ends_for_a_new_one_when_the_team_changes(site: Site) -> None:
    tenant = await site.company()
    team = tenant.storyteller.id_of("team", EAST)
    async with tenant.stream(f"/v1/teams/{team}/progress/stream") as stream:
        await stream.event()
        await tenant.defined(oracle.Membership(5, 1, BEN, EAST, 0, None, False))
        _, last = await stream.event()
        assert last["reason"] == "organisation_changed"


async def test_one_person_has_a_number_of_streams_and_others_have_theirs(site: Site) -> None:
    tenant = await site.company()
    path = tenant.goal(ADAS, "stream")
    async with AsyncExitStack() as stack:
        for _ in range(20):
            await stack.enter_async_context(tenant.stream(path, role=Role.REP, person=ADA))
        answers = await asyncio.gather(*(tenant.get(path, role=Role.REP, person=ADA) for _ in range(30)))
        assert {answer.status_code for answer in answers} == {429}
        assert answers[0].json()["code"] == "too_many_streams_of_person"
        assert "20 event streams" in answers[0].json()["detail"]
        assert answers[0].headers["retry-after"] == "5"
        async with tenant.stream(path) as others:
            await others.event()
    async with tenant.stream(path, role=Role.REP, person=ADA) as again:
        await again.event()


async def test_a_team_stream_carries_the_team_and_everyone_in_it(site: Site) -> None:
    tenant = await site.company()
    team = tenant.storyteller.id_of("team", COMPANY)
    async with tenant.stream(f"/v1/teams/{team}/progress/stream") as stream:
        current = [(await stream.event())[1]["goal_id"] for _ in range(2)]
        assert set(current) == {str(tenant.storyteller.goal_id(number)) for number in (ADAS, COMPANYS)}
        await tenant.deals(WON)
        await tenant.publish(EVES, ADAS, COMPANYS)
        changed: Sequence[object] = [(await stream.event())[1]["value"] for _ in range(2)]
        assert changed == ["100.5", "100.5"]
