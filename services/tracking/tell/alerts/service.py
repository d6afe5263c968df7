"""Looking at connections, publishing alerts about them, and reading those alerts."""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from services.tracking.tell.alerts import store
from services.tracking.tell.alerts.domain import (
    Alert,
    AlertNotFound,
    Subject,
    about_dead_letters,
    look,
    next_look,
    without,
)
from services.tracking.tell.alerts.store import Watch
from services.tracking.tell.dead_letters import service as dead_letters
from shared.contracts import alerts as contract
from shared.contracts.envelope import to_message
from shared.db.database import Transaction
from shared.db.versioned import Key
from shared.kernel.alerts import AlertKind, AlertState, Findings
from shared.kernel.errors import NotFound
from shared.outbox.outbox import Outbox

DUE_MAX: Final = 1000


@dataclass(frozen=True, slots=True)
class Checks:
    """What connections are looked at with. The process hands it in, as it is not known here how deals come in."""

    connections: Callable[[Transaction], Awaitable[Sequence[tuple[UUID, UUID]]]]
    """All there are in the scope of the transaction, each by its tenant and its id."""
    findings: Callable[[Transaction, UUID, UUID], Awaitable[Findings | None]]
    """What is found of one, by its tenant and id; None, or NotFound raised: it is not to be looked at."""


async def due(
    tx: Transaction, checks: Checks, changed: Collection[tuple[UUID, UUID]] | None, *, interval: timedelta
) -> Sequence[Watch]:
    """Connections to look at now, of whichever tenants the transaction may see; DUE_MAX at most.

    Those that have `changed`, None: that any may have, and those whose time has come.
    """
    found = await checks.connections(tx) if changed is None else changed
    if found:
        await store.changed(tx, [Watch(*each) for each in found], interval=interval)
    return await store.due(tx, limit=DUE_MAX)


async def next_due_at(tx: Transaction) -> datetime | None:
    """When the next connection is to be looked at if none changes."""
    return await store.next_due_at(tx)


async def look_at(
    tx: Transaction, outbox: Outbox, checks: Checks, watch: Watch, *, every: timedelta
) -> Sequence[Alert]:
    """Look at a connection unless another does or has, and publish the alerts that follow; these.

    A connection that is not active has its alerts cleared, and is not looked at before it is active again.
    """
    trends = await store.claim(tx, watch)
    if trends is None:
        return ()
    known = {alert.check: alert for alert in await store.of_subject(tx, watch.tenant_id, watch.connection_id)}
    found = await _findings(tx, checks, watch)
    if found is None:
        looked = without(known, tx.now)
        await store.end_watch(tx, watch)
    else:
        looked = look(Subject(*watch, found.title), found.checks, known, trends, tx.now)
        await store.put_off(tx, watch, next_look(looked, found.until, tx.now, interval=every), looked.trends)
    await store.save(tx, looked.to_publish)
    await _publish(tx, outbox, looked.to_publish)
    return looked.to_publish


async def dead_letters_to_look_at(tx: Transaction) -> Mapping[UUID, Mapping[str, int]]:
    """How many letters wait by tenant and topic, with 0 where only an alert is left, of the tenants in scope."""
    found: dict[UUID, dict[str, int]] = {}
    for alert in await store.of_kind(tx, AlertKind.DEAD_LETTERS):
        found.setdefault(alert.tenant_id, {})[alert.check] = 0
    for (tenant_id, topic), count in (await dead_letters.counts(tx)).items():
        found.setdefault(tenant_id, {})[topic] = count
    return found


async def look_at_dead_letters(
    tx: Transaction, outbox: Outbox, tenant_id: UUID, waiting: Mapping[str, int]
) -> Sequence[Alert]:
    """Publish the alerts that follow from the dead letters of a tenant; these."""
    await tx.lock_tenants_exclusive([tenant_id])
    known = {alert.check: alert for alert in await store.of_subject(tx, tenant_id, tenant_id)}
    looked = (
        about_dead_letters(tenant_id, topic, count, known.get(topic), tx.now)
        for topic, count in sorted(waiting.items())
    )
    published = [alert for alert in looked if alert is not None]
    await store.save(tx, published)
    await _publish(tx, outbox, published)
    return published


async def put_off(tx: Transaction, watch: Watch, *, every: timedelta) -> None:
    """Look at a connection at its next turn, after it could not be looked at."""
    await store.put_off(tx, watch, tx.now + every)


async def get(tx: Transaction, tenant_id: UUID, alert_id: UUID) -> contract.Alert:
    """An alert of the tenant. Raises AlertNotFound."""
    alert = await store.find(tx, tenant_id, alert_id)
    if alert is None:
        raise AlertNotFound(f"There is no alert {alert_id}.")
    return event_of(alert)


async def page(
    tx: Transaction,
    tenant_id: UUID,
    *,
    state: AlertState | None,
    subject_id: UUID | None,
    before: tuple[datetime, UUID] | None,
    limit: int,
) -> Sequence[contract.Alert]:
    """Alerts of the tenant, those raised last first."""
    found = await store.page(tx, tenant_id, state=state, subject_id=subject_id, before=before, limit=limit)
    return [event_of(alert) for alert in found]


async def publish_next(tx: Transaction, outbox: Outbox, after: Key, limit: int) -> list[Key]:
    """Publish the next alerts of every tenant in scope once more, by tenant and alert; which those were."""
    alerts = await store.after(tx, after, limit=limit)
    await _publish(tx, outbox, alerts)
    return [(alert.tenant_id, alert.id) for alert in alerts]


def event_of(alert: Alert) -> contract.Alert:
    """An alert as it is published."""
    return contract.Alert(
        tenant_id=alert.tenant_id,
        id=alert.id,
        version=alert.version,
        kind=alert.kind.value,
        state=alert.state,
        severity=alert.severity,
        subject_type=alert.subject_type,
        subject_id=alert.subject_id,
        check=alert.check,
        title=alert.title,
        sentence=alert.sentence,
        raised_at=alert.raised_at,
        changed_at=alert.changed_at,
        cleared_at=alert.cleared_at,
    )


async def _findings(tx: Transaction, checks: Checks, watch: Watch) -> Findings | None:
    try:
        return await checks.findings(tx, *watch)
    except NotFound:
        return None


async def _publish(tx: Transaction, outbox: Outbox, alerts: Sequence[Alert]) -> None:
    await outbox.append(
        tx,
        [
            to_message(event_of(alert), event_id=tx.new_id(), source="tracking", time=alert.changed_at)
            for alert in alerts
        ],
    )
