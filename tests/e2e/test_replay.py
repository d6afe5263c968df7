"""A sales pipeline through signed webhooks, fed again shuffled and doubled while processes are killed, and paid."""

import asyncio
import csv
import os
import random
import re
import sys
from asyncio.subprocess import PIPE, Process
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import psutil
import pytest

from deploy.local.api import AttainApi, attain_api
from deploy.local.commands.verify import differences
from deploy.local.configuration import StackConfiguration
from deploy.local.stack import Stack
from deploy.local.tenancy import DEVELOPMENT_TENANT_ID
from services.goals.targets.schemas import GoalAnswer
from services.tracking.measure.progress.schemas import GoalProgress
from tests.servers.infrastructure import PROJECT_FOLDER, eventually, own_ports, start, temporary_folder
from tests.stories.month_end import TwoMonths

PUBLISHED = PROJECT_FOLDER.parent / "shared" / "data" / "crm-sales-opportunities"
"""Where the public data set is, on a machine that has it; elsewhere one of the same form is made."""

_REPLAY_SECONDS_MAX = 600.0
_SETTLED_SECONDS_MAX = 120.0
_API_BYTES_MAX = 200 * 1024 * 1024
_WORKER_BYTES_MAX = 300 * 1024 * 1024
_STACK_BYTES_MAX = 3 * 1024 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Totals:
    """What was won, in whole dollars and in deals, added up straight from the files."""

    bookings: Counter[tuple[str, int]]
    """By company, office, manager or agent, and quarter."""
    deals: Counter[int]
    """By quarter."""
    planned: Counter[str]
    """In the fourth quarter, by the name of the goal that a plan makes of it."""


def _totals(folder: Path) -> Totals:
    with (folder / "sales_teams.csv").open() as file:
        teams = {row["sales_agent"]: (row["manager"], row["regional_office"]) for row in csv.DictReader(file)}
    bookings: Counter[tuple[str, int]] = Counter()
    deals: Counter[int] = Counter()
    planned: Counter[str] = Counter()
    with (folder / "sales_pipeline.csv").open() as file:
        for row in csv.DictReader(file):
            if row["deal_stage"] == "Won":
                month, value = int(row["close_date"].split("/")[0]), int(row["close_value"])
                quarter = (month + 2) // 3
                deals[quarter] += 1
                for owner in ("Company", *teams[row["sales_agent"]], row["sales_agent"]):
                    bookings[owner, quarter] += value
                    if quarter == 4:
                        planned[f"{owner}, planned bookings 2017-10-01 – 2017-12-31"] += value
                if quarter == 4:
                    days = f"2017-{month}-01 – 2017-{month}-{31 if month != 11 else 30}"
                    planned[f"{row['sales_agent']}, planned bookings {days}"] += value
    return Totals(bookings, deals, planned)


def _make_pipeline(folder: Path) -> Path:
    """A pipeline of the published one's form: 12 agents, 1,500 opportunities."""
    chance = random.Random(20170301)
    managers = {f"Manager {number}": ("East", "West")[number % 2] for number in range(4)}
    agents = {f"Agent {number}": f"Manager {number % 4}" for number in range(12)}
    with (folder / "sales_teams.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["sales_agent", "manager", "regional_office"])
        writer.writerows([agent, manager, managers[manager]] for agent, manager in agents.items())
    with (folder / "sales_pipeline.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        columns = "opportunity_id sales_agent product account deal_stage engage_date close_date close_value"
        writer.writerow(columns.split())
        for number in range(1500):
            stage = chance.choice(["Won", "Won", "Lost", "Engaging", "Prospecting"])
            engaged = f"{chance.randint(1, 6)}/{chance.randint(1, 28)}/2017" if stage != "Prospecting" else ""
            is_closed = stage in ("Won", "Lost")
            closed = f"{chance.randint(7, 12)}/{chance.randint(1, 28)}/2017" if is_closed else ""
            value = {"Won": str(chance.randint(30, 30_000)), "Lost": "0"}.get(stage, "")
            agent = chance.choice(list(agents))
            writer.writerow([f"OPP{number:05}", agent, "GTXPro", "Acme", stage, engaged, closed, value])
    return folder


@pytest.fixture(scope="module")
def pipeline() -> Iterator[Path]:
    if PUBLISHED.is_dir():
        yield PUBLISHED
    else:
        with temporary_folder("pipeline") as folder:
            yield _make_pipeline(folder)


async def _start_replay(stack: Stack, pipeline: Path, *options: str) -> Process:
    environment = os.environ | {
        "ATTAIN_STATE_DIR": str(stack.configuration.state_folder),
        "ATTAIN_PORT_BASE": str(stack.configuration.ports.goals - 1),
    }
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "deploy.local.cli", "replay", str(pipeline), "--speed", "max", *options,
        cwd=PROJECT_FOLDER, env=environment, stdout=PIPE, stderr=PIPE,
    )  # fmt: skip


async def _finish(replay: Process) -> str:
    async with asyncio.timeout(_REPLAY_SECONDS_MAX):
        output, errors = await replay.communicate()
    assert replay.returncode == 0, output.decode()[-2000:] + errors.decode()[-2000:]
    return output.decode()


@asynccontextmanager
async def _api(stack: Stack) -> AsyncIterator[AttainApi]:
    urls = {service: stack.url(f"{service}-api") for service in ("goals", "tracking", "incentives")}
    async with attain_api(urls, jwt_secret=stack.secrets.jwt_secret, tenant_id=DEVELOPMENT_TENANT_ID) as api:
        yield api


async def _standing(api: AttainApi) -> dict[str, GoalProgress]:
    """Where every goal stands, by name, as the public API says it."""
    goals = await api.goals.items("/v1/goals", GoalAnswer)
    found = await api.tracking.items("/v1/progress", GoalProgress)
    by_id = {progress.goal_id: progress for progress in found}
    return {goal.name: by_id[goal.id] for goal in goals if goal.id in by_id}


async def _require_totals(stack: Stack, totals: Totals) -> None:
    expected = {f"{owner}, bookings 2017 Q{quarter}": value for (owner, quarter), value in totals.bookings.items()}
    expected |= {f"Company, deals 2017 Q{quarter}": count for quarter, count in totals.deals.items()}
    expected |= totals.planned

    async def wrong() -> dict[str, tuple[object, int]]:
        async with _api(stack) as api:
            standing = await _standing(api)
        return {
            name: (standing[name].value if name in standing else None, value)
            for name, value in expected.items()
            if name not in standing or standing[name].value != value
        }

    async def settled() -> bool:
        return not await wrong()

    try:
        await eventually(settled, deadline_seconds=_SETTLED_SECONDS_MAX)
    except (AssertionError, TimeoutError):
        assert await wrong() == {}
    async with _api(stack) as api:
        standing = await _standing(api)
    assert {name for name, progress in standing.items() if progress.value and name not in expected} == set()


def _require_plan_against_outcome(output: str, totals: Totals) -> None:
    """The table has what everybody reached, and a plan that is a quarter of the half year before, adding up."""
    numbers = r" +([0-9,]+) +([0-9,]+) +([0-9.]+)% +([+-][0-9,]+) *$"
    rows = re.findall(rf"^( *)(\S.*?){numbers}", output.partition("planned bookings  ")[2], re.MULTILINE)
    found = {name: (len(indent), int(_digits(plan)), int(_digits(reached))) for indent, name, plan, reached, *_ in rows}
    months = {name: found.pop(name) for name in ("October 2017", "November 2017", "December 2017")}
    assert {name: reached for name, (_, _, reached) in found.items()} == {
        owner: value for (owner, quarter), value in totals.bookings.items() if quarter == 4
    }
    half_year = {name: totals.bookings[name, 2] + totals.bookings[name, 3] for name in found}
    whole = found["Company"][1]
    assert whole == (half_year["Company"] + 1) // 2
    for depth in {depth for depth, _, _ in found.values()}:
        level = {name: plan for name, (at, plan, _) in found.items() if at == depth}
        assert sum(level.values()) == whole, level
        # A share is rounded at each of the three levels, and a part of the one above.
        assert all(abs(plan - whole * half_year[name] / half_year["Company"]) < 3 for name, plan in level.items())
    assert sum(plan for _, plan, _ in months.values()) == whole
    assert sum(reached for _, _, reached in months.values()) == totals.bookings["Company", 4]


def _digits(number: str) -> str:
    return number.replace(",", "")


@contextmanager
def _stack() -> Iterator[Stack]:
    with (
        temporary_folder("replay") as folder,
        Stack(StackConfiguration(state_folder=folder, ports=own_ports())) as stack,
    ):
        yield stack


async def _stored_deliveries(stack: Stack) -> int:
    connection = await asyncpg.connect(stack.database_url)
    try:
        count: int = await connection.fetchval("SELECT count(*) FROM tracking.deliveries")
        return count
    finally:
        await connection.close()


async def _kill_and_restart(stack: Stack, victim: str) -> None:
    if victim == "broker":
        assert stack.kafka is not None
        stack.kafka.process.kill()
        await asyncio.to_thread(start, stack.kafka)
        return
    stack.process(victim).kill()
    stack.start_service(victim)
    # One that cannot reach the broker at its start ends: it is there before the broker is killed.
    await asyncio.to_thread(stack.wait_until_ready, victim)


def _resident_bytes(pid: int) -> int:
    process = psutil.Process(pid)
    return sum(each.memory_info().rss for each in [process, *process.children(recursive=True)])


def _unshared_bytes(pid: int) -> int:
    process = psutil.Process(pid)
    return sum(each.memory_full_info().pss for each in [process, *process.children(recursive=True)])


@pytest.mark.timeout(1500)
async def test_a_pipeline_ends_in_the_same_numbers_however_often_and_disorderly_it_is_fed_and_whoever_is_killed(
    pipeline: Path,
) -> None:
    totals = _totals(pipeline)
    if pipeline == PUBLISHED:
        assert sum(totals.deals.values()) == 4_238
        assert sum(value for (owner, _), value in totals.bookings.items() if owner == "Company") == 10_005_534
        assert totals.bookings["Company", 4] == 2_802_496
        best = {quarter: value for (owner, quarter), value in totals.bookings.items() if owner == "Darcel Schlecht"}
        assert sum(best.values()) == 1_153_214
    with _stack() as stack:
        output = await _finish(await _start_replay(stack, pipeline, "--plan"))
        _require_plan_against_outcome(output, totals)
        await _require_totals(stack, totals)
        assert await differences(stack.database_url) == []

        once = await _stored_deliveries(stack)
        again = await _start_replay(stack, pipeline, "--shuffle", "--double", "--seed", "7")
        for nth, victim in enumerate(("tracking-worker", "incentives-worker", "broker"), start=1):
            reached = once + once * nth // 5

            async def stored(reached: int = reached) -> bool:
                return await _stored_deliveries(stack) >= reached

            await eventually(stored, deadline_seconds=_REPLAY_SECONDS_MAX, expectation=f"{reached} deliveries")
            await _kill_and_restart(stack, victim)
        await _finish(again)
        stack.wait_until_ready(*stack.service_names)
        await _require_totals(stack, totals)

        async def no_differences() -> bool:
            return await differences(stack.database_url) == []

        assert await _stored_deliveries(stack) == 2 * once
        await eventually(no_differences, deadline_seconds=_SETTLED_SECONDS_MAX)
        async with _api(stack) as api:
            await TwoMonths(stack, api, pipeline, totals.bookings).close()
        await eventually(no_differences, deadline_seconds=_SETTLED_SECONDS_MAX)
        for name in stack.service_names:
            limit = _API_BYTES_MAX if name.endswith("-api") else _WORKER_BYTES_MAX
            assert _resident_bytes(stack.process(name).pid) <= limit, name
        assert stack.kafka is not None
        assert stack.postgres is not None
        pids = [stack.process(name).pid for name in stack.service_names]
        assert (
            sum(_unshared_bytes(pid) for pid in [*pids, stack.kafka.process.pid, stack.postgres.pid])
            <= _STACK_BYTES_MAX
        )
