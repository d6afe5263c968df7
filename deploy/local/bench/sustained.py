"""Row 6: webhooks a second that the whole product keeps up with, against the bare route's rate in the same run."""

import asyncio
from collections.abc import Callable
from statistics import fmean, median
from typing import Final

from deploy.local.bench.cpu import cpu_seconds
from deploy.local.bench.load import LoadResult, running_load
from deploy.local.bench.report import Bound, Row
from deploy.local.bench.sending import CONNECTIONS, bare_route, sent
from deploy.local.bench.servers import Servers
from deploy.local.bench.whole import Product

_REQUIRED: Final = 0.3
_UNAPPLIED_MAX: Final = 2000
_REPORT_SECONDS: Final = 0.1
_PER_SECOND_MAX: Final = 6000
_BARE_REQUESTS: Final = 20_000
_WARM_UP_SECONDS: Final = 5.0
# What waits at the end may exceed what waited before by no more than what the product does in this time.
_LAG_GROWTH_SECONDS_MAX: Final = 0.5


async def measure(
    servers: Servers, product: Product, *, rounds: int, seconds: float, report: Callable[[str], None]
) -> Row:
    """Send as fast as the product applies, for `seconds` a round: a bounded number is accepted and not yet applied."""
    ours: list[float] = []
    other: list[float] = []
    problems: list[str] = []
    growths: list[float] = []
    costs: list[dict[str, float]] = []
    with bare_route(servers) as bare_port:
        await _sustained(product, "warm-up", _WARM_UP_SECONDS)
        for number in range(1, rounds + 1):
            before = cpu_seconds(servers, product.stack)
            result = await _sustained(product, f"sustained-{number}", seconds)
            after = cpu_seconds(servers, product.stack)
            used = {name: after[name] - before[name] for name in after} | {"load generator": result.cpu_seconds}
            costs.append({name: round(value / result.accepted * 1_000_000, 1) for name, value in used.items()})
            ours.append(result.applied / result.seconds)
            growths.append(_lag_growth(result.unapplied))
            if growths[-1] > ours[-1] * _LAG_GROWTH_SECONDS_MAX:
                problems.append(f"round {number}: the lag grew by {growths[-1]:,.0f}")
            bare = await sent(product.hook.plan(bare_port, f"bare-{number}", count=_BARE_REQUESTS))
            other.append(bare.per_second)
            report(
                f"row 6, round {number}: {ours[-1]:,.0f} webhooks/s end to end (lag {fmean(result.unapplied):,.0f},"
                f" growing by {growths[-1]:,.0f}), bare route {other[-1]:,.0f}"
            )
        problems.extend(await product.problems())
    return Row(
        number=6,
        what="webhooks sustained end to end: accepted, outbox, Kafka, four goals each; lag not growing",
        against="a bare FastAPI route that reads the body and answers 202",
        unit="webhooks/s",
        ours=tuple(ours),
        other=tuple(other),
        bound=Bound.AT_LEAST,
        required=_REQUIRED,
        details={
            "seconds": seconds,
            "connections": CONNECTIONS,
            "unapplied_max": _UNAPPLIED_MAX,
            "lag_growth": growths,
            "processes": list(product.stack.service_names),
            "cpu_microseconds_per_webhook": {name: median(cost[name] for cost in costs) for name in costs[0]},
        },
        problems=tuple(problems),
    )


async def _sustained(product: Product, run: str, seconds: float) -> LoadResult:
    applied_before = await product.applied()
    plan = product.hook.plan(
        product.hook_port,
        run,
        count=int(seconds * _PER_SECOND_MAX),
        seconds_max=seconds,
        unapplied_max=_UNAPPLIED_MAX,
    )
    async with running_load(plan) as load:
        finished = asyncio.create_task(load.result())
        while not finished.done():
            load.report_applied(await product.applied() - applied_before)
            await asyncio.wait([finished], timeout=_REPORT_SECONDS)
        result = finished.result()
    await product.settled(applied_before + result.accepted)
    return result


def _lag_growth(unapplied: tuple[int, ...]) -> float:
    """By how much more waited in the last third of the time than in the second."""
    third = len(unapplied) // 3
    return fmean(unapplied[-third:]) - fmean(unapplied[third : 2 * third])
