"""Payout runs, their steps, what each pays whom, what is credited to nobody, and manual adjustments."""

from sqlalchemy import BigInteger, CheckConstraint, Column, Date, Index, Integer, Table, Text, Uuid
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from services.incentives.metadata import metadata
from shared.db.decisions import decision_columns
from shared.db.tables import instant, money, tenant_id

payout_runs = Table(
    "payout_runs",
    metadata,
    tenant_id(),
    Column("id", Uuid(), primary_key=True),
    Column("version", BigInteger, nullable=False),
    Column("number", Integer, nullable=False),
    Column("pay_period_id", Uuid(), nullable=False),
    Column("period_start", Date, nullable=False),
    Column("period_end", Date, nullable=False),
    Column("status", Text, nullable=False),
    Column("totals", JSONB, nullable=False),
    Column("payouts", Integer, nullable=False),
    Column("author_kind", Text, nullable=False),
    Column("author_id", Uuid(), nullable=True),
    instant("calculated_at"),
    Column("reverses", Uuid(), nullable=True),
    Column("to_nobody", JSONB(none_as_null=True), nullable=True),
    CheckConstraint("status IN ('calculated', 'cancelled', 'approved', 'exported', 'paid', 'reversed')", name="status"),
    Index("ix_payout_runs_number", "tenant_id", "number", unique=True),
)

payout_run_changes = Table(
    "payout_run_changes",
    metadata,
    tenant_id(),
    Column("run_id", Uuid(), primary_key=True),
    Column("version", BigInteger, primary_key=True, autoincrement=False),
    Column("status", Text, nullable=False),
    Column("actor_kind", Text, nullable=False),
    Column("actor_id", Uuid(), nullable=True),
    instant("at"),
    Column("reason", Text, nullable=True),
)
"""Every step of each run; append-only."""

payouts = Table(
    "payouts",
    metadata,
    tenant_id(),
    Column("id", Uuid(), primary_key=True),
    Column("run_id", Uuid(), nullable=False),
    Column("person_id", Uuid(), nullable=False),
    Column("plan_id", Uuid(), nullable=False),
    Column("currency", Text, nullable=False),
    money("paid"),
    money("earned"),
    Column("lines", JSONB, nullable=False),
    Column("state", JSONB, nullable=False),
    money("owed_before"),
    Column("anomalies", ARRAY(Text), nullable=False),
    Index("ix_payouts_run_id", "run_id"),
    Index("ix_payouts_person_id", "person_id"),
)
"""What each run pays whom by which plan; append-only."""

uncredited_deals = Table(
    "uncredited_deals",
    metadata,
    tenant_id(),
    Column("run_id", Uuid(), primary_key=True),
    Column("deal_id", Uuid(), primary_key=True),
    Column("plan_id", Uuid(), nullable=False),
    Column("source", Text, nullable=False),
    Column("external_id", Text, nullable=False),
    Column("name", Text, nullable=True),
    Column("day", Date, nullable=False),
    money("amount"),
    Column("currency", Text, nullable=False),
    Column("reason", Text, nullable=False),
)
"""What was credited to nobody when each run was calculated; append-only."""

adjustments = Table(
    "adjustments",
    metadata,
    tenant_id(),
    Column("id", Uuid(), primary_key=True),
    Column("version", BigInteger, nullable=False),
    Column("person_id", Uuid(), nullable=False),
    Column("plan_id", Uuid(), nullable=False),
    Column("currency", Text, nullable=False),
    money("amount"),
    Column("reason", Text, nullable=False),
    Column("author_kind", Text, nullable=False),
    Column("author_id", Uuid(), nullable=True),
    instant("proposed_at"),
    Column("status", Text, nullable=False),
    *decision_columns(),
    CheckConstraint("status IN ('proposed', 'approved', 'rejected', 'withdrawn')", name="status"),
    Index("ix_adjustments_person_id", "person_id"),
)
