"""The owners that versions of a deal had, for rules that ask who owned it before."""

import sqlalchemy as sa
from alembic import op

from shared.db.migration import enable_row_level_security

revision: str = "0015"
down_revision: str | None = "0014"
branch_labels: str | None = None
depends_on: str | None = None

SCHEMA = "incentives"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.create_table(
        "deal_owners",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("deal_id", sa.Uuid(), nullable=False),
        sa.Column("modified_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("sequence", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("delivery_id", sa.Uuid(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("owner_external_id", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint(
            "tenant_id", "deal_id", "modified_at", "sequence", "delivery_id", name="pk_deal_owners"
        ),
        schema=SCHEMA,
    )
    enable_row_level_security(op, SCHEMA, "deal_owners")
    op.create_index("ix_deal_owners_owner", "deal_owners", ["owner_external_id", "source", "tenant_id"], schema=SCHEMA)


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.drop_table("deal_owners", schema=SCHEMA)
