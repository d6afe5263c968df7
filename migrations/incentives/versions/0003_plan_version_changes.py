"""Who wrote, approved and activated each version of a plan, with the terms before and after; append-only.

Of versions made before: their author, approver and the moments are recorded as they are known. That one was edited
shows in its revision; by whom was not kept, so such an edit is recorded as one by nobody known.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from shared.db.migration import enable_row_level_security

revision: str = "0003"
down_revision: str | None = "0002"
branch_labels: str | None = None
depends_on: str | None = None

SCHEMA = "incentives"
TABLE = "plan_version_changes"
STEPS_AFTER_EDITS = "CASE status WHEN 'draft' THEN 0 WHEN 'approved' THEN 1 ELSE 2 END"
TERMS = "jsonb_build_object('effective_from', effective_from, 'components', components, 'note', note)"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.create_table(
        TABLE,
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("plan_id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("person_id", sa.Uuid(), nullable=True),
        sa.Column("at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("before", JSONB(none_as_null=True), nullable=True),
        sa.Column("after", JSONB(none_as_null=True), nullable=True),
        sa.PrimaryKeyConstraint("tenant_id", "plan_id", "number", "revision", name=f"pk_{TABLE}"),
        schema=SCHEMA,
    )
    enable_row_level_security(op, SCHEMA, TABLE)
    _record_what_is_known()
    op.execute(
        f"CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {SCHEMA}.{TABLE}"
        f" FOR EACH STATEMENT EXECUTE FUNCTION {SCHEMA}.refuse_change()"
    )
    op.execute(f"REVOKE UPDATE, DELETE, TRUNCATE ON {SCHEMA}.{TABLE} FROM {SCHEMA}_app")


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.drop_table(TABLE, schema=SCHEMA)


def _record_what_is_known() -> None:
    person = "CASE WHEN {0} IS NULL THEN 'service' ELSE 'person' END, {0}"
    for kind, revision_, actor, at, after, where in (
        (
            "drafted",
            "1",
            person.format("author_id"),
            "created_at",
            f"CASE WHEN edits = 0 THEN {TERMS} END",
            "true",
        ),
        ("edited", "1 + edits", "'unknown', NULL", "NULL", TERMS, "edits > 0"),
        ("approved", "2 + edits", person.format("approver_id"), "approved_at", "NULL", "status <> 'draft'"),
        ("activated", "3 + edits", "'unknown', NULL", "activated_at", "NULL", "status = 'active'"),
    ):
        op.execute(
            f"""
            INSERT INTO {SCHEMA}.{TABLE}
                (tenant_id, plan_id, number, revision, kind, actor, person_id, at, "before", "after")
            SELECT tenant_id, plan_id, number, {revision_}, '{kind}', {actor}, {at}, NULL::jsonb, {after}
            FROM (
                SELECT *, revision - 1 - {STEPS_AFTER_EDITS} AS edits FROM {SCHEMA}.plan_versions
            ) AS known
            WHERE {where}
            """
        )
