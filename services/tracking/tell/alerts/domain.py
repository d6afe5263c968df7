"""When what is the matter with a connection is told, and when it is told again.

While what is found moves, looks come at equal intervals; otherwise when something has changed, or may have by time.
What goes up and down must not make a stream of alerts. Worse is told soon, better is told once it has lasted; and how
long it has to last doubles each time that it did not.
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
"""What gets worse so soon after it was told to be better has relapsed."""
REWORDED_AFTER: Final = timedelta(hours=1)
"""Another sentence alone, whose numbers moved, is not told before."""

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
    """What was told last of one check of one thing."""

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
    def stands(self) -> bool:
        return self.state is AlertState.RAISED

    @property
    def effect(self) -> str:
        """What this version did: `raised`, `changed` or `cleared`."""
        if not self.stands:
            return "cleared"
        return "raised" if self.raised_at == self.changed_at else "changed"


@dataclass(frozen=True, slots=True)
class Trend:
    """What looks at one check have shown since it was last told of."""

    bad: int = 0
    """Looks in a row that found something while no alert stands."""
    calm: int = 0
    """Looks in a row that found less than the alert that stands says."""
    ok: int = 0
    """Of these, the last ones that found nothing at all."""
    relapses: int = 0
    """In a row, each within RELAPSE_WITHIN of the improvement before it."""
    improved_at: datetime | None = None
    """When it was last told that it is better."""

    @property
    def calm_looks(self) -> int:
        """How many calm looks in a row it takes for an alert to be cleared or to become less severe."""
        return CALM_LOOKS << self.relapses

    def worsened(self, now: datetime) -> "Trend":
        """After it was told that it is worse."""
        has_relapsed = self.improved_at is not None and now - self.improved_at < RELAPSE_WITHIN
        return Trend(relapses=min(self.relapses + 1, RELAPSES_MAX) if has_relapsed else 0, improved_at=self.improved_at)

    def improved(self, now: datetime) -> "Trend":
        """After it was told that it is better."""
        return Trend(relapses=self.relapses, improved_at=now)


@dataclass(frozen=True, slots=True)
class Looked:
    """What a look comes to: the alerts to tell, and the trends to remember until the next."""

    told: tuple[Alert, ...]
    trends: Mapping[str, Trend]
    reworded_at: datetime | None = None
    """When an alert that stands may be told in other words, if there are any then."""

    @property
    def is_moving(self) -> bool:
        """Whether the next look may have something to tell even if it finds what this one did."""
        return any(trend.bad or trend.calm for trend in self.trends.values())


def look(
    subject: Subject, checks: Sequence[Check], alerts: Mapping[str, Alert], trends: Mapping[str, Trend], now: datetime
) -> Looked:
    """What follows from a look at a connection that is active. `alerts` and `trends` are by check.

    A check that is not made any more is as one that finds nothing.
    """
    found = {check.name: (check.status, check.sentence) for check in checks}
    gone = dict.fromkeys({**alerts, **trends}, (HealthStatus.OK, _NOT_LOOKED_AT))
    told: list[Alert] = []
    remembered: dict[str, Trend] = {}
    reworded: list[datetime] = []
    for name, (status, sentence) in (gone | found).items():
        seen = _Seen(subject, name, _SEVERITIES[status], sentence, now)
        alert, trend = _judged(seen, alerts.get(name), trends.get(name, Trend()))
        if alert is not None:
            told.append(alert)
        if trend != Trend():
            remembered[name] = trend
        stands = alert or alerts.get(name)
        if stands is not None and stands.stands:
            in_same_words = (stands.title, stands.sentence) == (subject.name, sentence)
            reworded.append((now if in_same_words else stands.changed_at) + REWORDED_AFTER)
    return Looked(tuple(told), remembered, min(reworded, default=None))


def next_look(looked: Looked, until: datetime | None, now: datetime, *, interval: timedelta) -> datetime | None:
    """When to look again, as long as nothing changes; None: not at all. No sooner than in an interval.

    `until`: as long as that no check has another status than at this look.
    """
    soonest = now + interval
    moments = (until, looked.reworded_at, soonest if looked.is_moving else None)
    return min((max(moment, soonest) for moment in moments if moment is not None), default=None)


def without(alerts: Mapping[str, Alert], now: datetime) -> Looked:
    """What follows when a connection is not looked at any more: all its alerts are cleared."""
    standing = [alert for alert in alerts.values() if alert.stands]
    return Looked(tuple(_cleared(alert, alert.title, _DISABLED, now) for alert in standing), {})


def about_dead_letters(tenant_id: UUID, topic: str, count: int, alert: Alert | None, now: datetime) -> Alert | None:
    """What is to be told of a topic's dead letters, `count` of which wait; None when that is known already.

    Raised with the first, as each is a change that no number shows; cleared with the last.
    """
    stands = alert is not None and alert.stands
    if not count:
        return _cleared(alert, alert.title, "None waits any more.", now) if alert is not None and stands else None
    sentence = (
        f"{counted(count, 'record')} of {topic} could not be applied, so what they say is in no"
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
    if alert is None or not stands:
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
    """The alert to tell, if any, and the trend from here on."""
    if alert is None or not alert.stands:
        return _judged_anew(seen, alert, trend)
    if seen.severity is alert.severity:
        return _reworded(seen, alert), replace(trend, calm=0, ok=0)
    if seen.severity is AlertSeverity.BROKEN:
        return _told(seen, alert, seen.severity), trend.worsened(seen.now)
    trend = replace(trend, calm=trend.calm + 1, ok=0 if seen.severity is not None else trend.ok + 1)
    if seen.severity is None and trend.ok >= trend.calm_looks:
        return _cleared(alert, seen.subject.name, seen.sentence, seen.now), trend.improved(seen.now)
    if seen.severity is not None and trend.calm >= trend.calm_looks:
        return _told(seen, alert, seen.severity), trend.improved(seen.now)
    return None, trend


def _judged_anew(seen: _Seen, alert: Alert | None, trend: Trend) -> tuple[Alert | None, Trend]:
    """While no alert stands: whether one is to be raised."""
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


def _told(seen: _Seen, alert: Alert, severity: AlertSeverity) -> Alert:
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
    return _told(seen, alert, alert.severity)


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
