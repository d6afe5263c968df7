"""What a repair touches is translated again first: which deals those are, and that their deliveries come first."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision: str = "0016"
down_revision: str | None = "0015"
branch_labels: str | None = None
depends_on: str | None = None

SCHEMA = "tracking"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.add_column(
        "retranslations",
        sa.Column("touched", JSONB(), nullable=False, server_default=sa.text("'{}'")),
        schema=SCHEMA,
    )
    op.add_column(
        "retranslation_deliveries",
        sa.Column("turn", sa.SmallInteger(), nullable=False, server_default=sa.text("1")),
        schema=SCHEMA,
    )
    op.create_index(
        "ix_retranslation_deliveries_turn",
        "retranslation_deliveries",
        ["tenant_id", "connection_id", "turn", "delivery_id"],
        schema=SCHEMA,
    )
    op.create_index(
        "ix_deals_incomplete",
        "deals",
        ["connection_id"],
        schema=SCHEMA,
        postgresql_where=sa.text(
            "status = 'won'"
            " AND (owner_external_id IS NULL OR currency IS NULL OR closed_on IS NULL AND closed_at IS NULL)"
        ),
    )


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.drop_index("ix_deals_incomplete", table_name="deals", schema=SCHEMA)
    op.drop_index("ix_retranslation_deliveries_turn", table_name="retranslation_deliveries", schema=SCHEMA)
    op.drop_column("retranslation_deliveries", "turn", schema=SCHEMA)
    op.drop_column("retranslations", "touched", schema=SCHEMA)
