"""A CRM that goes on sending while the product is attacked or fails: how soon it is answered, and what came of it all.

Every webhook is a deal of its own, won by one seller who has a goal and is paid a tenth, so what is lost or repeated
anywhere shows in her numbers.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from time import monotonic
from typing import Final, Self

import asyncpg
import httpx
import psutil

from deploy.local.commands.verify import lines, verified
from deploy.local.stack import Stack
from deploy.local.traffic.webhooks import WebhookSender
from tests.servers.infrastructure import eventually
from tests.stories.company import Seller

AMOUNT: Final = 10
PER_SECOND: Final = 30
_AGAIN_SECONDS: Final = 0.5
_GIVEN_UP_SECONDS: Final = 120.0
_SAMPLED_SECONDS: Final = 0.1
_SETTLED_SECONDS_MAX: Final = 120.0
_MIB: Final = 2**20


@dataclass
class Phase:
    """What the CRM saw of a while, and what the processes took meanwhile."""

    name: str
    answers: list[tuple[int, float]] = field(default_factory=list)
    """Of each attempt that began in it: the status, 0 for none at all, and how many seconds it took."""
    accepted_seconds: list[float] = field(default_factory=list)
    """Of each webhook that was first sent in it: from then until it was accepted, however often it was sent."""
    resident_before: dict[str, int] = field(default_factory=dict)
    resident_max: dict[str, int] = field(default_factory=dict)
    """Bytes, by process."""
    under_way: int = 0

    @property
    def accepted(self) -> int:
        return sum(status == httpx.codes.ACCEPTED for status, _ in self.answers)

    @property
    def refused(self) -> int:
        return len(self.answers) - self.accepted

    @property
    def p99_answered(self) -> float:
        return percentile([seconds for _, seconds in self.answers], 0.99)

    @property
    def p99_accepted(self) -> float:
        return percentile(self.accepted_seconds, 0.99)

    def __str__(self) -> str:
        seconds = [seconds for _, seconds in self.answers]
        memory = ", ".join(
            f"{name} {self.resident_before[name] // _MIB} -> {most // _MIB} MiB"
            for name, most in self.resident_max.items()
        )
        return (
            f"{self.name}: {len(seconds)} answers, p50 {percentile(seconds, 0.5) * 1e3:.0f} ms, p99"
            f" {self.p99_answered * 1e3:.0f} ms, {self.refused} of them refusals; accepted p99"
            f" {self.p99_accepted * 1e3:.0f} ms after the first attempt; {memory}"
        )


def percentile(values: Sequence[float], share: float) -> float:
    """The value that this share of the values does not exceed."""
    assert values, "nothing was measured"
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


class HonestTraffic:
    """The CRM of one seller."""

    def __init__(self, stack: Stack, seller: Seller, goal_id: str, watched: Sequence[str]) -> None:
        """`watched`: the processes whose memory is looked at."""
        self.sent = 0
        self.accepted = 0
        self._stack = stack
        self._seller = seller
        self._goal_id = goal_id
        self._watched = watched
        self._phase = Phase("before")
        self._signer = WebhookSender(seller.client, seller.hook, seller.secret)

    @classmethod
    async def begun(cls, stack: Stack, client: httpx.AsyncClient, watched: Sequence[str]) -> Self:
        """With a new seller, her goal and her plan."""
        seller = Seller(stack, client)
        await seller.set_up()
        goal_id = await seller.goal("amount")
        await seller.plan("amount")
        return cls(stack, seller, goal_id, watched)

    @property
    def seller(self) -> Seller:
        return self._seller

    @property
    def hook_path(self) -> str:
        return httpx.URL(self._seller.hook).path

    @asynccontextmanager
    async def flowing(self) -> AsyncIterator[None]:
        """Webhooks flow during the block; at its end all have been accepted."""
        stop = asyncio.Event()
        flow = asyncio.create_task(self._flow(stop))
        try:
            yield
        finally:
            stop.set()
            await flow

    @asynccontextmanager
    async def phase(self, name: str) -> AsyncIterator[Phase]:
        """What is seen during the block; left once every attempt that began in it is answered."""
        phase, before = Phase(name), self._phase
        phase.resident_before = self._resident()
        watching = asyncio.create_task(self._watch_memory(phase))
        self._phase = phase
        try:
            yield phase
        finally:
            self._phase = before
            await eventually(lambda: not phase.under_way, _GIVEN_UP_SECONDS, expectation="an answer to every attempt")
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)

    async def require_all_counted_once(self) -> None:
        """Every accepted webhook is stored once, every deal is counted and paid once, and the books are right."""
        assert self.accepted == self.sent
        value = Decimal(AMOUNT * self.accepted)

        async def counted() -> bool:
            return await self._seller.value_of(self._goal_id) == value and await self._seller.earned() == value / 10

        try:
            await eventually(counted, _SETTLED_SECONDS_MAX, expectation=f"{value} counted and {value / 10} paid")
        except AssertionError as error:
            counts = await self._counts()
            raise AssertionError(f"{error}: {self.accepted} accepted, stored {counts}") from error
        assert await self._counts() == dict.fromkeys(_COUNTS, self.accepted)
        report = await verified(self._stack.database_url)
        assert report.is_clean, lines(report)

    async def _counts(self) -> dict[str, int]:
        connection = await asyncpg.connect(self._stack.database_url)
        try:
            return {
                what: await connection.fetchval(f"{statement} WHERE tenant_id = $1", self._seller.tenant)
                for what, statement in _COUNTS.items()
            }
        finally:
            await connection.close()

    async def _flow(self, stop: asyncio.Event) -> None:
        new_each_time = httpx.Limits(max_keepalive_connections=0)
        async with (
            httpx.AsyncClient(timeout=30, trust_env=False) as kept,
            httpx.AsyncClient(timeout=30, trust_env=False, limits=new_each_time) as unkept,
            asyncio.TaskGroup() as sending,
        ):
            started, first = monotonic(), self.sent
            while not stop.is_set():
                self.sent += 1
                # Some CRMs keep their connections, some do not.
                sending.create_task(self._deliver((kept, unkept)[self.sent % 2], self.sent))
                await asyncio.sleep(max(0.0, started + (self.sent - first) / PER_SECOND - monotonic()))

    async def _deliver(self, client: httpx.AsyncClient, number: int) -> None:
        """Send a webhook as often as it takes, as late again as the answer asks for."""
        data = {
            "external_id": f"D-{number}",
            "modified_at": datetime.now(UTC).isoformat(),
            "status": "won",
            "owner_external_id": "ann",
            "closed_on": "2026-05-15",
            "amount": str(AMOUNT),
            "currency": "USD",
        }
        body = json.dumps({"type": "deal.upserted", "data": data})
        first_phase, began = self._phase, monotonic()
        while (again_seconds := await self._attempt(client, f"msg_{number}", body)) is not None:
            assert monotonic() - began < _GIVEN_UP_SECONDS, f"a webhook is not taken for {_GIVEN_UP_SECONDS:.0f} s"
            await asyncio.sleep(again_seconds)
        first_phase.accepted_seconds.append(monotonic() - began)
        self.accepted += 1

    async def _attempt(self, client: httpx.AsyncClient, webhook_id: str, body: str) -> float | None:
        """None if it was accepted, else after how many seconds to try again."""
        phase, began = self._phase, monotonic()
        phase.under_way += 1
        status, again_seconds = 0, _AGAIN_SECONDS
        try:
            headers = self._signer.sign(webhook_id, body, datetime.now(UTC))
            answer = await client.post(self._seller.hook, content=body, headers=headers)
            status = answer.status_code
            assert status == httpx.codes.ACCEPTED or status == httpx.codes.SERVICE_UNAVAILABLE, answer.text
            again_seconds = float(answer.headers.get("retry-after", again_seconds))
        except httpx.TransportError:
            pass
        finally:
            phase.under_way -= 1
        phase.answers.append((status, monotonic() - began))
        return None if status == httpx.codes.ACCEPTED else again_seconds

    async def _watch_memory(self, phase: Phase) -> None:
        while True:
            for name, resident in self._resident().items():
                phase.resident_max[name] = max(resident, phase.resident_max.get(name, 0))
            await asyncio.sleep(_SAMPLED_SECONDS)

    def _resident(self) -> dict[str, int]:
        return {name: psutil.Process(self._stack.process(name).pid).memory_info().rss for name in self._watched}


_COUNTS: Final = {
    "deliveries": "SELECT count(*) FROM tracking.deliveries",
    "deliveries told apart": "SELECT count(DISTINCT dedupe_key) FROM tracking.deliveries",
    "deals": "SELECT count(*) FROM tracking.deals",
    "versions of deals": "SELECT count(*) FROM tracking.deal_versions",
    "deals that pay": "SELECT count(*) FROM incentives.deals",
}
