"""What all workers know together of the calls to a connection's API."""

from sqlalchemy import Column, Table, Text, Uuid
from sqlalchemy.dialects.postgresql import JSONB

from services.tracking.metadata import metadata
from shared.db.tables import instant, tenant_id

api_states = Table(
    "api_states",
    metadata,
    tenant_id(),
    Column("connection_id", Uuid(), primary_key=True),
    # Which access it is about: a digest of the sealed credentials.
    Column("access", Text, nullable=False),
    # Circuit, times of the latest calls, calls under way.
    Column("calls", JSONB, nullable=False),
    # Sealed.
    Column("token", Text),
    instant("token_expires_at", nullable=True),
)
