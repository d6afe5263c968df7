"""What is asked of connections' deals and deliveries for their upkeep. Nothing is written here."""

from collections.abc import Collection
from datetime import datetime
from decimal import Decimal
from typing import Final, NamedTuple
from uuid import UUID

from pydantic import TypeAdapter
from sqlalchemy import text

from services.tracking.intake.sources.domain import Remark, RemarkKind
from shared.db.database import Transaction


class Sum(NamedTuple):
    """What deals come to in one currency; None for those that state none."""

    currency: str | None
    amount: Decimal


class UnmappedOwner(NamedTuple):
    """A user of a source that no identity names, and the deals it owns or shares in."""

    external_id: str
    deals: int
    amounts: tuple[Sum, ...]


class QuarantinedFor(NamedTuple):
    """How many deliveries are in quarantine for a reason, with the newest of them."""

    reason: str
    deliveries: int
    newest_id: UUID
    pointer: str
    detail: str
    received_at: datetime


class Backlog(NamedTuple):
    """Deliveries that are not translated yet, and since when the oldest is."""

    deliveries: int
    oldest_at: datetime | None


_AMOUNTS: Final = TypeAdapter(list[tuple[str | None, Decimal]])
_OWNED: Final = """
    SELECT d.deal_id, d.currency, d.amount, owner.external_id
    FROM tracking.deals AS d CROSS JOIN LATERAL (
        SELECT d.owner_external_id AS external_id
        UNION SELECT split ->> 'owner_external_id' FROM jsonb_array_elements(coalesce(d.splits, '[]')) AS split
    ) AS owner
    WHERE d.tenant_id = :tenant_id AND d.connection_id = :connection_id AND d.kind IN ('upserted', 'restored')
"""
_UNMAPPED_OWNERS: Final = text(
    f"""
    WITH unmapped AS (
        SELECT * FROM ({_OWNED}) AS owned WHERE external_id IS NOT NULL AND external_id <> ALL(:known)
    ), by_currency AS (
        SELECT external_id, currency, count(*) AS deals, coalesce(sum(amount), 0) AS amount
        FROM unmapped GROUP BY external_id, currency
    )
    SELECT external_id, sum(deals)::bigint AS deals, count(*) OVER () AS owners,
        jsonb_agg(jsonb_build_array(currency, amount::text) ORDER BY currency)::text AS amounts
    FROM by_currency GROUP BY external_id ORDER BY sum(deals) DESC, external_id LIMIT :limit
    """
)
_WITHOUT_OWNER: Final = text(
    """
    SELECT count(*) AS deals FROM tracking.deals
    WHERE tenant_id = :tenant_id AND connection_id = :connection_id AND kind IN ('upserted', 'restored')
        AND owner_external_id IS NULL AND splits IS NULL
    """
)
_QUARANTINE: Final = text(
    """
    WITH held AS (
        SELECT reason, id, pointer, detail, received_at,
            count(*) OVER (PARTITION BY reason) AS deliveries,
            row_number() OVER (PARTITION BY reason ORDER BY id DESC) AS position
        FROM tracking.deliveries
        WHERE tenant_id = :tenant_id AND state = 'quarantined' AND connection_id = :connection_id
    )
    SELECT reason, deliveries, id AS newest_id, coalesce(pointer, '') AS pointer, coalesce(detail, '') AS detail,
        received_at
    FROM held WHERE position = 1 ORDER BY deliveries DESC, reason
    """
)
_BACKLOG: Final = text(
    """
    SELECT count(*) AS deliveries, min(received_at) AS oldest_at FROM tracking.deliveries
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
        SELECT id, remarks FROM tracking.deliveries
        WHERE tenant_id = :tenant_id AND connection_id = :connection_id AND remarks IS NOT NULL
            AND received_at > :since
        ORDER BY id DESC LIMIT :limit
    )
    SELECT DISTINCT ON (remark ->> 'kind') remark ->> 'kind' AS kind, remark ->> 'pointer' AS pointer,
        remark ->> 'detail' AS detail, count(*) OVER (PARTITION BY remark ->> 'kind') AS remarks
    FROM newest CROSS JOIN LATERAL jsonb_array_elements(newest.remarks) WITH ORDINALITY AS told(remark, place)
    ORDER BY remark ->> 'kind', newest.id DESC, place
    """
)


async def unmapped_owners(
    tx: Transaction, tenant_id: UUID, connection_id: UUID, *, known: Collection[str], limit: int
) -> tuple[list[UnmappedOwner], int]:
    """Owners of a connection's deals that are not `known`, those of most deals first; how many there are in all."""
    parameters = {
        "tenant_id": tenant_id,
        "connection_id": connection_id,
        "known": sorted(known),
        "limit": limit,
    }
    rows = await tx.rows(_UNMAPPED_OWNERS, parameters)
    owners = [
        UnmappedOwner(
            row["external_id"], row["deals"], tuple(Sum(*each) for each in _AMOUNTS.validate_json(row["amounts"]))
        )
        for row in rows
    ]
    return owners, rows[0]["owners"] if rows else 0


async def deals_without_owner(tx: Transaction, tenant_id: UUID, connection_id: UUID) -> int:
    """How many of a connection's deals the source gives to nobody."""
    count: int = (await tx.rows(_WITHOUT_OWNER, _of(tenant_id, connection_id)))[0]["deals"]
    return count


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
) -> list[tuple[Remark, int]]:
    """What is to be told of a connection's newest deliveries since a moment: of each kind the newest, and how many."""
    rows = await tx.rows(_REMARKS, {**_of(tenant_id, connection_id), "since": since, "limit": limit})
    return [(Remark(RemarkKind(row["kind"]), row["pointer"], row["detail"]), row["remarks"]) for row in rows]


def _of(tenant_id: UUID, connection_id: UUID) -> dict[str, object]:
    return {"tenant_id": tenant_id, "connection_id": connection_id}
