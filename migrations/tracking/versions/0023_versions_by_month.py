"""Versions of deals and activities by month of their modified time, all of which stay.

What is stored becomes the first partition as it is, and nothing of it is written: that no version is of a later month
is found out beforehand, while the release before, which may still run, goes on storing. Its statements stay good.
"""

from datetime import date, timedelta

import sqlalchemy as sa
from alembic import op

from shared.db.migration import enable_row_level_security

revision: str = "0023"
down_revision: str | None = "0022"
branch_labels: str | None = None
depends_on: str | None = None

SCHEMA = "tracking"
RECORD_IDS = {"deal_versions": "deal_id", "activity_versions": "activity_id"}


def upgrade() -> None:
    ends = {table: _first_day_after(table) for table in RECORD_IDS}
    with op.get_context().autocommit_block():
        op.execute("SET lock_timeout = '5s'")
        for table, end in ends.items():
            op.execute(f"ALTER TABLE {SCHEMA}.{table} DROP CONSTRAINT IF EXISTS is_before")
            op.execute(
                f"ALTER TABLE {SCHEMA}.{table} ADD CONSTRAINT is_before CHECK (modified_at < '{end}T00:00Z') NOT VALID"
            )
            op.execute(f"ALTER TABLE {SCHEMA}.{table} VALIDATE CONSTRAINT is_before")
    for table, end in ends.items():
        first = f"{table}_until_{end - timedelta(days=1):%Y_%m}"
        op.rename_table(table, first, schema=SCHEMA)
        op.execute(f"ALTER INDEX {SCHEMA}.pk_{table} RENAME TO {first}_pkey")
        op.execute(f"ALTER INDEX {SCHEMA}.ix_{table}_recorded_at RENAME TO {first}_recorded_at_idx")
        op.execute(f"CREATE TABLE {SCHEMA}.{table} (LIKE {SCHEMA}.{first}) PARTITION BY RANGE (modified_at)")
        _index(table)
        op.execute(
            f"ALTER TABLE {SCHEMA}.{table} ATTACH PARTITION {SCHEMA}.{first}"
            f" FOR VALUES FROM (MINVALUE) TO ('{end}T00:00Z')"
        )
        op.execute(f"ALTER TABLE {SCHEMA}.{first} DROP CONSTRAINT is_before")
        op.execute(f"CREATE TABLE {SCHEMA}.{table}_default PARTITION OF {SCHEMA}.{table} DEFAULT")
        for secured in (table, f"{table}_default"):
            enable_row_level_security(op, SCHEMA, secured)
    op.execute(f"SELECT {SCHEMA}.make_partitions()")


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    # The owner of a table, too, sees rows of no tenant unless it asks for those of every tenant.
    op.execute("SET LOCAL app.tenants = '*'")
    for table in RECORD_IDS:
        op.execute(f"CREATE TABLE {SCHEMA}.all_versions (LIKE {SCHEMA}.{table})")
        op.execute(f"INSERT INTO {SCHEMA}.all_versions SELECT * FROM {SCHEMA}.{table}")
        op.drop_table(table, schema=SCHEMA)
        op.rename_table("all_versions", table, schema=SCHEMA)
        _index(table)
        enable_row_level_security(op, SCHEMA, table)


def _first_day_after(table: str) -> date:
    """The first day of the month after every version's, and after what is stored meanwhile."""
    newest = f"greatest(now() + interval '1 day', (SELECT max(modified_at) FROM {SCHEMA}.{table}))"
    month = f"date_trunc('month', {newest} AT TIME ZONE 'UTC')"
    first_day: date = op.get_bind().execute(sa.text(f"SELECT CAST({month} + interval '1 month' AS date)")).scalar_one()
    return first_day


def _index(table: str) -> None:
    key = ["tenant_id", RECORD_IDS[table], "modified_at", "sequence", "delivery_id"]
    op.create_primary_key(f"pk_{table}", table, key, schema=SCHEMA)
    op.create_index(f"ix_{table}_recorded_at", table, ["recorded_at"], schema=SCHEMA, postgresql_using="brin")
