"""Row 4: what one deal event costs with 5,000,000 deals stored, against 50,000."""

import time
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime
from hashlib import md5
from typing import Final
from uuid import UUID

import asyncpg
from sqlalchemy import Table

from deploy.local.bench.applying import prepare_definitions
from deploy.local.bench.company import OWNERS, TENANT_ID, company, deal
from deploy.local.bench.report import Bound, Row
from deploy.local.bench.servers import Servers
from services.tracking.measure.actuals import store as actuals_store
from services.tracking.measure.progress import store
from services.tracking.measure.progress.consumer import DealsHandler
from services.tracking.measure.progress.definitions import DefinitionsCache
from services.tracking.measure.progress.service import ProgressTracker
from services.tracking.measure.progress.verification import differences
from services.tracking.measure.progress.work import Rebuilder
from services.tracking.metadata import transport
from services.tracking.records.tables import deal_versions, deals
from shared.contracts.deals import Deal
from shared.contracts.envelope import to_message
from shared.contracts.goals import Goal
from shared.contracts.org import Identity
from shared.db.database import Database, Scope
from shared.http.collector import relax_garbage_collection
from shared.kafka.domain import Batch, Record
from shared.outbox.outbox import Outbox

_REQUIRED: Final = 1.1
_MANY: Final = "bench_stored_many"
_FEW: Final = "bench_stored_few"
_BATCH_EVENTS: Final = 500
# Has no factor in common with the number of stored deals, so that events come to all of them before one comes again.
_STRIDE: Final = 7919
_STATEMENT_SECONDS_MAX: Final = 1800

# Every deal beside number 0, which the product has stored, as a copy of that one.
_FILL: Final = """
INSERT INTO {table} ({columns})
SELECT {values}
FROM {table} AS model, (
    SELECT number, CAST(md5('deal-' || number) AS uuid) AS id FROM generate_series(1, {last}) AS number ORDER BY id
) AS made
"""
_OWN_VALUES: Final = {
    "deal_id": "made.id",
    "external_id": "'deal-' || made.number",
    "delivery_id": "CAST(md5('delivery-' || made.number) AS uuid)",
    "name": "'Deal ' || made.number",
    "owner_external_id": f"'owner-' || lpad(CAST(made.number % {len(OWNERS)} AS text), 3, '0')",
    "amount": "1000.50 + made.number % 9000",
    "account_id": "'account-' || made.number % 500",
    "account_name": "'Account ' || made.number % 500",
}


class _Side:
    """A database with so many deals stored, and the consumer's code on it."""

    def __init__(self, servers: Servers, name: str, stored: int) -> None:
        self.stored = stored
        self._servers = servers
        self._name = name
        self._database = Database(
            servers.postgres.url(name), service="tracking", statement_seconds_max=_STATEMENT_SECONDS_MAX
        )
        self._tracker = ProgressTracker(Outbox(transport), DefinitionsCache())
        self._handler = DealsHandler(self._tracker)

    async def fill(self) -> float:
        """Store the deals, each in one version, and let every goal and person count them; how many seconds it took."""
        started_at = time.perf_counter()
        await prepare_definitions(self._servers, self._name)
        await self.apply(_batch([_changed(0, 0)], first_offset=0))
        await self._servers.administer(
            *(_fill(table, self.stored) for table in (deals, deal_versions)), database=self._name
        )
        await self._servers.tidy(self._name)
        goal_ids = [event.id for event in company().events if isinstance(event, Goal)]
        people = {event.person_id: date.min for event in company().events if isinstance(event, Identity)}
        async with self._database.transaction(Scope.of(TENANT_ID)) as tx:
            await store.mark_stale(tx, TENANT_ID, goal_ids)
            await actuals_store.mark_outdated(tx, TENANT_ID, people)
        await Rebuilder(self._database, self._tracker).rebuild_all()
        await self._servers.tidy(self._name)
        return time.perf_counter() - started_at

    def batches(self, first: int, count: int) -> list[Batch]:
        """Changes of amount and of owner, spread over all that is stored; number `first` and those after it."""
        return [
            _batch(
                [
                    _changed(index, index * _STRIDE % self.stored)
                    for index in range(start, min(start + _BATCH_EVENTS, first + count))
                ],
                first_offset=start,
            )
            for start in range(first, first + count, _BATCH_EVENTS)
        ]

    async def apply(self, batch: Batch) -> float:
        """Apply a batch in a transaction of its own; how many seconds that took."""
        started_at = time.perf_counter()
        await self._database.run(self._handler.scope(batch), lambda tx: self._handler.apply(tx, batch))
        return time.perf_counter() - started_at

    async def problems(self, events: int) -> list[str]:
        """What is wrong after so many events: progress that is not its recomputation, or versions that are missing."""
        problems = [f"{self.stored:,} stored: {difference}" for difference in await differences(self._database)]
        async with self._database.transaction(Scope.of(TENANT_ID)) as tx:
            [state] = await store.states(tx, [(TENANT_ID, company().company_goal_id)])
        if state.deals != self.stored:
            problems.append(f"the company goal counts {state.deals:,} deals of {self.stored:,} stored")
        versions = await self._answer("SELECT count(*) FROM tracking.deal_versions")
        if versions != self.stored + events:
            problems.append(f"{versions:,} versions of {self.stored:,} deals are stored after {events:,} events")
        return problems

    async def gigabytes(self) -> float:
        """How large the database is."""
        return round(await self._answer("SELECT pg_database_size(current_database())") / 1e9, 2)

    async def close(self) -> None:
        """Forget all that was stored."""
        await self._database.close()
        await self._servers.drop_database(self._name)

    async def _answer(self, query: str) -> int:
        connection = await asyncpg.connect(self._servers.postgres.url(self._name))
        try:
            return int(await connection.fetchval(query))
        finally:
            await connection.close()


async def measure(
    servers: Servers, *, rounds: int, events: int, many: int, few: int, report: Callable[[str], None]
) -> Row:
    """`events` a round, each batch once a side in turns, from memory; one round more before the first that counts."""
    ours: list[float] = []
    other: list[float] = []
    with_many, with_few = _Side(servers, _MANY, many), _Side(servers, _FEW, few)
    fill_seconds = [round(await side.fill(), 1) for side in (with_many, with_few)]
    gigabytes = [await side.gigabytes() for side in (with_many, with_few)]
    report(f"row 4: {many:,} and {few:,} deals stored in {fill_seconds} s, {gigabytes} GB")
    relax_garbage_collection()
    for number in range(rounds + 1):
        many_seconds = few_seconds = 0.0
        first = 1 + number * events
        for many_batch, few_batch in zip(
            with_many.batches(first, events), with_few.batches(first, events), strict=True
        ):
            many_seconds += await with_many.apply(many_batch)
            few_seconds += await with_few.apply(few_batch)
        if number:
            ours.append(many_seconds / events * 1e6)
            other.append(few_seconds / events * 1e6)
            report(f"row 4, round {number}: {ours[-1]:,.1f} µs with {many:,} stored, {other[-1]:,.1f} with {few:,}")
    problems = [each for side in (with_many, with_few) for each in await side.problems(events * (rounds + 1))]
    for side in (with_many, with_few):
        await side.close()
    return Row(
        number=4,
        what=f"one deal event applied, 4 goals a deal, with {many:,} deals stored",
        against=f"with {few:,} stored",
        unit="µs/event",
        ours=tuple(ours),
        other=tuple(other),
        bound=Bound.AT_MOST,
        required=_REQUIRED,
        details={
            "events": events,
            "batch_events": _BATCH_EVENTS,
            "stored": [many, few],
            "fill_seconds": fill_seconds,
            "gigabytes": gigabytes,
        },
        problems=tuple(problems[:5]),
    )


def _changed(index: int, number: int) -> Deal:
    """A version of a stored deal. Every fifth event gives it to another seller."""
    owner = OWNERS[(number + (index % 5 == 0)) % len(OWNERS)]
    digest = md5(f"deal-{number}".encode(), usedforsecurity=False)
    return deal(index, number, owner).model_copy(update={"id": UUID(digest.hexdigest())})


def _batch(changes: Iterable[Deal], *, first_offset: int) -> Batch:
    """As they come from the topic."""
    now = datetime.now(UTC)
    messages = (to_message(each, event_id=each.delivery_id, source="tracking", time=now) for each in changes)
    timestamp_ms = int(now.timestamp() * 1000)
    return [
        Record(message.topic, 0, offset, message.key, dict(message.headers), message.value, timestamp_ms)
        for offset, message in enumerate(messages, start=first_offset)
    ]


def _fill(table: Table, stored: int) -> str:
    columns = [column.name for column in table.columns if column.computed is None]
    values = [_OWN_VALUES.get(name, f"model.{name}") for name in columns]
    return _FILL.format(table=table.fullname, columns=", ".join(columns), values=", ".join(values), last=stored - 1)
