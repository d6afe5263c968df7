"""The whole product as `attain up` starts it, on the servers of the measurements and with the measured company."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from sqlalchemy import text

from deploy.local.bench.company import TENANT_ID, company, publish
from deploy.local.bench.sending import Hook, first_accepted, new_hook
from deploy.local.bench.servers import Servers
from deploy.local.commands.verify import differences
from deploy.local.configuration import StackConfiguration
from deploy.local.errors import StackError
from deploy.local.ports import Ports
from deploy.local.stack import Stack
from services.tracking.measure.progress.consumer import PROGRESS_GROUP
from shared.contracts.base import Event
from shared.contracts.goals import Goal
from shared.db.database import Database, Scope

_DATABASE: Final = "bench_whole"
_WAIT_SECONDS: Final = 120.0
_POLL_SECONDS: Final = 0.05
_KNOWN_POLL_SECONDS: Final = 0.2
_KNOWN: Final = text(
    "SELECT (SELECT count(*) FROM tracking.projected_snapshots) AS definitions,"
    " (SELECT count(*) FROM tracking.progress_goals WHERE NOT stale) AS goals"
)
_APPLIED: Final = text(
    "SELECT CAST(coalesce(sum(next_offset), 0) AS bigint) AS applied FROM tracking.consumer_positions"
    ' WHERE "group" = :group'
)
_UNPUBLISHED: Final = text(
    "SELECT (SELECT count(*) FROM tracking.outbox) + (SELECT count(*) FROM tracking.outbox_marks) AS messages"
)


@dataclass(frozen=True, slots=True)
class Product:
    """The running stack, the hook webhooks are sent to, and a look into tracking's database."""

    servers: Servers
    stack: Stack
    hook: Hook
    database: Database

    @property
    def hook_port(self) -> int:
        return self.stack.configuration.ports.tracking

    async def known(self, tenant_id: UUID, *, definitions: int, goals: int) -> None:
        """Wait until tracking knows so many definitions and counts so many goals of a tenant.

        `StackError` when it makes no progress meanwhile.
        """
        wanted, seen = (definitions, goals), (0, 0)
        moved_at = time.monotonic()
        while seen != wanted:
            await asyncio.sleep(_KNOWN_POLL_SECONDS)
            async with self.database.transaction(Scope.of(tenant_id)) as tx:
                [row] = await tx.rows(_KNOWN)
            before, seen = seen, (row["definitions"], row["goals"])
            if seen != before:
                moved_at = time.monotonic()
            if time.monotonic() - moved_at > _WAIT_SECONDS:
                raise StackError(f"Tracking stays at {seen} of {wanted} definitions and goals that count.")

    async def publish(self, events: Sequence[Event], *, source: str) -> None:
        """Publish events as the service that owns them would."""
        await publish(self.servers.kafka, events, source=source)

    async def applied(self) -> int:
        """How many deal events have ever been applied to goals."""
        async with self.database.transaction(Scope.every()) as tx:
            [row] = await tx.rows(_APPLIED, {"group": PROGRESS_GROUP})
        return int(row["applied"])

    async def settled(self, applied: int) -> float:
        """Wait until so many events are applied and all progress is published; how many seconds that took.

        `StackError` when it stands still meanwhile.
        """
        started_at = moved_at = time.perf_counter()
        seen = (0, 0)
        while True:
            before, seen = seen, (await self.applied(), await self._unpublished())
            if seen[0] >= applied and not seen[1]:
                return time.perf_counter() - started_at
            if seen != before:
                moved_at = time.perf_counter()
            if time.perf_counter() - moved_at > _WAIT_SECONDS:
                raise StackError(f"{seen[0]} of {applied} deal events are applied, {seen[1]} messages are unpublished.")
            self.stack.require_alive()
            await asyncio.sleep(_POLL_SECONDS)

    async def tidy(self) -> None:
        """Vacuum and analyse the database and write out its pages, as time would have done."""
        await self.servers.tidy(_DATABASE)

    async def problems(self) -> list[str]:
        """What is not as recomputed from the stored deals."""
        return [str(difference) for difference in await differences(self.stack.database_url)]

    async def _unpublished(self) -> int:
        async with self.database.transaction(Scope.every()) as tx:
            [row] = await tx.rows(_UNPUBLISHED)
        return int(row["messages"])


@asynccontextmanager
async def running_product(servers: Servers) -> AsyncIterator[Product]:
    """All six processes, every goal counting; stopped and forgotten at the end."""
    configuration = StackConfiguration(
        state_folder=servers.folder / "whole",
        ports=Ports.free(),
        database_url=await servers.new_database(_DATABASE),
        kafka_bootstrap=servers.kafka_bootstrap,
    )
    with Stack(configuration) as stack:
        database = Database(stack.database_url, service="tracking", pool_size=2)
        try:
            hook = await new_hook(stack.database_url, stack.secrets.secrets_key)
            product = Product(servers, stack, hook, database)
            events = company().events
            await product.publish(events, source="goals")
            goals = sum(isinstance(event, Goal) for event in events)
            await product.known(TENANT_ID, definitions=len(events), goals=goals)
            await first_accepted(hook, configuration.ports.tracking)
            await product.settled(1)
            yield product
        finally:
            await database.close()
    await servers.drop_database(_DATABASE)
