"""Raw deliveries: what a CRM sent, as it sent it, and what became of it.

Connections are never deleted, so no foreign key has to be checked for every webhook.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    Table,
    Text,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from services.tracking.metadata import metadata
from shared.db.tables import instant, tenant_id

deliveries = Table(
    "deliveries",
    metadata,
    tenant_id(),
    Column("id", Uuid(), primary_key=True),
    Column("connection_id", Uuid(), nullable=False),
    Column("dedupe_key", Text, nullable=False),
    instant("received_at"),
    # Of what a release before stored, and of what was in quarantine when the month of its body was dropped; until its
    # time of retention is over.
    Column("headers", JSONB, nullable=False),
    Column("body", LargeBinary),
    Column("traceparent", Text),
    Column("state", Text, nullable=False),
    Column("reason", Text),
    Column("pointer", Text),
    Column("detail", Text),
    Column("deals", Integer),
    # Why each record could not be translated that could not, where there is more than one of them.
    Column("problems", JSONB),
    # The remarks on what was translated.
    Column("remarks", JSONB),
    Column("replay_of", Uuid()),
    # How it came: sent by the source, or fetched.
    Column("origin", Text, nullable=False),
    # The delivery because of which this one was fetched.
    Column("caused_by", Uuid()),
    instant("processed_at", nullable=True),
    # Without the tenant, whose the connection is anyway: an index that starts with it tempts a planner that has not
    # counted the rows yet away from the primary key.
    Index("uq_deliveries_dedupe_key", "connection_id", "dedupe_key", unique=True),
    Index("ix_deliveries_waiting", "id", postgresql_where=text("state = 'received'")),
    Index("ix_deliveries_quarantined", "tenant_id", "id", postgresql_where=text("state = 'quarantined'")),
    Index("ix_deliveries_remarked", "tenant_id", "connection_id", "id", postgresql_where=text("remarks IS NOT NULL")),
    Index("ix_deliveries_received_at", "received_at", postgresql_using="brin"),
)

# What of a delivery is large, and is dropped after a time: a table a month, by the moment that its id is made of.
delivery_bodies = Table(
    "delivery_bodies",
    metadata,
    tenant_id(),
    Column("id", Uuid(), primary_key=True),
    Column("headers", JSONB, nullable=False),
    Column("body", LargeBinary, nullable=False),
    postgresql_partition_by="RANGE (id)",
)

# That deliveries were discarded and, perhaps, restored. Those of one call share the id.
delivery_discards = Table(
    "delivery_discards",
    metadata,
    tenant_id(),
    Column("delivery_id", Uuid(), primary_key=True),
    Column("id", Uuid(), primary_key=True),
    Column("connection_id", Uuid(), nullable=False),
    Column("reason", Text, nullable=False),
    instant("discarded_at"),
    # Null for a service.
    Column("discarded_by", Uuid()),
    instant("restored_at", nullable=True),
    Column("restored_by", Uuid()),
    Index("ix_delivery_discards_id", "id", "tenant_id"),
    Index("ix_delivery_discards_standing", "tenant_id", "delivery_id", postgresql_where=text("restored_at IS NULL")),
)

# What deliveries only name: fetched once, however often it is named meanwhile.
fetches = Table(
    "fetches",
    metadata,
    tenant_id(),
    Column("connection_id", Uuid(), primary_key=True),
    Column("object_name", Text, primary_key=True),
    Column("external_id", Text, primary_key=True),
    instant("floor", nullable=True),
    Column("delivery_id", Uuid(), nullable=False),
    instant("asked_at"),
    # Counts how often it was named: one that is named again while it is being fetched is fetched again.
    Column("asked", BigInteger, nullable=False),
    Column("attempts", Integer, nullable=False),
    # Nobody else is at it before then, nor before it may be tried again.
    instant("due_at"),
    Column("error", Text),
    Index("ix_fetches_due", "connection_id", "due_at"),
)

# Records of sources that state only what changed: each field with its time.
records = Table(
    "records",
    metadata,
    tenant_id(),
    Column("connection_id", Uuid(), primary_key=True),
    Column("object_name", Text, primary_key=True),
    Column("external_id", Text, primary_key=True),
    Column("fields", JSONB, nullable=False),
    Column("is_whole", Boolean, nullable=False),
    Column("merges", BigInteger, nullable=False),
)

# What each connection was sent, by hour; counted in memory and added every few seconds.
connection_traffic = Table(
    "connection_traffic",
    metadata,
    tenant_id(),
    Column("connection_id", Uuid(), primary_key=True),
    Column("hour", DateTime(timezone=True), primary_key=True),
    Column("received", BigInteger, nullable=False),
    Column("duplicates", BigInteger, nullable=False),
    Column("rejected_headers", BigInteger, nullable=False),
    Column("rejected_timestamp", BigInteger, nullable=False),
    Column("rejected_signature", BigInteger, nullable=False),
    Column("rejected_address", BigInteger, nullable=False, server_default=text("0")),
    Column("rejected_not_allowed", BigInteger, nullable=False, server_default=text("0")),
    instant("last_received_at", nullable=True),
    Index("ix_connection_traffic_hour", "hour"),
)

# What the mapping of a connection that was saved last has changed so far of what was translated before.
retranslations = Table(
    "retranslations",
    metadata,
    tenant_id(),
    Column("connection_id", Uuid(), primary_key=True),
    # Of the connection when the mapping was saved.
    Column("version", BigInteger, nullable=False),
    Column("state", Text, nullable=False),
    instant("saved_at"),
    instant("started_at", nullable=True),
    instant("finished_at", nullable=True),
    # The next step is not taken before then.
    instant("due_at"),
    Column("total", BigInteger, nullable=False),
    Column("done", BigInteger, nullable=False),
    Column("changed", BigInteger, nullable=False),
    Column("untranslatable", BigInteger, nullable=False),
    Column("dropped", BigInteger, nullable=False),
    Column("received_again", BigInteger, nullable=False),
    # What the stored deals state that the mapping is about: they are looked at first.
    Column("touched", JSONB, nullable=False, server_default=text("'{}'")),
    Index("ix_retranslations_due_at", "due_at", postgresql_where=text("finished_at IS NULL")),
)

# The deliveries that are still to be looked at, and those of deals that the mapping is about also after that, until all
# the others are beside them.
retranslation_deliveries = Table(
    "retranslation_deliveries",
    metadata,
    tenant_id(),
    Column("connection_id", Uuid(), primary_key=True),
    Column("delivery_id", Uuid(), primary_key=True),
    Column("turn", SmallInteger, nullable=False, server_default=text("1")),
    Index("ix_retranslation_deliveries_turn", "tenant_id", "connection_id", "turn", "delivery_id"),
)
