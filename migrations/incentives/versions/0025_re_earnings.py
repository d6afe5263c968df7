"""Re-earnings: how far it is to work out anew whom a change of definitions touches.

Assignments that are stale by now, or that the release before marks meanwhile, are worked out as ever, without a record.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from shared.db.migration import enable_row_level_security

revision: str = "0025"
down_revision: str | None = "0024"
branch_labels: str | None = None
depends_on: str | None = None

SCHEMA = "incentives"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.create_table(
        "re_earnings",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("causes", JSONB(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("person_id", sa.Uuid(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("requested_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("total", sa.Integer(), nullable=False),
        sa.Column("done", sa.Integer(), nullable=False),
        sa.Column("worked_ms", sa.BigInteger(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("failure", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("tenant_id", "id", name="pk_re_earnings"),
        schema=SCHEMA,
    )
    op.create_index(
        "ix_re_earnings_not_ended",
        "re_earnings",
        ["tenant_id"],
        postgresql_where=sa.text("ended_at IS NULL"),
        schema=SCHEMA,
    )
    enable_row_level_security(op, SCHEMA, "re_earnings")
    op.add_column(
        "stale_assignments",
        sa.Column("re_earnings", JSONB(), nullable=False, server_default=sa.text("'[]'::jsonb")),
        schema=SCHEMA,
    )


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.drop_column("stale_assignments", "re_earnings", schema=SCHEMA)
    op.drop_table("re_earnings", schema=SCHEMA)
