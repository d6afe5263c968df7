"""The cost centres of teams and the budgets of plans, for accounting."""

import sqlalchemy as sa
from alembic import op

from shared.db.migration import enable_row_level_security

revision: str = "0017"
down_revision: str | None = "0016"
branch_labels: str | None = None
depends_on: str | None = None

SCHEMA = "incentives"
TABLES = ("cost_centres", "plan_budgets")


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.create_table(
        "cost_centres",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("team_id", sa.Uuid(), nullable=False),
        sa.Column("start", sa.Date(), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        *_said(),
        sa.PrimaryKeyConstraint("tenant_id", "id", name="pk_cost_centres"),
        schema=SCHEMA,
    )
    op.create_index("ix_cost_centres_team_id", "cost_centres", ["team_id", "start"], schema=SCHEMA)
    op.create_table(
        "plan_budgets",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("plan_id", sa.Uuid(), nullable=False),
        sa.Column("start", sa.Date(), nullable=False),
        sa.Column("amount", sa.Numeric(), nullable=False),
        *_said(),
        sa.PrimaryKeyConstraint("tenant_id", "id", name="pk_plan_budgets"),
        schema=SCHEMA,
    )
    op.create_index("ix_plan_budgets_plan_id", "plan_budgets", ["plan_id", "start"], schema=SCHEMA)
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


def _said() -> list[sa.Column[object]]:
    return [
        sa.Column("set_by_kind", sa.Text(), nullable=False),
        sa.Column("set_by", sa.Uuid(), nullable=True),
        sa.Column("set_at", sa.DateTime(timezone=True), nullable=False),
    ]
