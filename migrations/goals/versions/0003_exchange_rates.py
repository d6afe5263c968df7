"""Daily exchange rates."""

import sqlalchemy as sa
from alembic import op

from shared.db.migration import enable_row_level_security

revision: str = "0003"
down_revision: str | None = "0002"
branch_labels: str | None = None
depends_on: str | None = None

SCHEMA = "goals"
TABLES = ("exchange_rates", "exchange_rate_months")


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.create_table(
        "exchange_rates",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("base_currency", sa.Text(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("rate", sa.Numeric(), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "base_currency", "currency", "day", name="pk_exchange_rates"),
        sa.CheckConstraint("rate > 0", name="ck_exchange_rates_rate"),
        sa.CheckConstraint("currency <> base_currency", name="ck_exchange_rates_currency"),
        schema=SCHEMA,
    )
    op.create_table(
        "exchange_rate_months",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("base_currency", sa.Text(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("first_day", sa.Date(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "id", name="pk_exchange_rate_months"),
        schema=SCHEMA,
    )
    for table in TABLES:
        enable_row_level_security(op, SCHEMA, table)


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    for table in reversed(TABLES):
        op.drop_table(table, schema=SCHEMA)
