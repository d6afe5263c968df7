"""The table of moves."""

from sqlalchemy import BigInteger, CheckConstraint, Column, Date, Index, Numeric, Table, Text, Uuid
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from services.goals.metadata import metadata
from shared.db.decisions import decision_columns
from shared.db.tables import instant, tenant_id

moves = Table(
    "moves",
    metadata,
    tenant_id(),
    Column("id", Uuid(), primary_key=True),
    Column("version", BigInteger, nullable=False),
    Column("state", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("person_id", Uuid(), nullable=False),
    Column("owner_ids", ARRAY(Uuid()), nullable=False),
    Column("start_on", Date, nullable=False),
    Column("end_on", Date, nullable=True),
    Column("team_id", Uuid(), nullable=True),
    Column("from_team_id", Uuid(), nullable=True),
    Column("successor_id", Uuid(), nullable=True),
    Column("handling", Text, nullable=False),
    Column("choices", JSONB, nullable=False),
    Column("ramp", ARRAY(Numeric()), nullable=False),
    Column("reason", Text, nullable=False),
    Column("effect", JSONB, nullable=False),
    Column("author_kind", Text, nullable=False),
    Column("author_id", Uuid(), nullable=True),
    instant("drafted_at"),
    *decision_columns(),
    CheckConstraint("state IN ('draft', 'applied', 'cancelled')", name="state"),
    CheckConstraint("kind IN ('hire', 'leaver', 'transfer', 'territory', 'leave', 'ramp')", name="kind"),
    CheckConstraint("handling IN ('hand_on', 'reduce', 'stay')", name="handling"),
    Index("ix_moves_person_id", "person_id"),
)
