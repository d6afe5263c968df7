"""The table of jobs."""

from sqlalchemy import BigInteger, Column, Index, Table, Text, Uuid, text
from sqlalchemy.dialects.postgresql import JSONB

from services.goals.metadata import metadata
from shared.db.tables import instant, tenant_id

jobs = Table(
    "jobs",
    metadata,
    tenant_id(),
    Column("id", Uuid(), primary_key=True),
    Column("version", BigInteger, nullable=False),
    Column("kind", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("parameters", JSONB, nullable=False),
    # Null for a service.
    Column("requested_by", Uuid(), nullable=True),
    instant("requested_at"),
    Column("reason", Text, nullable=True),
    Column("total", BigInteger, nullable=True),
    Column("done", BigInteger, nullable=False),
    Column("worked_ms", BigInteger, nullable=False),
    Column("cursor", Text, nullable=True),
    Column("counts", JSONB, nullable=False),
    Column("problems", JSONB, nullable=False),
    Column("failure", JSONB(none_as_null=True), nullable=True),
    instant("started_at", nullable=True),
    instant("ended_at", nullable=True),
    # When it was changed or worked at last: those that wait longest come first.
    instant("changed_at"),
    Index("ix_jobs_changed_at", "changed_at", postgresql_where=text("state IN ('queued', 'running')")),
)
