"""What a relay takes over unread, and what it leaves to be found."""

from uuid import UUID

from shared.outbox.domain import Lane
from shared.outbox.handover import HandOver
from shared.outbox.message import Appended, Mark, OutboxMessage

_TENANT = UUID(int=1)
_STATE = "state"


def row(row_id: int, key: str = "a", *, size_bytes: int = 1) -> Appended:
    return Appended(row_id, OutboxMessage(_TENANT, "facts", key, (), bytes(size_bytes)), 0.0)


def mark(position: int, *, topic: str = _STATE) -> Mark:
    return Mark(topic, _TENANT, f"subject {position}", position, token=position)


def handover(*, rows_max: int = 10, bytes_max: int = 1000) -> HandOver:
    return HandOver(rows_max=rows_max, bytes_max=bytes_max)


def test_what_is_offered_is_taken_once_and_in_order() -> None:
    taking = handover()
    taking.offer([row(1), row(2)], [])
    taking.offer([row(3)], [1, 2])
    taking.offer_marks([mark(1)])
    assert not taking.is_empty
    assert taking.take({_STATE}, ()) == ([row(1), row(2), row(3)], [mark(1)])
    assert taking.is_empty
    assert taking.take({_STATE}, ()) == ([], [])


def test_memory_is_bounded_by_rows_marks_and_bytes_until_they_are_taken() -> None:
    taking = handover(rows_max=3, bytes_max=100)
    taking.offer([row(1), row(2)], [])
    taking.offer([row(3, "b"), row(4, "b")], [])
    taking.offer([row(5, "c", size_bytes=99)], [])
    taking.offer([row(6, "d", size_bytes=98)], [])
    taking.offer_marks([mark(1), mark(2)])
    taking.offer_marks([mark(3), mark(4)])
    rows, marks = taking.take({_STATE}, ())
    assert [each.id for each in rows] == [1, 2, 6]
    assert marks == [mark(1), mark(2)]
    taking.offer([row(7, "e", size_bytes=100)], [])
    assert not taking.is_empty


def test_the_room_of_what_a_look_found_first_is_free_again() -> None:
    taking = handover(rows_max=1, bytes_max=1)
    taking.offer([row(1)], [])
    taking.looked([row(1)], [])
    assert taking.is_empty
    taking.offer([row(2)], [1])
    assert taking.take((), ()) == ([row(2)], [])


def test_a_message_with_one_ahead_that_nobody_has_seen_is_left_to_be_found() -> None:
    taking = handover()
    taking.offer([row(2)], [1])
    assert taking.is_empty
    taking.looked([row(1)], [])
    taking.offer([row(3)], [1, 2])
    assert taking.is_empty
    taking.settle([1], [], set())
    taking.offer([row(4, "b")], [])
    taking.offer([row(5)], [1])
    assert [each.id for each in taking.take((), ())[0]] == [4, 5]


def test_what_a_look_may_have_found_is_not_taken_over_when_its_commit_is_heard_of_late() -> None:
    taking = handover()
    taking.looked([row(1), row(3)], [])
    taking.settle([1, 3], [], set())
    taking.looked([], [])
    taking.offer([row(1)], [])
    taking.offer([row(2, "b")], [])
    assert taking.is_empty


def test_what_waits_behind_a_failure_waits_in_the_outbox() -> None:
    taking = handover()
    taking.offer([row(1)], [])
    taking.take((), ())
    taking.offer([row(2)], [1])
    taking.offer([row(3, "b")], [])
    taking.settle([], [], {Lane("facts", "a")})
    taking.offer([row(4)], [1, 2])
    assert taking.take((), ()) == ([row(3, "b")], [])


def test_marks_that_may_not_be_sent_now_are_left_to_be_found() -> None:
    taking = handover()
    taking.offer_marks([mark(1), mark(2), mark(3, topic="failing")])
    assert taking.take({_STATE}, [mark(2).lane]) == ([], [mark(1)])
    assert taking.is_empty


def test_a_look_deletes_what_was_published_and_is_told_of_it_once() -> None:
    taking = handover()
    taking.settle([1, 2], [mark(1)], set())
    assert (taking.published, taking.published_marks) == ({1, 2}, [mark(1)])
    taking.looked([], [])
    assert (taking.published, taking.published_marks) == (set(), [])
