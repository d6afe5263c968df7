"""What people won and have open by month: counted from now on with every deal; what is stored, by the worker.

A worker or API of the release before, which may still run, counts deals without it. So everybody is counted at once and
once more an hour later: an upgrade has to be over by then.
"""

import sqlalchemy as sa
from alembic import op

from shared.db.migration import enable_row_level_security

revision: str = "0027"
down_revision: str | None = "0026"
branch_labels: str | None = None
depends_on: str | None = None

SCHEMA = "tracking"
TABLES = ("actuals_stripes", "actuals_outdated")
SUMS = ("won_value", "won_number", "open_value", "open_number", "unconverted")


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.create_table(
        "actuals_stripes",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("person_id", sa.Uuid(), nullable=False),
        sa.Column("month", sa.Date(), nullable=False),
        sa.Column("stripe", sa.Integer(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=True),
        *(sa.Column(name, sa.Numeric(), nullable=False) for name in SUMS),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("is_due", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "person_id", "month", "stripe", name="pk_actuals_stripes"),
        schema=SCHEMA,
    )
    op.create_index(
        "ix_actuals_stripes_due",
        "actuals_stripes",
        ["tenant_id", "person_id", "month"],
        postgresql_where=sa.text("is_due"),
        schema=SCHEMA,
    )
    op.create_table(
        "actuals_outdated",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("person_id", sa.Uuid(), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("first_month", sa.Date(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "person_id", "due_at", name="pk_actuals_outdated"),
        schema=SCHEMA,
    )
    for table in TABLES:
        enable_row_level_security(op, SCHEMA, table)
    op.execute(
        f"""
        INSERT INTO {SCHEMA}.actuals_outdated (tenant_id, person_id, due_at, first_month)
        SELECT DISTINCT tenant_id, CAST(body ->> 'person_id' AS uuid), due_at, DATE '0001-01-01'
        FROM {SCHEMA}.projected_snapshots,
            (VALUES (CAST('-infinity' AS timestamptz)), (now() + interval '1 hour')) AS due(due_at)
        WHERE event_type = 'attain.identity.v1' AND NOT CAST(body ->> 'deleted' AS boolean)
            AND body ->> 'person_id' IS NOT NULL
        """
    )


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    for table in reversed(TABLES):
        op.drop_table(table, schema=SCHEMA)
