"""The newest snapshot of every deal, and what it is credited to."""

from sqlalchemy import BigInteger, Column, Date, DateTime, Index, Numeric, Table, Text, Uuid, text

from services.incentives.metadata import metadata
from shared.db.tables import instant, money, tenant_id

deals = Table(
    "deals",
    metadata,
    tenant_id(),
    Column("id", Uuid(), primary_key=True),
    instant("modified_at"),
    Column("sequence", BigInteger, nullable=False),
    Column("delivery_id", Uuid(), nullable=False),
    Column("source", Text, nullable=False),
    Column("owner_external_id", Text, nullable=True),
    Column("won_on", Date, nullable=True),
    Column("kind", Text, nullable=True),
    Column("status", Text, nullable=True),
    money("amount", nullable=True),
    Column("currency", Text, nullable=True),
    Column("closed_on", Date, nullable=True),
    instant("closed_at", nullable=True),
    Column("body", Text, nullable=False),
    # The tenant is first in no index but the primary key: with a table's first rows not yet counted, a planner finds
    # every index that starts with the tenant as good as the primary key, and may read a whole tenant for each look-up.
    Index("ix_deals_owner", "owner_external_id", "source", "tenant_id"),
    Index("ix_deals_won_on", "won_on", "tenant_id", postgresql_where=text("won_on IS NOT NULL")),
)
"""`body` is the JSON of the newest event as it was received; the other columns are to find and order by.

`won_on` is the day a won deal was closed on, or where its source states a moment, that moment's day in UTC: at most a
day from the tenant's own. `kind` to `closed_at` are members of the event; all of them are missing of one that a release
stored that knew nothing of them, and that the database could not read.
"""

deal_split_users = Table(
    "deal_split_users",
    metadata,
    tenant_id(),
    Column("source", Text, primary_key=True),
    Column("external_id", Text, primary_key=True),
    Column("deal_id", Uuid(), primary_key=True),
)
"""Every user that some version of a deal's splits has named: where to look for deals, not what they say now."""

deal_connections = Table(
    "deal_connections",
    metadata,
    tenant_id(),
    Column("source", Text, primary_key=True),
    Column("connection_id", Uuid(), primary_key=True),
)
"""The connections that deals of a source come from: with the id in the source they make the id of a deal."""

deal_owners = Table(
    "deal_owners",
    metadata,
    tenant_id(),
    Column("deal_id", Uuid(), primary_key=True),
    Column("modified_at", DateTime(timezone=True), primary_key=True),
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    Column("delivery_id", Uuid(), primary_key=True),
    Column("source", Text, nullable=False),
    Column("owner_external_id", Text, nullable=True),
    Index("ix_deal_owners_owner", "owner_external_id", "source", "tenant_id"),
)
"""The owner of every version that has arrived of a deal of which more than one has."""

credits = Table(
    "credits",
    metadata,
    tenant_id(),
    Column("deal_id", Uuid(), primary_key=True),
    Column("assignment_id", Uuid(), primary_key=True),
    Column("component", Text, primary_key=True),
    Column("measure", Text, primary_key=True, server_default="main"),
    Column("day", Date, primary_key=True),
    Column("cell_id", Uuid(), nullable=False),
    Column("period_start", Date, nullable=False),
    Column("period_end", Date, nullable=False),
    money("percent"),
    money("value"),
    Column("factor", Numeric(asdecimal=True), nullable=False, server_default="1"),
    Index("ix_credits_cell_id", "cell_id"),
    Index("ix_credits_assignment_id", "assignment_id"),
)
