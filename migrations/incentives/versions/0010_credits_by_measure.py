"""A component may count by several measures: a credit names the one that counted it."""

import sqlalchemy as sa
from alembic import op

revision: str = "0010"
down_revision: str | None = "0009"
branch_labels: str | None = None
depends_on: str | None = None

SCHEMA = "incentives"
KEY = ("tenant_id", "deal_id", "assignment_id", "component")


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.add_column("credits", sa.Column("measure", sa.Text(), nullable=False, server_default="main"), schema=SCHEMA)
    op.drop_constraint("pk_credits", "credits", schema=SCHEMA)
    op.create_primary_key("pk_credits", "credits", [*KEY, "measure", "day"], schema=SCHEMA)


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("SET LOCAL app.tenants = '*'")
    op.execute(f"DELETE FROM {SCHEMA}.credits WHERE measure <> 'main'")
    op.drop_constraint("pk_credits", "credits", schema=SCHEMA)
    op.create_primary_key("pk_credits", "credits", [*KEY, "day"], schema=SCHEMA)
    op.drop_column("credits", "measure", schema=SCHEMA)
