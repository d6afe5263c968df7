"""Webhooks to other systems."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from shared.db.migration import enable_row_level_security

revision: str = "0007"
down_revision: str | None = "0006"
branch_labels: str | None = None
depends_on: str | None = None

SCHEMA = "tracking"
TABLES = ("subscriptions", "subscription_health", "subscription_subjects", "outgoing_deliveries")


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    _create_subscriptions()
    _create_deliveries()
    for table in TABLES:
        enable_row_level_security(op, SCHEMA, table)


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    for table in reversed(TABLES):
        op.drop_table(table, schema=SCHEMA)


def _instant(name: str, *, nullable: bool = False) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def _create_subscriptions() -> None:
    op.create_table(
        "subscriptions",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("events", JSONB(), nullable=False),
        sa.Column("secrets", JSONB(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("status_reason", sa.Text(), nullable=True),
        sa.Column("version", sa.BigInteger(), nullable=False),
        _instant("created_at"),
        _instant("updated_at"),
        _instant("deleted_at", nullable=True),
        sa.PrimaryKeyConstraint("tenant_id", "id", name="pk_subscriptions"),
        schema=SCHEMA,
    )
    op.create_table(
        "subscription_health",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("subscription_id", sa.Uuid(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        _instant("failing_since", nullable=True),
        _instant("rest_until"),
        _instant("served_at"),
        sa.PrimaryKeyConstraint("tenant_id", "subscription_id", name="pk_subscription_health"),
        schema=SCHEMA,
    )
    op.create_table(
        "subscription_subjects",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("subscription_id", sa.Uuid(), nullable=False),
        sa.Column("event_type", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("delivery_id", sa.Uuid(), nullable=False),
        sa.PrimaryKeyConstraint(
            "tenant_id", "subscription_id", "event_type", "subject", name="pk_subscription_subjects"
        ),
        schema=SCHEMA,
    )


def _create_deliveries() -> None:
    op.create_table(
        "outgoing_deliveries",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("subscription_id", sa.Uuid(), nullable=False),
        sa.Column("event_type", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("event_version", sa.BigInteger(), nullable=False),
        _instant("occurred_at"),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        _instant("due_at"),
        _instant("in_flight_until", nullable=True),
        sa.Column("attempts", JSONB(), nullable=False),
        _instant("created_at"),
        _instant("ended_at", nullable=True),
        sa.PrimaryKeyConstraint("tenant_id", "id", name="pk_outgoing_deliveries"),
        schema=SCHEMA,
    )
    for name, columns, condition in (
        ("log", ["subscription_id", "id"], None),
        ("failed", ["subscription_id", "id"], "state = 'failed'"),
        ("due", ["subscription_id", "due_at", "id"], "state = 'waiting'"),
        ("in_flight", ["subscription_id", "subject"], "in_flight_until IS NOT NULL"),
    ):
        op.create_index(
            f"ix_outgoing_deliveries_{name}",
            "outgoing_deliveries",
            columns,
            schema=SCHEMA,
            postgresql_where=None if condition is None else sa.text(condition),
        )
    op.create_index(
        "ix_outgoing_deliveries_created_at",
        "outgoing_deliveries",
        ["created_at"],
        schema=SCHEMA,
        postgresql_using="brin",
    )
