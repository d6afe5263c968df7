"""Every statement on users of sources."""

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from sqlalchemy import RowMapping, select, text

from services.tracking.intake.connections.tables import crm_users
from shared.db.database import Transaction
from shared.kernel.text import composed

StatedUser = tuple[UUID, UUID, str, str | None, str | None, bool | None]
"""Tenant, connection and external id; name, e-mail and whether active, None for what is not stated."""

_TEXT_CHARACTERS_MAX: Final = 500
_PUT: Final = text(
    """
    INSERT INTO tracking.crm_users AS stored
        (tenant_id, connection_id, external_id, name, email, is_active, seen_at)
    SELECT t, c, e, n, m, coalesce(a, known.is_active, true), :seen_at
    FROM unnest(
        CAST(:tenant_ids AS uuid[]), CAST(:connection_ids AS uuid[]), CAST(:external_ids AS text[]),
        CAST(:names AS text[]), CAST(:emails AS text[]), CAST(:active AS boolean[])
    ) AS new(t, c, e, n, m, a)
    LEFT JOIN LATERAL (
        SELECT is_active FROM tracking.crm_users AS u
        WHERE u.tenant_id = t AND u.connection_id = c AND u.external_id = e LIMIT 1
    ) AS known ON true
    ON CONFLICT (tenant_id, connection_id, external_id) DO UPDATE
    SET name = coalesce(excluded.name, stored.name), email = coalesce(excluded.email, stored.email),
        is_active = excluded.is_active, seen_at = excluded.seen_at
    WHERE (coalesce(excluded.name, stored.name), coalesce(excluded.email, stored.email), excluded.is_active)
        IS DISTINCT FROM (stored.name, stored.email, stored.is_active)
    """
)


async def put(tx: Transaction, users: Sequence[StatedUser]) -> None:
    """Store what is stated of users; of one stated several times the last. What is unchanged is not written."""
    if not users:
        return
    newest = {(tenant, connection, composed(user)): known for tenant, connection, user, *known in users}
    ordered = [(*key, *newest[key]) for key in sorted(newest)]
    tenant_ids, connection_ids, external_ids, names, emails, active = zip(*ordered, strict=True)
    await tx.execute(
        _PUT,
        {
            "seen_at": tx.now,
            "tenant_ids": tenant_ids,
            "connection_ids": connection_ids,
            "external_ids": external_ids,
            "names": [name and composed(name)[:_TEXT_CHARACTERS_MAX] for name in names],
            "emails": [email and composed(email)[:_TEXT_CHARACTERS_MAX] for email in emails],
            "active": active,
        },
    )


async def of(tx: Transaction, tenant_id: UUID, connection_id: UUID) -> Sequence[RowMapping]:
    """A connection's users, by external id."""
    return await tx.rows(
        select(crm_users)
        .where(crm_users.c.tenant_id == tenant_id, crm_users.c.connection_id == connection_id)
        .order_by(crm_users.c.external_id)
    )
