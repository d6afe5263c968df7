"""What plain components read of a deal is in columns beside the event.

A worker of the release before, which may still run, knows nothing of them: of what that one stores they are read by a
trigger. A later release takes the trigger away.
"""

from alembic import op

revision: str = "0026"
down_revision: str | None = "0025"
branch_labels: str | None = None
depends_on: str | None = None

SCHEMA = "incentives"
COLUMNS = {
    "kind": "text",
    "status": "text",
    "amount": "numeric",
    "currency": "text",
    "closed_on": "date",
    "closed_at": "timestamptz",
}


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    # The owner of a table, too, sees rows of no tenant unless it asks for those of every tenant.
    op.execute("SET LOCAL app.tenants = '*'")
    columns = [f"{name} {kind}" for name, kind in COLUMNS.items()]
    op.execute(f"ALTER TABLE {SCHEMA}.deals {', '.join(f'ADD COLUMN {column}' for column in columns)}")
    # A text with a NUL cannot be read here; without a kind, the deal is one that no plain component knows.
    op.execute(
        f"""
        CREATE FUNCTION {SCHEMA}.read_deal() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            SELECT r.* INTO {", ".join(f"NEW.{name}" for name in COLUMNS)}
            FROM json_to_record(CAST(CASE WHEN position('\\u0000' IN NEW.body) = 0 THEN NEW.body END AS json)) AS r(
                {", ".join(columns)}
            );
            RETURN NEW;
        END $$
        """
    )
    call = f"ON {SCHEMA}.deals FOR EACH ROW WHEN (%s) EXECUTE FUNCTION {SCHEMA}.read_deal()"
    op.execute("CREATE TRIGGER read_new_deal BEFORE INSERT " + call % "NEW.kind IS NULL")
    unchanged = " AND ".join(f"NEW.{name} IS NOT DISTINCT FROM OLD.{name}" for name in COLUMNS)
    op.execute("CREATE TRIGGER read_newer_deal BEFORE UPDATE OF body " + call % unchanged)
    op.execute(f"UPDATE {SCHEMA}.deals SET body = body")


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    for trigger in ("read_new_deal", "read_newer_deal"):
        op.execute(f"DROP TRIGGER {trigger} ON {SCHEMA}.deals")
    op.execute(f"DROP FUNCTION {SCHEMA}.read_deal()")
    for name in COLUMNS:
        op.drop_column("deals", name, schema=SCHEMA)
