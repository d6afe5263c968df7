"""The tables of scenarios and of what people commit to."""

from sqlalchemy import BigInteger, CheckConstraint, Column, Table, Text, Uuid
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from services.goals.metadata import metadata
from shared.db.tables import instant, money, tenant_id

scenarios = Table(
    "scenarios",
    metadata,
    tenant_id(),
    Column("id", Uuid(), primary_key=True),
    Column("version", BigInteger, nullable=False),
    Column("name", Text, nullable=False),
    Column("state", Text, nullable=False),
    # Everybody the plan has a target for: who sees one of them sees the scenario, and of it what is theirs.
    Column("owner_ids", ARRAY(Uuid()), nullable=False),
    # What the goals have in common, what was stated, what it came to, and who changed it.
    Column("pattern", JSONB, nullable=False),
    Column("wish", JSONB, nullable=False),
    Column("plan", JSONB, nullable=False),
    Column("log", JSONB, nullable=False),
    Column("author_kind", Text, nullable=False),
    Column("author_id", Uuid(), nullable=True),
    instant("known_at"),
    instant("applied_at", nullable=True),
    Column("job_id", Uuid(), nullable=True),
    instant("changed_at"),
    CheckConstraint("state IN ('draft', 'applying', 'applied', 'archived')", name="state"),
)

scenario_commitments = Table(
    "scenario_commitments",
    metadata,
    tenant_id(),
    Column("scenario_id", Uuid(), primary_key=True),
    Column("node_id", Uuid(), primary_key=True),
    Column("id", Uuid(), primary_key=True),
    money("amount"),
    Column("comment", Text, nullable=True),
    Column("author_kind", Text, nullable=False),
    Column("author_id", Uuid(), nullable=True),
    instant("committed_at"),
)
