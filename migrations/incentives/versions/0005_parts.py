"""Deals in parts: a component may have several credits of a deal, one for each day.

Whoever is on a plan that counts on the day of payment is worked out anew: until now all of a deal was credited on the
latest of them. What that changes is posted as differences.
"""

from alembic import op

revision: str = "0005"
down_revision: str | None = "0004"
branch_labels: str | None = None
depends_on: str | None = None

SCHEMA = "incentives"
KEY = ("tenant_id", "deal_id", "assignment_id", "component")


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.drop_constraint("pk_credits", "credits", schema=SCHEMA)
    op.create_primary_key("pk_credits", "credits", [*KEY, "day"], schema=SCHEMA)
    _work_out_anew()


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    # The release before has one credit of a deal and makes it when it works the assignments out.
    op.execute(
        f"""
        DELETE FROM {SCHEMA}.credits AS later USING {SCHEMA}.credits AS earlier
        WHERE ({", ".join(f"later.{name}" for name in KEY)}) = ({", ".join(f"earlier.{name}" for name in KEY)})
            AND later.day > earlier.day
        """
    )
    op.drop_constraint("pk_credits", "credits", schema=SCHEMA)
    op.create_primary_key("pk_credits", "credits", list(KEY), schema=SCHEMA)
    _work_out_anew()


def _work_out_anew() -> None:
    op.execute(
        f"""
        INSERT INTO {SCHEMA}.stale_assignments AS held (tenant_id, assignment_id, changes, marked_at)
        SELECT assignment.tenant_id, assignment.id, '["rule/payments v2"]', now()
        FROM {SCHEMA}.assignments AS assignment
        WHERE NOT assignment.deleted AND EXISTS (
            SELECT FROM {SCHEMA}.plan_versions AS version
            WHERE version.tenant_id = assignment.tenant_id AND version.plan_id = assignment.plan_id
                AND version.status = 'active'
                AND jsonb_path_exists(version.components, '$[*].measure ? (@.date_field == "paid")')
        )
        ON CONFLICT (tenant_id, assignment_id) DO UPDATE SET changes = held.changes || excluded.changes
        """
    )
