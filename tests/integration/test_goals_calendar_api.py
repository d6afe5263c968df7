"""Calendars over HTTP with real Postgres: years of weeks, working days, and what is published of them."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, date, datetime
from uuid import UUID, uuid4

import pytest
from pydantic import JsonValue

from services.goals.calendar.national import Governments
from services.goals.calendar.service import Calendars
from services.goals.calendar.work import HolidayRefresh
from services.goals.metadata import audit, transport
from shared.contracts.org import Calendar
from shared.db.database import Database, Scope
from shared.http.auth import Role
from shared.kernel.errors import InvalidInput
from shared.kernel.periods import Period
from shared.kernel.working_days import NationalDays, Region
from shared.outbox.outbox import Outbox
from shared.outbox.trail import Trail
from tests.servers.infrastructure import eventually
from tests.stories.goals import Caller, Service, pointers, running_goals

CHINA: dict[str, JsonValue] = {
    "start_month": 1,
    "time_zone": "Asia/Shanghai",
    "currency": "CNY",
    "country": "CN",
    "days_off": ["2026-06-01"],
    "extra_working_days": ["2026-06-06"],
}
RETAIL: dict[str, JsonValue] = {
    "start_month": 2,
    "time_zone": "America/New_York",
    "currency": "USD",
    "pattern": "4-5-4",
    "week_start": "sunday",
    "year_end": "nearest",
}


@pytest.fixture(scope="module")
async def service(module_database: str) -> AsyncIterator[Service]:
    async with running_goals(module_database) as running:
        yield running


@pytest.fixture
def admin(service: Service) -> Caller:
    return Caller(service, uuid4(), Role.SERVICE)


async def test_a_year_is_read_with_its_weeks_split_by_day_and_its_working_days(admin: Caller) -> None:
    assert (await admin.send("PUT", "/v1/calendar", CHINA)).status_code == 200
    year = (await admin.send("GET", "/v1/calendar/year?containing=2026-05-05")).json()
    assert (year["start"], year["end"], year["days"], year["guessed_from"]) == ("2026-01-01", "2027-01-01", 365, None)
    assert [len(year[parts]) for parts in ("halves", "quarters", "months", "weeks")] == [2, 4, 12, 53]
    assert year["months"][1] == {"start": "2026-02-01", "end": "2026-03-01", "days": 28, "working_days": 16}
    assert sum(month["working_days"] for month in year["months"]) == year["working_days"] == 248
    week = next(week for week in year["weeks"] if week["start"] == "2026-06-29")
    assert [(month["start"], month["days"]) for month in week["months"]] == [("2026-06-29", 2), ("2026-07-01", 5)]
    exceptions = {day["day"]: (day["is_worked"], day["reason"], day["is_guess"]) for day in year["exceptions"]}
    assert exceptions["2026-02-14"] == exceptions["2026-02-28"] == (True, "make_up", False)
    assert exceptions["2026-02-17"] == (False, "holiday", False)
    assert (exceptions["2026-06-01"], exceptions["2026-06-06"]) == ((False, "day_off", False), (True, "extra", False))


async def test_a_year_that_is_not_published_is_said_to_be_a_guess(admin: Caller) -> None:
    await admin.send("PUT", "/v1/calendar", CHINA)
    year = (await admin.send("GET", "/v1/calendar/year?containing=2027-05-05")).json()
    assert year["guessed_from"] == "2027-01-01"
    assert {day["is_guess"] for day in year["exceptions"]} == {True}


async def test_a_year_of_weeks_names_the_periods_of_goals(admin: Caller) -> None:
    assert (await admin.send("PUT", "/v1/calendar", RETAIL)).status_code == 200
    year = (await admin.send("GET", "/v1/calendar/year?containing=2023-06-01")).json()
    assert (year["start"], year["end"], year["days"], len(year["weeks"])) == ("2023-01-29", "2024-02-04", 371, 53)
    assert [month["days"] // 7 for month in year["months"]] == [4, 5, 4, 4, 5, 4, 4, 5, 4, 4, 5, 5]
    assert {len(week["months"]) for week in year["weeks"]} == {1}
    goal = await admin.goal(await admin.person(), period={"kind": "month", "containing": "2024-02-03"})
    shown = (await admin.send("GET", f"/v1/goals/{goal}")).json()
    assert shown["period"] == {"start": "2023-12-31", "end": "2024-02-04"}
    goal = await admin.goal(await admin.person("Bo"), period={"kind": "week", "containing": "2024-02-03"})
    assert (await admin.send("GET", f"/v1/goals/{goal}")).json()["period"] == {
        "start": "2024-01-28",
        "end": "2024-02-04",
    }


async def test_what_is_not_kept_of_a_country_or_a_company_is_refused_by_field(admin: Caller) -> None:
    cases: list[tuple[dict[str, JsonValue], str]] = [
        ({"country": "XX"}, "/country"),
        ({"country": "Germany"}, "/country"),
        ({"subdivision": "BJ"}, "/subdivision"),
        ({"country": None, "subdivision": "BY"}, "/subdivision"),
        ({"extra_working_days": ["2026-06-01"]}, "/extra_working_days"),
        ({"pattern": "4-4-4"}, "/pattern"),
        ({"week_start": "someday"}, "/week_start"),
    ]
    for wrong, pointer in cases:
        refused = await admin.send("PUT", "/v1/calendar", {**CHINA, **wrong})
        assert (refused.status_code, pointers(refused)) == (422, [pointer]), wrong
    assert (await admin.send("GET", "/v1/calendar")).status_code == 404


async def test_everyone_in_the_tenant_reads_the_year_and_only_editors_set_it(service: Service, admin: Caller) -> None:
    await admin.send("PUT", "/v1/calendar", CHINA)
    for role in (Role.ADMIN, Role.REVOPS, Role.FINANCE, Role.MANAGER, Role.REP):
        caller = Caller(service, admin.tenant, role, person=uuid4())
        assert (await caller.send("GET", "/v1/calendar/year?containing=2026-02-01")).json()["working_days"] == 248
        allowed = role in (Role.ADMIN, Role.REVOPS)
        answer = await caller.send("PUT", "/v1/calendar", {**CHINA, "country": None}, version=99)
        assert answer.status_code == (412 if allowed else 403), role
    stranger = Caller(service, uuid4(), Role.ADMIN, person=uuid4())
    assert (await stranger.send("GET", "/v1/calendar/year?containing=2026-02-01")).json()["working_days"] == 261


async def test_what_is_published_says_which_days_are_worked_without_a_library(admin: Caller) -> None:
    await admin.send("PUT", "/v1/calendar", CHINA)
    retail_later = {**RETAIL, "country": "US", "subdivision": "CA", "start": "2026-02-01"}
    assert (await admin.send("PUT", "/v1/calendar", retail_later, version=1)).status_code == 200
    first, second = [event for event in await admin.events() if isinstance(event, Calendar)]
    assert [(known.country, known.subdivision) for known in first.national_days] == [("CN", None)]
    known = first.national_days[0]
    assert (known.published_until, known.weekend) == (date(2027, 1, 1), ("saturday", "sunday"))
    assert date(2026, 2, 28) in known.worked
    assert {date(2026, 2, day) for day in (16, 17, 18, 19, 20, 23)} <= set(known.off)
    assert (first.days_off, first.extra_working_days) == ((date(2026, 6, 1),), (date(2026, 6, 6),))
    assert [(each.country, each.subdivision) for each in second.national_days] == [("CN", None), ("US", "CA")]
    assert [(state.pattern, state.country, state.days_off) for state in second.history] == [
        ("months", "CN", (date(2026, 6, 1),)),
        ("4-5-4", "US", ()),
    ]
    fiscal = second.fiscal()
    assert fiscal.changes[0].weeks.pattern == "4-5-4"


async def test_working_days_of_periods_are_counted_by_what_is_in_force_on_each_day(
    service: Service, admin: Caller
) -> None:
    periods = [
        Period(date(2026, 2, 1), date(2026, 3, 1)),
        Period(date(2026, 6, 1), date(2026, 6, 8)),
        Period(date(2026, 9, 28), date(2026, 10, 12)),
    ]
    database, calendars = Database(service.database_url, service="goals"), Calendars(Outbox(transport))

    async def counted(tenant: UUID) -> list[int]:
        async with database.transaction(Scope.of(tenant)) as tx:
            return list(await calendars.working_days(tx, tenant, periods))

    try:
        assert await counted(admin.tenant) == [20, 5, 10]
        await admin.send("PUT", "/v1/calendar", CHINA)
        assert await counted(admin.tenant) == [16, 5, 6]
        # In the United States from October on: no holidays in its first days, and no Saturday worked for them.
        american = {**CHINA, "country": "US", "start": "2026-10-01"}
        await admin.send("PUT", "/v1/calendar", american, version=1)
        assert await counted(admin.tenant) == [16, 5, 10]
    finally:
        await database.close()


class Library:
    """What is known of public holidays, and what a later release adds; it remembers what it was asked for."""

    def __init__(self) -> None:
        self.days_off: set[date] = set()
        self.unknown: set[Region] = set()
        self.asked: list[tuple[Region, date]] = []

    def days(self, region: Region, today: date) -> NationalDays:
        self.asked.append((region, today))
        if region in self.unknown:
            raise InvalidInput.field("/country", "is not known", "another")
        known = Governments().days(region, today)
        return replace(known, off=known.off | self.days_off) if region == ("CN", None) else known


async def test_public_holidays_are_refreshed_with_a_year_and_a_library_where_they_are_affected(
    service: Service,
) -> None:
    callers = [Caller(service, uuid4(), Role.SERVICE) for _ in range(4)]
    chinese, german, both, without = callers
    for caller, country in ((chinese, "CN"), (german, "DE"), (both, "CN"), (without, None)):
        assert (await caller.send("PUT", "/v1/calendar", {**CHINA, "country": country})).status_code == 200
    await both.send("PUT", "/v1/calendar", {**CHINA, "country": "DE", "start": "2026-12-01"}, version=1)
    library, now = Library(), datetime.now(UTC)
    database = Database(service.database_url, service="goals", clock=lambda: now)
    refresh = HolidayRefresh(database, Calendars(Outbox(transport, trail=Trail(audit))), library.days)

    async def versions() -> list[int]:
        await refresh.round()
        return [(await caller.send("GET", "/v1/calendar")).json()["version"] for caller in callers]

    try:
        assert await versions() == [1, 1, 2, 1]
        # Each region is worked out once a round, and for nobody without a country.
        assert len(library.asked) == len({region for region, _ in library.asked})
        # A release knows one more day off in China.
        library.days_off = {date(2027, 3, 3)}
        assert await versions() == [2, 1, 3, 1]
        assert await versions() == [2, 1, 3, 1]
        year = (await chinese.send("GET", "/v1/calendar/year?containing=2027-03-03")).json()
        assert "2027-03-03" in {day["day"] for day in year["exceptions"]}
        change = (await chinese.send("GET", "/v1/audit?subject=calendar")).json()["items"][0]
        assert (change["actor"]["kind"], change["reason"]) == ("service", "Public holidays as they are known now.")
        published = [event for event in await chinese.events() if isinstance(event, Calendar)]
        assert [event.version for event in published] == [1, 2]
        assert date(2027, 3, 3) in published[-1].national_days[0].off
        # Years go by: the furthest is known, the first stays known, and a country that is not known any more stays.
        now = datetime(now.year + 2, 1, 1, tzinfo=UTC)
        library.unknown = {("DE", None)}
        assert await versions() == [3, 1, 4, 1]
        newest = [event for event in await both.events() if isinstance(event, Calendar)][-1]
        known = {each.country: each for each in newest.national_days}
        assert (known["CN"].start, known["CN"].end) == (date(now.year - 12, 1, 1), date(now.year + 11, 1, 1))
        assert known["DE"].end == date(now.year + 9, 1, 1)
        assert any(day.year == now.year - 12 for day in known["CN"].off)
    finally:
        await database.close()


async def test_the_round_of_public_holidays_comes_with_each_year_and_not_in_between(
    service: Service, admin: Caller
) -> None:
    await admin.send("PUT", "/v1/calendar", CHINA)
    year = datetime.now(UTC).year + 1
    library, now = Library(), datetime(year, 12, 31, 23, 59, 59, 500_000, tzinfo=UTC)
    database = Database(service.database_url, service="goals", clock=lambda: now)
    refresh = HolidayRefresh(database, Calendars(Outbox(transport)), library.days)
    running = asyncio.create_task(refresh.run())
    try:
        await eventually(lambda: len(library.asked) > 0)
        now = datetime(year + 1, 1, 1, tzinfo=UTC)

        def asked_in(wanted: int) -> list[Region]:
            return sorted((region for region, today in library.asked if today.year == wanted), key=str)

        await eventually(lambda: 0 < len(asked_in(year)) == len(asked_in(year + 1)))
        await asyncio.sleep(1)
        assert asked_in(year + 1) == asked_in(year) == sorted(set(asked_in(year)), key=str)
        assert (await admin.send("GET", "/v1/calendar")).json()["version"] == 3
    finally:
        await refresh.stop()
        await running
        await database.close()
