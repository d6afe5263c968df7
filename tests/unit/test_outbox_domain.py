"""What the relay sends, deletes and blocked back."""

from shared.outbox.domain import Backoff, Blocked, Lane, after_round, begin
from shared.outbox.outbox import decode_headers, encode_headers

_A = Lane("topic", "a")
_B = Lane("topic", "b")


def test_the_first_message_of_each_key_goes_first_and_together() -> None:
    progress = begin([(1, _A), (2, _A), (3, _B), (4, _A)])
    assert progress.next_round == ((1, _A), (3, _B))
    progress = after_round(progress, [True, True])
    assert progress.next_round == ((2, _A),)
    progress = after_round(after_round(progress, [True]), [True])
    assert progress.next_round == ()
    assert progress.acknowledged == {1, 2, 3, 4}
    assert progress.stuck == set()


def test_the_same_key_of_another_topic_is_another_lane() -> None:
    assert len(begin([(1, Lane("one", "a")), (2, Lane("two", "a"))]).next_round) == 2


def test_a_failed_message_holds_back_the_later_ones_of_its_key_only() -> None:
    progress = after_round(begin([(1, _A), (2, _A), (3, _B), (4, _B)]), [False, True])
    assert progress.next_round == ((4, _B),)
    progress = after_round(progress, [True])
    assert progress.next_round == ()
    assert progress.acknowledged == {3, 4}
    assert progress.stuck == {_A}


def test_nothing_to_send_is_a_pass_that_is_over() -> None:
    assert begin(()).next_round == ()


def test_pauses_double_up_to_the_longest() -> None:
    backoff = Backoff(first_seconds=0.1, longest_seconds=1.0)
    assert [backoff.pause_seconds(failures, 0.0) for failures in (1, 2, 3, 4, 5, 5000)] == [
        0.1,
        0.2,
        0.4,
        0.8,
        1.0,
        1.0,
    ]
    assert backoff.pause_seconds(3, 0.5) == 0.4 * 0.75


def test_what_failed_is_held_until_its_pause_is_over_and_longer_the_next_time() -> None:
    blocked: Blocked[str] = Blocked(Backoff(first_seconds=1.0, longest_seconds=10.0))
    blocked.fail(["a"], now=100.0, chance=0.0)
    assert list(blocked.blocked(100.5)) == ["a"]
    assert blocked.seconds_to_next(100.5) == 0.5
    assert list(blocked.blocked(101.0)) == []
    blocked.fail(["a"], now=101.0, chance=0.0)
    assert list(blocked.blocked(102.5)) == ["a"]
    blocked.succeed(["a", "never failed"])
    assert list(blocked.blocked(102.5)) == []
    assert blocked.seconds_to_next(102.5) is None
    blocked.fail(["a"], now=200.0, chance=0.0)
    assert list(blocked.blocked(201.0)) == []


def test_headers_of_any_bytes_survive() -> None:
    headers = (("ce_type", b"attain.goal.v1"), ("odd", bytes(range(256))), ("empty", b""), ("ce_type", b"again"))
    assert decode_headers(encode_headers(headers)) == headers
