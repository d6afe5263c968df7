"""Subscriptions and the log of their deliveries on the wire."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Annotated, Final, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, JsonValue, StringConstraints

from services.tracking.tell.channels.domain.deliveries import (
    Delivery,
    EventType,
    Subscription,
    SubscriptionDeliveryState,
    SubscriptionStatus,
    message_id,
)
from services.tracking.tell.channels.events import KINDS
from services.tracking.tell.channels.service import WithSigningSecret
from shared.contracts.base import Instant
from shared.contracts.texts import Name
from shared.http.schemas import body_example, example
from shared.http.secrets import SecretAnswer
from shared.kernel.errors import InvalidInput
from shared.kernel.filters import Filter, filter_to_json, parse_filter
from shared.kernel.rotation import OVERLAP_DAYS_MAX

_FILTER_EXAMPLE: Final[dict[str, JsonValue]] = {
    "all": [
        {"field": "status", "op": "eq", "value": "active"},
        {"field": "attainment", "op": "gte", "value": "1"},
    ]
}
_EVERYTHING: Final[dict[str, JsonValue]] = {"all": []}
_EVENTS_EXAMPLE: Final[list[JsonValue]] = [
    {"type": "attain.progress.v1", "filter": _FILTER_EXAMPLE},
    {"type": "attain.earning.v1", "filter": _EVERYTHING},
]
_FIELDS: Final = "; ".join(f"`{kind.value}`: {KINDS[kind].catalogue.described}" for kind in EventType)

Url = Annotated[
    str,
    StringConstraints(min_length=1, max_length=2048),
    Field(
        description="Where to send to: https, on the public internet.",
        examples=["https://payroll.example.com/hooks/attain"],
    ),
]


class WantedEvents(BaseModel):
    """A type of event, and which of them."""

    model_config = ConfigDict(extra="forbid")

    type: EventType
    filter: dict[str, JsonValue] = Field(
        default_factory=lambda: dict(_EVERYTHING),
        description=f"All of the type when left out. Fields by type: {_FIELDS}.",
    )


Events = Annotated[list[WantedEvents], Field(min_length=1, max_length=len(EventType))]


def wanted(events: Sequence[WantedEvents]) -> Mapping[EventType, Filter]:
    """The value the rules use. Raises InvalidInput for a type that is there twice and for a filter that is wrong."""
    parsed: dict[EventType, Filter] = {}
    for index, each in enumerate(events):
        if each.type in parsed:
            raise InvalidInput.field(f"/events/{index}/type", "is there twice", "each type of event once")
        parsed[each.type] = parse_filter(each.filter, KINDS[each.type].catalogue, pointer=f"/events/{index}/filter")
    return parsed


class SubscriptionBody(BaseModel):
    """A subscription to be."""

    model_config = body_example(name="Payroll", url="https://payroll.example.com/hooks/attain", events=_EVENTS_EXAMPLE)

    name: Name
    url: Url
    events: Events


class SubscriptionChanges(BaseModel):
    """What is to change; what is left out stays. Events are replaced as a whole."""

    model_config = body_example(status="paused")

    name: Name | None = None
    url: Url | None = None
    events: Events | None = None
    status: SubscriptionStatus | None = Field(
        None,
        description="`paused` records and sends nothing; `disabled` does not record either; `active` sends what waits.",
    )


class SigningRotation(BaseModel):
    """For how long the old secret signs beside the new one."""

    model_config = body_example(overlap_seconds=86400)

    overlap_seconds: int = Field(86_400, ge=0, le=OVERLAP_DAYS_MAX * 86_400)

    @property
    def overlap(self) -> timedelta:
        return timedelta(seconds=self.overlap_seconds)


_SUBSCRIPTION_EXAMPLE: Final[dict[str, JsonValue]] = {
    "id": "01935a00-0000-7000-8000-000000000071",
    "version": 3,
    "name": "Payroll",
    "url": "https://payroll.example.com/hooks/attain",
    "events": _EVENTS_EXAMPLE,
    "status": "disabled",
    "status_reason": "The endpoint answered 410 Gone. Set the status to active once it takes deliveries again.",
    "secrets": [
        {"id": "01935a00-0000-7000-8000-000000000072", "created_at": "2026-01-05T09:12:44Z", "expires_at": None}
    ],
    "created_at": "2026-01-05T09:12:44Z",
    "updated_at": "2026-01-05T09:12:44Z",
}


class SubscriptionAnswer(BaseModel):
    """A subscription."""

    model_config = example(**_SUBSCRIPTION_EXAMPLE)

    id: UUID
    version: int
    name: str
    url: str
    events: list[WantedEvents]
    status: SubscriptionStatus
    status_reason: str | None = Field(description="Why, and what to do, where nobody set the status.")
    secrets: list[SecretAnswer]
    created_at: datetime
    updated_at: datetime

    @classmethod
    def from_subscription(cls, subscription: Subscription, url: str) -> Self:
        return cls.model_validate(
            {
                "id": subscription.id,
                "version": subscription.version,
                "name": subscription.name,
                "url": url,
                "events": [
                    {"type": kind, "filter": filter_to_json(each)} for kind, each in subscription.events.items()
                ],
                "status": subscription.status,
                "status_reason": subscription.status_reason,
                "secrets": subscription.secrets,
                "created_at": subscription.created_at,
                "updated_at": subscription.updated_at,
            },
            from_attributes=True,
        )


class SubscriptionWithSecret(SubscriptionAnswer):
    """A subscription and its new signing secret, which is not shown again."""

    model_config = example(**{**_SUBSCRIPTION_EXAMPLE, "secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"})

    secret: str = Field(description="`whsec_` and the key in Base64, as Standard Webhooks libraries take it.")

    @classmethod
    def from_result(cls, result: WithSigningSecret, url: str) -> Self:
        return cls(**vars(SubscriptionAnswer.from_subscription(result.subscription, url)), secret=result.secret)


class AttemptAnswer(BaseModel):
    """One request that was made."""

    at: datetime
    duration_milliseconds: int
    status: int | None = Field(description="What was answered; null when nothing was.")
    error: str | None = Field(description="Why there was no answer.")
    answer: str = Field(description="The first 500 characters of the answer's body.")


_DELIVERY_EXAMPLE: Final[dict[str, JsonValue]] = {
    "id": "01935a00-0000-7000-8000-000000000073",
    "webhook_id": "msg_01935a00000070008000000000000073",
    "event_type": "attain.earning.v1",
    "subject": "earning/01935a00-0000-7000-8000-000000000061",
    "event_version": 17,
    "occurred_at": "2026-03-31T18:40:03.120000Z",
    "state": "waiting",
    "due_at": "2026-03-31T18:40:08.920000Z",
    "attempts": [
        {
            "at": "2026-03-31T18:40:03.420000Z",
            "duration_milliseconds": 112,
            "status": 503,
            "error": None,
            "answer": "down for maintenance",
        }
    ],
    "created_at": "2026-03-31T18:40:03.300000Z",
    "ended_at": None,
}


class SubscriptionDeliveryAnswer(BaseModel):
    """One event for one subscription, and what became of it."""

    model_config = example(**_DELIVERY_EXAMPLE)

    id: UUID
    webhook_id: str = Field(description="The `webhook-id` of every attempt.")
    event_type: str
    subject: str
    event_version: int
    occurred_at: datetime
    state: SubscriptionDeliveryState = Field(
        description="`superseded`: a newer state of the subject was recorded before this one was delivered."
    )
    due_at: datetime | None = Field(description="The next attempt, if it is waiting: not before then.")
    attempts: list[AttemptAnswer] = Field(description="The last 30, oldest first.")
    created_at: datetime
    ended_at: datetime | None

    @classmethod
    def from_delivery(cls, delivery: Delivery) -> Self:
        return cls.model_validate(
            {
                **asdict(delivery),
                "webhook_id": message_id(delivery.id),
                "due_at": delivery.due_at if delivery.state is SubscriptionDeliveryState.WAITING else None,
            },
        )


class SubscriptionDeliveryDetail(SubscriptionDeliveryAnswer):
    """With its body."""

    model_config = example(
        **_DELIVERY_EXAMPLE, body='{"type":"attain.earning.v1","timestamp":"2026-03-31T18:40:03.120000Z","data":{}}'
    )

    body: str = Field(description="What is signed and sent, to the character.")

    @classmethod
    def from_detail(cls, delivery: Delivery) -> Self:
        return cls(**vars(SubscriptionDeliveryAnswer.from_delivery(delivery)), body=delivery.body.decode())


class ReplayFailed(BaseModel):
    """Since when."""

    model_config = body_example(since="2026-03-31T00:00:00Z")

    since: Instant = Field(description="Deliveries that failed for good from this moment on.")


class ReplayedFailed(BaseModel):
    """How many are being sent again."""

    model_config = example(deliveries=12, more=False)

    deliveries: int
    more: bool = Field(description="Whether there may be more: call again.")
