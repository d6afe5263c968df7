"""The ledger. Transactions and entries are only ever added; the database refuses anything else."""

from sqlalchemy import BigInteger, Column, Index, LargeBinary, SmallInteger, Table, Text, Uuid
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
"""Where each tenant's chain ends: the one row that whoever posts has to hold."""

ledger_transactions = Table(
    "ledger_transactions",
    metadata,
    tenant_id(),
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    instant("posted_at"),
    Column("cell_id", Uuid(), nullable=False),
    Column("person_id", Uuid(), nullable=False),
    Column("plan_id", Uuid(), nullable=False),
    Column("component", Text, nullable=False),
    Column("cause", Text, nullable=False),
    Column("deal_id", Uuid(), nullable=True),
    instant("deal_modified_at", nullable=True),
    Column("deal_sequence", BigInteger, nullable=True),
    Column("delivery_id", Uuid(), nullable=True),
    Column("changes", JSONB, nullable=False),
    Column("hash", LargeBinary, nullable=False),
    Index("ix_ledger_transactions_cell_id", "cell_id", "sequence"),
    Index("ix_ledger_transactions_person_id", "person_id", "sequence"),
    Index("ix_ledger_transactions_deal_id", "deal_id", "sequence"),
)

ledger_entries = Table(
    "ledger_entries",
    metadata,
    tenant_id(),
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    Column("line", SmallInteger, primary_key=True, autoincrement=False),
    Column("account", Text, nullable=False),
    money("amount"),
    Column("currency", Text, nullable=False),
)
