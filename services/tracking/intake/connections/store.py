"""Every statement on connections."""

from collections.abc import Collection, Mapping
from dataclasses import asdict
from typing import Final
from uuid import UUID

from pydantic import TypeAdapter
from sqlalchemy import ARRAY, RowMapping, Uuid, any_, cast, select

from services.tracking.intake.connections.domain import Connection, ConnectionNotFound, ConnectionStatus
from services.tracking.intake.connections.tables import connections
from services.tracking.intake.sources.domain import SourceMapping
from shared.db.database import Transaction
from shared.db.versioned import VersionedTable
from shared.kernel.rotation import SealedSecret

_CONNECTION: Final = TypeAdapter(Connection)
_SECRETS: Final = TypeAdapter(tuple[SealedSecret, ...])
_MAPPING: Final = TypeAdapter(SourceMapping)
_ALLOWED: Final = TypeAdapter(dict[str, tuple[str, ...]])


async def ids_of_source(tx: Transaction, tenant_id: UUID, identity_source: str) -> list[UUID]:
    """The connections of the tenant whose deals carry a source."""
    statement = select(connections.c.id).where(
        connections.c.tenant_id == tenant_id, connections.c.identity_source == identity_source
    )
    return [row["id"] for row in await tx.rows(statement)]


async def accepting(tx: Transaction, ids: Collection[UUID] | None) -> list[Connection]:
    """The connections that accept deliveries, of all tenants in scope: all, or those of these ids."""
    statement = select(connections).where(connections.c.status == ConnectionStatus.ACTIVE)
    if ids is not None:
        statement = statement.where(connections.c.id == any_(cast(list(ids), ARRAY(Uuid))))
    return [_connection(row) for row in await tx.rows(statement)]


async def active(tx: Transaction) -> list[tuple[UUID, UUID]]:
    """The tenant and the id of each active connection of the tenants in scope."""
    statement = select(connections.c.tenant_id, connections.c.id).where(connections.c.status == ConnectionStatus.ACTIVE)
    return [(row["tenant_id"], row["id"]) for row in await tx.rows(statement)]


async def with_access(tx: Transaction, ids: Collection[UUID] | None) -> list[Connection]:
    """The active connections whose source's API may be called, of all tenants in scope: all, or those of these ids."""
    statement = select(connections).where(
        connections.c.status == ConnectionStatus.ACTIVE, connections.c.api.is_not(None)
    )
    if ids is not None:
        statement = statement.where(connections.c.id == any_(cast(list(ids), ARRAY(Uuid))))
    return [_connection(row) for row in await tx.rows(statement)]


async def by_id(tx: Transaction, connection_ids: Collection[UUID]) -> dict[UUID, Connection]:
    """Connections of any tenant in scope."""
    rows = await tx.rows(select(connections).where(connections.c.id.in_(connection_ids)))
    return {row["id"]: _connection(row) for row in rows}


def _values(connection: Connection) -> Mapping[str, object]:
    return {
        **asdict(connection),
        "secrets": _SECRETS.dump_python(connection.secrets, mode="json"),
        "mapping": _MAPPING.dump_python(connection.mapping, mode="json"),
        "allowed": _ALLOWED.dump_python(dict(connection.allowed), mode="json"),
    }


def _connection(row: RowMapping) -> Connection:
    return _CONNECTION.validate_python(dict(row))


CONNECTIONS: Final = VersionedTable("connection", connections, _connection, _values, ConnectionNotFound)
