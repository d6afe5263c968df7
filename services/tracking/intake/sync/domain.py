"""Walks through a source's records: reconciliations and backfills, their states and how far they are."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final
from uuid import UUID

from shared.kernel.advance import Advance
from shared.kernel.errors import Conflict, NotFound

EVERY_MINUTES_DEFAULT: Final = 15
EVERY_MINUTES_MAX: Final = 7 * 24 * 60
OVERLAP: Final = timedelta(minutes=10)
"""A walk starts so much before the mark: for clocks that differ, and for what a source shows late."""
USERS_EVERY: Final = timedelta(hours=1)
_RECENT_MAX: Final = 2000


class RunKind(StrEnum):
    """Why a source's records are walked through."""

    RECONCILIATION = "reconciliation"
    BACKFILL = "backfill"


class RunState(StrEnum):
    """The state of a walk."""

    RUNNING = "running"
    PAUSED = "paused"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Phase(StrEnum):
    """What a walk is fetching."""

    COUNT = "count"
    CHANGED = "changed"
    DELETED = "deleted"
    USERS = "users"


class Finding(StrEnum):
    """What a record that the source gave turned out to be."""

    KNOWN = "known"
    """Known as it is."""
    NEW = "new"
    CHANGED = "changed"
    DELETED = "deleted"
    UNREADABLE = "unreadable"
    """It cannot be translated: it is stored alone, and goes to quarantine."""
    UNCOMPARED = "uncompared"
    """It is stored without having been compared."""


class RunNotFound(NotFound):
    """The connection has no such run."""

    code = "run_not_found"
    title = "Run not found"


class BackfillOpen(Conflict):
    """The connection has a backfill that is running or paused."""

    code = "backfill_open"
    title = "Backfill is open"


class RunNotInState(Conflict):
    """The run is not in a state that can be left that way."""

    code = "run_not_in_state"
    title = "Run is in another state"


@dataclass(frozen=True, slots=True)
class Found:
    """How many records of a page were what."""

    seen: int = 0
    new: int = 0
    changed: int = 0
    deleted: int = 0
    unreadable: int = 0


@dataclass(frozen=True, slots=True)
class Run:
    """One walk. `since` None: through everything. `worked_ms`: how long it was worked at.

    `requested_at`: when it was last requested. It finds what there was by then.
    """

    tenant_id: UUID
    id: UUID
    connection_id: UUID
    kind: RunKind
    with_users: bool
    since: datetime | None
    requested_at: datetime
    due_at: datetime
    phase: Phase
    version: int = 1
    state: RunState = RunState.RUNNING
    cursor: str | None = None
    total: int | None = None
    seen: int = 0
    new: int = 0
    changed: int = 0
    deleted: int = 0
    unreadable: int = 0
    calls: int = 0
    worked_ms: int = 0
    error: str | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    lease_id: UUID | None = None
    recent: tuple[str, ...] = ()
    """While it is worked at, digests of the records that came last and ids of what was found deleted: pages overlap."""

    @property
    def missed(self) -> int:
        """How many records webhooks had missed, or stated otherwise."""
        return self.new + self.changed + self.deleted

    @property
    def percent(self) -> int | None:
        """How far it is, 0 to 100; 100 only once it is done. None where the source does not say how much there is."""
        return 100 if self.state is RunState.DONE else self._advance.percent

    @property
    def records_per_hour(self) -> int | None:
        """While it is worked at."""
        return self._advance.rate(3_600_000)

    @property
    def seconds_left(self) -> int | None:
        """At the rate so far; None where there is none yet."""
        return self._advance.seconds_left if self.state is RunState.RUNNING else None

    @property
    def _advance(self) -> Advance:
        return Advance(self.seen, self.total, self.worked_ms)

    def paused(self) -> "Run":
        """Not gone on with. Raises RunNotInState."""
        self._needs(RunState.RUNNING)
        return replace(self._changed(), state=RunState.PAUSED)

    def resumed(self, now: datetime) -> "Run":
        """Gone on with where it stopped. Raises RunNotInState."""
        self._needs(RunState.PAUSED, RunState.FAILED)
        return replace(self._changed(), state=RunState.RUNNING, error=None, ended_at=None, due_at=now, lease_id=None)

    def cancelled(self, now: datetime) -> "Run":
        """Given up. Raises RunNotInState."""
        self._needs(RunState.RUNNING, RunState.PAUSED)
        return replace(self._changed(), state=RunState.CANCELLED, ended_at=now, lease_id=None, recent=())

    def failed(self, error: str, now: datetime) -> "Run":
        """Ended by something that waiting does not mend."""
        return replace(self._changed(), state=RunState.FAILED, error=error, ended_at=now, lease_id=None)

    def postponed(self, until: datetime, error: str | None) -> "Run":
        """Gone on with later."""
        return replace(self, due_at=until, error=error or self.error, lease_id=None)

    def worked(self, found: Found, *, calls: int, worked_ms: int, recent: Sequence[str] = ()) -> "Run":
        """With a page more, of what is known as `recent` from then on."""
        return replace(
            self,
            seen=self.seen + found.seen,
            new=self.new + found.new,
            changed=self.changed + found.changed,
            deleted=self.deleted + found.deleted,
            unreadable=self.unreadable + found.unreadable,
            calls=self.calls + calls,
            worked_ms=self.worked_ms + worked_ms,
            recent=(*self.recent, *recent)[-_RECENT_MAX:],
            error=None,
        )

    def requested_again(self, now: datetime) -> "Run":
        """To find all that there is at this moment too, although the walk may have passed it."""
        return replace(self._changed(), requested_at=now, with_users=True)

    def moved(self, next_cursor: str | None, now: datetime) -> "Run":
        """At the next page, the next phase, or the end; or at the beginning, where it was requested meanwhile."""
        if next_cursor is not None:
            return replace(self, cursor=next_cursor)
        phases = _PHASES[self.kind]
        remaining = [phase for phase in phases[phases.index(self.phase) + 1 :] if self._asks_for(phase)]
        if remaining:
            return replace(self, phase=remaining[0], cursor=None)
        if self.started_at is not None and self.requested_at > self.started_at:
            return replace(self, phase=phases[0], cursor=None, started_at=now)
        return replace(self._changed(), state=RunState.DONE, cursor=None, ended_at=now, lease_id=None, recent=())

    def _asks_for(self, phase: Phase) -> bool:
        return phase is not Phase.USERS or self.with_users

    def _changed(self) -> "Run":
        return replace(self, version=self.version + 1)

    def _needs(self, *states: RunState) -> None:
        if self.state not in states:
            accepted = " or ".join(state.value for state in states)
            raise RunNotInState(f"The run is {self.state.value}; only one that is {accepted} can be changed so.")


_PHASES: Final = {
    RunKind.RECONCILIATION: (Phase.CHANGED, Phase.DELETED, Phase.USERS),
    RunKind.BACKFILL: (Phase.COUNT, Phase.CHANGED),
}


def first_phase(kind: RunKind) -> Phase:
    """What a walk fetches first."""
    return _PHASES[kind][0]


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """How a connection is reconciled. `every_minutes` 0: only on demand."""

    tenant_id: UUID
    connection_id: UUID
    version: int = 0
    every_minutes: int = EVERY_MINUTES_DEFAULT
    due_at: datetime | None = None
    mark: datetime | None = None
    users_at: datetime | None = None
    unreadable: tuple[str, ...] = ()

    def since(self, connected_at: datetime) -> datetime:
        """From when on the next run fetches. What was before the connection was made is the backfill's."""
        return (self.mark or connected_at) - OVERLAP

    def wants_users(self, now: datetime) -> bool:
        """Whether it is time to fetch the users again."""
        return self.users_at is None or self.users_at + USERS_EVERY <= now


@dataclass(frozen=True, slots=True)
class ChannelState:
    """A subscription of a connection. `secret_id`: the secret it sends along."""

    tenant_id: UUID
    connection_id: UUID
    channel_id: str
    due_at: datetime
    secret_id: UUID | None = None
    expires_at: datetime | None = None
    failures: int = 0
    error: str | None = None
    opened_at: datetime | None = None
    """When it was opened or renewed last."""

    def opened(self, secret_id: UUID, expires_at: datetime, now: datetime) -> "ChannelState":
        """Open until a moment; to be renewed when half of that time is over."""
        return replace(
            self,
            secret_id=secret_id,
            expires_at=expires_at,
            due_at=now + max((expires_at - now) / 2, timedelta(minutes=1)),
            failures=0,
            error=None,
            opened_at=now,
        )

    def failed(self, error: str, now: datetime, *, until: datetime | None, is_refused: bool) -> "ChannelState":
        """To be tried again; as a new one where the source refused to renew it."""
        pause = min(timedelta(seconds=15) * (1 << min(self.failures, 8)), timedelta(minutes=30))
        return replace(
            self,
            due_at=max(now + pause, until or now),
            expires_at=None if is_refused else self.expires_at,
            failures=self.failures + 1,
            error=error,
        )


def channel_id(connection_id: UUID) -> str:
    """The id of a connection's channel: of digits, the same for the same connection."""
    return str(10**17 + connection_id.int % (9 * 10**17))
