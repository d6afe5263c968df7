"""Moves of people, with what they do."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from shared.db.migration import enable_row_level_security

revision: str = "0017"
down_revision: str | None = "0016"
branch_labels: str | None = None
depends_on: str | None = None

SCHEMA = "goals"
TABLE = "moves"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.create_table(
        TABLE,
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("person_id", sa.Uuid(), nullable=False),
        sa.Column("owner_ids", ARRAY(sa.Uuid()), nullable=False),
        sa.Column("start_on", sa.Date(), nullable=False),
        sa.Column("end_on", sa.Date(), nullable=True),
        sa.Column("team_id", sa.Uuid(), nullable=True),
        sa.Column("from_team_id", sa.Uuid(), nullable=True),
        sa.Column("successor_id", sa.Uuid(), nullable=True),
        sa.Column("handling", sa.Text(), nullable=False),
        sa.Column("choices", JSONB(), nullable=False),
        sa.Column("ramp", ARRAY(sa.Numeric()), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("effect", JSONB(), nullable=False),
        sa.Column("author_kind", sa.Text(), nullable=False),
        sa.Column("author_id", sa.Uuid(), nullable=True),
        sa.Column("drafted_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("decided_by_kind", sa.Text(), nullable=True),
        sa.Column("decided_by", sa.Uuid(), nullable=True),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("decision_reason", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("tenant_id", "id", name="pk_moves"),
        sa.CheckConstraint("state IN ('draft', 'applied', 'cancelled')", name="ck_moves_state"),
        sa.CheckConstraint(
            "kind IN ('hire', 'leaver', 'transfer', 'territory', 'leave', 'ramp')", name="ck_moves_kind"
        ),
        sa.CheckConstraint("handling IN ('hand_on', 'reduce', 'stay')", name="ck_moves_handling"),
        schema=SCHEMA,
    )
    op.create_index("ix_moves_person_id", TABLE, ["person_id"], schema=SCHEMA)
    enable_row_level_security(op, SCHEMA, TABLE)


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.drop_table(TABLE, schema=SCHEMA)
