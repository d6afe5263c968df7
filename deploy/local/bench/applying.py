"""Row 2: deal events applied to goals by one consumer through Kafka, against the bare SQL of the same batches.

The other side has the values in memory and gives them to the driver, an array a column. The product makes a text of
each array beforehand, which costs it less; what the other side would do if it had these texts ready is told beside.
"""

import asyncio
import re
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Final, NamedTuple

from sqlalchemy import event
from sqlalchemy.engine import Engine

from deploy.local.bench.company import TENANT_ID, company, deal_events, differing, publish
from deploy.local.bench.report import Bound, Row
from deploy.local.bench.servers import Servers
from deploy.local.databases import opened
from services.tracking.measure.progress import store
from services.tracking.measure.progress.consumer import DealsHandler
from services.tracking.measure.progress.definitions import DefinitionsCache
from services.tracking.measure.progress.service import ProgressTracker
from services.tracking.measure.progress.verification import differences
from services.tracking.measure.progress.work import Rebuilder
from services.tracking.metadata import transport
from shared.contracts.deals import TOPIC
from shared.contracts.goals import Goal
from shared.contracts.topics import TOPICS
from shared.db.database import Database, Scope, Transaction
from shared.http.collector import relax_garbage_collection
from shared.kafka.consumer import Consumer, ConsumerNotReady
from shared.kafka.domain import Batch
from shared.kafka.topics import ensure_topics
from shared.outbox.outbox import Outbox

_TOPIC: Final = "bench.deals"
_GROUP: Final = "attain.bench.progress"
_TEMPLATE: Final = "bench_applying"
_READY_POLL_SECONDS: Final = 0.001
_REQUIRED: Final = 0.6
_ARRAY_OF_TEXT: Final = re.compile(r"CAST\(CAST\(\$(\d+) AS text\) AS (\w+\[\])\)")
"""An array that is given as one text, as `shared.db.arrays` makes it: the parameter's number and the array's type."""


class _Statement(NamedTuple):
    sql: str
    parameters: tuple[object, ...]


class _Counting:
    """A handler that signals when a number of records has been committed."""

    def __init__(self, handler: DealsHandler, count: int) -> None:
        self.done = asyncio.Event()
        self.done_at = 0.0
        self._handler = handler
        self._waiting = count

    def scope(self, batch: Batch) -> Scope:
        return self._handler.scope(batch)

    async def apply(self, tx: Transaction, batch: Batch) -> None:
        await self._handler.apply(tx, batch)
        count = len(batch)
        tx.after_commit(lambda: self._committed(count))

    def _committed(self, count: int) -> None:
        self._waiting -= count
        if self._waiting <= 0:
            self.done_at = time.perf_counter()
            self.done.set()


async def measure(servers: Servers, *, rounds: int, events: int, report: Callable[[str], None]) -> Row:
    """Apply all events once a side and round, each time to a database with only the definitions."""
    await publish_deals(servers, _TOPIC, events)
    await prepare_definitions(servers, _TEMPLATE)
    database_url = await servers.new_database("bench_recorded", template=_TEMPLATE)
    with _recorded() as statements:
        await consumed(servers, database_url, _TOPIC, events)
    await servers.drop_database("bench_recorded")
    ready_made = _transactions(statements)
    transactions = await _with_values(servers, ready_made)
    # As in a worker; what was recorded is no garbage, and neither side is to pay for looking at it.
    relax_garbage_collection()
    ours: list[float] = []
    other: list[float] = []
    texts: list[float] = []
    problems: list[str] = []
    for number in range(1, rounds + 1):
        database_url = await servers.new_database("bench_ours", template=_TEMPLATE)
        ours.append(events / await consumed(servers, database_url, _TOPIC, events))
        problems.extend(await result_problems(database_url, "ours", events))
        await servers.drop_database("bench_ours")
        for rates, replayed in ((other, transactions), (texts, ready_made)):
            database_url = await servers.new_database("bench_bare", template=_TEMPLATE)
            rates.append(events / await _replay(database_url, replayed))
            problems.extend(await result_problems(database_url, "bare SQL", events))
            await servers.drop_database("bench_bare")
        report(f"row 2, round {number}: {ours[-1]:,.0f} events/s, bare SQL {other[-1]:,.0f}")
    return Row(
        number=2,
        what="deal events applied to goals, one consumer, through Kafka, 4 goals a deal",
        against="the SQL of the same batches from memory",
        unit="events/s",
        ours=tuple(ours),
        other=tuple(other),
        bound=Bound.AT_LEAST,
        required=_REQUIRED,
        details={
            "events": events,
            "batches": len(transactions),
            "statements": sum(map(len, transactions)),
            "with_texts_ready_made": round(statistics.median(texts)),
        },
        problems=tuple(problems),
    )


async def publish_deals(servers: Servers, topic: str, events: int) -> None:
    """Publish the events to a topic that only the measurement knows."""
    await ensure_topics(servers.kafka, [replace(TOPICS[TOPIC], name=topic)])
    await publish(servers.kafka, deal_events(events), source="tracking", topic=topic)


async def prepare_definitions(servers: Servers, name: str) -> None:
    """A new database in which every goal counts and nothing has been counted."""
    tracker = ProgressTracker(Outbox(transport), DefinitionsCache())
    async with opened(await servers.new_database(name), "tracking") as database:
        async with database.transaction(Scope.of(TENANT_ID)) as tx:
            await tracker.define(tx, company().events)
        await Rebuilder(database, tracker).rebuild_all()


async def consumed(servers: Servers, database_url: str, topic: str, events: int) -> float:
    """Seconds from having the partitions to the commit of the last event."""
    database = Database(database_url, service="tracking")
    outbox = Outbox(transport)
    handler = _Counting(DealsHandler(ProgressTracker(outbox, DefinitionsCache())), events)
    consumer = Consumer(
        settings=servers.kafka,
        database=database,
        tables=transport,
        outbox=outbox,
        group=_GROUP,
        topics=[topic],
        handler=handler,
    )
    running = asyncio.create_task(consumer.run())
    try:
        while True:
            try:
                await consumer.ready()
            except ConsumerNotReady:
                await asyncio.sleep(_READY_POLL_SECONDS)
            else:
                break
        started_at = time.perf_counter()
        finished = asyncio.create_task(handler.done.wait())
        await asyncio.wait([finished, running], return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            running.result()
        return handler.done_at - started_at
    finally:
        await consumer.stop()
        await asyncio.wait([running])
        await database.close()


async def _replay(database_url: str, transactions: Sequence[Sequence[_Statement]]) -> float:
    """Seconds that the same transactions take on one connection, nothing else being done."""
    database = Database(database_url, service="tracking")
    connection = await database.connect()
    begin = f"BEGIN; SELECT set_config('app.tenants', '{Scope.of(TENANT_ID).setting}', true)"
    try:
        started_at = time.perf_counter()
        for statements in transactions:
            await connection.execute(begin)
            for statement in statements:
                await connection.fetch(statement.sql, *statement.parameters)
            await connection.execute("COMMIT")
        return time.perf_counter() - started_at
    finally:
        await connection.close()


@contextmanager
def _recorded() -> Iterator[list[_Statement]]:
    """Every statement that goes through SQLAlchemy meanwhile, as it is given to the driver."""
    statements: list[_Statement] = []

    def record(
        _connection: object,
        _cursor: object,
        statement: str,
        parameters: tuple[object, ...],
        _context: object,
        _executemany: bool,
    ) -> None:
        statements.append(_Statement(statement, parameters))

    event.listen(Engine, "before_cursor_execute", record)
    try:
        yield statements
    finally:
        event.remove(Engine, "before_cursor_execute", record)


def _transactions(statements: Sequence[_Statement]) -> list[list[_Statement]]:
    """The batches' transactions: each begins by moving the stored position."""
    transactions: list[list[_Statement]] = []
    for statement in statements:
        if "INSERT INTO tracking.consumer_positions" in statement.sql:
            transactions.append([])
        if transactions:
            transactions[-1].append(statement)
    return transactions


async def _with_values(
    servers: Servers, transactions: Sequence[Sequence[_Statement]]
) -> Sequence[Sequence[_Statement]]:
    """The same transactions with the values of each array instead of its text."""
    database = Database(await servers.new_database("bench_values"), service="tracking")
    connection = await database.connect()
    try:
        made: list[list[_Statement]] = []
        for statements in transactions:
            made.append([])
            for sql, parameters in statements:
                values = list(parameters)
                for number, array in {(int(number), array) for number, array in _ARRAY_OF_TEXT.findall(sql)}:
                    written = values[number - 1]
                    values[number - 1] = await connection.fetchval(f"SELECT CAST(CAST($1 AS text) AS {array})", written)
                made[-1].append(_Statement(_ARRAY_OF_TEXT.sub(r"CAST($\1 AS \2)", sql), tuple(values)))
        return made
    finally:
        await connection.close()
        await database.close()
        await servers.drop_database("bench_values")


async def result_problems(database_url: str, side: str, events: int) -> list[str]:
    """What is wrong with the result: progress that is not its recomputation, or goals that do not count all deals."""
    goals = {event.id: event.name for event in company().events if isinstance(event, Goal)}
    async with opened(database_url, "tracking") as database:
        problems = [f"{side}: {difference}" for difference in await differences(database)]
        async with database.transaction(Scope.every()) as tx:
            states = await store.states(tx, [(TENANT_ID, goal_id) for goal_id in goals])
    return problems + differing({goals[state.goal_id]: state.value for state in states}, side, events)
