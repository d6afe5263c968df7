"""Row 9: a year for 2,000 people down to weeks, drafted, activated and counting, against COPY of the rows kept for it.

While the goals are activated a webhook at a time is sent for a seller of the same tenant, timed as in row 5.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal
from io import BytesIO
from itertools import count
from statistics import median, quantiles
from typing import Final, NamedTuple
from uuid import UUID, uuid5

import asyncpg
from sqlalchemy import text

from deploy.local.api import AttainApi, JsonObject, Resource, Versioned, attain_api, service_urls
from deploy.local.bench.company import CURRENCY, PERIOD_END, PERIOD_START, SOURCE, WON_AMOUNT, deal
from deploy.local.bench.cpu import cpu_seconds
from deploy.local.bench.latency import LiveStream, amounts_and_requests, hook_connection, live_stream
from deploy.local.bench.report import Bound, Row
from deploy.local.bench.sending import Hook, new_hook
from deploy.local.bench.whole import Product
from deploy.local.databases import opened
from deploy.local.errors import StackError
from services.goals.calendar.service import Calendars
from services.goals.evidence.service import Evidence
from services.goals.metadata import audit, transport
from services.goals.moves.service import strengths
from services.goals.org.domain import Identity, Person
from services.goals.org.service import Organisation
from services.goals.smart.service import SmartChecks
from services.goals.targets.domain import Direction, Goal, GoalTerms, Owner, draft
from services.goals.targets.service import Goals
from shared.contracts.deals import Deal
from shared.db.database import Database, Scope
from shared.kernel.errors import Refusals
from shared.kernel.org import OwnerKind
from shared.kernel.periods import Period
from shared.kernel.sight import WHOLE_TENANT
from shared.outbox.outbox import Outbox
from shared.outbox.trail import Trail

_REQUIRED: Final = 20.0
_TENANTS: Final = UUID("01980000-0000-7000-8000-0000000000f9")
_LIVE_SELLER: Final = "live"
_WEEK: Final = timedelta(weeks=1)
_WEEKS: Final = 52
_DRAFTED_AT_ONCE: Final = 1000
_LIVE_SAMPLES_IDLE: Final = 200
_LIVE_SAMPLES_MAX: Final = 20_000
_SIGNED_AT_ONCE: Final = 50
_LIVE_PAUSE_SECONDS: Final = 0.05
_POLL_SECONDS: Final = 0.5
_REST_OF_POLLING: Final = 20
_STILL_SECONDS_MAX: Final = 120.0
_KEPT: Final = {
    "goals.goals": "true",
    "goals.goal_revisions": "true",
    "goals.audit": "subject LIKE 'goal/%'",
    "goals.smart_acknowledgements": "true",
    "tracking.projected_snapshots": "subject LIKE 'goal/%'",
    "tracking.progress_goals": "true",
    "tracking.progress_stripes": "true",
    "incentives.projected_snapshots": "subject LIKE 'goal/%'",
}
"""Where the product keeps rows for goals, and which of a tenant's those are."""
_COUNTING: Final = text(
    """
    SELECT (SELECT count(*) FROM tracking.progress_goals WHERE NOT stale) AS goals,
        (SELECT coalesce(sum(value), 0) FROM tracking.progress_stripes) AS value
    """
)


class _Copied(NamedTuple):
    """How many rows of a table COPY wrote, and how long that took."""

    rows: int
    seconds: float


@dataclass(frozen=True, slots=True)
class _Tenant:
    """A tenant with its people, a deal of each of them, and a seller whose one goal is watched."""

    id: UUID
    api: AttainApi
    goals: Goals
    database: Database
    people: Sequence[UUID]
    stream: LiveStream
    webhooks: Iterator[tuple[Decimal, bytes]]


async def measure(product: Product, *, rounds: int, people: int, report: Callable[[str], None]) -> Row:
    """A tenant a round. What a person has won counts for the year and for one of its weeks."""
    ours: list[float] = []
    other: list[float] = []
    details: list[dict[str, object]] = []
    problems: list[str] = []
    goals = people * (1 + _WEEKS)
    for number in range(1, rounds + 1):
        async with _tenant(product, uuid5(_TENANTS, str(number)), people) as tenant:
            await product.tidy()
            idle: list[float] = []
            await _live(product, tenant, idle, problems, samples=_LIVE_SAMPLES_IDLE)
            before = cpu_seconds(product.servers, product.stack)
            started_at, drafter_before = time.perf_counter(), time.process_time()
            await _draft(tenant)
            drafted_seconds = time.perf_counter() - started_at
            drafter_seconds = time.process_time() - drafter_before
            job = await tenant.api.goals.post("/v1/goals/activations?reason=Plan", Resource, {})
            during: list[float] = []
            live = asyncio.create_task(_live(product, tenant, during, problems, samples=_LIVE_SAMPLES_MAX))
            expected = 2 * sum((_deal(tenant.id, each).amount or Decimal(0) for each in range(people)), Decimal(0))
            await _counting(product, tenant, goals, expected + tenant.stream.value)
            ours.append(time.perf_counter() - started_at)
            used = cpu_seconds(product.servers, product.stack)
            live.cancel()
            await asyncio.wait([live])
            if live.done() and not live.cancelled() and (error := live.exception()) is not None:
                raise error
            await product.settled(0)
            settled_seconds = time.perf_counter() - started_at
            copied = await _copied(product, tenant.id)
            missing = [table for table, each in copied.items() if each.rows < goals]
            if missing:
                raise StackError(f"{', '.join(missing)} has not a row of every goal.")
            other.append(sum(each.seconds for each in copied.values()))
            shown = {
                "drafted_seconds": round(drafted_seconds, 1),
                "settled_seconds": round(settled_seconds, 1),
                "idle_milliseconds": _p50_p99(idle),
                "live_milliseconds": _p50_p99(during),
                "live_samples": len(during),
                "cpu_seconds": {
                    "drafting": round(drafter_seconds, 1),
                    **{name: round(used[name] - before[name], 1) for name in used},
                },
                "copied_rows": {table: each.rows for table, each in copied.items()},
                "copy_of_goals_alone_seconds": round(copied["goals.goals"].seconds, 3),
                "times_copy_of_goals_alone": round(ours[-1] / copied["goals.goals"].seconds, 1),
                "job": str(job.id),
            }
            details.append(shown)
            report(f"row 9, round {number}: {ours[-1]:.1f} s, COPY {other[-1]:.2f} s {shown}")
    problems.extend(await product.problems())
    return Row(
        number=9,
        what=f"{goals:,} goals of {people:,} people drafted, activated by a job and counting",
        against="COPY of all the rows that are kept for them, in three schemas",
        unit="s",
        ours=tuple(ours),
        other=tuple(other),
        bound=Bound.AT_MOST,
        required=_REQUIRED,
        details={"goals": goals, "rounds": details},
        problems=tuple(problems[:5]),
    )


def _p50_p99(seconds: Sequence[float]) -> tuple[float, float]:
    if len(seconds) < 2:
        return (0.0, 0.0)
    cuts = quantiles(seconds, n=100)
    return round(median(seconds) * 1000, 1), round(cuts[98] * 1000, 1)


async def _live(product: Product, tenant: _Tenant, seconds: list[float], problems: list[str], *, samples: int) -> None:
    """One webhook after the other: how long each took from its acceptance to the stream."""
    async with hook_connection(product) as hook:
        for _ in range(samples):
            amount, request = next(tenant.webhooks)
            expected = tenant.stream.value + amount
            accepted_at = await hook.send(request)
            seen_at = await tenant.stream.changed()
            seconds.append(seen_at - accepted_at)
            if tenant.stream.value != expected:
                problems.append(f"the stream had {tenant.stream.value}, expected {expected}")
            await asyncio.sleep(_LIVE_PAUSE_SECONDS)


async def _draft(tenant: _Tenant) -> None:
    """Draft a year for everybody, and its weeks below it, as a scenario is applied."""
    drafts: list[Goal] = []
    for person_id in tenant.people:
        owner = Owner(OwnerKind.PERSON, person_id)
        year = _goal(uuid5(person_id, "year"), "Bookings 2026", owner, Period(PERIOD_START, PERIOD_END), None)
        drafts.append(year)
        for week in range(_WEEKS):
            start = PERIOD_START + week * _WEEK
            period = Period(start, start + _WEEK)
            drafts.append(_goal(uuid5(person_id, str(week)), f"Bookings 2026 W{week + 1}", owner, period, year.id))
    for first in range(0, len(drafts), _DRAFTED_AT_ONCE):
        chunk = [("", each) for each in drafts[first : first + _DRAFTED_AT_ONCE]]
        async with tenant.database.transaction(Scope.of(tenant.id)) as tx:
            await tenant.goals.add_drafts(tx, tenant.id, chunk, Refusals(alone=True), WHOLE_TENANT)


def _goal(goal_id: UUID, name: str, owner: Owner, period: Period, parent_id: UUID | None) -> Goal:
    terms = GoalTerms(
        name=name,
        owner=owner,
        measure=WON_AMOUNT.measure(),
        target=Decimal(1_000_000 if parent_id is None else 20_000),
        baseline=Decimal(0),
        unit=CURRENCY,
        direction=Direction.HIGHER,
        period=period,
        parent_id=parent_id,
        weight=Decimal(1),
    )
    return draft(goal_id, terms)


async def _counting(product: Product, tenant: _Tenant, goals: int, value: Decimal) -> None:
    """Wait until every goal counts, and what it is to. `StackError` when nothing moves meanwhile."""
    seen, moved_at = (-1, Decimal(0)), time.monotonic()
    while True:
        looked_at = time.monotonic()
        async with product.database.transaction(Scope.of(tenant.id)) as tx:
            [row] = await tx.rows(_COUNTING)
        before, seen = seen, (row["goals"], row["value"])
        if seen[0] == goals + 1 and seen[1] >= value:
            return
        if seen != before:
            moved_at = time.monotonic()
        if time.monotonic() - moved_at > _STILL_SECONDS_MAX:
            raise StackError(f"Tracking stays at {seen[0]} of {goals} goals that count, with {seen[1]} of {value}.")
        # Counting a hundred thousand rows over and over would be a load of its own.
        await asyncio.sleep(max(_POLL_SECONDS, _REST_OF_POLLING * (time.monotonic() - looked_at)))


async def _copied(product: Product, tenant_id: UUID) -> Mapping[str, _Copied]:
    """COPY of the rows of the tenant's goals, table by table, each into an empty one of the same shape."""
    copied: dict[str, _Copied] = {}
    connection = await asyncpg.connect(product.stack.database_url)
    try:
        for table, condition in _KEPT.items():
            rows = BytesIO()
            query = f"SELECT * FROM {table} WHERE tenant_id = $1 AND {condition}"
            await connection.copy_from_query(query, tenant_id, output=rows, format="binary")
            rows.seek(0)
            await connection.execute(f"CREATE TABLE public.bare (LIKE {table} INCLUDING ALL)")
            started_at = time.perf_counter()
            await connection.copy_to_table("bare", schema_name="public", source=rows, format="binary")
            seconds = time.perf_counter() - started_at
            copied[table] = _Copied(await connection.fetchval("SELECT count(*) FROM public.bare"), seconds)
            await connection.execute("DROP TABLE public.bare")
    finally:
        await connection.close()
    return copied


def _deal(tenant_id: UUID, number: int) -> Deal:
    return deal(number, number, f"seller-{number}", tenant_id)


@asynccontextmanager
async def _tenant(product: Product, tenant_id: UUID, people: int) -> AsyncIterator[_Tenant]:
    """A tenant whose people, and a deal of each, tracking knows."""
    urls = service_urls(product.stack.configuration.ports)
    outbox = Outbox(transport, trail=Trail(audit))
    calendars = Calendars(outbox)
    organisation = Organisation(outbox, calendars)
    hook = await new_hook(product.stack.database_url, product.stack.secrets.secrets_key, tenant_id)
    async with (
        attain_api(urls, jwt_secret=product.stack.secrets.jwt_secret, tenant_id=tenant_id) as api,
        opened(product.stack.service_database_url("goals"), "goals") as database,
    ):
        calendar: JsonObject = {"start_month": 1, "time_zone": "Europe/Berlin", "currency": CURRENCY}
        await api.goals.put("/v1/calendar", Versioned, calendar)
        names = [*(f"seller-{number}" for number in range(people)), _LIVE_SELLER]
        made = [Person(uuid5(tenant_id, name), 1, name, None, active=True) for name in names]
        refusals = Refusals(alone=True)

        def made_as(person: Person) -> Callable[[UUID], Person]:
            return lambda person_id: replace(person, id=person_id)

        def identity_of(person: Person) -> Callable[[UUID], Identity]:
            return lambda identity_id: Identity(identity_id, 1, SOURCE, person.name, person.id)

        async with database.transaction(Scope.of(tenant_id)) as tx:
            added, _ = await organisation.put_people(
                tx, tenant_id, [("", made_as(person)) for person in made], [], refusals
            )
            await organisation.put_identities(
                tx, tenant_id, [("", identity_of(person)) for person in added], [], refusals
            )
        *owners, live = (person.id for person in added)
        drafted = await api.goals.post("/v1/goals", Resource, _live_goal(live))
        await api.goals.post(f"/v1/goals/{drafted.id}/activate", Resource, version=drafted.version)
        await product.publish([_deal(tenant_id, number) for number in range(people)], source="tracking")
        await product.known(tenant_id, definitions=1 + 2 * len(names) + 1, goals=1)
        await product.settled(0)
        async with live_stream(product, tenant_id, drafted.id) as stream:
            yield _Tenant(
                tenant_id,
                api,
                Goals(
                    outbox,
                    organisation,
                    calendars,
                    Trail(audit),
                    SmartChecks(organisation, calendars, Evidence(), strengths),
                ),
                database,
                owners,
                stream,
                _webhooks(hook, product.hook_port, tenant_id),
            )


def _webhooks(hook: Hook, port: int, tenant_id: UUID) -> Iterator[tuple[Decimal, bytes]]:
    """Webhooks of the live seller without end, signed a few at a time: a signature is good for some minutes."""
    for lot in count():
        plan = hook.plan(port, f"planning-{tenant_id}-{lot}", count=_SIGNED_AT_ONCE)
        yield from amounts_and_requests(replace(plan, deals=plan.count, owners=(_LIVE_SELLER,)))


def _live_goal(person_id: UUID) -> JsonObject:
    return {
        "name": "Bookings of the year",
        "owner": {"kind": "person", "id": str(person_id)},
        "metric": {
            "aggregate": "sum",
            "value_field": "amount",
            "filter": {"all": [{"field": "status", "op": "eq", "value": "won"}]},
            "currency": CURRENCY,
        },
        "target": "1000000",
        "unit": CURRENCY,
        "period": {"start": PERIOD_START.isoformat(), "end": PERIOD_END.isoformat()},
    }
