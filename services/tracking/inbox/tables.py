"""Raw deliveries: what a CRM sent, as it sent it, and what became of it.

Connections are never deleted, so no foreign key has to be checked for every webhook.
"""

from sqlalchemy import Column, Index, Integer, LargeBinary, Table, Text, Uuid, text
from sqlalchemy.dialects.postgresql import JSONB

from services.tracking.metadata import metadata
from shared.db.tables import instant, tenant_id

deliveries = Table(
    "deliveries",
    metadata,
    tenant_id(),
    Column("id", Uuid(), primary_key=True),
    Column("connection_id", Uuid(), nullable=False),
    Column("dedupe_key", Text, nullable=False),
    instant("received_at"),
    Column("headers", JSONB, nullable=False),
    # Null once its time of retention is over.
    Column("body", LargeBinary),
    Column("traceparent", Text),
    Column("state", Text, nullable=False),
    Column("reason", Text),
    Column("pointer", Text),
    Column("detail", Text),
    Column("deals", Integer),
    Column("replay_of", Uuid()),
    instant("processed_at", nullable=True),
    # Without the tenant, whose the connection is anyway: an index that starts with it tempts a planner that has not
    # counted the rows yet away from the primary key.
    Index("uq_deliveries_dedupe_key", "connection_id", "dedupe_key", unique=True),
    Index("ix_deliveries_waiting", "id", postgresql_where=text("state = 'received'")),
    Index("ix_deliveries_quarantined", "tenant_id", "id", postgresql_where=text("state = 'quarantined'")),
    Index("ix_deliveries_received_at", "received_at", postgresql_using="brin"),
)
