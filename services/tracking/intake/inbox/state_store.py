"""The statements that read the state of a connection's deliveries. Nothing is written here."""

from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

from sqlalchemy import text

from services.tracking.intake.inbox.domain.backlog import Backlog
from services.tracking.intake.sources.domain import Remark, RemarkKind
from shared.db.database import Transaction


class QuarantinedFor(NamedTuple):
    """How many deliveries are in quarantine for a reason, with the newest of them."""

    reason: str
    deliveries: int
    newest_id: UUID
    pointer: str
    detail: str
    received_at: datetime


class RemarkedOf(NamedTuple):
    """The newest remark of a kind, when its delivery was received, and how many of the kind there are."""

    newest: Remark
    newest_at: datetime
    remarks: int


_QUARANTINE: Final = text(
    """
    WITH quarantined AS (
        SELECT reason, id, pointer, detail, received_at,
            count(*) OVER (PARTITION BY reason) AS deliveries,
            row_number() OVER (PARTITION BY reason ORDER BY id DESC) AS position
        FROM tracking.deliveries
        WHERE tenant_id = :tenant_id AND state = 'quarantined' AND connection_id = :connection_id
    )
    SELECT reason, deliveries, id AS newest_id, coalesce(pointer, '') AS pointer, coalesce(detail, '') AS detail,
        received_at
    FROM quarantined WHERE position = 1 ORDER BY deliveries DESC, reason
    """
)
_BACKLOG: Final = text(
    """
    SELECT count(*) AS count, min(received_at) AS oldest_at FROM tracking.deliveries
    WHERE tenant_id = :tenant_id AND state = 'received' AND connection_id = :connection_id
    """
)
_COUNT_QUARANTINED: Final = text(
    """
    SELECT count(*) AS deliveries FROM tracking.deliveries
    WHERE tenant_id = :tenant_id AND state = 'quarantined' AND connection_id = :connection_id
    """
)
_REMARKS: Final = text(
    """
    WITH newest AS (
        SELECT id, remarks, received_at FROM tracking.deliveries
        WHERE tenant_id = :tenant_id AND connection_id = :connection_id AND remarks IS NOT NULL
            AND received_at > :since
        ORDER BY id DESC LIMIT :limit
    )
    SELECT DISTINCT ON (remark ->> 'kind') remark ->> 'kind' AS kind, remark ->> 'pointer' AS pointer,
        remark ->> 'detail' AS detail, received_at, count(*) OVER (PARTITION BY remark ->> 'kind') AS remarks
    FROM newest CROSS JOIN LATERAL jsonb_array_elements(newest.remarks) WITH ORDINALITY AS remarked(remark, place)
    ORDER BY remark ->> 'kind', newest.id DESC, place
    """
)


async def quarantine(tx: Transaction, tenant_id: UUID, connection_id: UUID) -> list[QuarantinedFor]:
    """Why deliveries of a connection are in quarantine, the most frequent reason first."""
    return [QuarantinedFor(**row) for row in await tx.rows(_QUARANTINE, _of(tenant_id, connection_id))]


async def quarantined(tx: Transaction, tenant_id: UUID, connection_id: UUID) -> int:
    """How many deliveries of a connection are in quarantine."""
    count: int = (await tx.rows(_COUNT_QUARANTINED, _of(tenant_id, connection_id)))[0]["deliveries"]
    return count


async def backlog(tx: Transaction, tenant_id: UUID, connection_id: UUID) -> Backlog:
    """What of a connection is not translated yet."""
    return Backlog(**(await tx.rows(_BACKLOG, _of(tenant_id, connection_id)))[0])


async def remarks(
    tx: Transaction, tenant_id: UUID, connection_id: UUID, *, since: datetime, limit: int
) -> list[RemarkedOf]:
    """The remarks on a connection's newest deliveries since a moment, of each kind."""
    rows = await tx.rows(_REMARKS, {**_of(tenant_id, connection_id), "since": since, "limit": limit})
    return [
        RemarkedOf(Remark(RemarkKind(row["kind"]), row["pointer"], row["detail"]), row["received_at"], row["remarks"])
        for row in rows
    ]


def _of(tenant_id: UUID, connection_id: UUID) -> dict[str, object]:
    return {"tenant_id": tenant_id, "connection_id": connection_id}
