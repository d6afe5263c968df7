"""The table of stated values."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Date,
    Index,
    Table,
    Text,
    Uuid,
)

from services.goals.metadata import metadata
from shared.db.tables import instant, money, tenant_id

stated_values = Table(
    "stated_values",
    metadata,
    tenant_id(),
    Column("id", Uuid(), primary_key=True),
    Column("version", BigInteger, nullable=False),
    Column("goal_id", Uuid(), nullable=False),
    Column("day", Date, nullable=False),
    money("value"),
    Column("source", Text, nullable=False),
    Column("note", Text, nullable=True),
    Column("stated_by", Uuid(), nullable=True),
    instant("stated_at"),
    Column("deleted", Boolean, nullable=False),
    CheckConstraint("source IN ('api', 'file', 'hand')", name="source"),
    # Without the tenant, so that no plan takes it for the primary key.
    Index("ix_stated_values_goal_id", "goal_id"),
)
