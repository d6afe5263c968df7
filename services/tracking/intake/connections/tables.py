"""Connections to CRMs."""

from sqlalchemy import BigInteger, Boolean, Column, Index, Table, Text, Uuid
from sqlalchemy.dialects.postgresql import JSONB

from services.tracking.metadata import metadata
from shared.db.tables import instant, tenant_id

connections = Table(
    "connections",
    metadata,
    tenant_id(),
    Column("id", Uuid(), primary_key=True),
    Column("source", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("identity_source", Text, nullable=False),
    Column("status", Text, nullable=False),
    # A list of {id, ciphertext, created_at, expires_at}: one that signs, and one more while rotating.
    Column("secrets", JSONB, nullable=False),
    Column("mapping", JSONB, nullable=False),
    # What the sender may say of itself: {name: [values]}.
    Column("allowed", JSONB, nullable=False),
    # Sealed credentials for the source's API.
    Column("api", Text),
    Column("version", BigInteger, nullable=False),
    instant("created_at"),
    instant("updated_at"),
    Index("uq_connections_id", "id", unique=True),
)


# Users of sources, as they were seen last.
crm_users = Table(
    "crm_users",
    metadata,
    tenant_id(),
    Column("connection_id", Uuid(), primary_key=True),
    Column("external_id", Text, primary_key=True),
    Column("name", Text),
    Column("email", Text),
    Column("is_active", Boolean, nullable=False),
    instant("seen_at"),
)
