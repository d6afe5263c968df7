"""Every statement on reconciliations, runs, channels and users of sources."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Final
from uuid import UUID

from pydantic import TypeAdapter
from sqlalchemy import RowMapping, and_, delete, func, select, text, tuple_, update
from sqlalchemy.dialects.postgresql import insert

from services.tracking.intake.sync.domain import ChannelState, Reconciliation, Run, RunKind
from services.tracking.intake.sync.tables import channels, reconciliations, sync_runs
from services.tracking.records.changes import changed
from shared.db.database import Transaction

_RUN: Final = TypeAdapter(Run)
_RECONCILIATION: Final = TypeAdapter(Reconciliation)
CHANNELS_CHANNEL: Final = "tracking_channels"
"""Notified whenever a source's channel may be due."""
_CHANNEL: Final = TypeAdapter(ChannelState)
_UNREADABLE: Final = TypeAdapter(tuple[str, ...])

_ENSURE_RECONCILIATIONS: Final = text(
    """
    INSERT INTO tracking.reconciliations (tenant_id, connection_id, version, every_minutes, due_at, unreadable)
    SELECT t, c, 1, :every_minutes, :now, '[]'
    FROM unnest(CAST(:tenant_ids AS uuid[]), CAST(:connection_ids AS uuid[])) AS new(t, c)
    ON CONFLICT (tenant_id, connection_id) DO NOTHING
    """
)
_CLAIM_RUNS: Final = text(
    """
    UPDATE tracking.sync_runs AS r SET due_at = :until, lease_id = :lease_id, started_at = coalesce(r.started_at, :now)
    FROM (
        SELECT tenant_id, id FROM tracking.sync_runs
        WHERE state = 'running' AND due_at <= :now
        ORDER BY due_at LIMIT :limit FOR UPDATE SKIP LOCKED
    ) AS due
    WHERE r.tenant_id = due.tenant_id AND r.id = due.id
    RETURNING r.*
    """
)
_NEXT_DUE_AT: Final = text(
    """
    SELECT least(
        (SELECT min(due_at) FROM tracking.reconciliations),
        (SELECT min(due_at) FROM tracking.sync_runs WHERE state = 'running')
    ) AS due_at
    """
)
_EXTEND_LEASE: Final = text(
    """
    UPDATE tracking.sync_runs SET due_at = :until
    WHERE tenant_id = :tenant_id AND id = :id AND lease_id = :lease_id AND state = 'running'
    """
)


async def next_due_at(tx: Transaction) -> datetime | None:
    """When the next reconciliation or running run is due."""
    due_at: datetime | None = (await tx.rows(_NEXT_DUE_AT))[0]["due_at"]
    return due_at


async def ensure_reconciliations(tx: Transaction, keys: Sequence[tuple[UUID, UUID]], *, every_minutes: int) -> None:
    """Make those (tenant, connection) that are not there, due at once."""
    ordered = sorted(keys)
    await tx.execute(
        _ENSURE_RECONCILIATIONS,
        {
            "tenant_ids": [tenant_id for tenant_id, _ in ordered],
            "connection_ids": [connection_id for _, connection_id in ordered],
            "every_minutes": every_minutes,
            "now": tx.now,
        },
    )


async def reconciliation(
    tx: Transaction, tenant_id: UUID, connection_id: UUID, *, is_locked: bool = False
) -> Reconciliation | None:
    """How a connection is reconciled; `is_held`: nobody else's until the end of the transaction."""
    statement = select(reconciliations).where(
        reconciliations.c.tenant_id == tenant_id, reconciliations.c.connection_id == connection_id
    )
    row = await tx.one_or_none(statement.with_for_update() if is_locked else statement)
    return None if row is None else _RECONCILIATION.validate_python(dict(row))


async def due_reconciliations(tx: Transaction, *, limit: int) -> list[Reconciliation]:
    """Those that are due and nobody else is at, locked until the end of the transaction."""
    rows = await tx.rows(
        select(reconciliations)
        .where(reconciliations.c.due_at <= tx.now)
        .order_by(reconciliations.c.due_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    return [_RECONCILIATION.validate_python(dict(row)) for row in rows]


async def put_reconciliation(tx: Transaction, reconciliation: Reconciliation) -> None:
    """Store how a connection is reconciled."""
    values = {**asdict(reconciliation), "unreadable": list(reconciliation.unreadable)}
    await tx.execute(
        insert(reconciliations)
        .values(**values)
        .on_conflict_do_update(index_elements=["tenant_id", "connection_id"], set_=values)
    )
    await changed(tx, [(reconciliation.tenant_id, reconciliation.connection_id)])


async def add_run(tx: Transaction, run: Run) -> bool:
    """Store a new run; False when the connection has an open one of its kind."""
    added = await tx.one_or_none(
        insert(sync_runs)
        .values(**asdict(run))
        .on_conflict_do_nothing(index_elements=["connection_id", "kind"], index_where=text("ended_at IS NULL"))
        .returning(sync_runs.c.id)
    )
    await changed(tx, [(run.tenant_id, run.connection_id)])
    return added is not None


async def open_run(tx: Transaction, tenant_id: UUID, connection_id: UUID, kind: RunKind) -> Run | None:
    """The connection's run of a kind that has not ended, locked until the end of the transaction."""
    row = await tx.one_or_none(
        select(sync_runs)
        .where(
            sync_runs.c.tenant_id == tenant_id,
            sync_runs.c.connection_id == connection_id,
            sync_runs.c.kind == kind,
            text("ended_at IS NULL"),
        )
        .with_for_update()
    )
    return None if row is None else _run(row)


async def find_run(tx: Transaction, tenant_id: UUID, run_id: UUID, *, is_locked: bool = False) -> Run | None:
    """A run of the tenant; `is_held`: nobody else's until the end of the transaction."""
    statement = select(sync_runs).where(sync_runs.c.tenant_id == tenant_id, sync_runs.c.id == run_id)
    row = await tx.one_or_none(statement.with_for_update() if is_locked else statement)
    return None if row is None else _run(row)


async def page_runs(
    tx: Transaction, tenant_id: UUID, connection_id: UUID, kind: RunKind, *, before: UUID | None, limit: int
) -> list[Run]:
    """A connection's runs of a kind, newest first."""
    statement = select(sync_runs).where(
        sync_runs.c.tenant_id == tenant_id, sync_runs.c.connection_id == connection_id, sync_runs.c.kind == kind
    )
    if before is not None:
        statement = statement.where(sync_runs.c.id < before)
    return [_run(row) for row in await tx.rows(statement.order_by(sync_runs.c.id.desc()).limit(limit))]


async def save_run(tx: Transaction, run: Run) -> None:
    """Store a locked run as it is now."""
    values = asdict(run)
    await tx.execute(
        update(sync_runs)
        .where(sync_runs.c.tenant_id == values.pop("tenant_id"), sync_runs.c.id == values.pop("id"))
        .values(**values)
    )
    await changed(tx, [(run.tenant_id, run.connection_id)])


async def claim_runs(tx: Transaction, *, lease_id: UUID, until: datetime, limit: int) -> list[Run]:
    """Running ones that nobody is at; nobody else's until the lease ends or is given up."""
    parameters = {"now": tx.now, "until": until, "lease_id": lease_id, "limit": limit}
    return [_run(row) for row in await tx.rows(_CLAIM_RUNS, parameters)]


async def extend_lease(tx: Transaction, run: Run, *, until: datetime) -> None:
    """Extend the lease of a claimed run."""
    await tx.execute(
        _EXTEND_LEASE, {"until": until, "tenant_id": run.tenant_id, "id": run.id, "lease_id": run.lease_id}
    )


async def drop_runs(tx: Transaction, *, before: datetime, limit: int) -> None:
    """Forget runs that ended before a moment."""
    ended = (
        select(sync_runs.c.tenant_id, sync_runs.c.id)
        .where(sync_runs.c.kind == RunKind.RECONCILIATION, sync_runs.c.ended_at < before)
        .limit(limit)
    )
    await tx.execute(delete(sync_runs).where(tuple_(sync_runs.c.tenant_id, sync_runs.c.id).in_(ended)))


async def known_unreadable(tx: Transaction, tenant_id: UUID, connection_id: UUID) -> tuple[str, ...]:
    """Digests of the connection's latest records that could not be translated."""
    row = await tx.one_or_none(
        select(reconciliations.c.unreadable).where(
            reconciliations.c.tenant_id == tenant_id, reconciliations.c.connection_id == connection_id
        )
    )
    return () if row is None else _UNREADABLE.validate_python(row["unreadable"])


async def put_unreadable(tx: Transaction, tenant_id: UUID, connection_id: UUID, digests: Sequence[str]) -> None:
    """Remember digests of records that could not be translated."""
    await tx.execute(
        update(reconciliations)
        .where(reconciliations.c.tenant_id == tenant_id, reconciliations.c.connection_id == connection_id)
        .values(unreadable=list(digests))
    )


async def channel(tx: Transaction, tenant_id: UUID, connection_id: UUID) -> ChannelState | None:
    """A connection's channel."""
    row = await tx.one_or_none(
        select(channels).where(channels.c.tenant_id == tenant_id, channels.c.connection_id == connection_id)
    )
    return None if row is None else _CHANNEL.validate_python(dict(row))


async def ensure_channels(tx: Transaction, wanted: Mapping[tuple[UUID, UUID], tuple[str, UUID]]) -> None:
    """Have a channel for each (tenant, connection): its id and the secret to send; due at once where that is new."""
    for (tenant_id, connection_id), (name, secret_id) in sorted(wanted.items()):
        statement = insert(channels).values(
            tenant_id=tenant_id, connection_id=connection_id, channel_id=name, due_at=tx.now, failures=0
        )
        await tx.execute(
            statement.on_conflict_do_update(
                index_elements=["tenant_id", "connection_id"],
                set_={"due_at": tx.now},
                where=and_(
                    channels.c.secret_id.is_not(None), channels.c.secret_id != secret_id, channels.c.failures == 0
                ),
            )
        )
    if wanted:
        await tx.notify(CHANNELS_CHANNEL)


async def due_channels(tx: Transaction, *, until: datetime, limit: int) -> list[ChannelState]:
    """Those to open or renew now; not due again before `until`."""
    due = (
        select(channels.c.tenant_id, channels.c.connection_id)
        .where(channels.c.due_at <= tx.now)
        .order_by(channels.c.due_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    rows = await tx.rows(
        update(channels)
        .where(tuple_(channels.c.tenant_id, channels.c.connection_id).in_(due))
        .values(due_at=until)
        .returning(channels)
    )
    return [_CHANNEL.validate_python(dict(row)) for row in rows]


async def next_channel_due_at(tx: Transaction) -> datetime | None:
    """When the next channel is to be opened or renewed."""
    due_at: datetime | None = (await tx.rows(select(func.min(channels.c.due_at).label("due_at"))))[0]["due_at"]
    return due_at


async def save_channel(tx: Transaction, state: ChannelState) -> None:
    """Store a channel as it is now."""
    values = asdict(state)
    await tx.execute(
        update(channels)
        .where(channels.c.tenant_id == values.pop("tenant_id"), channels.c.connection_id == values.pop("connection_id"))
        .values(**values)
    )
    await changed(tx, [(state.tenant_id, state.connection_id)])


async def renew_now(tx: Transaction, tenant_id: UUID, connection_id: UUID) -> None:
    """Have a connection's channel opened now, as it is not known whether there is one."""
    await tx.execute(
        update(channels)
        .where(channels.c.tenant_id == tenant_id, channels.c.connection_id == connection_id)
        .values(due_at=tx.now, failures=0, error=None)
    )
    await tx.notify(CHANNELS_CHANNEL)
    await changed(tx, [(tenant_id, connection_id)])


async def drop_channel(tx: Transaction, tenant_id: UUID, connection_id: UUID) -> None:
    """Forget a connection's channel."""
    await tx.execute(
        delete(channels).where(channels.c.tenant_id == tenant_id, channels.c.connection_id == connection_id)
    )
    await changed(tx, [(tenant_id, connection_id)])


def _run(row: RowMapping) -> Run:
    return _RUN.validate_python(dict(row))
