"""Sends the script to the two hooks as CRMs do, and listens to what it does to the numbers."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final
from uuid import UUID

import httpx

from deploy.local.api import AttainApi, Resource
from deploy.local.demo import company
from deploy.local.demo.board import Board, GoalNumber
from deploy.local.demo.expectation import Expectation
from deploy.local.demo.script import Act, Channel, Delivery, UserMapped
from deploy.local.demo.seeding import Hook, SeededCompany
from deploy.local.errors import StackError
from deploy.local.traffic.webhooks import PipedriveSender, WebhookSender
from services.incentives.earnings.schemas import EarningAnswer

_KNOWN_SECONDS_MAX: Final = 60.0
_FIRST_EVENTS_SECONDS_MAX: Final = 2.0
_SETTLED_SECONDS_MAX: Final = 60.0
_EARNINGS_POLL_SECONDS: Final = 0.5
_POLL_SECONDS: Final = 0.1
_TICK_SECONDS: Final = 0.15
_HOOK_TIMEOUT_SECONDS: Final = 30.0
_FORGED_SECRET: Final = "whsec_" + "Zm9yZ2VkLXNlY3JldC1vZi1ub2JvZHkta25vd24="


@dataclass(frozen=True, slots=True)
class Sent:
    """An act that was sent and how it was answered; None for what is not a delivery."""

    act: Act
    status: int | None


class Player:
    """One performance of the script."""

    def __init__(self, api: AttainApi, seeded: SeededCompany, expectation: Expectation, board: Board) -> None:
        self._api = api
        self._seeded = seeded
        self._expectation = expectation
        self._board = board
        self._stream = f"/v1/teams/{seeded.root_team_id}/progress/stream"
        self.log: list[Sent] = []

    async def until_known(self) -> None:
        """Wait until tracking has heard of every goal and of who is in the company. `StackError` when it does not."""
        deadline = asyncio.get_running_loop().time() + _KNOWN_SECONDS_MAX
        while not await self._all_goals_streamed():
            if asyncio.get_running_loop().time() > deadline:
                raise StackError(f"Tracking did not hear of the seeded goals within {_KNOWN_SECONDS_MAX:.0f} s.")
            await asyncio.sleep(_POLL_SECONDS)

    async def play(self, acts: Sequence[Act], *, seconds: float, tick: Callable[[], None]) -> None:
        """Send the acts over `seconds`, listen meanwhile, and return when every number has stopped where it must.

        Numbers that are elsewhere a minute after the last act stay as they are: the checks afterwards say so.
        """
        listening = [asyncio.create_task(work) for work in (self._listen(), self._watch_earnings(), _ticking(tick))]
        sending = asyncio.create_task(self._send(acts, seconds))
        try:
            done, _ = await asyncio.wait([sending, *listening], return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
            await self._until_settled(listening)
        finally:
            for task in (sending, *listening):
                task.cancel()
            await asyncio.gather(sending, *listening, return_exceptions=True)
        tick()

    def settled(self) -> bool:
        """Whether every goal and everyone's pay is what the acts amount to."""
        return self.goals_differ() == [] and self.pay_differs() == []

    def goals_differ(self) -> list[str]:
        """The goals whose number is not what it must be: one line each."""
        return [
            *_differences(self._seeded.bookings_goals, self._expectation.bookings, self._board.goals, "booked"),
            *_differences(self._seeded.deals_goals, self._expectation.deals, self._board.goals, "won"),
        ]

    def pay_differs(self) -> list[str]:
        """Those who have earned something else than they must: one line each."""
        earned = {key: self._board.earned.get(self._seeded.people[key], Decimal(0)) for key in self._expectation.earned}
        return [
            f"{key} earned {earned[key]}, expected {must}"
            for key, must in self._expectation.earned.items()
            if earned[key] != must
        ]

    def expected_pay(self) -> Mapping[UUID, Decimal]:
        """What everybody who sells must have earned, by person."""
        return {self._seeded.people[key]: must for key, must in self._expectation.earned.items()}

    def expected_of_company(self) -> tuple[Decimal, int]:
        """What the whole company must have booked, in how many deals."""
        return self._expectation.bookings.get(None, Decimal(0)), self._expectation.deals.get(None, 0)

    async def _send(self, acts: Sequence[Act], seconds: float) -> None:
        loop = asyncio.get_running_loop()
        self._board.started_at = datetime.now(UTC)
        started_at = loop.time()
        async with httpx.AsyncClient(timeout=_HOOK_TIMEOUT_SECONDS, trust_env=False) as client:
            crms = _Crms(client, self._seeded.hooks)
            for index, act in enumerate(acts):
                await asyncio.sleep(max(0.0, started_at + seconds * index / len(acts) - loop.time()))
                await self._perform(act, crms)

    async def _perform(self, act: Act, crms: "_Crms") -> None:
        board = self._board
        status: int | None = None
        if isinstance(act, UserMapped):
            body = {
                "source": company.CRM_SOURCE,
                "external_user_id": act.source_user,
                "person_id": str(self._seeded.people[act.employee]),
            }
            await self._api.goals.post("/v1/identities", Resource, body, idempotency_key=f"demo/{act.source_user}")
        else:
            board.latency.started(datetime.now(UTC))
            status = await crms.send(act)
            answered_at = datetime.now(UTC)
            board.latency.answered(answered_at)
            board.answered(status, answered_at)
        self.log.append(Sent(act, status))
        board.sent += 1
        if act.story is not None:
            refused = status is not None and status >= httpx.codes.BAD_REQUEST
            board.narrate(act.story + (f": {status}, refused" if refused else ""), datetime.now(UTC))

    async def _listen(self) -> None:
        company_goal = self._seeded.bookings_goals[None]
        async with aclosing(self._api.tracking.events(self._stream)) as events:
            async for event in events:
                arrived_at = datetime.now(UTC)
                number = GoalNumber.model_validate_json(event.data)
                is_newer = self._board.moved(number)
                if is_newer and number.goal_id == company_goal and number.received_at is not None:
                    self._board.latency.arrived(number.received_at, arrived_at)
        raise StackError("The live stream of the company's progress ended.")

    async def _watch_earnings(self) -> None:
        while True:
            earned: dict[UUID, Decimal] = {}
            for earning in await self._api.incentives.items("/v1/earnings", EarningAnswer):
                earned[earning.person_id] = earned.get(earning.person_id, Decimal(0)) + earning.earned
            self._board.earned = earned
            await asyncio.sleep(_EARNINGS_POLL_SECONDS)

    async def _until_settled(self, listening: Sequence["asyncio.Task[None]"]) -> None:
        deadline = asyncio.get_running_loop().time() + _SETTLED_SECONDS_MAX
        while not self.settled() and asyncio.get_running_loop().time() < deadline:
            for task in listening:
                if task.done():
                    task.result()
            await asyncio.sleep(_POLL_SECONDS)

    async def _all_goals_streamed(self) -> bool:
        missing = set(self._seeded.goal_ids)
        try:
            async with (
                asyncio.timeout(_FIRST_EVENTS_SECONDS_MAX),
                aclosing(self._api.tracking.events(self._stream)) as events,
            ):
                async for event in events:
                    number = GoalNumber.model_validate_json(event.data)
                    self._board.moved(number)
                    missing.discard(number.goal_id)
                    if not missing:
                        return True
        except (TimeoutError, StackError):
            return False
        return False


class _Crms:
    """The two senders, and one who has no secret."""

    def __init__(self, client: httpx.AsyncClient, hooks: Mapping[Channel, Hook]) -> None:
        crm, pipedrive = hooks[Channel.CRM], hooks[Channel.PIPEDRIVE]
        self._crm = WebhookSender(client, crm.url, crm.secret)
        self._forger = WebhookSender(client, crm.url, _FORGED_SECRET)
        self._pipedrive = PipedriveSender(client, pipedrive.url, pipedrive.secret)

    async def send(self, delivery: Delivery) -> int:
        """The status of the answer."""
        if delivery.channel is Channel.PIPEDRIVE:
            return await self._pipedrive.send_body(delivery.body)
        sender = self._forger if delivery.forged else self._crm
        return await sender.send_body(delivery.id, delivery.body)


async def _ticking(tick: Callable[[], None]) -> None:
    while True:
        tick()
        await asyncio.sleep(_TICK_SECONDS)


def _differences(
    goals: Mapping[str | None, UUID],
    expected: Mapping[str | None, Decimal] | Mapping[str | None, int],
    numbers: Mapping[UUID, GoalNumber],
    verb: str,
) -> list[str]:
    found = []
    for key, goal_id in goals.items():
        number, must = numbers.get(goal_id), expected.get(key, 0)
        if number is None or number.value != must:
            actual = "nothing" if number is None else str(number.value)
            found.append(f"{key or company.NAME} has {verb} {actual}, expected {must}")
    return found
