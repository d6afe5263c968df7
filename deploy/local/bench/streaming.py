"""Row 3: deal events applied to goals, against Pathway on the same topic.

Both begin with an empty state and a topic that holds all events, and are timed from the first event that they can read
to the last result. Ours writes every version of every deal, exact sums and the position in the topic in one Postgres
transaction a batch: exactly once, with history, queryable by everybody. Pathway keeps the newest version of each deal
and the same four sums in its own memory: at least once, no history, seen by its own process alone; its persistence
logs what it has read to files. It may use both cores, as we and our Postgres may.
"""

import asyncio
import json
import subprocess
import sys
import time
import venv
from asyncio.subprocess import PIPE
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from statistics import median
from typing import Final

from pydantic import BaseModel

from deploy.local.bench.applying import consumed, prepare_definitions, publish_deals, result_problems
from deploy.local.bench.company import TEAM_OF, differing
from deploy.local.bench.cpu import postgres_cpu_seconds
from deploy.local.bench.report import Bound, Row
from deploy.local.bench.servers import Servers
from deploy.local.errors import StackError
from deploy.local.kafka_jars import cache_folder

_REQUIRED: Final = 0.6
_VERSION: Final = "0.33.0"
_TOPIC: Final = "bench.streaming"
_TEMPLATE: Final = "bench_streaming"
_DATABASE: Final = "bench_streaming_ours"
_SIDE: Final = Path(__file__).with_name("pathway_side.py")
_ANSWER_SECONDS_MAX: Final = 600.0
_SHOWN_CHARACTERS: Final = 500


class _Result(BaseModel):
    """What the other side prints: the values are those of the goals by their names."""

    seconds: float
    cpu_seconds: float
    values: dict[str, Decimal]


async def measure(servers: Servers, *, rounds: int, events: int, report: Callable[[str], None]) -> Row | None:
    """All events once a side and round; None where Pathway cannot be had, which is reported."""
    python = await asyncio.to_thread(_python, report)
    if python is None:
        return None
    await publish_deals(servers, _TOPIC, events)
    await prepare_definitions(servers, _TEMPLATE)
    ours: list[float] = []
    other: list[float] = []
    costs: dict[str, list[float]] = {"ours": [], "Pathway": []}
    problems: list[str] = []
    for number in range(1, rounds + 1):
        database_url = await servers.new_database(_DATABASE, template=_TEMPLATE)
        before = time.process_time() + postgres_cpu_seconds(servers)
        ours.append(events / await consumed(servers, database_url, _TOPIC, events))
        costs["ours"].append(time.process_time() + postgres_cpu_seconds(servers) - before)
        problems.extend(await result_problems(database_url, "ours", events))
        await servers.drop_database(_DATABASE)
        result = await _pathway(servers, python, f"pathway-{number}", events)
        other.append(events / result.seconds)
        costs["Pathway"].append(result.cpu_seconds)
        problems.extend(differing(result.values, "Pathway", events))
        report(f"row 3, round {number}: {ours[-1]:,.0f} events/s, Pathway {other[-1]:,.0f}")
    return Row(
        number=3,
        what="deal events applied exactly once, in decimals, with history, 4 goals a deal",
        against=f"Pathway {_VERSION}, the newest version of each deal and the same sums, with its persistence",
        unit="events/s",
        ours=tuple(ours),
        other=tuple(other),
        bound=Bound.AT_LEAST,
        required=_REQUIRED,
        details={
            "events": events,
            "cpu_microseconds_per_event": {
                name: round(median(seconds) / events * 1e6, 1) for name, seconds in costs.items()
            },
        },
        problems=tuple(problems[:5]),
    )


def _python(report: Callable[[str], None]) -> Path | None:
    """The interpreter of an environment with Pathway, in the cache, made when it is missing."""
    folder = cache_folder() / f"pathway-{_VERSION}-{sys.version_info.major}.{sys.version_info.minor}"
    python = folder / "bin" / "python"
    if python.exists() and subprocess.run([python, "-c", "import pathway"], capture_output=True).returncode == 0:
        return python
    report(f"row 3: installing Pathway {_VERSION} into {folder}")
    try:
        venv.create(folder, with_pip=True, clear=True)
        subprocess.run(
            [python, "-m", "pip", "install", "--quiet", f"pathway=={_VERSION}"], check=True, capture_output=True
        )
    except (OSError, subprocess.CalledProcessError) as error:
        report(f"row 3 is left out: Pathway {_VERSION} cannot be installed here ({error}).")
        return None
    return python


async def _pathway(servers: Servers, python: Path, run: str, events: int) -> _Result:
    plan = {
        "bootstrap": servers.kafka_bootstrap,
        "topic": _TOPIC,
        "group": run,
        "events": events,
        "folder": str(servers.folder / run),
        "team_of": TEAM_OF,
    }
    side = await asyncio.create_subprocess_exec(python, _SIDE, stdin=PIPE, stdout=PIPE, stderr=PIPE)
    try:
        async with asyncio.timeout(_ANSWER_SECONDS_MAX):
            output, errors = await side.communicate(json.dumps(plan).encode() + b"\n")
    except TimeoutError:
        raise StackError(f"Pathway has not read {events:,} events in {_ANSWER_SECONDS_MAX:.0f} s.") from None
    finally:
        if side.returncode is None:
            side.kill()
    if not output:
        raise StackError(f"Pathway ended without a result: {errors.decode(errors='replace')[-_SHOWN_CHARACTERS:]}")
    return _Result.model_validate_json(output.splitlines()[-1])
