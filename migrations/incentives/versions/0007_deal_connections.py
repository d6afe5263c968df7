"""Which connections the deals of a source come from: with the id that the source gave a deal, they make the deal's."""

import sqlalchemy as sa
from alembic import op

from shared.db.migration import enable_row_level_security

revision: str = "0007"
down_revision: str | None = "0006"
branch_labels: str | None = None
depends_on: str | None = None

SCHEMA = "incentives"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.create_table(
        "deal_connections",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("connection_id", sa.Uuid(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "source", "connection_id", name="pk_deal_connections"),
        schema=SCHEMA,
    )
    enable_row_level_security(op, SCHEMA, "deal_connections")
    # The owner of a table, too, sees rows of no tenant unless it asks for those of every tenant.
    op.execute("SET LOCAL app.tenants = '*'")
    op.execute(
        f"""
        INSERT INTO {SCHEMA}.deal_connections (tenant_id, source, connection_id)
        SELECT DISTINCT tenant_id, source, CAST(CAST(body AS json) ->> 'connection_id' AS uuid) FROM {SCHEMA}.deals
        WHERE CAST(body AS json) ->> 'connection_id' IS NOT NULL
        """
    )


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.drop_table("deal_connections", schema=SCHEMA)
