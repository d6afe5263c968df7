"""The transport tables as the first migration of every service makes them.

Part of the migration history: a change to the tables is a migration of its own and leaves this as it is.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from shared.db.migration import enable_row_level_security


def create_transport_tables(schema: str) -> None:
    """Create outbox, outbox_marks, consumer_positions and idempotency_keys in the schema."""
    op.create_table(
        "outbox",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("headers", sa.Text(), nullable=False),
        sa.Column("value", sa.LargeBinary(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_outbox"),
        schema=schema,
    )
    op.execute(f"CREATE SEQUENCE {schema}.outbox_mark_tokens CACHE 1")
    next_token = sa.text(f"nextval('{schema}.outbox_mark_tokens')")
    op.create_table(
        "outbox_marks",
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("stripe", sa.Integer(), nullable=False),
        sa.Column("position", sa.BigInteger(), server_default=next_token, nullable=False),
        sa.Column("token", sa.BigInteger(), server_default=next_token, nullable=False),
        sa.PrimaryKeyConstraint("topic", "tenant_id", "subject", "stripe", name="pk_outbox_marks"),
        schema=schema,
    )
    op.create_index("ix_outbox_marks_position", "outbox_marks", ["position"], schema=schema)
    for table in ("outbox", "outbox_marks"):
        # Rows live for milliseconds: clear the dead ones before the scans have to step over them.
        op.execute(
            f"ALTER TABLE {schema}.{table} SET (autovacuum_vacuum_scale_factor = 0,"
            " autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0)"
        )
    # A subject marked again changes its token only, in place: room on the page, and no index on the token.
    op.execute(f"ALTER TABLE {schema}.outbox_marks SET (fillfactor = 50)")
    op.create_table(
        "consumer_positions",
        sa.Column("group", sa.Text(), nullable=False),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("partition", sa.Integer(), nullable=False),
        sa.Column("next_offset", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("group", "topic", "partition", name="pk_consumer_positions"),
        schema=schema,
    )
    op.create_table(
        "idempotency_keys",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.LargeBinary(), nullable=False),
        sa.Column("response_status", sa.SmallInteger(), nullable=True),
        sa.Column("response_headers", JSONB(), nullable=True),
        sa.Column("response_body", sa.LargeBinary(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "key", name="pk_idempotency_keys"),
        schema=schema,
    )
    op.create_index("ix_idempotency_keys_created_at", "idempotency_keys", ["created_at"], schema=schema)
    enable_row_level_security(op, schema, "idempotency_keys")
