"""Changes of calendars and of the team tree with their first days; what stood until now holds from the beginning."""

import sqlalchemy as sa
from alembic import op

from shared.db.migration import enable_row_level_security

revision: str = "0004"
down_revision: str | None = "0003"
branch_labels: str | None = None
depends_on: str | None = None

SCHEMA = "goals"
TABLES = ("calendar_changes", "team_changes")


def _reference(column: str, referred: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["tenant_id", column],
        [f"goals.{referred}.tenant_id", f"goals.{referred}.id"],
        name=f"fk_team_changes_{column}_{referred}",
    )


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.create_table(
        "calendar_changes",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("start_on", sa.Date(), nullable=False),
        sa.Column("start_month", sa.SmallInteger(), nullable=False),
        sa.Column("time_zone", sa.Text(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "start_on", name="pk_calendar_changes"),
        sa.CheckConstraint("start_month BETWEEN 1 AND 12", name="ck_calendar_changes_start_month"),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["goals.calendars.tenant_id"], name="fk_calendar_changes_tenant_id_calendars"
        ),
        schema=SCHEMA,
    )
    op.create_table(
        "team_changes",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("team_id", sa.Uuid(), nullable=False),
        sa.Column("start_on", sa.Date(), nullable=False),
        sa.Column("parent_id", sa.Uuid(), nullable=True),
        sa.Column("manager_id", sa.Uuid(), nullable=True),
        sa.PrimaryKeyConstraint("tenant_id", "team_id", "start_on", name="pk_team_changes"),
        _reference("team_id", "teams"),
        _reference("parent_id", "teams"),
        _reference("manager_id", "people"),
        schema=SCHEMA,
    )
    for table in TABLES:
        enable_row_level_security(op, SCHEMA, table)


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    for table in reversed(TABLES):
        op.drop_table(table, schema=SCHEMA)
