"""What was acknowledged of SMART checks; goals that are there are not marked as at the top and have no check-ins."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY

from shared.db.migration import enable_row_level_security

revision: str = "0016"
down_revision: str | None = "0015"
branch_labels: str | None = None
depends_on: str | None = None

SCHEMA = "goals"
TABLE = "smart_acknowledgements"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.add_column(
        "goals", sa.Column("top", sa.Boolean(), nullable=False, server_default=sa.text("false")), schema=SCHEMA
    )
    op.add_column("goals", sa.Column("check_in", sa.Text(), nullable=False, server_default="none"), schema=SCHEMA)
    op.create_table(
        TABLE,
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("goal_id", sa.Uuid(), nullable=False),
        sa.Column("goal_version", sa.BigInteger(), nullable=False),
        sa.Column("checks", ARRAY(sa.Text()), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("actor_kind", sa.Text(), nullable=False),
        sa.Column("actor_id", sa.Uuid(), nullable=True),
        sa.Column("acknowledged_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=f"pk_{TABLE}"),
        schema=SCHEMA,
    )
    op.create_index(f"ix_{TABLE}_goal_id", TABLE, ["goal_id"], schema=SCHEMA)
    enable_row_level_security(op, SCHEMA, TABLE)


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.drop_table(TABLE, schema=SCHEMA)
    for name in ("check_in", "top"):
        op.drop_column("goals", name, schema=SCHEMA)
