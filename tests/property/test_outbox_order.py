"""Whatever fails and whenever: order holds within a key, nothing is lost, nothing unsent is deleted."""

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from shared.outbox.domain import Lane, after_round, begin

_KEYS = st.integers(min_value=0, max_value=3)


@settings(max_examples=100, deadline=None)
@given(keys=st.lists(_KEYS, max_size=40), seed=st.integers(), failing_share=st.sampled_from([0, 10, 50, 90]))
def test_a_relay_that_obeys_delivers_every_key_in_order(keys: list[int], seed: int, failing_share: int) -> None:
    chance = random.Random(seed)
    unsent = list(enumerate(keys))
    arrived: list[tuple[int, int]] = []
    for attempt in range(2000):
        if not unsent:
            break
        failing_now = failing_share if attempt < 1000 else 0
        held = {key for _, key in unsent if chance.randrange(100) < failing_now // 2}
        page = [(item, key) for item, key in unsent if key not in held][: chance.randrange(1, 12)]
        progress = begin((item, Lane("topic", str(key))) for item, key in page)
        while progress.next_round:
            lanes = [lane for _, lane in progress.next_round]
            assert len(set(lanes)) == len(lanes)
            succeeded = [chance.randrange(100) >= failing_now for _ in lanes]
            arrived += [
                (item, keys[item])
                for (item, _), went_out in zip(progress.next_round, succeeded, strict=True)
                if went_out
            ]
            progress = after_round(progress, succeeded)
        assert progress.acknowledged <= {item for item, _ in page}
        assert progress.acknowledged == {item for item, _ in arrived} & {item for item, _ in page}
        unsent = [(item, key) for item, key in unsent if item not in progress.acknowledged]
    assert unsent == []
    assert sorted(item for item, _ in arrived) == list(range(len(keys)))
    for key in set(keys):
        of_key = [item for item, other in arrived if other == key]
        assert of_key == sorted(of_key)
