"""`attain demo --once` and `attain seed` on a machine that has nothing running yet."""

import asyncio
import os
import re
import subprocess
import sys
from asyncio.subprocess import PIPE
from decimal import Decimal
from io import StringIO
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from rich.console import Console

from deploy.local.api import Resource, attain_api
from deploy.local.commands.demo import print_addresses
from deploy.local.commands.seed import seed_company
from deploy.local.stack import Stack
from services.goals.planning.schemas import ScenarioListedAnswer
from services.goals.targets.schemas import GoalAnswer
from tests.servers.infrastructure import PROJECT_FOLDER, free_port_base, temporary_folder

_SECONDS_MAX = 240.0


async def _demo(folder: Path) -> tuple[int | None, str, str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ATTAIN_")}
    environment |= {"ATTAIN_STATE_DIR": str(folder), "ATTAIN_PORT_BASE": str(free_port_base())}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "deploy.local.cli",
        "demo",
        "--once",
        cwd=PROJECT_FOLDER,
        env=environment,
        stdout=PIPE,
        stderr=PIPE,
    )
    async with asyncio.timeout(_SECONDS_MAX):
        output, errors = await process.communicate()
    return process.returncode, output.decode(), errors.decode()


@pytest.mark.timeout(300)
async def test_the_demo_ends_with_status_0_when_everything_it_checked_held() -> None:
    with temporary_folder("demo") as folder:
        status, output, errors = await _demo(folder)
        [written] = (folder / "demo").glob("statement-ines.carvalho-*.pdf")
        assert written.read_bytes().startswith(b"%PDF")
    assert status == 0, output + errors
    assert "Traceback" not in errors
    for line in (
        f"State and logs are in {folder}/demo.",
        "3 teams, 12 people, 22 goals, a commission plan, 2 CRMs",
        "Kestrel Analytics            3,600,000 EUR",
        "├── Enterprise               2,000,000 EUR  below it 70,000 less",
        "│   └── Jonas Weber            650,000 EUR",
        "Kestrel Analytics            62 deals",
        "€950,000 for Diego Morales: 401, refused",
        "345/345 sent",
        "Statement of Ines Carvalho",
        "ledger #",
        '{"type": "deal.upserted"',
        "invalid_field at /data/amount",
        "✓ the forged webhook got 401; genuine ones refused: 0",
        "✓ 343 webhooks accepted, of them 11 duplicates: 332 stored",
        "✓ 1 delivery in quarantine, 0 waiting to be translated",
        "is closed: payout run 1",
        "Ines Carvalho",
        "new_payee",
        "Total in EUR",
        "is closed, and its run is paid: 7 payouts, each what was earned",
        "✓ verify: 0 differences",
    ):
        assert line in output, output
    assert f"statement   {written}" in output
    assert output.index("Partners                   750,000 EUR") < output.index("0/345 sent"), (
        "planned before it begins"
    )
    assert "/docs" not in output, "addresses of what has stopped"
    assert output.count("✓") == 9
    assert "✗" not in output


def test_a_demo_that_goes_on_prints_addresses_and_a_token_command_that_work(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", [str(Path(sys.executable).with_name("attain")), "demo"])
    output = StringIO()
    print_addresses(Console(file=output), stack, uuid4())
    addresses = re.findall(r"http://\S+/docs", output.getvalue())
    assert len(addresses) == 3
    (command,) = re.findall(r"token +(ATTAIN_STATE_DIR=.*)", output.getvalue())
    token = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=60, check=True).stdout.strip()
    for address, path in zip(addresses, ("/v1/people", "/v1/connections", "/v1/plans"), strict=True):
        assert httpx.get(address, trust_env=False).status_code == 200
        read = address.removesuffix("/docs") + path
        assert httpx.get(read, headers={"authorization": f"Bearer {token}"}, trust_env=False).json()["items"] == []


async def test_seeding_twice_changes_nothing(stack: Stack) -> None:
    urls = {service: stack.url(f"{service}-api") for service in ("goals", "tracking", "incentives")}
    tenant_id, secret = uuid4(), stack.secrets.jwt_secret
    first = await seed_company(urls, secret, tenant_id)
    second = await seed_company(urls, secret, tenant_id)
    assert first.created > 60
    assert second.created == 0
    assert (second.people, second.bookings_goals, second.plan_id) == (first.people, first.bookings_goals, first.plan_id)
    async with attain_api(urls, jwt_secret=secret, tenant_id=tenant_id) as api:
        assert len(await api.goals.items("/v1/people", Resource)) == 12
        assert len(await api.goals.items("/v1/teams", Resource)) == 4
        goals = await api.goals.items("/v1/goals", GoalAnswer, status="active")
        assert {goal.id for goal in goals} == first.goal_ids
        targets = {goal.name.partition(", quarter")[0]: goal.target for goal in goals}
        assert targets["Kestrel Analytics: bookings"] == Decimal(3_600_000)
        assert targets["Enterprise: bookings"] == Decimal(2_000_000)
        assert targets["Aiko Tanaka: bookings"] == Decimal(800_000)
        assert targets["Nadia Haddad: deals won"] == Decimal(7)
        plans = await api.goals.items("/v1/scenarios", ScenarioListedAnswer, state="applied")
        assert [plan.id for plan in plans] == first.scenario_ids == second.scenario_ids
        assert len(await api.incentives.items("/v1/assignments", Resource)) == 7
        assert len(await api.tracking.items("/v1/connections", Resource)) == 2
