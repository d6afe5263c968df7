"""Subscriptions of chat groups: through which channel, and what the group reads. Those that are stored are webhooks.

An API of the release before, which may still run, shows and changes a robot's subscription as a webhook; a worker of
it sends the robot a webhook, which it refuses, and tries again later. So none is to be made before all are of this one.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision: str = "0028"
down_revision: str | None = "0027"
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.add_column(
        "subscriptions",
        sa.Column("channel", sa.Text(), nullable=False, server_default="webhook"),
        schema="tracking",
    )
    op.add_column("subscriptions", sa.Column("chat", JSONB(), nullable=True), schema="tracking")


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("DELETE FROM tracking.subscriptions WHERE channel <> 'webhook'")
    op.drop_column("subscriptions", "chat", schema="tracking")
    op.drop_column("subscriptions", "channel", schema="tracking")
