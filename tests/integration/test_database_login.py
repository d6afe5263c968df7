"""A service runs as a login that owns nothing, or not at all."""

import asyncio
import os
import sys

import asyncpg
import pytest
from sqlalchemy.engine import make_url

from deploy.local.logins import login_name
from shared.db.database import Database, PrivilegedLogin
from shared.db.migration import SERVICES
from tests.servers.infrastructure import PROJECT_FOLDER, service_url


@pytest.mark.parametrize("service", SERVICES)
async def test_the_login_of_a_service_is_accepted_and_reaches_no_other_service(database_url: str, service: str) -> None:
    url = service_url(database_url, service)
    database = Database(url, service=service)
    await database.require_plain_login()
    connection = await database.connect()
    try:
        for other in set(SERVICES) - {service}:
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(f"SET ROLE {other}_app")
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(f"SELECT 1 FROM {other}.outbox")
        await connection.execute("RESET ROLE")
        await connection.execute("SET ROLE NONE")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(f"SELECT 1 FROM {service}.outbox")
    finally:
        await connection.close()
        await database.close()


async def test_a_superuser_one_who_bypasses_row_security_and_an_owner_are_refused(
    database_url: str, fresh_database: str
) -> None:
    administrator = await asyncpg.connect(fresh_database)
    bypassing, owner = f"bypassing_{os.getpid()}", f"owner_{os.getpid()}"
    try:
        await administrator.execute(f"CREATE ROLE {bypassing} LOGIN BYPASSRLS PASSWORD 'x'")
        await administrator.execute(f"CREATE ROLE {owner} LOGIN PASSWORD 'x'")
        await administrator.execute(f"GRANT goals_app TO {bypassing}, {owner}")
        await administrator.execute(f"ALTER TABLE goals.outbox OWNER TO {owner}")
        for name, why in ((None, "superuser"), (bypassing, "bypass row-level security"), (owner, "owns the service")):
            url = make_url(fresh_database)
            if name is not None:
                url = url.set(username=name, password="x")
            database = Database(url.render_as_string(hide_password=False), service="goals")
            with pytest.raises(PrivilegedLogin, match=f"ATTAIN_DATABASE_URL connects as .*{why}"):
                await database.require_plain_login()
            await database.close()
    finally:
        await administrator.execute("ALTER TABLE goals.outbox OWNER TO CURRENT_USER")
        for name in (bypassing, owner):
            await administrator.execute(f"DROP OWNED BY {name}")
            await administrator.execute(f"DROP ROLE {name}")
        await administrator.close()


@pytest.mark.parametrize(
    "command",
    [
        ("-m", "deploy.api_process", "services.goals.app:create_app", "1"),
        ("-m", "services.goals.worker"),
    ],
    ids=["api", "worker"],
)
async def test_a_process_with_the_owners_url_says_so_in_one_sentence_and_ends(
    database_url: str, command: tuple[str, ...]
) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *command,
        cwd=PROJECT_FOLDER,
        env={
            **os.environ,
            "ATTAIN_DATABASE_URL": database_url,
            "ATTAIN_KAFKA_BOOTSTRAP": "127.0.0.1:1",
            "ATTAIN_JWT_SECRET": "0123456789abcdef" * 3,
            "ATTAIN_WORKER_PORT": "1",
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await process.communicate()
    assert process.returncode == 1, output
    (line,) = output.decode().splitlines()
    assert "cannot_start" in line
    assert "ATTAIN_DATABASE_URL connects as" in line
    assert "member of goals_app alone" in line
    assert errors == b""
    assert login_name("goals") not in line
