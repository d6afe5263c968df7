"""What deliveries only name: the queue of what is to be fetched from the source.

A row is there until the record has been stored as a delivery of its own. One that is named again while it is being
fetched is fetched again, as what came may be older than what named it.
"""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from services.tracking.intake.connections.domain import Connection
from services.tracking.intake.inbox import fetch_store, store
from services.tracking.intake.inbox.domain.backlog import Backlog
from services.tracking.intake.inbox.domain.deliveries import Origin
from services.tracking.intake.inbox.fetch_store import Ask, Claimed, DueConnection, Queued
from services.tracking.intake.inbox.fetched import FetchedReply, fetched_body
from services.tracking.intake.sources.source_api import Gone
from services.tracking.records.changes import changed
from shared.db.database import Transaction

FETCH_CHANNEL: Final = "tracking_fetches"
"""Notified whenever something is to be fetched."""


async def ask(tx: Transaction, asks: Sequence[Ask]) -> None:
    """Have these fetched, each once; wake the fetcher."""
    if asks:
        await fetch_store.add(tx, asks)
        await tx.notify(FETCH_CHANNEL)


async def due_connections(tx: Transaction, *, limit: int) -> tuple[list[DueConnection], datetime | None]:
    """Connections that something is due of, the one that waits longest first, of all tenants in scope.

    And when something is due of the next; None: not before something is named.
    """
    waiting = await fetch_store.waiting_connections(tx, limit=limit)
    due = [connection for connection, due_at in waiting if due_at <= tx.now]
    return due, next((due_at for _, due_at in waiting if due_at > tx.now), None)


async def claim(
    tx: Transaction, tenant_id: UUID, connection_id: UUID, *, count_max: int, lease: timedelta
) -> list[Claimed]:
    """What is due of one object of a connection, the longest waiting first; nobody else's for the time of the lease."""
    return await fetch_store.claim(tx, tenant_id, connection_id, count_max=count_max, until=tx.now + lease)


async def settle(tx: Transaction, claimed: Collection[Claimed]) -> None:
    """These have been fetched and stored. What was named again meanwhile is due again at once."""
    if claimed:
        await fetch_store.settle(tx, claimed)
        await changed(tx, [(each.tenant_id, each.connection_id) for each in claimed])


async def postpone(tx: Transaction, claimed: Collection[Claimed], *, until: datetime, error: str | None) -> None:
    """These could not be fetched: due again at a moment. With an error it counts as an attempt."""
    if claimed:
        await fetch_store.postpone(tx, claimed, until=until, error=error)


async def due_at_once(tx: Transaction, tenant_id: UUID, connection_id: UUID) -> None:
    """Let everything that waits for a connection be tried now, such as when its access was mended."""
    await fetch_store.due_at_once(tx, tenant_id, connection_id)
    await tx.notify(FETCH_CHANNEL)


async def backlog(tx: Transaction, tenant_id: UUID, connection_id: UUID) -> Backlog:
    """What of a connection is still to be fetched."""
    return await fetch_store.backlog(tx, tenant_id, connection_id)


async def queued(
    tx: Transaction, tenant_id: UUID, connection_id: UUID, *, after: tuple[str, str] | None, limit: int
) -> list[Queued]:
    """What of a connection is still to be fetched, by object and id, and how that went so far."""
    return await fetch_store.queued(tx, tenant_id, connection_id, after=after or ("", ""), limit=limit)


async def add_fetched(
    tx: Transaction,
    connection: Connection,
    *,
    origin: Origin,
    caused_by: UUID | None,
    records: Sequence[FetchedReply],
    gone: Sequence[Gone],
    fetched_at: datetime,
) -> UUID:
    """Store what the source's API gave as a delivery, and wake the processor; the delivery's id.

    `fetched_at`: when the API was called, before it answered.
    """
    delivery_id = tx.new_id()
    await store.add_fetched(
        tx,
        connection.tenant_id,
        connection.id,
        delivery_id,
        origin=origin,
        caused_by=caused_by,
        body=fetched_body(records, gone, fetched_at=fetched_at),
    )
    await changed(tx, [(connection.tenant_id, connection.id)])
    return delivery_id
