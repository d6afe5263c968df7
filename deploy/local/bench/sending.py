"""Sending webhooks to the product and to the bare route: the same requests, made by the same generator."""

import asyncio
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from deploy.local.bench.company import CLOSED_ON, OWNERS, SOURCE, TENANT_ID
from deploy.local.bench.load import LoadPlan, LoadResult, running_load
from deploy.local.bench.servers import Servers
from deploy.local.databases import opened
from deploy.local.errors import StackError
from deploy.local.ports import LOOPBACK, free_ports
from deploy.local.process import ManagedProcess
from deploy.local.stack import PROJECT_FOLDER
from services.tracking.intake.connections.service import Connections
from services.tracking.intake.sources.domain import Source, SourceMapping
from shared.db.database import Scope
from shared.db.sealing import SecretsBox

CONNECTIONS: Final = 64
_DEALS: Final = 20_000
_START_WAIT_SECONDS: Final = 15.0
_POLL_SECONDS: Final = 0.05


@dataclass(frozen=True, slots=True)
class Hook:
    """Where webhooks go, and the secret that signs them."""

    connection_id: UUID
    secret: str

    def plan(
        self, port: int, run: str, *, count: int, seconds_max: float = 60.0, unapplied_max: int | None = None
    ) -> LoadPlan:
        """Webhooks that no other `run` sends."""
        return LoadPlan(
            port=port,
            path=f"/hooks/{self.connection_id}",
            secret=self.secret,
            run=run,
            count=count,
            connections=CONNECTIONS,
            deals=_DEALS,
            owners=OWNERS,
            day=CLOSED_ON.isoformat(),
            seconds_max=seconds_max,
            unapplied_max=unapplied_max,
        )


async def new_hook(database_url: str, secrets_key: str, tenant_id: UUID = TENANT_ID) -> Hook:
    """A connection of the measured company, or of another tenant."""
    async with opened(database_url, "tracking") as database, database.transaction(Scope.of(tenant_id)) as tx:
        made = await Connections(SecretsBox(secrets_key)).create(
            tx,
            tenant_id,
            source=Source.STANDARD_WEBHOOKS,
            name="Bench",
            identity_source=SOURCE,
            secret=None,
            mapping=SourceMapping(),
            allowed={},
        )
    return Hook(made.connection.id, made.secret)


async def sent(plan: LoadPlan) -> LoadResult:
    """Send the whole plan as fast as it is answered."""
    async with running_load(plan) as load:
        return await load.result()


@contextmanager
def bare_route(servers: Servers) -> Iterator[int]:
    """The bare route in a process of its own; its port."""
    [port] = free_ports(1)
    process = ManagedProcess.start(
        "the bare route",
        [sys.executable, "-m", "deploy.local.bench.bare", str(port)],
        log_path=servers.folder / "bare.log",
        environment=os.environ,
        working_directory=PROJECT_FOLDER,
    )
    try:
        process.wait_until(lambda: _listens(port), seconds_max=_START_WAIT_SECONDS)
        yield port
    finally:
        process.stop()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((LOOPBACK, port)) == 0


async def first_accepted(hook: Hook, port: int) -> None:
    """Wait until the hook takes deliveries. `StackError` when that takes too long."""
    deadline = time.monotonic() + _START_WAIT_SECONDS
    attempt = 0
    while True:
        attempt += 1
        try:
            await sent(hook.plan(port, f"first-{attempt}", count=1))
        except StackError:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(_POLL_SECONDS)
        else:
            return
