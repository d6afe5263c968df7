"""What people are told of events: the words of each, our own templates, whom it is about, and how it looks.

A state is told to a robot's group once for each subject, when it first passes the filter: progress that goes on moving
says nothing new to people. Each change of an alert is told.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Final, Generic, TypeVar
from uuid import UUID

from services.tracking.tell.channels.domain.deliveries import EventType
from services.tracking.tell.channels.domain.messages import Message, Tone
from services.tracking.tell.channels.domain.templates import Template
from shared.contracts.alerts import Alert
from shared.contracts.base import Event
from shared.contracts.goals import Direction, GoalStatus, Subject
from shared.contracts.progress import Progress
from shared.kernel.alerts import AlertSeverity, AlertState
from shared.kernel.attainment import shown
from shared.kernel.language import Language

EventT = TypeVar("EventT", bound=Event)

Names = Mapping[UUID, str]
"""Of people and teams."""

_PERCENT_UNIT: Final = Decimal("0.001")


@dataclass(frozen=True)
class Telling(Generic[EventT]):
    """How one type of event is told."""

    model: type[EventT]
    words: Mapping[str, Callable[[EventT, Names], str]]
    templates: Mapping[Language, Template]
    tone: Callable[[EventT], Tone]
    about: Callable[[EventT], UUID | None]
    """The person or team whose it is; None for what is about the whole company."""
    person: Callable[[EventT], UUID | None]
    """Who is mentioned."""
    example: EventT

    def words_of(self, event: Event, names: Names) -> Mapping[str, str]:
        """The words of an event of this type. TypeError for one of another type."""
        own = self._own(event)
        return {name: word(own, names) for name, word in self.words.items()}

    def tone_of(self, event: Event) -> Tone:
        """How it looks."""
        return self.tone(self._own(event))

    def about_whom(self, event: Event) -> UUID | None:
        """The person or team whose it is."""
        return self.about(self._own(event))

    def mentioned(self, event: Event) -> UUID | None:
        """The person whose attention it asks for."""
        return self.person(self._own(event))

    def _own(self, event: Event) -> EventT:
        if not isinstance(event, self.model):
            raise TypeError(f"{event.event_type} is not told as {self.model.event_type}")
        return event


def _number(value: Decimal) -> str:
    text = f"{value:,f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _percent(ratio: Decimal | None) -> str:
    read = shown(ratio, _PERCENT_UNIT)
    return "" if read is None else f"{_number(read * 100)} %"


def _progress_tone(event: Progress) -> Tone:
    if event.actual.has_reached(event.target, lower_is_better=event.direction is Direction.LOWER):
        return Tone.GOOD
    return Tone.NEUTRAL


def _alert_tone(event: Alert) -> Tone:
    if event.state is AlertState.CLEARED:
        return Tone.GOOD
    return Tone.BROKEN if event.severity is AlertSeverity.BROKEN else Tone.ATTENTION


PROGRESS: Final = Telling(
    model=Progress,
    words={
        "goal": lambda event, _: event.name,
        "owner": lambda event, names: names.get(event.owner.id, ""),
        "value": lambda event, _: _number(event.value),
        "target": lambda event, _: _number(event.target),
        "unit": lambda event, _: event.unit,
        "attainment": lambda event, _: _percent(event.attainment),
        "deals": lambda event, _: str(event.deals),
        "start": lambda event, _: event.start.isoformat(),
        "end": lambda event, _: event.end.isoformat(),
    },
    templates={
        Language.ENGLISH: Template(
            "{goal}: {attainment}",
            facts=(("Owner", "{owner}"), ("Value", "{value} of {target} {unit}"), ("Period", "{start} to {end}")),
        ),
        Language.CHINESE: Template(
            "{goal}：{attainment}",
            facts=(("负责人", "{owner}"), ("完成", "{value} / {target} {unit}"), ("周期", "{start} 至 {end}")),
        ),
    },
    tone=_progress_tone,
    about=lambda event: event.owner.id,
    person=lambda event: event.owner.id if event.owner.kind == "person" else None,
    example=Progress(
        tenant_id=UUID(int=0),
        goal_id=UUID("01935a00-0000-7000-8000-000000000031"),
        version=412,
        goal_version=3,
        status=GoalStatus.ACTIVE,
        name="Darcel's bookings, Q1",
        owner=Subject(kind="person", id=UUID("01935a00-0000-7000-8000-000000000011")),
        value=Decimal("251320.5"),
        target=Decimal(250_000),
        baseline=Decimal(0),
        attainment=Decimal("1.005282"),
        direction=Direction.HIGHER,
        unit="USD",
        currency="USD",
        start="2027-01-01",
        end="2027-04-01",
        deals=41,
        received_at="2027-03-01T11:59:59.6Z",
        changed_at="2027-03-01T12:00:00Z",
    ),
)
ALERT: Final = Telling(
    model=Alert,
    words={
        "title": lambda event, _: event.title,
        "sentence": lambda event, _: event.sentence,
        "kind": lambda event, _: event.kind,
        "check": lambda event, _: event.check,
        "state": lambda event, _: event.state.value,
        "severity": lambda event, _: event.severity.value,
    },
    templates={
        Language.ENGLISH: Template("{title}: {severity}, {state}", "{sentence}"),
        Language.CHINESE: Template("{title}：{severity}，{state}", "{sentence}"),
    },
    tone=_alert_tone,
    about=lambda _: None,
    person=lambda _: None,
    example=Alert(
        tenant_id=UUID(int=0),
        id=UUID("01935a00-0000-7000-8000-000000000081"),
        version=1,
        kind="connection_health",
        state=AlertState.RAISED,
        severity=AlertSeverity.BROKEN,
        subject_type="connection",
        subject_id=UUID("01935a00-0000-7000-8000-000000000041"),
        check="signatures",
        title="Salesforce",
        sentence="12 of the last 40 deliveries had no valid signature. Enter the secret of the sender again.",
        raised_at="2027-03-01T12:00:00Z",
        changed_at="2027-03-01T12:00:00Z",
        cleared_at=None,
    ),
)

TELLINGS: Final[Mapping[EventType, Telling[Progress] | Telling[Alert]]] = {
    EventType.PROGRESS: PROGRESS,
    EventType.ALERT: ALERT,
}
"""What a robot's group can be told."""

EXAMPLE_NAMES: Final[Names] = {PROGRESS.example.owner.id: "Darcel Schlecht"}

_TESTS: Final = {
    Language.ENGLISH: Message("Attain", ("This is a test. What the group subscribed to will be told here.",)),
    Language.CHINESE: Message("Attain", ("这是一条测试消息。订阅的内容会发到这里。",)),
}


def test_message(language: Language) -> Message:
    """What is told on request, whatever is subscribed to."""
    return _TESTS[language]
