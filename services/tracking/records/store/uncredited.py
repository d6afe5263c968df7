"""Every statement on the counts of won deals that nobody is credited with.

The rule is written twice: `domain.gaps_of` for what changes, the statement here for counting anew. A property test
checks that the two agree.
"""

from collections.abc import Collection, Mapping
from decimal import Decimal
from typing import Final, NamedTuple
from uuid import UUID

from sqlalchemy import RowMapping, text

from services.tracking.records.domain.uncredited import GapCount, GapKey, UncreditedReason
from shared.db.database import Transaction
from shared.kernel.org import CrmUser


class Uncredited(NamedTuple):
    """What of a connection nobody is credited with, for one reason and in one currency."""

    connection_id: UUID
    reason: UncreditedReason
    currency: str | None
    deals: int
    amount: Decimal


_MOVE: Final = text(
    """
    INSERT INTO tracking.uncredited AS counted
        (tenant_id, connection_id, reason, source, user_id, currency, stripe, deals, amount)
    SELECT t, c, r, s, u, y, :stripe, d, a
    FROM unnest(
        CAST(:tenant_ids AS uuid[]), CAST(:connection_ids AS uuid[]), CAST(:reasons AS text[]),
        CAST(:sources AS text[]), CAST(:users AS text[]), CAST(:currencies AS text[]), CAST(:deals AS bigint[]),
        CAST(:amounts AS numeric[])
    ) AS moved(t, c, r, s, u, y, d, a)
    ON CONFLICT (tenant_id, connection_id, reason, source, user_id, currency, stripe) DO UPDATE SET
        deals = counted.deals + excluded.deals, amount = counted.amount + excluded.amount
    """
)
_FORGET: Final = text(
    """
    DELETE FROM tracking.uncredited AS counted
    USING unnest(CAST(:sources AS text[]), CAST(:users AS text[])) AS known(source, user_id)
    WHERE counted.tenant_id = :tenant_id AND counted.source = known.source AND counted.user_id = known.user_id
    RETURNING counted.connection_id
    """
)
_IS_WON: Final = "d.tenant_id = :tenant_id AND d.status = 'won' AND d.kind IN ('upserted', 'restored')"
_USERS: Final = "unnest(CAST(:sources AS text[]), CAST(:users AS text[])) AS named(source, user_id)"
# `named` are the users to count, or those that identities name and of whom nothing is counted, as {join} says.
_OF_USERS: Final = f"""
    SELECT d.connection_id, 'owner_unknown' AS reason, d.source, d.owner_external_id AS user_id,
        coalesce(d.currency, '') AS currency, coalesce(d.amount, 0) AS amount
    FROM tracking.deals AS d
    {{join}} {_USERS} ON named.source = d.source AND named.user_id = d.owner_external_id
    WHERE {_IS_WON} AND d.splits IS NULL AND d.owner_external_id IS NOT NULL {{condition}}
    UNION ALL
    SELECT d.connection_id, 'split_unknown', d.source, split.owner_external_id, coalesce(d.currency, ''),
        coalesce(d.amount, 0) * split.percent * 0.01
    FROM tracking.deals AS d
    CROSS JOIN LATERAL jsonb_to_recordset(d.splits) AS split(owner_external_id text, percent numeric)
    {{join}} {_USERS} ON named.source = d.source AND named.user_id = split.owner_external_id
    WHERE {_IS_WON} AND d.splits IS NOT NULL AND split.percent <> 0 {{condition}}
"""
_OF_THESE: Final = _OF_USERS.format(join="JOIN", condition="")
_OF_OTHERS: Final = _OF_USERS.format(join="LEFT JOIN", condition="AND named.user_id IS NULL")
_REST: Final = f"""
    SELECT d.connection_id, gap.reason, d.source, '', coalesce(d.currency, ''), coalesce(d.amount, 0)
    FROM tracking.deals AS d
    CROSS JOIN LATERAL (VALUES
        ('owner_missing', d.splits IS NULL AND d.owner_external_id IS NULL),
        ('no_currency', d.amount IS NOT NULL AND d.currency IS NULL),
        ('no_close_date', d.closed_on IS NULL AND d.closed_at IS NULL)
    ) AS gap(reason, applies)
    WHERE {_IS_WON} AND gap.applies
"""
_GROUPED: Final = """
    SELECT connection_id, reason, source, user_id, currency, count(*) AS deals, sum(amount) AS amount
    FROM ({gaps}) AS gap
    GROUP BY connection_id, reason, source, user_id, currency
"""
_RECOUNT: Final = text(_GROUPED.format(gaps=f"{_OF_OTHERS} UNION ALL {_REST}"))
_RECOUNT_USERS: Final = text(_GROUPED.format(gaps=_OF_THESE))
_COUNTED: Final = text(
    """
    SELECT connection_id, reason, source, user_id, currency, sum(deals)::bigint AS deals, sum(amount) AS amount
    FROM tracking.uncredited WHERE tenant_id = :tenant_id
    GROUP BY connection_id, reason, source, user_id, currency HAVING sum(deals) <> 0 OR sum(amount) <> 0
    """
)
# A step for each tenant, not for each deal.
_TENANTS: Final = text(
    """
    WITH RECURSIVE found AS (
        (SELECT tenant_id FROM tracking.deals ORDER BY tenant_id LIMIT 1)
        UNION ALL
        SELECT (SELECT tenant_id FROM tracking.deals WHERE tenant_id > found.tenant_id ORDER BY tenant_id LIMIT 1)
        FROM found WHERE found.tenant_id IS NOT NULL
    )
    SELECT tenant_id FROM found WHERE tenant_id IS NOT NULL
    UNION SELECT tenant_id FROM tracking.uncredited
    """
)
_SUMS: Final = text(
    """
    SELECT connection_id, reason, nullif(currency, '') AS currency, sum(deals)::bigint AS deals, sum(amount) AS amount
    FROM tracking.uncredited
    WHERE tenant_id = :tenant_id AND (CAST(:connection_id AS uuid) IS NULL OR connection_id = :connection_id)
    GROUP BY connection_id, reason, currency HAVING sum(deals) <> 0 ORDER BY connection_id, reason, currency
    """
)


async def move(tx: Transaction, moved: Mapping[GapKey, GapCount], *, stripe: int) -> None:
    """Add to what is counted, in the order of the key."""
    ordered = sorted(moved)
    await tx.execute(
        _MOVE,
        {
            "stripe": stripe,
            "tenant_ids": [key.tenant_id for key in ordered],
            "connection_ids": [key.connection_id for key in ordered],
            "reasons": [key.reason.value for key in ordered],
            "sources": [key.source for key in ordered],
            "users": [key.user for key in ordered],
            "currencies": [key.currency for key in ordered],
            "deals": [moved[key].deals for key in ordered],
            "amounts": [moved[key].amount for key in ordered],
        },
    )


async def forget_users(tx: Transaction, tenant_id: UUID, users: Collection[CrmUser]) -> set[UUID]:
    """Count nothing of these users any more; the connections of which something was counted."""
    return {row["connection_id"] for row in await tx.rows(_FORGET, _users(tenant_id, users))}


async def recount_users(tx: Transaction, tenant_id: UUID, users: Collection[CrmUser]) -> dict[GapKey, GapCount]:
    """What is of these users, whom no identity names, by the deals as they are."""
    return _counts(tenant_id, await tx.rows(_RECOUNT_USERS, _users(tenant_id, users)))


async def recount(tx: Transaction, tenant_id: UUID, known: Collection[CrmUser]) -> dict[GapKey, GapCount]:
    """Everything of a tenant that nobody is credited with, by the deals as they are. Reads all won deals."""
    return _counts(tenant_id, await tx.rows(_RECOUNT, _users(tenant_id, known)))


async def counted(tx: Transaction, tenant_id: UUID) -> dict[GapKey, GapCount]:
    """The same as it is counted."""
    return _counts(tenant_id, await tx.rows(_COUNTED, {"tenant_id": tenant_id}))


async def tenants(tx: Transaction) -> set[UUID]:
    """The tenants in scope that have deals, or something counted."""
    return {row["tenant_id"] for row in await tx.rows(_TENANTS)}


async def sums(tx: Transaction, tenant_id: UUID, connection_id: UUID | None) -> list[Uncredited]:
    """What nobody is credited with, of a connection or of all of the tenant's, by reason and currency."""
    rows = await tx.rows(_SUMS, {"tenant_id": tenant_id, "connection_id": connection_id})
    return [Uncredited(**{**row, "reason": UncreditedReason(row["reason"])}) for row in rows]


def _users(tenant_id: UUID, users: Collection[CrmUser]) -> dict[str, object]:
    ordered = sorted(users)
    return {
        "tenant_id": tenant_id,
        "sources": [user.source for user in ordered],
        "users": [user.external_id for user in ordered],
    }


def _counts(tenant_id: UUID, rows: Collection[RowMapping]) -> dict[GapKey, GapCount]:
    return {
        GapKey(
            tenant_id,
            row["connection_id"],
            UncreditedReason(row["reason"]),
            row["source"],
            row["user_id"],
            row["currency"],
        ): GapCount(row["deals"], row["amount"])
        for row in rows
    }
