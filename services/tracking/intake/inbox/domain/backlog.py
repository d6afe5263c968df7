"""What is still to be done."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Backlog:
    """How much of a connection is still to be done, and since when the oldest of it is."""

    count: int = 0
    oldest_at: datetime | None = None
