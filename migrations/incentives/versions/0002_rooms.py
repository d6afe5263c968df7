"""Definitions, deals and credits, cells, and the append-only ledger."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from shared.db.migration import enable_row_level_security

revision: str = "0002"
down_revision: str | None = "0001"
branch_labels: str | None = None
depends_on: str | None = None

SCHEMA = "incentives"
APPEND_ONLY = ("ledger_transactions", "ledger_entries")
TABLES = (
    "projected_snapshots",
    "projection_revisions",
    "plans",
    "plan_versions",
    "assignments",
    "stale_assignments",
    "deals",
    "deal_split_users",
    "credits",
    "cells",
    "ledger_heads",
    *APPEND_ONLY,
)


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    _create_definitions()
    _create_credits()
    _create_cells()
    _create_ledger()
    for table in TABLES:
        enable_row_level_security(op, SCHEMA, table)
    _freeze_terms()
    _close_ledger()


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    for table in reversed(TABLES):
        op.drop_table(table, schema=SCHEMA)
    for function in ("refuse_change", "refuse_new_terms", "require_balance"):
        op.execute(f"DROP FUNCTION {SCHEMA}.{function}()")


def _uuid(name: str, *, nullable: bool = False) -> "sa.Column[object]":
    return sa.Column(name, sa.Uuid(), nullable=nullable)


def _text(name: str, *, nullable: bool = False) -> "sa.Column[object]":
    return sa.Column(name, sa.Text(), nullable=nullable)


def _integer(name: str) -> "sa.Column[object]":
    return sa.Column(name, sa.Integer(), nullable=False)


def _bigint(name: str, *, nullable: bool = False) -> "sa.Column[object]":
    return sa.Column(name, sa.BigInteger(), nullable=nullable)


def _numeric(name: str, *, nullable: bool = False) -> "sa.Column[object]":
    return sa.Column(name, sa.Numeric(), nullable=nullable)


def _instant(name: str, *, nullable: bool = False) -> "sa.Column[object]":
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def _date(name: str, *, nullable: bool = False) -> "sa.Column[object]":
    return sa.Column(name, sa.Date(), nullable=nullable)


def _json(name: str) -> "sa.Column[object]":
    return sa.Column(name, JSONB(), nullable=False)


def _table(name: str, key: tuple[str, ...], *columns: "sa.Column[object]") -> None:
    op.create_table(
        name,
        _uuid("tenant_id"),
        *columns,
        sa.PrimaryKeyConstraint("tenant_id", *key, name=f"pk_{name}"),
        schema=SCHEMA,
    )


def _index(name: str, table: str, *columns: str) -> None:
    op.create_index(name, table, columns, schema=SCHEMA)


def _create_definitions() -> None:
    _table(
        "projected_snapshots", ("subject",), _text("subject"), _text("event_type"), _bigint("version"), _json("body")
    )
    _table("projection_revisions", (), _bigint("revision"))
    _table(
        "plans",
        ("id",),
        _uuid("id"),
        _text("name"),
        _text("currency"),
        _text("period"),
        _integer("version"),
        _instant("created_at"),
    )
    _table(
        "plan_versions",
        ("plan_id", "number"),
        _uuid("plan_id"),
        _integer("number"),
        _text("status"),
        _date("effective_from"),
        _json("components"),
        _text("note", nullable=True),
        _uuid("author_id", nullable=True),
        _uuid("approver_id", nullable=True),
        _integer("revision"),
        _instant("created_at"),
        _instant("approved_at", nullable=True),
        _instant("activated_at", nullable=True),
    )
    _table(
        "assignments",
        ("id",),
        _uuid("id"),
        _uuid("person_id"),
        _uuid("plan_id"),
        _date("start"),
        _date("end", nullable=True),
        _json("quotas"),
        _integer("version"),
        sa.Column("deleted", sa.Boolean(), nullable=False),
        _instant("created_at"),
    )
    _index("ix_assignments_person_id", "assignments", "person_id")
    _index("ix_assignments_plan_id", "assignments", "plan_id")
    _table("stale_assignments", ("assignment_id",), _uuid("assignment_id"), _json("changes"), _instant("marked_at"))


def _create_credits() -> None:
    _table(
        "deals",
        ("id",),
        _uuid("id"),
        _instant("modified_at"),
        _bigint("sequence"),
        _uuid("delivery_id"),
        _text("source"),
        _text("owner_external_id", nullable=True),
        _text("body"),
    )
    _index("ix_deals_owner", "deals", "owner_external_id", "source", "tenant_id")
    _table(
        "deal_split_users",
        ("source", "external_id", "deal_id"),
        _text("source"),
        _text("external_id"),
        _uuid("deal_id"),
    )
    _table(
        "credits",
        ("deal_id", "assignment_id", "component"),
        _uuid("deal_id"),
        _uuid("assignment_id"),
        _text("component"),
        _uuid("cell_id"),
        _date("day"),
        _date("period_start"),
        _date("period_end"),
        _numeric("percent"),
        _numeric("value"),
    )
    _index("ix_credits_cell_id", "credits", "cell_id")
    _index("ix_credits_assignment_id", "credits", "assignment_id")


def _create_cells() -> None:
    _table(
        "cells",
        ("id",),
        _uuid("id"),
        _uuid("assignment_id"),
        _text("component"),
        _date("period_start"),
        _date("period_end"),
        _uuid("person_id"),
        _uuid("plan_id"),
        _integer("plan_version"),
        _text("currency"),
        _numeric("quota", nullable=True),
        _numeric("measure"),
        _numeric("payout"),
        _numeric("earned"),
        _integer("credits"),
        _bigint("version"),
        _instant("changed_at"),
    )
    _index("ix_cells_assignment_id", "cells", "assignment_id")
    _index("ix_cells_person_id", "cells", "person_id", "period_start")
    _index("ix_cells_period_start", "cells", "period_start", "tenant_id", "id")


def _create_ledger() -> None:
    _table("ledger_heads", (), _bigint("sequence"), sa.Column("hash", sa.LargeBinary(), nullable=False))
    _table(
        "ledger_transactions",
        ("sequence",),
        _bigint("sequence"),
        _instant("posted_at"),
        _uuid("cell_id"),
        _uuid("person_id"),
        _uuid("plan_id"),
        _text("component"),
        _text("cause"),
        _uuid("deal_id", nullable=True),
        _instant("deal_modified_at", nullable=True),
        _bigint("deal_sequence", nullable=True),
        _uuid("delivery_id", nullable=True),
        _json("changes"),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
    )
    _index("ix_ledger_transactions_cell_id", "ledger_transactions", "cell_id", "sequence")
    _index("ix_ledger_transactions_person_id", "ledger_transactions", "person_id", "sequence")
    _index("ix_ledger_transactions_deal_id", "ledger_transactions", "deal_id", "sequence")
    _table(
        "ledger_entries",
        ("sequence", "line"),
        _bigint("sequence"),
        sa.Column("line", sa.SmallInteger(), nullable=False),
        _text("account"),
        _numeric("amount"),
        _text("currency"),
    )


def _freeze_terms() -> None:
    """Once approved, the terms of a plan version are what was approved."""
    op.execute(
        f"""
        CREATE FUNCTION {SCHEMA}.refuse_new_terms() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            RAISE EXCEPTION 'the terms of plan version % are approved and cannot change', OLD.number
                USING ERRCODE = 'restrict_violation';
        END
        $$
        """
    )
    op.execute(
        f"""
        CREATE TRIGGER frozen_terms BEFORE UPDATE ON {SCHEMA}.plan_versions FOR EACH ROW
        WHEN (OLD.status <> 'draft' AND (NEW.components, NEW.effective_from, NEW.author_id, NEW.approver_id)
            IS DISTINCT FROM (OLD.components, OLD.effective_from, OLD.author_id, OLD.approver_id))
        EXECUTE FUNCTION {SCHEMA}.refuse_new_terms()
        """
    )


def _close_ledger() -> None:
    """Rows are added, balanced, and stay as they are, for the owner of the tables as for the service."""
    op.execute(
        f"""
        CREATE FUNCTION {SCHEMA}.refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
        END
        $$
        """
    )
    for table in APPEND_ONLY:
        op.execute(
            f"CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {SCHEMA}.{table}"
            f" FOR EACH STATEMENT EXECUTE FUNCTION {SCHEMA}.refuse_change()"
        )
        op.execute(f"REVOKE UPDATE, DELETE, TRUNCATE ON {SCHEMA}.{table} FROM {SCHEMA}_app")
    op.execute(
        f"""
        CREATE FUNCTION {SCHEMA}.require_balance() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF EXISTS (SELECT FROM added GROUP BY tenant_id, sequence, currency HAVING sum(amount) <> 0) THEN
                RAISE EXCEPTION 'the entries of a transaction do not sum to zero' USING ERRCODE = 'check_violation';
            END IF;
            RETURN NULL;
        END
        $$
        """
    )
    op.execute(
        f"CREATE TRIGGER balanced AFTER INSERT ON {SCHEMA}.ledger_entries REFERENCING NEW TABLE AS added"
        f" FOR EACH STATEMENT EXECUTE FUNCTION {SCHEMA}.require_balance()"
    )
