"""Subscriptions and the log of their deliveries on the wire."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Annotated, Final, Self
from urllib.parse import urlsplit
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, JsonValue, StringConstraints

from services.tracking.tell.channels.domain.deliveries import (
    Channel,
    Chat,
    Delivery,
    EventType,
    Subscription,
    SubscriptionDeliveryState,
    SubscriptionStatus,
    message_id,
)
from services.tracking.tell.channels.domain.messages import Result
from services.tracking.tell.channels.domain.robots import ROBOTS
from services.tracking.tell.channels.domain.templates import FACTS_MAX, TEXT_MAX, TITLE_MAX, Template
from services.tracking.tell.channels.events import KINDS
from services.tracking.tell.channels.service import WithSigningSecret
from services.tracking.tell.channels.telling import TELLINGS
from shared.contracts.base import Instant
from shared.contracts.texts import Name
from shared.http.schemas import body_example, example
from shared.http.secrets import SecretAnswer
from shared.kernel.errors import InvalidInput
from shared.kernel.filters import Filter, filter_to_json, parse_filter
from shared.kernel.language import Language
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
        description="Where to send to: https, on the public internet; of e-mail, `mailto:` and addresses with commas "
        "between them.",
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


class TemplateFact(BaseModel):
    """A label and what stands beside it."""

    model_config = ConfigDict(extra="forbid")

    label: Annotated[str, StringConstraints(min_length=1, max_length=TITLE_MAX)]
    value: Annotated[str, StringConstraints(min_length=1, max_length=TITLE_MAX)]


class TemplateBody(BaseModel):
    """What a message says. `{goal}` is the place of a word of the event."""

    model_config = ConfigDict(extra="forbid")

    title: Annotated[str, StringConstraints(min_length=1, max_length=TITLE_MAX)]
    text: str = Field("", max_length=TEXT_MAX, description="Each line is a paragraph.")
    facts: list[TemplateFact] = Field(default_factory=list, max_length=FACTS_MAX)

    def template(self, event_type: EventType, pointer: str) -> Template:
        """The value the rules use. Raises InvalidInput at `pointer` for a word that such events do not have."""
        made = Template(self.title, self.text, tuple((each.label, each.value) for each in self.facts))
        try:
            made.check(TELLINGS[event_type].words)
        except InvalidInput as error:
            raise error.under(pointer) from None
        return made


_WORDS: Final = "; ".join(
    f"`{kind.value}`: {', '.join(f'`{{{word}}}`' for word in telling.words)}" for kind, telling in TELLINGS.items()
)


class EventTemplate(TemplateBody):
    """The template for one type of event."""

    type: EventType = Field(description=f"One that groups are told of. Words by type: {_WORDS}.")


Templates = Annotated[list[EventTemplate], Field(max_length=len(TELLINGS))]
Readers = Annotated[
    list[UUID],
    Field(
        max_length=100,
        description="The people who read in the group: nothing is sent there that one of them may not see. Empty for "
        "a group of people who may see all of the company.",
    ),
]
RobotSecret = Annotated[str, StringConstraints(min_length=1, max_length=200)]


def templates_of(bodies: Sequence[EventTemplate]) -> Mapping[EventType, Template]:
    """The value the rules use. Raises InvalidInput for a type that is there twice or not told of, and wrong words."""
    found: dict[EventType, Template] = {}
    for index, each in enumerate(bodies):
        pointer = f"/chat/templates/{index}"
        if each.type not in TELLINGS:
            raise InvalidInput.field(f"{pointer}/type", "is not told to groups", " or ".join(sorted(TELLINGS)))
        if each.type in found:
            raise InvalidInput.field(f"{pointer}/type", "is there twice", "each type of event once")
        found[each.type] = each.template(each.type, pointer)
    return found


class ChatBody(BaseModel):
    """What a robot's group is to read."""

    model_config = ConfigDict(extra="forbid")

    language: Language = Language.ENGLISH
    templates: Templates = Field(default_factory=list, description="Ours where there is none.")
    readers: Readers = Field(default_factory=list)
    secret: RobotSecret | None = Field(None, description="What the robot wants messages signed with. Not shown again.")

    def chat(self, seal: Callable[[str], str]) -> Chat:
        """The value the rules use."""
        sealed = None if self.secret is None else seal(self.secret)
        return Chat(self.language, templates_of(self.templates), frozenset(self.readers), sealed)


class ChatChanges(BaseModel):
    """What of it is to change; what is left out stays. Templates and readers are replaced as a whole."""

    model_config = ConfigDict(extra="forbid")

    language: Language | None = None
    templates: Templates | None = None
    readers: Readers | None = None
    secret: RobotSecret | None = Field(None, description="Null takes it away.")

    def changed(self, chat: Chat, seal: Callable[[str], str]) -> Chat:
        """The value with these changes."""
        sealed = chat.sealed_secret
        if "secret" in self.model_fields_set:
            sealed = None if self.secret is None else seal(self.secret)
        return Chat(
            self.language or chat.language,
            chat.templates if self.templates is None else templates_of(self.templates),
            chat.readers if self.readers is None else frozenset(self.readers),
            sealed,
        )


_CHANNEL_FIELD: Final = "A system, as Standard Webhooks, or people: the robot of a chat group, or e-mail."


class SubscriptionBody(BaseModel):
    """A subscription to be."""

    model_config = body_example(name="Payroll", url="https://payroll.example.com/hooks/attain", events=_EVENTS_EXAMPLE)

    name: Name
    url: Url
    events: Events
    channel: Channel = Field(Channel.WEBHOOK, description=_CHANNEL_FIELD)
    chat: ChatBody | None = Field(None, description="Of a robot only, and all of it may be left out.")

    def chat_of(self, seal: Callable[[str], str]) -> Chat | None:
        """What the group reads; None for a system. Raises InvalidInput for a system with a chat."""
        if self.channel is Channel.WEBHOOK:
            if self.chat is not None:
                raise InvalidInput.field("/chat", "is of a webhook", "leave it out, or name another channel")
            return None
        return (self.chat or ChatBody()).chat(seal)


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
    chat: ChatChanges | None = Field(None, description="Of a robot only.")


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
    "channel": "webhook",
    "chat": None,
    "secrets": [
        {"id": "01935a00-0000-7000-8000-000000000072", "created_at": "2026-01-05T09:12:44Z", "expires_at": None}
    ],
    "created_at": "2026-01-05T09:12:44Z",
    "updated_at": "2026-01-05T09:12:44Z",
}


class ChatAnswer(BaseModel):
    """What a robot's group reads."""

    language: Language
    templates: list[EventTemplate] = Field(description="Where not ours are used.")
    readers: list[UUID]
    is_signed: bool = Field(description="Whether messages are signed with a secret of the robot.")

    @classmethod
    def of(cls, chat: Chat) -> Self:
        templates = [
            EventTemplate(
                type=kind,
                title=each.title,
                text=each.text,
                facts=[TemplateFact(label=label, value=value) for label, value in each.facts],
            )
            for kind, each in sorted(chat.templates.items())
        ]
        return cls(
            language=chat.language,
            templates=templates,
            readers=sorted(chat.readers),
            is_signed=chat.sealed_secret is not None,
        )


class SubscriptionAnswer(BaseModel):
    """A subscription."""

    model_config = example(**_SUBSCRIPTION_EXAMPLE)

    id: UUID
    version: int
    name: str
    url: str = Field(description="Of a robot, whose address is its secret, the host and the last characters alone.")
    events: list[WantedEvents]
    status: SubscriptionStatus
    status_reason: str | None = Field(description="Why, and what to do, where nobody set the status.")
    channel: Channel = Field(description=_CHANNEL_FIELD)
    chat: ChatAnswer | None = Field(description="Of a robot: what its group reads.")
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
                "url": _masked(url) if subscription.channel in ROBOTS else url,
                "channel": subscription.channel,
                "chat": None if subscription.chat is None else ChatAnswer.of(subscription.chat),
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


def _masked(url: str) -> str:
    """The address of a robot without what gives access to it."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}/…{url[-4:]}"


class SubscriptionWithSecret(SubscriptionAnswer):
    """A subscription and its new signing secret, which is not shown again."""

    model_config = example(**{**_SUBSCRIPTION_EXAMPLE, "secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"})

    secret: str | None = Field(
        description="`whsec_` and the key in Base64, as Standard Webhooks libraries take it; null for a robot."
    )

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
    result: Result | None = Field(None, description="What a robot's answer means; null of a webhook.")
    code: str | None = Field(None, description="The robot's own.")
    what_to_do: str | None = Field(None, description="Where somebody has to mend the address or the robot.")
    left: list[str] = Field(default_factory=list, description="Of a letter: the addresses that are to be tried again.")


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
        description="`superseded`: a newer state of the subject was recorded before this one was delivered. `unknown`: "
        "a robot may have taken it, and cannot tell a repeat, so it is not sent again unless you replay it."
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


class TemplatePreviewBody(BaseModel):
    """A template to try."""

    model_config = body_example(
        channel="feishu", type="attain.progress.v1", language="zh", template={"title": "{goal} {attainment}"}
    )

    channel: Channel
    type: EventType
    language: Language = Language.ENGLISH
    template: TemplateBody | None = Field(None, description="Ours in this language where it is left out.")


class TemplatePreview(BaseModel):
    """What a group would read of an event."""

    model_config = example(
        text="Darcel's bookings, Q1 100.5 %",
        request={"msg_type": "text", "content": {"text": "Darcel's bookings, Q1 100.5 %"}},
    )

    text: str = Field(description="All of it as plain text.")
    request: dict[str, JsonValue] = Field(description="What the robot would be sent, unsigned; the parts of a letter.")


class ReplayFailed(BaseModel):
    """Since when."""

    model_config = body_example(since="2026-03-31T00:00:00Z")

    since: Instant = Field(description="Deliveries that failed for good from this moment on.")


class ReplayedFailed(BaseModel):
    """How many are being sent again."""

    model_config = example(deliveries=12, more=False)

    deliveries: int
    more: bool = Field(description="Whether there may be more: call again.")
