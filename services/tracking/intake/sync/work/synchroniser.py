"""Worker component: walks through sources' records, to find what webhooks missed and to bring in what was before."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Final
from uuid import UUID

from services.tracking.intake.calling.caller import ApiAccess, ApiCaller
from services.tracking.intake.calling.domain import ApiAccessMissing, SourceRefused, SourceUnavailable
from services.tracking.intake.connections import service as crm
from services.tracking.intake.connections.domain import Connection, ConnectionStatus
from services.tracking.intake.connections.service import Connections
from services.tracking.intake.sources.registry import ADAPTERS
from services.tracking.intake.sources.source_api import RecordPage
from services.tracking.intake.sync import service
from services.tracking.intake.sync.domain import Phase, Run
from services.tracking.intake.sync.service import SYNC_CHANNEL
from shared.db.database import Database, Scope
from shared.db.failures import of_database
from shared.db.shielding import to_the_end
from shared.kernel.errors import Unavailable
from shared.telemetry.logs import get_logger
from shared.worker.rounds import Rounds

RUNS_AT_ONCE_MAX: Final = 16
_POLL_SECONDS: Final = 30.0
_DROP_SECONDS: Final = 3600.0
_LEASE: Final = timedelta(seconds=30)
_LEASE_EXTEND_SECONDS: Final = 10.0
_log = get_logger(__name__)


class Synchroniser(Rounds):
    """Starts reconciliations when they are due, and works at runs.

    Any number may run; each takes what no other is at.
    """

    def __init__(self, database: Database, caller: ApiCaller, connections: Connections) -> None:
        super().__init__(
            "synchroniser", every_seconds=_POLL_SECONDS, woken_by=database.channels(SYNC_CHANNEL, crm.CHANNEL)
        )
        self._database = database
        self._caller = caller
        self._connections = connections
        self._running: dict[UUID, asyncio.Task[None]] = {}
        self._dropped_at = float("-inf")

    @asynccontextmanager
    async def during(self) -> AsyncIterator[None]:
        try:
            yield
            await asyncio.gather(*list(self._running.values()), return_exceptions=True)
        finally:
            cut_short = list(self._running.values())
            for task in cut_short:
                task.cancel()
            await asyncio.gather(*cut_short, return_exceptions=True)

    async def round(self) -> bool:
        await self.plan()
        await self.start_due()
        async with self._database.transaction(Scope.every()) as tx:
            self.come_again_at(await service.next_due_at(tx), tx.now)
        return False

    async def plan(self) -> None:
        """See to connections that have changed, start what is due, forget what is long over. Raises Unavailable."""
        with self.notifications() as payloads:
            changed = None if payloads is None else {UUID(connection_id) for connection_id in payloads}
            if changed is None or changed:
                await self._database.run(Scope.every(), lambda tx: service.see_to(tx, self._connections, changed))
        await self._database.run(Scope.every(), service.plan)
        if monotonic() - self._dropped_at > _DROP_SECONDS:
            await self._database.run(Scope.every(), service.drop_old_runs)
            self._dropped_at = monotonic()

    async def start_due(self) -> None:
        """Begin to work at runs that nobody is at. Raises Unavailable."""
        free = RUNS_AT_ONCE_MAX - len(self._running)
        if free <= 0:
            return
        async with self._database.transaction(Scope.every()) as tx:
            claimed = await service.claim(tx, lease=_LEASE, limit=free)
        for run in claimed:
            task = asyncio.create_task(self._walk_apart(run), name=f"sync-{run.id}")
            self._running[run.id] = task

    async def _walk_apart(self, run: Run) -> None:
        extending = asyncio.create_task(self._extend_lease(run), name=f"lease-{run.id}")
        try:
            await self.walk(run)
        except Unavailable as error:
            _log.warning("run_interrupted", run_id=str(run.id), reason=error.detail)
        except Exception:
            # Somebody goes on with it once its lease is over.
            _log.exception("run_interrupted", run_id=str(run.id))
        finally:
            extending.cancel()
            with suppress(asyncio.CancelledError):
                await extending
            self._running.pop(run.id, None)
            # There may be room now for another run.
            self.wake()

    async def _extend_lease(self, run: Run) -> None:
        while True:
            await asyncio.sleep(_LEASE_EXTEND_SECONDS)
            try:
                async with self._database.transaction(Scope.of(run.tenant_id)) as tx:
                    await service.extend_lease(tx, run, lease=_LEASE)
            except Exception as error:
                _log.warning("lease_not_extended", run_id=str(run.id), error_type=type(error).__qualname__)

    async def walk(self, claimed: Run) -> None:
        """Go on with a claimed run, page by page, until it ends or is somebody else's. Raises Unavailable."""
        run: Run | None = claimed
        access: tuple[str, ApiAccess] | None = None
        try:
            while run is not None and not self.is_stopping:
                connection = await self._connection(run)
                if access is None or access[0] != connection.api:
                    access = (connection.api or "", self._caller.access(connection))
                run = await self._step(connection, access[1], run)
        except asyncio.CancelledError:
            await to_the_end(self._put_off(claimed, None, None))
            raise
        except SourceUnavailable as error:
            await self._put_off(claimed, error.until, error.detail)
        except (SourceRefused, ApiAccessMissing) as error:
            await self._fail(claimed, error.detail)
        except Unavailable:
            raise
        except Exception as error:
            if of_database(error):
                raise
            _log.error("run_failed", run_id=str(claimed.id), exc_info=error)
            await self._fail(claimed, f"Something unforeseen went wrong: {type(error).__name__}.")
        else:
            if run is not None:
                await self._put_off(claimed, None, None)

    async def _step(self, connection: Connection, access: ApiAccess, run: Run) -> Run | None:
        """Fetch one page and store it; the run to go on with, or None."""
        api, credentials, scope = access.api, access.credentials, Scope.of(run.tenant_id)
        calls, started, fetched_at = access.calls, monotonic(), datetime.now(UTC)

        def spent() -> tuple[int, int]:
            return access.calls - calls, max(1, int((monotonic() - started) * 1000))

        async def store(page: RecordPage) -> Run | None:
            _check_moves(run, page.next_cursor)
            made, worked_ms = spent()
            return await self._database.run(
                scope,
                lambda tx: service.store_page(
                    tx,
                    connection,
                    ADAPTERS[connection.source],
                    run,
                    page,
                    fetched_at=fetched_at,
                    calls=made,
                    worked_ms=worked_ms,
                ),
            )

        match run.phase:
            case Phase.COUNT:
                total = await access.run(api.count(credentials))
                made, worked_ms = spent()
                return await self._database.run(
                    scope, lambda tx: service.counted(tx, run, total, calls=made, worked_ms=worked_ms)
                )
            case Phase.CHANGED:
                return await store(await access.run(api.changed(credentials, run.since, run.cursor)))
            case Phase.DELETED:
                since = run.since or connection.created_at
                return await store(await access.run(api.deleted(credentials, since, run.cursor)))
            case Phase.USERS:
                users = await access.run(api.users(credentials, run.cursor))
                _check_moves(run, users.next_cursor)
                made, worked_ms = spent()
                return await self._database.run(
                    scope,
                    lambda tx: service.store_users(
                        tx, run, users.users, users.next_cursor, calls=made, worked_ms=worked_ms
                    ),
                )

    async def _connection(self, run: Run) -> Connection:
        """Raises ApiAccessMissing and Unavailable."""
        async with self._database.transaction(Scope.of(run.tenant_id)) as tx:
            connection = (await crm.by_id(tx, [run.connection_id])).get(run.connection_id)
        if connection is None or connection.status is not ConnectionStatus.ACTIVE:
            raise ApiAccessMissing("The connection is disabled.")
        return connection

    async def _put_off(self, run: Run, until: datetime | None, error: str | None) -> None:
        await self._database.run(
            Scope.of(run.tenant_id), lambda tx: service.postpone(tx, run, until=until, error=error)
        )

    async def _fail(self, run: Run, error: str) -> None:
        await self._database.run(Scope.of(run.tenant_id), lambda tx: service.fail(tx, run, error))


def _check_moves(run: Run, next_cursor: str | None) -> None:
    """Raises SourceRefused for a source that would be walked in a circle."""
    if next_cursor is not None and next_cursor == run.cursor:
        raise SourceRefused("The source's next page is the one it has just given.")
