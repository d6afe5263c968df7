"""Scenarios and what people commit to."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from shared.db.migration import enable_row_level_security

revision: str = "0015"
down_revision: str | None = "0014"
branch_labels: str | None = None
depends_on: str | None = None

SCHEMA = "goals"
TABLES = ("scenarios", "scenario_commitments")


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.create_table(
        "scenarios",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("owner_ids", ARRAY(sa.Uuid()), nullable=False),
        sa.Column("pattern", JSONB(), nullable=False),
        sa.Column("wish", JSONB(), nullable=False),
        sa.Column("plan", JSONB(), nullable=False),
        sa.Column("log", JSONB(), nullable=False),
        sa.Column("author_kind", sa.Text(), nullable=False),
        sa.Column("author_id", sa.Uuid(), nullable=True),
        sa.Column("known_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("applied_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("job_id", sa.Uuid(), nullable=True),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "id", name="pk_scenarios"),
        sa.CheckConstraint("state IN ('draft', 'applying', 'applied', 'archived')", name="ck_scenarios_state"),
        schema=SCHEMA,
    )
    op.create_table(
        "scenario_commitments",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("scenario_id", sa.Uuid(), nullable=False),
        sa.Column("node_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("amount", sa.Numeric(), nullable=False),
        sa.Column("comment", sa.Text(), nullable=True),
        sa.Column("author_kind", sa.Text(), nullable=False),
        sa.Column("author_id", sa.Uuid(), nullable=True),
        sa.Column("committed_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "scenario_id", "node_id", "id", name="pk_scenario_commitments"),
        schema=SCHEMA,
    )
    for table in TABLES:
        enable_row_level_security(op, SCHEMA, table)
    op.execute(f"REVOKE UPDATE, DELETE, TRUNCATE ON {SCHEMA}.scenario_commitments FROM {SCHEMA}_app")


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    for table in reversed(TABLES):
        op.drop_table(table, schema=SCHEMA)
