"""How far work is that goes on for a while, and how long it still takes at the rate so far."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Advance:
    """`done` of `total`, which is None where nobody knows, in `worked_ms` of being worked at."""

    done: int
    total: int | None
    worked_ms: int

    @property
    def percent(self) -> int | None:
        """From 0 to 99, as there may be more than was counted; None where the total is not known."""
        if self.total is None:
            return None
        return min(99, self.done * 100 // self.total) if self.total else 99

    def rate(self, period_ms: int) -> int | None:
        """How much is done in so long; None before anything is."""
        return self.done * period_ms // self.worked_ms if self.worked_ms and self.done else None

    @property
    def seconds_left(self) -> int | None:
        """Rounded up; None before anything is done, and where the total is not known."""
        if self.total is None or not self.done:
            return None
        return -(-max(0, self.total - self.done) * self.worked_ms // (self.done * 1000))
