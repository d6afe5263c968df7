"""Won deals that nobody is credited with: counted from now on with every change; those that are stored, here."""

import sqlalchemy as sa
from alembic import op

from shared.db.migration import enable_row_level_security

revision: str = "0013"
down_revision: str | None = "0012"
branch_labels: str | None = None
depends_on: str | None = None

SCHEMA = "tracking"
TABLE = "uncredited"
WON = "d.status = 'won' AND d.kind IN ('upserted', 'restored')"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.create_table(
        TABLE,
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("connection_id", sa.Uuid(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("stripe", sa.Integer(), nullable=False),
        sa.Column("deals", sa.BigInteger(), nullable=False),
        sa.Column("amount", sa.Numeric(), nullable=False),
        sa.PrimaryKeyConstraint(
            "tenant_id", "connection_id", "reason", "source", "user_id", "currency", "stripe", name="pk_uncredited"
        ),
        schema=SCHEMA,
    )
    op.create_index("ix_uncredited_user", TABLE, ["tenant_id", "source", "user_id"], schema=SCHEMA)
    enable_row_level_security(op, SCHEMA, TABLE)
    # What deals say may not change between this count and the first that is kept.
    op.execute(f"LOCK TABLE {SCHEMA}.deals IN SHARE MODE")
    op.execute(
        f"""
        INSERT INTO {SCHEMA}.{TABLE}
        WITH named AS MATERIALIZED (
            SELECT tenant_id, body ->> 'source' AS source, body ->> 'external_user_id' AS user_id
            FROM {SCHEMA}.projected_snapshots
            WHERE event_type = 'attain.identity.v1' AND NOT CAST(body ->> 'deleted' AS boolean)
        ), gaps AS (
            SELECT d.tenant_id, d.connection_id, 'owner_unknown' AS reason, d.source, d.owner_external_id AS user_id,
                d.currency, coalesce(d.amount, 0) AS amount
            FROM {SCHEMA}.deals AS d
            LEFT JOIN named ON named.tenant_id = d.tenant_id AND named.source = d.source
                AND named.user_id = d.owner_external_id
            WHERE {WON} AND d.splits IS NULL AND d.owner_external_id IS NOT NULL AND named.user_id IS NULL
            UNION ALL
            SELECT d.tenant_id, d.connection_id, 'split_unknown', d.source, split.owner_external_id, d.currency,
                coalesce(d.amount, 0) * split.percent * 0.01
            FROM {SCHEMA}.deals AS d
            CROSS JOIN LATERAL jsonb_to_recordset(d.splits) AS split(owner_external_id text, percent numeric)
            LEFT JOIN named ON named.tenant_id = d.tenant_id AND named.source = d.source
                AND named.user_id = split.owner_external_id
            WHERE {WON} AND d.splits IS NOT NULL AND split.percent <> 0 AND named.user_id IS NULL
            UNION ALL
            SELECT d.tenant_id, d.connection_id, gap.reason, d.source, '', d.currency, coalesce(d.amount, 0)
            FROM {SCHEMA}.deals AS d
            CROSS JOIN LATERAL (VALUES
                ('owner_missing', d.splits IS NULL AND d.owner_external_id IS NULL),
                ('no_currency', d.amount IS NOT NULL AND d.currency IS NULL),
                ('no_close_date', d.closed_on IS NULL AND d.closed_at IS NULL)
            ) AS gap(reason, holds)
            WHERE {WON} AND gap.holds
        )
        SELECT tenant_id, connection_id, reason, source, user_id, coalesce(currency, ''), 0, count(*), sum(amount)
        FROM gaps GROUP BY tenant_id, connection_id, reason, source, user_id, coalesce(currency, '')
        """
    )


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.drop_table(TABLE, schema=SCHEMA)
