"""What statements said when their pay period was cut off and closed, kept as it was written."""

import sqlalchemy as sa
from alembic import op

from shared.db.migration import enable_row_level_security

revision: str = "0024"
down_revision: str | None = "0023"
branch_labels: str | None = None
depends_on: str | None = None

SCHEMA = "incentives"
TABLES = ("kept_statements", "kept_pay_periods")


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.create_table(
        "kept_statements",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("pay_period_id", sa.Uuid(), nullable=False),
        sa.Column("part", sa.Text(), nullable=False),
        sa.Column("person_id", sa.Uuid(), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("kept_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "pay_period_id", "part", "person_id", name="pk_kept_statements"),
        schema=SCHEMA,
    )
    op.create_table(
        "kept_pay_periods",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("pay_period_id", sa.Uuid(), nullable=False),
        sa.Column("part", sa.Text(), nullable=False),
        sa.Column("statements", sa.Integer(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("kept_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "pay_period_id", "part", name="pk_kept_pay_periods"),
        schema=SCHEMA,
    )
    for table in TABLES:
        enable_row_level_security(op, SCHEMA, table)
        op.execute(
            f"CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {SCHEMA}.{table}"
            f" FOR EACH STATEMENT EXECUTE FUNCTION {SCHEMA}.refuse_change()"
        )
        op.execute(f"REVOKE UPDATE, DELETE, TRUNCATE ON {SCHEMA}.{table} FROM {SCHEMA}_app")


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    for table in reversed(TABLES):
        op.drop_table(table, schema=SCHEMA)
