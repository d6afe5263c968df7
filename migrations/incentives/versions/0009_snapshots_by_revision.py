"""A copy of what is published carries the revision at which it was kept, so that readers read what is newer.

A worker of the release before, which may still run, knows nothing of it: what that one keeps is given its revision by a
trigger. A later release takes the trigger away.
"""

import sqlalchemy as sa
from alembic import op

revision: str = "0009"
down_revision: str | None = "0008"
branch_labels: str | None = None
depends_on: str | None = None

SCHEMA = "incentives"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.add_column(
        "projected_snapshots",
        sa.Column("revision", sa.BigInteger(), nullable=False, server_default="0"),
        schema=SCHEMA,
    )
    op.create_index("ix_projected_snapshots_revision", "projected_snapshots", ["tenant_id", "revision"], schema=SCHEMA)
    op.execute(
        f"""
        CREATE FUNCTION {SCHEMA}.give_revision() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            NEW.revision := 1 + coalesce(
                (SELECT revision FROM {SCHEMA}.projection_revisions WHERE tenant_id = NEW.tenant_id), 0
            );
            RETURN NEW;
        END $$
        """
    )
    table = f"{SCHEMA}.projected_snapshots"
    call = f"FOR EACH ROW WHEN (%s) EXECUTE FUNCTION {SCHEMA}.give_revision()"
    op.execute(f"CREATE TRIGGER give_revision_to_new BEFORE INSERT ON {table} " + call % "NEW.revision = 0")
    unchanged = "NEW.revision = OLD.revision AND NEW.version <> OLD.version"
    op.execute(f"CREATE TRIGGER give_revision_to_newer BEFORE UPDATE ON {table} " + call % unchanged)


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute(f"DROP TRIGGER give_revision_to_new ON {SCHEMA}.projected_snapshots")
    op.execute(f"DROP TRIGGER give_revision_to_newer ON {SCHEMA}.projected_snapshots")
    op.execute(f"DROP FUNCTION {SCHEMA}.give_revision()")
    op.drop_index("ix_projected_snapshots_revision", "projected_snapshots", schema=SCHEMA)
    op.drop_column("projected_snapshots", "revision", schema=SCHEMA)
