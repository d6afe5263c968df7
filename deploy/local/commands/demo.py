"""`attain demo`: the product at work, live on the terminal."""

import asyncio
import shlex
import sys
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from typing import Annotated, Final
from uuid import UUID, uuid4

import typer
from rich.console import Console

from deploy.local.api import SERVICES, AttainApi, attain_api, service_urls
from deploy.local.commands.verify import differences
from deploy.local.configuration import StackConfiguration
from deploy.local.demo import company
from deploy.local.demo.board import Board
from deploy.local.demo.closing import STATEMENT_OF, checks, read_findings
from deploy.local.demo.expectation import expected
from deploy.local.demo.month import close_month
from deploy.local.demo.player import Player
from deploy.local.demo.report import print_checks, print_findings, print_month
from deploy.local.demo.script import scripted_stream
from deploy.local.demo.seeding import CALENDAR, SeededCompany, Seeding
from deploy.local.demo.targets import targets_tree
from deploy.local.demo.terminal import title, view_for
from deploy.local.secrets import jwt_secret
from deploy.local.stack import Stack, clear_state
from deploy.local.tenancy import DEVELOPMENT_TENANT_ID
from deploy.local.traffic.scenario import nodes_of
from services.goals.planning.schemas import ScenarioAnswer
from shared.kernel.periods import PeriodKind
from shared.kernel.words import counted

_STATE_FOLDER: Final = "demo"
_STREAM_SECONDS: Final = 25.0
_DAY: Final = timedelta(days=1)
_EVENING: Final = time(18)
_INTERRUPTED_STATUS: Final = 130
_PLAIN_COLUMNS: Final = 120


def demo(
    once: Annotated[bool, typer.Option("--once", help="Exit by itself: 0 only if every check passed.")] = False,
) -> None:
    """Run everything with a seeded company, a live stream of deals and the month's end; every run starts clean."""
    configured = StackConfiguration.from_environment()
    configuration = replace(configured, state_folder=configured.state_folder / _STATE_FOLDER)
    console = Console(highlight=False, width=None if sys.stdout.isatty() else _PLAIN_COLUMNS)
    console.print(f"State and logs are in {configuration.state_folder}.", style="dim", soft_wrap=True)
    clear_state(configuration.state_folder)
    passed: bool | None = None
    try:
        with Stack(configuration, report=lambda line: console.print(line, style="dim", soft_wrap=True)) as stack:
            tenant_id = _tenant(configuration)
            passed = asyncio.run(_perform(console, stack, tenant_id))
            if not once:
                print_addresses(console, stack, tenant_id)
                console.print("Ctrl-C stops everything.")
                stack.supervise()
    except KeyboardInterrupt:
        console.print("Stopped.")
        if passed is None:
            raise typer.Exit(_INTERRUPTED_STATUS) from None
    if not passed:
        raise typer.Exit(1)


async def _perform(console: Console, stack: Stack, tenant_id: UUID) -> bool:
    """Seed, send, show, close the month, check; whether every check passed."""
    configuration = stack.configuration
    secret = jwt_secret(configuration.state_folder)
    async with attain_api(service_urls(configuration.ports), jwt_secret=secret, tenant_id=tenant_id) as api:
        # A quarter that is over, so that its last month can be closed.
        last_day = CALENDAR.period_of(CALENDAR.business_date(datetime.now(UTC)), PeriodKind.QUARTER).start - _DAY
        seeded = await Seeding(api, last_day, secret).run()
        console.print(
            f"{company.NAME} is set up: {counted(len(company.TEAMS), 'team')}, "
            f"{counted(len(company.EMPLOYEES), 'person', 'people')}, {counted(len(seeded.goal_ids), 'goal')}, "
            f"a commission plan, {counted(len(seeded.hooks), 'CRM')}.",
            style="dim",
            soft_wrap=True,
        )
        await _print_plans(console, api, seeded)
        acts = scripted_stream(seeded.quarter.start, datetime.combine(last_day, _EVENING, tzinfo=UTC))
        board = Board(to_send=len(acts))
        player = Player(api, seeded, expected(acts, seeded.quarter.start, seeded.quarter.end), board)
        await player.until_known()
        view = view_for(console, board, seeded)

        def tick() -> None:
            stack.require_alive()
            view.tick()

        console.print()
        console.print(title(f"{company.NAME}: the quarter from {seeded.quarter.start}, in {company.CURRENCY}"))
        with view.showing():
            await player.play(acts, seconds=_STREAM_SECONDS, tick=tick)
        findings = await read_findings(api, seeded)
        print_findings(console, findings)
        month = await close_month(api, seeded, STATEMENT_OF, configuration.state_folder)
        print_month(console, month)
        results = checks(player, findings, month, await differences(stack.database_url))
        print_checks(console, results)
    return all(result.passed for result in results)


async def _print_plans(console: Console, api: AttainApi, seeded: SeededCompany) -> None:
    """What everybody is to reach, as it was planned."""
    for scenario_id in seeded.scenario_ids:
        scenario = await api.goals.get(f"/v1/scenarios/{scenario_id}", ScenarioAnswer)
        console.print()
        console.print(title(f"Planned and approved: {scenario.name}"))
        console.print(targets_tree(await nodes_of(api.goals, scenario_id), scenario.unit))


def _tenant(configuration: StackConfiguration) -> UUID:
    """A database of one's own may have earlier demos: each has a tenant to itself there."""
    return DEVELOPMENT_TENANT_ID if configuration.database_url is None else uuid4()


def print_addresses(console: Console, stack: Stack, tenant_id: UUID) -> None:
    """Where the running APIs are documented, and the command that prints a token for them."""
    console.print()
    console.print(title("API documentation"))
    for service in SERVICES:
        console.print(f" {service:<11} {stack.url(f'{service}-api')}/docs", soft_wrap=True)
    tenant = () if tenant_id == DEVELOPMENT_TENANT_ID else ("--tenant", str(tenant_id))
    folder = shlex.quote(str(stack.configuration.state_folder))
    command = shlex.join((sys.argv[0], "token", "--role", "service", *tenant))
    console.print(f" token       ATTAIN_STATE_DIR={folder} {command}", soft_wrap=True)
