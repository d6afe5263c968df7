"""Fetching back, reconciliation and backfill."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from shared.db.migration import enable_row_level_security

revision: str = "0006"
down_revision: str | None = "0005"
branch_labels: str | None = None
depends_on: str | None = None

SCHEMA = "tracking"
TABLES = ("api_states", "reconciliations", "sync_runs", "channels", "crm_users")


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.create_table(
        "api_states",
        *_connection(),
        sa.Column("access", sa.Text(), nullable=False),
        sa.Column("calls", JSONB(), nullable=False),
        sa.Column("token", sa.Text(), nullable=True),
        _instant("token_expires_at", nullable=True),
        sa.PrimaryKeyConstraint("tenant_id", "connection_id", name="pk_api_states"),
        schema=SCHEMA,
    )
    op.create_table(
        "reconciliations",
        *_connection(),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("every_minutes", sa.Integer(), nullable=False),
        _instant("due_at", nullable=True),
        _instant("mark", nullable=True),
        _instant("users_at", nullable=True),
        sa.Column("unreadable", JSONB(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "connection_id", name="pk_reconciliations"),
        schema=SCHEMA,
    )
    op.create_index("ix_reconciliations_due_at", "reconciliations", ["due_at"], schema=SCHEMA)
    _create_runs()
    op.create_table(
        "channels",
        *_connection(),
        sa.Column("channel_id", sa.Text(), nullable=False),
        sa.Column("secret_id", sa.Uuid(), nullable=True),
        _instant("expires_at", nullable=True),
        _instant("due_at"),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("tenant_id", "connection_id", name="pk_channels"),
        schema=SCHEMA,
    )
    op.create_index("ix_channels_due_at", "channels", ["due_at"], schema=SCHEMA)
    op.create_table(
        "crm_users",
        *_connection(),
        sa.Column("external_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=True),
        sa.Column("email", sa.Text(), nullable=True),
        sa.Column("is_active", sa.Boolean(), nullable=False),
        _instant("seen_at"),
        sa.PrimaryKeyConstraint("tenant_id", "connection_id", "external_id", name="pk_crm_users"),
        schema=SCHEMA,
    )
    for table in TABLES:
        enable_row_level_security(op, SCHEMA, table)


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    for table in reversed(TABLES):
        op.drop_table(table, schema=SCHEMA)


def _connection() -> tuple[sa.Column[object], ...]:
    return (sa.Column("tenant_id", sa.Uuid(), nullable=False), sa.Column("connection_id", sa.Uuid(), nullable=False))


def _instant(name: str, *, nullable: bool = False) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def _create_runs() -> None:
    op.create_table(
        "sync_runs",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("connection_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("phase", sa.Text(), nullable=False),
        sa.Column("with_users", sa.Boolean(), nullable=False),
        _instant("since", nullable=True),
        sa.Column("cursor", sa.Text(), nullable=True),
        sa.Column("total", sa.BigInteger(), nullable=True),
        sa.Column("seen", sa.BigInteger(), nullable=False),
        sa.Column("new", sa.BigInteger(), nullable=False),
        sa.Column("changed", sa.BigInteger(), nullable=False),
        sa.Column("deleted", sa.BigInteger(), nullable=False),
        sa.Column("unreadable", sa.BigInteger(), nullable=False),
        sa.Column("calls", sa.BigInteger(), nullable=False),
        sa.Column("worked_ms", sa.BigInteger(), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        _instant("requested_at"),
        _instant("started_at", nullable=True),
        _instant("ended_at", nullable=True),
        _instant("due_at"),
        sa.Column("lease_id", sa.Uuid(), nullable=True),
        sa.Column("recent", JSONB(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "id", name="pk_sync_runs"),
        schema=SCHEMA,
    )
    op.create_index("ix_sync_runs_connection_id", "sync_runs", ["connection_id", "kind", "id"], schema=SCHEMA)
    op.create_index(
        "uq_sync_runs_open",
        "sync_runs",
        ["connection_id", "kind"],
        unique=True,
        schema=SCHEMA,
        postgresql_where=sa.text("ended_at IS NULL"),
    )
    op.create_index(
        "ix_sync_runs_due_at",
        "sync_runs",
        ["due_at"],
        schema=SCHEMA,
        postgresql_where=sa.text("state = 'running'"),
    )
