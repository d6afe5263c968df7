"""The table of acknowledgements."""

from sqlalchemy import BigInteger, Column, Index, Table, Text, Uuid
from sqlalchemy.dialects.postgresql import ARRAY

from services.goals.metadata import metadata
from shared.db.tables import instant, tenant_id

smart_acknowledgements = Table(
    "smart_acknowledgements",
    metadata,
    tenant_id(),
    Column("id", Uuid(), primary_key=True),
    Column("goal_id", Uuid(), nullable=False),
    Column("goal_version", BigInteger, nullable=False),
    Column("checks", ARRAY(Text), nullable=False),
    Column("reason", Text, nullable=True),
    Column("actor_kind", Text, nullable=False),
    Column("actor_id", Uuid(), nullable=True),
    instant("acknowledged_at"),
    Index("ix_smart_acknowledgements_goal_id", "goal_id"),
)
