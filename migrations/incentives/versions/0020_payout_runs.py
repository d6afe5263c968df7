"""Payout runs, their steps, and what each pays whom."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from shared.db.migration import enable_row_level_security

revision: str = "0020"
down_revision: str | None = "0019"
branch_labels: str | None = None
depends_on: str | None = None

SCHEMA = "incentives"
APPEND_ONLY = ("payout_run_changes", "payouts")


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.create_table(
        "payout_runs",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("pay_period_id", sa.Uuid(), nullable=False),
        sa.Column("period_start", sa.Date(), nullable=False),
        sa.Column("period_end", sa.Date(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("totals", JSONB(), nullable=False),
        sa.Column("payouts", sa.Integer(), nullable=False),
        sa.Column("author_kind", sa.Text(), nullable=False),
        sa.Column("author_id", sa.Uuid(), nullable=True),
        sa.Column("calculated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("reverses", sa.Uuid(), nullable=True),
        sa.PrimaryKeyConstraint("tenant_id", "id", name="pk_payout_runs"),
        sa.CheckConstraint(
            "status IN ('calculated', 'cancelled', 'approved', 'exported', 'paid', 'reversed')",
            name="ck_payout_runs_status",
        ),
        schema=SCHEMA,
    )
    op.create_index("ix_payout_runs_number", "payout_runs", ["tenant_id", "number"], unique=True, schema=SCHEMA)
    op.create_table(
        "payout_run_changes",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("run_id", sa.Uuid(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("actor_kind", sa.Text(), nullable=False),
        sa.Column("actor_id", sa.Uuid(), nullable=True),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("tenant_id", "run_id", "version", name="pk_payout_run_changes"),
        schema=SCHEMA,
    )
    op.create_table(
        "payouts",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("run_id", sa.Uuid(), nullable=False),
        sa.Column("person_id", sa.Uuid(), nullable=False),
        sa.Column("plan_id", sa.Uuid(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("paid", sa.Numeric(), nullable=False),
        sa.Column("earned", sa.Numeric(), nullable=False),
        sa.Column("lines", JSONB(), nullable=False),
        sa.Column("state", JSONB(), nullable=False),
        sa.Column("owed_before", sa.Numeric(), nullable=False),
        sa.Column("anomalies", ARRAY(sa.Text()), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "id", name="pk_payouts"),
        schema=SCHEMA,
    )
    op.create_index("ix_payouts_run_id", "payouts", ["run_id"], schema=SCHEMA)
    op.create_index("ix_payouts_person_id", "payouts", ["person_id"], schema=SCHEMA)
    for table in ("payout_runs", *APPEND_ONLY):
        enable_row_level_security(op, SCHEMA, table)
    for table in APPEND_ONLY:
        op.execute(
            f"CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {SCHEMA}.{table}"
            f" FOR EACH STATEMENT EXECUTE FUNCTION {SCHEMA}.refuse_change()"
        )
        op.execute(f"REVOKE UPDATE, DELETE, TRUNCATE ON {SCHEMA}.{table} FROM {SCHEMA}_app")


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    for table in ("payouts", "payout_run_changes", "payout_runs"):
        op.drop_table(table, schema=SCHEMA)
