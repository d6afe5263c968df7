"""`attain bench`: what the product does in a second, beside what the machine could do at all."""

import json
from collections.abc import Callable, Set
from pathlib import Path
from typing import Annotated

import typer
import uvloop
from rich.console import Console

from deploy.local.bench import activating, applying, intake, latency, paying, planning, stored, streaming, sustained
from deploy.local.bench.report import Row, table
from deploy.local.bench.servers import Servers, running_servers
from deploy.local.bench.whole import running_product
from deploy.local.errors import StackError

_ROWS = (1, 2, 3, 4, 5, 6, 7, 8, 9)
_INTAKE_REQUESTS = 20_000
_DEAL_EVENTS = 60_000
_LATENCY_SAMPLES = 50
_STORED_DEALS = 5_000_000
_STORED_DEALS_FEW = 50_000
_STORED_EVENTS = 20_000
_SUSTAINED_SECONDS = 20.0
_ACTIVATED_GOALS = 20
_MANY_GOALS = 100_000
_FEW_GOALS = 1000
_PLANNED_PEOPLE = 2000
_PAID_PEOPLE = 1000
_PAID_DEALS = 1000


def bench(
    rows: Annotated[str, typer.Option(help="Which rows, separated by commas.")] = "1,2,3,4,5,6,7,8,9",
    json_file: Annotated[Path | None, typer.Option("--json", help="Also write the results here.")] = None,
    rounds: Annotated[int, typer.Option(min=1, help="How often each side is measured.")] = 5,
    scale: Annotated[float, typer.Option(min=0.01, max=1, help="Less of everything, for a quick look.")] = 1.0,
) -> None:
    """Measure what the product does beside what its parts could do, in turns, on servers started for it.

    Row 1: webhooks accepted. Row 2: deal events applied. Row 3: the same, against Pathway, which is installed into the
    cache and left out where it cannot be had. Row 4: deal events with many deals stored. Row 5: latency to a live
    stream. Row 6: webhooks end to end. Row 7: the pay of a period. Row 8: a goal activated among many. Row 9: a
    year planned for many.
    Exits with 1 if a ratio is not what is asked, or what was computed on the way is wrong.
    """
    console = Console()
    wanted = _parsed(rows)

    def report(line: str) -> None:
        console.print(line, soft_wrap=True, highlight=False)

    with running_servers() as servers:
        report(f"PostgreSQL and {servers.broker.description} are ready, with their state in {servers.folder}.")
        results = uvloop.run(_measured(servers, wanted, rounds, scale, report))
    console.print(table(results))
    if json_file is not None:
        json_file.write_text(json.dumps([row.as_json() for row in results], indent=2) + "\n")
    if not all(row.met for row in results):
        raise typer.Exit(1)


async def _measured(
    servers: Servers, wanted: Set[int], rounds: int, scale: float, report: Callable[[str], None]
) -> list[Row]:
    results: list[Row] = []
    if 1 in wanted:
        count = int(_INTAKE_REQUESTS * scale)
        results.append(await intake.measure(servers, rounds=rounds, requests=count, report=report))
    if 2 in wanted:
        count = int(_DEAL_EVENTS * scale)
        results.append(await applying.measure(servers, rounds=rounds, events=count, report=report))
    if 3 in wanted:
        count = int(_DEAL_EVENTS * scale)
        streamed = await streaming.measure(servers, rounds=rounds, events=count, report=report)
        if streamed is not None:
            results.append(streamed)
    if 4 in wanted:
        results.append(
            await stored.measure(
                servers,
                rounds=rounds,
                events=int(_STORED_EVENTS * scale),
                many=int(_STORED_DEALS * scale),
                few=int(_STORED_DEALS_FEW * scale),
                report=report,
            )
        )
    if 7 in wanted:
        people, deals = max(2, int(_PAID_PEOPLE * scale)), int(_PAID_DEALS * scale) or 1
        results.append(await paying.measure(servers, rounds=rounds, people=people, deals=deals, report=report))
    if wanted & {5, 6, 8, 9}:
        async with running_product(servers) as product:
            if 5 in wanted:
                count = max(1, int(_LATENCY_SAMPLES * scale))
                results.append(await latency.measure(servers, product, rounds=rounds, samples=count, report=report))
            if 6 in wanted:
                seconds = _SUSTAINED_SECONDS * scale
                results.append(await sustained.measure(servers, product, rounds=rounds, seconds=seconds, report=report))
            if 8 in wanted:
                results.append(
                    await activating.measure(
                        product,
                        rounds=rounds,
                        samples=max(1, int(_ACTIVATED_GOALS * scale)),
                        many=int(_MANY_GOALS * scale),
                        few=int(_FEW_GOALS * scale),
                        report=report,
                    )
                )
            if 9 in wanted:
                people = int(_PLANNED_PEOPLE * scale)
                results.append(await planning.measure(product, rounds=rounds, people=people, report=report))
    return results


def _parsed(rows: str) -> frozenset[int]:
    wanted = {row.strip() for row in rows.split(",")}
    if not wanted <= {str(row) for row in _ROWS}:
        raise StackError(f"--rows is {rows!r}; expected some of {', '.join(map(str, _ROWS))}.")
    return frozenset(int(row) for row in wanted)
