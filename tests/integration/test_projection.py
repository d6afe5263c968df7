"""A service's copy of what another publishes: what a reader reads who knows an earlier revision."""

from collections.abc import AsyncIterator
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from services.tracking.definitions.tables import projection
from services.tracking.measure.progress.definitions import DefinitionsCache
from services.tracking.measure.progress.service import ProgressTracker
from services.tracking.metadata import transport
from shared.db.database import Database, Scope
from shared.db.projection import Projection, Snapshot
from shared.outbox.outbox import Outbox
from tests.servers.infrastructure import service_url
from tests.stories.june import JUNE, Tenant

PROJECTION = Projection(projection)


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    database = Database(service_url(database_url, "tracking"), service="tracking")
    yield database
    await database.close()


def snapshot(tenant_id: UUID, subject: str, version: int) -> Snapshot:
    return Snapshot(tenant_id, subject, "attain.person.v1", version, f'{{"version": {version}}}')


async def keep(database: Database, tenant_id: UUID, *kept: tuple[str, int]) -> list[tuple[str, int]]:
    """What was kept of these subjects' versions."""
    async with database.transaction(Scope.of(tenant_id)) as tx:
        await tx.lock_tenants_exclusive([tenant_id])
        snapshots = [snapshot(tenant_id, subject, version) for subject, version in kept]
        return [(each.subject, each.version) for each in await PROJECTION.store_newest(tx, snapshots)]


async def revision(database: Database, tenant_id: UUID) -> int:
    async with database.transaction(Scope.of(tenant_id)) as tx:
        return (await PROJECTION.revisions(tx, [tenant_id]))[tenant_id]


async def since(database: Database, tenant_id: UUID, known: int) -> list[tuple[str, int]]:
    async with database.transaction(Scope.of(tenant_id)) as tx:
        return sorted((each.subject, each.version) for each in await PROJECTION.since(tx, tenant_id, known))


async def test_a_reader_reads_what_was_kept_after_the_revision_it_knows(database: Database) -> None:
    tenant_id, other = uuid4(), uuid4()
    everybody = [(f"person/{number:03}", 1) for number in range(200)]
    assert await keep(database, tenant_id, *everybody) == everybody
    await keep(database, other, ("person/of another", 1))
    known = await revision(database, tenant_id)
    assert known == 1
    assert await since(database, tenant_id, -1) == everybody
    assert await since(database, tenant_id, known) == []

    assert await keep(database, tenant_id, ("person/007", 3), ("person/007", 2), ("person/008", 1)) == [
        ("person/007", 3)
    ]
    assert await revision(database, tenant_id) == known + 1
    assert await since(database, tenant_id, known) == [("person/007", 3)]
    assert await since(database, tenant_id, known + 1) == []


async def test_what_is_not_newer_leaves_the_revision(database: Database) -> None:
    tenant_id = uuid4()
    await keep(database, tenant_id, ("person/1", 2))
    assert await keep(database, tenant_id, ("person/1", 2), ("person/1", 1)) == []
    assert await revision(database, tenant_id) == 1


@pytest.mark.parametrize("service", ["tracking", "incentives"])
async def test_what_a_worker_of_the_release_before_keeps_is_read_too(database_url: str, service: str) -> None:
    """It says nothing of revisions where it keeps a snapshot, and counts the tenant's on afterwards."""
    tenant_id = uuid4()
    kept = text(
        f"INSERT INTO {service}.projected_snapshots AS held (tenant_id, subject, event_type, version, body)"
        " VALUES (:tenant, :subject, 'attain.person.v1', :version, '{}')"
        " ON CONFLICT (tenant_id, subject) DO UPDATE"
        " SET event_type = excluded.event_type, version = excluded.version, body = excluded.body"
        " WHERE held.version < excluded.version"
    )
    counted = text(
        f"INSERT INTO {service}.projection_revisions AS held (tenant_id, revision) VALUES (:tenant, 1)"
        " ON CONFLICT (tenant_id) DO UPDATE SET revision = held.revision + 1"
    )
    found = text(f"SELECT subject FROM {service}.projected_snapshots WHERE tenant_id = :tenant AND revision > :known")
    database = Database(service_url(database_url, service), service=service)
    for known, (subject, version) in enumerate([("person/1", 1), ("person/2", 1), ("person/1", 2)]):
        async with database.transaction(Scope.of(tenant_id)) as tx:
            await tx.execute(kept, {"tenant": tenant_id, "subject": subject, "version": version})
            await tx.execute(counted, {"tenant": tenant_id})
        async with database.transaction(Scope.of(tenant_id)) as tx:
            rows = await tx.rows(found, {"tenant": tenant_id, "known": known})
        assert [row["subject"] for row in rows] == [subject]
    await database.close()


class Followed(Tenant):
    """A tenant, and the definitions of it that one process holds."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.cache = DefinitionsCache()
        self.tracker = ProgressTracker(Outbox(transport), self.cache)

    async def goals(self) -> set[UUID]:
        async with self.database.transaction(self.scope) as tx:
            return set((await self.cache.current(tx, self.id)).goals)


async def test_what_a_process_has_kept_it_does_not_read_again(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    tenant = Followed(database)
    await tenant.found("UTC")
    async with database.transaction(tenant.scope) as tx:
        revision = (await tenant.cache.revisions(tx, [tenant.id]))[tenant.id]

    async def unwanted(_: Projection, tx: object, tenant: UUID, known: int) -> list[Snapshot]:
        raise AssertionError(f"what was kept after revision {known} was read")

    monkeypatch.setattr(Projection, "since", unwanted)
    assert await tenant.goals() == {tenant.june, tenant.july}
    another = uuid4()
    await tenant.define(tenant.goal(another, JUNE))
    assert await tenant.goals() == {tenant.june, tenant.july, another}
    async with database.transaction(tenant.scope) as tx:
        assert await tenant.cache.revisions(tx, [tenant.id]) == {tenant.id: revision + 1}


async def test_what_is_rolled_back_is_not_held(database: Database) -> None:
    tenant = Followed(database)
    await tenant.found("UTC")
    rolled_back, kept = uuid4(), uuid4()
    with pytest.raises(ZeroDivisionError):
        async with database.transaction(tenant.scope) as tx:
            await tenant.tracker.define(tx, [tenant.goal(rolled_back, JUNE)])
            raise ZeroDivisionError
    assert await tenant.goals() == {tenant.june, tenant.july}
    await tenant.define(tenant.goal(kept, JUNE))
    assert await tenant.goals() == {tenant.june, tenant.july, kept}
