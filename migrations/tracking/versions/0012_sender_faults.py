"""What is kept otherwise than its source states it, and versions from the future ordered by when they were received."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision: str = "0012"
down_revision: str | None = "0011"
branch_labels: str | None = None
depends_on: str | None = None

SCHEMA = "tracking"
TABLES = ("deals", "deal_versions", "activities", "activity_versions")
_INSTANT = """to_char({} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"""
_ORDER_BY_RECEIPT = f"""
    UPDATE {{schema}}.{{table}} SET modified_at = received_at, corrections = jsonb_build_array(jsonb_build_object(
        'field', '/modified_at', 'stated', {_INSTANT.format("modified_at")},
        'kept', {_INSTANT.format("received_at")}, 'reason', 'future'
    ))
    WHERE modified_at > received_at + interval '5 minutes'
"""
_IS_AHEAD = "CAST(field.value ->> 1 AS timestamptz) > now() + interval '5 minutes'"
# A field that was dated in the future would be newer than whatever is told of it until then.
_DATE_FIELDS_NOW = f"""
    UPDATE {{schema}}.records AS r SET fields = (
        SELECT jsonb_object_agg(
            field.key,
            CASE WHEN {_IS_AHEAD} THEN jsonb_set(field.value, '{{{{1}}}}', to_jsonb({_INSTANT.format("now()")}))
                ELSE field.value END
        ) FROM jsonb_each(r.fields) AS field
    )
    WHERE EXISTS (SELECT FROM jsonb_each(r.fields) AS field WHERE {_IS_AHEAD})
"""


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    for table in TABLES:
        op.add_column(table, sa.Column("corrections", JSONB(), nullable=True), schema=SCHEMA)
    for column in ("problems", "remarks"):
        op.add_column("deliveries", sa.Column(column, JSONB(), nullable=True), schema=SCHEMA)
    op.create_index(
        "ix_deliveries_remarked",
        "deliveries",
        ["tenant_id", "connection_id", "id"],
        schema=SCHEMA,
        postgresql_where=sa.text("remarks IS NOT NULL"),
    )
    # The owner of a table, too, sees rows of no tenant while security is forced.
    for table in (*TABLES, "records"):
        op.execute(f"ALTER TABLE {SCHEMA}.{table} NO FORCE ROW LEVEL SECURITY")
    for table in TABLES:
        op.execute(_ORDER_BY_RECEIPT.format(schema=SCHEMA, table=table))
    op.execute(_DATE_FIELDS_NOW.format(schema=SCHEMA))
    for table in (*TABLES, "records"):
        op.execute(f"ALTER TABLE {SCHEMA}.{table} FORCE ROW LEVEL SECURITY")


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.drop_index("ix_deliveries_remarked", "deliveries", schema=SCHEMA)
    for column in ("remarks", "problems"):
        op.drop_column("deliveries", column, schema=SCHEMA)
    for table in reversed(TABLES):
        op.drop_column(table, "corrections", schema=SCHEMA)
