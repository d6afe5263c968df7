"""The audit trail: every version of what is published, with who made it and why."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from shared.db.migration import enable_row_level_security

revision: str = "0007"
down_revision: str | None = "0006"
branch_labels: str | None = None
depends_on: str | None = None

SCHEMA = "goals"
TABLE = "audit"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.create_table(
        TABLE,
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("is_change", sa.Boolean(), nullable=False),
        sa.Column("actor_kind", sa.Text(), nullable=False),
        sa.Column("actor_id", sa.Uuid(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("state", JSONB(), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "id", name="pk_audit"),
        schema=SCHEMA,
    )
    op.create_index("uq_audit_subject_version", TABLE, ["subject", "version", "tenant_id"], unique=True, schema=SCHEMA)
    op.create_index(
        "ix_audit_actor_id",
        TABLE,
        ["actor_id"],
        schema=SCHEMA,
        postgresql_where=sa.text("actor_id IS NOT NULL"),
    )
    enable_row_level_security(op, SCHEMA, TABLE)
    op.execute(f"REVOKE UPDATE, DELETE, TRUNCATE ON {SCHEMA}.{TABLE} FROM {SCHEMA}_app")


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.drop_table(TABLE, schema=SCHEMA)
