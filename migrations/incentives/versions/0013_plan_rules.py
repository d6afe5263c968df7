"""The rules of a plan version between what was earned and what is paid; null for rules that say nothing.

They are a part of the terms, so they cannot change once these are approved.
"""

from alembic import op

revision: str = "0013"
down_revision: str | None = "0012"
branch_labels: str | None = None
depends_on: str | None = None

TABLE = "incentives.plan_versions"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute(f"ALTER TABLE {TABLE} ADD COLUMN IF NOT EXISTS rules jsonb")
    _freeze("components", "rules", "effective_from", "author_id", "approver_id")


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    _freeze("components", "effective_from", "author_id", "approver_id")
    op.execute(f"ALTER TABLE {TABLE} DROP COLUMN rules")


def _freeze(*columns: str) -> None:
    """Once approved, these are what was approved."""
    old, new = (", ".join(f"{row}.{column}" for column in columns) for row in ("OLD", "NEW"))
    op.execute(f"DROP TRIGGER frozen_terms ON {TABLE}")
    op.execute(
        f"CREATE TRIGGER frozen_terms BEFORE UPDATE ON {TABLE} FOR EACH ROW"
        f" WHEN (OLD.status <> 'draft' AND ({new}) IS DISTINCT FROM ({old}))"
        " EXECUTE FUNCTION incentives.refuse_new_terms()"
    )
