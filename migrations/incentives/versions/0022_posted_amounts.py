"""An earning says what its last change posted."""

import sqlalchemy as sa
from alembic import op

revision: str = "0022"
down_revision: str | None = "0021"
branch_labels: str | None = None
depends_on: str | None = None

SCHEMA = "incentives"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.add_column("cells", sa.Column("posted", sa.Numeric(), nullable=True), schema=SCHEMA)
    op.add_column("cells", sa.Column("posted_version", sa.BigInteger(), nullable=True), schema=SCHEMA)


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.drop_column("cells", "posted_version", schema=SCHEMA)
    op.drop_column("cells", "posted", schema=SCHEMA)
