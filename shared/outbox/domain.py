"""What the relay sends next, what it may delete, and what it holds back: decided here, without I/O or a clock.

Order is kept within a lane, which is a topic and a key. A failed message holds its lane back: later messages of the
lane wait until it has gone out, messages of other lanes do not.
"""

from collections import defaultdict
from collections.abc import Collection, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, TypeVar


class Lane(NamedTuple):
    """Messages of one lane are published in order."""

    topic: str
    key: str


ItemT = TypeVar("ItemT", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Progress(Generic[ItemT]):
    """How far a pass has come: the rounds still to send, what the broker has, and the lanes that are stuck."""

    rounds: tuple[tuple[tuple[ItemT, Lane], ...], ...]
    acknowledged: frozenset[ItemT] = frozenset()
    stuck: frozenset[Lane] = frozenset()

    @property
    def next_round(self) -> tuple[tuple[ItemT, Lane], ...]:
        """What can be sent now, all at once, at most one item a lane; empty when the pass is over."""
        return self.rounds[0] if self.rounds else ()


def begin(items: Iterable[tuple[ItemT, Lane]]) -> Progress[ItemT]:
    """A pass over items in their order: the first of each lane make the first round, the second ones the next."""
    rounds: list[list[tuple[ItemT, Lane]]] = []
    seen: defaultdict[Lane, int] = defaultdict(int)
    for item, lane in items:
        turn = seen[lane]
        seen[lane] = turn + 1
        if turn == len(rounds):
            rounds.append([])
        rounds[turn].append((item, lane))
    return Progress(tuple(tuple(each) for each in rounds))


def after_round(progress: Progress[ItemT], succeeded: Sequence[bool]) -> Progress[ItemT]:
    """The pass after its next round was sent: `succeeded` has for each of its items whether the broker has it."""
    sent = progress.next_round
    acknowledged = progress.acknowledged.union(
        item for (item, _), went_out in zip(sent, succeeded, strict=True) if went_out
    )
    failed = {lane for (_, lane), went_out in zip(sent, succeeded, strict=True) if not went_out}
    rest: Iterable[tuple[tuple[ItemT, Lane], ...]] = progress.rounds[1:]
    if failed:
        rest = (tuple(entry for entry in each if entry[1] not in failed) for each in rest)
    return Progress(tuple(each for each in rest if each), acknowledged, progress.stuck | failed)


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long something that failed is left alone: doubling from first to longest, less a random part of a half."""

    first_seconds: float
    longest_seconds: float

    def pause_seconds(self, failures: int, chance: float) -> float:
        """The pause after that many failures in a row; `chance` is from [0, 1)."""
        longest = min(self.longest_seconds, self.first_seconds * 2.0 ** min(failures - 1, 30))
        return longest * (1 - chance / 2)


@dataclass(slots=True)
class Blocked(Generic[ItemT]):
    """What is blocked, and until when. `now` is in seconds of any clock that only goes forward."""

    backoff: Backoff
    _failures: dict[ItemT, int] = field(default_factory=dict)
    _until: dict[ItemT, float] = field(default_factory=dict)

    def fail(self, items: Iterable[ItemT], now: float, chance: float) -> None:
        """Hold these back for longer than the last time."""
        for item in items:
            self._failures[item] = self._failures.get(item, 0) + 1
            self._until[item] = now + self.backoff.pause_seconds(self._failures[item], chance)

    def succeed(self, items: Iterable[ItemT]) -> None:
        """Forget that these ever failed."""
        if self._failures:
            for item in items:
                self._failures.pop(item, None)
                self._until.pop(item, None)

    def blocked(self, now: float) -> Collection[ItemT]:
        """What must not be tried yet."""
        return [item for item, until in self._until.items() if until > now]

    def seconds_to_next(self, now: float) -> float | None:
        """When the first of the blocked may be tried again; None when nothing is blocked."""
        return min((until - now for until in self._until.values() if until > now), default=None)
