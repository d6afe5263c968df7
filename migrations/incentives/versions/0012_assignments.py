"""Assignments are proposed and approved, have a target variable, a ramp, leave and proration, and keep their history.

Those that are stored count as approved, and are paid as before.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from shared.db.migration import enable_row_level_security

revision: str = "0012"
down_revision: str | None = "0011"
branch_labels: str | None = None
depends_on: str | None = None

SCHEMA = "incentives"
TABLE = "assignment_changes"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    for column in (
        sa.Column("status", sa.Text(), nullable=False, server_default=sa.text("'approved'")),
        sa.Column("target_variable", JSONB(none_as_null=True), nullable=True),
        sa.Column("ramp", JSONB(), nullable=False, server_default=sa.text("'[]'::jsonb")),
        sa.Column("leave", JSONB(), nullable=False, server_default=sa.text("'[]'::jsonb")),
        sa.Column("prorated", sa.Boolean(), nullable=False, server_default=sa.text("false")),
        sa.Column("change", JSONB(none_as_null=True), nullable=True),
    ):
        op.add_column("assignments", column, schema=SCHEMA)
    op.create_table(
        TABLE,
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("assignment_id", sa.Uuid(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("person_id", sa.Uuid(), nullable=True),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("before", JSONB(none_as_null=True), nullable=True),
        sa.Column("after", JSONB(none_as_null=True), nullable=True),
        sa.PrimaryKeyConstraint("tenant_id", "assignment_id", "version", name=f"pk_{TABLE}"),
        schema=SCHEMA,
    )
    enable_row_level_security(op, SCHEMA, TABLE)
    op.execute(
        f"CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {SCHEMA}.{TABLE}"
        f" FOR EACH STATEMENT EXECUTE FUNCTION {SCHEMA}.refuse_change()"
    )
    op.execute(f"REVOKE UPDATE, DELETE, TRUNCATE ON {SCHEMA}.{TABLE} FROM {SCHEMA}_app")


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.drop_table(TABLE, schema=SCHEMA)
    # What was never approved stays as a deleted one, and pays nothing.
    for name in ("change", "prorated", "leave", "ramp", "target_variable", "status"):
        op.drop_column("assignments", name, schema=SCHEMA)
