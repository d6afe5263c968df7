"""What the terminal shows while the stream runs, updated by those who send and listen."""

from collections import deque
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from math import ceil
from typing import Final
from uuid import UUID

from pydantic import BaseModel

_RATE_WINDOW_SECONDS: Final = 3.0
_STORY_LINES_MAX: Final = 40


class GoalNumber(BaseModel):
    """The progress of a goal, from the live stream."""

    goal_id: UUID
    version: int
    value: Decimal
    target: Decimal
    deals: int
    received_at: datetime | None


@dataclass(slots=True)
class _Sending:
    started_at: datetime
    answered_at: datetime | None = None


class LatencyMeter:
    """From the start of a webhook's POST to the arrival of the live event that carries its change.

    An event names the moment its newest delivery was accepted, and that lies between the start and the answer of just
    one POST, as they are sent one after the other. A delivery whose change was published together with a newer one's is
    not measured.
    """

    def __init__(self) -> None:
        self._sendings: list[_Sending] = []
        self._measured: set[datetime] = set()
        self._seconds: list[float] = []

    def started(self, at: datetime) -> None:
        """A POST begins."""
        self._sendings.append(_Sending(at))

    def answered(self, at: datetime) -> None:
        """The POST that began last was answered."""
        self._sendings[-1].answered_at = at

    def arrived(self, received_at: datetime, at: datetime) -> None:
        """A live event arrived, whose newest delivery was accepted at `received_at`."""
        if received_at in self._measured:
            return
        for sending in reversed(self._sendings):
            if sending.started_at <= received_at:
                if sending.answered_at is None or received_at <= sending.answered_at:
                    self._measured.add(received_at)
                    self._seconds.append((at - sending.started_at).total_seconds())
                return

    def percentile_milliseconds(self, share: float) -> int | None:
        """The nearest-rank percentile; None before the first sample."""
        if not self._seconds:
            return None
        ordered = sorted(self._seconds)
        return round(1000 * ordered[max(0, ceil(share * len(ordered)) - 1)])


@dataclass(frozen=True, slots=True)
class StoryLine:
    """What happened, and how long after the start."""

    seconds: float
    text: str


@dataclass(slots=True)
class Board:
    """The state of the show. `to_send` is how many acts there are; `answers` counts by HTTP status."""

    to_send: int
    started_at: datetime | None = None
    sent: int = 0
    answers: dict[int, int] = field(default_factory=dict)
    goals: dict[UUID, GoalNumber] = field(default_factory=dict)
    earned: dict[UUID, Decimal] = field(default_factory=dict)
    latency: LatencyMeter = field(default_factory=LatencyMeter)
    story: deque[StoryLine] = field(default_factory=lambda: deque(maxlen=_STORY_LINES_MAX))
    lines_written: int = 0
    _recent: deque[datetime] = field(default_factory=deque)

    def answered(self, status: int, at: datetime) -> None:
        """A delivery was answered."""
        self.answers[status] = self.answers.get(status, 0) + 1
        self._recent.append(at)

    def narrate(self, text: str, at: datetime) -> None:
        """Narrate."""
        seconds = 0.0 if self.started_at is None else (at - self.started_at).total_seconds()
        self.story.append(StoryLine(seconds, text))
        self.lines_written += 1

    def moved(self, number: GoalNumber) -> bool:
        """A live event arrived; whether it is newer."""
        current = self.goals.get(number.goal_id)
        if current is not None and current.version >= number.version:
            return False
        self.goals[number.goal_id] = number
        return True

    def deliveries_per_second(self, at: datetime) -> float:
        """Over the last three seconds."""
        since = at - timedelta(seconds=_RATE_WINDOW_SECONDS)
        while self._recent and self._recent[0] < since:
            self._recent.popleft()
        return len(self._recent) / _RATE_WINDOW_SECONDS
