"""The tables of proposals and comments."""

from sqlalchemy import BigInteger, CheckConstraint, Column, Index, Table, Text, Uuid
from sqlalchemy.dialects.postgresql import JSONB

from services.goals.metadata import metadata
from shared.db.decisions import decision_columns
from shared.db.tables import instant, tenant_id

goal_proposals = Table(
    "goal_proposals",
    metadata,
    tenant_id(),
    Column("id", Uuid(), primary_key=True),
    Column("version", BigInteger, nullable=False),
    Column("goal_id", Uuid(), nullable=False),
    Column("goal_version", BigInteger, nullable=False),
    Column("owner_id", Uuid(), nullable=False),
    Column("changes", JSONB, nullable=False),
    Column("reason", Text, nullable=False),
    Column("author_kind", Text, nullable=False),
    Column("author_id", Uuid(), nullable=True),
    instant("proposed_at"),
    Column("state", Text, nullable=False),
    *decision_columns(),
    CheckConstraint("state IN ('pending', 'approved', 'rejected', 'withdrawn')", name="state"),
    Index("ix_goal_proposals_goal_id", "goal_id"),
)

goal_comments = Table(
    "goal_comments",
    metadata,
    tenant_id(),
    Column("id", Uuid(), primary_key=True),
    Column("goal_id", Uuid(), nullable=False),
    Column("author_kind", Text, nullable=False),
    Column("author_id", Uuid(), nullable=True),
    Column("text", Text, nullable=False),
    instant("written_at"),
    Index("ix_goal_comments_goal_id", "goal_id"),
)
