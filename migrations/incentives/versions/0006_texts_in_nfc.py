"""Texts in Unicode's NFC, as every text is from now on that comes in; events are read so, and stay as they came.

Assignments of tenants that had others are worked out anew: a filter, a role or an identity may now meet a deal that is
written otherwise. What that changes is posted as differences.
"""

from alembic import op

revision: str = "0006"
down_revision: str | None = "0005"
branch_labels: str | None = None
depends_on: str | None = None

SCHEMA = "incentives"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    # The owner of a table, too, sees rows of no tenant unless it asks for those of every tenant.
    op.execute("SET LOCAL app.tenants = '*'")
    op.execute(
        f"""
        UPDATE {SCHEMA}.deals
        SET source = normalize(source, NFC), owner_external_id = normalize(owner_external_id, NFC)
        WHERE source IS NOT NFC NORMALIZED OR owner_external_id IS NOT NFC NORMALIZED
        """
    )
    others = "(source IS NOT NFC NORMALIZED OR external_id IS NOT NFC NORMALIZED)"
    op.execute(
        f"""
        INSERT INTO {SCHEMA}.deal_split_users (tenant_id, source, external_id, deal_id)
        SELECT tenant_id, normalize(source, NFC), normalize(external_id, NFC), deal_id
        FROM {SCHEMA}.deal_split_users WHERE {others}
        ON CONFLICT DO NOTHING
        """
    )
    op.execute(f"DELETE FROM {SCHEMA}.deal_split_users WHERE {others}")
    op.execute(
        f"""
        INSERT INTO {SCHEMA}.stale_assignments AS held (tenant_id, assignment_id, changes, marked_at)
        SELECT assignment.tenant_id, assignment.id, '["rule/texts v2"]', now()
        FROM {SCHEMA}.assignments AS assignment
        WHERE NOT assignment.deleted AND assignment.tenant_id IN (
            SELECT tenant_id FROM {SCHEMA}.deals WHERE body IS NOT NFC NORMALIZED
            UNION
            SELECT tenant_id FROM {SCHEMA}.projected_snapshots WHERE body::text IS NOT NFC NORMALIZED
            UNION
            SELECT tenant_id FROM {SCHEMA}.plan_versions WHERE components::text IS NOT NFC NORMALIZED
        )
        ON CONFLICT (tenant_id, assignment_id) DO UPDATE SET changes = held.changes || excluded.changes
        """
    )


def downgrade() -> None:
    """An earlier release compares texts as they are, and these are as good as any."""
