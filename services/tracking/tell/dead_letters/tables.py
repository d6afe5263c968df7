"""What waits in the dead letters of every topic, whichever service refused it."""

from sqlalchemy import BigInteger, Column, Integer, Table, Text

from services.tracking.metadata import metadata
from shared.db.tables import instant, tenant_id

# One for each record that a consumer group has refused and not been given again since. Not the record: that is still
# where it was published, and beside the reason in the topic of the dead letters.
dead_letters = Table(
    "dead_letters",
    metadata,
    tenant_id(),
    Column("topic", Text, primary_key=True),
    Column("partition", Integer, primary_key=True, autoincrement=False),
    Column("record_offset", BigInteger, primary_key=True, autoincrement=False),
    Column("group", Text, primary_key=True),
    Column("key", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("detail", Text, nullable=False),
    # How often it was refused.
    Column("refusals", Integer, nullable=False),
    instant("refused_at"),
)
