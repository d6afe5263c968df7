"""When an alert about a connection is published, and when it is published again.

While findings move, looks come at equal intervals; otherwise when something has changed, or may have by time.
Findings that go up and down must not make a stream of alerts. A change for the worse is published soon, one for the
better once it has lasted; and how long it has to last doubles each time that it did not.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from shared.kernel.alerts import AlertKind, AlertSeverity, AlertState, Check, HealthStatus
from shared.kernel.errors import NotFound
from shared.kernel.ids import alert_id
from shared.kernel.words import counted

RAISE_AFTER_LOOKS: Final = 2
"""What needs attention is raised when it was seen so often in a row; what is broken, at once."""
CALM_LOOKS: Final = 2
"""An alert is cleared, or becomes less severe, when it was seen to be better so often in a row."""
RELAPSES_MAX: Final = 6
"""Each relapse doubles the looks that have to be calm, up to so many: 128 looks then, about an hour of 30 seconds."""
RELAPSE_WITHIN: Final = timedelta(hours=1)
"""What gets worse so soon after an improvement was published has relapsed."""
REWORDED_AFTER: Final = timedelta(hours=1)
"""A change of the sentence alone, such as of its numbers, is published no sooner than this after the last version."""

SUBJECT_TYPE: Final = "connection"
TENANT: Final = "tenant"
_DISABLED: Final = "The connection is disabled, so nobody looks at it."
_NOT_LOOKED_AT: Final = "This is not looked at any more: it does not concern the connection as it is now."


class AlertNotFound(NotFound):
    """No alert of the tenant has this id: it was never raised."""

    code = "alert_not_found"
    title = "Alert not found"


@dataclass(frozen=True, slots=True)
class Subject:
    """A connection that is looked at."""

    tenant_id: UUID
    id: UUID
    name: str


@dataclass(frozen=True, slots=True)
class Alert:
    """The last published version of what one check found of one thing."""

    tenant_id: UUID
    id: UUID
    version: int
    kind: AlertKind
    state: AlertState
    severity: AlertSeverity
    subject_type: str
    subject_id: UUID
    check: str
    title: str
    sentence: str
    raised_at: datetime
    """When it was raised the last time."""
    changed_at: datetime
    cleared_at: datetime | None

    @property
    def is_raised(self) -> bool:
        return self.state is AlertState.RAISED

    @property
    def effect(self) -> str:
        """What this version did: `raised`, `changed` or `cleared`."""
        if not self.is_raised:
            return "cleared"
        return "raised" if self.raised_at == self.changed_at else "changed"


@dataclass(frozen=True, slots=True)
class Trend:
    """What looks at one check have shown since its alert was last published."""

    bad: int = 0
    """Looks in a row that found something while no alert is raised."""
    calm: int = 0
    """Looks in a row that found less than the raised alert states."""
    ok: int = 0
    """Of these, the last ones that found nothing at all."""
    relapses: int = 0
    """In a row, each within RELAPSE_WITHIN of the improvement before it."""
    improved_at: datetime | None = None
    """When an improvement was last published."""

    @property
    def calm_looks(self) -> int:
        """How many calm looks in a row it takes for an alert to be cleared or to become less severe."""
        return CALM_LOOKS << self.relapses

    def worsened(self, now: datetime) -> "Trend":
        """After a change for the worse was published."""
        has_relapsed = self.improved_at is not None and now - self.improved_at < RELAPSE_WITHIN
        return Trend(relapses=min(self.relapses + 1, RELAPSES_MAX) if has_relapsed else 0, improved_at=self.improved_at)

    def improved(self, now: datetime) -> "Trend":
        """After a change for the better was published."""
        return Trend(relapses=self.relapses, improved_at=now)


@dataclass(frozen=True, slots=True)
class Looked:
    """The outcome of a look: the alerts to publish, and the trends to remember until the next."""

    to_publish: tuple[Alert, ...]
    trends: Mapping[str, Trend]
    reworded_at: datetime | None = None
    """When a raised alert may be published with another sentence, if it has one by then."""

    @property
    def is_moving(self) -> bool:
        """Whether the next look may have something to publish even if it finds what this one did."""
        return any(trend.bad or trend.calm for trend in self.trends.values())


def look(
    subject: Subject, checks: Sequence[Check], alerts: Mapping[str, Alert], trends: Mapping[str, Trend], now: datetime
) -> Looked:
    """What follows from a look at a connection that is active. `alerts` and `trends` are by check.

    A check that is not made any more is as one that finds nothing.
    """
    found = {check.name: (check.status, check.sentence) for check in checks}
    gone = dict.fromkeys({**alerts, **trends}, (HealthStatus.OK, _NOT_LOOKED_AT))
    to_publish: list[Alert] = []
    remembered: dict[str, Trend] = {}
    reworded: list[datetime] = []
    for name, (status, sentence) in (gone | found).items():
        seen = _Seen(subject, name, _SEVERITIES[status], sentence, now)
        alert, trend = _judged(seen, alerts.get(name), trends.get(name, Trend()))
        if alert is not None:
            to_publish.append(alert)
        if trend != Trend():
            remembered[name] = trend
        is_raised = alert or alerts.get(name)
        if is_raised is not None and is_raised.is_raised:
            in_same_words = (is_raised.title, is_raised.sentence) == (subject.name, sentence)
            reworded.append((now if in_same_words else is_raised.changed_at) + REWORDED_AFTER)
    return Looked(tuple(to_publish), remembered, min(reworded, default=None))


def next_look(looked: Looked, until: datetime | None, now: datetime, *, interval: timedelta) -> datetime | None:
    """When to look again, as long as nothing changes; None: not at all. No sooner than in an interval.

    `until`: as long as that no check has another status than at this look.
    """
    soonest = now + interval
    moments = (until, looked.reworded_at, soonest if looked.is_moving else None)
    return min((max(moment, soonest) for moment in moments if moment is not None), default=None)


def without(alerts: Mapping[str, Alert], now: datetime) -> Looked:
    """What follows when a connection is not looked at any more: all its alerts are cleared."""
    raised = [alert for alert in alerts.values() if alert.is_raised]
    return Looked(tuple(_cleared(alert, alert.title, _DISABLED, now) for alert in raised), {})


def about_dead_letters(tenant_id: UUID, topic: str, count: int, alert: Alert | None, now: datetime) -> Alert | None:
    """The alert to publish about a topic's dead letters, `count` of which wait; None when it is published already.

    Raised with the first, as each is a change that no number shows; cleared with the last.
    """
    is_raised = alert is not None and alert.is_raised
    if not count:
        return _cleared(alert, alert.title, "None waits any more.", now) if alert is not None and is_raised else None
    sentence = (
        f"{counted(count, 'record')} of {topic} could not be applied, so what they state is in no"
        f" number. `attain dead-letters` says why; once that is mended, `attain replay-dead-letters {topic}` applies"
        f" {'it' if count == 1 else 'them'}."
    )
    raised = Alert(
        tenant_id=tenant_id,
        id=alert_id(tenant_id, AlertKind.DEAD_LETTERS, topic),
        version=1 if alert is None else alert.version + 1,
        kind=AlertKind.DEAD_LETTERS,
        state=AlertState.RAISED,
        severity=AlertSeverity.BROKEN,
        subject_type=TENANT,
        subject_id=tenant_id,
        check=topic,
        title=f"Dead letters of {topic}",
        sentence=sentence,
        raised_at=now,
        changed_at=now,
        cleared_at=None,
    )
    if alert is None or not is_raised:
        return raised
    if alert.sentence == sentence or now - alert.changed_at < REWORDED_AFTER:
        return None
    return replace(raised, raised_at=alert.raised_at)


@dataclass(frozen=True, slots=True)
class _Seen:
    """What one look finds in one check. Severity None: nothing is the matter."""

    subject: Subject
    check: str
    severity: AlertSeverity | None
    sentence: str
    now: datetime


_SEVERITIES: Final[Mapping[HealthStatus, AlertSeverity | None]] = {
    HealthStatus.OK: None,
    HealthStatus.ATTENTION: AlertSeverity.ATTENTION,
    HealthStatus.BROKEN: AlertSeverity.BROKEN,
}


def _judged(seen: _Seen, alert: Alert | None, trend: Trend) -> tuple[Alert | None, Trend]:
    """The alert to publish, if any, and the trend from here on."""
    if alert is None or not alert.is_raised:
        return _judged_anew(seen, alert, trend)
    if seen.severity is alert.severity:
        return _reworded(seen, alert), replace(trend, calm=0, ok=0)
    if seen.severity is AlertSeverity.BROKEN:
        return _changed(seen, alert, seen.severity), trend.worsened(seen.now)
    trend = replace(trend, calm=trend.calm + 1, ok=0 if seen.severity is not None else trend.ok + 1)
    if seen.severity is None and trend.ok >= trend.calm_looks:
        return _cleared(alert, seen.subject.name, seen.sentence, seen.now), trend.improved(seen.now)
    if seen.severity is not None and trend.calm >= trend.calm_looks:
        return _changed(seen, alert, seen.severity), trend.improved(seen.now)
    return None, trend


def _judged_anew(seen: _Seen, alert: Alert | None, trend: Trend) -> tuple[Alert | None, Trend]:
    """While no alert is raised: whether one is to be."""
    if seen.severity is None:
        return None, replace(trend, bad=0)
    if seen.severity is AlertSeverity.ATTENTION and trend.bad + 1 < RAISE_AFTER_LOOKS:
        return None, replace(trend, bad=trend.bad + 1)
    return _raised(seen, seen.severity, 1 if alert is None else alert.version + 1), trend.worsened(seen.now)


def _raised(seen: _Seen, severity: AlertSeverity, version: int) -> Alert:
    kind = AlertKind.CONNECTION_HEALTH
    return Alert(
        tenant_id=seen.subject.tenant_id,
        id=alert_id(seen.subject.id, kind, seen.check),
        version=version,
        kind=kind,
        state=AlertState.RAISED,
        severity=severity,
        subject_type=SUBJECT_TYPE,
        subject_id=seen.subject.id,
        check=seen.check,
        title=seen.subject.name,
        sentence=seen.sentence,
        raised_at=seen.now,
        changed_at=seen.now,
        cleared_at=None,
    )


def _changed(seen: _Seen, alert: Alert, severity: AlertSeverity) -> Alert:
    """The alert as it is now."""
    return replace(
        alert,
        version=alert.version + 1,
        severity=severity,
        title=seen.subject.name,
        sentence=seen.sentence,
        changed_at=seen.now,
    )


def _reworded(seen: _Seen, alert: Alert) -> Alert | None:
    """The alert in other words, if there are any and it is time."""
    is_same = (alert.title, alert.sentence) == (seen.subject.name, seen.sentence)
    if is_same or seen.now - alert.changed_at < REWORDED_AFTER:
        return None
    return _changed(seen, alert, alert.severity)


def _cleared(alert: Alert, title: str, sentence: str, now: datetime) -> Alert:
    return replace(
        alert,
        version=alert.version + 1,
        state=AlertState.CLEARED,
        title=title,
        sentence=sentence,
        changed_at=now,
        cleared_at=now,
    )
