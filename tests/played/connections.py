"""A connection to a source as tests need one that have no database."""

from datetime import UTC, datetime
from uuid import UUID

from services.tracking.intake.connections.domain import Connection, ConnectionStatus
from services.tracking.intake.sources.domain import Source, SourceMapping
from shared.kernel.rotation import SealedSecret

_MADE_AT = datetime(2026, 1, 1, tzinfo=UTC)
_NO_MAPPING = SourceMapping()


def connection_of(
    source: Source,
    *,
    mapping: SourceMapping = _NO_MAPPING,
    secrets: tuple[SealedSecret, ...] = (),
    api: str | None = None,
) -> Connection:
    """The second thing of the first tenant; what its deals come from is called like the source."""
    return Connection(
        tenant_id=UUID(int=1),
        id=UUID(int=2),
        source=source,
        name="CRM",
        identity_source=source.value,
        status=ConnectionStatus.ACTIVE,
        secrets=secrets,
        mapping=mapping,
        version=1,
        created_at=_MADE_AT,
        updated_at=_MADE_AT,
        api=api,
    )
