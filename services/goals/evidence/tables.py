"""The table of what people reached."""

from sqlalchemy import BigInteger, Column, Date, Table, Text, Uuid

from services.goals.metadata import metadata
from shared.db.tables import instant, money, tenant_id

actuals = Table(
    "actuals",
    metadata,
    tenant_id(),
    Column("person_id", Uuid(), primary_key=True),
    # The first day of the month.
    Column("month", Date, primary_key=True),
    Column("version", BigInteger, nullable=False),
    Column("currency", Text, nullable=True),
    money("won_value"),
    money("won_number"),
    money("open_value"),
    money("open_number"),
    money("unconverted"),
    instant("changed_at"),
)
