"""Notifying of which connection something was stored that its checks read, so that no check has to poll."""

from collections.abc import Iterable
from typing import Final
from uuid import UUID

from shared.db.database import Transaction

CHANGES_CHANNEL: Final = "tracking_changes"
"""Notified with each connection of which something changed that its checks read."""


async def changed(tx: Transaction, connections: Iterable[tuple[UUID, UUID]]) -> None:
    """Have these looked at, each by its tenant and its id, once the transaction is committed."""
    payloads = {f"{tenant_id} {connection_id}" for tenant_id, connection_id in connections}
    if payloads:
        await tx.notify(CHANGES_CHANNEL, *sorted(payloads))


def connection_of(payload: str) -> tuple[UUID, UUID]:
    """The tenant and the id of a connection that was notified."""
    tenant_id, connection_id = payload.split()
    return UUID(tenant_id), UUID(connection_id)
