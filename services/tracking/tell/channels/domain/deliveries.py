"""Subscriptions of systems and of people: which events each wants, what is recorded, and what follows an attempt."""

import hmac
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final
from uuid import UUID

from services.tracking.tell.channels.domain.messages import Result
from services.tracking.tell.channels.domain.templates import Template
from shared.kernel.errors import Conflict, NotFound
from shared.kernel.filters import Filter
from shared.kernel.language import Language
from shared.kernel.rotation import SealedSecret, with_secret, without_secret

_SYMMETRIC_PREFIX: Final = "whsec_"

RETRY_SECONDS: Final = (5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400)
"""From a failed attempt to the next: 5 s, 5 m, 30 m, 2 h, 5 h, 10 h, 14 h, 20 h, 24 h. The first attempt is at once.

The schedule of https://www.standardwebhooks.com: ten attempts in a little more than three days.
"""
ROBOT_RETRY_SECONDS: Final = (1, 2, 4, 60, 300, 1_800, 7_200, 18_000, 36_000)
"""The same for a message to people that is known not to have arrived: soon, as it is about now, and then seldom."""
TRIES_MAX: Final = len(RETRY_SECONDS) + 1
JITTER_SHARE: Final = 0.1
RETRY_AFTER_MAX: Final = timedelta(days=1)

FAILURES_BEFORE_REST: Final = 3
"""So many failures in a row make an endpoint rest: between rests it gets one delivery at a time."""
REST_SECONDS_FIRST: Final = 5
REST_SECONDS_MAX: Final = 300
RETRY_AFTER_REST_MAX: Final = timedelta(hours=1)

FAILING_DAYS_MAX: Final = 5
FAILURES_BEFORE_DISABLED: Final = TRIES_MAX

ATTEMPTS_STORED_MAX: Final = 30
ANSWER_CHARACTERS_MAX: Final = 500

_OK: Final = range(200, 300)
_GONE: Final = 410


class EventType(StrEnum):
    """What can be subscribed to. `services.tracking.tell.channels.events` lists the fields of each."""

    PROGRESS = "attain.progress.v1"
    EARNING = "attain.earning.v1"
    ALERT = "attain.alert.v1"


TEST_EVENT_TYPE: Final = "attain.test.v1"
"""Of the event that is sent on request, whatever is subscribed to."""


class Channel(StrEnum):
    """What events are sent through: to systems as Standard Webhooks, to people by a chat's robot or by e-mail."""

    WEBHOOK = "webhook"
    FEISHU = "feishu"
    DINGTALK = "dingtalk"
    WECOM = "wecom"
    SLACK = "slack"
    WORKTILE = "worktile"
    EMAIL = "email"


class SubscriptionStatus(StrEnum):
    """Paused: events are recorded and wait. Disabled: events are not recorded; what waits already goes on waiting."""

    ACTIVE = "active"
    PAUSED = "paused"
    DISABLED = "disabled"


class SubscriptionDeliveryState(StrEnum):
    """Superseded: a newer state of the same subject was recorded before this one could be delivered.

    Unknown: a robot, which cannot tell a repeat, may have taken it or not; nobody but a person sends it again.
    """

    WAITING = "waiting"
    DELIVERED = "delivered"
    FAILED = "failed"
    SUPERSEDED = "superseded"
    UNKNOWN = "unknown"


class SubscriptionNotFound(NotFound):
    """No subscription of the tenant has this id."""

    code = "subscription_not_found"
    title = "Subscription not found"


class SubscriptionDeliveryNotFound(NotFound):
    """The subscription's log has no delivery with this id; those of old are dropped."""

    code = "subscription_delivery_not_found"
    title = "Delivery not found"


class SigningSecretNotFound(NotFound):
    """The subscription has no valid secret with this id."""

    code = "signing_secret_not_found"
    title = "Signing secret not found"


class SigningRotationUnderWay(Conflict):
    """Two secrets are valid already: retire the old one before the next rotation."""

    code = "signing_rotation_under_way"
    title = "Rotation under way"


class SignedByRobot(Conflict):
    """A robot wants messages signed with a secret of its own; there is none of ours to rotate or to retire."""

    code = "signed_by_robot"
    title = "Signed by the robot's secret"


class LastSigningSecret(Conflict):
    """A subscription has at least one secret: rotate first, or disable the subscription."""

    code = "last_signing_secret"
    title = "Last signing secret"


@dataclass(frozen=True, slots=True)
class Chat:
    """What a group reads, in a chat or by e-mail: in which language, by which templates if not ours, and who reads.

    `readers` are the people in the group: nothing leaves that one of them may not see. Without any it is a group of
    people who see the whole company.
    """

    language: Language
    templates: Mapping[EventType, Template]
    readers: frozenset[UUID]
    sealed_secret: str | None
    """What the robot wants its messages signed with."""


@dataclass(frozen=True, slots=True)
class Subscription:
    """One endpoint of one tenant: for each type of event it wants, which of them."""

    tenant_id: UUID
    id: UUID
    name: str
    sealed_url: str
    events: Mapping[EventType, Filter]
    secrets: tuple[SealedSecret, ...]
    status: SubscriptionStatus
    status_reason: str | None
    """A sentence, where the status was not set by a person."""
    version: int
    created_at: datetime
    updated_at: datetime
    channel: Channel = Channel.WEBHOOK
    chat: Chat | None = None
    """Of a robot's."""

    def edited(
        self,
        *,
        name: str | None,
        sealed_url: str | None,
        events: Mapping[EventType, Filter] | None,
        status: SubscriptionStatus | None,
        now: datetime,
        chat: Chat | None = None,
    ) -> "Subscription":
        """With what is given changed."""
        return replace(
            self._changed(now),
            name=name or self.name,
            sealed_url=sealed_url or self.sealed_url,
            events=self.events if events is None else events,
            status=status or self.status,
            status_reason=self.status_reason if status is None else None,
            chat=chat or self.chat,
        )

    def rotated(self, secret: SealedSecret, *, overlap: timedelta, now: datetime) -> "Subscription":
        """With a new secret; the old one signs beside it for `overlap` more.

        Raises SigningRotationUnderWay and SignedByRobot.
        """
        self._require_own_secret()
        secrets = with_secret(self.secrets, secret, overlap=overlap, now=now)
        if secrets is None:
            raise SigningRotationUnderWay("Two secrets are valid; retire the old one first.")
        return replace(self._changed(now), secrets=secrets)

    def with_retired(self, secret_id: UUID, *, now: datetime) -> "Subscription":
        """Without one of its secrets. Raises SigningSecretNotFound, and LastSigningSecret when none would be left."""
        self._require_own_secret()
        remaining = without_secret(self.secrets, secret_id, now=now)
        if remaining is None:
            raise SigningSecretNotFound("The subscription has no valid secret with this id.")
        if not remaining:
            raise LastSigningSecret("This is the only secret of the subscription.")
        return replace(self._changed(now), secrets=remaining)

    def _require_own_secret(self) -> None:
        if self.chat is not None:
            raise SignedByRobot("Messages are signed with the robot's secret: change chat.secret.")

    def _changed(self, now: datetime) -> "Subscription":
        return replace(self, version=self.version + 1, updated_at=now)


@dataclass(frozen=True, slots=True)
class Occurrence:
    """An event for a subscription: a version of a subject, and the body that will be signed and sent."""

    tenant_id: UUID
    subscription_id: UUID
    event_type: str
    subject: str
    version: int
    occurred_at: datetime
    body: bytes
    coalesces: bool
    """Whether a newer version makes one that was not delivered yet superfluous."""

    @property
    def key(self) -> "SubjectKey":
        return SubjectKey(self.tenant_id, self.subscription_id, self.event_type, self.subject)


@dataclass(frozen=True, slots=True, order=True)
class SubscriptionKey:
    """One subscription of one tenant."""

    tenant_id: UUID
    subscription_id: UUID


@dataclass(frozen=True, slots=True, order=True)
class SubjectKey:
    """One thing as one subscription sees it."""

    tenant_id: UUID
    subscription_id: UUID
    event_type: str
    subject: str


@dataclass(frozen=True, slots=True)
class LastRecorded:
    """The newest version recorded of a subject, and its delivery, as far as the log still has it."""

    version: int
    delivery_id: UUID
    is_waiting: bool
    is_untouched: bool
    """No attempt was made, nor is one under way: nobody has seen its id yet."""


@dataclass(frozen=True, slots=True)
class Recording:
    """What a batch of occurrences comes to: new deliveries, newer bodies for untouched ones, and superseded ones."""

    added: tuple[Occurrence, ...]
    renewed: tuple[tuple[UUID, Occurrence], ...]
    superseded: tuple[tuple[SubjectKey, UUID], ...]


def plan_recording(occurrences: Sequence[Occurrence], last: Mapping[SubjectKey, LastRecorded]) -> Recording:
    """What to record. A version that was recorded before, or an older one, is not recorded again.

    Of a coalescing subject only the newest version is: in the place of the one before while nobody has seen that,
    beside it, superseding it, when it is waiting for another attempt. Of others every version is, in their order.
    """
    fresh: dict[SubjectKey, dict[int, Occurrence]] = {}
    for each in occurrences:
        known = last.get(each.key)
        if known is None or each.version > known.version:
            fresh.setdefault(each.key, {}).setdefault(each.version, each)
    added: list[Occurrence] = []
    renewed: list[tuple[UUID, Occurrence]] = []
    superseded: list[tuple[SubjectKey, UUID]] = []
    for key, versions in sorted(fresh.items()):
        in_order = [versions[version] for version in sorted(versions)]
        known = last.get(key)
        if not in_order[-1].coalesces:
            added.extend(in_order)
        elif known is not None and known.is_untouched:
            renewed.append((known.delivery_id, in_order[-1]))
        else:
            added.append(in_order[-1])
            if known is not None and known.is_waiting:
                superseded.append((key, known.delivery_id))
    return Recording(tuple(added), tuple(renewed), tuple(superseded))


@dataclass(frozen=True, slots=True)
class Attempt:
    """One request that was made, and what came back: a status, or why there was none."""

    at: datetime
    duration_milliseconds: int
    status: int | None
    error: str | None
    answer: str
    """The first characters of what was answered."""
    result: Result | None = None
    """What a robot's answer means; None of a webhook, where the status says all."""
    code: str | None = None
    """The robot's own."""
    what_to_do: str | None = None
    left: tuple[str, ...] = ()
    """Of a letter that was taken for some: the addresses that are to be tried again."""

    @property
    def succeeded(self) -> bool:
        return self.status in _OK if self.result is None else self.result is Result.SENT

    @property
    def is_gone(self) -> bool:
        """Whether the endpoint answered never to be called again."""
        return self.result is None and self.status == _GONE


@dataclass(frozen=True, slots=True)
class Delivery:
    """One event for one subscription, and what became of it."""

    tenant_id: UUID
    id: UUID
    subscription_id: UUID
    event_type: str
    subject: str
    event_version: int
    occurred_at: datetime
    state: SubscriptionDeliveryState
    tries: int
    """Attempts since it was recorded or replayed; which place of the schedule it is at."""
    due_at: datetime
    created_at: datetime
    ended_at: datetime | None
    attempts: tuple[Attempt, ...] = ()
    body: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of a delivery after an attempt; `due_at` is when it is tried again, while it is waiting."""

    state: SubscriptionDeliveryState
    due_at: datetime | None


def after_attempt(
    state: SubscriptionDeliveryState,
    attempt: Attempt,
    *,
    tries: int,
    retry_after: timedelta | None,
    now: datetime,
    chance: float,
) -> Verdict:
    """What follows the attempt number `tries` of a delivery that was in `state` meanwhile.

    A message that may have arrived is left to people. One that waits for somebody to mend the address waits with its
    subscription, which is paused.

    `chance`, from 0 to 1, lengthens the wait by up to JITTER_SHARE of it, so that what failed together does not come
    back together. The endpoint's Retry-After is respected too, up to a day; after the first attempt that alone. Later
    attempts come no sooner than the schedule has it, so that no endpoint uses them all up at once.
    """
    if attempt.succeeded:
        return Verdict(SubscriptionDeliveryState.DELIVERED, None)
    if state is not SubscriptionDeliveryState.WAITING:
        return Verdict(state, None)
    match attempt.result:
        case Result.UNKNOWN:
            return Verdict(SubscriptionDeliveryState.UNKNOWN, None)
        case Result.REFUSED:
            return Verdict(SubscriptionDeliveryState.FAILED, None)
        case Result.CLOSED:
            return Verdict(SubscriptionDeliveryState.WAITING, now)
        case Result.FORM_REFUSED if tries < TRIES_MAX:
            return Verdict(SubscriptionDeliveryState.WAITING, now)
    if attempt.is_gone or tries >= TRIES_MAX:
        return Verdict(SubscriptionDeliveryState.FAILED, None)
    seconds = (RETRY_SECONDS if attempt.result is None else ROBOT_RETRY_SECONDS)[tries - 1]
    wait = timedelta(seconds=seconds) * (1 + JITTER_SHARE * chance)
    if retry_after is not None:
        requested = min(retry_after, RETRY_AFTER_MAX)
        wait = requested if tries == 1 else max(wait, requested)
    return Verdict(SubscriptionDeliveryState.WAITING, now + wait)


@dataclass(frozen=True, slots=True)
class Health:
    """How an endpoint has been doing since it last took a delivery. It gets nothing before `rest_until`."""

    failures: int
    failing_since: datetime | None
    rest_until: datetime

    def after(self, attempt: Attempt, *, retry_after: timedelta | None, now: datetime) -> "Health":
        """How it is doing after one more attempt."""
        if attempt.succeeded:
            return Health(0, None, now)
        failures = self.failures + 1
        rest = min(retry_after or timedelta(0), RETRY_AFTER_REST_MAX)
        if failures >= FAILURES_BEFORE_REST:
            doublings = min(failures - FAILURES_BEFORE_REST, REST_SECONDS_MAX.bit_length())
            rest = max(rest, timedelta(seconds=min(REST_SECONDS_MAX, REST_SECONDS_FIRST * 2**doublings)))
        rest_until = max(self.rest_until, now + rest)
        return Health(failures, self.failing_since or now, rest_until)


def reason_to_pause(attempt: Attempt) -> str | None:
    """What somebody has to do before a robot takes anything, as a sentence; None where that is nothing."""
    if attempt.result is not Result.CLOSED:
        return None
    return f"{attempt.what_to_do or 'The robot takes nothing.'} Then set the status to active: what waits is sent."


def reason_to_disable(health: Health, attempt: Attempt, *, now: datetime) -> str | None:
    """Why an endpoint is to be called no more after this attempt, as a sentence with what to do; None if it is."""
    if attempt.is_gone:
        return "The endpoint answered 410 Gone. Set the status to active once it takes deliveries again."
    if (
        health.failing_since is None
        or health.failures < FAILURES_BEFORE_DISABLED
        or now - health.failing_since < timedelta(days=FAILING_DAYS_MAX)
    ):
        return None
    last = attempt.error or f"status {attempt.status}"
    return (
        f"All {health.failures} attempts since {health.failing_since:%Y-%m-%d %H:%M} UTC failed, the last one with "
        f"{last}. Repair the endpoint, then set the status to active."
    )


def secret_of(entropy: bytes) -> str:
    """A signing secret as it is shown: `whsec_` and Base64, of 24 to 64 random bytes."""
    return _SYMMETRIC_PREFIX + b64encode(entropy).decode()


def message_id(delivery_id: UUID) -> str:
    """The `webhook-id` of a delivery, the same for each of its attempts."""
    return f"msg_{delivery_id.hex}"


def signature(secret: str, *, webhook_id: str, timestamp_seconds: int, body: bytes) -> str:
    """`v1` of Standard Webhooks: HMAC-SHA256 of id, Unix time and body with the key that the secret stands for."""
    signed = f"{webhook_id}.{timestamp_seconds}.".encode() + body
    digest = hmac.digest(b64decode(secret.removeprefix(_SYMMETRIC_PREFIX)), signed, "sha256")
    return f"v1,{b64encode(digest).decode()}"


def signed_headers(secrets: Sequence[str], *, delivery_id: UUID, at: datetime, body: bytes) -> dict[str, str]:
    """The three headers of Standard Webhooks for an attempt, with one signature for each secret."""
    webhook_id, timestamp_seconds = message_id(delivery_id), int(at.timestamp())
    return {
        "webhook-id": webhook_id,
        "webhook-timestamp": str(timestamp_seconds),
        "webhook-signature": " ".join(
            signature(secret, webhook_id=webhook_id, timestamp_seconds=timestamp_seconds, body=body)
            for secret in secrets
        ),
    }
