"""Deals in parts: by whom their splits name, and payments by their own days.

Goals that count on the day of payment are counted anew: until now all of a deal counted on the latest of them.
"""

import sqlalchemy as sa
from alembic import op

from shared.db.migration import enable_row_level_security

revision: str = "0015"
down_revision: str | None = "0014"
branch_labels: str | None = None
depends_on: str | None = None

SCHEMA = "tracking"
SNAPSHOTS = ("deals", "deal_versions")


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.create_table(
        "deal_split_users",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("external_id", sa.Text(), nullable=False),
        sa.Column("deal_id", sa.Uuid(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "source", "external_id", "deal_id", name="pk_deal_split_users"),
        schema=SCHEMA,
    )
    enable_row_level_security(op, SCHEMA, "deal_split_users")
    # Every version is among the versions, the newest too.
    op.execute(
        f"""
        INSERT INTO {SCHEMA}.deal_split_users (tenant_id, source, external_id, deal_id)
        SELECT DISTINCT version.tenant_id, version.source, split.owner_external_id, version.deal_id
        FROM {SCHEMA}.deal_versions AS version
        CROSS JOIN LATERAL jsonb_to_recordset(version.splits) AS split(owner_external_id text)
        WHERE version.splits IS NOT NULL
        """
    )
    for table in SNAPSHOTS:
        op.drop_column(table, "last_paid_on", schema=SCHEMA)
    op.execute(
        f"""
        UPDATE {SCHEMA}.progress_goals AS goal SET stale = true, version = goal.version + 1, changed_at = now()
        FROM {SCHEMA}.projected_snapshots AS snapshot
        WHERE snapshot.tenant_id = goal.tenant_id AND snapshot.subject = 'goal/' || goal.goal_id
            AND CAST(snapshot.body #>> '{{metric,counts_when_paid}}' AS boolean)
        """
    )


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    for table in reversed(SNAPSHOTS):
        op.add_column(table, sa.Column("last_paid_on", sa.Date(), nullable=True), schema=SCHEMA)
        op.execute(
            f"""
            UPDATE {SCHEMA}.{table} SET last_paid_on = (
                SELECT max(payment.paid_on) FROM jsonb_to_recordset(payments) AS payment(paid_on date)
            )
            WHERE payments IS NOT NULL
            """
        )
    op.drop_table("deal_split_users", schema=SCHEMA)
