"""The digest of the personal terms that were accepted with a version of a plan."""

import sqlalchemy as sa
from alembic import op

revision: str = "0027"
down_revision: str | None = "0026"
branch_labels: str | None = None
depends_on: str | None = None

SCHEMA = "incentives"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.add_column("plan_acceptances", sa.Column("personal_digest", sa.Text(), nullable=True), schema=SCHEMA)


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.drop_column("plan_acceptances", "personal_digest", schema=SCHEMA)
