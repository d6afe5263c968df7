"""A service's own copy of what another publishes: the newest snapshot of every subject, and a revision a tenant.

The revision grows with every change, so that whoever has something derived in memory finds out in one cheap read
whether it is still current.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple
from uuid import UUID

from sqlalchemy import BigInteger, Column, Index, MetaData, Table, Text, text
from sqlalchemy.dialects.postgresql import JSONB

from shared.db.database import Transaction
from shared.db.tables import tenant_id


class Snapshot(NamedTuple):
    """The state of one subject: `body` is the event's JSON text."""

    tenant_id: UUID
    subject: str
    event_type: str
    version: int
    body: str


@dataclass(frozen=True)
class ProjectionTables:
    """The tables of the copies. One of each in every service that reads another's snapshots."""

    snapshots: Table
    revisions: Table


def projection_tables(metadata: MetaData) -> ProjectionTables:
    """Define the projection tables in a service's metadata. Call once for a metadata."""
    return ProjectionTables(
        snapshots=Table(
            "projected_snapshots",
            metadata,
            tenant_id(),
            Column("subject", Text, primary_key=True),
            Column("event_type", Text, nullable=False),
            Column("version", BigInteger, nullable=False),
            # The tenant's when this was stored: who knows an earlier one reads what is of a later one.
            Column("revision", BigInteger, nullable=False, server_default="0"),
            Column("body", JSONB, nullable=False),
            Index("ix_projected_snapshots_revision", "tenant_id", "revision"),
        ),
        revisions=Table(
            "projection_revisions",
            metadata,
            tenant_id(),
            Column("revision", BigInteger, nullable=False),
        ),
    )


class Projection:
    """Stores and reads the copies. The caller holds the tenants' lock, exclusive to store and shared to read; or, to
    store, that of their revisions: see `lock_revisions`.
    """

    def __init__(self, tables: ProjectionTables) -> None:
        snapshots, revisions = tables.snapshots.fullname, tables.revisions.fullname
        # In one statement, with the revision that it makes: what is stored is found by it.
        self._store: Final = text(
            f"""
            WITH newer AS (
                INSERT INTO {snapshots} AS stored (tenant_id, subject, event_type, version, revision, body)
                SELECT t, s, e, v, coalesce((SELECT revision FROM {revisions} WHERE tenant_id = t), 0) + 1,
                    CAST(b AS jsonb)
                FROM unnest(
                    CAST(:tenants AS uuid[]), CAST(:subjects AS text[]), CAST(:types AS text[]),
                    CAST(:versions AS bigint[]), CAST(:bodies AS text[])
                ) AS new(t, s, e, v, b)
                ON CONFLICT (tenant_id, subject) DO UPDATE
                SET event_type = excluded.event_type, version = excluded.version, revision = excluded.revision,
                    body = excluded.body
                WHERE stored.version < excluded.version
                RETURNING tenant_id, subject
            ), bumped AS (
                INSERT INTO {revisions} AS stored (tenant_id, revision) SELECT DISTINCT tenant_id, 1 FROM newer
                ON CONFLICT (tenant_id) DO UPDATE SET revision = stored.revision + 1
            )
            SELECT tenant_id, subject FROM newer
            """
        )
        self._since: Final = text(
            f"SELECT tenant_id, subject, event_type, version, body::text AS body FROM {snapshots}"
            " WHERE tenant_id = :tenant AND revision > :revision"
        )
        self._versions: Final = text(
            f"SELECT stored.tenant_id, stored.subject, stored.version"
            f" FROM unnest(CAST(:tenants AS uuid[]), CAST(:subjects AS text[])) AS wanted(t, s)"
            f" JOIN {snapshots} AS stored ON stored.tenant_id = wanted.t AND stored.subject = wanted.s"
        )
        self._bump: Final = text(
            f"INSERT INTO {revisions} AS stored (tenant_id, revision)"
            " SELECT t, 1 FROM unnest(CAST(:tenants AS uuid[])) AS t"
            " ON CONFLICT (tenant_id) DO UPDATE SET revision = stored.revision + 1"
        )
        self._lock: Final = text(
            f"SELECT tenant_id, revision FROM {revisions} WHERE tenant_id = ANY(CAST(:tenants AS uuid[]))"
            " ORDER BY tenant_id FOR NO KEY UPDATE"
        )
        self._begin: Final = text(
            f"INSERT INTO {revisions} (tenant_id, revision) SELECT t, 0 FROM unnest(CAST(:tenants AS uuid[])) AS t"
            " ORDER BY t ON CONFLICT (tenant_id) DO NOTHING"
        )
        self._revisions: Final = text(
            f"SELECT tenant_id, revision FROM {revisions} WHERE tenant_id = ANY(CAST(:tenants AS uuid[]))"
        )

    async def store_newest(self, tx: Transaction, snapshots: Sequence[Snapshot]) -> list[Snapshot]:
        """Store each snapshot that is newer than the stored one; those that are, by tenant and subject.

        Each tenant of which something is stored moves to its next revision, which its new snapshots carry.
        """
        newest: dict[tuple[UUID, str], Snapshot] = {}
        for snapshot in snapshots:
            key = (snapshot.tenant_id, snapshot.subject)
            if key not in newest or newest[key].version < snapshot.version:
                newest[key] = snapshot
        if not newest:
            return []
        incoming = [newest[key] for key in sorted(newest)]
        stored = await tx.rows(
            self._store,
            {
                "tenants": [s.tenant_id for s in incoming],
                "subjects": [s.subject for s in incoming],
                "types": [s.event_type for s in incoming],
                "versions": [s.version for s in incoming],
                "bodies": [s.body for s in incoming],
            },
        )
        return [newest[key] for key in sorted((row["tenant_id"], row["subject"]) for row in stored)]

    async def lock_revisions(self, tx: Transaction, tenant_ids: Collection[UUID]) -> Mapping[UUID, int]:
        """The current revision of each tenant; nobody else moves it on before the end of the transaction."""
        parameters = {"tenants": sorted(tenant_ids)}
        locked = {row["tenant_id"]: row["revision"] for row in await tx.rows(self._lock, parameters)}
        if len(locked) < len(set(tenant_ids)):
            await tx.execute(self._begin, parameters)
            locked = {row["tenant_id"]: row["revision"] for row in await tx.rows(self._lock, parameters)}
        return locked

    async def bump(self, tx: Transaction, tenant_ids: Collection[UUID]) -> None:
        """Move these tenants to their next revision, as something derived from their snapshots has changed."""
        await tx.execute(self._bump, {"tenants": sorted(tenant_ids)})

    async def revisions(self, tx: Transaction, tenant_ids: Collection[UUID]) -> dict[UUID, int]:
        """The current revision of each tenant; 0 where nothing was ever stored."""
        rows = await tx.rows(self._revisions, {"tenants": sorted(tenant_ids)})
        return dict.fromkeys(tenant_ids, 0) | {row["tenant_id"]: row["revision"] for row in rows}

    async def versions(self, tx: Transaction, keys: Sequence[tuple[UUID, str]]) -> dict[tuple[UUID, str], int]:
        """The stored version of each of these tenants' subjects; those that are not stored are left out."""
        rows = await tx.rows(self._versions, {"tenants": [t for t, _ in keys], "subjects": [s for _, s in keys]})
        return {(row["tenant_id"], row["subject"]): row["version"] for row in rows}

    async def since(self, tx: Transaction, tenant: UUID, revision: int) -> list[Snapshot]:
        """Every snapshot of a tenant that was stored after a revision; after -1 all of them."""
        return [Snapshot(**row) for row in await tx.rows(self._since, {"tenant": tenant, "revision": revision})]
