"""Alerts, and what is remembered between two looks at a connection."""

from sqlalchemy import BigInteger, Column, Index, Table, Text, Uuid
from sqlalchemy.dialects.postgresql import JSONB

from services.tracking.metadata import metadata
from shared.db.tables import instant, tenant_id

# The newest version of each alert that was ever raised.
alerts = Table(
    "alerts",
    metadata,
    tenant_id(),
    Column("id", Uuid(), primary_key=True),
    Column("version", BigInteger, nullable=False),
    Column("kind", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("severity", Text, nullable=False),
    Column("subject_type", Text, nullable=False),
    Column("subject_id", Uuid(), nullable=False),
    Column("check", Text, nullable=False),
    Column("title", Text, nullable=False),
    Column("sentence", Text, nullable=False),
    instant("raised_at"),
    instant("changed_at"),
    instant("cleared_at", nullable=True),
    # Without the tenant, whose the subject is anyway.
    Index("ix_alerts_subject", "subject_id"),
)

# One for each connection that is looked at.
alert_watches = Table(
    "alert_watches",
    metadata,
    tenant_id(),
    Column("connection_id", Uuid(), primary_key=True),
    # Whoever looks locks the row meanwhile; nobody looks again before then. Empty: not before something changes.
    instant("due_at", nullable=True),
    instant("looked_at", nullable=True),
    # {check: trend}
    Column("trends", JSONB, nullable=False),
    Index("ix_alert_watches_due", "due_at"),
)
