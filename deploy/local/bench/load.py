"""A load generator cheap enough to share two cores with what it measures: ready-made requests over kept connections.

Run as `python -m deploy.local.bench.load` with a LoadPlan as JSON on standard input; prints a LoadResult as JSON.
It sends each request once, waits for each answer on its connection, stops by itself, and only ever talks to loopback.
"""

import asyncio
import base64
import hashlib
import hmac
import json
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass

LOOPBACK = "127.0.0.1"
_END_OF_HEAD = b"\r\n\r\n"


@dataclass(frozen=True, slots=True)
class LoadPlan:
    """`count` signed deal webhooks on `connections` connections; `per_second` None means as fast as answered."""

    port: int
    path: str
    secret: str
    run: str
    count: int
    connections: int
    deals: int
    owners: tuple[str, ...]
    day: str
    per_second: float | None = None
    seconds_max: float = 60.0


@dataclass(frozen=True, slots=True)
class LoadResult:
    """What was answered: how many of each status, in how many seconds."""

    statuses: dict[str, int]
    seconds: float

    @property
    def accepted(self) -> int:
        """Answers of 2xx."""
        return sum(count for status, count in self.statuses.items() if status.startswith("2"))

    @property
    def per_second(self) -> float:
        """Accepted a second."""
        return self.accepted / self.seconds


def requests(plan: LoadPlan) -> list[bytes]:
    """Every request of the plan, whole: HTTP/1.1 with a canonical deal signed as Standard Webhooks says."""
    key = base64.b64decode(plan.secret.removeprefix("whsec_"))
    timestamp = str(int(time.time()))
    made = []
    for index in range(plan.count):
        body = json.dumps({"type": "deal.upserted", "data": _deal(plan, index)}, separators=(",", ":")).encode()
        webhook_id = f"{plan.run}-{index}"
        signed = b".".join((webhook_id.encode(), timestamp.encode(), body))
        signature = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
        head = (
            f"POST {plan.path} HTTP/1.1\r\nHost: {LOOPBACK}:{plan.port}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\nwebhook-id: {webhook_id}\r\nwebhook-timestamp: {timestamp}\r\n"
            f"webhook-signature: v1,{signature}\r\n\r\n"
        )
        made.append(head.encode() + body)
    return made


def _deal(plan: LoadPlan, index: int) -> dict[str, object]:
    number = index % plan.deals
    return {
        "external_id": f"{plan.run}-{number}",
        "modified_at": f"{plan.day}T{index // 3600 % 24:02}:{index // 60 % 60:02}:{index % 60:02}.{index % 1000:03}Z",
        "sequence": index,
        "status": "won",
        "stage": "Won",
        "owner_external_id": plan.owners[number % len(plan.owners)],
        "name": f"Deal {number}",
        "amount": f"{1000 + index % 9000}.50",
        "currency": "USD",
        "created_at": f"{plan.day}T00:00:00Z",
        "closed_on": plan.day,
        "region": "West",
        "channel": "Partner",
        "account_id": f"account-{number % 500}",
        "account_name": f"Account {number % 500}",
    }


class _Connection(asyncio.Protocol):
    """Sends the next request when the answer to the last has arrived whole."""

    def __init__(self, load: "_Load") -> None:
        self._load = load
        self._buffer = b""
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport
        self._next()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        end = self._buffer.find(_END_OF_HEAD)
        if end < 0:
            return
        head = self._buffer[:end].lower()
        length_at = head.find(b"content-length:")
        length = int(head[length_at + 15 :].split(b"\r\n", 1)[0]) if length_at >= 0 else 0
        if len(self._buffer) < end + len(_END_OF_HEAD) + length:
            return
        self._buffer = b""
        self._load.statuses[head[9:12].decode()] += 1
        self._next()

    def connection_lost(self, _exc: Exception | None) -> None:
        self._load.connection_closed()

    def _next(self) -> None:
        assert self._transport is not None
        request = self._load.take()
        if request is None:
            self._transport.close()
            return
        wait_seconds = self._load.wait_seconds()
        if wait_seconds > 0:
            asyncio.get_running_loop().call_later(wait_seconds, self._transport.write, request)
        else:
            self._transport.write(request)


class _Load:
    """The requests still to send, shared by all connections."""

    def __init__(self, plan: LoadPlan, ready: list[bytes]) -> None:
        self.statuses: Counter[str] = Counter()
        self.done = asyncio.Event()
        self._plan = plan
        self._waiting: Iterator[bytes] = iter(ready)
        self._open = plan.connections
        self._taken = 0
        self._started_at = time.perf_counter()

    def take(self) -> bytes | None:
        if time.perf_counter() - self._started_at > self._plan.seconds_max:
            return None
        self._taken += 1
        return next(self._waiting, None)

    def wait_seconds(self) -> float:
        if self._plan.per_second is None:
            return 0.0
        return self._started_at + self._taken / self._plan.per_second - time.perf_counter()

    def connection_closed(self) -> None:
        self._open -= 1
        if self._open == 0:
            self.done.set()


async def run(plan: LoadPlan) -> LoadResult:
    """Send the plan and count the answers. The requests are made before the clock starts."""
    ready = requests(plan)
    load = _Load(plan, ready)
    started_at = time.perf_counter()
    loop = asyncio.get_running_loop()
    for _ in range(plan.connections):
        await loop.create_connection(lambda: _Connection(load), LOOPBACK, plan.port)
    await load.done.wait()
    return LoadResult(dict(load.statuses), time.perf_counter() - started_at)


def main() -> None:
    """Read a plan, run it, print the result."""
    data = json.load(sys.stdin)
    plan = LoadPlan(**(data | {"owners": tuple(data["owners"])}))
    print(json.dumps(asdict(asyncio.run(run(plan)))))


if __name__ == "__main__":
    main()
