"""Which deliveries are let in and which are stored together."""

from services.tracking.intake.inbox.domain.deliveries import WaitingRoom


def test_those_who_come_first_are_stored_first() -> None:
    room: WaitingRoom[str] = WaitingRoom(group_max=2)
    for name in "abc":
        assert room.admit(name, 1)
    assert room.next_group() == (["a", "b"], 2)
    assert room.next_group() == (["c"], 1)
    assert room.is_empty


def test_a_group_is_bounded_in_bytes() -> None:
    room: WaitingRoom[str] = WaitingRoom(group_bytes_max=10)
    for name, size_bytes in (("a", 6), ("b", 4), ("c", 1)):
        room.admit(name, size_bytes)
    assert room.next_group() == (["a", "b"], 10)


def test_one_that_alone_is_larger_than_a_group_is_stored_alone() -> None:
    room: WaitingRoom[str] = WaitingRoom(group_bytes_max=10)
    room.admit("large", 50)
    room.admit("small", 1)
    assert room.next_group() == (["large"], 50)
    assert room.next_group() == (["small"], 1)


def test_no_more_are_let_in_than_may_wait_or_are_being_stored() -> None:
    room: WaitingRoom[str] = WaitingRoom(waiting_max=2)
    assert room.admit("a", 1)
    assert room.admit("b", 1)
    assert not room.admit("c", 1)
    group, size_bytes = room.next_group()
    assert not room.admit("c", 1)
    room.done(len(group), size_bytes)
    assert room.admit("c", 1)


def test_no_more_bytes_are_let_in_than_fit() -> None:
    room: WaitingRoom[str] = WaitingRoom(waiting_bytes_max=10)
    assert room.admit("a", 10)
    assert not room.admit("b", 1)
