"""Row 1: signed webhooks durably accepted by one API process, against a bare route that stores nothing."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import httpx
from cryptography.fernet import Fernet
from sqlalchemy import text

from deploy.local.bench.company import TENANT_ID
from deploy.local.bench.report import Bound, Row
from deploy.local.bench.sending import CONNECTIONS, bare_route, first_accepted, new_hook, sent
from deploy.local.bench.servers import Servers
from deploy.local.logins import login_url
from deploy.local.ports import LOOPBACK, free_ports
from deploy.local.process import ManagedProcess
from deploy.local.stack import PROJECT_FOLDER
from shared.db.database import Database, Scope

_REQUIRED: Final = 0.75
_WARM_UP_REQUESTS: Final = 2000
_STORED: Final = text("SELECT count(*) AS stored FROM tracking.deliveries WHERE dedupe_key LIKE :run")


async def measure(servers: Servers, *, rounds: int, requests: int, report: Callable[[str], None]) -> Row:
    """Send `requests` webhooks a side and round."""
    database_url = await servers.new_database("bench_intake")
    database = Database(database_url, service="tracking")
    secrets_key = Fernet.generate_key().decode()
    hook = await new_hook(database_url, secrets_key)
    ours: list[float] = []
    other: list[float] = []
    problems: list[str] = []
    with _tracking_api(servers, database_url, secrets_key) as port, bare_route(servers) as bare_port:
        await first_accepted(hook, port)
        for warm_up in (port, bare_port):
            await sent(hook.plan(warm_up, f"warm-up-{warm_up}", count=_WARM_UP_REQUESTS))
        for number in range(1, rounds + 1):
            result = await sent(hook.plan(port, f"round-{number}", count=requests))
            ours.append(result.per_second)
            async with database.transaction(Scope.of(TENANT_ID)) as tx:
                [row] = await tx.rows(_STORED, {"run": f"round-{number}-%"})
            if row["stored"] != result.accepted:
                problems.append(f"{result.accepted} webhooks were accepted and {row['stored']} stored")
            other.append((await sent(hook.plan(bare_port, f"round-{number}", count=requests))).per_second)
            report(f"row 1, round {number}: {ours[-1]:,.0f} webhooks/s, bare route {other[-1]:,.0f}")
    await database.close()
    await servers.drop_database("bench_intake")
    return Row(
        number=1,
        what="signed webhooks durably accepted, one API process",
        against="a bare FastAPI route that reads the body and answers 202",
        unit="requests/s",
        ours=tuple(ours),
        other=tuple(other),
        bound=Bound.AT_LEAST,
        required=_REQUIRED,
        details={"requests": requests, "connections": CONNECTIONS},
        problems=tuple(problems),
    )


@contextmanager
def _tracking_api(servers: Servers, database_url: str, secrets_key: str) -> Iterator[int]:
    """The API process of tracking alone; its port."""
    [port] = free_ports(1)
    process = ManagedProcess.start(
        "tracking-api",
        [sys.executable, "-m", "deploy.api_process", "services.tracking.app:create_app", str(port)],
        log_path=servers.folder / "tracking-api.log",
        environment=os.environ
        | {
            "ATTAIN_DATABASE_URL": login_url(database_url, "tracking", "tracking"),
            "ATTAIN_KAFKA_BOOTSTRAP": servers.kafka_bootstrap,
            "ATTAIN_SECRETS_KEY": secrets_key,
            "ATTAIN_JWT_SECRET": secrets_key,
            "ATTAIN_HOST": LOOPBACK,
        },
        working_directory=PROJECT_FOLDER,
    )
    try:
        process.wait_until(lambda: _is_ready(port))
        yield port
    finally:
        process.stop()


def _is_ready(port: int) -> bool:
    try:
        return httpx.get(f"http://{LOOPBACK}:{port}/readyz", trust_env=False).is_success
    except httpx.HTTPError:
        return False
