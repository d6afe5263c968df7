"""The tables of the calendar.

The row of a calendar has what is in force from the beginning of time, those of changes what is from a day on.
"""

from sqlalchemy import (
    ARRAY,
    BigInteger,
    CheckConstraint,
    Column,
    Date,
    ForeignKeyConstraint,
    SmallInteger,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from services.goals.metadata import metadata
from shared.db.tables import instant, tenant_id


def _rules() -> list[Column[object]]:
    """How years are made of weeks, and which days are worked."""
    return [
        Column("pattern", Text, nullable=False, server_default="months"),
        Column("week_start", Text, nullable=False, server_default="monday"),
        Column("year_end", Text, nullable=False, server_default="nearest"),
        Column("country", Text, nullable=True),
        Column("subdivision", Text, nullable=True),
        Column("days_off", ARRAY(Date), nullable=False, server_default=text("'{}'::date[]")),
        Column("extra_working_days", ARRAY(Date), nullable=False, server_default=text("'{}'::date[]")),
    ]


calendars = Table(
    "calendars",
    metadata,
    tenant_id(),
    Column("version", BigInteger, nullable=False),
    Column("start_month", SmallInteger, nullable=False),
    Column("time_zone", Text, nullable=False),
    Column("currency", Text, nullable=False),
    instant("changed_at"),
    *_rules(),
    # What is known of public holidays, refreshed with every year and library, by country and subdivision.
    Column("national_days", JSONB, nullable=False, server_default=text("'[]'::jsonb")),
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
    *_rules(),
    CheckConstraint("start_month BETWEEN 1 AND 12", name="start_month"),
    ForeignKeyConstraint(["tenant_id"], ["goals.calendars.tenant_id"], name="fk_calendar_changes_tenant_id_calendars"),
)
