"""Years of weeks and working days of calendars; every calendar so far has years of months, and no public holidays."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

revision: str = "0012"
down_revision: str | None = "0011"
branch_labels: str | None = None
depends_on: str | None = None

SCHEMA = "goals"
TABLES = ("calendars", "calendar_changes")
COLUMNS = ("pattern", "week_start", "year_end", "country", "subdivision", "days_off", "extra_working_days")


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    for table in TABLES:
        for name, default in (("pattern", "months"), ("week_start", "monday"), ("year_end", "nearest")):
            op.add_column(table, sa.Column(name, sa.Text(), nullable=False, server_default=default), schema=SCHEMA)
        for name in ("country", "subdivision"):
            op.add_column(table, sa.Column(name, sa.Text(), nullable=True), schema=SCHEMA)
        for name in ("days_off", "extra_working_days"):
            none = sa.text("'{}'::date[]")
            op.add_column(table, sa.Column(name, ARRAY(sa.Date()), nullable=False, server_default=none), schema=SCHEMA)
    op.add_column(
        "calendars",
        sa.Column("national_days", JSONB(), nullable=False, server_default=sa.text("'[]'::jsonb")),
        schema=SCHEMA,
    )


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.drop_column("calendars", "national_days", schema=SCHEMA)
    for table in reversed(TABLES):
        for name in reversed(COLUMNS):
            op.drop_column(table, name, schema=SCHEMA)
