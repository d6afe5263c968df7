"""The service's role, its grants, and the transport tables."""

from alembic import op

from shared.db.migration import grant_to_service
from shared.db.transport_migration import create_transport_tables

revision: str = "0001"
down_revision: str | None = None
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    grant_to_service(op, "goals")
    create_transport_tables("goals")


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    for table in ("idempotency_keys", "consumer_positions", "outbox_marks", "outbox"):
        op.drop_table(table, schema="goals")
    op.execute("DROP SEQUENCE goals.outbox_mark_tokens")
