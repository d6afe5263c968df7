"""Exchange rates over HTTP with real Postgres: what is kept, refused, and published."""

from collections.abc import AsyncIterator
from uuid import uuid4

import httpx
import pytest

from deploy.local.commands.republish import republished
from shared.contracts.org import ExchangeRates
from shared.db.database import Database
from shared.http.auth import Role
from tests.stories.goals import Caller, Service, at_once, pointers, query, running_goals

PATH = "/v1/exchange-rates"
CALENDAR = {"start_month": 1, "time_zone": "UTC", "currency": "CNY"}


def stated(currency: str, day: str, rate: str) -> dict[str, str]:
    return {"currency": currency, "date": day, "rate": rate}


async def months(caller: Caller) -> list[tuple[str, int, list[tuple[str, str]]]]:
    """Subject, version and rates of what was published, in order."""
    return [
        (event.subject, event.version, [(each.date.isoformat(), str(each.rate)) for each in event.rates])
        for event in await caller.events()
        if isinstance(event, ExchangeRates)
    ]


async def imported(caller: Caller, body: str) -> httpx.Response:
    return await caller.client.post(f"{PATH}/import", content=body.encode(), headers={"content-type": "text/csv"})


async def listed(caller: Caller, query_string: str = "") -> list[tuple[str, str, str]]:
    response = await caller.send("GET", f"{PATH}{query_string}")
    assert response.status_code == 200, response.text
    return [(item["currency"], item["date"], item["rate"]) for item in response.json()["items"]]


@pytest.fixture(scope="module")
async def service(module_database: str) -> AsyncIterator[Service]:
    async with running_goals(module_database) as running:
        yield running


@pytest.fixture
async def finance(service: Service) -> Caller:
    tenant = uuid4()
    calendar = await Caller(service, tenant, Role.SERVICE).send("PUT", "/v1/calendar", CALENDAR)
    assert calendar.status_code == 200, calendar.text
    return Caller(service, tenant, Role.FINANCE, person=uuid4())


async def test_rates_that_are_stated_are_published_month_by_month(finance: Caller) -> None:
    rates = [
        stated("USD", "2026-03-02", "7.2415"),
        stated("USD", "2026-04-01", "7.2"),
        stated("EUR", "2026-03-31", "8"),
    ]
    answer = await finance.send("PUT", PATH, rates)
    assert (answer.status_code, answer.json()) == (200, {"base_currency": "CNY", "stated": 3, "changed": 3})
    again = await finance.send("PUT", PATH, [*rates, stated("USD", "2026-03-03", "7.24")])
    assert again.json() == {"base_currency": "CNY", "stated": 4, "changed": 1}
    assert sorted(await months(finance)) == [
        ("exchange-rates/CNY/EUR/2026-03", 1, [("2026-03-31", "8")]),
        ("exchange-rates/CNY/USD/2026-03", 1, [("2026-03-02", "7.2415")]),
        ("exchange-rates/CNY/USD/2026-03", 2, [("2026-03-02", "7.2415"), ("2026-03-03", "7.24")]),
        ("exchange-rates/CNY/USD/2026-04", 1, [("2026-04-01", "7.2")]),
    ]
    assert await listed(finance) == [
        ("EUR", "2026-03-31", "8"),
        ("USD", "2026-03-02", "7.2415"),
        ("USD", "2026-03-03", "7.24"),
        ("USD", "2026-04-01", "7.2"),
    ]
    assert await listed(finance, "?currency=USD&from=2026-03-03&to=2026-04-01") == [("USD", "2026-03-03", "7.24")]


async def test_a_list_of_rates_is_paged(finance: Caller) -> None:
    await finance.send("PUT", PATH, [stated(code, f"2026-03-0{day}", "2") for code in ("EUR", "USD") for day in (1, 2)])
    first = (await finance.send("GET", f"{PATH}?limit=3")).json()
    rest = (await finance.send("GET", f"{PATH}?limit=3&cursor={first['next_cursor']}")).json()
    assert [(item["currency"], item["date"]) for item in (*first["items"], *rest["items"])] == [
        ("EUR", "2026-03-01"),
        ("EUR", "2026-03-02"),
        ("USD", "2026-03-01"),
        ("USD", "2026-03-02"),
    ]
    assert rest["next_cursor"] is None


async def test_a_rate_that_is_taken_back_leaves_its_month_published_without_it(finance: Caller) -> None:
    await finance.send("PUT", PATH, [stated("USD", "2026-03-02", "7.2415")])
    assert (await finance.send("DELETE", f"{PATH}/USD/2026-03-02")).status_code == 204
    assert (await months(finance))[-1] == ("exchange-rates/CNY/USD/2026-03", 2, [])
    gone = await finance.send("DELETE", f"{PATH}/USD/2026-03-02")
    assert (gone.status_code, gone.json()["code"]) == (404, "exchange_rate_not_found")
    await finance.send("PUT", PATH, [stated("USD", "2026-03-05", "7")])
    assert (await months(finance))[-1] == ("exchange-rates/CNY/USD/2026-03", 3, [("2026-03-05", "7")])


async def test_a_file_is_kept_whole_or_not_at_all(finance: Caller) -> None:
    refused = await imported(finance, "date,currency,rate\n2026-03-02,USD,7.2415\n2026-03-03,USD,seven\n")
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid_rates_file")
    assert pointers(refused) == ["/line/3/rate"]
    assert "line 3, column rate: 'seven' is not a number" in refused.json()["detail"]
    assert await listed(finance) == []
    home = await imported(finance, "date,currency,rate\n2026-03-02,USD,7.2415\n2026-03-03,CNY,1\n")
    assert (home.status_code, pointers(home)) == (422, ["/line/3/currency"])
    kept = await imported(finance, "date,currency,rate\n2026-03-02,USD,7.2415\n2026-03-03,USD,7.1\n")
    assert (kept.status_code, kept.json()["changed"]) == (200, 2)
    assert await listed(finance) == [("USD", "2026-03-02", "7.2415"), ("USD", "2026-03-03", "7.1")]


@pytest.mark.parametrize(
    ("rates", "pointer"),
    [
        ([{"currency": "USD", "date": "2026-03-02", "rate": 7.2415}], "/0/rate"),
        ([stated("USD", "2026-03-02", "0")], "/0/rate"),
        ([stated("USD", "2026-03-02", "1.00000000001")], "/0/rate"),
        ([stated("USD", "2026-03-02", "1000000000")], "/0/rate"),
        ([stated("dollar", "2026-03-02", "7")], "/0/currency"),
        ([stated("USD", "2026-02-30", "7")], "/0/date"),
        ([stated("EUR", "2026-03-02", "8"), stated("CNY", "2026-03-02", "7")], "/1/currency"),
        ([stated("EUR", "2026-03-02", "8"), stated("EUR", "2026-03-02", "7")], "/1"),
    ],
)
async def test_a_rate_that_cannot_be_is_refused_with_all_others(
    finance: Caller, rates: list[dict[str, object]], pointer: str
) -> None:
    refused = await finance.send("PUT", PATH, rates)
    assert (refused.status_code, pointers(refused)) == (422, [pointer])
    assert await listed(finance) == []


async def test_too_many_rates_at_once_are_refused(finance: Caller) -> None:
    refused = await finance.send("PUT", PATH, [stated("USD", "2026-03-02", "7")] * 5001)
    assert refused.status_code == 422
    assert (await finance.send("PUT", PATH, [])).status_code == 422


async def test_rates_wait_for_a_home_currency(service: Service) -> None:
    nobody = Caller(service, uuid4(), Role.ADMIN, person=uuid4())
    for response in (
        await nobody.send("PUT", PATH, [stated("USD", "2026-03-02", "7")]),
        await nobody.send("GET", PATH),
        await nobody.send("DELETE", f"{PATH}/USD/2026-03-02"),
    ):
        assert (response.status_code, response.json()["code"]) == (409, "home_currency_not_set")


async def test_another_home_currency_leaves_the_rates_in_the_former_one_as_they_are(finance: Caller) -> None:
    await finance.send("PUT", PATH, [stated("USD", "2026-03-02", "7.2")])
    admin = Caller(finance.service, finance.tenant, Role.ADMIN, person=uuid4())
    await admin.send("PUT", "/v1/calendar", {**CALENDAR, "currency": "USD", "start": "2026-03-04"}, version=1)
    both = await finance.send("PUT", PATH, [stated("EUR", "2026-03-03", "8"), stated("EUR", "2026-03-04", "1.1")])
    assert (both.status_code, pointers(both)) == (422, ["/1"])
    await finance.send("PUT", PATH, [stated("CNY", "2026-03-05", "0.14")])
    assert await listed(finance) == [("CNY", "2026-03-05", "0.14")]
    assert await listed(finance, "?base_currency=CNY") == [("USD", "2026-03-02", "7.2")]
    assert (await finance.send("DELETE", f"{PATH}/USD/2026-03-02?base_currency=CNY")).status_code == 204
    assert [subject for subject, _, _ in await months(finance)] == [
        "exchange-rates/CNY/USD/2026-03",
        "exchange-rates/USD/CNY/2026-03",
        "exchange-rates/CNY/USD/2026-03",
    ]


async def test_everyone_reads_rates_and_only_those_who_answer_for_money_state_them(finance: Caller) -> None:
    body = [stated("USD", "2026-03-02", "7")]
    for role, status in ((Role.REP, 403), (Role.MANAGER, 403), (Role.REVOPS, 200), (Role.ADMIN, 200)):
        caller = Caller(finance.service, finance.tenant, role, person=uuid4())
        assert (await caller.send("PUT", PATH, body)).status_code == status
        assert (await imported(caller, "date,currency,rate\n2026-03-02,USD,7\n")).status_code == status
        assert (await caller.send("GET", PATH)).status_code == 200
    rep = Caller(finance.service, finance.tenant, Role.REP, person=uuid4())
    assert (await rep.send("DELETE", f"{PATH}/USD/2026-03-02")).status_code == 403
    stranger = Caller(finance.service, uuid4(), Role.ADMIN, person=uuid4())
    await stranger.send("PUT", "/v1/calendar", CALENDAR)
    assert await listed(stranger) == []


async def test_rates_stated_at_once_end_with_every_day_in_the_newest_month(finance: Caller) -> None:
    days = [f"2026-03-{day:02}" for day in range(1, 6)]
    answers = await at_once(finance, *(finance.send("PUT", PATH, [stated("USD", day, "7")]) for day in days))
    assert [answer.status_code for answer in answers] == [200] * len(days)
    assert (await months(finance))[-1] == ("exchange-rates/CNY/USD/2026-03", 5, [(day, "7") for day in days])


async def test_a_lost_topic_gets_every_month_again(finance: Caller) -> None:
    await finance.send("PUT", PATH, [stated("USD", "2026-03-02", "7"), stated("EUR", "2026-03-02", "8")])
    await finance.send("DELETE", f"{PATH}/EUR/2026-03-02")
    before = await months(finance)
    await query(finance.service, "DELETE FROM goals.outbox WHERE tenant_id = $1", finance.tenant)
    database = Database(finance.service.database_url, service="goals")
    try:
        await republished(database, "attain.org.v1")
    finally:
        await database.close()
    newest = {subject: (version, rates) for subject, version, rates in before}
    assert {subject: (version, rates) for subject, version, rates in await months(finance)} == newest
    assert newest["exchange-rates/CNY/EUR/2026-03"] == (2, [])


async def test_a_goal_says_how_it_counts_other_currencies(finance: Caller) -> None:
    admin = Caller(finance.service, finance.tenant, Role.SERVICE)
    ada = await admin.person()
    bookings = {"aggregate": "sum", "value_field": "amount", "currency": "USD"}
    goal = await admin.goal(ada, metric=bookings)
    read = (await admin.send("GET", f"/v1/goals/{goal}")).json()["metric"]
    assert (read["rate_policy"], read["fixed_rates"]) == ("deal_date", None)
    fixed = await admin.goal(ada, metric={**bookings, "rate_policy": "fixed", "fixed_rates": {"EUR": "1.10"}})
    read = (await admin.send("GET", f"/v1/goals/{fixed}")).json()["metric"]
    assert (read["rate_policy"], read["fixed_rates"]) == ("fixed", {"EUR": "1.1"})
    paid = await admin.goal(ada, metric={**bookings, "value_field": "paid_amount", "date_field": "paid"})
    read = (await admin.send("GET", f"/v1/goals/{paid}")).json()["metric"]
    assert (read["value_field"], read["date_field"], read["rate_policy"]) == ("paid_amount", "paid", "deal_date")
    count = await admin.goal(ada, metric={"aggregate": "count"}, target="10")
    assert (await admin.send("GET", f"/v1/goals/{count}")).json()["metric"]["rate_policy"] == "none"


@pytest.mark.parametrize(
    ("fields", "pointer"),
    [
        ({"rate_policy": "fixed"}, "/metric/fixed_rates"),
        ({"fixed_rates": {"EUR": "1.1"}}, "/metric/fixed_rates"),
        ({"rate_policy": "fixed", "fixed_rates": {"USD": "1.1"}}, "/metric/fixed_rates/USD"),
        ({"rate_policy": "fixed", "fixed_rates": {"euro": "1.1"}}, "/metric/fixed_rates/euro"),
        ({"rate_policy": "fixed", "fixed_rates": {"EUR": "0"}}, "/metric/fixed_rates/EUR"),
        ({"value_field": "quantity", "currency": None, "rate_policy": "deal_date"}, "/metric/rate_policy"),
    ],
)
async def test_a_metric_with_rates_that_cannot_be_is_refused(
    finance: Caller, fields: dict[str, object], pointer: str
) -> None:
    admin = Caller(finance.service, finance.tenant, Role.SERVICE)
    ada = await admin.person()
    body = {
        "name": "Bookings",
        "owner": {"kind": "person", "id": ada},
        "metric": {"aggregate": "sum", "value_field": "amount", "currency": "USD", **fields},
        "target": "1000",
        "period": {"kind": "quarter", "containing": "2026-02-14"},
    }
    refused = await admin.send("POST", "/v1/goals", body)
    assert (refused.status_code, pointers(refused)) == (422, [pointer])
