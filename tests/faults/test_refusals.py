"""What a product lives on refuses for a while: its database, read-only or full, and the disk of its logs.

A CRM goes on sending meanwhile. What cannot be stored is refused at once, and afterwards it is as if nothing had been.
The full disk is a real one where the tests may mount (as root); elsewhere triggers refuse every change with the
SQLSTATE of a full disk, which is all that the processes see of it. The logs' disk is `/dev/full`.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from time import monotonic
from typing import Final

import asyncpg
import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from deploy.local.stack import Stack
from tests.faults.honest import HonestTraffic, Phase
from tests.servers.infrastructure import Report, eventually
from tests.servers.small_disk import SmallDisk

WATCHED: Final = ("tracking-api", "tracking-worker", "incentives-worker")
CALM_SECONDS: Final = 2.0
REFUSING_SECONDS: Final = 4.0
P99_SECONDS_MAX: Final = 3.0
P99_OF_CALM_MAX: Final = 20
BACK_SECONDS_MAX: Final = 60.0
GROWTH_BYTES_MAX: Final = 100 * 2**20
_NO_ROOM: Final = """
CREATE FUNCTION public.no_room() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = '53100'; END $$
"""
_TABLES: Final = """
SELECT format('%I.%I', schemaname, tablename) AS name FROM pg_tables
WHERE schemaname IN ('goals', 'tracking', 'incentives')
"""


class Site:
    """A stack and the disk of its database, if that is one of its own."""

    def __init__(self, stack: Stack, disk: SmallDisk | None, crm: HonestTraffic) -> None:
        self.stack = stack
        self.disk = disk
        self.crm = crm

    @asynccontextmanager
    async def read_only(self) -> AsyncIterator[str]:
        """As after a failover: every connection is lost, and the new ones may write nothing."""
        async with self._administrator() as administrator:
            await administrator.execute("ALTER SYSTEM SET default_transaction_read_only = on")
            await administrator.execute("SELECT pg_reload_conf()")
            await administrator.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            try:
                yield "read-only database"
            finally:
                await administrator.execute("ALTER SYSTEM RESET default_transaction_read_only")
                await administrator.execute("SELECT pg_reload_conf()")

    @asynccontextmanager
    async def full(self) -> AsyncIterator[str]:
        """No table can grow; where a page has room left, some can still be written."""
        if self.disk is not None:
            self.disk.fill()
            try:
                yield "full disk of the database"
            finally:
                self.disk.empty()
            return
        async with self._administrator() as administrator:
            await administrator.execute(_NO_ROOM)
            tables = [row["name"] for row in await administrator.fetch(_TABLES)]
            # One table a transaction: who locked several would wait in a circle with those who write.
            try:
                for table in tables:
                    await administrator.execute(
                        f"CREATE TRIGGER no_room BEFORE INSERT OR UPDATE OR DELETE ON {table}"
                        " FOR EACH STATEMENT EXECUTE FUNCTION public.no_room()"
                    )
                yield "full disk of the database, played by triggers"
            finally:
                for table in tables:
                    await administrator.execute(f"DROP TRIGGER IF EXISTS no_room ON {table}")
                await administrator.execute("DROP FUNCTION public.no_room")

    async def is_ready(self) -> bool:
        """Whether all six processes are."""
        async with httpx.AsyncClient(timeout=10) as client:
            answers = [await client.get(f"{self.stack.url(name)}/readyz") for name in self.stack.service_names]
        return all(answer.is_success for answer in answers)

    async def lines_lost(self, name: str) -> int:
        """Log lines that a process could not write."""
        async with httpx.AsyncClient(timeout=10) as client:
            text = (await client.get(f"{self.stack.url(name)}/metrics")).text
        return next(
            int(sample.value)
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == "attain_log_lines_lost_total"
        )

    def log_to_a_full_disk(self, name: str) -> None:
        """Kill a process and start it with a log that can take nothing."""
        process = self.stack.process(name)
        process.kill()
        process.log_path.unlink()
        process.log_path.symlink_to("/dev/full")
        self.stack.start_service(name)

    @asynccontextmanager
    async def _administrator(self) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
        connection = await asyncpg.connect(self.stack.database_url)
        try:
            await connection.execute("SET default_transaction_read_only = off")
            yield connection
        finally:
            await connection.close()


@pytest.fixture(scope="module")
async def site(stack: Stack, small_disk: SmallDisk | None) -> AsyncIterator[Site]:
    async with httpx.AsyncClient(timeout=30) as client:
        yield Site(stack, small_disk, await HonestTraffic.begun(stack, client, WATCHED))


def require_bounds(calm: Phase, meanwhile: Phase) -> None:
    """Whatever the answer was, it came soon, and nothing heaped up."""
    assert meanwhile.p99_answered < max(P99_SECONDS_MAX, P99_OF_CALM_MAX * calm.p99_answered)
    for name, most in meanwhile.resident_max.items():
        assert most - meanwhile.resident_before[name] < GROWTH_BYTES_MAX


@pytest.mark.parametrize("fault", [Site.read_only, Site.full], ids=["read-only", "full"])
async def test_while_the_database_refuses_senders_hear_so_at_once_and_afterwards_all_is_counted_once(
    site: Site, report: Report, fault: Callable[[Site], AbstractAsyncContextManager[str]]
) -> None:
    crm = site.crm
    async with crm.flowing():
        async with crm.phase("calm") as calm:
            await asyncio.sleep(CALM_SECONDS)
        async with crm.phase("refusing") as refusing, fault(site) as name:
            refusing.name = name
            await eventually(lambda: refusing.refused > 0, BACK_SECONDS_MAX, expectation="a refusal")
            changed = await crm.seller.client.post(
                f"{crm.seller.url('goals')}/v1/people", json={"name": "Bea"}, headers=crm.seller.headers()
            )
            # Where a page has room left, a person still finds a place.
            assert changed.status_code in (httpx.codes.SERVICE_UNAVAILABLE, httpx.codes.CREATED), changed.text
            await asyncio.sleep(REFUSING_SECONDS)
        began, before = monotonic(), crm.accepted
        await eventually(lambda: crm.accepted > before, BACK_SECONDS_MAX, expectation="webhooks taken again")
        taken_seconds = monotonic() - began
        await eventually(site.is_ready, BACK_SECONDS_MAX, expectation="all six ready by themselves")
        ready_seconds = monotonic() - began
    report(f"{calm}\n{refusing}\n  taken again after {taken_seconds:.1f} s, all ready after {ready_seconds:.1f} s")
    require_bounds(calm, refusing)
    await crm.require_all_counted_once()


async def test_a_full_disk_of_the_logs_loses_log_lines_and_nothing_else(site: Site, report: Report) -> None:
    crm, names = site.crm, site.stack.service_names
    async with crm.flowing():
        async with crm.phase("calm") as calm:
            await asyncio.sleep(CALM_SECONDS)
        for name in names:
            site.log_to_a_full_disk(name)
        await eventually(partial(answered, site), BACK_SECONDS_MAX, expectation="all six ready again")
        async with crm.phase("full disk of the logs") as meanwhile:
            for _ in range(100):
                for service in ("goals", "tracking", "incentives"):
                    await crm.seller.client.get(f"{crm.seller.url(service)}/v1/nowhere", headers=crm.seller.headers())
            await asyncio.sleep(REFUSING_SECONDS)
    lost = {name: await site.lines_lost(name) for name in names}
    report(f"{calm}\n{meanwhile}\n  log lines lost: {lost}")
    require_bounds(calm, meanwhile)
    assert meanwhile.refused == 0
    # Of lines that strangers can cause as often as they like the log takes examples.
    assert all(lost[f"{service}-api"] >= 20 for service in ("goals", "tracking", "incentives"))
    assert all(site.stack.process(name).running for name in names)
    await crm.require_all_counted_once()


async def answered(site: Site) -> bool:
    """Whether all six are ready, which do not listen yet while they start."""
    assert all(site.stack.process(name).running for name in site.stack.service_names)
    try:
        return await site.is_ready()
    except httpx.TransportError:
        return False
