"""Every statement on alerts and on when connections are looked at."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Final, NamedTuple
from uuid import UUID

from pydantic import TypeAdapter
from sqlalchemy import ColumnElement, RowMapping, delete, func, select, text, tuple_, update
from sqlalchemy.dialects.postgresql import insert

from services.tracking.tell.alerts.domain import Alert, Trend
from services.tracking.tell.alerts.tables import alert_watches, alerts
from shared.db.database import Transaction
from shared.kernel.alerts import AlertKind, AlertSeverity, AlertState


class Watch(NamedTuple):
    """A connection that is looked at."""

    tenant_id: UUID
    connection_id: UUID


_TRENDS: Final = TypeAdapter(dict[str, Trend])
_CHANGED: Final = text(
    """
    INSERT INTO tracking.alert_watches AS stored (tenant_id, connection_id, due_at, trends)
    SELECT t, c, CAST(:now AS timestamptz), '{}'
    FROM unnest(CAST(:tenant_ids AS uuid[]), CAST(:connection_ids AS uuid[])) AS changed(t, c)
    ON CONFLICT (tenant_id, connection_id) DO UPDATE SET
        due_at = least(stored.due_at, greatest(excluded.due_at, stored.looked_at + :interval))
    """
)


async def changed(tx: Transaction, connections: Collection[Watch], *, interval: timedelta) -> None:
    """Have these connections looked at now, each no sooner than an interval after the last look."""
    ordered = sorted(connections)
    parameters = {
        "now": tx.now,
        "interval": interval,
        "tenant_ids": [each.tenant_id for each in ordered],
        "connection_ids": [each.connection_id for each in ordered],
    }
    await tx.execute(_CHANGED, parameters)


async def next_due_at(tx: Transaction) -> datetime | None:
    """When the next connection is to be looked at, of the tenants in scope; None: none before something changes."""
    due_at: datetime | None = (await tx.rows(select(func.min(alert_watches.c.due_at).label("at"))))[0]["at"]
    return due_at


async def due(tx: Transaction, *, limit: int) -> list[Watch]:
    """Connections to look at now, of all tenants in scope, those that have waited longest first."""
    statement = (
        select(alert_watches.c.tenant_id, alert_watches.c.connection_id)
        .where(alert_watches.c.due_at <= tx.now)
        .order_by(alert_watches.c.due_at, alert_watches.c.connection_id)
        .limit(limit)
    )
    return [Watch(**row) for row in await tx.rows(statement)]


async def claim(tx: Transaction, watch: Watch) -> Mapping[str, Trend] | None:
    """Lock a connection's watch until the end of the transaction; None if another has locked it or it is not due."""
    row = await tx.one_or_none(
        select(alert_watches.c.trends)
        .where(*_of(watch), alert_watches.c.due_at <= tx.now)
        .with_for_update(skip_locked=True)
    )
    return None if row is None else _TRENDS.validate_python(row["trends"])


async def put_off(
    tx: Transaction, watch: Watch, due_at: datetime | None, trends: Mapping[str, Trend] | None = None
) -> None:
    """Look again at a moment, None: when something changes; remember the trends, if given."""
    statement = update(alert_watches).where(*_of(watch)).values(due_at=due_at, looked_at=tx.now)
    if trends is not None:
        statement = statement.values(trends=_TRENDS.dump_python(dict(trends), mode="json"))
    await tx.execute(statement)


async def end_watch(tx: Transaction, watch: Watch) -> None:
    """Look at the connection no more, until it is active again."""
    await tx.execute(delete(alert_watches).where(*_of(watch)))


async def of_subject(tx: Transaction, tenant_id: UUID, subject_id: UUID) -> list[Alert]:
    """Every alert there ever was about a thing."""
    rows = await tx.rows(select(alerts).where(alerts.c.tenant_id == tenant_id, alerts.c.subject_id == subject_id))
    return [_alert(row) for row in rows]


async def of_kind(tx: Transaction, kind: AlertKind) -> list[Alert]:
    """Every raised alert of a kind, of the tenants in scope."""
    rows = await tx.rows(select(alerts).where(alerts.c.kind == kind, alerts.c.state == AlertState.RAISED))
    return [_alert(row) for row in rows]


async def save(tx: Transaction, versions: Sequence[Alert]) -> None:
    """Store the next versions of alerts; of one subject, whose watch is locked."""
    if not versions:
        return
    statement = insert(alerts)
    changed = {column.name: statement.excluded[column.name] for column in alerts.c if not column.primary_key}
    await tx.execute(
        statement.on_conflict_do_update(index_elements=[alerts.c.tenant_id, alerts.c.id], set_=changed),
        [asdict(alert) for alert in sorted(versions, key=lambda alert: alert.id)],
    )


async def find(tx: Transaction, tenant_id: UUID, alert_id: UUID) -> Alert | None:
    """An alert of the tenant."""
    row = await tx.one_or_none(select(alerts).where(alerts.c.tenant_id == tenant_id, alerts.c.id == alert_id))
    return None if row is None else _alert(row)


async def page(
    tx: Transaction,
    tenant_id: UUID,
    *,
    state: AlertState | None,
    subject_id: UUID | None,
    before: tuple[datetime, UUID] | None,
    limit: int,
) -> list[Alert]:
    """Alerts of the tenant, those raised last first."""
    statement = select(alerts).where(alerts.c.tenant_id == tenant_id)
    if state is not None:
        statement = statement.where(alerts.c.state == state)
    if subject_id is not None:
        statement = statement.where(alerts.c.subject_id == subject_id)
    if before is not None:
        statement = statement.where(tuple_(alerts.c.raised_at, alerts.c.id) < before)
    statement = statement.order_by(alerts.c.raised_at.desc(), alerts.c.id.desc()).limit(limit)
    return [_alert(row) for row in await tx.rows(statement)]


async def after(tx: Transaction, key: tuple[UUID, UUID], *, limit: int) -> list[Alert]:
    """The next alerts of all tenants in scope, by tenant and alert."""
    statement = select(alerts).where(tuple_(alerts.c.tenant_id, alerts.c.id) > key)
    rows = await tx.rows(statement.order_by(alerts.c.tenant_id, alerts.c.id).limit(limit))
    return [_alert(row) for row in rows]


def _of(watch: Watch) -> tuple[ColumnElement[bool], ...]:
    return (alert_watches.c.tenant_id == watch.tenant_id, alert_watches.c.connection_id == watch.connection_id)


def _alert(row: RowMapping) -> Alert:
    return Alert(
        **{
            **row,
            "kind": AlertKind(row["kind"]),
            "state": AlertState(row["state"]),
            "severity": AlertSeverity(row["severity"]),
        }
    )
