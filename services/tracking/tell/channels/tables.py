"""Subscriptions of other systems and the log of what was sent to them."""

from sqlalchemy import BigInteger, Column, Index, Integer, LargeBinary, Table, Text, Uuid, text
from sqlalchemy.dialects.postgresql import JSONB

from services.tracking.metadata import metadata
from shared.db.tables import instant, tenant_id

subscriptions = Table(
    "subscriptions",
    metadata,
    tenant_id(),
    Column("id", Uuid(), primary_key=True),
    Column("name", Text, nullable=False),
    # Its query string may contain a secret of the receiver.
    Column("sealed_url", Text, nullable=False),
    # {event type: filter}
    Column("events", JSONB, nullable=False),
    # A list of {id, ciphertext, created_at, expires_at}: one that signs, and one more while rotating.
    Column("secrets", JSONB, nullable=False),
    Column("status", Text, nullable=False),
    Column("status_reason", Text),
    Column("channel", Text, nullable=False, server_default=text("'webhook'")),
    # What a chat group reads: {language, templates, readers, sealed_secret}.
    Column("chat", JSONB, nullable=True),
    Column("version", BigInteger, nullable=False),
    instant("created_at"),
    instant("updated_at"),
    # What is deleted is not seen any more, and goes when its log has gone.
    instant("deleted_at", nullable=True),
)

# How endpoints are doing: apart from the subscriptions, whose versions it does not touch.
subscription_health = Table(
    "subscription_health",
    metadata,
    tenant_id(),
    Column("subscription_id", Uuid(), primary_key=True),
    Column("failures", Integer, nullable=False),
    instant("failing_since", nullable=True),
    instant("rest_until"),
    # When its turn last was: who has waited longest is next.
    instant("served_at"),
)

# The newest version recorded of each subject: what a topic brings again is not sent again, however old the log is.
subscription_subjects = Table(
    "subscription_subjects",
    metadata,
    tenant_id(),
    Column("subscription_id", Uuid(), primary_key=True),
    Column("event_type", Text, primary_key=True),
    Column("subject", Text, primary_key=True),
    Column("version", BigInteger, nullable=False),
    Column("delivery_id", Uuid(), nullable=False),
)

outgoing_deliveries = Table(
    "outgoing_deliveries",
    metadata,
    tenant_id(),
    Column("id", Uuid(), primary_key=True),
    Column("subscription_id", Uuid(), nullable=False),
    Column("event_type", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("event_version", BigInteger, nullable=False),
    instant("occurred_at"),
    Column("body", LargeBinary, nullable=False),
    Column("state", Text, nullable=False),
    Column("tries", Integer, nullable=False),
    # Nobody else is at it before then, nor before it may be tried again.
    instant("due_at"),
    # While a worker is at it. Past, it died of it.
    instant("in_flight_until", nullable=True),
    Column("attempts", JSONB, nullable=False),
    instant("created_at"),
    instant("ended_at", nullable=True),
    # Without the tenant, whose the subscription is anyway.
    Index("ix_outgoing_deliveries_log", "subscription_id", "id"),
    Index("ix_outgoing_deliveries_failed", "subscription_id", "id", postgresql_where=text("state = 'failed'")),
    Index("ix_outgoing_deliveries_due", "subscription_id", "due_at", "id", postgresql_where=text("state = 'waiting'")),
    Index(
        "ix_outgoing_deliveries_in_flight",
        "subscription_id",
        "subject",
        postgresql_where=text("in_flight_until IS NOT NULL"),
    ),
    Index("ix_outgoing_deliveries_created_at", "created_at", postgresql_using="brin"),
)
