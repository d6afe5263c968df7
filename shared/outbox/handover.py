"""What this process commits while its relay leads, handed to that relay so that it is not read back. Pure.

Order is that of the outbox: a message goes out unread only where every earlier one of its lane that was committed
before it has gone out or goes out before it. Whatever is not taken over, or is dropped, stands in the outbox all the
same, where the relay finds it by looking.
"""

from collections.abc import Collection, Iterable, Sequence

from shared.outbox.domain import Lane
from shared.outbox.message import Appended, Mark


class HandOver:
    """One leadership's messages and marks: waiting, under way, and published while they still stand in the outbox."""

    def __init__(self, *, rows_max: int, bytes_max: int) -> None:
        """No more than so many messages, so many marks and bytes of values wait."""
        self._rows_max = rows_max
        self._bytes_max = bytes_max
        self._waiting: dict[int, Appended] = {}
        self._waiting_bytes = 0
        self._waiting_marks: dict[int, Mark] = {}
        self._under_way: frozenset[int] = frozenset()
        self._read_to = 0
        self.published: set[int] = set()
        """The ids of what the broker has and the outbox still holds: to be deleted by the next look."""
        self.published_marks: list[Mark] = []

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits."""
        return not self._waiting and not self._waiting_marks

    def offer(self, rows: Sequence[Appended], ahead: Iterable[int]) -> None:
        """What a transaction appended, once it is committed.

        `ahead` are the ids that stood in the outbox in the lanes of `rows` as these were written. Not taken over where
        one of them is neither on its way nor published, or where a look may have found the rows already.
        """
        size_bytes = sum(len(row.message.value or b"") for row in rows)
        if (
            min(row.id for row in rows) > self._read_to
            and all(each in self._waiting or each in self._under_way or each in self.published for each in ahead)
            and len(self._waiting) + len(rows) <= self._rows_max
            and self._waiting_bytes + size_bytes <= self._bytes_max
        ):
            self._waiting.update((row.id, row) for row in rows)
            self._waiting_bytes += size_bytes

    def offer_marks(self, marks: Sequence[Mark]) -> None:
        """What a transaction marked, once it is committed."""
        if len(self._waiting_marks) + len(marks) <= self._rows_max:
            self._waiting_marks.update((mark.position, mark) for mark in marks)

    def take(self, topics: Collection[str], blocked: Collection[Lane]) -> tuple[list[Appended], list[Mark]]:
        """Everything that waits, to be sent now; marks only of these topics and outside the blocked lanes."""
        rows = list(self._waiting.values())
        barred = frozenset(blocked)
        marks = [mark for mark in self._waiting_marks.values() if mark.topic in topics and mark.lane not in barred]
        self._waiting.clear()
        self._waiting_bytes = 0
        self._waiting_marks.clear()
        self._under_way = frozenset(row.id for row in rows)
        return rows, marks

    def looked(self, rows: Sequence[Appended], marks: Sequence[Mark]) -> None:
        """A look has deleted what was published and has found these: they are sent now, and no longer wait."""
        self.published.clear()
        self.published_marks.clear()
        self._under_way = frozenset(row.id for row in rows)
        self._read_to = max([self._read_to, *self._under_way])
        self._drop(self._under_way)
        for mark in marks:
            self._waiting_marks.pop(mark.position, None)

    def settle(self, published: Iterable[int], marks: Iterable[Mark], stuck: Collection[Lane]) -> None:
        """What was sent is published or has failed; what waits in a lane that is stuck now waits in the outbox."""
        self._under_way = frozenset()
        self.published.update(published)
        self.published_marks.extend(marks)
        if stuck:
            self._drop([row.id for row in self._waiting.values() if row.message.lane in stuck])

    def _drop(self, ids: Iterable[int]) -> None:
        for each in ids:
            row = self._waiting.pop(each, None)
            if row is not None:
                self._waiting_bytes -= len(row.message.value or b"")
