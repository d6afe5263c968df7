"""What accounting says: the cost centres of teams, and the budgets of plans. Append-only: the newest row counts."""

from sqlalchemy import Column, Date, Index, Table, Text, Uuid

from services.incentives.metadata import metadata
from shared.db.tables import instant, money, tenant_id

cost_centres = Table(
    "cost_centres",
    metadata,
    tenant_id(),
    Column("id", Uuid(), primary_key=True),
    Column("team_id", Uuid(), nullable=False),
    Column("start", Date, nullable=False),
    Column("code", Text, nullable=False),
    Column("set_by_kind", Text, nullable=False),
    Column("set_by", Uuid(), nullable=True),
    instant("set_at"),
    Index("ix_cost_centres_team_id", "team_id", "start"),
)

plan_budgets = Table(
    "plan_budgets",
    metadata,
    tenant_id(),
    Column("id", Uuid(), primary_key=True),
    Column("plan_id", Uuid(), nullable=False),
    Column("start", Date, nullable=False),
    money("amount"),
    Column("set_by_kind", Text, nullable=False),
    Column("set_by", Uuid(), nullable=True),
    instant("set_at"),
    Index("ix_plan_budgets_plan_id", "plan_id", "start"),
)
