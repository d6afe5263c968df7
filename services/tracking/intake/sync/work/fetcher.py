"""Worker component: fetches what deliveries only name."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Final
from uuid import UUID

from services.tracking.intake.calling.caller import ApiAccess, ApiCaller
from services.tracking.intake.calling.domain import ApiAccessMissing, SourceRefused, SourceUnavailable
from services.tracking.intake.connections import service as crm
from services.tracking.intake.connections.domain import Connection, ConnectionStatus
from services.tracking.intake.inbox import fetching
from services.tracking.intake.inbox.domain.deliveries import Origin
from services.tracking.intake.inbox.fetch_store import Claimed, DueConnection
from services.tracking.intake.inbox.fetched import FetchedReply
from services.tracking.intake.inbox.fetching import FETCH_CHANNEL
from services.tracking.intake.sources.registry import ADAPTERS
from services.tracking.intake.sources.source_api import Gone, RecordPage
from services.tracking.intake.sync.findings import portions, read_records
from shared.db.database import Database, Scope, Transaction
from shared.db.shielding import to_the_end
from shared.kernel.errors import Unavailable
from shared.telemetry.logs import get_logger
from shared.worker.rounds import Rounds

CONNECTIONS_AT_ONCE_MAX: Final = 32
_POLL_SECONDS: Final = 30.0
_FAILURE_SECONDS: Final = 1.0
_GATHER_SECONDS: Final = 1.0
_LEASE: Final = timedelta(minutes=5)
_REFUSED_PAUSE: Final = timedelta(hours=24)
_NO_ACCESS_PAUSE: Final = timedelta(minutes=10)
_UNFORESEEN_PAUSE: Final = timedelta(minutes=1)
_UNAVAILABLE_PAUSE_MIN: Final = timedelta(seconds=1)
_log = get_logger(__name__)

_Name = tuple[str, str]


class Fetcher(Rounds):
    """Fetches what is due, each connection apart from the others. Any number may run; each takes what no other is at.

    A record that is named while its connection is idle is fetched at once; while it is busy, those that come in the
    meantime are fetched together.
    """

    def __init__(self, database: Database, caller: ApiCaller, *, gather_seconds: float = _GATHER_SECONDS) -> None:
        """`gather_seconds`: how long to gather after a call, at sources that many records are fetched from at once."""
        super().__init__("fetcher", every_seconds=_POLL_SECONDS, woken_by=database.channels(FETCH_CHANNEL))
        self._database = database
        self._caller = caller
        self._gather_seconds = gather_seconds
        self._running: dict[UUID, asyncio.Task[None]] = {}
        self._called_at: dict[UUID, float] = {}
        self._skipped: set[UUID] = set()

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
        await self._start_due()
        return False

    async def _start_due(self) -> None:
        async with self._database.transaction(Scope.every()) as tx:
            due, next_due_at = await fetching.due_connections(tx, limit=2 * CONNECTIONS_AT_ONCE_MAX)
            self.come_again_at(next_due_at, tx.now)
        for each in due:
            if len(self._running) >= CONNECTIONS_AT_ONCE_MAX:
                break
            if each.connection_id in self._running:
                # It may be about to end without having seen what is due now.
                self._skipped.add(each.connection_id)
                continue
            self._running[each.connection_id] = asyncio.create_task(
                self._fetch_apart(each), name=f"fetch-{each.connection_id}"
            )
        now = monotonic()
        self._called_at = {key: at for key, at in self._called_at.items() if now - at < 2 * self._gather_seconds}

    async def _fetch_apart(self, due: DueConnection) -> None:
        try:
            while True:
                self._skipped.discard(due.connection_id)
                await self.fetch_due(due)
                if self.is_stopping or due.connection_id not in self._skipped:
                    break
        except Unavailable as error:
            _log.warning("fetch_interrupted", connection_id=str(due.connection_id), reason=error.detail)
            await self.pause(_FAILURE_SECONDS)
        except Exception as error:
            _log.error("fetch_failed", connection_id=str(due.connection_id), exc_info=error)
            await self.pause(_FAILURE_SECONDS)
        finally:
            del self._running[due.connection_id]
            # There may be room now for another connection, and something more to do for this one.
            self.wake()

    async def fetch_due(self, due: DueConnection) -> None:
        """Fetch everything that is due of a connection. Raises Unavailable."""
        while not self.is_stopping:
            async with self._database.transaction(Scope.of(due.tenant_id)) as tx:
                connection = (await crm.by_id(tx, [due.connection_id])).get(due.connection_id)
            try:
                access = self._access(connection)
            except ApiAccessMissing as error:
                await self._put_off(due, error.detail)
                return
            if connection is None or not await self._fetch_once(due, connection, access):
                return

    def _access(self, connection: Connection | None) -> ApiAccess:
        if connection is None or connection.status is not ConnectionStatus.ACTIVE:
            raise ApiAccessMissing("The connection is disabled.")
        return self._caller.access(connection)

    async def _fetch_once(self, due: DueConnection, connection: Connection, access: ApiAccess) -> bool:
        """Fetch as much as may be fetched at once; whether to come again at once. Raises Unavailable."""
        ids_max = access.api.fetch_ids_max
        at_once_max = access.api.concurrent_calls_max
        if ids_max > 1:
            await self._gather(connection.id)
        claimed = await self._claim(due, count_max=ids_max * at_once_max)
        if not claimed:
            return False
        chunks = [claimed[start : start + ids_max] for start in range(0, len(claimed), ids_max)]
        outcomes = await asyncio.gather(
            *(self._fetch(connection, access, chunk) for chunk in chunks), return_exceptions=True
        )
        if len(claimed) < ids_max:
            self._called_at[connection.id] = monotonic()
        failures = [each for each in outcomes if isinstance(each, BaseException)]
        for failure in failures:
            if not isinstance(failure, SourceUnavailable):
                raise failure
        return not failures

    async def _gather(self, connection_id: UUID) -> None:
        last = self._called_at.get(connection_id)
        if last is None:
            return
        await self.pause(max(0.0, last + self._gather_seconds - monotonic()))

    async def _claim(self, due: DueConnection, *, count_max: int) -> list[Claimed]:
        async with self._database.transaction(Scope.of(due.tenant_id)) as tx:
            return await fetching.claim(tx, due.tenant_id, due.connection_id, count_max=count_max, lease=_LEASE)

    async def _fetch(self, connection: Connection, access: ApiAccess, claimed: Sequence[Claimed]) -> None:
        """Fetch these in one conversation, store what came and settle them. Raises SourceUnavailable."""
        fetched_at = datetime.now(UTC)
        ids = [each.external_id for each in claimed]
        try:
            page = await access.run(access.api.fetch(access.credentials, claimed[0].object_name, ids))
        except SourceRefused as error:
            await self._refused(connection, access, claimed, error)
        except SourceUnavailable as error:
            until = max(error.until, datetime.now(UTC) + _UNAVAILABLE_PAUSE_MIN)
            await self._postpone(claimed, until, error.detail)
            raise
        except asyncio.CancelledError:
            # Nobody need wait for the lease to end.
            await to_the_end(self._postpone(claimed, datetime.now(UTC), None))
            raise
        except Unavailable:
            raise
        except Exception as error:
            _log.error("fetch_failed", connection_id=str(connection.id), exc_info=error)
            await self._postpone(claimed, datetime.now(UTC) + _UNFORESEEN_PAUSE, type(error).__name__)
        else:
            await self._database.run(
                Scope.of(connection.tenant_id), lambda tx: _store(tx, connection, claimed, page, fetched_at)
            )

    async def _refused(
        self, connection: Connection, access: ApiAccess, claimed: Sequence[Claimed], error: SourceRefused
    ) -> None:
        """Find out by halves which of several is refused; that one is shown with the reason."""
        if len(claimed) > 1:
            middle = len(claimed) // 2
            await self._fetch(connection, access, claimed[:middle])
            await self._fetch(connection, access, claimed[middle:])
        else:
            await self._postpone(claimed, datetime.now(UTC) + _REFUSED_PAUSE, error.detail)

    async def _put_off(self, due: DueConnection, reason: str) -> None:
        while claimed := await self._claim(due, count_max=1000):
            await self._postpone(claimed, datetime.now(UTC) + _NO_ACCESS_PAUSE, reason)

    async def _postpone(self, claimed: Sequence[Claimed], until: datetime, error: str | None) -> None:
        await self._database.run(
            Scope.of(claimed[0].tenant_id), lambda tx: fetching.postpone(tx, claimed, until=until, error=error)
        )


async def _store(
    tx: Transaction, connection: Connection, claimed: Sequence[Claimed], page: RecordPage, fetched_at: datetime
) -> None:
    """Store what came, each record with the delivery that named it, and settle what was requested, in one."""
    named: dict[_Name, Claimed] = {(each.object_name, each.external_id): each for each in claimed}
    floors = {name: each.floor for name, each in named.items() if each.floor is not None}
    answered = {(each.object_name, each.external_id) for each in page.records}
    answered |= {(each.object_name, each.external_id) for each in page.gone}
    # A part of a record is answered by the record it is of: whatever named the parts, the record is as new as that.
    others = [each for name, each in named.items() if name not in answered]
    floor_of_others = max((each.floor for each in others if each.floor is not None), default=None)
    cause_of_others = (others or claimed)[0].delivery_id
    records: dict[UUID, list[FetchedReply]] = {}
    gone: dict[UUID, list[Gone]] = {}
    for record in page.records:
        name = (record.object_name, record.external_id)
        cause = named[name].delivery_id if name in named else cause_of_others
        floor = floors.get(name) if name in named else floor_of_others
        records.setdefault(cause, []).append(FetchedReply(record, floor))
    for each in page.gone:
        name = (each.object_name, each.external_id)
        cause = named[name].delivery_id if name in named else cause_of_others
        gone.setdefault(cause, []).append(_not_before(each, floors, fetched_at))
    adapter = ADAPTERS[connection.source]
    for cause in dict.fromkeys([*records, *gone]):
        read = read_records(adapter, connection.mapping, records.get(cause, ()), fetched_at=fetched_at)
        for portion in portions(read, gone.get(cause, ())):
            await fetching.add_fetched(
                tx,
                connection,
                origin=Origin.FETCHED,
                caused_by=cause,
                records=portion.records,
                gone=portion.gone,
                fetched_at=fetched_at,
            )
    await fetching.settle(tx, claimed)


def _not_before(gone: Gone, floors: Mapping[_Name, datetime], fetched_at: datetime) -> Gone:
    floor = floors.get((gone.object_name, gone.external_id))
    at = gone.at or fetched_at
    return Gone(gone.object_name, gone.external_id, at if floor is None else max(at, floor))
