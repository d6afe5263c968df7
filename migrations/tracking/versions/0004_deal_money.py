"""What deals say of money in the home currency and of payments."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision: str = "0004"
down_revision: str | None = "0003"
branch_labels: str | None = None
depends_on: str | None = None

SCHEMA = "tracking"
TABLES = ("deals", "deal_versions")


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    for table in TABLES:
        op.add_column(table, sa.Column("home_amount", sa.Numeric(), nullable=True), schema=SCHEMA)
        op.add_column(table, sa.Column("home_currency", sa.Text(), nullable=True), schema=SCHEMA)
        op.add_column(table, sa.Column("payments", JSONB(), nullable=True), schema=SCHEMA)
        op.add_column(table, sa.Column("paid_amount", sa.Numeric(), nullable=True), schema=SCHEMA)
        op.add_column(table, sa.Column("last_paid_on", sa.Date(), nullable=True), schema=SCHEMA)


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    for table in reversed(TABLES):
        for column in ("last_paid_on", "paid_amount", "payments", "home_currency", "home_amount"):
            op.drop_column(table, column, schema=SCHEMA)
