"""Access to CRMs' APIs, what is asked of them, and records put together from changes."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from shared.db.migration import enable_row_level_security

revision: str = "0005"
down_revision: str | None = "0004"
branch_labels: str | None = None
depends_on: str | None = None

SCHEMA = "tracking"
TABLES = ("fetches", "records")


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.add_column(
        "connections", sa.Column("allowed", JSONB(), nullable=False, server_default=sa.text("'{}'")), schema=SCHEMA
    )
    op.alter_column("connections", "allowed", server_default=None, schema=SCHEMA)
    op.add_column("connections", sa.Column("api", sa.Text(), nullable=True), schema=SCHEMA)
    op.add_column(
        "deliveries", sa.Column("origin", sa.Text(), nullable=False, server_default=sa.text("'webhook'")), schema=SCHEMA
    )
    op.alter_column("deliveries", "origin", server_default=None, schema=SCHEMA)
    op.add_column("deliveries", sa.Column("caused_by", sa.Uuid(), nullable=True), schema=SCHEMA)
    _create_fetches()
    _create_records()
    for table in TABLES:
        enable_row_level_security(op, SCHEMA, table)


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    for table in reversed(TABLES):
        op.drop_table(table, schema=SCHEMA)
    op.drop_column("deliveries", "caused_by", schema=SCHEMA)
    op.drop_column("deliveries", "origin", schema=SCHEMA)
    op.drop_column("connections", "api", schema=SCHEMA)
    op.drop_column("connections", "allowed", schema=SCHEMA)


def _key() -> tuple[sa.Column[object], ...]:
    return (
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("connection_id", sa.Uuid(), nullable=False),
        sa.Column("object_name", sa.Text(), nullable=False),
        sa.Column("external_id", sa.Text(), nullable=False),
    )


def _create_fetches() -> None:
    op.create_table(
        "fetches",
        *_key(),
        sa.Column("floor", sa.DateTime(timezone=True), nullable=True),
        sa.Column("delivery_id", sa.Uuid(), nullable=False),
        sa.Column("asked_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("asked", sa.BigInteger(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("tenant_id", "connection_id", "object_name", "external_id", name="pk_fetches"),
        schema=SCHEMA,
    )
    op.create_index("ix_fetches_due", "fetches", ["connection_id", "due_at"], schema=SCHEMA)


def _create_records() -> None:
    op.create_table(
        "records",
        *_key(),
        sa.Column("fields", JSONB(), nullable=False),
        sa.Column("is_whole", sa.Boolean(), nullable=False),
        sa.Column("merges", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "connection_id", "object_name", "external_id", name="pk_records"),
        schema=SCHEMA,
    )
