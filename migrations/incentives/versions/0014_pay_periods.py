"""Pay periods, their states and who moved them; each posting names the pay period it is posted in.

Transactions of before keep their form, and so their seals. Those of the first form do not name their period either: it
is copied from their cells as they are now, also of those that the release before posts meanwhile. Once a pay period is
cut off, the database refuses what would be posted in it or in an earlier one.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from shared.db.migration import enable_row_level_security

revision: str = "0014"
down_revision: str | None = "0013"
branch_labels: str | None = None
depends_on: str | None = None

SCHEMA = "incentives"
TRANSACTIONS, HEADS = f"{SCHEMA}.ledger_transactions", f"{SCHEMA}.ledger_heads"
PAY_PERIOD, INDEX = "ck_ledger_transactions_pay_period", "ix_ledger_transactions_posted_in_end"
STATES = "ARRAY['open', 'calculating', 'in_review', 'approved', 'exported', 'paid', 'closed']"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute(f"ALTER TABLE {HEADS} ADD COLUMN IF NOT EXISTS open_start date, ADD COLUMN IF NOT EXISTS open_end date")
    op.execute(
        f"""
        ALTER TABLE {TRANSACTIONS}
            ADD COLUMN IF NOT EXISTS posted_in_start date,
            ADD COLUMN IF NOT EXISTS posted_in_end date,
            DROP CONSTRAINT IF EXISTS {PAY_PERIOD},
            ADD CONSTRAINT {PAY_PERIOD} CHECK (
                num_nulls(posted_in_start, posted_in_end) IN (0, 2) AND (posted_in_end IS NULL OR kind IS NOT NULL)
            ) NOT VALID
        """
    )
    with op.get_context().autocommit_block():
        op.execute(f"ALTER TABLE {TRANSACTIONS} VALIDATE CONSTRAINT {PAY_PERIOD}")
        op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {SCHEMA}.{INDEX}")
        op.execute(f"CREATE INDEX CONCURRENTLY {INDEX} ON {TRANSACTIONS} (posted_in_end, tenant_id)")
    op.execute("SET LOCAL lock_timeout = '5s'")
    _create_pay_periods()
    _refuse_what_is_cut_off()
    _name_periods_of_the_first_form()


def downgrade() -> None:
    """What transactions are sealed with stays; the release before does not know it, and calls those altered."""
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute(f"DROP INDEX {SCHEMA}.{INDEX}")
    op.execute(f"ALTER TABLE {TRANSACTIONS} DROP CONSTRAINT {PAY_PERIOD}")
    op.execute(f"DROP TRIGGER in_open_pay_period ON {TRANSACTIONS}")
    op.execute(f"DROP TRIGGER opens_onwards ON {HEADS}")
    for table in ("ledger_first_periods", "pay_period_changes", "pay_periods"):
        op.drop_table(table, schema=SCHEMA)
    for function in ("require_open_pay_period", "refuse_reopening", "refuse_change_of_pay_period"):
        op.execute(f"DROP FUNCTION {SCHEMA}.{function}")


def _create_pay_periods() -> None:
    op.create_table(
        "pay_periods",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("start", sa.Date(), nullable=False),
        sa.Column("end", sa.Date(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("cut_off_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("cut_off_sequence", sa.BigInteger(), nullable=True),
        sa.Column("as_paid", JSONB(none_as_null=True), nullable=True),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "id", name="pk_pay_periods"),
        sa.CheckConstraint(
            "num_nulls(cut_off_at, cut_off_sequence, as_paid)"
            " = CASE WHEN state IN ('open', 'calculating', 'in_review') THEN 3 ELSE 0 END",
            name="cut_off",
        ),
        schema=SCHEMA,
    )
    op.create_index("uq_pay_periods_start", "pay_periods", ["start", "tenant_id"], unique=True, schema=SCHEMA)
    op.create_table(
        "pay_period_changes",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("pay_period_id", sa.Uuid(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("before", sa.Text(), nullable=False),
        sa.Column("after", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("person_id", sa.Uuid(), nullable=True),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "pay_period_id", "version", name="pk_pay_period_changes"),
        schema=SCHEMA,
    )
    for table in ("pay_periods", "pay_period_changes"):
        enable_row_level_security(op, SCHEMA, table)
    op.execute(
        f"CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {SCHEMA}.pay_period_changes"
        f" FOR EACH STATEMENT EXECUTE FUNCTION {SCHEMA}.refuse_change()"
    )
    op.execute(f"REVOKE UPDATE, DELETE, TRUNCATE ON {SCHEMA}.pay_period_changes FROM {SCHEMA}_app")
    op.execute(
        f"""
        CREATE FUNCTION {SCHEMA}.refuse_change_of_pay_period() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            RAISE EXCEPTION 'a pay period that is % stays as it was paid', OLD.state
                USING ERRCODE = 'restrict_violation';
        END
        $$
        """
    )
    frozen = 'start, "end", cut_off_at, cut_off_sequence, as_paid'
    old, new = (", ".join(f"{row}.{column}" for column in frozen.split(", ")) for row in ("OLD", "NEW"))
    op.execute(
        f"""
        CREATE TRIGGER frozen BEFORE UPDATE ON {SCHEMA}.pay_periods FOR EACH ROW
        WHEN (OLD.cut_off_sequence IS NOT NULL AND (
            ({new}) IS DISTINCT FROM ({old})
            OR array_position({STATES}, NEW.state) < array_position({STATES}, OLD.state)
        ))
        EXECUTE FUNCTION {SCHEMA}.refuse_change_of_pay_period()
        """
    )
    op.execute(
        f"CREATE TRIGGER never_removed BEFORE DELETE OR TRUNCATE ON {SCHEMA}.pay_periods"
        f" FOR EACH STATEMENT EXECUTE FUNCTION {SCHEMA}.refuse_change()"
    )
    op.execute(f"REVOKE DELETE, TRUNCATE ON {SCHEMA}.pay_periods FROM {SCHEMA}_app")


def _refuse_what_is_cut_off() -> None:
    op.execute(
        f"""
        CREATE FUNCTION {SCHEMA}.require_open_pay_period() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            INSERT INTO {SCHEMA}.ledger_first_periods
            SELECT DISTINCT a.tenant_id, c.id, c.period_start, c.period_end
            FROM added AS a JOIN {SCHEMA}.cells AS c ON c.tenant_id = a.tenant_id AND c.id = a.cell_id
            WHERE a.kind IS NULL
            ON CONFLICT DO NOTHING;
            IF EXISTS (
                SELECT FROM added AS a
                JOIN {HEADS} AS h ON h.tenant_id = a.tenant_id
                LEFT JOIN {SCHEMA}.ledger_first_periods AS f
                    ON a.kind IS NULL AND f.tenant_id = a.tenant_id AND f.cell_id = a.cell_id
                WHERE COALESCE(a.posted_in_end, a.period_end, f.period_end, DATE '-infinity') <= h.open_start
            ) THEN
                RAISE EXCEPTION 'a pay period that was approved takes no postings' USING ERRCODE = 'restrict_violation';
            END IF;
            RETURN NULL;
        END
        $$
        """
    )
    op.execute(
        f"CREATE TRIGGER in_open_pay_period AFTER INSERT ON {TRANSACTIONS} REFERENCING NEW TABLE AS added"
        f" FOR EACH STATEMENT EXECUTE FUNCTION {SCHEMA}.require_open_pay_period()"
    )
    op.execute(
        f"""
        CREATE FUNCTION {SCHEMA}.refuse_reopening() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            RAISE EXCEPTION 'a pay period that was approved is not opened again' USING ERRCODE = 'restrict_violation';
        END
        $$
        """
    )
    op.execute(
        f"""
        CREATE TRIGGER opens_onwards BEFORE UPDATE ON {HEADS} FOR EACH ROW
        WHEN (OLD.open_start IS NOT NULL AND (NEW.open_start IS NULL OR NEW.open_start < OLD.open_start))
        EXECUTE FUNCTION {SCHEMA}.refuse_reopening()
        """
    )


def _name_periods_of_the_first_form() -> None:
    table = "ledger_first_periods"
    op.create_table(
        table,
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("cell_id", sa.Uuid(), nullable=False),
        sa.Column("period_start", sa.Date(), nullable=False),
        sa.Column("period_end", sa.Date(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "cell_id", name=f"pk_{table}"),
        schema=SCHEMA,
    )
    enable_row_level_security(op, SCHEMA, table)
    op.execute("SET LOCAL app.tenants = '*'")
    op.execute(
        f"INSERT INTO {SCHEMA}.{table} SELECT tenant_id, id, period_start, period_end FROM {SCHEMA}.cells AS c"
        f" WHERE EXISTS (SELECT FROM {TRANSACTIONS} WHERE cell_id = c.id AND tenant_id = c.tenant_id AND kind IS NULL)"
    )
