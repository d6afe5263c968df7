"""Activities."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from shared.db.migration import enable_row_level_security

revision: str = "0008"
down_revision: str | None = "0007"
branch_labels: str | None = None
depends_on: str | None = None

SCHEMA = "tracking"
TABLES = ("activities", "activity_versions")


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.create_table(
        "activities",
        *_columns(),
        sa.Column(
            "occurred_day",
            sa.Date(),
            sa.Computed("(timezone('UTC'::text, occurred_at))::date", persisted=True),
            nullable=True,
        ),
        sa.PrimaryKeyConstraint("tenant_id", "activity_id", name="pk_activities"),
        schema=SCHEMA,
    )
    op.create_index(
        "ix_activities_owner",
        "activities",
        ["owner_external_id", "source", "tenant_id", "occurred_day"],
        schema=SCHEMA,
    )
    op.create_index("ix_activities_deal", "activities", ["deal_external_id", "tenant_id"], schema=SCHEMA)
    op.create_table(
        "activity_versions",
        *_columns(),
        _instant("recorded_at"),
        sa.PrimaryKeyConstraint(
            "tenant_id", "activity_id", "modified_at", "sequence", "delivery_id", name="pk_activity_versions"
        ),
        schema=SCHEMA,
    )
    op.create_index(
        "ix_activity_versions_recorded_at",
        "activity_versions",
        ["recorded_at"],
        schema=SCHEMA,
        postgresql_using="brin",
    )
    for table in TABLES:
        enable_row_level_security(op, SCHEMA, table)


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    for table in reversed(TABLES):
        op.drop_table(table, schema=SCHEMA)


def _instant(name: str, *, nullable: bool = False) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def _columns() -> tuple[sa.Column[object], ...]:
    return (
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("activity_id", sa.Uuid(), nullable=False),
        _instant("modified_at"),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("delivery_id", sa.Uuid(), nullable=False),
        sa.Column("connection_id", sa.Uuid(), nullable=False),
        _instant("received_at"),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("external_id", sa.Text(), nullable=False),
        sa.Column("is_deleted", sa.Boolean(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("owner_external_id", sa.Text(), nullable=True),
        sa.Column("subject", sa.Text(), nullable=True),
        _instant("occurred_at", nullable=True),
        sa.Column("duration_seconds", sa.Numeric(), nullable=True),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.Column("deal_external_id", sa.Text(), nullable=True),
        sa.Column("account_id", sa.Text(), nullable=True),
        sa.Column("custom", JSONB(), nullable=True),
    )
