"""Every topic: its events, its retention, its partitions."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from shared.contracts import activities, actuals, alerts, deals, earnings, goals, org, progress
from shared.contracts.base import Event


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """A topic. `retention` None means compacted: the newest snapshot of every subject is kept for ever."""

    name: str
    events: tuple[type[Event], ...]
    partitions: int
    retention: timedelta | None
    producer: str

    @property
    def dead_letters(self) -> str:
        """Where records go that no consumer of the topic can ever apply."""
        return f"{self.name}.dlq"


DEAD_LETTER_RETENTION = timedelta(days=90)

TOPICS: Mapping[str, TopicSpec] = {
    spec.name: spec
    for spec in (
        TopicSpec(
            org.TOPIC,
            (org.Calendar, org.Person, org.Team, org.Membership, org.Identity, org.ExchangeRates),
            3,
            None,
            producer="goals",
        ),
        TopicSpec(goals.TOPIC, (goals.Goal, goals.StatedValue), 3, None, producer="goals"),
        TopicSpec(deals.TOPIC, (deals.Deal,), 6, None, producer="tracking"),
        TopicSpec(activities.TOPIC, (activities.Activity,), 6, None, producer="tracking"),
        TopicSpec(progress.TOPIC, (progress.Progress,), 6, None, producer="tracking"),
        TopicSpec(actuals.TOPIC, (actuals.Actuals,), 3, None, producer="tracking"),
        TopicSpec(alerts.TOPIC, (alerts.Alert,), 3, None, producer="tracking"),
        TopicSpec(
            earnings.TOPIC,
            (earnings.Earning, earnings.Inquiry, earnings.PayPeriod, earnings.Payout),
            6,
            timedelta(days=90),
            producer="incentives",
        ),
    )
}

EVENT_TYPES: Mapping[str, type[Event]] = {event.event_type: event for spec in TOPICS.values() for event in spec.events}
