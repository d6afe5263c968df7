"""A load generator cheap enough to share two cores with what it measures: ready-made requests over persistent
connections.

Run as `python -m deploy.local.bench.load` with a LoadPlan as a line of JSON on standard input; prints a LoadResult as
JSON. It sends each request once, waits for each answer on its connection, stops by itself, and only ever talks to
loopback. With `unapplied_max` every further line of its input is how many webhooks have been applied so far, and it
sends no more while too many that were accepted have not been.
"""

import asyncio
import base64
import gc
import hashlib
import hmac
import json
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass
from typing import cast

import uvloop

from deploy.local.errors import StackError

LOOPBACK = "127.0.0.1"
_STARTED = "started"
_END_OF_HEAD = b"\r\n\r\n"


@dataclass(frozen=True, slots=True)
class LoadPlan:
    """`count` signed deal webhooks on `connections` connections, as fast as they are answered, for `seconds_max`."""

    port: int
    path: str
    secret: str
    run: str
    count: int
    connections: int
    deals: int
    owners: tuple[str, ...]
    day: str
    seconds_max: float = 60.0
    unapplied_max: int | None = None


@dataclass(frozen=True, slots=True)
class LoadResult:
    """What was answered: how many of each status, in how many seconds."""

    statuses: dict[str, int]
    seconds: float
    cpu_seconds: float
    applied: int = 0
    """Of `unapplied_max`: how many had been applied when the last answer came."""
    unapplied: tuple[int, ...] = ()
    """Of `unapplied_max`: how many were accepted and not applied, at each report."""

    @property
    def accepted(self) -> int:
        """Answers of 2xx."""
        return sum(count for status, count in self.statuses.items() if status.startswith("2"))

    @property
    def per_second(self) -> float:
        """Accepted a second."""
        return self.accepted / self.seconds


def requests(plan: LoadPlan) -> list[bytes]:
    """Every request of the plan, whole: HTTP/1.1 with a canonical deal signed by Standard Webhooks."""
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
        # The loop's own kind, which is no subclass of asyncio's.
        self._transport = cast(asyncio.WriteTransport, transport)
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
        if self._load.must_wait(self):
            return
        request = self._load.take()
        if request is None:
            self._transport.close()
        else:
            self._transport.write(request)

    def resume(self) -> None:
        """Send again, after a pause."""
        self._next()


class _Load:
    """The requests still to send, shared by all connections."""

    def __init__(self, plan: LoadPlan, ready: list[bytes]) -> None:
        self.statuses: Counter[str] = Counter()
        self.done = asyncio.Event()
        self.applied = 0
        self.unapplied: list[int] = []
        self._plan = plan
        self._waiting: Iterator[bytes] = iter(ready)
        self._open = plan.connections
        self._paused: list[_Connection] = []
        self._started_at = time.perf_counter()

    @property
    def is_over(self) -> bool:
        return time.perf_counter() - self._started_at > self._plan.seconds_max

    def take(self) -> bytes | None:
        """The next request, None when there is none or the time is over."""
        return None if self.is_over else next(self._waiting, None)

    def must_wait(self, connection: _Connection) -> bool:
        """Whether the connection has to wait for what was sent to be applied; it is then resumed."""
        limit = self._plan.unapplied_max
        if limit is None or self.is_over or self.statuses.total() - self.applied < limit:
            return False
        self._paused.append(connection)
        return True

    def report_applied(self, applied: int) -> None:
        """Take note of how many have been applied."""
        self.applied = applied
        self.unapplied.append(self.statuses.total() - applied)
        paused, self._paused = self._paused, []
        for connection in paused:
            connection.resume()

    def connection_closed(self) -> None:
        self._open -= 1
        if self._open == 0:
            self.done.set()


async def run(plan: LoadPlan) -> LoadResult:
    """Send the plan and count the answers. The requests are made before the clock starts."""
    ready = requests(plan)
    gc.freeze()
    load = _Load(plan, ready)
    loop = asyncio.get_running_loop()
    if plan.unapplied_max is not None:
        await loop.connect_read_pipe(lambda: _AppliedLines(load), sys.stdin)
    print(_STARTED, flush=True)
    started_at = time.perf_counter()
    started_cpu = time.process_time()
    for _ in range(plan.connections):
        await loop.create_connection(lambda: _Connection(load), LOOPBACK, plan.port)
    await load.done.wait()
    seconds = time.perf_counter() - started_at
    cpu_seconds = time.process_time() - started_cpu
    return LoadResult(dict(load.statuses), seconds, cpu_seconds, load.applied, tuple(load.unapplied))


class _AppliedLines(asyncio.Protocol):
    """Reads how many have been applied, a number a line."""

    def __init__(self, load: _Load) -> None:
        self._load = load
        self._rest = b""

    def data_received(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        if lines:
            self._load.report_applied(int(lines[-1]))


@asynccontextmanager
async def running_load(plan: LoadPlan) -> AsyncIterator["RunningLoad"]:
    """A generator process that has made its requests and begins to send."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", __name__, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdin is not None and process.stdout is not None
    try:
        process.stdin.write(json.dumps(asdict(plan)).encode() + b"\n")
        if (await process.stdout.readline()).decode().strip() != _STARTED:
            raise StackError("The load generator could not start.")
        yield RunningLoad(process.stdin, process.stdout)
    finally:
        process.stdin.close()
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()
        await process.wait()


class RunningLoad:
    """A generator at work."""

    def __init__(self, lines_in: asyncio.StreamWriter, lines_out: asyncio.StreamReader) -> None:
        self._lines_in = lines_in
        self._lines_out = lines_out

    def report_applied(self, applied: int) -> None:
        """Let it know how many webhooks have been applied."""
        self._lines_in.write(b"%d\n" % applied)

    async def result(self) -> LoadResult:
        """Wait until all is answered. `StackError` when not everything was accepted."""
        line = await self._lines_out.readline()
        if not line:
            raise StackError("The load generator ended without a result.")
        data = json.loads(line)
        result = LoadResult(**(data | {"unapplied": tuple(data["unapplied"])}))
        if result.accepted != sum(result.statuses.values()):
            raise StackError(f"Webhooks were refused: {result.statuses}.")
        return result


def main() -> None:
    """Read a plan, run it, print the result."""
    # Unbuffered, as what follows the first line is read by the event loop.
    with open(sys.stdin.fileno(), "rb", buffering=0, closefd=False) as first:
        data = json.loads(first.readline())
    plan = LoadPlan(**(data | {"owners": tuple(data["owners"])}))
    print(json.dumps(asdict(uvloop.run(run(plan)))), flush=True)


if __name__ == "__main__":
    main()
