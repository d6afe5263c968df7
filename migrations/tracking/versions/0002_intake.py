"""Connections, deliveries, deals and their versions."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from shared.db.migration import enable_row_level_security

revision: str = "0002"
down_revision: str | None = "0001"
branch_labels: str | None = None
depends_on: str | None = None

SCHEMA = "tracking"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    _create_connections()
    _create_deliveries()
    _create_deals()
    for table in ("connections", "deliveries", "deals", "deal_versions"):
        enable_row_level_security(op, SCHEMA, table)


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    for table in ("deal_versions", "deals", "deliveries", "connections"):
        op.drop_table(table, schema=SCHEMA)


def _instant(name: str, *, nullable: bool = False) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def _create_connections() -> None:
    op.create_table(
        "connections",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("identity_source", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("secrets", JSONB(), nullable=False),
        sa.Column("mapping", JSONB(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        _instant("created_at"),
        _instant("updated_at"),
        sa.PrimaryKeyConstraint("tenant_id", "id", name="pk_connections"),
        schema=SCHEMA,
    )
    op.create_index("uq_connections_id", "connections", ["id"], unique=True, schema=SCHEMA)


def _create_deliveries() -> None:
    op.create_table(
        "deliveries",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("connection_id", sa.Uuid(), nullable=False),
        sa.Column("dedupe_key", sa.Text(), nullable=False),
        _instant("received_at"),
        sa.Column("headers", JSONB(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=True),
        sa.Column("traceparent", sa.Text(), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("pointer", sa.Text(), nullable=True),
        sa.Column("detail", sa.Text(), nullable=True),
        sa.Column("deals", sa.Integer(), nullable=True),
        sa.Column("replay_of", sa.Uuid(), nullable=True),
        _instant("processed_at", nullable=True),
        sa.PrimaryKeyConstraint("tenant_id", "id", name="pk_deliveries"),
        schema=SCHEMA,
    )
    op.create_index(
        "uq_deliveries_dedupe_key",
        "deliveries",
        ["connection_id", "dedupe_key"],
        unique=True,
        schema=SCHEMA,
    )
    op.create_index(
        "ix_deliveries_waiting",
        "deliveries",
        ["id"],
        schema=SCHEMA,
        postgresql_where=sa.text("state = 'received'"),
    )
    op.create_index(
        "ix_deliveries_quarantined",
        "deliveries",
        ["tenant_id", "id"],
        schema=SCHEMA,
        postgresql_where=sa.text("state = 'quarantined'"),
    )
    op.create_index("ix_deliveries_received_at", "deliveries", ["received_at"], schema=SCHEMA, postgresql_using="brin")


def _create_deals() -> None:
    closed_day = "COALESCE(closed_on, (timezone('UTC'::text, closed_at))::date)"
    op.create_table(
        "deals",
        *_deal_columns(),
        sa.Column("closed_day", sa.Date(), sa.Computed(closed_day, persisted=True), nullable=True),
        sa.PrimaryKeyConstraint("tenant_id", "deal_id", name="pk_deals"),
        schema=SCHEMA,
    )
    op.create_index(
        "ix_deals_owner",
        "deals",
        ["owner_external_id", "source", "tenant_id", "closed_day"],
        schema=SCHEMA,
    )
    op.create_table(
        "deal_versions",
        *_deal_columns(),
        _instant("recorded_at"),
        sa.PrimaryKeyConstraint(
            "tenant_id", "deal_id", "modified_at", "sequence", "delivery_id", name="pk_deal_versions"
        ),
        schema=SCHEMA,
    )
    op.create_index(
        "ix_deal_versions_recorded_at", "deal_versions", ["recorded_at"], schema=SCHEMA, postgresql_using="brin"
    )


def _deal_columns() -> tuple[sa.Column[object], ...]:
    return (
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("deal_id", sa.Uuid(), nullable=False),
        _instant("modified_at"),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("delivery_id", sa.Uuid(), nullable=False),
        sa.Column("connection_id", sa.Uuid(), nullable=False),
        _instant("received_at"),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("external_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("owner_external_id", sa.Text(), nullable=True),
        sa.Column("name", sa.Text(), nullable=True),
        sa.Column("amount", sa.Numeric(), nullable=True),
        sa.Column("currency", sa.Text(), nullable=True),
        sa.Column("quantity", sa.Numeric(), nullable=True),
        _instant("created_at", nullable=True),
        sa.Column("expected_close_on", sa.Date(), nullable=True),
        _instant("closed_at", nullable=True),
        sa.Column("closed_on", sa.Date(), nullable=True),
        sa.Column("stage", sa.Text(), nullable=True),
        sa.Column("pipeline", sa.Text(), nullable=True),
        sa.Column("probability", sa.Numeric(), nullable=True),
        sa.Column("type", sa.Text(), nullable=True),
        sa.Column("channel", sa.Text(), nullable=True),
        sa.Column("region", sa.Text(), nullable=True),
        sa.Column("account_id", sa.Text(), nullable=True),
        sa.Column("account_name", sa.Text(), nullable=True),
        sa.Column("merged_into", sa.Text(), nullable=True),
        sa.Column("splits", JSONB(), nullable=True),
        sa.Column("products", JSONB(), nullable=True),
        sa.Column("custom", JSONB(), nullable=True),
    )
