"""Subscribing, recording what happens for subscribers, and storing how each attempt to deliver it ended."""

import json
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

from pydantic import JsonValue, TypeAdapter

from services.tracking.tell.channels import store, subscription_store
from services.tracking.tell.channels.domain import mail
from services.tracking.tell.channels.domain.deliveries import (
    TEST_EVENT_TYPE,
    Attempt,
    Channel,
    Chat,
    Delivery,
    EventType,
    Health,
    Occurrence,
    Recording,
    SubjectKey,
    Subscription,
    SubscriptionDeliveryNotFound,
    SubscriptionDeliveryState,
    SubscriptionKey,
    SubscriptionStatus,
    after_attempt,
    plan_recording,
    reason_to_disable,
    reason_to_pause,
    secret_of,
)
from services.tracking.tell.channels.domain.messages import Message, Sending
from services.tracking.tell.channels.domain.robots import ROBOTS, SPACINGS
from services.tracking.tell.channels.domain.templates import Template
from services.tracking.tell.channels.events import Published, body_of
from services.tracking.tell.channels.people import People
from services.tracking.tell.channels.store import Claimed, Settled, UnderWay
from services.tracking.tell.channels.subscription_store import SUBSCRIPTIONS
from services.tracking.tell.channels.telling import EXAMPLE_NAMES, TELLINGS, test_message
from shared.db.database import Transaction
from shared.db.sealing import SecretsBox
from shared.kernel.errors import InvalidInput, VersionMismatch, check_version
from shared.kernel.filters import Filter, first_failing
from shared.kernel.language import Language
from shared.kernel.rotation import SealedSecret

REPLAYED_MAX: Final = 10_000
MESSAGES: Final = TypeAdapter(Message)
_ENTROPY_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class WithSigningSecret:
    """A subscription and a secret just given to it, shown this once; a robot has its own."""

    subscription: Subscription
    secret: str | None


@dataclass(frozen=True, slots=True)
class Ended:
    """An attempt at a claimed delivery, and the Retry-After of its answer. `chance` is from 0 to 1."""

    claimed: Claimed
    attempt: Attempt
    retry_after: timedelta | None
    chance: float


@dataclass(frozen=True, slots=True)
class Stopped:
    """A subscription paused or disabled by what its endpoint did."""

    subscription_id: UUID
    status: SubscriptionStatus
    reason: str
    is_gone: bool


class Subscriptions:
    """The use cases around subscriptions. Secrets and addresses are sealed before they are stored."""

    def __init__(self, box: SecretsBox) -> None:
        self.box = box

    async def create(
        self,
        tx: Transaction,
        tenant_id: UUID,
        *,
        name: str,
        url: str,
        events: Mapping[EventType, Filter],
        channel: Channel = Channel.WEBHOOK,
        chat: Chat | None = None,
    ) -> WithSigningSecret:
        """Make a subscription to what happens from now on; `chat` for the group of a robot."""
        secret = None if chat is not None else secret_of(os.urandom(_ENTROPY_BYTES))
        subscription = Subscription(
            tenant_id=tenant_id,
            id=tx.new_id(),
            name=name,
            sealed_url=self.box.seal(url),
            events=events,
            secrets=() if secret is None else (self._sealed(tx, secret),),
            status=SubscriptionStatus.ACTIVE,
            status_reason=None,
            version=1,
            created_at=tx.now,
            updated_at=tx.now,
            channel=channel,
            chat=chat,
        )
        await subscription_store.add(tx, subscription)
        return WithSigningSecret(subscription, secret)

    async def rotate(
        self, tx: Transaction, tenant_id: UUID, subscription_id: UUID, *, expected_version: int, overlap: timedelta
    ) -> WithSigningSecret:
        """Give a subscription a new secret; both sign for `overlap`.

        Raises SubscriptionNotFound, VersionMismatch and SigningRotationUnderWay.
        """
        current = await _expected(tx, tenant_id, subscription_id, expected_version)
        secret = secret_of(os.urandom(_ENTROPY_BYTES))
        rotated = current.rotated(self._sealed(tx, secret), overlap=overlap, now=tx.now)
        return WithSigningSecret(await SUBSCRIPTIONS.save(tx, tenant_id, rotated), secret)

    async def edit(
        self,
        tx: Transaction,
        tenant_id: UUID,
        subscription_id: UUID,
        *,
        expected_version: int,
        name: str | None,
        url: str | None,
        check_address: Callable[[Channel, str], None],
        events: Mapping[EventType, Filter] | None,
        status: SubscriptionStatus | None,
        chat: Callable[[Chat], Chat] | None = None,
    ) -> Subscription:
        """Change what is given. Who is set to active is trusted anew. `chat` makes what a group reads of what it did.

        Raises SubscriptionNotFound, VersionMismatch, and InvalidInput for what such a channel does not have.
        """
        current = await _expected(tx, tenant_id, subscription_id, expected_version)
        if current.chat is None and chat is not None:
            raise InvalidInput.field("/chat", "is of a webhook", "leave it out, or subscribe a robot")
        check_events(current.channel, events or {})
        if url is not None:
            check_address(current.channel, url)
        if status is SubscriptionStatus.ACTIVE:
            await store.set_health(tx, tenant_id, subscription_id, Health(0, None, tx.now))
            await store.wake(tx)
        sealed_url = None if url is None else self.box.seal(url)
        edited = current.edited(
            name=name,
            sealed_url=sealed_url,
            events=events,
            status=status,
            chat=None if chat is None or current.chat is None else chat(current.chat),
            now=tx.now,
        )
        return await SUBSCRIPTIONS.save(tx, tenant_id, edited)

    def url(self, subscription: Subscription) -> str:
        """Where its deliveries are sent."""
        return self.box.open(subscription.sealed_url)

    def robot_secret(self, chat: Chat) -> str | None:
        """What a robot wants its messages signed with."""
        return None if chat.sealed_secret is None else self.box.open(chat.sealed_secret)

    def valid_secrets(self, subscription: Subscription, now: datetime) -> list[str]:
        """What its deliveries are signed with, oldest first."""
        return [self.box.open(secret.ciphertext) for secret in subscription.secrets if secret.is_valid(now)]

    def _sealed(self, tx: Transaction, value: str) -> SealedSecret:
        return SealedSecret(tx.new_id(), self.box.seal(value), tx.now)


async def get(tx: Transaction, tenant_id: UUID, subscription_id: UUID) -> Subscription:
    """A subscription of the tenant. Raises SubscriptionNotFound."""
    return await SUBSCRIPTIONS.get(tx, tenant_id, subscription_id)


async def page(tx: Transaction, tenant_id: UUID, *, after: UUID | None, limit: int) -> Sequence[Subscription]:
    """Subscriptions of the tenant in the order they were made."""
    return await SUBSCRIPTIONS.page(tx, tenant_id, after, limit)


async def retire_secret(
    tx: Transaction, tenant_id: UUID, subscription_id: UUID, secret_id: UUID, *, expected_version: int
) -> Subscription:
    """Sign with a secret no more.

    Raises SubscriptionNotFound, VersionMismatch, SigningSecretNotFound and LastSigningSecret.
    """
    current = await _expected(tx, tenant_id, subscription_id, expected_version)
    return await SUBSCRIPTIONS.save(tx, tenant_id, current.with_retired(secret_id, now=tx.now))


async def remove(tx: Transaction, tenant_id: UUID, subscription_id: UUID, *, expected_version: int) -> None:
    """Delete a subscription and, in time, its log. Raises SubscriptionNotFound and VersionMismatch."""
    current = await _expected(tx, tenant_id, subscription_id, expected_version)
    if not await subscription_store.mark_deleted(tx, current):
        raise VersionMismatch("The subscription was changed at the same time.")


async def send_test(tx: Transaction, tenant_id: UUID, subscription_id: UUID) -> Delivery:
    """Record a test event for the subscription, to be sent at once. Raises SubscriptionNotFound."""
    subscription = await get(tx, tenant_id, subscription_id)
    body = body_of(TEST_EVENT_TYPE, tx.now, f'{{"subscription_id":"{subscription.id}"}}')
    if subscription.chat is not None:
        body = MESSAGES.dump_json(test_message(subscription.chat.language))
    occurrence = Occurrence(
        tenant_id=tenant_id,
        subscription_id=subscription.id,
        event_type=TEST_EVENT_TYPE,
        subject=f"test/{tx.new_id()}",
        version=1,
        occurred_at=tx.now,
        body=body,
        coalesces=False,
    )
    await store.end_rest(tx, tenant_id, subscription_id)
    (delivery_id,) = await store.record(tx, Recording((occurrence,), (), ()))
    return await get_delivery(tx, tenant_id, subscription_id, delivery_id)


async def log(
    tx: Transaction,
    tenant_id: UUID,
    subscription_id: UUID,
    *,
    state: SubscriptionDeliveryState | None,
    before: UUID | None,
    limit: int,
) -> Sequence[Delivery]:
    """Deliveries of a subscription, newest first, without bodies. Raises SubscriptionNotFound."""
    await get(tx, tenant_id, subscription_id)
    return await store.log(tx, tenant_id, subscription_id, state=state, before=before, limit=limit)


async def get_delivery(tx: Transaction, tenant_id: UUID, subscription_id: UUID, delivery_id: UUID) -> Delivery:
    """A delivery of a subscription, with its body. Raises SubscriptionNotFound and SubscriptionDeliveryNotFound."""
    await get(tx, tenant_id, subscription_id)
    delivery = await store.find_delivery(tx, tenant_id, subscription_id, delivery_id)
    if delivery is None:
        raise SubscriptionDeliveryNotFound(f"The subscription has no delivery {delivery_id}.")
    return delivery


async def replay(tx: Transaction, tenant_id: UUID, subscription_id: UUID, delivery_id: UUID) -> Delivery:
    """Send a delivery again, whatever became of it, under the same id and by a fresh schedule.

    Raises SubscriptionNotFound and SubscriptionDeliveryNotFound.
    """
    delivery = await get_delivery(tx, tenant_id, subscription_id, delivery_id)
    await store.replay(tx, delivery)
    await store.end_rest(tx, tenant_id, subscription_id)
    return await get_delivery(tx, tenant_id, subscription_id, delivery_id)


async def replay_failed(tx: Transaction, tenant_id: UUID, subscription_id: UUID, *, since: datetime) -> int:
    """Send again what failed since a moment, oldest first, REPLAYED_MAX at most; how many.

    Raises SubscriptionNotFound.
    """
    await get(tx, tenant_id, subscription_id)
    replayed = await store.replay_failed(tx, tenant_id, subscription_id, since=since, count_max=REPLAYED_MAX)
    await store.end_rest(tx, tenant_id, subscription_id)
    return replayed


async def recording(tx: Transaction, tenant_ids: Collection[UUID]) -> Sequence[Subscription]:
    """Every subscription of these tenants that events are recorded for."""
    return await subscription_store.recording(tx, tenant_ids)


async def record(
    tx: Transaction, published: Sequence[Published], subscriptions: Sequence[Subscription], people: People
) -> Recording:
    """Record events for whoever wants them. What happened before a subscription was made is not for it.

    A group is told only what everybody who reads there may see, and of a state once.
    """
    wanted = [
        (subscription, event) for event in published for subscription in subscriptions if _wants(subscription, event)
    ]
    if not wanted:
        return Recording((), (), ())
    last = await store.last_recorded(tx, {_key(subscription, event) for subscription, event in wanted})
    occurrences = []
    for subscription, event in wanted:
        if subscription.chat is None:
            occurrences.append(
                _occurrence(subscription, event, body_of(event.event_type, event.occurred_at, event.data))
            )
        elif not (event.coalesces and _key(subscription, event) in last):
            message = await _message(tx, subscription, subscription.chat, event, people)
            if message is not None:
                occurrences.append(_occurrence(subscription, event, MESSAGES.dump_json(message)))
    planned = plan_recording(occurrences, last)
    await store.record(tx, planned)
    return planned


async def claim(
    tx: Transaction, *, count_max: int, each_max: int, lease: timedelta
) -> list[tuple[Claimed, Subscription]]:
    """Deliveries to attempt now, with their subscriptions, nobody else's until the lease is over."""
    claimed = await store.claim(tx, count_max=count_max, each_max=each_max, lease=lease, spacings=SPACINGS)
    subscriptions = await subscription_store.by_id(tx, {(each.tenant_id, each.subscription_id) for each in claimed})
    return [(each, subscriptions[each.subscription_id]) for each in claimed if each.subscription_id in subscriptions]


async def next_due_at(tx: Transaction) -> datetime | None:
    """When a delivery may be attempted next, which may be past already; None while nothing waits."""
    return await store.next_due_at(tx)


async def settle(tx: Transaction, ended: Sequence[Ended]) -> list[Stopped]:
    """Store how attempts ended; the subscriptions that are paused or disabled for it.

    An attempt that took longer than its lease is not stored: another worker is making, or has made, the next.
    """
    under_way = await store.under_way(tx, [each.claimed for each in ended])
    in_time = sorted((each for each in ended if each.claimed.id in under_way), key=lambda each: each.attempt.at)
    if not in_time:
        return []
    await store.settle(tx, [_settled(each, under_way[each.claimed.id], now=tx.now) for each in in_time])
    attempts: dict[SubscriptionKey, list[Ended]] = {}
    for each in in_time:
        attempts.setdefault(SubscriptionKey(each.claimed.tenant_id, each.claimed.subscription_id), []).append(each)
    healths = await store.healths(
        tx, {key: not all(each.attempt.succeeded for each in of_one) for key, of_one in attempts.items()}
    )
    stopped: list[Stopped] = []
    for key, health in sorted(healths.items()):
        stopped.extend(await _judged(tx, key, health, attempts[key]))
    return stopped


async def drop_old(tx: Transaction, *, before: datetime, count_max: int) -> int:
    """Drop deliveries recorded before a moment; how many."""
    return await store.drop_old(tx, before=before, count_max=count_max)


async def drop_deleted(tx: Transaction, *, count_max: int) -> int:
    """Drop what is left of deleted subscriptions; how much, 0 at the end."""
    return await store.drop_deleted(tx, count_max=count_max)


def _wants(subscription: Subscription, event: Published) -> bool:
    if event.tenant_id != subscription.tenant_id or event.occurred_at < subscription.created_at:
        return False
    wanted = subscription.events.get(event.event_type)
    return wanted is not None and first_failing(wanted, event.field) is None


async def _message(
    tx: Transaction, subscription: Subscription, chat: Chat, event: Published, people: People
) -> Message | None:
    """What a group is told of an event; None where somebody who reads there may not see it."""
    telling = TELLINGS[event.event_type]
    about = telling.about_whom(event.event)
    if not await people.all_see(tx, event.tenant_id, chat.readers, about):
        return None
    names = {} if about is None else await people.names(tx, event.tenant_id, about)
    person = telling.mentioned(event.event)
    mentions = () if person is None else await people.mentions(tx, event.tenant_id, person, subscription.channel)
    template = chat.templates.get(event.event_type) or telling.templates[chat.language]
    return template.message(telling.words_of(event.event, names), tone=telling.tone_of(event.event), mentions=mentions)


def _key(subscription: Subscription, event: Published) -> SubjectKey:
    return SubjectKey(event.tenant_id, subscription.id, event.event_type, event.subject)


def check_told(channel: Channel, event_type: EventType) -> None:
    """Raise InvalidInput unless such events are told through a robot of this channel."""
    if channel not in SPACINGS:
        raise InvalidInput.field("/channel", f"{channel} has no messages", ", ".join(sorted(SPACINGS)))
    if event_type not in TELLINGS:
        raise InvalidInput.field("/type", "is not told to groups", " or ".join(sorted(TELLINGS)))


def preview(
    channel: Channel, event_type: EventType, language: Language, template: Template | None
) -> tuple[Message, dict[str, JsonValue]]:
    """The message about an example of an event, and what the robot would be sent, unsigned; of a letter, its parts."""
    telling = TELLINGS[event_type]
    words = telling.words_of(telling.example, EXAMPLE_NAMES)
    message = (template or telling.templates[language]).message(words, tone=telling.tone_of(telling.example))
    if channel is Channel.EMAIL:
        return message, {"subject": message.title, "text": message.plain, "html": mail.html(message)}
    asked = ROBOTS[channel].asked(message, Sending("", None, datetime.min.replace(tzinfo=UTC)))
    request: dict[str, JsonValue] = json.loads(asked.body)
    return message, request


def check_events(channel: Channel, events: Collection[EventType]) -> None:
    """Raise InvalidInput for a type of event that such a channel is not told of."""
    for index, each in enumerate(events):
        if channel is not Channel.WEBHOOK and each not in TELLINGS:
            raise InvalidInput.field(
                f"/events/{index}/type", f"is not told through {channel}", " or ".join(sorted(TELLINGS))
            )


def _occurrence(subscription: Subscription, event: Published, body: bytes) -> Occurrence:
    return Occurrence(
        tenant_id=event.tenant_id,
        subscription_id=subscription.id,
        event_type=event.event_type,
        subject=event.subject,
        version=event.version,
        occurred_at=event.occurred_at,
        body=body,
        coalesces=event.coalesces and subscription.chat is None,
    )


def _settled(ended: Ended, under_way: UnderWay, *, now: datetime) -> Settled:
    verdict = after_attempt(
        under_way.state,
        ended.attempt,
        tries=under_way.tries + 1,
        retry_after=ended.retry_after,
        now=now,
        chance=ended.chance,
    )
    claimed = ended.claimed
    return Settled(claimed.tenant_id, claimed.id, verdict, under_way.tries + 1, (*under_way.attempts, ended.attempt))


async def _judged(tx: Transaction, key: SubscriptionKey, health: Health, ended: Sequence[Ended]) -> list[Stopped]:
    """Store how an endpoint is doing after these attempts, and pause or disable its subscription if that is due."""
    status, reason = SubscriptionStatus.DISABLED, None
    for each in ended:
        health = health.after(each.attempt, retry_after=each.retry_after, now=tx.now)
        reason = reason or reason_to_disable(health, each.attempt, now=tx.now)
        if reason is None and (closed := reason_to_pause(each.attempt)) is not None:
            status, reason = SubscriptionStatus.PAUSED, closed
    await store.set_health(tx, key.tenant_id, key.subscription_id, health)
    if reason is None or not await subscription_store.stop(tx, key, status, reason):
        return []
    return [Stopped(key.subscription_id, status, reason, is_gone=any(each.attempt.is_gone for each in ended))]


async def _expected(tx: Transaction, tenant_id: UUID, subscription_id: UUID, version: int) -> Subscription:
    """Not locked: who delivers locks health first and then the subscription."""
    current = await get(tx, tenant_id, subscription_id)
    check_version(current.version, version)
    return current
