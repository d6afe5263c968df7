"""The decisions of the Kafka runtime, without a broker."""

import pytest

from shared.kafka.domain import (
    Failure,
    Isolate,
    Partition,
    QuarantineHistory,
    QuarantineLimit,
    Record,
    Refusal,
    Retry,
    SeekTarget,
    Swap,
    after_failure,
    dead_letter_headers,
    halves,
    log_was_lost,
    lost_swaps,
    seek_target,
    swaps,
)
from shared.outbox.domain import Backoff

DEALS = Partition("deals", 0)


def record(offset: int, *, topic: str = "deals", partition: int = 0) -> Record:
    return Record(topic, partition, offset, "key", {}, b"value", 0)


def test_a_batch_moves_each_partition_to_just_behind_its_last_record() -> None:
    batch = [record(7), record(9), record(3, topic="org", partition=2)]
    stored = {DEALS: 7, Partition("org", 2): None, Partition("org", 0): 5}
    assert swaps(stored, batch) == (Swap(DEALS, 7, 10), Swap(Partition("org", 2), None, 4))


def test_a_quarantined_record_given_first_does_not_pull_the_position_back() -> None:
    assert swaps({DEALS: 1}, [record(9), record(5)]) == (Swap(DEALS, 1, 10),)


def test_position_moves_are_sorted_so_that_two_consumers_never_deadlock() -> None:
    batch = [
        record(1, topic=topic, partition=partition) for topic, partition in [("b", 1), ("a", 10), ("b", 0), ("a", 9)]
    ]
    stored = {Partition(each.topic, each.partition): 0 for each in batch}
    assert [swap.partition for swap in swaps(stored, batch)] == [("a", 9), ("a", 10), ("b", 0), ("b", 1)]


def test_a_record_of_a_partition_without_a_place_is_an_error() -> None:
    with pytest.raises(KeyError):
        swaps({}, [record(1)])


def test_a_swap_that_moved_nothing_is_lost() -> None:
    wanted = (Swap(DEALS, 1, 2), Swap(Partition("org", 0), 4, 5))
    assert lost_swaps(wanted, {DEALS}) == {Partition("org", 0)}
    assert lost_swaps(wanted, {DEALS, Partition("org", 0)}) == frozenset()


@pytest.mark.parametrize(
    ("stored", "log_start", "expected"),
    [
        (None, 0, SeekTarget(0, 0)),
        (None, 40, SeekTarget(40, 0)),
        (7, 0, SeekTarget(7, 0)),
        (7, 7, SeekTarget(7, 0)),
        (7, 12, SeekTarget(12, 5)),
    ],
)
def test_reading_starts_where_it_was_left_or_where_the_log_now_starts(
    stored: int | None, log_start: int, expected: SeekTarget
) -> None:
    assert seek_target(stored, log_start) == expected


def test_a_first_record_before_the_stored_position_means_that_the_log_was_lost() -> None:
    assert log_was_lost(7, 0)
    assert not log_was_lost(7, 7)
    assert not log_was_lost(7, 9)
    assert not log_was_lost(None, 0)


def decide(failure: Failure, attempt: int) -> Retry | Isolate:
    return after_failure(failure, attempt=attempt, chance=0.0, backoff=Backoff(first_seconds=0.05, longest_seconds=1.0))


def test_an_outage_is_waited_out_for_ever_with_the_broker_held_back() -> None:
    assert decide(Failure.OUTAGE, 1) == Retry(0.05, pause=True)
    assert decide(Failure.OUTAGE, 100_000) == Retry(1.0, pause=True)


def test_a_conflict_is_tried_again_for_ever_and_holds_the_broker_back_in_the_end() -> None:
    assert decide(Failure.CONFLICT, 9) == Retry(1.0, pause=False)
    assert decide(Failure.CONFLICT, 10) == Retry(1.0, pause=True)
    assert decide(Failure.CONFLICT, 100_000) == Retry(1.0, pause=True)


def test_what_content_may_cause_is_tried_again_before_records_are_looked_at_and_never_given_up() -> None:
    steps = [decide(Failure.CONTENT, attempt) for attempt in range(1, 8)]
    assert [isinstance(step, Isolate) for step in steps] == [False, False, True, False, False, True, False]
    assert steps[1] == Retry(0.1, pause=False)
    assert steps[3] == Retry(0.4, pause=True)


def test_a_few_quarantined_records_never_stop_the_consumer() -> None:
    limit = QuarantineLimit(window_records=1000, share_max=0.1, count_min=20)
    assert not QuarantineHistory().exceeds(limit, batch_records=20, refused=20)
    assert QuarantineHistory().exceeds(limit, batch_records=21, refused=21)


def test_more_than_the_allowed_share_of_a_full_window_stops_the_consumer() -> None:
    limit = QuarantineLimit(window_records=1000, share_max=0.1, count_min=20)
    history = QuarantineHistory().after(limit, batch_records=5000, refused=0)
    assert not history.exceeds(limit, batch_records=1000, refused=100)
    assert history.exceeds(limit, batch_records=1000, refused=101)


def test_what_was_quarantined_counts_until_the_window_has_moved_on() -> None:
    limit = QuarantineLimit(window_records=1000, share_max=0.1, count_min=20)
    history = QuarantineHistory().after(limit, batch_records=1000, refused=100)
    assert history.exceeds(limit, batch_records=1, refused=1)
    history = history.after(limit, batch_records=999, refused=0)
    assert history.exceeds(limit, batch_records=0, refused=1)
    history = history.after(limit, batch_records=1, refused=0)
    assert not history.exceeds(limit, batch_records=1, refused=100)
    assert history.after(limit, batch_records=1, refused=0).quarantined == ()


def test_halves_keep_every_record_in_order() -> None:
    batch = [record(offset) for offset in range(5)]
    first, second = halves(batch)
    assert [*first, *second] == batch
    assert first and second


def test_a_dead_letter_says_why_and_where_it_came_from_and_keeps_its_own_headers() -> None:
    refused = record(41, partition=3)._replace(headers={"ce_type": b"deal", "odd\x00name": b"x"}, timestamp_ms=17)
    headers = dict(dead_letter_headers(Refusal(refused, "unreadable", "no amount"), "progress"))
    assert headers == {
        "ce_type": b"deal",
        "odd�name": b"x",
        "dlq_reason": b"unreadable",
        "dlq_detail": b"no amount",
        "dlq_group": b"progress",
        "dlq_source_topic": b"deals",
        "dlq_source_partition": b"3",
        "dlq_source_offset": b"41",
        "dlq_source_timestamp_ms": b"17",
    }
