"""Activities: the newest version of each, and every version there ever was, as with deals."""

from typing import Final

from sqlalchemy import BigInteger, Boolean, Column, Computed, Date, DateTime, Index, Numeric, Table, Text, Uuid
from sqlalchemy.dialects.postgresql import JSONB

from services.tracking.metadata import metadata
from shared.db.tables import instant, tenant_id

OCCURRED_DAY: Final = "(timezone('UTC'::text, occurred_at))::date"


def _snapshot_columns() -> tuple[Column[object], ...]:
    return (
        Column("connection_id", Uuid(), nullable=False),
        instant("received_at"),
        Column("source", Text, nullable=False),
        Column("external_id", Text, nullable=False),
        Column("is_deleted", Boolean, nullable=False),
        Column("type", Text, nullable=False),
        Column("status", Text, nullable=False),
        Column("owner_external_id", Text),
        Column("subject", Text),
        instant("occurred_at", nullable=True),
        Column("duration_seconds", Numeric(asdecimal=True)),
        Column("outcome", Text),
        Column("deal_external_id", Text),
        Column("account_id", Text),
        Column("custom", JSONB),
        Column("corrections", JSONB),
    )


activities = Table(
    "activities",
    metadata,
    tenant_id(),
    Column("activity_id", Uuid(), primary_key=True),
    instant("modified_at"),
    Column("sequence", BigInteger, nullable=False),
    Column("delivery_id", Uuid(), nullable=False),
    *_snapshot_columns(),
    # The day in UTC, for range scans that take a day more at either end.
    Column("occurred_day", Date, Computed(OCCURRED_DAY, persisted=True)),
    # The tenant is not first, for the reason given at the index of deals.
    Index("ix_activities_owner", "owner_external_id", "source", "tenant_id", "occurred_day"),
    Index("ix_activities_deal", "deal_external_id", "tenant_id"),
)

activity_versions = Table(
    "activity_versions",
    metadata,
    tenant_id(),
    Column("activity_id", Uuid(), primary_key=True),
    Column("modified_at", DateTime(timezone=True), primary_key=True),
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    Column("delivery_id", Uuid(), primary_key=True),
    *_snapshot_columns(),
    instant("recorded_at"),
    Index("ix_activity_versions_recorded_at", "recorded_at", postgresql_using="brin"),
)
