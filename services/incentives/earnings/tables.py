"""Cells: what each assignment has earned on each component in each period."""

from sqlalchemy import BigInteger, Column, Date, Index, Integer, Numeric, Table, Text, Uuid

from services.incentives.metadata import metadata
from shared.db.tables import instant, money, tenant_id

cells = Table(
    "cells",
    metadata,
    tenant_id(),
    Column("id", Uuid(), primary_key=True),
    Column("assignment_id", Uuid(), nullable=False),
    Column("component", Text, nullable=False),
    Column("period_start", Date, nullable=False),
    Column("period_end", Date, nullable=False),
    Column("person_id", Uuid(), nullable=False),
    Column("plan_id", Uuid(), nullable=False),
    Column("plan_version", Integer, nullable=False),
    Column("currency", Text, nullable=False),
    money("quota", nullable=True),
    money("measure"),
    Column("before", Numeric(asdecimal=True), nullable=False, server_default="0"),
    money("payout"),
    money("earned"),
    Column("credits", Integer, nullable=False),
    Column("version", BigInteger, nullable=False),
    # What was posted by the change to `posted_version`: known while that is the version.
    money("posted", nullable=True),
    Column("posted_version", BigInteger, nullable=True),
    instant("changed_at"),
    # The tenant is not first, so that no plan takes one of these for the primary key. Periods are few: skipped over.
    Index("ix_cells_assignment_id", "assignment_id"),
    Index("ix_cells_person_id", "person_id", "period_start"),
    Index("ix_cells_period_start", "period_start", "tenant_id", "id"),
)
