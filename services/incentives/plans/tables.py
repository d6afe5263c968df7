"""Definitions: what others publish, plans with their versions, assignments, and which assignments are out of date."""

from sqlalchemy import BigInteger, Boolean, Column, Date, Index, Integer, Numeric, Table, Text, Uuid, text
from sqlalchemy.dialects.postgresql import JSONB

from services.incentives.metadata import metadata
from shared.db.projection import projection_tables
from shared.db.tables import instant, tenant_id

projection = projection_tables(metadata)

plans = Table(
    "plans",
    metadata,
    tenant_id(),
    Column("id", Uuid(), primary_key=True),
    Column("name", Text, nullable=False),
    Column("currency", Text, nullable=False),
    Column("period", Text, nullable=False),
    Column("version", Integer, nullable=False),
    instant("created_at"),
)

plan_versions = Table(
    "plan_versions",
    metadata,
    tenant_id(),
    Column("plan_id", Uuid(), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("status", Text, nullable=False),
    Column("effective_from", Date, nullable=False),
    Column("components", JSONB, nullable=False),
    Column("rules", JSONB(none_as_null=True), nullable=True),
    Column("note", Text, nullable=True),
    Column("author_id", Uuid(), nullable=True),
    Column("approver_id", Uuid(), nullable=True),
    Column("revision", Integer, nullable=False),
    instant("created_at"),
    instant("approved_at", nullable=True),
    instant("activated_at", nullable=True),
)

plan_version_changes = Table(
    "plan_version_changes",
    metadata,
    tenant_id(),
    Column("plan_id", Uuid(), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("revision", Integer, primary_key=True, autoincrement=False),
    Column("kind", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("person_id", Uuid(), nullable=True),
    instant("at", nullable=True),
    Column("before", JSONB(none_as_null=True), nullable=True),
    Column("after", JSONB(none_as_null=True), nullable=True),
)
"""What was done to each version and by whom, with the terms before and after where they changed; append-only.

`at` is null, and the actor unknown, of edits made before edits were recorded.
"""

assignments = Table(
    "assignments",
    metadata,
    tenant_id(),
    Column("id", Uuid(), primary_key=True),
    Column("person_id", Uuid(), nullable=False),
    Column("plan_id", Uuid(), nullable=False),
    Column("start", Date, nullable=False),
    Column("end", Date, nullable=True),
    Column("quotas", JSONB, nullable=False),
    Column("version", Integer, nullable=False),
    Column("deleted", Boolean, nullable=False),
    instant("created_at"),
    Column("status", Text, nullable=False, server_default=text("'approved'")),
    Column("target_variable", JSONB(none_as_null=True), nullable=True),
    Column("ramp", JSONB, nullable=False, server_default=text("'[]'::jsonb")),
    Column("leave", JSONB, nullable=False, server_default=text("'[]'::jsonb")),
    Column("prorated", Boolean, nullable=False, server_default=text("false")),
    Column("change", JSONB(none_as_null=True), nullable=True),
    Index("ix_assignments_person_id", "person_id"),
    Index("ix_assignments_plan_id", "plan_id"),
)
"""`change` has the terms that are to follow once they are approved.

`deleted` says that it pays nothing: also of one whose `status` is `proposed`, which is no deleted one.
"""

assignment_changes = Table(
    "assignment_changes",
    metadata,
    tenant_id(),
    Column("assignment_id", Uuid(), primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("kind", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("person_id", Uuid(), nullable=True),
    instant("at"),
    Column("reason", Text, nullable=True),
    Column("before", JSONB(none_as_null=True), nullable=True),
    Column("after", JSONB(none_as_null=True), nullable=True),
)
"""What was done to each assignment, by whom and why, with the terms before and after; append-only."""

stale_assignments = Table(
    "stale_assignments",
    metadata,
    tenant_id(),
    Column("assignment_id", Uuid(), primary_key=True),
    Column("changes", JSONB, nullable=False),
    instant("marked_at"),
    Column("re_earnings", JSONB, nullable=False, server_default=text("'[]'::jsonb")),
)
"""Assignments whose cells are to be worked out anew, the changes of definitions that made them so, and their counts."""

re_earnings = Table(
    "re_earnings",
    metadata,
    tenant_id(),
    Column("id", Uuid(), primary_key=True),
    Column("causes", JSONB, nullable=False),
    Column("actor", Text, nullable=False),
    Column("person_id", Uuid(), nullable=True),
    Column("reason", Text, nullable=True),
    instant("requested_at"),
    Column("total", Integer, nullable=False),
    Column("done", Integer, nullable=False),
    Column("worked_ms", BigInteger, nullable=False),
    instant("started_at", nullable=True),
    instant("ended_at", nullable=True),
    Column("failure", Text, nullable=True),
    Index("ix_re_earnings_not_ended", "tenant_id", postgresql_where=text("ended_at IS NULL")),
)
"""How far the assignments that one change of definitions touches are worked out; for some months."""

objective_scores = Table(
    "objective_scores",
    metadata,
    tenant_id(),
    Column("assignment_id", Uuid(), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("component", Text, nullable=False),
    Column("objective", Text, nullable=False),
    Column("period_start", Date, nullable=False),
    Column("period_end", Date, nullable=False),
    Column("percent", Numeric(), nullable=False),
    Column("evidence", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("person_id", Uuid(), nullable=True),
    instant("at"),
)
"""Every score that was given, in the order of its assignment's numbers; append-only. The newest one counts."""
