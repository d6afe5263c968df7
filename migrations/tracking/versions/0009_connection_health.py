"""What connections receive, and what a new mapping is still to change.

People are part of this service's copy of the organisation from now on: it is read once more from the start, which
changes nothing of what is held already.
"""

import sqlalchemy as sa
from alembic import op

from shared.db.migration import enable_row_level_security

revision: str = "0009"
down_revision: str | None = "0008"
branch_labels: str | None = None
depends_on: str | None = None

SCHEMA = "tracking"
TABLES = ("connection_traffic", "retranslations", "retranslation_deliveries")


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.create_table(
        "connection_traffic",
        *_connection(),
        _instant("hour"),
        sa.Column("received", sa.BigInteger(), nullable=False),
        sa.Column("duplicates", sa.BigInteger(), nullable=False),
        sa.Column("rejected_headers", sa.BigInteger(), nullable=False),
        sa.Column("rejected_timestamp", sa.BigInteger(), nullable=False),
        sa.Column("rejected_signature", sa.BigInteger(), nullable=False),
        _instant("last_received_at", nullable=True),
        sa.PrimaryKeyConstraint("tenant_id", "connection_id", "hour", name="pk_connection_traffic"),
        schema=SCHEMA,
    )
    op.create_index("ix_connection_traffic_hour", "connection_traffic", ["hour"], schema=SCHEMA)
    op.create_table(
        "retranslations",
        *_connection(),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        _instant("saved_at"),
        _instant("started_at", nullable=True),
        _instant("finished_at", nullable=True),
        _instant("due_at"),
        sa.Column("total", sa.BigInteger(), nullable=False),
        sa.Column("done", sa.BigInteger(), nullable=False),
        sa.Column("changed", sa.BigInteger(), nullable=False),
        sa.Column("untranslatable", sa.BigInteger(), nullable=False),
        sa.Column("dropped", sa.BigInteger(), nullable=False),
        sa.Column("received_again", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "connection_id", name="pk_retranslations"),
        schema=SCHEMA,
    )
    op.create_index(
        "ix_retranslations_due_at",
        "retranslations",
        ["due_at"],
        schema=SCHEMA,
        postgresql_where=sa.text("finished_at IS NULL"),
    )
    op.create_table(
        "retranslation_deliveries",
        *_connection(),
        sa.Column("delivery_id", sa.Uuid(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "connection_id", "delivery_id", name="pk_retranslation_deliveries"),
        schema=SCHEMA,
    )
    for table in TABLES:
        enable_row_level_security(op, SCHEMA, table)
    op.execute(
        "DELETE FROM tracking.consumer_positions WHERE \"group\" = 'attain.tracking.definitions'"
        " AND topic = 'attain.org.v1'"
    )


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    for table in reversed(TABLES):
        op.drop_table(table, schema=SCHEMA)


def _connection() -> tuple[sa.Column[object], ...]:
    return (sa.Column("tenant_id", sa.Uuid(), nullable=False), sa.Column("connection_id", sa.Uuid(), nullable=False))


def _instant(name: str, *, nullable: bool = False) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)
