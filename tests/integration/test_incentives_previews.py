"""What a change would post is shown before it is made, and is what is posted then; on real Postgres."""

import asyncio
import csv
import threading
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import NamedTuple
from uuid import UUID, uuid4

import asyncpg
import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.incentives.earnings import previewing
from services.incentives.earnings.domain.preview import Preview
from services.incentives.earnings.supposing import SupposedRate
from services.incentives.ledger import service as ledger
from services.incentives.ledger.domain import Posting
from services.incentives.plans.assigning import Act, AssignmentRequest
from services.incentives.plans.domain.assignments import Assignment
from services.incentives.plans.domain.versions import PlanVersion, VersionStatus
from shared.contracts.goals import Direction, Goal, GoalStatus, Metric, Subject
from shared.contracts.org import Calendar, CalendarState, DatedRate, ExchangeRates
from shared.db.database import Database, Scope
from shared.http.auth import Role
from shared.kernel.deals import DateField
from shared.kernel.errors import Refusals
from shared.kernel.measures import Aggregate, Measure
from shared.kernel.periods import Period
from tests.integration.test_incentives_hand_over import changing, take
from tests.integration.test_incentives_kinds import BOOKINGS, OBJECTIVES, plan, score
from tests.integration.test_incentives_pay_periods import cut_off, path_of
from tests.oracles.incentives import (
    EVER,
    MOSTLY,
    PLAN_OF,
    Aim,
    Assigned,
    DealVersion,
    Known,
    Paying,
    Rated,
    Step,
    Terms,
    assigned,
    rated,
)
from tests.stories.incentives import assignment, cents, named
from tests.stories.incentives import component as component_of
from tests.stories.pay import PREVIEWS, VERIFICATION, rebuilder
from tests.stories.pay_api import (
    AGREEING,
    ANN,
    APPROVER,
    AUTHOR,
    BEN,
    MAX,
    Company,
    Json,
    component,
    running_company,
    won,
)
from tests.stories.pay_company import Company as History

MARCH = date(2026, 3, 1)
GOAL = named("goal", 0)
HIGHER: Json = {
    "shape": "tiers",
    "mode": "marginal",
    "by": "attainment",
    "tiers": [{"from": "0", "rate": "0.05"}, {"from": "1", "rate": "0.1"}],
}
TERMS: list[Json] = [
    component(key="own", rate=HIGHER),
    component(key="planned", rate=HIGHER),
    {"kind": "pool", "key": "pool", "name": "Pool", "pot": {"of": "result", "percent": "2", "measure": BOOKINGS}},
    OBJECTIVES,
]
QUOTAS: Json = {"own": {"amount": "60000"}, "planned": {"goal_ids": [str(GOAL)]}}


class Row(NamedTuple):
    """What is posted for one earning of one origin in one pay period."""

    person: str
    component: str
    origin: str
    posted_in: str
    amount: Decimal


@pytest.fixture
async def company(module_database: str) -> AsyncIterator[Company]:
    async with running_company(module_database) as running:
        yield running
        assert [each async for each in VERIFICATION.of_tenant(running.database, running.tenant, Counter())] == []


def calendar(company: Company, version: int, *later: CalendarState, **first: object) -> Calendar:
    states = (CalendarState(start=None, start_month=1, time_zone="UTC", currency="USD"), *later)
    newest = states[-1].model_dump(exclude={"start"})
    return Calendar(tenant_id=company.tenant, version=version, history=states, **newest)


def rates(company: Company, version: int, *stated: tuple[int, str]) -> ExchangeRates:
    """Of the euro, by day of February."""
    dated = tuple(DatedRate(date=date(2026, 2, day), rate=Decimal(rate)) for day, rate in stated)
    return ExchangeRates(
        tenant_id=company.tenant, version=version, base_currency="USD", currency="EUR", month="2026-02", rates=dated
    )


def goal(company: Company, version: int, target: str) -> Goal:
    return Goal(
        tenant_id=company.tenant,
        id=GOAL,
        version=version,
        revision=version,
        status=GoalStatus.ACTIVE,
        name="Bookings",
        owner=Subject(kind="team", id=named("team", 0)),
        metric=Metric.of(Measure(Aggregate.SUM, "amount", DateField.CLOSED, currency="USD")),
        target=Decimal(target),
        baseline=Decimal(0),
        unit="USD",
        direction=Direction.HIGHER,
        start=date(2026, 1, 1),
        end=date(2026, 4, 1),
        parent_id=None,
        weight=Decimal(1),
    )


async def founded(company: Company) -> tuple[str, str]:
    """Ann and Ben are on a plan of every kind of component, and March is cut off; the plan, and Ann's assignment."""
    await company.publish([calendar(company, 1), goal(company, 1, "50000"), rates(company, 1, (1, "1.1"))])
    plan_id = await plan(company, *TERMS)
    assignments = []
    for person in (ANN, BEN):
        answer = await company.assign(plan_id, person, quotas=QUOTAS)
        assert answer.status_code == 200, answer.text
        assignments.append(str(answer.json()["id"]))
    euros = DealVersion(3, 1, 0, (), 1_000_000, True, date(2026, 2, 10), "EUR", False)
    await company.deal(
        won(0, 80_000), won(1, 55_000, owner=1), won(2, 90_000, day=date(2026, 5, 5)), won(4, 7_000, owner=1), euros
    )
    await cut_off(company, MARCH)
    return plan_id, assignments[0]


async def ask(
    company: Company, change: Json, person: UUID | None = AUTHOR, role: Role = Role.FINANCE
) -> httpx.Response:
    headers = company.headers(person, role)
    return await company.http.post("/v1/previews", json={"change": change}, headers=headers)


async def shown(company: Company, change: Json) -> Json:
    answer = await ask(company, change)
    assert answer.status_code == 200, answer.text
    found: Json = answer.json()
    return found


def rows(preview: Json) -> list[Row]:
    """What a preview says is posted, whose parts add up."""
    people, pay_periods = preview["items"], preview["pay_periods"]
    assert isinstance(people, list) and isinstance(pay_periods, list)
    found = []
    for person in people:
        for each in (person, *person["earnings"]):
            assert Decimal(each["after"]) - Decimal(each["before"]) == Decimal(each["difference"])
        assert sum(Decimal(each["difference"]) for each in person["earnings"]) == Decimal(person["difference"])
        for each in person["earnings"]:
            assert (each["posted_in"] != each["due"]) == (each["due_state"] == "approved")
            origin = f"{each['origin']['start']} {each['origin']['end']}"
            posted_in, amount = each["posted_in"]["start"], Decimal(each["difference"])
            found.append(Row(person["person_id"], each["component"], origin, posted_in, amount))
    for each in pay_periods:
        assert Decimal(each["after"]) - Decimal(each["before"]) == Decimal(each["difference"])
    assert sum(Decimal(each["difference"]) for each in pay_periods) == sum(row.amount for row in found)
    assert preview["people"] == len({row.person for row in found})
    return sorted(found)


async def posted_by(company: Company, confirm: Callable[[], Awaitable[object]]) -> list[Row]:
    """What a change posts for each earning, summed; and that nothing is left to be said of it."""
    before = (await company.get("/v1/ledger", limit=200)).json()["items"]
    await confirm()
    await rebuilder(company.database).rebuild_all()
    after = (await company.get("/v1/ledger", limit=200)).json()
    assert after["next_cursor"] is None
    sums: dict[tuple[str, str, str, str], Decimal] = {}
    for each in after["items"][len(before) :]:
        origin = f"{each['period']['start']} {each['period']['end']}"
        key = each["person_id"], each["component"], origin, each["posted_in"]["start"]
        sums[key] = sums.get(key, Decimal(0)) + Decimal(each["entries"][0]["amount"])
    return sorted(Row(*key, amount) for key, amount in sums.items() if amount)


async def march(company: Company) -> object:
    return (await company.get(path_of(company, MARCH))).json()["as_paid"]


async def stored(url: str) -> dict[str, str]:
    """What is in each table of incentives."""
    connection = await asyncpg.connect(url)
    try:
        tables = await connection.fetch(
            "SELECT relname FROM pg_class WHERE relnamespace = 'incentives'::regnamespace AND relkind IN ('r', 'p')"
        )
        return {
            table["relname"]: await connection.fetchval(
                f"SELECT md5(coalesce(string_agg(t::text, ',' ORDER BY t::text), '')) FROM incentives.{table[0]} AS t"
            )
            for table in tables
        }
    finally:
        await connection.close()


async def test_every_kind_of_change_posts_exactly_what_was_shown_and_nothing_in_a_closed_month(
    company: Company, module_database: str
) -> None:
    plan_id, ann = await founded(company)
    paid = await march(company)

    async def holds(change: Json, confirm: Callable[[], Awaitable[object]], moved: Iterable[UUID]) -> Json:
        untouched = await stored(module_database)
        preview = await shown(company, change)
        assert await stored(module_database) == untouched
        expected = rows(preview)
        assert {row.person for row in expected} == {str(each) for each in moved}
        assert any(row.posted_in == "2026-04-01" for row in expected), "nothing of the closed month moves"
        assert preview["being_worked_out"] == 0
        assert await posted_by(company, confirm) == expected
        assert await march(company) == paid
        return preview

    changed = {
        "quotas": {**QUOTAS, "own": {"amount": "70000"}, "pool.weight": {"amount": "3"}},
        "ramp": [{"from": "2026-01-01", "share": "0.5"}, {"from": "2026-04-01", "share": "1"}],
        "leave": [{"start": "2026-02-02", "end": "2026-02-16"}, {"start": "2026-05-04", "end": "2026-05-11"}],
    }

    async def change_ann() -> None:
        proposed = await company.send("PATCH", f"/v1/assignments/{ann}", changed, if_match='"2"')
        assert proposed.status_code == 200, proposed.text
        # What waits is shown to whoever approves it, in the same way.
        assert proposed.json()["preview"] == f"/v1/assignments/{ann}/preview"
        waiting = await company.get(proposed.json()["preview"], AGREEING, Role.REVOPS)
        assert waiting.json() == of_ann
        approving = await shown(company, {"kind": "assignments", "approve": [{"id": ann, "version": 3}]})
        assert approving == of_ann
        await company.approved(proposed)

    change: Json = {"kind": "assignments", "change": [{"id": ann, "version": 2, **changed}]}
    of_ann = await shown(company, change)
    await holds(change, change_ann, (ANN, BEN))
    assert (await company.get(f"/v1/assignments/{ann}/preview")).json()["items"] == []

    created: Json = {"person_id": str(MAX), "plan_id": plan_id, "start": "2026-02-01"}
    await holds(
        {"kind": "assignments", "create": [created]},
        lambda: company.assign(plan_id, MAX, start="2026-02-01"),
        (ANN, BEN, MAX),
    )

    await holds(
        {"kind": "goals", "goals": [{"goal_id": str(GOAL), "target": "80000"}]},
        lambda: company.publish([goal(company, 2, "80000")], 2),
        (ANN, BEN),
    )

    # One rate is changed, and from another day on there is another one.
    stated: list[Json] = [
        {"currency": "EUR", "date": "2026-02-01", "rate": "1.2"},
        {"currency": "EUR", "date": "2026-02-05", "rate": "1.3"},
    ]
    await holds(
        {"kind": "exchange_rates", "rates": stated},
        lambda: company.publish([rates(company, 2, (1, "1.2"), (5, "1.3"))], 2),
        (ANN, BEN, MAX),
    )
    stated[1]["rate"] = None
    await holds(
        {"kind": "exchange_rates", "rates": stated[1:]},
        lambda: company.publish([rates(company, 3, (1, "1.2"))], 3),
        (ANN, BEN, MAX),
    )

    # Ann's leave takes fewer working days of more of them: two are off.
    first = {"start_month": 1, "time_zone": "UTC", "currency": "USD"}
    days = {"start": "2026-01-15", **first, "days_off": ["2026-02-03", "2026-02-04"]}
    state = CalendarState.model_validate(days)
    await holds(
        {"kind": "calendar", "history": [{"start": None, **first}, days]},
        lambda: company.publish([calendar(company, 2, state)], 2),
        (ANN,),
    )
    months = {"start": "2026-02-01", **first, "start_month": 2}
    state = CalendarState.model_validate(months)
    await holds(
        {"kind": "calendar", "history": [{"start": None, **first}, months]},
        lambda: company.publish([calendar(company, 3, state)], 3),
        (ANN, BEN, MAX),
    )

    given = score("pipeline", "50", start="2026-01-01")

    async def give() -> None:
        answer = await company.send("POST", f"/v1/assignments/{ann}/scores", given, MAX)
        assert answer.status_code == 201, answer.text

    wanted = {name: value for name, value in given.items() if name != "evidence"}
    await holds({"kind": "scores", "scores": [{"assignment_id": ann, **wanted}]}, give, (ANN,))

    async def take_back() -> None:
        deleted = await company.http.delete(
            f"/v1/assignments/{ann}", headers=company.headers(AUTHOR, Role.ADMIN, **{"if-match": '"4"'})
        )
        assert deleted.status_code == 204, deleted.text
        path = f"/v1/assignments/{ann}/approve"
        assert (await company.send("POST", path, person=AGREEING, if_match='"5"')).status_code == 200

    await holds({"kind": "assignments", "delete": [{"id": ann, "version": 4}]}, take_back, (ANN, BEN, MAX))

    terms = [component(key="own", rate=HIGHER, allocation_percent="50"), *TERMS[1:]]
    body = {"effective_from": "2026-01-01", "components": terms}
    assert (await company.send("POST", f"/v1/plans/{plan_id}/versions", body)).status_code == 201
    path = f"/v1/plans/{plan_id}/versions/2"
    preview = (await company.get(f"{path}/preview")).json()

    async def activate() -> None:
        for step, version, person in (("approve", "1", APPROVER), ("activate", "2", AUTHOR)):
            answer = await company.send("POST", f"{path}/{step}", person=person, if_match=f'"{version}"')
            assert answer.status_code == 200, answer.text
            assert answer.json()["preview"] == f"{path}/preview"
        # Until it is worked out, what it will post is still to be read.
        waiting = (await company.get(f"{path}/preview")).json()
        assert waiting == {**preview, "being_worked_out": 3}

    version: Json = {"kind": "plan_version", "plan_id": plan_id, "number": 2}
    assert (await ask(company, version, AUTHOR, Role.REVOPS)).json() == preview
    # Finance does not see terms that are still being written.
    assert (await ask(company, version)).status_code == 404
    assert await posted_by(company, activate) == rows(preview) != []
    assert (await company.get(f"{path}/preview")).json()["items"] == []
    assert await march(company) == paid


async def test_who_takes_over_the_deals_of_a_leaver_is_shown_as_well(company: Company) -> None:
    created = await company.send("POST", "/v1/plans", {"name": "Reps", "currency": "USD", "period": "quarter"})
    plan_id = str(created.json()["id"])
    crediting = {"leaver": {"pays": "leaver", "days": 30}}
    body = {"effective_from": "2026-01-01", "components": [component()], "rules": {"crediting": crediting}}
    assert (await company.send("POST", f"/v1/plans/{plan_id}/versions", body)).status_code == 201
    await company.step(plan_id, "approve", "1", APPROVER)
    await company.step(plan_id, "activate", "2")
    ann = (await company.assign(plan_id, ANN)).json()["id"]
    await company.assign(plan_id, BEN)
    handed = (0, datetime(2026, 1, 5, tzinfo=UTC)), (1, datetime(2026, 2, 10, tzinfo=UTC))
    await take(company, changing(0, *handed, day=date(2026, 2, 20)))
    await cut_off(company, MARCH)
    change: Json = {"kind": "assignments", "change": [{"id": ann, "version": 2, "end": "2026-02-01"}]}
    expected = rows(await shown(company, change))
    assert [(row.person, row.amount) for row in expected] == [
        (person, amount) for person, amount in sorted([(str(ANN), Decimal(40)), (str(BEN), Decimal(-40))])
    ]

    async def leave() -> None:
        path = f"/v1/assignments/{ann}"
        await company.approved(await company.send("PATCH", path, {"end": "2026-02-01"}, if_match='"2"'))

    assert await posted_by(company, leave) == expected


async def test_a_preview_waits_for_nobody_and_nobody_waits_for_it(
    company: Company, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, ann = await founded(company)
    change: Json = {"kind": "assignments", "change": [{"id": ann, "version": 2, "quotas": {}}]}
    async with company.database.transaction(Scope.of(company.tenant)) as tx:
        await tx.lock_tenants_exclusive([company.tenant])
        await asyncio.wait_for(shown(company, change), timeout=20)
    expected = await shown(company, change)
    begun, proceed = threading.Event(), threading.Event()
    settled = previewing._settled

    def slowly(*arguments: object) -> object:
        begun.set()
        assert proceed.wait(20)
        return settled(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(previewing, "_settled", slowly)
    asked = asyncio.create_task(shown(company, change))
    assert await asyncio.to_thread(begun.wait, 20)
    await asyncio.wait_for(company.deal(won(9, 40_000)), timeout=20)
    proceed.set()
    assert await asked == expected


async def test_each_role_is_shown_the_people_in_its_sight_and_no_other(company: Company) -> None:
    plan_id, ann = await founded(company)
    stranger = named("person", 70)
    body = {"person_id": str(stranger), "plan_id": plan_id, "start": "2026-01-01"}
    proposed = (await company.send("POST", "/v1/assignments", body)).json()
    path = f"/v1/assignments/{proposed['id']}"
    answer = await company.send("POST", f"{path}/approve", person=AGREEING, if_match='"1"')
    assert answer.status_code == 200, answer.text
    # That one shares the pool by now, and is not worked out yet, nor are those it shares with.
    scored = {name: value for name, value in score("pipeline", "50").items() if name != "evidence"}
    scores: Json = {"kind": "scores", "scores": [{"assignment_id": ann, **scored}]}
    everybody = {str(each) for each in (ANN, BEN, stranger)}
    for person, role, seen in (
        (AUTHOR, Role.ADMIN, everybody),
        (AUTHOR, Role.REVOPS, everybody),
        (AUTHOR, Role.FINANCE, everybody),
        (None, Role.SERVICE, everybody),
        (MAX, Role.MANAGER, {str(ANN), str(BEN)}),
    ):
        answer = await ask(company, scores, person, role)
        assert answer.status_code == 200, answer.text
        assert {each["person_id"] for each in answer.json()["items"]} == seen
        assert (answer.json()["people"], answer.json()["being_worked_out"]) == (len(seen), 3)
        assert sum(Decimal(each["difference"]) for each in answer.json()["pay_periods"]) == sum(
            Decimal(each["difference"]) for each in answer.json()["items"]
        )
    pages: list[Json] = []
    cursor: str | None = ""
    while cursor is not None:
        query = "&cursor=" + cursor if cursor else ""
        page = await company.http.post(
            f"/v1/previews?limit=1{query}", json={"change": scores}, headers=company.headers(AUTHOR, Role.ADMIN)
        )
        assert page.json()["people"] == 3
        pages += page.json()["items"]
        cursor = page.json()["next_cursor"]
    assert pages == (await shown(company, scores))["items"]
    answers = {}
    for person, role in ((AUTHOR, Role.FINANCE), (MAX, Role.MANAGER)):
        table = await company.http.post(
            "/v1/previews/table", json={"change": scores}, headers=company.headers(person, role)
        )
        answers[role] = list(csv.DictReader(table.text.removeprefix("\ufeff").splitlines()))
    assert {line["person_id"] for line in answers[Role.MANAGER]} == {str(ANN), str(BEN)}
    listed = [
        (person["person_id"], each["component"], Decimal(each["difference"]))
        for person in (await ask(company, scores)).json()["items"]
        for each in person["earnings"]
    ]
    table_of_all = [
        (each["person_id"], each["component"], Decimal(each["difference"])) for each in answers[Role.FINANCE]
    ]
    assert table_of_all == listed
    others: list[Json] = [
        {"kind": "plan_version", "plan_id": plan_id, "number": 1},
        {"kind": "assignments", "change": [{"id": ann, "version": 2, "end": "2026-02-01"}]},
        {"kind": "goals", "goals": [{"goal_id": str(GOAL), "target": "1"}]},
        {"kind": "exchange_rates", "rates": [{"currency": "EUR", "date": "2026-02-01", "rate": "1"}]},
        {"kind": "calendar", "history": [{"start": None, "start_month": 1, "time_zone": "UTC", "currency": "USD"}]},
    ]
    for change in others:
        refused = await ask(company, change, MAX, Role.MANAGER)
        assert (refused.status_code, refused.json()["code"]) == (403, "role_missing")
        path_of_table, headers = "/v1/previews/table", company.headers(MAX, Role.MANAGER)
        assert (await company.http.post(path_of_table, json={"change": change}, headers=headers)).status_code == 403
    out_of_sight: Json = {"kind": "scores", "scores": [{"assignment_id": proposed["id"], **scored}]}
    refused = await ask(company, out_of_sight, MAX, Role.MANAGER)
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/change/scores/0")
    for change in (scores, *others):
        assert (await ask(company, change, ANN, Role.REP)).status_code == 403
    for person, role in ((MAX, Role.MANAGER), (ANN, Role.REP)):
        assert (await company.get(f"{path}/preview", person, role)).status_code == 403
    other = replace(company, tenant=uuid4())
    assert (await other.get(f"{path}/preview")).status_code == 404
    refused = await ask(other, {"kind": "assignments", "approve": [{"id": ann, "version": 2}]})
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/change/approve/0")
    assert (await ask(other, others[0])).status_code == 404
    assert (await ask(other, others[2])).json()["errors"][0]["pointer"] == "/change/goals/0/goal_id"
    await rebuilder(company.database).rebuild_all()
    assert (await shown(company, scores))["being_worked_out"] == 0


async def test_what_cannot_be_is_refused_with_the_member_that_is_wrong(
    company: Company, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan_id, ann = await founded(company)
    first: Json = {"start": None, "start_month": 1, "time_zone": "UTC", "currency": "USD"}
    euro: Json = {"currency": "EUR", "date": "2026-02-01", "rate": "1"}
    for change, pointer in (
        (
            {"kind": "assignments", "change": [{"id": ann, "version": 1, "end": "2026-02-01"}]},
            "/change/change/0",
        ),
        (
            {"kind": "assignments", "change": [{"id": ann, "version": 2, "quotas": {"x": {"amount": "1"}}}]},
            "/change/change/0/quotas/x",
        ),
        ({"kind": "assignments", "approve": [{"id": ann, "version": 2}]}, "/change/approve/0"),
        (
            {
                "kind": "assignments",
                "approve": [{"id": ann, "version": 2}],
                "delete": [{"id": ann, "version": 2}],
            },
            "/change/delete/0/id",
        ),
        (
            {"kind": "assignments", "create": [{"person_id": str(ANN), "plan_id": plan_id, "start": "2026-05-01"}]},
            "/change/create/0",
        ),
        ({"kind": "goals", "goals": [{"goal_id": str(ANN), "target": "1"}]}, "/change/goals/0/goal_id"),
        ({"kind": "exchange_rates", "rates": [{**euro, "currency": "USD"}]}, "/change/rates/0/currency"),
        ({"kind": "exchange_rates", "rates": [{**euro, "currency": "XXZ"}]}, "/change/rates/0/currency"),
        ({"kind": "exchange_rates", "rates": [euro, euro]}, "/change/rates/1"),
        (
            {"kind": "exchange_rates", "rates": [{**euro, "date": "2026-02-02", "rate": None}]},
            "/change/rates/0/rate",
        ),
        ({"kind": "calendar", "history": [{**first, "start": "2026-02-01"}]}, "/change/history/0/start"),
        ({"kind": "calendar", "history": [first, first]}, "/change/history/1/start"),
        ({"kind": "calendar", "history": [{**first, "time_zone": "Mars"}]}, "/change/history/0/time_zone"),
        ({"kind": "calendar", "history": [{**first, "currency": "XXZ"}]}, "/change/history/0/currency"),
        ({"kind": "calendar", "history": [{**first, "country": "DE"}]}, "/change/history/0/country"),
        (
            {
                "kind": "scores",
                "scores": [
                    {"assignment_id": ann, "component": "own", "objective": "x", "start": "2026-01-01", "percent": "1"}
                ],
            },
            "/change/scores/0/component",
        ),
    ):
        refused = await ask(company, change)  # type: ignore[arg-type]
        assert refused.status_code == 422, (change, refused.text)
        assert pointer in [each["pointer"] for each in refused.json()["errors"]], refused.text
    monkeypatch.setattr(previewing, "DEALS_READ_MAX", 2)
    large = await ask(company, {"kind": "goals", "goals": [{"goal_id": str(GOAL), "target": "1"}]})
    assert (large.status_code, large.json()["code"]) == (422, "preview_too_large")


Amounts = dict[tuple[str, ...], Decimal]


def placed_amounts(moved: Iterable[tuple[UUID, str | None, Period | None, Period | None, Decimal]]) -> Amounts:
    """What comes to something, by person, component, origin and pay period."""
    sums: Amounts = {}
    for *place, amount in moved:
        key = tuple(map(str, place))
        sums[key] = sums.get(key, Decimal(0)) + amount
    return {key: amount for key, amount in sums.items() if amount}


async def posted_after(company: History, sequence: int) -> list[Posting]:
    async with company.database.transaction(company.scope) as tx:
        found = await ledger.transactions(tx, company.tenant, after=sequence, limit=10_000, people=None)
    return [each.posting for each in found]


async def supposed(company: History, steps: Sequence[Step], step: Step) -> Preview | None:
    """The preview of a step, where it is a change of a kind that is previewed; `steps` came before."""
    tenant = company.tenant
    async with company.database.snapshot(company.scope) as tx:
        match step:
            case Assigned() if step.index not in company.deleted:
                known = company.assignments.get(step.index)
                person, plan = PLAN_OF[step.index]
                plan_id = company.plans[plan]

                def wanted(key: UUID) -> Assignment:
                    return assignment(step, key, named("person", person), plan_id)

                if known is not None:
                    act = Act.TAKE_BACK if step.deleted else Act.PROPOSE
                    request = AssignmentRequest("", *known, act, lambda before: wanted(before.id))
                    return await PREVIEWS.of_assignments(tx, tenant, [], [request], Refusals(alone=True))
                if not step.deleted:
                    return await PREVIEWS.of_assignments(tx, tenant, [("", wanted)], [], Refusals(alone=True))
            case Aim(counts=True) if any(isinstance(e, Aim) and e.goal == step.goal for e in steps):
                last = [each for each in steps if isinstance(each, Aim) and each.goal == step.goal][-1]
                if last.counts:
                    return await PREVIEWS.of_targets(tx, tenant, {named("goal", step.goal): cents(step.cents)})
            case Rated():
                same = [
                    e for e in steps if isinstance(e, Rated) and (e.currency, e.month) == (step.currency, step.month)
                ]
                gone = {day for day, _ in (same[-1].rates if same else ())} - {day for day, _ in step.rates}
                rated = [SupposedRate(step.currency, day, Decimal(rate).scaleb(-4)) for day, rate in step.rates]
                rated += [SupposedRate(step.currency, day, None) for day in gone]
                return await PREVIEWS.of_rates(tx, tenant, rated)
            case Terms():
                terms = tuple(component_of(each) for each in step.components)
                number = 1 + sum(isinstance(each, Terms) and each.plan == step.plan for each in steps)
                plan_id = company.plans[step.plan]
                version = PlanVersion(plan_id, number, VersionStatus.DRAFT, step.start, terms, None, None)
                return await PREVIEWS.of_version(tx, tenant, version)
    return None


@st.composite
def terms(draw: st.DrawFn, plan: int) -> Terms:
    """From some day on, a share of everything, and tiers by attainment."""
    start, crediting = draw(st.sampled_from(FIRST_DAYS)), draw(st.sampled_from(["owner", "split", "rollup"]))
    flat, low, high = (draw(st.sampled_from([100, 250, 400, 700])) for _ in range(3))
    return Terms(
        plan,
        start,
        (
            Paying("a", crediting, None, 100, "cumulative", "flat", "amount", ((0, flat),), "deal_date"),
            Paying(
                "b", "owner", None, 50, "cumulative", "marginal", "attainment", ((0, low), (100, high)), "deal_date"
            ),
        ),
    )


FIRST_DAYS = [EVER, EVER, date(2026, 2, 15), date(2026, 4, 1)]
AIMS = st.builds(Aim, st.integers(0, 1), st.sampled_from([100_000, 250_000, 900_000]), st.just(True))
SUPPOSED = st.one_of(
    st.integers(0, 1).flatmap(terms),
    st.sampled_from(sorted(PLAN_OF)).flatmap(assigned),
    st.builds(Assigned, st.sampled_from(sorted(PLAN_OF)), st.just(EVER), st.none(), st.just(()), st.just(True)),
    AIMS,
    rated(),
)


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    beginning=st.tuples(terms(0), terms(1), *(assigned(index) for index in sorted(PLAN_OF)), AIMS, rated()),
    changes=st.lists(SUPPOSED, min_size=3, max_size=6),
    is_closed=MOSTLY,
)
async def test_whatever_happened_before_a_change_posts_what_its_preview_said(
    module_database: str, beginning: tuple[Step, ...], changes: list[Step], is_closed: bool
) -> None:
    database = Database(module_database, service="incentives")
    company = History(database)
    await company.found()
    first = Calendar(tenant_id=company.tenant, version=1, start_month=1, time_zone="UTC", currency="CNY")
    await company.publish(first, version=1)
    for user in range(4):
        await company.define(Known(user, user))
    days = (date(2026, 1, 20), date(2026, 3, 10), date(2026, 4, 20), date(2026, 6, 1))
    await company.take_deals(
        [
            DealVersion(n, n + 1, n % 4, (), 60_000 * (n + 1), True, days[n % 3], ("USD", "EUR")[n % 2], False)
            for n in range(10)
        ]
    )
    if is_closed:
        async with database.transaction(company.scope) as tx:
            await ledger.cut_off(tx, company.tenant, Period(date(2026, 4, 1), date(2026, 5, 1)))
    history = [*beginning, *changes]
    for number, step in enumerate(history):
        preview = await supposed(company, history[:number], step)
        sequence = len(await posted_after(company, 0))
        await company.define(step)
        await company.rebuilder.rebuild_all()
        if preview is not None:
            shown = [(e.person_id, e.component, e.origin, e.posted_in, e.amount) for e in preview.effects]
            posted = [
                (each.subject.person_id, each.subject.component, each.period, each.posted_in, -each.entries[1].amount)
                for each in await posted_after(company, sequence)
            ]
            assert placed_amounts(shown) == placed_amounts(posted), step
    await database.close()
