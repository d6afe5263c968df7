"""The same deals through every CRM: connected as its users would, played by a real server, and counted to the cent."""

import asyncio
import random
import re
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Final
from urllib.parse import SplitResult, urlsplit

import httpx
import pytest
from pydantic import JsonValue

from deploy.local.stack import Stack
from tests.played.crms import PlainDeal, PlayedCrm, Webhook
from tests.played.fxiaoke import PlayedFxiaoke
from tests.played.hubspot import PlayedHubspot
from tests.played.pipedrive import PlayedPipedrive
from tests.played.salesforce import PlayedSalesforce
from tests.played.standard_webhooks import PlayedStandardWebhooks
from tests.played.zoho import PlayedZoho
from tests.servers.infrastructure import eventually
from tests.stories.company import Company

DEALS: Final = 300
OWNERS: Final = tuple(str(9001 + number) for number in range(10))
SEED: Final = 20261123
CRMS: Final[Mapping[str, Callable[[], PlayedCrm]]] = {
    "standard_webhooks": PlayedStandardWebhooks,
    "pipedrive": PlayedPipedrive,
    "zoho": PlayedZoho,
    "fxiaoke": PlayedFxiaoke,
    "salesforce": PlayedSalesforce,
    "salesforce_change_events": partial(PlayedSalesforce, tells="changes"),
    "hubspot": PlayedHubspot,
}
WON: Final[JsonValue] = {"all": [{"field": "status", "op": "eq", "value": "won"}]}
_CONCURRENT: Final = 8


@dataclass(frozen=True)
class Step:
    """One change of one deal; a deletion when `deal` is None."""

    deal_id: str
    deal: PlainDeal | None
    at: datetime


def story(start: datetime, quarter: tuple[date, date]) -> list[list[Step]]:
    """What happens to the deals, in waves: within a wave no deal changes twice. The same for every CRM."""
    chance = random.Random(SEED)
    days = (quarter[1] - quarter[0]).days
    opened = [
        PlainDeal(
            id=str(100_000 + number),
            name=f"Deal {number}",
            amount=Decimal(chance.randint(100, 9_999_999)) / 100,
            currency="USD",
            status="open",
            owner_id=chance.choice(OWNERS),
            created_at=start,
            modified_at=start,
            expected_close_on=quarter[0] + timedelta(days=chance.randrange(days)),
        )
        for number in range(DEALS)
    ]
    waves = [[Step(deal.id, deal, start) for deal in opened]]
    current = {deal.id: deal for deal in opened}
    for number in range(1, 5):
        at = start + timedelta(seconds=number)
        wave = []
        for deal in sorted(current.values(), key=lambda each: each.id):
            if chance.random() < 0.5:
                continue
            changed = _changed(deal, chance, at, quarter[0] + timedelta(days=chance.randrange(days)))
            wave.append(Step(deal.id, changed, at))
            if changed is None:
                del current[deal.id]
            else:
                current[deal.id] = changed
        waves.append(wave)
    return waves


def _changed(deal: PlainDeal, chance: random.Random, at: datetime, day: date) -> PlainDeal | None:
    match chance.choices(("won", "lost", "reopened", "amount", "owner", "deleted"), (45, 10, 10, 15, 15, 5))[0]:
        case "won":
            return replace(deal, status="won", closed_on=day, modified_at=at)
        case "lost":
            return replace(deal, status="lost", closed_on=day, modified_at=at)
        case "reopened":
            return replace(deal, status="open", closed_on=None, expected_close_on=day, modified_at=at)
        case "amount":
            return replace(deal, amount=Decimal(chance.randint(100, 9_999_999)) / 100, modified_at=at)
        case "owner":
            return replace(deal, owner_id=chance.choice(OWNERS), modified_at=at)
        case _:
            return None


def expected(waves: Sequence[Sequence[Step]]) -> dict[str, Decimal]:
    """What each owner has won in the end, in cents added up; and all together under the empty name."""
    final: dict[str, PlainDeal | None] = {}
    for wave in waves:
        for step in wave:
            final[step.deal_id] = step.deal
    cents = dict.fromkeys((*OWNERS, ""), 0)
    for deal in final.values():
        if deal is not None and deal.status == "won":
            cents[deal.owner_id] += int(deal.amount * 100)
            cents[""] += int(deal.amount * 100)
    return {owner: Decimal(total) / 100 for owner, total in cents.items()}


class ConnectedCompany(Company):
    """A tenant that connects one CRM."""

    connection = ""

    def __init__(self, stack: Stack, client: httpx.AsyncClient) -> None:
        super().__init__(stack, client)
        self.goals: dict[str, str] = {}

    async def connect(self, crm: PlayedCrm, quarter: tuple[date, date]) -> None:
        """People, their names in the CRM, a goal for each and one for all; the connection and its access."""
        calendar: JsonValue = {"start_month": 1, "time_zone": "UTC", "currency": "USD"}
        await self.call("PUT", "goals", "/v1/calendar", calendar)
        team = (await self.call("POST", "goals", "/v1/teams", {"name": "Company"}))["id"]
        made = await self.call("POST", "tracking", "/v1/connections", crm.connection())
        self.connection = str(made["id"])
        crm.secret = str(made["secret"])
        crm.hook_url = f"{self.url('tracking')}{made['hook_path']}"
        owners: list[tuple[str, JsonValue]] = [("", {"kind": "team", "id": team})]
        for owner in OWNERS:
            person = (await self.call("POST", "goals", "/v1/people", {"name": f"Owner {owner}"}))["id"]
            membership: JsonValue = {"person_id": person, "team_id": team, "start": "2020-01-01"}
            await self.call("POST", "goals", "/v1/memberships", membership)
            identity: JsonValue = {
                "source": made["identity_source"],
                "external_user_id": crm.user(owner),
                "person_id": person,
            }
            await self.call("POST", "goals", "/v1/identities", identity)
            owners.append((owner, {"kind": "person", "id": person}))
        for owner, subject in owners:
            goal: JsonValue = {
                "name": f"Bookings {owner}",
                "owner": subject,
                "metric": {"aggregate": "sum", "value_field": "amount", "filter": WON, "currency": "USD"},
                "target": "1000000",
                "period": {"kind": "quarter", "containing": quarter[0].isoformat()},
            }
            self.goals[owner] = await self.activated_goal(goal)
        if made["source"] != "standard_webhooks":
            await self.call("PUT", "tracking", f"/v1/connections/{self.connection}/api-access", crm.access())

    async def set_status(self, status: str) -> None:
        """Take deliveries, or refuse them."""
        path = f"/v1/connections/{self.connection}"
        version = (await self.call("GET", "tracking", path))["version"]
        await self.call("PATCH", "tracking", path, {"status": status}, version=version)

    async def send(self, webhooks: Sequence[Webhook], hook_url: str) -> None:
        """Deliver these, a few at a time; each is to be answered with success."""
        waiting = deque(webhooks)
        await asyncio.gather(*(deliver(waiting, urlsplit(hook_url)) for _ in range(_CONCURRENT)))

    async def values(self) -> dict[str, Decimal]:
        """Where each goal stands, by owner."""
        found = {}
        for owner, goal_id in self.goals.items():
            found[owner] = await self.value_of(goal_id)
        return found

    async def stands(self, wanted: Mapping[str, Decimal]) -> bool:
        return await self.values() == dict(wanted)

    async def comes_to_stand(self, wanted: Mapping[str, Decimal]) -> None:
        """Wait until every goal is where it is wanted, to the cent."""
        try:
            await eventually(lambda: self.stands(wanted), 60.0, expectation="progress to the cent")
        except AssertionError as error:
            values = await self.values()
            wrong = {owner: (values[owner], value) for owner, value in wanted.items() if values[owner] != value}
            raise AssertionError(f"{error}; {wrong}; {await self._described()}") from error

    async def reconcile(self) -> None:
        """Reconcile on demand, and find that something had been missed."""
        run = await self.call("POST", "tracking", f"/v1/connections/{self.connection}/reconcile")
        path = f"/v1/connections/{self.connection}/reconciliations/{run['id']}"
        latest: dict[str, JsonValue] = {}

        async def is_done() -> bool:
            latest.update(await self.call("GET", "tracking", path))
            return latest["state"] == "done"

        try:
            await eventually(is_done, 60.0, expectation="the reconciliation to be done")
        except AssertionError as error:
            raise AssertionError(f"{error}: {latest}") from error
        assert int(str(latest["missed"])) > 0, latest

    async def _described(self) -> str:
        """Where deliveries stand, for a failure."""
        quarantined = await self.call("GET", "tracking", "/v1/deliveries?state=quarantined&limit=3")
        waiting = await self.call("GET", "tracking", "/v1/deliveries?state=received&limit=3")
        return f"quarantined: {quarantined['items']}, waiting: {waiting['items']}"


async def deliver(waiting: deque[Webhook], hook: SplitResult) -> None:
    """Send what waits over one connection, one after another: a tenth of the work that it is for a client's pool."""
    reader, writer = await asyncio.open_connection(hook.hostname, hook.port)
    try:
        while waiting:
            webhook = waiting.popleft()
            headers = {"host": hook.netloc, "content-length": str(len(webhook.body)), **webhook.headers}
            lines = [f"{webhook.method} {hook.path}{webhook.path} HTTP/1.1", *map(": ".join, headers.items()), "", ""]
            writer.write("\r\n".join(lines).encode() + webhook.body)
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            length = re.search(r"\r\ncontent-length: (\d+)\r\n", head, re.IGNORECASE)
            body = await reader.readexactly(int(length[1]) if length else 0)
            assert head.startswith("HTTP/1.1 2"), f"{head}{body.decode()}"
    finally:
        writer.close()


def this_quarter() -> tuple[date, date]:
    today = datetime.now(UTC).date()
    first = date(today.year, today.month - (today.month - 1) % 3, 1)
    return first, (first + timedelta(days=95)).replace(day=1)


@pytest.fixture
def quarter() -> Iterator[tuple[date, date]]:
    yield this_quarter()


@pytest.mark.parametrize("source", CRMS)
async def test_the_same_deals_through_each_crm_end_in_the_same_progress(
    stack: Stack, quarter: tuple[date, date], source: str
) -> None:
    """Every webhook arrives, in any order within a wave, every fifth of them twice.

    Of a source that says nothing of deletions a reconciliation finds them.
    """
    async with AsyncExitStack() as exits:
        crm = CRMS[source]()
        await exits.enter_async_context(crm.served())
        company = ConnectedCompany(stack, await exits.enter_async_context(httpx.AsyncClient(timeout=30)))
        await company.connect(crm, quarter)
        start = datetime.now(UTC).replace(microsecond=0)
        waves = story(start, quarter)
        chance = random.Random(SEED)
        silent = False
        for wave in waves:
            await play(crm, wave)
            webhooks = crm.drained()
            told = {deal_id for webhook in webhooks for deal_id in webhook.about}
            silent |= any(step.deal is None and step.deal_id not in told for step in wave)
            webhooks += chance.sample(webhooks, len(webhooks) // 5)
            chance.shuffle(webhooks)
            await company.send(webhooks, crm.hook_url)
        assert silent == (source == "salesforce")
        if silent:
            await company.reconcile()
        await company.comes_to_stand(expected(waves))


@pytest.mark.parametrize("source", CRMS)
async def test_after_reconciliation_nothing_is_missing_although_a_tenth_of_the_webhooks_was_lost(
    stack: Stack, quarter: tuple[date, date], source: str
) -> None:
    """For a sender without an API it is the sender that makes up for it: it sends again what was not answered."""
    async with AsyncExitStack() as exits:
        crm = CRMS[source]()
        await exits.enter_async_context(crm.served())
        company = ConnectedCompany(stack, await exits.enter_async_context(httpx.AsyncClient(timeout=30)))
        await company.connect(crm, quarter)
        waves = story(datetime.now(UTC).replace(microsecond=0), quarter)
        chance = random.Random(SEED)
        lost: list[Webhook] = []
        for wave in waves:
            await play(crm, wave)
            webhooks = crm.drained()
            gone = set(chance.sample(range(len(webhooks)), len(webhooks) // 10))
            lost += [webhook for index, webhook in enumerate(webhooks) if index in gone]
            await company.send([each for index, each in enumerate(webhooks) if index not in gone], crm.hook_url)
        assert lost
        if source == "standard_webhooks":
            assert not await company.stands(expected(waves))
            await company.send(lost, crm.hook_url)
        else:
            await company.reconcile()
        await company.comes_to_stand(expected(waves))


async def test_what_a_ban_of_webhooks_swallowed_is_found(stack: Stack, quarter: tuple[date, date]) -> None:
    """Ten deliveries in a row are refused; Pipedrive then sends nothing for half an hour, and nothing of it later."""
    async with AsyncExitStack() as exits:
        crm = PlayedPipedrive()
        await exits.enter_async_context(crm.served())
        company = ConnectedCompany(stack, await exits.enter_async_context(httpx.AsyncClient(timeout=30)))
        await company.connect(crm, quarter)
        waves = story(datetime.now(UTC).replace(microsecond=0), quarter)
        await play(crm, waves[0][:100])
        await company.send(crm.drained(), crm.hook_url)
        await company.set_status("disabled")
        await play(crm, waves[0][100:112])
        assert await crm.send(company.client, crm.hook_url) == 0
        assert crm.is_banned
        for wave in (waves[0][112:], *waves[1:]):
            await play(crm, wave)
        assert not crm.drained()
        await company.set_status("active")
        await company.reconcile()
        await company.comes_to_stand(expected(waves))


async def play(crm: PlayedCrm, wave: Sequence[Step]) -> None:
    """Let the steps of a wave happen in the CRM, when their time has come."""
    await asyncio.sleep(max(0.0, (wave[0].at - datetime.now(UTC)).total_seconds()))
    for step in wave:
        if step.deal is None:
            crm.delete(step.deal_id, step.at)
        else:
            crm.put(step.deal)
