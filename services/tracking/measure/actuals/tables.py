"""What everybody won and has open by month, in stripes, and whose numbers wait to be counted anew."""

from sqlalchemy import BigInteger, Boolean, Column, Date, DateTime, Index, Integer, Table, Text, Uuid, text

from services.tracking.metadata import metadata
from shared.db.tables import instant, money, tenant_id

RECOUNTED_STRIPE = -1
"""The stripe that counting anew writes; the others are those of progress."""

actuals_stripes = Table(
    "actuals_stripes",
    metadata,
    tenant_id(),
    Column("person_id", Uuid(), primary_key=True),
    # The first day of the month.
    Column("month", Date, primary_key=True),
    Column("stripe", Integer, primary_key=True, autoincrement=False),
    Column("currency", Text, nullable=True),
    money("won_value"),
    money("won_number"),
    money("open_value"),
    money("open_number"),
    money("unconverted"),
    Column("version", BigInteger, nullable=False),
    instant("changed_at"),
    # Whether it changed since it was last given to be published.
    Column("is_due", Boolean, nullable=False),
    Index("ix_actuals_stripes_due", "tenant_id", "person_id", "month", postgresql_where=text("is_due")),
)

actuals_outdated = Table(
    "actuals_outdated",
    metadata,
    tenant_id(),
    Column("person_id", Uuid(), primary_key=True),
    # From when on it is to be counted anew; what changed is at once, so always.
    Column("due_at", DateTime(timezone=True), primary_key=True),
    # From this month on.
    Column("first_month", Date, nullable=False),
)
