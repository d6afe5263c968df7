"""Progress of goals, and the copy of the definitions it follows."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from shared.db.migration import enable_row_level_security

revision: str = "0003"
down_revision: str | None = "0002"
branch_labels: str | None = None
depends_on: str | None = None

SCHEMA = "tracking"
TABLES = ("projected_snapshots", "projection_revisions", "progress_goals", "progress_stripes", "progress_distinct")


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    _create_projection()
    _create_progress()
    for table in TABLES:
        enable_row_level_security(op, SCHEMA, table)
    # A stripe is changed in place by every batch: room on the page and no index on what changes keep it there.
    op.execute(f"ALTER TABLE {SCHEMA}.progress_stripes SET (fillfactor = 50)")


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    for table in reversed(TABLES):
        op.drop_table(table, schema=SCHEMA)


def _create_projection() -> None:
    op.create_table(
        "projected_snapshots",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("event_type", sa.Text(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("body", JSONB(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "subject", name="pk_projected_snapshots"),
        schema=SCHEMA,
    )
    op.create_table(
        "projection_revisions",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", name="pk_projection_revisions"),
        schema=SCHEMA,
    )


def _create_progress() -> None:
    op.create_table(
        "progress_goals",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("goal_id", sa.Uuid(), nullable=False),
        sa.Column("stale", sa.Boolean(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "goal_id", name="pk_progress_goals"),
        schema=SCHEMA,
    )
    op.create_index(
        "ix_progress_goals_stale",
        "progress_goals",
        ["tenant_id", "goal_id"],
        schema=SCHEMA,
        postgresql_where=sa.text("stale"),
    )
    op.create_table(
        "progress_stripes",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("goal_id", sa.Uuid(), nullable=False),
        sa.Column("stripe", sa.Integer(), nullable=False),
        sa.Column("value", sa.Numeric(), nullable=False),
        sa.Column("deals", sa.BigInteger(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("tenant_id", "goal_id", "stripe", name="pk_progress_stripes"),
        schema=SCHEMA,
    )
    op.create_table(
        "progress_distinct",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("goal_id", sa.Uuid(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("deals", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "goal_id", "value", name="pk_progress_distinct"),
        schema=SCHEMA,
    )
