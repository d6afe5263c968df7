"""Deliveries that were discarded, why others were refused, and when channels were renewed last."""

import sqlalchemy as sa
from alembic import op

from shared.db.migration import enable_row_level_security

revision: str = "0011"
down_revision: str | None = "0010"
branch_labels: str | None = None
depends_on: str | None = None

SCHEMA = "tracking"
REFUSALS = ("rejected_address", "rejected_not_allowed")


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    for name in REFUSALS:
        column = sa.Column(name, sa.BigInteger(), nullable=False, server_default=sa.text("0"))
        op.add_column("connection_traffic", column, schema=SCHEMA)
    op.add_column("channels", sa.Column("opened_at", sa.DateTime(timezone=True)), schema=SCHEMA)
    op.create_table(
        "delivery_discards",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("delivery_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("connection_id", sa.Uuid(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("discarded_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("discarded_by", sa.Uuid()),
        sa.Column("restored_at", sa.DateTime(timezone=True)),
        sa.Column("restored_by", sa.Uuid()),
        sa.PrimaryKeyConstraint("tenant_id", "delivery_id", "id", name="pk_delivery_discards"),
        schema=SCHEMA,
    )
    op.create_index("ix_delivery_discards_id", "delivery_discards", ["id", "tenant_id"], schema=SCHEMA)
    op.create_index(
        "ix_delivery_discards_standing",
        "delivery_discards",
        ["tenant_id", "delivery_id"],
        schema=SCHEMA,
        postgresql_where=sa.text("restored_at IS NULL"),
    )
    enable_row_level_security(op, SCHEMA, "delivery_discards")


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.drop_table("delivery_discards", schema=SCHEMA)
    op.drop_column("channels", "opened_at", schema=SCHEMA)
    for name in REFUSALS:
        op.drop_column("connection_traffic", name, schema=SCHEMA)
