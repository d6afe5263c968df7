"""The tables of exchange rates, and of the version of each month of them."""

from sqlalchemy import BigInteger, CheckConstraint, Column, Date, Numeric, Table, Text, Uuid

from services.goals.metadata import metadata
from shared.db.tables import instant, tenant_id

exchange_rates = Table(
    "exchange_rates",
    metadata,
    tenant_id(),
    Column("base_currency", Text, primary_key=True),
    Column("currency", Text, primary_key=True),
    Column("day", Date, primary_key=True),
    Column("rate", Numeric(asdecimal=True), nullable=False),
    instant("changed_at"),
    CheckConstraint("rate > 0", name="rate"),
    CheckConstraint("currency <> base_currency", name="currency"),
)

exchange_rate_months = Table(
    "exchange_rate_months",
    metadata,
    tenant_id(),
    Column("id", Uuid(), primary_key=True),
    Column("base_currency", Text, nullable=False),
    Column("currency", Text, nullable=False),
    Column("first_day", Date, nullable=False),
    Column("version", BigInteger, nullable=False),
)
"""One row for every month a rate was ever stated for: a month whose rates were all deleted has none."""
