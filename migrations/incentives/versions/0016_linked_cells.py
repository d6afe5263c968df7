"""What a credit pays may be multiplied, and a running total may go on from earlier earnings."""

import sqlalchemy as sa
from alembic import op

revision: str = "0016"
down_revision: str | None = "0015"
branch_labels: str | None = None
depends_on: str | None = None

SCHEMA = "incentives"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.add_column("credits", sa.Column("factor", sa.Numeric(), nullable=False, server_default="1"), schema=SCHEMA)
    op.add_column("cells", sa.Column("before", sa.Numeric(), nullable=False, server_default="0"), schema=SCHEMA)


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.drop_column("cells", "before", schema=SCHEMA)
    op.drop_column("credits", "factor", schema=SCHEMA)
