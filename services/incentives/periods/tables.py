"""Pay periods that somebody moved, and every step of each."""

from sqlalchemy import BigInteger, CheckConstraint, Column, Date, Index, Integer, Table, Text, Uuid
from sqlalchemy.dialects.postgresql import JSONB

from services.incentives.metadata import metadata
from shared.db.tables import instant, tenant_id

pay_periods = Table(
    "pay_periods",
    metadata,
    tenant_id(),
    Column("id", Uuid(), primary_key=True),
    Column("start", Date, nullable=False),
    Column("end", Date, nullable=False),
    Column("state", Text, nullable=False),
    instant("cut_off_at", nullable=True),
    Column("cut_off_sequence", BigInteger, nullable=True),
    Column("as_paid", JSONB(none_as_null=True), nullable=True),
    Column("version", Integer, nullable=False),
    instant("changed_at"),
    CheckConstraint(
        "num_nulls(cut_off_at, cut_off_sequence, as_paid)"
        " = CASE WHEN state IN ('open', 'calculating', 'in_review') THEN 3 ELSE 0 END",
        name="cut_off",
    ),
    Index("uq_pay_periods_start", "start", "tenant_id", unique=True),
)
"""The database refuses to change the days and the cut-off of one that was cut off, and to lead it back."""

pay_period_changes = Table(
    "pay_period_changes",
    metadata,
    tenant_id(),
    Column("pay_period_id", Uuid(), primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("before", Text, nullable=False),
    Column("after", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("person_id", Uuid(), nullable=True),
    instant("at"),
    Column("reason", Text, nullable=False),
)
"""Every step of a pay period: who took it, when and why; append-only."""
