"""The tables of inquiries and their threads."""

from sqlalchemy import BigInteger, CheckConstraint, Column, Date, Index, Table, Text, Uuid, text

from services.incentives.metadata import metadata
from shared.db.tables import instant, tenant_id

inquiries = Table(
    "inquiries",
    metadata,
    tenant_id(),
    Column("id", Uuid(), primary_key=True),
    Column("version", BigInteger, nullable=False),
    Column("person_id", Uuid(), nullable=False),
    Column("earning_id", Uuid(), nullable=True),
    Column("deal_id", Uuid(), nullable=True),
    Column("source", Text, nullable=True),
    Column("external_id", Text, nullable=True),
    Column("reason", Text, nullable=False),
    Column("author_kind", Text, nullable=False),
    Column("author_id", Uuid(), nullable=True),
    instant("raised_at"),
    Column("due_on", Date, nullable=False),
    Column("status", Text, nullable=False),
    Column("assignee_id", Uuid(), nullable=True),
    Column("outcome", Text, nullable=True),
    Column("resolution", Text, nullable=True),
    Column("adjustment_id", Uuid(), nullable=True),
    instant("overdue_since", nullable=True),
    CheckConstraint("status IN ('open', 'in_progress', 'resolved', 'withdrawn')", name="status"),
    Index("ix_inquiries_person_id", "person_id"),
    Index(
        "ix_inquiries_due_on",
        "due_on",
        postgresql_where=text("status IN ('open', 'in_progress') AND overdue_since IS NULL"),
    ),
)

inquiry_entries = Table(
    "inquiry_entries",
    metadata,
    tenant_id(),
    Column("id", Uuid(), primary_key=True),
    Column("inquiry_id", Uuid(), nullable=False),
    Column("kind", Text, nullable=False),
    Column("actor_kind", Text, nullable=False),
    Column("actor_id", Uuid(), nullable=True),
    instant("at"),
    Column("text", Text, nullable=True),
    Column("before", Text, nullable=True),
    Column("after", Text, nullable=True),
    Index("ix_inquiry_entries_inquiry_id", "inquiry_id"),
)
"""What was written and done; append-only."""
