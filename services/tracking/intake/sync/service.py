"""Fetching from sources unprompted: when to, what of the answers to store, how far it is."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from services.tracking.intake.calling.domain import ApiAccessMissing
from services.tracking.intake.connections import service as crm
from services.tracking.intake.connections import users
from services.tracking.intake.connections.domain import Connection
from services.tracking.intake.connections.service import Connections
from services.tracking.intake.inbox import fetching
from services.tracking.intake.inbox import service as inbox
from services.tracking.intake.inbox.domain.deliveries import Origin
from services.tracking.intake.inbox.fetched import FetchedReply
from services.tracking.intake.sources.adapter import Adapter
from services.tracking.intake.sources.domain import QuarantineReason
from services.tracking.intake.sources.registry import ADAPTERS
from services.tracking.intake.sources.source_api import ApiUser, RecordPage
from services.tracking.intake.sync import store
from services.tracking.intake.sync.domain import (
    EVERY_MINUTES_DEFAULT,
    BackfillOpen,
    ChannelState,
    Finding,
    Reconciliation,
    Run,
    RunKind,
    RunNotFound,
    RunState,
    channel_id,
    first_phase,
)
from services.tracking.intake.sync.findings import (
    Judge,
    Portion,
    ReadGone,
    ReadRecord,
    StoredRecords,
    activities_named,
    deals_named,
    digest_of,
    found,
    portions,
    read_gone,
    read_records,
)
from services.tracking.records.service import ACTIVITIES, DEALS
from shared.db.database import Transaction
from shared.kernel.errors import check_version
from shared.telemetry.metrics import SYNC_RECORDS

SYNC_CHANNEL: Final = "tracking_sync"
"""Notified with a connection whenever a run of it is to be started or gone on with."""
_DUE_MAX: Final = 100
_RUNS_RETENTION: Final = timedelta(days=30)
_DROPPED_MAX: Final = 5000
_UNREADABLE_MAX: Final = 1000
_ORIGINS: Final = {RunKind.RECONCILIATION: Origin.RECONCILED, RunKind.BACKFILL: Origin.BACKFILLED}
_RELEASE_PAUSE: Final = timedelta(seconds=1)


async def see_to(tx: Transaction, connections: Connections, connection_ids: Collection[UUID] | None) -> None:
    """See to what connections with access to an API need, None: all of them."""
    accessible = await crm.with_access(tx, connection_ids)
    await store.ensure_reconciliations(
        tx, [(each.tenant_id, each.id) for each in accessible], every_minutes=EVERY_MINUTES_DEFAULT
    )
    await _ensure_channels(tx, connections, [each for each in accessible if has_channel(each)])


async def plan(tx: Transaction) -> None:
    """Start the reconciliations that are due."""
    reconciliations = await store.due_reconciliations(tx, limit=_DUE_MAX)
    accessible = {each.id: each for each in await crm.with_access(tx, [each.connection_id for each in reconciliations])}
    for due in reconciliations:
        connection = accessible.get(due.connection_id)
        if connection is not None:
            await store.add_run(tx, _reconciliation_run(tx, connection, due, is_requested=False))
        # From now on rather than from when it was due: what was missed while nobody worked is one run.
        await store.put_reconciliation(tx, replace(due, due_at=tx.now + timedelta(minutes=due.every_minutes)))


async def next_due_at(tx: Transaction) -> datetime | None:
    """When the next reconciliation is to be started, or the next run gone on with that nobody is at."""
    return await store.next_due_at(tx)


async def drop_old_runs(tx: Transaction) -> None:
    """Forget reconciliations that ended a month ago."""
    await store.drop_runs(tx, before=tx.now - _RUNS_RETENTION, limit=_DROPPED_MAX)


CURED_BY_ACCESS: Final = frozenset(
    {
        QuarantineReason.API_ACCESS_MISSING,
        QuarantineReason.RECORD_INCOMPLETE,
        # A deal that a source's webhooks state in texts is fetched where these cannot be read.
        QuarantineReason.STAGE_UNMAPPED,
        QuarantineReason.MISSING_FIELD,
        QuarantineReason.INVALID_FIELD,
    }
)
"""Why a delivery may be in quarantine that can be translated once its records can be fetched."""


async def access_given(tx: Transaction, connections: Connections, connection: Connection) -> None:
    """Use new access to an API at once: for what waits for it, the channel and the next reconciliation.

    What waits are records to be fetched, and deliveries that are in quarantine as there was no access.
    """
    await fetching.due_at_once(tx, connection.tenant_id, connection.id)
    await inbox.receive_again(tx, connection.tenant_id, connection.id, CURED_BY_ACCESS)
    if has_channel(connection):
        await _ensure_channels(tx, connections, [connection])
    await store.renew_now(tx, connection.tenant_id, connection.id)
    current = await _reconciliation(tx, connection, is_locked=True)
    due_at = tx.now if current.every_minutes else None
    await store.put_reconciliation(tx, replace(current, version=max(1, current.version), due_at=due_at))
    for kind in RunKind:
        run = await store.open_run(tx, connection.tenant_id, connection.id, kind)
        if run is not None and run.state is RunState.RUNNING:
            await store.save_run(tx, run.postponed(tx.now, None))
    await tx.notify(SYNC_CHANNEL, str(connection.id))


async def reconciliation(tx: Transaction, tenant_id: UUID, connection_id: UUID) -> Reconciliation:
    """How a connection is reconciled. Raises ConnectionNotFound."""
    connection = await crm.get(tx, tenant_id, connection_id)
    return await _reconciliation(tx, connection)


async def set_reconciliation(
    tx: Transaction, tenant_id: UUID, connection_id: UUID, *, every_minutes: int, expected_version: int
) -> Reconciliation:
    """Reconcile a connection every so many minutes, or only on demand. Raises ConnectionNotFound, VersionMismatch."""
    connection = await crm.get(tx, tenant_id, connection_id)
    current = await _reconciliation(tx, connection, is_locked=True)
    check_version(current.version, expected_version)
    due_at = tx.now + timedelta(minutes=every_minutes) if every_minutes else None
    changed = replace(current, version=current.version + 1, every_minutes=every_minutes, due_at=due_at)
    await store.put_reconciliation(tx, changed)
    return changed


async def reconcile(tx: Transaction, tenant_id: UUID, connection_id: UUID) -> Run:
    """Reconcile a connection now; the run, which is the one under way if there is one: it then walks once more.

    Raises ConnectionNotFound and ApiAccessMissing.
    """
    connection = await _accessible(tx, tenant_id, connection_id)
    current = await _reconciliation(tx, connection, is_locked=True)
    if current.version == 0:
        current = replace(current, version=1, due_at=tx.now + timedelta(minutes=current.every_minutes))
        await store.put_reconciliation(tx, current)
    started = await _started(tx, _reconciliation_run(tx, connection, current, is_requested=True))
    if started is not None:
        return started
    return await _saved(tx, (await _open(tx, connection, RunKind.RECONCILIATION)).requested_again(tx.now))


async def backfill(tx: Transaction, tenant_id: UUID, connection_id: UUID) -> Run:
    """Bring in a connection's whole history. Raises ConnectionNotFound, ApiAccessMissing and BackfillOpen."""
    connection = await _accessible(tx, tenant_id, connection_id)
    run = await _started(
        tx,
        Run(
            tenant_id=tenant_id,
            id=tx.new_id(),
            connection_id=connection.id,
            kind=RunKind.BACKFILL,
            with_users=False,
            since=None,
            requested_at=tx.now,
            due_at=tx.now,
            phase=first_phase(RunKind.BACKFILL),
        ),
    )
    if run is None:
        raise BackfillOpen("A backfill of this connection is running or paused; cancel it or wait for its end.")
    return run


async def runs(
    tx: Transaction, tenant_id: UUID, connection_id: UUID, kind: RunKind, *, before: UUID | None, limit: int
) -> Sequence[Run]:
    """A connection's runs of a kind, newest first. Raises ConnectionNotFound."""
    await crm.get(tx, tenant_id, connection_id)
    return await store.page_runs(tx, tenant_id, connection_id, kind, before=before, limit=limit)


async def run(tx: Transaction, tenant_id: UUID, connection_id: UUID, kind: RunKind, run_id: UUID) -> Run:
    """A run of a connection. Raises RunNotFound."""
    return _of_connection(await store.find_run(tx, tenant_id, run_id), connection_id, kind)


async def pause(tx: Transaction, tenant_id: UUID, connection_id: UUID, run_id: UUID, *, expected_version: int) -> Run:
    """Stop a backfill where it is, after the page under way. Raises RunNotFound, VersionMismatch and RunNotInState."""
    return await _saved(tx, (await _locked_backfill(tx, tenant_id, connection_id, run_id, expected_version)).paused())


async def resume(tx: Transaction, tenant_id: UUID, connection_id: UUID, run_id: UUID, *, expected_version: int) -> Run:
    """Go on with a backfill that was paused or has failed.

    Raises RunNotFound, VersionMismatch, RunNotInState and BackfillOpen.
    """
    current = await _locked_backfill(tx, tenant_id, connection_id, run_id, expected_version)
    another = await store.open_run(tx, tenant_id, connection_id, RunKind.BACKFILL)
    if another is not None and another.id != run_id:
        raise BackfillOpen("Another backfill of this connection is running or paused.")
    return await _saved(tx, current.resumed(tx.now))


async def cancel(tx: Transaction, tenant_id: UUID, connection_id: UUID, run_id: UUID, *, expected_version: int) -> Run:
    """Give up a backfill; what it has brought in stays. Raises RunNotFound, VersionMismatch and RunNotInState."""
    return await _saved(
        tx, (await _locked_backfill(tx, tenant_id, connection_id, run_id, expected_version)).cancelled(tx.now)
    )


async def channel(tx: Transaction, tenant_id: UUID, connection_id: UUID) -> ChannelState | None:
    """The connection's subscription to notifications, where its source has such."""
    return await store.channel(tx, tenant_id, connection_id)


def has_channel(connection: Connection) -> bool:
    """Whether the connection's source sends notifications on request."""
    api = ADAPTERS[connection.source].api
    return api is not None and api.channel_lifetime is not None


async def claim(tx: Transaction, *, lease: timedelta, limit: int) -> list[Run]:
    """Runs to go on with, nobody else's for the time of the lease."""
    return await store.claim_runs(tx, lease_id=tx.new_id(), until=tx.now + lease, limit=limit)


async def extend_lease(tx: Transaction, claimed: Run, *, lease: timedelta) -> None:
    """Extend the lease of a claimed run."""
    await store.extend_lease(tx, claimed, until=tx.now + lease)


async def counted(tx: Transaction, claimed: Run, total: int | None, *, calls: int, worked_ms: int) -> Run | None:
    """Note about how many records there are; the run to go on with, None when it is not to be gone on with."""
    current = await _leased(tx, claimed)
    if current is None:
        return None
    worked = replace(current, total=total, calls=current.calls + calls, worked_ms=current.worked_ms + worked_ms)
    return await _moved(tx, worked, None)


async def store_page(
    tx: Transaction,
    connection: Connection,
    adapter: Adapter,
    claimed: Run,
    page: RecordPage,
    *,
    fetched_at: datetime,
    calls: int,
    worked_ms: int,
) -> Run | None:
    """Store what of a page is missing, and move the run on, in one; the run to go on with, or None.

    Nothing is stored when the run is no longer this worker's.
    """
    current = await _leased(tx, claimed)
    if current is None:
        return None
    recent = set(current.recent)
    came = {digest: each for each in page.records if (digest := digest_of(each)) not in recent}
    read = read_records(adapter, connection.mapping, map(FetchedReply, came.values()), fetched_at=fetched_at)
    gone = read_gone(adapter, connection.mapping, page.gone, fetched_at=fetched_at)
    every: list[ReadRecord | ReadGone] = [*read, *gone]
    stored = StoredRecords(
        await DEALS.newest(tx, connection.tenant_id, deals_named(connection.id, every)),
        await ACTIVITIES.newest(tx, connection.tenant_id, activities_named(connection.id, every)),
    )
    known = await store.known_unreadable(tx, connection.tenant_id, connection.id)
    judge = Judge(stored, connection.id, is_merged=adapter.merges_records, unreadable=known, deleted=recent)
    findings = [judge.finding(each) for each in read]
    findings_of_gone = [judge.finding(each) for each in gone]
    origin = _ORIGINS[current.kind]
    missing = [each for each, finding in zip(read, findings, strict=True) if finding is not Finding.KNOWN]
    missing_gone = [
        each.gone for each, finding in zip(gone, findings_of_gone, strict=True) if finding is not Finding.KNOWN
    ]
    for portion in portions(missing, missing_gone):
        await _add(tx, connection, origin, portion, fetched_at)
    unreadable = [each.digest for each in missing if each.statements is None]
    if unreadable:
        await store.put_unreadable(tx, connection.tenant_id, connection.id, (*known, *unreadable)[-_UNREADABLE_MAX:])
    for finding in (*findings, *findings_of_gone):
        SYNC_RECORDS.labels(connection.source.value, origin.value, finding.value).inc()
    worked = current.worked(
        found([*findings, *findings_of_gone]),
        calls=calls,
        worked_ms=worked_ms,
        recent=[*came, *sorted(judge.deleted - recent)],
    )
    return await _moved(tx, worked, page.next_cursor)


async def store_users(
    tx: Transaction,
    claimed: Run,
    page: Sequence[ApiUser],
    next_cursor: str | None,
    *,
    calls: int,
    worked_ms: int,
) -> Run | None:
    """Store a page of users, and move the run on, in one; the run to go on with, or None."""
    current = await _leased(tx, claimed)
    if current is None:
        return None
    if page:
        await users.listed(tx, current.tenant_id, current.connection_id, page)
    worked = replace(current, calls=current.calls + calls, worked_ms=current.worked_ms + worked_ms)
    return await _moved(tx, worked, next_cursor)


async def postpone(tx: Transaction, claimed: Run, *, until: datetime | None = None, error: str | None = None) -> None:
    """Let a claimed run be gone on with at a moment, at once without one, by whoever is first."""
    current = await _leased(tx, claimed)
    if current is not None:
        await store.save_run(tx, current.postponed(max(until or tx.now, tx.now + _RELEASE_PAUSE), error))


async def fail(tx: Transaction, claimed: Run, error: str) -> None:
    """End a claimed run by something that waiting does not mend."""
    current = await _leased(tx, claimed)
    if current is not None:
        await store.save_run(tx, current.failed(error, tx.now))


async def _accessible(tx: Transaction, tenant_id: UUID, connection_id: UUID) -> Connection:
    connection = await crm.get(tx, tenant_id, connection_id)
    if connection.api is None or ADAPTERS[connection.source].api is None:
        raise ApiAccessMissing("Give the connection access to its source's API first (PUT api-access).")
    return connection


async def _ensure_channels(tx: Transaction, connections: Connections, wanted: Sequence[Connection]) -> None:
    await store.ensure_channels(
        tx,
        {(each.tenant_id, each.id): (channel_id(each.id), connections.newest_secret(each)[0]) for each in wanted},
    )


async def _reconciliation(tx: Transaction, connection: Connection, *, is_locked: bool = False) -> Reconciliation:
    known = await store.reconciliation(tx, connection.tenant_id, connection.id, is_locked=is_locked)
    return known or Reconciliation(connection.tenant_id, connection.id)


def _reconciliation_run(tx: Transaction, connection: Connection, current: Reconciliation, *, is_requested: bool) -> Run:
    return Run(
        tenant_id=connection.tenant_id,
        id=tx.new_id(),
        connection_id=connection.id,
        kind=RunKind.RECONCILIATION,
        with_users=is_requested or current.wants_users(tx.now),
        since=current.since(connection.created_at),
        requested_at=tx.now,
        due_at=tx.now,
        phase=first_phase(RunKind.RECONCILIATION),
    )


async def _started(tx: Transaction, new: Run) -> Run | None:
    if not await store.add_run(tx, new):
        return None
    await tx.notify(SYNC_CHANNEL, str(new.connection_id))
    return new


async def _open(tx: Transaction, connection: Connection, kind: RunKind) -> Run:
    known = await store.open_run(tx, connection.tenant_id, connection.id, kind)
    if known is None:
        raise RunNotFound("The run that was under way has just ended; try again.")
    return known


async def _locked_backfill(
    tx: Transaction, tenant_id: UUID, connection_id: UUID, run_id: UUID, expected_version: int
) -> Run:
    current = _of_connection(
        await store.find_run(tx, tenant_id, run_id, is_locked=True), connection_id, RunKind.BACKFILL
    )
    check_version(current.version, expected_version)
    return current


def _of_connection(known: Run | None, connection_id: UUID, kind: RunKind) -> Run:
    if known is None or known.connection_id != connection_id or known.kind is not kind:
        raise RunNotFound(f"The connection has no such {kind.value}.")
    return known


async def _saved(tx: Transaction, changed: Run) -> Run:
    await store.save_run(tx, changed)
    await tx.notify(SYNC_CHANNEL, str(changed.connection_id))
    return changed


async def _leased(tx: Transaction, claimed: Run) -> Run | None:
    """The run as it is now, locked, if it is still this worker's; a paused one too."""
    current = await store.find_run(tx, claimed.tenant_id, claimed.id, is_locked=True)
    return current if current is not None and current.lease_id == claimed.lease_id else None


async def _moved(tx: Transaction, worked: Run, next_cursor: str | None) -> Run | None:
    moved = worked.moved(next_cursor, tx.now)
    if moved.state is RunState.DONE and moved.kind is RunKind.RECONCILIATION:
        await _move_mark(tx, moved)
    if moved.state is RunState.PAUSED:
        moved = moved.postponed(tx.now, None)
    await store.save_run(tx, moved)
    return moved if moved.state is RunState.RUNNING else None


async def _move_mark(tx: Transaction, done: Run) -> None:
    current = await store.reconciliation(tx, done.tenant_id, done.connection_id, is_locked=True)
    if current is not None:
        mark = (
            done.started_at if current.mark is None or done.started_at is None else max(current.mark, done.started_at)
        )
        users_at = tx.now if done.with_users else current.users_at
        await store.put_reconciliation(tx, replace(current, mark=mark, users_at=users_at))


async def _add(tx: Transaction, connection: Connection, origin: Origin, portion: Portion, fetched_at: datetime) -> None:
    await fetching.add_fetched(
        tx,
        connection,
        origin=origin,
        caused_by=None,
        records=portion.records,
        gone=portion.gone,
        fetched_at=fetched_at,
    )
