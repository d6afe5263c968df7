"""A re-earning: whom a change of definitions touches is worked out anew, some at a time; and how far that is."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final
from uuid import UUID

from shared.kernel.advance import Advance
from shared.kernel.approvals import Actor
from shared.kernel.errors import NotFound

CAUSES_MAX: Final = 100
"""So many of what changed at once are listed."""


class ReEarningNotFound(NotFound):
    """There is no such re-earning, or it ended months ago."""

    code = "re_earning_not_found"
    title = "Re-earning not found"


class ReEarningState(StrEnum):
    """How a re-earning stands."""

    QUEUED = "queued"
    RUNNING = "running"
    FAILED = "failed"
    """The next of it could not be worked out, and is tried again."""
    DONE = "done"


@dataclass(frozen=True, slots=True)
class ReEarning:
    """The assignments that one change made stale: `total` of them, of which `done` are worked out.

    `causes` are what changed, in the words of the ledger: `<subject> v<version>`.
    """

    id: UUID
    causes: tuple[str, ...]
    requested_by: Actor
    reason: str | None
    requested_at: datetime
    total: int
    done: int = 0
    worked_ms: int = 0
    started_at: datetime | None = None
    ended_at: datetime | None = None
    failure: str | None = None

    @property
    def state(self) -> ReEarningState:
        """By how far it is."""
        if self.ended_at is not None:
            return ReEarningState.DONE
        if self.failure is not None:
            return ReEarningState.FAILED
        return ReEarningState.QUEUED if self.started_at is None else ReEarningState.RUNNING

    @property
    def percent(self) -> int:
        """How far it is, 0 to 100; 100 only once it is done."""
        return 100 if self.ended_at is not None else self._advance.percent or 0

    @property
    def per_minute(self) -> int | None:
        """How many assignments a minute while it is worked at."""
        return self._advance.rate(60_000)

    @property
    def seconds_left(self) -> int | None:
        """At the rate so far; None where there is none yet, and once it is done."""
        return None if self.ended_at is not None else self._advance.seconds_left

    @property
    def _advance(self) -> Advance:
        return Advance(self.done, self.total, self.worked_ms)


@dataclass(frozen=True, slots=True)
class WorkedAt:
    """So many assignments of a re-earning were worked out in so long."""

    re_earning_id: UUID
    done: int
    worked_ms: int


def worked_at(re_earnings: Sequence[Iterable[UUID]], worked_ms: int) -> list[WorkedAt]:
    """What was done of each, by its id, in `worked_ms` in which these assignments were worked out.

    `re_earnings` has those of each assignment. Each gets the share of the time that its assignments are of all.
    """
    done: dict[UUID, int] = {}
    for of_assignment in re_earnings:
        for each in set(of_assignment):
            done[each] = done.get(each, 0) + 1
    return [WorkedAt(key, done[key], max(1, worked_ms * done[key] // len(re_earnings))) for key in sorted(done)]
