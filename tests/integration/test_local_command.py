"""The `attain` command says what is wrong in one sentence and ends with status 1."""

import asyncio
import os
import socket
import sys
from asyncio.subprocess import PIPE
from pathlib import Path
from typing import NamedTuple

import asyncpg

from deploy.local.ports import free_ports
from tests.servers.infrastructure import PROJECT_FOLDER, free_port_base


class Outcome(NamedTuple):
    """How a run of the command ended."""

    status: int | None
    output: str
    errors: str


async def _attain(*arguments: str, **environment: str) -> Outcome:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("ATTAIN_")}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "deploy.local.cli",
        *arguments,
        cwd=PROJECT_FOLDER,
        env=inherited | environment,
        stdout=PIPE,
        stderr=PIPE,
    )
    output, errors = await process.communicate()
    return Outcome(process.returncode, output.decode(), errors.decode())


def _assert_one_sentence(outcome: Outcome, *parts: str) -> None:
    assert outcome.status == 1
    assert outcome.errors.startswith("attain: ")
    assert outcome.errors.count("\n") == 1, outcome.errors
    for part in parts:
        assert part in outcome.errors


async def test_migrate_without_a_database_says_which_setting_is_missing() -> None:
    _assert_one_sentence(await _attain("migrate"), "ATTAIN_DATABASE_URL")


async def test_migrate_names_a_server_that_does_not_answer_and_hides_the_password() -> None:
    url = f"postgresql://someone:hunter2@127.0.0.1:{free_ports(1)[0]}/attain"
    outcome = await _attain("migrate", ATTAIN_DATABASE_URL=url)
    _assert_one_sentence(outcome, "Cannot connect", "someone:***@127.0.0.1")
    assert "hunter2" not in outcome.errors


async def test_migrate_refuses_a_url_of_another_database() -> None:
    outcome = await _attain("migrate", ATTAIN_DATABASE_URL="mysql://127.0.0.1/attain")
    _assert_one_sentence(outcome, "mysql", "expected postgresql://")


async def test_migrate_brings_an_empty_database_to_this_version_and_may_be_repeated(empty_database: str) -> None:
    for _ in range(2):
        outcome = await _attain("migrate", ATTAIN_DATABASE_URL=empty_database)
        assert outcome.status == 0, outcome.errors
    connection = await asyncpg.connect(empty_database)
    schemas = {row["nspname"] for row in await connection.fetch("SELECT nspname FROM pg_namespace")}
    await connection.close()
    assert {"goals", "tracking", "incentives"} <= schemas


async def test_migrate_refuses_a_schema_of_an_unknown_version(fresh_database: str) -> None:
    connection = await asyncpg.connect(fresh_database)
    await connection.execute("UPDATE goals.alembic_version SET version_num = 'from-the-future'")
    await connection.close()
    outcome = await _attain("migrate", ATTAIN_DATABASE_URL=fresh_database)
    _assert_one_sentence(outcome, "goals schema", "from-the-future")


async def test_up_names_a_taken_port_before_it_starts_anything(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        outcome = await _attain("up", ATTAIN_STATE_DIR=str(tmp_path), ATTAIN_PORT_BASE=str(port - 1))
    _assert_one_sentence(outcome, f"Port {port} for goals-api is taken", "ATTAIN_PORT_BASE")
    assert not (tmp_path / "postgres").exists()


async def test_up_refuses_a_port_base_that_is_no_number(tmp_path: Path) -> None:
    outcome = await _attain("up", ATTAIN_STATE_DIR=str(tmp_path), ATTAIN_PORT_BASE="eighty")
    _assert_one_sentence(outcome, "ATTAIN_PORT_BASE", "'eighty'")


async def test_up_says_that_the_broker_it_is_pointed_at_is_not_there(tmp_path: Path, empty_database: str) -> None:
    outcome = await _attain(
        "up",
        ATTAIN_STATE_DIR=str(tmp_path),
        ATTAIN_PORT_BASE=str(free_port_base()),
        ATTAIN_DATABASE_URL=empty_database,
        ATTAIN_KAFKA_BOOTSTRAP=f"127.0.0.1:{free_ports(1)[0]}",
    )
    _assert_one_sentence(outcome, "ATTAIN_KAFKA_BOOTSTRAP")


async def test_token_needs_a_key(tmp_path: Path) -> None:
    outcome = await _attain("token", "--role", "rep", ATTAIN_STATE_DIR=str(tmp_path))
    _assert_one_sentence(outcome, "ATTAIN_JWT_SECRET")
