"""Whose records each revision of definitions has count otherwise, so that others are counted before it is read.

Processes of the release before write none; who finds one missing waits until it has read the definitions, as before.
"""

import sqlalchemy as sa
from alembic import op

from shared.db.migration import enable_row_level_security

revision: str = "0029"
down_revision: str | None = "0028"
branch_labels: str | None = None
depends_on: str | None = None

SCHEMA = "tracking"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.create_table(
        "definition_changes",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("users", sa.ARRAY(sa.Text()), nullable=True),
        sa.PrimaryKeyConstraint("tenant_id", "revision", name="pk_definition_changes"),
        schema=SCHEMA,
    )
    enable_row_level_security(op, SCHEMA, "definition_changes")


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.drop_table("definition_changes", schema=SCHEMA)
