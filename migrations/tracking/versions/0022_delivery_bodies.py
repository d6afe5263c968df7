"""Bodies and headers of deliveries by month: those whose time is over go as one table, and no row is written.

The release before, which may still run, goes on storing bodies in the rows of `deliveries`. Those stay there until
their time is over, as moving them would hold up that release and write each of them twice. It takes a delivery that
this release stored for one whose body is gone, and leaves it waiting for a worker of this release.

A service's role owns nothing and so makes and drops no table: two functions of the owner do, and nothing else.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from shared.db.migration import enable_row_level_security

revision: str = "0022"
down_revision: str | None = "0021"
branch_labels: str | None = None
depends_on: str | None = None

SCHEMA = "tracking"
ROLE = f"{SCHEMA}_app"
AS_OWNER = """
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' SET lock_timeout = '1s' SET "app.tenants" = '*'
"""
"""For whoever calls it, whatever is set. It waits a second at most for what runs, as what comes then waits for it."""

FIRST_ID = f"""
    CREATE FUNCTION {SCHEMA}.first_id(at timestamptz) RETURNS uuid LANGUAGE sql IMMUTABLE AS $$
        SELECT CAST(lpad(to_hex(CAST(extract(epoch FROM at) * 1000 AS bigint)), 12, '0') || repeat('0', 20) AS uuid)
    $$
"""
"""The lowest id that is made at a moment or after it."""

MAKE_PARTITIONS = f"""
    CREATE FUNCTION {SCHEMA}.make_partitions() RETURNS void {AS_OWNER} AS $function$
    DECLARE
        parent record;
        policy text;
        month timestamptz;
        partition text;
        edges text[];
        is_taken boolean;
    BEGIN
        FOR parent IN
            SELECT c.oid, c.relname AS name, a.attname AS key, a.atttypid = 'uuid'::regtype AS is_by_id
            FROM pg_partitioned_table AS p JOIN pg_class AS c ON c.oid = p.partrelid
            JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum = p.partattrs[0]
            WHERE c.relnamespace = '{SCHEMA}'::regnamespace ORDER BY c.relname
        LOOP
            EXECUTE format('LOCK TABLE ONLY {SCHEMA}.%I IN SHARE UPDATE EXCLUSIVE MODE', parent.name);
            SELECT pg_get_expr(polqual, polrelid) INTO STRICT policy FROM pg_policy WHERE polrelid = parent.oid;
            SELECT coalesce(to_date(max(right(c.relname, 7)), 'YYYY_MM') + interval '1 month',
                date_trunc('month', now()))
            INTO month
            FROM pg_inherits JOIN pg_class AS c ON c.oid = inhrelid
            WHERE inhparent = parent.oid AND c.relname ~ '_\\d{{4}}_\\d{{2}}$';
            WHILE month <= now() + interval '3 months' LOOP
                partition := parent.name || to_char(month, '_YYYY_MM');
                edges := CASE WHEN parent.is_by_id
                    THEN ARRAY[{SCHEMA}.first_id(month)::text, {SCHEMA}.first_id(month + interval '1 month')::text]
                    ELSE ARRAY[month::text, (month + interval '1 month')::text] END;
                -- What came while the month had no partition stays in the default one, and so does what follows.
                EXECUTE format('SELECT EXISTS (SELECT FROM {SCHEMA}.%I WHERE %I >= %L AND %I < %L)',
                    parent.name || '_default', parent.key, edges[1], parent.key, edges[2]) INTO is_taken;
                IF NOT is_taken THEN
                    EXECUTE format('CREATE TABLE {SCHEMA}.%I (LIKE {SCHEMA}.%I INCLUDING ALL)', partition, parent.name);
                    EXECUTE format('ALTER TABLE {SCHEMA}.%I ENABLE ROW LEVEL SECURITY', partition);
                    EXECUTE format('ALTER TABLE {SCHEMA}.%I FORCE ROW LEVEL SECURITY', partition);
                    EXECUTE format('CREATE POLICY tenant_isolation ON {SCHEMA}.%I USING (%s)', partition, policy);
                    EXECUTE format('ALTER TABLE {SCHEMA}.%I ATTACH PARTITION {SCHEMA}.%I FOR VALUES FROM (%L) TO (%L)',
                        parent.name, partition, edges[1], edges[2]);
                END IF;
                month := month + interval '1 month';
            END LOOP;
        END LOOP;
    END $function$
"""
"""Gives every partitioned table a partition a month, from the one after its last to three months ahead."""

DROP_BODIES = f"""
    CREATE FUNCTION {SCHEMA}.drop_delivery_bodies(before timestamptz) RETURNS integer {AS_OWNER} AS $function$
    DECLARE
        kept_from CONSTANT uuid := {SCHEMA}.first_id(date_trunc('month', before));
        partition text;
        dropped integer := 0;
    BEGIN
        UPDATE {SCHEMA}.deliveries AS d SET body = b.body, headers = b.headers
        FROM (
            SELECT tenant_id, id FROM {SCHEMA}.deliveries WHERE state = 'quarantined' AND id < kept_from
            UNION ALL
            SELECT tenant_id, id FROM {SCHEMA}.deliveries WHERE state = 'received' AND id < kept_from
        ) AS unsettled, {SCHEMA}.delivery_bodies AS b
        WHERE d.tenant_id = unsettled.tenant_id AND d.id = unsettled.id
            AND b.tenant_id = unsettled.tenant_id AND b.id = unsettled.id AND b.id < kept_from;
        DELETE FROM {SCHEMA}.delivery_bodies_default WHERE id < kept_from;
        FOR partition IN
            SELECT c.relname FROM pg_inherits JOIN pg_class AS c ON c.oid = inhrelid
            WHERE inhparent = '{SCHEMA}.delivery_bodies'::regclass AND c.relname ~ '_\\d{{4}}_\\d{{2}}$'
                AND right(c.relname, 7) < to_char(before, 'YYYY_MM')
            ORDER BY c.relname
        LOOP
            EXECUTE format('DROP TABLE {SCHEMA}.%I', partition);
            dropped := dropped + 1;
        END LOOP;
        RETURN dropped;
    END $function$
"""
"""Drops the months before the one of a moment. What is in quarantine, or waits, gets its body into its row."""


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.create_table(
        "delivery_bodies",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("headers", JSONB(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "id", name="pk_delivery_bodies"),
        schema=SCHEMA,
        postgresql_partition_by="RANGE (id)",
    )
    op.execute(f"CREATE TABLE {SCHEMA}.delivery_bodies_default PARTITION OF {SCHEMA}.delivery_bodies DEFAULT")
    for table in ("delivery_bodies", "delivery_bodies_default"):
        enable_row_level_security(op, SCHEMA, table)
    for function in (FIRST_ID, MAKE_PARTITIONS, DROP_BODIES):
        op.execute(function)
    for function in ("make_partitions()", "drop_delivery_bodies(timestamptz)"):
        op.execute(f"REVOKE ALL ON FUNCTION {SCHEMA}.{function} FROM PUBLIC")
        op.execute(f"GRANT EXECUTE ON FUNCTION {SCHEMA}.{function} TO {ROLE}")
    op.execute(f"SELECT {SCHEMA}.make_partitions()")


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    # The owner of a table, too, sees rows of no tenant unless it asks for those of every tenant.
    op.execute("SET LOCAL app.tenants = '*'")
    op.execute(
        f"UPDATE {SCHEMA}.deliveries AS d SET body = b.body, headers = b.headers FROM {SCHEMA}.delivery_bodies AS b"
        " WHERE b.tenant_id = d.tenant_id AND b.id = d.id"
    )
    op.drop_table("delivery_bodies", schema=SCHEMA)
    for function in ("drop_delivery_bodies(timestamptz)", "make_partitions()", "first_id(timestamptz)"):
        op.execute(f"DROP FUNCTION {SCHEMA}.{function}")
