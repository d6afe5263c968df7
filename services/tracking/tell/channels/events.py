"""The events that can be subscribed to: what filters find in each, and whether a newer one makes an older superfluous.

To offer another: a member of `EventType`, and here its kind and the topic it is on. What people are told of it, if they
are, is in `telling.py`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final, Generic, TypeVar
from uuid import UUID

from services.tracking.tell.channels.domain.deliveries import EventType
from shared.contracts import alerts, earnings, progress
from shared.contracts.alerts import Alert
from shared.contracts.base import Event, utc
from shared.contracts.earnings import Earning
from shared.contracts.goals import Direction
from shared.contracts.progress import Progress
from shared.kernel.attainment import attainment
from shared.kernel.filters import Catalogue, FieldType, Record, Value

EventT = TypeVar("EventT", bound=Event)


@dataclass(frozen=True)
class Published:
    """An event as a subscription can want it: its fields for filters, and its data as JSON."""

    event_type: EventType
    tenant_id: UUID
    subject: str
    version: int
    occurred_at: datetime
    coalesces: bool
    field: Record
    data: str
    event: Event


@dataclass(frozen=True)
class Kind(Generic[EventT]):
    """One type of event."""

    event_type: EventType
    model: type[EventT]
    fields: Mapping[str, tuple[FieldType, Callable[[EventT], Value | None]]]
    version: Callable[[EventT], int]
    coalesces: bool
    """Whether who has the newest version of a subject has missed nothing."""

    @property
    def catalogue(self) -> Catalogue:
        """What a filter on such events may name."""
        return Catalogue({name: kind for name, (kind, _) in self.fields.items()})

    def published(self, event: Event, occurred_at: datetime) -> Published:
        """An event of this type as subscriptions can want it. TypeError for one of another type."""
        if not isinstance(event, self.model):
            raise TypeError(f"expected {self.event_type}, not {event.event_type}")
        return Published(
            event_type=self.event_type,
            tenant_id=event.tenant_id,
            subject=event.subject,
            version=self.version(event),
            occurred_at=occurred_at,
            coalesces=self.coalesces,
            field=lambda name: self.fields[name][1](event),
            data=event.model_dump_json(),
            event=event,
        )


def _progress_attainment(event: Progress) -> Decimal | None:
    """What filters compare: exact, where the event itself has it rounded."""
    stands = event.actual
    return attainment(
        stands.dividend,
        target=event.target,
        baseline=event.baseline,
        lower_is_better=event.direction is Direction.LOWER,
        divisor=stands.divisor,
    )


def _earning_attainment(event: Earning) -> Decimal | None:
    return None if event.quota is None else attainment(event.measure, target=event.quota)


TOPICS: Final = (progress.TOPIC, earnings.TOPIC, alerts.TOPIC)

PROGRESS: Final = Kind(
    event_type=EventType.PROGRESS,
    model=Progress,
    fields={
        "goal_id": (FieldType.TEXT, lambda event: str(event.goal_id)),
        "name": (FieldType.TEXT, lambda event: event.name),
        "status": (FieldType.TEXT, lambda event: event.status.value),
        "owner_kind": (FieldType.TEXT, lambda event: event.owner.kind),
        "owner_id": (FieldType.TEXT, lambda event: str(event.owner.id)),
        "direction": (FieldType.TEXT, lambda event: event.direction.value),
        "unit": (FieldType.TEXT, lambda event: event.unit),
        "currency": (FieldType.TEXT, lambda event: event.currency),
        "value": (FieldType.NUMBER, lambda event: event.actual.shown),
        "target": (FieldType.NUMBER, lambda event: event.target),
        "attainment": (FieldType.NUMBER, _progress_attainment),
        "start": (FieldType.DATE, lambda event: event.start),
        "end": (FieldType.DATE, lambda event: event.end),
    },
    version=lambda event: event.version,
    # The progress of a goal is a state.
    coalesces=True,
)
EARNING: Final = Kind(
    event_type=EventType.EARNING,
    model=Earning,
    fields={
        "person_id": (FieldType.TEXT, lambda event: str(event.person_id)),
        "assignment_id": (FieldType.TEXT, lambda event: str(event.assignment_id)),
        "plan_id": (FieldType.TEXT, lambda event: str(event.plan_id)),
        "component": (FieldType.TEXT, lambda event: event.component),
        "currency": (FieldType.TEXT, lambda event: event.currency),
        "measure": (FieldType.NUMBER, lambda event: event.measure),
        "quota": (FieldType.NUMBER, lambda event: event.quota),
        "attainment": (FieldType.NUMBER, _earning_attainment),
        "earned": (FieldType.NUMBER, lambda event: event.earned),
        "start": (FieldType.DATE, lambda event: event.start),
        "end": (FieldType.DATE, lambda event: event.end),
    },
    version=lambda event: event.version,
    # Each change of what somebody is paid is a fact that payroll may have to show.
    coalesces=False,
)

ALERT: Final = Kind(
    event_type=EventType.ALERT,
    model=Alert,
    fields={
        "kind": (FieldType.TEXT, lambda event: event.kind),
        "state": (FieldType.TEXT, lambda event: event.state.value),
        "severity": (FieldType.TEXT, lambda event: event.severity.value),
        "subject_type": (FieldType.TEXT, lambda event: event.subject_type),
        "subject_id": (FieldType.TEXT, lambda event: str(event.subject_id)),
        "check": (FieldType.TEXT, lambda event: event.check),
        "title": (FieldType.TEXT, lambda event: event.title),
    },
    version=lambda event: event.version,
    # Whether it is raised is a state. But what broke and was repaired before it could be delivered did break: each
    # raising and each clearing is delivered. They are few, as alerts do not flap.
    coalesces=False,
)

KINDS: Final[Mapping[EventType, Kind[Progress] | Kind[Earning] | Kind[Alert]]] = {
    kind.event_type: kind for kind in (PROGRESS, EARNING, ALERT)
}


def body_of(event_type: str, at: datetime, data: str) -> bytes:
    """The payload of Standard Webhooks; `data` is JSON."""
    return f'{{"type":"{event_type}","timestamp":"{utc(at)}","data":{data}}}'.encode()
