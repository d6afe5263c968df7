"""The tables of goals and their revisions."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Date,
    ForeignKeyConstraint,
    Index,
    Integer,
    Table,
    Text,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from services.goals.metadata import metadata
from shared.db.tables import instant, money, tenant_id

goals = Table(
    "goals",
    metadata,
    tenant_id(),
    Column("id", Uuid(), primary_key=True),
    Column("version", BigInteger, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("status", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("owner_kind", Text, nullable=False),
    Column("owner_id", Uuid(), nullable=False),
    Column("metric", JSONB, nullable=False),
    money("target"),
    money("baseline"),
    Column("unit", Text, nullable=False),
    Column("direction", Text, nullable=False),
    Column("start_on", Date, nullable=False),
    Column("end_on", Date, nullable=False),
    Column("parent_id", Uuid(), nullable=True),
    money("weight"),
    Column("stretch", JSONB, nullable=False, server_default=text("'[]'")),
    Column("top", Boolean, nullable=False, server_default=text("false")),
    Column("check_in", Text, nullable=False, server_default=text("'none'")),
    instant("changed_at"),
    CheckConstraint("status IN ('draft', 'active', 'closed', 'cancelled')", name="status"),
    CheckConstraint("owner_kind IN ('person', 'team')", name="owner_kind"),
    CheckConstraint("direction IN ('higher', 'lower')", name="direction"),
    CheckConstraint("end_on > start_on", name="period"),
    ForeignKeyConstraint(
        ["tenant_id", "parent_id"], ["goals.goals.tenant_id", "goals.goals.id"], name="fk_goals_parent_id_goals"
    ),
    # Without the tenant, so that no plan takes one of these for the primary key.
    Index("ix_goals_owner_id", "owner_id"),
    Index("ix_goals_parent_id", "parent_id"),
)

goal_revisions = Table(
    "goal_revisions",
    metadata,
    tenant_id(),
    Column("goal_id", Uuid(), primary_key=True),
    Column("revision", Integer, primary_key=True, autoincrement=False),
    Column("terms", JSONB, nullable=False),
    Column("reason", Text, nullable=True),
    Column("revised_by", Uuid(), nullable=True),
    instant("revised_at"),
    ForeignKeyConstraint(
        ["tenant_id", "goal_id"], ["goals.goals.tenant_id", "goals.goals.id"], name="fk_goal_revisions_goal_id_goals"
    ),
)
