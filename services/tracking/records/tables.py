"""Deals and activities: the newest version of each for the hot path and rebuilds, and every version there ever was.

Both have every field of the event in columns, so that a filter compiled to SQL reads the same from either.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Boolean,
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
from sqlalchemy import Column as TableColumn
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.types import TypeEngine

from services.tracking.metadata import metadata
from services.tracking.records.columns import ACTIVITY_COLUMNS, DEAL_COLUMNS, Column
from shared.db.tables import instant, tenant_id

OCCURRED_DAY: Final = "(timezone('UTC'::text, occurred_at))::date"
CLOSED_DAY: Final = "COALESCE(closed_on, (timezone('UTC'::text, closed_at))::date)"
INCOMPLETE: Final = (
    "status = 'won' AND (owner_external_id IS NULL OR currency IS NULL OR closed_on IS NULL AND closed_at IS NULL)"
)
"""Of a won deal: that it lacks what it has to have to be credited."""

_RECORD_KEY: Final = 2
_VERSION_KEY: Final = 5
_TYPES: Final[Mapping[str, TypeEngine[Any]]] = {
    "bigint": BigInteger(),
    "boolean": Boolean(),
    "date": Date(),
    "jsonb": JSONB(),
    "numeric": Numeric(asdecimal=True),
    "text": Text(),
    "timestamptz": DateTime(timezone=True),
    "uuid": Uuid(),
}


def _made_of(columns: Sequence[Column], *, key: int) -> Collection[TableColumn[object]]:
    """The columns of a table, of which the first `key` are its primary key."""
    return [
        TableColumn(
            column.name,
            _TYPES[column.type],
            nullable=not column.is_required,
            primary_key=position < key,
            autoincrement=False,
        )
        for position, column in enumerate(columns)
    ]


deals = Table(
    "deals",
    metadata,
    *_made_of(DEAL_COLUMNS, key=_RECORD_KEY),
    # The day in UTC: at most a day away from the business date in any time zone, so a range scan takes a day more at
    # either end and decides on the columns.
    TableColumn("closed_day", Date, Computed(CLOSED_DAY, persisted=True)),
    # The tenant is not first: with a table's first rows not yet counted, a planner finds every index that starts with
    # the tenant as good as the primary key, and may read a whole tenant for each deal it looks up.
    Index("ix_deals_owner", "owner_external_id", "source", "tenant_id", "closed_day"),
    # Few: what a repair of the mapping makes whole is found by it.
    Index("ix_deals_incomplete", "connection_id", postgresql_where=text(INCOMPLETE)),
)

deal_versions = Table(
    "deal_versions",
    metadata,
    *_made_of(DEAL_COLUMNS, key=_VERSION_KEY),
    instant("recorded_at"),
    # Appended in the order of time, so the smallest of indexes finds what was recorded since a moment.
    Index("ix_deal_versions_recorded_at", "recorded_at", postgresql_using="brin"),
    # What events come to is the index of a month or two, however much is stored.
    postgresql_partition_by="RANGE (modified_at)",
)

deal_split_users = Table(
    "deal_split_users",
    metadata,
    tenant_id(),
    TableColumn("source", Text, primary_key=True),
    TableColumn("external_id", Text, primary_key=True),
    TableColumn("deal_id", Uuid(), primary_key=True),
)
"""Every user that some version of a deal's splits has named: where to look for deals, not what they say now."""

# Won deals, and shares of them, that nobody is credited with. What a stripe counts alone may be negative.
uncredited = Table(
    "uncredited",
    metadata,
    tenant_id(),
    TableColumn("connection_id", Uuid(), primary_key=True),
    TableColumn("reason", Text, primary_key=True),
    TableColumn("source", Text, primary_key=True),
    # Empty where the reason names none, as is the currency where a deal states none.
    TableColumn("user_id", Text, primary_key=True),
    TableColumn("currency", Text, primary_key=True),
    TableColumn("stripe", Integer, primary_key=True, autoincrement=False),
    TableColumn("deals", BigInteger, nullable=False),
    TableColumn("amount", Numeric(asdecimal=True), nullable=False),
    Index("ix_uncredited_user", "tenant_id", "source", "user_id"),
)

activities = Table(
    "activities",
    metadata,
    *_made_of(ACTIVITY_COLUMNS, key=_RECORD_KEY),
    # The day in UTC, for range scans that take a day more at either end.
    TableColumn("occurred_day", Date, Computed(OCCURRED_DAY, persisted=True)),
    # The tenant is not first, for the reason given at the index of deals.
    Index("ix_activities_owner", "owner_external_id", "source", "tenant_id", "occurred_day"),
    Index("ix_activities_deal", "deal_external_id", "tenant_id"),
)

activity_versions = Table(
    "activity_versions",
    metadata,
    *_made_of(ACTIVITY_COLUMNS, key=_VERSION_KEY),
    instant("recorded_at"),
    Index("ix_activity_versions_recorded_at", "recorded_at", postgresql_using="brin"),
    postgresql_partition_by="RANGE (modified_at)",
)
