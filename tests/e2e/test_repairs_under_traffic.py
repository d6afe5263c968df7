"""How long a repair takes to be credited while webhooks keep coming, beside deals that it does not touch."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from decimal import Decimal
from itertools import count
from time import monotonic
from typing import Final

import httpx

from deploy.local.stack import Stack
from tests.played.standard_webhooks import PlayedStandardWebhooks
from tests.servers.infrastructure import Report, eventually
from tests.stories.company import Company

WEBHOOKS_A_SECOND: Final = 120
HELD_DEALS: Final = 2_000
"""Deals of the connection that no repair touches, each with a delivery of its own, older than those that one does."""
CREDITED_WITHIN_SECONDS: Final = 4.0
"""On a quiet machine it takes less than one; a machine that has other things to do is given more."""
_SENDERS: Final = 8


class RepairedCompany(Company):
    """A tenant with one sender, and a goal of what its person Ann has won."""

    def __init__(self, stack: Stack, client: httpx.AsyncClient) -> None:
        super().__init__(stack, client)
        self.sender = PlayedStandardWebhooks()
        self.connection = self.source = self.ann = self.goal = ""
        self.answered = 0
        self._numbers = count(1)

    async def set_up(self) -> None:
        await self.call("PUT", "goals", "/v1/calendar", {"start_month": 1, "time_zone": "UTC", "currency": "USD"})
        made = await self.call("POST", "tracking", "/v1/connections", self.sender.connection())
        self.connection, self.source = str(made["id"]), str(made["identity_source"])
        self.sender.secret, self.sender.hook_url = str(made["secret"]), f"{self.url('tracking')}{made['hook_path']}"
        self.ann = str((await self.call("POST", "goals", "/v1/people", {"name": "Ann"}))["id"])
        await self.is_user("ann")
        self.goal = await self.activated_goal(
            {
                "name": "Won",
                "owner": {"kind": "person", "id": self.ann},
                "metric": {
                    "aggregate": "sum",
                    "value_field": "amount",
                    "filter": {"field": "status", "op": "eq", "value": "won"},
                    "currency": "USD",
                    "crediting": "split",
                },
                "target": "1000000",
                "period": {"kind": "year", "containing": datetime.now(UTC).date().isoformat()},
            }
        )

    async def is_user(self, user: str) -> None:
        """Say that a user of the CRM is Ann."""
        identity = {"source": self.source, "external_user_id": user, "person_id": self.ann}
        await self.call("POST", "goals", "/v1/identities", identity)

    async def repair(self, **addition: object) -> None:
        path = f"/v1/connections/{self.connection}"
        version = (await self.call("GET", "tracking", path))["version"]
        await self.call("POST", "tracking", f"{path}/repairs", addition, version=version)

    async def tell(self, **members: object) -> None:
        """Send a won deal of 1, or what else is said of it."""
        now = datetime.now(UTC)
        data = {
            "external_id": f"D{next(self._numbers)}",
            "modified_at": now.isoformat(),
            "status": "won",
            "owner_external_id": "somebody",
            "amount": "1",
            "currency": "USD",
            "closed_on": now.date().isoformat(),
            **members,
        }
        webhook = self.sender.signed("deal.upserted", data)
        response = await self.client.post(self.sender.hook_url, headers=dict(webhook.headers), content=webhook.body)
        assert response.is_success, f"{response.status_code} {response.text}"
        self.answered += 1

    async def tell_many(self, deals: int) -> None:
        async def some(numbers: Iterator[int]) -> None:
            for _ in numbers:
                await self.tell()

        numbers = iter(range(deals))
        await asyncio.gather(*(some(numbers) for _ in range(_SENDERS)))

    @asynccontextmanager
    async def traffic(self) -> AsyncIterator[None]:
        """Webhooks about ever other deals, evenly, for as long as it is entered."""
        started = monotonic()
        turns = count()

        async def send() -> None:
            while True:
                await asyncio.sleep(max(0.0, started + next(turns) / WEBHOOKS_A_SECOND - monotonic()))
                await self.tell()

        sending = [asyncio.create_task(send()) for _ in range(_SENDERS)]
        try:
            yield
        finally:
            for task in sending:
                task.cancel()
            ended = await asyncio.gather(*sending, return_exceptions=True)
        assert all(isinstance(each, asyncio.CancelledError) for each in ended), ended

    async def credits(self, value: int, *, within_seconds: float) -> float:
        """How long it takes from now until Ann is credited with so much in all."""
        began = monotonic()

        async def is_credited() -> bool:
            return await self.value_of(self.goal) == Decimal(value)

        await eventually(is_credited, within_seconds, expectation=f"{value} to be credited")
        return monotonic() - began


async def test_a_repair_is_credited_ahead_of_the_traffic_and_of_what_it_does_not_touch(
    stack: Stack, report: Report
) -> None:
    async with httpx.AsyncClient(timeout=30) as client:
        company = RepairedCompany(stack, client)
        await company.set_up()
        await company.tell_many(HELD_DEALS)
        splits = [
            {"owner_external_id": "partner", "percent": "50"},
            {"owner_external_id": "somebody", "percent": "50"},
        ]
        await company.tell(owner_external_id="late", amount="10")
        await company.tell(splits=splits, amount="200")
        await company.tell(currency=None, owner_external_id="ann", amount="1000")
        await company.tell(status=None, stage="Signed", owner_external_id="ann", amount="10000")
        await company.tell(owner_external_id="later", amount="100000")
        await company.tell(owner_external_id="ann", amount="1000000")
        await company.credits(1_000_000, within_seconds=60)
        took: dict[str, float] = {}
        async with company.traffic():
            await asyncio.sleep(2)
            told, began = company.answered, monotonic()
            for what, addition, credited in (
                ("a user who owns", {"users": {"late": "ann"}}, 1_000_010),
                ("a user on splits", {"users": {"partner": "ann"}}, 1_000_110),
                ("a currency", {"currency": "USD"}, 1_001_110),
                ("a stage", {"stages": {"Signed": "won"}}, 1_011_110),
            ):
                await company.repair(**addition)
                took[what] = await company.credits(credited, within_seconds=60)
            await company.is_user("later")
            took["an identity"] = await company.credits(1_111_110, within_seconds=60)
            rate = (company.answered - told) / (monotonic() - began)
        told_of = ", ".join(f"{what} {seconds:.2f} s" for what, seconds in took.items())
        report(f"credited after {told_of}, beside {rate:.0f} webhooks/s")
        assert max(took.values()) < CREDITED_WITHIN_SECONDS, took
