"""A service of nothing but transport tables and a list of what was applied, to try the consumer runtime on."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Never, Self
from uuid import UUID

import pytest
from aiokafka import AIOKafkaConsumer
from sqlalchemy import BigInteger, Column, Identity, Integer, Table, Text, text
from sqlalchemy.ext.asyncio import create_async_engine

from shared.contracts.topics import TopicSpec
from shared.db.database import Database, Scope, Transaction
from shared.db.settings import database_url
from shared.db.tables import service_metadata, transport_tables
from shared.kafka.consumer import Consumer
from shared.kafka.domain import Batch, Poison, QuarantineLimit, Record
from shared.kafka.producer import Producer
from shared.kafka.settings import KafkaSettings
from shared.kafka.topics import ensure_topics
from shared.outbox.domain import Backoff
from shared.outbox.message import OutboxMessage
from shared.outbox.outbox import Outbox
from tests.servers.infrastructure import temporary_database

SERVICE = "probe"
TENANT = UUID("018f0000-0000-7000-8000-000000000001")
METADATA = service_metadata(SERVICE)
TABLES = transport_tables(METADATA)
APPLIED = Table(
    "applied",
    METADATA,
    Column("sequence", BigInteger, Identity(), primary_key=True),
    Column("topic", Text, nullable=False),
    Column("partition", Integer, nullable=False),
    Column("record_offset", BigInteger, nullable=False),
    Column("key", Text, nullable=False),
    Column("value", Text, nullable=False),
    comment="Without a key on purpose: a record applied twice shows as two rows.",
)
_APPLY = text(
    """
    INSERT INTO probe.applied (topic, partition, record_offset, key, value)
    SELECT * FROM unnest(
        CAST(:topics AS text[]), CAST(:partitions AS int[]), CAST(:offsets AS bigint[]),
        CAST(:keys AS text[]), CAST(:values AS text[])
    )
    """
)
_REFUSE = text("SELECT probe.refuse(:state)")
FAST_RETRIES = Backoff(first_seconds=0.01, longest_seconds=0.2)


class RecordingHandler:
    """Writes down what it is given.

    A value of `poison` is refused, one of `crash` makes it fail, one of `bad-sql` breaks its transaction.
    """

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.applying = asyncio.Event()
        self.may_commit = asyncio.Event()
        self.may_commit.set()
        self.refuses = True
        self.refused_with: str | None = None
        """A SQLSTATE that the database refuses every statement with."""
        self.fails_with: Exception | None = None

    def scope(self, batch: Batch) -> Scope:
        tenants = set[UUID]()
        for record in batch:
            try:
                tenants.add(UUID(record.headers["ce_tenantid"].decode()))
            except (KeyError, ValueError):
                raise Poison(record, "no tenant", reason="no_tenant") from None
        return Scope.of(*tenants)

    async def apply(self, tx: Transaction, batch: Batch) -> None:
        self.batches.append([record.offset for record in batch])
        if self.fails_with is not None:
            raise self.fails_with
        if self.refused_with is not None:
            await tx.execute(_REFUSE.bindparams(state=self.refused_with))
        for record in batch:
            if record.value == b"poison" and self.refuses:
                raise Poison(record, "it says so", reason="poisonous")
            if record.value == b"crash":
                raise ZeroDivisionError("a bug")
        if any(record.value == b"bad-sql" for record in batch):
            await tx.execute(text("SELECT 1 / 0"))
        await tx.execute(
            _APPLY,
            {
                "topics": [record.topic for record in batch],
                "partitions": [record.partition for record in batch],
                "offsets": [record.offset for record in batch],
                "keys": [record.key for record in batch],
                "values": [(record.value or b"").decode() for record in batch],
            },
        )
        self.applying.set()
        await self.may_commit.wait()


@asynccontextmanager
async def service_database(server_url: str) -> AsyncIterator[str]:
    """The URL of a new database of the service, dropped at the end."""
    async with temporary_database(server_url) as url:
        await _create_service(url)
        yield url


async def _create_service(url: str) -> None:
    """The tables of the service and its role, in an empty database."""
    engine = create_async_engine(database_url(url))
    async with engine.begin() as connection:
        await connection.execute(text("CREATE SCHEMA probe"))
        await connection.run_sync(METADATA.create_all)
        await connection.execute(
            text(
                """
                DO $$ BEGIN
                    PERFORM pg_advisory_xact_lock(7521);
                    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'probe_app') THEN
                        CREATE ROLE probe_app NOLOGIN;
                    END IF;
                END $$
                """
            )
        )
        await connection.execute(
            text(
                """
                CREATE FUNCTION probe.refuse(state text) RETURNS void LANGUAGE plpgsql AS $$
                BEGIN RAISE EXCEPTION 'as a test asks for' USING ERRCODE = state; END $$
                """
            )
        )
        await connection.execute(text("GRANT USAGE ON SCHEMA probe TO probe_app"))
        await connection.execute(
            text("GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA probe TO probe_app")
        )
        await connection.execute(text("GRANT USAGE ON ALL SEQUENCES IN SCHEMA probe TO probe_app"))
    await engine.dispose()


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Database]:
    database = Database(url, service=SERVICE)
    try:
        yield database
    finally:
        await database.close()


def topic_spec(name: str, partitions: int) -> TopicSpec:
    return TopicSpec(name, (), partitions, timedelta(days=1), producer=SERVICE)


async def make_topic(settings: KafkaSettings, name: str, *, partitions: int = 1) -> str:
    await ensure_topics(settings, [topic_spec(name, partitions)])
    return name


def message(topic: str, key: str, value: bytes | None, *, tenant: UUID | None = TENANT) -> OutboxMessage:
    headers = () if tenant is None else (("ce_tenantid", str(tenant).encode()),)
    return OutboxMessage(tenant or TENANT, topic, key, headers, value)


async def publish(settings: KafkaSettings, messages: Sequence[OutboxMessage]) -> None:
    producer = Producer(settings, client_id="test")
    await producer.start()
    try:
        assert [outcome for outcome in await producer.send_many(messages) if outcome is not None] == []
    finally:
        await producer.stop()


@asynccontextmanager
async def running(consumer: Consumer) -> AsyncIterator[Consumer]:
    """The consumer at work; stopped at the end. What it failed with, if it did, is raised."""
    run = asyncio.ensure_future(consumer.run())
    try:
        yield consumer
    finally:
        await consumer.stop()
        await run


def fails_once(error: BaseException) -> asyncio.Event:
    """Have the next fetch of any consumer fail with this; set once it has."""
    failed = asyncio.Event()

    async def fail(*_: object, **__: object) -> Never:
        patch.undo()
        failed.set()
        raise error

    patch = pytest.MonkeyPatch()
    patch.setattr(AIOKafkaConsumer, "getmany", fail)
    return failed


async def applied(database: Database, topic: str) -> list[tuple[int, int, str]]:
    """Partition, offset and value of everything applied of the topic, in the order it was."""
    async with database.transaction(Scope.of()) as tx:
        rows = await tx.rows(APPLIED.select().where(APPLIED.c.topic == topic).order_by(APPLIED.c.sequence))
    return [(row["partition"], row["record_offset"], row["value"]) for row in rows]


async def stored_positions(database: Database, group: str) -> dict[tuple[str, int], int]:
    positions = TABLES.consumer_positions
    async with database.transaction(Scope.of()) as tx:
        rows = await tx.rows(positions.select().where(positions.c.group == group))
    return {(row["topic"], row["partition"]): row["next_offset"] for row in rows}


@dataclass(frozen=True, slots=True)
class Feed:
    """A topic that no other test sees, the group that reads it, and the database that it is applied to."""

    settings: KafkaSettings
    database: Database
    topic: str
    group: str

    @classmethod
    async def made(cls, settings: KafkaSettings, database: Database, prefix: str, *, partitions: int = 1) -> Self:
        topic = await make_topic(settings, f"{prefix}deals", partitions=partitions)
        return cls(settings, database, topic, f"{prefix}group")

    async def publish(self, *values: bytes, keys: int = 1) -> None:
        """Values under so many keys, in turns."""
        await publish(
            self.settings, [message(self.topic, f"key-{at % keys}", value) for at, value in enumerate(values)]
        )

    def consumer(
        self,
        handler: RecordingHandler | None = None,
        *,
        max_records: int = 100,
        gather_seconds: float = 0.0,
        session_seconds: int = 6,
        drain_seconds_max: float = 10.0,
        quarantine_limit: QuarantineLimit | None = None,
    ) -> Consumer:
        return Consumer(
            settings=self.settings,
            database=self.database,
            tables=TABLES,
            outbox=Outbox(TABLES),
            group=self.group,
            topics=[self.topic],
            handler=handler or RecordingHandler(),
            max_records=max_records,
            gather_seconds=gather_seconds,
            session_seconds=session_seconds,
            drain_seconds_max=drain_seconds_max,
            backoff=FAST_RETRIES,
            quarantine_limit=quarantine_limit,
        )

    async def applied(self) -> list[tuple[int, int, str]]:
        return await applied(self.database, self.topic)

    async def has_applied(self, expected: int) -> bool:
        return len(await self.applied()) >= expected

    async def positions(self) -> dict[tuple[str, int], int]:
        return await stored_positions(self.database, self.group)

    async def is_at(self, offset: int) -> bool:
        """Whether the group has got there in the first partition."""
        return (await self.positions()).get((self.topic, 0)) == offset


def assert_once_and_in_order(found: Sequence[tuple[int, int, str]], expected: int) -> None:
    """Every offset of every partition was applied once, each partition's in order, `expected` in all."""
    by_partition: dict[int, list[int]] = {}
    for partition, offset, _ in found:
        by_partition.setdefault(partition, []).append(offset)
    for partition, offsets in by_partition.items():
        assert offsets == list(range(len(offsets))), f"partition {partition}"
    assert len(found) == expected


def record_of(topic: str, offset: int, value: bytes, *, partition: int = 0) -> Record:
    return Record(topic, partition, offset, "key", {"ce_tenantid": str(TENANT).encode()}, value, 0)
