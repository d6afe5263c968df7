"""Users of sources, as they were seen last: their names in the CRM, for whoever maps them to people."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from services.tracking.intake.connections import user_store
from services.tracking.intake.sources.adapter import SeenUser
from services.tracking.intake.sources.source_api import ApiUser
from shared.db.database import Transaction


@dataclass(frozen=True, slots=True)
class CrmUser:
    """A user of a source."""

    external_id: str
    name: str | None
    email: str | None
    is_active: bool
    seen_at: datetime


async def listed(tx: Transaction, tenant_id: UUID, connection_id: UUID, users: Sequence[ApiUser]) -> None:
    """Store what the source's API states of its users."""
    await user_store.put(
        tx, [(tenant_id, connection_id, user.external_id, user.name, user.email, user.is_active) for user in users]
    )


async def seen(tx: Transaction, users: Mapping[tuple[UUID, UUID], Sequence[SeenUser]]) -> None:
    """Store what deliveries state of users, by tenant and connection; what they leave out stays as it is known."""
    await user_store.put(
        tx,
        [
            (tenant_id, connection_id, user.external_id, user.name, user.email, None)
            for (tenant_id, connection_id), stated in users.items()
            for user in stated
        ],
    )


async def of(tx: Transaction, tenant_id: UUID, connection_id: UUID) -> list[CrmUser]:
    """The users of a connection's source, by external id."""
    return [
        CrmUser(row["external_id"], row["name"], row["email"], row["is_active"], row["seen_at"])
        for row in await user_store.of(tx, tenant_id, connection_id)
    ]
