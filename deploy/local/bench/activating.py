"""Row 8: from activating a goal to the live stream saying what it counts, among 100,000 goals and among 1,000."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from statistics import median
from typing import Final
from uuid import UUID

from pydantic import BaseModel

from deploy.local.api import AttainApi, JsonObject, Resource, StreamedEvent, Versioned, attain_api, service_urls
from deploy.local.bench.company import CURRENCY, PERIOD_END, PERIOD_START, SOURCE, WON_AMOUNT, deal, goal, seller
from deploy.local.bench.report import Bound, Row
from deploy.local.bench.whole import Product
from shared.contracts.base import Event
from shared.contracts.goals import Goal, Subject

_REQUIRED: Final = 1.2
_FEW_TENANT: Final = UUID("01980000-0000-7000-8000-0000000000f0")
_MANY_TENANT: Final = UUID("01980000-0000-7000-8000-0000000000f1")
_SELLER: Final = "activating"
_DEALS: Final = 10
_GOALS_OF_SELLER: Final = 50
"""One a week."""
_WEEK: Final = timedelta(weeks=1)
_WARM_UP_SAMPLES: Final = 5
_PAUSE_SECONDS: Final = 0.05
_ANSWER_SECONDS_MAX: Final = 60.0
# What is set up over HTTP: the calendar, the measured seller and the CRM user that it is.
_ORGANISATION: Final = 3


class _Progress(BaseModel):
    goal_id: UUID
    value: Decimal
    deals: int


@dataclass(frozen=True, slots=True)
class _Tenant:
    """A tenant with its goals, the drafts that are to be activated, and the live stream of the one who owns them."""

    api: AttainApi
    drafts: Iterator[Resource]
    stream: AsyncGenerator[StreamedEvent]
    expected: Decimal


async def measure(
    product: Product, *, rounds: int, samples: int, many: int, few: int, report: Callable[[str], None]
) -> Row:
    """`samples` goals a round in each of two tenants of one stack, one at a time and in turns.

    The goals that are there already reach tracking through Kafka as the goals service publishes them; those activated
    are drafted and activated over HTTP.
    """
    drafts = _WARM_UP_SAMPLES + rounds * samples
    problems: list[str] = []
    ours: list[float] = []
    other: list[float] = []
    started_at = time.perf_counter()
    async with (
        _tenant(product, _MANY_TENANT, many, drafts) as among_many,
        _tenant(product, _FEW_TENANT, few, drafts) as among_few,
    ):
        await product.settled(0)
        await product.tidy()
        preparation_seconds = time.perf_counter() - started_at
        for number in range(rounds + 1):
            many_seconds: list[float] = []
            few_seconds: list[float] = []
            turns = [(among_many, many_seconds), (among_few, few_seconds)]
            for _ in range(samples if number else _WARM_UP_SAMPLES):
                turns.reverse()
                for tenant, seconds in turns:
                    seconds.append(await _activated(tenant, problems))
                    await asyncio.sleep(_PAUSE_SECONDS)
            if number:
                ours.append(median(many_seconds) * 1000)
                other.append(median(few_seconds) * 1000)
                report(f"row 8, round {number}: {ours[-1]:.1f} ms among {many:,}, {other[-1]:.1f} among {few:,}")
    problems.extend(await product.problems())
    return Row(
        number=8,
        what=f"one goal activated among {many:,} over HTTP, to its value on the stream",
        against=f"among {few:,}",
        unit="ms",
        ours=tuple(ours),
        other=tuple(other),
        bound=Bound.AT_MOST,
        required=_REQUIRED,
        details={"many": many, "few": few, "samples": samples, "preparation_seconds": round(preparation_seconds, 1)},
        problems=tuple(problems[:5]),
    )


async def _activated(tenant: _Tenant, problems: list[str]) -> float:
    """Activate the next draft; seconds until the stream has what it counts."""
    draft = next(tenant.drafts)
    seen = asyncio.create_task(_next(tenant.stream))
    started_at = time.perf_counter()
    await tenant.api.goals.post(f"/v1/goals/{draft.id}/activate", Resource, version=draft.version)
    async with asyncio.timeout(_ANSWER_SECONDS_MAX):
        progress, seen_at = await seen
    if progress != _Progress(goal_id=draft.id, value=tenant.expected, deals=_DEALS):
        problems.append(f"the stream had {progress}, expected {tenant.expected} of goal {draft.id}")
    return seen_at - started_at


async def _next(stream: AsyncIterator[StreamedEvent]) -> tuple[_Progress, float]:
    event = await anext(stream)
    return _Progress.model_validate_json(event.data), time.perf_counter()


@asynccontextmanager
async def _tenant(product: Product, tenant_id: UUID, goals: int, drafts: int) -> AsyncIterator[_Tenant]:
    """A tenant of which so many goals count and so many more are drafts, all that known to tracking."""
    urls = service_urls(product.stack.configuration.ports)
    async with attain_api(urls, jwt_secret=product.stack.secrets.jwt_secret, tenant_id=tenant_id) as api:
        calendar: JsonObject = {"start_month": 1, "time_zone": "Europe/Berlin", "currency": CURRENCY}
        await api.goals.put("/v1/calendar", Versioned, calendar)
        person = await api.goals.post("/v1/people", Resource, {"name": _SELLER})
        identity: JsonObject = {"source": SOURCE, "external_user_id": _SELLER, "person_id": str(person.id)}
        await api.goals.post("/v1/identities", Resource, identity)
        definitions = list(_definitions(tenant_id, goals))
        await product.publish(definitions, source="goals")
        deals = [deal(number, number, _SELLER, tenant_id) for number in range(_DEALS)]
        await product.publish(deals, source="tracking")
        made = [await _draft(api, person.id) for _ in range(drafts)]
        await product.known(tenant_id, definitions=_ORGANISATION + len(definitions) + drafts, goals=goals)
        async with aclosing(api.tracking.events(f"/v1/people/{person.id}/progress/stream")) as stream:
            yield _Tenant(api, iter(made), stream, sum((each.amount or Decimal(0) for each in deals), Decimal(0)))


async def _draft(api: AttainApi, person_id: UUID) -> Resource:
    body: JsonObject = {
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
    return await api.goals.post("/v1/goals", Resource, body)


def _definitions(tenant_id: UUID, goals: int) -> Iterator[Event]:
    """Sellers, each with a goal for every week, `goals` of them together."""
    for first in range(0, goals, _GOALS_OF_SELLER):
        person, identity = seller(f"seller-{first}", tenant_id)
        yield person
        yield identity
        for week in range(min(_GOALS_OF_SELLER, goals - first)):
            yield _weekly_goal(tenant_id, f"{person.name}/{week}", person.id, week)


def _weekly_goal(tenant_id: UUID, name: str, person_id: UUID, week: int) -> Goal:
    start = PERIOD_START + week * _WEEK
    owner = Subject(kind="person", id=person_id)
    return goal(name, WON_AMOUNT, owner, tenant_id, start=start, end=start + _WEEK)
