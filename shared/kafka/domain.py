"""The decisions of the Kafka runtime. Pure: no broker, no database, no clock, no chance; the drivers obey."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final, NamedTuple

from shared.kernel.errors import AttainError
from shared.outbox.domain import Backoff

_CONFLICT_ATTEMPTS_MAX: Final = 10
"""After so many the broker is held back."""
_CONTENT_ATTEMPTS_MAX: Final = 3
"""After so many the records are looked at one by one."""


class Partition(NamedTuple):
    """One partition of one topic. Sorts by topic, then number."""

    topic: str
    number: int


class Record(NamedTuple):
    """One record as read from a topic. `value` None is a tombstone; a key that is not UTF-8 is read with U+FFFD."""

    topic: str
    partition: int
    offset: int
    key: str
    headers: Mapping[str, bytes]
    value: bytes | None
    timestamp_ms: int


Batch = Sequence[Record]


class Poison(AttainError):
    """Raised by a handler for a record that can never be applied: it goes to `<topic>.dlq`, its neighbours go on.

    `reason` is one of a few stable words, as it becomes a metric's label; `detail` says what is wrong and must not
    contain personal data.
    """

    code = "poison_record"
    title = "A record that can never be applied"

    def __init__(self, record: Record, detail: str, *, reason: str = "refused") -> None:
        super().__init__(detail)
        self.record = record
        self.reason = reason


class Refusal(NamedTuple):
    """A record to quarantine, and why."""

    record: Record
    reason: str
    detail: str


class Swap(NamedTuple):
    """Move a stored position from `expected` (None: not stored yet) to `next_offset`."""

    partition: Partition
    expected: int | None
    next_offset: int


def swaps(stored: Mapping[Partition, int | None], records: Iterable[Record]) -> tuple[Swap, ...]:
    """The position moves of a batch, sorted by partition: each to just behind the batch's last record of it.

    `stored` is what each position was when the reader was placed or last moved it; KeyError when a record's partition
    is not in it.
    """
    ends: dict[Partition, int] = {}
    for record in records:
        partition = Partition(record.topic, record.partition)
        ends[partition] = max(ends.get(partition, 0), record.offset + 1)
    return tuple(Swap(partition, stored[partition], ends[partition]) for partition in sorted(ends))


def lost_swaps(wanted: Iterable[Swap], moved: Collection[Partition]) -> frozenset[Partition]:
    """The partitions that somebody else has moved: whoever lost one writes nothing and starts from what is stored."""
    return frozenset(swap.partition for swap in wanted if swap.partition not in moved)


class SeekTarget(NamedTuple):
    """Where to read from, and how many records are gone that were never read."""

    offset: int
    skipped_records: int


def seek_target(stored: int | None, log_start: int) -> SeekTarget:
    """Where to read from on assignment: where it was left, unless the log no longer reaches that far back.

    A stored position beyond the log's end is for the broker to refuse: reading then starts at the log's beginning
    (`auto_offset_reset`), which `log_was_lost` recognises.
    """
    if stored is None:
        return SeekTarget(log_start, 0)
    return SeekTarget(max(stored, log_start), max(0, log_start - stored))


def log_was_lost(stored: int | None, first_offset: int) -> bool:
    """Does the first record read lie before the stored position? Then the topic was made anew and replays."""
    return stored is not None and first_offset < stored


@dataclass(frozen=True, slots=True)
class QuarantineLimit:
    """How many records may be quarantined among the last `window_records` before the consumer stops.

    Up to `count_min` always may; beyond that no more than `share_max` of the records seen in the window.
    """

    window_records: int = 1000
    share_max: float = 0.1
    count_min: int = 20


@dataclass(frozen=True, slots=True)
class QuarantineHistory:
    """How many records were handled, and which of the latest were quarantined (by their running number)."""

    handled: int = 0
    quarantined: tuple[int, ...] = ()

    def exceeds(self, limit: QuarantineLimit, *, batch_records: int, refused: int) -> bool:
        """Would quarantining `refused` of a batch of `batch_records` break the limit?"""
        handled = self.handled + batch_records
        oldest = handled - limit.window_records
        in_window = sum(1 for number in self.quarantined if number > oldest) + refused
        seen = min(handled, limit.window_records)
        return in_window > max(limit.count_min, int(seen * limit.share_max))

    def after(self, limit: QuarantineLimit, *, batch_records: int, refused: int) -> "QuarantineHistory":
        """The history once the batch is committed."""
        handled = self.handled + batch_records
        if not refused and not self.quarantined:
            return QuarantineHistory(handled)
        oldest = handled - limit.window_records
        recent = tuple(number for number in self.quarantined if number > oldest)
        return QuarantineHistory(handled, recent + (handled,) * refused)


class Failure(Enum):
    """What kind of thing went wrong with a batch."""

    OUTAGE = "outage"
    """A dependency is down or refuses the work, or nobody foresaw it. No record is to blame: it is waited out."""
    CONFLICT = "conflict"
    """A deadlock, a serialization failure. Trying again is the cure."""
    CONTENT = "content"
    """What a record's content can cause: it does not decode, does not fit, or breaks a computation."""


BACKOFF: Final = Backoff(first_seconds=0.05, longest_seconds=5.0)
"""How fast what failed is tried again. There is no last attempt."""


@dataclass(frozen=True, slots=True)
class Retry:
    """Wait, then try the same batch again. `pause` holds the broker back meanwhile."""

    delay_seconds: float
    pause: bool


@dataclass(frozen=True, slots=True)
class Isolate:
    """Find out which records are to blame."""


def after_failure(failure: Failure, *, attempt: int, chance: float, backoff: Backoff) -> Retry | Isolate:
    """What to do with a batch that failed for the `attempt`th time in this way (from 1): never to give it up.

    `chance` is from [0, 1).
    """
    delay_seconds = backoff.pause_seconds(attempt, chance)
    match failure:
        case Failure.OUTAGE:
            return Retry(delay_seconds, pause=True)
        case Failure.CONFLICT:
            return Retry(delay_seconds, pause=attempt >= _CONFLICT_ATTEMPTS_MAX)
        case Failure.CONTENT:
            if attempt % _CONTENT_ATTEMPTS_MAX == 0:
                return Isolate()
            return Retry(delay_seconds, pause=attempt > _CONTENT_ATTEMPTS_MAX)


def halves(records: Batch) -> tuple[Batch, Batch]:
    """A batch of at least two, cut in two; each half keeps its order and is not empty."""
    middle = len(records) // 2
    return records[:middle], records[middle:]


def dead_letter_headers(refusal: Refusal, group: str) -> tuple[tuple[str, bytes], ...]:
    """The headers of the dead letter: the record's own, then who refused it, why, and where it came from."""
    record = refusal.record
    return (
        *((name.replace("\x00", "�"), value) for name, value in record.headers.items()),
        ("dlq_reason", refusal.reason.encode()),
        ("dlq_detail", refusal.detail[:500].encode(errors="replace")),
        ("dlq_group", group.encode()),
        ("dlq_source_topic", record.topic.encode()),
        ("dlq_source_partition", str(record.partition).encode()),
        ("dlq_source_offset", str(record.offset).encode()),
        ("dlq_source_timestamp_ms", str(record.timestamp_ms).encode()),
    )
