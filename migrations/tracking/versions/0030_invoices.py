"""What was invoiced of a deal, invoice by invoice, and its sum."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision: str = "0030"
down_revision: str | None = "0029"
branch_labels: str | None = None
depends_on: str | None = None

SCHEMA = "tracking"
SNAPSHOTS = ("deals", "deal_versions")


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    for table in SNAPSHOTS:
        op.add_column(table, sa.Column("invoices", JSONB(), nullable=True), schema=SCHEMA)
        op.add_column(table, sa.Column("invoiced_amount", sa.Numeric(), nullable=True), schema=SCHEMA)


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    for table in SNAPSHOTS:
        op.drop_column(table, "invoiced_amount", schema=SCHEMA)
        op.drop_column(table, "invoices", schema=SCHEMA)
