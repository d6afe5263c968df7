"""Finance closes two months of a replayed pipeline over HTTP, with a late change between and kills in an export.

What everybody must be paid is added up here in whole cents, from what was won by the files.
"""

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Final
from uuid import UUID

import asyncpg
import psutil
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from deploy.local.api import AttainApi, ServiceApi
from deploy.local.commands.replay import webhook_secret
from deploy.local.errors import StackError
from deploy.local.stack import Stack
from deploy.local.traffic.pipeline import PipelineEvent, read_pipeline, user_id
from deploy.local.traffic.webhooks import Delivery, webhook_sender
from services.goals.org.schemas import PersonAnswer
from services.incentives.ledger.schemas import LedgerTransactionAnswer
from services.incentives.payouts.schemas import PayoutAnswer, PayoutRunAnswer
from services.incentives.periods.schemas import PayPeriodAnswer
from services.tracking.intake.connections.schemas import ConnectionAnswer
from shared.contracts import earnings
from shared.contracts.earnings import Payout
from shared.contracts.envelope import from_record
from shared.contracts.topics import TOPICS
from shared.http.auth import Role
from shared.kafka.settings import KafkaSettings
from shared.kernel.ids import deal_id
from tests.servers.infrastructure import eventually

PREPARER, APPROVER = UUID(int=0xA2), UUID(int=0xA3)
"""Of finance, and paid by nothing."""
SEPTEMBER, OCTOBER = date(2017, 9, 30), date(2017, 10, 31)
LATER: Final = 12_345
"""By how many dollars a deal that was won in September turns out to be larger."""
_QUOTA: Final = 80_000
_SECONDS_MAX: Final = 60.0

Cents = dict[str, int]


def agents_cents(won: int) -> int:
    """5 % of dollars up to the quarter's quota, 7 % up to a quarter more, 9 % above."""
    first, second = min(won, _QUOTA), max(min(won, _QUOTA * 5 // 4) - _QUOTA, 0)
    return 5 * first + 7 * second + 9 * max(won - _QUOTA * 5 // 4, 0)


def managers_cents(won: int) -> int:
    """0.5 % of dollars, half a cent up."""
    return (won + 1) // 2


def must_be_paid(bookings: Mapping[tuple[str, int], int], agents: Mapping[str, str]) -> Cents:
    """What agents and their managers earn in the first three quarters, by name; who earns nothing is left out."""
    found: Counter[str] = Counter()
    for quarter in (1, 2, 3):
        for agent in agents:
            found[agent] += agents_cents(bookings.get((agent, quarter), 0))
        for manager in set(agents.values()):
            found[manager] += managers_cents(bookings.get((manager, quarter), 0))
    return {name: cents for name, cents in found.items() if cents}


@dataclass(frozen=True, slots=True)
class Finance:
    """Two people of finance, who close a month together."""

    preparer: ServiceApi
    approver: ServiceApi

    async def period(self, day: date) -> PayPeriodAnswer:
        [found] = await self.preparer.items("/v1/pay-periods", PayPeriodAnswer, containing=day)
        return found

    async def move(self, day: date, state: str, by: ServiceApi | None = None) -> PayPeriodAnswer:
        found = await self.period(day)
        body = {"state": state, "reason": f"It is time for {state}"}
        path = f"/v1/pay-periods/{found.id}/move"
        return await (by or self.approver).post(path, PayPeriodAnswer, body, version=found.version)

    async def calculated(self, day: date) -> PayoutRunAnswer:
        """The month worked out by one and approved by the other, and the run for it."""
        for state in ("calculating", "in_review"):
            await self.move(day, state, self.preparer)
        found = await self.move(day, "approved")
        return await self.preparer.post("/v1/payout-runs", PayoutRunAnswer, {"pay_period_id": str(found.id)})

    async def step(self, run: PayoutRunAnswer, name: str, by: ServiceApi | None = None) -> PayoutRunAnswer:
        now = await self.preparer.get(f"/v1/payout-runs/{run.id}", PayoutRunAnswer)
        path = f"/v1/payout-runs/{run.id}/{name}"
        return await (by or self.approver).post(path, PayoutRunAnswer, {"reason": "Checked"}, version=now.version)

    async def payouts(self, run: PayoutRunAnswer) -> list[PayoutAnswer]:
        return await self.preparer.items(f"/v1/payout-runs/{run.id}/payouts", PayoutAnswer)

    async def files(self, run: PayoutRunAnswer) -> list[bytes]:
        """What the run pays: as CSV and as a workbook."""
        path = f"/v1/payout-runs/{run.id}/table"
        return [await self.preparer.document(path, format=each) for each in ("csv", "xlsx")]


class TwoMonths:
    """September 2017 is closed with what was won by then; October with nothing but what changed in September since."""

    def __init__(self, stack: Stack, api: AttainApi, folder: Path, bookings: Mapping[tuple[str, int], int]) -> None:
        self._stack = stack
        self._api = api
        self._finance = Finance(
            api.acting_as(PREPARER, Role.FINANCE).incentives, api.acting_as(APPROVER, Role.FINANCE).incentives
        )
        self._pipeline = read_pipeline(folder)
        self._bookings = bookings
        self._managers = {agent.name: agent.manager for agent in self._pipeline.agents}

    async def close(self) -> None:
        """Both, with every amount to the cent."""
        finance = self._finance
        people = {each.name: each.id for each in await self._api.goals.items("/v1/people", PersonAnswer)}
        must = {people[name]: cents for name, cents in must_be_paid(self._bookings, self._managers).items()}
        september = await finance.calculated(SEPTEMBER)
        assert await self._paid(september) == must
        assert september.to_nobody == []
        with pytest.raises(StackError, match="403"):
            await finance.step(september, "approve", finance.preparer)
        await finance.step(september, "approve")
        await self._killed_in_the_transaction(september)
        files = await self._killed_before_the_topic(september)
        await finance.step(september, "paid")
        closed = await finance.move(SEPTEMBER, "closed")

        late, agent = await self._change_a_deal_of_september()
        before = self._bookings[agent, 3]
        of_team = self._bookings[self._managers[agent], 3]
        expected = {
            people[agent]: agents_cents(before + LATER) - agents_cents(before),
            people[self._managers[agent]]: managers_cents(of_team + LATER) - managers_cents(of_team),
        }
        corrections = await self._posted_in_october(late, len(expected))
        assert {each.person_id: _cents(-each.entries[1].amount) for each in corrections} == expected
        for each in corrections:
            assert each.period is not None
            assert (each.period.start, each.period.end) == (date(2017, 7, 1), date(2017, 10, 1))
        with pytest.raises(StackError, match="409"):
            await finance.move(SEPTEMBER, "open")

        october = await finance.calculated(OCTOBER)
        assert await self._paid(october) == expected
        for step in ("approve", "export", "paid"):
            await finance.step(october, step)
        await finance.move(OCTOBER, "closed")
        assert (await finance.period(SEPTEMBER)).as_paid == closed.as_paid
        assert await finance.files(september) == files
        assert await self._paid(september) == must
        await self._require_on_topic({september.id: len(must), october.id: len(expected)})

    async def _paid(self, run: PayoutRunAnswer) -> dict[UUID, int]:
        return {each.person_id: _cents(each.paid) for each in await self._finance.payouts(run)}

    async def _killed_in_the_transaction(self, run: PayoutRunAnswer) -> None:
        """The API dies when the run and its pay period are marked exported, and nothing of it is committed."""
        connection = await asyncpg.connect(self._stack.database_url)
        try:
            async with connection.transaction():
                await connection.execute("LOCK TABLE incentives.payout_run_changes IN SHARE ROW EXCLUSIVE MODE")
                exporting = asyncio.create_task(self._finance.step(run, "export"))

                async def waits() -> bool:
                    return bool(
                        await connection.fetchval(
                            "SELECT count(*) FROM pg_locks WHERE NOT granted"
                            " AND relation = 'incentives.payout_run_changes'::regclass"
                        )
                    )

                await eventually(waits, _SECONDS_MAX, expectation="an export under way")
                self._stack.process("incentives-api").kill()
                with pytest.raises(StackError, match="cannot be reached"):
                    await exporting
        finally:
            await connection.close()
        self._stack.start_service("incentives-api")
        await asyncio.to_thread(self._stack.wait_until_ready, "incentives-api")
        now = await self._finance.preparer.get(f"/v1/payout-runs/{run.id}", PayoutRunAnswer)
        assert (now.status, (await self._finance.period(SEPTEMBER)).state) == ("approved", "approved")
        assert await self._on_topic() == Counter()

    async def _killed_before_the_topic(self, run: PayoutRunAnswer) -> list[bytes]:
        """The worker dies when the run is marked exported, and nothing is on the topic; the files of the run."""
        worker = self._stack.process("incentives-worker")
        psutil.Process(worker.pid).suspend()
        exported = await self._finance.step(run, "export")
        assert exported.status == "exported"
        files = await self._finance.files(run)
        assert len(files[0].splitlines()) == 1 + exported.payouts
        assert await self._on_topic() == Counter()
        worker.kill()
        with pytest.raises(StackError, match="409"):
            await self._finance.step(run, "export")
        self._stack.start_service("incentives-worker")
        await asyncio.to_thread(self._stack.wait_until_ready, "incentives-worker")
        await self._require_on_topic({run.id: exported.payouts})
        with pytest.raises(StackError, match="409"):
            await self._finance.step(run, "export")
        assert await self._finance.files(run) == files
        return files

    async def _change_a_deal_of_september(self) -> tuple[UUID, str]:
        """A webhook says that a deal was larger: its id in tracking, and whose it is."""
        won = self._won_in_september()
        [connection] = await self._api.tracking.items("/v1/connections", ConnectionAnswer)
        secret = webhook_secret(self._stack.secrets.jwt_secret)
        amount = str(int(str(won.deal["amount"])) + LATER)
        changed = {**won.deal, "amount": amount, "modified_at": datetime(2018, 1, 9, tzinfo=UTC).isoformat()}
        async with webhook_sender(f"{self._api.tracking.url}{connection.hook_path}", secret) as sender:
            assert await sender.send(Delivery("late-change", won.type, changed)) == 202
        return deal_id(connection.id, str(won.deal["external_id"])), self._agent_of(won)

    def _won_in_september(self) -> PipelineEvent:
        """The first deal of September."""
        return next(
            event
            for event in self._pipeline.events
            if event.deal["status"] == "won" and str(event.deal["closed_on"]).startswith("2017-09")
        )

    def _agent_of(self, event: PipelineEvent) -> str:
        return next(name for name in self._managers if user_id(name) == event.deal["owner_external_id"])

    async def _posted_in_october(self, deal: UUID, count: int) -> list[LedgerTransactionAnswer]:
        """What the change of the deal posted for September."""
        found: list[LedgerTransactionAnswer] = []

        async def posted() -> bool:
            nonlocal found
            found = await self._finance.preparer.items(
                "/v1/ledger", LedgerTransactionAnswer, posted_in=OCTOBER, origin=SEPTEMBER, deal_id=deal
            )
            return len(found) == count

        await eventually(posted, _SECONDS_MAX, expectation="the late change in the ledger")
        return found

    async def _require_on_topic(self, expected: Mapping[UUID, int]) -> None:
        """Each run's payouts are on the topic once, and nothing is left to be published."""

        async def all_sent() -> bool:
            connection = await asyncpg.connect(self._stack.database_url)
            try:
                waiting = await connection.fetchval(
                    "SELECT count(*) FROM incentives.outbox WHERE key LIKE '%/payout/%'"
                )
            finally:
                await connection.close()
            return not waiting

        await eventually(all_sent, _SECONDS_MAX, expectation="an empty outbox")
        found = await self._on_topic()
        assert set(found.values()) <= {1}, "a payout is there more than once"
        assert Counter(run_id for run_id, _ in found) == Counter(expected)

    async def _on_topic(self) -> Counter[tuple[UUID, UUID]]:
        """How often each payout is on the topic, by run and payout."""
        settings = KafkaSettings(bootstrap=self._stack.kafka_bootstrap)
        consumer = AIOKafkaConsumer(**settings.client_options("test-payouts"), enable_auto_commit=False)
        await consumer.start()
        try:
            partitions = [TopicPartition(earnings.TOPIC, each) for each in range(TOPICS[earnings.TOPIC].partitions)]
            consumer.assign(partitions)
            await consumer.seek_to_beginning(*partitions)
            ends = await consumer.end_offsets(partitions)
            found: Counter[tuple[UUID, UUID]] = Counter()
            while any([await consumer.position(each) < end for each, end in ends.items()]):
                for records in (await consumer.getmany(timeout_ms=200)).values():
                    for record in records:
                        event = from_record(dict(record.headers), record.value)
                        if isinstance(event, Payout):
                            found[event.run_id, event.id] += 1
            return found
        finally:
            await consumer.stop()


def _cents(amount: Decimal) -> int:
    cents = amount * 100
    assert cents == int(cents)
    return int(cents)
