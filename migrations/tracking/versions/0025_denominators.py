"""What records add to the denominator of a ratio or an average, beside what they add to its numerator."""

import sqlalchemy as sa
from alembic import op

revision: str = "0025"
down_revision: str | None = "0024"
branch_labels: str | None = None
depends_on: str | None = None

SCHEMA = "tracking"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.add_column(
        "progress_stripes",
        sa.Column("denominator", sa.Numeric(), nullable=False, server_default=sa.text("0")),
        schema=SCHEMA,
    )


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.drop_column("progress_stripes", "denominator", schema=SCHEMA)
