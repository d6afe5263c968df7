"""Leave room in a page of deals for newer versions of them: one that fits there writes no index and no other page.

What is stored already keeps its pages; they get room as deals in them change.
"""

from alembic import op

revision: str = "0024"
down_revision: str | None = "0023"
branch_labels: str | None = None
depends_on: str | None = None

SCHEMA = "tracking"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute(f"ALTER TABLE {SCHEMA}.deals SET (fillfactor = 85)")


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute(f"ALTER TABLE {SCHEMA}.deals RESET (fillfactor)")
