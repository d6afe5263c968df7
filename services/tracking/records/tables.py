"""Deals and activities: the newest version of each for the hot path and rebuilds, and every version there ever was.

Both hold every field of the event in columns, so that a filter compiled to SQL reads the same from either.
"""

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Computed,
    Date,
    DateTime,
    Index,
    Integer,
    Numeric,
    Table,
    Text,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from services.tracking.metadata import metadata
from shared.db.tables import instant, money, tenant_id

OCCURRED_DAY: Final = "(timezone('UTC'::text, occurred_at))::date"
CLOSED_DAY: Final = "COALESCE(closed_on, (timezone('UTC'::text, closed_at))::date)"
INCOMPLETE: Final = (
    "status = 'won' AND (owner_external_id IS NULL OR currency IS NULL OR closed_on IS NULL AND closed_at IS NULL)"
)
"""Of a won deal: that it lacks what it has to have to be credited."""


def _deal_columns() -> tuple[Column[object], ...]:
    return (
        Column("connection_id", Uuid(), nullable=False),
        instant("received_at"),
        Column("source", Text, nullable=False),
        Column("external_id", Text, nullable=False),
        Column("kind", Text, nullable=False),
        Column("status", Text, nullable=False),
        Column("owner_external_id", Text),
        Column("name", Text),
        money("amount", nullable=True),
        Column("currency", Text),
        Column("quantity", Numeric(asdecimal=True)),
        instant("created_at", nullable=True),
        Column("expected_close_on", Date),
        instant("closed_at", nullable=True),
        Column("closed_on", Date),
        Column("stage", Text),
        Column("pipeline", Text),
        Column("probability", Numeric(asdecimal=True)),
        Column("type", Text),
        Column("channel", Text),
        Column("region", Text),
        Column("account_id", Text),
        Column("account_name", Text),
        Column("merged_into", Text),
        Column("splits", JSONB),
        Column("products", JSONB),
        Column("custom", JSONB),
        money("home_amount", nullable=True),
        Column("home_currency", Text),
        Column("payments", JSONB),
        Column("paid_amount", Numeric(asdecimal=True)),
        Column("corrections", JSONB),
        instant("expected_close_at", nullable=True),
    )


deals = Table(
    "deals",
    metadata,
    tenant_id(),
    Column("deal_id", Uuid(), primary_key=True),
    instant("modified_at"),
    Column("sequence", BigInteger, nullable=False),
    Column("delivery_id", Uuid(), nullable=False),
    *_deal_columns(),
    # The day in UTC: at most a day away from the business date in any time zone, so a range scan takes a day more at
    # either end and decides on the columns.
    Column("closed_day", Date, Computed(CLOSED_DAY, persisted=True)),
    # The tenant is not first: with a table's first rows not yet counted, a planner finds every index that starts with
    # the tenant as good as the primary key, and may read a whole tenant for each deal it looks up.
    Index("ix_deals_owner", "owner_external_id", "source", "tenant_id", "closed_day"),
    # Few: what a repair of the mapping makes whole is found by it.
    Index("ix_deals_incomplete", "connection_id", postgresql_where=text(INCOMPLETE)),
)

# Won deals, and shares of them, that nobody is credited with. What a stripe counts alone may be negative.
uncredited = Table(
    "uncredited",
    metadata,
    tenant_id(),
    Column("connection_id", Uuid(), primary_key=True),
    Column("reason", Text, primary_key=True),
    Column("source", Text, primary_key=True),
    # Empty where the reason names none, as is the currency where a deal states none.
    Column("user_id", Text, primary_key=True),
    Column("currency", Text, primary_key=True),
    Column("stripe", Integer, primary_key=True, autoincrement=False),
    Column("deals", BigInteger, nullable=False),
    Column("amount", Numeric(asdecimal=True), nullable=False),
    Index("ix_uncredited_user", "tenant_id", "source", "user_id"),
)

deal_versions = Table(
    "deal_versions",
    metadata,
    tenant_id(),
    Column("deal_id", Uuid(), primary_key=True),
    Column("modified_at", DateTime(timezone=True), primary_key=True),
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    Column("delivery_id", Uuid(), primary_key=True),
    *_deal_columns(),
    instant("recorded_at"),
    # Appended in the order of time, so the smallest of indexes finds what was recorded since a moment.
    Index("ix_deal_versions_recorded_at", "recorded_at", postgresql_using="brin"),
)

deal_split_users = Table(
    "deal_split_users",
    metadata,
    tenant_id(),
    Column("source", Text, primary_key=True),
    Column("external_id", Text, primary_key=True),
    Column("deal_id", Uuid(), primary_key=True),
)
"""Every user that some version of a deal's splits has named: where to look for deals, not what they say now."""


def _activity_columns() -> tuple[Column[object], ...]:
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
    *_activity_columns(),
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
    *_activity_columns(),
    instant("recorded_at"),
    Index("ix_activity_versions_recorded_at", "recorded_at", postgresql_using="brin"),
)
