"""Every statement on subscriptions."""

from collections.abc import Collection, Mapping
from typing import Final
from uuid import UUID

from pydantic import TypeAdapter
from sqlalchemy import RowMapping, insert, select, update

from services.tracking.tell.channels.domain.deliveries import (
    Channel,
    Chat,
    EventType,
    Subscription,
    SubscriptionKey,
    SubscriptionNotFound,
    SubscriptionStatus,
)
from services.tracking.tell.channels.events import KINDS
from services.tracking.tell.channels.tables import subscription_health, subscriptions
from shared.db.database import Transaction
from shared.db.versioned import VersionedTable
from shared.kernel.filters import filter_to_json, parse_filter
from shared.kernel.rotation import SealedSecret

_SECRETS: Final = TypeAdapter(tuple[SealedSecret, ...])
_CHAT: Final = TypeAdapter(Chat)


async def add(tx: Transaction, subscription: Subscription) -> None:
    """Store a new subscription, in good health."""
    await SUBSCRIPTIONS.add(tx, subscription.tenant_id, subscription)
    await tx.execute(
        insert(subscription_health).values(
            tenant_id=subscription.tenant_id,
            subscription_id=subscription.id,
            failures=0,
            failing_since=None,
            rest_until=tx.now,
            served_at=tx.now,
        )
    )


async def stop(tx: Transaction, key: SubscriptionKey, status: SubscriptionStatus, reason: str) -> bool:
    """Pause or disable a subscription, whichever version it is at; False when it is already, or is disabled."""
    stopped = await tx.one_or_none(
        update(subscriptions)
        .where(
            subscriptions.c.tenant_id == key.tenant_id,
            subscriptions.c.id == key.subscription_id,
            subscriptions.c.status.not_in({status, SubscriptionStatus.DISABLED}),
            subscriptions.c.deleted_at.is_(None),
        )
        .values(
            status=status.value,
            status_reason=reason,
            version=subscriptions.c.version + 1,
            updated_at=tx.now,
        )
        .returning(subscriptions.c.id)
    )
    return stopped is not None


async def mark_deleted(tx: Transaction, subscription: Subscription) -> bool:
    """Let a subscription be seen no more; False when its version is not the one that is stored."""
    marked = await tx.one_or_none(
        update(subscriptions)
        .where(
            subscriptions.c.tenant_id == subscription.tenant_id,
            subscriptions.c.id == subscription.id,
            subscriptions.c.version == subscription.version,
            subscriptions.c.deleted_at.is_(None),
        )
        .values(deleted_at=tx.now, secrets=[], sealed_url="")
        .returning(subscriptions.c.version)
    )
    return marked is not None


async def recording(tx: Transaction, tenant_ids: Collection[UUID]) -> list[Subscription]:
    """Every subscription of these tenants that events are recorded for."""
    statement = select(subscriptions).where(
        subscriptions.c.tenant_id.in_(tenant_ids),
        subscriptions.c.deleted_at.is_(None),
        subscriptions.c.status != SubscriptionStatus.DISABLED,
    )
    return [_subscription(row) for row in await tx.rows(statement)]


async def by_id(tx: Transaction, keys: Collection[tuple[UUID, UUID]]) -> dict[UUID, Subscription]:
    """Subscriptions by (tenant, id), those being deleted left out."""
    statement = select(subscriptions).where(
        subscriptions.c.tenant_id.in_({tenant_id for tenant_id, _ in keys}),
        subscriptions.c.id.in_({subscription_id for _, subscription_id in keys}),
        subscriptions.c.deleted_at.is_(None),
    )
    return {row["id"]: _subscription(row) for row in await tx.rows(statement)}


def _values(subscription: Subscription) -> Mapping[str, object]:
    return {
        "tenant_id": subscription.tenant_id,
        "id": subscription.id,
        "name": subscription.name,
        "sealed_url": subscription.sealed_url,
        "events": {kind.value: filter_to_json(wanted) for kind, wanted in subscription.events.items()},
        "secrets": _SECRETS.dump_python(subscription.secrets, mode="json"),
        "status": subscription.status.value,
        "status_reason": subscription.status_reason,
        "channel": subscription.channel.value,
        "chat": None if subscription.chat is None else _CHAT.dump_python(subscription.chat, mode="json"),
        "version": subscription.version,
        "created_at": subscription.created_at,
        "updated_at": subscription.updated_at,
    }


def _subscription(row: RowMapping) -> Subscription:
    return Subscription(
        tenant_id=row["tenant_id"],
        id=row["id"],
        name=row["name"],
        sealed_url=row["sealed_url"],
        events={
            EventType(kind): parse_filter(wanted, KINDS[EventType(kind)].catalogue)
            for kind, wanted in row["events"].items()
        },
        secrets=_SECRETS.validate_python(row["secrets"]),
        status=SubscriptionStatus(row["status"]),
        status_reason=row["status_reason"],
        version=row["version"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        channel=Channel(row["channel"]),
        chat=None if row["chat"] is None else _CHAT.validate_python(row["chat"]),
    )


SUBSCRIPTIONS: Final = VersionedTable(
    "subscription",
    subscriptions,
    _subscription,
    _values,
    SubscriptionNotFound,
    present=subscriptions.c.deleted_at.is_(None),
)
