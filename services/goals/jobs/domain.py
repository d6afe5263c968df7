"""A job: work on many things that goes on for a while, its states, and how far it is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Final, Self
from uuid import UUID

from shared.kernel.advance import Advance
from shared.kernel.approvals import Actor
from shared.kernel.errors import AttainError, Conflict, FieldError, Forbidden, NotFound

PROBLEMS_MAX: Final = 100
"""So many of a job's problems are listed; all are counted."""


class JobNotFound(NotFound):
    """There is no such job, or the caller may not see it."""

    code = "job_not_found"
    title = "Job not found"


class JobNotInState(Conflict):
    """The job is not in a state that can be left that way."""

    code = "job_not_in_state"
    title = "Job is in another state"


class JobOfAnother(Forbidden):
    """The caller sees the job and neither requested it nor may change those of others."""

    code = "job_of_another"
    title = "Job of somebody else"


class JobState(StrEnum):
    """The state of a job."""

    QUEUED = "queued"
    RUNNING = "running"
    PAUSED = "paused"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Failure:
    """What ended a job."""

    code: str
    detail: str
    fields: tuple[FieldError, ...] = ()

    @classmethod
    def of(cls, error: AttainError) -> Self:
        return cls(error.code, error.detail, error.fields[:PROBLEMS_MAX])


@dataclass(frozen=True, slots=True)
class Chunk:
    """What was done of a job in one transaction.

    `done` is how much of the total that was, `cursor` where to go on, None at the end. `counts` says what became of how
    many, in words of the kind of job; `problems` are things that were left out, and why. `total`: as it turned out.
    """

    done: int
    cursor: str | None
    counts: Mapping[str, int] = field(default_factory=dict)
    problems: Sequence[FieldError] = ()
    total: int | None = None


@dataclass(frozen=True, slots=True)
class JobFilter:
    """Which jobs are wanted; None narrows nothing down."""

    kind: str | None = None
    state: JobState | None = None
    requested_by: UUID | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """Work of one kind. `version` counts what people change of it, and its end.

    `parameters` is what its kind of work needs to know. Every change it makes is its requester's, for its `reason`.
    `cursor` is how far it is, `worked_ms` how long it was worked at.
    """

    id: UUID
    kind: str
    parameters: Mapping[str, object]
    requested_by: Actor
    requested_at: datetime
    reason: str | None = None
    total: int | None = None
    version: int = 1
    state: JobState = JobState.QUEUED
    done: int = 0
    worked_ms: int = 0
    cursor: str | None = None
    counts: Mapping[str, int] = field(default_factory=dict)
    problems: tuple[FieldError, ...] = ()
    failure: Failure | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None

    @property
    def percent(self) -> int | None:
        """How far it is, 0 to 100; 100 only once it is done. None where nobody knows how much there is."""
        return 100 if self.state is JobState.DONE else self._advance.percent

    @property
    def per_minute(self) -> int | None:
        """How many things a minute while it is worked at."""
        return self._advance.rate(60_000)

    @property
    def seconds_left(self) -> int | None:
        """At the rate so far; None where there is none yet, and while it is not worked at."""
        return self._advance.seconds_left if self.state is JobState.RUNNING else None

    def worked(self, chunk: Chunk, *, worked_ms: int, now: datetime) -> "Job":
        """With a chunk more; done where that was the last."""
        counts = {**self.counts}
        for name, count in chunk.counts.items():
            counts[name] = counts.get(name, 0) + count
        advanced = replace(
            self,
            state=JobState.RUNNING,
            total=self.total if chunk.total is None else chunk.total,
            done=self.done + chunk.done,
            worked_ms=self.worked_ms + worked_ms,
            cursor=chunk.cursor,
            counts=counts,
            problems=(*self.problems, *chunk.problems)[:PROBLEMS_MAX],
            started_at=self.started_at or now,
        )
        if chunk.cursor is not None:
            return advanced
        return replace(advanced, version=self.version + 1, state=JobState.DONE, ended_at=now)

    def paused(self) -> "Job":
        """Not gone on with. Raises JobNotInState."""
        self._needs(JobState.QUEUED, JobState.RUNNING)
        return replace(self, version=self.version + 1, state=JobState.PAUSED)

    def resumed(self) -> "Job":
        """Gone on with where it stopped. Raises JobNotInState."""
        self._needs(JobState.PAUSED, JobState.FAILED)
        return replace(self, version=self.version + 1, state=JobState.QUEUED, failure=None, ended_at=None)

    def cancelled(self, now: datetime) -> "Job":
        """Given up; what was done of it stays. Raises JobNotInState."""
        self._needs(JobState.QUEUED, JobState.RUNNING, JobState.PAUSED, JobState.FAILED)
        return replace(self, version=self.version + 1, state=JobState.CANCELLED, ended_at=now)

    def failed(self, failure: Failure, now: datetime) -> "Job":
        """Ended by something that waiting does not mend; what was done of it stays."""
        return replace(self, version=self.version + 1, state=JobState.FAILED, failure=failure, ended_at=now)

    @property
    def _advance(self) -> Advance:
        return Advance(self.done, self.total, self.worked_ms)

    def _needs(self, *states: JobState) -> None:
        if self.state not in states:
            accepted = " or ".join(states)
            raise JobNotInState(f"The job is {self.state}; only one that is {accepted} can be changed so.")
