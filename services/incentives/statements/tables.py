"""The tables of acceptances and of kept statements; all of them append-only."""

from sqlalchemy import Column, Integer, Table, Text, Uuid

from services.incentives.metadata import metadata
from shared.db.tables import instant, tenant_id

plan_acceptances = Table(
    "plan_acceptances",
    metadata,
    tenant_id(),
    Column("plan_id", Uuid(), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("person_id", Uuid(), primary_key=True),
    instant("accepted_at"),
    Column("language", Text, nullable=False),
    Column("terms_digest", Text, nullable=False),
    Column("personal_digest", Text, nullable=True),
)
"""Who accepted which version of a plan, and the digest of the terms that were accepted."""

kept_statements = Table(
    "kept_statements",
    metadata,
    tenant_id(),
    Column("pay_period_id", Uuid(), primary_key=True),
    Column("part", Text, primary_key=True),
    Column("person_id", Uuid(), primary_key=True),
    Column("content", Text, nullable=False),
    Column("digest", Text, nullable=False),
    instant("kept_at"),
)
"""What each person's statement of a pay period said, as it was written."""

kept_pay_periods = Table(
    "kept_pay_periods",
    metadata,
    tenant_id(),
    Column("pay_period_id", Uuid(), primary_key=True),
    Column("part", Text, primary_key=True),
    Column("statements", Integer, nullable=False),
    Column("digest", Text, nullable=False),
    instant("kept_at"),
)
"""That a part was written for everybody."""
