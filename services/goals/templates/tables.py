"""The table of goal templates."""

from sqlalchemy import BigInteger, Boolean, Column, Table, Text, Uuid
from sqlalchemy.dialects.postgresql import JSONB

from services.goals.metadata import metadata
from shared.db.tables import instant, tenant_id

goal_templates = Table(
    "goal_templates",
    metadata,
    tenant_id(),
    Column("id", Uuid(), primary_key=True),
    Column("version", BigInteger, nullable=False),
    Column("name", Text, nullable=False),
    Column("name_pattern", Text, nullable=True),
    Column("metric", JSONB, nullable=False),
    Column("unit", Text, nullable=False),
    Column("direction", Text, nullable=False),
    Column("stretch", JSONB, nullable=False),
    Column("check_in", Text, nullable=False),
    Column("deleted", Boolean, nullable=False),
    instant("changed_at"),
)
