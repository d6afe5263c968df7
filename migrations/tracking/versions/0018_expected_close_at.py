"""When a deal is expected to close, of sources that state an instant: the tenant's calendar tells its day."""

import sqlalchemy as sa
from alembic import op

revision: str = "0018"
down_revision: str | None = "0017"
branch_labels: str | None = None
depends_on: str | None = None

SCHEMA = "tracking"
SNAPSHOTS = ("deals", "deal_versions")


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    for table in SNAPSHOTS:
        column = sa.Column("expected_close_at", sa.DateTime(timezone=True), nullable=True)
        op.add_column(table, column, schema=SCHEMA)


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    # The release before counts such a deal on the day in UTC.
    for table in SNAPSHOTS:
        op.execute(
            f"UPDATE {SCHEMA}.{table} SET expected_close_on = CAST(expected_close_at AT TIME ZONE 'UTC' AS date)"
            " WHERE expected_close_on IS NULL AND expected_close_at IS NOT NULL"
        )
        op.drop_column(table, "expected_close_at", schema=SCHEMA)
