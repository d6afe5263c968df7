"""Attacks on the process that takes webhooks and streams, with a CRM beside them that goes on sending.

Each lasts a few seconds. How late the CRM may be answered follows the calm before, widely, as the attackers, the CRM
and the product share the processors of the machine that runs this; what the process may take in memory does not.
"""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import monotonic
from typing import Final
from uuid import UUID, uuid4

import httpx
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from deploy.local.stack import Stack
from shared.http.auth import Role, issue_token
from shared.http.settings import HttpSettings
from tests.faults.honest import HonestTraffic, Phase
from tests.faults.strangers import Target
from tests.servers.infrastructure import PROJECT_FOLDER, Report

ATTACKED: Final = "tracking-api"
CALM_SECONDS: Final = 2.0
P99_SECONDS_MAX: Final = 3.0
P99_OF_CALM_MAX: Final = 20
GROWTH_BYTES_MAX: Final = 120 * 2**20
MANIFEST: Final = PROJECT_FOLDER / "deploy" / "k8s" / "tracking.yaml"
LOG_BYTES_MAX: Final = 100_000
GIVEN_UP: Final = "attain_http_connections_refused_total"
STREAMS_OF_ONE: Final = 2000
STREAMS_SECONDS_MAX: Final = 200.0
LIVE_SECONDS_MAX: Final = 10.0
STREAMS_PER_PERSON: Final = HttpSettings.model_fields["streams_per_person_max"].default
STREAMS_PER_TENANT: Final = HttpSettings.model_fields["streams_per_tenant_max"].default


@pytest.fixture(scope="module")
async def crm(stack: Stack) -> AsyncIterator[HonestTraffic]:
    async with httpx.AsyncClient(timeout=30) as client:
        yield await HonestTraffic.begun(stack, client, [ATTACKED])


@asynccontextmanager
async def strangers(
    stack: Stack, name: str, target: Target, seconds: float
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Strangers that attack for so long at most, in a process of their own."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.faults.strangers",
        name,
        stack.url(ATTACKED).rpartition(":")[2],
        str(seconds),
        cwd=PROJECT_FOLDER,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdin is not None
        process.stdin.write(target.to_json())
        yield process
        assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def what_was_done(process: asyncio.subprocess.Process) -> dict[str, int]:
    """How much of what, once the attack has ended."""
    assert process.stdin is not None
    process.stdin.close()
    output, _ = await process.communicate()
    done: dict[str, int] = json.loads(output)
    return done


async def counts(stack: Stack, metric: str) -> dict[str, int]:
    """What a metric of the process counts, by its one label; under an empty name if it has none."""
    async with httpx.AsyncClient(timeout=30) as client:
        text = (await client.get(f"{stack.url(ATTACKED)}/metrics")).text
    return {
        "".join(sample.labels.values()): int(sample.value)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == metric
    }


def rep_token(stack: Stack, tenant: UUID, person: UUID) -> str:
    settings = HttpSettings(jwt_secret=stack.secrets.jwt_secret)
    return issue_token(settings, tenant_id=tenant, person_id=person, roles=frozenset({Role.REP}), ttl_seconds=600)


def limit_of_manifest() -> int:
    """The bytes of memory that the process is given where it is deployed."""
    documents = yaml.safe_load_all(MANIFEST.read_text())
    (deployment,) = (each for each in documents if (each["kind"], each["metadata"]["name"]) == ("Deployment", ATTACKED))
    limit: str = deployment["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]["memory"]
    return int(limit.removesuffix("Mi")) * 2**20


def require_bounds(calm: Phase, attack: Phase) -> None:
    assert attack.p99_accepted < max(P99_SECONDS_MAX, P99_OF_CALM_MAX * calm.p99_accepted)
    assert attack.resident_max[ATTACKED] - attack.resident_before[ATTACKED] < GROWTH_BYTES_MAX
    assert attack.resident_max[ATTACKED] < limit_of_manifest(), "after all attacks before, too"


@pytest.mark.parametrize(
    ("name", "seconds", "limits"),
    [
        ("endless heads", 5, {"head_too_large"}),
        ("unfinished bodies", 5, {"too_much_unfinished"}),
        ("slow heads", 11, {"made_room", "request_timeout"}),
        ("pipelining", 5, {"pipelined"}),
        ("floods by strangers", 5, set()),
    ],
)
async def test_a_crm_is_served_and_nothing_is_lost_or_repeated_beside(
    stack: Stack, crm: HonestTraffic, report: Report, name: str, seconds: float, limits: set[str]
) -> None:
    log = stack.process(ATTACKED).log_path
    before, logged = await counts(stack, GIVEN_UP), log.stat().st_size
    async with crm.flowing():
        async with crm.phase("calm") as calm:
            await asyncio.sleep(CALM_SECONDS)
        async with crm.phase(name) as attack, strangers(stack, name, Target(crm.hook_path), seconds) as process:
            done = await what_was_done(process)
    logged = log.stat().st_size - logged
    met = {reason: count - before.get(reason, 0) for reason, count in (await counts(stack, GIVEN_UP)).items()}
    met = {reason: count for reason, count in met.items() if count}
    report(f"{calm}\n{attack}\n  the attack: {done}; limits met: {met}; {logged / 1000:.0f} kB of log")
    require_bounds(calm, attack)
    assert not limits or limits & met.keys()
    assert logged < LOG_BYTES_MAX
    await crm.require_all_counted_once()


async def test_others_are_served_beside_thousands_of_streams_of_one_rep_and_of_one_company(
    stack: Stack, crm: HonestTraffic, report: Report
) -> None:
    seller = crm.seller
    path = f"/v1/people/{seller.person}/progress/stream"
    greedy = [("rep", path, rep_token(stack, seller.tenant, UUID(seller.person)))] * STREAMS_OF_ONE
    company = uuid4()
    for _ in range(10 + STREAMS_PER_TENANT // STREAMS_PER_PERSON):
        person = uuid4()
        of_person = ("company", f"/v1/people/{person}/progress/stream", rep_token(stack, company, person))
        greedy += [of_person] * STREAMS_PER_PERSON
    async with crm.flowing():
        async with crm.phase("calm") as calm:
            await asyncio.sleep(CALM_SECONDS)
        async with (
            crm.phase("thousands of streams") as attack,
            strangers(stack, "thousands of streams", Target(crm.hook_path, greedy), STREAMS_SECONDS_MAX) as process,
            httpx.AsyncClient(base_url=stack.url(ATTACKED), timeout=30) as client,
        ):
            assert process.stdout is not None
            assert await process.stdout.readline() == b"all are answered\n"
            opened = (await counts(stack, "attain_live_streams_open"))[""]
            began = monotonic()
            async with client.stream("GET", path, headers=seller.headers()) as stream:
                assert stream.status_code == httpx.codes.OK
                changes = [line async for line in _first(stream.aiter_lines(), "event: progress", 5)]
            seen_seconds = monotonic() - began
            done = await what_was_done(process)
    report(
        f"{calm}\n{attack}\n  the streams: {done}, {opened} open at once; another's, opened beside them, showed"
        f" {len(changes)} changes in {seen_seconds:.1f} s"
    )
    require_bounds(calm, attack)
    assert seen_seconds < LIVE_SECONDS_MAX
    assert (done["rep 200"], done["rep 429"]) == (STREAMS_PER_PERSON, STREAMS_OF_ONE - STREAMS_PER_PERSON)
    # Some may have been told to come again, and given their places to others.
    assert STREAMS_PER_TENANT / 2 < opened <= STREAMS_PER_TENANT + STREAMS_PER_PERSON
    assert done["company 429"]
    await crm.require_all_counted_once()


async def _first(lines: AsyncIterator[str], wanted: str, count: int) -> AsyncIterator[str]:
    """So many lines that are as wanted."""
    async with asyncio.timeout(30):
        async for line in lines:
            if line == wanted:
                count -= 1
                yield line
                if not count:
                    return
