"""Every statement on what connections are sent."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple
from uuid import UUID

from sqlalchemy import text

from services.tracking.intake.inbox.domain.hook_counts import Sent
from services.tracking.records.changes import changed
from shared.db.database import Transaction


class Counted(NamedTuple):
    """What was counted of a connection since the last time."""

    tenant_id: UUID
    connection_id: UUID
    received: int
    duplicates: int
    rejected_headers: int
    rejected_timestamp: int
    rejected_signature: int
    rejected_address: int
    rejected_not_allowed: int
    last_received_at: datetime | None


_ADD: Final = text(
    """
    INSERT INTO tracking.connection_traffic AS stored
        (tenant_id, connection_id, hour, received, duplicates, rejected_headers, rejected_timestamp,
        rejected_signature, rejected_address, rejected_not_allowed, last_received_at)
    SELECT t, c, date_trunc('hour', CAST(:now AS timestamptz), 'UTC'), r, d, h, s, g, a, n, l
    FROM unnest(
        CAST(:tenant_ids AS uuid[]), CAST(:connection_ids AS uuid[]), CAST(:received AS bigint[]),
        CAST(:duplicates AS bigint[]), CAST(:headers AS bigint[]), CAST(:timestamps AS bigint[]),
        CAST(:signatures AS bigint[]), CAST(:addresses AS bigint[]), CAST(:not_allowed AS bigint[]),
        CAST(:last AS timestamptz[])
    ) AS new(t, c, r, d, h, s, g, a, n, l)
    ON CONFLICT (tenant_id, connection_id, hour) DO UPDATE SET
        received = stored.received + excluded.received,
        duplicates = stored.duplicates + excluded.duplicates,
        rejected_headers = stored.rejected_headers + excluded.rejected_headers,
        rejected_timestamp = stored.rejected_timestamp + excluded.rejected_timestamp,
        rejected_signature = stored.rejected_signature + excluded.rejected_signature,
        rejected_address = stored.rejected_address + excluded.rejected_address,
        rejected_not_allowed = stored.rejected_not_allowed + excluded.rejected_not_allowed,
        last_received_at = greatest(stored.last_received_at, excluded.last_received_at)
    """
)
_OF_CONNECTION: Final = text(
    """
    SELECT max(last_received_at) AS last_at,
        coalesce(sum(received + duplicates) FILTER (WHERE hour = :this_hour), 0)::bigint AS this_hour,
        coalesce(sum(received + duplicates) FILTER (WHERE hour = :previous_hour), 0)::bigint AS previous_hour,
        coalesce(sum(received) FILTER (WHERE hour > :day), 0)::bigint AS received_day,
        coalesce(sum(duplicates) FILTER (WHERE hour > :day), 0)::bigint AS duplicates_day,
        coalesce(sum(rejected_headers) FILTER (WHERE hour > :day), 0)::bigint AS rejected_headers_day,
        coalesce(sum(rejected_timestamp) FILTER (WHERE hour > :day), 0)::bigint AS rejected_timestamp_day,
        coalesce(sum(rejected_signature) FILTER (WHERE hour > :day), 0)::bigint AS rejected_signature_day,
        coalesce(sum(rejected_address) FILTER (WHERE hour > :day), 0)::bigint AS rejected_address_day,
        coalesce(sum(rejected_not_allowed) FILTER (WHERE hour > :day), 0)::bigint AS rejected_not_allowed_day
    FROM tracking.connection_traffic WHERE tenant_id = :tenant_id AND connection_id = :connection_id
    """
)
_PRUNE: Final = text(
    """
    DELETE FROM tracking.connection_traffic WHERE (tenant_id, connection_id, hour) IN (
        SELECT tenant_id, connection_id, hour FROM tracking.connection_traffic
        WHERE hour < :before LIMIT :count_max FOR UPDATE SKIP LOCKED
    )
    """
)


async def add(tx: Transaction, counted: Sequence[Counted]) -> None:
    """Add to the present hour; in the order of the key, so that two processes never wait in a circle."""
    await tx.execute(
        _ADD,
        {
            "now": tx.now,
            "tenant_ids": [each.tenant_id for each in counted],
            "connection_ids": [each.connection_id for each in counted],
            "received": [each.received for each in counted],
            "duplicates": [each.duplicates for each in counted],
            "headers": [each.rejected_headers for each in counted],
            "timestamps": [each.rejected_timestamp for each in counted],
            "signatures": [each.rejected_signature for each in counted],
            "addresses": [each.rejected_address for each in counted],
            "not_allowed": [each.rejected_not_allowed for each in counted],
            "last": [each.last_received_at for each in counted],
        },
    )
    await changed(tx, [(each.tenant_id, each.connection_id) for each in counted])


async def of_connection(tx: Transaction, tenant_id: UUID, connection_id: UUID) -> Sent:
    """What a connection was sent."""
    this_hour = tx.now.replace(minute=0, second=0, microsecond=0)
    parameters = {
        "tenant_id": tenant_id,
        "connection_id": connection_id,
        "this_hour": this_hour,
        "previous_hour": this_hour - timedelta(hours=1),
        "day": this_hour - timedelta(hours=24),
    }
    return Sent(**(await tx.rows(_OF_CONNECTION, parameters))[0])


async def prune(tx: Transaction, *, before: datetime, count_max: int) -> int:
    """Drop counts of hours before a moment; how many."""
    return (await tx.execute(_PRUNE, {"before": before, "count_max": count_max})).rowcount
