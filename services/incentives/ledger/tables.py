"""The ledger. Transactions and entries are only ever added; the database refuses anything else."""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Computed,
    Date,
    Index,
    LargeBinary,
    SmallInteger,
    Table,
    Text,
    Uuid,
)
from sqlalchemy.dialects.postgresql import JSONB

from services.incentives.metadata import metadata
from shared.db.tables import instant, money, tenant_id

ledger_heads = Table(
    "ledger_heads",
    metadata,
    tenant_id(),
    Column("sequence", BigInteger, nullable=False),
    Column("hash", LargeBinary, nullable=False),
    Column("open_start", Date, nullable=True),
    Column("open_end", Date, nullable=True),
)
"""Where each tenant's chain ends: the one row that whoever posts has to lock.

`open_start` and `open_end` are the first pay period that takes postings. The database refuses what is posted in an
earlier one, and that the first open one becomes an earlier one.
"""

ledger_transactions = Table(
    "ledger_transactions",
    metadata,
    tenant_id(),
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    instant("posted_at"),
    Column("kind", Text, nullable=True),
    Column("subject_kind", Text, nullable=True),
    Column("cell_id", Uuid(), key="subject_id", nullable=False),
    Column("person_id", Uuid(), nullable=False),
    Column("plan_id", Uuid(), nullable=True),
    Column("component", Text, nullable=True),
    Column("period_start", Date, nullable=True),
    Column("period_end", Date, nullable=True),
    Column("cause", Text, nullable=False),
    Column("deal_id", Uuid(), nullable=True),
    instant("deal_modified_at", nullable=True),
    Column("deal_sequence", BigInteger, nullable=True),
    Column("delivery_id", Uuid(), nullable=True),
    Column("changes", JSONB, nullable=False),
    Column("hash", LargeBinary, nullable=False),
    Column("posted_in_start", Date, nullable=True),
    Column("posted_in_end", Date, nullable=True),
    CheckConstraint("num_nulls(kind, subject_kind, period_start, period_end) IN (0, 4)", name="form"),
    CheckConstraint(
        "num_nulls(posted_in_start, posted_in_end) IN (0, 2) AND (posted_in_end IS NULL OR kind IS NOT NULL)",
        name="pay_period",
    ),
    Index("ix_ledger_transactions_cell_id", "subject_id", "sequence"),
    Index("ix_ledger_transactions_person_id", "person_id", "sequence"),
    Index("ix_ledger_transactions_deal_id", "deal_id", "sequence"),
    Index("ix_ledger_transactions_posted_in_end", "posted_in_end", "tenant_id"),
)
"""Without a kind, the kind of its subject and a period a transaction is of the first form: a commission of a cell.

Without a pay period it is of the second, and was posted in the one that its period's last day is in.
"""

ledger_first_periods = Table(
    "ledger_first_periods",
    metadata,
    tenant_id(),
    Column("cell_id", Uuid(), primary_key=True),
    Column("period_start", Date, nullable=False),
    Column("period_end", Date, nullable=False),
)
"""The period of each cell that has transactions of the first form, which do not name it. The database fills it."""

ledger_entries = Table(
    "ledger_entries",
    metadata,
    tenant_id(),
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    Column("line", SmallInteger, primary_key=True, autoincrement=False),
    Column("account", Text, nullable=False),
    Column("account_kind", Text, Computed("split_part(account, ':', 1)", persisted=False), nullable=True),
    money("amount"),
    Column("currency", Text, nullable=False),
)
