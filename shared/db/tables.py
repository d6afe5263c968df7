"""Tables every service has, and the column kinds and names the services' own tables are made of."""

from dataclasses import dataclass

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Numeric,
    Sequence,
    SmallInteger,
    Table,
    Text,
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

NAMING_CONVENTION = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}


def service_metadata(schema: str) -> MetaData:
    """The one MetaData of a service; every table of the service is in the schema of that name."""
    return MetaData(schema=schema, naming_convention=NAMING_CONVENTION)


def tenant_id() -> Column[object]:
    """The first column of every tenant table, and the first of its primary key."""
    return Column("tenant_id", Uuid(), primary_key=True, nullable=False)


def money(name: str, *, nullable: bool = False) -> Column[object]:
    """An exact decimal amount, read as Decimal; its currency is in a column beside it."""
    return Column(name, Numeric(asdecimal=True), nullable=nullable)


def instant(name: str, *, nullable: bool = False) -> Column[object]:
    """A moment in UTC, to the microsecond."""
    return Column(name, DateTime(timezone=True), nullable=nullable)


@dataclass(frozen=True)
class TransportTables:
    """How a service talks to Kafka and remembers HTTP answers. One of each in every service's schema.

    `outbox`, `outbox_marks` and `consumer_positions` are read across tenants and carry no row-level security;
    `idempotency_keys` is tenant data and does.
    """

    service: str
    outbox: Table
    outbox_marks: Table
    consumer_positions: Table
    idempotency_keys: Table
    mark_tokens: Sequence
    """Of positions and tokens of marks."""

    @property
    def outbox_channel(self) -> str:
        """The NOTIFY channel for: there is something to publish."""
        return f"{self.service}_outbox"


TABLES_WITHOUT_ROW_SECURITY = frozenset({"outbox", "outbox_marks", "consumer_positions"})
"""Tables that carry a tenant but are worked through across tenants, by name, in every schema."""


def audit_table(metadata: MetaData) -> Table:
    """Every change of what a service publishes of its own, for ever: see `shared.outbox.trail`."""
    return Table(
        "audit",
        metadata,
        tenant_id(),
        Column("id", Uuid(), primary_key=True),
        Column("subject", Text, nullable=False),
        Column("version", BigInteger, nullable=False),
        Column("is_change", Boolean, nullable=False),
        Column("actor_kind", Text, nullable=False),
        Column("actor_id", Uuid(), nullable=True),
        Column("reason", Text, nullable=True),
        Column("state", JSONB, nullable=False),
        instant("changed_at"),
        Index("uq_audit_subject_version", "subject", "version", "tenant_id", unique=True),
        Index("ix_audit_actor_id", "actor_id", postgresql_where=text("actor_id IS NOT NULL")),
    )


def transport_tables(metadata: MetaData) -> TransportTables:
    """Define the transport tables in a service's metadata. Call once for a metadata."""
    if metadata.schema is None:
        raise ValueError("a service's metadata names its schema")
    tokens = Sequence("outbox_mark_tokens", metadata=metadata)
    return TransportTables(
        service=metadata.schema,
        outbox=Table(
            "outbox",
            metadata,
            Column("id", BigInteger, Identity(always=True), primary_key=True),
            Column("tenant_id", Uuid(), nullable=False),
            Column("topic", Text, nullable=False),
            Column("key", Text, nullable=False),
            Column("headers", Text, nullable=False),
            Column("value", LargeBinary, nullable=True),
            Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
        ),
        outbox_marks=Table(
            "outbox_marks",
            metadata,
            Column("topic", Text, primary_key=True),
            Column("tenant_id", Uuid(), primary_key=True),
            Column("subject", Text, primary_key=True),
            Column("stripe", Integer, primary_key=True, autoincrement=False),
            Column("position", BigInteger, server_default=tokens.next_value(), nullable=False),
            Column("token", BigInteger, server_default=tokens.next_value(), nullable=False),
            Index("ix_outbox_marks_position", "position"),
        ),
        consumer_positions=Table(
            "consumer_positions",
            metadata,
            Column("group", Text, primary_key=True),
            Column("topic", Text, primary_key=True),
            Column("partition", Integer, primary_key=True, autoincrement=False),
            Column("next_offset", BigInteger, nullable=False),
        ),
        idempotency_keys=Table(
            "idempotency_keys",
            metadata,
            tenant_id(),
            Column("key", Text, primary_key=True),
            Column("fingerprint", LargeBinary, nullable=False),
            Column("response_status", SmallInteger, nullable=True),
            Column("response_headers", JSONB, nullable=True),
            Column("response_body", LargeBinary, nullable=True),
            Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
            Index("ix_idempotency_keys_created_at", "created_at"),
        ),
        mark_tokens=tokens,
    )
