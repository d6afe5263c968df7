"""Levels beyond a goal's target; goals that are there have none."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision: str = "0009"
down_revision: str | None = "0008"
branch_labels: str | None = None
depends_on: str | None = None

SCHEMA = "goals"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.add_column("goals", sa.Column("stretch", JSONB(), nullable=False, server_default=sa.text("'[]'")), schema=SCHEMA)


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.drop_column("goals", "stretch", schema=SCHEMA)
