"""Positions, halving, waits and the quarantine limit, against plain counting."""

from hypothesis import given, settings
from hypothesis import strategies as st

from shared.kafka.domain import (
    BACKOFF,
    Partition,
    QuarantineHistory,
    QuarantineLimit,
    Record,
    halves,
    swaps,
)

records = st.builds(
    Record,
    topic=st.sampled_from(["deals", "org"]),
    partition=st.integers(0, 3),
    offset=st.integers(0, 1000),
    key=st.just("key"),
    headers=st.just({}),
    value=st.none(),
    timestamp_ms=st.just(0),
)


@settings(max_examples=100)
@given(
    window=st.integers(1, 30),
    count_min=st.integers(0, 5),
    batches=st.lists(st.tuples(st.integers(1, 12), st.integers(0, 12)), max_size=20),
)
def test_the_limit_agrees_with_counting_every_record_one_by_one(
    window: int, count_min: int, batches: list[tuple[int, int]]
) -> None:
    limit = QuarantineLimit(window_records=window, share_max=0.25, count_min=count_min)
    history = QuarantineHistory()
    # How many were quarantined at each record handled; those of a batch all count at its last record.
    counts: list[int] = []
    for size, bad in batches:
        refused = min(size, bad)
        counts += [*[0] * (size - 1), refused]
        last = counts[-window:]
        exceeded = sum(last) > max(count_min, len(last) // 4)
        assert history.exceeds(limit, batch_records=size, refused=refused) == exceeded
        history = history.after(limit, batch_records=size, refused=refused)
        assert len(history.quarantined) == sum(last)


@settings(max_examples=100)
@given(st.lists(records, min_size=1, max_size=40))
def test_positions_never_stand_before_a_record_of_the_batch(batch: list[Record]) -> None:
    stored = {Partition(each.topic, each.partition): None for each in batch}
    ends = {swap.partition: swap.next_offset for swap in swaps(stored, batch)}
    assert ends.keys() == stored.keys()
    for partition, end in ends.items():
        offsets = [each.offset for each in batch if (each.topic, each.partition) == partition]
        assert end == max(offsets) + 1


@settings(max_examples=100)
@given(st.lists(records, min_size=2, max_size=40))
def test_halving_to_single_records_meets_each_record_once_and_in_order(batch: list[Record]) -> None:
    pieces, met = [batch], []
    while pieces:
        piece = pieces.pop()
        if len(piece) == 1:
            met.append(piece[0])
        else:
            pieces.extend(list(half) for half in reversed(halves(piece)))
    assert met == batch


@settings(max_examples=100)
@given(st.integers(1, 10_000), st.floats(0, 1, exclude_max=True))
def test_a_wait_is_never_longer_than_its_cap_nor_shorter_than_half_the_first_step(attempt: int, chance: float) -> None:
    assert BACKOFF.first_seconds / 2 <= BACKOFF.pause_seconds(attempt, chance) <= BACKOFF.longest_seconds
