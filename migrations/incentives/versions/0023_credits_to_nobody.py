"""Won deals are found by their day, and a payout run says what of them is credited to nobody."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from shared.db.migration import enable_row_level_security

revision: str = "0023"
down_revision: str | None = "0022"
branch_labels: str | None = None
depends_on: str | None = None

SCHEMA = "incentives"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    # The owner of a table, too, sees rows of no tenant unless it asks for those of every tenant.
    op.execute("SET LOCAL app.tenants = '*'")
    op.add_column("deals", sa.Column("won_on", sa.Date(), nullable=True), schema=SCHEMA)
    op.execute(
        f"""
        UPDATE {SCHEMA}.deals SET won_on = coalesce(
            CAST(CAST(body AS jsonb) ->> 'closed_on' AS date),
            CAST(CAST(CAST(body AS jsonb) ->> 'closed_at' AS timestamptz) AT TIME ZONE 'UTC' AS date)
        )
        WHERE CAST(body AS jsonb) ->> 'status' = 'won'
        """
    )
    op.create_index(
        "ix_deals_won_on",
        "deals",
        ["won_on", "tenant_id"],
        postgresql_where=sa.text("won_on IS NOT NULL"),
        schema=SCHEMA,
    )
    op.add_column("payout_runs", sa.Column("to_nobody", JSONB(), nullable=True), schema=SCHEMA)
    op.create_table(
        "uncredited_deals",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("run_id", sa.Uuid(), nullable=False),
        sa.Column("deal_id", sa.Uuid(), nullable=False),
        sa.Column("plan_id", sa.Uuid(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("external_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=True),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("amount", sa.Numeric(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "run_id", "deal_id", name="pk_uncredited_deals"),
        schema=SCHEMA,
    )
    enable_row_level_security(op, SCHEMA, "uncredited_deals")
    op.execute(
        f"CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {SCHEMA}.uncredited_deals"
        f" FOR EACH STATEMENT EXECUTE FUNCTION {SCHEMA}.refuse_change()"
    )
    op.execute(f"REVOKE UPDATE, DELETE, TRUNCATE ON {SCHEMA}.uncredited_deals FROM {SCHEMA}_app")


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.drop_table("uncredited_deals", schema=SCHEMA)
    op.drop_column("payout_runs", "to_nobody", schema=SCHEMA)
    op.drop_index("ix_deals_won_on", "deals", schema=SCHEMA)
    op.drop_column("deals", "won_on", schema=SCHEMA)
