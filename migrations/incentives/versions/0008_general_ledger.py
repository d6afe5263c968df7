"""A ledger of postings of any kind: each names its kind, the kind of its subject, and the period it belongs to.

Transactions of before keep their form, which has none of these, and so their seals; so do those that the release before
posts meanwhile. The kind of an entry's account is read from the account, which is sealed.
"""

from alembic import op

revision: str = "0008"
down_revision: str | None = "0007"
branch_labels: str | None = None
depends_on: str | None = None

TRANSACTIONS, ENTRIES = "incentives.ledger_transactions", "incentives.ledger_entries"
FORM = "ck_ledger_transactions_form"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    # Nothing is rewritten or read under the lock: the columns are empty or virtual.
    op.execute(
        f"""
        ALTER TABLE {TRANSACTIONS}
            ADD COLUMN IF NOT EXISTS kind text,
            ADD COLUMN IF NOT EXISTS subject_kind text,
            ADD COLUMN IF NOT EXISTS period_start date,
            ADD COLUMN IF NOT EXISTS period_end date,
            ALTER COLUMN plan_id DROP NOT NULL,
            ALTER COLUMN component DROP NOT NULL,
            DROP CONSTRAINT IF EXISTS {FORM},
            ADD CONSTRAINT {FORM} CHECK (num_nulls(kind, subject_kind, period_start, period_end) IN (0, 4)) NOT VALID
        """
    )
    op.execute(
        f"ALTER TABLE {ENTRIES} ADD COLUMN IF NOT EXISTS account_kind text"
        " GENERATED ALWAYS AS (split_part(account, ':', 1)) VIRTUAL"
    )
    with op.get_context().autocommit_block():
        op.execute(f"ALTER TABLE {TRANSACTIONS} VALIDATE CONSTRAINT {FORM}")


def downgrade() -> None:
    """What transactions are sealed with stays; the release before does not know it, and calls those altered."""
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute(f"ALTER TABLE {ENTRIES} DROP COLUMN account_kind")
    op.execute(f"ALTER TABLE {TRANSACTIONS} DROP CONSTRAINT {FORM}")
