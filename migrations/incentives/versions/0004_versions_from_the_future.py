"""Versions of deals from the future, ordered by when they were received."""

from alembic import op

revision: str = "0004"
down_revision: str | None = "0003"
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    # The owner of the table, too, sees rows of no tenant while security is forced.
    op.execute("ALTER TABLE incentives.deals NO FORCE ROW LEVEL SECURITY")
    op.execute(
        """
        UPDATE incentives.deals SET modified_at = received.at
        FROM (
            SELECT tenant_id, id, CAST(CAST(body AS json) ->> 'received_at' AS timestamptz) AS at FROM incentives.deals
        ) AS received
        WHERE deals.tenant_id = received.tenant_id AND deals.id = received.id
            AND deals.modified_at > received.at + interval '5 minutes'
        """
    )
    op.execute("ALTER TABLE incentives.deals FORCE ROW LEVEL SECURITY")


def downgrade() -> None:
    """What was stated of them is in their bodies; an earlier release takes either order."""
