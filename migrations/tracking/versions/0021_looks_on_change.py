"""Connections that are looked at for alerts when something changes: when each was, and none due before that."""

import sqlalchemy as sa
from alembic import op

revision: str = "0021"
down_revision: str | None = "0020"
branch_labels: str | None = None
depends_on: str | None = None

SCHEMA = "tracking"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.add_column("alert_watches", sa.Column("looked_at", sa.DateTime(timezone=True), nullable=True), schema=SCHEMA)
    op.alter_column("alert_watches", "due_at", nullable=True, schema=SCHEMA)
    op.create_index("ix_alert_watches_due", "alert_watches", ["due_at"], schema=SCHEMA)


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    # The owner of a table, too, sees rows of no tenant unless it asks for those of every tenant.
    op.execute("SET LOCAL app.tenants = '*'")
    op.drop_index("ix_alert_watches_due", "alert_watches", schema=SCHEMA)
    op.execute(f"UPDATE {SCHEMA}.alert_watches SET due_at = now() WHERE due_at IS NULL")
    op.alter_column("alert_watches", "due_at", nullable=False, schema=SCHEMA)
    op.drop_column("alert_watches", "looked_at", schema=SCHEMA)
