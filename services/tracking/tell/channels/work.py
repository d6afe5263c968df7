"""Worker components of outgoing webhooks: sending what is due, and dropping what is old."""

import asyncio
from asyncio import Task
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from random import SystemRandom
from time import perf_counter
from typing import Final

import httpx

from services.tracking.tell.channels import service
from services.tracking.tell.channels.domain import mail
from services.tracking.tell.channels.domain.deliveries import (
    ANSWER_CHARACTERS_MAX,
    RETRY_AFTER_MAX,
    TEST_EVENT_TYPE,
    Attempt,
    Channel,
    Chat,
    Subscription,
    SubscriptionStatus,
    signed_headers,
)
from services.tracking.tell.channels.domain.messages import Answered, Asked, Outcome, Result, Sending
from services.tracking.tell.channels.domain.robots import ROBOTS
from services.tracking.tell.channels.mailer import Mailer
from services.tracking.tell.channels.service import Ended, Subscriptions
from services.tracking.tell.channels.store import OUTGOING_CHANNEL, Claimed
from shared.db.database import UTC_NOW, Database, Scope
from shared.http.outbound import (
    OutboundError,
    OutboundSettings,
    Resolve,
    UrlRefused,
    outbound_client,
    system_addresses,
)
from shared.kernel.errors import AttainError, Unavailable
from shared.kernel.reading import read_retry_after
from shared.telemetry import metrics
from shared.telemetry.logs import get_logger
from shared.worker.rounds import Rounds

ATTEMPT_SECONDS_MAX: Final = 15.0
_ANSWER_BYTES_READ: Final = 4 * ANSWER_CHARACTERS_MAX
# More than what is read, as an answer comes in pieces.
_ANSWER_BYTES_MAX: Final = 262_144
_LEASE: Final = timedelta(seconds=60)
_POLL_SECONDS: Final = 30.0
_RETENTION_POLL_SECONDS: Final = 3600.0
_RETENTION_CHUNK: Final = 500

_log = get_logger(__name__)
_chance: Final = SystemRandom()


def subscriber_client(
    settings: OutboundSettings,
    *,
    connections_max: int,
    timeout_seconds: float = ATTEMPT_SECONDS_MAX,
    resolve: Resolve = system_addresses,
) -> httpx.AsyncClient:
    """What subscribers are called with; close it. An attempt as a whole takes `timeout_seconds` at most."""
    return outbound_client(
        settings,
        timeout_seconds=timeout_seconds,
        response_bytes_max=_ANSWER_BYTES_MAX,
        connections_max=connections_max,
        headers={"user-agent": "Attain-Webhooks"},
        resolve=resolve,
    )


class Deliverer(Rounds):
    """Sends what is due. Any number may run; each takes what no other is at.

    No transaction is open while a request is under way. What is being sent when the process dies is sent again, under
    the same id, once its lease of a minute is over.
    """

    def __init__(
        self,
        database: Database,
        subscriptions: Subscriptions,
        client: httpx.AsyncClient,
        mailer: Mailer,
        *,
        concurrency: int,
        concurrency_each: int,
        clock: Callable[[], datetime] = UTC_NOW,
    ) -> None:
        """At most `concurrency` requests are under way here, and `concurrency_each` to one endpoint from everywhere.

        `client` is a `subscriber_client`; whoever made it closes it.
        """
        super().__init__("deliverer", every_seconds=_POLL_SECONDS, woken_by=database.channels(OUTGOING_CHANNEL))
        self._database = database
        self._subscriptions = subscriptions
        self._client = client
        self._mailer = mailer
        self._concurrency = concurrency
        self._concurrency_each = concurrency_each
        self._clock = clock
        self._under_way: set[Task[None]] = set()
        # What ends while a transaction is under way is settled together by the next.
        self._ended: list[Ended] = []
        self._settling: Task[None] | None = None

    @asynccontextmanager
    async def during(self) -> AsyncIterator[None]:
        try:
            yield
            await self._settled()
        finally:
            for task in (*self._under_way, *([] if self._settling is None else [self._settling])):
                task.cancel()

    async def round(self) -> bool:
        if await self._start_due():
            return True
        next_due_at = await self._database.run(Scope.every(), service.next_due_at)
        # What is due may not be this worker's yet, as others are at its endpoint.
        self.come_again_at(next_due_at, self._clock())
        return False

    async def _start_due(self) -> int:
        """Start as many attempts as there is room for; how many. Raises Unavailable."""
        room = self._concurrency - len(self._under_way) - len(self._ended)
        if room <= 0:
            return 0
        claimed = await self._database.run(
            Scope.every(),
            lambda tx: service.claim(tx, count_max=room, each_max=self._concurrency_each, lease=_LEASE),
        )
        for each, subscription in claimed:
            task = asyncio.create_task(self._deliver(each, subscription), name=f"deliver-{each.id}")
            self._under_way.add(task)
            task.add_done_callback(self._finished)
        return len(claimed)

    def _finished(self, task: Task[None]) -> None:
        self._under_way.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("delivery_not_attempted", exc_info=error)
        if self._ended and self._settling is None:
            self._settling = asyncio.create_task(self._settle_ended(), name="settle")

    async def _settled(self) -> None:
        """Wait until all that was started has been settled."""
        while self._under_way or self._settling is not None:
            await asyncio.wait({*self._under_way, *([] if self._settling is None else [self._settling])})
            # What is called when a task is done is called after that.
            await asyncio.sleep(0)

    async def _settle_ended(self) -> None:
        """Store how the ended attempts went, in one transaction, and then those that ended meanwhile.

        What cannot be stored is attempted again once its lease is over.
        """
        try:
            while self._ended:
                ended = list(self._ended)
                try:
                    await self._settle(ended)
                except Unavailable as error:
                    _log.warning("attempts_not_stored", attempts=len(ended), reason=error.detail)
                except Exception:
                    _log.exception("attempts_not_stored", attempts=len(ended))
                    await self._settle_each(ended)
                del self._ended[: len(ended)]
                self.wake()
        finally:
            self._settling = None

    async def _settle(self, ended: list[Ended]) -> None:
        scope = Scope.of(*(each.claimed.tenant_id for each in ended))
        for stopped in await self._database.run(scope, lambda tx: service.settle(tx, ended)):
            if stopped.status is SubscriptionStatus.DISABLED:
                metrics.OUTGOING_DISABLED.labels("gone" if stopped.is_gone else "failing").inc()
            subscription_id = str(stopped.subscription_id)
            _log.warning(f"subscription_{stopped.status}", subscription_id=subscription_id, reason=stopped.reason)

    async def _settle_each(self, ended: Sequence[Ended]) -> None:
        """Store each by itself, so that one that cannot be stored does not take its neighbours with it."""
        for each in ended:
            try:
                await self._settle([each])
            except Exception:
                _log.exception("attempt_not_stored", delivery_id=str(each.claimed.id))

    async def _deliver(self, claimed: Claimed, subscription: Subscription) -> None:
        if subscription.channel is Channel.EMAIL:
            await self._send_letter(claimed, subscription)
            return
        if subscription.chat is not None:
            await self._ask_robot(claimed, subscription, subscription.chat)
            return
        now = self._clock()
        if claimed.tries == 0 and claimed.event_type != TEST_EVENT_TYPE:
            metrics.OUTGOING_WAIT_SECONDS.observe(max(0.0, (now - claimed.occurred_at).total_seconds()))
        headers = signed_headers(
            self._subscriptions.valid_secrets(subscription, now), delivery_id=claimed.id, at=now, body=claimed.body
        )
        headers["content-type"] = "application/json"
        asked = Asked(self._subscriptions.url(subscription), claimed.body, headers)
        attempt, answer, _ = await self._attempt(asked, now)
        retry_after = None
        if answer is not None:
            retry_after = read_retry_after(answer.headers.get("retry-after", ""), now=now, maximum=RETRY_AFTER_MAX)
        self._end(claimed, attempt, retry_after)

    async def _ask_robot(self, claimed: Claimed, subscription: Subscription, chat: Chat) -> None:
        """The same through a robot, which is signed for by the moment and answers in its own words."""
        now = self._clock()
        robot = ROBOTS[subscription.channel]
        sending = Sending(
            self._subscriptions.url(subscription),
            self._subscriptions.robot_secret(chat),
            now,
            claimed.last_result == Result.FORM_REFUSED,
        )
        asked = robot.asked(service.MESSAGES.validate_json(claimed.body), sending)
        attempt, answer, may_have_arrived = await self._attempt(asked, now)
        if answer is not None:
            outcome = robot.judge(answer)
        else:
            outcome = Outcome(Result.UNKNOWN if may_have_arrived else Result.RETRY)
        attempt = replace(attempt, result=outcome.result, code=outcome.code, what_to_do=outcome.what_to_do)
        self._end(claimed, attempt, outcome.retry_after)

    async def _send_letter(self, claimed: Claimed, subscription: Subscription) -> None:
        """The same by e-mail, to all addresses or to those that the last attempt left."""
        now, started = self._clock(), perf_counter()
        letter = mail.letter(
            service.MESSAGES.validate_json(claimed.body),
            sender=self._mailer.sender,
            group=subscription.name,
            message_id=claimed.id.hex,
            at=claimed.occurred_at,
        )
        addresses = tuple(claimed.left or ()) or mail.recipients(self._subscriptions.url(subscription))
        handed = await self._mailer.hand_over(letter, addresses)
        attempt = Attempt(
            now,
            round((perf_counter() - started) * 1000),
            None,
            None,
            handed.answer[:ANSWER_CHARACTERS_MAX],
            result=handed.outcome.result,
            code=handed.outcome.code,
            what_to_do=handed.outcome.what_to_do,
            left=handed.left,
        )
        self._end(claimed, attempt, handed.outcome.retry_after)

    def _end(self, claimed: Claimed, attempt: Attempt, retry_after: timedelta | None) -> None:
        metrics.OUTGOING_ATTEMPTS.labels(_outcome(attempt)).inc()
        metrics.OUTGOING_ATTEMPT_SECONDS.observe(attempt.duration_milliseconds / 1000)
        self._ended.append(Ended(claimed, attempt, retry_after, _chance.random()))

    async def _attempt(self, asked: Asked, now: datetime) -> tuple[Attempt, Answered | None, bool]:
        """One request, its answer, and without one whether it may have arrived; the attempt has what went wrong."""
        started = perf_counter()
        error: str | None = None
        answered: Answered | None = None
        may_have_arrived = False
        try:
            async with self._client.stream("POST", asked.url, content=asked.body, headers=asked.headers) as answer:
                headers = {name.lower(): value for name, value in answer.headers.items()}
                answered = Answered(answer.status_code, headers, await _first_bytes(answer))
        except OutboundError as refused:
            error, may_have_arrived = _sentence(refused), refused.may_have_arrived
        except UrlRefused as refused:
            error = _sentence(refused)
        duration_milliseconds = round((perf_counter() - started) * 1000)
        status, text = (None, "") if answered is None else (answered.status, _first_characters(answered.body))
        return Attempt(now, duration_milliseconds, status, error, text), answered, may_have_arrived


async def _first_bytes(answer: httpx.Response) -> bytes:
    """The start of a body. That it is too long, too slow or compressed changes nothing about the status."""
    received = b""
    try:
        async for chunk in answer.aiter_raw():
            received += chunk
            if len(received) >= _ANSWER_BYTES_READ:
                break
    except OutboundError as error:
        _log.info("answer_not_read", code=error.code)
    return received[:_ANSWER_BYTES_READ]


def _first_characters(body: bytes) -> str:
    """The start of a body, as text."""
    text = body.decode("utf-8", "replace")
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}")[:ANSWER_CHARACTERS_MAX]


def _sentence(error: AttainError) -> str:
    """What went wrong, for the log that subscribers' owners read."""
    return f"{error.title}: {error.detail}"


def _outcome(attempt: Attempt) -> str:
    if attempt.result is not None:
        return attempt.result.value
    if attempt.status is None:
        return "no_answer"
    return f"{attempt.status // 100}xx"


class OutgoingRetention(Rounds):
    """Drops deliveries after some days, and what deleted subscriptions leave: once an hour, in short transactions."""

    def __init__(self, database: Database, *, retention_days: int) -> None:
        super().__init__("outgoing_retention", every_seconds=_RETENTION_POLL_SECONDS)
        self._database = database
        self._retention = timedelta(days=retention_days)

    async def round(self) -> bool:
        await self.drop_due()
        return False

    async def drop_due(self) -> None:
        """Drop everything that is due. Raises Unavailable."""
        while not self.is_stopping:
            old = await self._database.run(
                Scope.every(),
                lambda tx: service.drop_old(tx, before=tx.now - self._retention, count_max=_RETENTION_CHUNK),
            )
            deleted = await self._database.run(
                Scope.every(), lambda tx: service.drop_deleted(tx, count_max=_RETENTION_CHUNK)
            )
            if not old and not deleted:
                return
