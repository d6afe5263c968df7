"""`attain replay`: feed a CSV pipeline to a running stack as the webhooks its CRM would have sent."""

import asyncio
import random
import secrets
from base64 import b64encode
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from deploy.local.api import AttainApi, attain_api, service_urls
from deploy.local.configuration import StackConfiguration
from deploy.local.errors import StackError
from deploy.local.secrets import jwt_secret
from deploy.local.tenancy import DEVELOPMENT_TENANT_ID
from deploy.local.traffic.company import COMPANY, ReplayCompany, goal_name, set_up_company
from deploy.local.traffic.outcomes import print_outcomes
from deploy.local.traffic.pipeline import CURRENCY, Pipeline, PipelineEvent, read_pipeline
from deploy.local.traffic.plan import set_up_plans
from deploy.local.traffic.planning import has_seasons, outcomes, plan_quarter, quarter_ahead
from deploy.local.traffic.webhooks import Delivery, webhook_sender
from services.tracking.measure.progress.schemas import GoalProgress
from shared.kernel.words import counted

_FASTEST: Final = "max"
_SETTLED_POLL_SECONDS: Final = 0.5
_SETTLED_SECONDS_MAX: Final = 120.0
_SECRET_BYTES: Final = 32


def replay(
    folder: Annotated[Path, typer.Argument(help="With sales_pipeline.csv and sales_teams.csv.")],
    speed: Annotated[str, typer.Option(help="Deliveries a second, or `max`.")] = _FASTEST,
    shuffle: Annotated[bool, typer.Option("--shuffle", help="Send in random order instead of business order.")] = False,
    double: Annotated[bool, typer.Option("--double", help="Send every delivery twice.")] = False,
    seed: Annotated[int | None, typer.Option(help="Of the random order, to repeat a run.")] = None,
    plan: Annotated[
        bool,
        typer.Option("--plan", help="Plan the last quarter by the two before it, and print what came of the plan."),
    ] = False,
) -> None:
    """Set up the pipeline's company on the stack started with `attain up` and send every event, signed.

    Each run sends new deliveries; deals end the same however often and in whatever order they are sent.
    """
    pipeline = read_pipeline(folder)
    per_second_max = _per_second(speed)
    console = Console()
    order = _random_order(console, seed) if shuffle else None
    asyncio.run(_replay(pipeline, per_second_max, console, order, double=double, plan=plan))


async def _replay(
    pipeline: Pipeline,
    per_second_max: float | None,
    console: Console,
    order: random.Random | None,
    *,
    double: bool,
    plan: bool,
) -> None:
    configuration = StackConfiguration.from_environment()
    key = jwt_secret(configuration.state_folder)
    async with attain_api(service_urls(configuration.ports), jwt_secret=key, tenant_id=DEVELOPMENT_TENANT_ID) as api:
        secret = webhook_secret(key)
        company = await set_up_company(api, pipeline, secret=secret)
        await set_up_plans(api, pipeline, company)
        console.print(
            f"Set up: {counted(len(pipeline.agents), 'agent')}, {counted(len(company.teams), 'team')}, "
            f"{counted(len(company.goals), 'goal')}."
        )

        async def send(events: Sequence[PipelineEvent], title: str = "webhooks") -> None:
            deliveries = list(_deliveries(events, order, double=double))
            with _progress_bar(console) as bar:
                task = bar.add_task(title, total=len(deliveries))
                async with webhook_sender(f"{api.tracking.url}{company.connection.hook_path}", secret) as sender:
                    await sender.send_all(
                        deliveries, per_second_max=per_second_max, sent=lambda _status: bar.advance(task)
                    )

        if not plan:
            await send(pipeline.events)
            await _report(api, company, pipeline, console)
            return
        ahead = quarter_ahead(pipeline)
        start = ahead.quarter.start
        await send([event for event in pipeline.events if event.at.date() < start], f"webhooks before {start}")
        scenario = await plan_quarter(api, pipeline, company, ahead)
        by = "their seasons" if has_seasons(pipeline, ahead) else "working days, without a year to learn seasons from"
        console.print(
            f"Planned and approved: {scenario.name}, by what was won since {ahead.history.start}; months by {by}."
        )
        await send([event for event in pipeline.events if event.at.date() >= start], f"webhooks from {start} on")
        await _report(api, company, pipeline, console)
        print_outcomes(console, scenario.name, await outcomes(api, pipeline, scenario))


def _random_order(console: Console, seed: int | None) -> random.Random:
    chosen = secrets.randbits(32) if seed is None else seed
    console.print(f"The order is that of --seed {chosen}.")
    return random.Random(chosen)  # noqa: S311 - an order to test with, nothing secret


def _deliveries(events: Sequence[PipelineEvent], order: random.Random | None, *, double: bool) -> Iterator[Delivery]:
    run = secrets.token_hex(4)
    numbered = [number for number in range(len(events)) for _ in range(2 if double else 1)]
    if order is not None:
        order.shuffle(numbered)
    for number in numbered:
        event = events[number]
        yield Delivery(f"{run}-{number}", event.type, event.deal)


async def _report(api: AttainApi, company: ReplayCompany, pipeline: Pipeline, console: Console) -> None:
    """Wait until the company's goals no longer move, and print them."""
    names = [
        goal_name(COMPANY, year, quarter, number)
        for year in pipeline.years
        for quarter in range(1, 5)
        for number in ("bookings", "deals")
    ]
    before: list[int | None] = []
    for _ in range(int(_SETTLED_SECONDS_MAX / _SETTLED_POLL_SECONDS)):
        results = [await api.tracking.get(f"/v1/goals/{company.goals[name]}/progress", GoalProgress) for name in names]
        versions = [progress.version for progress in results]
        if versions == before:
            break
        before = versions
        await asyncio.sleep(_SETTLED_POLL_SECONDS)
    else:
        raise StackError(f"Progress still moves after {_SETTLED_SECONDS_MAX:.0f} s: see the tracking worker's log.")
    bookings = sum(progress.value for progress in results if progress.currency is not None)
    deals = sum(progress.value for progress in results if progress.currency is None)
    console.print(f"{COMPANY}: {counted(int(deals), 'deal')} won, {bookings:,} {CURRENCY}.")


def webhook_secret(key: str) -> str:
    """The connection's signing secret: the same for the same stack, so that a second run can sign too."""
    digest = blake2b(b"pipeline webhooks", key=key.encode()[:64], digest_size=_SECRET_BYTES).digest()
    return f"whsec_{b64encode(digest).decode()}"


def _per_second(speed: str) -> float | None:
    if speed == _FASTEST:
        return None
    try:
        per_second = float(speed)
    except ValueError:
        per_second = 0.0
    if not 0 < per_second < float("inf"):
        raise StackError(f"--speed is {speed!r}; expected deliveries a second, such as 50, or max.")
    return per_second


def _progress_bar(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
    )
