"""Row 5: from a webhook's acceptance to the new value on a live stream, against the floors under that way."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from statistics import median
from typing import Final
from uuid import UUID, uuid4

import asyncpg
from aiokafka import AIOKafkaProducer
from aiokafka.client import AIOKafkaClient
from aiokafka.protocol.fetch import FetchRequest

from deploy.local.bench.company import TENANT_ID, company
from deploy.local.bench.load import LOOPBACK, LoadPlan, requests
from deploy.local.bench.report import Bound, Row
from deploy.local.bench.servers import Servers
from deploy.local.bench.whole import Product
from deploy.local.errors import StackError
from shared.contracts.topics import TopicSpec
from shared.http.auth import Role, issue_token
from shared.http.settings import HttpSettings
from shared.kafka.topics import ensure_topics

_REQUIRED: Final = 4.0
_WARM_UP_SAMPLES: Final = 20
_PAUSE_SECONDS: Final = 0.03
_ANSWER_SECONDS_MAX: Final = 10.0
_VALUE_BYTES: Final = 1000
_FETCH_BYTES_MAX: Final = 4096
_FLOOR_TOPIC: Final = "bench.floor"
_FLOOR_DATABASE: Final = "bench_floor"
_INSERT: Final = """
INSERT INTO tracking.deliveries (tenant_id, id, connection_id, dedupe_key, received_at, headers, body, state, origin)
VALUES ($1, $2, $3, $4, now(), '{}', $5, 'received', 'webhook')
"""


async def measure(
    servers: Servers, product: Product, *, rounds: int, samples: int, report: Callable[[str], None]
) -> Row:
    """`samples` webhooks a round, one at a time, each followed by a sample of every floor."""
    ours: list[float] = []
    floors: list[float] = []
    from_sending: list[float] = []
    parts: list[dict[str, float]] = []
    problems: list[str] = []
    async with live_stream(product, TENANT_ID, company().company_goal_id) as stream, _floors(servers) as floor:
        plan = product.hook.plan(product.hook_port, "latency", count=_WARM_UP_SAMPLES + rounds * samples)
        # Every webhook is of a deal of its own, so that each adds its amount to the company's goal.
        webhooks = iter(amounts_and_requests(replace(plan, deals=plan.count)))
        async with hook_connection(product) as hook:
            for number in range(rounds + 1):
                accepted_to_seen: list[float] = []
                sent_to_seen: list[float] = []
                committed: list[float] = []
                produced: list[float] = []
                fetched: list[float] = []
                for _ in range(samples if number else _WARM_UP_SAMPLES):
                    amount, request = next(webhooks)
                    expected = stream.value + amount
                    sent_at = time.perf_counter()
                    accepted_at = await hook.send(request)
                    seen_at = await stream.changed()
                    if stream.value != expected:
                        problems.append(f"the stream had {stream.value}, expected {expected}")
                    accepted_to_seen.append(seen_at - accepted_at)
                    sent_to_seen.append(seen_at - sent_at)
                    await asyncio.sleep(_PAUSE_SECONDS)
                    committed.append(await floor.commit())
                    produced.append(await floor.produce())
                    fetched.append(await floor.fetch())
                if not number:
                    continue
                ours.append(_milliseconds(accepted_to_seen))
                from_sending.append(_milliseconds(sent_to_seen))
                part = {
                    "commit": _milliseconds(committed),
                    "produce": _milliseconds(produced),
                    "fetch": _milliseconds(fetched),
                }
                parts.append(part)
                floors.append(sum(part.values()))
                report(
                    f"row 5, round {number}: {ours[-1]:.2f} ms, floors {floors[-1]:.2f} ms"
                    f" ({', '.join(f'{name} {value:.2f}' for name, value in part.items())})"
                )
    return Row(
        number=5,
        what="webhook accepted to new value on the stream, p50, unloaded",
        against="one commit, one produce with acks=all and one fetch",
        unit="ms",
        ours=tuple(ours),
        other=tuple(floors),
        bound=Bound.AT_MOST,
        required=_REQUIRED,
        details={"samples": rounds * samples, "from_sending_milliseconds": from_sending, "floors_milliseconds": parts},
        problems=tuple(problems[:5]),
    )


def _milliseconds(seconds: list[float]) -> float:
    return median(seconds) * 1000


def amounts_and_requests(plan: LoadPlan) -> list[tuple[Decimal, bytes]]:
    """Every request of the plan, with the amount that its deal is of."""
    made = requests(plan)
    return [(Decimal(json.loads(each.partition(b"\r\n\r\n")[2])["data"]["amount"]), each) for each in made]


class HookConnection:
    """A persistent connection to the hook."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def send(self, request: bytes) -> float:
        """Send a webhook; when its acceptance came."""
        self._writer.write(request)
        head = await self._reader.readuntil(b"\r\n\r\n")
        accepted_at = time.perf_counter()
        if b" 202 " not in head.partition(b"\r\n")[0]:
            raise StackError(f"A webhook was refused: {head.decode(errors='replace')}")
        return accepted_at


class LiveStream:
    """A goal's live stream."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader
        self.value = Decimal(0)

    async def changed(self) -> float:
        """Wait for the next event; when it came."""
        async with asyncio.timeout(_ANSWER_SECONDS_MAX):
            while not (line := await self._reader.readline()).startswith(b"data:"):
                if not line:
                    raise StackError("The live stream ended.")
        seen_at = time.perf_counter()
        self.value = Decimal(json.loads(line[len(b"data:") :])["value"])
        return seen_at


@asynccontextmanager
async def hook_connection(product: Product) -> AsyncIterator[HookConnection]:
    reader, writer = await asyncio.open_connection(LOOPBACK, product.hook_port)
    try:
        yield HookConnection(reader, writer)
    finally:
        writer.close()


@asynccontextmanager
async def live_stream(product: Product, tenant_id: UUID, goal_id: UUID) -> AsyncIterator[LiveStream]:
    """A goal's stream, its first event (the goal's progress now) already read."""
    settings = HttpSettings(jwt_secret=product.stack.secrets.jwt_secret)
    token = issue_token(
        settings, tenant_id=tenant_id, person_id=None, roles=frozenset({Role.SERVICE}), ttl_seconds=3600
    )
    reader, writer = await asyncio.open_connection(LOOPBACK, product.hook_port)
    try:
        writer.write(
            f"GET /v1/goals/{goal_id}/progress/stream HTTP/1.1\r\nHost: {LOOPBACK}\r\n"
            f"Authorization: Bearer {token}\r\nAccept: text/event-stream\r\n\r\n".encode()
        )
        head = await reader.readuntil(b"\r\n\r\n")
        if b" 200 " not in head.partition(b"\r\n")[0]:
            raise StackError(f"The live stream was refused: {head.decode(errors='replace')}")
        stream = LiveStream(reader)
        await stream.changed()
        yield stream
    finally:
        writer.close()


class _Floors:
    """What each thing under the way costs by itself: durations in seconds."""

    def __init__(
        self, database: "asyncpg.Connection[asyncpg.Record]", producer: AIOKafkaProducer, client: AIOKafkaClient
    ) -> None:
        self._database = database
        self._producer = producer
        self._client = client
        self._offset = 0

    async def commit(self) -> float:
        """One delivery row inserted, durably."""
        delivery_id = uuid4()
        started_at = time.perf_counter()
        await self._database.execute(_INSERT, TENANT_ID, delivery_id, TENANT_ID, str(delivery_id), bytes(_VALUE_BYTES))
        return time.perf_counter() - started_at

    async def produce(self) -> float:
        """One record written and acknowledged."""
        started_at = time.perf_counter()
        written = await self._producer.send_and_wait(_FLOOR_TOPIC, bytes(_VALUE_BYTES), partition=0)
        duration = time.perf_counter() - started_at
        self._offset = written.offset
        return duration

    async def fetch(self) -> float:
        """The record just written, requested and answered."""
        request = FetchRequest(0, 1, _FETCH_BYTES_MAX, 0, [(_FLOOR_TOPIC, [(0, self._offset, _FETCH_BYTES_MAX)])])
        [node_id] = [broker.nodeId for broker in self._client.cluster.brokers()]
        started_at = time.perf_counter()
        response = await self._client.send(node_id, request)
        duration = time.perf_counter() - started_at
        [(_, [partition])] = response.topics
        if not partition[-1]:
            raise StackError("A fetch that should have had a record came back empty.")
        return duration


@asynccontextmanager
async def _floors(servers: Servers) -> AsyncIterator[_Floors]:
    await ensure_topics(servers.kafka, [TopicSpec(_FLOOR_TOPIC, (), 1, timedelta(hours=1), producer="bench")])
    database = await asyncpg.connect(await servers.new_database(_FLOOR_DATABASE))
    producer = AIOKafkaProducer(bootstrap_servers=servers.kafka_bootstrap, acks="all")
    client = AIOKafkaClient(bootstrap_servers=servers.kafka_bootstrap)
    try:
        await producer.start()
        await client.bootstrap()
        yield _Floors(database, producer, client)
    finally:
        await client.close()
        await producer.stop()
        await database.close()
        await servers.drop_database(_FLOOR_DATABASE)
