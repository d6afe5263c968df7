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
)
"""Where each tenant's chain ends: the one row that whoever posts has to lock."""

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
    CheckConstraint("num_nulls(kind, subject_kind, period_start, period_end) IN (0, 4)", name="form"),
    Index("ix_ledger_transactions_cell_id", "subject_id", "sequence"),
    Index("ix_ledger_transactions_person_id", "person_id", "sequence"),
    Index("ix_ledger_transactions_deal_id", "deal_id", "sequence"),
)
"""Without a kind, the kind of its subject and a period a transaction is of the first form: a commission of a cell."""

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
