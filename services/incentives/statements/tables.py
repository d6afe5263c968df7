"""The table of acceptances; append-only."""

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
)
"""Who accepted which version of a plan, and the digest of the terms that were accepted."""
