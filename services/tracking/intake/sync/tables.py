"""What is fetched from sources unprompted: reconciliation, backfill, channels, users."""

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, Table, Text, Uuid, text
from sqlalchemy.dialects.postgresql import JSONB

from services.tracking.metadata import metadata
from shared.db.tables import instant, tenant_id

reconciliations = Table(
    "reconciliations",
    metadata,
    tenant_id(),
    Column("connection_id", Uuid(), primary_key=True),
    Column("version", BigInteger, nullable=False),
    Column("every_minutes", Integer, nullable=False),
    # When the next run is to start; null for never.
    instant("due_at", nullable=True),
    # Everything modified before is known.
    instant("mark", nullable=True),
    # When the users were fetched last.
    instant("users_at", nullable=True),
    # Digests of the latest records that could not be translated, so that an overlap does not store them again.
    Column("unreadable", JSONB, nullable=False),
    Index("ix_reconciliations_due_at", "due_at"),
)

# Walks through a source's records: what is fetched, how far it is, what it found.
sync_runs = Table(
    "sync_runs",
    metadata,
    tenant_id(),
    Column("id", Uuid(), primary_key=True),
    Column("connection_id", Uuid(), nullable=False),
    Column("kind", Text, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("state", Text, nullable=False),
    Column("phase", Text, nullable=False),
    Column("with_users", Boolean, nullable=False),
    instant("since", nullable=True),
    Column("cursor", Text),
    Column("total", BigInteger),
    Column("seen", BigInteger, nullable=False),
    Column("new", BigInteger, nullable=False),
    Column("changed", BigInteger, nullable=False),
    Column("deleted", BigInteger, nullable=False),
    Column("unreadable", BigInteger, nullable=False),
    Column("calls", BigInteger, nullable=False),
    Column("worked_ms", BigInteger, nullable=False),
    Column("error", Text),
    instant("requested_at"),
    instant("started_at", nullable=True),
    instant("ended_at", nullable=True),
    # Nobody else is at it before then, nor before it may be tried again.
    instant("due_at"),
    Column("lease_id", Uuid()),
    # Digests of the records that came last: pages of some sources overlap.
    Column("recent", JSONB, nullable=False),
    Index("ix_sync_runs_connection_id", "connection_id", "kind", "id"),
    Index("uq_sync_runs_open", "connection_id", "kind", unique=True, postgresql_where=text("ended_at IS NULL")),
    Index("ix_sync_runs_due_at", "due_at", postgresql_where=text("state = 'running'")),
)

# Subscriptions that the source lets expire.
channels = Table(
    "channels",
    metadata,
    tenant_id(),
    Column("connection_id", Uuid(), primary_key=True),
    Column("channel_id", Text, nullable=False),
    # The secret of the connection that it sends along; another one is to be sent to the source.
    Column("secret_id", Uuid()),
    instant("expires_at", nullable=True),
    # When it is to be opened or renewed; nobody else is at it before then.
    instant("due_at"),
    Column("failures", Integer, nullable=False),
    Column("error", Text),
    # When it was opened or renewed last.
    instant("opened_at", nullable=True),
    Index("ix_channels_due_at", "due_at"),
)
