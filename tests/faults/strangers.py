"""Attacks on one port of loopback, a few seconds each: `python -m tests.faults.strangers NAME PORT SECONDS`.

On stdin comes a line, a `Target` as JSON; at the end a line of JSON says how much of what there was. They come from
other addresses of loopback than honest clients, as limits by address are not to meet those; how much is tried is
bounded, and all of it ends by itself.
"""

import asyncio
import json
import resource
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, field
from time import monotonic
from typing import Final
from uuid import uuid4

_PIECE: Final = b"a" * 65_536
_ADDRESSES: Final = tuple(f"127.0.0.{last}" for last in range(2, 8))
_CONNECTING_MAX: Final = 200
_OPENING_MAX: Final = 16
_OTHER_FILES: Final = 100


@dataclass(frozen=True)
class Target:
    """What a stranger knows: a hook's path, and event streams (whose, path, token), each to be opened once."""

    hook: str
    streams: list[tuple[str, str, str]] = field(default_factory=list)

    def to_json(self) -> bytes:
        return json.dumps(asdict(self)).encode() + b"\n"


@dataclass
class Attack:
    """Where to, for how long, and what came of it."""

    port: int
    ends_at: float
    target: Target
    files: int
    done: Counter[str] = field(default_factory=Counter)
    connecting: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_CONNECTING_MAX))

    @property
    def goes_on(self) -> bool:
        return monotonic() < self.ends_at

    async def once(
        self, address: str, talk: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
    ) -> None:
        """`talk` over one connection, until it is closed or the attack ends."""
        try:
            async with self.connecting:
                reader, writer = await asyncio.open_connection("127.0.0.1", self.port, local_addr=(address, 0))
        except OSError:
            self.done["not connected"] += 1
            await asyncio.sleep(0.1)
            return
        self.done["connections"] += 1
        try:
            async with asyncio.timeout(max(0.0, self.ends_at - monotonic())):
                await talk(reader, writer)
        except TimeoutError:
            self.done["open at the end"] += 1
        except (OSError, asyncio.IncompleteReadError):
            self.done["closed on them"] += 1
        finally:
            writer.transport.abort()

    async def over(
        self,
        count: int,
        talk: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
        *,
        addresses: int = 1,
    ) -> None:
        """`talk` over each of so many connections from so many addresses, and over a new one when it is closed."""

        async def again(number: int) -> None:
            while self.goes_on:
                await self.once(_ADDRESSES[number % addresses], talk)

        await asyncio.gather(*(again(number) for number in range(min(count, self.files))))


async def endless_heads(attack: Attack) -> None:
    async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"GET /v1/connections HTTP/1.1\r\nx-endless: ")
        while True:
            writer.write(_PIECE)
            await writer.drain()
            attack.done["KiB"] += len(_PIECE) // 1024

    await attack.over(20, talk)


async def unfinished_bodies(attack: Attack) -> None:
    head = b"POST %s HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000\r\n\r\n" % attack.target.hook.encode()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        for _ in range(14):
            writer.write(_PIECE)
            await writer.drain()
        attack.done["bodies"] += 1
        await reader.read()

    await attack.over(400, talk)


async def slow_heads(attack: Attack) -> None:
    async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"GET /v1/connections HTTP/1.1\r\nx-slow: ")
        while True:
            writer.write(b"a")
            await writer.drain()
            await asyncio.sleep(1)

    await attack.over(4800, talk, addresses=len(_ADDRESSES))


async def pipelining(attack: Attack) -> None:
    requests = b"GET /v1/connections HTTP/1.1\r\nhost: a\r\n\r\n" * 30_000

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(requests)
        attack.done["requests"] += 30_000
        while answered := await reader.read(65_536):
            attack.done["answers"] += answered.count(b"HTTP/1.1 ")

    await attack.over(20, talk)


async def floods(attack: Attack) -> None:
    """Unknown and known hooks with wrong signatures, a forged token, and a path that there is not."""
    signed = b"webhook-id: a\r\nwebhook-timestamp: 1\r\nwebhook-signature: v1,aaaa\r\n"
    forged = b"GET /v1/connections HTTP/1.1\r\nhost: a\r\nauthorization: Bearer x.y.z\r\n\r\n"
    nowhere = b"GET /wp-login.php HTTP/1.1\r\nhost: a\r\n\r\n"

    def posted(path: str) -> bytes:
        return b"POST %s HTTP/1.1\r\nhost: a\r\n%scontent-length: 2\r\n\r\n{}" % (path.encode(), signed)

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            unknown = [posted(f"/hooks/{uuid4()}") for _ in range(3)]
            for request in (*unknown, posted(attack.target.hook), forged, nowhere):
                writer.write(request)
                head = await reader.readuntil(b"\r\n\r\n")
                length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
                await reader.readexactly(int(length))
                attack.done[f"answers {head[9:12].decode()}"] += 1

    await attack.over(400, talk)


async def streams(attack: Attack) -> None:
    """Every stream once, so many at a time; says so when all are answered, and ends when stdin does."""
    opening = asyncio.Semaphore(_OPENING_MAX)

    async def one(number: int, whose: str, path: str, token: str) -> None:
        answered = asyncio.Event()

        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(f"GET {path} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {token}\r\n\r\n".encode())
            head = await reader.readuntil(b"\r\n\r\n")
            attack.done[f"{whose} {head[9:12].decode()}"] += 1
            answered.set()
            while await reader.read(65_536):
                pass

        async with opening:
            conversation = asyncio.create_task(attack.once(_ADDRESSES[number % len(_ADDRESSES)], talk))
            conversations.add(conversation)
            waiting = asyncio.create_task(answered.wait())
            await asyncio.wait({conversation, waiting}, return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()

    conversations: set[asyncio.Task[None]] = set()
    wanted = attack.target.streams[: attack.files]
    await asyncio.gather(*(one(number, *each) for number, each in enumerate(wanted)))
    sys.stdout.write("all are answered\n")
    sys.stdout.flush()
    told = asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), told.set)
    try:
        async with asyncio.timeout(max(0.0, attack.ends_at - monotonic())):
            await told.wait()
    finally:
        for conversation in conversations:
            conversation.cancel()


ATTACKS: Final[dict[str, Callable[[Attack], Awaitable[None]]]] = {
    "endless heads": endless_heads,
    "unfinished bodies": unfinished_bodies,
    "slow heads": slow_heads,
    "pipelining": pipelining,
    "floods by strangers": floods,
    "thousands of streams": streams,
}


def main(name: str, port: int, seconds: float) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 10_000
    if soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    read = json.loads(sys.stdin.readline())
    target = Target(read["hook"], [(whose, path, token) for whose, path, token in read["streams"]])
    attack = Attack(port, monotonic() + seconds, target, soft - _OTHER_FILES)
    asyncio.run(asyncio.wait_for(ATTACKS[name](attack), seconds + 20))
    sys.stdout.write(json.dumps(dict(sorted(attack.done.items()))) + "\n")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))
