"""The tables of the calendar.

The row of a calendar has what is in force from the beginning of time, those of changes what is from a day on.
"""

from sqlalchemy import BigInteger, CheckConstraint, Column, Date, ForeignKeyConstraint, SmallInteger, Table, Text

from services.goals.metadata import metadata
from shared.db.tables import instant, tenant_id

calendars = Table(
    "calendars",
    metadata,
    tenant_id(),
    Column("version", BigInteger, nullable=False),
    Column("start_month", SmallInteger, nullable=False),
    Column("time_zone", Text, nullable=False),
    Column("currency", Text, nullable=False),
    instant("changed_at"),
    CheckConstraint("start_month BETWEEN 1 AND 12", name="start_month"),
)

calendar_changes = Table(
    "calendar_changes",
    metadata,
    tenant_id(),
    Column("start_on", Date, primary_key=True),
    Column("start_month", SmallInteger, nullable=False),
    Column("time_zone", Text, nullable=False),
    Column("currency", Text, nullable=False),
    CheckConstraint("start_month BETWEEN 1 AND 12", name="start_month"),
    ForeignKeyConstraint(["tenant_id"], ["goals.calendars.tenant_id"], name="fk_calendar_changes_tenant_id_calendars"),
)
