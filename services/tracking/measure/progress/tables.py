"""Where every goal stands, in stripes."""

from sqlalchemy import ARRAY, BigInteger, Boolean, Column, Date, Index, Integer, Numeric, Table, Text, Uuid, text

from services.tracking.metadata import metadata
from shared.db.tables import instant, tenant_id

REBUILT_STRIPE = -1
"""The stripe a rebuild writes; the others are numbered like partitions of the topics."""

ACTIVITIES_STRIPE = 10_000
"""The stripe of the activities topic's first partition; that of the deals topic's is 0."""

COUNTING_STRIPE = 20_000
"""The stripe of the first of those who count what they publish; each has one to itself as long as its transaction."""

COUNTING_STRIPES_MAX = 64

progress_goals = Table(
    "progress_goals",
    metadata,
    tenant_id(),
    Column("goal_id", Uuid(), primary_key=True),
    Column("stale", Boolean, nullable=False),
    # What definition changes and rebuilds add to the version; the stripes add theirs.
    Column("version", BigInteger, nullable=False),
    instant("changed_at"),
    Index("ix_progress_goals_stale", "tenant_id", "goal_id", postgresql_where=text("stale")),
)

definition_changes = Table(
    "definition_changes",
    metadata,
    tenant_id(),
    Column("revision", BigInteger, primary_key=True, autoincrement=False),
    # Null where it may be all of them.
    Column("users", ARRAY(Text), nullable=True),
)
"""Whose records each of the newest revisions of a tenant's definitions has count otherwise than the one before."""

progress_stripes = Table(
    "progress_stripes",
    metadata,
    tenant_id(),
    Column("goal_id", Uuid(), primary_key=True),
    Column("stripe", Integer, primary_key=True, autoincrement=False),
    # Of a ratio or an average the numerator.
    Column("value", Numeric(asdecimal=True), nullable=False),
    Column("denominator", Numeric(asdecimal=True), nullable=False, server_default=text("0")),
    Column("deals", BigInteger, nullable=False),
    Column("version", BigInteger, nullable=False),
    instant("changed_at"),
    instant("received_at", nullable=True),
)

progress_parts = Table(
    "progress_parts",
    metadata,
    tenant_id(),
    Column("parent_id", Uuid(), primary_key=True),
    Column("goal_id", Uuid(), primary_key=True),
)
"""The goals whose attainment a goal's number is made of, as of its last rebuild."""

stated_value_versions = Table(
    "stated_value_versions",
    metadata,
    tenant_id(),
    Column("value_id", Uuid(), primary_key=True),
    Column("version", BigInteger, primary_key=True, autoincrement=False),
    Column("goal_id", Uuid(), nullable=False),
    Column("day", Date, nullable=False),
    Column("value", Numeric(asdecimal=True), nullable=False),
    Column("source", Text, nullable=False),
    Column("note", Text, nullable=True),
    Column("stated_by", Uuid(), nullable=True),
    instant("stated_at"),
    Column("deleted", Boolean, nullable=False),
    instant("recorded_at"),
    # Without the tenant, so that no plan takes it for the primary key.
    Index("ix_stated_value_versions_goal_id", "goal_id"),
)

progress_distinct = Table(
    "progress_distinct",
    metadata,
    tenant_id(),
    Column("goal_id", Uuid(), primary_key=True),
    Column("value", Text, primary_key=True),
    Column("deals", BigInteger, nullable=False),
)
