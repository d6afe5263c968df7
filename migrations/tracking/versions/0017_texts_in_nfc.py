"""Texts in Unicode's NFC, as every text is from now on that comes in.

Goals of tenants that had others are counted anew, and so is what nobody is credited with: a filter, an identity or a
mapping may now meet a record that is written otherwise. Ids stay, also of records whose external ids are such texts.
"""

from uuid import UUID

import sqlalchemy as sa
from alembic import op

revision: str = "0017"
down_revision: str | None = "0016"
branch_labels: str | None = None
depends_on: str | None = None

SCHEMA = "tracking"
DEAL_TEXTS = (
    "source",
    "external_id",
    "owner_external_id",
    "name",
    "stage",
    "pipeline",
    "type",
    "channel",
    "region",
    "account_id",
    "account_name",
    "merged_into",
)
DEAL_DOCUMENTS = ("splits", "products", "custom")
ACTIVITY_TEXTS = (
    "source",
    "external_id",
    "owner_external_id",
    "subject",
    "outcome",
    "deal_external_id",
    "account_id",
)
ACTIVITY_DOCUMENTS = ("custom",)
TEXTS_AND_DOCUMENTS = {
    "deals": (DEAL_TEXTS, DEAL_DOCUMENTS),
    "deal_versions": (DEAL_TEXTS, DEAL_DOCUMENTS),
    "activities": (ACTIVITY_TEXTS, ACTIVITY_DOCUMENTS),
    "activity_versions": (ACTIVITY_TEXTS, ACTIVITY_DOCUMENTS),
    "connections": (("name", "identity_source"), ("mapping",)),
    "projected_snapshots": ((), ("body",)),
}
DECIDING = ("deals", "activities", "projected_snapshots")
"""What the numbers of a tenant come from."""

COMPOSED = f"""
    CREATE FUNCTION {SCHEMA}.composed(document jsonb) RETURNS jsonb LANGUAGE plpgsql IMMUTABLE AS $$
    BEGIN
        RETURN CASE jsonb_typeof(document)
            WHEN 'string' THEN to_jsonb(normalize(document #>> '{{}}', NFC))
            WHEN 'array' THEN (
                SELECT coalesce(jsonb_agg({SCHEMA}.composed(member) ORDER BY place), '[]')
                FROM jsonb_array_elements(document) WITH ORDINALITY AS members(member, place)
            )
            WHEN 'object' THEN (
                SELECT coalesce(jsonb_object_agg(normalize(name, NFC), {SCHEMA}.composed(member)), '{{}}')
                FROM jsonb_each(document) AS members(name, member)
            )
            ELSE document
        END;
    END $$
"""
WON = "d.status = 'won' AND d.kind IN ('upserted', 'restored')"
COUNT_UNCREDITED = f"""
    INSERT INTO {SCHEMA}.uncredited
    WITH named AS MATERIALIZED (
        SELECT tenant_id, body ->> 'source' AS source, body ->> 'external_user_id' AS user_id
        FROM {SCHEMA}.projected_snapshots
        WHERE event_type = 'attain.identity.v1' AND NOT CAST(body ->> 'deleted' AS boolean)
            AND tenant_id = ANY(:tenants)
    ), gaps AS (
        SELECT d.tenant_id, d.connection_id, 'owner_unknown' AS reason, d.source, d.owner_external_id AS user_id,
            d.currency, coalesce(d.amount, 0) AS amount
        FROM {SCHEMA}.deals AS d
        LEFT JOIN named ON named.tenant_id = d.tenant_id AND named.source = d.source
            AND named.user_id = d.owner_external_id
        WHERE {WON} AND d.splits IS NULL AND d.owner_external_id IS NOT NULL AND named.user_id IS NULL
            AND d.tenant_id = ANY(:tenants)
        UNION ALL
        SELECT d.tenant_id, d.connection_id, 'split_unknown', d.source, split.owner_external_id, d.currency,
            coalesce(d.amount, 0) * split.percent * 0.01
        FROM {SCHEMA}.deals AS d
        CROSS JOIN LATERAL jsonb_to_recordset(d.splits) AS split(owner_external_id text, percent numeric)
        LEFT JOIN named ON named.tenant_id = d.tenant_id AND named.source = d.source
            AND named.user_id = split.owner_external_id
        WHERE {WON} AND d.splits IS NOT NULL AND split.percent <> 0 AND named.user_id IS NULL
            AND d.tenant_id = ANY(:tenants)
        UNION ALL
        SELECT d.tenant_id, d.connection_id, gap.reason, d.source, '', d.currency, coalesce(d.amount, 0)
        FROM {SCHEMA}.deals AS d
        CROSS JOIN LATERAL (VALUES
            ('owner_missing', d.splits IS NULL AND d.owner_external_id IS NULL),
            ('no_currency', d.amount IS NOT NULL AND d.currency IS NULL),
            ('no_close_date', d.closed_on IS NULL AND d.closed_at IS NULL)
        ) AS gap(reason, holds)
        WHERE {WON} AND gap.holds AND d.tenant_id = ANY(:tenants)
    )
    SELECT tenant_id, connection_id, reason, source, user_id, coalesce(currency, ''), 0, count(*), sum(amount)
    FROM gaps GROUP BY tenant_id, connection_id, reason, source, user_id, coalesce(currency, '')
"""


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute(COMPOSED)
    # The owner of a table, too, sees rows of no tenant unless it asks for those of every tenant.
    op.execute("SET LOCAL app.tenants = '*'")
    # What deals say may not change while it is counted.
    op.execute(f"LOCK TABLE {SCHEMA}.deals, {SCHEMA}.activities IN SHARE ROW EXCLUSIVE MODE")
    tenants = sorted({tenant for table in DECIDING for tenant in _tenants_with_other_texts(table)})
    for table, (texts, documents) in TEXTS_AND_DOCUMENTS.items():
        changed = [f"{name} = normalize({name}, NFC)" for name in texts]
        changed += [f"{name} = {SCHEMA}.composed({name})" for name in documents]
        op.execute(f"UPDATE {SCHEMA}.{table} SET {', '.join(changed)} WHERE {_has_other_texts(table)}")
    _compose_keys()
    if tenants:
        _count_anew(tenants)
    op.execute(f"DROP FUNCTION {SCHEMA}.composed(jsonb)")


def downgrade() -> None:
    """An earlier release compares texts as they are, and these are as good as any."""


def _has_other_texts(table: str) -> str:
    # A space composes with nothing; nor does what the text of a document has around a text, but for escapes, of which
    # one that only seems to compose costs an update that changes nothing.
    texts, documents = TEXTS_AND_DOCUMENTS[table]
    return f"concat_ws(' ', {', '.join([*texts, *(f'{name}::text' for name in documents)])}) IS NOT NFC NORMALIZED"


def _tenants_with_other_texts(table: str) -> list[UUID]:
    found = sa.text(f"SELECT DISTINCT tenant_id FROM {SCHEMA}.{table} WHERE {_has_other_texts(table)}")
    return list(op.get_bind().execute(found).scalars())


def _compose_keys() -> None:
    others = "(source IS NOT NFC NORMALIZED OR external_id IS NOT NFC NORMALIZED)"
    op.execute(
        f"""
        INSERT INTO {SCHEMA}.deal_split_users (tenant_id, source, external_id, deal_id)
        SELECT tenant_id, normalize(source, NFC), normalize(external_id, NFC), deal_id
        FROM {SCHEMA}.deal_split_users WHERE {others}
        ON CONFLICT DO NOTHING
        """
    )
    op.execute(f"DELETE FROM {SCHEMA}.deal_split_users WHERE {others}")
    op.execute(
        f"""
        INSERT INTO {SCHEMA}.crm_users (tenant_id, connection_id, external_id, name, email, is_active, seen_at)
        SELECT tenant_id, connection_id, normalize(external_id, NFC), name, email, is_active, seen_at
        FROM {SCHEMA}.crm_users WHERE external_id IS NOT NFC NORMALIZED
        ON CONFLICT DO NOTHING
        """
    )
    op.execute(f"DELETE FROM {SCHEMA}.crm_users WHERE external_id IS NOT NFC NORMALIZED")
    op.execute(
        f"UPDATE {SCHEMA}.crm_users SET name = normalize(name, NFC), email = normalize(email, NFC)"
        " WHERE name IS NOT NFC NORMALIZED OR email IS NOT NFC NORMALIZED"
    )


def _count_anew(tenants: list[UUID]) -> None:
    connection, parameters = op.get_bind(), {"tenants": tenants}
    for statement in (
        f"UPDATE {SCHEMA}.progress_goals SET stale = true, version = version + 1, changed_at = now()"
        " WHERE tenant_id = ANY(:tenants)",
        f"UPDATE {SCHEMA}.projection_revisions SET revision = revision + 1 WHERE tenant_id = ANY(:tenants)",
        f"DELETE FROM {SCHEMA}.uncredited WHERE tenant_id = ANY(:tenants)",
        COUNT_UNCREDITED,
    ):
        connection.execute(sa.text(statement), parameters)
